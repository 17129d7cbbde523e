package deploy

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// restore brings a recorded release back. If its pods are still there, it gives them the traffic before anything else.
// Where no blue-green release takes part, it also removes what the undone release brought beyond it; otherwise Retire
// does. Without a recorded release it removes what the undone delivery brought and nobody else manages.
func (e *Executor) restore(ctx context.Context, t *pipeline.Task, a pipeline.Restore) (pipeline.Event, error) {
	if a.To == nil {
		return e.restoreNothing(ctx, t, a)
	}
	where, err := e.place(ctx, t, a.Environment, *a.To)
	if err != nil {
		return nil, err
	}
	arr, err := e.arrangement(ctx, where, *a.To)
	if err != nil {
		return nil, err
	}
	if err := where.fenced(arr.set()); err != nil {
		return nil, err
	}
	serving, err := e.takeBack(ctx, t, where, arr, a)
	if err != nil {
		return nil, err
	}
	if err := e.free(ctx, where, arr, a.From); err != nil {
		return nil, err
	}
	s, err := e.look(ctx, where, arr, a.To.Traffic, false)
	if err != nil {
		return nil, err
	}
	// The recorded fields are ours, whoever changed them since.
	if _, err := s.bringUp(ctx, true); err != nil {
		return nil, err
	}
	var removed []string
	if !e.blueGreen(t, a.Stage, a.To, a.From) {
		if removed, err = e.removeSurplus(ctx, t, a, where, arr.set()); err != nil {
			return nil, err
		}
	}
	e.Logger.InfoContext(ctx, "restored a release", "delivery", t.Delivery.ID, "stage", a.Stage, "project", t.Delivery.Project.Path,
		"cluster", where.Name, "namespace", where.Namespace, "release", a.To.ID, "objects", len(arr.parts), "removed", removed, "serving", serving)
	return pipeline.Restored{Stage: a.Stage, Attempt: a.Attempt, Serving: serving}, nil
}

// free refuses to bring back what another project delivers by now: that this project once had an object of the name
// doesn't make it its own again. What the release that is undone has, too, was this project's until now.
func (e *Executor) free(ctx context.Context, where place, arr arrangement, from *pipeline.Release) error {
	var undone arrangement
	if from != nil {
		var err error
		if undone, err = e.arrangement(ctx, where, *from); err != nil {
			return err
		}
	}
	for _, o := range arr.set().Without(undone.set()) {
		live, err := where.Cluster.Get(ctx, o)
		if err != nil {
			return err
		}
		if live == nil {
			continue
		}
		if who := where.owner.stranger(live); who != "" {
			return taken(o, who)
		}
	}
	return nil
}

func taken(o manifest.Object, who string) error {
	return refusal(pipeline.ReasonNotAllowed, fmt.Sprintf("%s is delivered %s by now", o.Title(), who), nil)
}

// blueGreen tells that one of the releases is. One that was never recorded is what its stage says.
func (e *Executor) blueGreen(t *pipeline.Task, stage string, to, from *pipeline.Release) bool {
	if to != nil && to.Strategy == pipeline.StrategyBlueGreen || from != nil && from.Strategy == pipeline.StrategyBlueGreen {
		return true
	}
	def, err := definition(t, stage)
	return from == nil && err == nil && def.Deploy != nil && def.Deploy.Strategy == pipeline.StrategyBlueGreen
}

// takeBack gives the traffic back to a release whose pods are still there, if a blue-green one takes part. If the release
// itself is not blue-green, its Services are held on its pods until the other's Deployments are gone.
func (e *Executor) takeBack(ctx context.Context, t *pipeline.Task, where place, arr arrangement, a pipeline.Restore) (bool, error) {
	if !e.blueGreen(t, a.Stage, a.To, a.From) {
		return false, nil
	}
	hot, err := where.hot(ctx, arr, a.To.ID)
	if err != nil || !hot {
		return false, err
	}
	traffic := trafficOf(t, a.Stage, a.To, a.From)
	if err := where.open(ctx, arr, traffic, false); err != nil {
		return false, err
	}
	where.moved(ctx, t, arr, traffic)
	return true, where.followed(ctx, arr)
}

