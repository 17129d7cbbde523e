package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	requestTimeout = 10 * time.Second // where no latency is wanted
	shortestWait   = time.Second
	connectTimeout = 10 * time.Second
	maxBody        = 64 << 10 // bytes that are looked at
	maxHeader      = 64 << 10
	maxShown       = 200 // characters of a body that people see
	maxAddress     = 150
	maxRedirects   = 5
)

// asker makes the requests of one run.
type asker struct {
	check   *pipeline.HTTPCheck
	client  *http.Client
	body    *regexp.Regexp // nil: any
	method  string
	address string
	shown   string // "GET https://shop.example.com/health"
}

// http asks an address several times. Each request has a connection of its own, so that they spread over the pods of
// a Service.
func (e *Executor) http(ctx context.Context, t *pipeline.Task, c *pipeline.HTTPCheck) (result, error) {
	a, err := e.asker(t, c)
	if err != nil {
		return result{}, err
	}
	requests := max(c.Requests, 1)
	needed := min(max(c.Pass, 1), requests)
	bad, why, last := 0, "", ""
	for range requests {
		r, err := a.ask(ctx)
		if err != nil {
			return result{}, err
		}
		if last = r.saw; r.passed {
			continue
		}
		if bad++; why == "" {
			why = r.saw
		}
		if requests-bad < needed {
			break // what is left cannot make it good again
		}
	}
	return sum(requests, needed, bad, why, last), nil
}

// sum says what the requests saw: the first that failed, or the last one.
func sum(requests, needed, bad int, why, last string) result {
	r := result{passed: requests-bad >= needed}
	switch {
	case requests == 1:
		r.saw = last
	case bad == 0:
		r.saw = fmt.Sprintf("all %d requests passed: %s", requests, last)
	default:
		r.saw = fmt.Sprintf("%d of %d requests failed: %s", bad, requests, why)
	}
	return r
}

func (e *Executor) asker(t *pipeline.Task, c *pipeline.HTTPCheck) (*asker, error) {
	u, err := e.target(t, c.URL)
	if err != nil {
		return nil, err
	}
	a := &asker{check: c, method: strings.ToUpper(c.Method), address: u.String()}
	if a.method == "" {
		a.method = http.MethodGet
	}
	if !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions}, a.method) {
		return nil, refusal(pipeline.ReasonOther, fmt.Sprintf("checks ask with GET, HEAD, POST or OPTIONS, not with %s", clean(a.method, 20)), nil)
	}
	if c.Body != "" {
		if a.body, err = regexp.Compile(c.Body); err != nil {
			return nil, refusal(pipeline.ReasonOther, "the body's expression is wrong: "+clean(err.Error(), 200), err)
		}
	}
	a.shown = a.method + " " + where(u)
	timeout := requestTimeout
	if c.Latency > 0 {
		timeout = max(2*c.Latency, shortestWait)
	}
	a.client = &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			// No proxy: it would resolve the name itself, behind the guard's back.
			DialContext:            e.dialer(hostname(u)).DialContext,
			DisableKeepAlives:      true,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    timeout,
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: e.follow(t, c, u),
	}
	return a, nil
}

// follow lets a redirect lead on within the same host, unless a redirect is what the check wants to see.
func (e *Executor) follow(t *pipeline.Task, c *pipeline.HTTPCheck, start *url.URL) func(*http.Request, []*http.Request) error {
	wanted := slices.ContainsFunc(c.Status, func(s int) bool { return s >= 300 && s < 400 })
	return func(next *http.Request, before []*http.Request) error {
		if wanted || len(before) > maxRedirects || hostname(next.URL) != hostname(start) || next.URL.User != nil || !e.allows(t.Plan, next.URL) {
			return http.ErrUseLastResponse
		}
		return nil
	}
}

// where is an address for people. What follows the path may hold a secret.
func where(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	text := clean(shown.String(), maxAddress)
	if u.RawQuery != "" {
		text += "?…"
	}
	return text
}

// ask makes one request. The error is for what can't be asked at all.
func (a *asker) ask(ctx context.Context) (result, error) {
	req, err := http.NewRequestWithContext(ctx, a.method, a.address, nil)
	if err != nil {
		return result{}, refusal(pipeline.ReasonOther, clean(a.check.URL, maxAddress)+" is not an address", err)
	}
	req.Header.Set("User-Agent", "slipway")
	began := time.Now()
	resp, err := a.client.Do(req)
	if err != nil {
		return a.unanswered(ctx, req, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	took := time.Since(began)
	if err != nil {
		return a.unanswered(ctx, req, err)
	}
	return a.judge(resp, body, took), nil
}

func (a *asker) judge(resp *http.Response, body []byte, took time.Duration) result {
	said := fmt.Sprintf("%s answered %d", a.shown, resp.StatusCode)
	in := " in " + short(took)
	text := clean(string(body), maxShown)
	if text != "" {
		text = ` "` + text + `"`
	}
	switch {
	case !a.wants(resp.StatusCode):
		if to := resp.Header.Get("Location"); to != "" && resp.StatusCode < 400 {
			return result{saw: said + in + ", which leads to " + leadsTo(to)}
		}
		return result{saw: said + text + in}
	case a.body != nil && !a.body.Match(body):
		return result{saw: said + text + in + ", which does not match " + clean(a.check.Body, 100)}
	case a.check.Latency > 0 && took > a.check.Latency:
		return result{saw: said + in + "; at most " + short(a.check.Latency) + " is allowed"}
	}
	return result{passed: true, saw: said + in}
}

func leadsTo(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return "something that is no address"
	}
	return where(u)
}

func (a *asker) wants(status int) bool {
	if len(a.check.Status) == 0 {
		return status >= 200 && status < 300
	}
	return slices.Contains(a.check.Status, status)
}

// unanswered says why there was no answer. The client's own words hold the whole address, so they are not for people.
func (a *asker) unanswered(ctx context.Context, req *http.Request, err error) (result, error) {
	if refused, ok := refusedAddress(err); ok {
		return result{}, refusal(pipeline.ReasonNotAllowed, fmt.Sprintf(
			"checks may not ask %s: it leads to %s, which belongs to this machine or to its cloud", clean(req.URL.Hostname(), maxAddress), refused.address), err)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return result{}, ctx.Err()
	}
	var dns *net.DNSError
	var timeout net.Error
	var broken *tls.CertificateVerificationError
	why := "the connection broke"
	switch {
	case ctx.Err() != nil:
		why = "the check took longer than " + short(longestRun)
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		why = "no answer within " + short(a.client.Timeout)
	case errors.As(err, &dns):
		why = "the host's name is not found"
	case errors.As(err, &broken):
		why = "the certificate is not trusted"
	case strings.Contains(err.Error(), "connection refused"):
		why = "connection refused"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		why = "the host answers http, not https"
	}
	return result{saw: a.shown + " failed: " + why}, nil
}
