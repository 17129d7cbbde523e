package boltstore

import (
	"fmt"

	"gitlab.com/slipway-cd/slipway/store"
)

// comparison is the job of Check that holds memory against the file. As a job it
// runs between two transactions, when both must be the same.
type comparison struct{ problems []store.Problem }

func (j *comparison) problem(id store.ID, format string, args ...any) {
	j.problems = append(j.problems, store.Problem{ID: id, What: "in memory: " + fmt.Sprintf(format, args...)})
}

// check compares only what no other job of the same batch has changed.
func (j *comparison) check(b *batch) error {
	j.problems = nil
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	c := b.store.schedule
	changed := func(id store.ID) bool {
		_, touched := b.touched[id]
		_, ended := b.ended[id]
		return touched || ended
	}
	j.dues(b, c, changed)
	if len(b.touched) == 0 && len(b.ended) == 0 {
		j.events(b, c)
	}
	for _, a := range c.aggregates {
		j.alarm(a)
	}
	return nil
}

func (j *comparison) dues(b *batch, c *schedule, changed func(store.ID) bool) {
	live := 0
	_ = b.due.ForEach(func(k, v []byte) error { // fails only if the function does
		id := store.ID(k)
		live++
		a := c.aggregates[id]
		switch {
		case changed(id):
		case a == nil:
			j.problem(id, "it is live and not known")
		case a.due != int64(number(v)):
			j.problem(id, "it is due at %s, in the file at %s", fromNanos(a.due), fromNanos(int64(number(v))))
		}
		return nil
	})
	if len(b.ended) == 0 && live != c.live {
		j.problem("", "%d are live, in the file %d", c.live, live)
	}
}

func (j *comparison) events(b *batch, c *schedule) {
	known := map[uint64]store.ID{}
	for id, a := range c.aggregates {
		if a.work == nil {
			continue
		}
		for _, seq := range a.work.events {
			known[seq] = id
		}
	}
	rows := 0
	_ = b.inbox.ForEach(func(k, v []byte) error {
		rows++
		if to, err := eventTo(v); err == nil && known[number(k)] != store.ID(to) {
			j.problem(store.ID(to), "event %d is not known", number(k))
		}
		return nil
	})
	if rows != len(known) || rows != c.inbox {
		j.problem("", "%d events wait, counted as %d, in the file %d", len(known), c.inbox, rows)
	}
}

// alarm proves that an aggregate that sleeps will wake.
func (j *comparison) alarm(a *aggregate) {
	at, ok := a.wake()
	switch {
	case a.mode != resting:
	case ok && a.alarm.index == 0:
		j.problem(a.id, "it will not wake")
	case ok && a.alarm.at != at:
		j.problem(a.id, "it wakes at %s instead of %s", fromNanos(a.alarm.at), fromNanos(at))
	case !ok && a.alarm.index != 0:
		j.problem(a.id, "it wakes at %s for nothing", fromNanos(a.alarm.at))
	}
}

func (j *comparison) write(*batch) error { return nil }

func (j *comparison) applied(*Store) {}
