package spec_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// source is a GitLab with one commit.
type source struct {
	file         string
	fileErr      error
	describeErr  error
	targetBranch string
	path         string // of the project, as GitLab tells it
}

func (s source) PipelineFile(context.Context, pipeline.Project, string) ([]byte, error) {
	return []byte(s.file), s.fileErr
}

func (s source) Describe(context.Context, int64, int64, string) (spec.Input, error) {
	in := input()
	if s.targetBranch != "" {
		in.MergeRequest.TargetBranch = s.targetBranch
	}
	if s.path != "" {
		in.Project.Path = s.path
	}
	return in, s.describeErr
}

func (s source) DescribeOpen(ctx context.Context, _, _ int64, _ string) (spec.Input, error) {
	in, err := s.Describe(ctx, 0, 0, "")
	in.Commit.Ref, in.MergeRequest.MergedAt, in.MergeRequest.MergedBy = in.MergeRequest.SourceBranch, time.Time{}, ""
	return in, err
}

type blobs map[string][]byte

func (b blobs) PutBlob(_ context.Context, data []byte) (string, error) {
	ref := fmt.Sprintf("blob-%d", len(b))
	b[ref] = data
	return ref, nil
}

const simple = "version: 1\napplication: shop\nstages:\n  - name: staging\n    deploy: {environment: staging, manifests: deploy}\n"

func TestLoaderTellsWhatBecameOfTheFile(t *testing.T) {
	down := errors.New("connection refused")
	cases := []struct {
		name   string
		source source
		want   pipeline.Event
		err    error
	}{
		{"a good file is planned at its merge time", source{file: simple},
			pipeline.Planned{PlanRef: "blob-0", At: input().MergeRequest.MergedAt}, nil},
		{"a missing file is refused without problems", source{fileErr: fmt.Errorf("get file: %w", spec.ErrNoFile)}, pipeline.PlanRefused{}, nil},
		{"a wrong file is refused with its place", source{file: "version: 1\nstages: []\n"}, pipeline.PlanRefused{Problems: []pipeline.Problem{
			{File: ".slipway.yml", Line: 1, Column: 1, What: "the file has no application", Hint: "add application:"},
			{File: ".slipway.yml", Line: 2, Column: 9, What: "stages is empty"},
		}}, nil},
		{"a file that the operator refuses is refused with its place", source{file: strings.ReplaceAll(simple, "environment: staging", "environment: nope")},
			pipeline.PlanRefused{Problems: []pipeline.Problem{{File: ".slipway.yml", Line: 5, Column: 27,
				What: `project shop/api may not deploy to "nope"; it may use guarded, live, production and staging`}}}, nil},
		{"a merge into another branch is not for us", source{file: simple, targetBranch: "stable"},
			pipeline.Failed{Effect: "load-plan", Key: "load/1", Code: pipeline.ReasonCondition,
				Detail: "merges into main are delivered, this one went into stable"}, nil},
		{"a merge that GitLab does not tell of is not for us, and no file is read for it",
			source{fileErr: down, describeErr: &pipeline.Failure{Code: pipeline.ReasonStale, Permanent: true, Detail: "it was not merged"}},
			pipeline.Failed{Effect: "load-plan", Key: "load/1", Code: pipeline.ReasonCondition, Detail: "it was not merged"}, nil},
		{"a project whose path a hook made up is not for us, and no file is read for it", source{fileErr: down, path: "other/app"},
			pipeline.Failed{Effect: "load-plan", Key: "load/1", Code: pipeline.ReasonCondition,
				Detail: "project other/app may not deploy anywhere; an operator has to add it to an environment"}, nil},
		{"a branch that the operator does not deploy from is refused", source{file: strings.Replace(simple, "stages", "on: {merge: {into: '*'}}\nstages", 1), targetBranch: "stable"},
			pipeline.PlanRefused{Problems: []pipeline.Problem{{File: ".slipway.yml", Line: 6, Column: 27,
				What: `"staging" is not deployed to from "stable"`, Hint: "only from the default branch; an operator can allow other branches"}}}, nil},
		{"GitLab's errors are the engine's to judge", source{fileErr: down}, nil, down},
		{"so are those of the description", source{file: simple, describeErr: down}, nil, down},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			store := blobs{}
			l, err := spec.NewLoader(spec.LoaderOptions{Source: c.source, Operator: operator{}, Blobs: store})
			if err != nil {
				t.Fatal(err)
			}
			got, err := l.Execute(t.Context(), loadTask())
			if !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if planned, ok := got.(pipeline.Planned); ok {
				plan, err := spec.DecodePlan(store[planned.PlanRef])
				if err != nil || len(plan.Stages) != 1 || plan.Commit.ShortSHA != "3f2a91c0" {
					t.Errorf("stored %+v, %v", plan, err)
				}
			}
		})
	}
}

