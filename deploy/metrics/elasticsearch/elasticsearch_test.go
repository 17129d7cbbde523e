package elasticsearch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/metricstest"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

const (
	key   = "c2VjcmV0OmVsYXN0aWM="
	text  = "FROM logs-* | WHERE @timestamp >= ?_tstart AND @timestamp < ?_tend | STATS n = COUNT(*) BY t = BUCKET(@timestamp, %s) // per step"
	query = "FROM logs-* | WHERE @timestamp >= ?_tstart AND @timestamp < ?_tend | STATS n = COUNT(*) BY t = BUCKET(@timestamp, $step) // per step"
)

// esql answers with the buckets that begin in [_tstart, _tend).
func esql(w metricstest.World, r *http.Request, body []byte) (metricstest.Reply, error) {
	var q struct {
		Query  string
		Params []map[string]time.Time
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return metricstest.Reply{}, err
	}
	params := map[string]time.Time{}
	for _, p := range q.Params {
		for name, at := range p {
			params[name] = at
		}
	}
	switch {
	case r.Header.Get("Authorization") != "ApiKey "+key:
		return metricstest.Reply{}, errors.New("not signed in")
	case r.Method != http.MethodPost || r.URL.String() != "/_query?allow_partial_results=false" || r.Header.Get("Content-Type") != "application/json":
		return metricstest.Reply{}, fmt.Errorf("%s %s", r.Method, r.URL)
	case q.Query != fmt.Sprintf(text, "60 seconds")+"\n| LIMIT 10000" || len(params) != 2 || len(q.Params) != 2:
		return metricstest.Reply{}, fmt.Errorf("the request is %s", body)
	}
	columns, rows := `{"name":"n","type":"long"},{"name":"t","type":"date"}`, []string{}
	if w.Series > 1 {
		columns += `,{"name":"host.name","type":"keyword"}`
	}
	for i := range w.Series {
		for _, at := range metricstest.Begins(params["_tstart"], params["_tend"], time.Minute) {
			row := fmt.Sprintf(`%s,%q`, metricstest.JSON(w.Value(at)), at.UTC().Format("2006-01-02T15:04:05.000Z"))
			if w.Series > 1 {
				row += fmt.Sprintf(`,"host-%d"`, i)
			}
			rows = append(rows, "["+row+"]")
		}
	}
	return metricstest.Reply{Type: "application/vnd.elasticsearch+json;compatible-with=8",
		Body: `{"took":28,"is_partial":false,"documents_found":5,"columns":[` + columns + `],"values":[` + strings.Join(rows, ",") + `]}`}, nil
}

func made(t *testing.T, address string, limits wire.Limits) *Source {
	t.Helper()
	s, err := New(Options{URL: address, APIKey: key, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheSuiteOfSources(t *testing.T) {
	metricstest.Run(t, metricstest.Vendor{
		New: func(t *testing.T, address string, limits wire.Limits) metrics.Sampler {
			return made(t, address, limits)
		},
		Query: query, Secrets: []string{key}, Answer: esql,
		Refusal: func(words string) metricstest.Reply {
			return metricstest.Reply{Status: 400, Body: `{"error":{"root_cause":[{"type":"parsing_exception","reason":"…"}],"type":"parsing_exception","reason":"line 1:1: ` + words + `"},"status":400}`}
		},
	})
}

func TestAnAnswerNeedsTimesAndOneNumber(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	column := func(types ...string) string {
		var all []string
		for i, kind := range types {
			all = append(all, fmt.Sprintf(`{"name":"c%d","type":"%s"}`, i, kind))
		}
		return `{"columns":[` + strings.Join(all, ",") + `],"values":`
	}
	for name, tt := range map[string]struct{ body, want string }{
		"no times":            {column("long") + `[[1]]}`, "no column of times"},
		"no numbers":          {column("date", "keyword") + `[]}`, "no column of numbers"},
		"two numbers":         {column("date", "long", "double") + `[]}`, "2 numbers"},
		"a row that is short": {column("date", "long") + `[["2027-01-15T08:00:00Z"]]}`, "not as its columns say"},
		"rows of one step":    {column("date", "long") + `[["2027-01-15T08:00:00Z",1],["2027-01-15T08:00:30Z",2]]}`, "more than one value for a step"},
		"a part of the truth": {`{"is_partial":true,"columns":[],"values":[]}`, "parts of the indices"},
	} {
		s := made(t, metricstest.Serve(t, metricstest.Reply{Body: tt.body}), wire.Limits{Now: func() time.Time { return at.Add(time.Hour) }})
		_, err := s.Samples(t.Context(), metrics.Range{Query: "q", Start: at, End: at.Add(time.Minute), Step: time.Minute})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{}, {URL: "a:9200"}, {URL: "http://ada:pw@a"}, {URL: "http://a", APIKey: "k", Username: "ada"}} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "pw@") {
			t.Errorf("got %v", err)
		}
	}
}
