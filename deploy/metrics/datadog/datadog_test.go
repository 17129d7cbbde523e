package datadog

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/metricstest"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

const (
	apiKey = "0123456789abcdef-api-key"
	appKey = "fedcba9876543210-app-key"
)

func made(t *testing.T, address, api string, limits wire.Limits) *Source {
	t.Helper()
	s, err := New(Options{URL: address, APIKey: apiKey, AppKey: appKey, API: api, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func refusal(words string) metricstest.Reply {
	return metricstest.Reply{Status: 400, Body: `{"errors":["` + words + `"]}`}
}

func signed(r *http.Request) error {
	if r.Header.Get("DD-API-KEY") != apiKey || r.Header.Get("DD-APPLICATION-KEY") != appKey {
		return errors.New("not signed in")
	}
	return nil
}

// v1 answers with every interval of a minute that touches [from, to].
func v1(w metricstest.World, r *http.Request, _ []byte) (metricstest.Reply, error) {
	from, err1 := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
	to, err2 := strconv.ParseInt(r.URL.Query().Get("to"), 10, 64)
	switch err := errors.Join(err1, err2, signed(r)); {
	case err != nil:
		return metricstest.Reply{}, err
	case r.Method != http.MethodGet || r.URL.Path != "/api/v1/query" || len(r.URL.Query()) != 3:
		return metricstest.Reply{}, fmt.Errorf("%s %s", r.Method, r.URL)
	case r.URL.Query().Get("query") != "sum:shop.errors{*}.as_count().rollup(sum, 60)":
		return metricstest.Reply{}, errors.New("the query is " + r.URL.Query().Get("query"))
	}
	var series []string
	for i := range w.Series {
		var points []string
		for _, at := range metricstest.Begins(time.Unix(from, 0).Truncate(time.Minute), time.Unix(to+1, 0), time.Minute) {
			points = append(points, fmt.Sprintf("[%d.0,%s]", at.UnixMilli(), metricstest.JSON(w.Value(at))))
		}
		series = append(series, fmt.Sprintf(`{"metric":"shop.errors","tag_set":["pod:%d"],"interval":60,"length":%d,"unit":null,"aggr":"sum","pointlist":[%s]}`,
			i, len(points), strings.Join(points, ",")))
	}
	return metricstest.Reply{Body: fmt.Sprintf(`{"status":"ok","res_type":"time_series","resp_version":1,"query":"…","from_date":%d000,"to_date":%d000,"series":[%s],"values":[],"times":[],"message":"","group_by":[]}`,
		from, to, strings.Join(series, ","))}, nil
}

// v2 answers with the intervals that begin in [from, to).
func v2(w metricstest.World, r *http.Request, body []byte) (metricstest.Reply, error) {
	var q struct {
		Data struct {
			Type       string
			Attributes struct {
				From, To, Interval int64
				Queries            []map[string]string
				Formulas           []map[string]string
			}
		}
	}
	a := &q.Data.Attributes
	switch err := errors.Join(json.Unmarshal(body, &q), signed(r)); {
	case err != nil:
		return metricstest.Reply{}, err
	case r.Method != http.MethodPost || r.URL.String() != "/api/v2/query/timeseries" || r.Header.Get("Content-Type") != "application/json":
		return metricstest.Reply{}, fmt.Errorf("%s %s", r.Method, r.URL)
	case q.Data.Type != "timeseries_request" || a.Interval != 60_000 || len(a.Queries) != 1 || len(a.Formulas) != 1:
		return metricstest.Reply{}, fmt.Errorf("the request is %s", body)
	case a.Queries[0]["data_source"] != "metrics" || a.Queries[0]["query"] != "sum:shop.errors{*}.as_count()" || a.Formulas[0]["formula"] != a.Queries[0]["name"]:
		return metricstest.Reply{}, fmt.Errorf("the queries are %v", a.Queries)
	}
	var times, series, values []string
	begins := metricstest.Begins(time.UnixMilli(a.From), time.UnixMilli(a.To), time.Duration(a.Interval)*time.Millisecond)
	for _, at := range begins {
		times = append(times, fmt.Sprint(at.UnixMilli()))
	}
	for i := range w.Series {
		var of []string
		for _, at := range begins {
			of = append(of, metricstest.JSON(w.Value(at)))
		}
		series = append(series, fmt.Sprintf(`{"group_tags":["pod:%d"],"query_index":0,"unit":[null,null]}`, i))
		values = append(values, "["+strings.Join(of, ",")+"]")
	}
	return metricstest.Reply{Body: `{"data":{"id":"0","type":"timeseries_response","attributes":{"series":[` + strings.Join(series, ",") +
		`],"times":[` + strings.Join(times, ",") + `],"values":[` + strings.Join(values, ",") + `]}}}`}, nil
}

func TestTheSuiteOfSources(t *testing.T) {
	for _, tt := range []struct {
		api, query string
		answer     func(metricstest.World, *http.Request, []byte) (metricstest.Reply, error)
	}{
		{"v1", "sum:shop.errors{*}.as_count().rollup(sum, $step)", v1}, {"", "sum:shop.errors{*}.as_count()", v2},
		{"v2", `{"queries": [{"data_source": "metrics", "name": "q", "query": "sum:shop.errors{*}.as_count()"}], "formulas": [{"formula": "q"}]}`, v2},
	} {
		t.Run("API "+tt.api, func(t *testing.T) {
			metricstest.Run(t, metricstest.Vendor{
				New: func(t *testing.T, address string, limits wire.Limits) metrics.Sampler {
					return made(t, address+"/", tt.api, limits)
				},
				Query: tt.query, Secrets: []string{apiKey, appKey}, Answer: tt.answer, Refusal: refusal,
			})
		})
	}
}

func TestWhatDatadogSaysOfAQueryIsTold(t *testing.T) {
	at := time.Date(2026, 11, 26, 11, 0, 0, 0, time.UTC)
	point := func(seconds int64) string { return fmt.Sprintf("[%d,1]", (at.Unix()+seconds)*1000) }
	tests := []struct{ name, api, query, body, want string }{
		{"an error with status 200", "v1", "q", `{"status":"error","error":"Rule 'scope_expr' didn't match"}`, "Rule 'scope_expr' didn't match"},
		{"an error of v2 with status 200", "v2", "q", `{"data":{"attributes":{}},"errors":"unknown metric"}`, "unknown metric"},
		{"points that are closer than steps", "v1", "q", `{"status":"ok","series":[{"pointlist":[` + point(0) + "," + point(20) + `]}]}`, "more than one value for a step of 1m0s: end the query with .rollup("},
		{"times without values", "v2", "q", `{"data":{"attributes":{"times":[1,2],"values":[[1]]}}}`, "values and times are not alike"},
		{"JSON that is no request", "v2", `{"formulas": []}`, "", `an object with "queries"`},
		{"JSON with a time of its own", "v2", `{"queries": [{}], "from": 1}`, "", `an object with "queries"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := made(t, served(t, tt.body), tt.api, wire.Limits{})
			_, err := s.Samples(t.Context(), metrics.Range{Query: tt.query, Start: at, End: at.Add(time.Hour), Step: time.Minute})
			var f *metrics.Failure
			if !errors.As(err, &f) || !f.Permanent || !strings.Contains(f.Words, tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]Options{
		"application key are required":  {APIKey: apiKey},
		"API is v1 or v2":               {APIKey: apiKey, AppKey: appKey, API: "v3"},
		"must begin with https":         {APIKey: apiKey, AppKey: appKey, URL: "http://api.datadoghq.com"},
		"not an http or https address":  {APIKey: apiKey, AppKey: appKey, URL: "api.datadoghq.com"},
		"must not contain a user or pa": {APIKey: apiKey, AppKey: appKey, URL: "https://ada:pw@api.datadoghq.com"},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), appKey) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := New(Options{APIKey: apiKey, AppKey: appKey}); err != nil {
		t.Error(err)
	}
}

func served(t *testing.T, body string) string {
	t.Helper()
	return metricstest.Serve(t, metricstest.Reply{Body: body})
}
