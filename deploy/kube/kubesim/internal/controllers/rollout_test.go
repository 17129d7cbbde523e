package controllers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func rolling(replicas int32, surge, unavailable string) *appsv1.Deployment {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &replicas, Strategy: appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u},
	}}}
}

func set(name string, size, available int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.ReplicaSetSpec{Replicas: &size},
		Status:     appsv1.ReplicaSetStatus{Replicas: size, AvailableReplicas: available},
	}
}

func TestOneStepOfARollingUpdate(t *testing.T) {
	cases := []struct {
		name string
		r    rollout
		want map[string]int32
	}{
		{"the first step surges", rollout{d: rolling(4, "25%", "25%"), newRS: set("new", 0, 0), old: []*appsv1.ReplicaSet{set("old", 4, 4)}}, map[string]int32{"new": 1}},
		{"then old pods go as far as they may be missing", rollout{d: rolling(4, "25%", "25%"), newRS: set("new", 1, 0), old: []*appsv1.ReplicaSet{set("old", 4, 4)}}, map[string]int32{"old": 3}},
		{"without surge and new pods that wait nothing moves", rollout{d: rolling(4, "1", "0"), newRS: set("new", 1, 0), old: []*appsv1.ReplicaSet{set("old", 4, 4)}}, map[string]int32{}},
		{"a new pod that is available frees an old one", rollout{d: rolling(4, "1", "0"), newRS: set("new", 1, 1), old: []*appsv1.ReplicaSet{set("old", 4, 4)}}, map[string]int32{"old": 3}},
		{"broken old pods go first", rollout{d: rolling(4, "0", "1"), newRS: set("new", 0, 0), old: []*appsv1.ReplicaSet{set("broken", 1, 0), set("old", 3, 3)}}, map[string]int32{"broken": 0}},
		{"a finished rollout rests", rollout{d: rolling(4, "1", "0"), newRS: set("new", 4, 4), old: []*appsv1.ReplicaSet{set("old", 0, 0)}}, map[string]int32{}},
		{"a new set that is too large shrinks", rollout{d: rolling(2, "1", "0"), newRS: set("new", 4, 4)}, map[string]int32{"new": 2}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.r.sizes()); diff != "" {
				t.Errorf("sizes differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScalingInTheMiddleOfARolloutSharesBySize(t *testing.T) {
	r := rollout{d: rolling(20, "5", "0"), newRS: set("new", 5, 0), old: []*appsv1.ReplicaSet{set("old", 10, 10)}}
	got := r.rescaled()
	if got["new"]+got["old"] != 25 || got["old"] != 17 || got["new"] != 8 {
		t.Errorf("shares are %v, want 17 for the old and 8 for the new", got)
	}
}

func TestCrashWaitDoublesUpToFiveMinutes(t *testing.T) {
	var got []string
	for _, restarts := range []int32{1, 2, 3, 6, 7, 100} {
		got = append(got, crashWait(restarts).String())
	}
	if diff := cmp.Diff([]string{"10s", "20s", "40s", "5m0s", "5m0s", "5m0s"}, got); diff != "" {
		t.Errorf("waits differ (-want +got):\n%s", diff)
	}
}
