package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const gatewayGroup = "gateway.networking.k8s.io"

func isRoute(o manifest.Object) bool {
	return o.GetKind() == "HTTPRoute" && o.GroupVersionKind().Group == gatewayGroup
}

// previewName is the Service beside a gate that leads to the release that doesn't serve yet.
func previewName(service string) string { return service + "-preview" }

// preview makes the Service of that name: what the gate is, for the version's pods, and within the cluster only.
func preview(g part) (manifest.Object, error) { return inside(g, previewName(g.original)) }

// inside is a gate under another name, without what only one Service can have, or leads into the cluster.
func inside(g part, name string) (manifest.Object, error) {
	o := manifest.Object{Unstructured: g.DeepCopy(), From: g.From}
	o.SetName(name)
	spec, _, err := unstructured.NestedMap(o.Object, "spec")
	if err != nil {
		return o, refusal(pipeline.ReasonManifest, g.Title()+" has no spec", err)
	}
	for _, own := range []string{
		"clusterIP", "clusterIPs", "externalIPs", "healthCheckNodePort", "loadBalancerIP", "loadBalancerClass", "loadBalancerSourceRanges",
		"externalTrafficPolicy", "allocateLoadBalancerNodePorts", "type",
	} {
		delete(spec, own)
	}
	ports, _ := spec["ports"].([]any)
	for _, p := range ports {
		if port, ok := p.(map[string]any); ok {
			delete(port, "nodePort")
		}
	}
	o.Object["spec"] = spec
	return o, nil
}

// routing is the HTTPRoute that moves a release's traffic, and the Services of the release that it refers to.
type routing struct {
	pipeline.Traffic
	services []string
}

// refers tells whether the backend is the Service of the route's own namespace.
func refers(backend map[string]any, service string) bool {
	kind, _ := backend["kind"].(string)
	group, _ := backend["group"].(string)
	return backend["name"] == service && (kind == "" || kind == "Service") && group == ""
}

// backends are a rule's, as maps that can be changed.
func backends(rule any) []map[string]any {
	m, _ := rule.(map[string]any)
	list, _ := m["backendRefs"].([]any)
	var found []map[string]any
	for _, b := range list {
		if backend, ok := b.(map[string]any); ok {
			found = append(found, backend)
		}
	}
	return found
}

func find(rule any, service string) map[string]any {
	for _, b := range backends(rule) {
		if refers(b, service) {
			return b
		}
	}
	return nil
}

// weight is a backend's; without one it is 1, as the Gateway API says.
func weight(backend map[string]any) int64 {
	switch w := backend["weight"].(type) {
	case int64:
		return w
	case float64:
		return int64(w)
	}
	return 1
}

// named tells whether any rule refers to the Service.
func named(rules []any, service string) bool {
	return slices.ContainsFunc(rules, func(rule any) bool { return find(rule, service) != nil })
}

// previewing tells that the traffic goes to the preview Services.
func (r routing) previewing(rules []any) bool {
	for _, service := range r.services {
		for _, rule := range rules {
			p, s := find(rule, previewName(service)), find(rule, service)
			if p != nil && s != nil && weight(p) > 0 {
				return true
			}
		}
	}
	return false
}

// with is the rules with a preview backend of weight 0 beside each of the release's Services and, if there is a header
// for it, a rule before each that leads requests with the header there. What is there already stays as it is.
func (r routing) with(rules []any) []any {
	rules = r.withoutRules(copyRules(rules))
	var all []any
	for _, rule := range rules {
		touched := false
		m, _ := rule.(map[string]any)
		for _, service := range r.services {
			s := find(rule, service)
			if s == nil {
				continue
			}
			touched = true
			if find(rule, previewName(service)) == nil {
				p := runtime.DeepCopyJSON(s)
				p["name"], p["weight"] = previewName(service), int64(0)
				list, _ := m["backendRefs"].([]any)
				m["backendRefs"] = append(list, p)
			}
		}
		if touched && r.PreviewHeader != "" {
			all = append(all, r.headerRule(m))
		}
		all = append(all, rule)
	}
	return all
}

