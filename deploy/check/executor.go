package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	// longestRun is for one run of a check that is no Job. Requests that don't fit in have failed.
	longestRun = 90 * time.Second
	maxDetail  = 500 // characters of what people are told
)

// Reports reads the test report of the commit's CI pipeline.
type Reports interface {
	// TestReport returns the id of the CI pipeline, 0 if there is none, and the suites that it has by now.
	TestReport(ctx context.Context, t *pipeline.Task) (int64, []Suite, error)
}

// Jobs runs Kubernetes Jobs.
type Jobs interface {
	// RunToEnd runs the Job to its end. The name tells it from other Jobs of the stage's attempt; with the same name
	// again, the Job that is there is watched. The detail says in words why it did not pass.
	RunToEnd(ctx context.Context, t *pipeline.Task, run pipeline.Run, name string) (passed bool, ran pipeline.Ran, detail string, err error)
}

// Options for New.
type Options struct {
	// Hosts that the operator lets checks ask: "shop.internal:8080", "*.example.com". One without port stands for ports
	// 80 and 443. The hosts of the plan's environments may be asked too.
	Hosts   []string
	Sources map[string]metrics.Source // by the operator's name
	Reports Reports                   // required
	Jobs    Jobs                      // nil: checks that are Jobs fail
	// Resolver finds the addresses of hosts; the system's where nil.
	Resolver *net.Resolver
}

// Executor carries out RunCheck.
type Executor struct {
	o Options
}

// New checks the options.
func New(o Options) (*Executor, error) {
	if o.Reports == nil {
		return nil, errors.New("check: something that reads test reports must be given")
	}
	return &Executor{o: o}, nil
}

// result is what one run saw, in a sentence without full stop.
type result struct {
	passed bool
	saw    string
}

// Execute runs a check once. Running it again after an unknown outcome does no harm: it only looks, and a Job is found
// by its name.
func (e *Executor) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	do, ok := t.Effect.Do.(pipeline.RunCheck)
	if !ok {
		return nil, refusal(pipeline.ReasonOther, fmt.Sprintf("a check cannot carry out %q", t.Effect.Do.ActionKind()), nil)
	}
	c, err := definition(t, do)
	if err != nil {
		return nil, err
	}
	r, err := e.run(ctx, t, do, c)
	if ctx.Err() != nil && err != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return pipeline.Checked{
		Stage: do.Stage, Attempt: do.Attempt, Check: do.Check, Run: do.Run, Passed: r.passed, Saw: clip(r.saw, maxDetail),
	}, nil
}

func (e *Executor) run(ctx context.Context, t *pipeline.Task, do pipeline.RunCheck, c pipeline.Check) (result, error) {
	if c.Job != nil {
		return e.job(ctx, t, do, c)
	}
	limited, cancel := context.WithTimeout(ctx, longestRun)
	defer cancel()
	switch {
	case c.HTTP != nil:
		return e.http(limited, t, c.HTTP)
	case c.Report != nil:
		return e.report(limited, t, c.Report)
	case c.Metric != nil:
		return e.metric(limited, c)
	}
	return result{}, refusal(pipeline.ReasonOther, fmt.Sprintf("check %s of stage %s does not say what it checks", do.Check, do.Stage), nil)
}

func (e *Executor) job(ctx context.Context, t *pipeline.Task, do pipeline.RunCheck, c pipeline.Check) (result, error) {
	if e.o.Jobs == nil {
		return result{}, refusal(pipeline.ReasonOther, "this Slipway runs no Kubernetes Jobs", nil)
	}
	passed, ran, detail, err := e.o.Jobs.RunToEnd(ctx, t, *c.Job, fmt.Sprintf("%s-%d", do.Check, do.Run))
	switch {
	case err != nil:
		return result{}, err
	case passed:
		return result{passed: true, saw: "Job " + ran.Job + " has ended well"}, nil
	case detail == "":
		detail = fmt.Sprintf("it exits with %d", ran.ExitCode)
	}
	return result{saw: "Job " + ran.Job + " did not end well: " + clean(detail, maxDetail)}, nil
}

// definition is the check of the stage.
func definition(t *pipeline.Task, do pipeline.RunCheck) (pipeline.Check, error) {
	stage, ok := t.Delivery.Definition(t.Plan, do.Stage)
	if !ok {
		return pipeline.Check{}, refusal(pipeline.ReasonOther, "the plan has no stage "+do.Stage, nil)
	}
	for _, c := range stage.Checks {
		if c.Name == do.Check {
			return c, nil
		}
	}
	return pipeline.Check{}, refusal(pipeline.ReasonOther, fmt.Sprintf("stage %s has no check %s", do.Stage, do.Check), nil)
}

// refusal is a failure that no further try changes. A check changes nothing, so there is nothing of it to roll back.
func refusal(code pipeline.ReasonCode, detail string, cause error) *pipeline.Failure {
	return &pipeline.Failure{Code: code, Detail: clip(detail, maxDetail), Permanent: true, Err: cause}
}
