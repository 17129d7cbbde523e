package graphite

import (
	"errors"
	"fmt"
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

const password = "secret-of-graphite"

// render answers with the intervals after from and up to until.
func render(w metricstest.World, r *http.Request, body []byte) (metricstest.Reply, error) {
	form, err := url.ParseQuery(string(body))
	from, err1 := strconv.ParseInt(form.Get("from"), 10, 64)
	until, err2 := strconv.ParseInt(form.Get("until"), 10, 64)
	if err = errors.Join(err, err1, err2); err != nil {
		return metricstest.Reply{}, err
	}
	switch user, pw, _ := r.BasicAuth(); {
	case user != "ada" || pw != password:
		return metricstest.Reply{}, errors.New("not signed in")
	case r.Method != http.MethodPost || r.URL.String() != "/render" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || form.Get("format") != "json":
		return metricstest.Reply{}, fmt.Errorf("%s %s", r.Method, r.URL)
	case form.Get("target") != `summarize(sumSeries(shop.*.errors), "60s", "sum")`:
		return metricstest.Reply{}, errors.New("the target is " + form.Get("target"))
	}
	var all []string
	for i := range w.Series {
		var points []string
		for _, at := range metricstest.Begins(time.Unix(from+1, 0), time.Unix(until+1, 0), time.Minute) {
			points = append(points, fmt.Sprintf("[%s, %d]", metricstest.JSON(w.Value(at)), at.Unix()))
		}
		all = append(all, fmt.Sprintf(`{"target": "series %d", "tags": {"name": "x"}, "datapoints": [%s]}`, i, strings.Join(points, ", ")))
	}
	return metricstest.Reply{Body: "[" + strings.Join(all, ", ") + "]"}, nil
}

func TestTheSuiteOfSources(t *testing.T) {
	metricstest.Run(t, metricstest.Vendor{
		New: func(t *testing.T, address string, limits wire.Limits) metrics.Sampler {
			s, err := New(Options{URL: address + "/", Username: "ada", Password: password, Limits: limits})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Query: `summarize(sumSeries(shop.*.errors), "$step", "sum")`, Secrets: []string{password, "YWRhOnNlY3Jl"}, Answer: render,
		Refusal: func(words string) metricstest.Reply {
			return metricstest.Reply{Status: 400, Type: "text/plain", Body: strings.ReplaceAll(words, `\u0007`, "\a")}
		},
	})
}

func TestFinerIntervalsAreNotPutTogetherByChance(t *testing.T) {
	at := time.Date(2026, 11, 26, 11, 0, 0, 0, time.UTC)
	s, err := New(Options{URL: metricstest.Serve(t, metricstest.Reply{Body: fmt.Sprintf(`[{"datapoints": [[1, %d], [2, %d]]}]`, at.Unix(), at.Unix()+10)})})
	if err != nil {
		t.Fatal(err)
	}
	var f *metrics.Failure
	if _, err := s.Samples(t.Context(), metrics.Range{Query: "a", Start: at, End: at.Add(time.Hour), Step: time.Minute}); !errors.As(err, &f) || !strings.Contains(f.Words, "summarize(") {
		t.Errorf("got %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{}, {URL: "graphite"}, {URL: "http://ada:pw@a"}, {URL: "http://a", Token: "t", Username: "ada"}} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "pw@") {
			t.Errorf("got %v", err)
		}
	}
}
