package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubetest"
)

// whenTheTrafficMoves does something, and returns as soon as production's Service selects another version.
func (r *rig) whenTheTrafficMoves(do func()) {
	r.Helper()
	services, ctx := r.client().CoreV1().Services(r.prod), r.within()
	service, err := services.Get(ctx, "shop", metav1.GetOptions{})
	r.ok(err)
	before := service.Spec.Selector[deploy.LabelVersion]
	watcher, err := services.Watch(ctx, metav1.ListOptions{ResourceVersion: service.ResourceVersion})
	r.ok(err)
	defer watcher.Stop()
	do()
	for event := range watcher.ResultChan() {
		s, ok := event.Object.(*corev1.Service)
		if ok && s.Name == "shop" && s.Spec.Selector[deploy.LabelVersion] != before {
			return
		}
	}
	r.Fatal("the traffic does not move")
}

// TestKilledBetweenCutoverAndRecord kills the process when the Service's selector has just moved and nothing is recorded
// of it yet: on the way forward, and on the way back.
func TestKilledBetweenCutoverAndRecord(t *testing.T) {
	eachCluster(t, func(r *rig) {
		counted := r.census()
		r.start()
		_, first := r.deliver("Open the shop", "open")

		second := r.good("Sell umbrellas", "umbrellas")
		secondSHA := r.merge(second)
		r.whenTheTrafficMoves(func() { r.ok(r.world.PressWhenAsked(r.within(), second, world.SlackAda, "Approve")) })
		r.kill()
		r.Logf("of 2 moves %d were logged before the kill", strings.Count(r.log.String(), "moved the traffic"))
		r.start()
		r.ok(r.world.AwaitNote(r.within(), second, "**Delivered**"))
		r.awaitSettled(secondSHA, map[string]string{"staging": "success", "production": "success"}, allDone)
		r.runs(r.prod, secondSHA)

		third, err := r.world.Limping("Take cards by another provider", "cards")
		r.ok(err)
		thirdSHA := r.merge(third)
		r.whenTheTrafficMoves(func() { r.ok(r.world.PressWhenAsked(r.within(), third, world.SlackAda, "Approve")) })
		r.kill()
		r.whenTheTrafficMoves(r.start)
		r.kill()
		r.start()
		r.ok(r.world.AwaitNote(r.within(), third, "**Rolled back**"))
		r.awaitSettled(thirdSHA, map[string]string{"staging": "success", "production": "failed"}, map[string]string{
			"staging": "success", "smoke": "success", "go-live": "success", "production": "skipped",
		})
		r.runs(r.prod, secondSHA)
		want := fmt.Sprint([]string{first[:7], secondSHA[:7], thirdSHA[:7], secondSHA[:7]})
		if got := counted.versions(); got != want {
			r.Errorf("the traffic went to %s, want %s", got, want)
		}
		counted.check(r, 0)
		r.checkOnce()
		r.checkJobsPlayedOnce()
		r.checkDatabase()
	})
}

// TestTheAPIServerStopsInTheMiddle of a release that comes up, for half a minute, and of one that goes back. It is not
// parallel to other tests, because their API server is the same.
func TestTheAPIServerStopsInTheMiddle(t *testing.T) {
	r := newRig(t, "real")
	r.impatient()
	counted := r.census()
	stop := func(d time.Duration) {
		r.kubetest.Pause(t)
		timer := time.NewTimer(d)
		<-timer.C
		r.kubetest.Resume(t)
	}
	r.start()
	_, first := r.deliver("Open the shop", "open")

	files, err := r.world.Edited("deploy/base/deployment.yaml", "      labels: {app: shop}\n    spec:",
		"      labels: {app: shop}\n      annotations: {"+kubetest.ReadyAfter+": 2s}\n    spec:")
	r.ok(err)
	slow, err := r.world.Change("Take a while", "", "slow", files)
	r.ok(err)
	slowSHA := r.merge(slow)
	r.ok(r.world.PressWhenAsked(r.within(), slow, world.SlackAda, "Approve"))
	r.awaitNoteSays(slow, "0 of 3 pods ready")
	stop(30 * time.Second)
	r.ok(r.world.AwaitNote(r.within(), slow, "**Delivered**"))
	r.runs(r.prod, slowSHA)

	bad, err := r.world.Limping("Take cards by another provider", "cards")
	r.ok(err)
	badSHA := r.merge(bad)
	r.whenTheTrafficMoves(func() { r.ok(r.world.PressWhenAsked(r.within(), bad, world.SlackAda, "Approve")) })
	stop(10 * time.Second)
	r.ok(r.world.AwaitNote(r.within(), bad, "**Rolled back**"))
	r.runs(r.prod, slowSHA)
	want := fmt.Sprint([]string{first[:7], slowSHA[:7], badSHA[:7], slowSHA[:7]})
	if got := counted.versions(); got != want {
		r.Errorf("the traffic went to %s, want %s", got, want)
	}
	counted.check(r, 0)
	r.checkOnce()
	r.checkDatabase()
}

// TestAStandbyIsWatchedAgainAfterARestart: nobody looks at a page, so that all watches are of what may have to move.
func TestAStandbyIsWatchedAgainAfterARestart(t *testing.T) {
	r := newRig(t, "sim")
	r.start()
	const stages = "  - name: staging\n    deploy: {environment: staging, manifests: deploy/staging, strategy: blue-green, standby: %s, " +
		"images: {registry.example.com/shop: \"${{ commit.short_sha }}\"}}\n"
	first := r.change(1, fmt.Sprintf(stages, "0s"), nil)
	r.merge(first)
	r.ok(r.world.AwaitNote(r.within(), first, "**Delivered**"))
	second := r.change(2, fmt.Sprintf(stages, "1h"), nil)
	r.merge(second)
	r.ok(r.world.AwaitNote(r.within(), second, "on standby"))

	r.kill()
	before := r.world.Cluster.Faults.Watches()
	r.start()
	deadline := time.Now().Add(patience)
	for r.world.Cluster.Faults.Watches() < before+2 {
		if time.Now().After(deadline) {
			t.Fatal("the standby isn't watched after the restart")
		}
		pause := time.NewTimer(10 * time.Millisecond)
		<-pause.C
	}
	r.checkOnce()
}
