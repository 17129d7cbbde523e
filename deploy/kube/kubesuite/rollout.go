package kubesuite

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	appsconfig "k8s.io/client-go/applyconfigurations/apps/v1"
	coreconfig "k8s.io/client-go/applyconfigurations/core/v1"
)

func rolloutTests() []test {
	return []test{
		{"a rollout reports its conditions in order until it is complete", rolloutReports},
		{"a rolling update keeps its bounds", rolloutBounds},
		{"the former template brings its replica set back", rolloutBack},
		{"a crash loop ends in ProgressDeadlineExceeded", rolloutOf("shop:crash")},
		{"a missing image ends in ProgressDeadlineExceeded", rolloutOf("shop:missing")},
		{"a pod that is never ready ends in ProgressDeadlineExceeded", rolloutOf("shop:neverready")},
		{"a failed rollout recovers with a good image", rolloutRecovers},
		{"old pods stay while the new ones fail", rolloutKeepsOld},
		{"scaling by the subresource moves the pods and the owner", scaling},
		{"recreate lets the old pods go first", recreates},
		{"a quota shows as a failure to create pods", quotaFails},
		{"a paused deployment waits", pausedWaits},
	}
}

// record collects every version of the Deployment until it is as wanted, beginning before it is made.
func (e *env) record(until func(*appsv1.Deployment) bool, begin func()) []appsv1.Deployment {
	e.Helper()
	list, err := e.client.AppsV1().Deployments(e.ns).List(e.ctx, metav1.ListOptions{})
	if err != nil {
		e.Fatalf("list: %v", err)
	}
	seconds := int64(e.opts.Patience.Seconds())
	w, err := e.client.AppsV1().Deployments(e.ns).Watch(e.ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion, TimeoutSeconds: &seconds})
	if err != nil {
		e.Fatalf("watch: %v", err)
	}
	defer w.Stop()
	begin()
	var out []appsv1.Deployment
	for ev := range w.ResultChan() {
		d, ok := ev.Object.(*appsv1.Deployment)
		if !ok {
			continue
		}
		out = append(out, *d)
		if until(d) {
			return out
		}
	}
	e.Fatalf("the watch ended after %d versions without what was waited for", len(out))
	return nil
}

func rolloutReports(e *env) {
	seen := e.record(func(d *appsv1.Deployment) bool { return rolledOut(d) == "" }, func() { e.apply(e.app("shop:1", 3)) })
	var reasons []string
	observed := int64(0)
	for _, d := range seen {
		if d.Status.ObservedGeneration < observed {
			e.Errorf("observed generation went back from %d to %d", observed, d.Status.ObservedGeneration)
		}
		observed = d.Status.ObservedGeneration
		reason := condition(&d, appsv1.DeploymentProgressing).Reason
		if reason != "" && (len(reasons) == 0 || reasons[len(reasons)-1] != reason) {
			reasons = append(reasons, reason)
		}
		if d.Status.AvailableReplicas > d.Status.ReadyReplicas || d.Status.ReadyReplicas > d.Status.Replicas {
			e.Errorf("counts don't add up: %+v", d.Status)
		}
	}
	want := []string{"NewReplicaSetCreated", "ReplicaSetUpdated", "NewReplicaSetAvailable"}
	if !slices.Equal(reasons, want) {
		e.Errorf("reasons of Progressing are %v, want %v", reasons, want)
	}
	last := seen[len(seen)-1]
	if a := condition(&last, appsv1.DeploymentAvailable); a.Status != corev1.ConditionTrue || a.Reason != "MinimumReplicasAvailable" {
		e.Errorf("Available is %+v", a)
	}
	p := condition(&last, appsv1.DeploymentProgressing)
	e.wantContains("the message", p.Message, `ReplicaSet "app-`, "has successfully progressed.")
	if p.Status != corev1.ConditionTrue || last.Status.UnavailableReplicas != 0 || last.Annotations["deployment.kubernetes.io/revision"] != "1" {
		e.Errorf("complete deployment: progressing %s, %d unavailable, revision %q", p.Status, last.Status.UnavailableReplicas, last.Annotations["deployment.kubernetes.io/revision"])
	}
	e.checkOwners(&last)
}

