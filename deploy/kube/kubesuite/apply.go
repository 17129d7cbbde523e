package kubesuite

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	coreconfig "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
)

func applyTests() []test {
	return []test{
		{"an apply creates with defaults and its manager's name", applyCreates},
		{"the same apply again changes nothing", applyIdempotent},
		{"a field of another manager is a conflict that names it", applyConflict},
		{"a forced apply takes the field over", applyForce},
		{"a field that is no longer applied goes", applyRemoves},
		{"list items merge by their keys", applyMergesLists},
		{"a field that doesn't exist is refused by name", applyUnknownField},
		{"a dry run answers and stores nothing", applyDryRun},
		{"an apply without a manager is invalid", applyNeedsManager},
		{"an apply by the discovered mapping works for every kind of a release", applyByMapping},
	}
}

func applyCreates(e *env) {
	d := e.apply(e.app("shop:1", 2))
	if d.UID == "" || d.ResourceVersion == "" || d.CreationTimestamp.IsZero() || d.Generation != 1 {
		e.Errorf("new object has uid %q, resource version %q, creation %v, generation %d", d.UID, d.ResourceVersion, d.CreationTimestamp, d.Generation)
	}
	s := d.Spec
	if *s.RevisionHistoryLimit != 10 || *s.ProgressDeadlineSeconds != 600 || s.Strategy.RollingUpdate.MaxSurge.String() != "25%" || s.Strategy.RollingUpdate.MaxUnavailable.String() != "25%" {
		e.Errorf("defaults of the deployment are missing: %+v", s)
	}
	pod := s.Template.Spec
	c := pod.Containers[0]
	if pod.RestartPolicy != corev1.RestartPolicyAlways || *pod.TerminationGracePeriodSeconds != 30 || pod.DNSPolicy != corev1.DNSClusterFirst ||
		c.ImagePullPolicy != corev1.PullIfNotPresent || c.Ports[0].Protocol != corev1.ProtocolTCP || c.TerminationMessagePath == "" {
		e.Errorf("defaults of the pod are missing: %+v", pod)
	}
	own := slices.IndexFunc(d.ManagedFields, func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager == manager && m.Operation == metav1.ManagedFieldsOperationApply
	})
	if own < 0 {
		e.Fatalf("managed fields don't have the manager: %+v", d.ManagedFields)
	}
	e.wantContains("what the manager owns", d.ManagedFields[own].FieldsV1.GetRawString(), `f:replicas`, `k:{\"name\":\"web\"}`, `f:image`)
	if strings.Contains(d.ManagedFields[own].FieldsV1.GetRawString(), "progressDeadlineSeconds") {
		e.Error("the manager owns a field that it did not apply")
	}
}

func applyIdempotent(e *env) {
	e.apply(e.app("shop:1", 1))
	before := e.awaitRollout()
	after := e.apply(e.app("shop:1", 1))
	if after.ResourceVersion != before.ResourceVersion || after.Generation != before.Generation {
		e.Errorf("resource version went from %s to %s, generation from %d to %d, want both unchanged",
			before.ResourceVersion, after.ResourceVersion, before.Generation, after.Generation)
	}
}

func applyConflict(e *env) {
	e.apply(e.app("shop:1", 1))
	_, err := e.client.AppsV1().Deployments(e.ns).Apply(e.ctx, e.app("shop:2", 1), applyAs("other"))
	if !apierrors.IsConflict(err) {
		e.Fatalf("apply by another manager: got %v, want a conflict", err)
	}
	e.wantContains("the conflict", err.Error(), `Apply failed with 1 conflict`, `"kubesuite"`, `.spec.template.spec.containers[name="web"].image`)
	status := statusOf(e, err)
	if len(status.Details.Causes) != 1 || status.Details.Causes[0].Type != metav1.CauseTypeFieldManagerConflict {
		e.Fatalf("causes are %+v, want one FieldManagerConflict", status.Details.Causes)
	}
	e.wantContains("the cause", status.Details.Causes[0].Message, `conflict with "kubesuite"`)
	e.wantContains("the field of the cause", status.Details.Causes[0].Field, `.spec.template.spec.containers[name="web"].image`)
}

