package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"gitlab.com/slipway-cd/slipway/store"
)

// RunModel holds a store against a simple model of it, with random calls in random order.
func RunModel(t *testing.T, open Open) {
	rapid.Check(t, func(rt *rapid.T) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		m := &model{ctx: ctx, open: open(t), seen: map[string]bool{}, aggregates: map[store.ID]*modelAggregate{}}
		m.store = m.open()
		defer func() { _ = m.store.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"":             m.compare,
			"deliver":      m.deliver,
			"claim":        m.claim,
			"commit":       m.commit,
			"commit stale": m.commitStale,
			"release":      m.release,
			"start":        m.start,
			"settle":       m.settle,
			"settle stale": m.settleStale,
			"crash":        m.crash,
		})
	})
}

// model is what a store should be.
type model struct {
	ctx        context.Context
	open       func() store.Store
	store      store.Store
	seen       map[string]bool
	aggregates map[store.ID]*modelAggregate
	claims     []store.Claim // valid ones
	ended      []store.Claim
	running    []store.EffectClaim
	over       []store.EffectClaim // attempts that have ended
	emitted    int
}

type modelAggregate struct {
	version  uint64
	data     []byte
	finished bool
	claimed  bool
	inbox    []string // what the events carry
	effects  []*modelEffect
	history  []string
}

type modelEffect struct {
	key, slot                string
	latest, running, unknown bool
	withdrawn                bool // while it ran
	attempts                 int
	fence                    uint64
}

func (m *model) aggregate(id store.ID) *modelAggregate {
	if m.aggregates[id] == nil {
		m.aggregates[id] = &modelAggregate{}
	}
	return m.aggregates[id]
}

