package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// pairParts is what a pair has beside its Deployments, as AnnotationParts says it.
type pairParts struct {
	Route    string     `json:"route,omitempty"`
	Services []string   `json:"services,omitempty"` // of the release, that have one for each track
	Objects  []partName `json:"objects,omitempty"`
}

// partName is a ConfigMap, a Secret or a Service.
type partName struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

func (n partName) object(namespace string) manifest.Object {
	kind := corev1.SchemeGroupVersion.WithKind(n.Kind)
	return manifest.Object{Unstructured: reference(kind, n.Name, namespace)}
}

// foundPair is a pair that is in the cluster, or what is left of one.
type foundPair struct {
	id          string
	deployments []manifest.Object
	parts       pairParts
}

// pairs are the environment's pairs that are chosen.
func (p place) pairs(ctx context.Context, choose func(id string) bool) ([]*foundPair, error) {
	selector := labels.Set(p.owner.Labels()).String() + "," + LabelPair
	deployments, err := p.Cluster.List(ctx, appsv1.SchemeGroupVersion.WithKind("Deployment"), selector)
	if err != nil {
		return nil, err
	}
	var found []*foundPair
	of := func(o *unstructured.Unstructured) *foundPair {
		id := o.GetLabels()[LabelPair]
		i := slices.IndexFunc(found, func(f *foundPair) bool { return f.id == id })
		if i < 0 {
			found, i = append(found, &foundPair{id: id}), len(found)
		}
		return found[i]
	}
	for _, d := range deployments {
		if !choose(d.GetLabels()[LabelPair]) {
			continue
		}
		f := of(d)
		f.deployments = append(f.deployments, manifest.Object{Unstructured: d})
		f.add(d)
	}
	services, err := p.listed(ctx, corev1.SchemeGroupVersion.WithKind("Service"), selector)
	if err != nil {
		return nil, err
	}
	for _, s := range services {
		if choose(s.GetLabels()[LabelPair]) { // somebody else may have removed the Deployments
			of(s).remember(partName{Kind: "Service", Name: s.GetName()})
		}
	}
	slices.SortFunc(found, func(a, b *foundPair) int { return cmp.Compare(a.id, b.id) })
	return found, nil
}

// listed is List where what may not be listed, or doesn't exist, is nothing.
func (p place) listed(ctx context.Context, kind schema.GroupVersionKind, selector string) ([]*unstructured.Unstructured, error) {
	found, err := p.Cluster.List(ctx, kind, selector)
	if failure, ok := pipeline.AsFailure(err); ok && (failure.Code == pipeline.ReasonForbidden || failure.Code == pipeline.ReasonManifest) {
		return nil, nil
	}
	return found, err
}

// add reads the parts from a Deployment. Each has all of them.
func (f *foundPair) add(deployment *unstructured.Unstructured) {
	var parts pairParts
	if json.Unmarshal([]byte(deployment.GetAnnotations()[AnnotationParts]), &parts) != nil {
		return
	}
	f.parts.Route, f.parts.Services = cmp.Or(f.parts.Route, parts.Route), parts.Services
	for _, n := range parts.Objects {
		f.remember(n)
	}
}

func (f *foundPair) remember(n partName) {
	// The annotation is data: what is removed carries the pair's label in any case.
	if slices.Contains([]string{"ConfigMap", "Secret", "Service"}, n.Kind) && !slices.Contains(f.parts.Objects, n) {
		f.parts.Objects = append(f.parts.Objects, n)
	}
}

// clearPairs removes the environment's pairs but for one, which nobody has ended.
func (p place) clearPairs(ctx context.Context, but string) ([]string, error) {
	return p.removePairs(ctx, func(id string) bool { return id != but })
}

// removePairs removes the pairs that are chosen: first their traffic goes, then their pods, then what these needed.
func (p place) removePairs(ctx context.Context, choose func(id string) bool) ([]string, error) {
	found, err := p.pairs(ctx, choose)
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, f := range found {
		some, err := p.removePair(ctx, f)
		if removed = append(removed, some...); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

func (p place) removePair(ctx context.Context, f *foundPair) ([]string, error) {
	if f.parts.Route != "" {
		if err := p.takeOutAll(ctx, []string{f.parts.Route}, map[string]bool{f.id: true}); err != nil {
			return nil, err
		}
	}
	claim := Claim{Owner: p.owner, Pair: f.id}
	rest, err := p.there(ctx, f, claim)
	if err != nil {
		return nil, err
	}
	removed, err := p.Cluster.Remove(ctx, f.deployments, claim)
	if err != nil {
		return removed, err
	}
	for _, o := range rest {
		removed = append(removed, o.Title()) // by the cluster, which removes them with the Deployments, or below
	}
	// Deleting a Deployment returns before its pods know.
	err = until(ctx, "pods of the pair are still being removed", func() (bool, error) {
		pods, err := p.Cluster.List(ctx, corev1.SchemeGroupVersion.WithKind("Pod"), labels.Set{LabelPair: f.id}.String())
		return !slices.ContainsFunc(pods, func(pod *unstructured.Unstructured) bool { return pod.GetDeletionTimestamp() == nil }), err
	})
	if err != nil {
		return removed, err
	}
	_, err = p.Cluster.Remove(ctx, rest, claim)
	return removed, err
}

// there are the pair's ConfigMaps, Secrets and Services that exist.
func (p place) there(ctx context.Context, f *foundPair, claim Claim) ([]manifest.Object, error) {
	var found []manifest.Object
	for _, n := range f.parts.Objects {
		o := n.object(p.Namespace)
		live, err := p.Cluster.Get(ctx, o)
		if err != nil {
			return nil, err
		}
		if live != nil && claim.Holds(live) {
			found = append(found, o)
		}
	}
	return found, nil
}
