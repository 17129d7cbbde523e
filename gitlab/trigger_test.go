package gitlab_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// triggers adds a stage that starts a CI pipeline.
func (w *world) triggers(trigger pipeline.Trigger) {
	w.plan.Stages = append(w.plan.Stages, pipeline.Stage{Name: "docs", Kind: pipeline.KindTrigger, Trigger: &trigger})
	w.delivery.Stages = append(w.delivery.Stages, pipeline.StageState{Name: "docs", Attempt: 1})
	w.set("docs", pipeline.StageRunning)
}

// started are the CI pipelines that came by the API.
func (w *world) started() []gitlabsim.Pipeline {
	var found []gitlabsim.Pipeline
	for _, p := range w.pipelines() {
		if p.Source == "api" {
			found = append(found, p)
		}
	}
	return found
}

func seen(t *testing.T, e pipeline.Event) pipeline.JobHandle {
	t.Helper()
	s, ok := e.(pipeline.PipelineSeen)
	if !ok || s.Stage != "docs" || s.Attempt != 1 {
		t.Fatalf("got %+v, want the stage's CI pipeline", e)
	}
	return s.CI
}

var start = pipeline.StartPipeline{Stage: "docs", Attempt: 1}

func TestATriggerStartsACIPipelineWithItsVariablesAndFollowsIt(t *testing.T) {
	w := newWorld(t)
	_, err := w.g.Commit(gitlabsim.CommitOptions{ProjectID: w.project.ID, Branch: "docs", Message: "Docs", AuthorID: w.users["ada"], Files: map[string]string{"a": "b"}})
	must(t, err)
	w.plan.TriggerRefs = []string{"d*"}
	w.triggers(pipeline.Trigger{Ref: "docs", Variables: map[string]string{"TARGET": "web", "DELIVERY_KEY": "forged", "A": "1"}})
	ci := seen(t, w.must(start))
	got := w.started()
	if len(got) != 1 || got[0].Ref != "docs" || got[0].ID != ci.ID || ci.Status == "" || !strings.HasSuffix(ci.URL, "/-/pipelines/2") {
		t.Fatalf("started %+v, told %+v", got, ci)
	}
	want := []gitlabsim.Variable{{Key: "DELIVERY_KEY", Value: w.delivery.ID + "/test/1"}, {Key: "A", Value: "1"}, {Key: "TARGET", Value: "web"}}
	if diff := cmp.Diff(want, got[0].Variables); diff != "" {
		t.Error(diff)
	}
	must(t, w.g.RunPipeline(w.project.ID, ci.ID))
	if now := seen(t, w.must(pipeline.LookAtPipeline{Stage: "docs", Attempt: 1, Pipeline: ci.ID})); now.Status != "success" || now.ID != ci.ID {
		t.Errorf("got %+v", now)
	}
}

func TestATriggerWithoutRefTakesTheBranchOfTheMerge(t *testing.T) {
	w := newWorld(t)
	w.triggers(pipeline.Trigger{})
	w.must(start)
	if got := w.started(); len(got) != 1 || got[0].Ref != "main" {
		t.Errorf("started %+v", got)
	}
}

func TestATriggerStartsNothingOnOtherBranchesThanTheOperatorAllows(t *testing.T) {
	w := newWorld(t)
	_, err := w.g.Commit(gitlabsim.CommitOptions{ProjectID: w.project.ID, Branch: "docs", Message: "Docs", AuthorID: w.users["ada"], Files: map[string]string{"a": "b"}})
	must(t, err)
	w.plan.TriggerRefs = []string{"doc", "docs/*"}
	w.triggers(pipeline.Trigger{Ref: "docs"})
	_, err = w.run(start)
	f, ok := pipeline.AsFailure(err)
	if !ok || f.Code != pipeline.ReasonNotAllowed || !f.Permanent || !strings.Contains(f.Detail, "not start a CI pipeline on docs, but only on main") {
		t.Errorf("got %v", err)
	}
	if got := w.started(); len(got) != 0 {
		t.Errorf("started %+v", got)
	}
}

