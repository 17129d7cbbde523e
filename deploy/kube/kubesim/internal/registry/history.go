package registry

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
)

// The types of a Change, as watches name them.
const (
	Added    = watch.Added
	Modified = watch.Modified
	Deleted  = watch.Deleted
)

// Change is one write. Before is the version that it replaced, nil for a new object.
type Change struct {
	Revision uint64
	Resource string
	Type     watch.EventType
	Object   Object
	Before   Object
}

// history is the latest changes in order. Readers keep a revision and wait for changed, which is closed and
// replaced at each change: so a slow reader holds up nobody and has no buffer of its own.
type history struct {
	limit   int
	changes []Change
	dropped uint64 // the revision of the newest change that was forgotten
	changed chan struct{}
}

func (h *history) add(c Change) {
	h.changes = append(h.changes, c)
	if extra := len(h.changes) - h.limit; extra > h.limit/4 {
		h.forget(extra)
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *history) forget(n int) {
	if n == 0 {
		return
	}
	h.dropped = h.changes[n-1].Revision
	h.changes = append([]Change(nil), h.changes[n:]...)
}

func (h *history) since(revision uint64) []Change {
	low, high := 0, len(h.changes)
	for low < high {
		mid := (low + high) / 2
		if h.changes[mid].Revision <= revision {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return h.changes[low:len(h.changes):len(h.changes)]
}

// Revision is the resource version of the latest write.
func (r *Registry) Revision() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.revision
}

// Since returns the changes after a revision, the revision up to which they reach, and a channel that is closed at the next
// change. A revision that the history no longer covers gives the Expired status error (410 Gone).
func (r *Registry) Since(revision uint64) ([]Change, uint64, <-chan struct{}, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if revision < r.history.dropped {
		return nil, 0, nil, apierrors.NewResourceExpired(
			fmt.Sprintf("too old resource version: %d (%d)", revision, r.history.dropped))
	}
	return r.history.since(revision), r.revision, r.history.changed, nil
}

// Forget empties the history, so that a watch from before now is answered 410 Gone, as after a compaction.
func (r *Registry) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revision++
	r.history.changes = nil
	r.history.dropped = r.revision
	close(r.history.changed)
	r.history.changed = make(chan struct{})
}
