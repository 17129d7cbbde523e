package web

import (
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

const sha = "3f2a91c07d5be1a4c8e9f0123456789abcdef012"

// state is a delivery that the pages are tried with.
type state struct {
	name string
	view pipeline.View
}

// states are deliveries as they were at a moment.
func states(now time.Time) []state {
	return []state{
		{"loading", loading(now)}, {"waiting", waiting(now)}, {"running", running(now)}, {"asking", asking(now)},
		{"succeeded", succeeded(now)}, {"failed", failed(now)}, {"rolled back", rolledBack(now)}, {"rejected", rejected(now)},
		{"canceled", canceled(now)}, {"superseded", superseded(now)}, {"invalid", invalid(now)}, {"graph", graphed(now)},
		{"rollback", rollback(now)}, {"on standby", onStandby(now)}, {"check failed", checkFailed(now)}, {"roll back or not", deciding(now)},
		{"kubernetes job", runFailed(now)}, {"aftermath", aftermath(now)}, {"hostile", hostile(now)},
	}
}

func base(now time.Time, status pipeline.Status, why string) pipeline.View {
	return pipeline.View{
		ID: "42-17-3f2a91c0", Application: "shop", SHA: sha, Status: status, Icon: status.Icon(), Reason: why,
		Project: pipeline.Project{ID: 42, Path: "shop/api", URL: "https://gitlab.example.com/shop/api", DefaultBranch: "main"},
		MergeRequest: pipeline.MergeRequest{
			IID: 17, Title: "Show delivery costs before checkout", URL: "https://gitlab.example.com/shop/api/-/merge_requests/17",
			SourceBranch: "delivery-costs", TargetBranch: "main", AuthorUsername: "ada", MergedBy: "grace",
		},
		CI:         pipeline.CIPipeline{ID: 9001, Status: "success", URL: "https://gitlab.example.com/shop/api/-/pipelines/9001"},
		MessageURL: "https://shop.slack.example.com/archives/C1/p1700000000",
		Links:      []pipeline.Link{{Title: "Logs of this version", URL: "https://logs.example.com/?version=3f2a91c0"}, {Title: "Dashboard", URL: "https://metrics.example.com/d/shop"}},
		Created:    now.Add(-22 * time.Minute), MayCancel: !status.Finished(),
	}
}

func stage(name string, kind pipeline.StageKind, status pipeline.StageStatus, needs ...string) pipeline.StageView {
	return pipeline.StageView{Name: name, Kind: kind, Status: status, Icon: status.Icon(), Word: string(status), Needs: needs}
}

// shop is the delivery's usual way; the statuses are those of its four stages.
func shop(v pipeline.View, statuses ...pipeline.StageStatus) pipeline.View {
	start := v.Created.Add(4 * time.Minute)
	v.Started = start
	v.Stages = []pipeline.StageView{
		stage("staging", pipeline.KindDeploy, statuses[0]), stage("smoke", pipeline.KindJob, statuses[1], "staging"),
		stage("go-live", pipeline.KindJudgement, statuses[2], "smoke"), stage("production", pipeline.KindDeploy, statuses[3], "go-live"),
	}
	for i := range v.Stages {
		s := &v.Stages[i]
		switch s.Name {
		case "staging", "production":
			s.Environment, s.Namespace, s.URL = s.Name, "shop-"+s.Name, "https://"+s.Name+".shop.example.com"
		case "smoke":
			s.URL = "https://gitlab.example.com/shop/api/-/jobs/501"
		}
		if s.Status == pipeline.StagePending || s.Status == pipeline.StageSkipped {
			continue
		}
		s.Attempt = 1
		s.Started = start.Add(time.Duration(i) * 3 * time.Minute)
		if s.Environment != "" {
			s.Previous = "9b1cd204"
			s.Images = []pipeline.Image{
				{Name: "registry.example.com/shop/api:" + sha, Digest: "sha256:" + strings.Repeat("4be1", 16)},
				{Name: "registry.example.com/shop/worker:" + sha},
			}
		}
		if s.Status.Finished() {
			s.Ended = s.Started.Add(72 * time.Second)
		} else {
			s.Deadline = v.Created.Add(40 * time.Minute)
		}
		if s.Status == pipeline.StageSucceeded && s.Environment != "" {
			s.Now = "3f2a91c0"
		}
	}
	if v.Status.Finished() {
		v.Ended = v.Created.Add(18 * time.Minute)
	}
	return v
}

func decided(v pipeline.View, what pipeline.Verb, who, name, why string) pipeline.View {
	v.Decisions = append(v.Decisions, pipeline.Decision{
		Stage: "go-live", Attempt: 1, What: what, By: policy.Person{ID: 7, Username: who, Name: name}, Via: pipeline.ViaSlack,
		At: v.Created.Add(12 * time.Minute), Reason: why, Rule: "a member of shop/maintainers, and not the author",
	})
	return v
}

func loading(now time.Time) pipeline.View {
	v := base(now, pipeline.StatusLoading, "")
	v.Created, v.CI, v.Links, v.MessageURL = now.Add(-2*time.Second), pipeline.CIPipeline{}, nil, ""
	return v
}

func waiting(now time.Time) pipeline.View {
	v := shop(base(now, pipeline.StatusWaiting, "waiting for the CI pipeline"),
		pipeline.StagePending, pipeline.StagePending, pipeline.StagePending, pipeline.StagePending)
	v.CI.Status, v.Started = "running", time.Time{}
	return v
}

func running(now time.Time) pipeline.View {
	v := shop(base(now, pipeline.StatusRunning, ""), pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageRunning)
	v.Stages[3].Progress = "2 of 3 pods ready"
	v.Stages[3].Attempt = 2
	return decided(v, pipeline.VerbApprove, "linus", "Linus Lindqvist", "")
}

func asking(now time.Time) pipeline.View {
	v := shop(base(now, pipeline.StatusRunning, "waiting for an approval"), pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageAsking, pipeline.StagePending)
	v = decided(v, pipeline.VerbApprove, "linus", "Linus Lindqvist", "tried it on staging")
	v.Questions = []pipeline.Question{{
		Token: "42-17-3f2a91c0/go-live/1", Stage: "go-live", Attempt: 1, Ask: "Ship “Show delivery costs before checkout” to production?",
		Approvers: []string{"group:shop/maintainers", "@grace"}, Not: []string{"author"}, Quorum: 2, Approvals: v.Decisions,
		Expires: now.Add(23 * time.Hour), Confirm: true, Environment: "production",
	}}
	return v
}

func succeeded(now time.Time) pipeline.View {
	v := shop(base(now, pipeline.StatusSucceeded, "done"), pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageSucceeded)
	v.MayRollback = true
	return decided(decided(v, pipeline.VerbApprove, "linus", "Linus Lindqvist", "tried it on staging"), pipeline.VerbApprove, "grace", "Grace Okafor", "")
}

func failed(now time.Time) pipeline.View {
	v := shop(base(now, pipeline.StatusFailed, "stage smoke failed"), pipeline.StageSucceeded, pipeline.StageFailed, pipeline.StagePending, pipeline.StagePending)
	v.Stages[1].Reason = "job smoke-test did not succeed: script_failure"
	v.MayRetry, v.MayRollback = true, true
	v.Warnings = []pipeline.Warning{{Effect: "write-message", Detail: "the Slack channel #shop-deploys does not exist, or Slipway is not in it"}}
	return v
}

func rolledBack(now time.Time) pipeline.View {
	v := shop(base(now, pipeline.StatusRolledBack, "stage production failed: a container keeps crashing"),
		pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageRolledBack)
	v.Stages[3].Now = "9b1cd204"
	v.Stages[3].Reason = "a container keeps crashing: pod shop-api-7c9d8 container api, exit code 1\n" +
		"2026-03-09T14:02:11Z INFO  listening on :8080\n2026-03-09T14:02:11Z INFO  connecting to the price service\n" +
		"2026-03-09T14:02:14Z FATAL price service: dial tcp 10.0.12.7:9090: connect: connection refused\n\tmain.go:41 main.connect\n\tmain.go:23 main.main"
	v.MayRetry = true
	return decided(v, pipeline.VerbApprove, "linus", "Linus Lindqvist", "")
}

func rejected(now time.Time) pipeline.View {
	v := shop(base(now, pipeline.StatusRejected, "rejected by @grace: the price service is not out yet, tomorrow please"),
		pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageRejected, pipeline.StageSkipped)
	v.Stages[2].Reason = "rejected by @grace: the price service is not out yet, tomorrow please"
	v.Stages[3].Reason = "stage go-live did not succeed"
	return decided(v, pipeline.VerbReject, "grace", "Grace Okafor", "the price service is not out yet, tomorrow please")
}

func canceled(now time.Time) pipeline.View {
	v := shop(base(now, pipeline.StatusCanceled, "canceled by @ada"), pipeline.StageSucceeded, pipeline.StageCanceled, pipeline.StageCanceled, pipeline.StageCanceled)
	v.Decisions = []pipeline.Decision{{
		What: pipeline.VerbCancel, By: policy.Person{ID: 3, Username: "ada"}, Via: pipeline.ViaComment, At: v.Created.Add(9 * time.Minute), Rule: "the author of the merge request",
	}}
	return v
}

func superseded(now time.Time) pipeline.View {
	return shop(base(now, pipeline.StatusSuperseded, "superseded by !18"), pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageSuperseded, pipeline.StageSuperseded)
}

func invalid(now time.Time) pipeline.View {
	v := base(now, pipeline.StatusInvalid, ".slipway.yml has errors")
	v.Application, v.Links, v.Ended = "shop/api", nil, v.Created.Add(time.Second)
	v.Problems = []pipeline.Problem{
		{File: ".slipway.yml", Line: 12, Column: 7, What: `unknown key "enviroment"`, Hint: `did you mean "environment"?`},
		{File: ".slipway.yml", Line: 19, Column: 20, What: `stage "smoke" needs "stagging", which is not a stage`, Hint: "stages: staging, smoke, production"},
		{File: ".slipway.yml", What: `environment "prod" is not one that shop/api may use`},
	}
	return v
}

func graphed(now time.Time) pipeline.View {
	v := base(now, pipeline.StatusRunning, "")
	v.Started = now.Add(-6 * time.Minute)
	d, j := pipeline.KindDeploy, pipeline.KindJob
	v.Stages = []pipeline.StageView{
		stage("staging", d, pipeline.StageSucceeded), stage("smoke", j, pipeline.StageSucceeded, "staging"),
		stage("load test", j, pipeline.StageRunning, "staging"), stage("docs", d, pipeline.StageSucceeded),
		stage("go-live", pipeline.KindJudgement, pipeline.StagePending, "smoke", "load test", "staging"),
		stage("production-eu", d, pipeline.StagePending, "go-live"), stage("production-us", d, pipeline.StagePending, "go-live"),
		stage("announce", j, pipeline.StagePending, "production-eu", "production-us", "docs"),
	}
	v.Stages[2].Started, v.Stages[2].Progress = now.Add(-2*time.Minute), "the job is running"
	v.Stages[2].URL = "https://gitlab.example.com/shop/api/-/jobs/502"
	return v
}

func rollback(now time.Time) pipeline.View {
	v := base(now, pipeline.StatusSucceeded, "")
	v.ID, v.RollbackOf, v.Started, v.Ended = "42-17-3f2a91c0-rollback-1", "42-17-3f2a91c0", v.Created, v.Created.Add(40*time.Second)
	s := stage("rollback", pipeline.KindRollback, pipeline.StageSucceeded)
	s.Environment, s.Namespace, s.URL, s.Previous, s.Now, s.Started, s.Ended = "production", "shop-production", "https://shop.example.com", "3f2a91c0", "9b1cd204", v.Started, v.Ended
	v.Stages = []pipeline.StageView{s}
	v.Decisions = []pipeline.Decision{{
		What: pipeline.VerbRollback, By: policy.Person{ID: 9, Username: "grace", Name: "Grace Okafor"}, Via: pipeline.ViaComment, At: v.Created,
		Reason: "checkout is slow", Rule: "a maintainer of shop/api",
	}}
	return v
}

// hostile is a delivery whose every text tries to be more than text.
// onStandby: production's traffic has moved, and checks run.
func onStandby(now time.Time) pipeline.View {
	v := shop(base(now, pipeline.StatusRunning, ""), pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageRunning)
	v.MayRollback, v.MayPromote = true, true
	s := &v.Stages[3]
	s.Standby, s.Progress = now.Add(18*time.Minute), "smoke passed, error rate failed once, latency is being checked, 9b1cd204 is on standby until 14:23 UTC"
	s.Deadline = s.Standby
	s.Checks = []pipeline.CheckView{
		{Name: "smoke", Icon: "✅", Word: "passed", Saw: "5 of 5 requests were answered as wanted"},
		{Name: "error rate", Icon: "🔵", Word: "running, 1 failed", Saw: "it is 0.2, at most 0.1 is allowed"},
		{Name: "latency", Icon: "🔵", Word: "running"},
	}
	return decided(v, pipeline.VerbApprove, "linus", "Linus Lindqvist", "")
}

func checkFailed(now time.Time) pipeline.View {
	v := onStandby(now)
	v.Status, v.Reason, v.MayCancel, v.MayPromote, v.MayRetry, v.Ended = pipeline.StatusRolledBack,
		"stage production failed: check error rate failed: it is 0.2, at most 0.1 is allowed (2 of 6 runs failed); production is back at 9b1cd204", false, false, true, now
	s := &v.Stages[3]
	s.Status, s.Word, s.Now, s.Ended, s.Standby, s.Deadline = pipeline.StageRolledBack, "rolled back", "9b1cd204", now, time.Time{}, time.Time{}
	s.Reason = "check error rate failed: it is 0.2, at most 0.1 is allowed (2 of 6 runs failed)"
	s.Checks[1].Word, s.Checks[2].Word = "failed", "stopped"
	v.Warnings = []pipeline.Warning{{Effect: "retire", Detail: "the cluster forbids it: Deployment shop-3f2a91c"}}
	return v
}

// deciding: what a migration did does not go back, so people are asked.
func deciding(now time.Time) pipeline.View {
	v := shop(base(now, pipeline.StatusRunning, "a container keeps crashing"), pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageAsking)
	v.MayCancel = false
	s := &v.Stages[3]
	s.Deadline, s.Reason = now.Add(23*time.Hour), "a container keeps crashing: pod shop-api-7c9d8 container api, exit code 1\nFATAL no column named price"
	v.Questions = []pipeline.Question{{
		Token: "42-17-3f2a91c0/production/1", Stage: "production", Attempt: 1, Ask: "Roll production back to 9b1cd204? What stage migrate did does not go back with it.",
		Approvers: []string{"group:shop/maintainers"}, Quorum: 1, Expires: s.Deadline, Confirm: true, Environment: "production", Back: true,
	}}
	v.Decisions = []pipeline.Decision{{Stage: "production", What: pipeline.VerbApprove, By: policy.Person{Username: "grace"}, Via: pipeline.ViaAPI, At: now, Rule: "group:shop/maintainers"}}
	return v
}

func runFailed(now time.Time) pipeline.View {
	v := shop(base(now, pipeline.StatusFailed, "stage migrate failed"), pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageSucceeded, pipeline.StageFailed)
	s := &v.Stages[3]
	s.Name, s.Kind, s.Images, s.Ran = "migrate", pipeline.KindRun, nil, &pipeline.Ran{Job: "migrate-3f2a91c", ExitCode: 3, Log: "blob"}
	s.Reason = "Kubernetes Job migrate-3f2a91c failed: exit code 3:\nALTER TABLE carts ADD COLUMN price\nERROR: column \"price\" of relation \"carts\" already exists"
	v.MayRetry, v.MayRollback = true, true
	return v
}

// aftermath: a message and a CI pipeline follow a bad end.
func aftermath(now time.Time) pipeline.View {
	v := rolledBack(now)
	v.Status, v.Ended, v.MayRetry = pipeline.StatusRunning, time.Time{}, false
	v.Stages = append(v.Stages,
		stage("tell", pipeline.KindNotify, pipeline.StageSucceeded, "production"), stage("repair", pipeline.KindTrigger, pipeline.StageRunning, "tell"))
	for i := range v.Stages[4:] {
		s := &v.Stages[4+i]
		s.Aftermath, s.Attempt, s.Started = true, 1, now.Add(-2*time.Minute)
	}
	v.Stages[4].Ended, v.Stages[4].URL = now.Add(-2*time.Minute+time.Second), "https://shop.slack.example.com/archives/C2/p2"
	v.Stages[5].Progress, v.Stages[5].URL, v.Stages[5].Deadline = "running", "https://gitlab.example.com/shop/api/-/pipelines/9007", now.Add(time.Hour)
	return v
}

func hostile(now time.Time) pipeline.View {
	evil := `"><script>alert(1)</script><img src=x onerror=alert(2)> ` + "\u202edlrow\u202c {{.}} ' on=1"
	js := "javascript:alert(3)"
	v := shop(base(now, pipeline.StatusFailed, evil+"\n"+evil), pipeline.StageSucceeded, pipeline.StageFailed, pipeline.StageAsking, pipeline.StageRolledBack)
	v.Application, v.Project.Path, v.Project.URL = evil, evil, js
	v.MergeRequest.Title, v.MergeRequest.URL = evil+strings.Repeat("long ", 500), js
	v.MergeRequest.SourceBranch, v.MergeRequest.TargetBranch, v.MergeRequest.AuthorUsername, v.MergeRequest.MergedBy = evil, evil, evil, evil
	v.CI.URL, v.CI.Status, v.MessageURL, v.RollbackOf = js, evil, "data:text/html,"+evil, "../../"+evil
	v.Links = []pipeline.Link{{Title: evil, URL: js}, {Title: evil, URL: "https://user:secret@example.com/"}, {Title: evil, URL: "//example.com"}, {Title: evil, URL: `https://example.com/"onclick="alert(4)`}}
	for i := range v.Stages {
		s := &v.Stages[i]
		s.Name, s.Environment, s.Namespace, s.Progress, s.Reason, s.URL, s.Previous, s.Now = evil, evil, evil, evil, evil+"\n\x1b[31m"+evil, js, evil, evil+"2"
		s.Needs, s.Images = []string{evil}, []pipeline.Image{{Name: evil, Digest: evil}}
		s.Checks, s.Ran = []pipeline.CheckView{{Name: evil, Icon: evil, Word: evil, Saw: evil}}, &pipeline.Ran{Job: evil, Log: evil}
	}
	v.Questions = []pipeline.Question{{Stage: evil, Ask: evil, Approvers: []string{evil, "group:" + evil}, Not: []string{evil}, Environment: evil, Quorum: 1, Expires: now}}
	v.Decisions = []pipeline.Decision{{Stage: evil, What: pipeline.Verb(evil), By: policy.Person{Username: evil, Name: evil}, Via: pipeline.Via(evil), Reason: evil, Rule: evil, At: now}}
	v.Problems = []pipeline.Problem{{File: evil, Line: 1, Column: 2, What: evil, Hint: evil}}
	v.Warnings = []pipeline.Warning{{Detail: evil}}
	return v
}
