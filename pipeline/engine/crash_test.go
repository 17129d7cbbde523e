package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
	"gitlab.com/slipway-cd/slipway/store"
)

var errCrash = errors.New("the process is dead")

// crashing is a store whose process dies at one of its writes: before the write, or after
// it is durable and before anybody hears. From then on nothing comes through.
type crashing struct {
	store.Store
	at    int // the write, from 1 on; 0 is never
	after bool
	die   func()

	mu     sync.Mutex
	writes int
	dead   bool
}

func (c *crashing) write(do func() error) error {
	c.mu.Lock()
	c.writes++
	now := !c.dead && c.writes == c.at
	if c.dead || now && !c.after {
		c.dead = true
		c.mu.Unlock()
		if now {
			c.die()
		}
		return errCrash
	}
	if now { // nobody else writes any more
		c.dead = true
	}
	c.mu.Unlock()
	err := do()
	if now {
		c.die()
		return errCrash
	}
	return err
}

func (c *crashing) alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.dead
}

func (c *crashing) Deliver(ctx context.Context, events ...store.Event) (accepted []bool, err error) {
	err = c.write(func() (err error) { accepted, err = c.Store.Deliver(ctx, events...); return err })
	return accepted, err
}

func (c *crashing) Commit(ctx context.Context, s store.Commit) error {
	return c.write(func() error { return c.Store.Commit(ctx, s) })
}

func (c *crashing) Settle(ctx context.Context, s store.Settlement) error {
	return c.write(func() error { return c.Store.Settle(ctx, s) })
}

func (c *crashing) PutBlob(ctx context.Context, data []byte) (ref string, err error) {
	err = c.write(func() (err error) { ref, err = c.Store.PutBlob(ctx, data); return err })
	return ref, err
}

// ClaimEffects waits before it writes, so it counts when it has something.
func (c *crashing) ClaimEffects(ctx context.Context, kind string, limit int) ([]store.EffectClaim, error) {
	claims, err := c.Store.ClaimEffects(ctx, kind, limit)
	if err != nil {
		return nil, err
	}
	return claims, c.write(func() error { return nil })
}

func (c *crashing) Get(ctx context.Context, id store.ID) (store.Document, error) {
	if !c.alive() {
		return store.Document{}, errCrash
	}
	return c.Store.Get(ctx, id)
}

// outside is the world that outlives every process. What can be made once is counted.
type outside struct {
	*testing.T
	mu    sync.Mutex
	made  map[string]int
	pairs map[string]bool // of baseline and canary, by their stage
}

// once makes a thing. It is looked for first only where the task says that an earlier
// attempt may have made it, and not where the state knows it.
func (o *outside) once(t *pipeline.Task, what string, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if known || (t.Attempt > 1 || t.Unknown) && o.made[what] > 0 {
		return
	}
	o.made[what]++
}

// story is what happens to one merge, whichever processes live through it.
type story struct {
	plan func() *pipeline.Plan
	// act replaces executors of the good world.
	act func(l *life)
	// say is what people do: it sends what is not sent yet.
	say func(l *life, d pipeline.Delivery, send func(key string, e pipeline.Event))
	// over tells that the story has come to its end.
	over func(l *life, id string) bool
	// made is what was made once, with ID for the delivery's.
	made []string
	// proves looks at the end.
	proves func(l *life, d pipeline.Delivery, production pipeline.Environment)
}