// checkOwners holds the chain from the Deployment to its pods.
func (e *env) checkOwners(d *appsv1.Deployment) {
	e.Helper()
	sets, err := e.client.AppsV1().ReplicaSets(e.ns).List(e.ctx, metav1.ListOptions{LabelSelector: "app=app"})
	if err != nil || len(sets.Items) != 1 {
		e.Fatalf("there are %d replica sets, %v; want 1", len(sets.Items), err)
	}
	rs := sets.Items[0]
	hash := rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	if !metav1.IsControlledBy(&rs, d) || rs.Name != d.Name+"-"+hash || rs.Spec.Selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] != hash {
		e.Errorf("replica set %s with hash %q isn't its deployment's", rs.Name, hash)
	}
	for _, pod := range e.pods() {
		if !metav1.IsControlledBy(&pod, &rs) || pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != hash {
			e.Errorf("pod %s isn't its replica set's", pod.Name)
		}
		if pod.Status.PodIP == "" || pod.Spec.NodeName == "" || pod.Status.ContainerStatuses[0].ImageID == "" {
			e.Errorf("running pod %s has address %q, node %q, image id %q", pod.Name, pod.Status.PodIP, pod.Spec.NodeName, pod.Status.ContainerStatuses[0].ImageID)
		}
	}
}

func rolloutBounds(e *env) {
	const replicas, surge = 4, 1
	bounded := func(image string) *appsconfig.DeploymentApplyConfiguration {
		d := e.app(image, replicas)
		d.Spec.WithStrategy(appsconfig.DeploymentStrategy().WithType(appsv1.RollingUpdateDeploymentStrategyType).
			WithRollingUpdate(appsconfig.RollingUpdateDeployment().WithMaxSurge(intstr.FromInt32(surge)).WithMaxUnavailable(intstr.FromInt32(0))))
		return d
	}
	e.apply(bounded("shop:1"))
	e.awaitRollout()
	pods, err := e.client.CoreV1().Pods(e.ns).List(e.ctx, metav1.ListOptions{})
	if err != nil {
		e.Fatalf("list pods: %v", err)
	}
	w, err := e.client.CoreV1().Pods(e.ns).Watch(e.ctx, metav1.ListOptions{ResourceVersion: pods.ResourceVersion})
	if err != nil {
		e.Fatalf("watch pods: %v", err)
	}
	defer w.Stop()
	e.apply(bounded("shop:2"))
	e.awaitRollout()
	e.replay(w, pods.Items, func(alive, ready int) {
		if alive > replicas+surge {
			e.Errorf("%d pods at once, want no more than %d", alive, replicas+surge)
		}
		if ready < replicas {
			e.Errorf("%d pods ready, want no fewer than %d", ready, replicas)
		}
	})
	for _, pod := range e.pods() {
		if image := pod.Spec.Containers[0].Image; image != "shop:2" && pod.DeletionTimestamp == nil {
			e.Errorf("pod %s still runs %s", pod.Name, image)
		}
	}
}

