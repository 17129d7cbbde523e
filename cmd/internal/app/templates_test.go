package app

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

func TestTheOperatorsMetricsAreThoseOfCanaries(t *testing.T) {
	factor, allowed, critical, least := 2.0, 1.1, 1.5, 0.9
	cfg := &config.Config{Sources: []config.Source{{Name: "prometheus"}}, MetricTemplates: map[string]config.MetricTemplate{
		"http-errors": {
			Source: "prometheus", Query: "errors", Total: "requests", Kind: canary.Count, Direction: canary.Increase, Step: "30s", Groups: []string{"errors"},
			Critical: true, Advisory: true, MustHaveData: true, NaN: canary.ReplaceNaN, Outliers: &config.TemplateOutliers{Strategy: "remove", Factor: &factor},
			EffectSize: &config.TemplateEffect{Measure: "meanRatio", AllowedIncrease: &allowed, CriticalIncrease: &critical, AllowedDecrease: &least, CriticalDecrease: &factor},
		},
		"latency": {Source: "prometheus", Query: "p99"},
	}}
	want := map[string]pipeline.CanaryMetric{
		"http-errors": {Source: "prometheus", Query: "errors", Total: "requests", Step: 30 * time.Second, Rule: canary.Metric{
			Kind: canary.Count, Direction: canary.Increase, Groups: []string{"errors"}, Critical: true, Advisory: true, MustHaveData: true,
			NaN: canary.ReplaceNaN, Outliers: canary.Outliers{Strategy: "remove", Factor: &factor},
			EffectSize: canary.EffectSize{Measure: "meanRatio", AllowedIncrease: &allowed, CriticalIncrease: &critical, AllowedDecrease: &least, CriticalDecrease: &factor},
		}},
		"latency": {Source: "prometheus", Query: "p99"},
	}
	if diff := cmp.Diff(want, operator{cfg}.Defaults("shop/api").Metrics); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
