package web

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// samplesOf are half an hour of two metrics, of which the first got worse. They are the same each time.
func samplesOf(from time.Time) *pipeline.Measurement {
	random := rand.New(rand.NewPCG(1, 2))
	side := func(level, spread float64) []canary.Number {
		out := make([]canary.Number, 30)
		for i := range out {
			out[i] = canary.Number(math.Round((level+spread*random.NormFloat64())*1000) / 1000)
		}
		return out
	}
	m := &pipeline.Measurement{From: from, To: from.Add(30 * time.Minute)}
	m.Request = canary.Request{Judge: canary.Kayenta, Score: canary.Thresholds{Pass: 80, Marginal: 50}, Metrics: []canary.Metric{
		{Name: "error rate", Groups: []string{"errors"}, Kind: canary.Gauge, Direction: canary.Increase, Critical: true, Baseline: side(0.2, 0.05), Canary: side(1.9, 0.2)},
		{Name: "latency p99", Groups: []string{"latency"}, Kind: canary.Gauge, Direction: canary.Increase, Baseline: side(210, 12), Canary: side(212, 12)},
	}}
	for _, metric := range m.Request.Metrics {
		query := fmt.Sprintf("avg(%s{track=%%q})", strings.ReplaceAll(metric.Name, " ", "_"))
		m.Series = append(m.Series, pipeline.Series{Source: "main", Step: time.Minute, Start: from, Baseline: fmt.Sprintf(query, "baseline"), Canary: fmt.Sprintf(query, "canary"), Link: "https://prometheus.example.com/graph"})
	}
	m.Series[1].Warning = "PromQL info: input to histogram_quantile needed to be fixed for monotonicity"
	return m
}

// stopped is a delivery whose canary was bad at its second look.
func stopped(now time.Time) (pipeline.View, *pipeline.Measurement) {
	v := base(now, pipeline.StatusFailed, "stage canary failed: canary failed: error rate got worse")
	m := samplesOf(now.Add(-40 * time.Minute))
	report := canary.Judge(m.Request)
	s := stage("canary", pipeline.KindCanary, pipeline.StageFailed)
	s.Environment, s.Reason = "production", "canary failed: error rate got worse"
	s.Analysis = &pipeline.Analysis{
		Look: 2, Looks: 12, Report: &report, Samples: "blob",
		Pair: &pipeline.Pair{Instances: 3, Since: now.Add(-45 * time.Minute), Baseline: pipeline.Track{SHA: "1b2c3d4e5f"}, Canary: pipeline.Track{SHA: sha}},
		History: []pipeline.Look{
			{Number: 1, At: now.Add(-25 * time.Minute), Verdict: canary.Marginal, Score: 50, Detail: "error rate got worse"},
			{Number: 2, At: now.Add(-10 * time.Minute), Verdict: report.Verdict, Score: report.Score, Detail: report.Reason},
		},
	}
	v.Stages = []pipeline.StageView{s}
	return v, m
}

func canaryConsole(t *testing.T) (*Console, string) {
	t.Helper()
	v, m := stopped(noon)
	source := newMemory(v)
	source.samples = map[string]*pipeline.Measurement{v.ID + " canary": m}
	return console(t, source), "/deliveries/" + v.ID + "/stages/canary/canary"
}

func TestACanarysReportIsShown(t *testing.T) {
	c, at := canaryConsole(t)
	v, m := stopped(noon)
	f, err := c.render("canary", c.newCanaryPage(v, v.Stages[0], m), fragment{Title: "canary"})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "canary-bad.html", neutral(c, f))
	w := get(t, c, http.MethodGet, at)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "lines-0.svg") || !strings.Contains(w.Header().Get("Content-Security-Policy"), "form-action 'self'") {
		t.Errorf("got %d: %s", w.Code, w.Body)
	}
	if body := get(t, c, http.MethodGet, "/deliveries/"+v.ID).Body.String(); !strings.Contains(body, at) {
		t.Error("the delivery's page doesn't lead there")
	}
}

