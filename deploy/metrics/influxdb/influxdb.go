// Package influxdb asks an InfluxDB 2 by Flux.
//
// aggregateWindow() calls a window by its end (its parameter timeSrc is "_stop" where nothing else is said:
// https://docs.influxdata.com/flux/v0/stdlib/universe/aggregatewindow/): so a row stands for the step that ends then.
//
// Sources: https://docs.influxdata.com/influxdb/v2/api/v2/ (POST /api/v2/query),
// https://docs.influxdata.com/influxdb/v2/reference/syntax/annotated-csv/
package influxdb

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

// Options for New. All but the limits are required.
type Options struct {
	URL    string
	Org    string // the organisation's name
	Token  string // that may read the buckets
	Limits wire.Limits
}

// Source is one organisation of an InfluxDB. It may be used concurrently.
type Source struct {
	wire *wire.Client
	org  string
}

var _ metrics.Sampler = (*Source)(nil)

// New makes a source. It asks nothing yet.
func New(o Options) (*Source, error) {
	if o.Org == "" || o.Token == "" {
		return nil, errors.New("influxdb: an organisation and a token are required")
	}
	w, err := wire.New(wire.Options{
		System: "InfluxDB", URL: o.URL, Header: map[string]string{"Authorization": "Token " + o.Token}, Secrets: []string{o.Token}, Said: said, Limits: o.Limits,
	})
	if err != nil {
		return nil, err
	}
	return &Source{wire: w, org: o.Org}, nil
}

func said(body []byte) string {
	var answer struct{ Code, Message string }
	if json.Unmarshal(body, &answer) != nil {
		return string(body)
	}
	return answer.Message
}

// Number is the value of the newest whole minute of the last fifteen that has one.
func (s *Source) Number(ctx context.Context, query string) (float64, error) {
	return s.wire.Newest(ctx, query, s.Samples)
}

// dialect asks for all annotations, which tell the types and what empty cells mean.
var dialect = map[string]any{"header": true, "annotations": []string{"datatype", "group", "default"}}

// Samples takes a query that ends in one table:
//
//	from(bucket: "shop") |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
//	  |> filter(fn: (r) => r._measurement == "http" and r._field == "errors") |> group()
//	  |> aggregateWindow(every: v.windowPeriod, fn: sum)
//
// The three v.… are the bounds of the range and the length of a step, as in InfluxDB's own editor.
func (s *Source) Samples(ctx context.Context, r metrics.Range) (metrics.Samples, error) {
	return s.wire.Samples(ctx, r, func(ctx context.Context, r metrics.Range, g *wire.Grid) (string, error) {
		body, err := json.Marshal(map[string]any{"query": fill(r), "type": "flux", "dialect": dialect})
		if err != nil {
			return "", s.wire.Query("it is no text")
		}
		answer, err := s.wire.Ask(ctx, wire.Question{
			Method: http.MethodPost, Path: "/api/v2/query", Query: url.Values{"org": {s.org}}, Body: body, Accept: "application/csv",
		})
		if err != nil {
			return "", err
		}
		return "", s.read(answer, r, g)
	})
}

func fill(r metrics.Range) string {
	return strings.NewReplacer(
		"v.timeRangeStart", r.Start.UTC().Format(time.RFC3339), "v.timeRangeStop", r.End.UTC().Format(time.RFC3339), "v.windowPeriod", wire.Seconds(r.Step)+"s",
	).Replace(r.Query)
}

// read puts the rows of the one table on the grid.
func (s *Source) read(answer []byte, r metrics.Range, g *wire.Grid) error {
	rows, err := parse(answer)
	var refused *queryError
	switch {
	case errors.As(err, &refused):
		return s.wire.Query(refused.message)
	case err != nil:
		return s.wire.Strange(err)
	}
	tables := map[string]bool{}
	for _, row := range rows {
		tables[row.table] = true
	}
	if len(tables) > 1 {
		return &metrics.NotOneError{Got: len(tables)}
	}
	for _, row := range rows {
		if !g.Put(row.at.Add(-r.Step), row.value) {
			return s.wire.Several(r, "end the query with aggregateWindow(every: v.windowPeriod, …)")
		}
	}
	return nil
}
