package kubesuite

import (
	"fmt"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	coreconfig "k8s.io/client-go/applyconfigurations/core/v1"
)

func trafficTests() []test {
	return []test{
		{"a service's endpoints follow its selector in one patch", endpointsFollow},
		{"a pod that isn't ready is no ready endpoint", endpointsReady},
		{"a route's weights are changed through the dynamic client", routeWeights},
	}
}

func (e *env) service(selector map[string]string) {
	e.Helper()
	svc := coreconfig.Service("app", e.ns).WithSpec(coreconfig.ServiceSpec().WithSelector(selector).
		WithPorts(coreconfig.ServicePort().WithName("http").WithPort(80).WithTargetPort(intstr.FromString("http"))))
	made, err := e.client.CoreV1().Services(e.ns).Apply(e.ctx, svc, applyAs(manager))
	if err != nil {
		e.Fatalf("apply service: %v", err)
	}
	if made.Spec.ClusterIP == "" || made.Spec.Type != "ClusterIP" || made.Spec.SessionAffinity != "None" {
		e.Errorf("service has address %q, type %s, affinity %s", made.Spec.ClusterIP, made.Spec.Type, made.Spec.SessionAffinity)
	}
}

// endpoints are the names of the pods that take the service's traffic, or not yet.
func (e *env) endpoints(ready bool) []string {
	e.Helper()
	list, err := e.client.DiscoveryV1().EndpointSlices(e.ns).List(e.ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=app"})
	if err != nil {
		e.Fatalf("list endpoint slices: %v", err)
	}
	var out []string
	for _, s := range list.Items {
		for _, p := range s.Endpoints {
			if p.Conditions.Ready != nil && *p.Conditions.Ready == ready && p.TargetRef != nil {
				out = append(out, p.TargetRef.Name)
			}
		}
		if len(s.Endpoints) > 0 && (len(s.Ports) != 1 || *s.Ports[0].Port != 8080 || *s.Ports[0].Name != "http") {
			e.Errorf("ports of the slice are %+v, want http on 8080", s.Ports)
		}
	}
	slices.Sort(out)
	return out
}

func (e *env) awaitEndpoints(ready bool, want func() []string) {
	e.Helper()
	e.await("the endpoints", "endpointslices", func() string {
		if got := e.endpoints(ready); !slices.Equal(got, want()) {
			return fmt.Sprintf("endpoints are %v, want %v", got, want())
		}
		return ""
	})
}

func endpointsFollow(e *env) {
	e.apply(e.app("shop:1", 2))
	green := e.app("shop:2", 1).WithName("green")
	green.Spec.Selector.MatchLabels = map[string]string{"app": "green"}
	green.Spec.Template.Labels = map[string]string{"app": "green"}
	e.apply(green)
	e.service(map[string]string{"app": "app"})
	e.awaitRollout()
	e.awaitEndpoints(true, func() []string { return e.podNames("app=app") })
	patch := []byte(`{"spec":{"selector":{"app":"green"}}}`)
	if _, err := e.client.CoreV1().Services(e.ns).Patch(e.ctx, "app", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager}); err != nil {
		e.Fatalf("patch service: %v", err)
	}
	e.awaitEndpoints(true, func() []string { return e.podNames("app=green") })
}

func (e *env) podNames(selector string) []string {
	e.Helper()
	list, err := e.client.CoreV1().Pods(e.ns).List(e.ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		e.Fatalf("list pods: %v", err)
	}
	out := make([]string, 0, len(list.Items))
	for _, p := range list.Items {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

func endpointsReady(e *env) {
	e.service(map[string]string{"app": "app"})
	e.apply(e.app("shop:neverready", 1))
	e.awaitEndpoints(false, func() []string { return e.podNames("app=app") })
	if got := e.endpoints(true); len(got) > 0 {
		e.Errorf("ready endpoints are %v, want none", got)
	}
}

func routeWeights(e *env) {
	routes := e.dynamic.Resource(schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}).Namespace(e.ns)
	if _, err := routes.List(e.ctx, metav1.ListOptions{}); apierrors.IsNotFound(err) {
		e.Skip("this cluster has no Gateway API")
	}
	backend := func(name string, weight int64) any {
		return map[string]any{"name": name, "port": int64(80), "weight": weight}
	}
	route := func(stable, canary int64) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": map[string]any{"name": "app"},
			"spec": map[string]any{"rules": []any{map[string]any{"backendRefs": []any{backend("stable", stable), backend("canary", canary)}}}},
		}}
	}
	first, err := routes.Apply(e.ctx, "app", route(100, 0), applyAs(manager))
	if err != nil {
		e.Fatalf("apply route: %v", err)
	}
	again, err := routes.Apply(e.ctx, "app", route(100, 0), applyAs(manager))
	if err != nil || again.GetResourceVersion() != first.GetResourceVersion() {
		e.Errorf("the same apply again: resource version %s after %s, %v", again.GetResourceVersion(), first.GetResourceVersion(), err)
	}
	moved, err := routes.Apply(e.ctx, "app", route(90, 10), applyAs(manager))
	if err != nil {
		e.Fatalf("move weights: %v", err)
	}
	rules, _, _ := unstructured.NestedSlice(moved.Object, "spec", "rules")
	refs, _, _ := unstructured.NestedSlice(rules[0].(map[string]any), "backendRefs") // applied above
	for i, want := range []int64{90, 10} {
		if got := refs[i].(map[string]any)["weight"]; got != want { // applied above
			e.Errorf("weight %d is %v, want %d", i, got, want)
		}
	}
	if moved.GetGeneration() != 2 {
		e.Errorf("generation is %d, want 2", moved.GetGeneration())
	}
}
