package engine_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
)

// reports notes when people were told something.
type reports struct {
	mu sync.Mutex
	at []time.Time
}

func (p *reports) tell(r *rig) executor {
	return func(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
		p.mu.Lock()
		p.at = append(p.at, time.Now())
		p.mu.Unlock()
		return r.good(ctx, t)
	}
}

func (p *reports) since(began time.Time) []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var after []time.Duration
	for _, at := range p.at {
		if !at.Before(began) {
			after = append(after, at.Sub(began))
		}
	}
	return after
}

func TestPeopleAreToldAfterTheTrafficHasMoved(t *testing.T) {
	goesBack := deploy("staging")
	goesBack.OnFailure = pipeline.FailRollback
	const move, rest = 100 * time.Millisecond, time.Minute
	for _, tc := range []struct {
		name  string
		moved bool // the effect says so
		want  time.Duration
	}{
		{"once it says so, though the effect goes on", true, move},
		{"or after a while, if it doesn't", false, 300 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, stages(goesBack), func(r *rig) {
				told := &reports{}
				r.adjust = func(o *engine.Options) { o.Pools[1].Yields = true }
				for _, kind := range []string{"write-note", "write-message", "write-status", "write-deployment"} {
					r.do[kind] = told.tell(r)
				}
				bad, second := merged(2)
				r.do["observe"] = func(ctx context.Context, task *pipeline.Task) (pipeline.Event, error) {
					time.Sleep(time.Second) // what was told before is told
					if do := task.Effect.Do.(pipeline.Observe); do.Release.Delivery == bad {
						return nil, &pipeline.Failure{Code: pipeline.ReasonOther, Detail: "it crashes", Permanent: true}
					}
					return r.good(ctx, task)
				}
				r.do["restore"] = func(ctx context.Context, task *pipeline.Task) (pipeline.Event, error) {
					began := time.Now()
					time.Sleep(move)
					if early := told.since(began); len(early) > 0 {
						t.Errorf("people were told after %s", early)
					}
					if tc.moved {
						task.Moved()
						task.Moved() // said twice
					}
					time.Sleep(rest)
					if after := told.since(began); len(after) == 0 || after[0] != tc.want {
						t.Errorf("people were told after %s, want %s", after, tc.want)
					}
					return r.good(ctx, task)
				}
				r.start()
				r.until("the first delivery ends", r.finished(r.merge()))
				r.deliver(bad, "another merge", second)
				r.until("the second one is back", r.finished(bad))
				if d := r.delivery(bad); d.Status != pipeline.StatusRolledBack {
					t.Errorf("the delivery is %s: %s", d.Status, d.Reason)
				}
				r.end()
			})
		})
	}
}
