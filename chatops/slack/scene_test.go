package slack

import (
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// scene is a plan and a delivery of it: staging, a question, production.
func scene() (*pipeline.Plan, pipeline.Delivery) {
	project := pipeline.Project{ID: 7, Path: "shop/api", URL: "https://gitlab.example.com/shop/api"}
	mr := pipeline.MergeRequest{
		IID: 12, Title: "Add the cart", URL: "https://gitlab.example.com/shop/api/-/merge_requests/12",
		AuthorUsername: "ada", MergedBy: "bob", MergedAt: noon,
	}
	sha := "3f2a91c0d4e5f60718293a4b5c6d7e8f90a1b2c3"
	plan := &pipeline.Plan{
		Schema: 1, Application: "shop", Project: project, MergeRequest: mr, Channel: "#shop-deploys",
		Commit: pipeline.Commit{SHA: sha, ShortSHA: "3f2a91c0", Ref: "main"},
		Links:  []pipeline.Link{{Title: "Logs", URL: "https://logs.example.com/?version=3f2a91c0&env=all"}},
		Stages: []pipeline.Stage{
			{Name: "staging", Kind: pipeline.KindDeploy, Deploy: &pipeline.Deploy{Environment: "staging"}},
			{Name: "go-live", Kind: pipeline.KindJudgement, Needs: []string{"staging"}, Judgement: &pipeline.Judgement{
				Ask: "Ship “Add the cart”?", Quorum: 1, Expires: 24 * time.Hour, Confirm: true, Environment: "production",
				Rule: policy.Rule{Approvers: []string{"group:shop/maintainers"}, Not: []string{"author"}},
			}},
			{Name: "production", Kind: pipeline.KindDeploy, Needs: []string{"go-live"}, Deploy: &pipeline.Deploy{Environment: "production"}},
		},
		Environments: map[string]pipeline.EnvironmentRules{
			"staging":    {Namespace: "shop-staging", URL: "https://staging.shop.example.com"},
			"production": {Namespace: "shop", URL: "https://shop.example.com"},
		},
	}
	d := pipeline.Delivery{
		Schema: 1, ID: pipeline.DeliveryID(7, 12, sha), Status: pipeline.StatusRunning, Project: project, MergeRequest: mr, SHA: sha,
		CI:      pipeline.CIPipeline{ID: 3, Status: "success", URL: "https://gitlab.example.com/shop/api/-/pipelines/3"},
		Created: noon, Started: noon.Add(time.Minute),
		Stages: []pipeline.StageState{
			{Name: "staging", Status: pipeline.StageRunning, Attempt: 1, Progress: "1 of 3 pods ready"},
			{Name: "go-live", Status: pipeline.StagePending},
			{Name: "production", Status: pipeline.StagePending},
		},
	}
	return plan, d
}

func release(environment, sha string) *pipeline.Release {
	return &pipeline.Release{ID: environment + "/" + pipeline.Short(sha) + "-1", SHA: sha}
}

// step changes the scene's delivery; scenes build upon each other.
type step func(*pipeline.Plan, *pipeline.Delivery)

func staged(_ *pipeline.Plan, d *pipeline.Delivery) {
	d.Stages[0] = pipeline.StageState{
		Name: "staging", Status: pipeline.StageSucceeded, Attempt: 1, Release: release("staging", d.SHA),
		Previous: release("staging", "9d9d9d9d00"), Reason: pipeline.Reason{Code: pipeline.ReasonDone},
	}
}

func asking(p *pipeline.Plan, d *pipeline.Delivery) {
	staged(p, d)
	d.Stages[1] = pipeline.StageState{
		Name: "go-live", Status: pipeline.StageAsking, Attempt: 1, Deadline: noon.Add(24 * time.Hour), Reason: pipeline.Reason{Code: pipeline.ReasonAsking},
	}
}

func decided(what pipeline.Verb, who string, via pipeline.Via, reason string) pipeline.Decision {
	return pipeline.Decision{
		Stage: "go-live", Attempt: 1, What: what, By: policy.Person{ID: 1, Username: who}, Via: via, At: noon.Add(time.Hour), Reason: reason,
		Rule: "group:shop/maintainers",
	}
}

func approved(p *pipeline.Plan, d *pipeline.Delivery) {
	staged(p, d)
	d.Stages[1] = pipeline.StageState{
		Name: "go-live", Status: pipeline.StageSucceeded, Attempt: 1, Reason: pipeline.Reason{Code: pipeline.ReasonApproved, Who: "@cem"},
	}
	d.Decisions = []pipeline.Decision{decided(pipeline.VerbApprove, "cem", pipeline.ViaSlack, "")}
	d.Stages[2] = pipeline.StageState{Name: "production", Status: pipeline.StageRunning, Attempt: 1}
}

func ended(d *pipeline.Delivery, s pipeline.Status, r pipeline.Reason) {
	d.Status, d.Reason, d.Ended = s, r, noon.Add(65*time.Minute)
}

func delivered(p *pipeline.Plan, d *pipeline.Delivery) {
	approved(p, d)
	d.Stages[2] = pipeline.StageState{
		Name: "production", Status: pipeline.StageSucceeded, Attempt: 1, Release: release("production", d.SHA),
		Previous: release("production", "1a2b3c4d00"), Reason: pipeline.Reason{Code: pipeline.ReasonDone},
	}
	ended(d, pipeline.StatusSucceeded, pipeline.Reason{Code: pipeline.ReasonDone})
}

const crash = "container api of pod shop-5d8f exits with 1\nstarting\nconnecting to db:5432\npanic: no route to <db> & ```friends```\n"

func rolledBack(p *pipeline.Plan, d *pipeline.Delivery) {
	approved(p, d)
	d.Stages[2] = pipeline.StageState{
		Name: "production", Status: pipeline.StageRolledBack, Attempt: 2, Previous: release("production", "1a2b3c4d00"),
		Target: release("production", "1a2b3c4d00"), Reason: pipeline.Reason{Code: pipeline.ReasonCrashLoop, Detail: crash},
	}
	ended(d, pipeline.StatusRolledBack, pipeline.Reason{Code: pipeline.ReasonStageFailed, What: "production"})
}

// onStandby: production's traffic has moved, and checks run.
func onStandby(p *pipeline.Plan, d *pipeline.Delivery) {
	approved(p, d)
	p.Stages[2].Deploy.Strategy = pipeline.StrategyBlueGreen
	d.Stages[2] = pipeline.StageState{
		Name: "production", Status: pipeline.StageRunning, Phase: pipeline.PhaseChecking, Attempt: 1, Release: release("production", d.SHA),
		Previous: release("production", "1a2b3c4d00"), Standby: noon.Add(2 * time.Hour),
		Checks: []pipeline.CheckState{
			{Name: "smoke", Runs: 1, OK: true, Passed: true, Saw: "5 of 5 requests were answered as wanted"},
			{Name: "error rate", Runs: 3, Failed: 1, Saw: "it is 0.2, at most 0.1 is allowed"},
		},
	}
}

// proven: every check has passed, and what ran before is still there.
func proven(p *pipeline.Plan, d *pipeline.Delivery) {
	onStandby(p, d)
	c := &d.Stages[2].Checks[1]
	c.OK, c.Passed = true, true
}

func checkFailed(p *pipeline.Plan, d *pipeline.Delivery) {
	onStandby(p, d)
	s := &d.Stages[2]
	s.Status, s.Standby, s.Target, s.Back = pipeline.StageRolledBack, time.Time{}, s.Previous, true
	s.Checks[1].Failed = 2
	s.Reason = pipeline.Reason{Code: pipeline.ReasonCheckFailed, What: "error rate", Detail: "it is 0.2, at most 0.1 is allowed (2 of 4 runs failed)"}
	d.Warnings = []pipeline.Warning{{Effect: "retire", Detail: "the cluster forbids it: Deployment shop-3f2a91c"}}
	ended(d, pipeline.StatusRolledBack, pipeline.Reason{Code: pipeline.ReasonStageFailed, What: "production", Detail: "check error rate failed; production is back at 1a2b3c4d"})
}

// deciding: what a migration did does not go back, so people are asked.
func deciding(p *pipeline.Plan, d *pipeline.Delivery) {
	approved(p, d)
	p.Environments["production"] = pipeline.EnvironmentRules{URL: "https://shop.example.com", Rule: policy.Rule{Approvers: []string{"group:shop/maintainers"}, Not: []string{"author"}}}
	d.Stages[2] = pipeline.StageState{
		Name: "production", Status: pipeline.StageAsking, Phase: pipeline.PhaseDeciding, Attempt: 1, Release: release("production", d.SHA),
		Previous: release("production", "1a2b3c4d00"), Because: "migrate", Deadline: noon.Add(25 * time.Hour),
		Reason: pipeline.Reason{Code: pipeline.ReasonCrashLoop, Detail: crash},
	}
	d.Winding = pipeline.StatusFailed
}

func leftAsItIs(p *pipeline.Plan, d *pipeline.Delivery) {
	deciding(p, d)
	s := &d.Stages[2]
	s.Status, s.Deadline = pipeline.StageFailed, time.Time{}
	dec := decided(pipeline.VerbReject, "cem", pipeline.ViaSlack, "the data are new")
	dec.Stage = "production"
	d.Decisions = append(d.Decisions, dec)
	d.Winding = ""
	ended(d, pipeline.StatusFailed, pipeline.Reason{Code: pipeline.ReasonStageFailed, What: "production"})
}

// wentBack: they were asked, and said yes.
func wentBack(p *pipeline.Plan, d *pipeline.Delivery) {
	deciding(p, d)
	s := &d.Stages[2]
	s.Status, s.Deadline, s.Target = pipeline.StageRolledBack, time.Time{}, s.Previous
	dec := decided(pipeline.VerbApprove, "cem", pipeline.ViaComment, "")
	dec.Stage = "production"
	d.Decisions = append(d.Decisions, dec)
	d.Winding = ""
	ended(d, pipeline.StatusRolledBack, pipeline.Reason{Code: pipeline.ReasonStageFailed, What: "production"})
}

func runFailed(p *pipeline.Plan, d *pipeline.Delivery) {
	approved(p, d)
	p.Stages[2] = pipeline.Stage{Name: "migrate", Kind: pipeline.KindRun, Run: &pipeline.Run{Environment: "production"}}
	d.Stages[2] = pipeline.StageState{
		Name: "migrate", Status: pipeline.StageFailed, Attempt: 1, Previous: release("production", "1a2b3c4d00"),
		Ran:    &pipeline.Ran{Job: "migrate-3f2a91c", ExitCode: 3, Log: "blob-1"},
		Reason: pipeline.Reason{Code: pipeline.ReasonRunFailed, What: "migrate-3f2a91c", Detail: "it ended with exit code 3\nALTER TABLE carts\nerror: column exists"},
	}
	ended(d, pipeline.StatusFailed, pipeline.Reason{Code: pipeline.ReasonStageFailed, What: "migrate"})
}

// aftermath: a CI pipeline follows a bad end.
func aftermath(p *pipeline.Plan, d *pipeline.Delivery) {
	rolledBack(p, d)
	d.Status, d.Ended, d.Winding, d.Aftermath = pipeline.StatusRunning, time.Time{}, pipeline.StatusRolledBack, true
	p.Stages = append(p.Stages,
		pipeline.Stage{Name: "tell", Kind: pipeline.KindNotify, Aftermath: true, Notify: &pipeline.Notify{}},
		pipeline.Stage{Name: "repair", Kind: pipeline.KindTrigger, Aftermath: true, Trigger: &pipeline.Trigger{}})
	d.Stages = append(d.Stages,
		pipeline.StageState{Name: "tell", Status: pipeline.StageSucceeded, Attempt: 1, Job: pipeline.JobHandle{URL: "https://slack.example.com/m"}, Reason: pipeline.Reason{Code: pipeline.ReasonDone}},
		pipeline.StageState{Name: "repair", Status: pipeline.StageRunning, Attempt: 1, Progress: "running", Job: pipeline.JobHandle{ID: 800, Status: "running", URL: "https://gitlab.example.com/shop/api/-/pipelines/800"}})
}
