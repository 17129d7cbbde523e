package gitlabsim_test

import (
	"fmt"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

func TestStartingACIPipeline(t *testing.T) {
	one := []m{{"key": "A", "value": "1", "variable_type": "file"}}
	tests := []struct {
		name   string
		person string
		role   int // that variables take
		body   m
		status int
		says   string
	}{
		{"with variables", "bot", 0, m{"ref": "main", "variables": one}, 201, `"source":"api"`},
		{"without variables, where nobody may set them", "bot", gitlabsim.NoOne, m{"ref": "main"}, 201, `"ref":"main"`},
		{"with variables, where nobody may set them", "bot", gitlabsim.NoOne, m{"ref": "main", "variables": one}, 400, "Insufficient permissions"},
		{"with variables that take a Maintainer", "maintainer", gitlabsim.Maintainer, m{"ref": "main", "variables": one}, 201, ""},
		{"a reporter may not", "reporter", 0, m{"ref": "main"}, 403, "403 Forbidden"},
		{"without a ref", "bot", 0, m{}, 400, "ref is missing"},
		{"on a branch that is not there", "bot", 0, m{"ref": "gone"}, 400, "Reference not found"},
		{"with a variable given twice", "bot", 0, m{"ref": "main", "variables": append(one, one...)}, 400, "Duplicate variable name: A"},
		{"with variables that are no list", "bot", 0, m{"ref": "main", "variables": "A=1"}, 400, "variables is invalid"},
		{"with a name that is none", "bot", 0, m{"ref": "main", "variables": []m{{"key": "a b", "value": "1"}}}, 400, "letters"},
		{"with a value that is no text", "bot", 0, m{"ref": "main", "variables": []m{{"key": "a", "value": 1}}}, 400, "valid value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, gitlabsim.Options{})
			must(t, w.g.SetCI(w.project, gitlabsim.CI{Jobs: []gitlabsim.JobSpec{{Name: "build"}}, VariablesRole: tt.role}))
			got := w.as(tt.person, "POST", "pipeline", tt.body)
			if got.status != tt.status || !strings.Contains(string(got.raw), tt.says) {
				t.Errorf("got %d %s", got.status, got.raw)
			}
		})
	}
}

func TestVariablesAreShownToWhoStartedTheCIPipelineAndToMaintainers(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	must(t, w.g.SetCI(w.project, gitlabsim.CI{Jobs: []gitlabsim.JobSpec{{Name: "build"}}}))
	id := w.as("bot", "POST", "pipeline", m{"ref": "main", "variables": []m{{"key": "A", "value": "1"}}}).id(t)
	for person, status := range map[string]int{"bot": 200, "maintainer": 200, "dev": 403, "reporter": 403, "stranger": 404} {
		got := w.as(person, "GET", fmt.Sprintf("pipelines/%d/variables", id), nil)
		if got.status != status || status == 200 && !strings.Contains(string(got.raw), `"key":"A"`) {
			t.Errorf("%s: got %d %s", person, got.status, got.raw)
		}
	}
	if list, _ := w.as("bot", "GET", "pipelines?username=dev&source=api", nil).json.([]any); len(list) != 0 {
		t.Errorf("dev has started %v", list)
	}
}

func TestAJobsReportIsThereWhenTheJobHasEnded(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	must(t, w.g.SetCI(w.project, gitlabsim.CI{Jobs: []gitlabsim.JobSpec{
		{Name: "e2e", Report: &gitlabsim.Report{Tests: []gitlabsim.Test{{Name: "A", Status: "failed"}, {Name: "B"}}}}, {Name: "build"},
	}}))
	id := w.as("bot", "POST", "pipeline", m{"ref": "main"}).id(t)
	for _, ended := range []bool{false, true} {
		if ended {
			must(t, w.g.RunPipeline(w.project, id))
		}
		for _, which := range []string{"test_report", "test_report_summary"} {
			suites, _ := w.as("reporter", "GET", fmt.Sprintf("pipelines/%d/%s", id, which), nil).field(t, "test_suites").([]any)
			switch {
			case !ended && len(suites) != 0, ended && len(suites) != 1:
				t.Errorf("%s, ended %v: %v", which, ended, suites)
			case ended:
				if s, _ := suites[0].(map[string]any); s["name"] != "e2e" || s["total_count"] != 2.0 || s["failed_count"] != 1.0 {
					t.Errorf("%s: %v", which, s)
				}
			}
		}
	}
}
