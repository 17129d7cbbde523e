package app

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/store"
	"gitlab.com/slipway-cd/slipway/store/boltstore"
)

// told is an attender that tells what it is asked for.
type told chan string

func (c told) Attend(_ context.Context, project pipeline.Project, environment string) error {
	c <- fmt.Sprintf("attend %d/%s", project.ID, environment)
	return nil
}

func (c told) Leave(project int64, environment string) {
	c <- fmt.Sprintf("leave %d/%s", project, environment)
}

// storeEnvironment puts an environment into the store, as the engine does.
func storeEnvironment(t *testing.T, s store.Store, env pipeline.Environment) {
	t.Helper()
	env.Schema, env.ID = pipeline.EnvironmentSchema, pipeline.EnvironmentID(env.Project, env.Name)
	if _, err := s.Deliver(t.Context(), store.Event{To: engine.Environment(env.ID), Kind: "seed", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	claims, err := s.Claim(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	data, err := env.Encode()
	if err != nil {
		t.Fatal(err)
	}
	c := claims[0]
	if err := s.Commit(t.Context(), store.Commit{
		ID: c.ID, Fence: c.Fence, Version: c.Version, Data: data, Due: time.Now().Add(time.Hour), Consumed: []uint64{c.Events[0].Seq},
		Index: store.Index{Project: env.Project, Title: env.Name, Started: time.Now()},
	}); err != nil {
		t.Fatal(err)
	}
}

func TestAnEnvironmentIsWatchedWhileItsTrafficMayMove(t *testing.T) {
	s, err := boltstore.Open(boltstore.Options{Path: filepath.Join(t.TempDir(), "slipway.db"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	const name = "production/eu"
	holder := &pipeline.Claim{Delivery: "42-7-3f2a91c0", Stage: "production"}
	as := func(holder *pipeline.Claim, version string) pipeline.Environment {
		return pipeline.Environment{Project: 42, Name: name, Holder: holder, Releases: []pipeline.Release{{ID: "r1", Version: version}}}
	}
	storeEnvironment(t, s, as(holder, "3f2a91c-12345"))

	where := &environments{cfg: &config.Config{}, store: s, projects: map[int64]pipeline.Project{42: {ID: 42, Path: "shop/web"}}}
	asked := make(told)
	a := newAttendance(asked, where, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.run(ctx) }()
	want := func(what string) {
		t.Helper()
		select {
		case got := <-asked:
			if got != what {
				t.Fatalf("asked to %s, want to %s", got, what)
			}
		case <-time.After(time.Minute):
			t.Fatalf("nobody asked to %s", what)
		}
	}
	want("attend 42/" + name) // as it is at the start
	for _, step := range []struct {
		env  pipeline.Environment
		want string
	}{
		{as(nil, "3f2a91c-12345"), "leave 42/" + name},
		{as(holder, "3f2a91c-12345"), "attend 42/" + name},
		{as(holder, ""), "leave 42/" + name}, // nothing of a rolling release can take traffic back at once
	} {
		storeEnvironment(t, s, step.env)
		a.hear(pipeline.EnvironmentID(42, name))
		want(step.want)
	}
	a.hear("nonsense")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
