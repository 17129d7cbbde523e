package deploy

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// illTime is how long the canary's pods have to be unwell before that stops it between two looks, unless they are in a
// crash loop. A pod whose readiness probe is Kubernetes' default (three in a row, every ten seconds) can pass it again in
// that time, a registry can come back, and what the two tracks share has made the baseline's pods crash, too.
const illTime = 30 * time.Second

// watchPair watches the pods of a pair until the canary's are unwell and the baseline's aren't. While all is well, or the
// cluster can't be reached, it goes on: it ends when it is withdrawn. It only looks, so a try after a kill begins anew.
func (e *Executor) watchPair(ctx context.Context, t *pipeline.Task, a pipeline.WatchPair) (pipeline.Event, error) {
	c, err := canaryOf(t, a.Stage)
	if err != nil {
		return nil, err
	}
	g := &pairGuard{pair: a.Pair, look: func(ctx context.Context) (string, error) {
		unwell, _, err := e.PairHealth(ctx, t, c.Environment, a.Pair)
		return unwell, err
	}}
	where, err := e.place(ctx, t, c.Environment, pipeline.Release{})
	if err == nil {
		err = watch(ctx, where.Cluster, g.objects(pairID(t.Delivery.ID, a.Stage, a.Attempt)), where.owner, g.see, g.judge)
	}
	if f, ok := pipeline.AsFailure(err); ok && f.Permanent { // what is in the way may be gone before the canary has ended
		again := *f
		again.Permanent, again.After = false, time.Minute
		return nil, &again
	}
	if err != nil {
		return nil, err
	}
	e.Logger.InfoContext(ctx, "the pods of a canary are unwell", "delivery", t.Delivery.ID, "stage", a.Stage, "project", t.Delivery.Project.Path,
		"cluster", where.Name, "namespace", where.Namespace, "unwell", g.unwell)
	return pipeline.PairUnwell{Stage: a.Stage, Attempt: a.Attempt, Words: g.unwell}, nil
}

// pairGuard tells when the canary's pods are unwell.
type pairGuard struct {
	pair   pipeline.Pair
	look   func(context.Context) (unwell string, err error) // what PairHealth says
	last   Picture
	since  time.Time // when the canary's pods became unwell, zero if they are well
	unwell string
}

// objects are the Deployments of both tracks, the baseline's first, as far as it takes to watch them.
func (g *pairGuard) objects(pair string) []manifest.Object {
	var objects []manifest.Object
	for _, name := range slices.Concat(g.pair.Baseline.Workloads, g.pair.Canary.Workloads) {
		o := deploymentNamed(name)
		_ = unstructured.SetNestedStringMap(o.Object, map[string]string{LabelPair: pair}, "spec", "selector", "matchLabels") // there is no other spec
		objects = append(objects, o)
	}
	return objects
}

func (g *pairGuard) see(p Picture) { g.last = p }

// judge has the last word from the cluster itself: a watch that hears nothing any more shows what was.
func (g *pairGuard) judge(ctx context.Context, now time.Time) (done bool, again time.Duration, err error) {
	ill, patience := g.ill(now)
	if !ill {
		g.since = time.Time{}
		return false, time.Hour, nil
	}
	if g.since.IsZero() {
		g.since = now
	}
	if left := g.since.Add(patience).Sub(now); left > 0 {
		return false, left, nil
	}
	g.unwell, err = g.look(ctx)
	return err == nil && g.unwell != "", time.Hour, err
}

// ill tells whether the canary's pods are unwell by the newest picture, and how long that may last.
func (g *pairGuard) ill(now time.Time) (ill bool, patience time.Duration) {
	n := len(g.pair.Baseline.Workloads)
	if len(g.last.Workloads) != n+len(g.pair.Canary.Workloads) { // the cluster can't be reached
		return false, 0
	}
	baseline := condition{track: TrackBaseline, since: g.pair.Since, now: now}
	baseline.picture(g.pair.Baseline, g.last.Workloads[:n])
	canary := baseline.canary()
	canary.picture(g.pair.Canary, g.last.Workloads[n:])
	if unwell, _ := compareConditions(baseline, canary); unwell == "" {
		return false, 0
	}
	crashes := slices.ContainsFunc(canary.ill, func(a ailment) bool { return a.kind == crashing })
	if crashes && baseline.ready >= baseline.want {
		return true, 0
	}
	return true, illTime
}

// picture takes in a track as a picture shows it.
func (c *condition) picture(t pipeline.Track, workloads []Workload) {
	for i, name := range t.Workloads {
		if !c.include(name, workloads[i].Deployment) {
			continue
		}
		for _, pod := range workloads[i].Pods {
			c.add(pod)
		}
	}
}
