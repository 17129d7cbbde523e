package engine_test

import (
	"context"
	"errors"
	"fmt"
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
	mu   sync.Mutex
	made map[string]int
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

// life is one process: it works until its death, or until there is nothing left to do.
type life struct {
	*rig
	c       *crashing
	outside *outside
}

func (l *life) act() {
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
		if st := d.Stage("go-live"); st != nil && st.Status == pipeline.StageAsking {
			send("approve", pipeline.Requested{Request: pipeline.Request{What: pipeline.VerbApprove, Via: pipeline.ViaComment}})
		}
		if d.Status == pipeline.StatusSucceeded {
			send("rollback", pipeline.Requested{Request: pipeline.Request{What: pipeline.VerbRollback, Environment: "production", Via: pipeline.ViaComment}})
		}
		ended = l.delivery(id+"-r2").Status == pipeline.StatusSucceeded && l.rests()
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

func newLife(t *testing.T) *life {
	t.Helper()
	plan := stages(deploy("staging"), job("smoke"), judgement("go-live"), deploy("production"))
	plan.Channel = "#shop"
	l := &life{rig: newRig(t, plan), outside: &outside{T: t, made: map[string]int{}}}
	l.act()
	l.seed()
	return l
}

// same checks that the story has ended as it does without a crash.
func (l *life) same() {
	l.Helper()
	id, _ := merged(1)
	for _, what := range []string{
		"note " + id, "message " + id, "job " + id, "deployment " + id + " staging/1", "deployment " + id + " production/1",
		"note " + id + "-r2", "message " + id + "-r2", "deployment " + id + "-r2 rollback/1",
	} {
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
	production := l.environment("production")
	if n := len(production.Releases); n != 3 || production.Releases[0].SHA != production.Releases[2].SHA || !production.Idle() {
		l.Errorf("production is %+v", production)
	}
	if d := l.delivery(id); d.Status != pipeline.StatusSucceeded || len(d.Requests) != 0 || len(d.Decisions) != 2 {
		l.Errorf("the delivery is %s with the decisions %+v", d.Status, d.Decisions)
	}
}

func TestACrashAtAnyWriteLosesNothingAndDoublesNothing(t *testing.T) {
	l := newLife(t)
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
				l := newLife(t)
				if !l.live(n, after) && !l.live(0, false) {
					t.Fatal("the second process did not end the story")
				}
				l.same()
			})
		}
	}
}

func TestACrashSoonAfterEveryStartStillGetsThere(t *testing.T) {
	l := newLife(t)
	for lives := 1; !l.live(6+lives%5, lives%2 == 0); lives++ {
		if lives == 100 {
			t.Fatal("a hundred processes did not end the story")
		}
	}
	l.same()
}
