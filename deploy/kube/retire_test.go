package kube_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestRollbackFromHotStandby(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.deploy.Strategy = pipeline.StrategyBlueGreen
		clients := w.clients()
		w.commit("aaaa1111", configMap("settings", "one")+service+deployment("shop:1", 2, ""))
		w.commit("bbbb2222", configMap("settings", "two")+configMap("extra", "new")+service+deployment("shop:2", 2, ""))
		one := w.deliver("aaaa1111", nil)
		two := w.release("bbbb2222")
		w.switchTo(two, &one)
		clients.went(t, versionedDeployment(one), versionedDeployment(two))
		pods := w.deploymentNamed(versionedDeployment(one)).Generation

		restored := w.must("bbbb2222", pipeline.Restore{Stage: stageName, Attempt: 1, Environment: "production", To: &one, From: &two}).(pipeline.Restored)
		if !restored.Serving {
			t.Error("the release on standby doesn't serve at once")
		}
		clients.went(t, versionedDeployment(one), versionedDeployment(two), versionedDeployment(one))
		if value := w.configMap("settings").Data["value"]; value != "one" {
			t.Errorf("settings are %s", value)
		}
		if _, err := w.observe(w.context(), one); err != nil {
			t.Fatal(err)
		}
		w.wantTrack(one, deploy.TrackStable)
		if w.deploymentNamed(versionedDeployment(one)).Generation != pods {
			t.Error("the deployment on standby was changed")
		}
		keep := pipeline.Retire{Stage: stageName, Attempt: 1, Environment: "production", Serving: one, Old: &two, Keep: true}
		w.must("bbbb2222", keep)
		w.wantDeployments(versionedDeployment(one), versionedDeployment(two))
		w.configMap("extra") // its pods need it

		w.must("bbbb2222", pipeline.Remove{Environment: "production", Release: one}) // it serves
		w.must("bbbb2222", pipeline.Remove{Environment: "production", Release: two})
		w.wantDeployments(versionedDeployment(one))
		w.wantGone("extra")
		w.configMap("settings")
		clients.went(t, versionedDeployment(one), versionedDeployment(two), versionedDeployment(one))
	})
}

func TestRollbackAfterTheStandby(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.deploy.Strategy = pipeline.StrategyBlueGreen
		clients := w.clients()
		w.commit("aaaa1111", service+deployment("shop:1", 2, ""))
		w.commit("bbbb2222", configMap("extra", "new")+service+deployment("shop:2", 2, ""))
		one := w.deliver("aaaa1111", nil)
		two := w.deliver("bbbb2222", &one)
		w.wantDeployments(versionedDeployment(two))
		restored := w.must("bbbb2222", pipeline.Restore{Stage: stageName, Attempt: 1, Environment: "production", To: &one, From: &two}).(pipeline.Restored)
		if restored.Serving {
			t.Error("a release without pods serves")
		}
		if _, err := w.observe(w.context(), one); err != nil {
			t.Fatal(err)
		}
		clients.went(t, versionedDeployment(one), versionedDeployment(two))
		w.switchTo(one, &two)
		w.retire(one, &two)
		clients.went(t, versionedDeployment(one), versionedDeployment(two), versionedDeployment(one))
		w.wantDeployments(versionedDeployment(one))
		w.wantGone("extra")
	})
}

func TestRollbackToARollingReleaseThatIsStillThere(t *testing.T) {
	for _, moved := range []bool{false, true} {
		t.Run(fmt.Sprintf("the traffic has moved: %v", moved), func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				clients := w.clients()
				w.commit("aaaa1111", service+deployment("shop:1", 2, ""))
				w.commit("bbbb2222", service+deployment("shop:2", 2, ""))
				one := w.deliver("aaaa1111", nil)
				w.deploy.Strategy = pipeline.StrategyBlueGreen
				two := w.release("bbbb2222")
				want := []string{"shop"}
				if moved {
					w.switchTo(two, &one)
					want = []string{"shop", versionedDeployment(two), "shop"}
				}
				restored := w.must("bbbb2222", pipeline.Restore{Stage: stageName, Attempt: 1, Environment: "production", To: &one, From: &two}).(pipeline.Restored)
				if !restored.Serving {
					t.Error("it doesn't serve at once")
				}
				w.must("bbbb2222", pipeline.Retire{Stage: stageName, Attempt: 1, Environment: "production", Serving: one, Old: &two, Keep: true})
				clients.went(t, want...)
				w.wantDeployments("shop")
				if want := map[string]string{"app": "shop"}; !maps.Equal(w.selector(), want) {
					t.Errorf("the selector is %v", w.selector())
				}
				if _, err := w.observe(w.context(), one); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestAFirstReleaseIsTakenBack(t *testing.T) {
	for _, moved := range []bool{false, true} {
		t.Run(fmt.Sprintf("the traffic has moved: %v", moved), func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.deploy.Strategy = pipeline.StrategyBlueGreen
				clients := w.clients()
				w.kubectl(service + deployment("shop:0", 2, "") + autoscaler)
				w.awaitAvailable("shop", 2)
				w.commit("aaaa1111", service+deployment("shop:1", 2, "")+autoscaler)
				one := w.release("aaaa1111")
				want := []string{"shop"}
				if moved {
					w.switchTo(one, nil)
					want = []string{"shop", versionedDeployment(one), "shop"}
				}
				w.restore("aaaa1111", nil, &one)
				clients.went(t, want...)
				w.wantDeployments("shop")
				if want := map[string]string{"app": "shop"}; !maps.Equal(w.selector(), want) {
					t.Errorf("the selector is %v", w.selector())
				}
				if target := w.scaleTarget(); target != "shop" {
					t.Errorf("the autoscaler scales %s", target)
				}
			})
		})
	}
}

