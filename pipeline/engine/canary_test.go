package engine_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// canaried: a canary is weighed, looked at and removed, and then the same is deployed; another one is found bad.
func canaried() story {
	return story{
		plan: func() *pipeline.Plan {
			good, bad := compared("good"), compared("bad")
			bad.Needs = []string{"production"}
			return stages(good, deploy("production"), bad)
		},
		act:  paired,
		say:  func(*life, pipeline.Delivery, func(string, pipeline.Event)) {},
		over: func(l *life, id string) bool { return l.delivery(id).Status == pipeline.StatusFailed },
		made: []string{"note ID", "message ID", "deployment ID production/1"},
		proves: func(l *life, d pipeline.Delivery, production pipeline.Environment) {
			l.outside.alone("the end")
			if n := len(production.Releases); n != 2 || production.Releases[1].Delivery != d.ID {
				l.Errorf("production is %+v", production)
			}
			good, bad := d.Stage("good"), d.Stage("bad")
			if good.Reason.Code != pipeline.ReasonCanaryPassed || good.Analysis.Look != 3 || bad.Reason.Code != pipeline.ReasonCanaryFailed {
				l.Errorf("the canaries are %+v and %+v", good, bad)
			}
			if samples, err := l.using.GetBlob(l.Context(), good.Analysis.Samples); err != nil || string(samples) != "the samples of good" {
				l.Errorf("the samples of the canary are %q, %v", samples, err)
			}
		},
	}
}

// unwell: the pods of a canary whose first look is far away crash.
func unwell() story {
	return story{
		plan: func() *pipeline.Plan {
			ill := compared("ill")
			ill.Canary.Interval, ill.Canary.Lifetime = time.Hour, time.Hour
			return stages(compared("good"), deploy("production"), ill)
		},
		act:  paired,
		say:  func(*life, pipeline.Delivery, func(string, pipeline.Event)) {},
		over: func(l *life, id string) bool { return l.delivery(id).Status == pipeline.StatusFailed },
		made: []string{"note ID", "message ID", "deployment ID production/1"},
		proves: func(l *life, d pipeline.Delivery, _ pipeline.Environment) {
			l.outside.alone("the end")
			good, ill := d.Stage("good"), d.Stage("ill")
			if good.Reason.Code != pipeline.ReasonCanaryPassed || ill.Analysis.Look != 0 ||
				ill.Reason != (pipeline.Reason{Code: pipeline.ReasonCanaryUnwell, Detail: "1 of 1 canary pods crashes"}) {
				l.Errorf("the canaries are %+v and %+v", good, ill)
			}
		},
	}
}

// paired lets the pairs of canaries be made, watched and removed outside.
func paired(l *life) {
	l.do["start-pair"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
		l.outside.pair(t.Effect.Do.(pipeline.StartPair).Stage, true)
		return l.good(ctx, t)
	}
	l.do["end-pair"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
		l.outside.pair(t.Effect.Do.(pipeline.EndPair).Stage, false)
		return l.good(ctx, t)
	}
	l.do["apply"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
		l.outside.alone("production")
		if images := t.Effect.Do.(pipeline.Apply).Images; len(images) != 1 || images[0].Digest != "sha256:good" {
			l.Errorf("what was tested is not what is deployed: %+v", images)
		}
		return l.good(ctx, t)
	}
}

