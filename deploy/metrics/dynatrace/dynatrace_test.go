package dynatrace

import (
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

const token = "dt0c01.SECRETOFDYNATRACE"

// query answers with the slots that touch the timeframe, each called by its end.
func query(w metricstest.World, r *http.Request, _ []byte) (metricstest.Reply, error) {
	q := r.URL.Query()
	from, err1 := strconv.ParseInt(q.Get("from"), 10, 64)
	to, err2 := strconv.ParseInt(q.Get("to"), 10, 64)
	switch err := errors.Join(err1, err2); {
	case err != nil:
		return metricstest.Reply{}, err
	case r.Header.Get("Authorization") != "Api-Token "+token:
		return metricstest.Reply{}, errors.New("not signed in")
	case r.Method != http.MethodGet || r.URL.Path != "/e/abc/api/v2/metrics/query" || q.Get("resolution") != "1m" || q.Get("metricSelector") != "shop.errors:splitBy():sum" || len(q) != 4:
		return metricstest.Reply{}, fmt.Errorf("%s %s", r.Method, r.URL)
	}
	var data []string
	for i := range w.Series {
		var times, values []string
		for _, at := range metricstest.Begins(time.UnixMilli(from).Add(-time.Minute), time.UnixMilli(to).Add(time.Minute), time.Minute) {
			times, values = append(times, fmt.Sprint(at.Add(time.Minute).UnixMilli())), append(values, metricstest.JSON(w.Value(at)))
		}
		data = append(data, fmt.Sprintf(`{"dimensions":["HOST-%d"],"dimensionMap":{"dt.entity.host":"HOST-%d"},"timestamps":[%s],"values":[%s]}`,
			i, i, strings.Join(times, ","), strings.Join(values, ",")))
	}
	return metricstest.Reply{Type: "application/json; charset=utf-8", Body: fmt.Sprintf(
		`{"totalCount":%d,"nextPageKey":null,"resolution":"1m","result":[{"metricId":"shop.errors:splitBy():sum","dataPointCountRatio":1.0E-6,"data":[%s]}]}`,
		w.Series, strings.Join(data, ","))}, nil
}

func made(t *testing.T, address string, limits wire.Limits) *Source {
	t.Helper()
	s, err := New(Options{URL: address, Token: token, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheSuiteOfSources(t *testing.T) {
	metricstest.Run(t, metricstest.Vendor{
		New: func(t *testing.T, address string, limits wire.Limits) metrics.Sampler {
			return made(t, address+"/e/abc/", limits)
		},
		Query: "shop.errors:splitBy():sum", Secrets: []string{token}, Answer: query,
		Refusal: func(words string) metricstest.Reply {
			return metricstest.Reply{Status: 400, Body: `{"error":{"code":400,"message":"Constraints violated.","constraintViolations":[{"path":"metricSelector","message":"` + words + `"}]}}`}
		},
	})
}

func TestWhatDynatraceCannotTellIsSaid(t *testing.T) {
	at := time.Date(2026, 11, 26, 11, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		body string
		step time.Duration
		want string
	}{
		"steps of seconds":        {``, 30 * time.Second, "whole minutes, and the step is 30s"},
		"slots of another length": {`{"resolution":"5m","result":[{"data":[{"timestamps":[1],"values":[1]}]}]}`, time.Minute, "no values of 1m0s, but of 5m"},
		"an aggregate of it all":  {`{"resolution":"Inf","result":[{"data":[{"timestamps":[1],"values":[1]}]}]}`, time.Minute, "but of Inf"},
		"values without times":    {`{"resolution":"1m","result":[{"data":[{"timestamps":[],"values":[1]}]}]}`, time.Minute, "not alike in number"},
	} {
		s := made(t, metricstest.Serve(t, metricstest.Reply{Body: tt.body}), wire.Limits{})
		_, err := s.Samples(t.Context(), metrics.Range{Query: "a", Start: at, End: at.Add(time.Hour), Step: tt.step})
		var f *metrics.Failure
		if !errors.As(err, &f) || !f.Permanent || !strings.Contains(f.Words, tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	for resolution, want := range map[string]time.Duration{"1m": time.Minute, "2h": 2 * time.Hour, "1d": 24 * time.Hour, "90m": 90 * time.Minute} {
		if !sameLength(resolution, want) || sameLength(resolution, want+time.Minute) {
			t.Errorf("%s is not %s", resolution, want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for want, o := range map[string]Options{
		"access token is required": {URL: "https://a"}, "must begin with https": {URL: "http://a", Token: token}, "not an http or https": {Token: token},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), token) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