// headerRule leads what the rule matches, if it has the header, to the preview Services.
func (r routing) headerRule(rule map[string]any) map[string]any {
	own := runtime.DeepCopyJSON(rule)
	delete(own, "name") // names of rules are unique
	value := r.PreviewValue
	if value == "" {
		value = "true"
	}
	header := map[string]any{"type": "Exact", "name": r.PreviewHeader, "value": value}
	matches, _ := own["matches"].([]any)
	if len(matches) == 0 {
		matches = []any{map[string]any{}}
	}
	for _, m := range matches {
		if match, ok := m.(map[string]any); ok {
			headers, _ := match["headers"].([]any)
			match["headers"] = append(headers, header)
		}
	}
	own["matches"] = matches
	var to []any
	for _, service := range r.services {
		if p := find(own, previewName(service)); p != nil {
			p["weight"] = int64(1)
			to = append(to, p)
		}
	}
	own["backendRefs"] = to
	return own
}

// ours tells that a rule is one of those that headerRule makes: it has preview Services only.
func (r routing) ours(rule any) bool {
	list := backends(rule)
	for _, b := range list {
		if !slices.ContainsFunc(r.services, func(service string) bool { return refers(b, previewName(service)) }) {
			return false
		}
	}
	return len(list) > 0
}

func (r routing) withoutRules(rules []any) []any { return slices.DeleteFunc(rules, r.ours) }

// moved is the rules with all of the release's traffic on the preview Services, or all of it back. What the two had
// together stays the same, and other backends are left alone.
func (r routing) moved(rules []any, toPreview bool) []any {
	rules = copyRules(rules)
	for _, rule := range rules {
		for _, service := range r.services {
			s, p := find(rule, service), find(rule, previewName(service))
			if s == nil || p == nil {
				continue
			}
			sum := weight(s) + weight(p)
			if s["weight"], p["weight"] = sum, int64(0); toPreview {
				s["weight"], p["weight"] = int64(0), sum
			}
		}
	}
	return rules
}

// without is the rules as they were before with: all traffic on the Services.
func (r routing) without(rules []any) []any {
	rules = r.withoutRules(r.moved(rules, false))
	for _, rule := range rules {
		m, ok := rule.(map[string]any)
		if !ok {
			continue
		}
		if list, ok := m["backendRefs"].([]any); ok {
			m["backendRefs"] = slices.DeleteFunc(list, func(b any) bool {
				backend, _ := b.(map[string]any)
				return slices.ContainsFunc(r.services, func(service string) bool { return refers(backend, previewName(service)) })
			})
		}
	}
	return rules
}

func copyRules(rules []any) []any {
	copied, _ := runtime.DeepCopyJSONValue(rules).([]any)
	return copied
}

func rulesOf(route *unstructured.Unstructured) []any {
	rules, _, _ := unstructured.NestedSlice(route.Object, "spec", "rules")
	return rules
}

// object names the route.
func (r routing) object(namespace string) manifest.Object {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": gatewayGroup + "/v1", "kind": "HTTPRoute"}}
	o.SetName(r.HTTPRoute)
	o.SetNamespace(namespace)
	return manifest.Object{Unstructured: o}
}

// routingOf finds out which of the release's Services the route refers to, in the cluster or, if it isn't there yet, in
// the set. live is nil then. strict refuses a route that no gateway follows.
func routingOf(ctx context.Context, where place, a arrangement, traffic *pipeline.Traffic, strict bool) (r routing, live *unstructured.Unstructured, err error) {
	if traffic == nil {
		return r, nil, nil
	}
	r.Traffic = *traffic
	if live, err = where.Cluster.Get(ctx, r.object(where.Namespace)); err != nil {
		return r, nil, err
	}
	var rules []any
	own := a.only(route)
	switch {
	case len(own) > 0: // it will be as the manifests say
		rules = rulesOf(own[0].Unstructured)
	case live != nil:
		rules = rulesOf(live)
	default:
		return r, nil, refusal(pipeline.ReasonManifest, fmt.Sprintf("there is no HTTPRoute %s in namespace %s, nor in the manifests", r.HTTPRoute, where.Namespace), nil)
	}
	for _, g := range a.only(gate) {
		if named(rules, g.original) {
			r.services = append(r.services, g.original)
		}
	}
	for _, p := range a.parts {
		if isService(p.Object) && slices.ContainsFunc(r.services, func(service string) bool { return previewName(service) == p.original }) {
			return r, nil, refusal(pipeline.ReasonManifest, fmt.Sprintf("%s has the name that Slipway gives to a Service of its own for the release that doesn't serve yet", p.Title()), nil)
		}
	}
	if len(r.services) == 0 {
		return r, nil, refusal(pipeline.ReasonManifest, fmt.Sprintf("HTTPRoute %s refers to none of the Services that blue-green moves the traffic of (%s)", r.HTTPRoute, titles(a.only(gate))), nil)
	}
	if why := refusedRoute(live); strict && why != "" {
		return r, nil, refusal(pipeline.ReasonRefused, fmt.Sprintf("HTTPRoute %s can't move traffic: %s", r.HTTPRoute, why), nil)
	}
	return r, live, nil
}

