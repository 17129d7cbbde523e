package kube_test

import (
	"strings"
	"testing"

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
