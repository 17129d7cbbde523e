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
	baseline := condition{track: TrackBaseline, since: pair.Since, now: time.Now()}
	if err := where.examine(ctx, &baseline, pair.Baseline); err != nil {
		return "", "", err
	}
	canary := baseline.canary()
	if err := where.examine(ctx, &canary, pair.Canary); err != nil {
		return "", "", err
	}
	unwell, unequal = compareConditions(baseline, canary)
	return unwell, unequal, nil
}

// condition is how the pods of a track are.
type condition struct {
	track      string
	since, now time.Time // when the pair was available, and when it is looked at
	excused    bool      // restarts are no crash loop: the baseline has them as well

	want      int32     // pods
	ready     int32     // that are
	readyOn   []string  // nodes
	restarted bool      // a container, since the pair was available
	gone      []string  // titles of Deployments
	ill       []ailment // of pods that don't work by the track's own doing, in the order of their names
	unlucky   []string  // why others don't
}

// ailment is what is wrong with a pod by its own doing.
type ailment struct {
	kind   illness
	detail string
	node   string // that may have ended the pod's containers, "" if it didn't
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

// canary is what the canary's condition begins with, when this is the baseline's.
func (c *condition) canary() condition {
	return condition{track: TrackCanary, since: c.since, now: c.now, excused: c.restarted}
}

// examine reads the Deployments of a track and their pods.
func (p place) examine(ctx context.Context, c *condition, t pipeline.Track) error {
	for _, name := range t.Workloads {
		live, err := p.readDeployment(ctx, deploymentNamed(name))
		if err != nil {
			return err
		}
		if !c.include(name, live) {
			continue
		}
		own := labels.Set{LabelTrack: c.track, LabelPair: live.Labels[LabelPair], LabelWorkload: live.Labels[LabelWorkload]}
		pods, err := p.Cluster.List(ctx, corev1.SchemeGroupVersion.WithKind("Pod"), own.String())
		if err != nil {
			return err
		}
		slices.SortFunc(pods, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
		for _, u := range pods {
			pod := &corev1.Pod{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, pod); err != nil {
				return fmt.Errorf("read pod %s: %w", u.GetName(), err)
			}
			c.add(pod)
		}
	}
	return nil
}

// include takes in a Deployment of the track, and tells whether it is there.
func (c *condition) include(name string, live *appsv1.Deployment) bool {
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
		c.readyOn = append(c.readyOn, pod.Spec.NodeName)
	}
	c.restarted = c.restarted || slices.ContainsFunc(statuses(pod), func(s corev1.ContainerStatus) bool {
		end := ending(s)
		return end != nil && (s.RestartCount > 0 || end.ExitCode != 0) && !end.FinishedAt.Time.Before(c.since)
	})
	switch ill, unlucky := c.complaint(pod); {
	case ill.kind != well:
		c.ill = append(c.ill, ill)
	case unlucky != "":
		c.unlucky = append(c.unlucky, unlucky)
	}
}

func statuses(pod *corev1.Pod) []corev1.ContainerStatus {
	return slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
}

// complaint says what is wrong with a pod: by its own doing, or by something else's.
func (c *condition) complaint(pod *corev1.Pod) (ill ailment, unlucky string) {
	for _, s := range statuses(pod) {
		if !c.excused && c.loops(s) {
			return ailment{kind: crashing, detail: fmt.Sprintf("container %s %s and was restarted %d times", s.Name, ended(s), s.RestartCount)}, ""
		}
	}
	fell := fellOut(pod)
	if troubles := podTroubles(pod, Patience{}); len(troubles) > 0 {
		t := troubles[0]
		switch {
		case t.code == pipeline.ReasonImagePull || strings.HasPrefix(t.key, "start/"):
			return ailment{kind: notStarting, detail: t.detail}, ""
		case t.code == pipeline.ReasonCrashLoop && fell:
			return ailment{kind: notReady, detail: t.detail}, ""
		}
		return ailment{}, t.detail // such as evicted, or without a node
	}
	switch {
	case isReady(pod):
		return ailment{}, ""
	case fell && nodeSilent(pod):
		return ailment{}, "the node of pod " + pod.Name + " doesn't answer"
	case fell && slices.ContainsFunc(statuses(pod), lost):
		return ailment{kind: notReady, detail: "pod " + pod.Name, node: pod.Spec.NodeName}, ""
	case fell:
		return ailment{kind: notReady, detail: "pod " + pod.Name}, ""
	}
	return ailment{}, "pod " + pod.Name + " is starting"
}

// loops tells that a container is in a crash loop: it ended twice since the pair was available, last with an error, and waits
// to be started again or did so recently. A container that was up when the pair was has ended twice if the run that ended
// last began later; what it did while it started up doesn't count. What is longer ago is for the metrics.
func (c *condition) loops(s corev1.ContainerStatus) bool {
	const recently = 10 * time.Minute
	end := ending(s)
	waits := s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff"
	switch {
	case s.RestartCount < restarts:
		return false
	case end == nil:
		return waits
	case end.ExitCode == 0, end.StartedAt.Time.Before(c.since.Truncate(time.Second)): // the cluster's times are whole seconds
		return false
	}
	return waits || s.State.Terminated != nil || c.now.Sub(end.FinishedAt.Time) < recently
}

// ending is how a container's last run ended, nil if none is known to have.
func ending(s corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if s.State.Terminated != nil {
		return s.State.Terminated
	}
	return s.LastTerminationState.Terminated
}

// lost tells that a container may have ended with its node: containerd gives code 255 and Unknown, CRI-O and Docker the code
// only, and the kubelet ContainerStatusUnknown. A program can end with 255 as well.
func lost(s corev1.ContainerStatus) bool {
	end := ending(s)
	return end != nil && (end.ExitCode == 255 || end.Reason == "ContainerStatusUnknown")
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
	if rebooted(baseline, canary) {
		canary.unlucky = append(canary.unlucky, "the containers of "+canary.ill[0].detail+" ended with their node")
		canary.ill = nil
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
		case len(c.unlucky) > 0:
			text += "; " + c.track + ": " + c.unlucky[0]
		}
	}
	return "", clip(text, maxDetail)
}

// rebooted tells that nodes may have taken all unwell pods of the canary down and come back: no pod of the pair is ready there.
func rebooted(baseline, canary condition) bool {
	ready := slices.Concat(baseline.readyOn, canary.readyOn)
	return len(canary.ill) > 0 && !slices.ContainsFunc(canary.ill, func(a ailment) bool { return a.node == "" || slices.Contains(ready, a.node) })
}
