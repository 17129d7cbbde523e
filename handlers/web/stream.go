package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	deliveryPace = 200 * time.Millisecond // between two updates of one delivery
	listPace     = time.Second            // a list costs more, and changes with every delivery
	heartbeat    = 15 * time.Second
	patience     = 10 * time.Second // for a reader to take what is written
)

// listening begins to hear of changes.
type listening func() (changed <-chan struct{}, stop func())

// stream sends the fragment whenever it has changed, and a heartbeat, until the request
// ends. It follows the WHATWG's server-sent events.
func (c *Console) stream(w http.ResponseWriter, r *http.Request, begin listening, pace time.Duration, render func(context.Context) (fragment, error)) {
	if c.streams.Add(1) > maxStreams {
		c.streams.Add(-1)
		c.fail(w, r, errStreams)
		return
	}
	defer c.streams.Add(-1)
	// Listening begins before the first look, so that no change falls between the two.
	changed, stop := begin()
	defer stop()
	f, err := render(r.Context())
	if err != nil {
		c.fail(w, r, err)
		return
	}
	s := &events{w: w, rc: http.NewResponseController(w), have: r.URL.Query().Get("have")}
	if err := s.open(); err != nil || r.Method == http.MethodHead {
		return
	}
	if s.page(f) != nil {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
			if err = s.send("beat", "{}"); err == nil && s.stale {
				err = c.update(r.Context(), s, render)
			}
		case <-changed:
			err = c.update(r.Context(), s, render)
			if err == nil && !pause(r.Context(), pace) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// update sends the state of now. A store that fails to answer once does not end the
// stream: the next change or heartbeat tries again.
func (c *Console) update(ctx context.Context, s *events, render func(context.Context) (fragment, error)) error {
	f, err := render(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrNotFound):
		return err
	case err != nil:
		c.log.Warn("live update failed", "error", err)
		s.stale = true
		return nil
	}
	s.stale = false
	return s.page(f)
}

// pause waits, false if the request ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// events writes server-sent events.
type events struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	have  string // version that the reader shows
	stale bool   // a change could not be read yet
}

func (s *events) open() error {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events back otherwise
	// The server's limit for reading a request would end the stream.
	if err := s.rc.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("open stream: %w", err)
	}
	s.w.WriteHeader(http.StatusOK)
	return s.send("beat", "{}")
}

// page sends a fragment unless the reader has it.
func (s *events) page(f fragment) error {
	if f.Version == s.have {
		return nil
	}
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode page: %w", err)
	}
	s.have = f.Version
	return s.send("page", string(data))
}

func (s *events) send(event, data string) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("send %s: %w", event, err)
	}
	if _, err := fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", event, data); err != nil {
		return fmt.Errorf("send %s: %w", event, err)
	}
	return s.rc.Flush()
}
