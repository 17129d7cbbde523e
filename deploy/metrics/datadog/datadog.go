// Package datadog asks Datadog for timeseries: by its API v2, which takes the length of the steps and knows formulas
// over all kinds of data, or by its API v1.
//
// A point's time is the begin of the interval that it sums up, and intervals begin at whole multiples of their length
// (https://docs.datadoghq.com/dashboards/functions/rollup/): so a point stands for the step that begins then.
//
// API v1 goes by the official client. Its package for v2 doesn't: it is 66 MB of source, which takes minutes to compile,
// for one request of a dozen lines. That one is posted as
// https://docs.datadoghq.com/api/latest/metrics/query-timeseries-data-across-multiple-products/ says.
package datadog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadog"
	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV1"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

// Options for New. The keys are required.
type Options struct {
	URL            string // https://api.datadoghq.com where ""; other sites have their own
	APIKey, AppKey string
	API            string // "v2", or "v1"; v2 where ""
	Limits         wire.Limits
}

// Source is one organisation's Datadog. It may be used concurrently.
type Source struct {
	wire *wire.Client
	v1   *datadogV1.MetricsApi // nil: v2 is used
}

var _ metrics.Sampler = (*Source)(nil)

// New makes a source. It asks nothing yet.
func New(o Options) (*Source, error) {
	if o.URL == "" {
		o.URL = "https://api.datadoghq.com"
	}
	switch {
	case o.APIKey == "" || o.AppKey == "":
		return nil, errors.New("datadog: an API key and an application key are required")
	case o.API != "" && o.API != "v1" && o.API != "v2":
		return nil, fmt.Errorf("datadog: the API is v1 or v2, not %q", o.API)
	}
	w, err := wire.New(wire.Options{
		System: "Datadog", URL: o.URL, Internet: true, Secrets: []string{o.APIKey, o.AppKey}, Said: said, Limits: o.Limits,
		Header: map[string]string{"DD-API-KEY": o.APIKey, "DD-APPLICATION-KEY": o.AppKey},
	})
	if err != nil {
		return nil, err
	}
	s := &Source{wire: w}
	if o.API == "v1" {
		s.v1 = official(strings.TrimRight(o.URL, "/"), w.HTTP())
	}
	return s, nil
}

// official is the client for API v1. It signs nothing and tries nothing again, because all that goes through the wire.
func official(address string, through *http.Client) *datadogV1.MetricsApi {
	c := datadog.NewConfiguration()
	c.HTTPClient = through
	c.Compress = false // the transport does that, and bounds what comes out of it
	c.Servers = datadog.ServerConfigurations{{URL: address}}
	c.OperationServers = nil
	return datadogV1.NewMetricsApi(datadog.NewAPIClient(c))
}

// said are the errors of a refusal: https://docs.datadoghq.com/api/latest/metrics/.
func said(body []byte) string {
	var answer struct{ Errors []json.RawMessage }
	if json.Unmarshal(body, &answer) != nil {
		return string(body)
	}
	var all []string
	for _, raw := range answer.Errors {
		var text string
		var object struct{ Title, Detail string }
		switch {
		case json.Unmarshal(raw, &text) == nil:
			all = append(all, text)
		case json.Unmarshal(raw, &object) == nil:
			all = append(all, strings.TrimSpace(object.Title+" "+object.Detail))
		}
	}
	return strings.Join(all, "; ")
}

// Number is the value of the newest whole minute of the last fifteen that has one.
func (s *Source) Number(ctx context.Context, query string) (float64, error) {
	return s.wire.Newest(ctx, query, s.Samples)
}

// Samples takes a query as Datadog's editor has it, such as sum:shop.errors{env:prod}.as_count(), or, for v2, an object
// with the queries and formulas of the request: {"queries": […], "formulas": […]}. $step stands for the length of a step
// in seconds, and $step_ms for milliseconds; for v1 end a query with .rollup(sum, $step) or the like.
func (s *Source) Samples(ctx context.Context, r metrics.Range) (metrics.Samples, error) {
	return s.wire.Samples(ctx, r, func(ctx context.Context, r metrics.Range, g *wire.Grid) (string, error) {
		r.Query = wire.Fill(r.Query, map[string]string{
			"$step": wire.Seconds(r.Step), "$step_ms": strconv.FormatInt(r.Step.Milliseconds(), 10),
			"$start_ms": wire.Millis(r.Start), "$end_ms": wire.Millis(r.End),
		})
		if s.v1 != nil {
			return "", s.askV1(ctx, r, g)
		}
		return "", s.askV2(ctx, r, g)
	})
}