func statusOf(e *env, err error) metav1.Status {
	e.Helper()
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Details == nil {
		e.Fatalf("error %v has no status with details", err)
	}
	return status.Status()
}

func applyForce(e *env) {
	e.apply(e.app("shop:1", 1))
	options := applyAs("other")
	options.Force = true
	d, err := e.client.AppsV1().Deployments(e.ns).Apply(e.ctx, e.app("shop:2", 1), options)
	if err != nil {
		e.Fatalf("forced apply: %v", err)
	}
	if got := d.Spec.Template.Spec.Containers[0].Image; got != "shop:2" {
		e.Errorf("image is %q, want shop:2", got)
	}
	for _, m := range d.ManagedFields {
		if m.Manager == manager && strings.Contains(m.FieldsV1.GetRawString(), "f:image") {
			e.Errorf("the former manager still owns the image: %s", m.FieldsV1.GetRawString())
		}
	}
}

func applyRemoves(e *env) {
	first := coreconfig.ConfigMap("settings", e.ns).WithData(map[string]string{"a": "1", "b": "2"})
	if _, err := e.client.CoreV1().ConfigMaps(e.ns).Apply(e.ctx, first, applyAs(manager)); err != nil {
		e.Fatalf("apply: %v", err)
	}
	other := coreconfig.ConfigMap("settings", e.ns).WithData(map[string]string{"c": "3"})
	if _, err := e.client.CoreV1().ConfigMaps(e.ns).Apply(e.ctx, other, applyAs("other")); err != nil {
		e.Fatalf("apply by another: %v", err)
	}
	second := coreconfig.ConfigMap("settings", e.ns).WithData(map[string]string{"a": "1"})
	got, err := e.client.CoreV1().ConfigMaps(e.ns).Apply(e.ctx, second, applyAs(manager))
	if err != nil {
		e.Fatalf("apply again: %v", err)
	}
	if len(got.Data) != 2 || got.Data["a"] != "1" || got.Data["c"] != "3" {
		e.Errorf("data is %v, want a and the other manager's c", got.Data)
	}
}

func applyMergesLists(e *env) {
	e.apply(e.app("shop:1", 1))
	side := e.app("shop:1", 1)
	side.Spec.Replicas = nil
	side.Spec.Template.Spec.Containers = []coreconfig.ContainerApplyConfiguration{*coreconfig.Container().WithName("proxy").WithImage("proxy:1")}
	d, err := e.client.AppsV1().Deployments(e.ns).Apply(e.ctx, side, applyAs("sidecar"))
	if err != nil {
		e.Fatalf("apply a sidecar: %v", err)
	}
	if n := len(d.Spec.Template.Spec.Containers); n != 2 {
		e.Errorf("there are %d containers, want both managers' ones", n)
	}
}

func applyUnknownField(e *env) {
	_, err := e.dynamic.Resource(resource("deployments")).Namespace(e.ns).Apply(e.ctx, "app", &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "app"},
		"spec": map[string]any{"replica": int64(2)},
	}}, applyAs(manager))
	if err == nil {
		e.Fatal("an apply with an unknown field was taken")
	}
	e.wantContains("the refusal", err.Error(), ".spec.replica", "field not declared in schema")
}

func applyDryRun(e *env) {
	options := applyAs(manager)
	options.DryRun = []string{metav1.DryRunAll}
	d, err := e.client.AppsV1().Deployments(e.ns).Apply(e.ctx, e.app("shop:1", 1), options)
	if err != nil || *d.Spec.ProgressDeadlineSeconds != 600 {
		e.Fatalf("dry run answered %v, %v; want the object with its defaults", d, err)
	}
	if _, err := e.client.AppsV1().Deployments(e.ns).Get(e.ctx, "app", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		e.Errorf("after the dry run: got %v, want not found", err)
	}
}

