package slacksim

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Fault makes calls of a method fail. The zero value of what isn't needed stays out of the way.
type Fault struct {
	// Method such as "chat.update", "response_url", or "*" for every one.
	Method string
	// Times is how many calls fail; 0 means one.
	Times int
	// Error answers {"ok": false, "error": Error}.
	Error string
	// Status is the HTTP status; 0 means 200, or 429 when RetryAfter is set.
	Status int
	// RetryAfter is sent as a header in whole seconds, with "ratelimited".
	RetryAfter time.Duration
	// Body replaces the answer altogether, for instance {"ok":false} without an error.
	Body string
	// Drop closes the connection without an answer.
	Drop bool
	// After does what was asked first and fails then, so that the caller doesn't know.
	After bool
	// Hold keeps the answer back until it is closed or the caller goes away. A Fault with nothing but Hold then
	// answers as usual.
	Hold <-chan struct{}
}

// Fail makes the next calls fail as f says. Faults of one method are used up in the order in which they were set.
func (s *Sim) Fail(f Fault) {
	if f.Times == 0 {
		f.Times = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults forgets the faults that weren't used.
func (s *Sim) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault uses up a fault of the method, if there is one.
func (s *Sim) takeFault(name string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Method != name && f.Method != "*" {
			continue
		}
		f.Times--
		if f.Times == 0 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		}
		taken := *f
		return &taken
	}
	return nil
}

// fails says whether the fault does more than delay.
func (f *Fault) fails() bool {
	return f != nil && (f.Error != "" || f.Status != 0 || f.RetryAfter != 0 || f.Body != "" || f.Drop)
}

func (f *Fault) isBefore() bool { return f.fails() && !f.After }

func (f *Fault) drops() bool { return f != nil && f.Drop }

func (f *Fault) hold(ctx context.Context) {
	if f == nil || f.Hold == nil {
		return
	}
	select {
	case <-f.Hold:
	case <-ctx.Done():
	}
}

func (f *Fault) answer() (int, http.Header, fields) {
	status, header, code := f.Status, http.Header{}, f.Error
	if f.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(max(1, int(f.RetryAfter.Seconds()))))
		if status == 0 {
			status = http.StatusTooManyRequests
		}
		if code == "" {
			code = "ratelimited"
		}
	}
	if status == 0 {
		status = http.StatusOK
	}
	if code == "" {
		code = "internal_error"
	}
	return status, header, fields{"ok": false, "error": code}
}

// text is the body that is sent: the fault's own, or the answer as JSON.
func (f *Fault) text(answer fields) string {
	if f != nil && f.Body != "" {
		return f.Body
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return `{"ok":false,"error":"fatal_error"}`
	}
	return string(raw)
}
