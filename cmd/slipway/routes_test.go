package main

import (
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"gitlab.com/slipway-cd/slipway/deploy"
)

// shopRoute sends a third of the requests to a Service that nobody delivers.
const shopRoute = `{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"}, "spec": {"parentRefs": [{"name": "public"}],
	"rules": [{"backendRefs": [{"name": "shop", "port": 80, "weight": 20}, {"name": "other", "port": 80, "weight": 10}]}]}}`

func (r *rig) routes() dynamic.ResourceInterface {
	r.Helper()
	return r.dynamic(schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"})
}

// route puts shopRoute into production, as a gateway has accepted it.
func (r *rig) route() {
	r.Helper()
	if r.kubetest != nil {
		r.kubetest.GatewayAPI(r)
	}
	route := &unstructured.Unstructured{}
	r.ok(json.Unmarshal([]byte(shopRoute), &route.Object))
	_, err := r.routes().Create(r.within(), route, metav1.CreateOptions{})
	r.ok(err)
	const accepted = `{"status": {"parents": [{"controllerName": "example.com/gateway", "parentRef": {"name": "public"}, "conditions": [
		{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}]}}`
	_, err = r.routes().Patch(r.within(), "shop", types.MergePatchType, []byte(accepted), metav1.PatchOptions{}, "status")
	r.ok(err)
}

// awaitRoute waits until the weights of the route's backends read so, and it says or doesn't say that they are for a pair.
// The name of a pair ends in a star here.
func (r *rig) awaitRoute(weights string, paired bool) {
	r.Helper()
	ctx, seen := r.within(), ""
	watcher, err := r.routes().Watch(ctx, metav1.ListOptions{})
	r.ok(err)
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		route, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		seen = weightsOf(route)
		if seen == weights && (route.GetAnnotations()[deploy.AnnotationWeights] != "") == paired {
			return
		}
	}
	r.Fatalf("the route has the weights %s, want %s", seen, weights)
}

func weightsOf(route *unstructured.Unstructured) string {
	var words []string
	rules, _, _ := unstructured.NestedSlice(route.Object, "spec", "rules")
	for _, rule := range rules {
		m, _ := rule.(map[string]any)
		backends, _ := m["backendRefs"].([]any)
		for _, b := range backends {
			backend, _ := b.(map[string]any)
			name := fmt.Sprint(backend["name"])
			for _, track := range []string{deploy.TrackBaseline, deploy.TrackCanary} {
				if at := strings.Index(name, "-"+track+"-"); at > 0 {
					name = name[:at] + "-" + track + "-*"
				}
			}
			words = append(words, fmt.Sprintf("%s=%v", name, backend["weight"]))
		}
	}
	return strings.Join(words, " ")
}
