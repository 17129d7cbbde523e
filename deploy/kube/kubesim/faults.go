package kubesim

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// Faults are the switches that break a running cluster. All methods are safe for concurrent use.
type Faults struct {
	mu          sync.Mutex
	unreachable bool
	fail        int
	code        int
	latency     time.Duration
	refusals    map[string]string
	podLimits   map[string]int
	cut         chan struct{} // closed when all watches shall end
	closeConns  func()
}

func newFaults() *Faults {
	return &Faults{refusals: map[string]string{}, podLimits: map[string]int{}, cut: make(chan struct{}), closeConns: func() {}}
}

// SetUnreachable closes every connection, and new ones at once, until it is set to false. The cluster lives on meanwhile.
func (f *Faults) SetUnreachable(on bool) {
	f.mu.Lock()
	f.unreachable = on
	closeConns := f.closeConns
	f.mu.Unlock()
	if on {
		f.EndWatches()
		closeConns()
	}
}

// FailRequests answers the next n requests with an HTTP status of 500 or more.
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

// RefuseAdmission makes a webhook refuse, with the message, every object that people write in the namespace. Pods are let
// through, so that what runs isn't disturbed. An empty message ends it.
func (f *Faults) RefuseAdmission(namespace, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if message == "" {
		delete(f.refusals, namespace)
		return
	}
	f.refusals[namespace] = message
}

// SetPodQuota allows that many pods in the namespace; a negative number ends it.
func (f *Faults) SetPodQuota(namespace string, pods int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if pods < 0 {
		delete(f.podLimits, namespace)
		return
	}
	f.podLimits[namespace] = pods
}

// EndWatches ends all running watches, as a restart of the API server does.
func (f *Faults) EndWatches() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.cut)
	f.cut = make(chan struct{})
}

// ExpireHistory makes every watch from before now, running ones too, meet 410 Gone, as after a compaction.
func (s *Sim) ExpireHistory() { s.reg.Forget() }

func (f *Faults) watchesEnd() <-chan struct{} {
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

// wrap puts the faults of the connection and of the server before a handler.
func (f *Faults) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
			writeStatus(w, code, serverFailure(code))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func serverFailure(code int) *metav1.Status {
	s := &metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: metav1.StatusReasonInternalError, Message: "Internal error occurred: etcdserver: request timed out"}
	switch code {
	case http.StatusServiceUnavailable:
		s.Reason, s.Message = metav1.StatusReasonServiceUnavailable, "apiserver not ready"
	case http.StatusGatewayTimeout:
		s.Reason, s.Message = metav1.StatusReasonTimeout, "Timeout: request did not complete within the allotted timeout"
	case http.StatusTooManyRequests:
		s.Reason, s.Message = metav1.StatusReasonTooManyRequests, "too many requests, please try again later"
	}
	return s
}

// admit is the registry's question before each write.
func (f *Faults) admit(k *registry.Kind, obj registry.Object, created bool, count func(resource, namespace string) int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ns := obj.GetNamespace()
	limit, limited := f.podLimits[ns]
	if used := count(registry.Pods, ns); created && limited && k.Resource == registry.Pods && used >= limit {
		return apierrors.NewForbidden(k.GroupResource(), obj.GetName(),
			fmt.Errorf("exceeded quota: pods, requested: pods=1, used: pods=%d, limited: pods=%d", used, limit))
	}
	message, refused := f.refusals[ns]
	if !refused || spared(k.Resource) {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
		Message: fmt.Sprintf("admission webhook %q denied the request: %s", "policy.kubesim.example", message),
	}}
}

// spared resources are those that the cluster writes by itself.
func spared(resource string) bool {
	switch resource {
	case registry.Pods, registry.ReplicaSets, registry.Events, registry.Endpoints, registry.EndpointSlices, registry.Namespaces:
		return true
	default:
		return false
	}
}

// trackingListener knows its connections, so that a fault can close them.
type trackingListener struct {
	net.Listener
	faults *Faults

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newTrackingListener(l net.Listener, f *Faults) *trackingListener {
	t := &trackingListener{Listener: l, faults: f, conns: map[net.Conn]struct{}{}}
	f.mu.Lock()
	f.closeConns = t.closeAll
	f.mu.Unlock()
	return t
}

// Accept takes the next connection; while the cluster is unreachable it closes each at once.
func (t *trackingListener) Accept() (net.Conn, error) {
	for {
		conn, err := t.Listener.Accept()
		if err != nil {
			return nil, err // net/http looks at it
		}
		if t.faults.isUnreachable() {
			_ = conn.Close()
			continue
		}
		tracked := &trackedConn{Conn: conn, gone: t.forget}
		t.mu.Lock()
		t.conns[tracked] = struct{}{}
		t.mu.Unlock()
		return tracked, nil
	}
}

func (t *trackingListener) forget(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
}

func (t *trackingListener) closeAll() {
	t.mu.Lock()
	open := make([]net.Conn, 0, len(t.conns))
	for c := range t.conns {
		open = append(open, c)
	}
	t.mu.Unlock()
	for _, c := range open {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			continue // it was going anyway
		}
	}
}

type trackedConn struct {
	net.Conn
	gone func(net.Conn)
}

// Close ends the connection and forgets it.
func (c *trackedConn) Close() error {
	c.gone(c)
	return c.Conn.Close() // net/http looks at it
}
