package app

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/handlers/web"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/store"
	"gitlab.com/slipway-cd/slipway/store/boltstore"
)

// stored puts a delivery into the store, as the engine does.
func stored(t testing.TB, s store.Store, d pipeline.Delivery, hidden bool, blobs ...string) {
	t.Helper()
	if _, err := s.Deliver(t.Context(), store.Event{To: engine.Delivery(d.ID), Kind: "seed", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	claims, err := s.Claim(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	data, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	c := claims[0]
	if err := s.Commit(t.Context(), store.Commit{
		ID: c.ID, Fence: c.Fence, Version: c.Version, Data: data, Finished: true, Consumed: []uint64{c.Events[0].Seq}, Blobs: blobs,
		Index: store.Index{Status: string(d.Status), Hidden: hidden, Started: time.Now()},
	}); err != nil {
		t.Fatal(err)
	}
}

func TestTheLogOfAKubernetesJobIsReadFromTheStore(t *testing.T) {
	s, err := boltstore.Open(boltstore.Options{Path: filepath.Join(t.TempDir(), "slipway.db"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	ref, err := s.PutBlob(t.Context(), []byte("ALTER TABLE carts\n"))
	if err != nil {
		t.Fatal(err)
	}
	d := pipeline.Delivery{Schema: pipeline.DeliverySchema, ID: "7-12-3f2a91c0", Status: pipeline.StatusFailed, Stages: []pipeline.StageState{
		{Name: "migrate", Ran: &pipeline.Ran{Job: "migrate-3f2a91c", Log: ref}},
		{Name: "seed", Ran: &pipeline.Ran{Job: "seed-3f2a91c"}},
		{Name: "lost", Ran: &pipeline.Ran{Job: "lost-3f2a91c", Log: "blob-that-is-gone"}},
		{Name: "production"},
	}}
	stored(t, s, d, false, ref)
	hidden := d
	hidden.ID = "7-13-3f2a91c0"
	stored(t, s, hidden, true, ref)
	pages := &source{store: s, changes: newChanges()}
	if text, err := pages.Log(t.Context(), d.ID, "migrate"); err != nil || text != "ALTER TABLE carts\n" {
		t.Errorf("got %q, %v", text, err)
	}
	for _, c := range []struct{ id, stage string }{
		{d.ID, "seed"}, {d.ID, "lost"}, {d.ID, "production"}, {d.ID, "nothing"}, {"7-99-3f2a91c0", "migrate"}, {hidden.ID, "migrate"},
	} {
		if text, err := pages.Log(t.Context(), c.id, c.stage); !errors.Is(err, web.ErrNotFound) || text != "" {
			t.Errorf("%s of %s: got %q, %v", c.stage, c.id, text, err)
		}
	}
}
