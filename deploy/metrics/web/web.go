// Package web asks any HTTP service that answers with JSON: the operator gives the address or body with placeholders,
// and says where in the answer the values are, and their times.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

// Stamps says which moment of its step a value's time is.
type Stamps string

// The two ways to write a time on what lasts.
const (
	Begin Stamps = "begin"
	End   Stamps = "end"
)

// Options for New. URL and Values are required.
//
// In URL and Body, $query stands for the query, $start and $end for the bounds of the time in Unix seconds ($start_ms
// and $end_ms in milliseconds, $start_iso and $end_iso as in RFC 3339), and $step for the length of a step in seconds
// ($step_ms in milliseconds, $step_duration as in 60s). In the URL they are escaped; in Body, $query is escaped for the inside of a JSON string.
// The query itself may contain all but $query.
type Options struct {
	URL     string
	Method  string // GET or POST; GET where "", and POST where there is a Body
	Body    string // JSON
	Headers map[string]string
	// Token is sent as a bearer token; Username and Password instead of it.
	Token, Username, Password string
	Values                    string // a path such as /data/*/value; see Path
	Times                     string // "" if there is one value for each step, in order
	Stamps                    Stamps // Begin where ""
	Limits                    wire.Limits
}

// Source is one service. It may be used concurrently.
type Source struct {
	o             Options
	wire          *wire.Client
	values, times path
}

var _ metrics.Sampler = (*Source)(nil)

// New makes a source. It asks nothing yet.
func New(o Options) (*Source, error) {
	if o.Method == "" {
		o.Method = http.MethodGet
		if o.Body != "" {
			o.Method = http.MethodPost
		}
	}
	if o.Stamps == "" {
		o.Stamps = Begin
	}
	values, err := parsePath(o.Values)
	if err != nil || o.Values == "" {
		return nil, fmt.Errorf("web: the path of the values %q does not begin with a slash", o.Values)
	}
	times, err := parsePath(o.Times)
	if err != nil {
		return nil, fmt.Errorf("web: the path of the times %q does not begin with a slash", o.Times)
	}
	switch {
	case o.Method != http.MethodGet && o.Method != http.MethodPost:
		return nil, fmt.Errorf("web: the method is GET or POST, not %q", o.Method)
	case o.Method == http.MethodGet && o.Body != "":
		return nil, errors.New("web: a GET has no body")
	case o.Stamps != Begin && o.Stamps != End:
		return nil, fmt.Errorf("web: timestamps are of the begin or the end of a step, not %q", o.Stamps)
	case o.Token != "" && (o.Username != "" || o.Password != ""):
		return nil, errors.New("web: a token and a username with password exclude each other")
	case o.Body != "" && !json.Valid([]byte(fill(o.Body, filled(metrics.Range{}), inJSON))):
		return nil, errors.New("web: the body is no JSON when its placeholders are filled in")
	}
	u, err := url.Parse(o.URL)
	if err != nil || strings.Contains(u.Host, "$") || u.Fragment != "" || u.User != nil {
		return nil, errors.New("web: the address is not valid, has a password, or a placeholder in its host")
	}
	header, secrets := maps.Clone(o.Headers), slices.Collect(maps.Values(o.Headers))
	if header == nil {
		header = map[string]string{}
	}
	secrets = append(secrets, wire.SignIn(header, o.Token, o.Username, o.Password)...)
	w, err := wire.New(wire.Options{
		System: "the web source", URL: u.Scheme + "://" + u.Host, Header: header, Secrets: secrets, Limits: o.Limits,
	})
	if err != nil {
		return nil, err
	}
	return &Source{o: o, wire: w, values: values, times: times}, nil
}

// Number is the value of the newest whole minute of the last fifteen that has one.
func (s *Source) Number(ctx context.Context, query string) (float64, error) {
	return s.wire.Newest(ctx, query, s.Samples)
}

// Samples takes the text that stands for $query.
func (s *Source) Samples(ctx context.Context, r metrics.Range) (metrics.Samples, error) {
	return s.wire.Samples(ctx, r, func(ctx context.Context, r metrics.Range, g *wire.Grid) (string, error) {
		var answer any
		if err := s.wire.JSON(ctx, s.question(r), &answer); err != nil {
			return "", err
		}
		return "", s.read(answer, r, g)
	})
}

