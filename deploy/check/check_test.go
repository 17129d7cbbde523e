package check

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestATestReportIsJudged(t *testing.T) {
	all := []Suite{
		{Job: "unit", Total: 900}, {Job: "e2e", Total: 212, Failed: 2, Names: []string{"TestCheckout", "TestCart"}},
		{Job: "ui: [chrome, 1]", Total: 10}, {Job: "ui: [firefox, 1]", Total: 10, Failed: 1, Names: []string{"TestMenu"}}, {Job: "uid", Total: 1},
		{Job: "broken", Unreadable: "JUnit XML parsing failed"}, {Job: "many", Total: 9, Failed: 8, Names: []string{"A", "B", "C", "D", "E", "F"}},
		{Job: "mute", Total: 9, Failed: 1},
	}
	tests := []struct {
		name   string
		found  reports
		check  pipeline.ReportCheck
		passed bool
		saw    string
	}{
		{"all passed", reports{id: 7, suites: all}, pipeline.ReportCheck{Job: "unit", MinTests: 900}, true, "900 tests, none failed (job unit)"},
		{"some failed", reports{id: 7, suites: all}, pipeline.ReportCheck{Job: "e2e", MinTests: 1}, false, "212 tests, 2 failed: TestCheckout, TestCart (job e2e)"},
		{"some may fail", reports{id: 7, suites: all}, pipeline.ReportCheck{Job: "e2e", Failed: 2}, true, "212 tests, 2 failed: TestCheckout, TestCart (job e2e)"},
		{"but not so many", reports{id: 7, suites: all}, pipeline.ReportCheck{Job: "e2e", Failed: 1}, false, "212 tests, 2 failed: TestCheckout, TestCart (job e2e); at most 1 may fail"},
		{"too few ran", reports{id: 7, suites: all}, pipeline.ReportCheck{Job: "unit", MinTests: 901}, false, "900 tests, none failed (job unit); at least 901 tests are required"},
		{"a matrix is one job", reports{id: 7, suites: all}, pipeline.ReportCheck{Job: "ui", MinTests: 20}, false, "20 tests, 1 failed: TestMenu (job ui)"},
		{"many failed", reports{id: 7, suites: all}, pipeline.ReportCheck{Job: "many"}, false, "9 tests, 8 failed: A, B, C, D, E and 3 more (job many)"},
		{"nobody says which", reports{id: 7, suites: all}, pipeline.ReportCheck{Job: "mute"}, false, "9 tests, 1 failed (job mute)"},
		{"the report is broken", reports{id: 7, suites: all}, pipeline.ReportCheck{Job: "broken"}, false, "GitLab cannot read the test report of job broken: JUnit XML parsing failed"},
		{"of all jobs one is broken", reports{id: 7, suites: all}, pipeline.ReportCheck{}, false, "GitLab cannot read the test report of job broken: JUnit XML parsing failed"},
		{"all jobs", reports{id: 7, suites: all[:1]}, pipeline.ReportCheck{MinTests: 1}, true, "900 tests, none failed"},
		{"it is not there yet", reports{id: 7, suites: all[:2]}, pipeline.ReportCheck{Job: "slow"}, false, "there is no test report in CI pipeline 7 yet (job slow); there are those of unit, e2e"},
		{"none is there yet", reports{id: 7}, pipeline.ReportCheck{}, false, "there is no test report in CI pipeline 7 yet"},
		{"there is no CI pipeline", reports{}, pipeline.ReportCheck{}, false, "the commit has no CI pipeline, so there is no test report"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := checked(t, executor(t, Options{Reports: tt.found}), task(pipeline.Check{Report: &tt.check}, nil))
			if got.Passed != tt.passed || got.Saw != tt.saw {
				t.Errorf("got %v, %s\nwant %v, %s", got.Passed, got.Saw, tt.passed, tt.saw)
			}
		})
	}
}

func TestAGitLabThatIsNotReachedIsAskedAgain(t *testing.T) {
	away := &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: "GitLab answers 502"}
	f := refused(t, executor(t, Options{Reports: reports{err: away}}), task(pipeline.Check{Report: &pipeline.ReportCheck{}}, nil))
	if f != away {
		t.Errorf("got %+v", f)
	}
}

// answers is a metrics source that knows one answer.
type answers struct {
	value float64
	err   error
}

func (a answers) Number(context.Context, string) (float64, error) { return a.value, a.err }

func TestAMetricIsComparedWithItsBounds(t *testing.T) {
	tests := []struct {
		name     string
		answer   answers
		max, min *float64
		passed   bool
		saw      string
	}{
		{"it is below", answers{value: 0.004}, new(0.01), nil, true, "error_rate is 0.004; at most 0.01 is allowed"},
		{"it is the bound", answers{value: 0.01}, new(0.01), nil, true, "error_rate is 0.01; at most 0.01 is allowed"},
		{"it is above", answers{value: 0.034}, new(0.01), nil, false, "error_rate is 0.034; at most 0.01 is allowed"},
		{"it is a little above", answers{value: 0.0100000001}, new(0.01), nil, false, "error_rate is 0.0100000001; at most 0.01 is allowed"},
		{"long numbers are shortened", answers{value: 1.0 / 3}, new(0.01), nil, false, "error_rate is 0.3333; at most 0.01 is allowed"},
		{"large numbers are written out", answers{value: 123456}, new(200000.0), nil, true, "error_rate is 123500; at most 200000 is allowed"},
		{"it is too small", answers{value: 3}, nil, new(5.0), false, "error_rate is 3; at least 5 is required"},
		{"it is between", answers{value: 7}, new(9.0), new(5.0), true, "error_rate is 7; between 5 and 9 is allowed"},
		{"zero is a bound", answers{value: 1}, new(0.0), nil, false, "error_rate is 1; at most 0 is allowed"},
		{"nothing is measured", answers{err: &metrics.NotOneError{}}, new(0.01), nil, false, "error_rate has no data"},
		{"it is not a number", answers{value: math.NaN()}, new(0.01), nil, false, "error_rate is not a number (NaN); at most 0.01 is allowed"},
		{"it is infinite", answers{value: math.Inf(1)}, nil, new(1.0), false, "error_rate is infinite; at least 1 is required"},
		{"there are several", answers{err: &metrics.NotOneError{Got: 3}}, new(0.01), nil, false,
			"error_rate is not one number: the query gives 3 numbers, and one is needed: let the query aggregate them"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := executor(t, Options{Sources: map[string]metrics.Source{"main": tt.answer}})
			c := pipeline.Check{Name: "error_rate", Metric: &pipeline.MetricCheck{Source: "main", Query: "q", Max: tt.max, Min: tt.min}}
			if got := checked(t, e, task(c, nil)); got.Passed != tt.passed || got.Saw != tt.saw {
				t.Errorf("got %v, %s\nwant %v, %s", got.Passed, got.Saw, tt.passed, tt.saw)
			}
		})
	}
}

