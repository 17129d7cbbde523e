package gitlab

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Suite is what the tests of one job said. GitLab names it after the job, and takes the
// parallel runs of a job together.
type Suite struct {
	Job    string
	Total  int
	Failed int      // errors too
	Names  []string // of tests that failed, some of them
	// Unreadable says why GitLab can't read the job's report, "" if it can. Its numbers are 0 then.
	Unreadable string
}

const maxNames = 20 // of the tests that failed, for each job

// testReport is the part of GitLab's answer that counts. The library's own type lacks the
// error, without which a broken report looks like one of no tests.
type testReport struct {
	Suites []struct {
		Name   string `json:"name"`
		Total  int    `json:"total_count"`
		Failed int    `json:"failed_count"`
		Errors int    `json:"error_count"`
		Error  string `json:"suite_error"`
		Cases  []struct {
			Name   string `json:"name"`
			Status string `json:"status"`
		} `json:"test_cases"`
	} `json:"test_suites"`
}

// TestReport reads the test report of the commit's CI pipeline, by job. Jobs that have not
// ended yet are not in it. An id of 0 says that the commit has no CI pipeline.
func (c *Client) TestReport(ctx context.Context, t *pipeline.Task) (id int64, suites []Suite, err error) {
	if id, err = c.ciID(ctx, t); err != nil || id == 0 {
		return 0, nil, err
	}
	report, err := c.readReport(ctx, t.Delivery.Project.ID, id, "test_report")
	if errors.Is(err, errTooLarge) {
		// With the output of every test it can be huge. The numbers are what matters.
		report, err = c.readReport(ctx, t.Delivery.Project.ID, id, "test_report_summary")
	}
	if err != nil {
		return id, nil, err
	}
	for _, s := range report.Suites {
		suite := Suite{Job: s.Name, Total: s.Total, Failed: s.Failed + s.Errors, Unreadable: clip(oneLine(s.Error), 200)}
		for _, test := range s.Cases {
			if (test.Status == "failed" || test.Status == "error") && len(suite.Names) < maxNames {
				suite.Names = append(suite.Names, clip(oneLine(test.Name), 100))
			}
		}
		suites = append(suites, suite)
	}
	return id, suites, nil
}

func (c *Client) readReport(ctx context.Context, project, id int64, which string) (testReport, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	var report testReport
	k := call{doing: "read the test report", needs: "Reporter"}
	req, err := c.api.NewRequest(http.MethodGet, fmt.Sprintf("projects/%d/pipelines/%d/%s", project, id, which), nil,
		[]api.RequestOptionFunc{api.WithContext(ctx)})
	if err != nil {
		return report, c.failed(ctx, k, nil, err)
	}
	if resp, err := c.api.Do(req, &report); err != nil {
		return report, c.failed(ctx, k, resp, err)
	}
	return report, nil
}
