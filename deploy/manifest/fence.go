package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Fence holds the objects of a review. They come from a branch that nobody has looked at yet, so they are of kinds whose
// reach is known, lead only hosts to the review that the operator names, and take nothing of the nodes.
type Fence struct {
	// Hosts that may be claimed: "shop.example.com", or "*.example.com" for all below it.
	Hosts []string
	// Kinds that may be brought besides those that are known, as "Kind.group".
	Kinds []string
	// Account is the service account of the namespace that Slipway acts as, "" if that is none of the namespace.
	Account string
}

// Check finds the first object that an environment's review may not bring. Its error is an *Error.
func (f Fence) Check(s Set, environment string) error {
	for _, o := range s.Objects {
		if why := f.refuses(o); why.What != "" {
			what := fmt.Sprintf("%s %s, and a review environment such as %s may not", o.Title(), why.What, clip(environment))
			return o.mistake(what, why.Hint)
		}
	}
	return nil
}

// refuses says what the object does that a review may not, nothing if it may be brought.
func (f Fence) refuses(o Object) Error {
	name := kindName(o)
	if !slices.Contains(reviewKinds(), name) && !slices.Contains(f.Kinds, name) {
		return Error{What: "is of the kind " + clip(name), Hint: "an operator can allow it with kinds, if it claims no host and gives no rights"}
	}
	for _, host := range claims(o, name) {
		switch {
		case host == "":
			return Error{What: "takes the traffic of every host", Hint: f.hint()}
		case !f.covers(host):
			return Error{What: fmt.Sprintf("claims the host %q", clip(host)), Hint: f.hint()}
		}
	}
	if what := reaches(o, name); what != "" {
		return Error{What: what}
	}
	if what := f.annotated(o); what != "" {
		return Error{What: what, Hint: f.hint()}
	}
	found := ""
	eachPod(o.Object["spec"], func(pod fields) {
		if found == "" {
			found = f.outOfPod(pod)
		}
	})
	return Error{What: found}
}

func (f Fence) hint() string {
	if len(f.Hosts) == 0 {
		return "an operator names the hosts of review environments with hosts, and has named none"
	}
	return "the operator's hosts of this environment are " + clip(strings.Join(f.Hosts, ", ")) + "; hosts of the deploy replaces what the manifests say"
}

// kindName is the object's kind as operators write it: "Ingress.networking.k8s.io", "Service".
func kindName(o Object) string {
	return strings.TrimSuffix(o.GetKind()+"."+o.GroupVersionKind().Group, ".")
}

// reviewKinds are those that a review may bring without the operator's word: claims knows the hosts of some, and the others
// have none. Roles are not among them: a pod that may do what Slipway may do there, makes its own routes.
func reviewKinds() []string {
	return []string{
		"ConfigMap", "Secret", "Service", "ServiceAccount", "PersistentVolumeClaim", "Pod", "ReplicationController",
		"Deployment.apps", "StatefulSet.apps", "DaemonSet.apps", "ReplicaSet.apps", "Job.batch", "CronJob.batch",
		"HorizontalPodAutoscaler.autoscaling", "PodDisruptionBudget.policy", "NetworkPolicy.networking.k8s.io",
		"Ingress.networking.k8s.io", "HTTPRoute.gateway.networking.k8s.io", "GRPCRoute.gateway.networking.k8s.io",
		"TLSRoute.gateway.networking.k8s.io", "Route.route.openshift.io", "VirtualService.networking.istio.io",
	}
}

// claims lists the hosts whose traffic the object takes; "" stands for any.
//
// Sources: https://kubernetes.io/docs/concepts/services-networking/ingress/, https://gateway-api.sigs.k8s.io/reference/spec/,
// https://istio.io/latest/docs/reference/config/networking/virtual-service/,
// https://docs.redhat.com/en/documentation/openshift_container_platform/4.19/html/network_apis/route-route-openshift-io-v1
func claims(o Object, name string) []string {
	spec, _ := o.Object["spec"].(fields)
	switch name {
	case "Ingress.networking.k8s.io":
		return ingressHosts(spec)
	case "HTTPRoute.gateway.networking.k8s.io", "GRPCRoute.gateway.networking.k8s.io", "TLSRoute.gateway.networking.k8s.io":
		return texts(spec["hostnames"])
	case "VirtualService.networking.istio.io":
		return texts(spec["hosts"])
	case "Gateway.gateway.networking.k8s.io":
		hosts := ofEach(spec["listeners"], "hostname")
		if spec["addresses"] != nil {
			hosts = append(hosts, "")
		}
		return hosts
	case "Route.route.openshift.io":
		host, _ := spec["host"].(string)
		if _, below, ok := strings.Cut(host, "."); ok && spec["wildcardPolicy"] == "Subdomain" {
			host = "*." + below
		}
		return []string{host}
	}
	return nil
}

func ingressHosts(spec fields) []string {
	hosts := ofEach(spec["rules"], "host")
	if spec["defaultBackend"] != nil || spec["backend"] != nil {
		hosts = append(hosts, "")
	}
	eachMap(spec["tls"], func(tls fields) {
		if tls["hosts"] != nil { // else it is for the hosts of the rules
			hosts = append(hosts, texts(tls["hosts"])...)
		}
	})
	return hosts
}

// ofEach is a field of each item of a list; "" for an item that doesn't have it, and for a list that is none.
func ofEach(list any, field string) (values []string) {
	items, _ := list.([]any)
	for _, item := range items {
		m, _ := item.(fields)
		value, _ := m[field].(string)
		values = append(values, value)
	}
	if len(values) == 0 {
		return []string{""}
	}
	return values
}

