package slack

import (
	"math"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// canaried is the scene with a canary that people are asked about.
func canaried() *pipeline.Task {
	plan, d := scene()
	plan.Stages[1] = pipeline.Stage{Name: "canary", Kind: pipeline.KindCanary, Needs: []string{"staging"}, Canary: &pipeline.Canary{Environment: "production", Grey: pipeline.GreyAsks}}
	d.Stages[1] = pipeline.StageState{
		Name: "canary", Status: pipeline.StageAsking, Attempt: 1, Deadline: noon, Reason: pipeline.Reason{Code: pipeline.ReasonCanaryGrey, Detail: "latency rose by 12 %"},
		Analysis: &pipeline.Analysis{
			Look: 3, Looks: 3, Samples: "blob", Report: &canary.Report{Verdict: canary.Marginal, Score: 66},
			Trend: &pipeline.Trend{Metric: "latency p99", Baseline: []canary.Number{200, 210, canary.Number(math.NaN()), 205}, Canary: []canary.Number{220, 235, 240, 238}},
		},
	}
	return &pipeline.Task{Plan: plan, Delivery: d, Effect: pipeline.Effect{Do: pipeline.WriteMessage{}}}
}

func TestACanaryIsDrawnWhereTheWorkspaceHasCharts(t *testing.T) {
	for name, has := range map[string]bool{"a workspace with charts": true, "one without": false} {
		t.Run(name, func(t *testing.T) {
			sim, c := workspace(t, func(o *slacksim.Options) { o.DataVisualization = has }, nil)
			for range 2 { // the second time it is known whether there are charts
				if _, err := c.Execute(t.Context(), canaried()); err != nil {
					t.Fatal(err)
				}
			}
			blocks, charts := sim.Messages("C0DEPLOYS")[0].Blocks, 0
			for _, b := range blocks {
				if b.Type == "data_visualization" {
					charts++
				}
			}
			if has && charts != 1 || !has && charts != 0 || c.chartless.Load() == has {
				t.Errorf("%d charts, chartless %t", charts, c.chartless.Load())
			}
			if len(blocks) < 3 {
				t.Errorf("the message has only %d blocks", len(blocks))
			}
		})
	}
}

func TestACanarysNoteLeadsToItsReport(t *testing.T) {
	sim, c := workspace(t, nil, nil)
	if _, err := c.Execute(t.Context(), canaried()); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, b := range sim.Messages("C0DEPLOYS")[0].Blocks {
		all.WriteString(b.Text.Text)
	}
	if !strings.Contains(all.String(), "/stages/canary/canary") {
		t.Errorf("the message doesn't lead to the report: %s", all.String())
	}
}
