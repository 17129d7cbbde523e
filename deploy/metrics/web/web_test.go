package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/metricstest"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

const token = "secret-token-of-the-web"

func points(w metricstest.World, from, to int64, write func(at time.Time, v float64) string) string {
	var all []string
	if w.Series > 0 {
		for _, at := range metricstest.Begins(time.Unix(from, 0), time.Unix(to, 0), time.Minute) {
			all = append(all, write(at, w.Value(at)))
		}
	}
	return "[" + strings.Join(all, ",") + "]"
}

// byGet is a service that tells times in words, and of the end of a minute.
func byGet(w metricstest.World, r *http.Request, _ []byte) (metricstest.Reply, error) {
	from, err1 := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
	to, err2 := strconv.ParseInt(r.URL.Query().Get("to"), 10, 64)
	switch err := errors.Join(err1, err2); {
	case err != nil:
		return metricstest.Reply{}, err
	case r.Method != http.MethodGet || r.URL.Path != "/api/errors of the shop/series" || r.URL.Query().Get("q") != "errors of the shop":
		return metricstest.Reply{}, fmt.Errorf("%s %s", r.Method, r.URL)
	case r.Header.Get("Authorization") != "Bearer "+token:
		return metricstest.Reply{}, errors.New("not signed in")
	}
	return metricstest.Reply{Body: `{"data/points":` + points(w, from, to, func(at time.Time, v float64) string {
		return fmt.Sprintf(`{"t":%q,"v":%s}`, at.Add(time.Minute).Format(time.RFC3339), metricstest.JSON(v))
	}) + `}`}, nil
}

// byPost is a service that answers with one value for each step.
func byPost(w metricstest.World, r *http.Request, body []byte) (metricstest.Reply, error) {
	var q struct {
		Query             string
		Every             string
		From, To, Seconds int64
	}
	if err := json.Unmarshal(body, &q); err != nil || r.Method != http.MethodPost || r.URL.String() != "/v2" || q.Seconds != 60 || q.Every != "60s" || q.Query != `say "60"` {
		return metricstest.Reply{}, fmt.Errorf("%s %s %s", r.Method, r.URL, body)
	}
	if _, password, _ := r.BasicAuth(); password != token {
		return metricstest.Reply{}, errors.New("not signed in")
	}
	return metricstest.Reply{Body: `[{"values":` + points(w, q.From/1000, q.To/1000, func(_ time.Time, v float64) string { return metricstest.JSON(v) }) + `}]`}, nil
}

func TestTheSuiteOfSources(t *testing.T) {
	for _, tt := range []struct {
		name, query string
		o           Options
		answer      func(metricstest.World, *http.Request, []byte) (metricstest.Reply, error)
	}{
		{"GET with times", "errors of the shop", Options{
			URL: "/api/$query/series?q=$query&from=$start&to=$end", Token: token, Values: "/data~1points/*/v", Times: "/data~1points/*/t", Stamps: End,
		}, byGet},
		{"POST without times", `say "$step"`, Options{
			URL: "/v2", Username: "ada", Password: token, Body: `{"query": "$query", "from": $start_ms, "to": $end_ms, "seconds": $step, "every": "$step_duration"}`, Values: "/0/values",
		}, byPost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			metricstest.Run(t, metricstest.Vendor{
				New: func(t *testing.T, address string, limits wire.Limits) metrics.Sampler {
					o := tt.o
					o.URL, o.Limits = address+o.URL, limits
					s, err := New(o)
					if err != nil {
						t.Fatal(err)
					}
					return s
				},
				Query: tt.query, Secrets: []string{token, "YWRhOnNlY3Jl"}, Answer: tt.answer, OneSeries: true,
				Refusal: func(words string) metricstest.Reply {
					return metricstest.Reply{Status: 400, Type: "text/plain", Body: strings.ReplaceAll(words, `\u0007`, "\a")}
				},
			})
		})
	}
}

func TestValuesAndTimesAreFound(t *testing.T) {
	const at = 1_800_000_000
	nan := math.NaN()
	tests := []struct {
		name, values, times, answer string
		want                        []float64
		fails                       string
	}{
		{"texts that are numbers, and null", "/v", "", `{"v":["1.5",null,3]}`, []float64{1.5, nan, 3}, ""},
		{"seconds, milliseconds, and texts", "/*/v", "/*/t", fmt.Sprintf(`[{"t":%d,"v":1},{"t":%d000,"v":2},{"t":"2027-01-15T08:02:00Z","v":3}]`, at, at+60), []float64{1, 2, 3}, ""},
		{"pairs", "/data/*/1", "/data/*/0", fmt.Sprintf(`{"data":[[%d,7]]}`, at+60), []float64{nan, 7, nan}, ""},
		{"what lies outside", "/*/1", "/*/0", fmt.Sprintf(`[[%d,7],[%d,8]]`, at-60, at+180), []float64{nan, nan, nan}, ""},
		{"nothing", "/v", "", `{"v":[]}`, []float64{nan, nan, nan}, ""},
		{"a path to nowhere", "/w", "", `{"v":[]}`, nil, "nothing at /w"},
		{"too few values", "/v", "", `{"v":[1,2]}`, nil, "2 values without times, and 3 steps"},
		{"a value without a time", "/v", "/t", `{"v":[1,2],"t":[1]}`, nil, "2 values at /v and 1 times at /t"},
		{"a time that is none", "/v", "/t", `{"v":[1],"t":["noon"]}`, nil, "1th value is no number, or has no time"},
		{"a value that is none", "/v", "", `{"v":[1,true,2]}`, nil, "2th value is no number"},
		{"two series", "/*/1", "/*/0", fmt.Sprintf(`[[%d,7],[%d,8]]`, at, at+1), nil, "more than one value for a step"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(Options{URL: metricstest.Serve(t, metricstest.Reply{Body: tt.answer}), Values: tt.values, Times: tt.times,
				Limits: wire.Limits{Now: func() time.Time { return time.Unix(at+3600, 0) }}})
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.Samples(t.Context(), metrics.Range{Start: time.Unix(at, 0), End: time.Unix(at+180, 0), Step: time.Minute})
			if tt.fails != "" {
				var f *metrics.Failure
				if !errors.As(err, &f) || !f.Permanent || !strings.Contains(f.Words, tt.fails) {
					t.Errorf("got %v, want %q", err, tt.fails)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got.Values, cmpopts.EquateNaNs()); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]Options{
		"path of the values":      {URL: "http://a"},
		"path of the times":       {URL: "http://a", Values: "/v", Times: "t"},
		"GET or POST":             {URL: "http://a", Values: "/v", Method: "PUT"},
		"a GET has no body":       {URL: "http://a", Values: "/v", Method: "GET", Body: "{}"},
		"begin or the end":        {URL: "http://a", Values: "/v", Stamps: "middle"},
		"exclude each other":      {URL: "http://a", Values: "/v", Token: "t", Username: "ada"},
		"no JSON":                 {URL: "http://a", Values: "/v", Body: `{"q": $query}`},
		"placeholder in its host": {URL: "http://$query/", Values: "/v"},
		"a password":              {URL: "http://ada:pw@a/", Values: "/v"},
		"is not an http or https": {URL: "ftp://a/", Values: "/v"},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pw@") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
