package pipelinetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// guard holds what must be true after every step.
type guard struct {
	keys      map[string]bool
	histories map[string][]Taken
	pairs     map[string]bool // of canaries, that are in the cluster
	seeds     map[string]pipeline.Environment
}

func (g *guard) seeded(id string, e pipeline.Environment) {
	if g.seeds == nil {
		g.seeds = map[string]pipeline.Environment{}
	}
	g.seeds[id] = e
}

func (g *guard) check(w *World, t Taken) error {
	g.histories[t.ID] = append(g.histories[t.ID], t)
	for _, f := range t.Effects {
		key := t.ID + "\x00" + f.Key
		if g.keys[key] {
			return fmt.Errorf("%s: effect key %s is used twice", t.ID, f.Key)
		}
		g.keys[key] = true
	}
	if t.After != nil {
		if err := checkDelivery(t); err != nil {
			return fmt.Errorf("after %s: %w", t.Event.EventKind(), err)
		}
		if err := g.checkCanaries(t); err != nil {
			return fmt.Errorf("after %s: %w", t.Event.EventKind(), err)
		}
	}
	if err := w.checkMeasures(); err != nil {
		return err
	}
	if err := w.checkWatches(); err != nil {
		return err
	}
	return w.checkCluster()
}

func checkDelivery(t Taken) error {
	d := t.After
	finished := d.Status.Finished()
	switch {
	case finished != d.Wake.IsZero():
		return fmt.Errorf("%s is %s and wakes at %s", d.ID, d.Status, d.Wake)
	case !finished && !d.Wake.After(t.At):
		return fmt.Errorf("%s wakes at %s, which is not after %s", d.ID, d.Wake, t.At)
	case finished && d.Winding != "":
		return fmt.Errorf("%s has ended and is still winding to %s", d.ID, d.Winding)
	}
	if finished {
		for i := range d.Stages {
			if !d.Stages[i].Status.Finished() {
				return fmt.Errorf("%s has ended, and its stage %s is %s", d.ID, d.Stages[i].Name, d.Stages[i].Status)
			}
		}
	}
	for i := range d.Stages {
		if st := &d.Stages[i]; st.Status.Finished() && st.Held != 0 {
			return fmt.Errorf("%s: stage %s has ended and keeps the environment", d.ID, st.Name)
		}
	}
	v := pipeline.NewView(t.Plan, d)
	if finished && len(v.Questions) > 0 {
		return fmt.Errorf("%s has ended and asks", d.ID)
	}
	for _, r := range append([]string{v.Reason}, reasons(v)...) {
		if strings.Contains(r, "  ") || strings.HasPrefix(r, ":") || strings.HasSuffix(r, ": ") || strings.Contains(r, "()") {
			return fmt.Errorf("%s: reason %q", d.ID, r)
		}
	}
	if bad := d.Status == pipeline.StatusFailed || d.Status == pipeline.StatusRolledBack; bad && v.Reason == "" {
		return fmt.Errorf("%s is %s and does not say why", d.ID, d.Status)
	}
	if t.Before.Schema != 0 && t.Before.Status.Finished() && finished && t.Before.Ended.Equal(d.Ended) {
		for _, f := range t.Effects {
			switch f.Do.(type) {
			case pipeline.Answer, pipeline.Identify, pipeline.StartRollback, pipeline.Send, pipeline.Remove,
				pipeline.StartTearDown, pipeline.LookAtMergeRequest:
			case pipeline.WriteNote, pipeline.WriteMessage:
				if _, drawn := t.Event.(pipeline.ChartDrawn); drawn {
					continue // a picture for the note, which had ended before it was there
				}
				if len(d.Decisions) == len(t.Before.Decisions) && v.MayRollback == pipeline.NewView(t.Plan, t.Before).MayRollback {
					return fmt.Errorf("%s had ended, nobody decided anything or can decide otherwise now, and it emits %s", d.ID, f.Key)
				}
			default:
				return fmt.Errorf("%s had ended, and emits %s", d.ID, f.Key)
			}
		}
	}
	return roundTrip(d)
}

