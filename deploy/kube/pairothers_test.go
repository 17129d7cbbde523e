package kube_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// counted are the Deployments whose pods a label selector selects, as an autoscaler and a disruption budget count them.
func (w *world) counted(selector string) map[string]int {
	w.t.Helper()
	list, err := w.admin.CoreV1().Pods(w.namespace).List(w.t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		w.t.Fatal(err)
	}
	counts := map[string]int{}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			track := p.Labels[deploy.LabelTrack]
			counts[track]++
		}
	}
	return counts
}

// TestAutoscalersAndBudgetsKnowThePair: those of a blue-green release don't count it. Those of a rolling one do, because its
// Deployment's selector is what it always was; its size is left alone, and the budget holds.
func TestAutoscalersAndBudgetsKnowThePair(t *testing.T) {
	for _, strategy := range bothStrategies {
		t.Run(string(strategy), func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.deploy.Strategy = strategy
				w.canary = &pipeline.Canary{Instances: 1}
				w.commit("aaaa1111", service+deployment("shop:1", 2, "")+autoscaler+budget)
				w.commit("bbbb2222", service+deployment("shop:2", 2, "")+autoscaler+budget)
				one := w.deliver("aaaa1111", nil)
				stable := w.deployments()[0]
				budgets := w.admin.PolicyV1().PodDisruptionBudgets(w.namespace)
				before, err := budgets.Get(t.Context(), "shop", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				w.pairUp("bbbb2222", one)
				want := fmt.Sprint(map[string]int{"": 2})
				expected := int32(2)
				if strategy == pipeline.StrategyRolling {
					want, expected = fmt.Sprint(map[string]int{"": 2, "baseline": 1, "canary": 1}), 4
				}
				scale, err := w.admin.AppsV1().Deployments(w.namespace).GetScale(t.Context(), stable, metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprint(w.counted(scale.Status.Selector)); got != want || scale.Spec.Replicas != 2 || w.scaleTarget() != stable {
					t.Errorf("the autoscaler counts %s of %d by %q", got, scale.Spec.Replicas, scale.Status.Selector)
				}
				live, err := budgets.Get(t.Context(), "shop", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprint(w.counted(metav1.FormatLabelSelector(live.Spec.Selector))); got != want || live.Generation != before.Generation {
					t.Errorf("the budget counts %s by %v", got, live.Spec.Selector)
				}
				if w.real != nil { // whose controller says what it counts
					w.await(fmt.Sprintf("the budget to expect %d pods", expected), func() bool {
						live, err = budgets.Get(t.Context(), "shop", metav1.GetOptions{})
						return err == nil && live.Status.ExpectedPods == expected
					})
				}
				w.endPair("bbbb2222")
				if n := *w.deploymentNamed(stable).Spec.Replicas; n != 2 {
					t.Errorf("it has %d replicas", n)
				}
			})
		})
	}
}

// TestAReleaseOfAnOlderSlipwayTakesAPair: its Deployments' selectors are not the new ones, and stay as they are.
func TestAReleaseOfAnOlderSlipwayTakesAPair(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.deploy.Strategy = pipeline.StrategyBlueGreen
		w.commit("aaaa1111", service+deployment("shop:1", 1, "")+budget)
		w.commit("bbbb2222", service+deployment("shop:2", 1, "")+budget)
		one := w.deliver("aaaa1111", nil)
		older := one
		older.Version, older.Apart = "aaaa111-00000", false
		w.restore("aaaa1111", &older, &one)
		if _, err := w.observe(w.context(), older); err != nil {
			t.Fatal(err)
		}
		w.switchTo(older, &one)
		w.retire(older, &one)
		w.wantDeployments("shop-aaaa111-00000")
		if s := w.deploymentNamed("shop-aaaa111-00000").Spec.Selector; len(s.MatchExpressions) > 0 {
			t.Fatalf("its selector is %v", s)
		}
		clients := w.clients()
		w.canary = &pipeline.Canary{Instances: 1}
		p := w.pairUp("bbbb2222", older)
		w.wantEqual(p, 1)
		w.awaitEndpoints("shop", map[string]int{"shop-aaaa111-00000": 1, p.Baseline.Workloads[0]: 1, p.Canary.Workloads[0]: 1})
		w.endPair("bbbb2222")
		clients.always(t, "shop-aaaa111-00000")

		// And the next delivery is one with the new selectors, from which it can go back.
		two := w.release("bbbb2222")
		w.switchTo(two, &older)
		w.restore("bbbb2222", &older, &two)
		w.retire(older, &two)
		w.wantDeployments("shop-aaaa111-00000")
		two = w.deliver("bbbb2222", &older)
		if s := w.deploymentNamed(versionedDeployment(two)).Spec.Selector; len(s.MatchExpressions) != 1 {
			t.Errorf("the selector is %v", s)
		}
	})
}