// delivered: two deploys, a job and an approval, and then a rollback by a person.
func delivered() story {
	return story{
		plan: func() *pipeline.Plan {
			return stages(deploy("staging"), job("smoke"), judgement("go-live"), deploy("production"))
		},
		act: func(*life) {},
		say: func(_ *life, d pipeline.Delivery, send func(string, pipeline.Event)) {
			if st := d.Stage("go-live"); st != nil && st.Status == pipeline.StageAsking {
				send("approve", pipeline.Requested{Request: pipeline.Request{What: pipeline.VerbApprove, Via: pipeline.ViaComment}})
			}
			if d.Status == pipeline.StatusSucceeded {
				send("rollback", pipeline.Requested{Request: pipeline.Request{What: pipeline.VerbRollback, Environment: "production", Via: pipeline.ViaComment}})
			}
		},
		over: func(l *life, id string) bool { return l.delivery(id+"-r2").Status == pipeline.StatusSucceeded },
		made: []string{
			"note ID", "message ID", "job ID", "question ID go-live/1", "deployment ID staging/1", "deployment ID production/1",
			"note ID-r2", "message ID-r2", "deployment ID-r2 rollback/1", "answer ID r1", "answer ID r2",
		},
		proves: func(l *life, d pipeline.Delivery, production pipeline.Environment) {
			if n := len(production.Releases); n != 3 || production.Releases[0].SHA != production.Releases[2].SHA {
				l.Errorf("production is %+v", production)
			}
			if d.Status != pipeline.StatusSucceeded || len(d.Decisions) != 2 {
				l.Errorf("the delivery is %s with the decisions %+v", d.Status, d.Decisions)
			}
		},
	}
}

// rolledBack: a deploy succeeds in its second attempt, and one goes back by itself.
func rolledBack() story {
	return story{
		plan: func() *pipeline.Plan {
			staging, production := deploy("staging"), deploy("production")
			staging.Retry, production.OnFailure = 1, pipeline.FailRollback
			return stages(staging, production)
		},
		act: func(l *life) {
			l.do["apply"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
				if do := t.Effect.Do.(pipeline.Apply); do.Stage == "staging" && do.Attempt == 1 {
					return nil, &pipeline.Failure{Code: pipeline.ReasonQuota, Detail: "no room", Permanent: true, Unchanged: true}
				}
				return l.good(ctx, t)
			}
			l.do["observe"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
				if do := t.Effect.Do.(pipeline.Observe); do.Stage == "production" && do.Release.Delivery == t.Delivery.ID {
					return nil, &pipeline.Failure{Code: pipeline.ReasonCrashLoop, Detail: "it crashes", Permanent: true}
				}
				return l.good(ctx, t)
			}
		},
		say:  func(*life, pipeline.Delivery, func(string, pipeline.Event)) {},
		over: func(l *life, id string) bool { return l.delivery(id).Status == pipeline.StatusRolledBack },
		made: []string{
			"note ID", "message ID", "deployment ID staging/1", "deployment ID staging/2", "deployment ID production/1",
		},
		proves: func(l *life, d pipeline.Delivery, production pipeline.Environment) {
			if n := len(production.Releases); n != 1 || production.Releases[0].Delivery != "before" {
				l.Errorf("production is %+v", production)
			}
			if d.Status != pipeline.StatusRolledBack || d.Stage("staging").Attempt != 2 || d.Stage("production").Status != pipeline.StageRolledBack {
				l.Errorf("the delivery is %s with %+v", d.Status, d.Stages)
			}
		},
	}
}