func reasons(v pipeline.View) (words []string) {
	for _, s := range v.Stages {
		words = append(words, s.Reason)
	}
	return words
}

func roundTrip(d *pipeline.Delivery) error {
	data, err := d.Encode()
	if err != nil {
		return err
	}
	back, err := pipeline.DecodeDelivery(data)
	if err != nil {
		return err
	}
	again, err := back.Encode()
	if err != nil {
		return fmt.Errorf("%s: %w", d.ID, err)
	}
	if !bytes.Equal(data, again) {
		return fmt.Errorf("%s does not survive its stored form: %s became %s", d.ID, data, again)
	}
	return nil
}

// checkCluster finds two effects that change or judge one environment at the same time,
// and those of a delivery that does not have the environment.
func (w *World) checkCluster() error {
	acting := map[string]Pending{}
	for _, p := range w.pending {
		if p.Withdrawn || !strings.HasPrefix(p.Effect.Slot, "cluster/") {
			continue
		}
		if o, ok := acting[p.Effect.Slot]; ok {
			return fmt.Errorf("%s of %s and %s of %s act on %s at the same time", o.Effect.Key, o.Of, p.Effect.Key, p.Of, p.Effect.Slot)
		}
		acting[p.Effect.Slot] = p
		id := pipeline.EnvironmentID(w.deliveries[p.Of].Project.ID, strings.TrimPrefix(p.Effect.Slot, "cluster/"))
		if e := w.environments[id]; e == nil || e.Holder == nil || e.Holder.Delivery != p.Of {
			return fmt.Errorf("%s of %s acts on %s without having the environment", p.Effect.Key, p.Of, id)
		}
	}
	return nil
}

// Drained tells what is left in the environments after every delivery has ended.
func (w *World) Drained() error {
	for _, id := range w.Deliveries() {
		if d := w.deliveries[id]; d != nil && !d.Status.Finished() {
			return fmt.Errorf("%s is still %s: %s", id, d.Status, summary(d))
		}
	}
	for _, id := range w.Environments() {
		if e := w.environments[id]; e != nil && !e.Idle() {
			return fmt.Errorf("environment %s is not idle: holder %+v, queue %+v, enrolled %+v", id, e.Holder, e.Queue, e.Enrolled)
		}
	}
	return nil
}

func summary(d *pipeline.Delivery) string {
	data, _ := json.Marshal(d)
	return string(data)
}

// Replay applies every history again, from stored forms, and compares states and effects.
func (w *World) Replay() error {
	for id, history := range w.guard.histories {
		if err := w.replay(id, history); err != nil {
			return fmt.Errorf("replay %s: %w", id, err)
		}
	}
	return nil
}

func (w *World) replay(id string, history []Taken) error {
	d, e := pipeline.Delivery{ID: id}, w.guard.seeds[id]
	if e.Schema == 0 {
		e.ID = id
	}
	for i, t := range history {
		var effects []pipeline.Effect
		var err error
		var got, want []byte
		if isEnvironment(id) {
			e, effects, err = pipeline.StepEnvironment(e, t.Event, t.At)
			got, want = stored(e), stored(t.AfterE)
			e, _ = pipeline.DecodeEnvironment(got)
		} else {
			d, effects, err = pipeline.Step(t.Plan, d, t.Event, t.At)
			got, want = stored(d), stored(t.After)
			d, _ = pipeline.DecodeDelivery(got)
		}
		switch {
		case err != nil:
			return err
		case !bytes.Equal(got, want):
			return fmt.Errorf("event %d (%s) gave %s, and now gives %s", i, t.Event.EventKind(), want, got)
		case !bytes.Equal(stored(t.Effects), stored(effects)):
			return fmt.Errorf("event %d (%s) asked for %s, and now for %s", i, t.Event.EventKind(), stored(t.Effects), stored(effects))
		}
	}
	return nil
}

func stored(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs of strings and numbers
	}
	return data
}
