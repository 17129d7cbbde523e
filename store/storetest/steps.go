package storetest

import (
	"errors"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/store"
)

// everything is a commit that touches all that a commit can touch.
func (b *bench) everything(c store.Claim) store.Commit {
	b.Helper()
	ref, err := b.store.PutBlob(b.ctx, []byte("plan"))
	b.must(err)
	s := step(c)
	s.Index = store.Index{Project: 7, MergeRequest: 8, SHA: "f00", Started: moment(1)}
	s.Messages = []store.Event{{To: "environment/1", Kind: "want", Key: "want/1", At: moment(2), Data: []byte("m")}}
	s.Effects = []store.Effect{{Key: "new", Kind: "deploy", Data: []byte("apply")}}
	s.Blobs = []string{ref}
	return s
}

// untouched proves that nothing of everything was applied.
func (b *bench) untouched(version uint64) {
	b.Helper()
	d, err := b.store.Get(b.ctx, "delivery/1")
	if version == 0 {
		b.wants(err, store.ErrNotFound)
	} else if b.must(err); d.Version != version {
		b.Errorf("the version is %d", d.Version)
	}
	list, err := b.store.Effects(b.ctx, "delivery/1")
	b.must(err)
	page, err := b.store.List(b.ctx, store.Query{SHA: "f00"})
	b.must(err)
	if len(list) != 0 || len(page.Documents) != 0 {
		b.Errorf("effects %+v, documents %+v", list, page.Documents)
	}
	if got := b.deliver(store.Event{To: "environment/1", Kind: "want", Key: "want/1"}); !got[0] {
		b.Error("the message was sent")
	}
}