func (s *Source) askV1(ctx context.Context, r metrics.Range, g *wire.Grid) error {
	// The end is included, and the interval that begins there is not over.
	answer, resp, err := s.v1.QueryMetrics(ctx, r.Start.Unix(), r.End.Unix()-1, r.Query)
	if resp != nil && resp.Body != nil {
		defer resp.Body.Close()
	}
	var refused datadog.GenericOpenAPIError
	switch {
	case errors.As(err, &refused) && resp != nil && (resp.StatusCode < 200 || resp.StatusCode > 299):
		return s.wire.Refused(resp.StatusCode, refused.Body())
	case errors.As(err, &refused), err == nil && (answer.Status == nil || answer.UnparsedObject != nil):
		return s.wire.Strange(errors.New("the answer is not as documented"))
	case err != nil:
		return s.wire.Failed(ctx, err)
	case answer.GetStatus() != "ok" || answer.GetError() != "":
		return s.wire.Query(answer.GetError())
	case len(answer.Series) > 1:
		return &metrics.NotOneError{Got: len(answer.Series)}
	}
	for _, series := range answer.Series {
		for _, point := range series.Pointlist {
			if len(point) != 2 || point[0] == nil {
				return s.wire.Strange(errors.New("a point has no time"))
			}
			if point[1] != nil && !g.Put(time.UnixMilli(int64(*point[0])), *point[1]) {
				return s.wire.Several(r, "end the query with .rollup(avg, $step) or .rollup(sum, $step)")
			}
		}
	}
	return nil
}

// request is the body for v2.
type request struct {
	Data struct {
		Type       string     `json:"type"`
		Attributes attributes `json:"attributes"`
	} `json:"data"`
}

type attributes struct {
	From     int64             `json:"from"` // milliseconds; included
	To       int64             `json:"to"`   // excluded
	Interval int64             `json:"interval"`
	Queries  []json.RawMessage `json:"queries"`
	Formulas []json.RawMessage `json:"formulas,omitempty"`
}

type answer struct {
	Data *struct {
		Attributes struct {
			Series []json.RawMessage
			Times  []int64
			Values [][]wire.Number
		}
	}
	Errors string
}

func (s *Source) askV2(ctx context.Context, r metrics.Range, g *wire.Grid) error {
	body, err := s.body(r)
	if err != nil {
		return err
	}
	var a answer
	if err := s.wire.JSON(ctx, wire.Question{Method: http.MethodPost, Path: "/api/v2/query/timeseries", Body: body}, &a); err != nil {
		return err
	}
	switch {
	case a.Errors != "":
		return s.wire.Query(a.Errors)
	case a.Data == nil:
		return s.wire.Strange(errors.New("the answer has no data"))
	case len(a.Data.Attributes.Values) > 1:
		return &metrics.NotOneError{Got: len(a.Data.Attributes.Values)}
	}
	for _, values := range a.Data.Attributes.Values {
		if len(values) != len(a.Data.Attributes.Times) {
			return s.wire.Strange(errors.New("values and times are not alike in number"))
		}
		for i, at := range a.Data.Attributes.Times {
			if !g.Put(time.UnixMilli(at), float64(values[i])) {
				return s.wire.Several(r, "leave .rollup() out of the query, or roll up by $step")
			}
		}
	}
	return nil
}

func (s *Source) body(r metrics.Range) ([]byte, error) {
	var req request
	req.Data.Type = "timeseries_request"
	a := &req.Data.Attributes
	if strings.HasPrefix(strings.TrimSpace(r.Query), "{") {
		var given struct {
			Queries  []json.RawMessage `json:"queries"`
			Formulas []json.RawMessage `json:"formulas"`
		}
		d := json.NewDecoder(strings.NewReader(r.Query))
		d.DisallowUnknownFields()
		if err := d.Decode(&given); err != nil || len(given.Queries) == 0 {
			return nil, s.wire.Query(`as JSON it has to be an object with "queries" and, if wanted, "formulas"`)
		}
		a.Queries, a.Formulas = given.Queries, given.Formulas
	} else {
		query, err := json.Marshal(map[string]string{"data_source": "metrics", "name": "a", "query": r.Query})
		if err != nil {
			return nil, s.wire.Query("it is no text")
		}
		a.Queries, a.Formulas = []json.RawMessage{query}, []json.RawMessage{json.RawMessage(`{"formula":"a"}`)}
	}
	a.From, a.To, a.Interval = r.Start.UnixMilli(), r.End.UnixMilli(), r.Step.Milliseconds()
	body, err := json.Marshal(req)
	if err != nil {
		return nil, s.wire.Query("it is no JSON")
	}
	return body, nil
}
