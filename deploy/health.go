package deploy

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Health is how an object is, as one word.
type Health string

// The healths, from the best to the worst but for Unknown, which says nothing.
const (
	Unknown     Health = "Unknown"
	Healthy     Health = "Healthy"
	Suspended   Health = "Suspended" // by somebody's wish
	Progressing Health = "Progressing"
	Degraded    Health = "Degraded"
	Missing     Health = "Missing"
)

// worse tells which of two healths a whole has that is made of both.
func worse(a, b Health) Health {
	if b.rank() > a.rank() {
		return b
	}
	return a
}

func (h Health) rank() int {
	switch h {
	case Healthy:
		return 1
	case Suspended:
		return 2
	case Progressing:
		return 3
	case Degraded:
		return 4
	case Missing:
		return 5
	case Unknown:
	}
	return 0
}

// rolled words how far a rollout is, which is what a delivery's page says of it, too.
func rolled(s standing) (Health, string) {
	switch {
	case s.trouble != nil:
		return Degraded, s.trouble.detail
	case s.done && s.want == 0:
		return Suspended, "scaled to 0"
	case s.done:
		return Healthy, ofPods(s.ready, s.want)
	}
	return Progressing, s.words
}

func deploymentHealth(d *appsv1.Deployment) (Health, string) {
	if d.Spec.Paused {
		return Suspended, "paused, " + ofPods(d.Status.AvailableReplicas, replicas(d.Spec.Replicas))
	}
	return rolled(standDeployment(d))
}

func statefulSetHealth(s *appsv1.StatefulSet) (Health, string) {
	h, words := rolled(standStatefulSet(s))
	if want := replicas(s.Spec.Replicas); h == Healthy && s.Status.AvailableReplicas < want { // OnDelete is always done
		return Progressing, ofPods(s.Status.AvailableReplicas, want)
	}
	return h, words
}

func daemonSetHealth(d *appsv1.DaemonSet) (Health, string) {
	h, words := rolled(standDaemonSet(d))
	switch {
	case h == Suspended:
		return Healthy, "no node is wanted"
	case h == Healthy && d.Status.NumberAvailable < d.Status.DesiredNumberScheduled:
		return Progressing, ofPods(d.Status.NumberAvailable, d.Status.DesiredNumberScheduled)
	}
	return h, words
}

func replicaSetHealth(rs *appsv1.ReplicaSet) (Health, string) {
	want := replicas(rs.Spec.Replicas)
	for _, c := range rs.Status.Conditions {
		if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
			return Degraded, refusedPods("replica set "+rs.Name, c.Message).detail
		}
	}
	switch {
	case want == 0 && rs.Status.Replicas > 0:
		return Progressing, old(rs.Status.Replicas)
	case want == 0:
		return Suspended, "scaled to 0"
	case rs.Status.AvailableReplicas >= want:
		return Healthy, ofPods(want, want)
	}
	return Progressing, ofPods(rs.Status.AvailableReplicas, want)
}

func podHealth(p *corev1.Pod) (Health, string) {
	if p.DeletionTimestamp != nil {
		return Progressing, "is stopping"
	}
	if troubles := podTroubles(p, Patience{}); len(troubles) > 0 {
		return Degraded, troubles[0].detail
	}
	switch {
	case p.Status.Phase == corev1.PodSucceeded:
		return Healthy, "has ended well"
	case p.Status.Phase == corev1.PodFailed:
		return Degraded, "has failed" + endOf(p)
	case isReady(p):
		return Healthy, "ready"
	case p.Status.Phase == corev1.PodRunning:
		return Progressing, "runs and is not ready" + endOf(p)
	}
	return Progressing, "is starting"
}

// endOf says how a container of the pod ended that has not come back.
func endOf(p *corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 || s.State.Waiting != nil && s.LastTerminationState.Terminated != nil {
			return fmt.Sprintf(": container %s %s", s.Name, ended(s))
		}
	}
	return ""
}

func serviceHealth(s *corev1.Service, ready int) (Health, string) {
	words := fmt.Sprintf("%d ready endpoints", ready)
	if ready == 1 {
		words = "1 ready endpoint"
	}
	switch {
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		return Healthy, "stands for " + clean(s.Spec.ExternalName, 100)
	case s.Spec.Type == corev1.ServiceTypeLoadBalancer && len(s.Status.LoadBalancer.Ingress) == 0:
		return Progressing, words + ", and no load balancer yet"
	case len(s.Spec.Selector) > 0 && ready == 0:
		return Degraded, "no ready endpoint"
	}
	return Healthy, words
}

func ingressHealth(i *networkingv1.Ingress) (Health, string) {
	words := "routes " + strings.Join(ingressHosts(i), ", ")
	if len(ingressHosts(i)) == 0 {
		words = "routes any host"
	}
	if backends := ingressBackends(i); len(backends) > 0 {
		words += " to " + strings.Join(backends, ", ")
	}
	if len(i.Status.LoadBalancer.Ingress) == 0 {
		return Unknown, words + "; no controller has given it an address"
	}
	return Healthy, words
}

