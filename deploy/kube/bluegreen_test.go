package kube_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestBlueGreenMovesTheTrafficInOneStep(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.deploy.Strategy = pipeline.StrategyBlueGreen
		w.commit("aaaa1111", configMap("settings", "one")+service+deployment("shop:1", 2, ""))
		w.commit("bbbb2222", configMap("settings", "two")+service+deployment("shop:2", 3, ""))
		clients := w.clients()
		one := w.deliver("aaaa1111", nil)
		if !strings.HasPrefix(one.Version, "aaaa111-") || len(one.Version) != 13 || one.Strategy != pipeline.StrategyBlueGreen {
			t.Errorf("release is %+v", one)
		}
		w.wantDeployments(versionedDeployment(one))
		clients.went(t, versionedDeployment(one))

		two := w.release("bbbb2222")
		w.wantDeployments(versionedDeployment(one), versionedDeployment(two))
		clients.went(t, versionedDeployment(one)) // the new pods are ready, and have no traffic
		w.switchTo(two, &one)
		clients.went(t, versionedDeployment(one), versionedDeployment(two))
		w.wantTrack(one, deploy.TrackStandby)
		w.wantTrack(two, deploy.TrackStable)
		w.wantDeployments(versionedDeployment(one), versionedDeployment(two))

		removed := w.retire(two, &one)
		if !slices.Equal(removed, []string{"Deployment " + versionedDeployment(one)}) {
			t.Errorf("removed %q", removed)
		}
		w.wantDeployments(versionedDeployment(two))
		clients.went(t, versionedDeployment(one), versionedDeployment(two))
		d := w.deploymentNamed(versionedDeployment(two))
		if d.Spec.Template.Labels[deploy.LabelVersion] != two.Version || d.Spec.Template.Labels[deploy.LabelTrack] != "" || *d.Spec.Replicas != 3 {
			t.Errorf("the deployment's pods have the labels %v, and there are %d", d.Spec.Template.Labels, *d.Spec.Replicas)
		}
		// The same commit once more changes nothing.
		again := w.deliver("bbbb2222", &two)
		if after := w.deploymentNamed(versionedDeployment(two)); again.Version != two.Version || after.Generation != d.Generation {
			t.Errorf("delivered again: version %s after %s, generation %d after %d", again.Version, two.Version, after.Generation, d.Generation)
		}
	})
}

func TestBlueGreenTakesOverFromKubectl(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.deploy.Strategy = pipeline.StrategyBlueGreen
		clients := w.clients()
		w.kubectl(service + deployment("shop:0", 2, ""))
		w.awaitAvailable("shop", 2)
		before := w.deploymentNamed("shop")
		w.commit("aaaa1111", service+deployment("shop:1", 2, ""))
		one := w.release("aaaa1111")
		clients.went(t, "shop")
		if w.selector()["pod-template-hash"] == "" {
			t.Errorf("the Service isn't held: %v", w.selector())
		}
		w.switchTo(one, nil)
		clients.went(t, "shop", versionedDeployment(one))
		if after := w.deploymentNamed("shop"); after.Generation != before.Generation {
			t.Error("the deployment of kubectl was changed")
		}
		removed := w.retire(one, nil)
		if len(removed) != 1 || !strings.HasPrefix(removed[0], "Deployment shop (scaled to zero") {
			t.Errorf("removed %q", removed)
		}
		if n := *w.deploymentNamed("shop").Spec.Replicas; n != 0 {
			t.Errorf("the deployment of kubectl has %d replicas", n)
		}
		clients.went(t, "shop", versionedDeployment(one))
		if !strings.Contains(w.logs.String(), "selector_managed_by=kubectl-client-side-apply") {
			t.Error("the log doesn't say whose the selector was")
		}
		if want := map[string]string{"app": "shop", deploy.LabelVersion: one.Version}; !maps.Equal(w.selector(), want) {
			t.Errorf("the selector is %v", w.selector())
		}
	})
}

func TestBlueGreenFollowsARollingRelease(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		clients := w.clients()
		w.commit("aaaa1111", service+deployment("shop:1", 2, ""))
		w.commit("bbbb2222", service+deployment("shop:2", 2, ""))
		w.commit("cccc3333", service+deployment("shop:3", 2, ""))
		one := w.deliver("aaaa1111", nil)
		w.deploy.Strategy = pipeline.StrategyBlueGreen
		two := w.deliver("bbbb2222", &one)
		clients.went(t, "shop", versionedDeployment(two))
		w.wantDeployments(versionedDeployment(two))

		// And back again, without a gap.
		w.deploy.Strategy = pipeline.StrategyRolling
		three := w.release("cccc3333")
		clients.went(t, "shop", versionedDeployment(two))
		w.retire(three, &two)
		clients.went(t, "shop", versionedDeployment(two), "shop")
		w.wantDeployments("shop")
		if want := map[string]string{"app": "shop"}; !maps.Equal(w.selector(), want) {
			t.Errorf("the selector is %v", w.selector())
		}
		w.deliver("aaaa1111", &three)
	})
}

