package kube_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// TestARouteWeighsThePair: each track has Services of its own and its share, raised in steps and taken back exactly.
func TestARouteWeighsThePair(t *testing.T) {
	for _, strategy := range bothStrategies {
		t.Run(string(strategy), func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.deploy.Strategy = strategy
				w.route(httpRoute, "True")
				w.deploy.Traffic = &pipeline.Traffic{HTTPRoute: "shop"}
				w.commit("aaaa1111", service+deployment("shop:1", 2, ""))
				w.commit("bbbb2222", strings.Replace(service, "8080", "9090", 1)+deployment("shop:2", 2, ""))
				one := w.deliver("aaaa1111", nil)
				stable := w.deployments()[0]
				clients, turns := w.clients(), w.turns()
				w.canary = &pipeline.Canary{Instances: 1, Weights: []int{5, 25}}
				p := w.pairUp("bbbb2222", one)
				id := strings.TrimPrefix(p.Canary.Workloads[0], "shop-canary-")
				at := func(stable, each int) string {
					return fmt.Sprintf("shop=%d other=%d shop-baseline-%s=%d shop-canary-%s=%d", stable, (stable+2*each)/2, id, each, id, each)
				}
				w.wantWeights(at(18, 1))
				w.awaitEndpoints("shop", map[string]int{stable: 2})
				for _, name := range []string{"shop-baseline-" + id, "shop-canary-" + id} {
					if got := w.endpoints(name); !maps.Equal(got, map[string]int{name: 1}) {
						t.Errorf("service %s leads to %v", name, got)
					}
				}
				s, err := w.admin.CoreV1().Services(w.namespace).Get(t.Context(), "shop-canary-"+id, metav1.GetOptions{})
				if err != nil || s.Spec.Ports[0].TargetPort.IntValue() != 9090 {
					t.Errorf("the canary's service has the ports %v: %v", s.Spec.Ports, err)
				}
				weigh := pipeline.WeighPair{Stage: canaryStage, Attempt: 1, Weight: 25}
				for range 2 {
					if out := w.must("bbbb2222", weigh).(pipeline.Weighed); out.Weight != 25 || out.Stage != canaryStage {
						t.Errorf("it gave %+v", out)
					}
					w.wantWeights(at(10, 5))
				}
				w.endPair("bbbb2222")
				const plain = "shop=20 other=10"
				w.wantWeights(plain)
				for _, turn := range turns() {
					if turn != plain && turn != at(18, 1) && turn != at(10, 5) {
						t.Errorf("the route was %q in between", turn)
					}
				}
				route, err := w.routes().Get(t.Context(), "shop", metav1.GetOptions{})
				if err != nil || route.GetAnnotations()[deploy.AnnotationWeights] != "" {
					t.Errorf("the route is left with %v: %v", route.GetAnnotations(), err)
				}
				w.wantDeployments(stable)
				clients.went(t, stable)
				if services := w.services(); !slices.Equal(services, []string{"shop"}) {
					t.Errorf("left are the services %q", services)
				}
			})
		})
	}
}

func (w *world) services() []string {
	w.t.Helper()
	list, err := w.admin.CoreV1().Services(w.namespace).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, s := range list.Items {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

// TestARouteThatSomebodyChangesKeepsTheirChange: while a pair has a share of it.
func TestARouteThatSomebodyChangesKeepsTheirChange(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.route(httpRoute, "True")
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		one := w.deliver("aaaa1111", nil)
		w.deploy.Traffic = &pipeline.Traffic{HTTPRoute: "shop"}
		w.canary = &pipeline.Canary{Instances: 1, Weights: []int{10}}
		w.pairUp("aaaa1111", one)
		patch := `[{"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 50}]`
		if _, err := w.routes().Patch(t.Context(), "shop", types.JSONPatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
			t.Fatal(err)
		}
		w.endPair("aaaa1111")
		w.wantWeights("shop=20 other=50")
	})
}

// TestNoTrackWithoutPodsHasTraffic: what can't serve gets no weight.
func TestNoTrackWithoutPodsHasTraffic(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.route(httpRoute, "True")
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", service+deployment("shop:neverready", 1, ", progressDeadlineSeconds: 2"))
		one := w.deliver("aaaa1111", nil)
		w.deploy.Traffic = &pipeline.Traffic{HTTPRoute: "shop"}
		w.canary = &pipeline.Canary{Instances: 1, Weights: []int{10}}
		_, err := w.do("bbbb2222", w.startPair(one))
		w.wants(err, pipeline.ReasonDeadline, "canary: deployment shop-canary-", "0 of 1 pod ready")
		w.wantWeights("shop=20 other=10")
		_, err = w.do("bbbb2222", pipeline.WeighPair{Stage: canaryStage, Attempt: 1, Weight: 10})
		w.wantsLater(err, pipeline.ReasonOther, "has no available pod, so it isn't given traffic")
		w.wantWeights("shop=20 other=10")
		w.endPair("bbbb2222")
		_, err = w.do("bbbb2222", pipeline.WeighPair{Stage: canaryStage, Attempt: 1, Weight: 10})
		w.wants(err, pipeline.ReasonOther, "the pair is gone")
	})
}
