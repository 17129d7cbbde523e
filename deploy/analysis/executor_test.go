package analysis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/deploy/analysis"
	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/prometheus"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// double is a Prometheus: it answers a range of each query that it knows with a number a step.
type double struct {
	mu     sync.Mutex
	asked  []string
	status int // of the refusals of all queries, 0 if there are none
	// value is the sample i, which is measured at a time, "" for none; and how many series there are.
	value func(query string, i int, at time.Time) (string, int)
	warns func(query string) string // in an answer; nil never does
}

func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	query := r.FormValue("query")
	number := func(key string) int64 {
		f, err := strconv.ParseFloat(r.FormValue(key), 64)
		if err != nil {
			panic(err)
		}
		return int64(f)
	}
	start, end, step := number("start"), number("end"), number("step")
	d.asked = append(d.asked, fmt.Sprintf("%s from %s to %s", query, time.Unix(start, 0).UTC().Format("15:04"), time.Unix(end, 0).UTC().Format("15:04")))
	if d.status != 0 {
		w.WriteHeader(d.status)
		fmt.Fprintf(w, `{"status": "error", "errorType": "bad_data", "error": "no function rat"}`)
		return
	}
	series := []string{}
	for n := 0; n == 0 || n < seriesOf(d.value(query, 0, time.Unix(start, 0).UTC())); n++ {
		var values []string
		for at, i := start, 0; at <= end; at, i = at+step, i+1 {
			if v, _ := d.value(query, i, time.Unix(at, 0).UTC()); v != "" {
				values = append(values, fmt.Sprintf(`[%d, "%s"]`, at, v))
			}
		}
		if len(values) > 0 {
			series = append(series, fmt.Sprintf(`{"metric": {"n": "%d"}, "values": [%s]}`, n, strings.Join(values, ",")))
		}
	}
	warning := ""
	if d.warns != nil {
		warning = fmt.Sprintf(`"warnings": [%q], `, d.warns(query))
	}
	fmt.Fprintf(w, `{"status": "success", %s"data": {"resultType": "matrix", "result": [%s]}}`, warning, strings.Join(series, ","))
}

func seriesOf(_ string, n int) int { return n }

func (d *double) questions() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(slices.Values(d.asked))
}

type queries struct{ *spec.Queries }

func (q queries) Fill(plan *pipeline.Plan, query string, tracks ...analysis.Track) ([]string, error) {
	all := make([]spec.Track, len(tracks))
	for i, t := range tracks {
		all[i] = spec.Track(t)
	}
	return q.Queries.Fill(plan, query, all...)
}

type pods struct {
	unwell, unequal string
	err             error
}

func (p pods) PairHealth(_ context.Context, _ *pipeline.Task, environment string, pair pipeline.Pair) (unwell, unequal string, err error) {
	if environment != "production" || pair.Canary.Version != "3f2a91c0-canary" {
		return "", "", fmt.Errorf("asked for %s of %s", pair.Canary.Version, environment)
	}
	return p.unwell, p.unequal, p.err
}

type blobs map[string][]byte

func (b blobs) PutBlob(_ context.Context, data []byte) (string, error) {
	b["kept"] = data
	return "kept", nil
}

// scene is a canary that is looked at for the first time, ten minutes after 9.
type scene struct {
	double
	canary pipeline.Canary
	pods   pods
	blobs  blobs
	task   *pipeline.Task
}

