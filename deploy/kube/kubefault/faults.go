// Package kubefault breaks the way to an API server for tests: connections that close, requests that fail or take long,
// watches that end. The clusters of the tests put it in front of theirs.
package kubefault

import (
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Faults are the switches. All methods are safe for concurrent use.
type Faults struct {
	mu          sync.Mutex
	unreachable bool
	fail        int
	code        int
	latency     time.Duration
	cut         chan struct{} // closed when all watches shall end
	listeners   []*listener
	requests    atomic.Int64
	watches     atomic.Int64
}

// Requests is how many requests have come so far, watches among them.
func (f *Faults) Requests() int64 { return f.requests.Load() }

// Watches is how many of the requests have begun a watch.
func (f *Faults) Watches() int64 { return f.watches.Load() }

// New makes switches that are all off.
func New() *Faults {
	return &Faults{cut: make(chan struct{})}
}

// SetUnreachable closes every connection, and new ones at once, until it is set to false. The cluster lives on meanwhile.
func (f *Faults) SetUnreachable(on bool) {
	f.mu.Lock()
	f.unreachable = on
	listeners := f.listeners
	f.mu.Unlock()
	if !on {
		return
	}
	f.EndWatches()
	for _, l := range listeners {
		l.closeAll()
	}
}

// FailRequests answers the next n requests with an HTTP status of 400 or more.
func (f *Faults) FailRequests(n, code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.code = n, code
}

// SetLatency delays every request; zero for none.
func (f *Faults) SetLatency(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latency = d
}

// EndWatches ends all running watches, as a restart of the API server does.
func (f *Faults) EndWatches() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.cut)
	f.cut = make(chan struct{})
}

// WatchesEnd is closed when the watches that run now shall end. Whoever serves watches looks at it.
func (f *Faults) WatchesEnd() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cut
}

func (f *Faults) isUnreachable() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unreachable
}

// next is what a request meets: a delay, and a status to fail with or zero.
func (f *Faults) next() (time.Duration, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	code := 0
	if f.fail > 0 {
		f.fail--
		code = f.code
	}
	return f.latency, code
}

// Handler puts the faults before a handler.
func (f *Faults) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.Add(1)
		if watch := r.URL.Query().Get("watch"); watch == "true" || watch == "1" {
			f.watches.Add(1)
		}
		if f.isUnreachable() {
			panic(http.ErrAbortHandler) // net/http's way to cut the connection
		}
		delay, code := f.next()
		if delay > 0 {
			timer := time.NewTimer(delay)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
				return
			}
		}
		if code != 0 {
			Answer(w, failure(code))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Answer writes a status in the form of the API server.
func Answer(w http.ResponseWriter, s *metav1.Status) {
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(s.Code))
	_ = json.NewEncoder(w).Encode(s) // the client may be gone
}

func failure(code int) *metav1.Status {
	s := &metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: metav1.StatusReasonInternalError, Message: "Internal error occurred: etcdserver: request timed out"}
	switch code {
	case http.StatusServiceUnavailable:
		s.Reason, s.Message = metav1.StatusReasonServiceUnavailable, "apiserver not ready"
	case http.StatusGatewayTimeout:
		s.Reason, s.Message = metav1.StatusReasonTimeout, "Timeout: request did not complete within the allotted timeout"
	case http.StatusTooManyRequests:
		s.Reason, s.Message = metav1.StatusReasonTooManyRequests, "too many requests, please try again later"
	case http.StatusUnauthorized:
		s.Reason, s.Message = metav1.StatusReasonUnauthorized, "Unauthorized"
	case http.StatusForbidden:
		s.Reason, s.Message = metav1.StatusReasonForbidden, "forbidden: the fault of a test"
	}
	return s
}
