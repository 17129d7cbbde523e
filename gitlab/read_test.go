package gitlab_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

func TestDescribeConfirmsTheMerge(t *testing.T) {
	for _, method := range []gitlabsim.MergeMethod{gitlabsim.MergeCommit, gitlabsim.SquashMerge, gitlabsim.SquashFastForward, gitlabsim.FastForward} {
		t.Run(string(method), func(t *testing.T) {
			w := newWorld(t)
			iid, err := w.g.OpenMergeRequest(gitlabsim.MergeRequestOptions{ProjectID: w.project.ID, Title: "More | carts", SourceBranch: "more", AuthorID: w.users["ada"], Files: map[string]string{"more.txt": "x"}})
			must(t, err)
			sha, err := w.g.Merge(w.project.ID, iid, w.users["bob"], method)
			must(t, err)
			commit, mr, err := w.c.Describe(t.Context(), w.project.ID, iid, sha)
			must(t, err)
			if commit.SHA != sha || commit.Ref != "main" || commit.AuthorEmail == "" || commit.CommitterEmail == "" {
				t.Errorf("got commit %+v", commit)
			}
			if mr.IID != iid || mr.Title != "More | carts" || mr.AuthorUsername != "ada" || mr.MergedBy != "bob" || mr.MergedByID != w.users["bob"] || mr.MergedAt.IsZero() || mr.TargetBranch != "main" {
				t.Errorf("got merge request %+v", mr)
			}
		})
	}
}

func TestAForgedOrOldMergeIsRefusedForGood(t *testing.T) {
	w := newWorld(t)
	open, err := w.g.OpenMergeRequest(gitlabsim.MergeRequestOptions{ProjectID: w.project.ID, Title: "Open", SourceBranch: "open", AuthorID: w.users["ada"], Files: map[string]string{"o": "x"}})
	must(t, err)
	tests := []struct {
		name string
		iid  int64
		sha  string
		says string
		code pipeline.ReasonCode
	}{
		{"another commit of the branch", w.iid, w.base, "was not merged as", pipeline.ReasonStale},
		{"a merge request that is open", open, w.sha, "is opened, not merged", pipeline.ReasonStale},
		{"no such merge request", 99, w.sha, "merge request !99", pipeline.ReasonRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := w.c.Describe(t.Context(), w.project.ID, tt.iid, tt.sha)
			f := failure(t, err)
			if !f.Permanent || f.Code != tt.code || !strings.Contains(f.Detail, tt.says) {
				t.Errorf("got %+v", f)
			}
		})
	}
}

func TestThePipelineFileIsReadAtTheCommit(t *testing.T) {
	w := newWorld(t)
	big, err := w.g.Commit(gitlabsim.CommitOptions{ProjectID: w.project.ID, Branch: "big", Message: "x", AuthorID: w.users["ada"], Files: map[string]string{gitlab.FileName: strings.Repeat("#", gitlab.MaxFileBytes+1)}})
	must(t, err)
	none, err := w.g.Commit(gitlabsim.CommitOptions{ProjectID: w.project.ID, Branch: "none", Message: "x", AuthorID: w.users["ada"], Delete: []string{gitlab.FileName}})
	must(t, err)

	got, err := w.c.PipelineFile(t.Context(), w.project.ID, w.base)
	must(t, err)
	if string(got) != "version: 1\n" {
		t.Errorf("got %q", got)
	}
	if _, err := w.c.PipelineFile(t.Context(), w.project.ID, none); !errors.Is(err, gitlab.ErrNoFile) {
		t.Errorf("no file: got %v", err)
	}
	_, err = w.c.PipelineFile(t.Context(), w.project.ID, big)
	if f := failure(t, err); !f.Permanent || !strings.Contains(f.Detail, "256 KiB") {
		t.Errorf("too large: got %+v", f)
	}
	_, err = w.c.PipelineFile(t.Context(), 4711, w.base)
	if f := failure(t, err); !f.Permanent || !strings.Contains(f.Detail, "may not see it") {
		t.Errorf("unknown project: got %+v", f)
	}
}

