package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// startPair creates a baseline and a canary beside what serves, and waits until the pods of both are available. A try
// after a kill finds the same pair by its labels and goes on.
func (e *Executor) startPair(ctx context.Context, t *pipeline.Task, a pipeline.StartPair) (pipeline.Event, error) {
	c, err := canaryOf(t, a.Stage)
	if err != nil {
		return nil, err
	}
	id := pairID(t.Delivery.ID, a.Stage, a.Attempt)
	where, err := e.place(ctx, t, c.Environment, a.Stable)
	if err != nil {
		return nil, err
	}
	if _, err := where.clearPairs(ctx, id); err != nil { // nobody else holds the environment, so nobody needs them
		return nil, err
	}
	d, err := e.duet(ctx, t, a, c, where, id)
	if err != nil {
		return nil, err
	}
	if err := d.create(ctx); err != nil {
		return nil, err
	}
	pair, err := e.awaitPair(ctx, t, a, d)
	if err != nil {
		return nil, err
	}
	if d.weight > 0 {
		if err := d.weigh(ctx); err != nil {
			return nil, err
		}
	}
	e.Logger.InfoContext(ctx, "put a baseline and a canary beside what serves", "delivery", t.Delivery.ID, "stage", a.Stage,
		"project", t.Delivery.Project.Path, "cluster", where.Name, "namespace", where.Namespace, "pair", id, "instances", c.Instances,
		"stable", a.Stable.ID, "stable_version", a.Stable.Version, "stable_images", d.serving.images, "stable_replicas", d.serving.replicas,
		"baseline", a.Compare.ID, "workloads", d.workloads)
	return pipeline.Paired{Stage: a.Stage, Attempt: a.Attempt, Pair: pair}, nil
}

// weighPair sets how much of the route's traffic each track of a pair has. It changes nothing else.
func (e *Executor) weighPair(ctx context.Context, t *pipeline.Task, a pipeline.WeighPair) (pipeline.Event, error) {
	c, err := canaryOf(t, a.Stage)
	if err != nil {
		return nil, err
	}
	where, err := e.place(ctx, t, c.Environment, pipeline.Release{})
	if err != nil {
		return nil, err
	}
	found, err := where.pairs(ctx, func(id string) bool { return id == pairID(t.Delivery.ID, a.Stage, a.Attempt) })
	if err != nil {
		return nil, err
	}
	if len(found) == 0 || found[0].parts.Route == "" {
		return nil, refusal(pipeline.ReasonOther, "the pair is gone, or has no route, so it can't be given traffic", nil)
	}
	if err := where.weighFound(ctx, found[0], a.Weight); err != nil {
		return nil, err
	}
	e.Logger.InfoContext(ctx, "weighed a canary's traffic", "delivery", t.Delivery.ID, "stage", a.Stage, "project", t.Delivery.Project.Path,
		"cluster", where.Name, "namespace", where.Namespace, "route", found[0].parts.Route, "weight", a.Weight)
	return pipeline.Weighed(a), nil
}

