package storetest

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/store"
)

// titles are the titles of a page's documents.
func (b *bench) titles(q store.Query) []string {
	b.Helper()
	page, err := b.store.List(b.ctx, q)
	b.must(err)
	var got []string
	for _, d := range page.Documents {
		got = append(got, d.Index.Title)
	}
	return got
}

func listCases() []testCase {
	return []testCase{
		{"lists are newest first and select by every field", func(b *bench) {
			b.shelf()
			for _, c := range []struct {
				name  string
				query store.Query
				want  []string
			}{
				{"all but hidden ones", store.Query{}, []string{"e", "d", "c", "a"}},
				{"hidden ones too", store.Query{WithHidden: true}, []string{"e", "d", "c", "b", "a"}},
				{"by kind", store.Query{Kind: "environment"}, []string{"d"}},
				{"by another kind", store.Query{Kind: "delivery"}, []string{"e", "c", "a"}},
				{"by a kind that is the beginning of another", store.Query{Kind: "deliver"}, nil},
				{"live ones", store.Query{Live: true, Kind: "delivery"}, []string{"e", "a"}},
				{"by project", store.Query{Project: 1}, []string{"d", "a"}},
				{"by project and kind", store.Query{Project: 1, Kind: "delivery", WithHidden: true}, []string{"b", "a"}},
				{"by merge request, hidden ones too", store.Query{Project: 1, MergeRequest: 5}, []string{"b", "a"}},
				{"by the same number in another project", store.Query{Project: 2, MergeRequest: 5}, []string{"c"}},
				{"by commit, hidden ones too", store.Query{SHA: "s2"}, []string{"e", "b"}},
				{"by project and commit", store.Query{Project: 1, SHA: "s2"}, []string{"b"}},
				{"by commit and merge request", store.Query{Project: 1, MergeRequest: 5, SHA: "s1"}, []string{"a"}},
				{"by the beginning of a commit", store.Query{SHA: "s"}, nil},
				{"by what nobody has", store.Query{Project: 9}, nil},
			} {
				if d := cmp.Diff(c.want, b.titles(c.query)); d != "" {
					b.Errorf("%s: %s", c.name, d)
				}
			}
		}},
		{"a document is found by its new fields only", func(b *bench) {
			b.stepped("delivery/1", func(c *store.Commit) {
				c.Index = store.Index{Project: 1, MergeRequest: 2, SHA: "old", Title: "x", Started: moment(1)}
			})
			b.stepped("delivery/1", func(c *store.Commit) {
				c.Index = store.Index{Project: 1, MergeRequest: 3, SHA: "new", Title: "y", Started: moment(2)}
			})
			if got := b.titles(store.Query{SHA: "old"}); got != nil {
				b.Errorf("%v", got)
			}
			if got := b.titles(store.Query{Project: 1, MergeRequest: 2}); got != nil {
				b.Errorf("%v", got)
			}
			if d := cmp.Diff([]string{"y"}, b.titles(store.Query{SHA: "new"})); d != "" {
				b.Error(d)
			}
			if d := cmp.Diff([]string{"y"}, b.titles(store.Query{})); d != "" {
				b.Error(d)
			}
		}},
		{"a change of any one field is seen by look-ups", func(b *bench) {
			x := store.Index{Project: 1, MergeRequest: 2, SHA: "s", Started: moment(1)}
			for i, change := range []func(){
				func() {},
				func() { x.SHA = "t" },
				func() { x.MergeRequest = 3 },
				func() { x.Project = 4 },
				func() { x.Started = moment(7) },
				func() { x.Hidden = true },
				func() { x.Hidden = false },
			} {
				change()
				x.Title = fmt.Sprint(i)
				b.stepped("delivery/1", func(c *store.Commit) { c.Index = x })
				for _, q := range []store.Query{{SHA: x.SHA}, {Project: x.Project, MergeRequest: x.MergeRequest}, {Project: x.Project, WithHidden: true}} {
					if d := cmp.Diff([]string{x.Title}, b.titles(q)); d != "" {
						b.Errorf("%+v: %s", q, d)
					}
				}
				if got := b.titles(store.Query{}); (got == nil) != x.Hidden {
					b.Errorf("change %d: the list has %v", i, got)
				}
				b.checked()
			}
		}},
		{"pages show every document once", func(b *bench) {
			for i := range 23 {
				b.stepped(store.ID(fmt.Sprintf("delivery/%02d", i)), func(c *store.Commit) {
					// Three start at the same time each, so that the cursor must go by the id too.
					c.Index = store.Index{Project: 1, Title: fmt.Sprint(i), Started: moment(i / 3)}
				})
			}
			for _, q := range []store.Query{{Limit: 5}, {Limit: 5, Project: 1}, {Limit: 5, Kind: "delivery"}, {Limit: 23}, {Limit: 1}} {
				seen := map[store.ID]bool{}
				var last time.Time
				for pages := 0; ; pages++ {
					page, err := b.store.List(b.ctx, q)
					b.must(err)
					if len(page.Documents) > q.Limit || len(page.Documents) == 0 || pages > 23 {
						b.Fatalf("page %d has %d documents", pages, len(page.Documents))
					}
					for _, d := range page.Documents {
						if seen[d.ID] || (!last.IsZero() && d.Index.Started.After(last)) {
							b.Fatalf("%s is shown twice or too late", d.ID)
						}
						seen[d.ID], last = true, d.Index.Started
					}
					if q.Before = page.Next; q.Before == "" {
						break
					}
				}
				if len(seen) != 23 {
					b.Errorf("%d documents with %+v", len(seen), q)
				}
			}
		}},
		{"a list has a limit", func(b *bench) {
			for _, limit := range []int{-1, 501} {
				if _, err := b.store.List(b.ctx, store.Query{Limit: limit}); err == nil {
					b.Errorf("%d was accepted", limit)
				}
			}
			if _, err := b.store.List(b.ctx, store.Query{Before: "not a cursor"}); err == nil {
				b.Error("a cursor of somebody else was accepted")
			}
		}},
		{"a document that isn't there isn't found", func(b *bench) {
			b.deliver(event("delivery/1", ""))
			_, err := b.store.Get(b.ctx, "delivery/1")
			b.wants(err, store.ErrNotFound)
			_, err = b.store.History(b.ctx, "delivery/1")
			b.wants(err, store.ErrNotFound)
		}},
	}
}