// TestWhatMovesTrafficLeavesAPairAlone: another release comes up beside it, gets the traffic, and gives it back.
func TestWhatMovesTrafficLeavesAPairAlone(t *testing.T) {
	for _, strategy := range bothStrategies {
		t.Run("beside "+string(strategy), func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.deploy.Strategy = strategy
				w.canary = &pipeline.Canary{Instances: 1}
				w.commit("aaaa1111", service+deployment("shop:1", 1, "")+budget)
				w.commit("bbbb2222", service+deployment("shop:2", 1, "")+budget)
				one := w.deliver("aaaa1111", nil)
				p := w.pairUp("bbbb2222", one)
				w.deploy.Strategy = pipeline.StrategyBlueGreen
				two := w.release("bbbb2222")
				w.switchTo(two, &one)
				w.restore("bbbb2222", &one, &two)
				w.wantEqual(p, 1)
				w.endPair("bbbb2222")
				w.retire(one, &two)
				if n := len(w.deployments()); n != 1 {
					t.Errorf("left are %q", w.deployments())
				}
				if b, err := w.admin.PolicyV1().PodDisruptionBudgets(w.namespace).Get(t.Context(), "shop", metav1.GetOptions{}); err != nil ||
					(len(b.Spec.Selector.MatchExpressions) > 0) != (strategy == pipeline.StrategyBlueGreen) {
					t.Errorf("the budget selects by %v: %v", b.Spec.Selector, err)
				}
			})
		})
	}
}

// TestTheTreeShowsTheTracks: also the pods below them.
func TestTheTreeShowsTheTracks(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.canary = &pipeline.Canary{Instances: 1}
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
		one := w.deliver("aaaa1111", nil)
		p := w.pairUp("bbbb2222", one)
		n := w.connection().Namespace(w.namespace)
		tree := w.treeUntil(n, one, "all pods", func(tree deploy.Tree) bool { return tree.Health == deploy.Healthy && tree.Words == "3 of 3 pods ready" })
		tracks := map[string]string{}
		tree.Each(func(n *deploy.Node) {
			if n.Kind == "Deployment" || n.Kind == "Pod" {
				tracks[n.Kind+" "+n.Track] = n.Version + " " + n.Commit
			}
		})
		want := map[string]string{
			"Deployment ": " aaaa1111", "Pod ": " aaaa1111",
			"Deployment baseline": p.Baseline.Version + " aaaa1111", "Pod baseline": p.Baseline.Version + " aaaa1111",
			"Deployment canary": p.Canary.Version + " bbbb2222", "Pod canary": p.Canary.Version + " bbbb2222",
		}
		if fmt.Sprint(tracks) != fmt.Sprint(want) {
			t.Errorf("the tracks are %v, want %v\n%s", tracks, want, drawn(tree))
		}
		if found, err := deploy.Drift(w.context(), n, w.namespace, w.recorded(one), w.owner(one)); err != nil || len(found) > 0 {
			t.Errorf("it drifted: %v %v", found, err)
		}
		if got := w.preview("aaaa1111", ""); got != "" {
			t.Errorf("what serves would be changed to what it is:\n%s", got)
		}
		w.endPair("bbbb2222")
	})
}

// TestTheBaselineRunsWhatServes: also if its tag was moved since, where the cluster tells which digest runs.
func TestTheBaselineRunsWhatServes(t *testing.T) {
	w := simulated(t)
	w.canary = &pipeline.Canary{Instances: 1}
	w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
	w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
	one := w.deliver("aaaa1111", nil)
	list, err := w.admin.CoreV1().Pods(w.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	runs := list.Items[0].Status.ContainerStatuses[0].ImageID // shop@sha256:…
	p := w.pairUp("bbbb2222", one)
	_, digest, _ := strings.Cut(runs, "@")
	if image := w.only(p.Baseline).Spec.Template.Spec.Containers[0].Image; image != "shop:1@"+digest {
		t.Errorf("the baseline runs %s, and what serves %s", image, runs)
	}
	if got := p.Baseline.Images; len(got) != 1 || got[0].Digest != digest {
		t.Errorf("its images are %v", got)
	}
	if log := w.logs.String(); !strings.Contains(log, "stable_replicas=1") || !strings.Contains(log, digest) {
		t.Errorf("what serves isn't recorded in the log:\n%s", log)
	}
}

// TestThePairOfAnotherProjectIsLeftAlone: it is in the same namespace, in an environment of the same name.
func TestThePairOfAnotherProjectIsLeftAlone(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.canary = &pipeline.Canary{Instances: 1}
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
		theirs := strings.ReplaceAll(deployment("theirs:1", 1, ""), "shop}", "theirs}")
		w.kubectl(strings.Replace(theirs, "metadata: {name: theirs}", "metadata: {name: theirs, labels: {app.kubernetes.io/managed-by: slipway, "+
			"slipway.dev/project: '8', slipway.dev/environment: production, slipway.dev/pair: abcdef, slipway.dev/track: canary}}", 1))
		one := w.deliver("aaaa1111", nil)
		w.pairUp("bbbb2222", one)
		w.deliver("bbbb2222", &one)
		w.wantDeployments("shop", "theirs")
	})
}

