package boltstore

import (
	"testing"
	"time"

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
