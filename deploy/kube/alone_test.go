package kube_test

import (
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// applyAfter applies a commit where a release runs, and tells whether nothing has to be retired.
func (w *world) applyAfter(sha string, before *pipeline.Release) pipeline.Applied {
	w.t.Helper()
	task := w.task(sha, pipeline.Apply{Stage: stageName, Attempt: 1, ReleaseID: "7-1-" + sha + "/" + stageName + "/1"})
	task.Delivery.Stages[0].Previous = before
	event, err := w.executor().Execute(w.context(), task)
	if err != nil {
		w.t.Fatalf("apply %s: %v", sha, err)
	}
	return event.(pipeline.Applied)
}

// TestAReleaseSaysWhetherSomethingIsLeftBesideIt: what says that nothing is left is never retired, so each way in which
// something may be left counts.
func TestAReleaseSaysWhetherSomethingIsLeftBesideIt(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", service+configMap("settings", "one")+configMap("extra", "one")+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", service+configMap("settings", "two")+configMap("extra", "two")+deployment("shop:2", 1, ""))
		w.commit("cccc3333", service+configMap("settings", "three")+deployment("shop:3", 1, ""))
		w.commit("dddd4444", configMap("settings", "four")+deployment("shop:4", 1, ""))
		want := func(what string, alone bool, a pipeline.Applied) *pipeline.Release {
			t.Helper()
			if a.Alone != alone {
				t.Errorf("%s: alone is %v, want %v", what, a.Alone, alone)
			}
			if _, err := w.observe(w.context(), a.Release); err != nil {
				t.Fatalf("%s: observe: %v", what, err)
			}
			return &a.Release
		}
		one := want("the first one", true, w.applyAfter("aaaa1111", nil))
		two := want("another with the same objects", true, w.applyAfter("bbbb2222", one))
		three := want("one without an object of the one before", false, w.applyAfter("cccc3333", two))
		w.retire(*three, two)
		w.wantGone("extra")
		w.deploy.Prune = pipeline.PruneNothing
		three = want("one that prunes nothing", true, w.applyAfter("cccc3333", two))
		w.deploy.Prune = ""

		w.deploy.Strategy = pipeline.StrategyBlueGreen
		want("a blue-green one", false, w.applyAfter("cccc3333", three))
		w.deploy.Strategy = pipeline.StrategyRolling
		want("one beside blue-green Deployments without traffic, of which nobody knows", false, w.applyAfter("cccc3333", three))
		w.deploy.Strategy = pipeline.StrategyBlueGreen
		green := want("a blue-green one that gets the traffic", false, w.applyAfter("cccc3333", three))
		w.switchTo(*green, three)
		w.retire(*green, three)
		w.deploy.Strategy = pipeline.StrategyRolling
		rolling := want("one after a blue-green one", false, w.applyAfter("bbbb2222", green))
		want("one whose Service is still held", false, w.applyAfter("bbbb2222", three))
		w.retire(*rolling, green)
		want("one after all is retired", true, w.applyAfter("bbbb2222", rolling))

		w.deploy.Strategy = pipeline.StrategyBlueGreen
		want("a blue-green one again", false, w.applyAfter("cccc3333", rolling))
		w.deploy.Strategy, w.deploy.Prune = pipeline.StrategyRolling, pipeline.PruneNothing
		want("one without a Service beside blue-green Deployments", false, w.applyAfter("dddd4444", rolling))
	})
}
