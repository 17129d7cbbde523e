package kube

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// Get reads an object. The API server reads it from the store and not from a cache, so it is never older than our own
// last write.
func (n *Namespace) Get(ctx context.Context, o manifest.Object) (*unstructured.Unstructured, error) {
	resource, mapping, err := n.resource(ctx, o)
	if err != nil {
		return nil, err
	}
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	live, err := resource.Get(requestCtx, o.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil // the interface says so: there is no such object
	case err != nil:
		return nil, n.failure(ctx, err, attempt{
			verb: "get", resource: mapping.Resource.GroupResource().String(), title: o.Title(), namespace: n.namespace, secret: isSecret(o), from: o.From,
		})
	}
	return live, nil
}

// List reads the objects of a kind that a label selector selects.
func (n *Namespace) List(ctx context.Context, kind schema.GroupVersionKind, selector string) ([]*unstructured.Unstructured, error) {
	one := &unstructured.Unstructured{}
	one.SetGroupVersionKind(kind)
	resource, mapping, err := n.resource(ctx, manifest.Object{Unstructured: one})
	if err != nil {
		return nil, err
	}
	var found []*unstructured.Unstructured
	options := metav1.ListOptions{LabelSelector: selector, Limit: 500}
	for {
		requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
		page, err := resource.List(requestCtx, options)
		cancel()
		if err != nil {
			return nil, n.failure(ctx, err, attempt{verb: "list", resource: mapping.Resource.GroupResource().String(), namespace: n.namespace})
		}
		for i := range page.Items {
			found = append(found, &page.Items[i])
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return found, nil
		}
	}
}

// Merge changes fields of an object that exists.
func (n *Namespace) Merge(ctx context.Context, o manifest.Object, change map[string]any) (*unstructured.Unstructured, error) {
	resource, mapping, err := n.resource(ctx, o)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(change)
	if err != nil {
		return nil, fmt.Errorf("encode a change of %s: %w", o.Title(), err)
	}
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	answer, err := resource.Patch(requestCtx, o.GetName(), types.MergePatchType, data, metav1.PatchOptions{FieldManager: deploy.Manager})
	if err != nil {
		return nil, n.failure(ctx, err, attempt{
			verb: "apply", resource: mapping.Resource.GroupResource().String(), title: o.Title(), namespace: n.namespace, secret: isSecret(o), from: o.From,
		})
	}
	n.remember(mapping, answer)
	return answer, nil
}
