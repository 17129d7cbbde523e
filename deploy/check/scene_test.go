package check

import (
	"context"
	"errors"
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// reports are what GitLab has.
type reports struct {
	id     int64
	suites []Suite
	err    error
}

func (r reports) TestReport(context.Context, *pipeline.Task) (int64, []Suite, error) {
	return r.id, r.suites, r.err
}

// task is the third run of a check of the stage staging.
func task(c pipeline.Check, environments map[string]pipeline.EnvironmentRules) *pipeline.Task {
	if c.Name == "" {
		c.Name = "health"
	}
	return &pipeline.Task{
		Plan: &pipeline.Plan{
			Stages: []pipeline.Stage{{Name: "staging", Kind: pipeline.KindDeploy, Checks: []pipeline.Check{{Name: "other"}, c}}}, Environments: environments,
		},
		Delivery: pipeline.Delivery{Stages: []pipeline.StageState{{Name: "staging", Attempt: 2}}},
		Effect:   pipeline.Effect{Key: "staging/2/check", Do: pipeline.RunCheck{Stage: "staging", Attempt: 2, Check: c.Name, Run: 3}},
		Attempt:  1,
	}
}

func executor(t *testing.T, o Options) *Executor {
	t.Helper()
	if o.Reports == nil {
		o.Reports = reports{}
	}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// checked runs a check that can be run.
func checked(t *testing.T, e *Executor, k *pipeline.Task) pipeline.Checked {
	t.Helper()
	event, err := e.Execute(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := event.(pipeline.Checked)
	do, _ := k.Effect.Do.(pipeline.RunCheck)
	if !ok || got.Stage != do.Stage || got.Attempt != do.Attempt || got.Check != do.Check || got.Run != do.Run || got.Saw == "" {
		t.Fatalf("got %+v", event)
	}
	return got
}

// refused runs a check that can't be run.
func refused(t *testing.T, e *Executor, k *pipeline.Task) *pipeline.Failure {
	t.Helper()
	event, err := e.Execute(t.Context(), k)
	var f *pipeline.Failure
	if event != nil || !errors.As(err, &f) || f.Detail == "" {
		t.Fatalf("got %+v and %v, want a failure", event, err)
	}
	return f
}