// shelf stores five documents, a to e by their start.
func (b *bench) shelf() {
	b.Helper()
	for i, d := range []struct {
		id       store.ID
		index    store.Index
		finished bool
	}{
		{"delivery/1", store.Index{Project: 1, MergeRequest: 5, SHA: "s1", Title: "a"}, false},
		{"delivery/2", store.Index{Project: 1, MergeRequest: 5, SHA: "s2", Title: "b", Hidden: true}, false},
		{"delivery/3", store.Index{Project: 2, MergeRequest: 5, SHA: "s3", Title: "c"}, true},
		{"environment/1", store.Index{Project: 1, Title: "d"}, false},
		{"delivery/4", store.Index{Project: 256, SHA: "s2", Title: "e"}, false},
	} {
		b.stepped(d.id, func(c *store.Commit) {
			c.Index, c.Finished = d.index, d.finished
			c.Index.Started = moment(i)
		})
	}
}

func blobCases() []testCase {
	return []testCase{
		{"a blob comes back as it was, also after a crash", func(b *bench) {
			random := make([]byte, 100_000)
			_, _ = rand.Read(random)
			for _, data := range [][]byte{{}, []byte("x"), random, bytes.Repeat([]byte("kind: Deployment\n"), 10_000)} {
				ref, err := b.store.PutBlob(b.ctx, data)
				b.must(err)
				b.reopen()
				got, err := b.store.GetBlob(b.ctx, ref)
				b.must(err)
				if !bytes.Equal(got, data) {
					b.Errorf("%d bytes came back as %d others", len(data), len(got))
				}
			}
		}},
		{"the same bytes have the same name", func(b *bench) {
			one, err := b.store.PutBlob(b.ctx, []byte("same"))
			b.must(err)
			two, err := b.store.PutBlob(b.ctx, []byte("same"))
			b.must(err)
			other, err := b.store.PutBlob(b.ctx, []byte("other"))
			b.must(err)
			if one != two || one == other {
				b.Errorf("%s, %s, %s", one, two, other)
			}
		}},
		{"a blob that isn't there isn't found", func(b *bench) {
			for _, ref := range []string{"", "nonsense", "../../etc/passwd", "0000000000000000000000000000000000000000000000000000000000000000"} {
				_, err := b.store.GetBlob(b.ctx, ref)
				b.wants(err, store.ErrNotFound)
			}
		}},
		{"a fresh blob survives pruning", func(b *bench) {
			ref, err := b.store.PutBlob(b.ctx, []byte("fresh"))
			b.must(err)
			_, err = b.store.Prune(b.ctx, later())
			b.must(err)
			_, err = b.store.GetBlob(b.ctx, ref)
			b.must(err)
		}},
	}
}

