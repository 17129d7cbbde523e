package registry

import (
	"fmt"
	"sort"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object is what the registry stores: a typed Kubernetes object or, for custom kinds, an unstructured one.
type Object interface {
	metav1.Object
	runtime.Object
}

// The resources by the plural that stands in their URLs. Plurals are unique in this cluster.
const (
	Namespaces      = "namespaces"
	Nodes           = "nodes"
	Pods            = "pods"
	Services        = "services"
	ConfigMaps      = "configmaps"
	Secrets         = "secrets"
	ServiceAccounts = "serviceaccounts"
	Events          = "events"
	Endpoints       = "endpoints"
	Claims          = "persistentvolumeclaims"
	Quotas          = "resourcequotas"
	Deployments     = "deployments"
	ReplicaSets     = "replicasets"
	StatefulSets    = "statefulsets"
	DaemonSets      = "daemonsets"
	Jobs            = "jobs"
	CronJobs        = "cronjobs"
	Ingresses       = "ingresses"
	NetworkPolicies = "networkpolicies"
	Autoscalers     = "horizontalpodautoscalers"
	Budgets         = "poddisruptionbudgets"
	EndpointSlices  = "endpointslices"
	Roles           = "roles"
	RoleBindings    = "rolebindings"
	HTTPRoutes      = "httproutes"
	Gateways        = "gateways"
)

// Kind is one resource of the cluster.
type Kind struct {
	schema.GroupVersionKind
	Resource   string
	Singular   string
	Short      []string
	Namespaced bool
	// Status and Scale tell which subresources there are.
	Status, Scale bool
	// Generation is set where a change of the spec counts up metadata.generation.
	Generation bool
	// Custom kinds are stored unstructured, as the real thing stores the objects of a CustomResourceDefinition.
	Custom bool

	nameRule validation.ValidateNameFunc
	empty    func() Object
}

// GroupResource is the kind's resource with its API group, as errors name it.
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.Resource}
}

// New is an empty object of the kind, with apiVersion and kind set.
func (k *Kind) New() Object {
	obj := k.empty()
	obj.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	return obj
}

func builtin(gv schema.GroupVersion, resource string, empty func() Object, short ...string) *Kind {
	kind := strings.TrimPrefix(fmt.Sprintf("%T", empty()), "*")
	kind = kind[strings.LastIndex(kind, ".")+1:]
	return &Kind{
		GroupVersionKind: gv.WithKind(kind),
		Resource:         resource,
		Singular:         strings.ToLower(kind),
		Short:            short,
		Namespaced:       true,
		nameRule:         validation.NameIsDNSSubdomain,
		empty:            empty,
	}
}

func (k *Kind) cluster() *Kind    { k.Namespaced = false; return k }
func (k *Kind) status() *Kind     { k.Status = true; return k }
func (k *Kind) scale() *Kind      { k.Scale = true; return k }
func (k *Kind) generation() *Kind { k.Generation = true; return k }
func (k *Kind) named(rule validation.ValidateNameFunc) *Kind {
	k.nameRule = rule
	return k
}

func custom(group, version, kind, resource string) *Kind {
	return &Kind{
		GroupVersionKind: schema.GroupVersionKind{Group: group, Version: version, Kind: kind},
		Resource:         resource,
		Singular:         strings.ToLower(kind),
		Namespaced:       true, Status: true, Generation: true, Custom: true,
		nameRule: validation.NameIsDNSSubdomain,
		empty:    func() Object { return &unstructured.Unstructured{Object: map[string]any{}} },
	}
}

func kinds() []*Kind {
	core, apps, batch := corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion, batchv1.SchemeGroupVersion
	net := networkingv1.SchemeGroupVersion
	return []*Kind{
		builtin(core, Namespaces, func() Object { return &corev1.Namespace{} }, "ns").cluster().status().named(validation.ValidateNamespaceName),
		builtin(core, Nodes, func() Object { return &corev1.Node{} }, "no").cluster().status(),
		builtin(core, Pods, func() Object { return &corev1.Pod{} }, "po").status().generation(),
		builtin(core, Services, func() Object { return &corev1.Service{} }, "svc").status().named(validation.NameIsDNS1035Label),
		builtin(core, ConfigMaps, func() Object { return &corev1.ConfigMap{} }, "cm"),
		builtin(core, Secrets, func() Object { return &corev1.Secret{} }),
		builtin(core, ServiceAccounts, func() Object { return &corev1.ServiceAccount{} }, "sa"),
		builtin(core, Events, func() Object { return &corev1.Event{} }, "ev"),
		builtin(core, Endpoints, func() Object { return &corev1.Endpoints{} }, "ep"), //nolint:staticcheck // real clusters still serve them
		builtin(core, Claims, func() Object { return &corev1.PersistentVolumeClaim{} }, "pvc").status(),
		builtin(core, Quotas, func() Object { return &corev1.ResourceQuota{} }, "quota").status(),
		builtin(apps, Deployments, func() Object { return &appsv1.Deployment{} }, "deploy").status().scale().generation(),
		builtin(apps, ReplicaSets, func() Object { return &appsv1.ReplicaSet{} }, "rs").status().scale().generation(),
		builtin(apps, StatefulSets, func() Object { return &appsv1.StatefulSet{} }, "sts").status().scale().generation(),
		builtin(apps, DaemonSets, func() Object { return &appsv1.DaemonSet{} }, "ds").status().generation(),
		builtin(batch, Jobs, func() Object { return &batchv1.Job{} }).status().generation(),
		builtin(batch, CronJobs, func() Object { return &batchv1.CronJob{} }, "cj").status().generation(),
		builtin(net, Ingresses, func() Object { return &networkingv1.Ingress{} }, "ing").status().generation(),
		builtin(net, NetworkPolicies, func() Object { return &networkingv1.NetworkPolicy{} }, "netpol").generation(),
		builtin(autoscalingv2.SchemeGroupVersion, Autoscalers, func() Object { return &autoscalingv2.HorizontalPodAutoscaler{} }, "hpa").status(),
		builtin(policyv1.SchemeGroupVersion, Budgets, func() Object { return &policyv1.PodDisruptionBudget{} }, "pdb").status().generation(),
		builtin(discoveryv1.SchemeGroupVersion, EndpointSlices, func() Object { return &discoveryv1.EndpointSlice{} }).generation(),
		builtin(rbacv1.SchemeGroupVersion, Roles, func() Object { return &rbacv1.Role{} }),
		builtin(rbacv1.SchemeGroupVersion, RoleBindings, func() Object { return &rbacv1.RoleBinding{} }),
		custom("gateway.networking.k8s.io", "v1", "HTTPRoute", HTTPRoutes),
		custom("gateway.networking.k8s.io", "v1", "Gateway", Gateways),
	}
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, networkingv1.AddToScheme, autoscalingv2.AddToScheme,
		policyv1.AddToScheme, discoveryv1.AddToScheme, rbacv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register types: %w", err)
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	registerDefaults(scheme)
	return scheme, nil
}

// Kinds lists the cluster's resources by group, version and resource.
func (r *Registry) Kinds() []*Kind {
	out := make([]*Kind, 0, len(r.kinds))
	for _, k := range r.kinds {
		out = append(out, k)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.Group != b.Group {
			return a.Group < b.Group
		}
		return a.Resource < b.Resource
	})
	return out
}

// Lookup finds the resource that a URL names.
func (r *Registry) Lookup(gv schema.GroupVersion, resource string) (*Kind, bool) {
	k, ok := r.kinds[resource]
	if !ok || k.GroupVersion() != gv {
		return nil, false
	}
	return k, true
}
