// Package demo runs Slipway for people who want to see it: the simulated company of
// package world, the ordinary app against it, and a page that shows GitLab, Slack, the
// cluster and Slipway side by side.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/cmd/internal/app"
	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
)

const (
	// watchable is how long a pod takes to start and a CI job to run when people look on.
	watchable = 1500 * time.Millisecond
	// sideBySide is how long both versions stand side by side when people look on.
	sideBySide = 20 * time.Second
	// compared is how long a canary is compared when people look on: each second of it counts as a minute's worth of requests.
	compared   = 15 * time.Second
	delivered  = "**Delivered**" // in the note of a delivery that ended well
	rolledBack = "**Rolled back**"
)

// Options for Run.
type Options struct {
	Listen string    // of the page; "127.0.0.1:8090" if empty, another port if that is taken
	Script bool      // no page: play everything through, and end
	Out    io.Writer // what people read
	Log    *slog.Logger
}

// Run shows the demo until ctx ends. With Options.Script it plays it to its end instead,
// and returns an error if something did not happen as it should.
func Run(ctx context.Context, o Options) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	fmt.Fprintln(o.Out, "Starting a GitLab, a Slack, a Prometheus and a Kubernetes cluster (all simulated), and Slipway ...")
	dir, err := os.MkdirTemp("", "slipway-demo-")
	if err != nil {
		return fmt.Errorf("start the demo: %w", err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	speed := world.Options{PodStart: watchable, JobTime: watchable, Standby: sideBySide, Canary: compared}
	if o.Script {
		speed = world.Options{PodStart: time.Second / 4, JobTime: time.Second / 4, Standby: 2 * time.Second, Canary: 12 * time.Second}
	}
	s, err := build(dir, speed, o.Log)
	if err != nil {
		return fmt.Errorf("start the demo: %w", err)
	}
	defer s.world.Close()
	g.Go(func() error { return s.app.Run(ctx) })
	if o.Script {
		g.Go(func() error {
			defer cancel()
			return s.script(ctx, o.Out)
		})
	} else {
		g.Go(func() error { return s.show(ctx, o) })
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// stage is everything that plays.
type stage struct {
	world *world.World
	app   *app.App
	ready chan struct{} // closed when the first release is delivered

	markdown markdown

	mu     sync.Mutex
	kinds  map[int64]kind // by the merge request's number
	opened int            // on demand
	broken kind           // of the change that broke the main branch, "" while it is fine
}

func build(dir string, o world.Options, log *slog.Logger) (*stage, error) {
	o.Dir = dir
	w, err := world.New(o)
	if err != nil {
		return nil, err
	}
	s := &stage{world: w, ready: make(chan struct{}), kinds: map[int64]kind{}, markdown: newMarkdown()}
	if err := s.buildApp(dir, log); err != nil {
		w.Close()
		return nil, err
	}
	return s, nil
}

func (s *stage) buildApp(dir string, log *slog.Logger) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	data, err := s.world.Config(addr)
	if err != nil {
		return err
	}
	cfg, err := config.Parse(data, os.LookupEnv)
	if err != nil {
		return fmt.Errorf("the demo's own configuration: %w", err)
	}
	cfg.Database = filepath.Join(dir, "slipway.db")
	if s.app, err = app.New(app.Options{Config: cfg, Logger: log, Listener: l}); err != nil {
		return err
	}
	return s.world.Connect("http://" + addr)
}

// show serves the page and delivers the first release, so that there is something to
// go back to.
func (s *stage) show(ctx context.Context, o Options) error {
	l, err := listen(o.Listen)
	if err != nil {
		return err
	}
	p, err := newPage(s)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return srv.Close()
	})
	g.Go(func() error {
		if _, err := s.open(ctx); err != nil {
			return fmt.Errorf("deliver the first release: %w", err)
		}
		close(s.ready)
		return s.repair(ctx)
	})
	fmt.Fprintf(o.Out, "\n  Open http://%s in a browser, and merge something.\n\n  Ctrl-C ends the demo and removes what it made.\n\n", l.Addr())
	return g.Wait()
}

// listen takes the address, or another port if somebody has it and nobody insisted.
func listen(addr string) (net.Listener, error) {
	if addr != "" {
		return net.Listen("tcp", addr)
	}
	l, err := net.Listen("tcp", "127.0.0.1:8090")
	if err != nil {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	return l, nil
}

// changes are the merge requests that wait for people, by their numbers.
type changes struct{ good, worse, slower, bad, limping int64 }

// open delivers the first release, and opens one merge request of each kind.
func (s *stage) open(ctx context.Context) (c changes, err error) {
	first, err := s.add(kindFirst, firstTitle, "open-the-shop")
	if err != nil {
		return c, err
	}
	for _, mr := range []struct {
		iid           *int64
		kind          kind
		title, branch string
	}{ // the newest is shown first
		{&c.limping, kindLimping, limpingTitle, "urgent-payment-provider"},
		{&c.bad, kindBad, badTitle, "sessions"},
		{&c.slower, kindSlower, slowerTitle, "smarter-search"},
		{&c.worse, kindWorse, worseTitle, "retry-payments"},
		{&c.good, kindGood, goodTitle, "delivery-date"},
	} {
		if *mr.iid, err = s.add(mr.kind, mr.title, mr.branch); err != nil {
			return c, err
		}
	}
	if _, err := s.merge(first, s.world.Ben); err != nil {
		return c, err
	}
	if err := s.world.PressWhenAsked(ctx, first, world.SlackAda, "Approve"); err != nil {
		return c, err
	}
	if err := s.world.AwaitNote(ctx, first, delivered); err != nil {
		return c, err
	}
	// Slack hears a little later, because edits of a message are rationed there.
	err = s.world.Slack.Await(ctx, func(slacksim.Snapshot) bool {
		m, _ := s.world.Message(first)
		return strings.Contains(m.Text, strings.Trim(delivered, "*"))
	})
	if err != nil {
		return c, fmt.Errorf("wait for the message in Slack: %w", err)
	}
	return c, nil
}