func TestAMetricThatCannotBeAskedForSaysWhy(t *testing.T) {
	sources := func(err error) map[string]metrics.Source {
		return map[string]metrics.Source{"main": answers{err: err}, "eu": answers{}}
	}
	one := pipeline.MetricCheck{Source: "main", Query: "q", Max: new(1.0)}
	tests := []struct {
		name      string
		sources   map[string]metrics.Source
		check     pipeline.MetricCheck
		permanent bool
		says      string
	}{
		{"the source is unknown", sources(nil), pipeline.MetricCheck{Source: "mian", Max: new(1.0)}, true, "no metrics source mian: there are eu, main"},
		{"there are no sources", nil, one, true, "the operator has set none up"},
		{"there is no bound", sources(nil), pipeline.MetricCheck{Source: "main"}, true, "gives no bound"},
		{"the query is wrong", sources(&metrics.Failure{Words: "Prometheus does not take the query: x", Permanent: true}), one, true, "does not take the query"},
		{"the source is away", sources(&metrics.Failure{Words: "Prometheus cannot be reached", Err: errors.New("dial")}), one, false, "cannot be reached"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := refused(t, executor(t, Options{Sources: tt.sources}), task(pipeline.Check{Metric: &tt.check}, nil))
			if f.Permanent != tt.permanent || !strings.Contains(f.Detail, tt.says) {
				t.Errorf("got %+v, want %q", f, tt.says)
			}
		})
	}
}

// jobs runs Kubernetes Jobs that end as it says.
type jobs struct {
	passed bool
	detail string
	err    error
	names  []string
}

func (j *jobs) RunToEnd(_ context.Context, _ *pipeline.Task, run pipeline.Run, name string) (bool, pipeline.Ran, string, error) {
	j.names = append(j.names, name+" of "+run.Image)
	return j.passed, pipeline.Ran{Job: "shop-health-3", ExitCode: 4}, j.detail, j.err
}

func TestAJobIsACheck(t *testing.T) {
	c := pipeline.Check{Job: &pipeline.Run{Image: "smoke:1"}}
	tests := []struct {
		name string
		jobs *jobs
		saw  string
	}{
		{"it passes", &jobs{passed: true}, "Job shop-health-3 has ended well"},
		{"it fails", &jobs{}, "Job shop-health-3 did not end well: it exits with 4"},
		{"it says why", &jobs{detail: "out of memory\n"}, "Job shop-health-3 did not end well: out of memory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := checked(t, executor(t, Options{Jobs: tt.jobs}), task(c, nil))
			if got.Passed != tt.jobs.passed || got.Saw != tt.saw || len(tt.jobs.names) != 1 || tt.jobs.names[0] != "health-3 of smoke:1" {
				t.Errorf("got %+v of %v", got, tt.jobs.names)
			}
		})
	}
	if f := refused(t, executor(t, Options{}), task(c, nil)); !f.Permanent {
		t.Errorf("got %+v", f)
	}
	away := &pipeline.Failure{Detail: "the cluster cannot be reached"}
	if f := refused(t, executor(t, Options{Jobs: &jobs{err: away}}), task(c, nil)); f != away {
		t.Errorf("got %+v", f)
	}
}

func TestACheckIsTakenAsItWasResolved(t *testing.T) {
	e := executor(t, Options{Reports: reports{id: 1, suites: []Suite{{Job: "unit", Total: 1}}}})
	k := task(pipeline.Check{Report: &pipeline.ReportCheck{Job: "${{ x }}"}}, nil)
	k.Delivery.Stages[0].Resolved = &pipeline.Stage{Name: "staging", Checks: []pipeline.Check{{Name: "health", Report: &pipeline.ReportCheck{Job: "unit"}}}}
	if got := checked(t, e, k); !got.Passed {
		t.Errorf("got %+v", got)
	}
}

func TestACheckThatIsNotThereIsRefused(t *testing.T) {
	e := executor(t, Options{})
	for says, do := range map[string]pipeline.Action{
		"no stage gone": pipeline.RunCheck{Stage: "gone", Check: "health"}, "no check gone": pipeline.RunCheck{Stage: "staging", Check: "gone"},
		"what it checks": pipeline.RunCheck{Stage: "staging", Check: "other"}, "cannot carry out": pipeline.WriteNote{},
	} {
		k := task(pipeline.Check{}, nil)
		k.Effect.Do = do
		if f := refused(t, e, k); !f.Permanent || !strings.Contains(f.Detail, says) {
			t.Errorf("got %+v, want %q", f, says)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("an executor without reports was made")
	}
}
