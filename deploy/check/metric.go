package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// metric compares one number with its bounds. Where nothing is measured, nothing is proved.
func (e *Executor) metric(ctx context.Context, c pipeline.Check) (result, error) {
	m := c.Metric
	if m.Max == nil && m.Min == nil {
		return result{}, refusal(pipeline.ReasonOther, "check "+c.Name+" gives no bound for its number", nil)
	}
	source, ok := e.o.Sources[m.Source]
	if !ok {
		names := slices.Sorted(maps.Keys(e.o.Sources))
		words := "the operator has set none up"
		if len(names) > 0 {
			words = "there are " + listed(names, len(names))
		}
		return result{}, refusal(pipeline.ReasonRefused, fmt.Sprintf("there is no metrics source %s: %s", clean(m.Source, 60), words), nil)
	}
	value, err := source.Number(ctx, m.Query)
	var not *metrics.NotOneError
	var failed *metrics.Failure
	switch {
	case errors.As(err, &not) && not.Got == 0:
		return result{saw: c.Name + " has no data"}, nil
	case errors.As(err, &not):
		return result{saw: c.Name + " is not one number: the query gives " + not.Error()}, nil
	case errors.As(err, &failed) && failed.Permanent:
		return result{}, refusal(pipeline.ReasonRefused, failed.Words, err)
	case errors.As(err, &failed):
		return result{}, &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: clip(failed.Words, maxDetail), Err: err}
	case err != nil:
		return result{}, err
	}
	return compare(c.Name, value, m), nil
}

func compare(name string, value float64, m *pipeline.MetricCheck) result {
	is := number(value, m.Max, m.Min)
	var allowed string
	switch {
	case m.Max != nil && m.Min != nil:
		allowed = fmt.Sprintf("between %s and %s is allowed", plain(*m.Min), plain(*m.Max))
	case m.Max != nil:
		allowed = fmt.Sprintf("at most %s is allowed", plain(*m.Max))
	default:
		allowed = fmt.Sprintf("at least %s is required", plain(*m.Min))
	}
	good := !math.IsNaN(value) && !math.IsInf(value, 0) && (m.Max == nil || value <= *m.Max) && (m.Min == nil || value >= *m.Min)
	return result{passed: good, saw: fmt.Sprintf("%s is %s; %s", name, is, allowed)}
}

// number writes a value shortly, and exactly where the short form would look like one of the bounds.
func number(v float64, bounds ...*float64) string {
	switch {
	case math.IsNaN(v):
		return "not a number (NaN)"
	case math.IsInf(v, 0):
		return "infinite"
	}
	rounded := strconv.FormatFloat(v, 'g', 4, 64)
	for _, b := range bounds {
		if r, err := strconv.ParseFloat(rounded, 64); err == nil && b != nil && r == *b && v != *b {
			return plain(v)
		}
	}
	r, err := strconv.ParseFloat(rounded, 64)
	if err != nil {
		return plain(v)
	}
	return plain(r)
}

// plain writes a number without exponent where that is short.
func plain(v float64) string {
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e9) {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}
