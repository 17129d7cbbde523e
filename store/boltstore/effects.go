package boltstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/slipway-cd/slipway/store"
)

// ClaimEffects blocks until an effect of the kind may run, and marks those it
// gives out as started.
func (s *Store) ClaimEffects(ctx context.Context, kind string, limit int) ([]store.EffectClaim, error) {
	if kind == "" || limit < 1 {
		return nil, fmt.Errorf("claim %d effects of kind %q: at least 1 of a kind", limit, kind)
	}
	for {
		taken, err := s.waitEffects(ctx, kind, limit)
		if err != nil {
			return nil, fmt.Errorf("claim effects: %w", err)
		}
		j := &start{taken: taken}
		// The effects are ours now: whatever ctx does, they are started or given back.
		if err := s.do(context.WithoutCancel(ctx), j); err != nil {
			s.mu.Lock()
			for _, e := range taken {
				s.abandon(e)
			}
			s.mu.Unlock()
			return nil, fmt.Errorf("claim effects: %w", err)
		}
		if claims := s.stillWanted(j); len(claims) > 0 {
			return claims, nil
		}
	}
}

// waitEffects blocks until it can mark effects as claimed, in memory.
func (s *Store) waitEffects(ctx context.Context, kind string, limit int) ([]*effect, error) {
	var taken []*effect
	err := s.await(ctx, func() *waiters {
		p := s.schedule.pool(kind)
		if taken = s.schedule.takeEffects(p, limit); len(taken) > 0 {
			return nil
		}
		return &p.waiters
	})
	return taken, err
}

// abandon gives back an effect whose start has failed. Store.mu is held.
func (s *Store) abandon(e *effect) {
	if e.withdrawn {
		s.schedule.removeEffect(e)
		return
	}
	s.schedule.giveBack(e, e.notBefore)
}

// stillWanted leaves out what was withdrawn before its start was durable.
func (s *Store) stillWanted(j *start) []store.EffectClaim {
	s.mu.Lock()
	defer s.mu.Unlock()
	claims := make([]store.EffectClaim, 0, len(j.claims))
	for i, e := range j.taken {
		if j.damaged[i] {
			s.schedule.giveBack(e, nanos(s.now().Add(damagedHold)))
			continue
		}
		if e.withdrawn || j.claims[i].Fence == 0 {
			s.schedule.removeEffect(e)
			continue
		}
		claims = append(claims, j.claims[i])
	}
	return claims
}

// start is the job of ClaimEffects. claims has an entry for each of taken, without
// a fence if the effect is gone or damaged.
type start struct {
	taken    []*effect
	claims   []store.EffectClaim
	damaged  []bool
	attempts []attempt
	bodies   [][]byte
}

func (j *start) check(b *batch) error {
	j.claims = make([]store.EffectClaim, len(j.taken))
	j.attempts = make([]attempt, len(j.taken))
	j.bodies = make([][]byte, len(j.taken))
	j.damaged = make([]bool, len(j.taken))
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	for i, e := range j.taken {
		row := b.effects.Get(seqKey(e.seq))
		if row == nil {
			continue // withdrawn or dropped meanwhile
		}
		r, err := decodeEffect(row)
		if err == nil {
			r.Data, err = unpack(r.data)
		}
		if err != nil {
			b.store.log.Error("an effect can't be read, it waits", "aggregate", e.of.id, "effect", e.key, "error", err)
			j.damaged[i] = true
			continue
		}
		a := r.attempt
		a.number++
		a.unknown = a.unknown || a.started // it started before, and nobody settled it
		a.started = true
		if a.since.IsZero() {
			a.since = time.Unix(0, b.now).UTC()
		}
		j.attempts[i], j.bodies[i] = a, r.body
		j.claims[i] = r.claim(e.seq)
		j.claims[i].Fence = b.store.nextFence()
		j.claims[i].Attempt, j.claims[i].Unknown, j.claims[i].Since = a.number, a.unknown, a.since
	}
	return nil
}

func (j *start) write(b *batch) error {
	for i, e := range j.taken {
		if j.claims[i].Fence == 0 {
			continue
		}
		if err := b.effects.Put(seqKey(e.seq), encodeEffect(j.attempts[i], j.bodies[i])); err != nil {
			return fmt.Errorf("start effect %q of %s: %w", e.key, e.of.id, err)
		}
	}
	j.bodies = nil // parts of the file's map
	return nil
}

func (j *start) applied(*Store) {
	for i, e := range j.taken {
		e.fence = j.claims[i].Fence
	}
}

