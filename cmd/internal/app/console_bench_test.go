package app

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/handlers/web"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
	"gitlab.com/slipway-cd/slipway/store/boltstore"
)

// measuredOf is a day of metrics, a sample a minute.
func measuredOf(metrics int) *pipeline.Measurement {
	const minutes = 1_440
	from := time.Date(2026, 3, 9, 0, 0, 0, 0, time.UTC)
	m := &pipeline.Measurement{From: from, To: from.Add(minutes * time.Minute)}
	for i := range metrics {
		metric := canary.Metric{Name: fmt.Sprintf("metric %d", i), Kind: canary.Gauge, Direction: canary.Increase}
		for k := range minutes {
			metric.Baseline = append(metric.Baseline, canary.Number(100+10*math.Sin(float64(k+i))))
			metric.Canary = append(metric.Canary, canary.Number(100+10*math.Cos(float64(k+i))))
		}
		m.Request.Metrics = append(m.Request.Metrics, metric)
		m.Series = append(m.Series, pipeline.Series{Source: "main", Step: time.Minute, Start: from, Baseline: "avg(latency)", Canary: "avg(latency)"})
	}
	return m
}

// canaryIn puts a delivery with the samples of its canary into a store, and gives the page of its report.
func canaryIn(t testing.TB, m *pipeline.Measurement) (pages *web.Console, from *source, at string) {
	t.Helper()
	s, err := boltstore.Open(boltstore.Options{Path: filepath.Join(t.TempDir(), "slipway.db"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := s.PutBlob(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := putPlan(t.Context(), s, &pipeline.Plan{Stages: []pipeline.Stage{{Name: "canary", Kind: pipeline.KindCanary}}})
	if err != nil {
		t.Fatal(err)
	}
	report := canary.Judge(m.Request)
	d := pipeline.Delivery{Schema: pipeline.DeliverySchema, ID: "7-12-3f2a91c0", Status: pipeline.StatusSucceeded, PlanRef: plan, Stages: []pipeline.StageState{
		{Name: "canary", Status: pipeline.StageSucceeded, Analysis: &pipeline.Analysis{Report: &report, Samples: ref}},
	}}
	stored(t, s, d, false, plan, ref)
	from = &source{store: s, changes: newChanges()}
	if pages, err = web.New(web.Options{Source: from}); err != nil {
		t.Fatal(err)
	}
	return pages, from, "/deliveries/" + d.ID + "/stages/canary/canary"
}

// BenchmarkCanaryPage shows the report of a canary with 50 metrics of a day, and all its pictures.
func BenchmarkCanaryPage(b *testing.B) {
	const metrics = 50
	pages, from, at := canaryIn(b, measuredOf(metrics))
	for b.Loop() {
		from.measured = measurements{}
		for i := range metrics {
			for _, part := range []string{"", fmt.Sprintf("/lines-%d.svg", i), fmt.Sprintf("/spread-%d.svg", i)} {
				if part == "" && i > 0 {
					continue
				}
				w := httptest.NewRecorder()
				pages.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), http.MethodGet, at+part, nil))
				if w.Code != http.StatusOK {
					b.Fatalf("%s: got %d: %s", part, w.Code, w.Body)
				}
			}
		}
	}
}