func TestACanarysSamplesAreDrawnAndDownloaded(t *testing.T) {
	c, at := canaryConsole(t)
	for _, chart := range []string{"/lines-0.svg", "/spread-1.svg"} {
		w := get(t, c, http.MethodGet, at+chart)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "image/svg+xml" || !strings.HasPrefix(w.Body.String(), "<svg") {
			t.Errorf("%s: got %d %.80s", chart, w.Code, w.Body)
		}
	}
	w := get(t, c, http.MethodGet, at+"/samples.json")
	if request, err := canary.Decode(w.Body.Bytes()); err != nil || len(request.Metrics) != 2 {
		t.Errorf("slipway canary judge can't read the download: %v", err)
	}
	w = get(t, c, http.MethodGet, at+"/samples.csv")
	rows := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if len(rows) != 61 || !strings.HasPrefix(rows[1], "error rate,2026-03-09T13:25:00Z,0.") {
		t.Errorf("got %d rows, the first is %q", len(rows), rows[1])
	}
	for _, nowhere := range []string{"/lines-2.svg", "/lines-x.svg", "/spread--1.svg", "/x", "/samples.xml"} {
		if w := get(t, c, http.MethodGet, at+nowhere); w.Code != http.StatusNotFound {
			t.Errorf("%s: got %d", nowhere, w.Code)
		}
	}
}

func TestCellsAreNoFormulas(t *testing.T) {
	m := samplesOf(noon)
	m.Request.Metrics[0].Name = "=cmd|' /C calc'!A0"
	var b strings.Builder
	writeCSV(&b, m)
	if strings.Contains(b.String(), "\n=") {
		t.Errorf("a cell begins a formula: %.200s", b.String())
	}
}

func TestSamplesCanBeJudgedWithOtherLimits(t *testing.T) {
	c, at := canaryConsole(t)
	for query, want := range map[string]string{
		"?pass=40&marginal=20":                "It would have been",
		"?pass=x":                             "has to be a number from 0 to 100",
		"?pass=NaN":                           "has to be a number from 0 to 100",
		"?pass=10&marginal=90":                "must not be above",
		"?confidence=2":                       "has to be a number from 0 to 1",
		"?pass=" + strings.Repeat("9", 9_000): "has to be a number",
	} {
		if body := get(t, c, http.MethodGet, at+query).Body.String(); !strings.Contains(body, want) {
			t.Errorf("%.40s: the page doesn't say %q", query, want)
		}
	}
	for confidence, wrong := range map[string][2]string{ // of the default judge, and of kayenta
		"0": {"Confidence has to be between 0 and 1.", "Confidence has to be between 0 and 1."}, "1": {"Confidence has to be between 0 and 1.", "Confidence has to be between 0 and 1."},
		"0.4999": {"The default judge takes a confidence from 0.5 to 0.999999."}, "0.5": {}, "0.99995": {}, "0.999999": {},
		"0.9999999": {"The default judge takes a confidence from 0.5 to 0.999999."},
	} {
		for i, judge := range []string{"", canary.Kayenta} {
			_, m := stopped(noon)
			m.Request.Judge = judge
			if got := judgeAgain(url.Values{"confidence": {confidence}}, m.Request); got.Wrong != wrong[i] || (got.Verdict.Word == "") != (wrong[i] != "") {
				t.Errorf("judge %q with confidence %s: got %+v", judge, confidence, got)
			}
		}
	}
	_, m := stopped(noon)
	before, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := judgeAgain(map[string][]string{"confidence": {"0.9"}}, m.Request); !got.Asked || got.Wrong != "" || got.Verdict.Word == "" {
		t.Errorf("got %+v", got)
	}
	if after, err := json.Marshal(m); err != nil || string(after) != string(before) {
		t.Error("judging again has changed the samples")
	}
}
