package deploy

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// standing is how far the rollout of one workload is.
type standing struct {
	done    bool
	ready   int32 // pods of the newest revision that are available
	want    int32 // pods of the newest revision that there shall be
	words   string
	trouble *trouble // that ends the rollout by itself
}

// stand reads a workload's status as `kubectl rollout status` does.
func stand(o manifest.Object, w Workload) standing {
	switch {
	case w.Deployment != nil:
		return standDeployment(w.Deployment)
	case w.StatefulSet != nil:
		return standStatefulSet(w.StatefulSet)
	case w.DaemonSet != nil:
		return standDaemonSet(w.DaemonSet)
	}
	return standing{trouble: &trouble{code: pipeline.ReasonOther, key: "gone/" + o.Title(), detail: o.Title() + " is gone, or has lost Slipway's labels, while it rolled out"}}
}

func standDeployment(d *appsv1.Deployment) standing {
	s := standing{want: replicas(d.Spec.Replicas)}
	if d.Status.ObservedGeneration < d.Generation {
		s.words = "waiting for the cluster to notice deployment " + d.Name
		return s
	}
	// The status counts available pods of all revisions. Those of the one before are taken for available.
	before := d.Status.Replicas - d.Status.UpdatedReplicas
	s.ready = min(max(0, d.Status.AvailableReplicas-before), d.Status.UpdatedReplicas, s.want)
	for _, c := range d.Status.Conditions {
		switch {
		case c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded":
			s.trouble = &trouble{code: pipeline.ReasonDeadline, key: "deadline/" + d.Name, detail: fmt.Sprintf("deployment %s: %s", d.Name, ofPods(s.ready, s.want))}
		case c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue:
			s.trouble = refusedPods("deployment "+d.Name, c.Message)
		}
	}
	switch {
	case d.Status.UpdatedReplicas < s.want:
		s.words = ofPods(s.ready, s.want)
	case d.Status.Replicas > d.Status.UpdatedReplicas:
		s.words = old(d.Status.Replicas - d.Status.UpdatedReplicas)
	case d.Status.AvailableReplicas < d.Status.UpdatedReplicas:
		s.words = ofPods(s.ready, s.want)
	default:
		return standing{done: true, ready: s.want, want: s.want}
	}
	if d.Spec.Paused && s.trouble == nil {
		s.trouble = &trouble{code: pipeline.ReasonOther, key: "paused/" + d.Name, detail: "deployment " + d.Name + " is paused, so it doesn't roll out"}
	}
	return s
}

func standStatefulSet(d *appsv1.StatefulSet) standing {
	s := standing{want: replicas(d.Spec.Replicas)}
	if d.Status.ObservedGeneration < d.Generation {
		s.words = "waiting for the cluster to notice stateful set " + d.Name
		return s
	}
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return standing{done: true, ready: s.want, want: s.want} // its pods change when people delete them
	}
	updated := s.want
	rolling := d.Spec.UpdateStrategy.RollingUpdate
	partitioned := rolling != nil && rolling.Partition != nil && *rolling.Partition > 0
	if partitioned {
		updated = max(0, s.want-*rolling.Partition)
	}
	same := d.Status.UpdateRevision == d.Status.CurrentRevision
	done := d.Status.AvailableReplicas >= s.want && d.Status.Replicas <= s.want &&
		(same || partitioned && d.Status.UpdatedReplicas >= updated)
	if done {
		return standing{done: true, ready: s.want, want: s.want}
	}
	s.ready = min(d.Status.AvailableReplicas, s.want)
	if !same {
		s.ready = min(s.ready, d.Status.UpdatedReplicas)
	}
	s.words = ofPods(s.ready, s.want)
	return s
}

func standDaemonSet(d *appsv1.DaemonSet) standing {
	s := standing{want: d.Status.DesiredNumberScheduled}
	switch {
	case d.Status.ObservedGeneration < d.Generation:
		s.words = "waiting for the cluster to notice daemon set " + d.Name
	case d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType,
		d.Status.UpdatedNumberScheduled >= s.want && d.Status.NumberAvailable >= s.want:
		s.done, s.ready = true, s.want
	default:
		s.ready = min(d.Status.UpdatedNumberScheduled, d.Status.NumberAvailable)
		s.words = ofPods(s.ready, s.want)
	}
	return s
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func ofPods(ready, want int32) string {
	if want == 1 {
		return fmt.Sprintf("%d of 1 pod ready", ready)
	}
	return fmt.Sprintf("%d of %d pods ready", ready, want)
}

func old(n int32) string {
	if n == 1 {
		return "1 old pod is going"
	}
	return fmt.Sprintf("%d old pods are going", n)
}

// summary says in one line how far all workloads are.
func summary(all []standing) string {
	var open []standing
	var ready, want int32
	for _, s := range all {
		ready, want = ready+s.ready, want+s.want
		if !s.done {
			open = append(open, s)
		}
	}
	switch {
	case len(open) == 0:
		return ofPods(want, want)
	case ready < want:
		return ofPods(ready, want)
	}
	return open[0].words
}

// meta is the metadata of whichever workload it is, nil if there is none.
func (w Workload) meta() metav1.Object {
	switch {
	case w.Deployment != nil:
		return w.Deployment
	case w.StatefulSet != nil:
		return w.StatefulSet
	case w.DaemonSet != nil:
		return w.DaemonSet
	case w.Job != nil:
		return w.Job
	}
	return nil
}