func stepCases() []testCase {
	return []testCase{
		{"a step changes everything that it says, durably", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			s := b.everything(b.claim("delivery/1"))
			b.commit(s)
			b.reopen()
			d, err := b.store.Get(b.ctx, "delivery/1")
			b.must(err)
			want := store.Document{ID: "delivery/1", Version: 1, Data: s.Data, Index: s.Index, Due: s.Due, Updated: d.Updated}
			if diff := cmp.Diff(want, d); diff != "" || d.Updated.IsZero() {
				b.Error(diff)
			}
			c := b.claim("environment/1")
			if diff := cmp.Diff(s.Messages, []store.Event{c.Events[0].Event}); diff != "" {
				b.Error(diff)
			}
			if e := b.effect("deploy", "new"); string(e.Data) != "apply" || e.Of != "delivery/1" {
				b.Errorf("%+v", e)
			}
			h, err := b.store.History(b.ctx, "delivery/1")
			b.must(err)
			if len(h) != 1 {
				b.Errorf("%+v", h)
			}
			b.nothing()
		}},
		{"a step with a former claim changes nothing", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			old := b.claim("delivery/1")
			b.must(b.store.Release(b.ctx, old, time.Time{}))
			c := b.claim("delivery/1")
			b.wants(b.store.Commit(b.ctx, b.everything(old)), store.ErrFenced)
			b.untouched(0)
			b.commit(step(c))
		}},
		{"a step without a claim changes nothing", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			s := b.everything(b.claim("delivery/1"))
			s.Fence++
			b.wants(b.store.Commit(b.ctx, s), store.ErrFenced)
			b.untouched(0)
		}},
		{"a claim is good for one step", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			c := b.claim("delivery/1")
			b.commit(step(c))
			s := b.everything(c)
			s.Version, s.Consumed = 1, nil
			b.wants(b.store.Commit(b.ctx, s), store.ErrFenced)
			b.untouched(1)
		}},
		{"a step from another version changes nothing and ends the claim", func(b *bench) {
			b.stepped("delivery/1", nil)
			b.deliver(event("delivery/1", "a"))
			s := b.everything(b.claim("delivery/1"))
			s.Version = 7
			b.wants(b.store.Commit(b.ctx, s), store.ErrConflict)
			b.untouched(1)
			s.Version = 1
			b.wants(b.store.Commit(b.ctx, s), store.ErrFenced)
			for {
				claims, err := b.store.Claim(b.ctx, 1)
				b.must(err)
				if claims[0].ID == "delivery/1" && len(claims[0].Events) == 1 {
					break
				}
			}
		}},
		{"a step that creates what exists changes nothing", func(b *bench) {
			b.stepped("delivery/1", nil)
			b.deliver(event("delivery/1", "a"))
			s := b.everything(b.claim("delivery/1"))
			s.Version = 0
			b.wants(b.store.Commit(b.ctx, s), store.ErrConflict)
			b.untouched(1)
		}},
		{"a step that consumes an event of another aggregate changes nothing", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			s := b.everything(b.claim("delivery/1"))
			b.deliver(event("delivery/2", "b"))
			other := b.claim("delivery/2")
			s.Consumed = append(s.Consumed, other.Events[0].Seq)
			b.refused(s)
			b.untouched(0)
		}},
		{"a step that refers to a blob that isn't there changes nothing", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			s := b.everything(b.claim("delivery/1"))
			s.Blobs = append(s.Blobs, "0000000000000000000000000000000000000000000000000000000000000000")
			b.wants(b.store.Commit(b.ctx, s), store.ErrNotFound)
			b.untouched(0)
		}},
		{"a step with an effect that is still there changes nothing", func(b *bench) {
			b.stepped("delivery/1", func(c *store.Commit) { c.Effects = []store.Effect{{Key: "old", Kind: "note"}} })
			b.deliver(event("delivery/1", "a"))
			s := b.everything(b.claim("delivery/1"))
			s.Effects = append(s.Effects, store.Effect{Key: "old", Kind: "note"})
			b.refused(s)
			list, err := b.store.Effects(b.ctx, "delivery/1")
			b.must(err)
			if diff := cmp.Diff([]string{"old"}, keysOf(list)); diff != "" {
				b.Error(diff)
			}
		}},
		{"a live aggregate needs a due time", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			s := b.everything(b.claim("delivery/1"))
			s.Due = time.Time{}
			b.refused(s)
			b.untouched(0)
		}},
		{"a refused step can be committed better", func(b *bench) {
			b.deliver(event("delivery/1", "a"))
			s := b.everything(b.claim("delivery/1"))
			due := s.Due
			s.Due = time.Time{}
			b.refused(s)
			s.Due = due
			b.commit(s)
		}},
		{"messages are deduplicated like events", func(b *bench) {
			b.deliver(event("environment/1", "k"))
			b.commit(step(b.claim("environment/1")))
			b.stepped("delivery/1", func(c *store.Commit) {
				c.Messages = []store.Event{event("environment/1", "k"), event("environment/1", "k2")}
			})
			c := b.claim("environment/1")
			if len(c.Events) != 1 || c.Events[0].Key != "k2" {
				b.Errorf("%+v", c.Events)
			}
		}},
		{"an aggregate may write to itself", func(b *bench) {
			b.stepped("delivery/1", func(c *store.Commit) { c.Messages = []store.Event{event("delivery/1", "self")} })
			c := b.claim("delivery/1")
			if len(c.Events) != 1 || c.Events[0].Key != "self" {
				b.Errorf("%+v", c.Events)
			}
		}},
		{"a finished aggregate never comes due", func(b *bench) {
			b.stepped("delivery/1", func(c *store.Commit) {
				c.Finished, c.Due = true, time.Now().Add(-time.Hour)
			})
			b.nothing()
			b.reopen()
			b.nothing()
			d, err := b.store.Get(b.ctx, "delivery/1")
			b.must(err)
			if !d.Finished || !d.Due.IsZero() {
				b.Errorf("%+v", d)
			}
			st, err := b.store.Stats(b.ctx)
			b.must(err)
			if st.Live != 0 || st.Finished != 1 {
				b.Errorf("%+v", st)
			}
		}},
		{"a late event makes a finished aggregate claimable", func(b *bench) {
			b.stepped("delivery/1", func(c *store.Commit) { c.Finished = true })
			b.deliver(event("delivery/1", "late"))
			c := b.claim("delivery/1")
			if !c.Finished || c.IsDue || len(c.Events) != 1 || c.Version != 1 {
				b.Errorf("%+v", c)
			}
			s := step(c)
			s.Finished = true
			b.commit(s)
			b.nothing()
		}},
		{"a finished aggregate can live again", func(b *bench) {
			b.stepped("delivery/1", func(c *store.Commit) { c.Finished = true })
			b.stepped("delivery/1", func(c *store.Commit) { c.Due = time.Now() })
			if c := b.claim("delivery/1"); !c.IsDue || c.Finished {
				b.Errorf("%+v", c)
			}
		}},
		{"a due time in the far future is kept", func(b *bench) {
			never := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
			b.stepped("delivery/1", func(c *store.Commit) { c.Due = never })
			b.reopen()
			b.nothing()
			d, err := b.store.Get(b.ctx, "delivery/1")
			b.must(err)
			if !d.Due.Equal(never) {
				b.Errorf("%s", d.Due)
			}
		}},
		{"live and finished aggregates are counted", func(b *bench) {
			b.stepped("delivery/1", nil)
			b.stepped("delivery/2", nil)
			b.stepped("delivery/3", func(c *store.Commit) { c.Finished = true })
			b.stepped("delivery/1", func(c *store.Commit) { c.Finished = true })
			for range 2 {
				st, err := b.store.Stats(b.ctx)
				b.must(err)
				if st.Live != 1 || st.Finished != 2 || st.Inbox != 0 {
					b.Errorf("%+v", st)
				}
				b.reopen()
			}
		}},
	}
}

// refused proves that a commit fails by itself, not by its claim or version.
func (b *bench) refused(s store.Commit) {
	b.Helper()
	err := b.store.Commit(b.ctx, s)
	if err == nil || errors.Is(err, store.ErrFenced) || errors.Is(err, store.ErrConflict) {
		b.Fatalf("the error is %v", err)
	}
}
