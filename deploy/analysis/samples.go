package analysis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// question is one query about one track, and its answer.
type question struct {
	metric string // its name
	source string // its name
	asked  metrics.Sampler
	over   metrics.Range
	got    metrics.Samples
}

// questions of one metric, baseline first: of what is counted or measured, and of the total if it has one.
type questions struct{ value, total []*question }

func (e *Executor) questions(t *pipeline.Task, do pipeline.Measure, c *pipeline.Canary, tracks [2]Track) ([]questions, error) {
	all := make([]questions, 0, len(c.Metrics))
	for _, m := range c.Metrics {
		asked, ok := e.o.Sources[m.Source]
		if !ok {
			return nil, refusal(pipeline.ReasonMeasure, fmt.Sprintf("metric %s: there is no metrics source %s: %s", m.Rule.Name, m.Source, e.known()), nil)
		}
		var q questions
		for _, text := range []struct {
			query string
			to    *[]*question
		}{{m.Query, &q.value}, {m.Total, &q.total}} {
			if text.query == "" {
				continue
			}
			filled, err := e.o.Queries.Fill(t.Plan, text.query, tracks[:]...)
			if err != nil {
				return nil, refusal(pipeline.ReasonMeasure, fmt.Sprintf("metric %s: its query can't be filled in: %v", m.Rule.Name, err), err)
			}
			if c.Offset < m.Step && filled[0] == filled[1] {
				return nil, refusal(pipeline.ReasonMeasure, fmt.Sprintf("metric %s: it asks the same for baseline and canary: %s", m.Rule.Name, filled[0]), nil)
			}
			for side, query := range filled {
				*text.to = append(*text.to, &question{metric: m.Rule.Name, source: m.Source, asked: asked, over: rangeOf(do, c, m, query, side == 0)})
			}
		}
		all = append(all, q)
	}
	return all, nil
}

// rangeOf is what is asked of a track: the same time for both, in whole steps, but for the baseline's offset.
func rangeOf(do pipeline.Measure, c *pipeline.Canary, m pipeline.CanaryMetric, query string, baseline bool) metrics.Range {
	start, end := wholeSteps(do.From, do.To, m.Step)
	if baseline {
		offset := c.Offset.Truncate(m.Step)
		start, end = start.Add(-offset), end.Add(-offset)
	}
	return metrics.Range{Query: query, Start: start, End: end, Step: m.Step}
}

func (e *Executor) known() string {
	if len(e.o.Sources) == 0 {
		return "the operator has set none up"
	}
	return "there are " + strings.Join(slices.Sorted(maps.Keys(e.o.Sources)), ", ")
}

// ask gets all answers, some at a time. The first source that gives none ends it.
func (e *Executor) ask(ctx context.Context, all []questions) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, q := range all {
		for _, one := range slices.Concat(q.value, q.total) {
			group.Go(func() error { return one.ask(ctx) })
		}
	}
	return group.Wait()
}

func (q *question) ask(ctx context.Context) error {
	if q.over.Points() < 1 || ctx.Err() != nil {
		return ctx.Err()
	}
	got, err := q.asked.Samples(ctx, q.over)
	var not *metrics.NotOneError
	switch {
	case errors.As(err, &not) && not.Got == 0: // nothing was measured
	case err != nil:
		return q.failure(ctx, err)
	case len(got.Values) != q.over.Points():
		return &pipeline.Failure{Code: pipeline.ReasonOther, Detail: q.words(fmt.Sprintf("it gave %d samples for %d", len(got.Values), q.over.Points()))}
	default:
		q.got = got
	}
	return nil
}

// failure says what went wrong with which metric. What asking again would not change is told as such.
func (q *question) failure(ctx context.Context, err error) error {
	var not *metrics.NotOneError
	var failed *metrics.Failure
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &not):
		return refusal(pipeline.ReasonMeasure, q.words("its query gives "+not.Error()), err)
	case errors.As(err, &failed) && failed.Permanent:
		return refusal(pipeline.ReasonMeasure, q.words(failed.Words), err)
	case errors.As(err, &failed):
		return &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: clip(q.words(failed.Words)), Err: err}
	}
	return fmt.Errorf("ask %s for %s: %w", q.source, q.metric, err)
}

func (q *question) words(what string) string {
	return fmt.Sprintf("metric %s, asked of %s: %s", q.metric, q.source, what)
}

// warning is what the source remarks on the answers, each remark once.
func (q questions) warning() string {
	var all []string
	for _, one := range slices.Concat(q.value, q.total) {
		if w := one.got.Warning; w != "" && !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	return strings.Join(all, "; ")
}

// samples are the answer as the judge wants it.
func (q *question) samples() []canary.Number {
	all := make([]canary.Number, q.over.Points())
	for i := range all {
		if all[i] = canary.Number(math.NaN()); i < len(q.got.Values) {
			all[i] = canary.Number(q.got.Values[i])
		}
	}
	return all
}

// gather makes what the judge and people want of the answers.
func gather(c *pipeline.Canary, all []questions) (samples []canary.Metric, series []pipeline.Series) {
	for i, q := range all {
		m := c.Metrics[i]
		got := canary.Metric{Name: m.Rule.Name, Baseline: q.value[0].samples(), Canary: q.value[1].samples()}
		from := pipeline.Series{
			Source: m.Source, Step: m.Step, Start: q.value[1].over.Start, Baseline: q.value[0].over.Query, Canary: q.value[1].over.Query, Link: q.value[1].got.Link,
		}
		if len(q.total) > 0 {
			got.BaselineTotal, got.CanaryTotal = q.total[0].samples(), q.total[1].samples()
			from.BaselineTotal, from.CanaryTotal = q.total[0].over.Query, q.total[1].over.Query
		}
		from.Warning = clip(q.warning())
		samples, series = append(samples, got), append(series, from)
	}
	return samples, series
}
