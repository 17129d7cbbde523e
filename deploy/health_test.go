package deploy

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

func ptr[T any](v T) *T { return &v }

func scaled(want, available int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: appsv1.DeploymentSpec{Replicas: &want},
		Status: appsv1.DeploymentStatus{Replicas: want, UpdatedReplicas: want, AvailableReplicas: available},
	}
}

func routed(conditions ...any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{
			"hostnames": []any{"shop.example.com"},
			"rules":     []any{map[string]any{"backendRefs": []any{map[string]any{"name": "shop", "weight": int64(90)}, map[string]any{"name": "shop-canary", "weight": int64(10)}}}},
		},
		"status": map[string]any{"parents": []any{map[string]any{"conditions": conditions}}},
	}}
}

func TestHealthInWords(t *testing.T) {
	condition := func(kind, status, message string) map[string]any {
		return map[string]any{"type": kind, "status": status, "message": message}
	}
	paused, stuck := scaled(2, 2), scaled(3, 1)
	paused.Spec.Paused = true
	stuck.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: "ProgressDeadlineExceeded"}}
	pod := func(phase corev1.PodPhase, ready corev1.ConditionStatus, statuses ...corev1.ContainerStatus) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{
			Phase: phase, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}, ContainerStatuses: statuses,
		}}
	}
	crashed := corev1.ContainerStatus{
		Name: "web", RestartCount: 4, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}},
	}
	going := pod(corev1.PodRunning, corev1.ConditionTrue)
	going.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	for name, c := range map[string]struct {
		health func() (Health, string)
		want   Health
		words  string
	}{
		"a deployment":                 {func() (Health, string) { return deploymentHealth(scaled(3, 3)) }, Healthy, "3 of 3 pods ready"},
		"a deployment that gets there": {func() (Health, string) { return deploymentHealth(scaled(3, 2)) }, Progressing, "2 of 3 pods ready"},
		"a deployment of nothing":      {func() (Health, string) { return deploymentHealth(scaled(0, 0)) }, Suspended, "scaled to 0"},
		"a paused deployment":          {func() (Health, string) { return deploymentHealth(paused) }, Suspended, "paused, 2 of 2 pods ready"},
		"a deployment that is stuck":   {func() (Health, string) { return deploymentHealth(stuck) }, Degraded, "deployment shop: 1 of 3 pods ready"},
		"a daemon set without nodes":   {func() (Health, string) { return daemonSetHealth(&appsv1.DaemonSet{}) }, Healthy, "no node is wanted"},
		"a stateful set of which a pod is away": {func() (Health, string) {
			return statefulSetHealth(&appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: "OnDelete"}}})
		}, Progressing, "0 of 1 pod ready"},
		"a replica set whose pods are going": {func() (Health, string) {
			return replicaSetHealth(&appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Replicas: ptr[int32](0)}, Status: appsv1.ReplicaSetStatus{Replicas: 1}})
		}, Progressing, "1 old pod is going"},
		"a pod":                   {func() (Health, string) { return podHealth(pod(corev1.PodRunning, corev1.ConditionTrue)) }, Healthy, "ready"},
		"a pod that starts":       {func() (Health, string) { return podHealth(pod(corev1.PodPending, corev1.ConditionFalse)) }, Progressing, "is starting"},
		"a pod that is not ready": {func() (Health, string) { return podHealth(pod(corev1.PodRunning, corev1.ConditionFalse)) }, Progressing, "runs and is not ready"},
		"a pod that stops":        {func() (Health, string) { return podHealth(going) }, Progressing, "is stopping"},
		"a pod that is done":      {func() (Health, string) { return podHealth(pod(corev1.PodSucceeded, corev1.ConditionFalse)) }, Healthy, "has ended well"},
		"a pod that crashes":      {func() (Health, string) { return podHealth(pod(corev1.PodRunning, corev1.ConditionFalse, crashed)) }, Degraded, "container web of pod p exited with code 1 and was restarted 4 times"},
		"a service": {func() (Health, string) {
			return serviceHealth(&corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"a": "b"}}}, 1)
		}, Healthy, "1 ready endpoint"},
		"a service without endpoints": {func() (Health, string) {
			return serviceHealth(&corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"a": "b"}}}, 0)
		}, Degraded, "no ready endpoint"},
		"a service without selector": {func() (Health, string) { return serviceHealth(&corev1.Service{}, 0) }, Healthy, "0 ready endpoints"},
		"a service without its balancer": {func() (Health, string) {
			return serviceHealth(&corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}, 2)
		}, Progressing, "2 ready endpoints, and no load balancer yet"},
		"an ingress that nobody serves": {func() (Health, string) { return ingressHealth(&networkingv1.Ingress{}) }, Unknown, "routes any host; no controller has given it an address"},
		"a route that its gateway took": {func() (Health, string) { return routeHealth(routed(condition("Accepted", "True", ""))) }, Healthy, "routes shop.example.com to shop (90), shop-canary (10)"},
		"a route without a backend": {func() (Health, string) {
			return routeHealth(routed(condition("ResolvedRefs", "False", "no such service")))
		}, Degraded, "not taken by its gateway: no such service"},
		"a route that nobody took": {func() (Health, string) { return routeHealth(routed()) }, Unknown, "routes shop.example.com to shop (90), shop-canary (10); no gateway has accepted it"},
		"a job":                    {func() (Health, string) { return jobHealth(&batchv1.Job{}) }, Progressing, "0 of 1 done"},
		"a job that failed": {func() (Health, string) {
			return jobHealth(&batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: "True", Message: "too often"}}}})
		}, Degraded, "failed: too often"},
		"a job that waits": {func() (Health, string) { return jobHealth(&batchv1.Job{Spec: batchv1.JobSpec{Suspend: ptr(true)}}) }, Suspended, "suspended, 0 of 1 done"},
		"a cron job": {func() (Health, string) {
			return cronJobHealth(&batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: "0 3 * * *"}})
		}, Healthy, "at 0 3 * * *"},
		"a cron job that is off": {func() (Health, string) {
			return cronJobHealth(&batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: "@daily", Suspend: ptr(true)}})
		}, Suspended, "suspended, at @daily"},
		"an autoscaler that nobody has looked at": {func() (Health, string) {
			return autoscalerHealth(&autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 5}})
		}, Unknown, "0 replicas of , between 1 and 5"},
		"an autoscaler without figures": {func() (Health, string) {
			return autoscalerHealth(&autoscalingv2.HorizontalPodAutoscaler{Status: autoscalingv2.HorizontalPodAutoscalerStatus{Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScalingActive, Status: "False", Message: "no metrics"}}}})
		}, Degraded, "can't scale: no metrics"},
		"a budget": {func() (Health, string) {
			return budgetHealth(&policyv1.PodDisruptionBudget{Status: policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 1}})
		}, Healthy, "lets 1 pod be evicted"},
		"a budget that is not kept": {func() (Health, string) {
			return budgetHealth(&policyv1.PodDisruptionBudget{Status: policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, CurrentHealthy: 1, DesiredHealthy: 2}})
		}, Degraded, "1 of 2 pods that must stay are healthy"},
	} {
		if got, words := c.health(); got != c.want || words != c.words {
			t.Errorf("%s: got %s %q, want %s %q", name, got, words, c.want, c.words)
		}
	}
}

