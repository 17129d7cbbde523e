package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
	"gitlab.com/slipway-cd/slipway/store"
	"gitlab.com/slipway-cd/slipway/store/boltstore"
)

const (
	project = 42
	sha     = "3f2a91c0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

// rig is an engine on a file of its own, with fake executors.
type rig struct {
	*testing.T
	path  string
	now   func() time.Time // nil is the real clock
	store *boltstore.Store
	wrap  func(store.Store) store.Store // nil leaves the store as it is
	using store.Store
	plan  *pipeline.Plan
	// do replaces what the good world does, by kind of action.
	do     map[string]executor
	adjust func(*engine.Options)

	patience time.Duration // of until; 0 is a minute

	engine *engine.Engine
	stop   func()
	moved  chan struct{} // has a value after something became durable

	mu      sync.Mutex
	changes []engine.Change
	done    []engine.EffectDone
}

type executor func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error)

// acting is the executor of all pools.
type acting struct{ r *rig }

func (a acting) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	if do := a.r.do[t.Effect.Do.ActionKind()]; do != nil {
		return do(ctx, t)
	}
	return a.r.good(ctx, t)
}

func newRig(t *testing.T, plan *pipeline.Plan) *rig {
	t.Helper()
	return &rig{T: t, path: filepath.Join(folder(t), "a.db"), plan: plan, do: map[string]executor{}, moved: make(chan struct{}, 1)}
}

// folder is in memory where the system has a place for that: thousands of writes to hundreds
// of databases need no disk.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "slipway-engine-") //nolint:usetesting // t.TempDir would be on the disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// open opens the file, and makes an engine that does not run yet.
func (r *rig) open() {
	r.Helper()
	s, err := boltstore.Open(boltstore.Options{Path: r.path, UnknownGrace: -1, Now: r.now})
	if err != nil {
		r.Fatal(err)
	}
	r.store, r.using = s, s
	if r.wrap != nil {
		r.using = r.wrap(s)
	}
	o := engine.Options{
		Store: r.using, Now: r.now, LongestPause: 5 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		OnChange: func(c engine.Change) { r.mu.Lock(); r.changes = append(r.changes, c); r.mu.Unlock(); r.move() },
		OnEffect: func(d engine.EffectDone) { r.mu.Lock(); r.done = append(r.done, d); r.mu.Unlock(); r.move() },
		Pools:    r.pools(),
	}
	if r.adjust != nil {
		r.adjust(&o)
	}
	if r.engine, err = engine.New(o); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) pools() []engine.Pool {
	return []engine.Pool{
		{Name: "work", Executor: acting{r}, Size: 8, Actions: []pipeline.Action{
			pipeline.LoadPlan{}, pipeline.LookAtCI{}, pipeline.Evaluate{}, pipeline.Identify{}, pipeline.Apply{}, pipeline.Observe{},
			pipeline.Restore{}, pipeline.Switch{}, pipeline.Retire{}, pipeline.Remove{}, pipeline.RunJob{}, pipeline.WatchJob{}, pipeline.StopJob{}, pipeline.RunCheck{},
			pipeline.StartPipeline{}, pipeline.LookAtPipeline{}, pipeline.SendNotice{}, pipeline.PlayJob{}, pipeline.LookAtJob{}, pipeline.StartRollback{}, pipeline.Answer{},
			pipeline.StartPair{}, pipeline.WeighPair{}, pipeline.Measure{}, pipeline.EndPair{}}},
		{Name: "report", Executor: acting{r}, Size: 4, Actions: []pipeline.Action{
			pipeline.WriteNote{}, pipeline.WriteMessage{}, pipeline.Ask{}, pipeline.WriteStatus{}, pipeline.WriteDeployment{}, pipeline.DrawChart{}}},
		{Name: "pods", Executor: acting{r}, Size: 8, Actions: []pipeline.Action{pipeline.WatchPair{}}},
	}
}

func (r *rig) move() {
	select {
	case r.moved <- struct{}{}:
	default:
	}
}

// run starts the engine; stop ends it and waits.
func (r *rig) run() {
	r.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.engine.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				r.Errorf("the engine ended with %v", err)
			}
		})
	}
	r.Cleanup(func() { r.stop(); _ = r.store.Close() })
}

// start opens and runs.
func (r *rig) start() {
	r.Helper()
	r.open()
	r.run()
}