func applyNeedsManager(e *env) {
	body, err := json.Marshal(e.app("shop:1", 1))
	if err != nil {
		e.Fatal(err)
	}
	_, err = e.client.AppsV1().Deployments(e.ns).Patch(e.ctx, "app", types.ApplyPatchType, body, metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) {
		e.Fatalf("got %v, want invalid", err)
	}
	e.wantContains("the refusal", err.Error(), "fieldManager: Required value: is required for apply patch")
}

// applyByMapping is how a set of manifests is applied: kinds to resources by discovery, objects by the dynamic client.
func applyByMapping(e *env) {
	client, err := discovery.NewDiscoveryClientForConfig(e.config)
	if err != nil {
		e.Fatal(err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client))
	for _, object := range manifests() {
		gvk := schema.FromAPIVersionAndKind(object["apiVersion"].(string), object["kind"].(string)) // strings in the same file
		mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			e.Errorf("%s: %v", gvk, err)
			continue
		}
		if mapping.Scope.Name() != "namespace" {
			e.Errorf("%s is of scope %s, want namespace", gvk, mapping.Scope.Name())
		}
		target := e.dynamic.Resource(mapping.Resource).Namespace(e.ns)
		u := &unstructured.Unstructured{Object: object}
		first, err := target.Apply(e.ctx, u.GetName(), u, applyAs(manager))
		if err != nil {
			e.Errorf("apply %s: %v", gvk, err)
			continue
		}
		if first.GetKind() != gvk.Kind || first.GetAPIVersion() != u.GetAPIVersion() || first.GetUID() == "" {
			e.Errorf("applied %s and got %s %s with uid %q", gvk, first.GetAPIVersion(), first.GetKind(), first.GetUID())
		}
	}
}

func manifests() []map[string]any {
	object := func(apiVersion, kind string, rest map[string]any) map[string]any {
		out := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": "all"}}
		for k, v := range rest {
			out[k] = v
		}
		return out
	}
	spec := func(v map[string]any) map[string]any { return map[string]any{"spec": v} }
	labels := map[string]any{"app": "all"}
	template := map[string]any{
		"metadata": map[string]any{"labels": labels},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": "c", "image": "shop:1"}}},
	}
	selector := map[string]any{"matchLabels": labels}
	job := map[string]any{"spec": map[string]any{"restartPolicy": "Never", "containers": []any{map[string]any{"name": "c", "image": "shop:1"}}}}
	target := map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "all"}
	backend := map[string]any{"service": map[string]any{"name": "all", "port": map[string]any{"number": int64(80)}}}
	return []map[string]any{
		object("v1", "ConfigMap", map[string]any{"data": map[string]any{"a": "b"}}),
		object("v1", "Secret", map[string]any{"stringData": map[string]any{"a": "b"}}),
		object("v1", "ServiceAccount", nil),
		object("v1", "Service", spec(map[string]any{"selector": labels, "ports": []any{map[string]any{"port": int64(80)}}})),
		object("apps/v1", "Deployment", spec(map[string]any{"replicas": int64(0), "selector": selector, "template": template})),
		object("apps/v1", "StatefulSet", spec(map[string]any{"replicas": int64(0), "serviceName": "all", "selector": selector, "template": template})),
		object("apps/v1", "DaemonSet", spec(map[string]any{"selector": selector, "template": template})),
		object("batch/v1", "Job", spec(map[string]any{"template": job})),
		object("networking.k8s.io/v1", "Ingress", spec(map[string]any{"defaultBackend": backend})),
		object("autoscaling/v2", "HorizontalPodAutoscaler", spec(map[string]any{"scaleTargetRef": target, "maxReplicas": int64(3)})),
		object("policy/v1", "PodDisruptionBudget", spec(map[string]any{"selector": selector, "minAvailable": int64(1)})),
	}
}
