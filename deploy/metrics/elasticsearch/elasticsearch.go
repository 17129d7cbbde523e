// Package elasticsearch asks an Elasticsearch (8.14 or later) by ES|QL.
//
// One query text names the indices, the filter, and how values become one for each step; so nothing of a search has to
// be configured apart from it. BUCKET and DATE_TRUNC call a bucket by its begin
// (https://www.elastic.co/docs/reference/query-languages/esql/functions-operators/grouping-functions/bucket): so a row
// stands for the step that begins then.
//
// Source: https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-esql-query
package elasticsearch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

const maxRows = 10_000 // Elasticsearch answers with no more

// Options for New. Only URL is required.
type Options struct {
	URL string
	// APIKey is the encoded form of an API key; Username and Password instead of it.
	APIKey, Username, Password string
	Headers                    map[string]string
	Limits                     wire.Limits
}

// Source is one Elasticsearch. It may be used concurrently.
type Source struct {
	wire *wire.Client
}

var _ metrics.Sampler = (*Source)(nil)

// New makes a source. It asks nothing yet.
func New(o Options) (*Source, error) {
	if o.APIKey != "" && (o.Username != "" || o.Password != "") {
		return nil, errors.New("elasticsearch: an API key and a username with password exclude each other")
	}
	header, secrets := maps.Clone(o.Headers), slices.Collect(maps.Values(o.Headers))
	if header == nil {
		header = map[string]string{}
	}
	secrets = append(secrets, wire.SignIn(header, "", o.Username, o.Password)...)
	if o.APIKey != "" {
		header["Authorization"] = "ApiKey " + o.APIKey
		secrets = append(secrets, o.APIKey)
	}
	w, err := wire.New(wire.Options{System: "Elasticsearch", URL: o.URL, Header: header, Secrets: secrets, Said: said, Limits: o.Limits})
	if err != nil {
		return nil, err
	}
	return &Source{wire: w}, nil
}

func said(body []byte) string {
	var answer struct{ Error json.RawMessage }
	if json.Unmarshal(body, &answer) != nil {
		return string(body)
	}
	var reason struct{ Type, Reason string }
	if json.Unmarshal(answer.Error, &reason) == nil {
		return strings.TrimSpace(reason.Reason + " (" + reason.Type + ")")
	}
	var text string
	if json.Unmarshal(answer.Error, &text) == nil {
		return text
	}
	return ""
}

// Number is the value of the newest whole minute of the last fifteen that has one.
func (s *Source) Number(ctx context.Context, query string) (float64, error) {
	return s.wire.Newest(ctx, query, s.Samples)
}

type answer struct {
	Columns []struct{ Name, Type string }
	Values  [][]json.RawMessage
	Partial bool `json:"is_partial"`
}

// Samples takes a query with a column of times and one of numbers:
//
//	FROM logs-shop-* | WHERE @timestamp >= ?_tstart AND @timestamp < ?_tend AND http.status >= 500
//	| STATS errors = COUNT(*) BY t = BUCKET(@timestamp, $step)
//
// ?_tstart and ?_tend are the bounds of the range, as in Kibana, and $step is the length of a step, such as 60 seconds.
func (s *Source) Samples(ctx context.Context, r metrics.Range) (metrics.Samples, error) {
	return s.wire.Samples(ctx, r, func(ctx context.Context, r metrics.Range, g *wire.Grid) (string, error) {
		if r.Points() > maxRows {
			return "", s.wire.Query(fmt.Sprintf("it would have more than %d rows", maxRows))
		}
		body, err := json.Marshal(question(r))
		if err != nil {
			return "", s.wire.Query("it is no text")
		}
		var a answer
		err = s.wire.JSON(ctx, wire.Question{
			Method: http.MethodPost, Path: "/_query", Query: url.Values{"allow_partial_results": {"false"}}, Body: body,
		}, &a)
		switch {
		case err != nil:
			return "", err
		case a.Partial:
			return "", s.wire.Trouble("parts of the indices did not answer")
		}
		return "", s.read(a, r, g)
	})
}

func question(r metrics.Range) map[string]any {
	// Without a limit only 1,000 rows come. The line break ends a comment that the query may end with.
	q := map[string]any{"query": wire.Fill(r.Query, map[string]string{"$step": wire.Seconds(r.Step) + " seconds"}) + fmt.Sprintf("\n| LIMIT %d", maxRows)}
	params := []map[string]string{}
	for name, at := range map[string]time.Time{"_tstart": r.Start, "_tend": r.End} {
		if strings.Contains(r.Query, "?"+name) {
			params = append(params, map[string]string{name: at.UTC().Format(time.RFC3339)})
		}
	}
	if len(params) > 0 {
		q["params"] = params
	}
	return q
}

// read finds the two columns. What other columns hold tells series apart.
func (s *Source) read(a answer, r metrics.Range, g *wire.Grid) error {
	if len(a.Columns) == 0 {
		return s.wire.Strange(errors.New("there are no columns"))
	}
	when, value, numbers := -1, -1, 0
	for i, c := range a.Columns {
		switch c.Type {
		case "date", "date_nanos":
			when = i
		case "double", "float", "integer", "long", "unsigned_long", "counter_long", "counter_integer", "counter_double":
			value = i
			numbers++
		}
	}
	switch {
	case when < 0:
		return s.wire.Query("it gives no column of times: … BY t = BUCKET(@timestamp, $step)")
	case numbers > 1:
		return &metrics.NotOneError{Got: numbers}
	case value < 0:
		return s.wire.Query("it gives no column of numbers")
	}
	series := map[string]bool{}
	for _, row := range a.Values {
		var of strings.Builder
		for i, cell := range row {
			if i != when && i != value {
				fmt.Fprintf(&of, "%s,", cell)
			}
		}
		series[of.String()] = true
	}
	if len(series) > 1 {
		return &metrics.NotOneError{Got: len(series)}
	}
	return s.put(a.Values, when, value, r, g)
}

func (s *Source) put(rows [][]json.RawMessage, when, value int, r metrics.Range, g *wire.Grid) error {
	for _, row := range rows {
		var at *time.Time
		var v wire.Number
		if len(row) <= max(when, value) || json.Unmarshal(row[when], &at) != nil || json.Unmarshal(row[value], &v) != nil {
			return s.wire.Strange(errors.New("a row is not as its columns say"))
		}
		if string(row[value]) == "null" {
			continue
		}
		if at != nil && !g.Put(*at, float64(v)) {
			return s.wire.Several(r, "let STATS … BY BUCKET(@timestamp, $step) aggregate them")
		}
	}
	return nil
}