func TestPairHealth(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.canary = &pipeline.Canary{Instances: 2}
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
		one := w.deliver("aaaa1111", nil)
		p := w.pairUp("bbbb2222", one)
		health := func() (unwell, unequal string) {
			t.Helper()
			unwell, unequal, err := w.executor().PairHealth(w.context(), w.task("bbbb2222", w.startPair(one)), "production", p)
			if err != nil {
				t.Fatal(err)
			}
			return unwell, unequal
		}
		if unwell, unequal := health(); unwell+unequal != "" {
			t.Errorf("a pair that is well is %q, %q", unwell, unequal)
		}
		// Somebody lets the canary run what crashes.
		w.runs(p.Canary.Workloads[0], "shop:crash")
		w.await("a crash", func() bool { unwell, _ := health(); return unwell != "" })
		w.await("all to crash", func() bool {
			unwell, _ := health()
			return strings.HasPrefix(unwell, "2 of 2 canary pods crash: container app exited with code 1 and was restarted ")
		})
		w.runs(p.Baseline.Workloads[0], "shop:crash")
		w.await("the baseline to crash, too", func() bool { unwell, unequal := health(); return unwell == "" && unequal == "" })
		w.runs(p.Canary.Workloads[0], "shop:2")
		w.await("only the baseline to crash", func() bool {
			unwell, unequal := health()
			return unwell == "" && strings.HasPrefix(unequal, "the baseline has 0 of 2 pods ready, and the canary 2 of 2; baseline: container app exited with code 1")
		})
		w.runs(p.Baseline.Workloads[0], "shop:1")
		w.await("both to be well again", func() bool { unwell, unequal := health(); return unwell+unequal == "" })
		one32 := int32(1)
		scale, err := w.admin.AppsV1().Deployments(w.namespace).GetScale(t.Context(), p.Canary.Workloads[0], metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		scale.Spec.Replicas = one32
		if _, err := w.admin.AppsV1().Deployments(w.namespace).UpdateScale(t.Context(), p.Canary.Workloads[0], scale, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		w.await("the canary to be smaller", func() bool {
			_, unequal := health()
			return unequal == "the baseline has 2 of 2 pods ready, and the canary 1 of 1"
		})
		if err := w.admin.AppsV1().Deployments(w.namespace).Delete(t.Context(), p.Baseline.Workloads[0], metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.await("the baseline to be gone", func() bool {
			unwell, unequal := health()
			return unwell == "" && strings.Contains(unequal, "of the baseline is gone")
		})
		w.endPair("bbbb2222")
	})
}

// TestTheDocumentedRoleIsEnoughForAPair: nothing more is needed than a delivery does.
func TestTheDocumentedRoleIsEnoughForAPair(t *testing.T) {
	t.Parallel()
	w := realOne(t)
	w.options.Kubeconfig = w.real.User(t, w.namespace, documentedRole(t).Rules...).Kubeconfig
	w.deploy.Strategy = pipeline.StrategyBlueGreen
	w.route(httpRoute, "True")
	w.commit("aaaa1111", configMap("settings", "one")+service+mounting("shop:1"))
	w.commit("bbbb2222", configMap("settings", "two")+service+mounting("shop:2"))
	one := w.deliver("aaaa1111", nil)
	w.deploy.Traffic = &pipeline.Traffic{HTTPRoute: "shop"}
	w.canary = &pipeline.Canary{Instances: 1, Weights: []int{10}}
	p := w.pairUp("bbbb2222", one)
	w.must("bbbb2222", pipeline.WeighPair{Stage: canaryStage, Attempt: 1, Weight: 20})
	if _, _, err := w.executor().PairHealth(w.context(), w.task("bbbb2222", w.startPair(one)), "production", p); err != nil {
		t.Error(err)
	}
	w.endPair("bbbb2222")
	w.wantWeights("shop=20 other=10")
}