func TestATriggerWhoseCallGotLostIsFoundAndNotStartedTwice(t *testing.T) {
	for name, fault := range map[string]gitlabsim.Fault{
		"GitLab did it": {Status: 502, Do: true}, "GitLab did not": {Status: 502}, "the connection broke": {Drop: true, Do: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.triggers(pipeline.Trigger{})
			// Other stages and other people start CI pipelines on the same branch.
			_, err := w.c.Execute(t.Context(), &pipeline.Task{Plan: w.plan, Delivery: w.delivery, Attempt: 1, Effect: pipeline.Effect{Key: "docs/2/start", Do: start}})
			must(t, err)
			fault.Method, fault.Path, fault.Times = http.MethodPost, "projects/*/pipeline", 1
			w.fail(fault)
			_, err = w.run(start)
			if f := failure(t, err); !f.Unknown || f.Permanent || f.After == 0 {
				t.Fatalf("got %+v", f)
			}
			e, err := w.try(start, 2, true)
			must(t, err)
			if got := w.started(); len(got) != 2 || got[1].ID != seen(t, e).ID {
				t.Errorf("%d were started, and %+v is told", len(got), e)
			}
		})
	}
}

func TestATriggerThatCannotBeLookedForIsNotStartedAgain(t *testing.T) {
	w := newWorld(t)
	w.triggers(pipeline.Trigger{})
	w.must(start)
	w.fail(gitlabsim.Fault{Method: http.MethodGet, Path: "projects/*/pipelines/*/variables", Status: 403})
	_, err := w.try(start, 2, true)
	if f := failure(t, err); !f.Permanent || !strings.Contains(f.Detail, "may have been started") {
		t.Errorf("got %+v", f)
	}
	if n := len(w.started()); n != 1 {
		t.Errorf("%d were started", n)
	}
}

func TestATriggerThatGitLabRefusesSaysWhy(t *testing.T) {
	tests := []struct {
		name    string
		trigger pipeline.Trigger
		ci      *gitlabsim.CI
		says    string
	}{
		{"the branch is not there", pipeline.Trigger{Ref: "gone"}, nil, "Reference not found"},
		{"nobody may set variables", pipeline.Trigger{}, &gitlabsim.CI{Jobs: []gitlabsim.JobSpec{{Name: "a"}}, VariablesRole: gitlabsim.NoOne}, "Minimum role to use pipeline variables"},
		{"the project has no CI", pipeline.Trigger{}, &gitlabsim.CI{}, "Missing CI config file"},
		{"a variable's name is wrong", pipeline.Trigger{Variables: map[string]string{"a b": "c"}}, nil, "letters, digits"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if tt.ci != nil {
				must(t, w.g.SetCI(w.project.ID, *tt.ci))
			}
			w.plan.TriggerRefs = []string{"gone"}
			w.triggers(tt.trigger)
			_, err := w.run(start)
			if f := failure(t, err); !f.Permanent || !strings.Contains(f.Detail, tt.says) {
				t.Errorf("got %+v, want it to say %q", f, tt.says)
			}
		})
	}
}

func TestACIPipelineThatAStageStartedIsNotTheCommits(t *testing.T) {
	w := newWorld(t)
	own := w.delivery.CI.ID
	w.triggers(pipeline.Trigger{})
	w.must(start)
	if e, _ := w.must(pipeline.LookAtCI{}).(pipeline.CISeen); e.CI.ID != own {
		t.Errorf("got CI pipeline %d, want %d", e.CI.ID, own)
	}
}

func TestACIPipelineThatSomebodyStartedByTheAPIIsTheCommits(t *testing.T) {
	w := newWorld(t)
	must(t, w.g.AddToken("token-of-bob", w.users["bob"], gitlabsim.PersonalToken))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.g.URL()+"/api/v4/projects/shop%2Fapi/pipeline", strings.NewReader(`{"ref":"main"}`))
	must(t, err)
	req.Header.Set("PRIVATE-TOKEN", "token-of-bob")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	must(t, resp.Body.Close())
	if e, _ := w.must(pipeline.LookAtCI{}).(pipeline.CISeen); e.CI.ID != 2 {
		t.Errorf("got CI pipeline %d, want the newer one", e.CI.ID)
	}
}
