package kube

import (
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
)

// Weight says what becomes of deliveries where a need isn't met.
type Weight int

// The weights, from what stops every delivery down to what is only shown less well.
const (
	// Always is needed by every delivery.
	Always Weight = iota
	// IfUsed is needed where the manifests hold the kind.
	IfUsed
	// Optional makes reports better, or belongs to a feature that not everybody uses.
	Optional
)

// Need is what Slipway has to be allowed to do to one resource in an environment's namespace.
type Need struct {
	Group    string
	Resource string // with its subresource: "pods/log"
	Verbs    []string
	Weight   Weight
	// Without is what people miss where an optional need isn't met.
	Without string
}

// httpRoutes is the one need that a cluster may not even know.
var httpRoutes = [2]string{"gateway.networking.k8s.io", "httproutes"}

// IsHTTPRoute tells that the need is only one where the cluster serves the Gateway API.
func (n Need) IsHTTPRoute() bool { return n.Group == httpRoutes[0] && n.Resource == httpRoutes[1] }

// Needs are all rights that Slipway uses in a namespace. docs/kubernetes.md lists them as a Role, and a test holds
// the two together. It uses none outside.
func Needs() []Need {
	look := []string{"get", "list", "watch"}
	write := []string{"get", "create", "patch", "delete"}
	both := []string{"get", "list", "watch", "create", "patch", "delete"}
	all := slices.Insert(slices.Clone(both), 5, "update")
	return []Need{
		{Resource: "configmaps", Verbs: write, Weight: IfUsed},
		{Resource: "secrets", Verbs: write, Weight: IfUsed},
		{Resource: "serviceaccounts", Verbs: write, Weight: IfUsed},
		{Resource: "persistentvolumeclaims", Verbs: write, Weight: IfUsed},
		{Group: "batch", Resource: "cronjobs", Verbs: write, Weight: IfUsed},
		{Group: "networking.k8s.io", Resource: "networkpolicies", Verbs: write, Weight: IfUsed},

		{Group: "apps", Resource: "deployments", Verbs: both},
		{Group: "apps", Resource: "statefulsets", Verbs: both, Weight: IfUsed},
		{Group: "apps", Resource: "daemonsets", Verbs: both, Weight: IfUsed},
		{Resource: "services", Verbs: both, Weight: IfUsed},
		{Group: "batch", Resource: "jobs", Verbs: both, Weight: IfUsed},
		{Group: "networking.k8s.io", Resource: "ingresses", Verbs: both, Weight: IfUsed},
		{Group: "autoscaling", Resource: "horizontalpodautoscalers", Verbs: both, Weight: IfUsed},
		{Group: "policy", Resource: "poddisruptionbudgets", Verbs: both, Weight: IfUsed},

		{Group: "apps", Resource: "replicasets", Verbs: look},
		{Resource: "pods", Verbs: look},

		{Resource: "pods/log", Verbs: []string{"get"}, Weight: Optional, Without: "a crash loop is told without the end of its log"},
		{Resource: "events", Verbs: []string{"list", "watch"}, Weight: Optional, Without: "what the cluster says of the objects isn't shown"},
		{Group: "discovery.k8s.io", Resource: "endpointslices", Verbs: []string{"list", "watch"}, Weight: Optional, Without: "it isn't shown which pods get traffic"},
		{Resource: "configmaps", Verbs: []string{"list", "watch"}, Weight: Optional, Without: "what runs where doesn't show which are there"},
		{Group: "batch", Resource: "cronjobs", Verbs: []string{"list", "watch"}, Weight: Optional, Without: "what runs where doesn't show which are there"},
		{Group: httpRoutes[0], Resource: httpRoutes[1], Verbs: all, Weight: Optional, Without: "traffic isn't split by an HTTPRoute"},
	}
}

// String is such as "list, watch pods".
func (n Need) String() string { return strings.Join(n.Verbs, ", ") + " " + n.title() }

func (n Need) title() string {
	if n.Group == "" {
		return n.Resource
	}
	return n.Resource + "." + n.Group
}

// RoleRules are the needs as lines of a Role's rules, in YAML. What takes the same verbs in the same group is one line.
func RoleRules(needs []Need) []string {
	type rule struct {
		group, verbs string
		resources    []string
	}
	var rules []*rule
	for _, n := range needs {
		verbs := strings.Join(n.Verbs, ", ")
		at := slices.IndexFunc(rules, func(r *rule) bool { return r.group == n.Group && r.verbs == verbs })
		if at < 0 {
			rules, at = append(rules, &rule{group: n.Group, verbs: verbs}), len(rules)
		}
		rules[at].resources = append(rules[at].resources, n.Resource)
	}
	lines := make([]string, 0, len(rules))
	for _, r := range rules {
		group := r.group
		if group == "" {
			group = `""`
		}
		lines = append(lines, fmt.Sprintf("- {apiGroups: [%s], resources: [%s], verbs: [%s]}", group, strings.Join(r.resources, ", "), r.verbs))
	}
	return lines
}

// lacks gives the verbs of the need that no rule allows for all objects of the resource.
func (n Need) lacks(rules []authorizationv1.ResourceRule) []string {
	var out []string
	for _, verb := range n.Verbs {
		if !slices.ContainsFunc(rules, func(r authorizationv1.ResourceRule) bool { return allows(r, verb, n.Group, n.Resource) }) {
			out = append(out, verb)
		}
	}
	return out
}

func allows(r authorizationv1.ResourceRule, verb, group, resource string) bool {
	has := func(list []string, one string) bool { return slices.Contains(list, "*") || slices.Contains(list, one) }
	_, sub, isSub := strings.Cut(resource, "/")
	return len(r.ResourceNames) == 0 && has(r.Verbs, verb) && has(r.APIGroups, group) &&
		(has(r.Resources, resource) || isSub && slices.Contains(r.Resources, "*/"+sub))
}
