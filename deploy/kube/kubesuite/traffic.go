package kubesuite

import (
	"fmt"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	coreconfig "k8s.io/client-go/applyconfigurations/core/v1"
)

func trafficTests() []test {
	return []test{
		{"a service's endpoints follow its selector in one patch", endpointsFollow},
		{"a pod that isn't ready is no ready endpoint", endpointsReady},
	}
}

func (e *env) service(selector map[string]string) {
	e.Helper()
	svc := coreconfig.Service("app", e.ns).WithSpec(coreconfig.ServiceSpec().WithSelector(selector).
		WithPorts(coreconfig.ServicePort().WithName("http").WithPort(80).WithTargetPort(intstr.FromString("http"))))
	made, err := e.client.CoreV1().Services(e.ns).Apply(e.ctx, svc, applyAs(manager))
	if err != nil {
		e.Fatalf("apply service: %v", err)
	}
	if made.Spec.ClusterIP == "" || made.Spec.Type != "ClusterIP" || made.Spec.SessionAffinity != "None" {
		e.Errorf("service has address %q, type %s, affinity %s", made.Spec.ClusterIP, made.Spec.Type, made.Spec.SessionAffinity)
	}
}

// endpoints are the names of the pods that take the service's traffic, or not yet.
func (e *env) endpoints(ready bool) []string {
	e.Helper()
	list, err := e.client.DiscoveryV1().EndpointSlices(e.ns).List(e.ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=app"})
	if err != nil {
		e.Fatalf("list endpoint slices: %v", err)
	}
	var out []string
	for _, s := range list.Items {
		for _, p := range s.Endpoints {
			if p.Conditions.Ready != nil && *p.Conditions.Ready == ready && p.TargetRef != nil {
				out = append(out, p.TargetRef.Name)
			}
		}
		if len(s.Endpoints) > 0 && (len(s.Ports) != 1 || *s.Ports[0].Port != 8080 || *s.Ports[0].Name != "http") {
			e.Errorf("ports of the slice are %+v, want http on 8080", s.Ports)
		}
	}
	slices.Sort(out)
	return out
}

func (e *env) awaitEndpoints(ready bool, want func() []string) {
	e.Helper()
	e.await("the endpoints", "endpointslices", func() string {
		if got := e.endpoints(ready); !slices.Equal(got, want()) {
			return fmt.Sprintf("endpoints are %v, want %v", got, want())
		}
		return ""
	})
}

func endpointsFollow(e *env) {
	e.apply(e.app("shop:1", 2))
	green := e.app("shop:2", 1).WithName("green")
	green.Spec.Selector.MatchLabels = map[string]string{"app": "green"}
	green.Spec.Template.Labels = map[string]string{"app": "green"}
	e.apply(green)
	e.service(map[string]string{"app": "app"})
	e.awaitRollout()
	e.awaitEndpoints(true, func() []string { return e.podNames("app=app") })
	patch := []byte(`{"spec":{"selector":{"app":"green"}}}`)
	if _, err := e.client.CoreV1().Services(e.ns).Patch(e.ctx, "app", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager}); err != nil {
		e.Fatalf("patch service: %v", err)
	}
	e.awaitEndpoints(true, func() []string { return e.podNames("app=green") })
}

func (e *env) podNames(selector string) []string {
	e.Helper()
	list, err := e.client.CoreV1().Pods(e.ns).List(e.ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		e.Fatalf("list pods: %v", err)
	}
	out := make([]string, 0, len(list.Items))
	for _, p := range list.Items {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

func endpointsReady(e *env) {
	e.service(map[string]string{"app": "app"})
	e.apply(e.app("shop:neverready", 1))
	e.awaitEndpoints(false, func() []string { return e.podNames("app=app") })
	if got := e.endpoints(true); len(got) > 0 {
		e.Errorf("ready endpoints are %v, want none", got)
	}
}
