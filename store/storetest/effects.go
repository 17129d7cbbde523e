package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/store"
)

// emit commits a step of delivery/1 with the effects.
func (b *bench) emit(effects ...store.Effect) {
	b.Helper()
	b.stepped("delivery/1", func(c *store.Commit) { c.Effects = effects })
}

func effectCases() []testCase {
	return []testCase{
		{"an effect is claimed as it was committed, by its kind only", func(b *bench) {
			sent := store.Effect{Key: "a", Of: "delivery/1", Kind: "deploy", Slot: "s", Latest: true, Data: []byte("apply")}
			b.emit(sent)
			b.noEffect("note")
			before := time.Now()
			c := b.effect("deploy", "a")
			if d := cmp.Diff(sent, c.Effect); d != "" {
				b.Error(d)
			}
			if c.Attempt != 1 || c.Unknown || c.Reason != "" || c.Fence == 0 || c.Seq == 0 || c.Since.Before(before.Add(-time.Second)) {
				b.Errorf("%+v", c)
			}
			b.noEffect("deploy")
		}},
		{"a claim of effects that waits wakes for a commit", func(b *bench) {
			wait := b.claimingEffects(b.ctx)
			b.emit(store.Effect{Key: "a", Kind: "deploy"})
			got := wait()
			b.must(got.err)
			if d := cmp.Diff([]string{"a"}, keysOf(got.claims)); d != "" {
				b.Error(d)
			}
		}},
		{"an effect waits for its time", func(b *bench) {
			at := time.Now().Add(80 * time.Millisecond)
			b.emit(store.Effect{Key: "a", Kind: "deploy", NotBefore: at})
			got := b.claimingEffects(b.ctx)()
			b.must(got.err)
			if len(got.claims) != 1 || time.Now().Before(at) {
				b.Errorf("%+v before %s", got.claims, at)
			}
		}},
		{"a claim of effects that waits ends with its context", func(b *bench) {
			ctx, cancel := context.WithCancel(b.ctx)
			wait := b.claimingEffects(ctx)
			cancel()
			b.wants(wait().err, context.Canceled)
		}},
		{"a claim of effects that waits ends when the store is closed", func(b *bench) {
			wait := b.claimingEffects(b.ctx)
			b.must(b.store.Close())
			b.wants(wait().err, store.ErrClosed)
			b.reopen()
		}},
		{"at most as many effects as asked for are claimed, oldest first", func(b *bench) {
			var list []store.Effect
			for i := range 5 {
				list = append(list, store.Effect{Key: fmt.Sprint(i), Kind: "deploy"})
			}
			b.emit(list...)
			got := append(keysOf(b.effects("deploy", 2)), keysOf(b.effects("deploy", 10))...)
			if d := cmp.Diff([]string{"0", "1", "2", "3", "4"}, got); d != "" {
				b.Error(d)
			}
		}},
		{"the outcome is an event of the aggregate, and the effect is over", func(b *bench) {
			b.emit(store.Effect{Key: "a", Kind: "deploy"})
			s := settlement(b.effect("deploy", "a"))
			s.Outcome = &store.Event{To: "delivery/1", Kind: "deployed", Key: "out/a", At: moment(5), Data: []byte("ok")}
			b.settle(s)
			b.reopen()
			c := b.claim("delivery/1")
			if d := cmp.Diff(*s.Outcome, c.Events[0].Event); d != "" {
				b.Error(d)
			}
			b.noEffect("deploy")
			list, err := b.store.Effects(b.ctx, "delivery/1")
			b.must(err)
			if len(list) != 0 {
				b.Errorf("%+v", list)
			}
		}},
		{"an outcome without an addressee goes to the aggregate", func(b *bench) {
			b.emit(store.Effect{Key: "a", Kind: "deploy"})
			s := settlement(b.effect("deploy", "a"))
			s.Outcome = &store.Event{Kind: "deployed"}
			b.settle(s)
			if c := b.claim("delivery/1"); c.Events[0].To != "delivery/1" {
				b.Errorf("%+v", c.Events)
			}
		}},
		{"an effect may end without an outcome", func(b *bench) {
			b.emit(store.Effect{Key: "a", Kind: "deploy"})
			b.settle(settlement(b.effect("deploy", "a")))
			b.nothing()
		}},
		{"an effect that is settled can't be settled again", func(b *bench) {
			b.emit(store.Effect{Key: "a", Kind: "deploy"})
			s := settlement(b.effect("deploy", "a"))
			b.settle(s)
			s.Outcome = &store.Event{Kind: "deployed"}
			b.wants(b.store.Settle(b.ctx, s), store.ErrNotFound)
			b.nothing()
		}},
		{"an effect is tried again at its time, and the aggregate hears why", func(b *bench) {
			b.emit(store.Effect{Key: "a", Kind: "deploy"})
			first := b.effect("deploy", "a")
			s := settlement(first)
			s.RetryAt, s.Reason = time.Now().Add(80*time.Millisecond), "the API was away"
			s.Notice = &store.Event{Kind: "delayed", At: moment(1)}
			b.settle(s)
			if c := b.claim("delivery/1"); c.Events[0].Kind != "delayed" {
				b.Errorf("%+v", c.Events)
			}
			again := b.effect("deploy", "a")
			if time.Now().Before(s.RetryAt) {
				b.Error("it was tried too early")
			}
			if again.Attempt != 2 || again.Unknown || again.Reason != s.Reason || !again.Since.Equal(first.Since) || again.Fence <= first.Fence {
				b.Errorf("%+v", again)
			}
		}},
		{"an attempt that may have worked is marked for the next", func(b *bench) {
			b.emit(store.Effect{Key: "a", Kind: "deploy"})
			s := settlement(b.effect("deploy", "a"))
			s.RetryAt, s.Unknown = time.Now(), true
			b.settle(s)
			again := b.effect("deploy", "a")
			if !again.Unknown {
				b.Error("the mark is lost")
			}
			s = settlement(again)
			s.RetryAt = time.Now()
			b.settle(s)
			if third := b.effect("deploy", "a"); third.Unknown || third.Attempt != 3 {
				b.Errorf("a mark that was cleared came back: %+v", third)
			}
		}},
		{"the time of a retry survives a crash", func(b *bench) {
			b.emit(store.Effect{Key: "a", Kind: "deploy"})
			s := settlement(b.effect("deploy", "a"))
			s.RetryAt, s.Reason = later(), "later"
			b.settle(s)
			b.reopen()
			b.noEffect("deploy")
			list, err := b.store.Effects(b.ctx, "delivery/1")
			b.must(err)
			if len(list) != 1 || list[0].Attempt != 1 || list[0].Reason != "later" || !list[0].NotBefore.Equal(s.RetryAt) || list[0].Unknown {
				b.Errorf("%+v", list)
			}
		}},
		{"a settlement by a former claim changes nothing", func(b *bench) {
			b.emit(store.Effect{Key: "a", Kind: "deploy"})
			old := settlement(b.effect("deploy", "a"))
			old.RetryAt = time.Now()
			b.settle(old)
			b.wants(b.store.Settle(b.ctx, old), store.ErrFenced)
			c := b.effect("deploy", "a")
			old.RetryAt, old.Outcome = time.Time{}, &store.Event{Kind: "deployed"}
			b.wants(b.store.Settle(b.ctx, old), store.ErrFenced)
			b.nothing()
			b.settle(settlement(c))
		}},
		{"an effect that nobody claimed can't be settled", func(b *bench) {
			b.emit(store.Effect{Key: "a", Kind: "deploy"})
			b.wants(b.store.Settle(b.ctx, store.Settlement{Of: "delivery/1", Key: "a"}), store.ErrFenced)
			b.wants(b.store.Settle(b.ctx, store.Settlement{Of: "delivery/1", Key: "b"}), store.ErrNotFound)
			b.wants(b.store.Settle(b.ctx, store.Settlement{Of: "delivery/2", Key: "a"}), store.ErrNotFound)
		}},
		{"an effect that ran during a crash comes back as unknown", func(b *bench) {
			b.emit(store.Effect{Key: "a", Kind: "deploy"}, store.Effect{Key: "b", Kind: "note"})
			first := b.effect("deploy", "a")
			b.reopen()
			again := b.effect("deploy", "a")
			if !again.Unknown || again.Attempt != 2 || !again.Since.Equal(first.Since) || again.Fence <= first.Fence {
				b.Errorf("%+v after %+v", again, first)
			}
			b.wants(b.store.Settle(b.ctx, settlement(first)), store.ErrFenced)
			if other := b.effect("note", "b"); other.Unknown || other.Attempt != 1 {
				b.Errorf("what never started is unknown: %+v", other)
			}
			b.settle(settlement(again))
		}},
		{"an effect stays unknown over many crashes", func(b *bench) {
			b.emit(store.Effect{Key: "a", Kind: "deploy"})
			for i := range 3 {
				if c := b.effect("deploy", "a"); c.Attempt != i+1 || c.Unknown != (i > 0) {
					b.Errorf("attempt %d: %+v", i+1, c)
				}
				b.reopen()
			}
		}},
		{"the outcome reaches an aggregate that has finished", func(b *bench) {
			b.stepped("delivery/1", func(c *store.Commit) {
				c.Finished, c.Effects = true, []store.Effect{{Key: "a", Kind: "deploy"}}
			})
			b.reopen()
			s := settlement(b.effect("deploy", "a"))
			s.Outcome = &store.Event{Kind: "deployed"}
			b.settle(s)
			if c := b.claim("delivery/1"); len(c.Events) != 1 || !c.Finished {
				b.Errorf("%+v", c)
			}
		}},
		{"unsettled effects are listed oldest first, running ones too", func(b *bench) {
			b.emit(store.Effect{Key: "b", Kind: "deploy"}, store.Effect{Key: "a", Kind: "note"})
			b.emit(store.Effect{Key: "c", Kind: "note", NotBefore: later()})
			b.effect("deploy", "b")
			list, err := b.store.Effects(b.ctx, "delivery/1")
			b.must(err)
			if d := cmp.Diff([]string{"b", "a", "c"}, keysOf(list)); d != "" {
				b.Error(d)
			}
			st, err := b.store.Stats(b.ctx)
			b.must(err)
			if st.EffectsRunning != 1 || st.EffectsPending != 2 {
				b.Errorf("%+v", st)
			}
		}},
		{"an effect needs a key and a kind, each key once", func(b *bench) {
			b.deliver(event("delivery/1", ""))
			s := step(b.claim("delivery/1"))
			for _, list := range [][]store.Effect{
				{{Key: "a"}}, {{Kind: "deploy"}}, {{Key: "a", Kind: "deploy"}, {Key: "a", Kind: "note"}},
				{{Key: "a", Kind: "deploy", Of: "delivery/2"}},
			} {
				s.Effects = list
				b.refused(s)
			}
		}},
	}
}

