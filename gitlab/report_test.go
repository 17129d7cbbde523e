package gitlab_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// tested merges a change of a project whose jobs have these reports, and runs its CI pipeline.
func tested(t *testing.T, jobs ...gitlabsim.JobSpec) *world {
	t.Helper()
	w := newWorld(t)
	must(t, w.g.SetCI(w.project.ID, gitlabsim.CI{Jobs: jobs}))
	id, err := w.g.StartPipeline(w.project.ID, "main", w.users["bob"])
	must(t, err)
	w.delivery.CI.ID = id
	return w
}

func (w *world) report() (int64, []gitlab.Suite) {
	w.t.Helper()
	id, suites, err := w.c.TestReport(w.t.Context(), &pipeline.Task{Plan: w.plan, Delivery: w.delivery})
	must(w.t, err)
	return id, suites
}

func TestTheTestReportIsReadByJob(t *testing.T) {
	w := tested(t,
		gitlabsim.JobSpec{Name: "unit", Report: &gitlabsim.Report{Tests: []gitlabsim.Test{{Name: "TestA"}, {Name: "TestB", Status: "skipped"}}}},
		gitlabsim.JobSpec{Name: "e2e", Report: &gitlabsim.Report{Tests: []gitlabsim.Test{
			{Name: "TestCheckout", Status: "failed", Output: "boom"}, {Name: "TestCart\n", Status: "error"}, {Name: "TestLogin"},
		}}},
		gitlabsim.JobSpec{Name: "broken", Report: &gitlabsim.Report{Error: "JUnit XML parsing failed: 1:1: FATAL"}},
		gitlabsim.JobSpec{Name: "build"},
	)
	if _, suites := w.report(); len(suites) != 0 {
		t.Errorf("before the jobs have ended: %+v", suites)
	}
	must(t, w.g.RunPipeline(w.project.ID, w.delivery.CI.ID))
	id, suites := w.report()
	want := []gitlab.Suite{
		{Job: "unit", Total: 2}, {Job: "e2e", Total: 3, Failed: 2, Names: []string{"TestCheckout", "TestCart"}},
		{Job: "broken", Unreadable: "JUnit XML parsing failed: 1:1: FATAL"},
	}
	if diff := cmp.Diff(want, suites); diff != "" || id != w.delivery.CI.ID {
		t.Errorf("CI pipeline %d:\n%s", id, diff)
	}
}

func TestOfATestReportThatIsTooLargeTheNumbersAreRead(t *testing.T) {
	output := strings.Repeat("x", 1<<20)
	var tests []gitlabsim.Test
	for range 17 {
		tests = append(tests, gitlabsim.Test{Name: "TestLoud", Status: "failed", Output: output})
	}
	w := tested(t, gitlabsim.JobSpec{Name: "e2e", Report: &gitlabsim.Report{Tests: tests}})
	must(t, w.g.RunPipeline(w.project.ID, w.delivery.CI.ID))
	if _, suites := w.report(); len(suites) != 1 || suites[0].Failed != 17 || suites[0].Names != nil {
		t.Errorf("got %d suites: %.300v", len(suites), suites)
	}
}

func TestWithoutCIPipelineThereIsNoTestReport(t *testing.T) {
	w := newWorld(t)
	sha, err := w.g.Commit(gitlabsim.CommitOptions{ProjectID: w.project.ID, Branch: "quiet", Message: "No CI", AuthorID: w.users["ada"], Files: map[string]string{"a": "b"}})
	must(t, err)
	w.delivery.CI, w.delivery.SHA, w.plan.Commit.Ref = pipeline.CIPipeline{}, sha, "quiet"
	if id, suites := w.report(); id != 0 || suites != nil {
		t.Errorf("CI pipeline %d with %+v", id, suites)
	}
}