func (m *model) must(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func anyID() *rapid.Generator[store.ID] {
	return rapid.SampledFrom([]store.ID{"delivery/1", "delivery/12", "environment/1"})
}

func (m *model) someEvents(t *rapid.T, most int) []store.Event {
	var list []store.Event
	for range rapid.IntRange(0, most).Draw(t, "events") {
		m.emitted++
		list = append(list, store.Event{
			To: anyID().Draw(t, "to"), Kind: "poke", At: moment(1), Data: fmt.Append(nil, m.emitted),
			Key: rapid.SampledFrom([]string{"", "", "a", "b", fmt.Sprint("k", m.emitted)}).Draw(t, "key"),
		})
	}
	return list
}

// receive is what the model does with an event.
func (m *model) receive(e store.Event) bool {
	if e.Key != "" && m.seen[e.Key] {
		return false
	}
	m.seen[e.Key] = true
	a := m.aggregate(e.To)
	a.inbox = append(a.inbox, string(e.Data))
	return true
}

func (m *model) deliver(t *rapid.T) {
	events := m.someEvents(t, 3)
	got, err := m.store.Deliver(m.ctx, events...)
	m.must(t, err)
	for i, e := range events {
		if want := m.receive(e); got[i] != want {
			t.Fatalf("event %d with the key %q: accepted is %t", i, e.Key, got[i])
		}
	}
}

func (m *model) claim(t *rapid.T) {
	ready := 0
	for _, a := range m.aggregates {
		if len(a.inbox) > 0 && !a.claimed {
			ready++
		}
	}
	if ready == 0 {
		t.Skip("nothing can be claimed")
	}
	limit := rapid.IntRange(1, 3).Draw(t, "limit")
	claims, err := m.store.Claim(m.ctx, limit)
	m.must(t, err)
	if len(claims) != min(limit, ready) {
		t.Fatalf("%d claims of %d", len(claims), ready)
	}
	for _, c := range claims {
		a := m.aggregate(c.ID)
		if a.claimed || c.Version != a.version || !bytes.Equal(c.Data, a.data) || c.Finished != a.finished || c.IsDue {
			t.Fatalf("claimed %+v of %+v", c, a)
		}
		var got []string
		for _, e := range c.Events {
			got = append(got, string(e.Data))
		}
		if d := cmp.Diff(a.inbox[:min(len(a.inbox), 64)], got); d != "" {
			t.Fatal(d)
		}
		a.claimed = true
		m.claims = append(m.claims, c)
	}
}

// takeClaim ends a valid claim, for one that uses it.
func (m *model) takeClaim(t *rapid.T) store.Claim {
	if len(m.claims) == 0 {
		t.Skip("nothing is claimed")
	}
	i := rapid.IntRange(0, len(m.claims)-1).Draw(t, "claim")
	c := m.claims[i]
	m.claims = slices.Delete(m.claims, i, i+1)
	m.ended = append(m.ended, c)
	m.aggregate(c.ID).claimed = false
	return c
}

func (m *model) release(t *rapid.T) {
	m.must(t, m.store.Release(m.ctx, m.takeClaim(t), time.Time{}))
}

func (m *model) commit(t *rapid.T) {
	c := m.takeClaim(t)
	a := m.aggregate(c.ID)
	consumed := rapid.IntRange(0, len(c.Events)).Draw(t, "consumed")
	s := step(c)
	s.Consumed, s.History = s.Consumed[:consumed], s.History[:consumed]
	s.Finished = rapid.Bool().Draw(t, "finished")
	s.Messages = m.someEvents(t, 2)
	s.Withdraw = m.someKeys(t, a)
	for range rapid.IntRange(0, 3).Draw(t, "effects") {
		m.emitted++
		slot := rapid.SampledFrom([]string{"", "s", "note"}).Draw(t, "slot")
		s.Effects = append(s.Effects, store.Effect{Key: fmt.Sprint("e", m.emitted), Kind: "deploy", Slot: slot, Latest: slot == "note"})
	}
	m.must(t, m.store.Commit(m.ctx, s))
	a.version++
	a.data, a.finished = s.Data, s.Finished
	a.history = append(a.history, a.inbox[:consumed]...)
	a.inbox = slices.Clone(a.inbox[consumed:])
	a.withdraw(s.Withdraw)
	for _, e := range s.Effects {
		a.emit(e)
	}
	for _, e := range s.Messages {
		m.receive(e)
	}
}

func (m *model) someKeys(t *rapid.T, a *modelAggregate) []string {
	var keys []string
	for _, e := range a.effects {
		if rapid.IntRange(0, 4).Draw(t, "withdraw") == 0 {
			keys = append(keys, e.key)
		}
	}
	return keys
}

func (a *modelAggregate) withdraw(keys []string) {
	for _, e := range a.effects {
		e.withdrawn = e.withdrawn || slices.Contains(keys, e.key)
	}
	a.effects = slices.DeleteFunc(a.effects, func(e *modelEffect) bool { return e.withdrawn && !e.running })
}

func (a *modelAggregate) emit(n store.Effect) {
	if n.Latest {
		a.effects = slices.DeleteFunc(a.effects, func(e *modelEffect) bool {
			return e.latest && e.slot == n.Slot && e.attempts == 0
		})
	}
	a.effects = append(a.effects, &modelEffect{key: n.Key, slot: n.Slot, latest: n.Latest})
}

func (m *model) commitStale(t *rapid.T) {
	if len(m.ended) == 0 {
		t.Skip("no claim has ended")
	}
	c := rapid.SampledFrom(m.ended).Draw(t, "ended")
	if err := m.store.Commit(m.ctx, step(c)); !errors.Is(err, store.ErrFenced) {
		t.Fatalf("a step with a claim that has ended: %v", err)
	}
}

// runnable are the effects that may run now.
func (m *model) runnable() map[string]*modelEffect {
	list := map[string]*modelEffect{}
	for id, a := range m.aggregates {
		busy := map[string]bool{}
		for _, e := range a.effects {
			if !e.running && (e.slot == "" || !busy[e.slot]) {
				list[string(id)+" "+e.key] = e
			}
			busy[e.slot] = true
		}
	}
	return list
}

func (m *model) start(t *rapid.T) {
	list := m.runnable()
	if len(list) == 0 {
		t.Skip("no effect may run")
	}
	limit := rapid.IntRange(1, 3).Draw(t, "limit")
	claims, err := m.store.ClaimEffects(m.ctx, "deploy", limit)
	m.must(t, err)
	if len(claims) != min(limit, len(list)) {
		t.Fatalf("%d effects of %d", len(claims), len(list))
	}
	for _, c := range claims {
		e := list[string(c.Of)+" "+c.Key]
		if e == nil || e.running || c.Attempt != e.attempts+1 || c.Unknown != e.unknown {
			t.Fatalf("claimed %+v of %+v", c, e)
		}
		e.running, e.attempts, e.fence = true, e.attempts+1, c.Fence
		m.running = append(m.running, c)
	}
}

func (m *model) settle(t *rapid.T) {
	if len(m.running) == 0 {
		t.Skip("nothing runs")
	}
	i := rapid.IntRange(0, len(m.running)-1).Draw(t, "effect")
	c := m.running[i]
	m.running = slices.Delete(m.running, i, i+1)
	m.over = append(m.over, c)
	a := m.aggregate(c.Of)
	at := slices.IndexFunc(a.effects, func(e *modelEffect) bool { return e.fence == c.Fence })
	e := a.effects[at]
	s := settlement(c)
	m.emitted++
	news := &store.Event{To: c.Of, Kind: "news", Data: fmt.Append(nil, m.emitted)}
	again := rapid.Bool().Draw(t, "again")
	if again {
		s.RetryAt, s.Notice, s.Unknown = time.Now().Add(-time.Second), news, rapid.Bool().Draw(t, "unknown")
	} else {
		s.Outcome = news
	}
	err := m.store.Settle(m.ctx, s)
	if e.withdrawn {
		if !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("a withdrawn effect was settled: %v", err)
		}
		a.effects = slices.Delete(a.effects, at, at+1)
		return
	}
	m.must(t, err)
	if again {
		e.running, e.unknown, e.fence = false, s.Unknown, 0
	} else {
		a.effects = slices.Delete(a.effects, at, at+1)
	}
	m.receive(*news)
}

