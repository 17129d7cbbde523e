package gitlab_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/chatops"
	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim/contract"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

const token = "glpat-secret-of-the-bot"

// world is a simulated GitLab with one merged merge request, and a client that works on it.
type world struct {
	t       *testing.T
	g       *gitlabsim.GitLab
	c       *gitlab.Client
	clock   *clock
	project gitlabsim.Project
	iid     int64
	sha     string
	base    string // the commit on main before the merge
	bot     int64
	users   map[string]int64

	plan     *pipeline.Plan
	delivery pipeline.Delivery
}

func newWorld(t *testing.T, change ...func(*gitlab.Options)) *world {
	t.Helper()
	clock := &clock{}
	g, err := gitlabsim.New(gitlabsim.Options{Clock: clock})
	must(t, err)
	t.Cleanup(g.Close)
	must(t, g.Start("127.0.0.1:0"))
	w := &world{t: t, g: g, clock: clock, users: map[string]int64{}}
	w.project, err = g.AddProject(gitlabsim.Project{Path: "shop/api"})
	must(t, err)
	for name, level := range map[string]int{"slipway": gitlabsim.Developer, "ada": gitlabsim.Developer, "bob": gitlabsim.Maintainer, "rita": gitlabsim.Reporter, "stranger": 0} {
		w.addUser(gitlabsim.User{Username: name, Email: name + "@example.com"}, level)
	}
	w.bot = w.users["slipway"]
	must(t, g.AddToken(token, w.bot, gitlabsim.PersonalToken))
	w.base, err = g.Commit(gitlabsim.CommitOptions{
		ProjectID: w.project.ID, Branch: "main", Message: "Begin", AuthorID: w.users["ada"],
		Files: map[string]string{".slipway.yml": "version: 1\n", "deploy/app.yaml": "kind: Deployment\n", "base/kustomization.yaml": "resources: []\n"},
	})
	must(t, err)
	must(t, g.SetCI(w.project.ID, gitlabsim.CI{Jobs: []gitlabsim.JobSpec{
		{Name: "build", Stage: "build"}, {Name: "smoke-test", Stage: "verify", Manual: true},
	}}))
	w.iid, err = g.OpenMergeRequest(gitlabsim.MergeRequestOptions{
		ProjectID: w.project.ID, Title: "Add carts", SourceBranch: "carts", AuthorID: w.users["ada"], Files: map[string]string{"carts.txt": "x"},
	})
	must(t, err)
	w.sha, err = g.Merge(w.project.ID, w.iid, w.users["bob"], gitlabsim.MergeCommit)
	must(t, err)
	w.state()
	w.c = w.client(change...)
	t.Cleanup(w.checkContract)
	return w
}

func (w *world) addUser(u gitlabsim.User, level int) int64 {
	w.t.Helper()
	u, err := w.g.AddUser(u)
	must(w.t, err)
	w.users[u.Username] = u.ID
	must(w.t, w.g.AddMember(w.project.ID, u.ID, level))
	return u.ID
}

func (w *world) client(change ...func(*gitlab.Options)) *gitlab.Client {
	w.t.Helper()
	o := gitlab.Options{
		URL: w.g.URL(), Token: token, ConsoleURL: "https://slipway.example.com/deliveries",
		Parse: func(body string) (pipeline.Request, bool) {
			c, ok := chatops.ParseCommand("slipway", body)
			return c.Request(), ok
		},
	}
	for _, f := range change {
		f(&o)
	}
	c, err := gitlab.New(o)
	must(w.t, err)
	return c
}

// state is a plan and a delivery of the merge that has just begun.
func (w *world) state() {
	url := w.g.URL() + "/shop/api"
	project := pipeline.Project{ID: w.project.ID, Path: "shop/api", URL: url, DefaultBranch: "main"}
	mr := pipeline.MergeRequest{IID: w.iid, Title: "Add carts", TargetBranch: "main"}
	w.plan = &pipeline.Plan{
		Application: "shop", Project: project, MergeRequest: mr, Commit: pipeline.Commit{SHA: w.sha, Ref: "main"}, TurnRed: true,
		Stages: []pipeline.Stage{
			{Name: "staging", Kind: pipeline.KindDeploy, Deploy: &pipeline.Deploy{Environment: "staging"}},
			{Name: "smoke", Kind: pipeline.KindJob, Job: &pipeline.Job{Name: "smoke-test"}},
			{Name: "go-live", Kind: pipeline.KindJudgement, Judgement: &pipeline.Judgement{Ask: "Ship it?", Quorum: 1, Environment: "production",
				Rule: policy.Rule{Approvers: []string{"group:shop/maintainers"}}}},
			{Name: "production", Kind: pipeline.KindDeploy, Deploy: &pipeline.Deploy{Environment: "production"}},
		},
		Environments: map[string]pipeline.EnvironmentRules{
			"staging":    {URL: "https://staging.example.com", Tier: "staging"},
			"production": {URL: "https://example.com", Tier: "production", Rule: policy.Rule{Approvers: []string{"group:sre"}}},
		},
	}
	w.delivery = pipeline.Delivery{
		ID: pipeline.DeliveryID(w.project.ID, w.iid, w.sha), Status: pipeline.StatusRunning, Project: project, MergeRequest: mr, SHA: w.sha,
		Created: time.Now().UTC(), Stages: []pipeline.StageState{{Name: "staging"}, {Name: "smoke"}, {Name: "go-live"}, {Name: "production"}},
	}
	for i := range w.delivery.Stages {
		s := &w.delivery.Stages[i]
		s.Status, s.Attempt = pipeline.StagePending, 1
	}
	w.delivery.CI.ID = w.pipelines()[0].ID
}

