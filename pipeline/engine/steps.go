package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/store"
)

const (
	// retryStep is how long a step waits after the store refused it, as with a full disk.
	retryStep = time.Second
	// lateTick is how long an aggregate sleeps whose tick could not be applied.
	lateTick = time.Minute
	// idleTick wakes an environment that nobody wants.
	idleTick = 30 * 24 * time.Hour
)

// stepAll claims aggregates and steps them, so many at a time.
func (e *Engine) stepAll(ctx context.Context) error {
	free := make(chan struct{}, e.o.Steppers)
	for range e.o.Steppers {
		free <- struct{}{}
	}
	defer func() { // what is under way ends before the store may close
		for range e.o.Steppers {
			<-free
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-free:
		}
		claims, err := e.o.Store.Claim(ctx, 1+len(free))
		if err != nil {
			free <- struct{}{}
			if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
				return err
			}
			e.log.Error("claim work", "error", err)
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
				e.step(ctx, c)
			}()
		}
		if len(claims) == 0 {
			free <- struct{}{}
		}
	}
}

// step takes one aggregate through its events and commits what follows.
func (e *Engine) step(ctx context.Context, c store.Claim) {
	// A step that has begun is finished also while the engine stops: it takes no time.
	ctx = context.WithoutCancel(ctx)
	var commit store.Commit
	var change Change
	var err error
	if c.ID.Kind() == KindEnvironment {
		commit, change, err = e.stepEnvironment(c)
	} else {
		commit, change, err = e.stepDelivery(ctx, c)
	}
	if err == nil {
		e.rush.begin(change.moves)
		if err = e.o.Store.Commit(ctx, commit); err != nil && !errors.Is(err, store.ErrFenced) && !errors.Is(err, store.ErrConflict) {
			e.healthy(err)
		}
	}
	if err != nil {
		e.rush.end(change.moves...)
	}
	switch {
	case err == nil:
		e.healthy(nil)
		e.untold.applied(c.ID, c.Events)
		if e.o.OnChange != nil {
			if len(c.Events) > 0 {
				change.Lag = e.o.Now().Sub(c.Events[0].At)
			}
			e.o.OnChange(change)
		}
	case errors.Is(err, store.ErrFenced), errors.Is(err, store.ErrConflict):
		e.log.Warn("step was overtaken", "id", c.ID, "error", err)
	default:
		e.log.Error("step", "id", c.ID, "error", err)
		if err := e.o.Store.Release(ctx, c, e.o.Now().Add(retryStep)); err != nil {
			e.log.Error("release a claim", "id", c.ID, "error", err)
		}
	}
}

// inbox is what one claim brings, decoded, with the tick last.
func (e *Engine) inbox(c store.Claim) []pipeline.Event {
	events := make([]pipeline.Event, 0, len(c.Events)+1)
	for _, q := range c.Events {
		ev, err := pipeline.DecodeEvent(q.Kind, q.Data)
		if err != nil {
			// An event that cannot be read must not hold up those behind it.
			e.log.Error("read event", "id", c.ID, "seq", q.Seq, "kind", q.Kind, "error", err)
			continue
		}
		events = append(events, ev)
	}
	if c.IsDue {
		events = append(events, pipeline.Tick{})
	}
	return events
}

