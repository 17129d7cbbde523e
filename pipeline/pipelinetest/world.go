// Package pipelinetest is a small world for the pure core: deliveries and environments
// that talk to each other, effects that wait for a script's or a good world's outcome,
// and a clock that only the script moves. There is no engine and no store in it.
package pipelinetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// World holds aggregates, their inboxes and the effects that have not ended.
type World struct {
	// Now is the clock. Advance moves it.
	Now time.Time
	// OnStep hears of every step, nil if nobody wants to.
	OnStep func(Taken)

	plans        map[string]*pipeline.Plan
	deliveries   map[string]*pipeline.Delivery
	environments map[string]*pipeline.Environment
	order        []string // of all aggregates, by their first event
	inboxes      map[string][]pipeline.Event
	pending      []Pending
	guard        guard
}

// Pending is an effect that has not ended.
type Pending struct {
	Of     string // delivery
	Effect pipeline.Effect
	// Withdrawn: it was taken back, and may go on for a moment before it hears.
	Withdrawn bool
}

// Kind is the kind of its action.
func (p Pending) Kind() string { return p.Effect.Do.ActionKind() }

// Taken is one step: of a delivery, or of an environment.
type Taken struct {
	ID            string
	Event         pipeline.Event
	At            time.Time
	Before, After *pipeline.Delivery
	BeforeE       *pipeline.Environment
	AfterE        *pipeline.Environment
	Plan          *pipeline.Plan
	Effects       []pipeline.Effect
}

// New makes an empty world whose clock stands at now.
func New(now time.Time) *World {
	return &World{
		Now: now.UTC().Truncate(time.Millisecond), plans: map[string]*pipeline.Plan{}, deliveries: map[string]*pipeline.Delivery{},
		environments: map[string]*pipeline.Environment{}, inboxes: map[string][]pipeline.Event{},
		guard: guard{keys: map[string]bool{}, histories: map[string][]Taken{}, pairs: map[string]bool{}},
	}
}

// AddPlan makes a plan known under a reference.
func (w *World) AddPlan(ref string, p *pipeline.Plan) { w.plans[ref] = p }

// Plan finds the plan of a delivery, nil before it is known.
func (w *World) Plan(id string) *pipeline.Plan {
	if d := w.deliveries[id]; d != nil {
		return w.plans[d.PlanRef]
	}
	return nil
}

// Delivery is the newest state, nil if there is none. It must not be changed.
func (w *World) Delivery(id string) *pipeline.Delivery { return w.deliveries[id] }

// Environment is the newest state, nil if there is none. It must not be changed.
func (w *World) Environment(id string) *pipeline.Environment { return w.environments[id] }

// Deliveries are the ids of all deliveries, oldest first.
func (w *World) Deliveries() []string {
	return slices.DeleteFunc(slices.Clone(w.order), isEnvironment)
}

// Environments are the ids of all environments, oldest first.
func (w *World) Environments() []string {
	return slices.DeleteFunc(slices.Clone(w.order), func(id string) bool { return !isEnvironment(id) })
}

func isEnvironment(id string) bool { return strings.Contains(id, "/") }

// Seed gives an environment a release that runs there from the beginning.
func (w *World) Seed(project int64, name string, r pipeline.Release) {
	id := pipeline.EnvironmentID(project, name)
	e := w.environments[id]
	if e == nil {
		e = &pipeline.Environment{Schema: pipeline.EnvironmentSchema, ID: id, Project: project, Name: name}
		w.environments[id], w.order = e, append(w.order, id)
	}
	e.Releases = append(e.Releases, r)
	w.guard.seeded(id, *e)
}

// Send puts an event into an aggregate's inbox, as the store would keep it.
func (w *World) Send(id string, e pipeline.Event) error {
	kind, data, err := pipeline.EncodeEvent(e)
	if err != nil {
		return err
	}
	stored, err := pipeline.DecodeEvent(kind, data)
	if err != nil {
		return err
	}
	if !slices.Contains(w.order, id) {
		w.order = append(w.order, id)
	}
	w.inboxes[id] = append(w.inboxes[id], stored)
	return nil
}

// Waiting lists the aggregates whose inbox is not empty.
func (w *World) Waiting() []string {
	return slices.DeleteFunc(slices.Clone(w.order), func(id string) bool { return len(w.inboxes[id]) == 0 })
}

// Settle steps all aggregates until every inbox is empty.
func (w *World) Settle() error {
	for range 100_000 {
		ids := w.Waiting()
		if len(ids) == 0 {
			return nil
		}
		if err := w.StepOne(ids[0]); err != nil {
			return err
		}
	}
	return fmt.Errorf("settle: the aggregates never stop talking; waiting: %v", w.Waiting())
}

// StepOne takes the first event out of an inbox and applies it. The error says which
// rule the core has broken.
func (w *World) StepOne(id string) error {
	e := w.inboxes[id][0]
	w.inboxes[id] = w.inboxes[id][1:]
	return w.step(id, e)
}

func (w *World) step(id string, e pipeline.Event) error {
	t := Taken{ID: id, Event: e, At: w.Now}
	var err error
	if isEnvironment(id) {
		t, err = w.stepEnvironment(t)
	} else {
		t, err = w.stepDelivery(t)
	}
	if err != nil {
		return err
	}
	if err := w.carry(t); err != nil {
		return err
	}
	if w.OnStep != nil {
		w.OnStep(t)
	}
	return w.guard.check(w, t)
}