// texts are the items of a list; "" for one that is no text, and for a list that is none.
func texts(list any) (values []string) {
	items, _ := list.([]any)
	for _, item := range items {
		value, _ := item.(string)
		values = append(values, value)
	}
	if len(values) == 0 {
		return []string{""}
	}
	return values
}

var hostName = regexp.MustCompile(`^(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

// covers tells that one of the operator's hosts stands for the host, or for all that a wildcard takes.
func (f Fence) covers(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !hostName.MatchString(host) {
		return false
	}
	name, wildcard := strings.CutPrefix(host, "*.")
	return slices.ContainsFunc(f.Hosts, func(allowed string) bool {
		below, many := strings.CutPrefix(strings.ToLower(allowed), "*.")
		switch {
		case many:
			return strings.HasSuffix(name, "."+below) || wildcard && name == below
		default:
			return !wildcard && name == below
		}
	})
}

// annotated finds annotations by which controllers lead more hosts to an object than its fields say, or change what they
// serve for others: nginx's aliases and snippets, external-dns's names, load balancers' own conditions.
func (f Fence) annotated(o Object) string {
	for _, path := range [][]string{
		{"metadata", "annotations"}, {"spec", "template", "metadata", "annotations"}, {"spec", "infrastructure", "annotations"},
		{"spec", "jobTemplate", "spec", "template", "metadata", "annotations"},
	} {
		notes, _, _ := unstructured.NestedMap(o.Object, path...)
		for _, key := range slices.Sorted(maps.Keys(notes)) {
			value, _ := notes[key].(string)
			if !f.harmless(strings.ToLower(key), value) {
				return fmt.Sprintf("has the annotation %s, which may claim other hosts", clip(key))
			}
		}
	}
	return ""
}

func (f Fence) harmless(key, value string) bool {
	has := func(part string) bool { return strings.Contains(key, part) }
	if slices.ContainsFunc([]string{"snippet", "redirect-from", "/conditions.", "/actions.", "/config-", "zalando.org/", "getambassador.io/"}, has) ||
		strings.HasPrefix(key, "dns.alpha.kubernetes.io/") {
		return false
	}
	if !has("hostname") && !has("alias") || strings.HasSuffix(key, "-source") {
		return true
	}
	names := strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
	return !slices.ContainsFunc(names, func(host string) bool { return !f.covers(host) })
}

// reaches says how a Service or a Secret gets at more than the review's own pods.
func reaches(o Object, name string) string {
	spec, _ := o.Object["spec"].(fields)
	kind, _ := spec["type"].(string)
	switch {
	case name == "Secret" && o.Object["type"] == "kubernetes.io/service-account-token":
		return "asks for the token of a service account"
	case name != "Service":
	case spec["externalIPs"] != nil:
		return "claims addresses (externalIPs)"
	case !slices.Contains([]string{"", "ClusterIP", "NodePort"}, kind):
		return "is a Service of the type " + clip(kind)
	case anySets(spec["ports"], "nodePort"):
		return "claims a port of all nodes (nodePort)"
	}
	return ""
}

// anySets tells that an item of a list sets the field.
func anySets(list any, field string) (set bool) {
	eachMap(list, func(m fields) { set = set || isSet(m[field]) })
	return set
}

// isSet tells that a field is more than left out, false or 0.
func isSet(value any) bool { return value != nil && value != false && value != int64(0) }

// eachPod calls do with the spec of each pod, wherever the object keeps it.
func eachPod(node any, do func(fields)) {
	switch n := node.(type) {
	case fields:
		if _, ok := n["containers"].([]any); ok {
			do(n)
		}
		for _, key := range slices.Sorted(maps.Keys(n)) {
			eachPod(n[key], do)
		}
	case []any:
		for _, item := range n {
			eachPod(item, do)
		}
	}
}

// accountOf is the service account of a pod, which is "default" where none is named.
func accountOf(pod fields) string {
	name, _ := pod["serviceAccountName"].(string)
	old, _ := pod["serviceAccount"].(string)
	return cmp.Or(name, old, "default")
}

// outOfPod says how a pod gets at its node, or at Slipway's rights.
func (f Fence) outOfPod(pod fields) string {
	for _, field := range []string{"hostNetwork", "hostPID", "hostIPC"} {
		if isSet(pod[field]) {
			return "shares what is its node's (" + field + ")"
		}
	}
	class, _ := pod["priorityClassName"].(string)
	switch {
	case strings.HasPrefix(class, "system-"):
		return "is as important as the cluster's own pods (priorityClassName)"
	case f.Account != "" && accountOf(pod) == f.Account:
		return "uses the service account that Slipway acts as"
	}
	found := ""
	if anySets(pod["volumes"], "hostPath") {
		found = "mounts a folder of its node (hostPath)"
	}
	walkContainers(pod, func(c fields) {
		security, _ := c["securityContext"].(fields)
		switch {
		case isSet(security["privileged"]):
			found = "has the rights of its node (privileged)"
		case anySets(c["ports"], "hostPort"):
			found = "claims a port of its node (hostPort)"
		default:
			capabilities, _ := security["capabilities"].(fields)
			added, _ := capabilities["add"].([]any)
			for _, c := range added {
				if c != "NET_BIND_SERVICE" {
					found = fmt.Sprintf("wants a right of its node (capability %v)", c)
				}
			}
		}
	})
	return found
}