// endPair takes the traffic from the stage's pairs, of this attempt and those before, and removes them. What is gone
// already, or never was, is fine.
func (e *Executor) endPair(ctx context.Context, t *pipeline.Task, a pipeline.EndPair) (pipeline.Event, error) {
	where, err := e.place(ctx, t, a.Environment, pipeline.Release{})
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for attempt := range a.Attempt {
		own[pairID(t.Delivery.ID, a.Stage, attempt+1)] = true
	}
	remove := func() ([]string, error) {
		if err := where.takeOutAll(ctx, routesOf(t, a), own); err != nil {
			return nil, err
		}
		return where.removePairs(ctx, func(id string) bool { return own[id] })
	}
	removed, err := remove()
	if err == nil && t.Attempt < 2 && !answered(t, a.Stage) {
		// Whoever was creating the pair has just been told to leave it, and their call may still arrive.
		if err = pause(ctx, lateCall); err == nil {
			var late []string
			late, err = remove()
			removed = append(removed, late...)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(removed) > 0 {
		e.Logger.InfoContext(ctx, "removed a baseline and a canary", "delivery", t.Delivery.ID, "stage", a.Stage, "project", t.Delivery.Project.Path,
			"cluster", where.Name, "namespace", where.Namespace, "removed", removed)
	}
	return pipeline.PairEnded{Stage: a.Stage, Attempt: a.Attempt, Removed: removed}, nil
}

// answered tells that the pair is known to the delivery, so that nobody is creating it any more.
func answered(t *pipeline.Task, stage string) bool {
	st := t.Delivery.Stage(stage)
	return st != nil && st.Analysis != nil && st.Analysis.Pair != nil
}

// routesOf are the routes by which a stage's pair may have traffic.
func routesOf(t *pipeline.Task, a pipeline.EndPair) []string {
	var routes []string
	if c, err := canaryOf(t, a.Stage); err == nil && c.Deploy.Traffic != nil {
		routes = append(routes, c.Deploy.Traffic.HTTPRoute)
	}
	if a.Stable != nil && a.Stable.Traffic != nil {
		routes = appendNew(routes, a.Stable.Traffic.HTTPRoute)
	}
	return routes
}

func canaryOf(t *pipeline.Task, stage string) (pipeline.Canary, error) {
	def, err := definition(t, stage)
	switch {
	case err != nil:
		return pipeline.Canary{}, err
	case def.Canary == nil:
		return pipeline.Canary{}, refusal(pipeline.ReasonOther, "stage "+stage+" is no canary", nil)
	case def.Canary.Instances < 1:
		return pipeline.Canary{}, refusal(pipeline.ReasonManifest, fmt.Sprintf("a canary needs at least one pod of each track, not %d", def.Canary.Instances), nil)
	}
	return *def.Canary, nil
}

// pairID names the pair of one attempt of a stage: the value of LabelPair, and the end of its objects' names.
func pairID(delivery, stage string, attempt int) string {
	const length = 6
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", delivery, stage, attempt))
	return hex.EncodeToString(sum[:])[:length]
}

// trackName is the name of a pair's object: "shop-canary-3f2a91".
func trackName(original, track, id string) string { return versionedName(original, track+"-"+id) }

// create makes the pair, unless it runs. First come its Deployments, paused and so without pods: by them all the rest is
// found again, and with them the cluster removes it. Then comes what the pods need. Then all begin at the same moment.
func (d *duet) create(ctx context.Context) error {
	all := d.deployments()
	owners, started, err := d.look(ctx, all)
	switch {
	case err != nil:
		return err
	case started == len(all):
		return nil
	case len(owners) == 0:
		if err := d.where.Cluster.Check(ctx, append(d.parts(nil), all...)); err != nil {
			return err
		}
	case started > 0: // a process was killed in between, and now one track is older than the other
		if err := d.rest(ctx, all); err != nil {
			return err
		}
	}
	asleep, err := paused(all)
	if err != nil {
		return err
	}
	if _, err := d.where.Cluster.Apply(ctx, asleep, true); err != nil {
		return err
	}
	if owners, _, err = d.look(ctx, all); err != nil {
		return err
	}
	if len(owners) < len(all) {
		return &pipeline.Failure{Code: pipeline.ReasonConflict, After: time.Second, Detail: "a Deployment of the pair is gone as soon as it is made"}
	}
	if _, err := d.where.Cluster.Apply(ctx, d.parts(owners), true); err != nil {
		return err
	}
	_, err = d.where.Cluster.Apply(ctx, all, true)
	return err
}

// look reads which of the pair's Deployments are there, by name, and how many of them have begun.
func (d *duet) look(ctx context.Context, all []manifest.Object) (owners map[string]ownedBy, started int, err error) {
	owners = map[string]ownedBy{}
	for _, o := range all {
		live, err := d.where.Cluster.Get(ctx, o)
		if err != nil {
			return nil, 0, err
		}
		if live == nil || live.GetDeletionTimestamp() != nil {
			continue
		}
		if live.GetLabels()[LabelPair] != d.id {
			return nil, 0, refusal(pipeline.ReasonConflict, o.Title()+" is there already, and isn't the canary stage's", nil)
		}
		owners[o.GetName()] = ownedBy{name: o.GetName(), uid: string(live.GetUID())}
		if paused, _, _ := unstructured.NestedBool(live.Object, "spec", "paused"); !paused {
			started++
		}
	}
	return owners, started, nil
}

// rest takes the pods away again, so that those of both tracks begin at the same moment.
func (d *duet) rest(ctx context.Context, all []manifest.Object) error {
	asleep, err := paused(all)
	if err != nil {
		return err
	}
	for _, o := range asleep {
		if err := unstructured.SetNestedField(o.Object, int64(0), "spec", "replicas"); err != nil {
			return refusal(pipeline.ReasonManifest, o.Title()+" has no spec", err)
		}
	}
	if _, err := d.where.Cluster.Apply(ctx, asleep, true); err != nil {
		return err
	}
	return until(ctx, "pods of a pair that was half begun are still ending", func() (bool, error) {
		for _, o := range all {
			live, err := d.where.readDeployment(ctx, o)
			if err != nil {
				return false, err
			}
			if live != nil && (live.Status.ObservedGeneration < live.Generation || live.Status.Replicas > 0) {
				return false, nil
			}
		}
		return true, nil
	})
}

// paused are Deployments as they are before they begin.
func paused(all []manifest.Object) ([]manifest.Object, error) {
	asleep := make([]manifest.Object, 0, len(all))
	for _, o := range all {
		c := manifest.Object{Unstructured: o.DeepCopy(), From: o.From}
		if err := unstructured.SetNestedField(c.Object, true, "spec", "paused"); err != nil {
			return nil, refusal(pipeline.ReasonManifest, o.Title()+" has no spec", err)
		}
		asleep = append(asleep, c)
	}
	return asleep, nil
}