func TestATreeHoldsOnlyItsEnvironment(t *testing.T) {
	owner := Owner{Project: 7, Environment: "production", Release: "r1"}
	mine := func(name string, labels map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, UID: "uid-" + "x", Labels: labels}
	}
	other := Owner{Project: 7, Environment: "staging"}
	live := Live{
		Deployments: []*appsv1.Deployment{
			{ObjectMeta: mine("shop", owner.Labels())}, {ObjectMeta: mine("staging", other.Labels())}, {ObjectMeta: mine("foreign", nil)},
		},
		Pods:   []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "alone", Labels: map[string]string{"app": "x"}}}},
		Unseen: map[string]string{"Service": "slipway may not watch services"},
	}
	set := manifest.Set{Objects: []manifest.Object{
		{Unstructured: &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "gone"}}}},
		{Unstructured: &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "unseen"}}}},
		{Unstructured: &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": "w"}}}},
	}}
	tree := Grow(live, owner, set)
	var got []string
	tree.Each(func(n *Node) { got = append(got, n.Kind+" "+n.Name+" "+string(n.Health)) })
	if want := "Service unseen Unknown, Deployment shop Progressing, ConfigMap gone Missing, Widget w Unknown"; strings.Join(got, ", ") != want {
		t.Errorf("the tree is %s, want %s", strings.Join(got, ", "), want)
	}
	if tree.Health != Missing || tree.Words != "ConfigMap gone: not in the cluster" || len(tree.Notes) != 1 {
		t.Errorf("it is %s, %q, %q", tree.Health, tree.Words, tree.Notes)
	}
	tree.Mark([]Deviation{{Kind: "Deployment", Name: "shop", Field: ".spec.replicas"}})
	if !tree.Nodes[1].Drifted || tree.Nodes[2].Drifted {
		t.Errorf("the marks are %+v", tree.Nodes)
	}
}

func TestATreeIsBounded(t *testing.T) {
	owner := Owner{Project: 7, Environment: "production"}
	var live Live
	for i := range maxNodes + 10 {
		live.Services = append(live.Services, &corev1.Service{ObjectMeta: metav1.ObjectMeta{
			Name: strings.Repeat("x", i%200), Labels: owner.Labels(), Annotations: map[string]string{AnnotationLink + "a": "https://" + strings.Repeat("a", maxURL)},
		}})
	}
	for range 20 {
		live.Events = append(live.Events, &corev1.Event{Message: strings.Repeat("y", 5000)})
	}
	tree := Grow(live, owner, manifest.Set{})
	if len(tree.Nodes) != maxNodes || tree.More != 10 {
		t.Errorf("%d nodes and %d more", len(tree.Nodes), tree.More)
	}
	if n := tree.Nodes[0]; len(n.Links) != 0 || len(n.Events) != maxEvents || len([]rune(n.Events[0].Words)) > 300 {
		t.Errorf("a node is %+v", n)
	}
}

func TestLinksOfObjectsLeadToTheWebOnly(t *testing.T) {
	got := written(map[string]string{
		AnnotationLink + "Grafana_board": "https://grafana.example.com/d/1?a=1&b=2", AnnotationLink + "x": "javascript:alert(1)", AnnotationLink + "y": "https://user:pass@evil.example.com",
		AnnotationLink: "https://nameless.example.com", AnnotationLink + "z": "//no-scheme.example.com", "other": "https://other.example.com",
	})
	if len(got) != 1 || got[0] != (Link{"Grafana board", "https://grafana.example.com/d/1?a=1&b=2"}) {
		t.Errorf("got %+v", got)
	}
}
