package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"gitlab.com/slipway-cd/slipway/store"
)

// tally is a document that counts what was applied to it.
type tally struct {
	Applied []string // keys of events
	Started int      // effects emitted
}

// crowd is many goroutines at once: some deliver, some step, some carry out effects.
type crowd struct {
	*bench
	aggregates, senders, perSender int

	stepping sync.Map // store.ID → who steps it
	running  sync.Map // store.ID → the effect of the slot that runs
	ran      sync.Map // aggregate and effect key → times
	settled  atomic.Int64
}

func crowdCases() []testCase {
	return []testCase{
		{"each event is applied once, each aggregate stepped by one at a time, each effect carried out once", func(b *bench) {
			c := &crowd{bench: b, aggregates: 7, senders: 16, perSender: 20}
			c.run()
		}},
	}
}

func (c *crowd) run() {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	var senders, workers sync.WaitGroup
	for range 4 {
		workers.Go(func() { c.step(ctx) })
		workers.Go(func() { c.carryOut(ctx) })
	}
	for n := range c.senders {
		senders.Go(func() { c.send(n) })
	}
	senders.Wait()
	total := int64(c.senders * c.perSender)
	for c.settled.Load() < total && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	cancel()
	workers.Wait()
	c.verify()
}

func (c *crowd) send(n int) {
	for i := range c.perSender {
		to := store.ID(fmt.Sprintf("delivery/%d", (n+i)%c.aggregates))
		e := event(to, fmt.Sprintf("%d-%d", n, i))
		for range 2 { // as if GitLab had not heard the first answer
			if _, err := c.store.Deliver(c.ctx, e); err != nil {
				c.Errorf("deliver: %v", err)
			}
		}
	}
}

func (c *crowd) step(ctx context.Context) {
	for {
		claims, err := c.store.Claim(ctx, 3)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				c.Errorf("claim: %v", err)
			}
			return
		}
		for i, claim := range claims {
			if _, busy := c.stepping.LoadOrStore(claim.ID, true); busy {
				c.Errorf("%s is stepped by two", claim.ID)
			}
			s := c.next(claim)
			c.stepping.Delete(claim.ID)
			// The step that a commit permits may begin before Commit returns.
			if i == 1 && len(claim.Events) == 1 {
				err = c.store.Release(c.ctx, claim, time.Time{})
			} else {
				err = c.store.Commit(c.ctx, s)
			}
			if err != nil {
				c.Errorf("commit: %v", err)
			}
		}
	}
}

// next applies a claim's events: each emits an effect in one slot.
func (c *crowd) next(claim store.Claim) store.Commit {
	var t tally
	if claim.Data != nil {
		if err := json.Unmarshal(claim.Data, &t); err != nil {
			c.Errorf("the document of %s: %v", claim.ID, err)
		}
	}
	s := step(claim)
	for _, e := range claim.Events {
		if e.Kind == "done" {
			continue
		}
		t.Applied = append(t.Applied, e.Key)
		t.Started++
		s.Effects = append(s.Effects, store.Effect{Key: e.Key, Kind: "deploy", Slot: "one"})
	}
	s.Data, _ = json.Marshal(t)
	return s
}

func (c *crowd) carryOut(ctx context.Context) {
	for {
		claims, err := c.store.ClaimEffects(ctx, "deploy", 3)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				c.Errorf("claim effects: %v", err)
			}
			return
		}
		for _, e := range claims {
			if other, busy := c.running.LoadOrStore(e.Of, e.Key); busy {
				c.Errorf("%s and %v run in one slot", e.Key, other)
			}
			if _, again := c.ran.LoadOrStore(string(e.Of)+"/"+e.Key, true); again {
				c.Errorf("%s of %s was carried out twice", e.Key, e.Of)
			}
			c.running.Delete(e.Of)
			s := settlement(e)
			s.Outcome = &store.Event{Kind: "done", At: moment(1)}
			if err := c.store.Settle(c.ctx, s); err != nil {
				c.Errorf("settle: %v", err)
			}
			c.settled.Add(1)
		}
	}
}

func (c *crowd) verify() {
	applied := map[string]int{}
	for i := range c.aggregates {
		d, err := c.store.Get(c.ctx, store.ID(fmt.Sprintf("delivery/%d", i)))
		c.must(err)
		var t tally
		c.must(json.Unmarshal(d.Data, &t))
		for _, key := range t.Applied {
			applied[key]++
		}
	}
	for n := range c.senders {
		for i := range c.perSender {
			if key := fmt.Sprintf("%d-%d", n, i); applied[key] != 1 {
				c.Errorf("event %s was applied %d times", key, applied[key])
			}
		}
	}
	if n := c.settled.Load(); n != int64(c.senders*c.perSender) {
		c.Errorf("%d effects were settled", n)
	}
}
