package deploy

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// retirement is one Retire.
type retirement struct {
	pipeline.Retire
	where   place
	serving arrangement
	old     arrangement
	also    arrangement       // what a failed rollback left
	traffic *pipeline.Traffic // of either release
	claim   Claim             // on what is pruned
	removed []string
}

// retire removes what a release has and the one that serves hasn't: first what leads traffic, then what ran, then the
// rest. It begins by making sure that the traffic is where it belongs.
func (e *Executor) retire(ctx context.Context, t *pipeline.Task, a pipeline.Retire) (pipeline.Event, error) {
	where, err := e.place(ctx, t, a.Environment, a.Serving)
	if err != nil {
		return nil, err
	}
	r := &retirement{Retire: a, where: where, traffic: trafficOf(t, a.Stage, &a.Serving, a.Old)}
	if r.claim = (Claim{Owner: where.owner, Volumes: a.Serving.Prune == pipeline.PruneVolumes}); a.Old == nil {
		r.claim.Delivery = t.Delivery.ID
	}
	if r.serving, err = e.arrangement(ctx, where, a.Serving); err != nil {
		return nil, err
	}
	if r.old, err = e.brought(ctx, t, where, a.Stage, a.Old); err != nil {
		return nil, err
	}
	if a.Also != nil {
		if r.also, err = e.brought(ctx, t, where, a.Stage, a.Also); err != nil {
			return nil, err
		}
	}
	surplus := r.surplus(t)
	leads := func(o manifest.Object) bool { return isService(o) || isRoute(o) || o.GetKind() == "Ingress" }
	for _, do := range []func() error{
		func() error { return r.removePairs(ctx) },
		func() error { return r.settle(ctx) },
		func() error { return r.remove(ctx, filter(surplus, leads)) },
		func() error { return r.removeVersions(ctx) },
		func() error { return r.removeReplaced(ctx) },
		func() error {
			return r.remove(ctx, filter(surplus, func(o manifest.Object) bool { return !leads(o) }))
		},
	} {
		if err := do(); err != nil {
			return nil, err
		}
	}
	e.Logger.InfoContext(ctx, "retired a release", "delivery", t.Delivery.ID, "stage", a.Stage, "project", t.Delivery.Project.Path,
		"cluster", where.Name, "namespace", where.Namespace, "serving", a.Serving.ID, "removed", r.removed)
	return pipeline.Retired{Stage: a.Stage, Attempt: a.Attempt, Removed: r.removed}, nil
}

// removePairs removes what canary stages have left that nobody ended.
func (r *retirement) removePairs(ctx context.Context) error {
	removed, err := r.where.clearPairs(ctx, "")
	r.removed = append(r.removed, removed...)
	return err
}

func filter(objects []manifest.Object, keep func(manifest.Object) bool) []manifest.Object {
	var some []manifest.Object
	for _, o := range objects {
		if keep(o) {
			some = append(some, o)
		}
	}
	return some
}

// trafficOf is the route that either release is moved by. One that was never recorded is what its stage says.
func trafficOf(t *pipeline.Task, stage string, to, from *pipeline.Release) *pipeline.Traffic {
	switch {
	case to != nil && to.Traffic != nil:
		return to.Traffic
	case from != nil:
		return from.Traffic
	}
	if def, err := definition(t, stage); err == nil && def.Deploy != nil {
		return def.Deploy.Traffic
	}
	return nil
}

// surplus is what the old release, and what a failed rollback left, has beyond the one that serves, in the order in which it is removed. Blue-green
// Deployments are not in it: they are found by their labels.
func (r *retirement) surplus(t *pipeline.Task) []manifest.Object {
	if r.Serving.Prune == pipeline.PruneNothing || r.Keep || shared(t, r.Environment) {
		return nil
	}
	own := map[manifest.Key]bool{}
	for _, a := range []arrangement{r.old, r.also} {
		for _, d := range a.only(versioned) {
			own[d.Key()] = own[d.Key()] || a.version != ""
		}
	}
	surplus := append(r.old.set().Without(r.serving.set()), manifest.Set{Objects: r.also.set().Without(r.serving.set())}.Without(r.old.set())...)
	surplus = filter(surplus, func(o manifest.Object) bool { return !own[o.Key()] })
	slices.Reverse(surplus)
	return surplus
}

// shared tells that several stages of the plan deploy different manifests to the environment. The release before is
// another stage's then, and its objects are not surplus.
func shared(t *pipeline.Task, environment string) bool {
	manifests := map[string]bool{}
	if t.Plan != nil {
		for _, s := range t.Plan.Stages {
			if s.Deploy != nil && s.Deploy.Environment == environment {
				manifests[s.Deploy.Manifests] = true
			}
		}
	}
	return len(manifests) > 1
}

func (r *retirement) remove(ctx context.Context, objects []manifest.Object) error {
	removed, err := r.where.Cluster.Remove(ctx, objects, r.claim)
	r.removed = append(r.removed, removed...)
	return err
}

