package spec

import (
	"context"
	"encoding/json"
	"fmt"

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
	vars := variables(in, t.Plan.Application, stageValues(t.Plan, &t.Delivery, before(t.Plan, do.Stage)))
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
	own, err := copyOf(st)
	if err != nil {
		return nil, err
	}
	own.Dynamic, own.If = false, ""
	eachText(own, func(key, text string, rule scalar) string {
		if err != nil {
			return text
		}
		t, flaws := e.lang.template(text)
		if len(flaws) > 0 {
			err = fmt.Errorf("%s: %s", key, flaws[0].what)
			return text
		}
		filled, fillErr := t.fill(vars)
		if fillErr != nil {
			err = fmt.Errorf("%s: %w", key, fillErr)
			return text
		}
		if what, _ := rule.check(filled); what != "" {
			err = fmt.Errorf("%s: %s", key, what)
		}
		return filled
	})
	return own, err
}

// copyOf is a stage that shares nothing with the plan.
func copyOf(st pipeline.Stage) (*pipeline.Stage, error) {
	data, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("copy stage %s: %w", st.Name, err)
	}
	var own pipeline.Stage
	if err := json.Unmarshal(data, &own); err != nil {
		return nil, fmt.Errorf("copy stage %s: %w", st.Name, err)
	}
	return &own, nil
}

// before is every stage that has ended when the named one begins: those that it needs,
// directly or not, and for one that follows the delivery's end all others of the delivery.
func before(plan *pipeline.Plan, name string) map[string]bool {
	found := map[string]bool{}
	if st, _ := plan.Stage(name); st.Aftermath {
		for _, other := range plan.Stages {
			if !other.Aftermath {
				found[other.Name] = true
			}
		}
	}
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
