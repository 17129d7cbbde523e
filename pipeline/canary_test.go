package pipeline_test

import (
	"fmt"
	"strconv"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
	"gitlab.com/slipway-cd/slipway/pipeline/pipelinetest"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// newCanary reads the options of a canary stage of a scenario. Its judge is Kayenta's, whose scores the test of the
// judge holds to published ones.
func newCanary(environment string, o map[string]string) *pipeline.Canary {
	c := &pipeline.Canary{
		Environment: environment, Deploy: pipeline.Deploy{Environment: environment, Manifests: "deploy"}, Instances: 3,
		Baseline: o["baseline"], Interval: 5 * time.Minute, Lifetime: 15 * time.Minute, Judge: canary.Kayenta,
		Score: canary.Thresholds{Pass: 80, Marginal: 40}, Grey: pipeline.GreyAsks, Misses: 1,
		Question: &pipeline.Judgement{Quorum: 1, Expires: time.Hour, Rule: policy.Rule{Approvers: list(o["approvers"]), Not: list(o["not"])}},
	}
	for name, field := range map[string]*time.Duration{
		"warmup": &c.Warmup, "interval": &c.Interval, "lifetime": &c.Lifetime, "lookback": &c.Lookback, "offset": &c.Offset, "expires": &c.Question.Expires,
	} {
		if d, err := time.ParseDuration(o[name]); err == nil {
			*field = d
		}
	}
	for _, w := range list(o["weights"]) {
		c.Weights = append(c.Weights, int(number(w)))
	}
	if o["marginal"] != "" {
		c.Grey = pipeline.Grey(o["marginal"])
	}
	if n, err := strconv.Atoi(o["misses"]); err == nil {
		c.Misses = n
	}
	if from, err := time.Parse(time.RFC3339, o["from"]); err == nil {
		c.From = from
		c.To, _ = time.Parse(time.RFC3339, o["to"])
	}
	for i, name := range []string{"errors", "latency"} {
		c.Metrics = append(c.Metrics, pipeline.CanaryMetric{
			Source: "prometheus", Query: name, Step: time.Minute, Rule: canary.Metric{Name: name, Direction: canary.Increase, Critical: i == 0 && o["critical"] == "true"},
		})
	}
	return c
}

// sampledAs is what a look gets: same, worse, mixed or none; or unwell or unequal with the reason.
func (s *script) sampledAs(id string, do pipeline.Measure, words []string) (pipeline.Event, error) {
	plan := s.world.Plan(id)
	switch words[0] {
	case "same", "worse", "mixed", "none":
		return pipelinetest.Samples(plan, do, pipelinetest.Compared(words[0])), nil
	case "unwell":
		e := pipelinetest.Samples(plan, do, pipelinetest.Same)
		e.Unwell = words[1]
		return e, nil
	case "unequal":
		e := pipelinetest.Samples(plan, do, pipelinetest.Same)
		e.Unequal = words[1]
		return e, nil
	}
	return nil, fmt.Errorf("samples %q", words[0])
}
