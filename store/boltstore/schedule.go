package boltstore

import (
	"slices"
	"time"

	"gitlab.com/slipway-cd/slipway/store"
)

// aggregate is what memory knows of one that is live, has events, has effects or
// is claimed. Most of them sleep, so it is kept small: the rest is in work.
type aggregate struct {
	id    store.ID
	alarm alarm
	due   int64 // nanoseconds, 0 if it is not live
	work  *work // nil while it sleeps
	mode  mode
}

// mode says which index an aggregate or an effect is in.
type mode uint8

const (
	resting mode = iota // in the heap of alarms, or nowhere
	ready               // in a queue
	claimed             // by somebody
	gone                // settled, withdrawn or dropped: queues may still hold it
)

// work is what an aggregate needs memory for while something goes on.
type work struct {
	events  []uint64  // sequence numbers in the inbox, ascending
	effects []*effect // unsettled, by sequence number
	hold    int64     // released until then
	fence   uint64    // of the claim
}

// effect is what memory knows of one that is not settled.
type effect struct {
	of        *aggregate
	pool      *pool
	key, slot string
	seq       uint64
	fence     uint64 // of the claim, 0 until its start is durable
	notBefore int64
	alarm     alarm
	mode      mode
	latest    bool
	withdrawn bool // while it ran: it keeps its slot until its executor has let go
}

// pool holds the effects of one kind that may run now, and who waits for them.
type pool struct {
	kind    string
	ready   queue[*effect]
	waiters waiters
}

// queue is first in, first out.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) push(v T) { q.items = append(q.items, v) }

func (q *queue[T]) empty() bool { return q.head == len(q.items) }

