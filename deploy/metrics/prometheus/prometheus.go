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
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
)

const (
	defaultTimeout = 20 * time.Second
	maxAnswer      = 4 << 20 // bytes; an answer of one number has some hundred
	maxSaid        = 200     // characters of Prometheus' own words
)

// Options for New. Only URL is required.
type Options struct {
	URL string // without /api/v1
	// Token is sent as a bearer token; Username and Password instead of it.
	Token, Username, Password string
	Headers                   map[string]string // sent with each query, such as X-Scope-OrgID
	Timeout                   time.Duration     // of one query; 20 s where zero
}

// Source is one Prometheus. It may be used concurrently.
type Source struct {
	api     v1.API
	timeout time.Duration
}

var _ metrics.Source = (*Source)(nil)

// New makes a source. It asks nothing yet.
func New(o Options) (*Source, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("prometheus: %q is not an http or https address", o.URL)
	case u.User != nil:
		return nil, errors.New("prometheus: the address must not contain a user or password")
	case o.Token != "" && (o.Username != "" || o.Password != ""):
		return nil, errors.New("prometheus: a token and a username with password exclude each other")
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	o.Headers = maps.Clone(o.Headers)
	client, err := api.NewClient(api.Config{
		Address: o.URL,
		Client: &http.Client{
			Transport: &transport{o: o, next: &http.Transport{
				Proxy:                 http.ProxyFromEnvironment,
				DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				ForceAttemptHTTP2:     true,
				TLSHandshakeTimeout:   10 * time.Second,
				IdleConnTimeout:       90 * time.Second,
				MaxIdleConnsPerHost:   4,
				ResponseHeaderTimeout: o.Timeout,
			}},
			// Following a redirect would carry the credentials to another address.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		return nil, fmt.Errorf("prometheus: make the client: %w", err)
	}
	return &Source{api: v1.NewAPI(client), timeout: o.Timeout}, nil
}

// Number asks for the value that the query has now, by Prometheus' own clock: a scalar, or a vector of one sample.
func (s *Source) Number(ctx context.Context, query string) (float64, error) {
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	value, _, _, err := s.api.Query(limited, query, time.Time{})
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, failure(err)
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

// transport signs in, and bounds what is read.
type transport struct {
	o    Options
	next http.RoundTripper
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	for name, value := range t.o.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("User-Agent", "slipway")
	switch {
	case t.o.Token != "":
		req.Header.Set("Authorization", "Bearer "+t.o.Token)
	case t.o.Username != "":
		req.SetBasicAuth(t.o.Username, t.o.Password)
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: maxAnswer}
	return resp, nil
}

const noNumber = "the query gives no number of this moment, but a "

var errTooLarge = errors.New("the answer is too large")

type bounded struct {
	io.ReadCloser
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return n, errTooLarge
	}
	return n, err
}

// passes matches refusals that may end while a delivery waits: somebody mends the credentials, or the rush is over.
var passes = regexp.MustCompile(` (401|403|408|429)$`)

// failure puts an error of the client into words. Those of an *v1.Error are Prometheus' own; everything else is not
// for people, because it may name addresses and headers.
func failure(err error) *metrics.Failure {
	f := &metrics.Failure{Err: err}
	var said *v1.Error
	if !errors.As(err, &said) {
		f.Permanent, f.Words = errors.Is(err, errTooLarge), networkWords(err)
		return f
	}
	switch msg := clean(said.Msg); said.Type {
	case v1.ErrBadData:
		f.Permanent, f.Words = true, "Prometheus does not take the query: "+msg
	case v1.ErrExec:
		f.Words = "Prometheus cannot carry the query out: " + msg
	case v1.ErrTimeout, v1.ErrCanceled:
		f.Words = "Prometheus did not answer the query in time"
	case v1.ErrClient:
		f.Words = "Prometheus refuses to answer (" + msg + "): check its address and credentials in Slipway's configuration"
		f.Permanent = !passes.MatchString(msg)
	case v1.ErrBadResponse:
		f.Permanent = true
		if strings.HasPrefix(msg, "unexpected value type") { // the client knows no texts
			f.Words = noNumber + "text"
			break
		}
		f.Words = "what answers is no Prometheus: check its address in Slipway's configuration"
	default:
		f.Words = "Prometheus has trouble of its own (" + msg + ")"
	}
	return f
}

func networkWords(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, errTooLarge):
		return "Prometheus' answer is larger than Slipway reads"
	case errors.As(err, &dns):
		return "Prometheus cannot be reached: its name is not found"
	case strings.Contains(err.Error(), "connection refused"):
		return "Prometheus cannot be reached: connection refused"
	case strings.Contains(err.Error(), "x509:") || strings.Contains(err.Error(), "tls:"):
		return "Prometheus cannot be reached: its certificate is not trusted"
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return "Prometheus did not answer in time"
	}
	return "the connection to Prometheus broke, or its answer is not understood"
}

// clean makes text of others one bounded line.
func clean(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if utf8.RuneCountInString(s) > maxSaid {
		return string([]rune(s)[:maxSaid-1]) + "…"
	}
	return s
}
