// Package controllers makes the simulated cluster live: Deployments roll, pods are scheduled, start, crash and stop,
// Services get endpoints, and what lost its owner goes.
//
// One goroutine does all of it. It follows the registry's log, works off what a change touches, and keeps a due time for
// what has to happen later, as the real controllers do with their informers and work queues.
package controllers

import (
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// Options of New.
type Options struct {
	Registry *registry.Registry
	Now      func() time.Time
	Logger   *slog.Logger
	Nodes    int   // how many nodes there are
	NodeCPU  int64 // of each node, in thousandths of a core
	// PodStart is how long a pod takes from its creation to Ready, PodStop from its deletion to its end; real time.
	PodStart, PodStop time.Duration
	// Speed divides Kubernetes' own waiting times: back-offs, progress deadlines, minReadySeconds.
	Speed float64
}

// item is something to look at: an object, or the uid of an owner that is gone.
type item struct{ resource, namespace, name string }

// orphans is the pseudo-resource of items whose name is the uid of a removed owner.
const orphans = "orphans"

// Loop runs the controllers.
type Loop struct {
	Options
	reg *registry.Registry

	dirty    []item
	queued   map[item]bool
	due      map[item]time.Time
	pods     map[types.UID]*podLife
	jobs     map[types.UID]*jobLife
	progress map[types.UID]time.Time // when a Deployment last made progress
	errs     map[item]int            // failures in a row
	address  int                     // pod addresses given so far
}

// New makes the controllers of a cluster.
func New(opts Options) (*Loop, error) {
	switch {
	case opts.Registry == nil || opts.Now == nil || opts.Logger == nil:
		return nil, errors.New("controllers: registry, clock and logger are needed")
	case opts.Nodes < 1 || opts.NodeCPU < 1:
		return nil, fmt.Errorf("controllers: %d nodes of %dm cpu: there must be some", opts.Nodes, opts.NodeCPU)
	case opts.PodStart < 0 || opts.PodStop < 0 || opts.Speed <= 0:
		return nil, errors.New("controllers: times must not be negative, and the speed must be positive")
	}
	return &Loop{
		Options: opts, reg: opts.Registry,
		queued: map[item]bool{}, due: map[item]time.Time{}, pods: map[types.UID]*podLife{}, jobs: map[types.UID]*jobLife{},
		progress: map[types.UID]time.Time{}, errs: map[item]int{},
	}, nil
}

// Run works until stop is closed.
func (l *Loop) Run(stop <-chan struct{}) {
	l.markAll()
	seen := l.reg.Revision()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		changes, upto, changed, err := l.reg.Since(seen)
		if err != nil { // the history was cut: look at everything
			l.markAll()
			seen = l.reg.Revision()
			continue
		}
		for _, c := range changes {
			l.note(c)
		}
		seen = upto
		l.work(stop)
		timer.Reset(l.untilDue())
		select {
		case <-stop:
			return
		case <-changed:
		case <-timer.C:
		}
		l.markDue()
	}
}

func (l *Loop) mark(resource, namespace, name string) {
	it := item{resource, namespace, name}
	if !l.queued[it] {
		l.queued[it] = true
		l.dirty = append(l.dirty, it)
	}
}

func (l *Loop) markAll() {
	for _, resource := range []string{
		registry.Namespaces, registry.Deployments, registry.ReplicaSets, registry.StatefulSets, registry.DaemonSets,
		registry.Jobs, registry.Pods, registry.Services, registry.Quotas,
	} {
		l.markAllOf(resource, "")
	}
}

// note marks what a change touches: the object, its controller, and for pods the Services that may select it.
func (l *Loop) note(c registry.Change) {
	o := c.Object
	switch c.Resource {
	case registry.Events, registry.Endpoints:
		return
	case registry.EndpointSlices:
		if service := o.GetLabels()[discoveryv1.LabelServiceName]; c.Type == registry.Deleted && service != "" {
			l.mark(registry.Services, o.GetNamespace(), service)
		}
		return
	}
	l.mark(c.Resource, o.GetNamespace(), o.GetName())
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
		if resource, ok := ownerResource(ref.Kind); ok {
			l.mark(resource, o.GetNamespace(), ref.Name)
		}
	}
	if c.Resource == registry.Pods {
		l.markServicesOf(c)
		l.markAllOf(registry.Quotas, o.GetNamespace())
	}
	if c.Type == registry.Deleted || len(o.GetFinalizers()) > 0 && o.GetDeletionTimestamp() != nil {
		l.mark(orphans, o.GetNamespace(), string(o.GetUID()))
	}
	if c.Type != registry.Deleted {
		return
	}
	delete(l.pods, o.GetUID())
	delete(l.jobs, o.GetUID())
	delete(l.progress, o.GetUID())
	if c.Resource == registry.Pods {
		l.markPending()
		l.markDeploymentOf(o) // one that recreates waits for it
	}
	if ns := o.GetNamespace(); ns != "" {
		l.mark(registry.Namespaces, "", ns)
	}
}

func ownerResource(kind string) (string, bool) {
	switch kind {
	case "Deployment":
		return registry.Deployments, true
	case "ReplicaSet":
		return registry.ReplicaSets, true
	case "StatefulSet":
		return registry.StatefulSets, true
	case "DaemonSet":
		return registry.DaemonSets, true
	case "Job":
		return registry.Jobs, true
	default:
		return "", false
	}
}

