package deploy

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// podless is the trouble of a controller that the cluster makes no pod for. The status of a Job, StatefulSet or DaemonSet
// is silent about it, unlike a Deployment's: only the cluster's events tell.
const podless = "podless"

// hasNoPod tells that a Job has not had any pod yet, and shall have one.
func hasNoPod(w Workload) bool {
	s := w.Job.Status
	suspended := w.Job.Spec.Suspend != nil && *w.Job.Spec.Suspend
	return len(w.Pods) == 0 && s.Active == 0 && s.Succeeded == 0 && s.Failed == 0 && !suspended
}

// lacksPods tells that a StatefulSet or DaemonSet shall have more pods, and that none of those which it has is in the way.
func lacksPods(w Workload) bool {
	switch {
	case w.StatefulSet != nil:
		d := w.StatefulSet
		inTurn := d.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
		return d.Status.Replicas < replicas(d.Spec.Replicas) && (!inTurn || d.Status.ReadyReplicas >= d.Status.Replicas)
	case w.DaemonSet != nil:
		return w.DaemonSet.Status.CurrentNumberScheduled < w.DaemonSet.Status.DesiredNumberScheduled
	}
	return false
}

// refusals are the newest words by which the cluster refused to make a pod for each controller. They are empty where the
// cluster doesn't say: the right to read events is optional, and a cluster that doesn't answer is told by the watch.
func refusals(ctx context.Context, cluster Cluster) map[types.UID]*corev1.Event {
	events, err := cluster.List(ctx, corev1.SchemeGroupVersion.WithKind("Event"), "")
	if err != nil {
		return nil
	}
	newest := map[types.UID]*corev1.Event{}
	for _, o := range events {
		e := &corev1.Event{}
		if runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, e) != nil || e.Reason != "FailedCreate" {
			continue
		}
		if known := newest[e.InvolvedObject.UID]; known == nil || !e.LastTimestamp.Before(&known.LastTimestamp) {
			newest[e.InvolvedObject.UID] = e
		}
	}
	return newest
}

// refused says why the cluster makes no pod for the Job, nil if it doesn't say.
func (w *jobWatch) refused(ctx context.Context) *trouble {
	e := refusals(ctx, w.where.Cluster)[w.last.Job.UID]
	if e == nil {
		return nil
	}
	return refusedPods(w.job.Title(), e.Message)
}

// lack is that a workload has fewer pods than it shall have, and what of the cluster's refusals is known of it. Times are
// the cluster's.
type lack struct {
	pods  int32
	old   time.Time // the newest refusal when the lack was first seen: it may be of an earlier one
	since time.Time // the first refusal after that, zero if there is none
}

// refused says why the cluster makes no more pods for a StatefulSet or DaemonSet, nil if it doesn't say or if the refusal
// may pass: only one that comes again after so long as refusals are waited out counts.
func (w *watching) refused(ctx context.Context) (found *trouble) {
	newest := refusals(ctx, w.cluster)
	before := w.lacking
	w.lacking = map[types.UID]lack{}
	for i, workload := range w.last.Workloads {
		if !lacksPods(workload) {
			continue
		}
		uid, e := workload.meta().GetUID(), newest[workload.meta().GetUID()]
		now := lack{pods: workload.podCount()}
		if e == nil {
			w.lacking[uid] = now
			continue
		}
		at := e.LastTimestamp.Time
		known, ok := before[uid]
		switch {
		case !ok || known.pods != now.pods:
			now.old = at
		case known.since.IsZero() && at.After(known.old):
			now.old, now.since = known.old, at
		default:
			now = known
		}
		w.lacking[uid] = now
		if found == nil && !now.since.IsZero() && at.Sub(now.since) >= w.patience.Refused {
			found = refusedPods(w.objects[i].Title(), e.Message)
		}
	}
	return found
}

// podCount is how many pods a StatefulSet or DaemonSet has.
func (w Workload) podCount() int32 {
	if w.StatefulSet != nil {
		return w.StatefulSet.Status.Replicas
	}
	return w.DaemonSet.Status.CurrentNumberScheduled
}
