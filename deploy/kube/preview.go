package kube

import (
	"context"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

var _ deploy.Previewer = (*Namespace)(nil)

// Preview gives an object as it is and as a dry run of applying it makes it.
func (n *Namespace) Preview(ctx context.Context, o manifest.Object) (live, after *unstructured.Unstructured, err error) {
	resource, mapping, err := n.resource(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	live, err = resource.Get(requestCtx, o.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		live = nil
	case err != nil:
		return nil, nil, n.failure(ctx, err, attempt{
			verb: "get", resource: mapping.Resource.GroupResource().String(), title: o.Title(), namespace: n.namespace, secret: isSecret(o), from: o.From,
		})
	}
	if kind := o.GetKind(); live == nil && (kind == "Pod" || kind == "RoleBinding") {
		return nil, o.Unstructured, nil // see Check
	}
	after, _, err = n.patch(ctx, o, dryRun())
	if err != nil {
		return nil, nil, err
	}
	return live, after, nil
}

// Owned lists the objects with these labels. A kind that the cluster doesn't have, or that may not be listed, is left out.
func (n *Namespace) Owned(ctx context.Context, objects []manifest.Object, with map[string]string) ([]manifest.Object, error) {
	kinds := map[schema.GroupVersionKind]bool{}
	for kind, version := range map[string]schema.GroupVersion{
		"ConfigMap": {Version: "v1"}, "Secret": {Version: "v1"}, "Service": {Version: "v1"}, "ServiceAccount": {Version: "v1"}, "PersistentVolumeClaim": {Version: "v1"},
		"Deployment": {Group: "apps", Version: "v1"}, "StatefulSet": {Group: "apps", Version: "v1"}, "DaemonSet": {Group: "apps", Version: "v1"},
		"Job": {Group: "batch", Version: "v1"}, "CronJob": {Group: "batch", Version: "v1"}, "Ingress": {Group: "networking.k8s.io", Version: "v1"},
		"HorizontalPodAutoscaler": {Group: "autoscaling", Version: "v2"}, "PodDisruptionBudget": {Group: "policy", Version: "v1"},
	} {
		kinds[version.WithKind(kind)] = true
	}
	for _, o := range objects {
		if !o.DefinesKind() {
			kinds[o.GroupVersionKind()] = true
		}
	}
	var owned []manifest.Object
	for _, kind := range slices.SortedFunc(maps.Keys(kinds), func(a, b schema.GroupVersionKind) int { return slices.Compare([]byte(a.String()), []byte(b.String())) }) {
		more, err := n.listKind(ctx, kind, labels.SelectorFromSet(with).String())
		if err != nil {
			return nil, err
		}
		owned = append(owned, more...)
	}
	return owned, nil
}

func (n *Namespace) listKind(ctx context.Context, kind schema.GroupVersionKind, selector string) ([]manifest.Object, error) {
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	mapping, err := n.mapper.RESTMappingWithContext(requestCtx, kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) || err == nil && mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return nil, nil
	}
	what := attempt{verb: "list", resource: kind.Kind, namespace: n.namespace, secret: kind.Kind == "Secret"}
	if err != nil {
		return nil, n.failure(ctx, err, what)
	}
	list, err := n.dynamic.Resource(mapping.Resource).Namespace(n.namespace).List(requestCtx, metav1.ListOptions{LabelSelector: selector})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsMethodNotSupported(err), apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, n.failure(ctx, err, what)
	}
	objects := make([]manifest.Object, 0, len(list.Items))
	for i := range list.Items {
		item := &list.Items[i]
		item.SetGroupVersionKind(kind)
		objects = append(objects, manifest.Object{Unstructured: item})
	}
	return objects, nil
}
