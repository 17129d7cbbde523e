package kube_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubefault"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// guarding is a watch of a pair that is under way.
type guarding struct {
	*world
	event chan pipeline.Event
	err   chan error
	stop  context.CancelFunc
}

// guard watches a pair.
func (w *world) guard(p pipeline.Pair) *guarding {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.context())
	g := &guarding{world: w, event: make(chan pipeline.Event, 1), err: make(chan error, 1), stop: cancel}
	e, task := w.executor(), w.task("bbbb2222", pipeline.WatchPair{Stage: canaryStage, Attempt: 1, Pair: p})
	go func() {
		event, err := e.Execute(ctx, task)
		if err != nil {
			g.err <- err
			return
		}
		g.event <- event
	}()
	return g
}

// goesOn tells that the watch has ended though it should not.
func (g *guarding) goesOn(when string) {
	g.t.Helper()
	select {
	case e := <-g.event:
		g.t.Fatalf("%s: it is told that %v", when, e)
	case err := <-g.err:
		g.t.Fatalf("%s: the watch ended: %v", when, err)
	default:
	}
}

// tells waits until it is told that all pods of the canary crash.
func (g *guarding) tells() {
	g.t.Helper()
	select {
	case e := <-g.event:
		told, ok := e.(pipeline.PairUnwell)
		words := " of 2 canary pods crash"
		if !ok || told.Stage != canaryStage || told.Attempt != 1 || !strings.Contains(told.Words, words) ||
			!strings.Contains(told.Words, ": container app exited with code 1 and was restarted ") {
			g.t.Errorf("it is told that %+v", e)
		}
	case err := <-g.err:
		g.t.Fatal(err)
	case <-g.context().Done():
		g.t.Fatal("it is not told that the canary crashes")
	}
}

// canceled ends the watch, as a kill does or the end of the canary.
func (g *guarding) canceled() {
	g.t.Helper()
	g.stop()
	if err := <-g.err; !errors.Is(err, context.Canceled) {
		g.t.Errorf("it ended with %v", err)
	}
}

// runs lets a Deployment run another image, in pods that come after those before.
func (w *world) runs(name, image string) {
	w.t.Helper()
	patch := fmt.Sprintf(`{"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}, "template": {"spec": {"containers": [{"name": "app", "image": %q}]}}}}`, image)
	if _, err := w.admin.AppsV1().Deployments(w.namespace).Patch(w.t.Context(), name, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// awaitCrashes waits until all pods of a track are in a crash loop.
func (w *world) awaitCrashes(track string) {
	w.t.Helper()
	w.await("the "+track+" to crash", func() bool {
		pods := w.pods(track)
		return len(pods) == 2 && !slices.ContainsFunc(pods, func(p corev1.Pod) bool {
			return len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].RestartCount < 2
		})
	})
}

// watched waits until the watches of a pair's Deployments, ReplicaSets and pods have begun.
func (w *world) watched(faults *kubefault.Faults, before int64) {
	w.t.Helper()
	w.await("the watches", func() bool { return faults.Watches() >= before+3 })
}

// guardedPair is a pair of two pods each, and a way to the cluster that can be broken.
func (w *world) guardedPair() (pipeline.Pair, *kubefault.Faults) {
	w.t.Helper()
	faults, _ := w.breakable()
	w.canary = &pipeline.Canary{Instances: 2}
	w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
	w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
	return w.pairUp("bbbb2222", w.deliver("aaaa1111", nil)), faults
}

// TestACanaryThatCrashesIsToldAtOnce, and only if the baseline doesn't: also by the process after a kill.
func TestACanaryThatCrashesIsToldAtOnce(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		p, faults := w.guardedPair()
		before := faults.Watches()
		g := w.guard(p)
		w.watched(faults, before)
		w.runs(p.Baseline.Workloads[0], "shop:crash")
		w.awaitCrashes(deploy.TrackBaseline)
		w.runs(p.Canary.Workloads[0], "shop:crash")
		w.awaitCrashes(deploy.TrackCanary)
		g.goesOn("both crash")
		g.canceled()

		before = faults.Watches()
		g = w.guard(p)
		w.watched(faults, before)
		faults.EndWatches()
		g.goesOn("the watches have ended")
		w.runs(p.Baseline.Workloads[0], "shop:1")
		g.tells()
		w.guard(p).tells() // nobody heard, and it is done again
		w.endPair("bbbb2222")
	})
}

