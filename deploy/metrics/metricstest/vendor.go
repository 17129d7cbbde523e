// Package metricstest is the one suite that every metrics source passes, against a double of its system at the wire
// that answers as the system's documentation says, and refuses what is not documented.
package metricstest

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

// Vendor is a source, with a double of what it asks.
type Vendor struct {
	// New makes the source for the double at the address.
	New   func(t *testing.T, address string, limits wire.Limits) metrics.Sampler
	Query string
	// Secrets are what the source signs in with, in every form that is sent.
	Secrets []string
	// Answer is the double: what it has measured is w's. The error says what is wrong with the request.
	Answer func(w World, r *http.Request, body []byte) (Reply, error)
	// Refusal is how the system says that it does not take a query.
	Refusal func(words string) Reply
	// Parts are how the system says, with an answer, that it is a part of what was measured; Remarks how it says something
	// else of it, in which there is the word "remark". Most systems have neither.
	Parts, Remarks []func(good Reply) Reply
	// Aside says which requests are no questions, such as those for a token; nil has none.
	Aside func(r *http.Request) bool
	// OneSeries is for systems that cannot answer with several.
	OneSeries bool
	// Uncut is for answers that are as good when their end is missing, such as CSV.
	Uncut bool
}

// Reply is an answer of a double.
type Reply struct {
	Status int    // 200 where 0
	Type   string // application/json where ""
	Body   string
	Header map[string]string
}

// World is what a double has measured.
type World struct {
	Now    time.Time
	Series int // of the query
	// Value was measured in the step of a minute that begins then; NaN if nothing was.
	Value func(begin time.Time) float64
}

// Begins are the steps of the length that begin in [from, to).
func Begins(from, to time.Time, step time.Duration) []time.Time {
	var all []time.Time
	for at := from.Truncate(step); at.Before(to); at = at.Add(step) {
		if !at.Before(from) {
			all = append(all, at)
		}
	}
	return all
}

// JSON writes a number, and null for NaN.
func JSON(v float64) string {
	if math.IsNaN(v) {
		return "null"
	}
	return fmt.Sprint(v)
}

// fault is what happens to a question instead of an answer.
type fault func(w http.ResponseWriter, r *http.Request, v *Vendor, good Reply)

// double is the system: it answers, but for the first questions, which meet the faults.
type double struct {
	t      *testing.T
	v      *Vendor
	world  World
	server *httptest.Server

	mu     sync.Mutex
	faults []fault
	asked  int
}

func start(t *testing.T, v *Vendor, world World, faults ...fault) *double {
	t.Helper()
	d := &double{t: t, v: v, world: world, faults: faults}
	d.server = httptest.NewServer(d)
	t.Cleanup(d.server.Close)
	return d
}

func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	good, err := d.v.Answer(d.world, r, body)
	if err != nil {
		d.t.Errorf("the double does not take %s %s: %v", r.Method, r.URL.Path, err)
		send(w, Reply{Status: http.StatusBadRequest, Body: "{}"})
		return
	}
	if d.v.Aside != nil && d.v.Aside(r) {
		send(w, good)
		return
	}
	if f := d.next(); f != nil {
		f(w, r, d.v, good)
		return
	}
	send(w, good)
}

// next is the fault for this question, nil if there is none.
func (d *double) next() fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if len(d.faults) == 0 {
		return nil
	}
	f := d.faults[0]
	if len(d.faults) > 1 { // the last one stays
		d.faults = d.faults[1:]
	}
	return f
}

func (d *double) times() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

func send(w http.ResponseWriter, r Reply) {
	if r.Type == "" {
		r.Type = "application/json"
	}
	if r.Status == 0 {
		r.Status = http.StatusOK
	}
	for name, value := range r.Header {
		w.Header().Set(name, value)
	}
	w.Header().Set("Content-Type", r.Type)
	w.WriteHeader(r.Status)
	_, _ = io.WriteString(w, r.Body)
}

// status answers with it, and with words that are not for machines.
func status(code int, header ...string) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ *Vendor, _ Reply) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		send(w, Reply{Status: code, Type: "text/plain", Body: "not now"})
	}
}

// said changes what is answered.
func said(change func(Reply) Reply) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ *Vendor, good Reply) { send(w, change(good)) }
}

func none(w http.ResponseWriter, _ *http.Request, _ *Vendor, good Reply) { send(w, good) }

// brokenOff promises more than comes.
func brokenOff(w http.ResponseWriter, _ *http.Request, _ *Vendor, good Reply) {
	w.Header().Set("Content-Length", fmt.Sprint(len(good.Body)+100))
	send(w, good)
	panic(http.ErrAbortHandler)
}

func cut(w http.ResponseWriter, _ *http.Request, _ *Vendor, good Reply) {
	good.Body = good.Body[:len(good.Body)*2/3]
	send(w, good)
}

func endless(w http.ResponseWriter, _ *http.Request, _ *Vendor, good Reply) {
	good.Body = strings.Repeat(" ", wire.MaxAnswer+1) + good.Body
	send(w, good)
}

func silent(_ http.ResponseWriter, r *http.Request, _ *Vendor, _ Reply) { <-r.Context().Done() }

// echo refuses, and says all that it was sent.
func echo(w http.ResponseWriter, r *http.Request, v *Vendor, _ Reply) {
	var said strings.Builder
	for name, values := range r.Header {
		if name != "Accept" && name != "User-Agent" && name != "Content-Type" && name != "Accept-Encoding" && name != "Content-Length" {
			fmt.Fprintf(&said, "%s is %s; ", name, strings.Join(values, ","))
		}
	}
	refusal := v.Refusal("bad \\u0007query. " + strings.ReplaceAll(said.String(), `"`, "'") + r.URL.Path + strings.Repeat(" and so on", 100))
	send(w, refusal)
}

// Serve answers everything alike, and returns the address.
func Serve(t *testing.T, r Reply) string {
	t.Helper()
	return ServeFunc(t, func(*http.Request, []byte) Reply { return r })
}

// ServeFunc answers one request after the other, and returns the address.
func ServeFunc(t *testing.T, answer func(*http.Request, []byte) Reply) string {
	t.Helper()
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client is gone
		}
		mu.Lock()
		defer mu.Unlock()
		send(w, answer(r, body))
	}))
	t.Cleanup(server.Close)
	return server.URL
}