func (e *Engine) stepDelivery(ctx context.Context, c store.Claim) (store.Commit, Change, error) {
	d := pipeline.Delivery{ID: string(c.ID[len(KindDelivery)+1:])}
	if len(c.Data) > 0 {
		var err error
		if d, err = pipeline.DecodeDelivery(c.Data); err != nil {
			return store.Commit{}, Change{}, err
		}
	}
	before := d
	now := e.o.Now().UTC().Truncate(time.Millisecond)
	b := e.begin(c, now)
	for _, ev := range e.inbox(c) {
		ref := planRef(ev)
		if ref == "" {
			ref = d.PlanRef
		}
		plan, err := e.plans.get(ctx, ref)
		if err != nil {
			return store.Commit{}, Change{}, err
		}
		var next pipeline.Delivery
		var effects []pipeline.Effect
		err = guarded(func() (err error) { next, effects, err = pipeline.Step(plan, d, ev, now); return err })
		if err != nil {
			e.log.Error("step", "delivery", d.ID, "event", ev.EventKind(), "error", err)
			continue
		}
		d = next
		if err := b.add(ev, effects); err != nil {
			return store.Commit{}, Change{}, err
		}
	}
	data, err := d.Encode()
	if err != nil {
		return store.Commit{}, Change{}, fmt.Errorf("encode delivery %s: %w", d.ID, err)
	}
	b.commit.Data, b.commit.Index = data, indexOf(&d)
	b.commit.Finished, b.commit.Due = d.Status.Finished() || d.Schema == 0, b.after(d.Wake)
	b.commit.Blobs = blobsOf(&d)
	b.change.Before, b.change.After = &before, &d
	return b.commit, b.change, nil
}

func (e *Engine) stepEnvironment(c store.Claim) (store.Commit, Change, error) {
	env := pipeline.Environment{ID: string(c.ID[len(KindEnvironment)+1:])}
	if len(c.Data) > 0 {
		var err error
		if env, err = pipeline.DecodeEnvironment(c.Data); err != nil {
			return store.Commit{}, Change{}, err
		}
	}
	now := e.o.Now().UTC().Truncate(time.Millisecond)
	b := e.begin(c, now)
	for _, ev := range e.inbox(c) {
		var next pipeline.Environment
		var effects []pipeline.Effect
		err := guarded(func() (err error) { next, effects, err = pipeline.StepEnvironment(env, ev, now); return err })
		if err != nil {
			e.log.Error("step", "environment", env.ID, "event", ev.EventKind(), "error", err)
			continue
		}
		env = next
		if err := b.add(ev, effects); err != nil {
			return store.Commit{}, Change{}, err
		}
	}
	data, err := env.Encode()
	if err != nil {
		return store.Commit{}, Change{}, fmt.Errorf("encode environment %s: %w", env.ID, err)
	}
	b.commit.Data = data
	b.commit.Index = store.Index{Project: env.Project, Title: env.Name, Started: env.Updated}
	// What runs there, or that nobody knows it, is never forgotten, however long nobody deploys: it is what the next
	// release that fails goes back to, and what keeps older commits out.
	b.commit.Finished, b.commit.Due = env.Idle() && env.Empty(), b.after(env.Wake())
	if b.commit.Due.IsZero() {
		b.commit.Due = now.Add(idleTick)
	}
	b.commit.Blobs = blobsOfEnvironment(&env)
	return b.commit, b.change, nil
}

// builder gathers what a claim's events change.
type builder struct {
	engine *Engine
	commit store.Commit
	change Change
	now    time.Time
}

func (e *Engine) begin(c store.Claim, now time.Time) *builder {
	b := &builder{engine: e, now: now, change: Change{ID: c.ID}}
	b.commit = store.Commit{ID: c.ID, Fence: c.Fence, Version: c.Version}
	for _, q := range c.Events {
		b.commit.Consumed = append(b.commit.Consumed, q.Seq)
	}
	return b
}

// after is the time at which an aggregate wants to wake, if it is still to come. One that
// has passed, because the tick that was for it could not be applied, would wake it at once
// for ever.
func (b *builder) after(wake time.Time) time.Time {
	if !wake.IsZero() && !wake.After(b.now) {
		return b.now.Add(lateTick)
	}
	return wake
}

// guarded makes an error of a panic: one event that the core cannot take must not end the
// process, which would meet it again when it starts.
func guarded(step func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return step()
}

