package app

import (
	"context"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// deployed is an executor that takes everything.
type deployed struct{ n int }

func (d *deployed) Execute(context.Context, *pipeline.Task) (pipeline.Event, error) {
	d.n++
	return nil, nil
}

func TestAReviewIsHeldAgainstTheRulesOfThisMoment(t *testing.T) {
	for review, says := range map[bool]string{true: "", false: "have changed since"} {
		cfg := &config.Config{Environments: []config.Environment{{Name: "review/*", Projects: []string{"shop/*"}, Review: review}}}
		plan := &pipeline.Plan{
			Project: pipeline.Project{Path: "shop/api", DefaultBranch: "main"}, MergeRequest: pipeline.MergeRequest{TargetBranch: "topic"},
			Stages:       []pipeline.Stage{{Name: "go", Kind: pipeline.KindDeploy, Deploy: &pipeline.Deploy{Environment: "review/1"}}},
			Environments: map[string]pipeline.EnvironmentRules{"review/1": {Review: true}},
		}
		next := &deployed{}
		_, err := (&ruled{cfg: cfg, next: next}).Execute(t.Context(), &pipeline.Task{
			Plan: plan, Delivery: pipeline.Delivery{Review: true}, Effect: pipeline.Effect{Do: pipeline.Apply{Stage: "go", Attempt: 1}},
		})
		if (says == "") != (next.n == 1) || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("marked for reviews: %t: got %v, applied %d times", review, err, next.n)
		}
	}
}

func TestADeployIsHeldAgainstTheRulesOfThisMoment(t *testing.T) {
	planned := pipeline.EnvironmentRules{Judged: true, Rule: policy.Rule{Approvers: []string{"group:shop/ops", "user:ada"}}}
	now := func(change func(*config.Environment)) *config.Config {
		e := config.Environment{Name: "production", Projects: []string{"shop/*"}, Judged: true, Approvers: []string{"group:shop/ops", "user:ada"}}
		change(&e)
		return &config.Config{Environments: []config.Environment{e}}
	}
	cases := []struct {
		name   string
		then   pipeline.EnvironmentRules
		change func(*config.Environment)
		says   string // "" lets it through
	}{
		{"the same rules", planned, func(*config.Environment) {}, ""},
		{"an approver more", planned, func(e *config.Environment) { e.Approvers = append(e.Approvers, "user:bob") }, ""},
		{"no judgement any more", planned, func(e *config.Environment) { e.Judged = false }, ""},
		{"an approver less", planned, func(e *config.Environment) { e.Approvers = e.Approvers[:1] }, "have become stricter"},
		{"the author excluded", planned, func(e *config.Environment) { e.Not = []string{"author"} }, "have become stricter"},
		{"a judgement where there was none", pipeline.EnvironmentRules{}, func(*config.Environment) {}, "have become stricter"},
		{"a group instead of Developers", pipeline.EnvironmentRules{Judged: true}, func(*config.Environment) {}, "have become stricter"},
		{"the branch not allowed", planned, func(e *config.Environment) { e.Branches = []string{"release/*"} }, "no longer let main"},
		{"now for reviews", planned, func(e *config.Environment) { e.Review = true }, "reviews, and only they"},
		{"the project not allowed", planned, func(e *config.Environment) { e.Projects = []string{"other/*"} }, "may not deploy anywhere"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			plan := &pipeline.Plan{
				Project: pipeline.Project{Path: "shop/api", DefaultBranch: "main"}, MergeRequest: pipeline.MergeRequest{TargetBranch: "main"},
				Stages: []pipeline.Stage{
					{Name: "go", Kind: pipeline.KindDeploy, Deploy: &pipeline.Deploy{Environment: "production"}},
					{Name: "canary", Kind: pipeline.KindCanary, Canary: &pipeline.Canary{Environment: "production"}},
				},
				Environments: map[string]pipeline.EnvironmentRules{"production": c.then},
			}
			next := &deployed{}
			x := &ruled{cfg: now(c.change), next: next}
			_, err := x.Execute(t.Context(), &pipeline.Task{Plan: plan, Effect: pipeline.Effect{Do: pipeline.Apply{Stage: "go", Attempt: 1}}})
			f, refused := pipeline.AsFailure(err)
			if refused != (c.says != "") || refused && (!strings.Contains(f.Detail, c.says) || !f.Permanent || !f.Unchanged) || refused == (next.n == 1) {
				t.Errorf("got %v, applied %d times", err, next.n)
			}
			_, err = x.Execute(t.Context(), &pipeline.Task{Plan: plan, Effect: pipeline.Effect{Do: pipeline.StartPair{Stage: "canary", Attempt: 1}}})
			if f, also := pipeline.AsFailure(err); also != refused || also && !strings.Contains(f.Detail, c.says) {
				t.Errorf("a canary: %v", err)
			}
			for _, back := range []pipeline.Action{pipeline.Restore{Stage: "go"}, pipeline.EndPair{Stage: "canary"}} {
				if _, err := x.Execute(t.Context(), &pipeline.Task{Plan: plan, Effect: pipeline.Effect{Do: back}}); err != nil {
					t.Errorf("%s is refused: %v", back.ActionKind(), err)
				}
			}
		})
	}
}

