package analysis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// mostSteps is how many samples one question is answered with: each source gives some more.
const mostSteps = 10_000

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

// asker asks the sources about both tracks of canaries.
type asker struct {
	sources map[string]metrics.Sampler // by the operator's name
	queries Queries
}

// ask gets what was measured of the tracks, baseline first, from one time to another.
func (a asker) ask(ctx context.Context, plan *pipeline.Plan, c *pipeline.Canary, from, to time.Time, tracks [2]Track) ([]questions, error) {
	all := make([]questions, 0, len(c.Metrics))
	for _, m := range c.Metrics {
		asked, ok := a.sources[m.Source]
		if !ok {
			return nil, refusal(pipeline.ReasonMeasure, fmt.Sprintf("metric %s: there is no metrics source %s: %s", m.Rule.Name, m.Source, a.known()), nil)
		}
		var q questions
		for _, text := range []struct {
			query string
			to    *[]*question
		}{{m.Query, &q.value}, {m.Total, &q.total}} {
			if text.query == "" {
				continue
			}
			filled, err := a.queries.Fill(plan, text.query, tracks[:]...)
			if err != nil {
				return nil, refusal(pipeline.ReasonMeasure, fmt.Sprintf("metric %s: its query can't be filled in: %v", m.Rule.Name, err), err)
			}
			if c.Offset < m.Step && filled[0] == filled[1] {
				return nil, refusal(pipeline.ReasonMeasure, fmt.Sprintf("metric %s: it asks the same for baseline and canary: %s", m.Rule.Name, filled[0]), nil)
			}
			for side, query := range filled {
				*text.to = append(*text.to, &question{metric: m.Rule.Name, source: m.Source, asked: asked, over: rangeOf(c, m, from, to, query, side == 0)})
			}
		}
		all = append(all, q)
	}
	return all, askAll(ctx, all)
}

// rangeOf is what is asked of a track: the same time for both, in whole steps, but for the baseline's offset.
func rangeOf(c *pipeline.Canary, m pipeline.CanaryMetric, from, to time.Time, query string, baseline bool) metrics.Range {
	start, end := wholeSteps(from, to, m.Step)
	if baseline {
		offset := c.Offset.Truncate(m.Step)
		start, end = start.Add(-offset), end.Add(-offset)
	}
	return metrics.Range{Query: query, Start: start, End: end, Step: m.Step}
}

// wholeSteps is the part of a time that is made of whole steps, which begin at the same moments for everybody. It may be
// empty.
func wholeSteps(from, to time.Time, step time.Duration) (start, end time.Time) {
	whole := func(at time.Time) time.Time { // steps begin with Unix time, as most systems have it
		since := at.Sub(time.Unix(0, 0))
		return time.Unix(0, 0).UTC().Add(since.Truncate(step))
	}
	start, end = whole(from), whole(to)
	if start.Before(from) {
		start = start.Add(step)
	}
	if end.Before(start) {
		end = start
	}
	return start, end
}

func (a asker) known() string {
	if len(a.sources) == 0 {
		return "the operator has set none up"
	}
	return "there are " + strings.Join(slices.Sorted(maps.Keys(a.sources)), ", ")
}

// askAll gets all answers, some at a time. The first source that gives none ends it.
func askAll(ctx context.Context, all []questions) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, q := range all {
		for _, one := range slices.Concat(q.value, q.total) {
			group.Go(func() error { return one.ask(ctx) })
		}
	}
	return group.Wait()
}

// ask gets the answer, in parts if it is longer than a source gives at once.
func (q *question) ask(ctx context.Context) error {
	part := q.over
	for ; part.Start.Before(q.over.End); part.Start = part.End {
		if part.End = part.Start.Add(mostSteps * part.Step); part.End.After(q.over.End) {
			part.End = q.over.End
		}
		if err := q.askPart(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (q *question) askPart(ctx context.Context, part metrics.Range) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	got, err := q.asked.Samples(ctx, part)
	var not *metrics.NotOneError
	switch {
	case errors.As(err, &not) && not.Got == 0: // nothing was measured
		got.Values = slices.Repeat([]float64{math.NaN()}, part.Points())
	case err != nil:
		return q.failure(ctx, err)
	case len(got.Values) != part.Points():
		return &pipeline.Failure{Code: pipeline.ReasonOther, Detail: q.words(fmt.Sprintf("it gave %d samples for %d", len(got.Values), part.Points()))}
	}
	q.got.Values, q.got.Link = append(q.got.Values, got.Values...), got.Link
	if got.Warning != "" {
		q.got.Warning = got.Warning
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
	all := make([]canary.Number, len(q.got.Values))
	for i, v := range q.got.Values {
		all[i] = canary.Number(v)
	}
	return all
}

// gather makes of the answers what the judge is asked at a look, and what people see of it.
func gather(c *pipeline.Canary, look pipeline.PlannedLook, looks int, all []questions) ([]canary.Metric, pipeline.Measurement, error) {
	var samples []canary.Metric
	var series []pipeline.Series
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
	request, ok := c.Request(samples)
	if !ok {
		return nil, pipeline.Measurement{}, refusal(pipeline.ReasonOther, "the samples are of other metrics than the stage's", nil)
	}
	request.Look, request.Looks = look.Number, looks
	return samples, pipeline.Measurement{Request: request, From: look.From, To: look.To, Series: series}, nil
}
