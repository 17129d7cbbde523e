package kubesuite

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

func routeTests() []test {
	return []test{
		{"a route's weights are changed through the dynamic client", routeWeights},
		{"a route gets its defaults", routeDefaults},
		{"a route that can't be is refused with the reason", routeRefused},
		{"a route's rules have one owner as a whole", routeOwner},
		{"a patch can insist on the weights that it has read", routePatch},
		{"a gateway needs listeners", gatewayRefused},
	}
}

const gatewayGroup = "gateway.networking.k8s.io"

func (e *env) gateway(resource string) dynamic.ResourceInterface {
	return e.dynamic.Resource(schema.GroupVersionResource{Group: gatewayGroup, Version: "v1", Resource: resource}).Namespace(e.ns)
}

func backend(name string, weight int64) map[string]any {
	return map[string]any{"name": name, "port": int64(80), "weight": weight}
}

// route is an HTTPRoute named app with one rule that leads to the backends.
func route(backends ...any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gatewayGroup + "/v1", "kind": "HTTPRoute", "metadata": map[string]any{"name": "app"},
		"spec": map[string]any{
			"parentRefs": []any{map[string]any{"name": "front"}},
			"rules":      []any{map[string]any{"backendRefs": backends}},
		},
	}}
}

func split(stable, canary int64) *unstructured.Unstructured {
	return route(backend("stable", stable), backend("canary", canary))
}

func (e *env) applyRoute(r *unstructured.Unstructured) *unstructured.Unstructured {
	e.Helper()
	out, err := e.gateway("httproutes").Apply(e.ctx, "app", r, applyAs(manager))
	if err != nil {
		e.Fatalf("apply route: %v", err)
	}
	return out
}

func (e *env) wantWeights(r *unstructured.Unstructured, want ...int64) {
	e.Helper()
	rules, _, _ := unstructured.NestedSlice(r.Object, "spec", "rules")
	if len(rules) != 1 {
		e.Fatalf("route has %d rules, want 1", len(rules))
	}
	var got []int64
	backends, _, _ := unstructured.NestedSlice(rules[0].(map[string]any), "backendRefs") // the schema has it so
	for _, b := range backends {
		weight, _, _ := unstructured.NestedInt64(b.(map[string]any), "weight") // the schema has it so
		got = append(got, weight)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		e.Errorf("weights are %v, want %v", got, want)
	}
}

func routeWeights(e *env) {
	first := e.applyRoute(split(100, 0))
	again := e.applyRoute(split(100, 0))
	if again.GetResourceVersion() != first.GetResourceVersion() {
		e.Errorf("the same apply again: resource version %s after %s", again.GetResourceVersion(), first.GetResourceVersion())
	}
	moved := e.applyRoute(split(90, 10))
	e.wantWeights(moved, 90, 10)
	if moved.GetGeneration() != 2 {
		e.Errorf("generation is %d, want 2", moved.GetGeneration())
	}
}