func (w *World) stepDelivery(t Taken) (Taken, error) {
	t.Before = w.deliveries[t.ID]
	if t.Before == nil {
		t.Before = &pipeline.Delivery{ID: t.ID}
	}
	ref := t.Before.PlanRef
	switch e := t.Event.(type) {
	case pipeline.Planned:
		ref = e.PlanRef
	case pipeline.RollbackStarted:
		ref = e.PlanRef
	case pipeline.TearDownStarted:
		ref = e.PlanRef
	}
	t.Plan = w.plans[ref]
	arguments := []any{t.Plan, t.Before, t.Event}
	given := stored(arguments)
	after, effects, err := pipeline.Step(t.Plan, *t.Before, t.Event, t.At)
	if err != nil {
		return t, err
	}
	if now := stored(arguments); !bytes.Equal(given, now) {
		return t, fmt.Errorf("step %s with %s changed its arguments from %s to %s", t.ID, t.Event.EventKind(), given, now)
	}
	t.After, t.Effects = &after, effects
	w.deliveries[t.ID] = t.After
	return t, nil
}

func (w *World) stepEnvironment(t Taken) (Taken, error) {
	t.BeforeE = w.environments[t.ID]
	if t.BeforeE == nil {
		t.BeforeE = &pipeline.Environment{ID: t.ID}
	}
	arguments := []any{t.BeforeE, t.Event}
	given := stored(arguments)
	after, effects, err := pipeline.StepEnvironment(*t.BeforeE, t.Event, t.At)
	if err != nil {
		return t, err
	}
	if now := stored(arguments); !bytes.Equal(given, now) {
		return t, fmt.Errorf("step %s with %s changed its arguments from %s to %s", t.ID, t.Event.EventKind(), given, now)
	}
	t.AfterE, t.Effects = &after, effects
	w.environments[t.ID] = t.AfterE
	return t, nil
}

// carry does with the effects of a step what the engine and the store do.
func (w *World) carry(t Taken) error {
	for _, f := range t.Effects {
		switch do := f.Do.(type) {
		case pipeline.Send:
			e, err := pipeline.DecodeEvent(do.Kind, do.Data)
			if err != nil {
				return err
			}
			to := do.Delivery
			if do.Environment != "" {
				to = do.Environment
			}
			if err := w.Send(to, e); err != nil {
				return err
			}
		case pipeline.Withdraw:
			for i := range w.pending {
				if w.pending[i].Of == t.ID && w.pending[i].Effect.Key == do.Key {
					w.pending[i].Withdrawn = true
				}
			}
		default:
			if f.Latest {
				w.pending = slices.DeleteFunc(w.pending, func(p Pending) bool {
					return p.Of == t.ID && p.Effect.Slot == f.Slot && p.Effect.Latest
				})
			}
			w.pending = append(w.pending, Pending{Of: t.ID, Effect: f})
		}
	}
	return nil
}

// Pending lists the effects that have not ended and may still say something, oldest
// first. Of those that share a slot only the first may run.
func (w *World) Pending() []Pending {
	var live []Pending
	slots := map[string]bool{}
	for _, p := range w.pending {
		slot := p.Of + "\x00" + p.Effect.Slot
		if p.Withdrawn || p.Effect.Slot != "" && slots[slot] {
			continue
		}
		slots[slot] = true
		live = append(live, p)
	}
	return live
}

// Find finds an effect that has not ended.
func (w *World) Find(of, key string) (Pending, bool) {
	for _, p := range w.Pending() {
		if p.Of == of && p.Effect.Key == key {
			return p, true
		}
	}
	return Pending{}, false
}

// Finish ends an effect. outcome is nil if nobody needs to hear.
func (w *World) Finish(p Pending, outcome pipeline.Event) error {
	w.pending = slices.DeleteFunc(w.pending, func(o Pending) bool { return o.Of == p.Of && o.Effect.Key == p.Effect.Key })
	if outcome == nil {
		return nil
	}
	return w.Send(p.Of, outcome)
}

// Ripe lists the aggregates whose wake time has come.
func (w *World) Ripe() []string {
	return slices.DeleteFunc(slices.Clone(w.order), func(id string) bool {
		t := w.wake(id)
		return t.IsZero() || t.After(w.Now)
	})
}

// Due is the next wake time of any aggregate, zero if all sleep for good.
func (w *World) Due() time.Time {
	var due time.Time
	for _, id := range w.order {
		if t := w.wake(id); !t.IsZero() && (due.IsZero() || t.Before(due)) {
			due = t
		}
	}
	return due
}

func (w *World) wake(id string) time.Time {
	if d := w.deliveries[id]; d != nil {
		return d.Wake
	}
	if e := w.environments[id]; e != nil {
		return e.Wake()
	}
	return time.Time{}
}

// Advance moves the clock and ticks what is due on the way, each at its own time.
func (w *World) Advance(by time.Duration) error {
	end := w.Now.Add(by)
	for {
		due := w.Due()
		if due.IsZero() || due.After(end) {
			w.Now = end
			return nil
		}
		if due.After(w.Now) {
			w.Now = due
		}
		for _, id := range w.Ripe() {
			if err := w.step(id, pipeline.Tick{}); err != nil {
				return err
			}
		}
		if err := w.Settle(); err != nil {
			return err
		}
	}
}
