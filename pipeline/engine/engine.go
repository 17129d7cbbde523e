// Package engine drives the pure core against a store and executors: it claims
// aggregates that have events or are due, steps them, commits what follows in one
// transaction, and carries out the effects with a bounded pool per kind.
//
// Nothing that matters lives in the engine's memory. A process that is killed at any
// instruction is continued by the next one: events wait in the inbox, wake times in
// the store, and effects that had started come back marked "unknown".
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/store"
)

// The kinds of aggregate, as the store's ids begin.
const (
	KindDelivery    = "delivery"
	KindEnvironment = "environment"
)

// Delivery is the store's name of a delivery.
func Delivery(id string) store.ID { return store.ID(KindDelivery + "/" + id) }

// Environment is the store's name of an environment (see pipeline.EnvironmentID).
func Environment(id string) store.ID { return store.ID(KindEnvironment + "/" + id) }

// Executor carries out effects. See pipeline.Task for what it gets and returns.
type Executor interface {
	Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error)
}

// Pool carries out some kinds of action, so many at a time.
type Pool struct {
	Name     string // stored with the effects: don't rename
	Actions  []pipeline.Action
	Executor Executor
	Size     int           // effects at a time
	Timeout  time.Duration // of one attempt; 0 is none
	GiveUp   time.Duration // after the first attempt; then a Failed event follows. 0 is never
	// Yields: its effects wait a moment for those that move traffic.
	Yields bool
}

// Change is one committed step.
type Change struct {
	ID      store.ID
	Before  *pipeline.Delivery // nil for environments
	After   *pipeline.Delivery // nil for environments
	Events  []string           // kinds
	Effects int
	Lag     time.Duration // from the acceptance of the oldest event to the commit; 0 if there was none

	moves []store.EffectID // of traffic
}

// EffectDone is one finished attempt of an effect.
type EffectDone struct {
	Pool, Action string
	Took         time.Duration
	Failed       bool // tried again, or given up
	Unknown      bool // began with an unknown outcome before it
}

// Options for New.
type Options struct {
	Store  store.Store // required
	Pools  []Pool      // every kind of action in exactly one
	Logger *slog.Logger
	Now    func() time.Time // default time.Now
	// Steps at a time; default 8.
	Steppers int
	// LongestPause bounds how long a failed effect waits for its next try, also where the
	// other side asked for more; 0 does not. It is for tests.
	LongestPause time.Duration
	// OnChange and OnEffect hear what happened, after it is durable. They must be quick.
	OnChange func(Change)
	OnEffect func(EffectDone)
}

// Engine runs deliveries and environments.
type Engine struct {
	o       Options
	log     *slog.Logger
	pools   map[string]*Pool // by action kind
	plans   planCache
	running withdrawals
	untold  untold
	rush    rush
	began   time.Time              // the engine was made
	broken  atomic.Pointer[string] // why the store refuses writes, nil if it does not
	refused chan struct{}          // holds a token after a refused write
}

