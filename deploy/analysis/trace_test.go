package analysis_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/deploy/analysis"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

var began = time.Date(2026, 3, 2, 9, 0, 30, 0, time.UTC)

// worseFrom is what is measured where the canary is much worse from a minute after the beginning on. Each sample is
// another, so that none can be taken for its neighbour.
func worseFrom(minute int) func(query string, i int, at time.Time) (string, int) {
	return func(query string, _ int, at time.Time) (string, int) {
		n := at.Unix() / 60
		v := 100 + float64(n*7919%1013)/1e3
		if strings.Contains(query, "canary") && at.After(began.Add(time.Duration(minute)*time.Minute)) {
			v *= 3
		}
		if n%11 == 0 {
			return "", 1
		}
		return fmt.Sprint(v), 1
	}
}

// trace judges the scene's canary again.
func (s *scene) trace(t *testing.T) (analysis.Traced, error) {
	t.Helper()
	sources, q := s.asks(t)
	trace := analysis.Trace{
		Sources: sources, Queries: q, Plan: s.task.Plan, Canary: &s.canary, Began: began,
		Versions: [2]string{"0ld00000-baseline", "3f2a91c0-canary"},
	}
	return trace.Run(t.Context())
}

// live lets the core itself ask for looks at their times, and carries them out, until the stage has decided.
func (s *scene) live(t *testing.T) (looks []pipeline.Look, last pipeline.Measurement) {
	t.Helper()
	e := s.executor(t)
	d := s.task.Delivery
	st := &d.Stages[0]
	d.Schema, d.Status = pipeline.DeliverySchema, pipeline.StatusRunning
	st.Phase, st.Held, st.Analysis.Looks, st.Analysis.Began = pipeline.PhaseAnalysing, 1, s.canary.Looks(), began
	st.Analysis.Next = began.Add(min(s.canary.Interval, s.canary.Lifetime))
	for d.Stages[0].Phase == pipeline.PhaseAnalysing && d.Stages[0].Status == pipeline.StageRunning {
		now := d.Stages[0].Analysis.Next.Add(300 * time.Millisecond) // nobody is woken to the moment
		after, effects, err := pipeline.Step(s.task.Plan, d, pipeline.Tick{}, now)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(effects, func(f pipeline.Effect) bool { return f.Do.ActionKind() == pipeline.Measure{}.ActionKind() })
		if i < 0 {
			t.Fatalf("no look was made at %s: %+v", now, after.Stages[0])
		}
		sampled, err := e.Execute(t.Context(), &pipeline.Task{Plan: s.task.Plan, Delivery: after, Effect: effects[i]})
		if err != nil {
			t.Fatal(err)
		}
		if d, _, err = pipeline.Step(s.task.Plan, after, sampled, now); err != nil {
			t.Fatal(err)
		}
	}
	m, err := pipeline.DecodeMeasurement(s.blobs["kept"])
	if err != nil {
		t.Fatal(err)
	}
	return d.Stages[0].Analysis.History, *m
}

// A stage that is under way and a trace of the same time see the same samples in each look, and stop at the same one.
func TestATraceIsWhatTheStageWouldHaveSaid(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(c *pipeline.Canary)
	}{
		{"a growing window", func(*pipeline.Canary) {}},
		{"a sliding window", func(c *pipeline.Canary) { c.Lookback = 8 * time.Minute }},
		{"a sliding window with gaps", func(c *pipeline.Canary) { c.Lookback = 4 * time.Minute }},
		{"a baseline of an earlier time", func(c *pipeline.Canary) { c.Offset = 20 * time.Minute }},
		{"a last look that comes sooner", func(c *pipeline.Canary) { c.Lifetime -= 2 * time.Minute }},
		{"the default judge", func(c *pipeline.Canary) { c.Judge = canary.Default }},
		{"steps of other lengths", func(c *pipeline.Canary) { c.Metrics[0].Step = 90 * time.Second }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ends := map[int]bool{}
			for minute := 0; minute <= 35; minute += 5 {
				s := newScene()
				s.value = worseFrom(minute)
				s.canary.Lifetime = 30 * time.Minute
				s.canary.Metrics = s.canary.Metrics[:1]
				s.canary.Metrics = append(s.canary.Metrics, metric("errors", `errors{track="${{ track }}"}`, `requests{version="${{ version }}",track="${{ track }}"}`))
				s.canary.Metrics[0].Rule.Critical = true
				c.change(&s.canary)
				looks, measurement := s.live(t)
				got, err := s.trace(t)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(plain(looks), plain(got.Looks)); diff != "" {
					t.Errorf("worse from minute %d on, the looks are others (-live +trace):\n%s", minute, diff)
				}
				for i := range measurement.Series { // a trace has a link to the whole time
					measurement.Series[i].Link, got.Measurement.Series[i].Link = "", ""
				}
				if diff := cmp.Diff(encoded(t, measurement.Request), encoded(t, got.Measurement.Request)); diff != "" {
					t.Errorf("worse from minute %d on, the samples are others (-live +trace):\n%s", minute, diff)
				}
				if diff := cmp.Diff(encoded(t, measurement.Series), encoded(t, got.Measurement.Series)); diff != "" {
					t.Errorf("worse from minute %d on, the series are others (-live +trace):\n%s", minute, diff)
				}
				if want := canary.Judge(measurement.Request); got.Report.Verdict != want.Verdict || got.Report.Reason != want.Reason {
					t.Errorf("worse from minute %d on, the verdict is %s, want %s", minute, got.Report.Verdict, want.Verdict)
				}
				ends[len(looks)] = true
			}
			if len(ends) < 3 {
				t.Errorf("all ended at the same looks: %v", ends)
			}
		})
	}
}