func TestFilesAreTheRepositoryAtTheCommit(t *testing.T) {
	w := newWorld(t)
	files, err := w.c.Files(t.Context(), w.project.ID, w.base, "deploy")
	must(t, err)
	must(t, fstest.TestFS(files, ".slipway.yml", "deploy/app.yaml", "base/kustomization.yaml"))
	before := len(w.g.Requests())
	again, err := w.c.Files(t.Context(), w.project.ID, w.base, "base")
	must(t, err)
	if data, err := fs.ReadFile(again, "deploy/app.yaml"); err != nil || string(data) != "kind: Deployment\n" {
		t.Errorf("got %q, %v", data, err)
	}
	if len(w.g.Requests()) != before {
		t.Error("the repository was downloaded twice")
	}
	_, err = w.c.Files(t.Context(), w.project.ID, strings.Repeat("a", 40), "deploy")
	if f := failure(t, err); !f.Permanent {
		t.Errorf("unknown commit: got %+v", f)
	}
}

func TestALargeRepositoryIsReadByFolder(t *testing.T) {
	noise := make([]byte, 256<<10) // doesn't compress
	seed := uint32(1)
	for i := range noise {
		seed = seed*1664525 + 1013904223
		noise[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"[seed>>26]
	}
	w := newWorld(t, func(o *gitlab.Options) { o.ArchiveBytes = 64 << 10 })
	sha, err := w.g.Commit(gitlabsim.CommitOptions{ProjectID: w.project.ID, Branch: "main", Message: "x", AuthorID: w.users["ada"], Files: map[string]string{"assets/noise": string(noise)}})
	must(t, err)
	files, err := w.c.Files(t.Context(), w.project.ID, sha, "deploy")
	must(t, err)
	if _, err := fs.Stat(files, "deploy/app.yaml"); err != nil {
		t.Error(err)
	}
	_, err = w.c.Files(t.Context(), w.project.ID, sha, "assets")
	if f := failure(t, err); !f.Permanent || !strings.Contains(f.Detail, "too large") {
		t.Errorf("got %+v", f)
	}
}

func TestLookAtCIFindsTheNewestOfTheBranch(t *testing.T) {
	w := newWorld(t)
	must(t, w.g.RunPipeline(w.project.ID, w.delivery.CI.ID))
	got := w.must(pipeline.LookAtCI{}).(pipeline.CISeen)
	if got.CI.ID != w.delivery.CI.ID || got.CI.Status != "success" || !strings.HasPrefix(got.CI.URL, "http") {
		t.Errorf("got %+v", got)
	}
	second, err := w.g.StartPipeline(w.project.ID, "main", w.users["bob"])
	must(t, err)
	if got := w.must(pipeline.LookAtCI{}).(pipeline.CISeen); got.CI.ID != second {
		t.Errorf("got %+v, want the newest, %d", got, second)
	}
	w.plan.Commit.Ref = "elsewhere"
	if got := w.must(pipeline.LookAtCI{}).(pipeline.CISeen); got.CI.ID != 0 {
		t.Errorf("on another branch: got %+v", got)
	}
}

func TestLookAtCIDoesNotTakeOurOwnStatusesForACIPipeline(t *testing.T) {
	w := newWorld(t)
	sha, err := w.g.Commit(gitlabsim.CommitOptions{ProjectID: w.project.ID, Branch: "quiet", Message: "No CI", AuthorID: w.users["ada"], Files: map[string]string{"a": "b"}})
	must(t, err)
	w.delivery.CI, w.delivery.SHA, w.plan.Commit.Ref = pipeline.CIPipeline{}, sha, "quiet"
	w.set("staging", pipeline.StageRunning)
	w.must(pipeline.WriteStatus{Stage: "staging", Attempt: 1})
	if got := w.must(pipeline.LookAtCI{}).(pipeline.CISeen); got.CI.ID != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestAManualJobIsPlayedOnceAndRetriedOnce(t *testing.T) {
	w := newWorld(t)
	must(t, w.g.RunPipeline(w.project.ID, w.delivery.CI.ID))
	play := pipeline.PlayJob{Stage: "smoke", Attempt: 1}
	first := w.must(play).(pipeline.JobSeen)
	if first.Stage != "smoke" || first.Attempt != 1 || first.Job.ID == 0 || first.Job.Status == "manual" {
		t.Fatalf("got %+v", first)
	}
	if again := w.must(play).(pipeline.JobSeen); again.Job.ID != first.Job.ID {
		t.Errorf("played again: got %+v", again)
	}
	must(t, w.g.FinishJob(w.project.ID, first.Job.ID, "failed"))
	if seen := w.must(pipeline.LookAtJob{Stage: "smoke", Attempt: 1, Job: first.Job.ID}).(pipeline.JobSeen); seen.Job.Status != "failed" {
		t.Errorf("got %+v", seen)
	}
	if lost, err := w.try(play, 2, true); err != nil || lost.(pipeline.JobSeen).Job.ID != first.Job.ID {
		t.Errorf("after a lost answer: got %+v, %v", lost, err)
	}
	retry := pipeline.PlayJob{Stage: "smoke", Attempt: 2, Again: first.Job.ID}
	second := w.must(retry).(pipeline.JobSeen)
	if second.Job.ID <= first.Job.ID {
		t.Errorf("retried: got %+v", second)
	}
	if again := w.must(retry).(pipeline.JobSeen); again.Job.ID != second.Job.ID {
		t.Errorf("retried again: got %+v", again)
	}
}

func TestAJobThatIsMissingNamesThoseThatExist(t *testing.T) {
	w := newWorld(t)
	w.plan.Stages[1].Job.Name = "smok"
	_, err := w.run(pipeline.PlayJob{Stage: "smoke", Attempt: 1})
	if f := failure(t, err); !f.Permanent || !strings.Contains(f.Detail, `no job "smok"`) || !strings.Contains(f.Detail, "build, smoke-test") {
		t.Errorf("got %+v", f)
	}
}

// directory is a People with one answer.
type directory struct {
	who gitlab.Who
	err error
}

func (d directory) GitLabUser(context.Context, string) (gitlab.Who, error) { return d.who, d.err }

func TestIdentifyTellsWhoAsksAndWhatTheyMayDo(t *testing.T) {
	base := func(w *world) {
		must(w.t, w.g.AddGroupMember("shop", w.users["bob"], gitlabsim.Owner))
		_, err := w.g.AddGroup("shop/maintainers")
		must(w.t, err)
		_, err = w.g.AddGroup("sre")
		must(w.t, err)
		must(w.t, w.g.AddGroupMember("shop/maintainers", w.bot, gitlabsim.Guest))
		must(w.t, w.g.AddGroupMember("sre", w.bot, gitlabsim.Guest))
		must(w.t, w.g.AddGroupMember("shop/maintainers", w.users["bob"], gitlabsim.Maintainer))
		must(w.t, w.g.AddGroupMember("sre", w.users["stranger"], gitlabsim.Developer))
		w.addUser(gitlabsim.User{Username: "project_1_bot_x", Bot: true}, gitlabsim.Maintainer)
		w.addUser(gitlabsim.User{Username: "deployer", Bot: true}, gitlabsim.Maintainer)
		w.addUser(gitlabsim.User{Username: "secret", Email: "secret@example.com", PrivateEmail: true}, gitlabsim.Developer)
		w.addUser(gitlabsim.User{Username: "blocked", State: "blocked"}, gitlabsim.Owner)
		w.set("go-live", pipeline.StageAsking)
	}
	comment := func(name string) func(*world) pipeline.Request {
		return func(w *world) pipeline.Request {
			return w.command(name, "@slipway approve")
		}
	}
	slack := func(*world) pipeline.Request {
		return pipeline.Request{Key: "k", What: pipeline.VerbApprove, Via: pipeline.ViaSlack, SlackID: "U1"}
	}
	tests := []struct {
		name    string
		request func(*world) pipeline.Request
		people  gitlab.People
		want    policy.Person // without ids
		problem string
	}{
		{"a developer", comment("ada"), nil, policy.Person{Username: "ada", Access: policy.Developer}, ""},
		{"a maintainer who is in the group of the rule", comment("bob"), nil, policy.Person{Username: "bob", Access: policy.Owner, Groups: []string{"shop/maintainers"}}, ""},
		{"somebody outside the project, in the group of the environment", slack, directory{who: gitlab.Who{Username: "stranger"}}, policy.Person{Username: "stranger", Groups: []string{"sre"}, SlackID: "U1"}, ""},
		{"a bot", comment("project_1_bot_x"), nil, policy.Person{Username: "project_1_bot_x", Access: policy.Maintainer, Blocked: true}, ""},
		{"a bot with a name like a person's", comment("deployer"), nil, policy.Person{Username: "deployer", Access: policy.Maintainer, Blocked: true}, ""},
		{"a blocked user", comment("blocked"), nil, policy.Person{Username: "blocked", Access: policy.Owner, Blocked: true}, ""},
		{"Slack, by user name", slack, directory{who: gitlab.Who{Username: "Ada"}}, policy.Person{Username: "ada", Access: policy.Developer, SlackID: "U1"}, ""},
		{"Slack, by e-mail address", slack, directory{who: gitlab.Who{Email: "Ada@example.com"}}, policy.Person{Username: "ada", Access: policy.Developer, SlackID: "U1"}, ""},
		{"Slack, by an address that isn't public", slack, directory{who: gitlab.Who{Email: "secret@example.com"}}, policy.Person{SlackID: "U1"}, "public e-mail"},
		{"Slack, by a user name that nobody has", slack, directory{who: gitlab.Who{Username: "nobody"}}, policy.Person{SlackID: "U1"}, "no GitLab user @nobody"},
		{"Slack, refused by the map", slack, directory{err: &pipeline.Failure{Permanent: true, Detail: "Guests may not answer."}}, policy.Person{SlackID: "U1"}, "Guests may not answer."},
		{"Slack without a map", slack, nil, policy.Person{SlackID: "U1"}, "not set up"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(o *gitlab.Options) { o.People = tt.people })
			base(w)
			got := w.must(pipeline.Identify{Request: tt.request(w)}).(pipeline.Identified)
			p := got.Person
			if !strings.Contains(p.Problem, tt.problem) || (tt.problem == "") != (p.Problem == "") {
				t.Errorf("got problem %q, want %q", p.Problem, tt.problem)
			}
			if tt.problem == "" && p.ID == 0 {
				t.Error("the id is missing")
			}
			p.ID, p.Problem, p.Name = 0, "", ""
			if diff := cmp.Diff(tt.want, p); diff != "" || got.Request != "k" {
				t.Errorf("request %q: %s", got.Request, diff)
			}
		})
	}
}