func TestAutoscalersAndBudgetsFollowTheTraffic(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.deploy.Strategy = pipeline.StrategyBlueGreen
		w.commit("aaaa1111", service+deployment("shop:1", 2, "")+autoscaler+budget)
		w.commit("bbbb2222", service+deployment("shop:2", 2, "")+autoscaler+budget)
		one := w.deliver("aaaa1111", nil)
		if w.scaleTarget() != versionedDeployment(one) || w.protected() != one.Version {
			t.Errorf("scaled is %s, protected %s", w.scaleTarget(), w.protected())
		}
		// The autoscaler finds that more pods are needed.
		scale, err := w.admin.AppsV1().Deployments(w.namespace).GetScale(t.Context(), versionedDeployment(one), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		scale.Spec.Replicas = 5
		if _, err := w.admin.AppsV1().Deployments(w.namespace).UpdateScale(t.Context(), versionedDeployment(one), scale, metav1.UpdateOptions{FieldManager: "kube-controller-manager"}); err != nil {
			t.Fatal(err)
		}
		w.awaitAvailable(versionedDeployment(one), 5)

		two := w.release("bbbb2222")
		if n := *w.deploymentNamed(versionedDeployment(two)).Spec.Replicas; n != 5 {
			t.Errorf("the new release comes up with %d pods, want as many as serve", n)
		}
		if w.scaleTarget() != versionedDeployment(one) || w.protected() != one.Version {
			t.Errorf("before the traffic moves, scaled is %s, protected %s", w.scaleTarget(), w.protected())
		}
		w.switchTo(two, &one)
		if w.scaleTarget() != versionedDeployment(two) || w.protected() != two.Version {
			t.Errorf("scaled is %s, protected %s", w.scaleTarget(), w.protected())
		}
		w.restore("bbbb2222", &one, &two)
		if w.scaleTarget() != versionedDeployment(one) || w.protected() != one.Version {
			t.Errorf("after the rollback scaled is %s, protected %s", w.scaleTarget(), w.protected())
		}
		if n := *w.deploymentNamed(versionedDeployment(one)).Spec.Replicas; n != 5 {
			t.Errorf("the rollback leaves %d pods, want 5", n)
		}
		w.mustApply("aaaa1111") // again: nobody's scaling is undone
		if n := *w.deploymentNamed(versionedDeployment(one)).Spec.Replicas; n != 5 {
			t.Errorf("applied again it has %d pods, want 5", n)
		}
	})
}

func TestTrafficOnlyMovesToAvailablePods(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.deploy.Strategy = pipeline.StrategyBlueGreen
		clients := w.clients()
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", service+deployment("shop:neverready", 1, ""))
		one := w.deliver("aaaa1111", nil)
		two := w.mustApply("bbbb2222")
		_, err := w.do("bbbb2222", pipeline.Switch{Stage: stageName, Attempt: 1, Environment: "production", To: two, From: &one})
		f, ok := pipeline.AsFailure(err)
		if !ok || f.Permanent || !strings.Contains(f.Detail, "0 of 1 pod ready") {
			t.Errorf("got %v", err)
		}
		clients.went(t, versionedDeployment(one))
		w.restore("bbbb2222", &one, &two)
		w.retire(one, &two)
		w.wantDeployments(versionedDeployment(one))
		clients.went(t, versionedDeployment(one))
	})
}

func TestBlueGreenRefusesWhatItCanNotDo(t *testing.T) {
	stateful := "\n---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\n" +
		"spec: {serviceName: shop, selector: {matchLabels: {app: shop}}, template: {metadata: {labels: {app: shop}}, spec: {containers: [{name: app, image: db}]}}}\n"
	other := strings.Replace(deployment("shop:1", 1, ""), "name: shop}", "name: other}", 1)
	cases := []struct {
		name, before, manifests string
		permanent               bool
		words                   string
	}{
		{"no Service", "", deployment("shop:1", 1, ""), true, "no Service selects"},
		{"a stateful set behind the Service", "", service + deployment("shop:1", 1, "") + stateful, true, "StatefulSet db"},
		{"no pods", "", service + deployment("shop:1", 0, ""), true, "0 replicas"},
		{"several Deployments behind the Service", service + deployment("shop:0", 1, "") + other, service + deployment("shop:1", 1, ""), true, "several Deployments (Deployment other, Deployment shop)"},
		{"a field that somebody else manages", strings.Replace(service, "targetPort: 8080", "targetPort: 8081", 1) + deployment("shop:0", 1, ""), service + deployment("shop:1", 1, ""), true, "kubectl-client-side-apply manages"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.deploy.Strategy = pipeline.StrategyBlueGreen
				w.kubectl(tc.before)
				for _, name := range w.deployments() {
					w.awaitAvailable(name, 1)
				}
				had := w.deployments()
				w.commit("aaaa1111", tc.manifests)
				_, err := w.apply("aaaa1111")
				f, ok := pipeline.AsFailure(err)
				if !ok || f.Permanent != tc.permanent || !strings.Contains(f.Detail, tc.words) || !f.Unchanged {
					t.Errorf("got %v (%+v)", err, f)
				}
				w.wantDeployments(had...)
				if tc.before != "" && w.selector()["pod-template-hash"] != "" {
					t.Error("the Service was changed")
				}
			})
		})
	}
}

func TestBlueGreenWaitsForARolloutOfAnother(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.deploy.Strategy = pipeline.StrategyBlueGreen
		w.kubectl(service + deployment("shop:0", 2, ""))
		w.awaitAvailable("shop", 2)
		w.kubectl(deployment("shop:neverready", 2, ""))
		w.await("the second replica set", func() bool {
			list, err := w.admin.CoreV1().Pods(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=shop"})
			return err == nil && len(list.Items) > 2
		})
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		_, err := w.apply("aaaa1111")
		if f, ok := pipeline.AsFailure(err); !ok || f.Permanent || f.After == 0 || !strings.Contains(f.Detail, "still rolling out") {
			t.Errorf("got %v", err)
		}
	})
}
