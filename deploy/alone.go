package deploy

import (
	"context"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// alone tells that Retire would find nothing to do for a release that was just applied: it and the one before are not
// blue-green, no Service is held on anything, nothing was dropped from the manifests, and no blue-green Deployments and no
// pairs of canary stages are left. It is found out while the pods come up, so that the next stage can begin as soon as they
// run. What can't be found out is left to Retire.
func (e *Executor) alone(ctx context.Context, t *pipeline.Task, a pipeline.Apply, w *application, s *scene) bool {
	st := t.Delivery.Stage(a.Stage)
	if st == nil || st.Unsure != nil || s.arr.version != "" || st.Previous != nil && st.Previous.Strategy == pipeline.StrategyBlueGreen {
		return false
	}
	if trafficOf(t, a.Stage, &w.release, st.Previous) != nil || s.routing.services != nil || s.held() {
		return false
	}
	for _, g := range s.gates {
		if g.pin != nil || g.mixed || g.live != nil && (selectorOf(g.live)[LabelVersion] != "" || selectorOf(g.live)[labelHash] != "") {
			return false
		}
	}
	def, err := definition(t, a.Stage)
	if err != nil || def.Deploy == nil {
		return false
	}
	if st.Previous != nil {
		r := &retirement{where: w.where, serving: s.arr}
		r.Environment, r.Serving, r.Old = def.Deploy.Environment, w.release, st.Previous
		if r.old, err = e.brought(ctx, t, w.where, a.Stage, st.Previous); err != nil || len(r.surplus(t)) > 0 {
			return false
		}
	}
	left, err := w.where.versions(ctx)
	if err != nil || len(left) > 0 {
		return false
	}
	pairs, err := w.where.pairs(ctx, func(string) bool { return true })
	return err == nil && len(pairs) == 0
}
