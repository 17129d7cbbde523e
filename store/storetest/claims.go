package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/store"
)

type claimed struct {
	claims []store.Claim
	err    error
}

func (b *bench) claiming(ctx context.Context) func() claimed {
	s := b.store
	return eventually(b, func() claimed {
		c, err := s.Claim(ctx, 10)
		return claimed{c, err}
	})
}

func claimCases() []testCase {
	return []testCase{
		{"a claim that waits wakes for an event", func(b *bench) {
			wait := b.claiming(b.ctx)
			b.deliver(event("delivery/1", "k"))
			got := wait()
			b.must(got.err)
			if len(got.claims) != 1 || got.claims[0].ID != "delivery/1" || len(got.claims[0].Events) != 1 {
				b.Errorf("%+v", got.claims)
			}
		}},
		{"a claim that waits wakes for a due time, not before it", func(b *bench) {
			due := time.Now().Add(80 * time.Millisecond).UTC()
			b.stepped("delivery/1", func(c *store.Commit) { c.Due = due })
			got := b.claiming(b.ctx)()
			b.must(got.err)
			if time.Now().Before(due) {
				b.Error("it woke too early")
			}
			if len(got.claims) != 1 || !got.claims[0].IsDue || len(got.claims[0].Events) != 0 {
				b.Errorf("%+v", got.claims)
			}
		}},
		{"a claim that waits ends with its context", func(b *bench) {
			ctx, cancel := context.WithCancel(b.ctx)
			wait := b.claiming(ctx)
			cancel()
			b.wants(wait().err, context.Canceled)
		}},
		{"a claim that gave up takes nothing from the others", func(b *bench) {
			ctx, cancel := context.WithCancel(b.ctx)
			first := b.claiming(ctx)
			second := b.claiming(b.ctx)
			cancel()
			b.wants(first().err, context.Canceled)
			b.deliver(event("delivery/1", "k"))
			got := second()
			b.must(got.err)
			if len(got.claims) != 1 {
				b.Errorf("%+v", got.claims)
			}
		}},
		{"a claim that waits ends when the store is closed", func(b *bench) {
			wait := b.claiming(b.ctx)
			b.must(b.store.Close())
			b.wants(wait().err, store.ErrClosed)
			b.reopen()
		}},
		{"at most as many as asked for are claimed, each once", func(b *bench) {
			for i := range 5 {
				b.deliver(event(store.ID(fmt.Sprintf("delivery/%d", i)), ""))
			}
			seen := map[store.ID]bool{}
			for len(seen) < 5 {
				claims, err := b.store.Claim(b.ctx, 2)
				b.must(err)
				if len(claims) == 0 || len(claims) > 2 {
					b.Fatalf("%d claims", len(claims))
				}
				for _, c := range claims {
					if seen[c.ID] {
						b.Fatalf("%s was claimed twice", c.ID)
					}
					seen[c.ID] = true
				}
			}
			b.nothing()
		}},
		{"a claimed aggregate is not claimable, whatever arrives", func(b *bench) {
			b.deliver(event("delivery/1", ""))
			b.claim("delivery/1")
			b.deliver(event("delivery/1", ""))
			b.nothing()
		}},
		{"events that arrive during a claim make the aggregate claimable again", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			c := b.claim("delivery/1")
			b.deliver(event("delivery/1", "b"))
			b.commit(step(c))
			c = b.claim("delivery/1")
			if len(c.Events) != 1 || c.Events[0].Key != "b" {
				b.Errorf("%+v", c.Events)
			}
		}},
		{"what a commit does not consume comes again", func(b *bench) {
			b.deliver(event("delivery/1", "a"), event("delivery/1", "b"))
			s := step(b.claim("delivery/1"))
			s.Consumed = s.Consumed[:1]
			b.commit(s)
			c := b.claim("delivery/1")
			if len(c.Events) != 1 || c.Events[0].Key != "b" {
				b.Errorf("%+v", c.Events)
			}
		}},
		{"a claim carries the newest document", func(b *bench) {
			x := store.Index{Project: 4, MergeRequest: 2, SHA: "abc", Status: "running", Title: "Ship it", Started: moment(9), Hidden: true}
			due := later()
			b.stepped("delivery/1", func(c *store.Commit) { c.Index, c.Due = x, due })
			b.deliver(event("delivery/1", ""))
			c := b.claim("delivery/1")
			if d := cmp.Diff(x, c.Index); d != "" {
				b.Error(d)
			}
			if c.Version != 1 || string(c.Data) != "state 1" || !c.Due.Equal(due) || c.Finished || c.Updated.IsZero() {
				b.Errorf("%+v", c.Document)
			}
		}},
		{"a released aggregate is claimable at the time, with all its events", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			c := b.claim("delivery/1")
			at := time.Now().Add(80 * time.Millisecond)
			b.must(b.store.Release(b.ctx, c, at))
			again := b.claim("delivery/1")
			if time.Now().Before(at) {
				b.Error("it was claimable too early")
			}
			if again.Fence <= c.Fence || len(again.Events) != 1 || again.Version != 0 {
				b.Errorf("%+v", again)
			}
		}},
		{"an event does not shorten the time of a release", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			b.must(b.store.Release(b.ctx, b.claim("delivery/1"), later()))
			b.deliver(event("delivery/1", "b"))
			b.nothing()
		}},
		{"a release without a time is at once", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			b.must(b.store.Release(b.ctx, b.claim("delivery/1"), time.Time{}))
			b.claim("delivery/1")
		}},
		{"a release by a former claim changes nothing", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			old := b.claim("delivery/1")
			b.must(b.store.Release(b.ctx, old, time.Time{}))
			b.claim("delivery/1")
			b.wants(b.store.Release(b.ctx, old, time.Time{}), store.ErrFenced)
			b.nothing()
		}},
		{"a crash ends all claims, and fences grow over it", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			old := b.claim("delivery/1")
			b.reopen()
			c := b.claim("delivery/1")
			if c.Fence <= old.Fence {
				b.Errorf("fence %d after %d", c.Fence, old.Fence)
			}
			b.wants(b.store.Commit(b.ctx, step(old)), store.ErrFenced)
			b.commit(step(c))
		}},
		{"due times are exact after a crash", func(b *bench) {
			far := later()
			b.stepped("delivery/far", func(c *store.Commit) { c.Due = far.Add(-time.Minute) })
			b.stepped("delivery/far", func(c *store.Commit) { c.Due = far })
			b.stepped("delivery/done", func(c *store.Commit) { c.Due = far })
			b.stepped("delivery/done", func(c *store.Commit) { c.Finished = true })
			b.stepped("delivery/soon", func(c *store.Commit) { c.Due = far })
			b.deliver(event("delivery/soon", ""))
			s := step(b.claim("delivery/soon"))
			soon := time.Now().Add(150 * time.Millisecond)
			s.Due = soon
			b.commit(s)
			b.reopen()
			b.checked()
			c := b.claim("delivery/soon")
			if !c.IsDue || time.Now().Before(soon) {
				b.Errorf("%+v", c)
			}
			b.commit(step(c))
			b.nothing()
		}},
		{"who became due first is claimed first", func(b *bench) {
			const n = 20
			for margin := 100 * time.Millisecond; ; margin *= 2 {
				at := time.Now().Add(margin)
				var commits []store.Commit
				for i := range n {
					b.deliver(event(store.ID(fmt.Sprintf("delivery/%s/%02d", margin, i)), ""))
				}
				for i := range n {
					s := step(b.claim(store.ID(fmt.Sprintf("delivery/%s/%02d", margin, i))))
					s.Due = at.Add(time.Duration(n-i) * time.Millisecond)
					commits = append(commits, s)
				}
				for _, s := range commits {
					b.commit(s)
				}
				inTime := time.Now().Before(at) // else some were due before others slept
				for i := n - 1; i >= 0; i-- {
					claims, err := b.store.Claim(b.ctx, 1)
					b.must(err)
					if want := commits[i].ID; inTime && claims[0].ID != want {
						b.Fatalf("claimed %s, want %s", claims[0].ID, want)
					}
					b.commit(step(claims[0]))
				}
				if inTime {
					return
				}
			}
		}},
		{"a claim of none is refused", func(b *bench) {
			if _, err := b.store.Claim(b.ctx, 0); err == nil || errors.Is(err, context.DeadlineExceeded) {
				b.Errorf("%v", err)
			}
		}},
	}
}
