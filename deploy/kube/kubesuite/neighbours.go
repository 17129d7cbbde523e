package kubesuite

import (
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	autoscalingconfig "k8s.io/client-go/applyconfigurations/autoscaling/v2"
	metaconfig "k8s.io/client-go/applyconfigurations/meta/v1"
	policyconfig "k8s.io/client-go/applyconfigurations/policy/v1"
)

func neighbourTests() []test {
	return []test{
		{"what an autoscaler set stays when the rest is applied again", autoscalerKeeps},
		{"replicas that are no longer applied stay with who scaled", autoscalerTakes},
		{"an autoscaler is pointed at another deployment", autoscalerMoves},
		{"a disruption budget's selector is changed", budgetSelector},
	}
}

// scaleAs sets the replicas as an autoscaler does.
func (e *env) scaleAs(name string, replicas int32) {
	e.Helper()
	scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: e.ns}, Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	if _, err := e.client.AppsV1().Deployments(e.ns).UpdateScale(e.ctx, "app", scale, metav1.UpdateOptions{FieldManager: name}); err != nil {
		e.Fatalf("scale: %v", err)
	}
}

// replicaOwners are the managers that own the Deployment's replicas, as manager/operation/subresource.
func (e *env) replicaOwners() string {
	e.Helper()
	var out []string
	for _, m := range e.deployment().ManagedFields {
		if m.Subresource != "status" && strings.Contains(m.FieldsV1.GetRawString(), `"f:replicas"`) {
			out = append(out, m.Manager+"/"+string(m.Operation)+"/"+m.Subresource)
		}
	}
	return strings.Join(out, " ")
}

func autoscalerKeeps(e *env) {
	d := e.app("shop:1", 1)
	d.Spec.Replicas = nil
	e.apply(d)
	e.scaleAs("autoscaler", 3)
	// A server tracks a scale only where the replicas had an owner before.
	if got := e.replicaOwners(); got != "" {
		e.Errorf("replicas are owned by %q, want nobody", got)
	}
	d.Spec.Template.Spec.Containers[0].WithImage("shop:2")
	e.apply(d)
	if got := e.awaitRollout(); *got.Spec.Replicas != 3 {
		e.Errorf("%d replicas after an apply without, want 3", *got.Spec.Replicas)
	}
}

func autoscalerTakes(e *env) {
	d := e.app("shop:1", 2)
	e.apply(d)
	e.scaleAs("autoscaler", 3)
	if got := e.replicaOwners(); got != "autoscaler/Update/scale" {
		e.Errorf("replicas are owned by %q, want the one who scaled alone", got)
	}
	d.Spec.Replicas = nil
	if got := e.apply(d); *got.Spec.Replicas != 3 {
		e.Errorf("%d replicas after an apply that has them no more, want 3", *got.Spec.Replicas)
	}
}

func autoscalerMoves(e *env) {
	client := e.client.AutoscalingV2().HorizontalPodAutoscalers(e.ns)
	target := func(name string) *autoscalingconfig.HorizontalPodAutoscalerApplyConfiguration {
		return autoscalingconfig.HorizontalPodAutoscaler("app", e.ns).WithSpec(autoscalingconfig.HorizontalPodAutoscalerSpec().
			WithMinReplicas(1).WithMaxReplicas(5).
			WithScaleTargetRef(autoscalingconfig.CrossVersionObjectReference().WithAPIVersion("apps/v1").WithKind("Deployment").WithName(name)))
	}
	if _, err := client.Apply(e.ctx, target("app"), applyAs(manager)); err != nil {
		e.Fatalf("apply autoscaler: %v", err)
	}
	patch := []byte(`{"spec":{"scaleTargetRef":{"name":"app-next"}}}`)
	moved, err := client.Patch(e.ctx, "app", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager})
	want := autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "app-next"}
	if err != nil || moved.Spec.ScaleTargetRef != want {
		e.Errorf("patched target: %v; want %+v", err, want)
	}
	if moved, err = client.Apply(e.ctx, target("app-third"), metav1.ApplyOptions{FieldManager: manager, Force: true}); err != nil || moved.Spec.ScaleTargetRef.Name != "app-third" {
		e.Errorf("applied target: %v; want app-third", err)
	}
}

func budgetSelector(e *env) {
	client := e.client.PolicyV1().PodDisruptionBudgets(e.ns)
	budget := func(version string) *policyconfig.PodDisruptionBudgetApplyConfiguration {
		return policyconfig.PodDisruptionBudget("app", e.ns).WithSpec(policyconfig.PodDisruptionBudgetSpec().
			WithMinAvailable(intstr.FromInt32(1)).
			WithSelector(metaconfig.LabelSelector().WithMatchLabels(map[string]string{"app": "app", versionLabel: version})))
	}
	for _, version := range []string{"blue", "green"} {
		got, err := client.Apply(e.ctx, budget(version), applyAs(manager))
		if err != nil || got.Spec.Selector.MatchLabels[versionLabel] != version {
			e.Errorf("apply a budget for %s: %v", version, err)
		}
	}
}