// routing is which Services of the gates a route refers to now: none if it is gone.
func (p place) routing(ctx context.Context, traffic pipeline.Traffic, gates []part) (routing, error) {
	r := routing{Traffic: traffic}
	live, err := p.Cluster.Get(ctx, r.object(p.Namespace))
	if err != nil || live == nil {
		return r, err
	}
	for _, g := range gates {
		if named(rulesOf(live), g.original) && !slices.Contains(r.services, g.original) {
			r.services = append(r.services, g.original)
		}
	}
	return r, nil
}

func titles(parts []part) string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.original
	}
	return strings.Join(names, ", ")
}

// refusedRoute says why no gateway follows the route, "" if one does or the route isn't there yet.
func refusedRoute(live *unstructured.Unstructured) string {
	if live == nil {
		return ""
	}
	parents, _, _ := unstructured.NestedSlice(live.Object, "status", "parents")
	why := "no gateway has accepted it"
	for _, p := range parents {
		parent, _ := p.(map[string]any)
		conditions, _ := parent["conditions"].([]any)
		for _, c := range conditions {
			condition, _ := c.(map[string]any)
			if condition["type"] != "Accepted" {
				continue
			}
			if condition["status"] == "True" {
				return ""
			}
			message, _ := condition["message"].(string)
			reason, _ := condition["reason"].(string)
			why = "its gateway has not accepted it: " + clean(reason+" "+message, 200)
		}
	}
	return why
}

// reroute changes the rules in one update, and reads them back.
func (r routing) reroute(ctx context.Context, where place, change func(rules []any) []any) error {
	return r.rewrite(ctx, where, func(live *unstructured.Unstructured) (map[string]any, error) {
		rules := rulesOf(live)
		wanted := change(rules)
		if sameJSON(rules, wanted) {
			return nil, nil
		}
		return map[string]any{
			"metadata": map[string]any{"resourceVersion": live.GetResourceVersion()}, "spec": map[string]any{"rules": wanted},
		}, nil
	})
}

// rewrite changes the route until there is nothing left to change. Another's change at the same moment is looked at anew.
func (r routing) rewrite(ctx context.Context, where place, change func(live *unstructured.Unstructured) (map[string]any, error)) error {
	const tries = 5
	o := r.object(where.Namespace)
	var err error
	for range tries {
		var live *unstructured.Unstructured
		if live, err = where.Cluster.Get(ctx, o); err != nil {
			return err
		}
		if live == nil {
			return refusal(pipeline.ReasonRefused, fmt.Sprintf("HTTPRoute %s is gone", r.HTTPRoute), nil)
		}
		wanted, failed := change(live)
		if failed != nil || wanted == nil {
			return failed
		}
		_, err = where.Cluster.Merge(ctx, o, wanted)
		// What it is now is looked at in the next round, after a conflict and after success.
		if failure, ok := pipeline.AsFailure(err); err != nil && (!ok || failure.Permanent || failure.Code != pipeline.ReasonConflict) {
			return err
		}
	}
	if err != nil {
		return err
	}
	return &pipeline.Failure{Code: pipeline.ReasonConflict, After: 2 * time.Second, Detail: fmt.Sprintf("somebody else keeps changing HTTPRoute %s back", r.HTTPRoute)}
}

// sameJSON compares what may hold numbers of different types.
func sameJSON(a, b any) bool {
	left, errLeft := json.Marshal(a)
	right, errRight := json.Marshal(b)
	return errLeft == nil && errRight == nil && string(left) == string(right)
}
