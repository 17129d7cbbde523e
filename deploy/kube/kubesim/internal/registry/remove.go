package registry

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Removal says how an object is deleted.
type Removal struct {
	GraceSeconds  *int64 // nil: what the object says
	Propagation   metav1.DeletionPropagation
	Preconditions Preconditions
	DryRun        bool
}

// Delete removes an object at once, or marks it where something has to happen first: a running pod stops, a namespace is
// emptied, a finalizer is waited for. It returns the object's last version and whether it is gone.
// Removing what the object owned is the garbage collector's work, which follows the log.
func (r *Registry) Delete(resource, namespace, name string, d Removal) (Object, bool, error) {
	k, err := r.kind(resource)
	if err != nil {
		return nil, false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	live, err := r.get(k, namespace, name)
	if err != nil {
		return nil, false, err
	}
	if err := d.Preconditions.check(k, live); err != nil {
		return nil, false, err
	}
	if d.DryRun {
		return live, true, nil
	}
	obj, err := copyOf(live)
	if err != nil {
		return nil, false, err
	}
	addFinalizer(obj, d.Propagation)
	grace := graceSeconds(obj, d)
	wait := len(obj.GetFinalizers()) > 0 || k.Resource == Namespaces || grace > 0
	if !wait {
		return r.drop(k, live), true, nil
	}
	if live.GetDeletionTimestamp() != nil && len(obj.GetFinalizers()) == len(live.GetFinalizers()) {
		return live, false, nil
	}
	if live.GetDeletionTimestamp() == nil {
		at := metav1.NewTime(r.stamp().Add(time.Duration(grace) * time.Second))
		obj.SetDeletionTimestamp(&at)
		obj.SetDeletionGracePeriodSeconds(&grace)
		if obj.GetGeneration() > 0 {
			obj.SetGeneration(obj.GetGeneration() + 1)
		}
	}
	if ns, ok := obj.(*corev1.Namespace); ok {
		ns.Status.Phase = corev1.NamespaceTerminating
	}
	r.store(k, live, obj)
	return obj, false, nil
}

// Finish removes an object for good, whatever it waited for: the last step of a pod's or a namespace's end.
func (r *Registry) Finish(resource, namespace, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.kinds[resource]
	if !ok {
		return
	}
	if live, err := r.get(k, namespace, name); err == nil {
		r.drop(k, live)
	}
}

func addFinalizer(obj Object, p metav1.DeletionPropagation) {
	var want string
	switch p {
	case metav1.DeletePropagationForeground:
		want = metav1.FinalizerDeleteDependents
	case metav1.DeletePropagationOrphan:
		want = metav1.FinalizerOrphanDependents
	case metav1.DeletePropagationBackground, "":
		return
	}
	if !slices.Contains(obj.GetFinalizers(), want) {
		obj.SetFinalizers(append(slices.Clone(obj.GetFinalizers()), want))
	}
}

// graceSeconds is how long a pod has to stop: nothing for one that no node runs.
func graceSeconds(obj Object, d Removal) int64 {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return 0
	}
	if d.GraceSeconds != nil {
		return *d.GraceSeconds
	}
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		return *pod.Spec.TerminationGracePeriodSeconds
	}
	return corev1.DefaultTerminationGracePeriodSeconds
}