// The question about a canary is answered by those whom the file names, and the operator's rule for its environment.
func TestAnswersAboutACanaryAreLookedUpAsOthers(t *testing.T) {
	w := newWorld(t)
	for _, group := range []string{"shop/maintainers", "sre"} {
		if group == "shop/maintainers" {
			must(t, w.g.AddGroupMember("shop", w.users["bob"], gitlabsim.Owner))
		}
		_, err := w.g.AddGroup(group)
		must(t, err)
		must(t, w.g.AddGroupMember(group, w.bot, gitlabsim.Guest))
		must(t, w.g.AddGroupMember(group, w.users["bob"], gitlabsim.Developer))
	}
	w.plan.Stages[2] = pipeline.Stage{Name: "go-live", Kind: pipeline.KindCanary, Canary: &pipeline.Canary{
		Environment: "production", Question: &pipeline.Judgement{Rule: policy.Rule{Approvers: []string{"group:shop/maintainers"}}},
	}}
	w.set("go-live", pipeline.StageAsking)
	p := w.must(pipeline.Identify{Request: w.command("bob", "@slipway approve")}).(pipeline.Identified).Person
	if groups := slices.Sorted(slices.Values(p.Groups)); !slices.Equal(groups, []string{"shop/maintainers", "sre"}) {
		t.Errorf("looked up were %q", groups)
	}
}

