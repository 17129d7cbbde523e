package kube_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// preview tells what delivering a commit would change.
func (w *world) preview(sha string, prune pipeline.Prune) string {
	w.t.Helper()
	target, err := w.Target(w.t.Context(), "shop/api", "production")
	if err != nil {
		w.t.Fatal(err)
	}
	changes, err := deploy.Preview(w.context(), target, target.Cluster.(deploy.Previewer), w.source[sha], &pipeline.Plan{},
		pipeline.Deploy{Environment: "production", Manifests: "deploy", Prune: prune}, manifest.Limits{})
	if err != nil {
		w.t.Fatal(err)
	}
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.String())
	}
	return strings.Join(lines, "\n")
}

func TestPreviewTellsWhatADeliveryWouldChange(t *testing.T) {
	const secret = "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: "
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "one")+configMap("old", "x")+secret+"hunter2hunter2}\n"+deployment("shop:1", 1, "")+claim)
		if diff := cmp.Diff("create ConfigMap settings\ncreate ConfigMap old\ncreate Secret s\ncreate PersistentVolumeClaim data\ncreate Deployment shop", w.preview("aaaa1111", "")); diff != "" {
			t.Errorf("before the first delivery (-want +got):\n%s", diff)
		}
		w.mustApply("aaaa1111")
		if got := w.preview("aaaa1111", ""); got != "" {
			t.Errorf("what runs would change:\n%s", got)
		}
		w.commit("bbbb2222", configMap("settings", "two")+configMap("new", "x")+secret+"hunter3hunter3}\n"+deployment("shop:2", 2, ""))
		want := `change ConfigMap settings
    data.value: "one" → "two"
create ConfigMap new
change Secret s
    data.key: (secret, changed)
change Deployment shop
    spec.replicas: 1 → 2
    spec.template.spec.containers[app].image: "shop:1" → "shop:2"
remove ConfigMap old`
		if diff := cmp.Diff(want, w.preview("bbbb2222", "")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := w.preview("bbbb2222", pipeline.PruneNothing); strings.Contains(got, "remove") {
			t.Errorf("without pruning:\n%s", got)
		}
		if got := w.preview("bbbb2222", pipeline.PruneVolumes); !strings.Contains(got, "remove PersistentVolumeClaim data") {
			t.Errorf("with volumes:\n%s", got)
		}
		if value := w.configMap("settings").Data["value"]; value != "one" {
			t.Errorf("the preview changed the config map to %q", value)
		}
		w.commit("cccc3333", deployment("shop:2", -1, ""))
		if got := w.preview("cccc3333", pipeline.PruneNothing); !strings.HasPrefix(got, "fail Deployment shop: deploy/all.yaml") {
			t.Errorf("what the cluster refuses: %s", got)
		}
	})
}
