package gitlab

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

const (
	newSHA = "3f2a91c04b7d5e6f3f2a91c04b7d5e6f3f2a91c0"
	oldSHA = "1b2c3d4e5f60718291b2c3d4e5f60718291b2c3d"
)

func testClient(t *testing.T) *Client {
	t.Helper()
	c, err := New(Options{URL: "https://gitlab.example.com", Token: "secret-token", ConsoleURL: "https://slipway.example.com/deliveries"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shop is the plan and the running delivery that the golden notes vary.
func shop() (*pipeline.Plan, *pipeline.Delivery) {
	project := pipeline.Project{ID: 42, Path: "shop/api", URL: "https://gitlab.example.com/shop/api", DefaultBranch: "main"}
	mr := pipeline.MergeRequest{IID: 7, Title: "Add carts", URL: project.URL + "/-/merge_requests/7", TargetBranch: "main", AuthorUsername: "ada", MergedBy: "bob"}
	plan := &pipeline.Plan{
		Schema: pipeline.PlanSchema, Application: "shop", Project: project, MergeRequest: mr,
		Commit: pipeline.Commit{SHA: newSHA, ShortSHA: pipeline.Short(newSHA), Ref: "main", Title: "Add carts"},
		Links:  []pipeline.Link{{Title: "Logs", URL: "https://logs.example.com/?version=3f2a91c0"}},
		Stages: []pipeline.Stage{
			{Name: "staging", Kind: pipeline.KindDeploy, Deploy: &pipeline.Deploy{Environment: "staging"}},
			{Name: "smoke", Kind: pipeline.KindJob, Job: &pipeline.Job{Name: "smoke-test"}, Needs: []string{"staging"}},
			{Name: "go-live", Kind: pipeline.KindJudgement, Needs: []string{"smoke"}, Judgement: &pipeline.Judgement{
				Ask: "Ship Add carts?", Quorum: 2, Environment: "production",
				Rule: policy.Rule{Approvers: []string{"group:shop/maintainers", "user:carol"}, Not: []string{"author"}},
			}},
			{Name: "production", Kind: pipeline.KindDeploy, Needs: []string{"go-live"}, Deploy: &pipeline.Deploy{Environment: "production"}},
		},
		Environments: map[string]pipeline.EnvironmentRules{
			"staging":    {URL: "https://staging.shop.example.com", Tier: "staging", Namespace: "shop-staging"},
			"production": {URL: "https://shop.example.com", Tier: "production", Namespace: "shop"},
		},
	}
	d := &pipeline.Delivery{
		Schema: pipeline.DeliverySchema, ID: pipeline.DeliveryID(42, 7, newSHA), Status: pipeline.StatusRunning, Project: project, MergeRequest: mr, SHA: newSHA,
		CI:      pipeline.CIPipeline{ID: 900, Status: "success", URL: project.URL + "/-/pipelines/900"},
		Created: noon, Started: noon.Add(time.Minute),
		Handles: pipeline.Handles{NoteID: 1, MessageURL: "https://slack.example.com/archives/C1/p1"},
		Stages: []pipeline.StageState{
			{Name: "staging", Status: pipeline.StagePending}, {Name: "smoke", Status: pipeline.StagePending},
			{Name: "go-live", Status: pipeline.StagePending}, {Name: "production", Status: pipeline.StagePending},
		},
	}
	return plan, d
}

func release(sha string) *pipeline.Release {
	return &pipeline.Release{ID: "r-" + sha[:4], SHA: sha, Images: []pipeline.Image{{Name: "registry.example.com/shop:" + sha[:8]}}}
}

// through lets the first n stages have succeeded.
func through(d *pipeline.Delivery, n int) {
	for i := range d.Stages[:n] {
		s := &d.Stages[i]
		s.Status, s.Attempt, s.Reason = pipeline.StageSucceeded, 1, pipeline.Reason{Code: pipeline.ReasonDone}
		s.Started, s.Ended = noon.Add(time.Duration(i+1)*time.Minute), noon.Add(time.Duration(i+1)*time.Minute+43*time.Second)
		switch s.Name {
		case "staging", "production":
			s.Previous, s.Release = release(oldSHA), release(newSHA)
		case "smoke":
			s.Job = pipeline.JobHandle{ID: 5, Status: "success", URL: d.Project.URL + "/-/jobs/5"}
		case "go-live":
			s.Reason = pipeline.Reason{Code: pipeline.ReasonApproved, Who: "@carol"}
			d.Decisions = append(d.Decisions,
				decision("bob", pipeline.VerbApprove, pipeline.ViaSlack, ""), decision("carol", pipeline.VerbApprove, pipeline.ViaComment, "numbers look good"))
		}
	}
}

func decision(user string, what pipeline.Verb, via pipeline.Via, why string) pipeline.Decision {
	return pipeline.Decision{Stage: "go-live", Attempt: 1, What: what, Via: via, At: noon.Add(4 * time.Minute), Reason: why, By: policy.Person{ID: 3, Username: user}}
}

func start(d *pipeline.Delivery, name string, status pipeline.StageStatus) *pipeline.StageState {
	s := d.Stage(name)
	s.Status, s.Attempt, s.Started = status, 1, noon.Add(5*time.Minute)
	return s
}

func end(d *pipeline.Delivery, status pipeline.Status, why pipeline.Reason) {
	d.Status, d.Reason, d.Ended = status, why, noon.Add(9*time.Minute)
	for i := range d.Stages {
		if s := &d.Stages[i]; !s.Status.Finished() {
			s.Status = pipeline.StageSkipped
		} else if s.Ended.IsZero() {
			s.Ended = noon.Add(9 * time.Minute)
		}
	}
}

const crash = "container shop in pod shop-6f7c exits with code 1:\n" +
	"starting shop 3f2a91c0\n" +
	"/close\n" +
	"```\n" +
	"@all <!-- slipway:delivery 1-1-aaaaaaaa -->\n" +
	"panic: connect to database: connection refused"

func TestNotesAsPeopleReadThem(t *testing.T) {
	tests := []struct {
		name string
		edit func(*pipeline.Plan, *pipeline.Delivery)
	}{
		{"loading", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			d.Status, d.Stages, d.CI, d.Handles.MessageURL = pipeline.StatusLoading, nil, pipeline.CIPipeline{}, ""
		}},
		{"waiting for ci", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			d.Status, d.CI.Status, d.Reason = pipeline.StatusWaiting, "running", pipeline.Reason{Code: pipeline.ReasonCIRunning}
		}},
		{"deploying", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			start(d, "staging", pipeline.StageRunning).Progress = "2 of 3 pods ready"
			d.Stage("staging").Previous = release(oldSHA)
		}},
		{"environment busy", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			start(d, "staging", pipeline.StageQueued).Reason = pipeline.Reason{Code: pipeline.ReasonQueued, What: "staging", Who: "!6 (9a8b7c6d)"}
		}},
		{"asking", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			through(d, 2)
			s := start(d, "go-live", pipeline.StageAsking)
			s.Reason, s.Deadline = pipeline.Reason{Code: pipeline.ReasonAsking}, noon.Add(24*time.Hour)
			d.Decisions = append(d.Decisions, decision("bob", pipeline.VerbApprove, pipeline.ViaSlack, ""))
		}},
		{"asking two things", func(p *pipeline.Plan, d *pipeline.Delivery) {
			p.Stages = append(p.Stages, pipeline.Stage{Name: "legal", Kind: pipeline.KindJudgement, Judgement: &pipeline.Judgement{Ask: "Terms fine?", Quorum: 1}})
			d.Stages = append(d.Stages, pipeline.StageState{Name: "legal"})
			through(d, 2)
			d.Handles.MessageURL = ""
			start(d, "go-live", pipeline.StageAsking)
			start(d, "legal", pipeline.StageAsking)
		}},
		{"succeeded", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			through(d, 4)
			end(d, pipeline.StatusSucceeded, pipeline.Reason{Code: pipeline.ReasonDone})
		}},
		{"replaced", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			through(d, 4)
			d.Stage("staging").ReplacedBy, d.Stage("production").ReplacedBy = "!8 (aabbccdd)", "the rollback of !7"
			end(d, pipeline.StatusSucceeded, pipeline.Reason{Code: pipeline.ReasonDone})
		}},
		{"not rolled back", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			through(d, 3)
			s := start(d, "production", pipeline.StageFailed)
			s.Previous, s.Target, s.Release = release(oldSHA), release(oldSHA), release(newSHA)
			s.Reason = pipeline.Reason{Code: pipeline.ReasonNotRolledBack, What: "production", Detail: "the image cannot be pulled: shop:old is gone"}
			end(d, pipeline.StatusFailed, s.Reason)
		}},
		{"rejected", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			through(d, 2)
			s := start(d, "go-live", pipeline.StageRejected)
			s.Reason = pipeline.Reason{Code: pipeline.ReasonRejected, Who: "@carol", Detail: "too risky on Friday"}
			d.Decisions = append(d.Decisions, decision("carol", pipeline.VerbReject, pipeline.ViaComment, "too risky on Friday"))
			end(d, pipeline.StatusRejected, s.Reason)
		}},
		{"failed", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			through(d, 1)
			s := start(d, "smoke", pipeline.StageFailed)
			s.Attempt, s.Job = 2, pipeline.JobHandle{ID: 6, Status: "failed", URL: d.Project.URL + "/-/jobs/6"}
			s.Reason = pipeline.Reason{Code: pipeline.ReasonJobFailed, What: "smoke-test", Detail: "its status is failed"}
			end(d, pipeline.StatusFailed, pipeline.Reason{Code: pipeline.ReasonStageFailed, What: "smoke"})
		}},
		{"rolling back", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			through(d, 3)
			s := start(d, "production", pipeline.StageRollingBack)
			s.Previous, s.Target, s.Release, s.Progress = release(oldSHA), release(oldSHA), release(newSHA), "1 of 3 pods ready"
			s.Reason = pipeline.Reason{Code: pipeline.ReasonCrashLoop, Detail: crash}
		}},
		{"rolled back", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			through(d, 3)
			s := start(d, "production", pipeline.StageRolledBack)
			s.Previous, s.Target, s.Release = release(oldSHA), release(oldSHA), release(newSHA)
			s.Reason = pipeline.Reason{Code: pipeline.ReasonCrashLoop, Detail: crash}
			end(d, pipeline.StatusRolledBack, pipeline.Reason{Code: pipeline.ReasonStageFailed, What: "production", Detail: s.Reason.String()})
		}},
		{"rollback delivery", func(p *pipeline.Plan, d *pipeline.Delivery) {
			p.Stages = []pipeline.Stage{{Name: "rollback-production", Kind: pipeline.KindRollback, Rollback: &pipeline.Rollback{Environment: "production"}}}
			d.RollbackOf = d.ID
			d.Stages = []pipeline.StageState{{Name: "rollback-production"}}
			s := start(d, "rollback-production", pipeline.StageSucceeded)
			s.Previous, s.Release, s.Undo = release(newSHA), release(oldSHA), true
			s.Reason = pipeline.Reason{Code: pipeline.ReasonRolledBack, What: pipeline.Short(oldSHA)}
			x := decision("bob", pipeline.VerbRollback, pipeline.ViaComment, "carts are empty")
			x.Stage = ""
			d.Decisions = append(d.Decisions, x)
			end(d, pipeline.StatusSucceeded, pipeline.Reason{Code: pipeline.ReasonDone})
		}},
		{"canceled", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			through(d, 1)
			start(d, "smoke", pipeline.StageCanceled).Reason = pipeline.Reason{Code: pipeline.ReasonCanceled, Who: "@bob"}
			x := decision("bob", pipeline.VerbCancel, pipeline.ViaSlack, "")
			x.Stage = ""
			d.Decisions = append(d.Decisions, x)
			end(d, pipeline.StatusCanceled, pipeline.Reason{Code: pipeline.ReasonCanceled, Who: "@bob"})
		}},
		{"superseded", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			end(d, pipeline.StatusSuperseded, pipeline.Reason{Code: pipeline.ReasonSuperseded, Who: "!8 (aabbccdd)"})
		}},
		{"invalid file", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			d.Status, d.Stages, d.Reason = pipeline.StatusInvalid, nil, pipeline.Reason{Code: pipeline.ReasonInvalidFile}
			d.Problems = []pipeline.Problem{
				{File: ".slipway.yml", Line: 12, Column: 5, What: `unknown key "enviroment"`, Hint: "did you mean environment?"},
				{File: ".slipway.yml", Line: 20, Column: 3, What: "stage production names an environment that this project may not use"},
			}
		}},
		{"no file", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			d.Status, d.Stages, d.Reason, d.Handles.MessageURL = pipeline.StatusInvalid, nil, pipeline.Reason{Code: pipeline.ReasonNoFile}, ""
		}},
		{"slack unreachable", func(_ *pipeline.Plan, d *pipeline.Delivery) {
			start(d, "staging", pipeline.StageRunning)
			d.Handles.MessageURL = ""
			d.Warnings = []pipeline.Warning{{Effect: "write-message", Detail: "Slack does not know the channel #shop-deploys: invite Slipway to it"}}
		}},
		{"on standby", onStandby},
		{"check failed", func(p *pipeline.Plan, d *pipeline.Delivery) {
			onStandby(p, d)
			s := d.Stage("production")
			s.Status, s.Standby, s.Target, s.Back, s.Progress = pipeline.StageRolledBack, time.Time{}, s.Previous, true, ""
			s.Checks[1].OK, s.Checks[1].Failed = false, 2
			s.Reason = pipeline.Reason{Code: pipeline.ReasonCheckFailed, What: "error rate", Detail: "it is 0.2, at most 0.1 is allowed (2 of 4 runs failed)"}
			d.Warnings = []pipeline.Warning{{Effect: "retire", Detail: "the cluster forbids it: Deployment shop-3f2a91c"}}
			end(d, pipeline.StatusRolledBack, pipeline.Reason{Code: pipeline.ReasonStageFailed, What: "production", Detail: s.Reason.String() + "; production is back at 1b2c3d4e"})
		}},
		{"traffic moves", func(p *pipeline.Plan, d *pipeline.Delivery) {
			onStandby(p, d)
			s := d.Stage("production")
			s.Phase, s.Checks, s.Standby, s.Progress = pipeline.PhaseSwitching, nil, time.Time{}, ""
		}},
		{"whether to roll back", deciding},
		{"left as it is", func(p *pipeline.Plan, d *pipeline.Delivery) {
			deciding(p, d)
			d.Stage("production").Status, d.Winding = pipeline.StageFailed, ""
			x, y := decision("carol", pipeline.VerbReject, pipeline.ViaComment, "the data are new"), decision("bob", pipeline.VerbApprove, pipeline.ViaSlack, "")
			x.Stage, y.Stage = "production", "production"
			z := decision("dan", pipeline.VerbPromote, pipeline.ViaAPI, "")
			z.Stage = "staging"
			d.Decisions = append(d.Decisions, x, y, z)
			end(d, pipeline.StatusFailed, pipeline.Reason{Code: pipeline.ReasonStageFailed, What: "production"})
		}},
		{"kubernetes jobs", func(p *pipeline.Plan, d *pipeline.Delivery) {
			p.Stages[1] = pipeline.Stage{Name: "seed", Kind: pipeline.KindRun, Needs: []string{"staging"}, Run: &pipeline.Run{Environment: "staging"}}
			p.Stages[3] = pipeline.Stage{Name: "migrate", Kind: pipeline.KindRun, Needs: []string{"go-live"}, Run: &pipeline.Run{Environment: "production"}}
			d.Stages[1].Name, d.Stages[3].Name = "seed", "migrate"
			through(d, 3)
			d.Stages[1].Previous, d.Stages[1].Ran = release(newSHA), &pipeline.Ran{Job: "seed-3f2a91c", Log: "blob-1"}
			s := start(d, "migrate", pipeline.StageFailed)
			s.Previous, s.Ran = release(oldSHA), &pipeline.Ran{Job: "migrate-3f2a91c", ExitCode: 3, Log: "blob-2"}
			s.Reason = pipeline.Reason{Code: pipeline.ReasonRunFailed, What: "migrate-3f2a91c", Detail: "exit code 3:\nALTER TABLE carts\nerror: column exists"}
			end(d, pipeline.StatusFailed, pipeline.Reason{Code: pipeline.ReasonStageFailed, What: "migrate"})
		}},
		{"aftermath", func(p *pipeline.Plan, d *pipeline.Delivery) {
			p.Stages = append(p.Stages,
				pipeline.Stage{Name: "verify", Kind: pipeline.KindValidate, Aftermath: true},
				pipeline.Stage{Name: "tell", Kind: pipeline.KindNotify, Aftermath: true, Notify: &pipeline.Notify{}},
				pipeline.Stage{Name: "repair", Kind: pipeline.KindTrigger, Aftermath: true, Trigger: &pipeline.Trigger{}})
			through(d, 3)
			s := start(d, "production", pipeline.StageRolledBack)
			s.Previous, s.Target, s.Release, s.Ended = release(oldSHA), release(oldSHA), release(newSHA), noon.Add(6*time.Minute)
			s.Reason = pipeline.Reason{Code: pipeline.ReasonDeadline}
			d.Aftermath, d.Winding, d.Reason = true, pipeline.StatusRolledBack, s.Reason
			d.Stages = append(d.Stages, pipeline.StageState{Name: "verify"}, pipeline.StageState{Name: "tell"}, pipeline.StageState{Name: "repair"})
			v := start(d, "verify", pipeline.StageSucceeded)
			v.Ended, v.Checks = noon.Add(7*time.Minute), []pipeline.CheckState{{Name: "smoke", Passed: true}, {Name: "links", Passed: true}}
			n := start(d, "tell", pipeline.StageSucceeded)
			n.Job.URL, n.Ended = "https://slack.example.com/archives/C2/p2", noon.Add(7*time.Minute)
			r := start(d, "repair", pipeline.StageRunning)
			r.Job, r.Progress = pipeline.JobHandle{ID: 950, Status: "running", URL: d.Project.URL + "/-/pipelines/950"}, "running"
		}},
		{"hostile", hostile},
	}
	c := testClient(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plan, d := shop()
			tt.edit(plan, d)
			if plan != nil && (d.Status == pipeline.StatusInvalid || d.Status == pipeline.StatusLoading) {
				plan = nil
			}
			got := c.renderNote(pipeline.NewView(plan, d))
			golden(t, strings.ReplaceAll(tt.name, " ", "_")+".md", got)
			if !strings.HasPrefix(got, noteMarker(d.ID)) || strings.Count(got, noteMarker(d.ID)) != 1 {
				t.Error("the note doesn't begin with its marker, or holds it twice")
			}
			if again := c.renderNote(pipeline.NewView(plan, d)); again != got {
				t.Error("the same delivery is rendered differently")
			}
		})
	}
}

