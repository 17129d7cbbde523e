package pipelinetest

import (
	"fmt"
	"slices"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// checkCanaries holds what must be true of canaries: a pair that was started is removed before its environment is free,
// and none passes that was not found good.
func (g *guard) checkCanaries(t Taken) error {
	for _, f := range t.Effects {
		if do, ok := f.Do.(pipeline.StartPair); ok {
			g.pairs[pairName(t.ID, do.Stage, do.Attempt)] = true
		}
	}
	if e, ok := t.Event.(pipeline.PairEnded); ok {
		delete(g.pairs, pairName(t.ID, e.Stage, e.Attempt))
	}
	for i := range t.After.Stages {
		st := &t.After.Stages[i]
		def, _ := t.After.Definition(t.Plan, st.Name)
		if def.Canary == nil {
			continue
		}
		was := t.Before.Stage(st.Name)
		if err := g.checkPair(t, was, st); err != nil {
			return err
		}
		if err := checkPassed(t, def, was, st); err != nil {
			return err
		}
	}
	return nil
}

func pairName(of, stage string, attempt int) string {
	return fmt.Sprintf("%s %s/%d", of, stage, attempt)
}

// checkPair finds a pair that is left when its stage has ended, or begins once more.
func (g *guard) checkPair(t Taken, was, is *pipeline.StageState) error {
	const tries = 3 // and then people are told
	told := was != nil && was.Analysis != nil && was.Analysis.Ends >= tries && slices.ContainsFunc(t.After.Warnings, func(w pipeline.Warning) bool {
		return w.Effect == "end-pair"
	})
	for name := range g.pairs {
		if !strings.HasPrefix(name, t.ID+" "+is.Name+"/") {
			continue
		}
		current := name == pairName(t.ID, is.Name, is.Attempt)
		switch {
		case current && !is.Status.Finished() && is.Held != 0:
		case told:
			delete(g.pairs, name)
		default:
			return fmt.Errorf("pair %s is left, and the stage is %s", name, stage(is))
		}
	}
	return nil
}

// checkPassed finds a canary that passes and was not found good.
func checkPassed(t Taken, def pipeline.Stage, was, is *pipeline.StageState) error {
	passes := func(st *pipeline.StageState) bool {
		return st != nil && st.Attempt == is.Attempt && (st.Status == pipeline.StageSucceeded || st.Ending == pipeline.StageSucceeded)
	}
	if !passes(is) || passes(was) {
		return nil
	}
	a := is.Analysis
	approved := slices.ContainsFunc(t.After.Decisions, func(d pipeline.Decision) bool {
		return d.Stage == is.Name && d.Attempt == is.Attempt && d.What == pipeline.VerbApprove
	})
	last := a.Look >= a.Looks && a.Missed == 0 && a.Report != nil
	switch {
	case approved && was.Status == pipeline.StageAsking:
	case last && a.Report.Verdict == canary.Pass:
	case last && def.Canary.Grey == pipeline.GreyPasses && a.Report.Verdict != canary.Fail:
	default:
		return fmt.Errorf("canary %s passes without being good: %+v", is.Name, a)
	}
	return nil
}

// checkMeasures finds a canary that is looked at twice at a time, and one that is looked at after its pair has to go.
func (w *World) checkMeasures() error {
	looking := map[string]string{}
	for _, p := range w.pending {
		do, ok := p.Effect.Do.(pipeline.Measure)
		if !ok || p.Withdrawn {
			continue
		}
		name := p.Of + " " + do.Stage
		if o, twice := looking[name]; twice {
			return fmt.Errorf("%s and %s of %s look at the same time", o, p.Effect.Key, p.Of)
		}
		looking[name] = p.Effect.Key
	}
	return nil
}

// checkWatches finds a pair that is watched twice, or that is watched though it doesn't stand.
func (w *World) checkWatches() error {
	watched := map[string]string{}
	for _, p := range w.pending {
		do, ok := p.Effect.Do.(pipeline.WatchPair)
		if !ok || p.Withdrawn {
			continue
		}
		name := p.Of + " " + do.Stage
		if o, twice := watched[name]; twice {
			return fmt.Errorf("%s and %s of %s watch the same pair", o, p.Effect.Key, p.Of)
		}
		watched[name] = p.Effect.Key
		st := w.deliveries[p.Of].Stage(do.Stage)
		stands := st.Phase == pipeline.PhaseWarming || st.Phase == pipeline.PhaseAnalysing
		if st.Attempt != do.Attempt || !stands || st.Status.Finished() || st.Analysis == nil || !st.Analysis.Watching {
			return fmt.Errorf("%s of %s watches a pair that doesn't stand: the stage is %s", p.Effect.Key, p.Of, stage(st))
		}
	}
	return nil
}