func (m *model) settleStale(t *rapid.T) {
	if len(m.over) == 0 {
		t.Skip("no attempt is over")
	}
	s := settlement(rapid.SampledFrom(m.over).Draw(t, "over"))
	s.Outcome = &store.Event{Kind: "news"}
	if err := m.store.Settle(m.ctx, s); !errors.Is(err, store.ErrFenced) && !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("an attempt that is over was settled again: %v", err)
	}
}

func (m *model) crash(t *rapid.T) {
	m.store = m.open()
	m.ended = append(m.ended, m.claims...)
	m.over = append(m.over, m.running...)
	m.claims, m.running = nil, nil
	for _, a := range m.aggregates {
		a.claimed = false
		a.effects = slices.DeleteFunc(a.effects, func(e *modelEffect) bool { return e.withdrawn })
		for _, e := range a.effects {
			e.unknown = e.unknown || e.running
			e.running, e.fence = false, 0
		}
	}
}

// compare holds everything that can be read against the model.
func (m *model) compare(t *rapid.T) {
	var want store.Stats
	for id, a := range m.aggregates {
		m.compareAggregate(t, id, a)
		want.Inbox += len(a.inbox)
		for _, e := range a.effects {
			if e.running {
				want.EffectsRunning++
			} else {
				want.EffectsPending++
			}
		}
		if a.version > 0 && a.finished {
			want.Finished++
		} else if a.version > 0 {
			want.Live++
		}
	}
	got, err := m.store.Stats(m.ctx)
	m.must(t, err)
	got.Size, got.OldestEvent = 0, time.Time{}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	problems, err := m.store.Check(m.ctx)
	m.must(t, err)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
}

func (m *model) compareAggregate(t *rapid.T, id store.ID, a *modelAggregate) {
	d, err := m.store.Get(m.ctx, id)
	if a.version == 0 {
		if !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("%s: %v", id, err)
		}
		return
	}
	m.must(t, err)
	if d.Version != a.version || d.Finished != a.finished || !bytes.Equal(d.Data, a.data) {
		t.Fatalf("%+v is not %+v", d, a)
	}
	entries, err := m.store.History(m.ctx, id)
	m.must(t, err)
	var history []string
	for _, e := range entries {
		history = append(history, string(e.Data))
	}
	effects, err := m.store.Effects(m.ctx, id)
	m.must(t, err)
	var keys []string
	for _, e := range a.effects {
		if !e.withdrawn {
			keys = append(keys, e.key)
		}
	}
	if diff := cmp.Diff(a.history, history); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff(append([]string{}, keys...), keysOf(effects)); diff != "" {
		t.Fatal(diff)
	}
}
