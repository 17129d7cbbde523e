package pipeline

import (
	"math"

	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// draw has the picture drawn once the canary is decided, or people are to decide it. Before that it would be a new one
// with each look, and each would stay in GitLab.
func (s *stepper) draw(st *StageState) {
	a := st.Analysis
	if a.Samples == "" || a.Report == nil || a.Drawing || s.d.MergeRequest.IID == 0 {
		return
	}
	a.Drawing = true
	s.act(st, "chart", "chart/"+st.Name, DrawChart{Stage: st.Name, Attempt: st.Attempt, Samples: a.Samples})
}

func (s *stepper) chartDrawn(e ChartDrawn) {
	s.reached(DrawChart{})
	st := s.d.Stage(e.Stage)
	if st == nil || st.Attempt != e.Attempt || st.Analysis == nil || e.Chart == "" {
		return
	}
	st.Analysis.Chart = e.Chart
	if s.d.Status.Finished() { // which says no more by itself
		s.d.Revision++
		s.emitLatest(noteKey(s.d.Revision), "note", WriteNote{})
	}
}

// trendPoints is how many points a small chart has room for.
const trendPoints = 20

// newTrend thins out the metric that matters most: the first that failed the canary, else the first that is worse, else
// the first.
func newTrend(r canary.Request, report canary.Report) *Trend {
	if len(r.Metrics) == 0 || len(report.Metrics) != len(r.Metrics) {
		return nil
	}
	chosen, rank := 0, 0
	for i, m := range report.Metrics {
		weight := 0
		switch {
		case m.Critical:
			weight = 2
		case m.Label.Worse():
			weight = 1
		}
		if weight > rank {
			chosen, rank = i, weight
		}
	}
	m := r.Metrics[chosen]
	return &Trend{Metric: m.Name, Baseline: parts(m.Baseline, m.BaselineTotal), Canary: parts(m.Canary, m.CanaryTotal)}
}

// parts are the means of at most trendPoints equal parts of the samples; of a count with a total, its rate.
func parts(samples, totals []canary.Number) []canary.Number {
	n := min(len(samples), trendPoints)
	out := make([]canary.Number, 0, n)
	for k := range n {
		sum, of := 0.0, 0.0
		for i := k * len(samples) / n; i < (k+1)*len(samples)/n; i++ {
			v, total := samples[i], canary.Number(1)
			if len(totals) == len(samples) {
				total = totals[i]
			}
			if v.Known() && total.Known() {
				sum, of = sum+float64(v), of+float64(total)
			}
		}
		if of == 0 {
			out = append(out, canary.Number(math.NaN()))
			continue
		}
		out = append(out, canary.Number(sum/of))
	}
	return out
}
