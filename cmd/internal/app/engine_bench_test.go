package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
	"gitlab.com/slipway-cd/slipway/store"
)

// atOnce carries out every effect at once and well, so that what is measured is the
// engine and the store.
type atOnce struct {
	plan    *pipeline.Plan // for every merge; nil: no merge is to be delivered
	store   store.Store
	started func(t *pipeline.Task)
}

// Execute implements engine.Executor.
func (x *atOnce) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	x.started(t)
	switch do := t.Effect.Do.(type) {
	case pipeline.LoadPlan:
		if x.plan == nil {
			return pipeline.Failed{Effect: do.ActionKind(), Key: t.Effect.Key, Code: pipeline.ReasonCondition}, nil
		}
		plan := *x.plan
		plan.Project, plan.MergeRequest = t.Delivery.Project, t.Delivery.MergeRequest
		ref, err := putPlan(ctx, x.store, &plan)
		return pipeline.Planned{PlanRef: ref}, err
	case pipeline.LookAtCI:
		return pipeline.CISeen{CI: pipeline.CIPipeline{ID: 100, Status: "success"}}, nil
	case pipeline.Apply:
		return pipeline.Applied{Stage: do.Stage, Attempt: do.Attempt, Release: pipeline.Release{
			ID: do.ReleaseID, Delivery: t.Delivery.ID, SHA: t.Delivery.SHA, Manifests: t.Delivery.PlanRef, Objects: 3,
		}}, nil
	case pipeline.Observe:
		return pipeline.RolledOut{Stage: do.Stage, Attempt: do.Attempt}, nil
	case pipeline.WriteNote:
		return pipeline.NoteWritten{ID: 900}, nil
	case pipeline.WriteMessage:
		return pipeline.MessageSent{Channel: "C1", TS: "1.2"}, nil
	case pipeline.WriteDeployment:
		return pipeline.DeploymentWritten{Handle: pipeline.DeploymentHandle{Stage: do.Stage, Attempt: do.Attempt, ID: 700}}, nil
	case pipeline.WriteStatus:
		return nil, nil
	}
	return nil, fmt.Errorf("no delivery of this benchmark asks for %s", t.Effect.Do.ActionKind())
}

// startEngine runs the app's store and the app's pools with executors that do nothing.
func startEngine(b *testing.B, x *atOnce, changed func(engine.Change)) *engine.Engine {
	b.Helper()
	cfg, err := config.Load(writeConfig(b, b.TempDir(), "http://gitlab.example.com"), os.LookupEnv)
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(io.Discard, nil)) //nolint:sloglint // writing the lines is part of what is measured
	a, err := New(Options{Config: cfg, Logger: log})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(a.Close)
	x.store = a.store
	pools, err := a.pools()
	if err != nil {
		b.Fatal(err)
	}
	for i := range pools {
		pools[i].Executor = x
	}
	e, err := engine.New(engine.Options{Store: a.store, Pools: pools, Logger: log, OnChange: changed})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := e.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() { cancel(); wg.Wait() })
	return e
}

// putPlan stores a plan and returns its reference.
func putPlan(ctx context.Context, s store.Store, plan *pipeline.Plan) (string, error) {
	data, err := spec.EncodePlan(plan)
	if err != nil {
		return "", err
	}
	return s.PutBlob(ctx, data)
}

// merged is the event of a merge in a project of its own, so that deliveries don't queue
// for one environment.
func merged(n int64) (delivery string, e pipeline.Merged) {
	p := pipeline.Project{ID: n, Path: projectPath, URL: "https://gitlab.example.com/" + projectPath, DefaultBranch: "main"}
	mr := pipeline.MergeRequest{IID: 1, Title: "Show prices with taxes", TargetBranch: "main"}
	return pipeline.DeliveryID(n, 1, sha(int(n))), pipeline.Merged{Project: p, MergeRequest: mr, SHA: sha(int(n))}
}

// BenchmarkSteps takes deliveries from the merge through CI and two deploys to their end,
// 64 at once. An operation is one delivery; a step is one committed transaction of a
// delivery or an environment, with its effects, messages and history.
func BenchmarkSteps(b *testing.B) {
	const atATime = 64
	var steps, effects, next atomic.Int64
	ended := make(chan struct{}, atATime)
	x := &atOnce{plan: twoDeploys(), started: func(*pipeline.Task) { effects.Add(1) }}
	e := startEngine(b, x, func(c engine.Change) {
		steps.Add(1)
		if c.After != nil && c.After.Status.Finished() && !c.Before.Status.Finished() {
			if c.After.Status != pipeline.StatusSucceeded {
				b.Errorf("delivery %s is %s", c.After.ID, c.After.Status)
			}
			ended <- struct{}{}
		}
	})
	start := func() {
		id, ev := merged(next.Add(1))
		if _, err := e.Deliver(b.Context(), id, id, ev); err != nil {
			b.Error(err)
		}
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for range min(atATime, b.N) {
		wg.Go(start)
	}
	for n := range b.N {
		<-ended
		if n+atATime < b.N {
			wg.Go(start)
		}
	}
	b.StopTimer()
	wg.Wait()
	b.ReportMetric(float64(steps.Load())/b.Elapsed().Seconds(), "steps/s")
	b.ReportMetric(float64(effects.Load())/b.Elapsed().Seconds(), "effects/s")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkFirstEffect is one merge after the other on an idle engine, 200 in an
// operation: from the moment that the event is durable, and from the moment before it is
// handed over, to the start of the first effect.
func BenchmarkFirstEffect(b *testing.B) {
	const merges = 200
	started, ended := make(chan time.Time, 1), make(chan struct{}, 1)
	x := &atOnce{started: func(*pipeline.Task) { started <- time.Now() }}
	e := startEngine(b, x, func(c engine.Change) {
		if c.After.Status.Finished() {
			ended <- struct{}{}
		}
	})
	var accepted, told []time.Duration
	for b.Loop() {
		for range merges {
			id, ev := merged(int64(len(told)) + 1)
			before := time.Now()
			if _, err := e.Deliver(b.Context(), id, id, ev); err != nil {
				b.Fatal(err)
			}
			durable := time.Now()
			at := <-started
			accepted, told = append(accepted, max(at.Sub(durable), 0)), append(told, at.Sub(before))
			<-ended
		}
	}
	report(b, "accepted-to-effect", accepted)
	report(b, "told-to-effect", told)
	b.ReportMetric(0, "ns/op")
}