func newScene() *scene {
	s := &scene{blobs: blobs{}}
	s.value = func(query string, i int, _ time.Time) (string, int) {
		if i == 2 {
			return "", 1
		}
		v := i
		if strings.Contains(query, "canary") {
			v += 10
		}
		return fmt.Sprint(v), 1
	}
	s.canary = pipeline.Canary{
		Environment: "production", Interval: 5 * time.Minute, Lifetime: 15 * time.Minute, Judge: canary.Kayenta, Score: canary.Thresholds{Pass: 80, Marginal: 50},
		Metrics: []pipeline.CanaryMetric{
			metric("latency", `p99{track="${{ track }}",version="${{ version }}"}`, ""),
			metric("errors", `errors{track="${{ track }}",commit="${{ commit.short_sha }}"}`, `requests{release="${{ release }}"}`),
		},
	}
	at := time.Date(2026, 3, 2, 9, 0, 30, 0, time.UTC)
	s.task = &pipeline.Task{
		Plan: &pipeline.Plan{Commit: pipeline.Commit{ShortSHA: "3f2a91c0"}, Stages: []pipeline.Stage{{Name: "canary", Kind: pipeline.KindCanary, Canary: &s.canary}}},
		Delivery: pipeline.Delivery{ID: "7-12-3f2a91c0", SHA: "3f2a91c0d4e5", Stages: []pipeline.StageState{{
			Name: "canary", Attempt: 1, Status: pipeline.StageRunning, Analysis: &pipeline.Analysis{Looks: 3, Pair: &pipeline.Pair{
				Baseline: pipeline.Track{Version: "0ld00000-baseline", Release: "before/production/1"},
				Canary:   pipeline.Track{Version: "3f2a91c0-canary", Release: "7-12-3f2a91c0/canary/1"},
			}}}}},
		Effect: pipeline.Effect{Do: pipeline.Measure{Stage: "canary", Attempt: 1, Look: 2, From: at, To: at.Add(5 * time.Minute)}},
	}
	return s
}

func metric(name, query, total string) pipeline.CanaryMetric {
	m := pipeline.CanaryMetric{Source: "prometheus", Query: query, Total: total, Step: time.Minute, Rule: canary.Metric{Name: name}}
	if total != "" {
		m.Rule.Kind = canary.Count
	}
	return m
}

// asks are the sources and the queries, until the test ends.
func (s *scene) asks(t *testing.T) (map[string]metrics.Sampler, queries) {
	t.Helper()
	server := httptest.NewServer(&s.double)
	t.Cleanup(server.Close)
	source, err := prometheus.New(prometheus.Options{URL: server.URL, Page: "https://prometheus.example.com", Limits: wire.Limits{Tries: 1, PerSecond: 10_000}})
	if err != nil {
		t.Fatal(err)
	}
	q, err := spec.NewQueries()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]metrics.Sampler{"prometheus": source}, queries{q}
}

func (s *scene) executor(t *testing.T) *analysis.Executor {
	t.Helper()
	sources, q := s.asks(t)
	e, err := analysis.New(analysis.Options{Sources: sources, Queries: q, Pods: s.pods, Blobs: s.blobs})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (s *scene) look(t *testing.T) (pipeline.Sampled, error) {
	t.Helper()
	e := s.executor(t)
	out, err := e.Execute(t.Context(), s.task)
	sampled, ok := out.(pipeline.Sampled)
	if err == nil && !ok {
		t.Fatalf("the outcome is %T", out)
	}
	return sampled, err
}

// None of the samples of a step that has not ended, or that began before the look's time, counts; and of both tracks the
// same steps do.
func TestALookAsksForWholeStepsOfBothTracks(t *testing.T) {
	s := newScene()
	got, err := s.look(t)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`errors{track="baseline",commit="3f2a91c0"} from 09:02 to 09:05`, `errors{track="canary",commit="3f2a91c0"} from 09:02 to 09:05`,
		`p99{track="baseline",version="0ld00000-baseline"} from 09:02 to 09:05`, `p99{track="canary",version="3f2a91c0-canary"} from 09:02 to 09:05`,
		`requests{release="7-12-3f2a91c0/canary/1"} from 09:02 to 09:05`, `requests{release="before/production/1"} from 09:02 to 09:05`,
	}
	if diff := cmp.Diff(want, s.questions()); diff != "" {
		t.Errorf("(-want +asked):\n%s", diff)
	}
	missing := canary.Number(math.NaN())
	if len(got.Metrics) != 2 || !same(got.Metrics[0].Baseline, 0, 1, missing, 3) || !same(got.Metrics[0].Canary, 10, 11, missing, 13) ||
		!same(got.Metrics[1].BaselineTotal, 0, 1, missing, 3) || !same(got.Metrics[1].CanaryTotal, 10, 11, missing, 13) || got.Metrics[0].CanaryTotal != nil {
		t.Errorf("got %+v", got.Metrics)
	}
	if got.Stage != "canary" || got.Attempt != 1 || got.Look != 2 || got.Samples != "kept" {
		t.Errorf("got %+v", got)
	}
	if _, ok := s.canary.Request(got.Metrics); !ok {
		t.Error("the samples are not those of the stage's metrics")
	}
}

