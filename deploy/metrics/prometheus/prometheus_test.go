package prometheus

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

const (
	token  = "secret-token-of-prometheus"
	sample = `{"metric":{"job":"shop"},"value":[1435781451.781,"%s"]}`
)

// quick asks again at once.
var quick = wire.Limits{Pause: time.Millisecond, PerSecond: 1e6}

// double answers every query alike, in the form of the API's documentation, and keeps the requests.
type double struct {
	status   int
	body     string
	requests []*http.Request
	queries  []string
}

func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.requests = append(d.requests, r)
	d.queries = append(d.queries, r.FormValue("query"))
	if r.URL.Path != "/api/v1/query" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(d.status)
	fmt.Fprint(w, d.body)
}

func success(kind, result string) *double {
	return &double{status: http.StatusOK, body: `{"status":"success","data":{"resultType":"` + kind + `","result":` + result + `}}`}
}

func refused(status int, kind, words string) *double {
	return &double{status: status, body: `{"status":"error","errorType":"` + kind + `","error":"` + words + `"}`}
}

func source(t *testing.T, h http.Handler, change ...func(*Options)) *Source {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	o := Options{URL: server.URL, Limits: quick}
	for _, f := range change {
		f(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAQueryGivesOneNumber(t *testing.T) {
	one := func(v string) string { return "[" + fmt.Sprintf(sample, v) + "]" }
	tests := []struct {
		name   string
		answer *double
		want   float64
	}{
		{"a vector of one sample", success("vector", one("0.034")), 0.034},
		{"a scalar", success("scalar", `[1435781451.781,"7"]`), 7},
		{"a sample that is not a number", success("vector", one("NaN")), math.NaN()},
		{"an infinite sample", success("vector", one("+Inf")), math.Inf(1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := source(t, tt.answer).Number(t.Context(), `sum(rate(errors{job="shop"}[5m]))`)
			if err != nil || !(got == tt.want || math.IsNaN(got) && math.IsNaN(tt.want)) {
				t.Errorf("got %v and %v, want %v", got, err, tt.want)
			}
			if diff := cmp.Diff([]string{`sum(rate(errors{job="shop"}[5m]))`}, tt.answer.queries); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnAnswerThatIsNotOneNumberIsNoError(t *testing.T) {
	two := "[" + fmt.Sprintf(sample, "1") + "," + fmt.Sprintf(sample, "2") + "]"
	for want, answer := range map[int]*double{0: success("vector", "[]"), 2: success("vector", two)} {
		_, err := source(t, answer).Number(t.Context(), "up")
		var not *metrics.NotOneError
		if !errors.As(err, &not) || not.Got != want {
			t.Errorf("got %v, want %d numbers", err, want)
		}
	}
}

func TestAFailureSaysWhyAndWhetherToAskAgain(t *testing.T) {
	tests := []struct {
		name      string
		answer    *double
		permanent bool
		says      string
	}{
		{"a query that is none", refused(400, "bad_data", `invalid parameter \"query\": 1:3: parse error: unexpected end of input`), true, "does not take the query: invalid parameter"},
		{"a query that fails", refused(422, "execution", "query processing would load too many samples"), false, "too many samples"},
		{"a Prometheus that starts", &double{status: 503, body: "Service Unavailable"}, false, "503"},
		{"credentials that are wrong", &double{status: 401, body: "Unauthorized"}, false, "401"},
		{"a path that is wrong", &double{status: 404, body: "not found"}, true, "404"},
		{"asked too often", &double{status: 429, body: "slow down"}, false, "429"},
		{"a login page", &double{status: 200, body: "<html>Sign in</html>"}, true, "is no Prometheus"},
		{"a redirect", &double{status: 302, body: ""}, true, "is no Prometheus"},
		{"a range of numbers", success("matrix", `[{"metric":{},"values":[[1,"1"],[2,"2"]]}]`), true, "but a matrix"},
		{"a histogram", success("vector", `[{"metric":{},"histogram":[1,{"count":"1","sum":"2","buckets":[[0,"1","2","1"]]}]}]`), true, "histogram"},
		{"an answer without end", success("vector", "["+strings.Repeat(" ", wire.MaxAnswer+1)+"]"), true, "larger than Slipway reads"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := source(t, tt.answer, func(o *Options) { o.Token = token })
			_, err := s.Number(t.Context(), "up")
			var f *metrics.Failure
			if !errors.As(err, &f) || f.Permanent != tt.permanent || !strings.Contains(f.Words, tt.says) {
				t.Errorf("got %#v, want it to say %q", err, tt.says)
			}
			if err != nil && strings.Contains(err.Error(), token) {
				t.Errorf("the token is in %v", err)
			}
		})
	}
}

func TestAPrometheusThatIsNotThereIsAskedAgainLater(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // with the body unread the server does not see that the client is gone
		<-r.Context().Done()
	}))
	defer slow.Close()
	for words, o := range map[string]Options{
		"connection refused": {URL: gone.URL}, "in time": {URL: slow.URL, Limits: wire.Limits{Timeout: 50 * time.Millisecond}}, "name is not found": {URL: "http://prometheus.invalid"},
	} {
		o.Limits.Pause, o.Limits.Tries = quick.Pause, 2
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Number(t.Context(), "up")
		var f *metrics.Failure
		if !errors.As(err, &f) || f.Permanent || !strings.Contains(f.Words, words) {
			t.Errorf("got %v, want %q", err, words)
		}
	}
}

func TestQueriesAreSignedIn(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Options)
		want   map[string]string
	}{
		{"with a token", func(o *Options) { o.Token = token }, map[string]string{"Authorization": "Bearer " + token, "User-Agent": "slipway"}},
		{"with a password", func(o *Options) { o.Username, o.Password = "ada", "pw" }, map[string]string{"Authorization": "Basic YWRhOnB3"}},
		{"with headers", func(o *Options) { o.Headers = map[string]string{"X-Scope-OrgID": "shop"} }, map[string]string{"X-Scope-OrgID": "shop", "Authorization": ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := success("scalar", `[1,"1"]`)
			if _, err := source(t, d, tt.change).Number(t.Context(), "1"); err != nil {
				t.Fatal(err)
			}
			for name, want := range tt.want {
				if got := d.requests[0].Header.Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestAProxyThatTakesNoPOSTIsAskedByGET(t *testing.T) {
	d := success("scalar", `[1,"3"]`)
	s := source(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		d.ServeHTTP(w, r)
	}))
	if got, err := s.Number(t.Context(), "3"); err != nil || got != 3 {
		t.Errorf("got %v and %v", got, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{}, {URL: "prometheus:9090"}, {URL: "ftp://a"}, {URL: "http://ada:pw@a"}, {URL: "http://a", Token: "t", Username: "ada"},
		{URL: "http://a?x=1"}, {URL: "http://a", Page: "ada"}, {URL: "http://a", Headers: map[string]string{"X": "a\nb"}},
	} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "pw@") && !strings.Contains(err.Error(), "must not") {
			t.Errorf("%+v: got %v", o, err)
		}
	}
}
