package wire

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

const (
	defaultTimeout = 20 * time.Second
	defaultTries   = 4
	defaultPause   = 500 * time.Millisecond
	defaultRate    = 5 // a second; Datadog and CloudWatch allow more
	burst          = 10

	// MaxAnswer is how many bytes of an answer are read. A week of minutes has some 300,000.
	MaxAnswer = 4 << 20
	// longest is how long after the first try another one may begin.
	longest = 45 * time.Second
)

// Limits say how a system is asked. The zero value is right for all of them.
type Limits struct {
	Timeout   time.Duration // of one try, with its answer; 20 s where zero
	Tries     int           // of one question; 4 where zero
	Pause     time.Duration // before the second try; it doubles with each more; 500 ms where zero
	PerSecond float64       // tries; 5 where zero
	Now       func() time.Time
}

// Options for New. System and URL are required.
type Options struct {
	System string // as people call it: "Datadog"
	URL    string
	// Internet says that the system is a service on the Internet, whose credentials go over https only. This machine
	// itself may be asked without.
	Internet bool
	Header   map[string]string // sent with each question
	Secrets  []string          // what words never contain, from 4 bytes on; values of Header that are secret belong here, too
	// Sign adds to a request what depends on it or on the time, before each try; nil adds nothing.
	Sign func(req *http.Request, body []byte) error
	// Said finds in the body of a refusal what the system says; nil takes the body if it is text.
	Said func(body []byte) string
	// Busy says which answers, besides those that HTTP knows, may be better when they are asked for again; nil knows none.
	Busy   func(status int, body []byte) bool
	Limits Limits
}

// shortestSecret is how long a secret is at least, in bytes: a header such as X-Scope-OrgID may be "1", and taking that out
// of words would take the sense out of them.
const shortestSecret = 4

// Client asks one system. It may be used concurrently.
type Client struct {
	o    Options
	http *http.Client
}

// New checks the options, and fills in what is left out. It asks nothing yet.
func New(o Options) (*Client, error) {
	if err := checkAddress(o); err != nil {
		return nil, err
	}
	o.URL = strings.TrimRight(o.URL, "/")
	l := &o.Limits
	if l.Timeout <= 0 {
		l.Timeout = defaultTimeout
	}
	if l.Tries <= 0 {
		l.Tries = defaultTries
	}
	if l.Pause <= 0 {
		l.Pause = defaultPause
	}
	if l.PerSecond <= 0 {
		l.PerSecond = defaultRate
	}
	if l.Now == nil {
		l.Now = time.Now
	}
	if o.Said == nil {
		o.Said = func(body []byte) string { return string(body) }
	}
	o.Secrets = slices.DeleteFunc(slices.Clone(o.Secrets), func(s string) bool { return len(s) < shortestSecret })
	slices.SortFunc(o.Secrets, func(a, b string) int { return len(b) - len(a) }) // one may be a part of another
	c := &Client{o: o}
	c.http = &http.Client{
		Transport: &transport{o: &c.o, limiter: rate.NewLimiter(rate.Limit(l.PerSecond), burst), next: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			ForceAttemptHTTP2:     true,
			TLSHandshakeTimeout:   10 * time.Second,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   2,
			ResponseHeaderTimeout: l.Timeout,
		}},
		// Following a redirect would carry the credentials to another address.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

func checkAddress(o Options) error {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("%s: %q is not an http or https address", o.System, o.URL)
	case u.User != nil:
		return fmt.Errorf("%s: the address must not contain a user or password", o.System)
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%s: the address must end before ? and #", o.System)
	case o.Internet && u.Scheme != "https" && !here(u.Hostname()):
		return fmt.Errorf("%s: %q must begin with https, because credentials are sent there", o.System, o.URL)
	}
	for name, value := range o.Header {
		if strings.ContainsAny(name+value, "\r\n\x00") || name == "" {
			return fmt.Errorf("%s: a header has no name, or more than one line", o.System)
		}
	}
	return nil
}

// Secure refuses an address that is not https, unless it is this machine itself.
func Secure(system, address string) error {
	return checkAddress(Options{System: system, URL: address, Internet: true})
}

// here says whether the host is this machine itself, by its literal name.
func here(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// HTTP is for official clients: all that they send goes the way of this client. Answers come whole, or not at all.
func (c *Client) HTTP() *http.Client { return c.http }

// Now is the time by the client's clock.
func (c *Client) Now() time.Time { return c.o.Limits.Now().UTC() }

// Question is what a system is asked.
type Question struct {
	Method string
	Path   string // below the address, with a slash; escaped
	Query  url.Values
	Body   []byte // nil sends none
	Type   string // of the body; JSON where ""
	Accept string // the media type of the answer; JSON where ""
}

const jsonType = "application/json"

// Ask returns the body of a good answer. The error is the context's, or a *metrics.Failure.
func (c *Client) Ask(ctx context.Context, q Question) ([]byte, error) {
	if q.Accept == "" {
		q.Accept = jsonType
	}
	req, err := c.request(ctx, q)
	if err != nil {
		return nil, c.Failed(ctx, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.Failed(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body) // bounded by the transport
	if err != nil {
		return nil, c.Failed(ctx, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, c.Refused(resp.StatusCode, body)
	}
	if got := mediaType(resp.Header.Get("Content-Type")); got != mediaType(q.Accept) {
		return nil, c.Strange(fmt.Errorf("the answer is %q, and %s is wanted", got, q.Accept))
	}
	return body, nil
}

func (c *Client) request(ctx context.Context, q Question) (*http.Request, error) {
	address := c.o.URL + q.Path
	if len(q.Query) > 0 {
		address += "?" + q.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.Method, address, bytes.NewReader(q.Body))
	if err != nil {
		return nil, errors.New("the address is not valid") // the cause names it, with what it may contain
	}
	req.Header.Set("Accept", q.Accept)
	if q.Body != nil {
		if q.Type == "" {
			q.Type = jsonType
		}
		req.Header.Set("Content-Type", q.Type)
	}
	return req, nil
}

// JSON asks and reads the answer. A part of it that is not JSON is a *metrics.Failure, too.
func (c *Client) JSON(ctx context.Context, q Question, into any) error {
	body, err := c.Ask(ctx, q)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return c.Strange(err)
	}
	return nil
}

// mediaType is the type without its parameters. Dialects of JSON are JSON, and CSV has two names.
func mediaType(header string) string {
	kind, _, err := mime.ParseMediaType(header)
	switch {
	case err != nil:
		return ""
	case strings.HasSuffix(kind, "+json") || strings.HasPrefix(kind, "application/x-amz-json"):
		return jsonType
	case kind == "application/csv":
		return "text/csv"
	}
	return kind
}

// SignIn adds to a header what signs in with a token or, without one, with a username and a password. It returns what is
// secret of it, in every form that is sent.
func SignIn(header map[string]string, token, username, password string) []string {
	switch {
	case token != "":
		header["Authorization"] = "Bearer " + token
		return []string{token}
	case username != "" || password != "":
		basic := base64.StdEncoding.EncodeToString([]byte(username + ":" + password))
		header["Authorization"] = "Basic " + basic
		return []string{password, basic}
	}
	return nil
}