func same(got []canary.Number, want ...canary.Number) bool {
	return slices.EqualFunc(got, want, func(a, b canary.Number) bool { return a == b || a != a && b != b })
}

// What is kept can be judged again as it was, and says what was asked.
func TestWhatALookWasMadeOfIsKept(t *testing.T) {
	s := newScene()
	got, err := s.look(t)
	if err != nil {
		t.Fatal(err)
	}
	var kept pipeline.Measurement
	if err := json.Unmarshal(s.blobs["kept"], &kept); err != nil {
		t.Fatal(err)
	}
	want, _ := s.canary.Request(got.Metrics)
	want.Look, want.Looks = 2, 3
	if diff := cmp.Diff(encoded(t, canary.Judge(want)), encoded(t, canary.Judge(kept.Request))); diff != "" {
		t.Errorf("it is judged otherwise (-then +now):\n%s", diff)
	}
	if kept.Series[1].Baseline != `errors{track="baseline",commit="3f2a91c0"}` || kept.Series[1].CanaryTotal != `requests{release="7-12-3f2a91c0/canary/1"}` ||
		kept.Series[0].Source != "prometheus" || !strings.HasPrefix(kept.Series[0].Link, "https://prometheus.example.com/graph?") || kept.To.IsZero() {
		t.Errorf("kept %+v", kept.Series)
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestABaselineCanBeOfAnEarlierTime(t *testing.T) {
	s := newScene()
	s.canary.Offset = 24*time.Hour + 90*time.Second // in whole steps
	s.canary.Metrics = []pipeline.CanaryMetric{metric("errors", "errors", "")}
	got, err := s.look(t)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"errors from 09:01 to 09:04", "errors from 09:02 to 09:05"}, s.questions()); diff != "" {
		t.Errorf("(-want +asked):\n%s", diff)
	}
	if len(got.Metrics[0].Baseline) != len(got.Metrics[0].Canary) {
		t.Errorf("got %+v", got.Metrics)
	}
}

func TestATimeThatHasBeenIsAskedForWithoutAPair(t *testing.T) {
	s := newScene()
	s.pods.err = errors.New("nobody asks for pods")
	s.canary.From, s.canary.To, s.canary.Baseline = time.Unix(0, 0), time.Unix(600, 0), "0ld00000"
	s.task.Delivery.Stages[0].Analysis.Pair = nil
	s.task.Effect.Do = pipeline.Measure{Stage: "canary", Attempt: 1, Look: 1, From: s.canary.From, To: s.canary.To}
	got, err := s.look(t)
	if err != nil {
		t.Fatal(err)
	}
	if asked := s.questions(); len(got.Metrics[0].Canary) != 10 || !slices.Contains(asked, `p99{track="canary",version="3f2a91c0"} from 00:01 to 00:10`) ||
		!slices.Contains(asked, `p99{track="baseline",version="0ld00000"} from 00:01 to 00:10`) {
		t.Errorf("asked %q, got %+v", asked, got.Metrics)
	}
}

func TestWhereNothingIsMeasuredSamplesAreMissing(t *testing.T) {
	s := newScene()
	s.value = func(string, int, time.Time) (string, int) { return "", 0 }
	got, err := s.look(t)
	missing := canary.Number(math.NaN())
	if err != nil || !same(got.Metrics[0].Canary, missing, missing, missing, missing) {
		t.Errorf("got %+v, %v", got.Metrics, err)
	}
	do := s.task.Effect.Do.(pipeline.Measure)
	do.To = do.From.Add(20 * time.Second)
	s.task.Effect.Do = do
	got, err = s.look(t)
	if err != nil || len(got.Metrics[0].Canary) != 0 || got.Metrics[0].Canary == nil {
		t.Errorf("of less than a step: got %+v, %v", got.Metrics, err)
	}
}

