// Package app is the only place where Slipway is wired: New opens the store and builds
// the adapters, Run serves until its context ends, and everything is closed again.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"gitlab.com/slipway-cd/slipway/chatops/slack"
	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/handlers"
	"gitlab.com/slipway-cd/slipway/handlers/web"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/store"
	"gitlab.com/slipway-cd/slipway/store/boltstore"
)

const (
	stopPatience = 10 * time.Second
	pruneEvery   = 6 * time.Hour
)

// Options for New.
type Options struct {
	Config *config.Config // required
	Logger *slog.Logger   // required
	// Listener serves instead of Config.Listen; for tests and the demo.
	Listener net.Listener
	// UnknownGrace is how long an effect waits that was under way when the process before
	// died; 0 is the store's default.
	UnknownGrace time.Duration
	// LongestPause is the engine's; for tests.
	LongestPause time.Duration
	// Apart builds what may take any amount of memory; nil lets this process do it.
	Apart func(context.Context, manifest.Kustomization) ([]byte, error)
}

// App is one running Slipway.
type App struct {
	o        Options
	log      *slog.Logger
	store    store.Store
	engine   *engine.Engine
	gitlab   *gitlab.Client
	clusters *clusters
	slack    *slack.Client // nil without
	metrics  *metrics
	changes  *changes
	calls    *calls
	places   *changes // of environments
	where    *environments
	deployer *deploy.Executor
	// attendance watches what may have to move.
	attendance *attendance
	server     http.Handler
	main       net.Listener
	own        net.Listener // for metrics, nil if they are on main
}

// New opens the database and builds everything. Nothing is served before Run.
func New(o Options) (*App, error) {
	if o.Config == nil || o.Logger == nil {
		return nil, errors.New("new app: a configuration and a logger are required")
	}
	a := &App{o: o, log: o.Logger, changes: newChanges(), calls: newCalls(), places: newChanges(), clusters: newClusters(o.Config, o.Logger)}
	if err := a.open(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func (a *App) open() error {
	s, err := boltstore.Open(boltstore.Options{
		Path: a.o.Config.Database, Logger: a.log, UnknownGrace: a.o.UnknownGrace,
	})
	if err != nil {
		return err
	}
	a.store = s
	a.metrics = newMetrics(a.store)
	if err := a.buildAdapters(); err != nil {
		return err
	}
	a.where = newEnvironments(a)
	a.attendance = newAttendance(a.deployer, a.where, a.log)
	if err := a.buildServer(); err != nil {
		return err
	}
	return a.listen()
}

func (a *App) buildServer() error {
	cfg := a.o.Config
	intake, err := newIntake(cfg, a.gitlab, a.store, a.engine, a.metrics, a.log)
	if err != nil {
		return err
	}
	o := handlers.Options{Hooks: intake, Health: a, Logger: a.log, Wishes: &wishes{
		cfg: cfg, gitlab: a.gitlab, store: a.store, inbox: a.engine, calls: a.calls, crowd: newCrowd(time.Now), log: a.log,
	}}
	if a.slack != nil {
		in, err := slack.NewInteractions(a.slack, deliverer{a})
		if err != nil {
			return err
		}
		o.Slack = &interactions{slack: in, metrics: a.metrics}
	}
	if cfg.Metrics.Listen == "" {
		o.Metrics = a.metrics.handler()
	}
	if cfg.Console.Access != "off" {
		console, err := web.New(web.Options{
			Source: &source{store: a.store, changes: a.changes}, Environments: placePages{a.where},
			URL: cfg.URL, Mention: cfg.GitLab.Mention, Logger: a.log,
		})
		if err != nil {
			return err
		}
		o.Console = guard(cfg.Console, console)
		o.Environments = placeAPI{a.where}
		o.Guard = func(next http.Handler) http.Handler { return guard(cfg.Console, next) }
	}
	a.server, err = handlers.New(o)
	return err
}

func (a *App) listen() error {
	var err error
	if a.main = a.o.Listener; a.main == nil {
		if a.main, err = net.Listen("tcp", a.o.Config.Listen); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
	}
	if at := a.o.Config.Metrics.Listen; at != "" {
		if a.own, err = net.Listen("tcp", at); err != nil {
			return fmt.Errorf("listen for metrics: %w", err)
		}
	}
	return nil
}

// Addr is where the server listens.
func (a *App) Addr() string { return a.main.Addr().String() }

// Ready tells whether work goes on.
func (a *App) Ready(ctx context.Context) error {
	if _, err := a.store.Stats(ctx); err != nil {
		return fmt.Errorf("the database cannot be read: %w", err)
	}
	if why := a.engine.Broken(); why != "" {
		return errors.New("the database cannot be written: " + why)
	}
	return nil
}

// Run serves until ctx ends, then lets requests and steps finish and closes the database.
func (a *App) Run(ctx context.Context) error {
	defer a.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.engine.Run(ctx) })
	g.Go(func() error { return a.prune(ctx) })
	g.Go(func() error { a.greet(ctx); return nil })
	g.Go(func() error { return a.attendance.run(ctx) })
	g.Go(func() error { return a.where.correct(ctx) })
	g.Go(func() error { a.sweep(ctx); return nil })
	g.Go(func() error { tidy(ctx); return nil })
	a.serve(ctx, g, a.main, a.server)
	if a.own != nil {
		mux := http.NewServeMux()
		mux.Handle("/metrics", a.metrics.handler())
		a.serve(ctx, g, a.own, mux)
	}
	a.log.Info("slipway is serving", "address", a.Addr(), "url", a.o.Config.URL)
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (a *App) serve(ctx context.Context, g *errgroup.Group, l net.Listener, h http.Handler) {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		// Streams of live updates end when the server stops.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	g.Go(func() error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		return srv.Shutdown(stop)
	})
}

// prune removes what the operator does not want to keep.
func (a *App) prune(ctx context.Context) error {
	t := time.NewTicker(pruneEvery)
	defer t.Stop()
	for {
		n, err := a.store.Prune(ctx, time.Now().AddDate(0, 0, -a.o.Config.Keep.Days))
		switch {
		case err != nil && ctx.Err() == nil:
			a.log.Error("remove old deliveries", "error", err)
		case n > 0:
			a.log.Info("removed old deliveries", "count", n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// Close releases what New opened. Run does it by itself.
func (a *App) Close() {
	for _, l := range []net.Listener{a.main, a.own} {
		if l != nil {
			_ = l.Close() // closed already where the server has stopped
		}
	}
	a.clusters.close()
	if a.store != nil {
		if err := a.store.Close(); err != nil {
			a.log.Error("close the database", "error", err)
		}
	}
}