// settle makes sure that the Services lead to the release that serves, and takes the preview ones away.
func (r *retirement) settle(ctx context.Context) error {
	if r.serving.version == "" {
		return r.handOver(ctx)
	}
	routing, err := r.routing(ctx)
	if err != nil {
		return err
	}
	moved := false
	for _, g := range r.serving.only(gate) {
		live, err := r.where.Cluster.Get(ctx, g.Object)
		if err != nil {
			return err
		}
		if live != nil && within(selectorOf(g.Unstructured), selectorOf(live)) && selectorOf(live)[labelHash] == "" {
			continue
		}
		if err := r.where.available(ctx, r.serving.behind(g)); err != nil {
			return err
		}
		if err := r.where.openGates(ctx, r.serving, []part{g}); err != nil {
			return err
		}
		moved = true
	}
	if err := r.leavePreview(ctx, routing); err != nil || !moved {
		return err
	}
	return r.where.followed(ctx, r.serving)
}

func (r *retirement) routing(ctx context.Context) (routing, error) {
	if r.traffic == nil {
		return routing{}, nil
	}
	return r.where.routing(ctx, *r.traffic, append(r.serving.only(gate), r.old.only(gate)...))
}

// leavePreview brings the route's traffic back to the Services themselves, once these lead to the release's pods only.
func (r *retirement) leavePreview(ctx context.Context, o routing) error {
	if len(o.services) == 0 {
		return nil
	}
	for _, service := range o.services {
		if r.serving.version == "" {
			break
		}
		if err := r.where.settled(ctx, service, r.serving.version); err != nil {
			return err
		}
	}
	if err := o.reroute(ctx, r.where, o.without); err != nil {
		return err
	}
	var previews []manifest.Object
	for _, g := range append(r.serving.only(gate), r.old.only(gate)...) {
		if slices.Contains(o.services, g.original) {
			p := manifest.Object{Unstructured: g.DeepCopy()}
			p.SetName(previewName(g.original))
			previews = append(previews, p)
		}
	}
	_, err := r.where.Cluster.Remove(ctx, previews, Claim{Owner: r.where.owner})
	return err
}

// handOver lets the Services lead to a release that is not blue-green, after one that was: they are held on its pods
// first, then the other's Deployments go, and when no pod of these is left the Services select as the manifests say.
func (r *retirement) handOver(ctx context.Context) error {
	var pinned []part
	for _, g := range r.serving.only(gate) {
		live, err := r.where.Cluster.Get(ctx, g.Object)
		if err != nil {
			return err
		}
		if live == nil || selectorOf(live)[LabelVersion] == "" && selectorOf(live)[labelHash] == "" {
			continue
		}
		pinned = append(pinned, g)
		if selectorOf(live)[LabelVersion] == "" {
			continue
		}
		if err := r.where.available(ctx, r.serving.behind(g)); err != nil {
			return err
		}
		if err := r.where.openGate(ctx, r.serving, g); err != nil {
			return err
		}
	}
	routing, err := r.routing(ctx)
	if err != nil {
		return err
	}
	if err := r.leavePreview(ctx, routing); err != nil || len(pinned) == 0 {
		return err
	}
	removed, err := r.where.removeBehind(ctx, r.serving)
	if r.removed = append(r.removed, removed...); err != nil {
		return err
	}
	_, err = r.where.Cluster.Apply(ctx, append(objectsOf(pinned), objectsOf(r.serving.only(follower))...), true)
	return err
}

// removeVersions removes the blue-green Deployments that don't serve and that no Service is held on.
func (r *retirement) removeVersions(ctx context.Context) error {
	held, err := r.where.heldVersions(ctx)
	if err != nil {
		return err
	}
	removed, err := r.where.removeVersions(ctx, func(d *unstructured.Unstructured) bool {
		version := d.GetLabels()[LabelVersion]
		kept := r.Keep && version == r.old.version && r.serving.version != ""
		return version != r.serving.version && !held[version] && !kept
	})
	r.removed = append(r.removed, removed...)
	return err
}

// heldVersions are the versions that a Service of the namespace leads to.
func (p place) heldVersions(ctx context.Context) (map[string]bool, error) {
	services, err := p.Cluster.List(ctx, corev1.SchemeGroupVersion.WithKind("Service"), "")
	if err != nil {
		return nil, err
	}
	held := map[string]bool{}
	for _, s := range services {
		if version := selectorOf(s)[LabelVersion]; version != "" {
			held[version] = true
		}
	}
	return held, nil
}