// plain are looks as they compare: the core is woken a little later, and shortens its words.
func plain(looks []pipeline.Look) []string {
	var all []string
	for _, l := range looks {
		all = append(all, fmt.Sprintf("%d %s %s %v %.60s", l.Number, l.At.Truncate(time.Second).Format(time.TimeOnly), l.Verdict, l.Score, l.Detail))
	}
	return all
}

// Each query is asked once for the whole time, and not once a look.
func TestATraceAsksForTheWholeTimeAtOnce(t *testing.T) {
	s := newScene()
	s.value = worseFrom(100)
	s.canary.Metrics = s.canary.Metrics[:1]
	if _, err := s.trace(t); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`p99{track="baseline",version="0ld00000-baseline"} from 09:02 to 09:15`, `p99{track="canary",version="3f2a91c0-canary"} from 09:02 to 09:15`,
	}
	if diff := cmp.Diff(want, s.questions()); diff != "" {
		t.Errorf("(-want +asked):\n%s", diff)
	}
	s.canary.Lookback = 3 * time.Minute // with gaps, which are of no use
	s.asked = nil
	if _, err := s.trace(t); err != nil {
		t.Fatal(err)
	}
	want = nil
	for _, query := range []string{`p99{track="baseline",version="0ld00000-baseline"}`, `p99{track="canary",version="3f2a91c0-canary"}`} {
		want = append(want, query+" from 09:04 to 09:05", query+" from 09:09 to 09:10", query+" from 09:14 to 09:15")
	}
	if diff := cmp.Diff(want, s.questions()); diff != "" {
		t.Errorf("with gaps (-want +asked):\n%s", diff)
	}
}

// A time with more samples than a source gives at once is asked in parts, which fit together.
func TestALongTimeIsAskedInParts(t *testing.T) {
	s := newScene()
	s.value = func(query string, _ int, at time.Time) (string, int) {
		if strings.Contains(query, "baseline") && at.Before(began.Add(10_000*time.Second)) {
			return "", 0 // nothing in the whole first part
		}
		return fmt.Sprint(at.Unix()), 1
	}
	s.canary.Metrics = s.canary.Metrics[:1]
	s.canary.Metrics[0].Step, s.canary.Lifetime, s.canary.Interval = time.Second, 3*time.Hour, 3*time.Hour
	got, err := s.trace(t)
	if err != nil {
		t.Fatal(err)
	}
	samples := got.Measurement.Request.Metrics[0]
	if len(samples.Baseline) != 10_800 || len(samples.Canary) != 10_800 || len(s.questions()) != 4 {
		t.Fatalf("%d and %d samples by %q", len(samples.Baseline), len(samples.Canary), s.questions())
	}
	for i := range samples.Canary {
		want := canary.Number(began.Unix() + int64(i) + 1) // what a step says is asked at its end
		if samples.Canary[i] != want || samples.Baseline[i].Known() != (i >= 9_999) {
			t.Fatalf("sample %d is %v beside %v, want %v", i, samples.Canary[i], samples.Baseline[i], want)
		}
	}
}

func TestATraceOfATimeThatHasBeenIsOneLook(t *testing.T) {
	s := newScene()
	s.value, s.canary.Metrics = worseFrom(0), s.canary.Metrics[:1]
	s.canary.From, s.canary.To, s.canary.Interval, s.canary.Lifetime = began, began.Add(20*time.Minute), 0, 0
	got, err := s.trace(t)
	if err != nil || len(got.Looks) != 1 || !got.Looks[0].At.Equal(s.canary.To) || len(got.Measurement.Request.Metrics[0].Canary) != 19 {
		t.Errorf("got %+v, %v", got.Looks, err)
	}
}

func TestWhereNothingIsMeasuredATraceIsInconclusive(t *testing.T) {
	s := newScene()
	s.value, s.canary.Judge = func(string, int, time.Time) (string, int) { return "", 0 }, canary.Default
	s.canary.Metrics = s.canary.Metrics[:1]
	got, err := s.trace(t)
	if err != nil || got.Report.Verdict != canary.Inconclusive || len(got.Measurement.Request.Metrics[0].Canary) != 14 {
		t.Errorf("got %s of %+v, %v", got.Report.Verdict, got.Measurement.Request.Metrics, err)
	}
}

// What a stage could not ask, a trace can't either, and it says why in the same words.
func TestATraceThatGetsNothingSaysWhy(t *testing.T) {
	for want, change := range map[string]func(s *scene){
		"metric latency, asked of prometheus: Prometheus does not take the query: no function rat": func(s *scene) { s.status, s.canary.Metrics = 400, s.canary.Metrics[:1] },
		"metric errors: there is no metrics source datadog: there are prometheus":                  func(s *scene) { s.canary.Metrics[1].Source = "datadog" },
		"metric latency: it asks the same for baseline and canary: p99":                            func(s *scene) { s.canary.Metrics[0].Query = "p99" },
	} {
		s := newScene()
		change(s)
		_, err := s.trace(t)
		if f, ok := pipeline.AsFailure(err); !ok || f.Detail != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