// claim is a stored effect as callers see it, without its data and fence.
func (r effectRow) claim(seq uint64) store.EffectClaim {
	return store.EffectClaim{
		Effect: r.Effect, Seq: seq, Attempt: r.attempt.number, Unknown: r.attempt.unknown,
		Since: r.attempt.since, Reason: r.attempt.reason,
	}
}

// settling is the job of Settle.
type settling struct {
	store.Settlement
	effect *effect
	row    []byte // of the next attempt, nil if there is none
	letter *letter
}

// Settle ends an attempt. A withdrawn effect keeps its slot until its executor
// calls this, so it must be called for those too.
func (s *Store) Settle(ctx context.Context, t store.Settlement) error {
	j, err := s.settling(t)
	if err == nil {
		err = s.do(ctx, j)
	}
	if err == nil {
		return nil
	}
	if j != nil && errors.Is(err, store.ErrNotFound) {
		s.mu.Lock()
		if j.effect.withdrawn {
			s.schedule.removeEffect(j.effect)
		}
		s.mu.Unlock()
	}
	return fmt.Errorf("settle %q of %s: %w", t.Key, t.Of, err)
}

func (s *Store) settling(t store.Settlement) (*settling, error) {
	news := t.Outcome
	if !t.RetryAt.IsZero() {
		if t.Outcome != nil {
			return nil, errors.New("an effect that is tried again has no outcome yet")
		}
		news = t.Notice
	} else if t.Notice != nil {
		return nil, errors.New("an effect that ends gives an outcome, not a notice")
	}
	j := &settling{Settlement: t}
	if news != nil {
		e := *news
		if e.To != "" && e.To != t.Of {
			return nil, fmt.Errorf("the outcome goes to %s", e.To)
		}
		e.To = t.Of
		l, err := s.letter(e)
		if err != nil {
			return nil, err
		}
		j.letter = &l
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.schedule.aggregates[t.Of]
	j.effect = a.running(t.Key, t.Fence)
	switch {
	case j.effect != nil:
		return j, nil
	case a.find(t.Key) != nil:
		return nil, store.ErrFenced
	}
	return nil, store.ErrNotFound
}

func (j *settling) check(b *batch) error {
	j.row = nil
	row := b.effects.Get(seqKey(j.effect.seq))
	if row == nil {
		return store.ErrNotFound
	}
	r, err := decodeEffect(row)
	if err != nil {
		return fmt.Errorf("read effect %d: %w", j.effect.seq, err)
	}
	if !r.attempt.started {
		return store.ErrFenced
	}
	if j.RetryAt.IsZero() {
		return nil
	}
	a := r.attempt
	a.started, a.unknown = false, j.Unknown
	a.notBefore, a.reason = j.RetryAt, j.Reason
	j.row = encodeEffect(a, r.body)
	return nil
}

func (j *settling) write(b *batch) error {
	key := seqKey(j.effect.seq)
	if j.row != nil {
		if err := b.effects.Put(key, j.row); err != nil {
			return fmt.Errorf("store the next attempt: %w", err)
		}
	} else if err := b.effects.Delete(key); err != nil {
		return fmt.Errorf("end the effect: %w", err)
	}
	if j.letter != nil {
		return b.put(j.letter)
	}
	return nil
}

func (j *settling) applied(s *Store) {
	if j.row != nil {
		s.schedule.giveBack(j.effect, nanos(j.RetryAt))
	} else {
		s.schedule.removeEffect(j.effect)
	}
	if j.letter != nil {
		s.arrive(j.letter)
	}
}

// Effects lists the unsettled effects of an aggregate, oldest first. A running one has its fence.
func (s *Store) Effects(ctx context.Context, id store.ID) ([]store.EffectClaim, error) {
	type known struct{ seq, fence uint64 }
	var list []known
	s.mu.Lock()
	if a := s.schedule.aggregates[id]; a != nil && a.work != nil {
		for _, e := range a.work.effects {
			list = append(list, known{e.seq, e.fence})
		}
	}
	s.mu.Unlock()
	var claims []store.EffectClaim
	err := s.view(ctx, func(tx *bolt.Tx) error {
		effects := bucket(tx, bucketEffects)
		for _, k := range list {
			row := effects.Get(seqKey(k.seq))
			if row == nil {
				continue // settled meanwhile, or withdrawn while it runs
			}
			r, err := decodeEffect(row)
			if err == nil {
				r.Data, err = unpack(r.data)
			}
			if err != nil {
				return fmt.Errorf("effect %d: %w", k.seq, err)
			}
			c := r.claim(k.seq)
			c.Fence = k.fence
			c.Unknown = c.Unknown || (r.attempt.started && k.fence == 0)
			claims = append(claims, c)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the effects of %s: %w", id, err)
	}
	return claims, nil
}
