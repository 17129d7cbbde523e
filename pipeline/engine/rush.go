package engine

import (
	"context"
	"sync"
	"time"

	"gitlab.com/slipway-cd/slipway/store"
)

// longestRush bounds how long others wait for an effect that moves traffic.
const longestRush = 300 * time.Millisecond

// rush lets effects that move traffic go before those that tell people of it: on a small machine, or before a busy
// cluster, they would be in each other's way.
type rush struct {
	mu   sync.Mutex
	runs map[store.EffectID]*run
}

// run is one effect that others wait for.
type run struct {
	over  chan struct{}
	timer *time.Timer
}

// begin lets others wait for effects, from before anybody can know of them, until they are ended or have taken too long.
func (r *rush) begin(ids []store.EffectID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if r.runs[id] != nil {
			continue
		}
		if r.runs == nil {
			r.runs = map[store.EffectID]*run{}
		}
		r.runs[id] = &run{over: make(chan struct{}), timer: time.AfterFunc(longestRush, func() { r.end(id) })}
	}
}

// end lets the others go on.
func (r *rush) end(ids ...store.EffectID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if one := r.runs[id]; one != nil {
			one.timer.Stop()
			close(one.over)
			delete(r.runs, id)
		}
	}
}

// wait returns when those that run now have moved their traffic.
func (r *rush) wait(ctx context.Context) {
	r.mu.Lock()
	var open []chan struct{}
	for _, one := range r.runs {
		open = append(open, one.over)
	}
	r.mu.Unlock()
	for _, over := range open {
		select {
		case <-over:
		case <-ctx.Done():
			return
		}
	}
}
