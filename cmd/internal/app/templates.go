package app

import (
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// metricTemplates are the operator's metrics as canaries use them.
func metricTemplates(cfg *config.Config) map[string]pipeline.CanaryMetric {
	all := map[string]pipeline.CanaryMetric{}
	for name, t := range cfg.MetricTemplates {
		step, err := time.ParseDuration(t.Step)
		if err != nil {
			step = 0 // as if it were not given
		}
		m := pipeline.CanaryMetric{Source: t.Source, Query: t.Query, Total: t.Total, Step: step, Rule: canary.Metric{
			Kind: t.Kind, Direction: t.Direction, Groups: t.Groups,
			Critical: t.Critical, Advisory: t.Advisory, MustHaveData: t.MustHaveData, NaN: t.NaN,
		}}
		if o := t.Outliers; o != nil {
			m.Rule.Outliers = canary.Outliers{Strategy: o.Strategy, Factor: o.Factor}
		}
		if e := t.EffectSize; e != nil {
			m.Rule.EffectSize = canary.EffectSize(*e)
		}
		all[name] = m
	}
	return all
}
