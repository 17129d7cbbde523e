package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/store"
	"gitlab.com/slipway-cd/slipway/store/boltstore"
)

// hookBody is as large and as varied as a merge request hook.
func hookBody(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for len(b) < size {
		b = fmt.Appendf(b, `"%s_%d":{"id":%d,"url":"https://gitlab.example.com/group/project/-/merge_requests/%d"},`,
			[]string{"author", "assignee", "labels", "target", "source"}[r.IntN(5)], r.IntN(100), r.Uint32(), r.IntN(5000))
	}
	return b[:size]
}

// BenchmarkDeliver is the intake: one event of 3 KB per call, durable.
func BenchmarkDeliver(b *testing.B) {
	body := hookBody(3000)
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := open(b, boltstore.Options{Path: filepath.Join(b.TempDir(), "bench.db")})
			defer closeStore(b, s)
			var n atomic.Int64
			measure(b, callers, func() error {
				i := n.Add(1)
				_, err := s.Deliver(b.Context(), store.Event{
					To: store.ID(fmt.Sprintf("delivery/%d", i%500)), Kind: "merged", Data: body,
					Key: fmt.Sprintf("5f0c2a1e-7b44-4c11-%d", i), At: time.Now(),
				})
				return err
			})
		})
	}
}

// BenchmarkDeliverDuringBackup is the intake while copies of some 150 MB are written.
func BenchmarkDeliverDuringBackup(b *testing.B) {
	s := open(b, boltstore.Options{Path: filepath.Join(b.TempDir(), "bench.db")})
	defer closeStore(b, s)
	body := hookBody(3000)
	sleepers(b, s, 40_000, body, func(int) time.Time { return time.Now().Add(time.Hour) })
	ctx, cancel := context.WithCancel(b.Context())
	var copies atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			f, err := os.Create(filepath.Join(b.TempDir(), "copy.db"))
			if err != nil {
				b.Error(err)
				return
			}
			if s.Backup(ctx, f) == nil {
				copies.Add(1)
			}
			_ = f.Close()
		}
	})
	var n atomic.Int64
	measure(b, 64, func() error {
		i := n.Add(1)
		_, err := s.Deliver(b.Context(), store.Event{To: "delivery/1", Kind: "merged", Data: body, Key: fmt.Sprint(i), At: time.Now()})
		return err
	})
	cancel()
	wg.Wait()
	b.ReportMetric(float64(copies.Load()), "backups")
}

// BenchmarkStep is a whole step: claim, then commit a document of 1.5 KB with two
// effects, a history entry and a message to itself that makes the next step.
func BenchmarkStep(b *testing.B) {
	const callers = 64
	doc, body := hookBody(1500), hookBody(200)
	s := open(b, boltstore.Options{Path: filepath.Join(b.TempDir(), "bench.db")})
	defer closeStore(b, s)
	for i := range 4 * callers {
		deliver(b, s, store.Event{To: store.ID(fmt.Sprintf("delivery/%d", i)), Kind: "go"})
	}
	var n atomic.Int64
	measure(b, callers, func() error {
		claims, err := s.Claim(b.Context(), 1)
		if err != nil {
			return err
		}
		c := claims[0]
		i := n.Add(1)
		return s.Commit(b.Context(), store.Commit{
			ID: c.ID, Fence: c.Fence, Version: c.Version, Data: doc, Due: time.Now().Add(time.Hour),
			Index:    store.Index{Project: 1, MergeRequest: i % 50, SHA: "3f2a91c0", Started: time.Unix(1e9, 0)},
			Consumed: []uint64{c.Events[0].Seq}, History: []store.Entry{{At: time.Now(), Kind: "go", Data: body}},
			Messages: []store.Event{{To: c.ID, Kind: "go", At: time.Now(), Data: body}},
			Effects: []store.Effect{
				{Key: fmt.Sprintf("a/%d", i), Kind: "deploy", Data: body},
				{Key: fmt.Sprintf("note/%d", i), Kind: "note", Slot: "note", Latest: true, Data: body},
			},
			Withdraw: []string{fmt.Sprintf("a/%d", i-1000)},
		})
	})
}

