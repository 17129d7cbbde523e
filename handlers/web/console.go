package web

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	pageSize   = 30
	maxStreams = 1000
)

// ErrNotFound is what a Source returns for a delivery that does not exist.
var ErrNotFound = errors.New("there is no such delivery")

// Source is where the pages get deliveries from.
type Source interface {
	// Deliveries lists up to limit deliveries, newest first, from before the cursor,
	// which is "" or the next of an earlier call; next is "" on the last page.
	Deliveries(ctx context.Context, before string, limit int) (views []pipeline.View, next string, err error)
	// Delivery is one delivery, or ErrNotFound.
	Delivery(ctx context.Context, id string) (pipeline.View, error)
	// Log is what is kept of the log of a stage's Kubernetes Job, or ErrNotFound.
	Log(ctx context.Context, id, stage string) (string, error)
	// Samples are those of the newest look at a canary, or ErrNotFound. They may be shared, and are only read.
	Samples(ctx context.Context, id, stage string) (*pipeline.Measurement, error)
	// Changes signals that a delivery has changed, or any of them if id is "". Signals
	// may be merged but the last one is never lost. stop ends it.
	Changes(id string) (changed <-chan struct{}, stop func())
}

// Options for New.
type Options struct {
	Source Source // required
	// Environments gives the pages of what runs where; nil leaves them out.
	Environments Environments
	// URL is how people reach the pages; its path is put before every address.
	URL     string
	Mention string // what comments call Slipway by, without "@"; default "slipway"
	Logger  *slog.Logger
}

// Console serves the pages.
type Console struct {
	source       Source
	environments Environments // nil without
	base         string       // path of Options.URL, without a slash at its end
	mention      string       // with "@"
	log          *slog.Logger
	templates    *template.Template
	assets       *assets
	streams      atomic.Int64
}

// New builds the pages.
func New(o Options) (*Console, error) {
	if o.Source == nil {
		return nil, errors.New("new console: a source is required")
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("new console: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Console{
		source: o.Source, environments: o.Environments, base: strings.TrimRight(u.EscapedPath(), "/"), log: o.Logger,
		mention: "@" + strings.TrimPrefix(firstOf(o.Mention, "slipway"), "@"),
	}
	if c.assets, err = newAssets(); err != nil {
		return nil, fmt.Errorf("new console: %w", err)
	}
	if c.templates, err = c.parse(); err != nil {
		return nil, fmt.Errorf("new console: %w", err)
	}
	return c, nil
}

// path is an address on this server as a browser asks for it.
func (c *Console) path(p string) string { return c.base + p }

// asset is the address of a file by its plain name.
func (c *Console) asset(name string) string { return c.path("/assets/" + c.assets.path[name]) }

// ServeHTTP answers with a page, a stream or a file; everything else is a page that says no.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			c.fail(w, r, fmt.Errorf("panic: %v", p))
		}
	}()
	protect(w.Header())
	serve := c.route(r)
	switch {
	case serve == nil:
		c.fail(w, r, ErrNotFound)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		c.fail(w, r, errMethod)
	default:
		serve(w, r)
	}
}

func (c *Console) route(r *http.Request) http.HandlerFunc {
	path := r.URL.Path
	switch path {
	case "/":
		return c.list
	case "/events":
		return c.listEvents
	case "/robots.txt":
		return robots
	}
	if name, ok := strings.CutPrefix(path, "/assets/"); ok {
		if _, ok := c.assets.byPath[name]; ok {
			return func(w http.ResponseWriter, _ *http.Request) { c.assets.serve(w, name) }
		}
		return nil
	}
	id, ok := strings.CutPrefix(path, "/deliveries/")
	if !ok {
		return c.routeEnvironments(r)
	}
	if id, stage, ok := logOf(id); ok {
		return func(w http.ResponseWriter, r *http.Request) { c.jobLog(w, r, id, stage) }
	}
	if p, ok := canaryOf(id); ok {
		return func(w http.ResponseWriter, r *http.Request) { c.canary(w, r, p) }
	}
	id, events := strings.CutSuffix(id, "/events")
	switch {
	case !validID(id):
		return nil
	case events:
		return func(w http.ResponseWriter, r *http.Request) { c.deliveryEvents(w, r, id) }
	}
	return func(w http.ResponseWriter, r *http.Request) { c.delivery(w, r, id) }
}

func (c *Console) list(w http.ResponseWriter, r *http.Request) {
	before, err := cursor(r)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	f, err := c.listFragment(r.Context(), before)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	events := c.path("/events")
	if before != "" {
		events += "?before=" + before
	}
	c.show(w, r, http.StatusOK, f, events)
}

func (c *Console) listEvents(w http.ResponseWriter, r *http.Request) {
	before, err := cursor(r)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	c.stream(w, r, c.deliveryChanges(""), listPace, func(ctx context.Context) (fragment, error) { return c.listFragment(ctx, before) })
}

func (c *Console) delivery(w http.ResponseWriter, r *http.Request, id string) {
	f, err := c.deliveryFragment(r.Context(), id)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	c.show(w, r, http.StatusOK, f, c.path("/deliveries/"+id+"/events"))
}

func (c *Console) deliveryEvents(w http.ResponseWriter, r *http.Request, id string) {
	c.stream(w, r, c.deliveryChanges(id), deliveryPace, func(ctx context.Context) (fragment, error) { return c.deliveryFragment(ctx, id) })
}

func (c *Console) deliveryChanges(id string) listening {
	return func() (<-chan struct{}, func()) { return c.source.Changes(id) }
}

func robots(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte("User-agent: *\nDisallow: /\n")) // whoever asked may be gone
}

// contentPolicy is the content security policy; forms says where forms may lead.
func contentPolicy(forms string) string {
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action " + forms + "; frame-ancestors 'none'"
}

// protect sets what keeps a browser from doing more than these pages need.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy("'none'"))
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "private, no-cache")
}

var (
	idForm     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	cursorForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,512}$`)
)

// validID tells that an id can be one of a delivery and is safe in an address.
func validID(id string) bool { return idForm.MatchString(id) }

func cursor(r *http.Request) (string, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", errCursor
	}
	before := query.Get("before")
	if before != "" && !cursorForm.MatchString(before) {
		return "", errCursor
	}
	return before, nil
}