// checked: a Kubernetes Job runs, a blue-green deploy is checked and stays, and another is
// checked and goes back.
func checked() story {
	return story{
		plan: func() *pipeline.Plan {
			migrate := pipeline.Stage{Name: "migrate", Kind: pipeline.KindRun, Run: &pipeline.Run{Environment: "staging", Image: "shop"}}
			staging, production := deploy("staging"), deploy("production")
			production.OnFailure = pipeline.FailRollback
			for _, s := range []*pipeline.Stage{&staging, &production} {
				s.Deploy.Strategy = pipeline.StrategyBlueGreen
				s.Checks = []pipeline.Check{{Name: "smoke", Every: time.Millisecond}}
			}
			return stages(migrate, staging, production)
		},
		act: func(l *life) {
			l.do["run-check"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
				do := t.Effect.Do.(pipeline.RunCheck)
				return pipeline.Checked{Stage: do.Stage, Attempt: do.Attempt, Check: do.Check, Run: do.Run, Passed: do.Stage == "staging", Saw: "503"}, nil
			}
		},
		say:  func(*life, pipeline.Delivery, func(string, pipeline.Event)) {},
		over: func(l *life, id string) bool { return l.delivery(id).Status == pipeline.StatusRolledBack },
		made: []string{"note ID", "message ID", "deployment ID staging/1", "deployment ID production/1"},
		proves: func(l *life, d pipeline.Delivery, production pipeline.Environment) {
			if n := len(production.Releases); n != 1 || production.Releases[0].Delivery != "before" {
				l.Errorf("production is %+v", production)
			}
			migrate := d.Stage("migrate")
			if d.Status != pipeline.StatusRolledBack || migrate.Status != pipeline.StageSucceeded || d.Stage("staging").Release == nil {
				l.Fatalf("the delivery is %s with %+v", d.Status, d.Stages)
			}
			if log, err := l.using.GetBlob(l.Context(), migrate.Ran.Log); err != nil || string(log) != "the log of migrate" {
				l.Errorf("the log of the job is %q, %v", log, err)
			}
		},
	}
}

// life is one process: it works until its death, or until there is nothing left to do.
type life struct {
	*rig
	story
	c       *crashing
	outside *outside
}

func (l *life) begin() {
	made := func(kind string, what func(t *pipeline.Task) (string, bool)) {
		l.do[kind] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
			c := l.c
			if !c.alive() {
				return nil, errCrash
			}
			name, known := what(t)
			l.outside.once(t, name, known)
			if !c.alive() {
				return nil, errCrash
			}
			return l.good(ctx, t)
		}
	}
	made("write-note", func(t *pipeline.Task) (string, bool) { return "note " + t.Delivery.ID, t.Delivery.Handles.NoteID != 0 })
	made("write-message", func(t *pipeline.Task) (string, bool) {
		return "message " + t.Delivery.ID, t.Delivery.Handles.TS != ""
	})
	made("write-deployment", func(t *pipeline.Task) (string, bool) {
		do := t.Effect.Do.(pipeline.WriteDeployment)
		_, known := t.Delivery.Handles.Deployment(do.Stage, do.Attempt)
		return fmt.Sprintf("deployment %s %s/%d", t.Delivery.ID, do.Stage, do.Attempt), known
	})
	made("play-job", func(t *pipeline.Task) (string, bool) { return "job " + t.Delivery.ID, false })
	made("ask", func(t *pipeline.Task) (string, bool) {
		do := t.Effect.Do.(pipeline.Ask)
		return fmt.Sprintf("question %s %s/%d", t.Delivery.ID, do.Stage, do.Attempt), false
	})
	made("answer", func(t *pipeline.Task) (string, bool) {
		return fmt.Sprintf("answer %s %s", t.Delivery.ID, t.Effect.Do.(pipeline.Answer).Request.Key), false
	})
	l.do["start-rollback"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
		x, err := spec.NewRollbacks(spec.RollbacksOptions{Blobs: l.using, Inbox: inbox{l.engine}})
		if err != nil {
			return nil, err
		}
		return x.Execute(ctx, t)
	}
}

type inbox struct{ engine *engine.Engine }

func (i inbox) Deliver(ctx context.Context, id, key string, e pipeline.Event) error {
	_, err := i.engine.Deliver(ctx, id, key, e)
	return err
}

// live tells whether the story came to its end in this life.
func (l *life) live(at int, after bool) bool {
	l.Helper()
	died := make(chan struct{})
	l.wrap = func(s store.Store) store.Store {
		l.c = &crashing{Store: s, at: at, after: after, die: func() { close(died); l.move() }}
		return l.c
	}
	l.start()
	id, merge := merged(1)
	sent := map[string]bool{}
	send := func(key string, e pipeline.Event) { // who gets no answer sends again
		if !sent[key] {
			_, err := l.engine.Deliver(context.Background(), id, key, e)
			sent[key] = err == nil
		}
	}
	ended := false
	l.until("the story ends", func() bool {
		if !l.c.alive() {
			return true
		}
		send("merge", merge)
		d := l.delivery(id)
		l.say(l, d, send)
		ended = l.over(l, id) && l.rests()
		return ended
	})
	l.end()
	return ended
}

