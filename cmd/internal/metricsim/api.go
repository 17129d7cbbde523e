package metricsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// metric is what a query asks for.
type metric int

const (
	requestsOf metric = iota
	errorsOf
	latencyOf
)

// query is one that is understood.
type query struct {
	metric         metric
	track, version string
}

const (
	of = `app="shop",track="(baseline|canary)",version="([A-Za-z0-9._-]{1,63})"`
	// maxPoints is Prometheus' own bound.
	maxPoints = 11_000
)

// known are the queries that are understood: the demo's, over one second.
var known = map[metric]*regexp.Regexp{
	requestsOf: regexp.MustCompile(`^sum\(increase\(http_requests_total\{` + of + `\}\[1s\]\)\)$`),
	errorsOf:   regexp.MustCompile(`^sum\(increase\(http_requests_total\{` + of + `,code=~"5\.\."\}\[1s\]\)\)$`),
	latencyOf:  regexp.MustCompile(`^histogram_quantile\(0\.99, sum by \(le\) \(rate\(http_seconds_bucket\{` + of + `\}\[1s\]\)\)\)$`),
}

// parse understands a query, or says in words that it doesn't.
func parse(text string) (query, error) {
	for m, pattern := range known {
		if found := pattern.FindStringSubmatch(text); found != nil {
			return query{m, found[1], found[2]}, nil
		}
	}
	return query{}, fmt.Errorf("this simulated Prometheus knows requests, errors and latency of the shop's baseline and canary, over 1s, and not %.200q", text)
}

func (s *Sim) handler() http.Handler {
	mux := http.NewServeMux()
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		mux.HandleFunc(method+" /api/v1/query", s.answer(s.instant))
		mux.HandleFunc(method+" /api/v1/query_range", s.answer(s.overTime))
	}
	return mux
}

// answer sends what do gives as Prometheus would. An error is one of the question.
func (s *Sim) answer(do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		s.wait(r.Context())
		reply := map[string]any{"status": "success"}
		data, err := do(r)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			reply = map[string]any{"status": "error", "errorType": "bad_data", "error": err.Error()}
			w.WriteHeader(http.StatusBadRequest)
		} else {
			reply["data"] = data
		}
		_ = json.NewEncoder(w).Encode(reply) // the reader may have gone
	}
}

// pair is a sample as Prometheus writes it: its time, and its value as a text.
func pair(at time.Time, value float64) [2]any {
	return [2]any{float64(at.UnixMilli()) / 1000, strconv.FormatFloat(value, 'g', -1, 64)}
}

func (s *Sim) instant(r *http.Request) (any, error) {
	q, err := parse(r.FormValue("query"))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	at := now
	if r.FormValue("time") != "" {
		if at, err = moment(r, "time"); err != nil {
			return nil, err
		}
	}
	result := []any{}
	if v, ok := s.sample(q, at, now); ok {
		result = append(result, map[string]any{"metric": map[string]string{}, "value": pair(at, v)})
	}
	return map[string]any{"resultType": "vector", "result": result}, nil
}

func (s *Sim) overTime(r *http.Request) (any, error) {
	q, err := parse(r.FormValue("query"))
	if err != nil {
		return nil, err
	}
	start, err := moment(r, "start")
	if err != nil {
		return nil, err
	}
	end, err := moment(r, "end")
	if err != nil {
		return nil, err
	}
	seconds, err := strconv.ParseFloat(r.FormValue("step"), 64)
	step := time.Duration(seconds * float64(time.Second))
	switch {
	case err != nil || step <= 0:
		return nil, fmt.Errorf(`invalid parameter "step": %.50q is no number of seconds`, r.FormValue("step"))
	case end.Before(start):
		return nil, errors.New(`invalid parameter "end": end timestamp must not be before start time`)
	case end.Sub(start)/step > maxPoints:
		return nil, fmt.Errorf("there would be more than %d points", maxPoints)
	}
	now, values := time.Now(), [][2]any{}
	for at := start; !at.After(end); at = at.Add(step) {
		if v, ok := s.sample(q, at, now); ok {
			values = append(values, pair(at, v))
		}
	}
	result := []any{}
	if len(values) > 0 {
		result = append(result, map[string]any{"metric": map[string]string{}, "values": values})
	}
	return map[string]any{"resultType": "matrix", "result": result}, nil
}

// moment reads a time: seconds since 1970, or as RFC 3339 has it.
func moment(r *http.Request, name string) (time.Time, error) {
	text := r.FormValue(name)
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 && seconds < 1e11 {
		return time.UnixMilli(int64(seconds * 1000)), nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid parameter %q: %.50q is no time", name, text)
	}
	return at, nil
}
