package deploy

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestWorkloadsStandAsTheirStatusSays(t *testing.T) {
	deployment := func(spec int32, s appsv1.DeploymentStatus) Workload {
		return Workload{Deployment: &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "shop", Generation: 2}, Spec: appsv1.DeploymentSpec{Replicas: &spec}, Status: s}}
	}
	stateful := func(spec int32, partition *int32, s appsv1.StatefulSetStatus) Workload {
		set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db", Generation: 2}, Spec: appsv1.StatefulSetSpec{Replicas: &spec}, Status: s}
		set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: partition}
		return Workload{StatefulSet: set}
	}
	daemon := func(s appsv1.DaemonSetStatus) Workload {
		return Workload{DaemonSet: &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "agent", Generation: 2}, Status: s}}
	}
	cases := []struct {
		name     string
		workload Workload
		done     bool
		words    string
		trouble  pipeline.ReasonCode
	}{
		{"a deployment that the cluster hasn't noticed", deployment(3, appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}),
			false, "waiting for the cluster to notice deployment shop", ""},
		{"a deployment with pods missing", deployment(3, appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 4, UpdatedReplicas: 2, AvailableReplicas: 4}), false, "2 of 3 pods ready", ""},
		{"a deployment of which only old pods are available", deployment(2, appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 1, AvailableReplicas: 2}), false, "0 of 2 pods ready", ""},
		{"a deployment with old pods", deployment(3, appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 4, UpdatedReplicas: 3, AvailableReplicas: 4}), false, "1 old pod is going", ""},
		{"a deployment with pods that aren't available", deployment(3, appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 2}), false, "2 of 3 pods ready", ""},
		{"a deployment that is done", deployment(3, appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}), true, "", ""},
		{"a deployment of nothing", deployment(0, appsv1.DeploymentStatus{ObservedGeneration: 2}), true, "", ""},
		{"a deployment over its deadline", deployment(1, appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 1, UpdatedReplicas: 1, Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}}}), false, "0 of 1 pod ready", pipeline.ReasonDeadline},
		{"a deadline of the generation before", deployment(1, appsv1.DeploymentStatus{ObservedGeneration: 1, Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}}}), false, "waiting for the cluster to notice deployment shop", ""},
		{"a deployment whose pods are forbidden", deployment(1, appsv1.DeploymentStatus{ObservedGeneration: 2, Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: `pods "shop-1" is forbidden: violates PodSecurity "restricted:latest"`}}}), false, "0 of 1 pod ready", pipeline.ReasonForbidden},
		{"nothing", Workload{}, false, "", pipeline.ReasonOther},
		{"a stateful set under way", stateful(3, nil, appsv1.StatefulSetStatus{ObservedGeneration: 2, Replicas: 3, AvailableReplicas: 3, UpdatedReplicas: 1, CurrentRevision: "a", UpdateRevision: "b"}), false, "1 of 3 pods ready", ""},
		{"a stateful set that is done", stateful(3, nil, appsv1.StatefulSetStatus{ObservedGeneration: 2, Replicas: 3, AvailableReplicas: 3, CurrentRevision: "b", UpdateRevision: "b"}), true, "", ""},
		{"a stateful set that grows", stateful(3, nil, appsv1.StatefulSetStatus{ObservedGeneration: 2, Replicas: 2, AvailableReplicas: 2, CurrentRevision: "b", UpdateRevision: "b"}), false, "2 of 3 pods ready", ""},
		{"a stateful set up to its partition", stateful(3, new(int32(2)), appsv1.StatefulSetStatus{ObservedGeneration: 2, Replicas: 3, AvailableReplicas: 3, UpdatedReplicas: 1, CurrentRevision: "a", UpdateRevision: "b"}), true, "", ""},
		{"a stateful set short of its partition", stateful(3, new(int32(1)), appsv1.StatefulSetStatus{ObservedGeneration: 2, Replicas: 3, AvailableReplicas: 3, UpdatedReplicas: 1, CurrentRevision: "a", UpdateRevision: "b"}), false, "1 of 3 pods ready", ""},
		{"a daemon set under way", daemon(appsv1.DaemonSetStatus{ObservedGeneration: 2, DesiredNumberScheduled: 4, UpdatedNumberScheduled: 2, NumberAvailable: 3}), false, "2 of 4 pods ready", ""},
		{"a daemon set that is done", daemon(appsv1.DaemonSetStatus{ObservedGeneration: 2, DesiredNumberScheduled: 4, UpdatedNumberScheduled: 4, NumberAvailable: 4}), true, "", ""},
	}
	object := manifest.Object{Unstructured: &unstructured.Unstructured{Object: map[string]any{"kind": "Deployment"}}}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := stand(object, tc.workload)
			code := pipeline.ReasonCode("")
			if s.trouble != nil {
				code = s.trouble.code
			}
			if s.done != tc.done || s.words != tc.words || code != tc.trouble {
				t.Errorf("got done %v, words %q, trouble %q; want %v, %q, %q", s.done, s.words, code, tc.done, tc.words, tc.trouble)
			}
		})
	}
}