// hot tells that a release's pods are there, as this release brought them, to take the traffic at once. A live watch has
// told so, or the cluster is asked.
func (p place) hot(ctx context.Context, arr arrangement, release string) (bool, error) {
	deployments := arr.only(versioned)
	for _, d := range deployments {
		if arr.version != "" && p.attending.shows(d.Object, enough) {
			continue
		}
		live, err := p.readDeployment(ctx, d.Object)
		if err != nil || live == nil {
			return false, err
		}
		if arr.version == "" && live.Annotations[AnnotationRelease] != release {
			return false, nil
		}
		if !enough(live) {
			return false, nil
		}
	}
	return len(deployments) > 0, nil
}

// enough tells that a Deployment's pods can take the traffic back. A few of them may be missing: fewer pods now are better
// than all of them later.
func enough(d *appsv1.Deployment) bool {
	const least = 75 // per cent
	want := replicas(d.Spec.Replicas)
	return want > 0 && 100*d.Status.AvailableReplicas >= least*want
}

// restoreNothing takes back a first release: the traffic goes back to what a Service was taken over from, and what the
// delivery brought is removed.
func (e *Executor) restoreNothing(ctx context.Context, t *pipeline.Task, a pipeline.Restore) (pipeline.Event, error) {
	where, err := e.place(ctx, t, a.Environment, pipeline.Release{})
	if err != nil {
		return nil, err
	}
	brought, err := e.brought(ctx, t, where, a.Stage, a.From)
	if err != nil {
		return nil, err
	}
	removed, err := e.giveBack(ctx, where, brought)
	if err != nil {
		return nil, err
	}
	claim := Claim{Owner: where.owner, Alone: true, Delivery: t.Delivery.ID}
	if a.From != nil {
		claim.Delivery = a.From.Delivery
	}
	rest := brought.set().Objects
	slices.Reverse(rest)
	more, err := where.Cluster.Remove(ctx, rest, claim)
	if err != nil {
		return nil, err
	}
	e.Logger.InfoContext(ctx, "took back a first release", "delivery", t.Delivery.ID, "stage", a.Stage, "project", t.Delivery.Project.Path,
		"cluster", where.Name, "namespace", where.Namespace, "removed", append(removed, more...))
	return pipeline.Restored{Stage: a.Stage, Attempt: a.Attempt}, nil
}