type claimedEffects struct {
	claims []store.EffectClaim
	err    error
}

func (b *bench) claimingEffects(ctx context.Context) func() claimedEffects {
	s := b.store
	return eventually(b, func() claimedEffects {
		c, err := s.ClaimEffects(ctx, "deploy", 10)
		return claimedEffects{c, err}
	})
}

func slotCases() []testCase {
	inSlot := func(key, slot string) store.Effect { return store.Effect{Key: key, Kind: "deploy", Slot: slot} }
	latest := func(key string) store.Effect {
		return store.Effect{Key: key, Kind: "deploy", Slot: "note", Latest: true}
	}
	return []testCase{
		{"effects of a slot run one at a time, in the order of their emission", func(b *bench) {
			b.emit(inSlot("1", "s"), inSlot("2", "s"), inSlot("other", "t"))
			b.emit(inSlot("3", "s"), inSlot("free", ""))
			got := b.effects("deploy", 10)
			if d := cmp.Diff([]string{"1", "other", "free"}, keysOf(got)); d != "" {
				b.Fatal(d)
			}
			b.noEffect("deploy")
			b.settle(settlement(got[0]))
			two := b.effect("deploy", "2")
			b.noEffect("deploy")
			b.settle(settlement(two))
			b.effect("deploy", "3")
		}},
		{"slots of two aggregates have nothing to do with each other", func(b *bench) {
			b.emit(inSlot("1", "s"))
			b.stepped("delivery/2", func(c *store.Commit) { c.Effects = []store.Effect{inSlot("1", "s")} })
			if got := b.effects("deploy", 10); len(got) != 2 {
				b.Errorf("%+v", got)
			}
		}},
		{"a slot holds over kinds", func(b *bench) {
			b.emit(store.Effect{Key: "1", Kind: "note", Slot: "s"}, inSlot("2", "s"))
			b.noEffect("deploy")
			b.settle(settlement(b.effect("note", "1")))
			b.effect("deploy", "2")
		}},
		{"an effect that will be tried again keeps its slot", func(b *bench) {
			b.emit(inSlot("1", "s"), inSlot("2", "s"))
			s := settlement(b.effect("deploy", "1"))
			s.RetryAt = time.Now().Add(80 * time.Millisecond)
			b.settle(s)
			b.settle(settlement(b.effect("deploy", "1")))
			b.effect("deploy", "2")
		}},
		{"an effect whose time has not come keeps its slot", func(b *bench) {
			first := inSlot("1", "s")
			first.NotBefore = later()
			b.emit(first, inSlot("2", "s"))
			b.noEffect("deploy")
		}},
		{"a slot holds over a crash", func(b *bench) {
			b.emit(inSlot("1", "s"), inSlot("2", "s"))
			b.effect("deploy", "1")
			b.reopen()
			c := b.effect("deploy", "1")
			b.noEffect("deploy")
			b.settle(settlement(c))
			b.effect("deploy", "2")
		}},
		{"the newest of a slot drops the older that have not started", func(b *bench) {
			b.emit(latest("1"))
			b.emit(latest("2"), inSlot("elsewhere", "s"))
			b.emit(latest("3"), latest("4"))
			if d := cmp.Diff([]string{"elsewhere", "4"}, keysOf(b.effects("deploy", 10))); d != "" {
				b.Error(d)
			}
			b.nothing()
		}},
		{"what runs is not dropped, and the newest comes after it", func(b *bench) {
			b.emit(latest("1"))
			one := b.effect("deploy", "1")
			b.emit(latest("2"))
			b.emit(latest("3"))
			b.noEffect("deploy")
			s := settlement(one)
			s.Outcome = &store.Event{Kind: "noted"}
			b.settle(s)
			b.effect("deploy", "3")
			if c := b.claim("delivery/1"); len(c.Events) != 1 {
				b.Errorf("%+v", c.Events)
			}
		}},
		{"what ran during a crash is not dropped", func(b *bench) {
			b.emit(latest("1"))
			b.effect("deploy", "1")
			b.reopen()
			b.emit(latest("2"))
			if c := b.effect("deploy", "1"); !c.Unknown {
				b.Errorf("%+v", c)
			}
		}},
		{"what has started and is tried again is not dropped", func(b *bench) {
			b.emit(latest("1"))
			s := settlement(b.effect("deploy", "1"))
			s.RetryAt = time.Now().Add(50 * time.Millisecond)
			b.settle(s)
			b.emit(latest("2"))
			b.settle(settlement(b.effect("deploy", "1")))
			b.effect("deploy", "2")
		}},
		{"effects without a slot are never dropped", func(b *bench) {
			b.emit(store.Effect{Key: "1", Kind: "deploy", Latest: true}, store.Effect{Key: "2", Kind: "deploy", Latest: true})
			b.emit(store.Effect{Key: "3", Kind: "deploy", Latest: true})
			if d := cmp.Diff([]string{"1", "2", "3"}, keysOf(b.effects("deploy", 10))); d != "" {
				b.Error(d)
			}
		}},
		{"effects that are not marked are never dropped", func(b *bench) {
			b.emit(inSlot("make", "note"))
			b.emit(latest("change"))
			b.settle(settlement(b.effect("deploy", "make")))
			b.effect("deploy", "change")
		}},
	}
}

