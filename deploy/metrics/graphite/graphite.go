// Package graphite asks a Graphite, or what answers like one (carbonapi, VictoriaMetrics), by its render API.
//
// A point's time is the begin of the interval that its value is for: carbon puts what it receives into the interval that
// the time falls into, and summarize() names its intervals by their begin. The bounds of a question are not treated
// alike: from is excluded, until is included.
//
// Sources: https://graphite.readthedocs.io/en/stable/render_api.html,
// https://graphite.readthedocs.io/en/stable/functions.html#graphite.render.functions.summarize
package graphite

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

// Options for New. Only URL is required.
type Options struct {
	URL string // without /render
	// Token is sent as a bearer token; Username and Password instead of it.
	Token, Username, Password string
	Headers                   map[string]string
	Limits                    wire.Limits
}

// Source is one Graphite. It may be used concurrently.
type Source struct {
	wire *wire.Client
	url  string
}

var _ metrics.Sampler = (*Source)(nil)

// New makes a source. It asks nothing yet.
func New(o Options) (*Source, error) {
	if o.Token != "" && (o.Username != "" || o.Password != "") {
		return nil, errors.New("graphite: a token and a username with password exclude each other")
	}
	header, secrets := maps.Clone(o.Headers), slices.Collect(maps.Values(o.Headers))
	if header == nil {
		header = map[string]string{}
	}
	secrets = append(secrets, wire.SignIn(header, o.Token, o.Username, o.Password)...)
	w, err := wire.New(wire.Options{System: "Graphite", URL: o.URL, Header: header, Secrets: secrets, Limits: o.Limits})
	if err != nil {
		return nil, err
	}
	return &Source{wire: w, url: o.URL}, nil
}

// Number is the value of the newest whole minute of the last fifteen that has one.
func (s *Source) Number(ctx context.Context, query string) (float64, error) {
	return s.wire.Newest(ctx, query, s.Samples)
}

// Samples takes a target that is one series. $step stands for the length of a step, such as 60s, and where the storage
// keeps finer intervals the target has to say how they are put together: summarize(…, "$step", "sum").
func (s *Source) Samples(ctx context.Context, r metrics.Range) (metrics.Samples, error) {
	return s.wire.Samples(ctx, r, func(ctx context.Context, r metrics.Range, g *wire.Grid) (string, error) {
		form := url.Values{
			"target": {wire.Fill(r.Query, map[string]string{"$step": wire.Seconds(r.Step) + "s"})}, "format": {"json"},
			"from": {strconv.FormatInt(r.Start.Unix()-1, 10)}, "until": {strconv.FormatInt(r.End.Unix()-1, 10)},
		}
		var answer []struct {
			Target     string
			Datapoints [][2]wire.Number
		}
		err := s.wire.JSON(ctx, wire.Question{
			Method: http.MethodPost, Path: "/render", Body: []byte(form.Encode()), Type: "application/x-www-form-urlencoded",
		}, &answer)
		if err != nil {
			return "", err
		}
		if len(answer) > 1 {
			return "", &metrics.NotOneError{Got: len(answer)}
		}
		for _, series := range answer {
			for _, point := range series.Datapoints {
				if !g.Put(time.Unix(int64(point[1]), 0), float64(point[0])) {
					return "", s.wire.Several(r, `put summarize(…, "$step", "sum") or the like around the target`)
				}
			}
		}
		return "", nil
	})
}
