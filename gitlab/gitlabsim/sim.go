package gitlabsim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Options configures a [GitLab].
type Options struct {
	// Clock is the time; nil means the machine's.
	Clock Clock
	// Logger gets a line per hook that couldn't be delivered; nil means none.
	Logger *slog.Logger
	// ExternalURL is the base of the links that GitLab hands out; empty means the address of [GitLab.Start].
	ExternalURL string
	// NotesPerMinute refuses further new comments of one user with 429; zero means no limit.
	// GitLab.com has 60, an own server 300 by default.
	NotesPerMinute int
	// DisableFailingHooks switches a hook off after four failures in a row, as GitLab does.
	DisableFailingHooks bool
	// HookTimeout bounds one delivery; zero means GitLab's 10 s.
	HookTimeout time.Duration
	// HookWorkers is how many hooks are on their way at once; zero means one, which keeps their order.
	// GitLab promises none.
	HookWorkers int
}

// GitLab is the simulator. Its methods are safe for concurrent use.
type GitLab struct {
	opts   Options
	routes []route
	client *http.Client

	mu       sync.Mutex
	url      string
	server   *http.Server
	users    map[int64]*User
	groups   map[string]*group
	projects map[int64]*project
	tokens   map[string]*token
	ids      map[string]int64
	made     map[int64][]time.Time // when each user made comments, for the limit
	requests []Request
	faults   []*fault
	subs     map[chan struct{}]struct{}
	queue    []*delivery
	inFlight int
	sent     []*delivery
	closed   bool
	wake     *sync.Cond
	workers  sync.WaitGroup
	life     life
}

type token struct {
	userID  int64
	kind    TokenKind
	scopes  []string
	revoked bool
	expires time.Time // zero: never
}

// New returns a GitLab without users and projects. Close it: it has workers of its own.
func New(o Options) (*GitLab, error) {
	if o.NotesPerMinute < 0 || o.HookTimeout < 0 || o.HookWorkers < 0 {
		return nil, errors.New("start simulated GitLab: a limit is negative")
	}
	if o.ExternalURL != "" && !strings.HasPrefix(o.ExternalURL, "http") {
		return nil, fmt.Errorf("start simulated GitLab: external URL %q is not http", o.ExternalURL)
	}
	if o.Clock == nil {
		o.Clock = wallClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.HookTimeout == 0 {
		o.HookTimeout = 10 * time.Second
	}
	if o.HookWorkers == 0 {
		o.HookWorkers = 1
	}
	g := &GitLab{
		opts:     o,
		client:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}, CheckRedirect: noRedirect},
		users:    map[int64]*User{},
		groups:   map[string]*group{},
		projects: map[int64]*project{},
		tokens:   map[string]*token{},
		ids:      map[string]int64{},
		made:     map[int64][]time.Time{},
		subs:     map[chan struct{}]struct{}{},
		life:     life{done: make(chan struct{})},
		url:      strings.TrimSuffix(o.ExternalURL, "/"),
	}
	if g.url == "" {
		g.url = "http://gitlab.invalid"
	}
	g.routes = g.table()
	g.wake = sync.NewCond(&g.mu)
	for range o.HookWorkers {
		g.workers.Add(1)
		go g.sendHooks(g.life)
	}
	return g, nil
}

// Start listens on the address ("127.0.0.1:0" picks a free port) and serves until Close.
func (g *GitLab) Start(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("start simulated GitLab: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.server != nil || g.closed {
		_ = l.Close()
		return errors.New("start simulated GitLab: it was started before")
	}
	g.server = &http.Server{Handler: g.Handler(), ReadHeaderTimeout: 10 * time.Second}
	if g.opts.ExternalURL == "" {
		g.url = "http://" + l.Addr().String()
	}
	server := g.server
	go func() { _ = server.Serve(l) }()
	return nil
}

// URL is the base URL, without a slash at the end; the API is at URL() + "/api/v4".
func (g *GitLab) URL() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.url
}

// Handler serves the API; Start uses it.
func (g *GitLab) Handler() http.Handler { return http.HandlerFunc(g.serve) }

// Close stops the server, the jobs that run and the hooks that are under way, and waits for them.
func (g *GitLab) Close() {
	g.mu.Lock()
	server := g.server
	if !g.closed {
		close(g.life.done)
	}
	g.closed = true
	for _, p := range g.projects {
		for _, pl := range p.pipelines {
			for _, j := range pl.Jobs {
				if j.stop != nil {
					j.stop()
				}
			}
		}
	}
	g.wake.Broadcast()
	g.mu.Unlock()
	g.workers.Wait()
	if server != nil {
		_ = server.Close()
	}
	g.client.CloseIdleConnections()
}

// Subscribe returns a channel that gets a value after changes (several may share one) and a function to end it.
func (g *GitLab) Subscribe() (<-chan struct{}, func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ch := make(chan struct{}, 1)
	g.subs[ch] = struct{}{}
	return ch, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.subs, ch)
	}
}

// Quiet waits until no hook is queued or under way. Jobs that still run don't count.
func (g *GitLab) Quiet(ctx context.Context) error {
	changed, end := g.Subscribe()
	defer end()
	for {
		g.mu.Lock()
		quiet := len(g.queue) == 0 && g.inFlight == 0
		g.mu.Unlock()
		if quiet {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for hooks: %w", ctx.Err())
		case <-changed:
		}
	}
}

// changed tells the subscribers; the lock is held.
func (g *GitLab) changed() {
	for ch := range g.subs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (g *GitLab) now() time.Time { return g.opts.Clock.Now().UTC() }

// next hands out ids of one kind, from one up; the lock is held.
func (g *GitLab) next(kind string) int64 {
	g.ids[kind]++
	return g.ids[kind]
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// life is the context of the workers. It ends with Close and not with the context of whoever caused a hook.
type life struct{ done chan struct{} }

func (life) Deadline() (time.Time, bool) { return time.Time{}, false }
func (l life) Done() <-chan struct{}     { return l.done }
func (life) Value(any) any               { return nil }

func (l life) Err() error {
	select {
	case <-l.done:
		return context.Canceled
	default:
		return nil
	}
}
