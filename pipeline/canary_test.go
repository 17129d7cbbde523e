package pipeline_test

import (
	"fmt"
	"strconv"
	"testing"
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

// TestAPairOfAnOlderVersionIsWatched: one that was made before pairs were, in each phase in which it stands. Nothing else
// happens to it.
func TestAPairOfAnOlderVersionIsWatched(t *testing.T) {
	s := newScript()
	s.quiet = true
	for _, c := range []struct {
		phase  string
		blocks []string
	}{
		{"warming running", []string{
			"runs production 0ld00000", "plan asks\n  canary canary production warmup=5m lifetime=5m", "merge A", "good A until canary/1/measure/1",
		}},
		{"analysing running", []string{"tick +5m"}},
		{"analysing asking", []string{"tick +5m", "do A canary/1/measure/1 sampled mixed"}},
	} {
		for _, block := range c.blocks {
			if err := s.block(block); err != nil {
				t.Fatal(err)
			}
		}
		id := s.id("A")
		data, err := s.world.Delivery(id).Encode()
		if err != nil {
			t.Fatal(err)
		}
		old, err := pipeline.DecodeDelivery(data)
		if err != nil {
			t.Fatal(err)
		}
		st := old.Stage("canary")
		if st.Analysis.Watching = false; string(st.Phase)+" "+string(st.Status) != c.phase {
			t.Fatalf("the canary is %s and %s, want %s", st.Phase, st.Status, c.phase)
		}
		next, effects, err := pipeline.Step(s.world.Plan(id), old, pipeline.CIChanged{}, s.world.Now)
		if err != nil || len(effects) != 1 || effects[0].Key != "canary/1/pods" || effects[0].Do.ActionKind() != "watch-pair" {
			t.Errorf("%s: it began %v, %v", c.phase, effects, err)
		}
		if _, effects, err = pipeline.Step(s.world.Plan(id), next, pipeline.CIChanged{}, s.world.Now); err != nil || len(effects) != 0 {
			t.Errorf("%s: then it began %v, %v", c.phase, effects, err)
		}
	}
}