// New checks the options.
func New(o Options) (*Engine, error) {
	if o.Store == nil {
		return nil, errors.New("new engine: a store is required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Steppers <= 0 {
		o.Steppers = 8
	}
	e := &Engine{o: o, log: o.Logger, pools: map[string]*Pool{}, began: o.Now(), refused: make(chan struct{}, 1)}
	e.plans.store = o.Store
	for i := range o.Pools {
		p := &o.Pools[i]
		if p.Name == "" || p.Executor == nil || p.Size <= 0 {
			return nil, fmt.Errorf("new engine: pool %q needs a name, an executor and a size", p.Name)
		}
		for _, a := range p.Actions {
			if other, ok := e.pools[a.ActionKind()]; ok {
				return nil, fmt.Errorf("new engine: action %s is in pools %s and %s", a.ActionKind(), other.Name, p.Name)
			}
			e.pools[a.ActionKind()] = p
		}
	}
	return e, nil
}

// Deliver makes an event for a delivery durable. It returns false if an event with the
// key was accepted before.
func (e *Engine) Deliver(ctx context.Context, delivery, key string, ev pipeline.Event) (bool, error) {
	se, err := e.event(Delivery(delivery), key, ev)
	if err != nil {
		return false, err
	}
	accepted, err := e.o.Store.Deliver(ctx, se)
	if ctx.Err() == nil {
		e.healthy(err)
	}
	if err != nil {
		return false, fmt.Errorf("deliver %s to %s: %w", ev.EventKind(), delivery, err)
	}
	return accepted[0], nil
}

func (e *Engine) event(to store.ID, key string, ev pipeline.Event) (store.Event, error) {
	kind, data, err := pipeline.EncodeEvent(ev)
	if err != nil {
		return store.Event{}, err
	}
	return store.Event{To: to, Kind: kind, Key: key, At: e.o.Now().UTC(), Data: data}, nil
}

// Broken says why the engine makes no progress, "" if it does.
func (e *Engine) Broken() string {
	if why := e.broken.Load(); why != nil {
		return *why
	}
	return ""
}

// healthy notes what a write to the store gave.
func (e *Engine) healthy(err error) {
	switch {
	case err == nil:
		e.broken.Store(nil)
	case !errors.Is(err, store.ErrClosed):
		why := err.Error()
		e.broken.Store(&why)
		select {
		case e.refused <- struct{}{}:
		default:
		}
	}
}

// mend tries a write every second after the store refused one, until it takes one. As
// long as Broken says something, nobody may send anything here: it has to find out itself.
func (e *Engine) mend(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.refused:
		}
		for e.Broken() != "" {
			if err := pause(ctx, retryStep); err != nil {
				return err
			}
			if _, err := e.o.Store.PutBlob(ctx, []byte("does the store take writes again?")); ctx.Err() == nil {
				e.healthy(err)
			}
		}
	}
}

// Run works until ctx ends, then waits for what is under way and returns nil. An
// effect that is interrupted is tried again by the next Run.
func (e *Engine) Run(ctx context.Context) error {
	stopped := ctx
	g, ctx := errgroup.WithContext(ctx)
	withdrawn, err := e.o.Store.Withdrawn(ctx)
	if stopped.Err() != nil {
		return nil //nolint:nilerr // to be stopped is how it ends well
	}
	if err != nil {
		return fmt.Errorf("run engine: %w", err)
	}
	g.Go(func() error { e.running.watch(ctx, withdrawn); return nil })
	g.Go(func() error { return e.stepAll(ctx) })
	g.Go(func() error { return e.mend(ctx) })
	caughtUp := make(chan struct{})
	g.Go(func() error { defer close(caughtUp); return e.catchUp(ctx) })
	seen := map[string]bool{}
	for _, p := range e.pools {
		if !seen[p.Name] {
			seen[p.Name] = true
			g.Go(func() error { <-caughtUp; return e.runPool(ctx, p) })
		}
	}
	if err = g.Wait(); stopped.Err() != nil || errors.Is(err, store.ErrClosed) {
		return nil //nolint:nilerr // the same
	}
	return err
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// withdrawals cancels running effects that a step has withdrawn. A withdrawal may be
// heard before the effect that was just claimed is known here, so it is kept a while.
type withdrawals struct {
	mu      sync.Mutex
	cancels map[store.EffectID]context.CancelFunc
	early   map[store.EffectID]bool
}

// maxEarly bounds what is kept; most of it is for effects that ended by themselves.
const maxEarly = 1000

func (w *withdrawals) add(id store.EffectID, cancel context.CancelFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.early[id] {
		delete(w.early, id)
		cancel()
	}
	if w.cancels == nil {
		w.cancels = map[store.EffectID]context.CancelFunc{}
	}
	w.cancels[id] = cancel
}

func (w *withdrawals) remove(id store.EffectID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.cancels, id)
}

func (w *withdrawals) withdraw(id store.EffectID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cancel := w.cancels[id]; cancel != nil {
		cancel()
		return
	}
	if w.early == nil || len(w.early) >= maxEarly {
		w.early = map[store.EffectID]bool{}
	}
	w.early[id] = true
}

func (w *withdrawals) watch(ctx context.Context, withdrawn <-chan store.EffectID) {
	for {
		select {
		case <-ctx.Done():
			return
		case id, ok := <-withdrawn:
			if !ok {
				return
			}
			w.withdraw(id)
		}
	}
}
