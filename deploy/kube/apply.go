package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Check applies the objects as a dry run. What another project's deliveries have brought is not for this one, whoever
// lets them share a namespace: the cluster would see no conflict, because both come from Slipway.
func (n *Namespace) Check(ctx context.Context, objects []manifest.Object) error {
	for _, o := range objects {
		if _, _, err := n.resource(ctx, o); err != nil {
			return err
		}
	}
	for _, o := range objects {
		switch o.GetKind() {
		case "Pod", "RoleBinding":
			continue // they are refused until what they name exists, which may be in the same set
		}
		_, _, err := n.patch(ctx, o, metav1.PatchOptions{FieldManager: deploy.Manager, DryRun: []string{metav1.DryRunAll}})
		if err != nil && !withoutDryRun(err) {
			return err
		}
	}
	for _, o := range objects {
		if err := n.ours(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// ours refuses an object that exists and is another project's.
func (n *Namespace) ours(ctx context.Context, o manifest.Object) error {
	resource, mapping, err := n.resource(ctx, o)
	if err != nil {
		return err
	}
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	live, err := resource.Get(requestCtx, o.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return n.failure(ctx, err, attempt{
			verb: "get", resource: mapping.Resource.GroupResource().String(), title: o.Title(), namespace: n.namespace, secret: isSecret(o), from: o.From,
		})
	}
	its, mine := live.GetLabels(), o.GetLabels()
	if its[deploy.LabelManagedBy] == deploy.Manager && its[deploy.LabelProject] != "" && its[deploy.LabelProject] != mine[deploy.LabelProject] {
		return refusal(pipeline.ReasonNotAllowed, fmt.Sprintf("%s%s is delivered by the GitLab project with the number %s, which has the same namespace",
			place(o.From), o.Title(), its[deploy.LabelProject]), nil)
	}
	return nil
}

// withoutDryRun tells that an admission webhook can't take part in a dry run.
func withoutDryRun(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return false
	}
	message := strings.ToLower(status.Status().Message)
	return strings.Contains(message, "dry run") || strings.Contains(message, "dryrun")
}

// Apply makes the objects so by server-side apply.
func (n *Namespace) Apply(ctx context.Context, objects []manifest.Object, force bool) (int, error) {
	for i, o := range objects {
		options := metav1.PatchOptions{FieldManager: deploy.Manager}
		if force {
			options.Force = &force
		}
		answer, mapping, err := n.patch(ctx, o, options)
		if err != nil {
			return i, err
		}
		n.remember(mapping, answer)
		if answer.GetDeletionTimestamp() != nil {
			return i, &pipeline.Failure{Code: pipeline.ReasonConflict, Detail: o.Title() + " is being deleted, and is made again when it is gone", After: 2 * time.Second}
		}
	}
	return len(objects), nil
}

func (n *Namespace) patch(ctx context.Context, o manifest.Object, options metav1.PatchOptions) (*unstructured.Unstructured, *meta.RESTMapping, error) {
	resource, mapping, err := n.resource(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	data, err := json.Marshal(o.Object)
	if err != nil {
		return nil, nil, fmt.Errorf("encode %s: %w", o.Title(), err)
	}
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	answer, err := resource.Patch(requestCtx, o.GetName(), types.ApplyPatchType, data, options)
	if err != nil {
		return nil, nil, n.failure(ctx, err, attempt{
			verb: "apply", resource: mapping.Resource.GroupResource().String(), title: o.Title(), namespace: n.namespace, secret: isSecret(o), from: o.From,
		})
	}
	return answer, mapping, nil
}

func isSecret(o manifest.Object) bool {
	return o.GetKind() == "Secret" && o.GroupVersionKind().Group == ""
}

// remember notes what our own write of a workload gave.
func (n *Namespace) remember(mapping *meta.RESTMapping, answer *unstructured.Unstructured) {
	if mapping.Resource.Group != "apps" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.written[writtenKey{mapping.Resource.Resource, n.namespace, answer.GetName()}] = written{answer.GetUID(), answer.GetGeneration()}
}

// stale tells that an object is older than our own last write of it.
func (n *Namespace) stale(resource string, o *unstructured.Unstructured) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	last, ok := n.written[writtenKey{resource, n.namespace, o.GetName()}]
	return ok && last.uid == o.GetUID() && o.GetGeneration() < last.generation
}