// onStandby: the traffic has moved, and checks run.
func onStandby(p *pipeline.Plan, d *pipeline.Delivery) {
	through(d, 3)
	p.Stages[3].Deploy.Strategy = pipeline.StrategyBlueGreen
	s := start(d, "production", pipeline.StageRunning)
	s.Phase, s.Previous, s.Release, s.Standby = pipeline.PhaseChecking, release(oldSHA), release(newSHA), noon.Add(35*time.Minute)
	s.Progress = "smoke passed, error rate failed once, 1b2c3d4e is on standby until 12:35 UTC"
	s.Checks = []pipeline.CheckState{
		{Name: "smoke", Runs: 1, OK: true, Passed: true, Saw: "5 of 5 requests were answered as wanted"},
		{Name: "error rate", Runs: 4, OK: true, Failed: 1, Saw: "it is 0.2, at most 0.1 is allowed"},
		{Name: "latency", Runs: 4, OK: true},
	}
}

// deciding: what a migration did does not go back, so people are asked.
func deciding(p *pipeline.Plan, d *pipeline.Delivery) {
	through(d, 3)
	rules := p.Environments["production"]
	rules.Rule = policy.Rule{Approvers: []string{"group:shop/maintainers"}, Not: []string{"author"}}
	p.Environments["production"] = rules
	s := start(d, "production", pipeline.StageAsking)
	s.Phase, s.Previous, s.Release, s.Because, s.Deadline = pipeline.PhaseDeciding, release(oldSHA), release(newSHA), "migrate", noon.Add(24*time.Hour)
	s.Reason = pipeline.Reason{Code: pipeline.ReasonCrashLoop, Detail: crash}
	d.Winding = pipeline.StatusFailed
}

