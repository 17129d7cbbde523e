// Package prometheus asks a Prometheus, or what answers like one (Thanos, Mimir, VictoriaMetrics), by its HTTP API.
//
// Source: https://prometheus.io/docs/prometheus/latest/querying/api/
package prometheus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

// Options for New. Only URL is required.
type Options struct {
	URL string // without /api/v1
	// Page is where people see it, where that is another address.
	Page string
	// Token is sent as a bearer token; Username and Password instead of it.
	Token, Username, Password string
	Headers                   map[string]string // sent with each query, such as X-Scope-OrgID
	Limits                    wire.Limits

	// System is what words call it; Prometheus where "".
	System string
	// Internet and Sign are for what is reached otherwise; see wire.Options.
	Internet bool
	Sign     func(req *http.Request, body []byte) error
	ByGET    bool // it takes no POST
}

// Source is one Prometheus. It may be used concurrently.
type Source struct {
	api    v1.API
	wire   *wire.Client
	system string
	page   string
}

var _ metrics.Sampler = (*Source)(nil)

// New makes a source. It asks nothing yet.
func New(o Options) (*Source, error) {
	if o.System == "" {
		o.System = "Prometheus"
	}
	if o.Token != "" && (o.Username != "" || o.Password != "") {
		return nil, errors.New("prometheus: a token and a username with password exclude each other")
	}
	if u, err := url.Parse(o.Page); err != nil || o.Page != "" && u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, fmt.Errorf("prometheus: the page %q is not an http or https address", o.Page)
	}
	header, secrets := maps.Clone(o.Headers), slices.Collect(maps.Values(o.Headers))
	if header == nil {
		header = map[string]string{}
	}
	secrets = append(secrets, wire.SignIn(header, o.Token, o.Username, o.Password)...)
	w, err := wire.New(wire.Options{
		System: o.System, URL: o.URL, Internet: o.Internet, Header: header, Secrets: secrets, Sign: o.Sign, Limits: o.Limits,
		Busy: func(status int, body []byte) bool { return missing(status, body) != "" },
	})
	if err != nil {
		return nil, err
	}
	client, err := api.NewClient(api.Config{Address: o.URL, Client: w.HTTP()})
	if err != nil {
		return nil, fmt.Errorf("prometheus: make the client: %w", err)
	}
	if o.Page == "" && o.Sign == nil {
		o.Page = o.URL
	}
	if o.ByGET {
		client = getter{client}
	}
	return &Source{api: v1.NewAPI(whole{client, w, o.System}), wire: w, system: o.System, page: strings.TrimRight(o.Page, "/")}, nil
}

// getter turns forms that are posted into addresses that are got.
type getter struct{ api.Client }

func (g getter) Do(ctx context.Context, req *http.Request) (*http.Response, []byte, error) {
	if req.Method == http.MethodPost && req.Body != nil {
		form, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, nil, fmt.Errorf("read the question: %w", err)
		}
		req = req.Clone(ctx)
		req.Method, req.URL.RawQuery, req.Body, req.GetBody, req.ContentLength = http.MethodGet, string(form), nil, nil, 0
		req.Header.Del("Content-Type")
	}
	return g.Client.Do(ctx, req)
}

// Number asks for the value that the query has now, by Prometheus' own clock: a scalar, or a vector of one sample.
func (s *Source) Number(ctx context.Context, query string) (float64, error) {
	value, _, _, err := s.api.Query(ctx, fill(query, time.Minute), time.Time{})
	if err != nil {
		return 0, s.failure(ctx, err)
	}
	switch v := value.(type) {
	case *model.Scalar:
		return float64(v.Value), nil
	case model.Vector:
		if len(v) != 1 {
			return 0, &metrics.NotOneError{Got: len(v)}
		}
		if v[0].Histogram != nil {
			return 0, &metrics.Failure{Permanent: true, Words: "the query gives a histogram, and one number is needed"}
		}
		return float64(v[0].Value), nil
	default:
		return 0, &metrics.Failure{Permanent: true, Words: noNumber + value.Type().String()}
	}
}

