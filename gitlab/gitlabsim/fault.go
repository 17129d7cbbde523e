package gitlabsim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Fault makes API calls go wrong. It applies to calls that fit Method, Path and Match, as often as Times says.
type Fault struct {
	Method string // empty for any
	// Path is a pattern over the path below /api/v4, where * stands for one segment and ** at the end for any
	// number: "projects/*/statuses/*". Empty for any.
	Path  string
	Match func(*http.Request) bool // nil for any; may read the body, must not keep the request
	Times int                      // zero or less means for ever

	Delay  time.Duration // wait before anything else
	Status int           // answer so instead of what would be answered: 401, 404, 409, 429 (without headers), 502, …
	Drop   bool          // close the connection without an answer
	Do     bool          // carry the call out all the same, before Status or Drop
}

type fault struct {
	Fault
	segments []string
	left     int
	hits     int
}

// Fail sets a fault. Earlier ones come first. hits tells how often it applied, end takes it away.
func (g *GitLab) Fail(f Fault) (hits func() int, end func(), err error) {
	if f.Status == 0 && !f.Drop && f.Delay == 0 {
		return nil, nil, errors.New("set fault: it does nothing")
	}
	if f.Status != 0 && (f.Drop || f.Status < 300 || f.Status > 599) {
		return nil, nil, fmt.Errorf("set fault: status %d is no failure, or the connection is dropped as well", f.Status)
	}
	own := &fault{Fault: f, left: f.Times}
	if f.Path != "" {
		own.segments = strings.Split(strings.Trim(f.Path, "/"), "/")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults = append(g.faults, own)
	hits = func() int {
		g.mu.Lock()
		defer g.mu.Unlock()
		return own.hits
	}
	end = func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		own.left = -1
		own.Times = 1
	}
	return hits, end, nil
}

func (g *GitLab) takeFault(r *http.Request, body []byte) *Fault {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.faults {
		r.Body = io.NopCloser(bytes.NewReader(body))
		if f.Times > 0 && f.left <= 0 || !f.fits(r) {
			continue
		}
		f.left--
		f.hits++
		own := f.Fault
		return &own
	}
	return nil
}

func (f *fault) fits(r *http.Request) bool {
	if f.Method != "" && f.Method != r.Method {
		return false
	}
	if f.segments != nil {
		segments := split(strings.TrimPrefix(r.URL.EscapedPath(), "/api/v4/"))
		if !fit(f.segments, segments) {
			return false
		}
	}
	return f.Match == nil || f.Match(r)
}

func fit(pattern, segments []string) bool {
	for i, want := range pattern {
		if want == "**" && i == len(pattern)-1 {
			return true
		}
		if i >= len(segments) || want != "*" && want != segments[i] {
			return false
		}
	}
	return len(pattern) == len(segments)
}

// split cuts an escaped path into its unescaped segments.
func split(path string) []string {
	segments := strings.Split(strings.Trim(path, "/"), "/")
	for i, s := range segments {
		if u, err := url.PathUnescape(s); err == nil {
			segments[i] = u
		}
	}
	return segments
}
