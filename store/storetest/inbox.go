package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/store"
)

func inboxCases() []testCase {
	return []testCase{
		{"an event comes back in a claim as it was delivered", func(b *bench) {
			sent := store.Event{To: "delivery/1", Kind: "merged", Key: "k1", At: moment(3), Data: []byte("body")}
			if got := b.deliver(sent); !got[0] {
				b.Fatal("it was not accepted")
			}
			c := b.claim("delivery/1")
			if c.Version != 0 || c.Data != nil || c.IsDue {
				b.Errorf("the claim of what doesn't exist has state: %+v", c)
			}
			if len(c.Events) != 1 || c.Events[0].Seq == 0 {
				b.Fatalf("the events are %+v", c.Events)
			}
			if d := cmp.Diff(sent, c.Events[0].Event); d != "" {
				b.Error(d)
			}
			b.commit(step(c))
		}},
		{"a large body comes back in full", func(b *bench) {
			sent := event("delivery/1", "k")
			sent.Data = []byte(strings.Repeat(`{"object_kind":"merge_request"}`, 5000))
			b.deliver(sent)
			c := b.claim("delivery/1")
			if d := cmp.Diff(sent.Data, c.Events[0].Data); d != "" {
				b.Error("the body changed")
			}
			b.commit(step(c))
		}},
		{"a key is accepted once", func(b *bench) {
			b.deliver(event("delivery/1", "k"))
			if got := b.deliver(event("delivery/1", "k")); got[0] {
				b.Error("it was accepted twice")
			}
			if n := len(b.claim("delivery/1").Events); n != 1 {
				b.Errorf("%d events", n)
			}
		}},
		{"a key is accepted once within one call", func(b *bench) {
			got := b.deliver(event("delivery/1", "a"), event("delivery/1", "b"), event("delivery/1", "a"))
			if d := cmp.Diff([]bool{true, true, false}, got); d != "" {
				b.Error(d)
			}
		}},
		{"a key counts whoever the event is for", func(b *bench) {
			b.deliver(event("delivery/1", "k"))
			if got := b.deliver(event("delivery/2", "k")); got[0] {
				b.Error("a hook that came twice reached two aggregates")
			}
		}},
		{"events without a key are all accepted", func(b *bench) {
			if d := cmp.Diff([]bool{true, true}, b.deliver(event("delivery/1", ""), event("delivery/1", ""))); d != "" {
				b.Error(d)
			}
		}},
		{"a key is known after the event was consumed", func(b *bench) {
			b.deliver(event("delivery/1", "k"))
			b.commit(step(b.claim("delivery/1")))
			if got := b.deliver(event("delivery/1", "k")); got[0] {
				b.Error("it was accepted again")
			}
			b.nothing()
		}},
		{"a key is known after a crash", func(b *bench) {
			b.deliver(event("delivery/1", "waiting"), event("delivery/2", "consumed"))
			for range 2 {
				claims, err := b.store.Claim(b.ctx, 1)
				b.must(err)
				if claims[0].ID == "delivery/2" {
					b.commit(step(claims[0]))
				}
			}
			b.reopen()
			got := b.deliver(event("delivery/1", "waiting"), event("delivery/2", "consumed"), event("delivery/2", "new"))
			if d := cmp.Diff([]bool{false, false, true}, got); d != "" {
				b.Error(d)
			}
		}},
		{"events of one call are accepted all or none", func(b *bench) {
			if _, err := b.store.Deliver(b.ctx, event("delivery/1", "a"), event("", "b")); err == nil {
				b.Fatal("an event for nobody was accepted")
			}
			b.nothing()
			if got := b.deliver(event("delivery/1", "a")); !got[0] {
				b.Error("the key of what failed is remembered")
			}
		}},
		{"nothing is delivered when the context has ended", func(b *bench) {
			ctx, cancel := context.WithCancel(b.ctx)
			cancel()
			_, err := b.store.Deliver(ctx, event("delivery/1", "a"))
			b.wants(err, context.Canceled)
			b.nothing()
		}},
		{"no event is no error", func(b *bench) { b.deliver() }},
		{"events come in the order of acceptance, at most 64 at once", func(b *bench) {
			for i := range 100 {
				b.deliver(event("delivery/1", fmt.Sprint(i)))
			}
			b.reopen()
			var got []string
			last := uint64(0)
			for len(got) < 100 {
				c := b.claim("delivery/1")
				if len(c.Events) > 64 {
					b.Fatalf("%d events at once", len(c.Events))
				}
				for _, e := range c.Events {
					if e.Seq <= last {
						b.Fatalf("event %d after %d", e.Seq, last)
					}
					last = e.Seq
					got = append(got, e.Key)
				}
				b.commit(step(c))
			}
			for i, key := range got {
				if key != fmt.Sprint(i) {
					b.Fatalf("event %d is %s", i, key)
				}
			}
			b.nothing()
		}},
		{"what waits is counted", func(b *bench) {
			old := event("delivery/1", "a")
			old.At = moment(-60)
			b.deliver(old, event("delivery/2", "b"))
			st, err := b.store.Stats(b.ctx)
			b.must(err)
			if st.Inbox != 2 || !st.OldestEvent.Equal(old.At) || st.Live != 0 || st.Size == 0 {
				b.Errorf("%+v", st)
			}
		}},
		{"a closed store says so", func(b *bench) {
			s := b.store
			b.must(s.Close())
			_, err := s.Deliver(b.ctx, event("delivery/1", "a"))
			b.wants(err, store.ErrClosed)
			_, err = s.Claim(b.ctx, 1)
			b.wants(err, store.ErrClosed)
			_, err = s.ClaimEffects(b.ctx, "deploy", 1)
			b.wants(err, store.ErrClosed)
			_, err = s.Get(b.ctx, "delivery/1")
			b.wants(err, store.ErrClosed)
			_, err = s.Stats(b.ctx)
			b.wants(err, store.ErrClosed)
			b.must(s.Close())
			b.reopen()
		}},
	}
}

// eventually runs f in its own goroutine and gives its result within patience.
func eventually[T any](t testing.TB, f func() T) func() T {
	ch := make(chan T, 1)
	go func() { ch <- f() }()
	return func() T {
		t.Helper()
		select {
		case v := <-ch:
			return v
		case <-time.After(patience):
			t.Fatal("it still waits")
			panic("unreachable")
		}
	}
}