func pod(status corev1.ContainerStatus) *corev1.Pod {
	status.Name = "app"
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "shop-1"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "shop:1"}}},
		Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{status}},
	}
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func TestTroublesOfPodsAreTold(t *testing.T) {
	patience := Patience{}.withDefaults()
	ended := func(code int32, reason string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}
	}
	unschedulable := pod(corev1.ContainerStatus{})
	unschedulable.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available"}}
	going := pod(corev1.ContainerStatus{State: waiting("ImagePullBackOff", "")})
	going.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	inits := pod(corev1.ContainerStatus{State: waiting("PodInitializing", "")})
	inits.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "migrate", RestartCount: 3, State: waiting("CrashLoopBackOff", ""), LastTerminationState: ended(2, "Error")}}
	cases := []struct {
		name     string
		pod      *corev1.Pod
		code     pipeline.ReasonCode // "" is no trouble
		detail   string
		patience time.Duration
	}{
		{"a container that is being made", pod(corev1.ContainerStatus{State: waiting("ContainerCreating", "")}), "", "", 0},
		{"a first crash", pod(corev1.ContainerStatus{RestartCount: 1, State: waiting("CrashLoopBackOff", "")}), "", "", 0},
		{"a container that runs again after crashes", pod(corev1.ContainerStatus{RestartCount: 5, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}), "", "", 0},
		{"a pod that is going", going, "", "", 0},
		{"a crash loop", pod(corev1.ContainerStatus{RestartCount: 2, State: waiting("CrashLoopBackOff", ""), LastTerminationState: ended(137, "OOMKilled")}),
			pipeline.ReasonCrashLoop, "container app of pod shop-1 ran out of memory (OOMKilled) and was restarted 2 times", 0},
		{"a crash between two restarts", pod(corev1.ContainerStatus{RestartCount: 2, State: ended(1, "Error")}),
			pipeline.ReasonCrashLoop, "container app of pod shop-1 exited with code 1 and was restarted 2 times", 0},
		{"an init container's crash loop", inits, pipeline.ReasonCrashLoop, "container migrate of pod shop-1 exited with code 2 and was restarted 3 times", 0},
		{"a registry that doesn't answer", pod(corev1.ContainerStatus{State: waiting("ErrImagePull", "dial tcp: i/o timeout")}),
			pipeline.ReasonImagePull, "shop:1: dial tcp: i/o timeout", patience.ImagePull},
		{"an image that isn't there", pod(corev1.ContainerStatus{State: waiting("ErrImagePull", "shop:1: not found")}), pipeline.ReasonImagePull, "shop:1: shop:1: not found", 0},
		{"an image's name that is none", pod(corev1.ContainerStatus{State: waiting("InvalidImageName", "invalid")}), pipeline.ReasonImagePull, "shop:1: invalid", 0},
		{"a secret that isn't there", pod(corev1.ContainerStatus{State: waiting("CreateContainerConfigError", `secret "x" not found`)}),
			pipeline.ReasonOther, `container app of pod shop-1 can't start: secret "x" not found`, patience.Start},
		{"no node", unschedulable, pipeline.ReasonUnschedulable, "pod shop-1: 0/3 nodes are available", patience.Unschedulable},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			found := podTroubles(tc.pod, patience)
			if tc.code == "" {
				if len(found) > 0 {
					t.Errorf("got %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].code != tc.code || found[0].detail != tc.detail || found[0].patience != tc.patience {
				t.Errorf("got %+v, want %s %q after %v", found, tc.code, tc.detail, tc.patience)
			}
		})
	}
}

