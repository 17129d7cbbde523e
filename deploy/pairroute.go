package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// maxRouteWeight is the largest weight of a backend. Source: https://gateway-api.sigs.k8s.io/reference/spec/
const maxRouteWeight = 1_000_000

// weighing is what a route was before a pair got a share of its traffic, and the share. It is written on the route in the
// same update as the weights, so that they can be taken back exactly.
type weighing struct {
	Pair     string     `json:"pair"`
	Services []string   `json:"services"`
	Weight   int        `json:"weight"` // per cent of each track
	Before   [][]*int64 `json:"before"` // of each rule's backends, without the tracks'; null where it had no weight
}

// weighingOf reads it from the route, nil if there is none.
func weighingOf(route *unstructured.Unstructured) *weighing {
	var w weighing
	if text := route.GetAnnotations()[AnnotationWeights]; text == "" || json.Unmarshal([]byte(text), &w) != nil {
		return nil
	}
	return &w
}

// mine tells that a backend is one of the pair's.
func (w weighing) mine(backend map[string]any) bool {
	return slices.ContainsFunc(w.Services, func(service string) bool {
		return refers(backend, trackName(service, TrackBaseline, w.Pair)) || refers(backend, trackName(service, TrackCanary, w.Pair))
	})
}

// share is the rules with the tracks' backends: of what each of the Services has, the baseline and the canary get the
// weight in per cent. What the backends have in proportion to each other, with both tracks counted to their Service, stays
// the same.
func (w weighing) share(rules []any) ([]any, error) {
	rules = copyRules(rules)
	for _, rule := range rules {
		if err := w.shareRule(rule); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

func (w weighing) shareRule(rule any) error {
	all := backends(rule)
	own := map[string]map[string]any{}
	for _, service := range w.Services {
		if s := find(rule, service); s != nil && weight(s) > 0 {
			own[service] = s
		}
	}
	if len(own) == 0 {
		return nil
	}
	if len(all) == 1 { // nobody else's proportion is to be kept
		all[0]["weight"] = int64(100)
	}
	if err := w.scale(all, own); err != nil {
		return err
	}
	m, _ := rule.(map[string]any)
	list, _ := m["backendRefs"].([]any)
	for _, service := range slices.Sorted(maps.Keys(own)) {
		s := own[service]
		each := weight(s) * int64(w.Weight) / 100
		s["weight"] = weight(s) - 2*each
		for _, track := range []string{TrackBaseline, TrackCanary} {
			b := runtime.DeepCopyJSON(s)
			b["name"], b["weight"] = trackName(service, track, w.Pair), each
			list = append(list, b)
		}
	}
	m["backendRefs"] = list
	return nil
}

// scale makes all weights of a rule so much larger that the shares of the Services are whole numbers.
func (w weighing) scale(all []map[string]any, own map[string]map[string]any) error {
	gcd := func(a, b int64) int64 { return new(big.Int).GCD(nil, nil, big.NewInt(a), big.NewInt(b)).Int64() }
	common, largest := int64(0), int64(0)
	for _, b := range all {
		common, largest = gcd(common, weight(b)), max(largest, weight(b))
	}
	factor := func(divisor int64) int64 {
		f := int64(1)
		for _, s := range own {
			need := 100 / gcd(100, weight(s)/divisor*int64(w.Weight))
			f *= need / gcd(f, need)
		}
		return f
	}
	divisor := int64(1)
	if largest > maxRouteWeight/factor(1) {
		divisor = max(common, 1)
	}
	by := factor(divisor)
	if largest/divisor > maxRouteWeight/by {
		return refusal(pipeline.ReasonRefused, fmt.Sprintf("the weights of the HTTPRoute are so large that %d %% can't be split off", w.Weight), nil)
	}
	for _, b := range all {
		if by != 1 || divisor != 1 {
			b["weight"] = weight(b) / divisor * by
		}
	}
	return nil
}

// before is the rules without the pair. If nobody has changed them since, they are exactly as they were; otherwise what
// somebody set stays, and the Services get what their tracks had.
func (w weighing) before(rules []any) []any {
	bare := copyRules(rules)
	original := true
	for i, rule := range bare {
		w.strip(rule)
		original = original && i < len(w.Before) && len(backends(rule)) == len(w.Before[i])
	}
	if !original || len(bare) != len(w.Before) {
		return bare
	}
	was := copyRules(bare)
	for i, rule := range was {
		for j, b := range backends(rule) {
			if delete(b, "weight"); w.Before[i][j] != nil {
				b["weight"] = *w.Before[i][j]
			}
		}
	}
	if again, err := w.share(was); err == nil && sameJSON(again, rules) {
		return was
	}
	return bare
}

// strip takes the tracks' backends out of a rule, and gives their weights to their Services.
func (w weighing) strip(rule any) {
	for _, service := range w.Services {
		s := find(rule, service)
		for _, track := range []string{TrackBaseline, TrackCanary} {
			if b := find(rule, trackName(service, track, w.Pair)); b != nil && s != nil {
				s["weight"] = weight(s) + weight(b)
			}
		}
	}
	m, _ := rule.(map[string]any)
	if list, ok := m["backendRefs"].([]any); ok {
		m["backendRefs"] = slices.DeleteFunc(list, func(b any) bool {
			backend, _ := b.(map[string]any)
			return w.mine(backend)
		})
	}
}

// note remembers the weights of rules without a pair.
func (w *weighing) note(rules []any) {
	w.Before = nil
	for _, rule := range rules {
		weights := []*int64{}
		for _, b := range backends(rule) {
			var n *int64
			if _, set := b["weight"]; set {
				own := weight(b)
				n = &own
			}
			weights = append(weights, n)
		}
		w.Before = append(w.Before, weights)
	}
}

// weigh gives the pair's tracks their share of the route's traffic, once the Services of the tracks lead to all of their
// pods.
func (d *duet) weigh(ctx context.Context) error {
	for _, s := range d.sides {
		for _, service := range s.services {
			if err := d.where.reached(ctx, service, d.canary.Instances); err != nil {
				return err
			}
		}
	}
	return d.where.weighFound(ctx, d.found(), d.weight)
}

// reached waits until a Service leads to so many ready pods: the cluster follows a moment later.
func (p place) reached(ctx context.Context, service manifest.Object, instances int) error {
	return until(ctx, "the endpoints of "+service.Title()+" are not there yet", func() (bool, error) {
		slices, err := p.Cluster.List(ctx, discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), labels.Set{discoveryv1.LabelServiceName: service.GetName()}.String())
		return err == nil && len(readyPods(slices)) >= instances, err
	})
}

// weighFound sets the share of each track in per cent. A track without available pods gets none.
func (p place) weighFound(ctx context.Context, f *foundPair, share int) error {
	if share < 1 || share > 50 {
		return refusal(pipeline.ReasonManifest, fmt.Sprintf("each track can have 1 to 50 %% of the traffic, not %d", share), nil)
	}
	for _, o := range f.deployments {
		live, err := p.readDeployment(ctx, o)
		switch {
		case err != nil:
			return err
		case live == nil:
			return refusal(pipeline.ReasonOther, o.Title()+" is gone, so it can't be given traffic", nil)
		case live.Status.ObservedGeneration < live.Generation || live.Status.AvailableReplicas == 0:
			return &pipeline.Failure{Code: pipeline.ReasonOther, After: time.Second, Detail: o.Title() + " has no available pod, so it isn't given traffic"}
		}
	}
	r := routing{Traffic: pipeline.Traffic{HTTPRoute: f.parts.Route}}
	return r.rewrite(ctx, p, func(live *unstructured.Unstructured) (map[string]any, error) {
		w := weighing{Pair: f.id, Services: f.parts.Services, Weight: share}
		rules := rulesOf(live)
		if now := weighingOf(live); now != nil {
			if now.Pair != f.id {
				return nil, &pipeline.Failure{Code: pipeline.ReasonConflict, After: 10 * time.Second, Detail: fmt.Sprintf("another canary has a share of HTTPRoute %s", f.parts.Route)}
			}
			rules = now.before(rules)
		}
		w.note(rules)
		wanted, err := w.share(rules)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(wanted, func(rule any) bool { return slices.ContainsFunc(backends(rule), w.mine) }) {
			return nil, refusal(pipeline.ReasonRefused, fmt.Sprintf("HTTPRoute %s gives no traffic to %s any more", f.parts.Route, strings.Join(f.parts.Services, ", ")), nil)
		}
		text, err := json.Marshal(w)
		if err != nil {
			return nil, fmt.Errorf("encode the weights of a route: %w", err)
		}
		return routeChange(live, wanted, string(text)), nil
	})
}

// takeOutAll takes pairs out of routes, each in one update, as far as the routes are there.
func (p place) takeOutAll(ctx context.Context, routes []string, pairs map[string]bool) error {
	for _, name := range routes {
		r := routing{Traffic: pipeline.Traffic{HTTPRoute: name}}
		live, err := p.Cluster.Get(ctx, r.object(p.Namespace))
		if failure, ok := pipeline.AsFailure(err); ok && failure.Code == pipeline.ReasonManifest {
			continue // the cluster has no such kind any more
		}
		if err != nil {
			return err
		}
		if live == nil {
			continue
		}
		err = r.rewrite(ctx, p, func(live *unstructured.Unstructured) (map[string]any, error) {
			w := weighingOf(live)
			if w == nil || !pairs[w.Pair] {
				return nil, nil // there is nothing to change
			}
			return routeChange(live, w.before(rulesOf(live)), ""), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// routeChange is a change of a route's rules and of what it says about its weights, nil if it is so already.
func routeChange(live *unstructured.Unstructured, rules []any, weights string) map[string]any {
	var note any = weights
	if weights == "" {
		note = nil
	}
	if sameJSON(rules, rulesOf(live)) && live.GetAnnotations()[AnnotationWeights] == weights {
		return nil
	}
	return map[string]any{
		"metadata": map[string]any{"resourceVersion": live.GetResourceVersion(), "annotations": map[string]any{AnnotationWeights: note}},
		"spec":     map[string]any{"rules": rules},
	}
}

// trackService makes the Service of a track: what the release's is, for the track's pods, and within the cluster only.
func (d *duet) trackService(s *side, g part) (manifest.Object, error) {
	o, err := inside(g, trackName(g.original, s.track, d.id))
	if err != nil {
		return o, err
	}
	selector := s.renamed(g.selector)
	selector[LabelPair], selector[LabelTrack] = d.id, s.track
	if err := unstructured.SetNestedStringMap(o.Object, selector, "spec", "selector"); err != nil {
		return o, refusal(pipeline.ReasonManifest, g.Title()+" has no spec", err)
	}
	if !slices.ContainsFunc(s.deployments, func(w manifest.Object) bool { return within(selector, templateLabels(w.Unstructured)) }) {
		return o, refusal(pipeline.ReasonManifest, fmt.Sprintf("%s of the %s selects none of its pods", g.Title(), s.track), nil)
	}
	return o, nil
}
