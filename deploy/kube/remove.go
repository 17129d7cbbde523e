package kube

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// Remove deletes the objects of which the claim holds. Volume claims stay unless the claim says otherwise: with them
// their data would go. Namespaces and the definitions of kinds always stay.
func (n *Namespace) Remove(ctx context.Context, objects []manifest.Object, claim deploy.Claim) ([]string, error) {
	var removed []string
	for _, o := range objects {
		switch kind := o.GetKind(); {
		case kind == "Namespace", o.DefinesKind(), kind == "PersistentVolumeClaim" && !claim.Volumes:
			continue
		}
		gone, err := n.removeOne(ctx, o, claim)
		if err != nil {
			return removed, err
		}
		if gone {
			removed = append(removed, o.Title())
		}
	}
	return removed, nil
}

func (n *Namespace) removeOne(ctx context.Context, o manifest.Object, claim deploy.Claim) (bool, error) {
	resource, mapping, err := n.resource(ctx, o)
	if err != nil {
		return false, err
	}
	what := attempt{verb: "get", resource: mapping.Resource.GroupResource().String(), title: o.Title(), namespace: n.namespace, secret: isSecret(o)}
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	live, err := resource.Get(requestCtx, o.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, n.failure(ctx, err, what)
	}
	if !holds(claim, live) || live.GetDeletionTimestamp() != nil {
		return false, nil
	}
	uid, propagation := live.GetUID(), metav1.DeletePropagationBackground
	if o.GetKind() == "Job" {
		propagation = metav1.DeletePropagationForeground // it is there until its pods have ended
	}
	what.verb = "delete"
	err = resource.Delete(requestCtx, o.GetName(), metav1.DeleteOptions{
		// Only the very object that was looked at: somebody may have made another of that name.
		Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &propagation,
	})
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, n.failure(ctx, err, what)
	}
	return true, nil
}

// holds tells that the object is the claim's.
func holds(claim deploy.Claim, live *unstructured.Unstructured) bool {
	if !claim.Holds(live) {
		return false
	}
	if !claim.Alone {
		return true
	}
	for _, entry := range live.GetManagedFields() {
		// Controllers write the status of what they run. Whoever else wrote the object had it before us.
		if entry.Manager != deploy.Manager && entry.Subresource == "" {
			return false
		}
	}
	return true
}