// seed lets something run in production from the beginning.
func (l *life) seed() {
	l.Helper()
	l.wrap = nil
	l.open()
	ctx := l.Context()
	ref, err := l.store.PutBlob(ctx, []byte("what ran before"))
	if err != nil {
		l.Fatal(err)
	}
	to := engine.Environment(pipeline.EnvironmentID(project, "production"))
	for _, e := range []pipeline.Event{
		pipeline.LockWanted{Environment: pipeline.EnvironmentRef{Project: project, Name: "production"},
			Claim: pipeline.Claim{Delivery: "before", Stage: "production", Attempt: 1}},
		pipeline.LockReturned{Delivery: "before", Stage: "production", Attempt: 1,
			Released: &pipeline.Release{ID: "before/production/1", Delivery: "before", SHA: sha, Manifests: ref}},
	} {
		kind, data, err := pipeline.EncodeEvent(e)
		if err != nil {
			l.Fatal(err)
		}
		if _, err := l.store.Deliver(ctx, store.Event{To: to, Kind: kind, At: time.Now(), Data: data}); err != nil {
			l.Fatal(err)
		}
	}
	if err := l.store.Close(); err != nil {
		l.Fatal(err)
	}
}

func newLife(t *testing.T, of story) *life {
	t.Helper()
	plan := of.plan()
	plan.Channel = "#shop"
	l := &life{rig: newRig(t, plan), story: of, outside: &outside{T: t, made: map[string]int{}}}
	l.begin()
	l.act(l)
	l.seed()
	return l
}

// same checks that the story has ended as it does without a crash.
func (l *life) same() {
	l.Helper()
	id, _ := merged(1)
	for _, what := range l.made {
		what = strings.Replace(what, "ID", id, 1)
		if n := l.outside.made[what]; n != 1 {
			l.Errorf("%s was made %d times", what, n)
		}
		delete(l.outside.made, what)
	}
	if len(l.outside.made) > 0 {
		l.Errorf("more was made: %v", l.outside.made)
	}
	l.wrap = nil
	l.open()
	defer l.store.Close()
	d, production := l.delivery(id), l.environment("production")
	if !production.Idle() || len(d.Requests) != 0 {
		l.Errorf("something is left: %+v, %+v", production, d.Requests)
	}
	l.proves(l, d, production)
}

func stories() map[string]func() story {
	return map[string]func() story{"delivered": delivered, "rolled back": rolledBack, "checked": checked, "canaried": canaried, "unwell": unwell}
}

func TestACrashAtAnyWriteLosesNothingAndDoublesNothing(t *testing.T) {
	for name, of := range stories() {
		t.Run(name, func(t *testing.T) { crashEverywhere(t, of) })
	}
}

func crashEverywhere(t *testing.T, of func() story) {
	l := newLife(t, of())
	if !l.live(0, false) {
		t.Fatal("the story has no end")
	}
	l.same()
	writes := l.c.writes
	if writes < 50 {
		t.Fatalf("there were only %d writes", writes)
	}
	step := 1
	if testing.Short() {
		step = 5
	}
	for n := 1; n <= writes; n += step {
		for _, after := range []bool{false, true} {
			when := "before"
			if after {
				when = "after"
			}
			t.Run(fmt.Sprintf("%s write %d", when, n), func(t *testing.T) {
				t.Parallel()
				l := newLife(t, of())
				if !l.live(n, after) && !l.live(0, false) {
					t.Fatal("the second process did not end the story")
				}
				l.same()
			})
		}
	}
}