func TestACheckAsksTheSourcesOfThisMoment(t *testing.T) {
	for projects, says := range map[string]string{"shop/*": "", "bank/*": "does not let this project ask the metrics source numbers any more"} {
		cfg := &config.Config{Sources: []config.Source{{Name: "numbers", Projects: []string{projects}}}}
		plan := &pipeline.Plan{Project: pipeline.Project{Path: "shop/api"}, Stages: []pipeline.Stage{
			{Name: "look", Checks: []pipeline.Check{{Name: "errors", Metric: &pipeline.MetricCheck{Source: "numbers"}}}},
		}}
		next := &deployed{}
		_, err := (&ruled{cfg: cfg, next: next}).Execute(t.Context(), &pipeline.Task{Plan: plan, Effect: pipeline.Effect{Do: pipeline.RunCheck{Stage: "look", Check: "errors"}}})
		if (says == "") != (next.n == 1) || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("for %s: got %v, asked %d times", projects, err, next.n)
		}
	}
}

func TestACanaryAsksTheSourcesOfThisMoment(t *testing.T) {
	for projects, says := range map[string]string{"shop/*": "", "bank/*": "does not let this project ask the metrics source numbers any more"} {
		cfg := &config.Config{Sources: []config.Source{{Name: "numbers", Projects: []string{projects}}}}
		plan := &pipeline.Plan{Project: pipeline.Project{Path: "shop/api"}, Stages: []pipeline.Stage{
			{Name: "canary", Canary: &pipeline.Canary{Metrics: []pipeline.CanaryMetric{{Source: "numbers"}}}},
		}}
		next := &deployed{}
		_, err := (&ruled{cfg: cfg, next: next}).Execute(t.Context(), &pipeline.Task{Plan: plan, Effect: pipeline.Effect{Do: pipeline.Measure{Stage: "canary"}}})
		if (says == "") != (next.n == 1) || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("for %s: got %v, asked %d times", projects, err, next.n)
		}
	}
}

func TestANoticeGoesToChannelsOfThePlanOnly(t *testing.T) {
	plan := &pipeline.Plan{Channels: []string{"#shop"}, ChannelsHeld: true, Stages: []pipeline.Stage{{Name: "tell", Notify: &pipeline.Notify{Channel: "#shop"}}}}
	task := &pipeline.Task{Plan: plan, Effect: pipeline.Effect{Do: pipeline.SendNotice{Stage: "tell"}}}
	for channel, says := range map[string]string{"#shop": "has not set Slack up", "#board": "this project may send nothing to #board"} {
		task.Delivery.Stages = []pipeline.StageState{{Name: "tell", Resolved: &pipeline.Stage{Name: "tell", Notify: &pipeline.Notify{Channel: channel}}}}
		if _, err := (&messages{}).Execute(t.Context(), task); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", channel, err, says)
		}
	}
}
