package deploy

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// guarded is a track of two pods whose statuses are given.
func guarded(track string, statuses ...corev1.PodStatus) Workload {
	two := int32(2)
	w := Workload{Deployment: &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: track, Labels: map[string]string{LabelTrack: track}}, Spec: appsv1.DeploymentSpec{Replicas: &two}}}
	for i, s := range statuses {
		w.Pods = append(w.Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", track, i)}, Status: s})
	}
	return w
}

func TestHowLongACanaryMayBeUnwell(t *testing.T) {
	start := metav1.NewTime(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	notReady := func(reason string, containers corev1.ConditionStatus) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &start, Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: reason, LastTransitionTime: metav1.NewTime(start.Add(time.Minute))},
			{Type: corev1.ContainersReady, Status: containers},
		}}
	}
	ready := corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	crash := ready
	crash.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "app", RestartCount: 2, LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, StartedAt: start, FinishedAt: start}},
	}}
	rare, restarted := ready, ready // a crash in the canary's past, and one of the baseline
	early := metav1.NewTime(start.Add(-9*time.Minute - 30*time.Second))
	rare.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "app", RestartCount: 2, LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, StartedAt: early, FinishedAt: early}},
	}}
	restarted.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "app", RestartCount: 1, LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, StartedAt: early, FinishedAt: start}},
	}}
	pull := corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{
		{Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}},
	}}
	slow, lost, fallen := corev1.PodStatus{Phase: corev1.PodPending}, notReady("", corev1.ConditionTrue), notReady("ContainersNotReady", corev1.ConditionFalse)

	pictures := map[string]Picture{}
	add := func(name string, baseline, canary Workload) {
		pictures[name] = Picture{Workloads: []Workload{baseline, canary}}
	}
	fine := guarded(TrackBaseline, ready, ready)
	add("well", fine, guarded(TrackCanary, ready, ready))
	add("not ready", fine, guarded(TrackCanary, ready, fallen))
	add("crashing", fine, guarded(TrackCanary, crash, ready))
	add("crashed before", fine, guarded(TrackCanary, rare, ready))
	add("crashing beside a restarted baseline", guarded(TrackBaseline, ready, restarted), guarded(TrackCanary, crash, ready))
	add("without an image", fine, guarded(TrackCanary, ready, pull))
	add("on a silent node", fine, guarded(TrackCanary, ready, lost))
	add("beside a slow baseline", guarded(TrackBaseline, ready, slow), guarded(TrackCanary, crash, crash))
	add("both crashing", guarded(TrackBaseline, ready, crash), guarded(TrackCanary, crash, crash))
	add("without a baseline", Workload{}, guarded(TrackCanary, crash, crash))
	pictures["unreachable"] = Picture{Trouble: "cluster unreachable, trying again"}

	// What follows from a picture: after how many seconds it is judged again, or that the cluster itself is looked at.
	const unwell, well, away, hour = "the canary is unwell", "it is found well", "the look fails", "3600"
	type step struct {
		second  int
		picture string
		follows string
	}
	for name, steps := range map[string][]step{
		"a crash loop stops it at once": {{0, "well", hour}, {1, "crashing", unwell}},
		"a crash ages":                  {{0, "crashed before", unwell}, {31, "crashed before", hour}},
		"where the baseline was restarted as well, the metrics decide": {{0, "crashing beside a restarted baseline", hour}},
		"a pod that isn't ready may be so for a moment": {
			{0, "not ready", "30"}, {10, "not ready", "20"}, {29, "well", hour}, {30, "not ready", "30"}, {59, "not ready", "1"}, {60, "not ready", unwell},
		},
		"a pod without its image, too":                               {{0, "without an image", "30"}, {30, "without an image", unwell}},
		"a pod that loses its node is none of the canary's doing":    {{0, "on a silent node", hour}, {60, "on a silent node", hour}},
		"where the baseline lacks pods, it may be about to crash":    {{0, "beside a slow baseline", "30"}, {10, "both crashing", hour}},
		"where it doesn't, that is the canary's":                     {{0, "beside a slow baseline", "30"}, {30, "beside a slow baseline", unwell}},
		"a baseline that is gone is the looks' business":             {{0, "without a baseline", hour}},
		"a cluster that is away is no verdict":                       {{0, "not ready", "30"}, {20, "unreachable", hour}, {40, "not ready", "30"}, {70, "not ready", unwell}},
		"a look that fails is none":                                  {{0, "crashing", away}},
		"a look that finds it well knows better than an old picture": {{0, "crashing", well}, {1, "crashing", unwell}},
	} {
		t.Run(name, func(t *testing.T) {
			says, broken, looked := "", error(nil), false
			g := &pairGuard{
				pair: pipeline.Pair{Since: early.Time, Baseline: pipeline.Track{Workloads: []string{TrackBaseline}}, Canary: pipeline.Track{Workloads: []string{TrackCanary}}},
				look: func(context.Context) (string, error) { looked = true; return says, broken },
			}
			for _, s := range steps {
				says, broken, looked = "", nil, false
				switch s.follows {
				case unwell:
					says = unwell
				case away:
					broken = errors.New(away)
				}
				g.see(pictures[s.picture])
				done, again, err := g.judge(t.Context(), start.Add(time.Duration(s.second)*time.Second))
				got := fmt.Sprint(int(again.Seconds()))
				switch {
				case err != nil:
					got = err.Error()
				case done:
					got = g.unwell
				case looked:
					got = well
				}
				if got != s.follows {
					t.Errorf("second %d, %s: %s follows, want %s", s.second, s.picture, got, s.follows)
				}
			}
		})
	}
}
