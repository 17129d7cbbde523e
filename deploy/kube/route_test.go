package kube_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// httpRoute sends a third of the requests to somebody else's Service.
const httpRoute = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: public}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /shop}}]
    backendRefs: [{name: shop, port: 80, weight: 20}, {name: other, port: 80, weight: 10}]
`

func (w *world) routes() dynamic.ResourceInterface {
	w.t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(w.adminConfig)
	if err != nil {
		w.t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		w.t.Fatal(err)
	}
	return client.Resource(schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}).Namespace(w.namespace)
}

// route makes the route as a person does, and answers for its gateway.
func (w *world) route(manifest, accepted string) {
	w.t.Helper()
	if w.real != nil {
		w.real.GatewayAPI(w.t)
	}
	if _, err := w.routes().Patch(w.t.Context(), "shop", types.ApplyPatchType, []byte(manifest), metav1.PatchOptions{FieldManager: "kubectl-client-side-apply"}); err != nil {
		w.t.Fatalf("apply the route: %v", err)
	}
	w.accept(accepted)
}

func (w *world) accept(status string) {
	w.t.Helper()
	patch := fmt.Sprintf(`{"status":{"parents":[{"controllerName":"example.com/gateway","parentRef":{"name":"public"},"conditions":[
		{"type":"Accepted","status":%q,"reason":"NoMatchingParent","message":"no listener","lastTransitionTime":"2026-01-01T00:00:00Z"}]}]}}`, status)
	if _, err := w.routes().Patch(w.t.Context(), "shop", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		w.t.Fatalf("accept the route: %v", err)
	}
}

// weights are the route's, as "shop=20 other=10 | …" for each rule, with the headers that it asks for.
func weights(route *unstructured.Unstructured) string {
	var rules []string
	list, _, _ := unstructured.NestedSlice(route.Object, "spec", "rules")
	for _, r := range list {
		rule := r.(map[string]any)
		var words []string
		matches, _ := rule["matches"].([]any)
		for _, m := range matches {
			headers, _ := m.(map[string]any)["headers"].([]any)
			for _, h := range headers {
				words = append(words, fmt.Sprintf("%s:%s", h.(map[string]any)["name"], h.(map[string]any)["value"]))
			}
		}
		refs, _ := rule["backendRefs"].([]any)
		for _, b := range refs {
			words = append(words, fmt.Sprintf("%s=%v", b.(map[string]any)["name"], b.(map[string]any)["weight"]))
		}
		rules = append(rules, strings.Join(words, " "))
	}
	return strings.Join(rules, " | ")
}

func (w *world) wantWeights(want string) {
	w.t.Helper()
	route, err := w.routes().Get(w.t.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	if got := weights(route); got != want {
		w.t.Errorf("the route is %q, want %q", got, want)
	}
}

// turns records each change of the route's weights.
func (w *world) turns() func() []string {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	watcher, err := w.routes().Watch(ctx, metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var mu sync.Mutex
	var saw []string
	var running sync.WaitGroup
	running.Go(func() {
		for event := range watcher.ResultChan() {
			if route, ok := event.Object.(*unstructured.Unstructured); ok {
				mu.Lock()
				if now := weights(route); len(saw) == 0 || saw[len(saw)-1] != now {
					saw = append(saw, now)
				}
				mu.Unlock()
			}
		}
	})
	w.t.Cleanup(func() { watcher.Stop(); cancel(); running.Wait() })
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return saw
	}
}

func (w *world) previewed() string {
	w.t.Helper()
	s, err := w.admin.CoreV1().Services(w.namespace).Get(w.t.Context(), "shop-preview", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ""
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Spec.Selector[deploy.LabelVersion]
}

func TestARouteMovesTheTraffic(t *testing.T) {
	for _, mine := range []bool{false, true} {
		t.Run(fmt.Sprintf("the route is in the manifests: %v", mine), func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.deploy.Strategy = pipeline.StrategyBlueGreen
				w.deploy.Traffic = &pipeline.Traffic{HTTPRoute: "shop", PreviewHeader: "X-Preview"}
				more := ""
				if w.real != nil {
					w.real.GatewayAPI(t)
				}
				if mine {
					more = httpRoute
				} else {
					w.route(httpRoute, "True")
				}
				w.commit("aaaa1111", service+deployment("shop:1", 1, "")+more)
				w.commit("bbbb2222", service+deployment("shop:2", 1, "")+more)
				one := w.release("aaaa1111")
				if mine {
					_, err := w.do("aaaa1111", pipeline.Switch{Stage: stageName, Attempt: 1, Environment: "production", To: one})
					if f, ok := pipeline.AsFailure(err); !ok || f.Permanent || !strings.Contains(f.Detail, "no gateway has accepted it") {
						t.Errorf("the traffic moves before a gateway takes the route: %v", err)
					}
					w.accept("True")
				}
				w.switchTo(one, nil)
				w.retire(one, nil)
				const plain = "shop=20 other=10"
				w.wantWeights(plain)

				two := w.release("bbbb2222")
				const before, after = "X-Preview:true shop-preview=1 | shop=20 other=10 shop-preview=0", "X-Preview:true shop-preview=1 | shop=0 other=10 shop-preview=20"
				w.wantWeights(before)
				if w.previewed() != two.Version {
					t.Errorf("the preview leads to %s", w.previewed())
				}
				clients := w.clients()
				turns := w.turns()
				w.switchTo(two, &one)
				w.wantWeights(after)
				w.mustApply("bbbb2222") // again, such as by a further attempt: what serves goes on serving
				w.switchTo(two, &one)

				// Back during the standby, and forth again.
				restored := w.must("bbbb2222", pipeline.Restore{Stage: stageName, Attempt: 1, Environment: "production", To: &one, From: &two}).(pipeline.Restored)
				if !restored.Serving {
					t.Error("it doesn't serve at once")
				}
				w.retire(one, &two)
				w.wantWeights(plain)
				w.wantDeployments(versionedDeployment(one))
				if w.previewed() != "" {
					t.Error("the preview Service is left")
				}
				two = w.release("bbbb2222")
				w.switchTo(two, &one)
				w.wantWeights(after)
				w.retire(two, &one)
				w.retire(two, &one) // again
				w.wantWeights(plain)
				w.wantDeployments(versionedDeployment(two))
				if want := map[string]string{"app": "shop", deploy.LabelVersion: two.Version}; !maps.Equal(w.selector(), want) || w.previewed() != "" {
					t.Errorf("the selector is %v, the preview's %q", w.selector(), w.previewed())
				}
				for _, turn := range turns() {
					if turn != plain && turn != before && turn != after {
						t.Errorf("the route was %q in between", turn)
					}
				}
				clients.went(t, versionedDeployment(one), versionedDeployment(two), versionedDeployment(one), versionedDeployment(two))
			})
		})
	}
}

func TestARouteThatCanNotMoveTrafficIsRefused(t *testing.T) {
	cases := []struct {
		name, route, accepted, words string
	}{
		{"there is none", "", "", "there is no HTTPRoute shop"},
		{"it refers to other Services", strings.ReplaceAll(httpRoute, "name: shop,", "name: another,"), "True", "refers to none of the Services"},
		{"no gateway accepts it", httpRoute, "False", "NoMatchingParent no listener"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.deploy.Strategy = pipeline.StrategyBlueGreen
				w.deploy.Traffic = &pipeline.Traffic{HTTPRoute: "shop"}
				if w.real != nil {
					w.real.GatewayAPI(t)
				}
				if tc.route != "" {
					w.route(tc.route, tc.accepted)
				}
				w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
				_, err := w.apply("aaaa1111")
				if f := w.permanent(err); !strings.Contains(f.Detail, tc.words) || !f.Unchanged {
					t.Errorf("got %+v", f)
				}
				w.wantDeployments()
			})
		})
	}
}

// TestAnotherReleaseLeavesThePreviewToWhatServes: a stage failed during the standby and is tried again.
func TestAnotherReleaseLeavesThePreviewToWhatServes(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.deploy.Strategy = pipeline.StrategyBlueGreen
		w.deploy.Traffic = &pipeline.Traffic{HTTPRoute: "shop"}
		w.route(httpRoute, "True")
		for i, sha := range []string{"aaaa1111", "bbbb2222", "cccc3333"} {
			w.commit(sha, service+deployment(fmt.Sprintf("shop:%d", i), 1, ""))
		}
		one := w.deliver("aaaa1111", nil)
		two := w.release("bbbb2222")
		w.switchTo(two, &one)
		three := w.release("cccc3333")
		w.wantWeights("shop=20 other=10 shop-preview=0")
		if w.selector()[deploy.LabelVersion] != two.Version || w.previewed() != three.Version {
			t.Errorf("version %s serves, and %s is previewed", w.selector()[deploy.LabelVersion], w.previewed())
		}
		w.switchTo(three, &one)
		w.retire(three, &one)
		w.wantDeployments(versionedDeployment(three))
		w.wantWeights("shop=20 other=10")
	})
}
