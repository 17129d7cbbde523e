package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/store"
)

func TestEventsAreAppliedInTheOrderOfTheirAcceptance(t *testing.T) {
	const n = 200 // more than one claim holds
	r := newRig(t, stages(deploy("staging")))
	r.open()
	id := r.merge()
	var want, got []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
		r.deliver(id, "", pipeline.JobChanged{Name: fmt.Sprint(i)})
	}
	r.run()
	r.until("the delivery ends", r.finished(id))
	for _, e := range r.history(id, "job-changed") {
		got = append(got, e.(pipeline.JobChanged).Name)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	r.end()
}

func TestAnEventWithAKnownKeyIsNotAcceptedAgain(t *testing.T) {
	r := newRig(t, stages(deploy("staging")))
	r.start()
	id, merge := merged(1)
	for i, want := range []bool{true, false, false} {
		if got, err := r.engine.Deliver(t.Context(), id, "merge", merge); err != nil || got != want {
			t.Errorf("delivery %d of the same event: %t, %v", i+1, got, err)
		}
	}
	r.until("the delivery ends", r.finished(id))
	if n := len(r.history(id, "merged")); n != 1 {
		t.Errorf("it was applied %d times", n)
	}
	r.end()
}

func TestAnEventThatMakesNoSenseHoldsNobodyUp(t *testing.T) {
	r := newRig(t, stages(deploy("staging")))
	r.open()
	id := r.merge()
	for _, e := range []store.Event{
		{Kind: "from-the-future", Data: []byte(`{}`)},
		{Kind: "requested", Data: []byte(`{"request":7}`)},
		{Kind: "requested", Data: []byte(`nothing that is JSON`)},
		{Kind: "lock-wanted", Data: []byte(`{}`)}, // for environments only
	} {
		e.To, e.At = engine.Delivery(id), time.Now()
		if _, err := r.store.Deliver(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	r.run()
	r.until("the delivery ends", r.finished(id))
	if d := r.delivery(id); d.Status != pipeline.StatusSucceeded {
		t.Errorf("the delivery is %s: %s", d.Status, d.Reason)
	}
	r.end()
}

func TestAStepThatPanicsHarmsNoOtherDelivery(t *testing.T) {
	broken := deploy("staging")
	broken.Deploy = nil // no compiler makes this
	r := newRig(t, stages(broken))
	r.start()
	bad := r.merge()
	r.until("the bad one is stepped", func() bool { return r.delivery(bad).Schema != 0 && r.rests() })
	r.plan = stages(deploy("production"))
	good, e := merged(2)
	r.deliver(good, "", e)
	r.until("the good one ends", r.finished(good))
	if d := r.delivery(bad); d.Status.Finished() {
		t.Errorf("the test's plan is not as bad as it should be: the delivery is %s", d.Status)
	}
	r.end()
}

func TestATickThatCannotBeAppliedIsNotRepeatedWithoutEnd(t *testing.T) {
	broken := deploy("staging")
	broken.Deploy = nil
	bubble(t, stages(wait("rest", time.Minute), broken), func(r *rig) {
		counted := &counting{}
		r.wrap = func(s store.Store) store.Store { counted.Store = s; return counted }
		r.start()
		r.merge()
		time.Sleep(2 * time.Minute)
		before := counted.commits.Load()
		time.Sleep(time.Hour)
		if n := counted.commits.Load() - before; n < 50 || n > 70 {
			t.Errorf("in an hour it was tried %d times", n)
		}
		r.end()
	})
}

// counting counts calls.
type counting struct {
	store.Store
	claims, commits, blobs atomic.Int64
}

func (c *counting) Claim(ctx context.Context, limit int) ([]store.Claim, error) {
	c.claims.Add(1)
	return c.Store.Claim(ctx, limit)
}

func (c *counting) Commit(ctx context.Context, s store.Commit) error {
	c.commits.Add(1)
	return c.Store.Commit(ctx, s)
}

func (c *counting) GetBlob(ctx context.Context, ref string) ([]byte, error) {
	c.blobs.Add(1)
	return c.Store.GetBlob(ctx, ref)
}

func TestDueTimesAreKeptWithoutPolling(t *testing.T) {
	bubble(t, stages(wait("rest", 30*time.Hour), deploy("staging")), func(r *rig) {
		counted := &counting{}
		r.wrap = func(s store.Store) store.Store { counted.Store = s; return counted }
		r.start()
		id := r.merge()
		r.until("the delivery ends", r.finished(id))
		d := r.delivery(id)
		if rested := d.Stages[0].Ended.Sub(d.Stages[0].Started); rested < 30*time.Hour || rested > 30*time.Hour+5*time.Millisecond {
			t.Errorf("it rested %s", rested)
		}
		if n := counted.claims.Load(); n > 30+40 { // an hourly look at it, and what else happened
			t.Errorf("the store was asked %d times for work", n)
		}
		r.end()
	})
}

func TestThePlanIsReadOnce(t *testing.T) {
	r := newRig(t, stages(deploy("staging"), deploy("production")))
	counted := &counting{}
	r.wrap = func(s store.Store) store.Store { counted.Store = s; return counted }
	r.start()
	r.until("the delivery ends", r.finished(r.merge()))
	if n := counted.blobs.Load(); n != 1 {
		t.Errorf("the plan was read %d times", n)
	}
	r.end()
}

// broken is a store that refuses what it is told to.
type broken struct {
	store.Store
	mu  sync.Mutex
	why error
}

func (b *broken) refuse(why error) { b.mu.Lock(); defer b.mu.Unlock(); b.why = why }

func (b *broken) ok() error { b.mu.Lock(); defer b.mu.Unlock(); return b.why }

func (b *broken) Deliver(ctx context.Context, events ...store.Event) ([]bool, error) {
	if err := b.ok(); err != nil {
		return nil, err
	}
	return b.Store.Deliver(ctx, events...)
}

func (b *broken) Commit(ctx context.Context, c store.Commit) error {
	if err := b.ok(); err != nil {
		return err
	}
	return b.Store.Commit(ctx, c)
}

func (b *broken) Settle(ctx context.Context, s store.Settlement) error {
	if err := b.ok(); err != nil {
		return err
	}
	return b.Store.Settle(ctx, s)
}

func (b *broken) PutBlob(ctx context.Context, data []byte) (string, error) {
	if err := b.ok(); err != nil {
		return "", err
	}
	return b.Store.PutBlob(ctx, data)
}

func (b *broken) ClaimEffects(ctx context.Context, kind string, limit int) ([]store.EffectClaim, error) {
	if err := b.ok(); err != nil {
		return nil, err
	}
	return b.Store.ClaimEffects(ctx, kind, limit)
}

func TestAStoreThatRefusesWritesIsToldAndWaitedFor(t *testing.T) {
	full := errors.New("no space left on device")
	for name, begin := range map[string]func(r *rig, b *broken){
		"when a hook comes": func(r *rig, b *broken) {
			b.refuse(full)
			id, e := merged(1)
			if _, err := r.engine.Deliver(r.Context(), id, "merge", e); !errors.Is(err, full) {
				r.Errorf("the sender hears %v", err)
			}
		},
		"when a step is to be committed": func(r *rig, b *broken) {
			b.refuse(full)
			b.mu.Lock()
			b.why = nil
			b.mu.Unlock()
			r.merge()
			b.refuse(full)
		},
		"when an outcome is to be settled": func(r *rig, b *broken) {
			r.do["load-plan"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
				e, err := r.good(ctx, t)
				if t.Attempt == 1 {
					b.refuse(full)
				}
				return e, err
			}
			r.merge()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, stages(deploy("staging")), func(r *rig) {
				b := &broken{}
				r.wrap = func(s store.Store) store.Store { b.Store = s; return b }
				r.start()
				begin(r, b)
				time.Sleep(20 * time.Second)
				if why := r.engine.Broken(); !strings.Contains(why, "no space") {
					t.Errorf("the engine says %q", why)
				}
				b.refuse(nil)
				time.Sleep(2 * time.Second) // it finds out by itself, though nobody sends anything
				if why := r.engine.Broken(); why != "" {
					t.Errorf("the engine still says %q", why)
				}
				id, e := merged(1)
				r.deliver(id, "merge", e) // sent again, perhaps
				r.until("the delivery ends", r.finished(id))
				for _, kind := range []string{"merged", "planned", "applied"} {
					if n := len(r.history(id, kind)); n != 1 {
						t.Errorf("%s was applied %d times", kind, n)
					}
				}
				r.end()
			})
		})
	}
}