func (s *Source) question(r metrics.Range) wire.Question {
	values := filled(r)
	q := wire.Question{Method: s.o.Method}
	if s.o.Body != "" {
		q.Body = []byte(fill(s.o.Body, values, inJSON))
	}
	_, rest, _ := strings.Cut(s.o.URL, "://")
	if slash := strings.IndexAny(rest, "/?"); slash >= 0 {
		path, query, asks := strings.Cut(rest[slash:], "?")
		q.Path = fill(path, values, url.PathEscape)
		if asks {
			q.Path += "?" + fill(query, values, url.QueryEscape)
		}
	}
	return q
}

// filled are the placeholders' values.
func filled(r metrics.Range) map[string]string {
	values := map[string]string{
		"$start": strconv.FormatInt(r.Start.Unix(), 10), "$end": strconv.FormatInt(r.End.Unix(), 10), "$step": wire.Seconds(r.Step), "$step_duration": wire.Seconds(r.Step) + "s",
		"$start_ms": wire.Millis(r.Start), "$end_ms": wire.Millis(r.End), "$step_ms": strconv.FormatInt(r.Step.Milliseconds(), 10),
		"$start_iso": r.Start.UTC().Format(time.RFC3339), "$end_iso": r.End.UTC().Format(time.RFC3339),
	}
	values["$query"] = wire.Fill(r.Query, values)
	return values
}

func fill(template string, values map[string]string, escape func(string) string) string {
	escaped := map[string]string{}
	for name, value := range values {
		escaped[name] = escape(value)
	}
	return wire.Fill(template, escaped)
}

// inJSON escapes for the inside of a string.
func inJSON(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		return ""
	}
	return string(quoted[1 : len(quoted)-1])
}

// read puts the answer's values on the grid.
func (s *Source) read(answer any, r metrics.Range, g *wire.Grid) error {
	values, found := s.values.all(answer)
	if !found {
		return s.wire.Strange(fmt.Errorf("the answer has nothing at %s", s.o.Values))
	}
	if s.o.Times == "" {
		return s.inOrder(values, r, g)
	}
	times, found := s.times.all(answer)
	if !found || len(times) != len(values) {
		return s.wire.Strange(fmt.Errorf("the answer has %d values at %s and %d times at %s", len(values), s.o.Values, len(times), s.o.Times))
	}
	for i := range values {
		value, ok := number(values[i])
		at, known := moment(times[i])
		if !ok || !known {
			return s.wire.Strange(fmt.Errorf("the %dth value is no number, or has no time", i+1))
		}
		if s.o.Stamps == End {
			at = at.Add(-r.Step)
		}
		if !g.Put(at, value) {
			return s.wire.Several(r, "let it aggregate them, or answer with one series")
		}
	}
	return nil
}

// inOrder takes values without times: none at all, or one for each step.
func (s *Source) inOrder(values []any, r metrics.Range, g *wire.Grid) error {
	if len(values) == 0 {
		return nil
	}
	if len(values) != r.Points() {
		return s.wire.Strange(fmt.Errorf("the answer has %d values without times, and %d steps were asked for", len(values), r.Points()))
	}
	for i, v := range values {
		value, ok := number(v)
		if !ok {
			return s.wire.Strange(fmt.Errorf("the %dth value is no number", i+1))
		}
		g.Put(r.Start.Add(time.Duration(i)*r.Step), value)
	}
	return nil
}

// number takes numbers, null, and texts that are numbers.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case nil:
		return math.NaN(), true
	case float64:
		return v, true
	case string:
		var n wire.Number
		err := n.UnmarshalJSON([]byte(v))
		return float64(n), err == nil
	}
	return 0, false
}

// moment takes Unix seconds or milliseconds, whichever they can be, and texts as in RFC 3339.
func moment(v any) (time.Time, bool) {
	const secondsEnd = 1e11 // in seconds, the year 5138; in milliseconds, 1973
	switch v := v.(type) {
	case float64:
		if math.Abs(v) >= 1e15 {
			return time.Time{}, false
		}
		if v >= secondsEnd {
			v /= 1000
		}
		return time.UnixMilli(int64(v * 1000)), true
	case string:
		at, err := time.Parse(time.RFC3339, v)
		return at, err == nil
	}
	return time.Time{}, false
}
