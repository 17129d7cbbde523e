package deploy

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// goneEvery is how long a removal waits for what is still ending.
const goneEvery = 2 * time.Second

// tearDown removes everything of an environment of a project: what its releases are recorded
// to consist of, and whatever else carries its labels, such as what a deploy left that failed
// half-way. Volume claims go, too. It is done when nothing is left.
func (e *Executor) tearDown(ctx context.Context, t *pipeline.Task, a pipeline.TearDown) (pipeline.Event, error) {
	where, err := e.place(ctx, t, a.Environment, pipeline.Release{})
	if err != nil {
		return nil, err
	}
	paired, err := where.clearPairs(ctx, "")
	if err != nil {
		return nil, err
	}
	d := &demolition{where: where, review: t.Plan.Environments[a.Environment].Slug, seen: map[manifest.Key]bool{}}
	for _, r := range a.Releases {
		set, err := e.recorded(ctx, r)
		if err != nil {
			return nil, err
		}
		d.add(where.own(set).Objects)
	}
	if err := d.search(ctx); err != nil {
		return nil, err
	}
	for _, kind := range d.unseen {
		e.Logger.WarnContext(ctx, "what is left of a kind cannot be looked for, because the cluster forbids it",
			"delivery", t.Delivery.ID, "project", t.Delivery.Project.Path, "cluster", where.Name, "namespace", where.Namespace, "kind", kind)
	}
	objects := manifest.Set{Objects: d.objects}.LastFirst()
	removed, err := where.Cluster.Remove(ctx, objects, d.claim())
	if err != nil {
		return nil, err
	}
	removed = append(paired, removed...)
	if left, err := d.left(ctx, objects); err != nil || left != "" {
		if err == nil {
			err = &pipeline.Failure{Code: pipeline.ReasonOther, Detail: left + " is still being removed", After: goneEvery}
		}
		return nil, err
	}
	e.Logger.InfoContext(ctx, "removed an environment", "delivery", t.Delivery.ID, "stage", a.Stage, "project", t.Delivery.Project.Path,
		"cluster", where.Name, "namespace", where.Namespace, "environment", a.Environment, "removed", removed)
	return pipeline.TornDown{Stage: a.Stage, Attempt: a.Attempt, Removed: removed}, nil
}

// demolition is one removal of an environment.
type demolition struct {
	where   place
	review  string // slug, "" if its objects have none
	objects []manifest.Object
	seen    map[manifest.Key]bool
	unseen  []string // kinds that may not be listed
}

func (d *demolition) claim() Claim {
	return Claim{Owner: d.where.owner, Volumes: true, Review: d.review}
}

func (d *demolition) add(objects []manifest.Object) {
	for _, o := range objects {
		if kind := o.GetKind(); kind == "CustomResourceDefinition" || kind == "Namespace" {
			continue // they are everybody's, and are never removed
		}
		if key := o.Key(); !d.seen[key] {
			d.seen[key] = true
			d.objects = append(d.objects, o)
		}
	}
}

// search adds what carries the environment's labels, of the kinds that are recorded and of
// those that deliveries usually bring.
func (d *demolition) search(ctx context.Context) error {
	kinds := usualKinds()
	for _, o := range d.objects {
		if kind := o.GroupVersionKind(); !slices.ContainsFunc(kinds, func(k schema.GroupVersionKind) bool { return k.GroupKind() == kind.GroupKind() }) {
			kinds = append(kinds, kind)
		}
	}
	selectors := []string{labels.SelectorFromSet(d.where.owner.Labels()).String()}
	if d.review != "" { // the claims that a StatefulSet made have its selector's labels only
		selectors = append(selectors, labels.SelectorFromSet(labels.Set{manifest.LabelReview: d.review}).String())
	}
	for _, kind := range kinds {
		for _, selector := range selectors {
			found, err := d.where.Cluster.List(ctx, kind, selector)
			failure, ok := pipeline.AsFailure(err)
			switch {
			case ok && failure.Code == pipeline.ReasonForbidden:
				if !slices.Contains(d.unseen, kind.Kind) {
					d.unseen = append(d.unseen, kind.Kind)
				}
				continue
			case ok && failure.Code == pipeline.ReasonManifest: // the cluster has no such kind
				continue
			case err != nil:
				return err
			}
			for _, o := range found {
				d.add([]manifest.Object{{Unstructured: reference(kind, o.GetName(), o.GetNamespace())}})
			}
		}
	}
	return nil
}

// left is something that is the environment's and still there, "" if nothing is.
func (d *demolition) left(ctx context.Context, objects []manifest.Object) (string, error) {
	for _, o := range objects {
		live, err := d.where.Cluster.Get(ctx, o)
		if failure, ok := pipeline.AsFailure(err); ok && failure.Code == pipeline.ReasonManifest {
			continue // its kind is gone
		}
		if err != nil {
			return "", err
		}
		if live != nil && d.claim().Holds(live) {
			return o.Title(), nil
		}
	}
	return "", nil
}

func reference(kind schema.GroupVersionKind, name, namespace string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	o.SetName(name)
	o.SetNamespace(namespace)
	return o
}

// usualKinds are those of docs/kubernetes.md.
func usualKinds() []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	for _, k := range [][]string{
		{"", "v1", "ConfigMap", "Secret", "ServiceAccount", "PersistentVolumeClaim", "Service"},
		{"apps", "v1", "Deployment", "StatefulSet", "DaemonSet"},
		{"batch", "v1", "Job", "CronJob"},
		{"networking.k8s.io", "v1", "Ingress", "NetworkPolicy"},
		{"autoscaling", "v2", "HorizontalPodAutoscaler"},
		{"policy", "v1", "PodDisruptionBudget"},
		{"rbac.authorization.k8s.io", "v1", "Role", "RoleBinding"},
		{"gateway.networking.k8s.io", "v1", "HTTPRoute"},
	} {
		for _, kind := range k[2:] {
			kinds = append(kinds, schema.GroupVersionKind{Group: k[0], Version: k[1], Kind: kind})
		}
	}
	return kinds
}

// Holds tells that the object that is there is the claim's.
func (c Claim) Holds(live *unstructured.Unstructured) bool {
	if c.Review != "" && live.GetLabels()[manifest.LabelReview] == c.Review {
		return true
	}
	have := live.GetLabels()
	for key, value := range c.Owner.Labels() {
		if have[key] != value {
			return false
		}
	}
	return (c.Pair == "" || have[LabelPair] == c.Pair) &&
		(c.Delivery == "" || live.GetAnnotations()[AnnotationDelivery] == c.Delivery) &&
		(c.Release == "" || live.GetAnnotations()[AnnotationRelease] == c.Release)
}
