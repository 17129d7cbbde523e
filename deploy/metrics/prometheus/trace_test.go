package prometheus

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/analysis"
	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// queries are those of pipeline files.
type queries struct{ *spec.Queries }

func (q queries) Fill(plan *pipeline.Plan, query string, tracks ...analysis.Track) ([]string, error) {
	all := make([]spec.Track, len(tracks))
	for i, t := range tracks {
		all[i] = spec.Track(t)
	}
	return q.Queries.Fill(plan, query, all...)
}

// A canary is judged again by a real Prometheus, over more steps than that answers with at once.
func TestARealPrometheusIsTraced(t *testing.T) {
	source, err := New(Options{URL: running(t, "")})
	if err != nil {
		t.Fatal(err)
	}
	filler, err := spec.NewQueries()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 1, 20, 10, 0, 0, 0, time.UTC)
	// Each track is the time itself, and the canary much more from 13:20 on.
	bad := began.Add(200 * time.Minute)
	query := fmt.Sprintf(`vector(time()) + ${{ track == "canary" ? "1e10" : "0" }} * (vector(time()) > bool %d)`, bad.Unix())
	k := &pipeline.Canary{
		Interval: 100 * time.Minute, Lifetime: 400 * time.Minute, Judge: canary.Kayenta, Score: canary.Thresholds{Pass: 80, Marginal: 50},
		Metrics: []pipeline.CanaryMetric{{Source: "main", Query: query, Step: time.Second, Rule: canary.Metric{Name: "time", Direction: canary.Increase}}},
	}
	trace := analysis.Trace{Sources: map[string]metrics.Sampler{"main": source}, Queries: queries{filler}, Plan: &pipeline.Plan{}, Canary: k, Began: began}
	got, err := trace.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var verdicts []canary.Verdict
	for _, l := range got.Looks {
		verdicts = append(verdicts, l.Verdict)
	}
	if want := []canary.Verdict{canary.Pass, canary.Pass, canary.Fail}; !slices.Equal(verdicts, want) {
		t.Errorf("the looks are %q, want %q", verdicts, want)
	}
	samples := got.Measurement.Request.Metrics[0]
	if len(samples.Baseline) != 18_000 || len(samples.Canary) != 18_000 { // of 300 minutes
		t.Fatalf("%d and %d samples", len(samples.Baseline), len(samples.Canary))
	}
	for i := range samples.Baseline {
		baseline := canary.Number(began.Unix() + int64(i) + 1)
		worse := baseline
		if int64(baseline) > bad.Unix() {
			worse += 1e10
		}
		if samples.Baseline[i] != baseline || samples.Canary[i] != worse {
			t.Fatalf("sample %d is %v and %v, want %v and %v", i, samples.Baseline[i], samples.Canary[i], baseline, worse)
		}
	}
}