// Pods that are not well end the look before anything is asked: people wait.
func TestPodsThatAreNotFitAreTold(t *testing.T) {
	for _, p := range []pods{{unwell: "pod shop-canary-1 keeps crashing"}, {unequal: "the baseline has 2 of 3 pods"}} {
		s := newScene()
		s.pods = p
		got, err := s.look(t)
		if err != nil || got.Unwell != p.unwell || got.Unequal != p.unequal || len(s.questions()) != 0 || s.blobs["kept"] != nil {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	s := newScene()
	s.pods.err = &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: "the cluster does not answer"}
	if _, err := s.look(t); !errors.Is(err, s.pods.err) {
		t.Errorf("got %v", err)
	}
}

func TestALookThatGetsNothingSaysWhy(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *scene)
		want   pipeline.Failure
	}{
		{"a source that is overloaded", func(s *scene) { s.status = 503 },
			pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: "asked of prometheus: "}},
		{"a query that is wrong", func(s *scene) { s.status = 400 },
			pipeline.Failure{Code: pipeline.ReasonMeasure, Detail: "no function rat", Permanent: true}},
		{"a query that gives two series", func(s *scene) {
			s.value = func(string, int, time.Time) (string, int) { return "1", 2 }
		}, pipeline.Failure{Code: pipeline.ReasonMeasure, Detail: "2 numbers, and one is needed", Permanent: true}},
		{"a source that is not there any more", func(s *scene) { s.canary.Metrics[1].Source = "datadog" },
			pipeline.Failure{Code: pipeline.ReasonMeasure, Detail: "metric errors: there is no metrics source datadog: there are prometheus", Permanent: true}},
		{"a query that can't be filled in", func(s *scene) { s.canary.Metrics[0].Query = "${{ stages }}" },
			pipeline.Failure{Code: pipeline.ReasonMeasure, Detail: "metric latency: its query can't be filled in", Permanent: true}},
		{"a version that could change the query", func(s *scene) { s.task.Delivery.Stages[0].Analysis.Pair.Baseline.Version = `v"} or up{y="` },
			pipeline.Failure{Code: pipeline.ReasonMeasure, Detail: "which could change the query", Permanent: true}},
		{"tracks of which the query is the same", func(s *scene) {
			s.canary.Metrics[0].Query = `p99{version="${{ version }}"}`
			s.task.Delivery.Stages[0].Analysis.Pair.Baseline.Version = "3f2a91c0-canary"
		}, pipeline.Failure{Code: pipeline.ReasonMeasure, Detail: "metric latency: it asks the same for baseline and canary", Permanent: true}},
		{"a canary that has ended", func(s *scene) { s.task.Delivery.Stages[0].Attempt = 2 },
			pipeline.Failure{Code: pipeline.ReasonStale, Detail: "the canary has ended", Permanent: true}},
		{"a pair that is not there yet", func(s *scene) { s.task.Delivery.Stages[0].Analysis.Pair = nil },
			pipeline.Failure{Code: pipeline.ReasonStale, Detail: "there is no pair to look at", Permanent: true}},
		{"another effect", func(s *scene) { s.task.Effect.Do = pipeline.EndPair{} },
			pipeline.Failure{Code: pipeline.ReasonOther, Detail: `cannot carry out "end-pair"`, Permanent: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene()
			c.change(s)
			got, err := s.look(t)
			f, ok := pipeline.AsFailure(err)
			if !ok {
				t.Fatalf("got %+v, %v", got, err)
			}
			if f.Code != c.want.Code || f.Permanent != c.want.Permanent || !strings.Contains(f.Detail, c.want.Detail) {
				t.Errorf("got %+v, want %+v", f, c.want)
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := analysis.New(analysis.Options{}); err == nil {
		t.Error("an executor was made of nothing")
	}
}
