package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"gitlab.com/slipway-cd/slipway/store"
)

const (
	// longestWait bounds how long an effect waits for a step, which may be held up.
	longestWait = 5 * time.Second
	catchUpLook = 10 * time.Millisecond
)

// untold holds the outcomes of effects with a slot that no step has applied yet. The next
// effect of the slot waits for it: the state would not tell it of the note, the message
// or the deployment that the one before it has made.
type untold struct {
	mu    sync.Mutex
	tales map[store.ID][]*tale
}

// tale is one outcome on its way through the inbox.
type tale struct {
	of               store.ID
	slot, kind, data string
	over             chan struct{} // closed when it is applied, or will never be
}

// add notes an outcome before it is durable. The result is nil if nobody will wait for it.
func (u *untold) add(of store.ID, slot string, outcome *store.Event) *tale {
	if slot == "" || outcome == nil {
		return nil
	}
	t := &tale{of: of, slot: slot, kind: outcome.Kind, data: string(outcome.Data), over: make(chan struct{})}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.tales == nil {
		u.tales = map[store.ID][]*tale{}
	}
	u.tales[of] = append(u.tales[of], t)
	return t
}

func (u *untold) drop(t *tale) {
	if t == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.remove(t)
}

// remove ends a tale. The lock is held.
func (u *untold) remove(t *tale) {
	i := slices.Index(u.tales[t.of], t)
	if i < 0 {
		return
	}
	close(t.over)
	if u.tales[t.of] = slices.Delete(u.tales[t.of], i, i+1); len(u.tales[t.of]) == 0 {
		delete(u.tales, t.of)
	}
}

// applied ends the tales that a committed step has heard.
func (u *untold) applied(of store.ID, events []store.Queued) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, q := range events {
		i := slices.IndexFunc(u.tales[of], func(t *tale) bool { return t.kind == q.Kind && t.data == string(q.Data) })
		if i >= 0 {
			u.remove(u.tales[of][i])
		}
	}
}

// wait returns when the slot's outcomes are applied, or at the latest after a while.
func (u *untold) wait(ctx context.Context, of store.ID, slot string) {
	if slot == "" {
		return
	}
	u.mu.Lock()
	var open []*tale
	for _, t := range u.tales[of] {
		if t.slot == slot {
			open = append(open, t)
		}
	}
	u.mu.Unlock()
	if len(open) == 0 {
		return
	}
	limit := time.NewTimer(longestWait)
	defer limit.Stop()
	for _, t := range open {
		select {
		case <-t.over:
		case <-ctx.Done():
			return
		case <-limit.C:
			u.drop(t)
			return
		}
	}
}

// catchUp waits, though not long, until the events are applied that were in the inbox
// before this engine: they may hold what effects have told.
func (e *Engine) catchUp(ctx context.Context) error {
	began := e.o.Now()
	end := time.NewTimer(longestWait)
	defer end.Stop()
	look := time.NewTicker(catchUpLook)
	defer look.Stop()
	for {
		st, err := e.o.Store.Stats(ctx)
		if err == nil && (st.Inbox == 0 || !st.OldestEvent.Before(began)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end.C:
			return nil
		case <-look.C:
		}
	}
}