func (q *queue[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	if q.head > 1024 && q.head*2 > len(q.items) {
		q.items = append([]T(nil), q.items[q.head:]...)
		q.head = 0
	} else if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}

// waiters are callers that block, woken one at a time and oldest first.
type waiters struct{ list []chan struct{} }

func (w *waiters) add() chan struct{} {
	ch := make(chan struct{})
	w.list = append(w.list, ch)
	return ch
}

func (w *waiters) wakeOne() {
	if len(w.list) > 0 {
		close(w.list[0])
		w.list = slices.Delete(w.list, 0, 1)
	}
}

// leave takes a waiter out. One that was woken already passes its turn on.
func (w *waiters) leave(ch chan struct{}) {
	if i := slices.Index(w.list, ch); i >= 0 {
		w.list = slices.Delete(w.list, i, i+1)
		return
	}
	w.wakeOne()
}

// schedule is what can be claimed, now and later. All of it is guarded by Store.mu.
type schedule struct {
	aggregates map[store.ID]*aggregate
	ready      queue[*aggregate]
	waiters    waiters
	pools      map[string]*pool
	sleeping   alarms[*aggregate]
	delayed    alarms[*effect]

	live, running, pending, inbox int

	now   func() time.Time
	timer *time.Timer // nil until started
	armed int64       // what the timer is set to, 0 if it is not
}

func newSchedule(now func() time.Time) *schedule {
	return &schedule{
		aggregates: map[store.ID]*aggregate{},
		pools:      map[string]*pool{},
		sleeping:   alarms[*aggregate]{of: func(a *aggregate) *alarm { return &a.alarm }},
		delayed:    alarms[*effect]{of: func(e *effect) *alarm { return &e.alarm }},
		now:        now,
	}
}

// get finds an aggregate, or makes an entry for it.
func (s *schedule) get(id store.ID) *aggregate {
	a := s.aggregates[id]
	if a == nil {
		a = &aggregate{id: id}
		s.aggregates[id] = a
	}
	return a
}

// busy gives the aggregate's work, made if it slept.
func (a *aggregate) busy() *work {
	if a.work == nil {
		a.work = &work{}
	}
	return a.work
}

func (s *schedule) pool(kind string) *pool {
	p := s.pools[kind]
	if p == nil {
		p = &pool{kind: kind}
		s.pools[kind] = p
	}
	return p
}

// setDue changes when a live aggregate wakes; 0 says that it is not live.
func (s *schedule) setDue(a *aggregate, due int64) {
	if a.due != 0 {
		s.live--
	}
	if due != 0 {
		s.live++
	}
	a.due = due
}

// wake is when the aggregate becomes claimable; ok is false for never.
func (a *aggregate) wake() (at int64, ok bool) {
	hasEvents := a.work != nil && len(a.work.events) > 0
	if !hasEvents && a.due == 0 {
		return 0, false
	}
	if !hasEvents {
		at = a.due
	}
	if a.work != nil && a.work.hold > at {
		at = a.work.hold
	}
	return at, true
}

// place puts an aggregate where it belongs after something about it has changed.
func (s *schedule) place(a *aggregate) {
	if a.mode == ready || a.mode == claimed {
		return
	}
	at, ok := a.wake()
	switch {
	case !ok:
		s.sleeping.remove(a)
	case at <= s.now().UnixNano():
		s.sleeping.remove(a)
		a.mode = ready
		s.ready.push(a)
		s.waiters.wakeOne()
	default:
		s.sleeping.set(a, at)
		s.arm()
	}
	s.forget(a)
}

// forget drops what memory need not know.
func (s *schedule) forget(a *aggregate) {
	if w := a.work; w != nil && a.mode == resting &&
		len(w.events) == 0 && len(w.effects) == 0 && w.hold <= s.now().UnixNano() {
		a.work = nil
	}
	if a.work == nil && a.mode == resting && a.due == 0 {
		delete(s.aggregates, a.id)
	}
}

// addEffect enters an effect that is durable. Effects come in ascending order.
func (s *schedule) addEffect(seq uint64, e store.Effect) {
	a := s.get(e.Of)
	n := &effect{
		of: a, pool: s.pool(e.Kind), key: e.Key, slot: e.Slot,
		seq: seq, latest: e.Latest, notBefore: nanos(e.NotBefore),
	}
	w := a.busy()
	w.effects = append(w.effects, n)
	s.pending++
	s.placeEffect(n)
}

// blocked says whether an older effect has the slot.
func (e *effect) blocked() bool {
	if e.slot == "" {
		return false
	}
	for _, o := range e.of.work.effects {
		if o.slot == e.slot {
			return o != e
		}
	}
	return false
}

func (s *schedule) placeEffect(e *effect) {
	switch {
	case e.mode != resting:
	case e.blocked():
		s.delayed.remove(e)
	case e.notBefore <= s.now().UnixNano():
		s.delayed.remove(e)
		e.mode = ready
		e.pool.ready.push(e)
		e.pool.waiters.wakeOne()
	default:
		s.delayed.set(e, e.notBefore)
		s.arm()
	}
}

// takeEffects takes up to limit effects of a pool. What is left has woken somebody
// else already, or will be seen by whoever comes next.
func (s *schedule) takeEffects(p *pool, limit int) []*effect {
	var got []*effect
	for len(got) < limit && !p.ready.empty() {
		e := p.ready.pop()
		if e.mode != ready {
			continue
		}
		e.mode = claimed
		s.pending--
		s.running++
		got = append(got, e)
	}
	return got
}

// giveBack makes a taken effect pending again.
func (s *schedule) giveBack(e *effect, notBefore int64) {
	if e.mode != claimed {
		return
	}
	s.running--
	s.pending++
	e.mode, e.fence, e.notBefore = resting, 0, notBefore
	s.placeEffect(e)
}

// removeEffect ends an effect, and lets the next of its slot go.
func (s *schedule) removeEffect(e *effect) {
	switch e.mode {
	case gone:
		return
	case claimed:
		s.running--
	default:
		s.pending--
	}
	s.delayed.remove(e)
	e.mode = gone
	w := e.of.work
	if i := slices.Index(w.effects, e); i >= 0 {
		w.effects = slices.Delete(w.effects, i, i+1)
	}
	if e.slot != "" {
		for _, o := range w.effects {
			if o.slot == e.slot {
				s.placeEffect(o)
				break
			}
		}
	}
	s.forget(e.of)
}

// find gives the unsettled effect with the key that was not withdrawn, nil for none.
func (a *aggregate) find(key string) *effect {
	if a == nil || a.work == nil {
		return nil
	}
	for _, e := range a.work.effects {
		if e.key == key && !e.withdrawn {
			return e
		}
	}
	return nil
}

// running gives the claimed effect with the key and the fence, nil for none.
func (a *aggregate) running(key string, fence uint64) *effect {
	if a == nil || a.work == nil || fence == 0 {
		return nil
	}
	for _, e := range a.work.effects {
		if e.key == key && e.fence == fence {
			return e
		}
	}
	return nil
}

// longestSleep bounds a timer. Timers stand still while a machine is suspended and
// don't follow a clock that is set, so a due time could pass unnoticed for long.
const longestSleep = time.Minute

// arm sets the timer to the earliest alarm.
func (s *schedule) arm() {
	if s.timer == nil {
		return
	}
	next := int64(0)
	if a, ok := s.sleeping.first(); ok {
		next = a.alarm.at
	}
	if e, ok := s.delayed.first(); ok && (next == 0 || e.alarm.at < next) {
		next = e.alarm.at
	}
	if next == s.armed {
		return
	}
	s.armed = next
	if next == 0 {
		s.timer.Stop()
		return
	}
	s.timer.Reset(min(max(time.Duration(next-s.now().UnixNano()), 0), longestSleep))
}

// ring moves everything whose time has come.
func (s *schedule) ring() {
	s.armed = 0
	now := s.now().UnixNano()
	for {
		a, ok := s.sleeping.first()
		if !ok || a.alarm.at > now {
			break
		}
		s.place(a)
	}
	for {
		e, ok := s.delayed.first()
		if !ok || e.alarm.at > now {
			break
		}
		s.placeEffect(e)
	}
	s.arm()
}