// TestACanaryThatCrashesWhileTheClusterIsAwayIsToldAfterwards: what can't be seen is no verdict.
func TestACanaryThatCrashesWhileTheClusterIsAwayIsToldAfterwards(t *testing.T) {
	t.Parallel()
	w := realOne(t) // where the test's own way stays whole
	p, faults := w.guardedPair()
	before := faults.Watches()
	g := w.guard(p)
	w.watched(faults, before)
	faults.SetUnreachable(true)
	w.runs(p.Canary.Workloads[0], "shop:crash")
	w.awaitCrashes(deploy.TrackCanary)
	g.goesOn("the cluster is away")
	faults.SetUnreachable(false)
	g.tells()
	w.endPair("bbbb2222")
}

// TestAPairThatIsWellCostsOnlyItsWatches: also when one of its pods is replaced.
func TestAPairThatIsWellCostsOnlyItsWatches(t *testing.T) {
	t.Parallel()
	w := realOne(t) // where only Slipway's own requests are counted
	p, faults := w.guardedPair()
	before := faults.Watches()
	g := w.guard(p)
	w.watched(faults, before)
	others := faults.Requests() - faults.Watches()
	pods := w.admin.CoreV1().Pods(w.namespace)
	if err := pods.Delete(t.Context(), w.pods(deploy.TrackCanary)[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.await("another pod", func() bool {
		return w.only(p.Canary).Status.AvailableReplicas == 2 && len(w.pods(deploy.TrackCanary)) == 2
	})
	if n := faults.Requests() - faults.Watches() - others; n != 0 {
		t.Errorf("%d requests were made", n)
	}
	g.goesOn("a pod is replaced")
	g.canceled()
	w.endPair("bbbb2222")
}

// TestAWatchThatIsRefusedIsTriedAgain: the operator, or a role, may allow it again before the canary has ended.
func TestAWatchThatIsRefusedIsTriedAgain(t *testing.T) {
	w := simulated(t)
	p, _ := w.guardedPair()
	w.target = func(context.Context) error {
		return &pipeline.Failure{Code: pipeline.ReasonNotAllowed, Permanent: true, Detail: "the operator says no"}
	}
	_, err := w.do("bbbb2222", pipeline.WatchPair{Stage: canaryStage, Attempt: 1, Pair: p})
	w.wantsLater(err, pipeline.ReasonNotAllowed, "the operator says no")
	if f, _ := pipeline.AsFailure(err); f != nil && f.After < time.Minute {
		t.Errorf("it is tried again after %s", f.After)
	}
	w.target = nil
	w.endPair("bbbb2222")
}

// TestAWatchWithoutItsRightSaysSo: the role may be mended before the canary has ended, and people read by whom.
func TestAWatchWithoutItsRightSaysSo(t *testing.T) {
	t.Parallel()
	w := realOne(t)
	p, _ := w.guardedPair()
	whole := w.options
	rules := documentedRole(t).Rules
	for i := range rules {
		rules[i].Verbs = slices.DeleteFunc(rules[i].Verbs, func(verb string) bool { return verb == "watch" })
	}
	w.options.Kubeconfig = w.real.User(t, w.namespace, rules...).Kubeconfig
	_, err := w.do("bbbb2222", pipeline.WatchPair{Stage: canaryStage, Attempt: 1, Pair: p})
	w.wantsLater(err, pipeline.ReasonForbidden, "may not watch ")
	w.options = whole
	w.endPair("bbbb2222")
}
