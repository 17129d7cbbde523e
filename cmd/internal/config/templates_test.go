package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

const oneSource = `metrics_sources: [{name: main, prometheus: {url: "http://prometheus:9090"}}]` + "\n"

func TestMetricTemplates(t *testing.T) {
	c, err := Parse([]byte(good+oneSource+`
metric_templates:
  http-errors:
    source: main
    query: sum(increase(http_requests_total{app="${{ application }}",track="${{ track }}",code=~"5.."}[$step]))
    total: sum(increase(http_requests_total{app="${{ application }}",track="${{ track }}"}[$step]))
    direction: increase
    critical: true
    groups: [errors]
    step: 30s
    outliers: {strategy: remove, factor: 2.5}
    effect: {allowed_increase: 1.1}
  memory: {source: main, query: q}
`), env)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]MetricTemplate{
		"http-errors": {
			Source: "main", Query: `sum(increase(http_requests_total{app="${{ application }}",track="${{ track }}",code=~"5.."}[$step]))`,
			Total: `sum(increase(http_requests_total{app="${{ application }}",track="${{ track }}"}[$step]))`,
			Kind:  canary.Count, Direction: canary.Increase, Critical: true, Groups: []string{"errors"}, Step: "30s", NaN: canary.RemoveNaN,
			Outliers: &TemplateOutliers{Strategy: "remove", Factor: new(2.5)}, EffectSize: &TemplateEffect{AllowedIncrease: new(1.1)},
		},
		"memory": {Source: "main", Query: "q", Kind: canary.Gauge, Direction: canary.Either, Step: "60s", NaN: canary.RemoveNaN},
	}
	if diff := cmp.Diff(want, c.MetricTemplates); diff != "" {
		t.Error(diff)
	}
}

func TestRefusalsOfMetricTemplates(t *testing.T) {
	for template, want := range map[string]string{
		`Errors: {source: main, query: q}`:                                           `"Errors" is not a name of small letters`,
		`a: {source: other, query: q}`:                                               `metric_templates.a.source: there is no metrics source "other"`,
		`a: {source: main}`:                                                          "metric_templates.a.query: give 1 to 4000 characters",
		`a: {source: main, query: q, total: t, kind: gauge}`:                         "metric_templates.a.total: only a count has one",
		`a: {source: main, query: q, kind: histogram}`:                               `metric_templates.a.kind: "histogram" is not gauge or count`,
		`a: {source: main, query: q, direction: up}`:                                 `metric_templates.a.direction: "up"`,
		`a: {source: main, query: q, nan: keep}`:                                     `metric_templates.a.nan: "keep"`,
		`a: {source: main, query: q, step: 500ms}`:                                   `metric_templates.a.step: "500ms"`,
		`a: {source: main, query: q, step: often}`:                                   `metric_templates.a.step: "often"`,
		`a: {source: main, query: q, groups: [""]}`:                                  "metric_templates.a.groups[0]",
		`a: {source: main, query: q, critical: true, advisory: true}`:                "critical and advisory exclude each other",
		`a: {source: main, query: q, outliers: {strategy: hide}}`:                    `metric_templates.a.outliers.strategy: "hide"`,
		`a: {source: main, query: q, outliers: {strategy: remove, factor: 0}}`:       "metric_templates.a.outliers.factor",
		`a: {source: main, query: q, effect: {measure: sigma}}`:                      `metric_templates.a.effect.measure: "sigma"`,
		`a: {source: main, query: q, effect: {allowed_increase: -1}}`:                "metric_templates.a.effect.allowed_increase: -1",
		`a: {source: main, query: q, effect: {allowed_decrease: .nan}}`:              "metric_templates.a.effect.allowed_decrease: NaN",
		`a: {source: main, query: q, effect: {measure: cles, critical_increase: 2}}`: "metric_templates.a.effect.critical_increase: 2",
		`a: {source: main, query: q, window: 5m}`:                                    `unknown field "window"`,
	} {
		text := []byte(good + oneSource + "metric_templates: {" + template + "}\n")
		if _, err := Parse(text, env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", template, err, want)
		}
		if _, err := parsePlaces(text, env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s, without secrets: got %v, want %q", template, err, want)
		}
	}
}
