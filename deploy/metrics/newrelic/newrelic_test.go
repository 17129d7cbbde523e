package newrelic

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

const key = "NRAK-SECRETSECRETSECRET"

// nerdGraph answers with the buckets that begin in [since, until).
func nerdGraph(w metricstest.World, r *http.Request, body []byte) (metricstest.Reply, error) {
	var q struct {
		Query     string
		Variables struct {
			Account int64
			NRQL    string
		}
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return metricstest.Reply{}, err
	}
	var since, until int64
	_, err := fmt.Sscanf(q.Variables.NRQL, "SELECT count(*) FROM Transaction\nSINCE %d UNTIL %d TIMESERIES 60 seconds", &since, &until)
	switch {
	case err != nil:
		return metricstest.Reply{}, fmt.Errorf("the query is %s", q.Variables.NRQL)
	case r.Method != http.MethodPost || r.URL.String() != "/graphql" || r.Header.Get("API-Key") != key || r.Header.Get("Content-Type") != "application/json":
		return metricstest.Reply{}, fmt.Errorf("%s %s", r.Method, r.URL)
	case !strings.Contains(q.Query, "account(id: $account)") || q.Variables.Account != 42 || until-since > maxBuckets*60_000:
		return metricstest.Reply{}, fmt.Errorf("the request is %s", body)
	}
	var results []string
	for i := range w.Series {
		for _, at := range metricstest.Begins(time.UnixMilli(since), time.UnixMilli(until), time.Minute) {
			facet := ""
			if w.Series > 1 {
				facet = fmt.Sprintf(`"facet":"host%d","host":"host%d",`, i, i)
			}
			results = append(results, fmt.Sprintf(`{%s"beginTimeSeconds":%d,"endTimeSeconds":%d,"count":%s}`, facet, at.Unix(), at.Unix()+60, metricstest.JSON(w.Value(at))))
		}
	}
	return metricstest.Reply{Type: "application/json; charset=utf-8", Body: `{"data":{"actor":{"account":{"nrql":{"results":[` + strings.Join(results, ",") + `]}}}}}`}, nil
}

func made(t *testing.T, address string, limits wire.Limits) *Source {
	t.Helper()
	s, err := New(Options{URL: address, Account: 42, Key: key, Limits: limits})
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
		Query: "SELECT count(*) FROM Transaction", Secrets: []string{key}, Answer: nerdGraph,
		Refusal: func(words string) metricstest.Reply { // NerdGraph answers 200 to all that it understands as GraphQL
			return metricstest.Reply{Body: `{"data":{"actor":{"account":{"nrql":null}}},"errors":[{"locations":[{"column":1,"line":1}],"message":"NRQL Syntax Error: ` + words +
				`","path":["actor","account","nrql"],"extensions":{"errorClass":"INVALID_INPUT"}}]}`}
		},
	})
}

func ask(t *testing.T, body string) ([]float64, error) {
	t.Helper()
	at := time.Unix(1_800_000_000, 0)
	s := made(t, metricstest.Serve(t, metricstest.Reply{Body: body}), wire.Limits{Tries: 2, Pause: time.Millisecond, Now: func() time.Time { return at.Add(time.Hour) }})
	got, err := s.Samples(t.Context(), metrics.Range{Query: "q", Start: at, End: at.Add(time.Minute), Step: time.Minute})
	return got.Values, err
}

func results(row string) string {
	return `{"data":{"actor":{"account":{"nrql":{"results":[{"beginTimeSeconds":1800000000,` + row + `}]}}}}}`
}

func TestWhatIsSelectedIsOneNumber(t *testing.T) {
	for row, want := range map[string]float64{`"percentile.duration":{"95":0.25}`: 0.25, `"score":0.96`: 0.96, `"appName":"shop","count":3`: 3, `"facet":"shop","count":4`: 4} {
		if got, err := ask(t, results(row)); err != nil || got[0] != want {
			t.Errorf("%s: got %v and %v", row, got, err)
		}
	}
	for _, row := range []string{`"count":1,"sum":2`, `"percentile.duration":{"95":1,"99":2}`} {
		var not *metrics.NotOneError
		if _, err := ask(t, results(row)); !errors.As(err, &not) || not.Got != 2 {
			t.Errorf("%s: got %v", row, err)
		}
	}
}

func TestATroubleWithStatus200IsAskedAgain(t *testing.T) {
	for _, class := range []string{"TIMEOUT", "SERVER_ERROR", "TOO_MANY_REQUESTS"} {
		var f *metrics.Failure
		if _, err := ask(t, `{"data":{"actor":{"account":{"nrql":null}}},"errors":[{"message":"slow","extensions":{"errorClass":"`+class+`"}}]}`); !errors.As(err, &f) || f.Permanent || !strings.Contains(f.Words, "trouble of its own: slow") {
			t.Errorf("%s: got %v", class, err)
		}
	}
}

func TestALongRangeIsAskedInParts(t *testing.T) {
	asked := 0
	w := metricstest.World{Series: 1, Value: func(at time.Time) float64 { return float64(at.Unix()) }}
	address := metricstest.ServeFunc(t, func(r *http.Request, body []byte) metricstest.Reply {
		asked++
		reply, err := nerdGraph(w, r, body)
		if err != nil {
			t.Error(err)
		}
		return reply
	})
	at := time.Unix(1_800_000_000, 0)
	s := made(t, address, wire.Limits{Now: func() time.Time { return at.AddDate(0, 0, 7) }})
	got, err := s.Samples(t.Context(), metrics.Range{Query: "SELECT count(*) FROM Transaction", Start: at, End: at.Add(24 * time.Hour), Step: time.Minute})
	if err != nil || asked != 4 {
		t.Fatalf("%d questions, %v", asked, err)
	}
	for i, v := range got.Values {
		if v != float64(at.Unix()+int64(i)*60) {
			t.Fatalf("step %d: got %v", i, v)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]Options{
		"are required": {Account: 1}, "number of an account": {Key: key}, "must begin with https": {Account: 1, Key: key, URL: "http://a"},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), key) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
