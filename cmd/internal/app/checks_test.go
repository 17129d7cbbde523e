package app

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestChecksAskWhatTheOperatorHasSetUp(t *testing.T) {
	shop := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer shop.Close()
	numbers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer prometheus-secret" || r.Header.Get("X-Scope-OrgID") != "shop" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"scalar","result":[1,"0.034"]}}`)
	}))
	defer numbers.Close()
	a, err := New(Options{Logger: slog.New(slog.DiscardHandler), Config: parsed(t, `
checks: {hosts: ["`+strings.TrimPrefix(shop.URL, "http://")+`"]}
metrics_sources: [{name: main, prometheus: {url: "`+numbers.URL+`", token: prometheus-secret, headers: {X-Scope-OrgID: shop}}}]
`)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	sources, err := metricsSources(a.o.Config)
	if err != nil {
		t.Fatal(err)
	}
	checker, err := a.checks(sources, nil)
	if err != nil {
		t.Fatal(err)
	}
	plan := &pipeline.Plan{Stages: []pipeline.Stage{{Name: "verify", Checks: []pipeline.Check{
		{Name: "shop", HTTP: &pipeline.HTTPCheck{URL: shop.URL, Requests: 1, Pass: 1}},
		{Name: "elsewhere", HTTP: &pipeline.HTTPCheck{URL: numbers.URL, Requests: 1, Pass: 1}},
		{Name: "errors", Metric: &pipeline.MetricCheck{Source: "main", Query: "q", Max: new(0.01)}},
		{Name: "report", Report: &pipeline.ReportCheck{}},
	}}}}
	for check, want := range map[string]string{
		"shop": "answered 200", "elsewhere": "checks may not ask", "errors": "errors is 0.034; at most 0.01 is allowed", "report": "GitLab cannot be reached",
	} {
		e, err := checker.Execute(t.Context(), &pipeline.Task{Plan: plan, Effect: pipeline.Effect{Do: pipeline.RunCheck{Stage: "verify", Attempt: 1, Check: check, Run: 1}}})
		if got := fmt.Sprint(e, err); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %q", check, got, want)
		}
	}
}
