package boltstore

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/slipway-cd/slipway/store"
)

// inBubble runs a test with a store whose time is the bubble's.
func inBubble(t *testing.T, run func(t *testing.T, s *Store, path string)) {
	path := filepath.Join(t.TempDir(), "a.db")
	synctest.Test(t, func(t *testing.T) {
		s := must[*Store](t)(Open(Options{Path: path}))
		run(t, s, path)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestDaysOfWaitingEndOnTheNanosecond(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, _ string) {
		ctx := t.Context()
		must[[]bool](t)(s.Deliver(ctx, poke("delivery/1", "")))
		step := stepOf(must[[]store.Claim](t)(s.Claim(ctx, 1))[0])
		step.Due = time.Now().Add(3*24*time.Hour + 7)
		step.Effects = []store.Effect{{Key: "a", Kind: "deploy", NotBefore: time.Now().Add(48 * time.Hour)}}
		if err := s.Commit(ctx, step); err != nil {
			t.Fatal(err)
		}
		e := must[[]store.EffectClaim](t)(s.ClaimEffects(ctx, "deploy", 1))[0]
		if !time.Now().Equal(e.NotBefore) {
			t.Errorf("the effect ran at %s instead of %s", time.Now(), e.NotBefore)
		}
		c := must[[]store.Claim](t)(s.Claim(ctx, 1))[0]
		if !c.IsDue || !time.Now().Equal(step.Due) {
			t.Errorf("it woke at %s instead of %s", time.Now(), step.Due)
		}
		check(t, s)
	})
}

func TestNobodyPollsWhileNothingIsDue(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, _ string) {
		ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Hour)
		defer cancel()
		// A store that polled would need very long for this in the bubble's time.
		if _, err := s.Claim(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestAClockThatIsSetForwardIsNoticedWithinAMinute(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	synctest.Test(t, func(t *testing.T) {
		var ahead atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		s := must[*Store](t)(Open(Options{Path: path, Now: now}))
		must[[]bool](t)(s.Deliver(t.Context(), poke("delivery/1", "")))
		step := stepOf(must[[]store.Claim](t)(s.Claim(t.Context(), 1))[0])
		step.Due = now().Add(24 * time.Hour)
		if err := s.Commit(t.Context(), step); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ahead.Store(int64(24 * time.Hour)) // as after a suspended machine
		if c := must[[]store.Claim](t)(s.Claim(t.Context(), 1))[0]; !c.IsDue || time.Since(began) > time.Minute {
			t.Errorf("after %s: %+v", time.Since(began), c)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestKeysAreForgottenAfterTheirWindowAndNotBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, path string) {
		ctx := t.Context()
		accepted := func(key string) bool {
			t.Helper()
			return must[[]bool](t)(s.Deliver(ctx, poke("delivery/1", key)))[0]
		}
		rows := func() (n int) {
			_ = s.db.View(func(tx *bolt.Tx) error {
				return bucket(tx, bucketSeen).ForEach(func(_, _ []byte) error { n++; return nil })
			})
			return n
		}
		week := 7 * 24 * time.Hour
		accepted("old")
		time.Sleep(week / 2)
		accepted("young")
		time.Sleep(week/2 - 1)
		if accepted("old") {
			t.Error("a key was forgotten within the window")
		}
		time.Sleep(time.Nanosecond)
		if !accepted("old") || accepted("young") || accepted("old") {
			t.Error("the window is wrong")
		}
		if n := rows(); n != 2 {
			t.Errorf("%d rows are kept", n)
		}
		time.Sleep(week / 2)
		accepted("third")
		if n := rows(); n != 2 {
			t.Errorf("%d rows are kept half a week later", n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		again := must[*Store](t)(Open(Options{Path: path}))
		if got := must[[]bool](t)(again.Deliver(ctx, poke("delivery/1", "old"), poke("delivery/1", "third"))); got[0] || got[1] {
			t.Errorf("%v", got)
		}
		time.Sleep(week / 2)
		if got := must[[]bool](t)(again.Deliver(ctx, poke("delivery/1", "old"), poke("delivery/1", "third"))); !got[0] || got[1] {
			t.Errorf("half a week after a restart: %v", got)
		}
		check(t, again)
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAnUnknownEffectWaitsForTheGraceAfterAnOpen(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, path string) {
		underway(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		again := must[*Store](t)(Open(Options{Path: path}))
		opened := time.Now()
		e := must[[]store.EffectClaim](t)(again.ClaimEffects(t.Context(), "deploy", 1))[0]
		if waited := time.Since(opened); waited != 2*time.Second || !e.Unknown {
			t.Errorf("after %s: %+v", waited, e)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestABlobGoesADayAfterNobodyRefersToIt(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, _ string) {
		ctx := t.Context()
		kept := must[string](t)(s.PutBlob(ctx, []byte("kept")))
		dropped := must[string](t)(s.PutBlob(ctx, []byte("dropped")))
		step := func(blobs ...string) {
			t.Helper()
			must[[]bool](t)(s.Deliver(ctx, poke("delivery/1", "")))
			c := stepOf(must[[]store.Claim](t)(s.Claim(ctx, 1))[0])
			c.Blobs, c.Due = blobs, time.Now().Add(1000*time.Hour)
			if err := s.Commit(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
		gone := func(ref string) bool {
			t.Helper()
			if _, err := s.Prune(ctx, time.Now()); err != nil {
				t.Fatal(err)
			}
			_, err := s.GetBlob(ctx, ref)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
			return err != nil
		}
		step(kept, dropped)
		time.Sleep(48 * time.Hour)
		if gone(kept) || gone(dropped) {
			t.Error("a blob went that a document refers to")
		}
		// As if the reference had come between the look for old blobs and their removal.
		key := must[[]byte](t)(blobKey(kept))
		if err := s.do(ctx, &pruning{blobs: [][]byte{key}}); err != nil || gone(kept) {
			t.Error("a blob went that a document has come to refer to")
		}
		step(kept)
		if !gone(dropped) || gone(kept) {
			t.Error("pruning took the wrong one")
		}
		fresh := must[string](t)(s.PutBlob(ctx, []byte("fresh")))
		time.Sleep(23 * time.Hour)
		must[string](t)(s.PutBlob(ctx, []byte("fresh"))) // put again: its day begins anew
		time.Sleep(23 * time.Hour)
		if gone(fresh) {
			t.Error("a blob went within its day")
		}
		time.Sleep(2 * time.Hour)
		if !gone(fresh) {
			t.Error("a blob stays that nobody refers to")
		}
		check(t, s)
	})
}

func TestBlobsThatAWaitingEventMayTellOfArePrunedAfterIt(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, _ string) {
		ctx := t.Context()
		ref := must[string](t)(s.PutBlob(ctx, []byte("a plan")))
		must[[]bool](t)(s.Deliver(ctx, store.Event{To: "delivery/1", Kind: "planned", At: time.Now()}))
		time.Sleep(3 * 24 * time.Hour) // nobody steps it: the process was not there
		must[int](t)(s.Prune(ctx, time.Now()))
		if _, err := s.GetBlob(ctx, ref); err != nil {
			t.Errorf("the event waits, and its blob: %v", err)
		}
		step := stepOf(must[[]store.Claim](t)(s.Claim(ctx, 1))[0])
		if err := s.Commit(ctx, step); err != nil {
			t.Fatal(err)
		}
		must[int](t)(s.Prune(ctx, time.Now()))
		if _, err := s.GetBlob(ctx, ref); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("nobody refers to the blob any more: %v", err)
		}
	})
}
