package kubesim

import (
	"fmt"
	"net/http"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubefault"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// Faults are the switches that break a running cluster. All methods are safe for concurrent use.
type Faults struct {
	*kubefault.Faults // those of the way to it

	mu        sync.Mutex
	refusals  map[string]string
	podLimits map[string]int
}

func newFaults() *Faults {
	return &Faults{Faults: kubefault.New(), refusals: map[string]string{}, podLimits: map[string]int{}}
}

// RefuseAdmission makes a webhook refuse, with the message, every object that people write in the namespace. Pods are let
// through, so that what runs isn't disturbed. An empty message ends it.
func (f *Faults) RefuseAdmission(namespace, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if message == "" {
		delete(f.refusals, namespace)
		return
	}
	f.refusals[namespace] = message
}

// SetPodQuota allows that many pods in the namespace; a negative number ends it.
func (f *Faults) SetPodQuota(namespace string, pods int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if pods < 0 {
		delete(f.podLimits, namespace)
		return
	}
	f.podLimits[namespace] = pods
}

// ExpireHistory makes every watch from before now, running ones too, meet 410 Gone, as after a compaction.
func (s *Sim) ExpireHistory() { s.reg.Forget() }

// admit is the registry's question before each write.
func (f *Faults) admit(k *registry.Kind, obj registry.Object, created bool, count func(resource, namespace string) int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ns := obj.GetNamespace()
	limit, limited := f.podLimits[ns]
	if used := count(registry.Pods, ns); created && limited && k.Resource == registry.Pods && used >= limit {
		return apierrors.NewForbidden(k.GroupResource(), obj.GetName(),
			fmt.Errorf("exceeded quota: pods, requested: pods=1, used: pods=%d, limited: pods=%d", used, limit))
	}
	message, refused := f.refusals[ns]
	if !refused || spared(k.Resource) {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
		Message: fmt.Sprintf("admission webhook %q denied the request: %s", "policy.kubesim.example", message),
	}}
}

// spared resources are those that the cluster writes by itself.
func spared(resource string) bool {
	switch resource {
	case registry.Pods, registry.ReplicaSets, registry.Events, registry.Endpoints, registry.EndpointSlices, registry.Namespaces:
		return true
	default:
		return false
	}
}