// TestAPairIsWatchedForDays: whatever else waits, also by the engine that comes after, and no longer than it stands.
func TestAPairIsWatchedForDays(t *testing.T) {
	long := compared("canary")
	long.Canary.Weights, long.Canary.Interval, long.Canary.Lifetime = nil, 24*time.Hour, 5*24*time.Hour
	bubble(t, stages(deploy("production"), long, deploy("staging")), func(r *rig) {
		began := make(chan *pipeline.Task, 1)
		var watched, ended atomic.Int32
		r.do["watch-pair"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
			watched.Add(1)
			defer ended.Add(1)
			began <- t
			return r.good(ctx, t)
		}
		r.start()
		id := r.merge()
		if task := <-began; task.Unknown || task.Effect.Do.(pipeline.WatchPair).Pair.Canary.SHA != task.Delivery.SHA {
			t.Errorf("it watches %+v", task.Effect.Do)
		}
		time.Sleep(50 * time.Hour)
		if d := r.delivery(id); d.Stage("canary").Analysis.Look != 2 || ended.Load() != 0 {
			t.Errorf("after two days the canary is %+v, and the watch has ended %d times", d.Stage("canary"), ended.Load())
		}
		r.end()
		r.start()
		if task := <-began; !task.Unknown {
			t.Error("the second engine does not know of the first one's watch")
		}
		r.until("the delivery ends", r.finished(id))
		if d := r.delivery(id); d.Status != pipeline.StatusSucceeded || watched.Load() != 2 || ended.Load() != 2 {
			t.Errorf("the delivery is %s, and its pair was watched %d times, to the end %d times", d.Status, watched.Load(), ended.Load())
		}
		r.end()
	})
}

// compared is a canary stage whose time passes quickly.
func compared(name string) pipeline.Stage {
	return pipeline.Stage{Name: name, Kind: pipeline.KindCanary, OnFailure: pipeline.FailStop, Canary: &pipeline.Canary{
		Environment: "production", Instances: 1, Weights: []int{5, 10}, Interval: 2 * time.Millisecond, Lifetime: 6 * time.Millisecond,
		Judge: canary.Kayenta, Score: canary.Thresholds{Pass: 80, Marginal: 50}, Grey: pipeline.GreyFails, Misses: 3,
		Metrics: []pipeline.CanaryMetric{{Source: "prometheus", Query: "errors", Step: time.Second, Rule: canary.Metric{Name: "errors"}}},
	}}
}

// pair makes or removes a pair. Each may happen again.
func (o *outside) pair(stage string, there bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pairs == nil {
		o.pairs = map[string]bool{}
	}
	if delete(o.pairs, stage); there {
		o.pairs[stage] = true
	}
}

// alone finds a pair that is still there.
func (o *outside) alone(when string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pairs) > 0 {
		o.Errorf("at %s these pairs are left: %v", when, o.pairs)
	}
}

// goodPair is what happens to a canary where everything goes well, but for those that are called bad.
func (r *rig) goodPair(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	switch do := t.Effect.Do.(type) {
	case pipeline.StartPair:
		return pipeline.Paired{Stage: do.Stage, Attempt: do.Attempt, Pair: pipeline.Pair{
			Instances: 1, Canary: pipeline.Track{SHA: t.Delivery.SHA, Images: []pipeline.Image{{Name: "shop", Digest: "sha256:" + do.Stage}}},
		}}, nil
	case pipeline.WatchPair:
		if do.Stage == "ill" {
			return pipeline.PairUnwell{Stage: do.Stage, Attempt: do.Attempt, Words: "1 of 1 canary pods crashes"}, nil
		}
		<-ctx.Done()
		return nil, ctx.Err()
	case pipeline.WeighPair:
		return pipeline.Weighed(do), nil
	case pipeline.Measure:
		got := canary.Metric{Name: "errors"}
		for i := range 60 {
			v := canary.Number(i % 7)
			got.Baseline = append(got.Baseline, v)
			if do.Stage == "bad" {
				v += 100
			}
			got.Canary = append(got.Canary, v)
		}
		ref, err := r.using.PutBlob(ctx, []byte("the samples of "+do.Stage))
		return pipeline.Sampled{Stage: do.Stage, Attempt: do.Attempt, Look: do.Look, Metrics: []canary.Metric{got}, Samples: ref}, err
	case pipeline.EndPair:
		return pipeline.PairEnded{Stage: do.Stage, Attempt: do.Attempt}, nil
	}
	return nil, fmt.Errorf("no good outcome is known for %s", t.Effect.Do.ActionKind())
}
