package main

import (
	"fmt"
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
	bad := r.failRollback(words)
	note := plain(r.note(bad))
	for _, want := range []string{"The rollback failed and it is unsure what runs in production, so look at it now", words, "before that: check shop failed"} {
		if !strings.Contains(note, want) {
			r.Errorf("the note does not say %q:\n%s", want, note)
		}
	}
	r.awaitMessageSays(bad, "the rollback failed and it is unsure what runs in production, so look at it now")

	r.world.Cluster.Faults.RefuseAdmission(r.prod, "")
	_, last := r.deliver("Take cards again", "cards-again")
	r.runs(r.prod, last)
	counted.check(r, 0)
	r.checkOnce()
	r.checkDatabase()
}

// failRollback delivers a release whose check fails, and whose rollback the cluster refuses with the words.
func (r *rig) failRollback(words string) int64 {
	r.Helper()
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
	return bad
}

// TestAFailedRollbackLeavesItUnsureWhatRuns shows it, and lets people go back to the last good release.
func TestAFailedRollbackLeavesItUnsureWhatRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.impatient()
	r.start()
	_, first := r.deliver("Open the shop", "open")
	r.failRollback("images must be signed")
	page, api := fmt.Sprintf("/environments/%d/production", r.world.Project), fmt.Sprintf("/api/environments/%d/production", r.world.Project)
	r.awaitPageSays(page, "Nobody knows what runs here, because a rollback failed half-way")
	r.awaitPageSays(api, `"release":null,"unsure":{"since":`)
	r.awaitPageSays(api, `"last_good":{"id":"`)

	r.world.Cluster.Faults.RefuseAdmission(r.prod, "")
	token := r.asPerson(r.world.Ada, "glpat-ada", "api")
	out, code := slipway(r.TB, "", "rollback", "production", "--server", "http://"+r.addr, "--project", "shop/web", "--token-file", token)
	if code != 0 {
		r.Fatalf("rollback: %d %s", code, out)
	}
	r.awaitPageSays(api, `"unsure":null`)
	r.awaitPageSays(page, "Runs now")
	r.runs(r.prod, first)
	r.checkDatabase()
}

// TestAKustomizationThatTakesAllMemoryFailsAlone: the next delivery goes on as ever.
func TestAKustomizationThatTakesAllMemoryFailsAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.start()
	_, first := r.deliver("Open the shop", "open")

	var twice strings.Builder
	for i := range 40 {
		fmt.Fprintf(&twice, "  - source: {kind: Deployment, name: shop, fieldPath: metadata}\n"+
			"    targets: [{select: {kind: Deployment}, fieldPaths: [metadata.annotations.x%d], options: {create: true}}]\n", i)
	}
	files, err := r.world.Files()
	r.ok(err)
	const staging = "deploy/staging/kustomization.yaml"
	greedy, err := r.world.Change("Copy everything", "", "copies", map[string]string{staging: files[staging] + "\nreplacements:\n" + twice.String()})
	r.ok(err)
	r.merge(greedy)
	r.ok(r.world.AwaitNote(r.within(), greedy, "**The delivery failed**"))
	if note := plain(r.note(greedy)); !strings.Contains(note, "deploy/staging: takes ") {
		r.Errorf("the note says\n%s", note)
	}
	r.runs(r.prod, first)

	mend, err := r.world.Change("Copy nothing", "", "mended", map[string]string{staging: files[staging]})
	r.ok(err)
	sha := r.merge(mend)
	r.ok(r.world.PressWhenAsked(r.within(), mend, world.SlackAda, "Approve"))
	r.ok(r.world.AwaitNote(r.within(), mend, "**Delivered**"))
	r.runs(r.prod, sha)
	r.checkOnce()
	r.checkDatabase()
}
