package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/store"
)

const (
	firstBackoff   = 500 * time.Millisecond
	longestBackoff = 2 * time.Minute
	settleTimeout  = 10 * time.Second
	// doubtPause is what a call without an answer gets to end over there, before somebody
	// looks whether it was carried out.
	doubtPause    = 2 * time.Second
	longestDetail = 600 // bytes of an error that people see
)

// runPool claims the pool's effects and carries them out, so many at a time.
func (e *Engine) runPool(ctx context.Context, p *Pool) error {
	free := make(chan struct{}, p.Size)
	for range p.Size {
		free <- struct{}{}
	}
	defer func() { // interrupted effects are settled before the store may close
		for range p.Size {
			<-free
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-free:
		}
		claims, err := e.o.Store.ClaimEffects(ctx, p.Name, 1+len(free))
		if err != nil {
			free <- struct{}{}
			if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
				return err
			}
			e.healthy(err)
			e.log.Error("claim effects", "pool", p.Name, "error", err)
			if err := pause(ctx, retryStep); err != nil {
				return err
			}
			continue
		}
		for i, c := range claims {
			if i > 0 {
				<-free
			}
			go func() {
				defer func() { free <- struct{}{} }()
				e.execute(ctx, p, c)
			}()
		}
		if len(claims) == 0 {
			free <- struct{}{}
		}
	}
}

// execute carries out one attempt of one effect and settles it.
func (e *Engine) execute(ctx context.Context, p *Pool, c store.EffectClaim) {
	began := e.o.Now()
	e.untold.wait(ctx, c.Of, c.Slot)
	if p.Yields {
		e.rush.wait(ctx)
	}
	task, err := e.task(ctx, c)
	var outcome pipeline.Event
	if err == nil {
		outcome, err = e.attempt(ctx, p, c, task)
	}
	e.rush.end(store.EffectID{Of: c.Of, Key: c.Key})
	s := e.settlement(ctx, p, c, task, outcome, err)
	tale := e.untold.add(c.Of, c.Slot, s.Outcome)
	if !e.settle(ctx, s) {
		e.untold.drop(tale)
	}
	if e.o.OnEffect != nil && task != nil {
		e.o.OnEffect(EffectDone{
			Pool: p.Name, Action: task.Effect.Do.ActionKind(), Took: e.o.Now().Sub(began), Failed: err != nil, Unknown: c.Unknown,
		})
	}
}

// task reads what the executor needs: the action and the newest state.
func (e *Engine) task(ctx context.Context, c store.EffectClaim) (*pipeline.Task, error) {
	var stored storedEffect
	if err := json.Unmarshal(c.Data, &stored); err != nil {
		return nil, &pipeline.Failure{Code: pipeline.ReasonOther, Detail: "the stored effect cannot be read", Permanent: true, Err: err}
	}
	action, err := pipeline.DecodeAction(stored.Action, stored.Data)
	if err != nil {
		return nil, &pipeline.Failure{Code: pipeline.ReasonOther, Detail: "the stored effect cannot be read", Permanent: true, Err: err}
	}
	t := &pipeline.Task{
		Effect:  pipeline.Effect{Key: c.Key, Slot: c.Slot, Latest: c.Latest, Do: action},
		Attempt: c.Attempt, Unknown: c.Unknown, Progress: func(pipeline.Event) {},
	}
	doc, err := e.o.Store.Get(ctx, c.Of)
	if err != nil {
		return t, fmt.Errorf("read %s: %w", c.Of, err)
	}
	if t.Delivery, err = pipeline.DecodeDelivery(doc.Data); err != nil {
		return t, err
	}
	t.Plan, err = e.plans.get(ctx, t.Delivery.PlanRef)
	return t, err
}

func (e *Engine) attempt(ctx context.Context, p *Pool, c store.EffectClaim, t *pipeline.Task) (outcome pipeline.Event, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if p.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, p.Timeout)
		defer stop()
	}
	id := store.EffectID{Of: c.Of, Key: c.Key}
	e.running.add(id, cancel)
	defer e.running.remove(id)
	progress := &progress{engine: e, to: c.Of}
	defer progress.close()
	t.Progress = func(ev pipeline.Event) { progress.tell(ctx, ev) }
	t.Moved = func() { e.rush.end(id) }
	defer func() {
		if r := recover(); r != nil {
			e.log.Error("executor panicked", "effect", c.Key, "of", c.Of, "panic", r, "stack", string(debug.Stack()))
			err = &pipeline.Failure{Code: pipeline.ReasonOther, Detail: innerTrouble, Unknown: true, Err: fmt.Errorf("panic: %v", r)}
		}
	}()
	return p.Executor.Execute(ctx, t)
}