// watchingShop watches one Deployment of one pod.
func watchingShop(told *[]string) *watching {
	return &watching{
		release: pipeline.Release{ID: "r1"}, patience: Patience{}.withDefaults(), since: map[string]time.Time{},
		objects: []manifest.Object{{Unstructured: &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "shop"},
		}}}},
		words: words{interval: time.Second, say: func(text string) { *told = append(*told, text) }},
	}
}

func pictureOf(updated, available int32, pods ...*corev1.Pod) Picture {
	return Picture{Workloads: []Workload{{Pods: pods, Deployment: &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Annotations: map[string]string{AnnotationRelease: "r1"}},
		Status:     appsv1.DeploymentStatus{Replicas: updated, UpdatedReplicas: updated, AvailableReplicas: available},
	}}}}
}

func TestTroubleHasTimeToPass(t *testing.T) {
	var told []string
	w := watchingShop(&told)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	slow := pod(corev1.ContainerStatus{State: waiting("ErrImagePull", "i/o timeout")})

	w.see(pictureOf(1, 0, slow))
	done, failed, again := w.judge(now)
	if done || failed != nil || again != w.patience.ImagePull {
		t.Fatalf("at first: done %v, failed %v, again %v", done, failed, again)
	}
	slow.Status.ContainerStatuses[0].State.Waiting.Reason = "ImagePullBackOff" // still the same trouble
	if _, failed, again = w.judge(now.Add(15 * time.Second)); failed != nil || again != 5*time.Second {
		t.Fatalf("after 15 s: failed %v, again %v", failed, again)
	}
	if _, failed, _ = w.judge(now.Add(20 * time.Second)); failed == nil || failed.code != pipeline.ReasonImagePull {
		t.Fatalf("after 20 s: failed %v", failed)
	}

	w = watchingShop(&told)
	w.see(pictureOf(1, 0, slow))
	w.judge(now)
	w.see(pictureOf(1, 0, pod(corev1.ContainerStatus{})))
	w.judge(now.Add(10 * time.Second)) // it has passed
	w.see(pictureOf(1, 0, slow))
	if _, failed, _ = w.judge(now.Add(25 * time.Second)); failed != nil {
		t.Errorf("a trouble that passed counts on: %v", failed)
	}

	w = watchingShop(&told)
	w.see(pictureOf(1, 0, slow))
	w.judge(now)
	w.see(Picture{Trouble: "cluster unreachable, trying again"})
	if _, failed, _ = w.judge(now.Add(time.Hour)); failed != nil {
		t.Errorf("an old picture fails the rollout: %v", failed)
	}
	if told[len(told)-1] != "cluster unreachable, trying again" {
		t.Errorf("told %q", told)
	}
}

func TestPassedDeadlineIsExplainedByThePods(t *testing.T) {
	var told []string
	w := watchingShop(&told)
	slow := pod(corev1.ContainerStatus{State: waiting("CreateContainerConfigError", `configmap "x" not found`)})
	p := pictureOf(1, 0, slow)
	p.Workloads[0].Deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: "ProgressDeadlineExceeded"}}
	w.see(p)
	if _, failed, _ := w.judge(time.Now()); failed == nil || !strings.Contains(failed.detail, `configmap "x" not found`) {
		t.Errorf("failed is %+v", failed)
	}
}

