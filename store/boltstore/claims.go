package boltstore

import (
	"context"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"gitlab.com/slipway-cd/slipway/store"
)

// damagedHold is how long an aggregate with a damaged row is left alone, so that
// it doesn't keep the others from their turn.
const damagedHold = time.Minute

// Claim blocks until an aggregate has events or is due. Those that became so
// first come first.
func (s *Store) Claim(ctx context.Context, limit int) ([]store.Claim, error) {
	if limit < 1 {
		return nil, fmt.Errorf("claim %d aggregates: at least 1", limit)
	}
	for {
		taken, err := s.takeAggregates(ctx, limit)
		if err != nil {
			return nil, fmt.Errorf("claim: %w", err)
		}
		claims, err := s.fill(taken)
		if err != nil {
			return nil, fmt.Errorf("claim: %w", err)
		}
		if len(claims) > 0 {
			return claims, nil
		}
	}
}

// takeAggregates blocks until it can mark aggregates as claimed.
func (s *Store) takeAggregates(ctx context.Context, limit int) ([]store.Claim, error) {
	var taken []store.Claim
	err := s.await(ctx, func() *waiters {
		if taken = s.takeReady(limit); len(taken) > 0 {
			return nil
		}
		return &s.schedule.waiters
	})
	return taken, err
}

// await calls take, with Store.mu held, until it returns nil. Otherwise take has found nothing and names
// the line to wait in.
func (s *Store) await(ctx context.Context, take func() *waiters) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return store.ErrClosed
		}
		line := take()
		if line == nil {
			s.mu.Unlock()
			return nil
		}
		turn := line.add()
		s.mu.Unlock()
		if err := s.wait(ctx, turn, line); err != nil {
			return err
		}
	}
}

// wait blocks until it is this waiter's turn.
func (s *Store) wait(ctx context.Context, turn chan struct{}, w *waiters) error {
	var err error
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.closing:
		err = store.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.leave(turn)
	return err
}

// takeReady marks aggregates as claimed. Store.mu is held.
func (s *Store) takeReady(limit int) []store.Claim {
	var taken []store.Claim
	c := s.schedule
	now := s.now().UnixNano()
	for len(taken) < limit && !c.ready.empty() {
		a := c.ready.pop()
		w := a.busy()
		a.mode = claimed
		w.hold, w.fence = 0, s.nextFence()
		claim := store.Claim{Fence: w.fence, IsDue: a.due != 0 && a.due <= now}
		claim.ID = a.id
		for _, seq := range w.events[:min(len(w.events), maxEvents)] {
			claim.Events = append(claim.Events, store.Queued{Seq: seq})
		}
		taken = append(taken, claim)
	}
	return taken
}

// fill reads what the claims are about. A damaged one is put aside and logged.
func (s *Store) fill(taken []store.Claim) ([]store.Claim, error) {
	claims := make([]store.Claim, 0, len(taken))
	var damaged []store.Claim
	err := s.read(func(tx *bolt.Tx) error {
		for _, c := range taken {
			if err := fillClaim(tx, &c); err != nil {
				s.log.Error("an aggregate can't be read, it waits", "aggregate", c.ID, "error", err)
				damaged = append(damaged, c)
				continue
			}
			claims = append(claims, c)
		}
		return nil
	})
	if err != nil {
		damaged = taken
	}
	until := s.now().Add(damagedHold)
	for _, c := range damaged {
		_ = s.release(c, until) // it is ours
	}
	return claims, err
}

func fillClaim(tx *bolt.Tx, c *store.Claim) error {
	if row := bucket(tx, bucketDocs).Get([]byte(c.ID)); row != nil {
		d, err := decodeDocument(c.ID, row)
		if err != nil {
			return err
		}
		c.Document = d.Document
	}
	inbox := bucket(tx, bucketInbox)
	for i := range c.Events {
		q := &c.Events[i]
		e, err := decodeEvent(inbox.Get(seqKey(q.Seq)))
		if err != nil {
			return fmt.Errorf("read event %d: %w", q.Seq, err)
		}
		q.Event = e
	}
	return nil
}

// Release gives a claim back. Until the time, new events don't make the aggregate
// claimable either; a restart does. A zero time is at once.
func (s *Store) Release(ctx context.Context, c store.Claim, at time.Time) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("release %s: %w", c.ID, err)
	}
	if err := s.release(c, at); err != nil {
		return fmt.Errorf("release %s: %w", c.ID, err)
	}
	return nil
}

func (s *Store) release(c store.Claim, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	a, err := s.schedule.claimOf(c.ID, c.Fence)
	if err != nil {
		return err
	}
	a.mode = resting
	a.work.hold, a.work.fence = nanos(at), 0
	s.schedule.place(a)
	return nil
}

// claimOf gives the claimed aggregate if the fence is its claim's.
func (s *schedule) claimOf(id store.ID, fence uint64) (*aggregate, error) {
	a := s.aggregates[id]
	if a == nil || a.mode != claimed || a.work.fence != fence {
		return nil, store.ErrFenced
	}
	return a, nil
}