// replay goes through what a watch of pods has gathered, until four of the new image are ready and four old ones leaving, and
// gives the number of pods that are not on their way out, and of those that are ready, after each change.
func (e *env) replay(w watch.Interface, start []corev1.Pod, look func(alive, ready int)) {
	e.Helper()
	pods := map[string]*corev1.Pod{}
	for i := range start {
		pods[start[i].Name] = &start[i]
	}
	for ev := range w.ResultChan() {
		pod, ok := ev.Object.(*corev1.Pod)
		if !ok {
			continue
		}
		pods[pod.Name] = pod
		if ev.Type == watch.Deleted {
			delete(pods, pod.Name)
		}
		alive, ready, renewed := 0, 0, 0
		for _, p := range pods {
			if p.DeletionTimestamp != nil {
				continue
			}
			alive++
			if podReady(p) {
				ready++
				if p.Spec.Containers[0].Image == "shop:2" {
					renewed++
				}
			}
		}
		look(alive, ready)
		if renewed == len(start) && alive == len(start) {
			return
		}
	}
	e.Fatal("the watch ended before the rollout did")
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func rolloutBack(e *env) {
	e.apply(e.app("shop:1", 2))
	e.awaitRollout()
	first := e.activeSet()
	e.apply(e.app("shop:2", 2))
	if d := e.awaitRollout(); d.Annotations["deployment.kubernetes.io/revision"] != "2" {
		e.Errorf("revision is %q after an update, want 2", d.Annotations["deployment.kubernetes.io/revision"])
	}
	e.apply(e.app("shop:1", 2))
	if d := e.awaitRollout(); d.Annotations["deployment.kubernetes.io/revision"] != "3" {
		e.Errorf("revision is %q after going back, want 3", d.Annotations["deployment.kubernetes.io/revision"])
	}
	if back := e.activeSet(); back != first {
		e.Errorf("replica set is %s after going back, want %s again", back, first)
	}
}

func (e *env) activeSet() string {
	e.Helper()
	sets, err := e.client.AppsV1().ReplicaSets(e.ns).List(e.ctx, metav1.ListOptions{})
	if err != nil {
		e.Fatalf("list replica sets: %v", err)
	}
	for _, rs := range sets.Items {
		if *rs.Spec.Replicas > 0 {
			return rs.Name
		}
	}
	return ""
}

func (e *env) impatient(image string, replicas int32) *appsconfig.DeploymentApplyConfiguration {
	d := e.app(image, replicas)
	d.Spec.WithProgressDeadlineSeconds(2)
	return d
}

func (e *env) awaitTimeout() *appsv1.Deployment {
	e.Helper()
	e.await("the progress deadline", "deployments", func() string {
		if reason := condition(e.deployment(), appsv1.DeploymentProgressing).Reason; reason != "ProgressDeadlineExceeded" {
			return "reason is " + reason
		}
		return ""
	})
	return e.deployment()
}

func rolloutOf(image string) func(*env) {
	return func(e *env) {
		e.apply(e.impatient(image, 1))
		d := e.awaitTimeout()
		p := condition(d, appsv1.DeploymentProgressing)
		e.wantContains("the message", p.Message, `ReplicaSet "app-`, "has timed out progressing.")
		if p.Status != corev1.ConditionFalse {
			e.Errorf("Progressing is %s, want False", p.Status)
		}
		a := condition(d, appsv1.DeploymentAvailable)
		if a.Status != corev1.ConditionFalse || a.Reason != "MinimumReplicasUnavailable" {
			e.Errorf("Available is %s with reason %s, want False and MinimumReplicasUnavailable", a.Status, a.Reason)
		}
		if d.Status.UnavailableReplicas != 1 || d.Status.UpdatedReplicas != 1 || d.Status.AvailableReplicas != 0 {
			e.Errorf("status is %+v, want one updated and unavailable", d.Status)
		}
	}
}

func rolloutRecovers(e *env) {
	e.apply(e.impatient("shop:neverready", 1))
	e.awaitTimeout()
	e.apply(e.impatient("shop:2", 1))
	e.awaitRollout()
}

func rolloutKeepsOld(e *env) {
	e.apply(e.impatient("shop:1", 4))
	e.awaitRollout()
	e.apply(e.impatient("shop:crash", 4))
	d := e.awaitTimeout()
	// 25 % of 4 may be missing, and as many may be there on top.
	if d.Status.AvailableReplicas != 3 || d.Status.UpdatedReplicas != 2 || d.Status.Replicas != 5 {
		e.Errorf("status is %+v, want 3 available, 2 updated, 5 in all", d.Status)
	}
	if a := condition(d, appsv1.DeploymentAvailable); a.Status != corev1.ConditionTrue {
		e.Errorf("Available is %s, want True: the old pods serve", a.Status)
	}
}

func scaling(e *env) {
	e.apply(e.app("shop:1", 1))
	e.awaitRollout()
	client := e.client.AppsV1().Deployments(e.ns)
	scale, err := client.GetScale(e.ctx, "app", metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 1 || scale.Status.Replicas != 1 || scale.Status.Selector != "app=app" {
		e.Fatalf("scale is %+v, %v", scale, err)
	}
	scale.Spec.Replicas = 3
	if _, err := client.UpdateScale(e.ctx, "app", scale, metav1.UpdateOptions{FieldManager: "scaler"}); err != nil {
		e.Fatalf("scale up: %v", err)
	}
	d := e.awaitRollout()
	if len(e.pods()) != 3 {
		e.Errorf("there are %d pods, want 3", len(e.pods()))
	}
	if d.Annotations["deployment.kubernetes.io/revision"] != "1" {
		e.Errorf("scaling made revision %q", d.Annotations["deployment.kubernetes.io/revision"])
	}
	owners := map[string]bool{}
	for _, m := range d.ManagedFields {
		if strings.Contains(m.FieldsV1.GetRawString(), "f:replicas") && m.Subresource != "status" {
			owners[m.Manager+"/"+m.Subresource] = true
		}
	}
	if !owners["scaler/scale"] {
		e.Errorf("replicas are owned by %v, want scaler/scale among them", owners)
	}
	_, err = client.Apply(e.ctx, e.app("shop:1", 1), applyAs(manager))
	if !apierrors.IsConflict(err) {
		e.Errorf("apply of other replicas after somebody scaled: got %v, want a conflict", err)
	}
	scale.ResourceVersion = "1"
	if _, err := client.UpdateScale(e.ctx, "app", scale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		e.Errorf("scale from a stale read: got %v, want a conflict", err)
	}
	zero := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: e.ns}}
	if _, err := client.UpdateScale(e.ctx, "app", zero, metav1.UpdateOptions{}); err != nil {
		e.Fatalf("scale to zero: %v", err)
	}
	e.await("the last pod to go", "pods", func() string {
		if n := len(e.pods()); n > 0 {
			return "pods are left"
		}
		return ""
	})
}