func TestStatefulSetThatStandsStillFails(t *testing.T) {
	var told []string
	w := watchingShop(&told)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	three := int32(3)
	picture := func(available int32) Picture {
		return Picture{Workloads: []Workload{{StatefulSet: &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: "db", Annotations: map[string]string{AnnotationRelease: "r1"}}, Spec: appsv1.StatefulSetSpec{Replicas: &three},
			Status: appsv1.StatefulSetStatus{Replicas: 3, AvailableReplicas: available},
		}}}}
	}
	w.see(picture(1))
	w.judge(now)
	w.see(picture(2))
	if _, failed, _ := w.judge(now.Add(9 * time.Minute)); failed != nil {
		t.Fatalf("failed after it moved: %v", failed)
	}
	if _, failed, _ := w.judge(now.Add(18 * time.Minute)); failed != nil {
		t.Fatalf("failed within its patience: %v", failed)
	}
	if _, failed, _ := w.judge(now.Add(19 * time.Minute)); failed == nil || failed.code != pipeline.ReasonDeadline || !strings.Contains(failed.detail, "2 of 3 pods ready") {
		t.Errorf("failed is %+v", failed)
	}
}

func TestDoneWaitsAMomentForThePods(t *testing.T) {
	var told []string
	w := watchingShop(&told)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w.see(pictureOf(1, 1))
	if done, _, again := w.judge(now); done || again != podsLag {
		t.Errorf("without its pod: done %v, again %v", done, again)
	}
	if done, _, _ := w.judge(now.Add(podsLag)); !done {
		t.Error("it waits for ever")
	}
	ready := pod(corev1.ContainerStatus{ImageID: "shop@sha256:abc"})
	ready.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	w = watchingShop(&told)
	w.release.Images = []pipeline.Image{{Name: "shop:1"}, {Name: "job:1"}}
	w.see(pictureOf(1, 1, ready))
	if done, _, _ := w.judge(now); !done {
		t.Error("with its pod it isn't done")
	}
	if got := w.images(); len(got) != 2 || got[0] != (pipeline.Image{Name: "shop:1", Digest: "sha256:abc"}) || got[1].Digest != "" {
		t.Errorf("images are %v", got)
	}
	ready.Status.ContainerStatuses[0].ImageID = "docker.io/library/import-2026-01-01@sha256:abc"
	if got := w.images(); got[0].Digest != "" {
		t.Errorf("what was loaded into a node by hand can be pulled by no digest, and images are %v", got)
	}
}

func TestWordsAreToldOnChangeAndNotTooOften(t *testing.T) {
	var told []string
	w := words{interval: time.Second, say: func(text string) { told = append(told, text) }}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	steps := []struct {
		at   time.Duration
		text string
		due  time.Duration // 0 is nothing held back
	}{
		{0, "0 of 3", 0},
		{100 * time.Millisecond, "1 of 3", time.Second},
		{200 * time.Millisecond, "2 of 3", time.Second},
		{time.Second, "2 of 3", 0},
		{1100 * time.Millisecond, "2 of 3", 0},
		{1200 * time.Millisecond, "3 of 3", 2 * time.Second},
		{1300 * time.Millisecond, "2 of 3", 0}, // it went back before it was told
		{5 * time.Second, "3 of 3", 0},
	}
	for _, s := range steps {
		due := w.tell(s.text, now.Add(s.at))
		if want := now.Add(s.due); s.due == 0 && !due.IsZero() || s.due != 0 && !due.Equal(want) {
			t.Errorf("at %v: due %v", s.at, due)
		}
	}
	if got := strings.Join(told, ", "); got != "0 of 3, 2 of 3, 3 of 3" {
		t.Errorf("told %s", got)
	}
}