func routeDefaults(e *env) {
	got := e.applyRoute(route(map[string]any{"name": "stable", "port": int64(80)}))
	want := []any{map[string]any{
		"backendRefs": []any{map[string]any{"group": "", "kind": "Service", "name": "stable", "port": int64(80), "weight": int64(1)}},
		"matches":     []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/"}}},
	}}
	e.wantField(got, want, "spec", "rules")
	e.wantField(got, []any{map[string]any{"group": gatewayGroup, "kind": "Gateway", "name": "front"}}, "spec", "parentRefs")

	bare := route()
	unstructured.RemoveNestedField(bare.Object, "spec", "rules")
	bare.SetName("bare")
	got, err := e.gateway("httproutes").Create(e.ctx, bare, metav1.CreateOptions{})
	if err != nil {
		e.Fatalf("create a route without rules: %v", err)
	}
	e.wantField(got, []any{map[string]any{"matches": []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/"}}}}}, "spec", "rules")
}

func (e *env) wantField(u *unstructured.Unstructured, want any, path ...string) {
	e.Helper()
	got, _, err := unstructured.NestedFieldNoCopy(u.Object, path...)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		e.Errorf("%v is %v (%v), want %v", path, got, err, want)
	}
}

func routeRefused(e *env) {
	without := func(name string) map[string]any {
		b := backend("stable", 1)
		delete(b, name)
		return b
	}
	with := func(name string, value any) map[string]any {
		b := backend("stable", 1)
		b[name] = value
		return b
	}
	noRules, noParent, twice := route(), route(backend("stable", 1)), route()
	_ = unstructured.SetNestedSlice(noRules.Object, []any{}, "spec", "rules") // the path is there
	_ = unstructured.SetNestedSlice(noParent.Object, []any{map[string]any{"sectionName": "http"}}, "spec", "parentRefs")
	_ = unstructured.SetNestedSlice(twice.Object, []any{map[string]any{"name": "a"}, map[string]any{"name": "a"}}, "spec", "rules")
	many := make([]any, 17)
	for i := range many {
		many[i] = backend("stable", 1)
	}
	cases := []struct {
		name  string
		route *unstructured.Unstructured
		want  []string
	}{
		{"a weight below zero", route(backend("stable", -1)), []string{"spec.rules[0].backendRefs[0].weight", "should be greater than or equal to 0"}},
		{"a weight above a million", route(backend("stable", 1_000_001)), []string{"spec.rules[0].backendRefs[0].weight", "should be less than or equal to 1000000"}},
		{"a service without a port", route(backend("canary", 1), without("port")), []string{"spec.rules[0].backendRefs[1]", "Must have port for Service reference"}},
		{"a backend without a name", route(without("name")), []string{"spec.rules[0].backendRefs[0].name: Required value"}},
		{"a port that there isn't", route(with("port", int64(70_000))), []string{"spec.rules[0].backendRefs[0].port", "should be less than or equal to 65535"}},
		{"too many backends", route(many...), []string{"spec.rules[0].backendRefs: Too many: 17: must have at most 16 items"}},
		{"no rules", noRules, []string{"spec.rules", "should have at least 1 items"}},
		{"a parent without a name", noParent, []string{"spec.parentRefs[0].name: Required value"}},
		{"two rules of one name", twice, []string{"spec.rules", "Rule name must be unique within the route"}},
	}
	for _, tc := range cases {
		_, err := e.gateway("httproutes").Apply(e.ctx, "app", tc.route, applyAs(manager))
		if !apierrors.IsInvalid(err) {
			e.Errorf("%s: got %v, want invalid", tc.name, err)
			continue
		}
		e.wantContains("the refusal of "+tc.name, err.Error(), append(tc.want, `HTTPRoute.gateway.networking.k8s.io "app" is invalid`)...)
	}
	e.applyRoute(route(backend("stable", 0), backend("canary", 1_000_000)))
}

func routeOwner(e *env) {
	e.applyRoute(split(100, 0))
	routes := e.gateway("httproutes")
	moved := split(90, 10)
	unstructured.RemoveNestedField(moved.Object, "spec", "parentRefs")
	_, err := routes.Apply(e.ctx, "app", moved, applyAs("other"))
	if !apierrors.IsConflict(err) {
		e.Fatalf("apply of other weights by another manager: got %v, want a conflict", err)
	}
	e.wantContains("the conflict", err.Error(), `conflict with "`+manager+`"`, ".spec.rules")
	names := moved.DeepCopy()
	unstructured.RemoveNestedField(names.Object, "spec", "rules")
	_ = unstructured.SetNestedStringSlice(names.Object, []string{"shop.example.com"}, "spec", "hostnames") // the path is there
	if _, err := routes.Apply(e.ctx, "app", names, applyAs("other")); err != nil {
		e.Errorf("apply of other fields by another manager: %v", err)
	}
	forced, err := routes.Apply(e.ctx, "app", moved, metav1.ApplyOptions{FieldManager: "canary", Force: true})
	if err != nil {
		e.Fatalf("force the weights: %v", err)
	}
	e.wantWeights(forced, 90, 10)
	e.wantField(forced, []string{"shop.example.com"}, "spec", "hostnames")
	// Who no longer has the rules in what it applies leaves them to the one who took them.
	rest := split(0, 0)
	unstructured.RemoveNestedField(rest.Object, "spec", "rules")
	e.wantWeights(e.applyRoute(rest), 90, 10)
}

func routePatch(e *env) {
	e.applyRoute(split(100, 0))
	routes := e.gateway("httproutes")
	patch := func(read, stable, canary int64) error {
		const at = "/spec/rules/0/backendRefs/"
		body := fmt.Sprintf(`[{"op":"test","path":"%s0/weight","value":%d},{"op":"replace","path":"%s0/weight","value":%d},{"op":"replace","path":"%s1/weight","value":%d}]`,
			at, read, at, stable, at, canary)
		_, err := routes.Patch(e.ctx, "app", types.JSONPatchType, []byte(body), metav1.PatchOptions{FieldManager: "canary"})
		return err
	}
	if err := patch(100, 90, 10); err != nil {
		e.Fatalf("patch the weights: %v", err)
	}
	if err := patch(100, 50, 50); err == nil {
		e.Error("a patch from a stale read was accepted")
	}
	got, err := routes.Get(e.ctx, "app", metav1.GetOptions{})
	if err != nil {
		e.Fatal(err)
	}
	e.wantWeights(got, 90, 10)
	if _, err := routes.Apply(e.ctx, "app", split(100, 0), applyAs(manager)); !apierrors.IsConflict(err) {
		e.Errorf("apply after somebody else moved the weights: got %v, want a conflict", err)
	}
}

func gatewayRefused(e *env) {
	gateway := func(listeners ...any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": gatewayGroup + "/v1", "kind": "Gateway", "metadata": map[string]any{"name": "front"},
			"spec": map[string]any{"gatewayClassName": "any", "listeners": listeners},
		}}
	}
	gateways := e.gateway("gateways")
	if _, err := gateways.Apply(e.ctx, "front", gateway(), applyAs(manager)); !apierrors.IsInvalid(err) {
		e.Errorf("apply of a gateway without listeners: got %v, want invalid", err)
	}
	listener := map[string]any{"name": "http", "port": int64(80), "protocol": "HTTP"}
	if _, err := gateways.Apply(e.ctx, "front", gateway(listener), applyAs(manager)); err != nil {
		e.Errorf("apply of a gateway: %v", err)
	}
}