func pruneCases() []testCase {
	finish := func(c *store.Commit) {
		c.Finished = true
		c.Index = store.Index{Project: 1, MergeRequest: 2, SHA: "x", Started: moment(1)}
	}
	return []testCase{
		{"history keeps its order over steps and crashes", func(b *bench) {
			var want []store.Entry
			for i := range 30 {
				b.stepped("delivery/1", func(c *store.Commit) {
					c.History = []store.Entry{
						{At: moment(60 - i), Kind: "first", Data: fmt.Appendf(nil, "%d", i)},
						{At: moment(60 - i), Kind: "second", Data: bytes.Repeat([]byte("x"), i*100)},
					}
					want = append(want, c.History...)
				})
				b.stepped("delivery/10", nil) // whose id begins with the other's
			}
			b.reopen()
			got, err := b.store.History(b.ctx, "delivery/1")
			b.must(err)
			if d := cmp.Diff(want, got, cmp.Comparer(bytes.Equal)); d != "" {
				b.Error(d)
			}
		}},
		{"pruning removes what finished before the time, with all that belongs to it", func(b *bench) {
			b.stepped("delivery/old", finish)
			b.stepped("delivery/live", nil)
			n, err := b.store.Prune(b.ctx, time.Now().Add(-time.Hour))
			b.must(err)
			if n != 0 {
				b.Errorf("%d were removed too early", n)
			}
			n, err = b.store.Prune(b.ctx, later())
			b.must(err)
			if n != 1 {
				b.Errorf("%d were removed", n)
			}
			_, err = b.store.Get(b.ctx, "delivery/old")
			b.wants(err, store.ErrNotFound)
			_, err = b.store.History(b.ctx, "delivery/old")
			b.wants(err, store.ErrNotFound)
			if got := b.titles(store.Query{SHA: "x"}); got != nil {
				b.Errorf("%v", got)
			}
			_, err = b.store.Get(b.ctx, "delivery/live")
			b.must(err)
			b.reopen()
			st, err := b.store.Stats(b.ctx)
			b.must(err)
			if st.Live != 1 || st.Finished != 0 {
				b.Errorf("%+v", st)
			}
		}},
		{"pruning spares what still has events or effects", func(b *bench) {
			b.stepped("delivery/1", finish)
			b.stepped("delivery/2", func(c *store.Commit) {
				finish(c)
				c.Effects = []store.Effect{{Key: "a", Kind: "deploy", NotBefore: later()}}
			})
			b.deliver(event("delivery/1", "late"))
			n, err := b.store.Prune(b.ctx, later())
			b.must(err)
			if n != 0 {
				b.Errorf("%d were removed", n)
			}
			s := step(b.claim("delivery/1"))
			s.Finished = true
			b.commit(s)
			n, err = b.store.Prune(b.ctx, later())
			b.must(err)
			if n != 1 {
				b.Errorf("%d were removed", n)
			}
		}},
		{"a pruned aggregate can begin anew", func(b *bench) {
			b.stepped("delivery/1", finish)
			_, err := b.store.Prune(b.ctx, later())
			b.must(err)
			b.deliver(event("delivery/1", "again"))
			c := b.claim("delivery/1")
			if c.Version != 0 || c.Data != nil {
				b.Errorf("%+v", c)
			}
			b.commit(step(c))
			h, err := b.store.History(b.ctx, "delivery/1")
			b.must(err)
			if len(h) != 1 {
				b.Errorf("%+v", h)
			}
		}},
		{"many are pruned", func(b *bench) {
			for i := range 250 {
				b.stepped(store.ID(fmt.Sprintf("delivery/%d", i)), finish)
			}
			n, err := b.store.Prune(b.ctx, later())
			b.must(err)
			if n != 250 {
				b.Errorf("%d were removed", n)
			}
		}},
	}
}
