package prometheus

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/metricstest"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

// answer is a Prometheus: what a query with a range of one minute says at a time was measured in the minute before.
func answer(w metricstest.World, r *http.Request, body []byte) (metricstest.Reply, error) {
	text := string(body)
	if r.Method == http.MethodGet {
		text = r.URL.RawQuery
	}
	form, err := url.ParseQuery(text)
	switch {
	case err != nil || r.Method != http.MethodPost && r.Method != http.MethodGet:
		return metricstest.Reply{}, fmt.Errorf("%s: %w", r.Method, err)
	case r.Header.Get("Authorization") != "Bearer "+token || r.Header.Get("X-Scope-OrgID") != "shop":
		return metricstest.Reply{}, errors.New("not signed in")
	case form.Get("query") != "sum(rate(errors[60s]))":
		return metricstest.Reply{}, fmt.Errorf("the query is %q", form.Get("query"))
	}
	kind, result := "vector", []string{}
	for i := range w.Series {
		labels := fmt.Sprintf(`{"metric":{"pod":"%d"},`, i)
		if r.URL.Path == "/api/v1/query" {
			if v := w.Value(w.Now.Truncate(time.Minute).Add(-time.Minute)); !math.IsNaN(v) {
				result = append(result, labels+fmt.Sprintf(`"value":[%d,"%v"]}`, w.Now.Unix(), v))
			}
			continue
		}
		var points []string
		for _, at := range evaluated(form) {
			if v := w.Value(at.Add(-time.Minute)); !math.IsNaN(v) {
				points = append(points, fmt.Sprintf(`[%d,"%v"]`, at.Unix(), v))
			}
		}
		if len(points) > 0 {
			result = append(result, labels+`"values":[`+strings.Join(points, ",")+`]}`)
		}
	}
	switch r.URL.Path {
	case "/api/v1/query":
	case "/api/v1/query_range":
		kind = "matrix"
		if form.Get("step") != "60" {
			return metricstest.Reply{}, fmt.Errorf("the step is %q", form.Get("step"))
		}
	default:
		return metricstest.Reply{}, errors.New("no such path")
	}
	return metricstest.Reply{Body: `{"status":"success","data":{"resultType":"` + kind + `","result":[` + strings.Join(result, ",") + `]}}`}, nil
}

// evaluated are the times from start to end, both included.
func evaluated(form url.Values) []time.Time {
	parse := func(key string) time.Time {
		seconds, _ := strconv.ParseFloat(form.Get(key), 64)
		return time.Unix(int64(seconds), 0)
	}
	var all []time.Time
	for at := parse("start"); !at.After(parse("end")); at = at.Add(time.Minute) {
		all = append(all, at)
	}
	return all
}

// beside puts fields beside the data of an answer.
func beside(fields string) func(metricstest.Reply) metricstest.Reply {
	return func(good metricstest.Reply) metricstest.Reply {
		good.Body = strings.Replace(good.Body, `{"status":"success",`, `{"status":"success",`+fields+`,`, 1)
		return good
	}
}

func TestTheSuiteOfSources(t *testing.T) {
	metricstest.Run(t, metricstest.Vendor{
		New: func(t *testing.T, address string, limits wire.Limits) metrics.Sampler {
			s, err := New(Options{URL: address + "/", Token: token, Headers: map[string]string{"X-Scope-OrgID": "shop"}, Limits: limits})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Query: "sum(rate(errors[$step]))", Secrets: []string{token}, Answer: answer,
		Parts: []func(metricstest.Reply) metricstest.Reply{
			beside(`"isPartial":true`), // VictoriaMetrics
			beside(`"warnings":["receive series from Addr: 10.0.0.1:10901 LabelSets: {replica=\"a\"} MinTime: 0 MaxTime: 9: rpc error: code = Unavailable"]`), // Thanos
			beside(`"warnings":["PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)","remote_read: error sending request: connection refused"]`),
		},
		Remarks: []func(metricstest.Reply) metricstest.Reply{
			beside(`"isPartial":false,"warnings":["PromQL warning: a remark (1:10)"]`),
			beside(`"infos":["PromQL info: a remark"]`),
			beside(`"warnings":["No StoreAPIs matched for this query","PromQL info: a remark"]`),
			beside(`"warnings":["PromQL warning: a remark","2 more warning annotations omitted"]`),
		},
		Refusal: func(words string) metricstest.Reply {
			return metricstest.Reply{Status: 400, Body: `{"status":"error","errorType":"bad_data","error":"` + words + `"}`}
		},
	})
}

func TestALinkLeadsToTheGraph(t *testing.T) {
	at := time.Date(2026, 11, 26, 11, 0, 0, 0, time.UTC)
	r := metrics.Range{Query: `up{a="b c"}`, Start: at, End: at.Add(time.Hour), Step: time.Minute}
	for page, want := range map[string]string{"": "/graph?", "https://seen.example.com/prom/": "https://seen.example.com/prom/graph?"} {
		s := source(t, success("matrix", "[]"), func(o *Options) { o.Page = page })
		s.api = nil // a link needs no question
		got := s.link(r.Query, r)
		query, err := url.ParseQuery(got[strings.Index(got, "?")+1:])
		if err != nil || !strings.Contains(got, want) || query.Get("g0.expr") != r.Query || query.Get("g0.range_input") != "3600s" || query.Get("g0.end_input") != "2026-11-26 12:00:00" {
			t.Errorf("got %s and %v", got, err)
		}
	}
}
