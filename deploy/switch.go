package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// switchTo moves the traffic to a release whose pods are all available: one patch of each Service, or one update of the
// route. What scales and protects the Deployments follows.
func (e *Executor) switchTo(ctx context.Context, t *pipeline.Task, a pipeline.Switch) (pipeline.Event, error) {
	where, err := e.place(ctx, t, a.Environment, a.To)
	if err != nil {
		return nil, err
	}
	arr, err := e.arrangement(ctx, where, a.To)
	if err != nil {
		return nil, err
	}
	if err := where.available(ctx, arr.only(versioned)); err != nil {
		return nil, err
	}
	if err := where.open(ctx, arr, a.To.Traffic, true); err != nil {
		return nil, err
	}
	where.moved(ctx, t, arr, a.To.Traffic)
	if err := where.followed(ctx, arr); err != nil {
		return nil, err
	}
	e.Logger.InfoContext(ctx, "moved the traffic", "delivery", t.Delivery.ID, "stage", a.Stage, "project", t.Delivery.Project.Path,
		"cluster", where.Name, "namespace", where.Namespace, "release", a.To.ID, "version", a.To.Version)
	return pipeline.Switched{Stage: a.Stage, Attempt: a.Attempt}, nil
}

// moved tells that the way is free for everything that has waited for the traffic to move. What a route moves doesn't show
// in the endpoints of its Services.
func (p place) moved(ctx context.Context, t *pipeline.Task, arr arrangement, traffic *pipeline.Traffic) {
	if traffic == nil {
		p.attending.arrived(ctx, arr)
	}
	if t.Moved != nil {
		t.Moved()
	}
}

// open leads the traffic to a release. With a route it is behind the preview Services, or, when it comes back, behind the
// Services themselves. A route that is gone or refused doesn't hinder it from coming back.
func (p place) open(ctx context.Context, arr arrangement, traffic *pipeline.Traffic, toPreview bool) error {
	var r routing
	var err error
	switch {
	case traffic == nil:
	case toPreview:
		if r, _, err = routingOf(ctx, p, arr, traffic, true); err != nil {
			err = soon(err)
		}
	default:
		r, err = p.routing(ctx, *traffic, arr.only(gate))
	}
	if err != nil {
		return err
	}
	gates := arr.only(gate)
	if toPreview {
		gates = slices.DeleteFunc(gates, func(g part) bool { return slices.Contains(r.services, g.original) })
	}
	if err := p.openGates(ctx, arr, gates); err != nil {
		return err
	}
	if len(r.services) == 0 {
		return nil
	}
	return r.reroute(ctx, p, func(rules []any) []any { return r.moved(rules, toPreview) })
}

// soon gives a gateway time to accept a route, which may have come with the release.
func soon(err error) error {
	failure, ok := pipeline.AsFailure(err)
	if !ok || failure.Code != pipeline.ReasonRefused {
		return err
	}
	later := *failure
	later.Permanent, later.After = false, 2*time.Second
	return &later
}

// openGates leads Services to the release. Those of a blue-green one are led there at the same time.
func (p place) openGates(ctx context.Context, arr arrangement, gates []part) error {
	if arr.version != "" {
		// The selector is ours from here on, whoever had it; what else of it is whose was asked when the release was applied.
		_, err := p.Cluster.Apply(ctx, objectsOf(gates), true)
		return err
	}
	for _, g := range gates {
		if err := p.openGate(ctx, arr, g); err != nil {
			return err
		}
	}
	return nil
}

// openGate leads one Service to a release that is not blue-green. Where others are there that are, the Service is held on
// the release's pods by their hash, because its own selector would lead to all of them.
func (p place) openGate(ctx context.Context, arr arrangement, g part) error {
	live, err := p.Cluster.Get(ctx, g.Object)
	if err != nil || live == nil {
		return err
	}
	to, err := p.pinFor(ctx, arr, g, live)
	switch {
	case err != nil:
		return err
	case selectorOf(live)[labelHash] == to.hash && selectorOf(live)[LabelVersion] == "":
		return nil
	}
	_, err = p.Cluster.Merge(ctx, g.Object, to.change())
	return err
}

// pinFor is what holds a Service on the pods of a release that is not blue-green. What the Service was held on when it was
// taken over is looked at first, because lists are slow.
func (p place) pinFor(ctx context.Context, arr arrangement, g part, live *unstructured.Unstructured) (pin, error) {
	if name, hash := replaced(live); hash != "" && slices.ContainsFunc(arr.behind(g), func(d part) bool { return d.GetName() == name }) {
		rs := &unstructured.Unstructured{}
		rs.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
		rs.SetName(name + "-" + hash)
		found, err := p.Cluster.Get(ctx, manifest.Object{Unstructured: rs})
		if err != nil {
			return pin{}, err
		}
		if found != nil && replicaCount(found) > 0 {
			ready, _, _ := unstructured.NestedInt64(found.Object, "status", "availableReplicas")
			if ready == replicaCount(found) {
				return pin{hash: hash, deployment: name}, nil
			}
		}
	}
	sets, err := replicaSetsBehind(ctx, p.Cluster, g.Title(), g.selector)
	if err != nil {
		return pin{}, err
	}
	sets = slices.DeleteFunc(sets, func(rs *appsv1.ReplicaSet) bool {
		owner := metav1.GetControllerOf(rs)
		return owner == nil || !slices.ContainsFunc(arr.behind(g), func(d part) bool { return d.GetName() == owner.Name })
	})
	found, err := pinOn(sets, g.Title())
	switch {
	case err != nil:
		return pin{}, err
	case found == nil:
		return pin{}, refusal(pipeline.ReasonOther, fmt.Sprintf("%s has no pods of the release to lead to", g.Title()), nil)
	}
	return *found, nil
}

// followed brings what follows the traffic to the release, and tells on the Deployments who has it.
func (p place) followed(ctx context.Context, arr arrangement) error {
	if _, err := p.Cluster.Apply(ctx, objectsOf(arr.only(follower)), true); err != nil {
		return err
	}
	all, err := p.versions(ctx)
	if err != nil {
		return err
	}
	for _, d := range all {
		track := TrackStandby
		if d.GetLabels()[LabelVersion] == arr.version {
			track = TrackStable
		}
		if d.GetLabels()[LabelTrack] == track || d.GetDeletionTimestamp() != nil {
			continue
		}
		change := map[string]any{"metadata": map[string]any{"labels": map[string]any{LabelTrack: track}}}
		if _, err := p.Cluster.Merge(ctx, manifest.Object{Unstructured: d}, change); err != nil {
			return err
		}
	}
	return nil
}