func (w *world) snapshot() gitlabsim.ProjectSnapshot { return w.g.Snapshot().Projects[0] }
func (w *world) pipelines() []gitlabsim.Pipeline     { return w.snapshot().Pipelines }

func (w *world) set(stage string, status pipeline.StageStatus) *pipeline.StageState {
	s := w.delivery.Stage(stage)
	s.Status = status
	if s.Started.IsZero() {
		s.Started = time.Now()
	}
	return s
}

// clock is GitLab's, which can be set forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *clock) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

// command is a person's comment, and the request that its hook becomes.
func (w *world) command(user, body string) pipeline.Request {
	w.t.Helper()
	n, err := w.g.Comment(w.project.ID, w.iid, w.users[user], body)
	must(w.t, err)
	return w.asked(n)
}

func (w *world) asked(n gitlabsim.Note) pipeline.Request {
	w.t.Helper()
	c, ok := chatops.ParseCommand("slipway", n.Body)
	if !ok {
		w.t.Fatalf("%q is no command", n.Body)
	}
	r := c.Request()
	r.Key, r.Via, r.GitLabID, r.NoteID, r.DiscussionID, r.At = "k", pipeline.ViaComment, n.AuthorID, n.ID, n.DiscussionID, time.Now()
	return r
}

// run carries out one effect as the engine does, and folds the handle that it returns.
func (w *world) run(do pipeline.Action) (pipeline.Event, error) {
	return w.try(do, 1, false)
}

func (w *world) try(do pipeline.Action, attempt int, unknown bool) (pipeline.Event, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	e, err := w.c.Execute(ctx, &pipeline.Task{
		Plan: w.plan, Delivery: w.delivery, Effect: pipeline.Effect{Key: "test/1", Do: do}, Attempt: attempt, Unknown: unknown,
	})
	switch e := e.(type) {
	case pipeline.NoteWritten:
		w.delivery.Handles.NoteID = e.ID
	case pipeline.DeploymentWritten:
		if _, known := w.delivery.Handles.Deployment(e.Handle.Stage, e.Handle.Attempt); !known {
			w.delivery.Handles.Deployments = append(w.delivery.Handles.Deployments, e.Handle)
		}
	}
	return e, err
}

func (w *world) must(do pipeline.Action) pipeline.Event {
	w.t.Helper()
	e, err := w.run(do)
	must(w.t, err)
	return e
}

func (w *world) fail(f gitlabsim.Fault) (end func()) {
	w.t.Helper()
	_, end, err := w.g.Fail(f)
	must(w.t, err)
	return end
}

// writes counts the calls that change something.
func (w *world) writes() int {
	n := 0
	for _, r := range w.g.Requests() {
		if r.Method != http.MethodGet {
			n++
		}
	}
	return n
}

var loadContract = sync.OnceValues(func() (*contract.Contract, error) {
	data, err := os.ReadFile("testdata/gitlab-openapi-subset.yaml")
	if err != nil {
		return nil, err
	}
	return contract.New(data)
})

// checkContract holds every request against GitLab's published contract.
func (w *world) checkContract() {
	rules, err := loadContract()
	must(w.t, err)
	for _, r := range w.g.Requests() {
		address := w.g.URL() + r.Path
		if r.Query != "" {
			address += "?" + r.Query
		}
		if err := rules.Check(r.Method, address, r.Header, r.Body); err != nil {
			w.t.Errorf("%v\n%s", err, r.Body)
		}
		if strings.Contains(string(r.Body)+r.Query+r.Path, token) {
			w.t.Errorf("the token is in %s %s", r.Method, r.Path)
		}
	}
	for _, r := range w.g.UnknownRequests() {
		w.t.Errorf("GitLab doesn't know %s %s", r.Method, r.Path)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func failure(t *testing.T, err error) *pipeline.Failure {
	t.Helper()
	var f *pipeline.Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a *pipeline.Failure", err)
	}
	return f
}
