package main

import (
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
)

// TestKilledInEachPhaseOfACanary kills the process while a pair is made, while it is judged, and while it is removed, of a
// canary that is good and of one that is bad. Each ends as if nothing had happened, and nothing of a pair is left.
func TestKilledInEachPhaseOfACanary(t *testing.T) {
	if testing.Short() {
		t.Skip("short: three whole deliveries")
	}
	r := newRigOf(t, "sim", 200*time.Millisecond, false, 12*time.Second)
	r.start()
	_, first := r.deliver("Open the shop", "open")
	for _, c := range []struct {
		name, end string
		open      func(title, branch string) (int64, error)
		goesOn    bool
	}{
		{"bad", "canary failed", r.world.Worse, false},
		{"good", "**Delivered**", r.world.Good, true},
	} {
		iid, err := c.open("A "+c.name+" canary", c.name)
		r.ok(err)
		sha := r.merge(iid)
		r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))

		r.awaitPair("is being made", func(tracks int) bool { return tracks > 0 })
		r.kill()
		r.start()
		r.ok(r.world.AwaitNote(r.within(), iid, "look 1 of"))
		r.kill()
		r.start()
		r.awaitPair("is being removed", func(tracks int) bool { return tracks < 2 })
		r.kill()
		r.start()

		r.ok(r.world.AwaitNote(r.within(), iid, c.end))
		r.ok(r.world.AwaitNote(r.within(), iid, "![Samples of the canary and its baseline](/uploads/"))
		r.awaitPair("is gone", func(tracks int) bool { return tracks == 0 })
		if c.goesOn {
			r.runsTested(r.prod, sha)
		} else {
			r.runs(r.prod, first)
		}
	}
	r.checkOnce()
	r.checkDatabase()
}

// awaitPair waits until as many of the Deployments of a pair are in production as wanted.
func (r *rig) awaitPair(what string, wanted func(tracks int) bool) {
	r.Helper()
	changed, stop := r.world.Cluster.Subscribe()
	defer stop()
	ctx := r.within()
	for {
		tracks := 0
		for _, ns := range r.world.Cluster.Snapshot().Namespaces {
			for _, wl := range ns.Workloads {
				if ns.Name == r.prod && (strings.Contains(wl.Name, "-baseline-") || strings.Contains(wl.Name, "-canary-")) {
					tracks++
				}
			}
		}
		if wanted(tracks) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			r.Fatalf("the pair never %s: %d of its Deployments are there", what, tracks)
		}
	}
}
