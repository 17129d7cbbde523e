package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/store"
)

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// Open makes an empty database for one test and gives the function that opens it.
// Calling that again while a store is open is what a killed process and its
// successor are: it must give up the former store and open the same database anew.
// An effect that was running then must be claimable at once, as unknown.
type Open func(t *testing.T) func() store.Store

// Run holds a store against the contract.
func Run(t *testing.T, open Open) {
	for _, group := range []struct {
		name  string
		cases []testCase
	}{
		{"inbox", inboxCases()},
		{"claims", claimCases()},
		{"steps", stepCases()},
		{"effects", effectCases()},
		{"slots", slotCases()},
		{"withdrawals", withdrawalCases()},
		{"lists", listCases()},
		{"blobs", blobCases()},
		{"history and pruning", pruneCases()},
		{"crowds", crowdCases()},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					b := newBench(t, open)
					c.run(b)
					b.checked()
				})
			}
		})
	}
}

type testCase struct {
	name string
	run  func(b *bench)
}

// bench is one test at work: a store, and short words for what tests do with it.
type bench struct {
	*testing.T
	ctx   context.Context
	store store.Store
	open  func() store.Store
}

func newBench(t *testing.T, open Open) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	b := &bench{T: t, ctx: ctx, open: open(t)}
	b.store = b.open()
	return b
}

// reopen is a crash: the store is opened anew.
func (b *bench) reopen() { b.store = b.open() }

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) wants(err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Fatalf("the error is %v, want %v", err, want)
	}
}

// checked proves the stored data at the end of a test.
func (b *bench) checked() {
	b.Helper()
	if b.Failed() {
		return
	}
	problems, err := b.store.Check(b.ctx)
	b.must(err)
	for _, p := range problems {
		b.Errorf("check: %s: %s", p.ID, p.What)
	}
}

func event(to store.ID, key string) store.Event {
	return store.Event{To: to, Kind: "poke", Key: key, At: moment(1), Data: []byte(`{"key":"` + key + `"}`)}
}

// moment is a fixed time, the given number of seconds after some start.
func moment(seconds int) time.Time {
	return time.Date(2026, 3, 4, 5, 6, seconds, 789, time.UTC)
}

func later() time.Time { return time.Now().Add(time.Hour).UTC() }

func (b *bench) deliver(events ...store.Event) []bool {
	b.Helper()
	accepted, err := b.store.Deliver(b.ctx, events...)
	b.must(err)
	if len(accepted) != len(events) {
		b.Fatalf("%d answers to %d events", len(accepted), len(events))
	}
	return accepted
}

// claim claims one aggregate, and fails if it is another one.
func (b *bench) claim(id store.ID) store.Claim {
	b.Helper()
	claims, err := b.store.Claim(b.ctx, 1)
	b.must(err)
	if len(claims) != 1 || claims[0].ID != id {
		b.Fatalf("claimed %+v, want %s", claims, id)
	}
	return claims[0]
}

// nothing proves that no aggregate can be claimed now.
func (b *bench) nothing() {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Millisecond)
	defer cancel()
	claims, err := b.store.Claim(ctx, 10)
	if !errors.Is(err, context.DeadlineExceeded) {
		b.Fatalf("claimed %+v, %v; want nothing", claims, err)
	}
}

func (b *bench) noEffect(kind string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Millisecond)
	defer cancel()
	claims, err := b.store.ClaimEffects(ctx, kind, 10)
	if !errors.Is(err, context.DeadlineExceeded) {
		b.Fatalf("claimed effects %+v, %v; want nothing", claims, err)
	}
}

// step is a commit that follows from a claim: it consumes its events and sleeps long.
func step(c store.Claim) store.Commit {
	s := store.Commit{
		ID: c.ID, Fence: c.Fence, Version: c.Version, Due: later(),
		Data: fmt.Appendf(nil, "state %d", c.Version+1), Index: c.Index,
	}
	for _, e := range c.Events {
		s.Consumed = append(s.Consumed, e.Seq)
		s.History = append(s.History, store.Entry{At: e.At, Kind: e.Kind, Data: e.Data})
	}
	return s
}

func (b *bench) commit(c store.Commit) {
	b.Helper()
	b.must(b.store.Commit(b.ctx, c))
}

// stepped pokes an aggregate, and commits what change makes of the step.
func (b *bench) stepped(id store.ID, change func(*store.Commit)) {
	b.Helper()
	b.deliver(event(id, ""))
	s := step(b.claim(id))
	if change != nil {
		change(&s)
	}
	b.commit(s)
}

func (b *bench) effects(kind string, most int) []store.EffectClaim {
	b.Helper()
	claims, err := b.store.ClaimEffects(b.ctx, kind, most)
	b.must(err)
	return claims
}

// effect claims one effect, and fails if it has another key.
func (b *bench) effect(kind, key string) store.EffectClaim {
	b.Helper()
	claims := b.effects(kind, 1)
	if len(claims) != 1 || claims[0].Key != key {
		b.Fatalf("claimed %+v, want %s", claims, key)
	}
	return claims[0]
}

func settlement(c store.EffectClaim) store.Settlement {
	return store.Settlement{Of: c.Of, Key: c.Key, Fence: c.Fence}
}

func (b *bench) settle(s store.Settlement) {
	b.Helper()
	b.must(b.store.Settle(b.ctx, s))
}

func keysOf(list []store.EffectClaim) []string {
	keys := make([]string, len(list))
	for i, e := range list {
		keys[i] = e.Key
	}
	return keys
}