func TestPruning(t *testing.T) {
	cases := []struct {
		name         string
		strategy     pipeline.Strategy
		prune        pipeline.Prune
		gone, claims bool
	}{
		{"objects", pipeline.StrategyRolling, "", true, true},
		{"objects of a blue-green release", pipeline.StrategyBlueGreen, pipeline.PruneObjects, true, true},
		{"volume claims, too", pipeline.StrategyRolling, pipeline.PruneVolumes, true, false},
		{"nothing", pipeline.StrategyBlueGreen, pipeline.PruneNothing, false, true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.deploy.Strategy, w.deploy.Prune = tc.strategy, tc.prune
				foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "foreign"}}
				w.commit("aaaa1111", configMap("kept", "1")+configMap("old", "1")+configMap("foreign", "1")+claim+service+deployment("shop:1", 1, ""))
				w.commit("bbbb2222", configMap("kept", "2")+service+deployment("shop:2", 1, ""))
				one := w.deliver("aaaa1111", nil)
				// Somebody else takes one over.
				if err := w.admin.CoreV1().ConfigMaps(w.namespace).Delete(t.Context(), "foreign", metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				w.deliver("bbbb2222", &one)
				w.configMap("kept")
				w.configMap("foreign")
				_, err := w.admin.CoreV1().ConfigMaps(w.namespace).Get(t.Context(), "old", metav1.GetOptions{})
				if apierrors.IsNotFound(err) != tc.gone {
					t.Errorf("the old config map: %v", err)
				}
				c, err := w.admin.CoreV1().PersistentVolumeClaims(w.namespace).Get(t.Context(), "data", metav1.GetOptions{})
				if there := err == nil && c.DeletionTimestamp == nil; there != tc.claims {
					t.Errorf("the volume claim is there: %v", there)
				}
			})
		})
	}
}

func TestAnUnrecordedBlueGreenReleaseIsTakenBack(t *testing.T) {
	for _, strategy := range []pipeline.Strategy{pipeline.StrategyRolling, pipeline.StrategyBlueGreen} {
		t.Run("after a release that is "+string(strategy), func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.deploy.Strategy = strategy
				clients := w.clients()
				w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
				w.commit("bbbb2222", configMap("extra", "new")+service+deployment("shop:2", 1, ""))
				one := w.deliver("aaaa1111", nil)
				w.deploy.Strategy = pipeline.StrategyBlueGreen
				two := w.mustApply("bbbb2222")
				w.awaitAvailable(versionedDeployment(two), 1)
				w.restore("bbbb2222", &one, nil)
				w.must("bbbb2222", pipeline.Retire{Stage: stageName, Attempt: 1, Environment: "production", Serving: one})
				name := "shop"
				if strategy == pipeline.StrategyBlueGreen {
					name = versionedDeployment(one)
				}
				w.wantDeployments(name)
				w.wantGone("extra")
				clients.went(t, name)
			})
		})
	}
}

func TestWhatAFailedRollbackLeftGoesWithTheNextRelease(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("old", "1")+service+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", configMap("left", "1")+service+deployment("shop:2", 1, ""))
		w.commit("cccc3333", service+deployment("shop:3", 1, ""))
		one := w.deliver("aaaa1111", nil)
		w.deploy.Strategy = pipeline.StrategyBlueGreen
		two := w.release("bbbb2222")
		w.switchTo(two, &one) // and here its rollback fails
		w.deploy.Strategy = ""
		three := w.release("cccc3333")
		w.switchTo(three, &one)
		w.must("cccc3333", pipeline.Retire{Stage: stageName, Attempt: 1, Environment: "production", Serving: three, Old: &one, Also: &two})
		w.wantDeployments("shop")
		w.wantGone("old")
		w.wantGone("left")
		if want := map[string]string{"app": "shop"}; !maps.Equal(w.selector(), want) {
			t.Errorf("the selector is %v", w.selector())
		}
	})
}

func TestStagesThatShareAnEnvironmentDoNotPruneEachOther(t *testing.T) {
	w := simulated(t)
	w.deploy.Strategy = pipeline.StrategyBlueGreen
	w.commit("aaaa1111", configMap("old", "1")+service+deployment("shop:1", 1, ""))
	other := strings.NewReplacer("name: shop}", "name: other}", "app: shop", "app: other")
	w.commit("bbbb2222", other.Replace(service+deployment("shop:2", 1, "")))
	one := w.deliver("aaaa1111", nil)
	two := w.release("bbbb2222")
	w.switchTo(two, &one)
	task := w.task("bbbb2222", pipeline.Retire{Stage: stageName, Attempt: 1, Environment: "production", Serving: two, Old: &one})
	second := pipeline.Deploy{Environment: "production", Manifests: "elsewhere"}
	task.Plan.Stages = append(task.Plan.Stages, pipeline.Stage{Name: "second", Kind: pipeline.KindDeploy, Deploy: &second})
	if _, err := w.executor().Execute(w.context(), task); err != nil {
		t.Fatal(err)
	}
	w.configMap("old")
	w.wantDeployments(versionedDeployment(one), "other-"+two.Version)
}