// end stops everything and checks what is in the file.
func (r *rig) end() {
	r.Helper()
	r.stop()
	r.check()
	if err := r.store.Close(); err != nil {
		r.Error(err)
	}
}

func (r *rig) check() {
	r.Helper()
	problems, err := r.store.Check(context.Background())
	if err != nil || len(problems) > 0 {
		r.Errorf("the database is not sound: %v, %v", problems, err)
	}
}

// until waits until the condition holds; it is looked at whenever something has moved.
func (r *rig) until(what string, holds func() bool) {
	r.Helper()
	patience := time.Minute
	if r.patience > 0 {
		patience = r.patience
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for !holds() {
		select {
		case <-r.moved:
		case <-late.C:
			st, _ := r.store.Stats(context.Background())
			r.Fatalf("%s: it never came to that; %+v, broken %q", what, st, r.engine.Broken())
		}
	}
}

// rests tells that nothing is left to do now.
func (r *rig) rests() bool {
	st, err := r.store.Stats(context.Background())
	return err == nil && st.Inbox == 0 && st.EffectsPending == 0 && st.EffectsRunning == 0
}

func (r *rig) delivery(id string) pipeline.Delivery {
	doc, err := r.store.Get(context.Background(), engine.Delivery(id))
	if err != nil {
		return pipeline.Delivery{}
	}
	d, err := pipeline.DecodeDelivery(doc.Data)
	if err != nil {
		r.Error(err)
	}
	return d
}

func (r *rig) environment(name string) pipeline.Environment {
	doc, err := r.store.Get(context.Background(), engine.Environment(pipeline.EnvironmentID(project, name)))
	if err != nil {
		return pipeline.Environment{}
	}
	e, err := pipeline.DecodeEnvironment(doc.Data)
	if err != nil {
		r.Error(err)
	}
	return e
}

func (r *rig) deliver(id, key string, e pipeline.Event) {
	r.Helper()
	if _, err := r.engine.Deliver(context.Background(), id, key, e); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) merge() (id string) {
	r.Helper()
	id, e := merged(1)
	r.deliver(id, "merge", e)
	return id
}

func merged(iid int64) (string, pipeline.Merged) {
	commit := fmt.Sprintf("%08x%032x", iid, iid)
	return pipeline.DeliveryID(project, iid, commit), pipeline.Merged{
		Project: pipeline.Project{ID: project, Path: "shop/web"}, SHA: commit, MergeRequest: pipeline.MergeRequest{IID: iid, Title: "Add carts"},
	}
}

// history is what was applied to a delivery, of one kind or of all ("").
func (r *rig) history(id, kind string) []pipeline.Event {
	r.Helper()
	entries, err := r.store.History(context.Background(), engine.Delivery(id))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		r.Fatal(err)
	}
	var events []pipeline.Event
	for _, h := range entries {
		if kind != "" && h.Kind != kind {
			continue
		}
		e, err := pipeline.DecodeEvent(h.Kind, h.Data)
		if err != nil {
			r.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// bubble runs a test whose time is made up: it passes when everybody waits for it.
func bubble(t *testing.T, plan *pipeline.Plan, run func(r *rig)) {
	path := filepath.Join(folder(t), "a.db")
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, path: path, plan: plan, do: map[string]executor{}, moved: make(chan struct{}, 1), patience: 200 * 24 * time.Hour}
		run(r)
	})
}

func (r *rig) finished(id string) func() bool {
	return func() bool { d := r.delivery(id); return d.Schema != 0 && d.Status.Finished() && r.rests() }
}

