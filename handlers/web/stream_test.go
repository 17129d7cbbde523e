package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// listener is a reader of a stream that never blocks.
type listener struct {
	mu     sync.Mutex
	header http.Header
	status int
	body   bytes.Buffer
	broken bool
}

func (l *listener) Header() http.Header { return l.header }
func (l *listener) WriteHeader(s int)   { l.status = s }
func (l *listener) Flush()              {}
func (l *listener) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return 0, errors.New("the reader is gone")
	}
	return l.body.Write(b)
}

// take returns the events since the last call.
func (l *listener) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for line := range strings.SplitSeq(l.body.String(), "\n") {
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			names = append(names, name)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok && names[len(names)-1] == "page" {
			var f fragment
			if err := json.Unmarshal([]byte(data), &f); err != nil {
				names = append(names, err.Error())
				continue
			}
			names[len(names)-1] = "page " + f.Announce
		}
	}
	l.body.Reset()
	return names
}

func (l *listener) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := l.take(); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// listen opens a stream; done is closed when it has ended.
func listen(t *testing.T, c *Console, target string) (l *listener, hangUp func(), done chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l, done = &listener{header: http.Header{}}, make(chan struct{})
	r := httptest.NewRequestWithContext(ctx, "GET", target, nil)
	go func() {
		defer close(done)
		c.ServeHTTP(l, r)
	}()
	return l, cancel, done
}

func with(v pipeline.View, progress string) pipeline.View {
	v.Stages = append([]pipeline.StageView(nil), v.Stages...)
	v.Stages[3].Progress = progress
	return v
}

func TestAStreamTellsWhatHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := running(noon)
		m := newMemory(v)
		c := console(t, m)
		f, err := c.deliveryFragment(t.Context(), v.ID)
		if err != nil {
			t.Fatal(err)
		}
		l, hangUp, done := listen(t, c, "/deliveries/"+v.ID+"/events?have="+f.Version)
		l.expect(t, "a reader who has the page", "beat")
		if got := l.header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") || l.status != 200 {
			t.Errorf("got %d %s", l.status, got)
		}
		m.set(with(v, "3 of 3 pods ready"))
		l.expect(t, "a change", "page Under way. Production: 3 of 3 pods ready.")
		time.Sleep(deliveryPace)
		m.set(with(v, "3 of 3 pods ready"))
		l.expect(t, "a signal without a change")
		m.set(succeededLater(v))
		time.Sleep(deliveryPace)
		l.expect(t, "the end", "page Delivered.")
		hangUp()
		<-done
		if n := m.listeners(); n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}
		if n := c.streams.Load(); n != 0 {
			t.Errorf("%d streams are counted", n)
		}
	})
}

func succeededLater(v pipeline.View) pipeline.View {
	v.Status = pipeline.StatusSucceeded
	return v
}

func TestAStreamBeginsWithThePageThatTheReaderLacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := running(noon)
		l, hangUp, done := listen(t, console(t, newMemory(v)), "/deliveries/"+v.ID+"/events?have=old")
		l.expect(t, "a reader who has another page", "beat", "page Under way. Production: 2 of 3 pods ready.")
		hangUp()
		<-done
	})
}

func TestAStreamBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, hangUp, done := listen(t, console(t, newMemory()), "/events")
		synctest.Wait()
		l.take()
		time.Sleep(heartbeat - time.Second)
		l.expect(t, "before the heartbeat")
		time.Sleep(time.Second)
		l.expect(t, "the heartbeat", "beat")
		time.Sleep(heartbeat)
		l.expect(t, "the next heartbeat", "beat")
		hangUp()
		<-done
	})
}

func TestManyChangesAreSentTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := running(noon)
		m := newMemory(v)
		c := console(t, m)
		l, hangUp, done := listen(t, c, "/deliveries/"+v.ID+"/events")
		synctest.Wait()
		before := m.looks()
		for i := range 1000 {
			m.set(with(v, strings.Repeat("x", i+1)))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(deliveryPace)
		synctest.Wait()
		if n := m.looks() - before; n < 4 || n > 7 {
			t.Errorf("1000 changes in a second made %d renders", n)
		}
		events := l.take()
		if last := events[len(events)-1]; !strings.Contains(last, "X"+strings.Repeat("x", 400)) && !strings.Contains(last, strings.Repeat("x", 400)) {
			t.Errorf("the last change was not sent: %.80s", last)
		}
		hangUp()
		<-done
	})
}

func TestAStreamOutlivesAnErrorOfTheStoreButNotTheDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := running(noon)
		m := newMemory(v)
		l, _, done := listen(t, console(t, m), "/deliveries/"+v.ID+"/events")
		synctest.Wait()
		l.take()
		fail := func(err error) { m.mu.Lock(); m.err = err; m.mu.Unlock() }
		fail(errors.New("the disk is slow"))
		m.set(v)
		time.Sleep(deliveryPace)
		l.expect(t, "an error")
		fail(nil)
		m.set(succeededLater(v))
		l.expect(t, "after the error", "page Delivered.")
		fail(errors.New("the disk is slow again"))
		time.Sleep(deliveryPace)
		m.set(v)
		l.expect(t, "another error")
		fail(nil)
		time.Sleep(heartbeat)
		l.expect(t, "what was missed", "beat", "page Under way. Production: 2 of 3 pods ready.")
		fail(ErrNotFound)
		time.Sleep(deliveryPace)
		m.set(v)
		<-done
	})
}

func TestAStreamEndsWhenItsReaderIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, done := listen(t, console(t, newMemory()), "/events")
		synctest.Wait()
		l.mu.Lock()
		l.broken = true
		l.mu.Unlock()
		<-done // at the next heartbeat
	})
}

func TestThereAreNotEndlesslyManyStreams(t *testing.T) {
	c := console(t, newMemory())
	c.streams.Store(maxStreams)
	w := get(t, c, "GET", "/events")
	if w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d", w.Code)
	}
	if n := c.streams.Load(); n != maxStreams {
		t.Errorf("%d streams are counted", n)
	}
}

// The server's limit for reading a request must not end a stream.
func TestAStreamOutlivesTheReadTimeout(t *testing.T) {
	v := running(noon)
	m := newMemory(v)
	srv := httptest.NewUnstartedServer(console(t, m))
	srv.Config.ReadTimeout = 50 * time.Millisecond
	srv.Start()
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/deliveries/"+v.ID+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	until := time.NewTimer(300 * time.Millisecond) // six times the limit
	<-until.C
	m.set(succeededLater(v))
	var all []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(all, []byte("Delivered")) {
		n, err := resp.Body.Read(buf)
		if all = append(all, buf[:n]...); err != nil {
			t.Fatalf("the stream ended: %v", err)
		}
	}
}