// add records an applied event and what it asks for.
func (b *builder) add(ev pipeline.Event, effects []pipeline.Effect) error {
	kind, data, err := pipeline.EncodeEvent(ev)
	if err != nil {
		return err
	}
	b.commit.History = append(b.commit.History, store.Entry{At: b.now, Kind: kind, Data: data})
	b.change.Events = append(b.change.Events, kind)
	for _, f := range effects {
		switch do := f.Do.(type) {
		case pipeline.Send:
			to := Delivery(do.Delivery)
			if do.Environment != "" {
				to = Environment(do.Environment)
			}
			b.commit.Messages = append(b.commit.Messages, store.Event{To: to, Kind: do.Kind, At: b.now, Data: do.Data})
		case pipeline.Withdraw:
			// The effect may have been asked for by an earlier event of the same claim; the
			// store knows only those of earlier commits.
			b.commit.Effects = slices.DeleteFunc(b.commit.Effects, func(f store.Effect) bool { return f.Key == do.Key })
			b.commit.Withdraw = append(b.commit.Withdraw, do.Key)
		default:
			stored, err := b.engine.stored(b.commit.ID, f)
			if err != nil {
				return err
			}
			b.commit.Effects = append(b.commit.Effects, stored)
			b.change.Effects++
			if pipeline.MovesTraffic(f.Do) {
				b.change.moves = append(b.change.moves, store.EffectID{Of: b.commit.ID, Key: f.Key})
			}
		}
	}
	return nil
}

// storedEffect is the form in which an effect is kept.
type storedEffect struct {
	Action string          `json:"action"`
	Data   json.RawMessage `json:"data"`
}

func (e *Engine) stored(of store.ID, f pipeline.Effect) (store.Effect, error) {
	kind, data, err := pipeline.EncodeAction(f.Do)
	if err != nil {
		return store.Effect{}, err
	}
	pool, ok := e.pools[kind]
	if !ok {
		return store.Effect{}, fmt.Errorf("effect %s of %s: no pool carries out %s", f.Key, of, kind)
	}
	data, err = json.Marshal(storedEffect{Action: kind, Data: data})
	if err != nil {
		return store.Effect{}, fmt.Errorf("encode effect %s of %s: %w", f.Key, of, err)
	}
	return store.Effect{Key: f.Key, Of: of, Kind: pool.Name, Slot: f.Slot, Latest: f.Latest, Data: data}, nil
}

func indexOf(d *pipeline.Delivery) store.Index {
	return store.Index{
		Project: d.Project.ID, MergeRequest: d.MergeRequest.IID, SHA: d.SHA, Status: string(d.Status),
		Title: d.MergeRequest.Title, Started: d.Created, Hidden: d.Status == pipeline.StatusNone || d.Schema == 0,
	}
}

// blobsOf lists what the delivery still needs: its plan and the manifests of the
// releases that it may go back to.
func blobsOf(d *pipeline.Delivery) []string {
	seen := map[string]bool{"": true}
	var refs []string
	add := func(ref string) {
		if !seen[ref] {
			seen[ref] = true
			refs = append(refs, ref)
		}
	}
	add(d.PlanRef)
	for i := range d.Stages {
		st := &d.Stages[i]
		if st.Ran != nil {
			add(st.Ran.Log)
		}
		releases := []*pipeline.Release{st.Previous, st.Release, st.Target}
		if st.Analysis != nil {
			add(st.Analysis.Samples)
			releases = append(releases, st.Analysis.Compare)
		}
		if st.Unsure != nil {
			releases = append(releases, st.Unsure.Left)
		}
		for _, r := range releases {
			if r != nil {
				add(r.Manifests)
			}
		}
	}
	return refs
}

// blobsOfEnvironment lists the manifests of the releases that may be gone back to, or are still to be removed.
func blobsOfEnvironment(env *pipeline.Environment) (refs []string) {
	for _, r := range env.Releases {
		refs = append(refs, r.Manifests)
	}
	for _, k := range env.Kept {
		refs = append(refs, k.Release.Manifests)
	}
	if u := env.Unsure; u != nil && u.Left != nil {
		refs = append(refs, u.Left.Manifests)
	}
	return refs
}