// good is what happens in a world where everything goes well.
func (r *rig) good(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	switch do := t.Effect.Do.(type) {
	case pipeline.LoadPlan:
		plan := *r.plan
		plan.Project, plan.Commit.SHA, plan.MergeRequest = t.Delivery.Project, t.Delivery.SHA, t.Delivery.MergeRequest
		data, err := json.Marshal(plan)
		if err != nil {
			return nil, err
		}
		ref, err := r.using.PutBlob(ctx, data)
		return pipeline.Planned{PlanRef: ref}, err
	case pipeline.LookAtCI:
		return pipeline.CISeen{CI: pipeline.CIPipeline{ID: 100, Status: "success"}}, nil
	case pipeline.Identify:
		return pipeline.Identified{Request: do.Request.Key, Person: policy.Person{ID: 7, Username: "grace", Access: policy.Maintainer}}, nil
	case pipeline.Apply:
		ref, err := r.using.PutBlob(ctx, []byte("the manifests of "+t.Delivery.ID))
		def, _ := t.Plan.Stage(do.Stage)
		return pipeline.Applied{Stage: do.Stage, Attempt: do.Attempt, Release: pipeline.Release{
			ID: do.ReleaseID, Delivery: t.Delivery.ID, SHA: t.Delivery.SHA, Manifests: ref, Strategy: def.Deploy.Strategy,
		}}, err
	case pipeline.Switch:
		return pipeline.Switched{Stage: do.Stage, Attempt: do.Attempt}, nil
	case pipeline.Retire:
		return pipeline.Retired{Stage: do.Stage, Attempt: do.Attempt}, nil
	case pipeline.RunJob:
		return pipeline.JobStarted{Stage: do.Stage, Attempt: do.Attempt, Job: do.Stage, UID: "uid"}, nil
	case pipeline.WatchJob:
		ref, err := r.using.PutBlob(ctx, []byte("the log of "+do.Stage))
		return pipeline.JobRan{Stage: do.Stage, Attempt: do.Attempt, Passed: true, Ran: pipeline.Ran{Job: do.Stage, Log: ref}}, err
	case pipeline.StopJob:
		return pipeline.JobStopped(do), nil
	case pipeline.RunCheck:
		return pipeline.Checked{Stage: do.Stage, Attempt: do.Attempt, Check: do.Check, Run: do.Run, Passed: true, Saw: "all is well"}, nil
	case pipeline.Observe:
		return pipeline.RolledOut{Stage: do.Stage, Attempt: do.Attempt}, nil
	case pipeline.Restore:
		return pipeline.Restored{Stage: do.Stage, Attempt: do.Attempt}, nil
	case pipeline.PlayJob:
		return pipeline.JobSeen{Stage: do.Stage, Attempt: do.Attempt, Job: pipeline.JobHandle{ID: 501, Status: "success"}}, nil
	case pipeline.WriteNote:
		return pipeline.NoteWritten{ID: 900}, nil
	case pipeline.WriteMessage:
		return pipeline.MessageSent{Channel: "C1", TS: "1.2"}, nil
	case pipeline.WriteDeployment:
		return pipeline.DeploymentWritten{Handle: pipeline.DeploymentHandle{Stage: do.Stage, Attempt: do.Attempt, ID: 700}}, nil
	case pipeline.DrawChart:
		return pipeline.ChartDrawn{Stage: do.Stage, Attempt: do.Attempt, Chart: "/uploads/1/canary.png"}, nil
	case pipeline.WriteStatus, pipeline.Ask, pipeline.Answer, pipeline.Remove:
		return nil, nil
	}
	return r.goodPair(ctx, t)
}

// stages makes a plan: each needs the one before.
func stages(list ...pipeline.Stage) *pipeline.Plan {
	p := &pipeline.Plan{
		Schema: pipeline.PlanSchema, Application: "shop", Project: pipeline.Project{ID: project, Path: "shop/web"},
		After: pipeline.AfterMerge, Concurrency: pipeline.Queue,
		Environments: map[string]pipeline.EnvironmentRules{"staging": {}, "production": {}},
	}
	for i, s := range list {
		if i > 0 && s.Needs == nil {
			s.Needs = []string{list[i-1].Name}
		}
		if s.OnFailure == "" {
			s.OnFailure = pipeline.FailStop
		}
		p.Stages = append(p.Stages, s)
	}
	return p
}

func deploy(environment string) pipeline.Stage {
	return pipeline.Stage{Name: environment, Kind: pipeline.KindDeploy, Deploy: &pipeline.Deploy{Environment: environment, Strategy: pipeline.StrategyRolling}}
}

func job(name string) pipeline.Stage {
	return pipeline.Stage{Name: name, Kind: pipeline.KindJob, Job: &pipeline.Job{Name: name}}
}

func judgement(name string) pipeline.Stage {
	return pipeline.Stage{Name: name, Kind: pipeline.KindJudgement, Judgement: &pipeline.Judgement{
		Ask: "Ship it?", Quorum: 1, Expires: time.Hour, Environment: "production", Rule: policy.Rule{Approvers: []string{"role:maintainer"}},
	}}
}

func wait(name string, d time.Duration) pipeline.Stage {
	return pipeline.Stage{Name: name, Kind: pipeline.KindWait, Wait: &pipeline.Wait{For: d}}
}
