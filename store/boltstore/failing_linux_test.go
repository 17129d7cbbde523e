package boltstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/slipway-cd/slipway/store"
)

func openTest(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(Options{Path: path, UnknownGrace: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func check(t testing.TB, s *Store) {
	t.Helper()
	problems, err := s.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.ID, p.What)
	}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// fillDisk lets every write to an open file fail as on a full disk, until the
// function it gives is called.
func fillDisk(t *testing.T, path string) (makeRoom func()) {
	t.Helper()
	fd := -1
	entries := must[[]os.DirEntry](t)(os.ReadDir("/proc/self/fd"))
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && to == path {
			if _, err := fmt.Sscan(e.Name(), &fd); err != nil {
				t.Fatal(err)
			}
		}
	}
	saved := must[int](t)(syscall.Dup(fd))
	full := must[int](t)(syscall.Open("/dev/full", syscall.O_RDWR, 0))
	swap := func(from int) {
		if err := syscall.Dup3(from, fd, syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	swap(full)
	return func() {
		swap(saved)
		_, _ = syscall.Close(saved), syscall.Close(full)
	}
}

func poke(to store.ID, key string) store.Event {
	return store.Event{To: to, Kind: "poke", Key: key, At: time.Unix(1e9, 0).UTC()}
}

func stepOf(c store.Claim) store.Commit {
	s := store.Commit{ID: c.ID, Fence: c.Fence, Version: c.Version, Due: time.Now().Add(time.Hour)}
	for _, e := range c.Events {
		s.Consumed = append(s.Consumed, e.Seq)
	}
	return s
}

// underway is a store in which every kind of write has something to do.
func underway(t *testing.T, s *Store) (store.Claim, store.EffectClaim) {
	t.Helper()
	ctx := t.Context()
	must[[]bool](t)(s.Deliver(ctx, poke("delivery/1", "first")))
	commit := stepOf(must[[]store.Claim](t)(s.Claim(ctx, 1))[0])
	commit.Effects = []store.Effect{{Key: "a", Kind: "deploy"}, {Key: "b", Kind: "note"}}
	if err := s.Commit(ctx, commit); err != nil {
		t.Fatal(err)
	}
	effect := must[[]store.EffectClaim](t)(s.ClaimEffects(ctx, "deploy", 1))[0]
	must[[]bool](t)(s.Deliver(ctx, poke("delivery/1", "second")))
	return must[[]store.Claim](t)(s.Claim(ctx, 1))[0], effect
}

func TestAFullDiskLosesNothingAndTheStoreWorksAgainWhenThereIsRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	s := openTest(t, path)
	ctx := t.Context()
	claim, effect := underway(t, s)
	settle := store.Settlement{Of: effect.Of, Key: effect.Key, Fence: effect.Fence, Outcome: &store.Event{Kind: "done"}}
	commit := stepOf(claim)
	commit.Messages = []store.Event{poke("environment/1", "want")}

	// In this order, each can only succeed once the one before has.
	writes := []struct {
		name string
		do   func() error
	}{
		{"deliver", func() error { _, err := s.Deliver(ctx, poke("delivery/2", "third")); return err }},
		{"put a blob", func() error { _, err := s.PutBlob(ctx, []byte("blob")); return err }},
		{"commit", func() error { return s.Commit(ctx, commit) }},
		{"claim effects", func() error { _, err := s.ClaimEffects(ctx, "note", 1); return err }},
		{"settle", func() error { return s.Settle(ctx, settle) }},
	}
	makeRoom := fillDisk(t, path)
	for _, w := range writes {
		if err := w.do(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s with a full disk: %v", w.name, err)
		}
	}
	if d := must[store.Document](t)(s.Get(ctx, "delivery/1")); d.Version != 1 {
		t.Errorf("version %d", d.Version)
	}
	makeRoom()
	check(t, s)
	for _, w := range writes {
		if err := w.do(); err != nil {
			t.Errorf("%s with room again: %v", w.name, err)
		}
	}
	check(t, s)
	got := map[store.ID]int{}
	for range 3 {
		c := must[[]store.Claim](t)(s.Claim(ctx, 1))[0]
		got[c.ID] += len(c.Events)
		if err := s.Commit(ctx, stepOf(c)); err != nil {
			t.Error(err)
		}
	}
	if got["delivery/1"] != 1 || got["delivery/2"] != 1 || got["environment/1"] != 1 {
		t.Errorf("events: %v", got)
	}
}

func TestAWriteThatFailsAfterItWasWrittenIsFollowed(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "a.db"))
	ctx := t.Context()
	claim, effect := underway(t, s)
	torn := errors.New("the sync failed")
	s.commit = func(tx *bolt.Tx) error { return errors.Join(tx.Commit(), torn) }
	settle := store.Settlement{Of: effect.Of, Key: effect.Key, Fence: effect.Fence, Outcome: &store.Event{Kind: "done"}}

	_, err := s.Deliver(ctx, poke("delivery/2", "third"))
	_, err2 := s.ClaimEffects(ctx, "note", 1)
	for _, err := range []error{err, err2, s.Commit(ctx, stepOf(claim)), s.Settle(ctx, settle)} {
		if !errors.Is(err, torn) {
			t.Errorf("the caller hears %v", err)
		}
	}
	s.commit = (*bolt.Tx).Commit
	check(t, s)
	if got := must[[]bool](t)(s.Deliver(ctx, poke("delivery/2", "third"))); got[0] {
		t.Error("the event is there twice")
	}
	if err := s.Commit(ctx, stepOf(claim)); !errors.Is(err, store.ErrFenced) {
		t.Errorf("the step again: %v", err)
	}
	if err := s.Settle(ctx, settle); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the settlement again: %v", err)
	}
	if c := must[[]store.EffectClaim](t)(s.ClaimEffects(ctx, "note", 1))[0]; !c.Unknown || c.Attempt != 2 {
		t.Errorf("an effect whose start may be on the disk: %+v", c)
	}
	check(t, s)
}