func withdrawalCases() []testCase {
	withdraw := func(keys ...string) func(*store.Commit) {
		return func(c *store.Commit) { c.Withdraw = keys }
	}
	return []testCase{
		{"a pending effect that is withdrawn never runs", func(b *bench) {
			b.emit(store.Effect{Key: "a", Kind: "deploy"}, store.Effect{Key: "b", Kind: "deploy", NotBefore: later()}, store.Effect{Key: "c", Kind: "note"})
			b.stepped("delivery/1", withdraw("a", "b", "nobody"))
			b.noEffect("deploy")
			b.reopen()
			b.noEffect("deploy")
			b.effect("note", "c")
		}},
		{"the next of the slot follows a pending effect that is withdrawn", func(b *bench) {
			b.emit(store.Effect{Key: "1", Kind: "deploy", Slot: "s", NotBefore: later()}, store.Effect{Key: "2", Kind: "deploy", Slot: "s"})
			b.stepped("delivery/1", withdraw("1"))
			b.effect("deploy", "2")
		}},
		{"a running effect that is withdrawn is reported, and its outcome dropped", func(b *bench) {
			told, err := b.store.Withdrawn(b.ctx)
			b.must(err)
			b.emit(store.Effect{Key: "a", Kind: "deploy"})
			c := b.effect("deploy", "a")
			b.stepped("delivery/1", withdraw("a"))
			if got := <-told; got != (store.EffectID{Of: "delivery/1", Key: "a"}) {
				b.Errorf("%+v", got)
			}
			s := settlement(c)
			s.Outcome = &store.Event{Kind: "deployed"}
			b.wants(b.store.Settle(b.ctx, s), store.ErrNotFound)
			b.nothing()
			list, err := b.store.Effects(b.ctx, "delivery/1")
			b.must(err)
			if len(list) != 0 {
				b.Errorf("%+v", list)
			}
		}},
		{"a running effect that is withdrawn keeps its slot until its executor lets go", func(b *bench) {
			b.emit(store.Effect{Key: "1", Kind: "deploy", Slot: "s"}, store.Effect{Key: "2", Kind: "deploy", Slot: "s"})
			c := b.effect("deploy", "1")
			b.stepped("delivery/1", withdraw("1"))
			b.noEffect("deploy")
			b.wants(b.store.Settle(b.ctx, settlement(c)), store.ErrNotFound)
			b.effect("deploy", "2")
		}},
		{"a running effect that is withdrawn does not come back after a crash", func(b *bench) {
			b.emit(store.Effect{Key: "1", Kind: "deploy", Slot: "s"}, store.Effect{Key: "2", Kind: "deploy", Slot: "s"})
			c := b.effect("deploy", "1")
			b.stepped("delivery/1", withdraw("1"))
			b.reopen()
			b.effect("deploy", "2")
			b.wants(b.store.Settle(b.ctx, settlement(c)), store.ErrNotFound)
		}},
		{"every reader hears every withdrawal, however slow", func(b *bench) {
			ctx, cancel := context.WithCancel(b.ctx)
			defer cancel()
			var readers []<-chan store.EffectID
			for range 2 {
				ch, err := b.store.Withdrawn(ctx)
				b.must(err)
				readers = append(readers, ch)
			}
			var keys []string
			for i := range 300 {
				key := fmt.Sprint(i)
				keys = append(keys, key)
				b.emit(store.Effect{Key: key, Kind: "deploy"})
			}
			for n := 0; n < len(keys); {
				n += len(b.effects("deploy", 100))
			}
			b.stepped("delivery/1", withdraw(keys...))
			for _, ch := range readers {
				for i := range keys {
					if got := <-ch; got.Key != keys[i] {
						b.Fatalf("%d is %+v", i, got)
					}
				}
			}
			cancel()
			for _, ch := range readers {
				if got, open := <-ch; open {
					b.Errorf("%+v after the end", got)
				}
			}
		}},
		{"withdrawals end when the store is closed", func(b *bench) {
			ch, err := b.store.Withdrawn(b.ctx)
			b.must(err)
			b.must(b.store.Close())
			if got, open := <-ch; open {
				b.Errorf("%+v", got)
			}
			b.reopen()
		}},
		{"a step may replace an effect by another of the same key", func(b *bench) {
			b.emit(store.Effect{Key: "a", Kind: "deploy", Data: []byte("old")})
			old := b.effect("deploy", "a")
			b.stepped("delivery/1", func(c *store.Commit) {
				c.Withdraw = []string{"a"}
				c.Effects = []store.Effect{{Key: "a", Kind: "deploy", Data: []byte("new")}}
			})
			c := b.effect("deploy", "a")
			if string(c.Data) != "new" || c.Attempt != 1 || c.Unknown {
				b.Errorf("%+v", c)
			}
			if err := b.store.Settle(b.ctx, settlement(old)); !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrFenced) {
				b.Errorf("%v", err)
			}
			b.settle(settlement(c))
		}},
	}
}