// Samples asks for the values at the ends of the steps: a query such as rate(…[$step]) tells at each moment of what was
// before it. $step stands for the length of a step, such as 60s.
//
// Source for the range query: https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
func (s *Source) Samples(ctx context.Context, r metrics.Range) (metrics.Samples, error) {
	var remarks []string
	got, err := s.wire.Samples(ctx, r, func(ctx context.Context, r metrics.Range, g *wire.Grid) (string, error) {
		query := fill(r.Query, r.Step)
		value, warnings, infos, err := s.api.QueryRange(ctx, query, v1.Range{Start: r.Start.Add(r.Step), End: r.End, Step: r.Step})
		if err != nil {
			return "", s.failure(ctx, err)
		}
		remarks = append([]string(warnings), infos...)
		all, ok := value.(model.Matrix)
		switch {
		case !ok:
			return "", s.wire.Query("it gives no numbers over time, but a " + value.Type().String())
		case len(all) > 1:
			return "", &metrics.NotOneError{Got: len(all)}
		case len(all) == 1 && len(all[0].Histograms) > 0:
			return "", s.wire.Query("it gives a histogram, and numbers are needed")
		case len(all) == 1:
			for _, sample := range all[0].Values {
				if !g.Put(sample.Timestamp.Time().Add(-r.Step), float64(sample.Value)) {
					return "", s.wire.Several(r, "it answers as no Prometheus does")
				}
			}
		}
		return s.link(query, r), nil
	})
	if len(remarks) > 0 {
		slices.Sort(remarks) // they come in any order
		got.Warning = s.wire.Clean(strings.Join(remarks, "; "))
	}
	return got, err
}

// fill puts the length of a step in.
func fill(query string, step time.Duration) string {
	return wire.Fill(query, map[string]string{"$step": wire.Seconds(step) + "s"})
}

// link is the page with the graph of a query.
func (s *Source) link(query string, r metrics.Range) string {
	if s.page == "" {
		return ""
	}
	return s.page + "/graph?" + url.Values{
		"g0.expr": {query}, "g0.tab": {"0"}, "g0.range_input": {wire.Seconds(r.End.Sub(r.Start)) + "s"},
		"g0.end_input": {r.End.UTC().Format(time.DateTime)}, "g0.step_input": {wire.Seconds(r.Step)},
	}.Encode()
}

const noNumber = "the query gives no number of this moment, but a "

// passes matches refusals that may end while a delivery waits: somebody mends the credentials, or the rush is over.
var passes = regexp.MustCompile(` (401|403|408|429)$`)

// failure puts an error of the client into words. Those of an *v1.Error are Prometheus' own; everything else is not
// for people, because it may name addresses and headers.
func (s *Source) failure(ctx context.Context, err error) error {
	var said *v1.Error
	var part *metrics.Failure
	if errors.As(err, &part) {
		return part
	}
	if ctx.Err() != nil || !errors.As(err, &said) {
		return s.wire.Failed(ctx, err)
	}
	f := &metrics.Failure{Err: errors.New(s.wire.Clean(err.Error()))}
	switch msg := s.wire.Clean(said.Msg); said.Type {
	case v1.ErrBadData:
		f.Permanent, f.Words = true, s.system+" does not take the query: "+msg
	case v1.ErrExec:
		f.Words = s.system + " cannot carry the query out: " + msg
	case v1.ErrTimeout, v1.ErrCanceled:
		f.Words = s.system + " did not answer the query in time"
	case v1.ErrClient:
		f.Words = s.system + " refuses to answer (" + msg + "): check its address and credentials in Slipway's configuration"
		f.Permanent = !passes.MatchString(said.Msg)
	case v1.ErrBadResponse:
		f.Permanent = true
		if strings.HasPrefix(msg, "unexpected value type") { // the client knows no texts
			f.Words = noNumber + "text"
			break
		}
		f.Words = "what answers is no " + s.system + ": check its address in Slipway's configuration"
	default:
		f.Words = s.system + " has trouble of its own (" + msg + ")"
	}
	return f
}
