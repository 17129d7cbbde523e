// Package newrelic asks New Relic by NRQL, through NerdGraph.
//
// The query is asked with SINCE, UNTIL and TIMESERIES, so that its buckets begin where the steps do; each result says
// when its bucket begins (https://docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-nrql-tutorial/). No more than
// 366 buckets are answered at a time
// (https://docs.newrelic.com/docs/nrql/nrql-syntax-clauses-functions/#sel-timeseries), so a long range is asked in parts.
package newrelic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

const maxBuckets = 366

// Options for New. Account and Key are required.
type Options struct {
	URL     string // https://api.newrelic.com where ""; https://api.eu.newrelic.com is Europe's
	Account int64
	Key     string // of a user: NRAK-…
	Limits  wire.Limits
}

// Source is one account. It may be used concurrently.
type Source struct {
	wire    *wire.Client
	account int64
}

var _ metrics.Sampler = (*Source)(nil)

// New makes a source. It asks nothing yet.
func New(o Options) (*Source, error) {
	if o.URL == "" {
		o.URL = "https://api.newrelic.com"
	}
	if o.Key == "" || o.Account <= 0 {
		return nil, errors.New("newrelic: the number of an account and the API key of a user are required")
	}
	w, err := wire.New(wire.Options{
		System: "New Relic", URL: o.URL, Internet: true, Header: map[string]string{"API-Key": o.Key}, Secrets: []string{o.Key},
		Said: said, Busy: busy, Limits: o.Limits,
	})
	if err != nil {
		return nil, err
	}
	return &Source{wire: w, account: o.Account}, nil
}

// problem is one error of GraphQL, whatever the status.
type problem struct {
	Message    string
	Extensions struct{ ErrorClass string }
}

type answer struct {
	Data *struct {
		Actor struct {
			Account struct {
				NRQL *struct{ Results []map[string]json.RawMessage }
			}
		}
	}
	Errors []problem
}

func said(body []byte) string {
	var a answer
	if json.Unmarshal(body, &a) != nil {
		return string(body)
	}
	var all []string
	for _, p := range a.Errors {
		all = append(all, p.Message)
	}
	return strings.Join(all, "; ")
}

// busy knows the classes of errors that end when they are waited out; they come with status 200.
func busy(_ int, body []byte) bool {
	var a answer
	return json.Unmarshal(body, &a) == nil && pass(a.Errors)
}

func pass(errors []problem) bool {
	for _, p := range errors {
		switch p.Extensions.ErrorClass {
		case "TIMEOUT", "SERVER_ERROR", "INTERNAL_SERVER_ERROR", "TOO_MANY_REQUESTS":
			return true
		}
	}
	return false
}

// Number is the value of the newest whole minute of the last fifteen that has one.
func (s *Source) Number(ctx context.Context, query string) (float64, error) {
	return s.wire.Newest(ctx, query, s.Samples)
}

// Samples takes NRQL without SINCE, UNTIL and TIMESERIES, which selects one number: SELECT count(*) FROM Transaction
// WHERE error IS true. $step stands for the length of a step, such as "60 seconds", as in rate(count(*), $step).
func (s *Source) Samples(ctx context.Context, r metrics.Range) (metrics.Samples, error) {
	return s.wire.Samples(ctx, r, func(ctx context.Context, r metrics.Range, g *wire.Grid) (string, error) {
		for start := r.Start; start.Before(r.End); start = start.Add(maxBuckets * r.Step) {
			part := r
			part.Start = start
			if end := start.Add(maxBuckets * r.Step); end.Before(r.End) {
				part.End = end
			}
			if err := s.ask(ctx, part, g); err != nil {
				return "", err
			}
		}
		return "", nil
	})
}

const graphQL = `query($account: Int!, $nrql: Nrql!) { actor { account(id: $account) { nrql(query: $nrql, timeout: 15) { results } } } }`

func (s *Source) ask(ctx context.Context, r metrics.Range, g *wire.Grid) error {
	step := wire.Seconds(r.Step) + " seconds"
	body, err := json.Marshal(map[string]any{"query": graphQL, "variables": map[string]any{
		"account": s.account,
		"nrql": fmt.Sprintf("%s\nSINCE %d UNTIL %d TIMESERIES %s", wire.Fill(r.Query, map[string]string{"$step": step}),
			r.Start.UnixMilli(), r.End.UnixMilli(), step),
	}})
	if err != nil {
		return s.wire.Query("it is no text")
	}
	var a answer
	if err := s.wire.JSON(ctx, wire.Question{Method: http.MethodPost, Path: "/graphql", Body: body}, &a); err != nil {
		return err
	}
	switch {
	case pass(a.Errors):
		return s.wire.Trouble(a.Errors[0].Message)
	case len(a.Errors) > 0:
		return s.wire.Query(a.Errors[0].Message)
	case a.Data == nil || a.Data.Actor.Account.NRQL == nil:
		return s.wire.Strange(errors.New("there are no results"))
	}
	return s.read(a.Data.Actor.Account.NRQL.Results, r, g)
}

// read puts results on the grid. Each has its times, its facet if there is one, and what was selected.
func (s *Source) read(results []map[string]json.RawMessage, r metrics.Range, g *wire.Grid) error {
	facets := map[string]bool{}
	for _, result := range results {
		facets[string(result["facet"])] = true
	}
	if len(facets) > 1 {
		return &metrics.NotOneError{Got: len(facets)}
	}
	for _, result := range results {
		var begin float64
		if err := json.Unmarshal(result["beginTimeSeconds"], &begin); err != nil {
			return s.wire.Strange(errors.New("a result has no beginTimeSeconds"))
		}
		var values []float64
		for name, raw := range result {
			if name != "beginTimeSeconds" && name != "endTimeSeconds" && name != "facet" {
				values = append(values, numbers(raw)...)
			}
		}
		if len(values) > 1 {
			return &metrics.NotOneError{Got: len(values)}
		}
		if len(values) == 1 && !g.Put(time.UnixMilli(int64(begin*1000)), values[0]) {
			return s.wire.Several(r, "leave TIMESERIES out of the query")
		}
	}
	return nil
}

// numbers are those of one selected thing: percentile() gives an object with one for each percentage.
func numbers(raw json.RawMessage) []float64 {
	var one wire.Number
	if json.Unmarshal(raw, &one) == nil {
		return []float64{float64(one)}
	}
	var some map[string]wire.Number
	if json.Unmarshal(raw, &some) != nil {
		return nil // a text, such as the name of a facet
	}
	var all []float64
	for _, v := range some {
		all = append(all, float64(v))
	}
	return all
}
