package kube_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// TestAnotherProjectsObjectsStayAsTheyAre: projects that share a namespace trust each other less
// than whoever mapped them there may think.
func TestAnotherProjectsObjectsStayAsTheyAre(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "ours"))
		w.commit("bbbb2222", configMap("new", "theirs")+configMap("settings", "theirs"))
		w.mustApply("aaaa1111")
		task := w.task("bbbb2222", pipeline.Apply{Stage: stageName, Attempt: 1, ReleaseID: "8-1-bbbb2222/" + stageName + "/1"})
		task.Delivery.ID, task.Delivery.Project.ID = "8-1-bbbb2222", 8
		_, err := w.executor().Execute(w.context(), task)
		f := w.permanent(err)
		if f.Code != pipeline.ReasonNotAllowed || !f.Unchanged || !strings.Contains(f.Detail, "ConfigMap settings is delivered by the GitLab project with the number 7") {
			t.Errorf("got %+v", f)
		}
		if got := w.configMap("settings").Data["value"]; got != "ours" {
			t.Errorf("the other project's value is %q now", got)
		}
	})
}

// as makes the task one of another GitLab project's delivery.
func as(project int64, task *pipeline.Task) *pipeline.Task {
	task.Delivery.Project.ID = project
	return task
}

// applyAs applies a commit for another GitLab project.
func (w *world) applyAs(project int64, sha string) {
	w.t.Helper()
	task := as(project, w.task(sha, pipeline.Apply{Stage: stageName, Attempt: 1, ReleaseID: sha + "/" + stageName + "/1"}))
	if _, err := w.executor().Execute(w.context(), task); err != nil {
		w.t.Fatalf("apply %s for project %d: %v", sha, project, err)
	}
}

func TestWhatIsNotTheReleasesIsNotPutAway(t *testing.T) {
	other := func(app string) string {
		return strings.NewReplacer("name: shop}", "name: other}", "app: shop", "app: "+app).Replace(deployment("other:1", 1, ""))
	}
	for name, bring := range map[string]func(w *world){
		// Both projects' pods carry the label that the Service selects.
		"another project's, with the same labels": func(w *world) {
			w.commit("0000eeee", other("shop"))
			w.applyAs(8, "0000eeee")
			w.commit("aaaa1111", service)
			w.mustApply("aaaa1111")
		},
		// A Service of ours was led to somebody else's pods before.
		"somebody's, with other labels": func(w *world) {
			w.kubectl(other("other"))
			w.commit("aaaa1111", strings.Replace(service, "app: shop", "app: other", 1))
			w.mustApply("aaaa1111")
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				bring(w)
				w.awaitAvailable("other", 1)
				w.deploy.Strategy = pipeline.StrategyBlueGreen
				w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
				two := w.deliver("bbbb2222", nil)
				w.wantDeployments("other", versionedDeployment(two))
				if n := *w.deploymentNamed("other").Spec.Replicas; n != 1 {
					t.Errorf("the deployment of somebody else has %d replicas", n)
				}
			})
		})
	}
}

func TestTheServiceOfAPreviewTakesNobodysPlace(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		if w.real != nil {
			w.real.GatewayAPI(t)
		}
		w.deploy.Strategy, w.deploy.Traffic = pipeline.StrategyBlueGreen, &pipeline.Traffic{HTTPRoute: "shop"}
		w.kubectl(strings.NewReplacer("name: shop", "name: shop-preview", "app: shop", "app: legacy").Replace(service))
		w.route(httpRoute, "True")
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		_, err := w.apply("aaaa1111")
		if f := w.permanent(err); !f.Unchanged || !strings.Contains(f.Detail, "Service shop-preview") || !strings.Contains(f.Detail, "kubectl") {
			t.Errorf("got %+v", f)
		}
		s, err := w.admin.CoreV1().Services(w.namespace).Get(t.Context(), "shop-preview", metav1.GetOptions{})
		if err != nil || s.Spec.Selector["app"] != "legacy" || len(s.Spec.Selector) != 1 {
			t.Errorf("it is %+v by now (%v)", s.Spec.Selector, err)
		}
	})
}

func TestARollbackLeavesWhatAnotherProjectDeliversByNow(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "ours")+configMap("stays", "one"))
		w.commit("bbbb2222", configMap("stays", "two"))
		w.commit("0000eeee", configMap("settings", "theirs"))
		one := w.release("aaaa1111")
		two := w.release("bbbb2222")
		w.retire(two, &one)
		w.wantGone("settings")
		w.applyAs(8, "0000eeee")
		_, err := w.do("bbbb2222", pipeline.Restore{Stage: stageName, Attempt: 1, Environment: "production", To: &one, From: &two})
		if f := w.permanent(err); f.Code != pipeline.ReasonNotAllowed || !strings.Contains(f.Detail, "ConfigMap settings is delivered by the GitLab project with the number 8 by now") {
			t.Errorf("got %+v", f)
		}
		if got := w.configMap("settings").Data["value"]; got != "theirs" {
			t.Errorf("the other project's value is %q now", got)
		}
	})
}

func TestMarksAreSlipwaysToSet(t *testing.T) {
	for name, manifests := range map[string]string{
		"ConfigMap settings brings slipway.dev/project":  strings.Replace(configMap("settings", "x"), "name: settings", "name: settings, labels: {slipway.dev/project: '8'}", 1),
		"Service shop brings slipway.dev/replaces":       strings.Replace(service, "name: shop", "name: shop, annotations: {slipway.dev/replaces: other/1}", 1),
		"Service shop brings slipway.dev/version":        strings.Replace(service, "app: shop", "app: shop, slipway.dev/version: aaaa", 1),
		"Deployment shop brings slipway.dev/version":     strings.ReplaceAll(deployment("shop:1", 1, ""), "app: shop", "app: shop, slipway.dev/version: aaaa"),
		"Deployment shop brings slipway.dev/environment": strings.Replace(deployment("shop:1", 1, ""), "metadata: {name: shop}", "metadata: {name: shop, labels: {slipway.dev/environment: staging}}", 1),
	} {
		t.Run(name, func(t *testing.T) {
			w := simulated(t)
			w.commit("aaaa1111", manifests)
			_, err := w.apply("aaaa1111")
			if f := w.permanent(err); f.Code != pipeline.ReasonManifest || !f.Unchanged || !strings.Contains(f.Detail, name) {
				t.Errorf("got %+v", f)
			}
		})
	}
}

// TestAnotherEnvironmentsObjectsStayAsTheyAre: two environments of one project have no lock together.
func TestAnotherEnvironmentsObjectsStayAsTheyAre(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "staging's"))
		w.commit("bbbb2222", configMap("settings", "production's"))
		w.commit("cccc3333", configMap("others", "production's"))
		w.environment = "staging"
		w.mustApply("aaaa1111")
		w.environment = "production"
		_, err := w.apply("bbbb2222")
		f := w.permanent(err)
		if f.Code != pipeline.ReasonNotAllowed || !f.Unchanged || !strings.Contains(f.Detail, "ConfigMap settings is delivered to environment staging of this project, which has the same namespace") {
			t.Errorf("got %+v", f)
		}
		if got := w.configMap("settings").Data["value"]; got != "staging's" {
			t.Errorf("the other environment's value is %q now", got)
		}
		w.mustApply("cccc3333")
	})
}