// removeReplaced removes the Deployments that the release's blue-green ones have replaced. One that isn't Slipway's is
// only scaled to zero: its owner decides what becomes of it.
func (r *retirement) removeReplaced(ctx context.Context) error {
	if r.serving.version == "" {
		return nil
	}
	for _, d := range r.serving.only(versioned) {
		removed, err := r.where.Cluster.Remove(ctx, []manifest.Object{deploymentNamed(d.original)}, Claim{Owner: r.where.owner})
		if r.removed = append(r.removed, removed...); err != nil {
			return err
		}
	}
	for _, g := range r.serving.only(gate) {
		live, err := r.where.Cluster.Get(ctx, g.Object)
		if err != nil {
			return err
		}
		if live == nil {
			continue
		}
		name, _ := replaced(live)
		if name == "" {
			continue
		}
		if err := r.putAway(ctx, g, deploymentNamed(name)); err != nil {
			return err
		}
		change := map[string]any{"metadata": map[string]any{"annotations": map[string]any{AnnotationReplaces: nil}}}
		if _, err := r.where.Cluster.Merge(ctx, g.Object, change); err != nil {
			return err
		}
	}
	return nil
}

// putAway ends what a gate has led to before. What the gate doesn't select, or another project delivers, it was never the
// release's to take over from, whatever is written on the Service.
func (r *retirement) putAway(ctx context.Context, g part, o manifest.Object) error {
	live, err := r.where.Cluster.Get(ctx, o)
	if err != nil || live == nil || live.GetLabels()[LabelVersion] != "" {
		return err
	}
	if !within(g.selector, templateLabels(live)) || r.where.owner.stranger(live) != "" {
		return nil
	}
	removed, err := r.where.Cluster.Remove(ctx, []manifest.Object{o}, Claim{Owner: r.where.owner})
	if r.removed = append(r.removed, removed...); err != nil || len(removed) > 0 || replicaCount(live) == 0 {
		return err
	}
	if _, err := r.where.Cluster.Merge(ctx, o, map[string]any{"spec": map[string]any{"replicas": 0}}); err != nil {
		return err
	}
	r.removed = append(r.removed, o.Title()+" (scaled to zero, since it isn't Slipway's)")
	return nil
}

// settled waits until the ready endpoints of a Service are pods of the version, and there are some: the cluster follows
// a selector a moment later.
func (p place) settled(ctx context.Context, service, version string) error {
	return until(ctx, "the endpoints of Service "+service+" are not yet those of the release", func() (bool, error) {
		pods, err := p.Cluster.List(ctx, corev1.SchemeGroupVersion.WithKind("Pod"), labels.Set{LabelVersion: version}.String())
		if err != nil {
			return false, err
		}
		own := map[string]bool{}
		for _, pod := range pods {
			own[pod.GetName()] = true
		}
		slices, err := p.Cluster.List(ctx, discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), labels.Set{discoveryv1.LabelServiceName: service}.String())
		if err != nil {
			return false, err
		}
		ready := 0
		for _, name := range readyPods(slices) {
			if !own[name] {
				return false, nil
			}
			ready++
		}
		return ready > 0, nil
	})
}

// readyPods are the names of the pods that a Service's endpoint slices lead to.
func readyPods(slices []*unstructured.Unstructured) []string {
	var names []string
	for _, slice := range slices {
		endpoints, _, _ := unstructured.NestedSlice(slice.Object, "endpoints")
		for _, e := range endpoints {
			endpoint, _ := e.(map[string]any)
			ready, found, _ := unstructured.NestedBool(endpoint, "conditions", "ready")
			name, _, _ := unstructured.NestedString(endpoint, "targetRef", "name")
			if ready || !found {
				names = append(names, name)
			}
		}
	}
	return names
}

// remove removes a blue-green release that was kept for people to look at, unless it serves, with what only it has.
func (e *Executor) remove(ctx context.Context, t *pipeline.Task, a pipeline.Remove) error {
	if a.Release.Version == "" || a.Release.ID == "" {
		return nil // nothing of it could be told from what serves
	}
	where, err := e.place(ctx, t, a.Environment, a.Release)
	if err != nil {
		return err
	}
	arr, err := e.arrangement(ctx, where, a.Release)
	if err != nil {
		return err
	}
	held, err := where.heldVersions(ctx)
	if err != nil || held[a.Release.Version] {
		return err
	}
	removed, err := where.removeVersions(ctx, func(d *unstructured.Unstructured) bool { return d.GetLabels()[LabelVersion] == a.Release.Version })
	if err != nil {
		return err
	}
	if a.Release.Prune != pipeline.PruneNothing {
		rest := filter(arr.set().Objects, func(o manifest.Object) bool { return !isKind(o, "Deployment") })
		slices.Reverse(rest)
		more, err := where.Cluster.Remove(ctx, rest, Claim{Owner: where.owner, Release: a.Release.ID})
		if removed = append(removed, more...); err != nil {
			return err
		}
	}
	e.Logger.InfoContext(ctx, "removed a release that was kept", "delivery", t.Delivery.ID, "project", t.Delivery.Project.Path,
		"cluster", where.Name, "namespace", where.Namespace, "release", a.Release.ID, "removed", removed)
	return nil
}
