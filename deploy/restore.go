package deploy

import (
	"context"
	"fmt"
	"slices"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// restore applies a recorded release and removes what the undone one brought beyond it. Without a recorded release it
// removes what the undone delivery brought and nobody else manages.
func (e *Executor) restore(ctx context.Context, t *pipeline.Task, a pipeline.Restore) (pipeline.Event, error) {
	var to pipeline.Release
	if a.To != nil {
		to = *a.To
	}
	where, err := e.place(ctx, t, a.Environment, to)
	if err != nil {
		return nil, err
	}
	var target manifest.Set
	if a.To != nil {
		recorded, err := e.recorded(ctx, to)
		if err != nil {
			return nil, err
		}
		// A definition stays as it is: an older one may not fit what is stored by now.
		recorded.Objects = slices.DeleteFunc(recorded.Objects, manifest.Object.DefinesKind)
		if err := where.within(recorded); err != nil {
			return nil, err
		}
		target.Objects = stamp(recorded.Objects, where.owner, where.Namespace)
		// The recorded fields are ours, whoever changed them since.
		if _, err := where.Cluster.Apply(ctx, target.Objects, true); err != nil {
			return nil, err
		}
	}
	brought, claim, err := e.brought(ctx, t, a, where)
	if err != nil {
		return nil, err
	}
	surplus := brought.Without(target)
	slices.Reverse(surplus)
	removed, err := where.Cluster.Remove(ctx, surplus, claim)
	if err != nil {
		return nil, err
	}
	e.Logger.InfoContext(ctx, "restored a release", "delivery", t.Delivery.ID, "stage", a.Stage, "project", t.Delivery.Project.Path,
		"cluster", where.Name, "namespace", where.Namespace, "release", to.ID, "objects", len(target.Objects), "removed", removed)
	return pipeline.Restored{Stage: a.Stage, Attempt: a.Attempt}, nil
}

// brought is what the release that is undone consists of, and which objects of it may be removed. If the release was
// never recorded, because applying it failed half-way, it is what its commit renders to.
func (e *Executor) brought(ctx context.Context, t *pipeline.Task, a pipeline.Restore, where place) (manifest.Set, Claim, error) {
	claim := Claim{Owner: where.owner, Alone: a.To == nil}
	if a.From != nil {
		if a.To == nil {
			claim.Delivery = a.From.Delivery
		}
		set, err := e.recorded(ctx, *a.From)
		return where.own(set), claim, err
	}
	claim.Delivery = t.Delivery.ID
	stage, err := definition(t, a.Stage)
	if err != nil {
		return manifest.Set{}, claim, err
	}
	if stage.Deploy == nil {
		return manifest.Set{}, claim, nil
	}
	set, err := e.render(ctx, t, *stage.Deploy)
	if failure, ok := pipeline.AsFailure(err); ok && failure.Permanent {
		return manifest.Set{}, claim, nil // it never rendered, so it brought nothing
	}
	if err != nil {
		return manifest.Set{}, claim, fmt.Errorf("find out what the release that is undone consists of: %w", err)
	}
	return where.own(set), claim, nil
}

// own is what of the set may have been applied here and may be removed: not what names another namespace, nor the
// definition of a kind, with which all its objects everywhere would go.
func (p place) own(set manifest.Set) manifest.Set {
	set.Objects = slices.DeleteFunc(set.Objects, func(o manifest.Object) bool {
		return o.DefinesKind() || o.GetNamespace() != "" && o.GetNamespace() != p.Namespace
	})
	return manifest.Set{Objects: stamp(set.Objects, p.owner, p.Namespace)}
}
