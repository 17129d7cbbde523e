// Package dynatrace asks Dynatrace by its Metrics API v2.
//
// A point's time is the end of the slot that its value is for
// (https://docs.dynatrace.com/docs/dynatrace-api/environment-api/metric-v2/metric-faq): so it stands for the step that
// ends then. Slots have whole minutes.
//
// Source: https://docs.dynatrace.com/docs/shortlink/api-metrics-v2-get-datapoints
package dynatrace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

// Options for New. URL and Token are required.
type Options struct {
	URL    string // of the environment: https://abc12345.live.dynatrace.com
	Token  string // an access token with the scope metrics.read
	Limits wire.Limits
}

// Source is one environment. It may be used concurrently.
type Source struct {
	wire *wire.Client
}

var _ metrics.Sampler = (*Source)(nil)

// New makes a source. It asks nothing yet.
func New(o Options) (*Source, error) {
	if o.Token == "" {
		return nil, errors.New("dynatrace: an access token is required")
	}
	w, err := wire.New(wire.Options{
		System: "Dynatrace", URL: o.URL, Internet: true, Header: map[string]string{"Authorization": "Api-Token " + o.Token},
		Secrets: []string{o.Token}, Said: said, Limits: o.Limits,
	})
	if err != nil {
		return nil, err
	}
	return &Source{wire: w}, nil
}

func said(body []byte) string {
	var answer struct {
		Error struct {
			Message              string
			ConstraintViolations []struct{ Message string }
		}
	}
	if json.Unmarshal(body, &answer) != nil {
		return string(body)
	}
	words := []string{answer.Error.Message}
	for _, v := range answer.Error.ConstraintViolations {
		words = append(words, v.Message)
	}
	return strings.Join(words, " ")
}

// Number is the value of the newest whole minute of the last fifteen that has one.
func (s *Source) Number(ctx context.Context, query string) (float64, error) {
	return s.wire.Newest(ctx, query, s.Samples)
}

type answer struct {
	Resolution string
	Result     []struct {
		Data []struct {
			Timestamps []int64
			Values     []wire.Number
		}
	}
	NextPageKey string
}

// Samples takes a metric selector that is one series, such as builtin:service.errors.total.count:splitBy():sum.
func (s *Source) Samples(ctx context.Context, r metrics.Range) (metrics.Samples, error) {
	return s.wire.Samples(ctx, r, func(ctx context.Context, r metrics.Range, g *wire.Grid) (string, error) {
		if r.Step%time.Minute != 0 {
			return "", s.wire.Query("it measures whole minutes, and the step is " + r.Step.String())
		}
		resolution := fmt.Sprintf("%dm", r.Step/time.Minute)
		var a answer
		err := s.wire.JSON(ctx, wire.Question{Method: http.MethodGet, Path: "/api/v2/metrics/query", Query: url.Values{
			"metricSelector": {r.Query}, "from": {wire.Millis(r.Start)}, "to": {wire.Millis(r.End)}, "resolution": {resolution},
		}}, &a)
		if err != nil {
			return "", err
		}
		return "", s.read(a, r, g)
	})
}

func (s *Source) read(a answer, r metrics.Range, g *wire.Grid) error {
	series := 0
	for _, result := range a.Result {
		series += len(result.Data)
	}
	switch {
	case series > 1 || a.NextPageKey != "":
		return &metrics.NotOneError{Got: max(series, 2)}
	case a.Result == nil:
		return s.wire.Strange(errors.New("there is no result"))
	case series == 0:
		return nil
	case !sameLength(a.Resolution, r.Step):
		return s.wire.Query(fmt.Sprintf("it has no values of %s, but of %s", r.Step, a.Resolution))
	}
	for _, result := range a.Result {
		for _, data := range result.Data {
			if len(data.Values) != len(data.Timestamps) {
				return s.wire.Strange(errors.New("values and timestamps are not alike in number"))
			}
			for i, at := range data.Timestamps {
				if !g.Put(time.UnixMilli(at).Add(-r.Step), float64(data.Values[i])) {
					return s.wire.Several(r, "let the selector aggregate them")
				}
			}
		}
	}
	return nil
}

// sameLength compares what Dynatrace calls 1m, 90m, 2h or 1d with the length of a step.
func sameLength(resolution string, step time.Duration) bool {
	if days, ok := strings.CutSuffix(resolution, "d"); ok {
		d, err := time.ParseDuration(days + "h")
		return err == nil && d*24 == step
	}
	d, err := time.ParseDuration(resolution)
	return err == nil && d == step
}
