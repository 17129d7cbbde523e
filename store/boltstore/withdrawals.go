package boltstore

import (
	"context"
	"fmt"

	"gitlab.com/slipway-cd/slipway/store"
)

// withdrawals tells readers which running effects were withdrawn. Each reader has
// a list of its own that grows while it is slow, so that none is missed.
type withdrawals struct{ readers map[*reading]struct{} }

type reading struct {
	list   []store.EffectID
	signal chan struct{}
}

// tell enters an effect for every reader. Store.mu is held.
func (w *withdrawals) tell(id store.EffectID) {
	for r := range w.readers {
		r.list = append(r.list, id)
		select {
		case r.signal <- struct{}{}:
		default:
		}
	}
}

// Withdrawn reports what is withdrawn from now on. The channel is closed when ctx
// ends or the store is closed.
func (s *Store) Withdrawn(ctx context.Context) (<-chan store.EffectID, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("watch withdrawals: %w", err)
	}
	r := &reading{signal: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("watch withdrawals: %w", store.ErrClosed)
	}
	if s.readers.readers == nil {
		s.readers.readers = map[*reading]struct{}{}
	}
	s.readers.readers[r] = struct{}{}
	out := make(chan store.EffectID)
	go s.feed(ctx, r, out)
	return out, nil
}

func (s *Store) feed(ctx context.Context, r *reading, out chan<- store.EffectID) {
	defer close(out)
	defer func() {
		s.mu.Lock()
		delete(s.readers.readers, r)
		s.mu.Unlock()
	}()
	for {
		s.mu.Lock()
		list := r.list
		r.list = nil
		s.mu.Unlock()
		for _, id := range list {
			select {
			case out <- id:
			case <-ctx.Done():
				return
			case <-s.closing:
				return
			}
		}
		select {
		case <-r.signal:
		case <-ctx.Done():
			return
		case <-s.closing:
			return
		}
	}
}