// giveBack leads Services that were taken over back to the Deployments that were behind them, removes the blue-green
// Deployments, and then lets the Services select as they did before.
func (e *Executor) giveBack(ctx context.Context, where place, brought arrangement) ([]string, error) {
	if brought.version == "" {
		return nil, nil
	}
	var taken []part
	for _, g := range brought.only(gate) {
		live, err := where.Cluster.Get(ctx, g.Object)
		if err != nil {
			return nil, err
		}
		if live == nil {
			continue
		}
		name, _ := replaced(live)
		if name == "" {
			continue
		}
		taken = append(taken, g)
		before := arrangement{parts: []part{{Object: deploymentNamed(name), role: versioned}}}
		if err := unstructuredLabels(before.parts[0].Object, g.selector); err != nil {
			return nil, err
		}
		if err := where.openGate(ctx, before, g); err != nil {
			return nil, err
		}
	}
	if err := where.sendBack(ctx, brought); err != nil {
		return nil, err
	}
	removed, err := where.removeBehind(ctx, brought)
	if err != nil {
		return removed, err
	}
	for _, g := range taken {
		change := map[string]any{
			"metadata": map[string]any{"annotations": map[string]any{AnnotationReplaces: nil}},
			"spec":     map[string]any{"selector": map[string]any{LabelVersion: nil, labelHash: nil}},
		}
		if _, err := where.Cluster.Merge(ctx, g.Object, change); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// sendBack leads what scales or protects a Deployment of the release, and others manage too, back to the one before.
func (p place) sendBack(ctx context.Context, brought arrangement) error {
	for _, f := range brought.only(follower) {
		live, err := p.Cluster.Get(ctx, f.Object)
		if err != nil {
			return err
		}
		if live == nil {
			continue
		}
		change := map[string]any{"selector": map[string]any{"matchLabels": map[string]any{LabelVersion: nil}, "matchExpressions": withoutTracks(live)}}
		if name, ok := scales(f.Object); ok {
			i := slices.IndexFunc(brought.parts, func(d part) bool { return d.role == versioned && d.GetName() == name })
			change = map[string]any{"scaleTargetRef": map[string]any{"name": brought.parts[i].original}}
		}
		if _, err := p.Cluster.Merge(ctx, f.Object, map[string]any{"spec": change}); err != nil {
			return err
		}
	}
	return nil
}

// withoutTracks is what else a selector asks for than that the pods are not of a pair, nil if nothing.
func withoutTracks(o *unstructured.Unstructured) any {
	expressions, _, _ := unstructured.NestedSlice(o.Object, "spec", "selector", "matchExpressions")
	rest := slices.DeleteFunc(expressions, func(e any) bool { return sameJSON(e, notOfAPair()) })
	if len(rest) == 0 {
		return nil
	}
	return rest
}

// unstructuredLabels gives a Deployment that is only known by name the labels by which its Service selects it.
func unstructuredLabels(o manifest.Object, selector map[string]string) error {
	if err := addLabels(o, selector, "spec", "template", "metadata", "labels"); err != nil {
		return fmt.Errorf("name %s: %w", o.Title(), err)
	}
	return nil
}

// removeSurplus removes what the undone release brought beyond what is there now.
func (e *Executor) removeSurplus(ctx context.Context, t *pipeline.Task, a pipeline.Restore, where place, now manifest.Set) ([]string, error) {
	brought, err := e.brought(ctx, t, where, a.Stage, a.From)
	if err != nil {
		return nil, err
	}
	surplus := brought.set().Without(now)
	slices.Reverse(surplus)
	claim := Claim{Owner: where.owner}
	if a.From == nil {
		claim.Delivery = t.Delivery.ID
	}
	return where.Cluster.Remove(ctx, surplus, claim)
}

// brought is what the release that is undone consists of here. If it was never recorded, because applying it failed
// half-way, it is what its commit renders to.
func (e *Executor) brought(ctx context.Context, t *pipeline.Task, where place, stageName string, from *pipeline.Release) (arrangement, error) {
	if from != nil {
		set, err := e.recorded(ctx, *from)
		if err != nil {
			return arrangement{}, err
		}
		return where.arrange(where.own(set), *from)
	}
	stage, err := definition(t, stageName)
	if err != nil || stage.Deploy == nil {
		return arrangement{}, err
	}
	set, err := e.render(ctx, t, *stage.Deploy)
	if failure, ok := pipeline.AsFailure(err); ok && failure.Permanent {
		return arrangement{}, nil // it never rendered, so it brought nothing
	}
	if err != nil {
		return arrangement{}, fmt.Errorf("find out what the release that is undone consists of: %w", err)
	}
	r := pipeline.Release{Strategy: stage.Deploy.Strategy}
	if r.Strategy == pipeline.StrategyBlueGreen {
		data, err := set.Encode()
		if err != nil {
			return arrangement{}, err
		}
		r.Version, r.Traffic, r.Apart = versionOf(t.Delivery.SHA, data), stage.Deploy.Traffic, true
	}
	arr, err := where.arrange(where.own(set), r)
	if failure, ok := pipeline.AsFailure(err); ok && failure.Permanent {
		return arrangement{}, nil // it was refused before it brought anything
	}
	return arr, err
}

// own is what of the set may have been applied here and may be removed: not what names another namespace, nor the
// definition of a kind, with which all its objects everywhere would go.
func (p place) own(set manifest.Set) manifest.Set {
	return manifest.Set{Objects: slices.DeleteFunc(slices.Clone(set.Objects), func(o manifest.Object) bool {
		return o.DefinesKind() || o.GetNamespace() != "" && o.GetNamespace() != p.Namespace
	})}
}
