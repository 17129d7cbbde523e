package wire

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
)

// MaxPoints is how many samples one range may have: as many as Prometheus answers with.
const MaxPoints = 11_000

// Grid puts what a system answers on the steps of a range.
type Grid struct {
	r      metrics.Range
	values []float64
	taken  []bool
}

// NewGrid has no data yet.
func NewGrid(r metrics.Range) *Grid {
	g := &Grid{r: r, values: make([]float64, r.Points()), taken: make([]bool, r.Points())}
	for i := range g.values {
		g.values[i] = math.NaN()
	}
	return g
}

// Values are one for each step.
func (g *Grid) Values() []float64 { return g.values }

// Put takes what was measured from begin on. What lies outside of the range is left out. It returns false if the step
// that begin falls into has a value already: only the query can say how the two become one.
func (g *Grid) Put(begin time.Time, value float64) bool {
	since := begin.Sub(g.r.Start)
	if since < 0 || !begin.Before(g.r.End) {
		return true
	}
	i := int(since / g.r.Step)
	if i >= len(g.values) {
		return true
	}
	if g.taken[i] {
		return false
	}
	g.taken[i], g.values[i] = true, value
	return true
}

// Number is a number or null.
type Number float64

// UnmarshalJSON takes null, and the words that JSON has no numbers for, as some systems write them.
func (n *Number) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	switch text {
	case "null", "":
		*n = Number(math.NaN())
		return nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%.40q is no number", text)
	}
	*n = Number(v)
	return nil
}

// Samples does what is the same for every system: it checks the range, asks only for the steps that are over, and
// leaves the others empty. ask fills the grid of the range that it is given; its text is the link.
func (c *Client) Samples(ctx context.Context, r metrics.Range, ask func(context.Context, metrics.Range, *Grid) (string, error)) (metrics.Samples, error) {
	if r.Step < time.Second || r.Step%time.Second != 0 || r.Points() < 1 || r.Points() > MaxPoints {
		return metrics.Samples{}, &metrics.Failure{
			Permanent: true, Words: fmt.Sprintf("the time to ask for does not have 1 to %d steps of whole seconds", MaxPoints),
		}
	}
	g, over := NewGrid(r), r
	if past := c.Now().Sub(r.Start); past < r.End.Sub(r.Start) {
		over.End = r.Start.Add(max(past.Truncate(r.Step), 0))
	}
	if !over.End.After(r.Start) {
		return metrics.Samples{Values: g.values}, nil
	}
	link, err := ask(ctx, over, g)
	if err != nil {
		return metrics.Samples{}, err
	}
	for i := over.Points(); i < len(g.values); i++ {
		g.values[i] = math.NaN()
	}
	return metrics.Samples{Values: g.values, Link: link}, nil
}

// Several is the failure of a system that gives more than one value for a step, with how a query is to be written.
func (c *Client) Several(r metrics.Range, how string) *metrics.Failure {
	return &metrics.Failure{
		Permanent: true, Words: fmt.Sprintf("%s gives more than one value for a step of %s: %s", c.o.System, r.Step, how),
	}
}

const newest = 15 // minutes that Newest looks back

// Newest answers a query with one number: that of the newest whole minute which has one, of the last fifteen.
func (c *Client) Newest(ctx context.Context, query string, samples func(context.Context, metrics.Range) (metrics.Samples, error)) (float64, error) {
	end := c.Now().Truncate(time.Minute)
	got, err := samples(ctx, metrics.Range{Query: query, Start: end.Add(-newest * time.Minute), End: end, Step: time.Minute})
	if err != nil {
		return 0, err
	}
	for i := len(got.Values) - 1; i >= 0; i-- {
		if !math.IsNaN(got.Values[i]) {
			return got.Values[i], nil
		}
	}
	return 0, &metrics.NotOneError{}
}

var placeholder = regexp.MustCompile(`\$(start|end|step|query)(_[a-z]+)?\b`)

// Fill replaces $start, $end, $step, $query and their kin by the values given, and leaves others as they are.
func Fill(query string, values map[string]string) string {
	return placeholder.ReplaceAllStringFunc(query, func(name string) string {
		if value, ok := values[name]; ok {
			return value
		}
		return name
	})
}

// Seconds is a duration in whole seconds.
func Seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// Millis is a time in Unix milliseconds.
func Millis(at time.Time) string { return strconv.FormatInt(at.UnixMilli(), 10) }
