package spec

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Evaluator executes Evaluate: it resolves what asks for earlier stages.
type Evaluator struct{ lang *language }

// NewEvaluator prepares the expressions.
func NewEvaluator() (*Evaluator, error) {
	lang, err := newLanguage()
	if err != nil {
		return nil, err
	}
	return &Evaluator{lang}, nil
}

// Execute decides whether a dynamic stage runs, and fills its texts in. The outcome
// is Evaluated; an expression that goes wrong is an outcome too, not an error.
func (e *Evaluator) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	do, ok := t.Effect.Do.(pipeline.Evaluate)
	if !ok {
		return nil, wrongAction("evaluator", t)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := pipeline.Evaluated{Stage: do.Stage, Attempt: do.Attempt}
	st, ok := t.Plan.Stage(do.Stage)
	if !ok {
		out.Error, out.Why = true, fmt.Sprintf("the plan has no stage %s", quote(do.Stage))
		return out, nil
	}
	in := Input{Project: t.Plan.Project, Commit: t.Plan.Commit, MergeRequest: t.Plan.MergeRequest}
	vars := variables(in, stageValues(t.Plan, &t.Delivery, before(t.Plan, do.Stage)))
	if st.If != "" {
		yes, err := e.test(st.If, vars)
		switch {
		case err != nil:
			out.Error, out.Why = true, bound("if: "+err.Error())
			return out, nil //nolint:nilerr // a condition that goes wrong is an outcome, which people read
		case !yes:
			out.Why = clip(oneLine(st.If), 200)
			return out, nil
		}
	}
	resolved, err := e.resolve(st, vars)
	if err != nil {
		out.Error, out.Why = true, bound(err.Error())
		return out, nil
	}
	out.Run, out.Resolved = true, resolved
	return out, nil
}

func (e *Evaluator) test(text string, vars map[string]any) (bool, error) {
	t, flaws := e.lang.condition(text)
	if len(flaws) > 0 {
		return false, fmt.Errorf("%s", flaws[0].what)
	}
	return t.test(vars)
}

// resolve fills in a copy of the stage. What is filled in is held against the same
// rules as if it had been written in the file.
func (e *Evaluator) resolve(st pipeline.Stage, vars map[string]any) (*pipeline.Stage, error) {
	st.Dynamic, st.If = false, ""
	var err error
	fill := func(key string, text *string, rule scalar) {
		if err != nil {
			return
		}
		t, flaws := e.lang.template(*text)
		if len(flaws) > 0 {
			err = fmt.Errorf("%s: %s", key, flaws[0].what)
			return
		}
		filled, fillErr := t.fill(vars)
		if fillErr != nil {
			err = fmt.Errorf("%s: %w", key, fillErr)
			return
		}
		if what, _ := rule.check(filled); what != "" {
			err = fmt.Errorf("%s: %s", key, what)
			return
		}
		*text = filled
	}
	switch st.Kind {
	case pipeline.KindDeploy:
		d := *st.Deploy
		d.Images = maps.Clone(d.Images)
		fill("manifests", &d.Manifests, Path(""))
		for _, name := range slices.Sorted(maps.Keys(d.Images)) {
			image := d.Images[name]
			fill("images", &image, Image(""))
			d.Images[name] = image
		}
		st.Deploy = &d
	case pipeline.KindJudgement:
		j := *st.Judgement
		fill("ask", &j.Ask, Text(""))
		st.Judgement = &j
	case pipeline.KindJob:
		j := *st.Job
		fill("name", &j.Name, Text(""))
		st.Job = &j
	case pipeline.KindWait, pipeline.KindRollback:
	}
	return &st, err
}

// before is every stage that the named one needs, directly or not.
func before(plan *pipeline.Plan, name string) map[string]bool {
	found := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		st, _ := plan.Stage(name)
		for _, n := range st.Needs {
			if !found[n] {
				found[n] = true
				visit(n)
			}
		}
	}
	visit(name)
	return found
}