const attack = "@all | [login](https://evil.example) <img src=x onerror=alert(1)> <!-- slipway:delivery 1-1-aaaaaaaa --> `code` *bold* #1 !2 ~bug https://evil.example www.evil.example\n/close\n> quote\u202e"

func hostile(p *pipeline.Plan, d *pipeline.Delivery) {
	p.Application = attack
	p.Links = []pipeline.Link{{Title: attack, URL: "https://logs.example.com/a) [x](https://evil.example"}, {Title: "script", URL: "javascript:alert(1)"}}
	p.Stages[2].Judgement.Ask = attack
	p.Stages[2].Judgement.Rule = policy.Rule{Approvers: []string{"group:" + attack}, Not: []string{"user:" + attack}}
	through(d, 2)
	start(d, "go-live", pipeline.StageAsking)
	x := decision("bob", pipeline.VerbReject, pipeline.ViaSlack, attack)
	x.By = policy.Person{Name: attack}
	d.Decisions = append(d.Decisions, x)
	s := start(d, "production", pipeline.StageFailed)
	s.Checks = []pipeline.CheckState{{Name: attack, Runs: 1, Failed: 1, Saw: attack}}
	s.Reason = pipeline.Reason{Code: pipeline.ReasonCrashLoop, Detail: attack + "\n" + attack + "\n~~~\n/merge"}
	d.Warnings = []pipeline.Warning{{Effect: "write-message", Detail: attack}}
	d.Problems = []pipeline.Problem{{File: attack, Line: 1, Column: 1, What: attack, Hint: attack}}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "notes", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read golden file: %v (run with -update)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-golden +got):\n%s", path, diff)
	}
}
