package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// PairHealth looks at the pods of a pair. unwell says what is wrong with the canary's while the baseline's are fine, and
// unequal why the two can't be compared for another reason, such as a pod that a node took with it; "" if nothing.
func (e *Executor) PairHealth(ctx context.Context, t *pipeline.Task, environment string, pair pipeline.Pair) (unwell, unequal string, err error) {
	where, err := e.place(ctx, t, environment, pipeline.Release{})
	if err != nil {
		return "", "", err
	}
	baseline, err := where.condition(ctx, TrackBaseline, pair.Baseline)
	if err != nil {
		return "", "", err
	}
	canary, err := where.condition(ctx, TrackCanary, pair.Canary)
	if err != nil {
		return "", "", err
	}
	unwell, unequal = compareConditions(baseline, canary)
	return unwell, unequal, nil
}

// condition is how the pods of a track are.
type condition struct {
	track string
	want  int32     // pods
	ready int32     // that are
	gone  []string  // titles of Deployments
	ill   []ailment // of pods that don't work by the track's own doing, in the order of their names
	other []string  // why others don't
}

// ailment is what is wrong with a pod by its own doing.
type ailment struct {
	kind   illness
	detail string
}

type illness int

const (
	well illness = iota
	crashing
	notStarting
	notReady // any more
)

// of says how many pods have it.
func (i illness) of(n int) string {
	one := n == 1
	switch i {
	case crashing:
		if one {
			return "crashes"
		}
		return "crash"
	case notStarting:
		if one {
			return "doesn't start"
		}
		return "don't start"
	case notReady:
		if one {
			return "isn't ready any more"
		}
		return "aren't ready any more"
	case well:
	}
	return "well"
}

// condition reads the Deployments of a track and their pods.
func (p place) condition(ctx context.Context, track string, t pipeline.Track) (condition, error) {
	c := condition{track: track}
	for _, name := range t.Workloads {
		live, err := p.readDeployment(ctx, deploymentNamed(name))
		if err != nil {
			return c, err
		}
		if !c.counts(name, live) {
			continue
		}
		own := labels.Set{LabelTrack: track, LabelPair: live.Labels[LabelPair], LabelWorkload: live.Labels[LabelWorkload]}
		pods, err := p.Cluster.List(ctx, corev1.SchemeGroupVersion.WithKind("Pod"), own.String())
		if err != nil {
			return c, err
		}
		slices.SortFunc(pods, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
		for _, u := range pods {
			pod := &corev1.Pod{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, pod); err != nil {
				return c, fmt.Errorf("read pod %s: %w", u.GetName(), err)
			}
			c.add(pod)
		}
	}
	return c, nil
}

// counts takes in a Deployment of the track, and tells whether it is there.
func (c *condition) counts(name string, live *appsv1.Deployment) bool {
	if live == nil || live.DeletionTimestamp != nil || live.Labels[LabelTrack] != c.track {
		c.gone = append(c.gone, deploymentNamed(name).Title())
		return false
	}
	c.want += replicas(live.Spec.Replicas)
	return true
}

func (c *condition) add(pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded {
		return
	}
	if isReady(pod) {
		c.ready++
	}
	switch ill, other := complaint(pod); {
	case ill.kind != well:
		c.ill = append(c.ill, ill)
	case other != "":
		c.other = append(c.other, other)
	}
}

// complaint says what is wrong with a pod: by its own doing, or by something else's.
func complaint(pod *corev1.Pod) (ill ailment, other string) {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if last := s.LastTerminationState.Terminated; s.RestartCount >= restarts && (last == nil || last.ExitCode != 0) {
			return ailment{crashing, fmt.Sprintf("container %s %s and was restarted %d times", s.Name, ended(s), s.RestartCount)}, ""
		}
	}
	if troubles := podTroubles(pod, Patience{}); len(troubles) > 0 {
		t := troubles[0]
		if t.code == pipeline.ReasonImagePull || strings.HasPrefix(t.key, "start/") {
			return ailment{notStarting, t.detail}, ""
		}
		return ailment{}, t.detail // such as evicted, or without a node
	}
	switch {
	case isReady(pod):
		return ailment{}, ""
	case fellOut(pod) && nodeSilent(pod):
		return ailment{}, "the node of pod " + pod.Name + " doesn't answer"
	case fellOut(pod):
		return ailment{notReady, "pod " + pod.Name}, ""
	}
	return ailment{}, "pod " + pod.Name + " is starting"
}

// fellOut tells that a pod was ready before: its condition changed later than at its start. Both times are the cluster's.
func fellOut(pod *corev1.Pod) bool {
	const atStart = 2 * time.Second
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse && pod.Status.StartTime != nil {
			return pod.Status.Phase == corev1.PodRunning && c.LastTransitionTime.Sub(pod.Status.StartTime.Time) > atStart
		}
	}
	return false
}

// nodeSilent tells that the cluster itself has called a pod not ready, because its node doesn't answer: unlike the node's
// kubelet it gives no reason, and leaves what is said of the containers. (MarkPodsNotReady in Kubernetes'
// pkg/controller/util/node.)
func nodeSilent(pod *corev1.Pod) bool {
	unexplained, containersReady := false, false
	for _, c := range pod.Status.Conditions {
		switch c.Type { //nolint:exhaustive // the others say nothing of it
		case corev1.PodReady:
			unexplained = c.Status == corev1.ConditionFalse && c.Reason == ""
		case corev1.ContainersReady:
			containersReady = c.Status == corev1.ConditionTrue
		}
	}
	return unexplained && containersReady
}

// compareConditions says what is wrong with the canary alone, or why the tracks can't be compared.
func compareConditions(baseline, canary condition) (unwell, unequal string) {
	for _, c := range []condition{baseline, canary} {
		if len(c.gone) > 0 {
			return "", fmt.Sprintf("%s of the %s is gone: somebody has removed it", strings.Join(c.gone, ", "), c.track)
		}
	}
	if n := len(canary.ill); n > 0 && len(baseline.ill) == 0 {
		return clip(fmt.Sprintf("%d of %d canary pods %s: %s", n, canary.want, canary.ill[0].kind.of(n), canary.ill[0].detail), maxDetail), ""
	}
	if baseline.ready == canary.ready && baseline.want == canary.want {
		return "", ""
	}
	text := fmt.Sprintf("the baseline has %d of %d pods ready, and the canary %d of %d", baseline.ready, baseline.want, canary.ready, canary.want)
	for _, c := range []condition{baseline, canary} {
		switch {
		case len(c.ill) > 0:
			text += "; " + c.track + ": " + c.ill[0].detail
		case len(c.other) > 0:
			text += "; " + c.track + ": " + c.other[0]
		}
	}
	return "", clip(text, maxDetail)
}