func (l *Loop) markAllOf(resource, namespace string) {
	found, _ := l.reg.List(resource, namespace, nil)
	for _, o := range found {
		l.mark(resource, o.GetNamespace(), o.GetName())
	}
}

// markServicesOf marks the Services that select a pod, or did before it changed.
func (l *Loop) markServicesOf(c registry.Change) {
	l.reg.Each(registry.Services, c.Object.GetNamespace(), func(o registry.Object) {
		svc, ok := o.(*corev1.Service)
		if ok && (selects(svc, c.Object) || c.Before != nil && selects(svc, c.Before)) {
			l.mark(registry.Services, svc.Namespace, svc.Name)
		}
	})
}

// selects is labels.SelectorFromSet without the work of making one, because it is asked for every pod and Service.
func selects(svc *corev1.Service, pod registry.Object) bool {
	has := pod.GetLabels()
	for name, value := range svc.Spec.Selector {
		if got, ok := has[name]; !ok || got != value {
			return false
		}
	}
	return len(svc.Spec.Selector) > 0
}

// markDeploymentOf marks the Deployment that a pod is of, by its ReplicaSet.
func (l *Loop) markDeploymentOf(pod registry.Object) {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.Kind != "ReplicaSet" {
		return
	}
	rs, err := l.reg.Get(registry.ReplicaSets, pod.GetNamespace(), ref.Name)
	if err != nil { // it is gone, and with it what would tell
		l.markAllOf(registry.Deployments, pod.GetNamespace())
		return
	}
	if owner := metav1.GetControllerOfNoCopy(rs); owner != nil {
		l.mark(registry.Deployments, pod.GetNamespace(), owner.Name)
	}
}

// markPending lets the scheduler try again once room may have come free.
func (l *Loop) markPending() {
	found, _ := l.reg.List(registry.Pods, "", func(o registry.Object) bool {
		pod, ok := o.(*corev1.Pod)
		return ok && pod.Spec.NodeName == ""
	})
	for _, o := range found {
		l.mark(registry.Pods, o.GetNamespace(), o.GetName())
	}
}

func (l *Loop) work(stop <-chan struct{}) {
	for len(l.dirty) > 0 && !closed(stop) {
		it := l.dirty[0]
		l.dirty = l.dirty[1:]
		delete(l.queued, it)
		after, err := l.reconcile(it)
		switch {
		case err == nil || apierrors.IsNotFound(err):
			delete(l.errs, it)
		default:
			l.errs[it]++
			after = l.scaled(time.Second << min(l.errs[it], 6))
			l.Logger.Debug("controller tries again", "resource", it.resource, "namespace", it.namespace, "name", it.name, "after", after, "error", err)
		}
		if after > 0 {
			l.later(it, after)
		}
	}
}

func closed(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// reconcile brings one item nearer to what is wanted; a positive duration asks to be called again after it.
func (l *Loop) reconcile(it item) (time.Duration, error) {
	if it.resource == orphans {
		return 0, l.reconcileOrphans(it.namespace, it.name)
	}
	obj, err := l.reg.Get(it.resource, it.namespace, it.name)
	if err != nil {
		return 0, err // a missing object is nothing to do, and the caller checks for it
	}
	switch it.resource {
	case registry.Namespaces:
		return 0, l.reconcileNamespace(obj)
	case registry.Deployments:
		return l.reconcileDeployment(obj)
	case registry.ReplicaSets:
		return l.reconcileReplicaSet(obj)
	case registry.StatefulSets:
		return 0, l.reconcileStatefulSet(obj)
	case registry.DaemonSets:
		return 0, l.reconcileDaemonSet(obj)
	case registry.Jobs:
		return l.reconcileJob(obj)
	case registry.Pods:
		return l.reconcilePod(obj)
	case registry.Services:
		return 0, l.reconcileService(obj)
	case registry.Quotas:
		return 0, l.reconcileQuota(obj)
	default:
		return 0, nil
	}
}

// later asks for an item to be looked at again; an earlier wish stands.
func (l *Loop) later(it item, after time.Duration) {
	at := l.Now().Add(after)
	if before, ok := l.due[it]; !ok || at.Before(before) {
		l.due[it] = at
	}
}

func (l *Loop) untilDue() time.Duration {
	wait := time.Hour
	now := l.Now()
	for _, at := range l.due {
		wait = min(wait, at.Sub(now))
	}
	return max(wait, 0)
}

func (l *Loop) markDue() {
	now := l.Now()
	var ready []item
	for it, at := range l.due {
		if !at.After(now) {
			ready = append(ready, it)
		}
	}
	sort.Slice(ready, func(i, j int) bool { return l.due[ready[i]].Before(l.due[ready[j]]) })
	for _, it := range ready {
		delete(l.due, it)
		l.mark(it.resource, it.namespace, it.name)
	}
}

// scaled is one of Kubernetes' own waiting times at the simulation's speed.
func (l *Loop) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / l.Speed)
}

func (l *Loop) stamp() metav1.Time {
	return metav1.NewTime(l.Now().UTC().Truncate(time.Second))
}
