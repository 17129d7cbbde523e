package kube

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// Compare implements deploy.Comparer by a dry run.
func (n *Namespace) Compare(ctx context.Context, o manifest.Object) (live, wanted *unstructured.Unstructured, err error) {
	resource, mapping, err := n.resource(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	live, err = resource.Get(requestCtx, o.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil, nil
	case err != nil:
		return nil, nil, n.failure(ctx, err, attempt{
			verb: "get", resource: mapping.Resource.GroupResource().String(), title: o.Title(), namespace: n.namespace, secret: isSecret(o),
		})
	}
	force := true
	versioned := manifest.Object{Unstructured: o.DeepCopy(), From: o.From}
	versioned.SetResourceVersion(live.GetResourceVersion()) // what differs is then no other change meanwhile
	wanted, _, err = n.patch(ctx, versioned, metav1.PatchOptions{FieldManager: deploy.Manager, DryRun: []string{metav1.DryRunAll}, Force: &force})
	return live, wanted, err
}
