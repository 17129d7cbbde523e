package main

import (
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
)

// TestTheClusterRefusesInTheMiddle tells people the cluster's words, before anything is changed and at a rollback.
func TestTheClusterRefusesInTheMiddle(t *testing.T) {
	t.Parallel()
	const words = "images must be signed"
	r := newRig(t, "sim")
	r.impatient()
	counted := r.census()
	r.start()
	_, first := r.deliver("Open the shop", "open")

	r.world.Cluster.Faults.RefuseAdmission(r.prod, words)
	refused := r.good("Sell umbrellas", "umbrellas")
	sha := r.merge(refused)
	r.ok(r.world.PressWhenAsked(r.within(), refused, world.SlackAda, "Approve"))
	r.ok(r.world.AwaitNote(r.within(), refused, "**The delivery failed**"))
	if note := plain(r.note(refused)); !strings.Contains(note, words) || strings.Contains(note, "rolled back") {
		r.Errorf("the note says\n%s", note)
	}
	r.awaitMessageSays(refused, words)
	r.awaitSettled(sha, map[string]string{"staging": "success", "production": "failed"}, map[string]string{
		"staging": "success", "smoke": "success", "go-live": "success", "production": "skipped",
	})
	r.runs(r.prod, first)

	r.world.Cluster.Faults.RefuseAdmission(r.prod, "")
	bad, err := r.world.Limping("Take cards by another provider", "cards")
	r.ok(err)
	r.merge(bad)
	r.ok(r.world.PressWhenAsked(r.within(), bad, world.SlackAda, "Approve"))
	ctx := r.within()
	for strings.Count(r.log.String(), "moved the traffic") < 2 { // which is recorded then, and checked twice
		wait := time.NewTimer(5 * time.Millisecond)
		select {
		case <-ctx.Done():
			r.Fatal("the traffic does not move")
		case <-wait.C:
		}
	}
	r.world.Cluster.Faults.RefuseAdmission(r.prod, words)
	r.ok(r.world.AwaitNote(r.within(), bad, "**The delivery failed**"))
	note := plain(r.note(bad))
	for _, want := range []string{"The rollback failed, so look at production now", words, "before that: check shop failed"} {
		if !strings.Contains(note, want) {
			r.Errorf("the note does not say %q:\n%s", want, note)
		}
	}
	r.awaitMessageSays(bad, "the rollback failed, so look at production now")

	r.world.Cluster.Faults.RefuseAdmission(r.prod, "")
	_, last := r.deliver("Take cards again", "cards-again")
	r.runs(r.prod, last)
	counted.check(r, 0)
	r.checkOnce()
	r.checkDatabase()
}
