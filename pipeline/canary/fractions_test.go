package canary

import (
	"math"
	"math/rand/v2"
	"testing"
)

// increases are counts as Prometheus' increase gives them: filled up to the ends of the step, so rarely whole.
func increases(seed uint64, total, rate float64) (counts, totals []Number) {
	random := rand.New(rand.NewPCG(seed, 7))
	for range 60 {
		n := 0
		for range int(total) {
			if random.Float64() < rate {
				n++
			}
		}
		counts, totals = append(counts, Number(float64(n)*60/55)), append(totals, Number(total*60/55))
	}
	return counts, totals
}

func TestCountsWithTotalsMayBeFractions(t *testing.T) {
	for name, c := range map[string]struct {
		total, rate float64 // of the canary
		want        Label
	}{
		"the same rate of three times as many requests": {900, 0.005, LabelPass},
		"a higher rate of a third of the requests":      {100, 0.03, LabelHigh},
	} {
		t.Run(name, func(t *testing.T) {
			m := Metric{Name: "errors", Kind: Count, Direction: Increase, Critical: true}
			m.Baseline, m.BaselineTotal = increases(1, 300, 0.005)
			m.Canary, m.CanaryTotal = increases(2, c.total, c.rate)
			got := Judge(Request{Score: Thresholds{Pass: 75, Marginal: 50}, Metrics: []Metric{m}}).Metrics[0]
			if got.Label != c.want || math.Abs(float64(got.Estimate)-(c.rate-0.005)) > 0.006 {
				t.Errorf("got %s, estimate %v: %s", got.Label, got.Estimate, got.Reason)
			}
		})
	}
}

func TestNumbersThatOverflowDoNotPass(t *testing.T) {
	m := Metric{Name: "huge"}
	for range 10 {
		m.Baseline = append(m.Baseline, -math.MaxFloat64, math.MaxFloat64)
		m.Canary = append(m.Canary, 1, 2)
	}
	report := Judge(Request{Score: Thresholds{Pass: 75, Marginal: 50}, Metrics: []Metric{m}})
	if got := report.Metrics[0]; report.Verdict == Pass || got.Label == LabelPass && !got.Estimate.Known() {
		t.Errorf("got %s, %+v", report.Verdict, got)
	}
}

func TestAChanceIsNoChangeInPerCent(t *testing.T) {
	m := Metric{Name: "latency", EffectSize: EffectSize{Measure: "cles"}}
	for i := range 20 {
		m.Baseline, m.Canary = append(m.Baseline, Number(100+i%5)), append(m.Canary, Number(100+(i+2)%5))
	}
	for _, judge := range []string{Default, Kayenta} {
		got := Judge(Request{Judge: judge, Score: Thresholds{Pass: 75, Marginal: 50}, Metrics: []Metric{m}}).Metrics[0]
		if got.Change() != "" || got.Measure != "cles" {
			t.Errorf("%s: got %q by %q", judge, got.Change(), got.Measure)
		}
	}
	for ratio, want := range map[Number]string{1.12: "+12 %", 0.5: "-50 %", 28: "28 times", 0: "", Number(math.NaN()): ""} {
		if got := (MetricReport{Ratio: ratio}).Change(); got != want {
			t.Errorf("%v is worded %q, not %q", ratio, got, want)
		}
	}
}
