package analysis

import (
	"context"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// Trace judges again what was measured of a canary and its baseline, look by look, as a stage would have. It has no pods
// to look at.
type Trace struct {
	Sources map[string]metrics.Sampler // by the operator's name
	Queries Queries

	Plan   *pipeline.Plan
	Canary *pipeline.Canary // of the plan
	// Began is the end of the warm-up. It means nothing to a canary that judges a time that has been.
	Began time.Time
	// Versions of the baseline and the canary; "" is not known. Their releases never are.
	Versions [2]string
}

// Traced is what a trace found.
type Traced struct {
	// Looks end with the one that decides: the first that fails, or the last.
	Looks []pipeline.Look
	// Report is that look's, and Measurement what it was made of.
	Report      canary.Report
	Measurement pipeline.Measurement
}

// Run asks the sources and makes the looks. Errors are as Execute's.
func (t *Trace) Run(ctx context.Context) (Traced, error) {
	var out Traced
	a := asker{t.Sources, t.Queries}
	tracks := [2]Track{{Name: nameBaseline, Version: t.Versions[0]}, {Name: nameCanary, Version: t.Versions[1]}}
	planned := t.Canary.PlannedLooks(t.Began)
	for _, looks := range together(planned) {
		answers, err := a.ask(ctx, t.Plan, t.Canary, looks[0].From, looks[len(looks)-1].To, tracks)
		if err != nil {
			return Traced{}, err
		}
		for _, look := range looks {
			if _, out.Measurement, err = gather(t.Canary, look, len(planned), cut(t.Canary, look, answers)); err != nil {
				return Traced{}, err
			}
			out.Report = canary.Judge(out.Measurement.Request)
			out.Looks = append(out.Looks, pipeline.Look{
				Number: look.Number, At: look.To, Verdict: out.Report.Verdict, Score: out.Report.Score, Detail: out.Report.Reason,
			})
			if out.Report.Verdict == canary.Fail {
				return out, nil
			}
		}
	}
	return out, nil
}

// together puts the looks in one group for which the sources are asked at once. Looks have a gap between them, of which
// nothing is to be known, if a sliding window is shorter than the interval.
func together(looks []pipeline.PlannedLook) [][]pipeline.PlannedLook {
	var groups [][]pipeline.PlannedLook
	for i, look := range looks {
		if i == 0 || look.From.After(looks[i-1].To) {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], look)
	}
	return groups
}

// cut takes from answers what is about one look.
func cut(c *pipeline.Canary, look pipeline.PlannedLook, answers []questions) []questions {
	out := make([]questions, len(answers))
	for i, q := range answers {
		for side := range q.value {
			out[i].value = append(out[i].value, q.value[side].cut(c, c.Metrics[i], look, side == 0))
		}
		for side := range q.total {
			out[i].total = append(out[i].total, q.total[side].cut(c, c.Metrics[i], look, side == 0))
		}
	}
	return out
}

func (q *question) cut(c *pipeline.Canary, m pipeline.CanaryMetric, look pipeline.PlannedLook, baseline bool) *question {
	own := *q
	own.over = rangeOf(c, m, look.From, look.To, q.over.Query, baseline)
	if own.got.Values = nil; own.over.Points() > 0 {
		i := int(own.over.Start.Sub(q.over.Start) / m.Step)
		own.got.Values = q.got.Values[i : i+own.over.Points()]
	}
	return &own
}
