package boltstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"gitlab.com/slipway-cd/slipway/store"
)

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