// settlement says what follows from an attempt.
func (e *Engine) settlement(ctx context.Context, p *Pool, c store.EffectClaim, t *pipeline.Task, outcome pipeline.Event, err error) store.Settlement {
	s := store.Settlement{Of: c.Of, Key: c.Key, Fence: c.Fence}
	if err == nil {
		if outcome != nil {
			s.Outcome = e.mustEvent(c.Of, outcome)
		}
		return s
	}
	now := e.o.Now()
	if ctx.Err() != nil { // the engine stops: the next one goes on
		s.RetryAt, s.Unknown, s.Reason = now.Add(e.atMost(doubtPause)), true, c.Reason
		return s
	}
	f := asFailure(err)
	detail := bounded(f.Detail)
	action, stage, attempt := "", "", 0
	if t != nil {
		action = t.Effect.Do.ActionKind()
		stage, attempt = pipeline.StageOf(t.Effect.Do)
	}
	// Time in which no engine ran does not count.
	since := c.Since
	if e.began.After(since) {
		since = e.began
	}
	gaveUp := p.GiveUp > 0 && now.Sub(since) > p.GiveUp
	log := e.log.With("effect", c.Key, "of", string(c.Of), "attempt", c.Attempt, "error", err)
	if f.Permanent || gaveUp {
		log.Warn("effect failed for good")
		s.Outcome = e.mustEvent(c.Of, pipeline.Failed{
			Effect: action, Key: c.Key, Stage: stage, Attempt: attempt, Code: f.Code, Detail: detail, Unchanged: f.Unchanged,
		})
		return s
	}
	log.Info("effect is tried again")
	// What an attempt before left open stays open: this one may not even have looked.
	s.RetryAt, s.Reason, s.Unknown = now.Add(e.until(f, c.Attempt)), detail, f.Unknown || c.Unknown
	if detail != c.Reason {
		s.Notice = e.mustEvent(c.Of, pipeline.Delayed{Effect: action, Stage: stage, Attempt: attempt, Code: f.Code, Detail: detail})
	}
	return s
}

// innerTrouble is what people read of an error that was not made for them. The log has it whole.
const innerTrouble = "something went wrong inside Slipway, and its log says what"

// asFailure finds the failure in an error. One without may name files, addresses and other
// internals, so its own words are for the log only.
func asFailure(err error) *pipeline.Failure {
	if f, ok := pipeline.AsFailure(err); ok {
		return f
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &pipeline.Failure{Code: pipeline.ReasonOther, Detail: "it did not end in the time that one try has", Unknown: true, Err: err}
	}
	return &pipeline.Failure{Code: pipeline.ReasonOther, Detail: innerTrouble, Err: err}
}

// until is how long a failed effect waits for its next try.
func (e *Engine) until(f *pipeline.Failure, attempt int) time.Duration {
	wait := max(f.After, backoff(attempt))
	if f.Unknown {
		wait = max(wait, doubtPause)
	}
	return e.atMost(wait)
}

func (e *Engine) atMost(wait time.Duration) time.Duration {
	if e.o.LongestPause > 0 {
		return min(wait, e.o.LongestPause)
	}
	return wait
}

func (e *Engine) mustEvent(to store.ID, ev pipeline.Event) *store.Event {
	se, err := e.event(to, "", ev)
	if err != nil {
		// Events are plain structs of strings and numbers, so encoding cannot fail.
		panic(err)
	}
	return &se
}

// settle writes the settlement, also while the engine stops. If the store refuses, it
// is tried until the engine stops; then the effect comes back as unknown. It tells
// whether the outcome is in the inbox.
func (e *Engine) settle(ctx context.Context, s store.Settlement) bool {
	for wait := firstBackoff; ; wait = min(2*wait, longestBackoff) {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
		err := e.o.Store.Settle(sctx, s)
		cancel()
		switch {
		case err == nil:
			e.healthy(nil)
			return true
		case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrFenced), errors.Is(err, store.ErrClosed):
			return false // withdrawn, taken over, or over
		}
		e.healthy(err)
		e.log.Error("settle effect", "effect", s.Key, "of", string(s.Of), "error", err)
		if pause(ctx, wait) != nil {
			return false
		}
	}
}

// backoff grows from half a second to two minutes, with a quarter of jitter.
func backoff(attempt int) time.Duration {
	d := min(firstBackoff<<min(attempt-1, 10), longestBackoff)
	return d - time.Duration(rand.Int64N(int64(d)/4)) //nolint:gosec // jitter
}

// bounded keeps an error short enough for a note, and whole runes.
func bounded(detail string) string {
	if len(detail) <= longestDetail {
		return detail
	}
	return strings.ToValidUTF8(detail[:longestDetail], "") + " …"
}

// progress delivers interim events in order, one at a time, and drops all but the
// newest of those that come meanwhile.
type progress struct {
	engine *Engine
	to     store.ID

	mu      sync.Mutex
	next    pipeline.Event
	busy    bool
	closed  bool
	drained chan struct{}
}

func (p *progress) tell(ctx context.Context, ev pipeline.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.next = ev
	if p.busy {
		return
	}
	p.busy, p.drained = true, make(chan struct{})
	go p.drain(ctx)
}

func (p *progress) drain(ctx context.Context) {
	defer close(p.drained)
	for {
		p.mu.Lock()
		ev := p.next
		p.next = nil
		if ev == nil {
			p.busy = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		if _, err := p.engine.o.Store.Deliver(ctx, *p.engine.mustEvent(p.to, ev)); err != nil && ctx.Err() == nil {
			p.engine.log.Warn("deliver progress", "of", string(p.to), "error", err)
		}
	}
}

// close waits for the last one, so that no progress comes after the outcome.
func (p *progress) close() {
	p.mu.Lock()
	p.closed = true
	drained := p.drained
	p.mu.Unlock()
	if drained != nil {
		<-drained
	}
}