func deliver(tb testing.TB, s *boltstore.Store, events ...store.Event) {
	tb.Helper()
	if _, err := s.Deliver(tb.Context(), events...); err != nil {
		tb.Fatal(err)
	}
}

// measure calls do from so many goroutines, and reports calls a second and how long one took.
func measure(b *testing.B, callers int, do func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	took := make([][]time.Duration, callers)
	var wg sync.WaitGroup
	b.ResetTimer()
	for i := range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				began := time.Now()
				if err := do(); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}

// sleepers fills a store with live aggregates whose due times spread over a span.
func sleepers(tb testing.TB, s *boltstore.Store, n int, doc []byte, due func(i int) time.Time) {
	tb.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		var batch []store.Event
		for i := range n {
			batch = append(batch, store.Event{To: store.ID(fmt.Sprintf("delivery/%d-%d-3f2a91c0", i%300, i)), Kind: "go"})
			if len(batch) == 500 || i == n-1 {
				deliver(tb, s, batch...)
				batch = nil
			}
		}
	})
	var done atomic.Int64
	for range 64 {
		wg.Go(func() {
			for {
				i := done.Add(1)
				if i > int64(n) {
					return
				}
				claims, err := s.Claim(tb.Context(), 1)
				if err != nil {
					tb.Error(err)
					return
				}
				c := claims[0]
				if err := s.Commit(tb.Context(), store.Commit{
					ID: c.ID, Fence: c.Fence, Version: c.Version, Data: doc, Due: due(int(i)),
					Index:    store.Index{Project: i % 300, MergeRequest: i, SHA: fmt.Sprintf("%040d", i), Started: time.Now()},
					Consumed: []uint64{c.Events[0].Seq}, History: []store.Entry{{Kind: "go"}},
				}); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkSleepers has 100,000 sleeping aggregates: what each costs in memory, how
// long the file takes to open, and how late due times are.
func BenchmarkSleepers(b *testing.B) {
	const n = 100_000
	path := filepath.Join(b.TempDir(), "bench.db")
	s := open(b, boltstore.Options{Path: path})
	began := time.Now()
	sleepers(b, s, n, hookBody(1500), func(i int) time.Time { return began.Add(time.Hour + time.Duration(i)*time.Millisecond) })
	closeStore(b, s)
	for b.Loop() {
		before := heap()
		began = time.Now()
		s = open(b, boltstore.Options{Path: path})
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "open-ms")
		b.ReportMetric(float64(heap()-before)/n, "heap-B/sleeper")
		began = time.Now()
		if p, err := s.Check(b.Context()); err != nil || len(p) > 0 {
			b.Fatal(p, err)
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "check-ms")
		b.ReportMetric(lateness(b, s).Seconds()*1000, "late-p99-ms")
		closeStore(b, s)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// lateness lets 2,000 of the sleepers come due within a second, while the others sleep.
func lateness(b *testing.B, s *boltstore.Store) time.Duration {
	const n = 2000
	var late []time.Duration
	var mu sync.Mutex
	began := time.Now().Add(700 * time.Millisecond)
	sleepers(b, s, n, hookBody(1500), func(i int) time.Time { return began.Add(time.Duration(i) * time.Second / n) })
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(b.Context())
	for range 8 {
		wg.Go(func() {
			for {
				claims, err := s.Claim(ctx, 16)
				if errors.Is(err, context.Canceled) {
					return
				}
				now := time.Now()
				mu.Lock()
				for _, c := range claims {
					if c.IsDue {
						late = append(late, now.Sub(c.Due))
					}
				}
				if len(late) == n {
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	cancel()
	slices.Sort(late)
	return late[len(late)*99/100]
}
