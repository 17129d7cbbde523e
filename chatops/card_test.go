package chatops

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

func TestACardSaysHowItStands(t *testing.T) {
	start := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		view pipeline.View
		want string
	}{
		{"under way", pipeline.View{Status: pipeline.StatusRunning}, "Under way"},
		{"a question is open", pipeline.View{Status: pipeline.StatusRunning, Questions: []pipeline.Question{{}}}, "Waiting for people"},
		{"waiting says so once", pipeline.View{Status: pipeline.StatusWaiting, Reason: "waiting for the CI pipeline"}, "Waiting for the CI pipeline"},
		{"canceled says so once", pipeline.View{Status: pipeline.StatusCanceled, Reason: "canceled by @ada"}, "Canceled by @ada"},
		{"the status alone", pipeline.View{Status: pipeline.StatusSuperseded, Reason: "superseded"}, "Superseded"},
		{"a reason of its own", pipeline.View{Status: pipeline.StatusInvalid, Reason: "the file has errors"}, "Not started: the file has errors"},
		{"how long it took", pipeline.View{Status: pipeline.StatusSucceeded, Started: start, Ended: start.Add(45 * time.Second)}, "Delivered in 45s"},
		{"how long until it failed", pipeline.View{Status: pipeline.StatusFailed, Reason: "x\nlog", Started: start, Ended: start.Add(252 * time.Second)}, "Failed after 4m 12s: x"},
		{"hours", pipeline.View{Status: pipeline.StatusRolledBack, Started: start, Ended: start.Add(63*time.Minute + 2*time.Second)}, "Rolled back after 1h 3m"},
		{"it is asked whether to roll back", pipeline.View{Status: pipeline.StatusRunning, Questions: []pipeline.Question{{Back: true}}}, "Roll back?"},
		{"ended before it started", pipeline.View{Status: pipeline.StatusSucceeded, Ended: start}, "Delivered"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := NewCard(c.view, "", "").Status; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestStagesSaySomethingOnlyIfThereIsSomething(t *testing.T) {
	for _, c := range []struct {
		name  string
		stage pipeline.StageView
		want  string // "" says nothing
	}{
		{"pending", pipeline.StageView{Status: pipeline.StagePending}, ""},
		{"asking", pipeline.StageView{Status: pipeline.StageAsking, Reason: "waiting for an approval"}, ""},
		{"running", pipeline.StageView{Status: pipeline.StageRunning}, "running"},
		{"running with progress", pipeline.StageView{Status: pipeline.StageRunning, Progress: "1 of 3 pods ready", Attempt: 2}, "1 of 3 pods ready (attempt 2)"},
		{"rolling back", pipeline.StageView{Status: pipeline.StageRollingBack, Reason: "it crashed", Progress: "2 of 3"}, "rolling back: it crashed: 2 of 3"},
		{"queued", pipeline.StageView{Status: pipeline.StageQueued, Reason: "waiting for staging"}, "waiting for staging"},
		{"failed without a reason", pipeline.StageView{Status: pipeline.StageFailed, Word: "failed"}, "failed"},
		{"rolled back", pipeline.StageView{Status: pipeline.StageRolledBack, Reason: "it crashed", Previous: "1a2b3c4d"}, "it crashed; 1a2b3c4d runs again"},
		{"not rolled back, and replaced since", pipeline.StageView{Status: pipeline.StageFailed, Reason: "the rollback failed", ReplacedBy: "!13 (9c1d2e3f)"}, "the rollback failed; replaced by !13 (9c1d2e3f)"},
		{"skipped", pipeline.StageView{Status: pipeline.StageSkipped, Reason: "its condition is not met"}, "skipped, because its condition is not met"},
		{"a question that was answered", pipeline.StageView{Name: "go-live", Status: pipeline.StageSucceeded}, ""},
		{"asking whether to roll back", pipeline.StageView{Kind: pipeline.KindDeploy, Status: pipeline.StageAsking, Reason: "it crashed"}, "it crashed"},
		{"on standby", pipeline.StageView{
			Status: pipeline.StageRunning, Previous: "1a2b3c4d", Standby: time.Date(2026, 3, 2, 14, 5, 0, 0, time.UTC), Progress: "not shown",
			Checks: []pipeline.CheckView{{Name: "smoke", Icon: "✅", Word: "passed", Saw: "all well"}, {Name: "error rate", Icon: "🔵", Word: "running, 1 failed", Saw: "it is 0.2"}, {Name: "load", Icon: "🔵", Word: "running"}},
		}, "the traffic has moved; 1a2b3c4d is on standby [until 14:05 UTC] checks: smoke ✅, error rate 🔵 (running, 1 failed: it is 0.2), load 🔵"},
		{"checks alone", pipeline.StageView{Status: pipeline.StageRunning, Checks: []pipeline.CheckView{{Name: "smoke", Icon: "🔵", Word: "running"}}}, "checks: smoke 🔵"},
		{"all is checked", pipeline.StageView{Status: pipeline.StageRunning, Progress: "what the release before left is being removed", Checks: []pipeline.CheckView{{Name: "smoke", Icon: "✅", Word: "passed"}}}, "what the release before left is being removed"},
		{"a Kubernetes Job that ran", pipeline.StageView{Kind: pipeline.KindRun, Status: pipeline.StageSucceeded, Environment: "live", Previous: "1a2b3c4d"}, ""},
		{"deployed for the first time", pipeline.StageView{Name: "live", Environment: "live", Status: pipeline.StageSucceeded, Now: "3f2a91c0"}, "runs 3f2a91c0"},
		{"deployed, and replaced since", pipeline.StageView{Name: "ship", Environment: "live", Status: pipeline.StageSucceeded, Now: "3f2a91c0", Previous: "1a2b3c4d", ReplacedBy: "!13 (9c1d2e3f)"},
			"live ran 3f2a91c0 until !13 (9c1d2e3f) (was 1a2b3c4d)"},
		{"deployed under another name", pipeline.StageView{Name: "ship", Environment: "live", Status: pipeline.StageSucceeded, Now: "3f2a91c0", Previous: "1a2b3c4d"}, "live runs 3f2a91c0 (was 1a2b3c4d)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if n, ok := note(c.stage); ok {
				got = n.Text
				if !n.Until.IsZero() {
					got += n.Until.Format(" [until 15:04 UTC] ")
				}
				got += n.More
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestTheLastLinesOfALogAreKept(t *testing.T) {
	var log strings.Builder
	for i := range 100 {
		fmt.Fprintf(&log, "line %d\t\x1b[31mred\u202e\r\n\n", i)
	}
	got := tail(log.String())
	if len(got) != maxLogLines || got[maxLogLines-1] != "line 99 [31mred" {
		t.Errorf("got %q", got)
	}
	long := tail(strings.Repeat(strings.Repeat("x", 400)+"\n", 8))
	if n := len([]rune(strings.Join(long, "\n"))); n > maxLog || len(long) == 0 {
		t.Errorf("%d characters in %d lines", n, len(long))
	}
}

func TestACardIsBounded(t *testing.T) {
	long := strings.Repeat("wörter ", 1000)
	v := pipeline.View{Application: long, Status: pipeline.StatusFailed, Reason: long, MergeRequest: pipeline.MergeRequest{IID: 1, Title: long, AuthorUsername: long}}
	for i := range 100 {
		v.Stages = append(v.Stages, pipeline.StageView{Name: long, Status: pipeline.StageFailed, Reason: long + "\n" + strings.Repeat(long+"\n", 10)})
		v.Questions = append(v.Questions, pipeline.Question{Ask: long, Approvers: []string{long}, Quorum: 2, Approvals: []pipeline.Decision{{By: policy.Person{Username: long}}}})
		v.Decisions = append(v.Decisions, pipeline.Decision{Reason: long, By: policy.Person{Username: long}})
		v.Problems = append(v.Problems, pipeline.Problem{File: ".slipway.yml", What: long})
		v.Links = append(v.Links, pipeline.Link{Title: long, URL: fmt.Sprintf("https://x.example/%d", i)})
	}
	c := NewCard(v, "https://slipway.example.com/", "")
	got := []int{len(c.Strip), len(c.Notes), len(c.Questions), len(c.Decisions), len(c.Problems), len(c.Links)}
	if diff := cmp.Diff([]int{maxSteps + 1, maxNotes, maxQuestions, maxDecisions, maxProblems + 1, maxLinks}, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	for _, s := range []string{c.Title.Text, c.Status, c.Summary, c.Notes[0].Text, c.Questions[0].Ask, c.Questions[0].Who, c.Questions[0].Approvals, c.Decisions[0].Text} {
		if n := len([]rune(s)); n > 2*maxWords+50 {
			t.Errorf("%d characters: %.50s", n, s)
		}
	}
	if c.Decisions[0].Text == "" || c.Strip[maxSteps].Name != "75 more" || c.Problems[maxProblems] != "and 95 more" {
		t.Errorf("it does not say what is left out: %+v, %q", c.Strip[maxSteps], c.Problems[maxProblems])
	}
}

func TestLinksAreShownOnce(t *testing.T) {
	v := pipeline.View{
		ID: "7-12-3f2a91c0", MergeRequest: pipeline.MergeRequest{URL: "https://gitlab.example.com/mr"},
		Stages: []pipeline.StageView{
			{Environment: "live", Status: pipeline.StageSucceeded, URL: "https://shop.example.com"},
			{Environment: "next", Status: pipeline.StageRunning, URL: "https://next.example.com"},
		},
		Links: []pipeline.Link{{URL: "https://shop.example.com"}, {URL: "https://logs.example.com"}},
	}
	want := []Fragment{
		{Text: "Merge request", URL: "https://gitlab.example.com/mr"},
		{Text: "Delivery", URL: "https://slipway.example.com/deliveries/7-12-3f2a91c0"},
		{Text: "Open live", URL: "https://shop.example.com"},
		{Text: "https://logs.example.com", URL: "https://logs.example.com"},
	}
	if diff := cmp.Diff(want, NewCard(v, "https://slipway.example.com/", "").Links); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, f := range NewCard(v, "", "").Links {
		if f.Text == "Delivery" {
			t.Error("there is a link to pages that are not there")
		}
	}
}

func TestDecisionsSayWhatTheyWereAbout(t *testing.T) {
	by := policy.Person{Username: "ada"}
	v := pipeline.View{
		Stages: []pipeline.StageView{{Name: "go-live", Kind: pipeline.KindJudgement}, {Name: "production", Kind: pipeline.KindDeploy}},
		Decisions: []pipeline.Decision{
			{Stage: "go-live", What: pipeline.VerbApprove, By: by, Via: pipeline.ViaSlack},
			{Stage: "production", What: pipeline.VerbApprove, By: by, Via: pipeline.ViaComment},
			{Stage: "production", What: pipeline.VerbReject, By: by, Via: pipeline.ViaSlack},
			{Stage: "production", What: pipeline.VerbPromote, By: by, Via: pipeline.ViaAPI},
		},
	}
	var got []string
	for _, d := range NewCard(v, "", "").Decisions {
		got = append(got, d.Icon+" "+d.Text)
	}
	want := []string{
		"👍 go-live approved by @ada (Slack)", "↩️ production rolled back by @ada (comment)",
		"✋ production left as it is by @ada (Slack)", "⏩ production promoted by @ada (API)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWarningsSayWhatWasNotDone(t *testing.T) {
	v := pipeline.View{Warnings: []pipeline.Warning{{Effect: "retire", Detail: "forbidden"}, {Effect: "draw-chart", Detail: "no right"}}}
	want := []string{"What the release before left could not be removed: forbidden", "The canary's chart could not be drawn: no right"}
	if diff := cmp.Diff(want, NewCard(v, "", "").Warnings); diff != "" {
		t.Error(diff)
	}
}

func TestTheLogOfAJobIsBehindItsStage(t *testing.T) {
	v := pipeline.View{ID: "7-12-3f2a91c0", Stages: []pipeline.StageView{{
		Name: "migrate db", Status: pipeline.StageFailed, Reason: "it failed", URL: "https://shop.example.com", Ran: &pipeline.Ran{Log: "blob"},
	}}}
	if got, want := NewCard(v, "https://slipway.example.com/", "").Notes[0].Stage.URL, "https://slipway.example.com/deliveries/7-12-3f2a91c0/stages/migrate%20db/log"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := NewCard(v, "", "").Notes[0].Stage.URL; got != "https://shop.example.com" {
		t.Errorf("without pages it leads to %q", got)
	}
}