func TestAGroupThatSlipwayCannotSeeIsSaid(t *testing.T) {
	w := newWorld(t)
	_, err := w.g.AddGroup("shop/maintainers")
	must(t, err)
	must(t, w.g.AddGroupMember("shop/maintainers", w.users["bob"], gitlabsim.Maintainer))
	w.set("go-live", pipeline.StageAsking)
	ask := func() policy.Person {
		return w.must(pipeline.Identify{Request: w.command("bob", "@slipway approve")}).(pipeline.Identified).Person
	}
	if p := ask(); !strings.Contains(p.Problem, "cannot see who is in the group shop/maintainers") {
		t.Errorf("got %+v", p)
	}
	w.plan.Environments = nil
	w.plan.Stages[2].Judgement.Rule.Approvers = []string{"group:shop/maintainers", "user:bob"}
	if p := ask(); p.Problem != "" {
		t.Errorf("bob is named by the rule, got %+v", p)
	}
}

func TestIdentifyTriesAgainWhereGitLabIsDown(t *testing.T) {
	w := newWorld(t, func(o *gitlab.Options) { o.People = directory{err: errors.New("Slack is down")} })
	w.fail(gitlabsim.Fault{Path: "projects/*/members/all/*", Status: 503})
	_, err := w.run(pipeline.Identify{Request: w.command("ada", "@slipway cancel")})
	if f := failure(t, err); f.Permanent {
		t.Errorf("got %+v", f)
	}
	if _, err := w.run(pipeline.Identify{Request: pipeline.Request{Via: pipeline.ViaSlack, SlackID: "U1"}}); err == nil || !strings.Contains(err.Error(), "Slack is down") {
		t.Errorf("got %v", err)
	}
}

