package check

import (
	"context"
	"fmt"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Suite is what the tests of one CI job said.
type Suite struct {
	Job    string
	Total  int
	Failed int
	Names  []string // of tests that failed, some of them
	// Unreadable says why the job's report can't be read, "" if it can.
	Unreadable string
}

// report reads the test report of the commit's CI pipeline. One that isn't there yet is a run that failed: the check
// says how many of those it takes.
func (e *Executor) report(ctx context.Context, t *pipeline.Task, c *pipeline.ReportCheck) (result, error) {
	id, suites, err := e.o.Reports.TestReport(ctx, t)
	if err != nil {
		return result{}, err
	}
	if id == 0 {
		return result{saw: "the commit has no CI pipeline, so there is no test report"}, nil
	}
	of := ""
	if c.Job != "" {
		of = " (job " + clean(c.Job, 100) + ")"
	}
	sum, others, found := Suite{}, []string{}, false
	for _, s := range suites {
		if !covers(c.Job, s.Job) {
			others = append(others, clean(s.Job, 60))
			continue
		}
		if s.Unreadable != "" {
			return result{saw: fmt.Sprintf("GitLab cannot read the test report of job %s: %s", clean(s.Job, 100), clean(s.Unreadable, maxShown))}, nil
		}
		found = true
		sum.Total, sum.Failed, sum.Names = sum.Total+s.Total, sum.Failed+s.Failed, append(sum.Names, s.Names...)
	}
	if !found {
		saw := fmt.Sprintf("there is no test report in CI pipeline %d yet%s", id, of)
		if len(others) > 0 {
			saw += "; there are those of " + listed(others, len(others))
		}
		return result{saw: saw}, nil
	}
	return judged(c, sum, of), nil
}

func judged(c *pipeline.ReportCheck, s Suite, of string) result {
	for i := range s.Names {
		s.Names[i] = clean(s.Names[i], 60)
	}
	saw := fmt.Sprintf("%d tests, none failed%s", s.Total, of)
	if s.Failed > 0 {
		saw = fmt.Sprintf("%d tests, %d failed: %s%s", s.Total, s.Failed, listed(s.Names, s.Failed), of)
		if len(s.Names) == 0 {
			saw = fmt.Sprintf("%d tests, %d failed%s", s.Total, s.Failed, of)
		}
	}
	switch {
	case s.Failed > c.Failed && c.Failed > 0:
		return result{saw: fmt.Sprintf("%s; at most %d may fail", saw, c.Failed)}
	case s.Failed > c.Failed:
		return result{saw: saw}
	case s.Total < c.MinTests:
		return result{saw: fmt.Sprintf("%s; at least %d tests are required", saw, c.MinTests)}
	}
	return result{passed: true, saw: saw}
}

// covers tells whether the suite is the job's. GitLab calls those of a matrix "job: [a, b]".
func covers(job, suite string) bool {
	return job == "" || suite == job || strings.HasPrefix(suite, job+": [")
}
