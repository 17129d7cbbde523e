package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// FuzzParseToken: what is read is what Token wrote, and nothing else is.
func FuzzParseToken(f *testing.F) {
	f.Add("7-12-3f2a91c0/go-live/2")
	f.Add("7-12-3f2a91c0/go-live/0")
	f.Add("7-12-3f2a91c0/go-live/+1")
	f.Add("7-12-3f2a91c0/go-live/99999999999999999999")
	f.Add("//1")
	f.Add("a/b/c/1")
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		delivery, stage, attempt, err := pipeline.ParseToken(token)
		if err != nil {
			if delivery != "" || stage != "" || attempt != 0 {
				t.Fatalf("%q is an error and gives %q, %q, %d", token, delivery, stage, attempt)
			}
			return
		}
		if attempt < 1 || delivery == "" || stage == "" || strings.Contains(delivery+stage, "/") {
			t.Fatalf("%q was read as %q, %q, %d", token, delivery, stage, attempt)
		}
		if again := pipeline.Token(delivery, stage, attempt); again != token {
			t.Fatalf("%q was read, and is written %q", token, again)
		}
	})
}

func TestTokensAreReadBack(t *testing.T) {
	delivery, stage, attempt, err := pipeline.ParseToken(pipeline.Token("7-12-3f2a91c0-r1", "go-live", 3))
	if err != nil || delivery != "7-12-3f2a91c0-r1" || stage != "go-live" || attempt != 3 {
		t.Errorf("got %q, %q, %d, %v", delivery, stage, attempt, err)
	}
}

// TestEveryStatusHasAnIcon finds a status that was added and not shown.
func TestEveryStatusHasAnIcon(t *testing.T) {
	for _, s := range []pipeline.Status{
		pipeline.StatusLoading, pipeline.StatusWaiting, pipeline.StatusRunning, pipeline.StatusSucceeded, pipeline.StatusFailed,
		pipeline.StatusRolledBack, pipeline.StatusRejected, pipeline.StatusCanceled, pipeline.StatusSuperseded, pipeline.StatusInvalid,
	} {
		if s.Icon() == pipeline.StatusNone.Icon() {
			t.Errorf("%s has no icon", s)
		}
	}
	for _, s := range []pipeline.StageStatus{
		pipeline.StagePending, pipeline.StageQueued, pipeline.StageRunning, pipeline.StageAsking, pipeline.StageRollingBack,
		pipeline.StageSucceeded, pipeline.StageFailed, pipeline.StageRolledBack, pipeline.StageRejected, pipeline.StageExpired,
		pipeline.StageCanceled, pipeline.StageSkipped, pipeline.StageSuperseded,
	} {
		if s.Icon() == pipeline.StageStatus("unheard of").Icon() {
			t.Errorf("%s has no icon", s)
		}
	}
}

func TestAStageSaysWhatItIsDoingAlsoWhereNothingTellsOfIt(t *testing.T) {
	plan := &pipeline.Plan{Stages: []pipeline.Stage{{Name: "production", Kind: pipeline.KindDeploy, Deploy: &pipeline.Deploy{Environment: "production"}}}}
	for _, c := range []struct {
		name  string
		state pipeline.StageState
		want  string
	}{
		{"traffic moves", pipeline.StageState{Phase: pipeline.PhaseSwitching, Release: &pipeline.Release{SHA: "3f2a91c04b7d"}}, "the traffic is being moved to 3f2a91c0"},
		{"traffic moves back", pipeline.StageState{Phase: pipeline.PhaseReturning, Target: &pipeline.Release{SHA: "1b2c3d4e5f60"}}, "the traffic is being moved back to 1b2c3d4e"},
		{"traffic moves back to what was no release", pipeline.StageState{Phase: pipeline.PhaseReturning, Adopted: "Deployment shop"}, "the traffic is being moved back to Deployment shop"},
		{"the release before goes", pipeline.StageState{Phase: pipeline.PhaseRetiring}, "what the release before left is being removed"},
		{"what was undone goes", pipeline.StageState{Phase: pipeline.PhaseClearing}, "what was undone is being removed"},
		{"pods of a Job end", pipeline.StageState{Phase: pipeline.PhaseStopping}, "its pods are ending, and it keeps the environment until they have"},
		{"something tells of it", pipeline.StageState{Phase: pipeline.PhaseSwitching, Progress: "1 of 2 Services"}, "1 of 2 Services"},
		{"pods come up", pipeline.StageState{Phase: pipeline.PhaseObserving}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.state.Name, c.state.Status = "production", pipeline.StageRunning
			v := pipeline.NewView(plan, &pipeline.Delivery{Stages: []pipeline.StageState{c.state}})
			if got := v.Stages[0].Progress; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAnAnswerToWhetherToRollBackIsNoJudgement(t *testing.T) {
	v := pipeline.View{Stages: []pipeline.StageView{{Name: "go-live", Kind: pipeline.KindJudgement}, {Name: "production", Kind: pipeline.KindDeploy}}}
	for _, c := range []struct {
		decision pipeline.Decision
		want     bool
	}{
		{pipeline.Decision{Stage: "go-live", What: pipeline.VerbApprove}, false},
		{pipeline.Decision{Stage: "production", What: pipeline.VerbApprove}, true},
		{pipeline.Decision{Stage: "production", What: pipeline.VerbReject}, true},
		{pipeline.Decision{Stage: "production", What: pipeline.VerbPromote}, false},
		{pipeline.Decision{What: pipeline.VerbRollback}, false},
	} {
		if got := v.DecidedBack(c.decision); got != c.want {
			t.Errorf("%+v: got %t", c.decision, got)
		}
	}
}

// A canary that is neither good nor bad asks in the words of what was found, unless the file has words of its own.
func TestTheQuestionAboutACanarySaysWhatWasFound(t *testing.T) {
	c := pipeline.Canary{Environment: "production", Question: &pipeline.Judgement{Quorum: 2, Expires: time.Hour}}
	plan := &pipeline.Plan{
		Stages:       []pipeline.Stage{{Name: "canary", Kind: pipeline.KindCanary, Canary: &c}},
		Environments: map[string]pipeline.EnvironmentRules{"production": {Rule: policy.Rule{Approvers: []string{"group:ops"}}}},
	}
	until := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	d := &pipeline.Delivery{ID: "7-1-3f2a91c0", Stages: []pipeline.StageState{{
		Name: "canary", Attempt: 1, Status: pipeline.StageAsking, Phase: pipeline.PhaseAnalysing, Deadline: until,
		Reason: pipeline.Reason{Code: pipeline.ReasonCanaryGrey, Detail: "error rate: it may be higher"}, Analysis: &pipeline.Analysis{Looks: 1},
	}}}
	want := pipeline.Question{
		Token: "7-1-3f2a91c0/canary/1", Stage: "canary", Attempt: 1, Approvers: []string{"group:ops"}, Quorum: 2,
		Since: until.Add(-time.Hour), Expires: until, Environment: "production",
		Ask: "Go on with the canary in production? The canary is neither good nor bad: error rate: it may be higher.",
	}
	if diff := cmp.Diff([]pipeline.Question{want}, pipeline.NewView(plan, d).Questions); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c.Question.Ask = "Really?"
	if got := pipeline.NewView(plan, d).Questions[0].Ask; got != "Really?" {
		t.Errorf("asks %q", got)
	}
}
