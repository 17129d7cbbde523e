package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Check applies the objects as a dry run. What another project's deliveries have brought, or this one's to another
// environment, is not to be written over, whoever lets them share a namespace: the cluster would see no conflict, because
// both come from Slipway.
func (n *Namespace) Check(ctx context.Context, objects []manifest.Object) error {
	defined := manifest.Defined(objects)
	var known, tried []manifest.Object
	for _, o := range objects {
		isDefined := defined[o.GroupVersionKind().GroupKind()]
		_, _, err := n.resource(ctx, o)
		switch {
		case err == nil:
			known = append(known, o)
		case !isDefined || !isUnknownKind(err):
			return err
		}
		switch {
		case isDefined: // by the definition in the set, which may allow more than the one in the cluster
		case o.GetKind() == "Pod", o.GetKind() == "RoleBinding":
			// They are refused until what they name exists, which may be in the same set.
		default:
			tried = append(tried, o)
		}
	}
	var strangers error
	var looking sync.WaitGroup
	looking.Go(func() { _, strangers = each(known, func(o manifest.Object) error { return n.ours(ctx, o) }) })
	_, err := each(tried, func(o manifest.Object) error {
		_, _, err := n.patch(ctx, o, dryRun())
		if withoutDryRun(err) {
			return nil
		}
		return err
	})
	looking.Wait()
	return cmp.Or(err, strangers)
}

func dryRun() metav1.PatchOptions {
	return metav1.PatchOptions{FieldManager: deploy.Manager, DryRun: []string{metav1.DryRunAll}}
}

// isUnknownKind tells that the cluster doesn't know an object's kind.
func isUnknownKind(err error) bool {
	failure, ok := pipeline.AsFailure(err)
	return ok && meta.IsNoMatchError(failure.Err)
}

// ours refuses an object that exists and is another project's, or another environment's.
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
	who := deploy.Stranger(o.GetLabels(), live)
	if who == "" {
		return nil
	}
	where := "has the same namespace"
	if o.DefinesKind() {
		where = "defines it for the whole cluster"
	}
	return refusal(pipeline.ReasonNotAllowed, fmt.Sprintf("%s%s is delivered %s, which %s", place(o.From), o.Title(), who, where), nil)
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

// Apply makes the objects so by server-side apply: wave by wave, and the objects of a wave at the same time. What defines
// kinds comes first, and the rest waits until the cluster serves them.
func (n *Namespace) Apply(ctx context.Context, objects []manifest.Object, force bool) (int, error) {
	applied := 0
	for len(objects) > 0 {
		wave := slices.IndexFunc(objects, func(o manifest.Object) bool { return o.Wave() != objects[0].Wave() })
		if wave < 0 {
			wave = len(objects)
		}
		more, err := each(objects[:wave], func(o manifest.Object) error { return n.applyOne(ctx, o, force) })
		applied += more
		if err == nil && objects[0].DefinesKind() {
			err = n.established(ctx, objects[:wave])
		}
		if err != nil {
			return applied, err
		}
		objects = objects[wave:]
	}
	return applied, nil
}

func (n *Namespace) applyOne(ctx context.Context, o manifest.Object, force bool) error {
	options := metav1.PatchOptions{FieldManager: deploy.Manager}
	if force {
		options.Force = &force
	}
	answer, mapping, err := n.patch(ctx, o, options)
	if err != nil {
		return err
	}
	n.remember(mapping, answer)
	if answer.GetDeletionTimestamp() != nil {
		return &pipeline.Failure{Code: pipeline.ReasonConflict, Detail: o.Title() + " is being deleted, and is made again when it is gone", After: 2 * time.Second}
	}
	return nil
}

// each does something with the objects, with eight at a time, which it begins in their order. It returns for how many it
// went well. The error is that of the first object, in their order, that has one; once there is one no other is begun.
func each(objects []manifest.Object, do func(manifest.Object) error) (int, error) {
	const atOnce = 8
	errs := make([]error, len(objects))
	var done, failed atomic.Int64
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, o := range objects {
		if failed.Load() > 0 {
			break
		}
		group.Go(func() error {
			if errs[i] = do(o); errs[i] != nil {
				failed.Add(1)
			} else {
				done.Add(1)
			}
			return errs[i]
		})
	}
	if group.Wait() == nil { // its error is the first in time
		return len(objects), nil
	}
	return int(done.Load()), errs[slices.IndexFunc(errs, func(err error) bool { return err != nil })]
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
	if onlyOurs(err) {
		force := true
		options.Force = &force
		answer, err = resource.Patch(requestCtx, o.GetName(), types.ApplyPatchType, data, options)
	}
	if err != nil {
		return nil, nil, n.failure(ctx, err, attempt{
			verb: "apply", resource: mapping.Resource.GroupResource().String(), title: o.Title(), namespace: n.namespace, secret: isSecret(o), from: o.From,
		})
	}
	return answer, mapping, nil
}

// onlyOurs tells of a conflict with nobody else than ourselves: the cluster counts what Merge wrote as another
// manager's of the same name.
func onlyOurs(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	found := false
	for _, c := range status.Status().Details.Causes {
		switch {
		case c.Type != metav1.CauseTypeFieldManagerConflict:
		case !strings.HasPrefix(c.Message, fmt.Sprintf("conflict with %q", deploy.Manager)):
			return false
		default:
			found = true
		}
	}
	return found
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
