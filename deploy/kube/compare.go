package kube

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Compare implements deploy.Comparer by a dry run.
func (n *Namespace) Compare(ctx context.Context, o manifest.Object) (live, wanted *unstructured.Unstructured, err error) {
	resource, mapping, err := n.resource(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	for range comparisons {
		if live, err = n.read(ctx, o, resource, mapping); live == nil || err != nil {
			return nil, nil, err
		}
		force := true
		versioned := manifest.Object{Unstructured: o.DeepCopy(), From: o.From}
		versioned.SetResourceVersion(live.GetResourceVersion()) // what differs is then no other change meanwhile
		wanted, _, err = n.patch(ctx, versioned, metav1.PatchOptions{FieldManager: deploy.Manager, DryRun: []string{metav1.DryRunAll}, Force: &force})
		if failure, ok := pipeline.AsFailure(err); !ok || failure.Permanent || failure.Code != pipeline.ReasonConflict {
			break
		}
	}
	return live, wanted, err
}

// comparisons is how often an object is compared that changes meanwhile, as one does that is rolling out.
const comparisons = 5

// read gets an object, nil if it isn't there.
func (n *Namespace) read(ctx context.Context, o manifest.Object, in dynamic.ResourceInterface, mapping *meta.RESTMapping) (*unstructured.Unstructured, error) {
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	live, err := in.Get(requestCtx, o.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, n.failure(ctx, err, attempt{
			verb: "get", resource: mapping.Resource.GroupResource().String(), title: o.Title(), namespace: n.namespace, secret: isSecret(o),
		})
	}
	return live, nil
}
