package kube_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// edit changes an object as somebody else.
func (w *world) edit(resource, name, patch string) {
	w.t.Helper()
	options := metav1.PatchOptions{FieldManager: "kubectl-edit"}
	var err error
	switch resource {
	case "deployments":
		_, err = w.admin.AppsV1().Deployments(w.namespace).Patch(w.t.Context(), name, types.StrategicMergePatchType, []byte(patch), options)
	case "secrets":
		_, err = w.admin.CoreV1().Secrets(w.namespace).Patch(w.t.Context(), name, types.MergePatchType, []byte(patch), options)
	default:
		_, err = w.admin.CoreV1().ConfigMaps(w.namespace).Patch(w.t.Context(), name, types.MergePatchType, []byte(patch), options)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) drift(ctx context.Context, r pipeline.Release, in deploy.Comparer) []deploy.Deviation {
	w.t.Helper()
	found, err := deploy.Drift(ctx, in, w.namespace, w.recorded(r), w.owner(r))
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// told is differences as text.
func told(found []deploy.Deviation) []string {
	var all []string
	for _, d := range found {
		text := fmt.Sprintf("%s %s %s: %q, recorded %q, by %s", d.Kind, d.Name, d.Field, d.Live, d.Recorded, d.By)
		if d.Missing {
			text = d.Kind + " " + d.Name + " is missing"
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

func TestDriftIsWhatSomebodyElseChanged(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		// Quantities, defaults and a value that the release leaves to others are no drift.
		const more = `, minReadySeconds: 0`
		w.commit("aaaa1111", configMap("settings", "one")+configMap("more", "two")+withService+
			strings.ReplaceAll(deployment("shop:1", 2, more), `image: "shop:1"`, `image: "shop:1", resources: {requests: {cpu: 0.1, memory: 1024Mi}}, env: [{name: DB_PASSWORD, value: hunter2}, {name: MODE, value: fast}]`))
		r := w.release("aaaa1111")
		n := w.connection().Namespace(w.namespace)
		ctx := w.context()
		if found := w.drift(ctx, r, n); len(found) > 0 {
			t.Fatalf("right after it was applied: %q", told(found))
		}
		w.edit("deployments", "shop", `{"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"app","image":"shop:hacked","env":[{"name":"DB_PASSWORD","value":"letmein"}]},{"name":"extra","image":"side:1"}]}}}}`)
		w.edit("deployments", "shop", `{"metadata":{"annotations":{"team":"shop"}},"spec":{"revisionHistoryLimit":3}}`)
		w.edit("secrets", "keys", `{"data":{"key":"dHJvdXQtOA=="}}`)
		w.edit("configmaps", "settings", `{"data":{"value":"changed"}}`)
		if err := w.admin.CoreV1().ConfigMaps(w.namespace).Delete(ctx, "more", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		found := w.drift(ctx, r, n)
		want := []string{
			`ConfigMap more is missing`,
			`ConfigMap settings .data.value: "changed", recorded "one", by kubectl-edit`,
			`Deployment shop .spec.replicas: "3", recorded "2", by kubectl-edit`,
			`Deployment shop .spec.template.spec.containers[app].env[DB_PASSWORD].value: "[secret]", recorded "[secret]", by kubectl-edit`,
			`Deployment shop .spec.template.spec.containers[app].image: "shop:hacked", recorded "shop:1", by kubectl-edit`,
			`Secret keys .data.key: "[secret]", recorded "[secret]", by kubectl-edit`,
		}
		if diff := cmp.Diff(want, told(found)); diff != "" {
			t.Errorf("drift (-want +got):\n%s", diff)
		}
		for _, d := range found {
			if !d.Missing && time.Since(d.At) > time.Minute {
				t.Errorf("%s %s was set at %s", d.Name, d.Field, d.At)
			}
		}
		for len(found) > 0 {
			_, err := deploy.Correct(ctx, n, found)
			if f, ok := pipeline.AsFailure(err); err != nil && (!ok || f.Permanent) { // its status may have changed meanwhile
				t.Fatalf("correct: %v", err)
			}
			found = w.drift(ctx, r, n)
		}
		if got := w.configMap("settings").Data["value"]; got != "one" {
			t.Errorf("the config map has %q", got)
		}
	})
}

// What has changed since it was compared may be the work of a delivery.
func TestACorrectionLeavesAloneWhatHasChangedSince(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "one"))
		w.commit("bbbb2222", configMap("settings", "two"))
		r := w.mustApply("aaaa1111")
		n := w.connection().Namespace(w.namespace)
		w.edit("configmaps", "settings", `{"data":{"other":"x"}}`)
		w.edit("configmaps", "settings", `{"data":{"value":"changed"}}`)
		found := w.drift(w.context(), r, n)
		if len(found) != 1 {
			t.Fatalf("found %q", told(found))
		}
		client, err := n.Apply(w.context(), nil, false)
		if client != 0 || err != nil {
			t.Fatal(err)
		}
		w.edit("configmaps", "settings", `{"data":{"value":"two"}}`)
		_, err = deploy.Correct(w.context(), n, found)
		if f, ok := pipeline.AsFailure(err); !ok || f.Code != pipeline.ReasonConflict || f.Permanent {
			t.Errorf("got %v", err)
		}
		if got := w.configMap("settings").Data["value"]; got != "two" {
			t.Errorf("the config map has %q", got)
		}
	})
}

func TestAnObjectThatCannotBeComparedHidesNoOther(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	w.commit("aaaa1111", configMap("settings", "one")+"\n---\napiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n")
	r := pipeline.Release{ID: "1-1-aaaa1111/go-live/1", Delivery: "1-1-aaaa1111", SHA: "aaaa1111"}
	ref, err := w.blobs.PutBlob(t.Context(), []byte(`[{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"}},{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings"},"data":{"value":"one"}}]`))
	if err != nil {
		t.Fatal(err)
	}
	r.Manifests = ref
	found := w.drift(w.context(), r, w.connection().Namespace(w.namespace))
	if len(found) != 2 || !strings.Contains(found[0].Trouble, "Widget") || !found[1].Missing {
		t.Errorf("found %+v", found)
	}
}

func TestALogIsShownWithoutItsSecrets(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	w.commit("aaaa1111", deployment("shop:crash", 1, "")+strings.ReplaceAll(withService, "swordfish-7", "connect to database"))
	r := w.mustApply("aaaa1111")
	n := w.connection().Namespace(w.namespace)
	tree := w.treeUntil(n, r, "a crash", func(tree deploy.Tree) bool { p := find(tree, "Pod", ""); return p != nil && p.Restarts > 0 })
	lines, err := deploy.ShownLog(w.context(), n, find(tree, "Pod", "").Name, "app", w.recorded(r))
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(lines, "\n"); !strings.Contains(text, "panic: [secret]") {
		t.Errorf("the log is\n%s", text)
	}
}