// overtaken is a store in which the first commits come too late.
type overtaken struct {
	store.Store
	how  func(s store.Store, c store.Commit) error
	left atomic.Int32
}

func (o *overtaken) Commit(ctx context.Context, c store.Commit) error {
	if o.left.Add(-1) >= 0 {
		return o.how(o.Store, c)
	}
	return o.Store.Commit(ctx, c)
}

func TestAnOvertakenStepIsTakenAgain(t *testing.T) {
	for name, how := range map[string]func(s store.Store, c store.Commit) error{
		"because its claim is not the newest": func(s store.Store, c store.Commit) error {
			claim := store.Claim{Document: store.Document{ID: c.ID}, Fence: c.Fence}
			if err := s.Release(context.Background(), claim, time.Time{}); err != nil {
				return err
			}
			return s.Commit(context.Background(), c) // fenced
		},
		"because its document has changed": func(s store.Store, c store.Commit) error {
			c.Version += 7
			return s.Commit(context.Background(), c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, stages(deploy("staging")), func(r *rig) {
				o := &overtaken{how: how}
				o.left.Store(3)
				r.wrap = func(s store.Store) store.Store { o.Store = s; return o }
				r.start()
				id := r.merge()
				r.until("the delivery ends", r.finished(id))
				if d := r.delivery(id); d.Status != pipeline.StatusSucceeded || r.engine.Broken() != "" {
					t.Errorf("the delivery is %s, the engine %q", d.Status, r.engine.Broken())
				}
				r.end()
			})
		})
	}
}