// ingressBackends are the names of the Services behind it, each once, in their order.
func ingressBackends(i *networkingv1.Ingress) []string {
	var names []string
	add := func(b *networkingv1.IngressBackend) {
		if b != nil && b.Service != nil {
			names = appendNew(names, clean(b.Service.Name, 100))
		}
	}
	add(i.Spec.DefaultBackend)
	for _, r := range i.Spec.Rules {
		if r.HTTP == nil {
			continue
		}
		for _, p := range r.HTTP.Paths {
			add(&p.Backend)
		}
	}
	return names
}

func routeHealth(r *unstructured.Unstructured) (Health, string) {
	hosts := routeHosts(r)
	words := "routes " + strings.Join(hosts, ", ")
	if len(hosts) == 0 {
		words = "routes any host"
	}
	if backends := routeBackends(r); len(backends) > 0 {
		words += " to " + strings.Join(backends, ", ")
	}
	accepted := false
	parents, _, _ := unstructured.NestedSlice(r.Object, "status", "parents")
	for _, parent := range parents {
		p, _ := parent.(map[string]any)
		conditions, _, _ := unstructured.NestedSlice(p, "conditions")
		for _, condition := range conditions {
			c, _ := condition.(map[string]any)
			kind, status := fmt.Sprint(c["type"]), fmt.Sprint(c["status"])
			switch {
			case (kind == "Accepted" || kind == "ResolvedRefs") && status == "False":
				return Degraded, "not taken by its gateway: " + clean(fmt.Sprint(c["message"]), 300)
			case kind == "Accepted" && status == "True":
				accepted = true
			}
		}
	}
	if !accepted {
		return Unknown, words + "; no gateway has accepted it"
	}
	return Healthy, words
}

// routeBackends are its Services, with their weights where it splits traffic.
func routeBackends(r *unstructured.Unstructured) []string {
	var names []string
	rules, _, _ := unstructured.NestedSlice(r.Object, "spec", "rules")
	for _, rule := range rules {
		m, _ := rule.(map[string]any)
		refs, _, _ := unstructured.NestedSlice(m, "backendRefs")
		for _, ref := range refs {
			b, _ := ref.(map[string]any)
			name := clean(fmt.Sprint(b["name"]), 100)
			if weight, ok := b["weight"].(int64); ok && len(refs) > 1 {
				name += fmt.Sprintf(" (%d)", weight)
			}
			names = appendNew(names, name)
		}
	}
	return names
}

func jobHealth(j *batchv1.Job) (Health, string) {
	want := replicas(j.Spec.Completions)
	words := fmt.Sprintf("%d of %d done", j.Status.Succeeded, want)
	for _, c := range j.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return Healthy, "done"
		case batchv1.JobFailed:
			return Degraded, "failed: " + clean(c.Message, 300)
		case batchv1.JobSuspended, batchv1.JobFailureTarget, batchv1.JobSuccessCriteriaMet:
		}
	}
	if j.Spec.Suspend != nil && *j.Spec.Suspend {
		return Suspended, "suspended, " + words
	}
	return Progressing, words
}

func cronJobHealth(c *batchv1.CronJob) (Health, string) {
	words := "at " + clean(c.Spec.Schedule, 100)
	switch {
	case c.Spec.Suspend != nil && *c.Spec.Suspend:
		return Suspended, "suspended, " + words
	case len(c.Status.Active) > 0:
		return Healthy, words + ", runs now"
	}
	return Healthy, words
}

func autoscalerHealth(a *autoscalingv2.HorizontalPodAutoscaler) (Health, string) {
	words := fmt.Sprintf("%d replicas of %s, between %d and %d", a.Status.CurrentReplicas, clean(a.Spec.ScaleTargetRef.Name, 100), replicas(a.Spec.MinReplicas), a.Spec.MaxReplicas)
	for _, c := range a.Status.Conditions {
		unable := c.Type == autoscalingv2.AbleToScale || c.Type == autoscalingv2.ScalingActive && c.Reason != "ScalingDisabled"
		if unable && c.Status == corev1.ConditionFalse {
			return Degraded, "can't scale: " + clean(c.Message, 300)
		}
	}
	if len(a.Status.Conditions) == 0 {
		return Unknown, words
	}
	return Healthy, words
}

func budgetHealth(b *policyv1.PodDisruptionBudget) (Health, string) {
	switch {
	case b.Status.ObservedGeneration == 0 && b.Status.ExpectedPods == 0:
		return Unknown, "not looked at by the cluster yet"
	case b.Status.CurrentHealthy < b.Status.DesiredHealthy:
		return Degraded, fmt.Sprintf("%d of %d pods that must stay are healthy", b.Status.CurrentHealthy, b.Status.DesiredHealthy)
	case b.Status.DisruptionsAllowed == 1:
		return Healthy, "lets 1 pod be evicted"
	}
	return Healthy, fmt.Sprintf("lets %d pods be evicted", b.Status.DisruptionsAllowed)
}

func appendNew(list []string, s string) []string {
	for _, have := range list {
		if have == s {
			return list
		}
	}
	return append(list, s)
}

// controller is the uid of the object that controls o, "" if none does.
func controller(o metav1.Object) string {
	if ref := metav1.GetControllerOf(o); ref != nil {
		return string(ref.UID)
	}
	return ""
}