func TestIdentifyRefusesWhereSlipwayMayNotLook(t *testing.T) {
	w := newWorld(t)
	w.fail(gitlabsim.Fault{Path: "projects/*/members/all/*", Status: 403})
	got := w.must(pipeline.Identify{Request: w.command("ada", "@slipway cancel")}).(pipeline.Identified)
	if !strings.Contains(got.Person.Problem, "could not look up") {
		t.Errorf("got %+v", got)
	}
	if a := policy.MayCommand(got.Person); a.Allowed {
		t.Error("somebody unknown may command")
	}
}

func TestOnlyGroupsThatMatterAreLookedUp(t *testing.T) {
	w := newWorld(t)
	w.set("go-live", pipeline.StageAsking)
	w.must(pipeline.Identify{Request: w.command("ada", "@slipway cancel")})
	if slices.ContainsFunc(w.g.Requests(), func(r gitlabsim.Request) bool { return strings.Contains(r.Path, "/groups/") }) {
		t.Error("groups were looked up for a cancel")
	}
}

func TestAJobThatTheOperatorDoesNotNameIsNotPlayed(t *testing.T) {
	w := newWorld(t)
	w.plan.JobNames = []string{"e2e-*"}
	_, err := w.run(pipeline.PlayJob{Stage: "smoke", Attempt: 1})
	f, ok := pipeline.AsFailure(err)
	if !ok || f.Code != pipeline.ReasonNotAllowed || !f.Permanent || !f.Unchanged || !strings.Contains(f.Detail, `may not play the job "smoke`) {
		t.Errorf("got %v", err)
	}
}