func recreates(e *env) {
	recreate := func(image string) *appsconfig.DeploymentApplyConfiguration {
		d := e.app(image, 2)
		d.Spec.WithStrategy(appsconfig.DeploymentStrategy().WithType(appsv1.RecreateDeploymentStrategyType))
		return d
	}
	e.apply(recreate("shop:1"))
	e.awaitRollout()
	list, err := e.client.CoreV1().Pods(e.ns).List(e.ctx, metav1.ListOptions{})
	if err != nil {
		e.Fatal(err)
	}
	w, err := e.client.CoreV1().Pods(e.ns).Watch(e.ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		e.Fatal(err)
	}
	defer w.Stop()
	e.apply(recreate("shop:2"))
	e.awaitRollout()
	gone := 0
	for ev := range w.ResultChan() {
		if ev.Type == watch.Deleted {
			gone++
		}
		if ev.Type == watch.Added {
			break
		}
	}
	if gone != 2 {
		e.Errorf("%d old pods were gone when the first new one was made, want 2", gone)
	}
}

func quotaFails(e *env) {
	quota := coreconfig.ResourceQuota("few", e.ns).WithSpec(coreconfig.ResourceQuotaSpec().WithHard(quantity("pods", "1")))
	if _, err := e.client.CoreV1().ResourceQuotas(e.ns).Apply(e.ctx, quota, applyAs(manager)); err != nil {
		e.Fatalf("apply quota: %v", err)
	}
	e.await("the quota", "resourcequotas", func() string {
		q, err := e.client.CoreV1().ResourceQuotas(e.ns).Get(e.ctx, "few", metav1.GetOptions{})
		if err != nil || len(q.Status.Hard) == 0 {
			return "no status"
		}
		return ""
	})
	e.apply(e.app("shop:1", 2))
	e.await("the failure", "deployments", func() string {
		c := condition(e.deployment(), appsv1.DeploymentReplicaFailure)
		if c.Status != corev1.ConditionTrue || c.Reason != "FailedCreate" {
			return "condition is " + c.Reason
		}
		e.wantContains("the message", c.Message, "is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1")
		return ""
	})
}

func pausedWaits(e *env) {
	e.apply(e.app("shop:1", 1))
	e.awaitRollout()
	paused := e.app("shop:2", 1)
	paused.Spec.WithPaused(true)
	e.apply(paused)
	e.await("the pause", "deployments", func() string {
		d := e.deployment()
		p := condition(d, appsv1.DeploymentProgressing)
		if p.Reason != "DeploymentPaused" || p.Status != corev1.ConditionUnknown || d.Status.ObservedGeneration != d.Generation {
			return "reason is " + p.Reason
		}
		return ""
	})
	if image := e.pods()[0].Spec.Containers[0].Image; image != "shop:1" {
		e.Errorf("a paused deployment rolled out %s", image)
	}
	e.apply(e.app("shop:2", 1))
	e.awaitRollout()
}
