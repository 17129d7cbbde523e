package main

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
)

// TestACanaryThatCrashesIsStoppedLongBeforeItsFirstLook, which would come after 24 minutes: also where the process was killed
// and saw nothing of the crash.
func TestACanaryThatCrashesIsStoppedLongBeforeItsFirstLook(t *testing.T) {
	if testing.Short() {
		t.Skip("short: three whole deliveries, and a control plane")
	}
	for _, cluster := range []string{"sim", "real"} {
		t.Run(cluster, func(t *testing.T) {
			t.Parallel()
			crashLongBeforeTheFirstLook(newRigOf(t, cluster, 200*time.Millisecond, false, 2*time.Hour))
		})
	}
}

func crashLongBeforeTheFirstLook(r *rig) {
	r.start()
	_, first := r.deliver("Open the shop", "open")
	for name, crash := range map[string]func(){
		"alive":  func() { r.crashCanary() },
		"killed": func() { r.kill(); r.crashCanary(); r.start() },
	} {
		iid := r.good("A canary that crashes while it is "+name, name)
		sha := r.merge(iid)
		r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
		r.ok(r.world.AwaitNote(r.within(), iid, "5 looks are planned"))
		crash()
		r.ok(r.world.AwaitNote(r.within(), iid, "**The delivery failed**"))
		r.awaitPair("is gone", func(pair []*appsv1.Deployment) bool { return len(pair) == 0 })
		const words = "container shop exited with code 1 and was restarted"
		if note := r.note(iid); !strings.Contains(note, "canary failed, because its pods are not well") || !strings.Contains(note, words) {
			r.Errorf("the note says\n%s", note)
		}
		r.awaitMessageSays(iid, words)
		r.awaitPageSays(r.page(iid, sha), words)
		r.runs(r.prod, first)
	}
	r.checkOnce()
	r.checkDatabase()
}

// TestAQuestionEndsWhenTheCanaryCrashes: the pair stands while people are asked about a canary that is neither good nor
// bad, and nobody has to answer any more when its pods crash.
func TestAQuestionEndsWhenTheCanaryCrashes(t *testing.T) {
	if testing.Short() {
		t.Skip("short: two whole deliveries")
	}
	r := newRigOf(t, "sim", 200*time.Millisecond, false, 12*time.Second)
	r.start()
	_, first := r.deliver("Open the shop", "open")
	iid, err := r.world.Slower("Search that forgives typing errors", "search")
	r.ok(err)
	r.merge(iid)
	r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
	r.ok(r.world.AwaitNote(r.within(), iid, "The canary is neither good nor bad"))
	r.crashCanary()
	r.ok(r.world.AwaitNote(r.within(), iid, "**The delivery failed**"))
	if note := r.note(iid); !strings.Contains(note, "canary failed, because its pods are not well") {
		t.Errorf("the note says\n%s", note)
	}
	r.awaitMessageSays(iid, "canary failed, because its pods are not well")
	r.awaitNoQuestion(iid)
	r.awaitPair("is gone", func(pair []*appsv1.Deployment) bool { return len(pair) == 0 })
	r.runs(r.prod, first)
	r.checkOnce()
	r.checkDatabase()
}

// crashCanary lets the pods of the canary in production crash from now on.
func (r *rig) crashCanary() {
	r.Helper()
	deployments := r.client().AppsV1().Deployments(r.prod)
	list, err := deployments.List(r.within(), metav1.ListOptions{LabelSelector: "slipway.dev/track=canary"})
	r.ok(err)
	if len(list.Items) != 1 {
		r.Fatalf("%d Deployments of canaries are there", len(list.Items))
	}
	const crash = `[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "registry.example.com/shop:crash"}]`
	_, err = deployments.Patch(r.within(), list.Items[0].Name, types.JSONPatchType, []byte(crash), metav1.PatchOptions{})
	r.ok(err)
}
