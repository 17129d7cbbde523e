package gitlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	api "gitlab.com/gitlab-org/api/client-go/v2"
	"golang.org/x/time/rate"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Options for [New]. URL and Token are required.
type Options struct {
	URL   string // of the GitLab instance, "https://gitlab.example.com"
	Token string // access token with scope api
	// ConsoleURL is the base of the delivery pages: the page of a delivery is this, a slash and
	// its id. Without it nothing links there.
	ConsoleURL string
	// Mention is the name that commands in comments start with, without "@"; "slipway" where
	// empty. It is only shown; Parse reads it.
	Mention string
	// Parse reads a command from a comment, false if there is none. Without it comments are ignored.
	Parse func(body string) (pipeline.Request, bool)
	// People finds who a Slack user is. Without it requests from Slack are refused.
	People People

	// Blobs holds the samples of canaries, of which pictures are drawn. Without it none are.
	Blobs Blobs

	Timeout        time.Duration // of one call with its repetitions; 30 s where zero
	ArchiveTimeout time.Duration // of downloading a repository; 2 min where zero
	// RequestsPerSecond bounds the calls of this process; 30 where zero (GitLab.com allows
	// 2,000 a minute per user).
	RequestsPerSecond float64
	ArchiveBytes      int64 // largest repository archive, compressed; 64 MiB where zero
	CacheBytes        int64 // memory for unpacked repositories; 32 MiB where zero
	Logger            *slog.Logger
	// Transport carries the requests; a plain one with bounded waits where nil.
	Transport http.RoundTripper
	Now       func() time.Time // time.Now where nil
}

// Client talks to one GitLab instance as one user. It may be used concurrently.
type Client struct {
	api     *api.Client
	o       Options
	log     *slog.Logger
	archive archives

	mu sync.Mutex
	me Me
}

// Me is the user that the token belongs to.
type Me struct {
	ID       int64
	Username string
}

const maxAnswerBytes = 16 << 20 // of one JSON answer

// New makes a client. It doesn't talk to GitLab yet: [Client.Me] proves that the token works.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("gitlab: the URL %q is not an http or https address", o.URL)
	}
	if u.User != nil {
		return nil, errors.New("gitlab: the URL must not contain a user or password")
	}
	if strings.TrimSpace(o.Token) == "" {
		return nil, errors.New("gitlab: the access token is missing")
	}
	if o.ConsoleURL != "" && safeURL(o.ConsoleURL) == "" {
		return nil, fmt.Errorf("gitlab: the console URL %q is not an http or https address", o.ConsoleURL)
	}
	o.withDefaults()
	c := &Client{o: o, log: o.Logger}
	c.archive.init(o.CacheBytes)
	c.api, err = api.NewClient(o.Token,
		api.WithBaseURL(strings.TrimRight(o.URL, "/")),
		api.WithHTTPClient(&http.Client{
			Transport: &transport{next: o.Transport},
			// GitLab's API does not redirect. Following one would send the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
		api.WithOnlyIdempotentRetries(),
		api.WithCustomRetry(worthRepeating),
		api.WithCustomRetryMax(2),
		api.WithCustomBackoff(func(_, _ time.Duration, attempt int, _ *http.Response) time.Duration {
			return 250 * time.Millisecond << attempt
		}),
		api.WithCustomLimiter(rate.NewLimiter(rate.Limit(o.RequestsPerSecond), int(2*o.RequestsPerSecond)+1)),
		api.WithCustomLeveledLogger(quiet{}),
		api.WithUserAgent("slipway"),
	)
	if err != nil {
		return nil, fmt.Errorf("gitlab: make the client: %w", err)
	}
	return c, nil
}

func (o *Options) withDefaults() {
	if o.Mention == "" {
		o.Mention = "slipway"
	}
	o.Mention = strings.TrimPrefix(o.Mention, "@")
	o.ConsoleURL = strings.TrimRight(o.ConsoleURL, "/")
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.ArchiveTimeout <= 0 {
		o.ArchiveTimeout = 2 * time.Minute
	}
	if o.RequestsPerSecond <= 0 {
		o.RequestsPerSecond = 30
	}
	if o.ArchiveBytes <= 0 {
		o.ArchiveBytes = 64 << 20
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 32 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			ForceAttemptHTTP2:     true,
			MaxIdleConns:          20,
			MaxIdleConnsPerHost:   20,
			IdleConnTimeout:       90 * time.Second,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 20 * time.Second,
		}
	}
}

// Me asks GitLab whose token it is, once: later calls answer from memory.
func (c *Client) Me(ctx context.Context) (Me, error) {
	if me := c.knownMe(); me.ID != 0 {
		return me, nil
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	u, resp, err := c.api.Users.CurrentUser(api.WithContext(ctx))
	if err != nil {
		return Me{}, c.failed(ctx, call{doing: "ask GitLab whose token this is"}, resp, err)
	}
	me := Me{ID: u.ID, Username: u.Username}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.me = me
	return me, nil
}

func (c *Client) knownMe() Me {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.me
}

// limit bounds one call.
func (c *Client) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.o.Timeout)
}

// page is the address of a delivery's page, "" if there is no console.
func (c *Client) page(delivery string) string {
	if c.o.ConsoleURL == "" {
		return ""
	}
	return c.o.ConsoleURL + "/" + url.PathEscape(delivery)
}

// worthRepeating lets the client repeat at once what is safe to repeat and likely to get
// better. A refusal for asking too often goes back to the engine, which waits without
// keeping a worker.
func worthRepeating(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if resp == nil || resp.Request == nil || resp.Request.Method != http.MethodGet {
		return false, nil
	}
	return err == nil && resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented, nil
}

// reasonHeader carries the body of a 404 past the client library, which drops it.
const reasonHeader = "Slipway-Not-Found"

// transport bounds what is read from GitLab.
type transport struct{ next http.RoundTripper }

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return resp, err
	}
	resp.Header.Del(reasonHeader)
	if resp.StatusCode == http.StatusNotFound {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 2048))
		resp.Header.Set(reasonHeader, url.QueryEscape(string(said)))
	}
	if limit, ok := req.Context().Value(bodyLimit{}).(int64); ok {
		resp.Body = &bounded{resp.Body, limit}
	} else {
		resp.Body = &bounded{resp.Body, maxAnswerBytes}
	}
	return resp, nil
}

type bodyLimit struct{}

var errTooLarge = errors.New("the answer is too large")

type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n, errTooLarge
	}
	return n, err
}

// quiet drops the library's own log lines: failures are told once, by whoever asked.
type quiet struct{}

func (quiet) Error(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Debug(string, ...any) {}
func (quiet) Warn(string, ...any)  {}