const reviewed = simple + "review:\n  after: push\n  stages:\n    - {name: look, deploy: {environment: review/mr-12, manifests: deploy}}\n"

func TestLoaderOfReviews(t *testing.T) {
	silent := func(why string) pipeline.Event {
		return pipeline.Failed{Effect: "load-plan", Key: "load/1", Code: pipeline.ReasonCondition, Detail: why}
	}
	stale := &pipeline.Failure{Code: pipeline.ReasonStale, Permanent: true, Detail: "it is closed"}
	for name, c := range map[string]struct {
		source source
		want   pipeline.Event
	}{
		"a file with a review is planned":                {source{file: reviewed, targetBranch: "stable"}, pipeline.Planned{PlanRef: "blob-0"}},
		"without a file nobody hears of it":              {source{fileErr: spec.ErrNoFile}, silent(".slipway.yml has no review at this commit")},
		"without a review nobody hears of it":            {source{file: simple}, silent(".slipway.yml has no review at this commit")},
		"a wrong file without a review is for the merge": {source{file: "version: 7\nstages: []\n"}, silent(".slipway.yml has no review at this commit")},
		"a closed merge request has none":                {source{file: reviewed, describeErr: stale}, silent("it is closed")},
		"a wrong file with a review is refused with its places": {source{file: strings.Replace(reviewed, "look,", "Look,", 1)}, pipeline.PlanRefused{Problems: []pipeline.Problem{
			{File: ".slipway.yml", Line: 9, Column: 14, What: `"Look" is not a name`, Hint: "use up to 40 of a-z, 0-9 and -, and start with a letter or digit"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			store := blobs{}
			l, err := spec.NewLoader(spec.LoaderOptions{Source: c.source, Operator: operator{}, Blobs: store})
			if err != nil {
				t.Fatal(err)
			}
			task := loadTask()
			task.Delivery.Review = true
			got, err := l.Execute(t.Context(), task)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if planned, ok := got.(pipeline.Planned); ok {
				plan, err := spec.DecodePlan(store[planned.PlanRef])
				if err != nil || plan.After != pipeline.AfterPush || plan.Channel != "" || plan.Stages[0].OnFailure != pipeline.FailStop || !plan.Environments["review/mr-12"].Review {
					t.Errorf("stored %+v, %v", plan, err)
				}
			}
		})
	}
}

func TestReviewsAndMergesKeepApart(t *testing.T) {
	place, review := pipeline.EnvironmentRules{}, pipeline.EnvironmentRules{Review: true}
	for name, c := range map[string]struct {
		rules  pipeline.EnvironmentRules
		review bool
		branch string
		want   bool
	}{
		"a merge goes to an environment":                       {place, false, "main", true},
		"a merge of another branch does not":                   {place, false, "topic", false},
		"a merge does not go to a review environment":          {review, false, "main", false},
		"a review goes to a review environment, of any branch": {review, true, "topic", true},
		"a review does not go anywhere else":                   {place, true, "main", false},
	} {
		if got := spec.MayDeploy(c.rules, c.review, c.branch, "main"); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestAnOldMergeIsNotDelivered(t *testing.T) {
	l, err := spec.NewLoader(spec.LoaderOptions{Source: source{file: simple}, Operator: operator{}, Blobs: blobs{}})
	if err != nil {
		t.Fatal(err)
	}
	for days, delivered := range map[int]bool{6: true, 8: false} {
		task := loadTask()
		task.Delivery.Created = input().MergeRequest.MergedAt.AddDate(0, 0, days)
		got, err := l.Execute(t.Context(), task)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := got.(pipeline.Planned); ok != delivered {
			t.Errorf("after %d days: %#v", days, got)
		}
	}
}

func TestTheOperatorSaysWhichBranchesCount(t *testing.T) {
	cases := []struct {
		name     string
		branches []string
		branch   string
		want     bool
	}{
		{"the default branch counts by itself", nil, "main", true},
		{"another branch does not", nil, "release/1", false},
		{"a branch without a name does not", nil, "", false},
		{"a branch that was named does", []string{"main", "release/*"}, "release/1", true},
		{"the default branch does not where others were named", []string{"release/*"}, "main", false},
		{"a star stands for one part of a name", []string{"release/*"}, "release/1/2", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := spec.MayDeployFrom(pipeline.EnvironmentRules{Branches: c.branches}, c.branch, "main"); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	if spec.MayDeployFrom(pipeline.EnvironmentRules{}, "", "") {
		t.Error("a project without a default branch may deploy")
	}
}

func loadTask() *pipeline.Task {
	in := input()
	return &pipeline.Task{
		Delivery: pipeline.Delivery{ID: "7-12-3f2a91c0", Project: in.Project, MergeRequest: in.MergeRequest, SHA: in.Commit.SHA},
		Effect:   pipeline.Effect{Key: "load/1", Do: pipeline.LoadPlan{}},
	}
}

func TestDeliversFollowsIntoOrTheDefaultBranch(t *testing.T) {
	cases := []struct {
		name, into, defaultBranch, target string
		want                              bool
	}{
		{"without into the default branch counts", "", "main", "main", true},
		{"without into no other branch counts", "", "main", "stable", false},
		{"without into and default branch anything counts", "", "", "stable", true},
		{"a name counts exactly", "stable", "main", "stable", true},
		{"a name does not count as a beginning", "stable", "main", "stable-2", false},
		{"a glob counts", "release/*", "main", "release/1.2", true},
		{"a star does not pass a slash", "release/*", "main", "release/1/2", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			on := ""
			if c.into != "" {
				on = "on: {merge: {into: '" + c.into + "'}}\n"
			}
			file, problems := spec.Parse("f", []byte(on+simple))
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			got, why := file.Delivers(pipeline.Project{DefaultBranch: c.defaultBranch}, pipeline.MergeRequest{TargetBranch: c.target})
			if got != c.want || got == (why != "") {
				t.Errorf("got %v because %q", got, why)
			}
		})
	}
}

func compiled(t *testing.T, stages string, change func(*spec.Input)) *pipeline.Plan {
	t.Helper()
	file, problems := spec.Parse("f", []byte("version: 1\napplication: shop\nstages:\n"+stages))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	in := input()
	if change != nil {
		change(&in)
	}
	plan, problems := spec.Compile(file, in, operator{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return plan
}

func TestEvaluatorResolvesWhatAsksForEarlierStages(t *testing.T) {
	earlier := "  - name: go-live\n    judgement: {ask: x}\n  - name: smoke\n    job: {name: s}\n    on_failure: continue\n"
	states := []pipeline.StageState{
		{Name: "go-live", Status: pipeline.StageSucceeded, Attempt: 1},
		{Name: "smoke", Status: pipeline.StageFailed, Attempt: 2, Reason: pipeline.Reason{Code: pipeline.ReasonJobFailed, What: "s"}},
		{Name: "last", Status: pipeline.StageRunning, Attempt: 1},
	}
	decisions := []pipeline.Decision{
		{Stage: "go-live", Attempt: 1, What: pipeline.VerbApprove, By: policy.Person{Username: "ada"}},
		{Stage: "go-live", Attempt: 1, What: pipeline.VerbApprove, By: policy.Person{Username: "bob"}},
		{Stage: "go-live", Attempt: 0, What: pipeline.VerbApprove, By: policy.Person{Username: "from another attempt"}},
	}
	cases := []struct {
		name, stage string
		title       string
		want        pipeline.Evaluated
		jobName     string
	}{
		{name: "a condition that holds runs the stage", stage: "    if: stages.smoke.failed && stages['go-live'].succeeded\n    job: {name: x}\n",
			want: pipeline.Evaluated{Run: true}, jobName: "x"},
		{name: "a condition that does not hold skips it and says which", stage: "    if: stages.smoke.succeeded\n    job: {name: x}\n",
			want: pipeline.Evaluated{Why: "stages.smoke.succeeded"}},
		{name: "texts are filled in", stage: "    job: {name: '${{ stages.smoke.status }} ${{ stages.smoke.attempt }} ${{ stages[\"go-live\"].approved_by }} ${{ commit.ref }}'}\n",
			want: pipeline.Evaluated{Run: true}, jobName: "failed 2 ada, bob main"},
		{name: "the reason is in words", stage: "    job: {name: '${{ stages.smoke.reason }}'}\n",
			want: pipeline.Evaluated{Run: true}, jobName: "job s did not succeed"},
		{name: "a title is never an expression", title: "${{ stages.smoke.status }} }}", stage: "    if: stages.smoke.failed\n    job: {name: 'x ${{ merge_request.title }}'}\n",
			want: pipeline.Evaluated{Run: true}, jobName: "x ${{ stages.smoke.status }} }}"},
		{name: "a stage that is looked for in vain is an error", stage: "    if: stages[commit.ref].succeeded\n    job: {name: x}\n",
			want: pipeline.Evaluated{Error: true, Why: `if: "stages[commit.ref].succeeded" cannot be evaluated: no such key: main`}},
		{name: "only earlier stages are there", stage: "    if: '!(\"last\" in stages) && size(stages) == 2'\n    job: {name: x}\n",
			want: pipeline.Evaluated{Run: true}, jobName: "x"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			plan := compiled(t, earlier+"  - name: last\n"+c.stage, func(in *spec.Input) {
				if c.title != "" {
					in.MergeRequest.Title = c.title
				}
			})
			got := evaluate(t, plan, pipeline.Delivery{Stages: states, Decisions: decisions}, "last")
			if got.Run {
				if got.Resolved == nil || got.Resolved.Dynamic || got.Resolved.If != "" || got.Resolved.Job.Name != c.jobName {
					t.Fatalf("resolved %+v %+v", got.Resolved, got.Resolved.Job)
				}
				got.Resolved = nil
			}
			c.want.Stage, c.want.Attempt = "last", 1
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if last, _ := plan.Stage("last"); !last.Dynamic {
				t.Error("the stage is not dynamic")
			}
		})
	}
}

func evaluate(t *testing.T, plan *pipeline.Plan, d pipeline.Delivery, stage string) pipeline.Evaluated {
	t.Helper()
	e, err := spec.NewEvaluator()
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Execute(t.Context(), &pipeline.Task{
		Plan: plan, Delivery: d, Effect: pipeline.Effect{Do: pipeline.Evaluate{Stage: stage, Attempt: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return got.(pipeline.Evaluated)
}

func TestEvaluatorHoldsFilledTextsAgainstTheRules(t *testing.T) {
	plan := compiled(t, `  - name: ci
    job: {name: x}
  - name: staging
    deploy:
      environment: staging
      manifests: 'deploy/${{ stages.ci.reason }}'
      images: {shop: '${{ stages.ci.status }}'}
`, nil)
	for _, c := range []struct{ name, reason, want string }{
		{"a path within the repository is fine", "eu", ""},
		{"a path out of it is not", "../../etc", `manifests: "deploy/../../etc" leaves its folder`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := evaluate(t, plan, pipeline.Delivery{Stages: []pipeline.StageState{
				{Name: "ci", Status: pipeline.StageSucceeded, Reason: pipeline.Reason{Detail: c.reason}}}}, "staging")
			if got.Why != c.want || got.Error != (c.want != "") || got.Run == got.Error {
				t.Errorf("got %+v", got)
			}
			if c.want == "" && (got.Resolved.Deploy.Manifests != "deploy/eu" || got.Resolved.Deploy.Images["shop"] != "succeeded") {
				t.Errorf("resolved %+v", got.Resolved.Deploy)
			}
			if st, _ := plan.Stage("staging"); st.Deploy.Images["shop"] != "${{ stages.ci.status }}" {
				t.Error("the plan was changed")
			}
		})
	}
}

func TestWhatFollowsTheEndMayAskForEveryStage(t *testing.T) {
	plan := compiled(t, `  - name: one
    job: {name: x}
  - name: two
    needs: []
    wait: 1m
rollback:
  then:
    - name: first
      if: stages.one.failed && stages.two.status == "pending"
      notify: {text: "one: ${{ stages.one.reason }}"}
    - name: second
      notify: {text: "${{ stages.two.status }}, ${{ stages.first.status }}, ${{ size(stages) }}"}
`, nil)
	d := pipeline.Delivery{Stages: []pipeline.StageState{
		{Name: "one", Status: pipeline.StageFailed, Reason: pipeline.Reason{Code: pipeline.ReasonJobFailed, What: "x"}},
		{Name: "two", Status: pipeline.StagePending}, {Name: "first", Status: pipeline.StageSucceeded}, {Name: "second", Status: pipeline.StageRunning},
	}}
	for stage, want := range map[string]string{"first": "one: job x did not succeed", "second": "pending, succeeded, 3"} {
		got := evaluate(t, plan, d, stage)
		if !got.Run || got.Resolved.Notify.Text != want || got.Resolved.Notify.Channel != "#deploys" {
			t.Errorf("%s: %+v", stage, got)
		}
	}
}

func TestJobsObeyTheOperatorsRulesLikeDeploys(t *testing.T) {
	for _, c := range []struct{ name, stage, want string }{
		{"a run from another branch is refused", "run: {environment: staging, image: x}", `6:24: "staging" is not deployed to from "stable"`},
		{"so is the job of a check", "validate: {job: {environment: staging, image: x}}", `6:35: "staging" is not deployed to from "stable"`},
		{"one that is left out is not", "if: false\n    run: {environment: staging, image: x}", ""},
		{"nor one that is left out of a judged environment", "if: false\n    validate: {job: {environment: production, image: x}}", ""},
		{"a check cannot leave the environment of its stage", "run: {environment: staging, image: x}\n    check: {job: {environment: production, image: x}}",
			"7:32: the job of a check runs in the environment of its stage"},
		{"a condition that later says no does not help", "if: stages.go.failed\n    run: {environment: guarded, image: x}", `7:24: "guarded" may only be deployed to after an approval`},
	} {
		t.Run(c.name, func(t *testing.T) {
			file, problems := spec.Parse("f", []byte("version: 1\napplication: shop\nstages:\n  - {name: go, wait: 1m}\n  - name: a\n    "+c.stage+"\n"))
			if len(problems) == 0 {
				in := input()
				in.MergeRequest.TargetBranch = "stable"
				_, problems = spec.Compile(file, in, operator{})
			}
			told := fmt.Sprint(problems)
			if c.want == "" && len(problems) > 0 || !strings.Contains(told, c.want) {
				t.Errorf("got %s", told)
			}
		})
	}
}

type inbox struct {
	delivered map[string]pipeline.Event
	err       error
}

func (i *inbox) Deliver(_ context.Context, id, key string, e pipeline.Event) error {
	if i.err == nil {
		i.delivered[id+" "+key] = e
	}
	return i.err
}

func TestRollbacksStartADeliveryOfOneStage(t *testing.T) {
	plan := compiled(t, "  - name: go\n    judgement: {ask: x}\n  - name: production\n    deploy: {environment: production, manifests: deploy}\n", nil)
	decision := pipeline.Decision{What: pipeline.VerbRollback, By: policy.Person{Username: "ada"}, Reason: "slow"}
	store, in := blobs{}, &inbox{delivered: map[string]pipeline.Event{}}
	r, err := spec.NewRollbacks(spec.RollbacksOptions{Blobs: store, Inbox: in})
	if err != nil {
		t.Fatal(err)
	}
	task := &pipeline.Task{Plan: plan, Delivery: pipeline.Delivery{ID: "old"}, Effect: pipeline.Effect{
		Key: "rollback/3", Do: pipeline.StartRollback{Environment: "production", To: "production/aa-1", Decision: decision, NewID: "new"}}}
	if e, err := r.Execute(t.Context(), task); e != nil || err != nil {
		t.Fatal(e, err)
	}
	want := map[string]pipeline.Event{"new old/rollback/3": pipeline.RollbackStarted{Of: "old", PlanRef: "blob-0", Decision: decision}}
	if diff := cmp.Diff(want, in.delivered); diff != "" {
		t.Error(diff)
	}
	got, err := spec.DecodePlan(store["blob-0"])
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Stages) != 1 || got.Stages[0].Rollback == nil || *got.Stages[0].Rollback != (pipeline.Rollback{Environment: "production", To: "production/aa-1"}) ||
		got.Stages[0].Kind != pipeline.KindRollback || got.Environments["production"].Namespace != "shop" || got.Commit != plan.Commit {
		t.Errorf("stored %+v", got)
	}

	task.Effect.Do = pipeline.StartRollback{Environment: "staging", NewID: "new2"}
	_, err = r.Execute(t.Context(), task)
	if f, ok := pipeline.AsFailure(err); !ok || !f.Permanent {
		t.Errorf("another environment: %v", err)
	}
	in.err = errors.New("disk full")
	task.Effect.Do = pipeline.StartRollback{Environment: "production", NewID: "new3"}
	if _, err = r.Execute(t.Context(), task); !errors.Is(err, in.err) {
		t.Errorf("a full disk: %v", err)
	}
}

func TestPlansOfNewerVersionsAreNotRead(t *testing.T) {
	for _, data := range []string{fmt.Sprintf(`{"schema":%d}`, pipeline.PlanSchema+1), `{"schema":0}`, `{`} {
		if _, err := spec.DecodePlan([]byte(data)); err == nil {
			t.Errorf("%s is read", data)
		}
	}
}

func TestTextsWithAColonNeedNoQuotesWithinBraces(t *testing.T) {
	plan := compiled(t, "  - name: go\n    judgement: {ask: x, approvers: [role:owner, user:42], not: [user:bob]}\n", nil)
	want := policy.Rule{Approvers: []string{"role:owner", "user:42"}, Not: []string{"user:bob"}}
	if diff := cmp.Diff(want, plan.Stages[0].Judgement.Rule); diff != "" {
		t.Error(diff)
	}
}
