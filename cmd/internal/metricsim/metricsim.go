// Package metricsim is a small Prometheus, simulated at the wire: it measures the baseline and the canary of a simulated
// shop, as each behaves, for as long as their pods were there. Time runs faster in it: each second counts as a minute's worth
// of requests, so that there is as much to judge after seconds as there would be after as many minutes.
//
// It knows the few queries of the demo's pipeline file and refuses all others.
//
// Source: https://prometheus.io/docs/prometheus/latest/querying/api/
package metricsim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// perSample is how many requests a track gets in a minute, which is a second here.
	perSample = 2000
	// jitter is how far requests and latency are off by chance, as a part.
	jitter  = 0.03
	maxKept = 1000 // tracks that are remembered
)

// Behaviour is how a release answers.
type Behaviour struct {
	Errors  float64       // part of the requests that end in a 5xx
	Latency time.Duration // 99th percentile
}

// Track is one side of a pair whose pods all are ready.
type Track struct {
	Name    string // baseline or canary
	Version string // the value of slipway.dev/version
	Behaviour
}

// Options for Start. All but Seed are required.
type Options struct {
	Seed    uint64         // of the noise
	Running func() []Track // what runs now
	// Changed tells when to look again what runs, until the function is called.
	Changed func() (<-chan struct{}, func())
}

// Sim is the server. Close it.
type Sim struct {
	o      Options
	url    string
	server *http.Server
	stop   func()
	done   chan struct{}

	mu   sync.Mutex
	seen map[string]*span // by name and version
	held *hold            // nil while queries are answered
}

// hold keeps queries waiting.
type hold struct{ asked, over chan struct{} }

// span is how long a track was there, and how it behaved.
type span struct {
	Track
	from, to time.Time // to is zero while it is there
}

// Start serves on the loopback.
func Start(o Options) (*Sim, error) {
	if o.Running == nil || o.Changed == nil {
		return nil, errors.New("start the metrics server: it has to know what runs")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the metrics server: %w", err)
	}
	closing := make(chan struct{})
	s := &Sim{o: o, url: "http://" + l.Addr().String(), stop: sync.OnceFunc(func() { close(closing) }), done: make(chan struct{}), seen: map[string]*span{}}
	s.server = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.server.Serve(l) }() // ends with Close
	changed, unsubscribe := o.Changed()
	go func() {
		defer close(s.done)
		defer unsubscribe()
		for {
			s.observe(time.Now())
			select {
			case <-closing:
				return
			case <-changed:
			}
		}
	}()
	return s, nil
}

// URL is the address, without /api/v1.
func (s *Sim) URL() string { return s.url }

// Close ends it.
func (s *Sim) Close() {
	s.stop()
	<-s.done
	_ = s.server.Close() // nothing of it is to be kept
}

// Hold lets queries wait until release is called, and closes asked as soon as one does.
func (s *Sim) Hold() (asked <-chan struct{}, release func()) {
	h := &hold{asked: make(chan struct{}), over: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = h
	return h.asked, sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.held == h {
			s.held = nil
		}
		close(h.over)
	})
}

// wait returns when queries are answered, or who asked is gone.
func (s *Sim) wait(ctx context.Context) {
	s.mu.Lock()
	h := s.held
	if h != nil {
		select {
		case <-h.asked:
		default:
			close(h.asked)
		}
	}
	s.mu.Unlock()
	if h == nil {
		return
	}
	select {
	case <-h.over:
	case <-ctx.Done():
	case <-s.done:
	}
}

// observe remembers since when tracks are there, and until when.
func (s *Sim) observe(now time.Time) {
	running := s.o.Running()
	s.mu.Lock()
	defer s.mu.Unlock()
	there := map[string]bool{}
	for _, t := range running {
		key := t.Name + "/" + t.Version
		there[key] = true
		if old := s.seen[key]; (old == nil || !old.to.IsZero()) && (old != nil || len(s.seen) < maxKept) {
			s.seen[key] = &span{Track: t, from: now}
		}
	}
	for key, t := range s.seen {
		if !there[key] && t.to.IsZero() {
			t.to = now
		}
	}
}

// sample is what was measured of a track in the second before at. It is not ok if the track was not there all of that time.
func (s *Sim) sample(q query, at, now time.Time) (value float64, ok bool) {
	s.mu.Lock()
	t := s.seen[q.track+"/"+q.version]
	s.mu.Unlock()
	if t == nil || at.After(now) || at.Add(-time.Second).Before(t.from) || !t.to.IsZero() && at.After(t.to) {
		return 0, false
	}
	return t.at(q.metric, s.o.Seed, at.Unix()-t.from.Unix()), true
}

// at is what a metric measures in the n-th second.
func (t *span) at(m metric, seed uint64, n int64) float64 {
	requests, failed, latency := t.Second(seed, n)
	switch m {
	case requestsOf:
		return requests
	case errorsOf:
		return failed
	default:
		return latency
	}
}

// Second draws what is measured in the n-th second of a track: its requests, how many of them failed, and the 99th percentile
// of the latency in seconds. The same seed gives the same, whatever the time is.
func (t Track) Second(seed uint64, n int64) (requests, failed, latency float64) {
	side := uint64(0)
	if t.Name == "canary" {
		side = 1
	}
	rnd := rand.New(rand.NewPCG(seed, uint64(n)<<1|side))
	requests = math.Round(perSample * math.Exp(jitter*rnd.NormFloat64()))
	expected := requests * t.Errors
	failed = min(requests, max(0, math.Round(expected+math.Sqrt(expected)*rnd.NormFloat64())))
	latency = t.Latency.Seconds() * math.Exp(jitter*rnd.NormFloat64())
	return requests, failed, latency
}