func TestAnEnvironmentRemembersWhatRunsHoweverLongNobodyDeploys(t *testing.T) {
	bubble(t, stages(deploy("production")), func(r *rig) {
		r.start()
		id := r.merge()
		r.until("the delivery ends", r.finished(id))
		time.Sleep(100 * 24 * time.Hour)
		if _, err := r.store.Prune(r.Context(), time.Now().AddDate(0, 0, -90)); err != nil {
			t.Fatal(err)
		}
		if d := r.delivery(id); d.Schema != 0 {
			t.Error("the old delivery is still there")
		}
		e := r.environment("production")
		if e.Current() == nil || e.Current().Delivery != id || e.Newest == 0 {
			t.Fatalf("the environment is %+v", e)
		}
		if data, err := r.store.GetBlob(r.Context(), e.Current().Manifests); err != nil || len(data) == 0 {
			t.Errorf("the manifests of what runs cannot be read: %v", err)
		}
		// A hook of long ago that is sent again must not bring the old commit back.
		old, merge := merged(2)
		merge.MergeRequest.MergedAt = time.Now().AddDate(0, 0, -200)
		r.do["load-plan"] = func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
			e, err := r.good(ctx, t)
			planned := e.(pipeline.Planned)
			planned.At = merge.MergeRequest.MergedAt
			return planned, err
		}
		r.deliver(old, "", merge)
		r.until("the old one ends", r.finished(old))
		if d := r.delivery(old); d.Status != pipeline.StatusSuperseded {
			t.Errorf("the old commit's delivery is %s", d.Status)
		}
		r.end()
	})
}

func TestOptionsAreChecked(t *testing.T) {
	r := newRig(t, stages(deploy("staging")))
	r.open()
	defer r.store.Close()
	x := acting{r}
	for name, c := range map[string]struct {
		o    engine.Options
		want string
	}{
		"without a store":        {engine.Options{}, "a store is required"},
		"a pool without a name":  {engine.Options{Store: r.store, Pools: []engine.Pool{{Executor: x, Size: 1}}}, "needs a name"},
		"a pool without a size":  {engine.Options{Store: r.store, Pools: []engine.Pool{{Name: "a", Executor: x}}}, "a size"},
		"a pool without anybody": {engine.Options{Store: r.store, Pools: []engine.Pool{{Name: "a", Size: 1}}}, "an executor"},
		"an action in two pools": {engine.Options{Store: r.store, Pools: []engine.Pool{
			{Name: "a", Executor: x, Size: 1, Actions: []pipeline.Action{pipeline.Apply{}}},
			{Name: "b", Executor: x, Size: 1, Actions: []pipeline.Action{pipeline.Apply{}}},
		}}, "apply is in pools a and b"},
	} {
		if _, err := engine.New(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	r := newRig(t, stages(deploy("staging")))
	r.open()
	defer r.store.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.engine.Run(ctx); err != nil {
		t.Error(err)
	}
}
