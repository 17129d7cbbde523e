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
	"gitlab.com/slipway-cd/slipway/deploy/kube"
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
	case "services":
		_, err = w.admin.CoreV1().Services(w.namespace).Patch(w.t.Context(), name, types.MergePatchType, []byte(patch), options)
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

// TestDriftOfABlueGreenReleaseIsCorrectedButNotTheTraffic: where the traffic is, who is told to have it, and what another
// release has left stays as it is.
func TestDriftOfABlueGreenReleaseIsCorrectedButNotTheTraffic(t *testing.T) {
	for _, routed := range []bool{false, true} {
		t.Run(fmt.Sprintf("by a route: %v", routed), func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.deploy.Strategy = pipeline.StrategyBlueGreen
				manifests := configMap("settings", "one") + service + deployment("shop:1", 2, "") + autoscaler + budget
				if routed {
					w.deploy.Traffic = &pipeline.Traffic{HTTPRoute: "shop"}
					w.route(httpRoute, "True")
				}
				w.commit("aaaa1111", manifests)
				w.commit("bbbb2222", strings.ReplaceAll(manifests, "shop:1", "shop:2"))
				one := w.deliver("aaaa1111", nil)
				n, ctx := w.connection().Namespace(w.namespace), w.context()
				compare := func() []deploy.Deviation {
					t.Helper()
					set, err := deploy.Placed(w.recorded(one), one)
					if err != nil {
						t.Fatal(err)
					}
					found, err := deploy.Drift(ctx, n, w.namespace, set, w.owner(one))
					for f, ok := pipeline.AsFailure(err); ok && !f.Permanent && ctx.Err() == nil; f, ok = pipeline.AsFailure(err) {
						found, err = deploy.Drift(ctx, n, w.namespace, set, w.owner(one)) // something was changed just then
					}
					if err != nil {
						t.Fatal(err)
					}
					return found
				}
				if found := compare(); len(found) > 0 {
					t.Fatalf("right after it was delivered: %q", told(found))
				}
				w.edit("deployments", versionedDeployment(one), `{"spec":{"replicas":3}}`) // as the autoscaler does
				w.edit("deployments", versionedDeployment(one), `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"shop:hacked"}]}}}}`)
				w.edit("configmaps", "settings", `{"data":{"value":"changed"}}`)
				w.edit("services", "shop", `{"spec":{"selector":{"who":"knows"},"sessionAffinity":"ClientIP"}}`)
				left := correctAll(t, ctx, n, compare)
				if len(left) != 1 || left[0].Field != ".spec.selector.who" && left[0].Field != ".spec.selector" || !strings.Contains(left[0].Left, "where the traffic goes") {
					t.Errorf("left is %q", told(left))
				}
				d, err := w.admin.AppsV1().Deployments(w.namespace).Get(ctx, versionedDeployment(one), metav1.GetOptions{})
				if err != nil || *d.Spec.Replicas != 3 || d.Spec.Template.Spec.Containers[0].Image != "shop:1" || d.Labels[deploy.LabelTrack] != deploy.TrackStable {
					t.Errorf("the Deployment is %+v %v, %v", d.Labels, d.Spec, err)
				}
				if got := w.selector(); got["who"] != "knows" || got[deploy.LabelVersion] != one.Version {
					t.Errorf("the selector is %v", got)
				}
				if got := w.configMap("settings").Data["value"]; got != "one" {
					t.Errorf("the config map has %q", got)
				}
				w.edit("services", "shop", `{"spec":{"selector":{"who":null}}}`)

				// A delivery that was left half-way has the traffic, and nobody's record says so.
				two := w.release("bbbb2222")
				w.switchTo(two, &one)
				left = correctAll(t, ctx, n, compare)
				if len(left) == 0 || slices.ContainsFunc(left, func(d deploy.Deviation) bool { return d.Left == "" }) {
					t.Errorf("left is %q", told(left))
				}
				if got := w.selector()[deploy.LabelVersion]; !routed && got != two.Version {
					t.Errorf("the traffic has moved to %q", got)
				}
			})
		})
	}
}

// correctAll corrects until nothing more is to be corrected, and returns what is left.
func correctAll(t *testing.T, ctx context.Context, n *kube.Namespace, compare func() []deploy.Deviation) []deploy.Deviation {
	t.Helper()
	for range 100 {
		found := compare()
		applied, err := deploy.Correct(ctx, n, found)
		if f, ok := pipeline.AsFailure(err); err != nil && (!ok || f.Permanent) { // its status may have changed meanwhile
			t.Fatalf("correct: %v", err)
		}
		if applied == 0 && err == nil {
			return found
		}
	}
	t.Fatal("there is always more to be corrected")
	return nil
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
