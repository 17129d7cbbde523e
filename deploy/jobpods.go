package deploy

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// podless is the trouble of a Job that the cluster makes no pod for.
const podless = "podless"

// hasNoPod tells that a Job has not had any pod yet, and shall have one.
func hasNoPod(w Workload) bool {
	s := w.Job.Status
	suspended := w.Job.Spec.Suspend != nil && *w.Job.Spec.Suspend
	return len(w.Pods) == 0 && s.Active == 0 && s.Succeeded == 0 && s.Failed == 0 && !suspended
}

// refused says why the cluster makes no pod for the Job, nil if it doesn't say. A Job's status is silent about it, unlike a
// Deployment's: only the cluster's events tell.
func (w *jobWatch) refused(ctx context.Context) *trouble {
	events, err := w.where.Cluster.List(ctx, corev1.SchemeGroupVersion.WithKind("Event"), "")
	if err != nil {
		return nil // the right is optional, and a cluster that doesn't answer is told by the watch
	}
	var newest *corev1.Event
	for _, o := range events {
		e := &corev1.Event{}
		if runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, e) != nil {
			continue
		}
		if e.Reason == "FailedCreate" && e.InvolvedObject.UID == w.last.Job.UID && (newest == nil || !e.LastTimestamp.Before(&newest.LastTimestamp)) {
			newest = e
		}
	}
	if newest == nil {
		return nil
	}
	return refusedPods(w.job.Title(), newest.Message)
}
