package handlers

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestStrangersCannotFillTheMemory: a hook is believed only when it was read, so few large
// ones are read at once, and small ones never wait for them.
func TestStrangersCannotFillTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outside{}
		h, _ := serve(t, o, nil)
		ctx, hangUp := context.WithCancel(t.Context())
		var senders []*io.PipeWriter
		for range largeBodies {
			r, w := io.Pipe()
			senders = append(senders, w)
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "/hooks/gitlab", r)
			if err != nil {
				t.Fatal(err)
			}
			go h.ServeHTTP(discard{}, req)
			if _, err := w.Write(make([]byte, smallBody+1)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		began := time.Now()
		if w := ask(t, h, http.MethodPost, "/hooks/gitlab", bytes.NewReader(make([]byte, smallBody+1))); w.Code != http.StatusServiceUnavailable || time.Since(began) != largeWait {
			t.Errorf("one more large body: got %d after %s", w.Code, time.Since(began))
		}
		if w := ask(t, h, http.MethodPost, "/hooks/gitlab", strings.NewReader("{}")); w.Code != http.StatusOK || string(o.body) != "{}" {
			t.Errorf("a small body: got %d, %q", w.Code, o.body)
		}
		hangUp()
		for _, w := range senders {
			w.CloseWithError(io.ErrUnexpectedEOF)
		}
		synctest.Wait()
		large := bytes.Repeat([]byte("x"), 3*smallBody)
		if w := ask(t, h, http.MethodPost, "/hooks/gitlab", bytes.NewReader(large)); w.Code != http.StatusOK || !bytes.Equal(o.body, large) {
			t.Errorf("after the others have gone: got %d with %d bytes", w.Code, len(o.body))
		}
	})
}

// discard is an answer that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
