package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// outside is everything behind the routes; a test says what it answers.
type outside struct {
	err     error
	panics  any
	answer  SlackAnswer
	ready   error
	body    []byte
	headers http.Header
}

func (o *outside) Receive(_ context.Context, h http.Header, body []byte) (Receipt, error) {
	if o.panics != nil {
		panic(o.panics)
	}
	o.body, o.headers = body, h
	return Receipt{Result: "accepted"}, o.err
}

func (o *outside) Interact(_ context.Context, h http.Header, body []byte) (SlackAnswer, error) {
	o.body, o.headers = body, h
	return o.answer, o.err
}

func (o *outside) Ready(context.Context) error { return o.ready }

// serve builds the routes; log holds what they say.
func serve(t *testing.T, o *outside, change func(*Options)) (h http.Handler, log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	opts := Options{Hooks: o, Slack: o, Health: o, Logger: slog.New(slog.NewTextHandler(log, nil))}
	if change != nil {
		change(&opts)
	}
	h, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return h, log
}

func ask(t *testing.T, h http.Handler, method, target string, body io.Reader) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, body))
	return w
}

func TestHooksAndHealthAreRequired(t *testing.T) {
	for name, o := range map[string]Options{"nothing": {}, "no health": {Hooks: &outside{}}, "no hooks": {Health: &outside{}}} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: there is no error", name)
		}
	}
}

func TestRoutes(t *testing.T) {
	console := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, "page ", r.URL.Path) })
	for _, tt := range []struct {
		name, method, target string
		change               func(*Options)
		status               int
		says                 string
	}{
		{"a hook is taken in", "POST", "/hooks/gitlab", nil, 200, `"result":"accepted"`},
		{"a press of a button is taken in", "POST", "/slack/interactions", nil, 200, ""},
		{"a slash command is taken in", "POST", "/slack/commands", nil, 200, ""},
		{"it lives", "GET", "/livez", nil, 200, "ok"},
		{"it lives, in short", "HEAD", "/livez", nil, 200, ""},
		{"it is ready", "GET", "/readyz", nil, 200, "ok"},
		{"it is ready, in short", "HEAD", "/readyz", nil, 200, ""},
		{"hooks cannot be read", "GET", "/hooks/gitlab", nil, 405, `"error"`},
		{"hooks cannot be replaced", "PUT", "/hooks/gitlab", nil, 405, `"error"`},
		{"Slack's routes cannot be read", "GET", "/slack/interactions", nil, 405, `"error"`},
		{"health cannot be written", "POST", "/readyz", nil, 405, `"error"`},
		{"without Slack there is no interaction", "POST", "/slack/interactions", func(o *Options) { o.Slack = nil }, 404, `"error"`},
		{"without Slack there is no command", "POST", "/slack/commands", func(o *Options) { o.Slack = nil }, 404, `"error"`},
		{"without metrics there are none", "GET", "/metrics", nil, 404, `"error"`},
		{"without pages there are none", "GET", "/", nil, 404, `"error"`},
		{"metrics are shown", "GET", "/metrics", func(o *Options) { o.Metrics = console }, 200, "page /metrics"},
		{"the list is a page", "GET", "/", func(o *Options) { o.Console = console }, 200, "page /"},
		{"a delivery is a page", "GET", "/deliveries/1-2-3", func(o *Options) { o.Console = console }, 200, "page /deliveries/1-2-3"},
		{"the pages cannot hide a hook", "GET", "/hooks/gitlab", func(o *Options) { o.Console = console }, 405, `"error"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := serve(t, &outside{}, tt.change)
			w := ask(t, h, tt.method, tt.target, strings.NewReader("{}"))
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("got %d %q, want %d with %q", w.Code, w.Body, tt.status, tt.says)
			}
			if tt.status == 405 && w.Header().Get("Allow") == "" {
				t.Error("the answer does not say what is allowed")
			}
			if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Referrer-Policy") != "same-origin" {
				t.Errorf("the headers are %v", w.Header())
			}
		})
	}
}

func TestTheBodyArrivesWhole(t *testing.T) {
	o := &outside{answer: SlackAnswer{ContentType: "application/json", Body: []byte(`{"ok":1}`)}}
	h, _ := serve(t, o, nil)
	for _, target := range []string{"/hooks/gitlab", "/slack/interactions"} {
		w := ask(t, h, "POST", target, strings.NewReader("as it was\x00sent"))
		if w.Code != 200 || string(o.body) != "as it was\x00sent" {
			t.Errorf("%s: got %d, and the body was %q", target, w.Code, o.body)
		}
	}
	w := ask(t, h, "POST", "/slack/interactions", nil)
	if w.Body.String() != `{"ok":1}` || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %q %q", w.Header().Get("Content-Type"), w.Body)
	}
}

// endless hides how long a body is.
type endless struct{ io.Reader }

func TestLargeBodiesAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name, target string
		size         int64
		status       int
	}{
		{"a hook of 30 MB", "/hooks/gitlab", 30e6, 413},
		{"a hook of 25 MiB", "/hooks/gitlab", maxHook, 200},
		{"a hook of 25 MiB and a byte", "/hooks/gitlab", maxHook + 1, 413},
		{"an interaction of 1 MiB and a byte", "/slack/interactions", maxSlack + 1, 413},
	} {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, length known %v", tt.name, known), func(t *testing.T) {
				h, _ := serve(t, &outside{}, nil)
				srv := httptest.NewServer(h)
				defer srv.Close()
				body := io.LimitReader(zeros{}, tt.size)
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+tt.target, endless{body})
				if err != nil {
					t.Fatal(err)
				}
				if known {
					r.ContentLength = tt.size
				}
				resp, err := srv.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				said, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != tt.status {
					t.Errorf("got %d, want %d", resp.StatusCode, tt.status)
				}
				if tt.status == 413 && !strings.Contains(string(said), "larger than") {
					t.Errorf("the answer is %s", said)
				}
			})
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

type torn struct{}

func (torn) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestErrorsBecomeStatuses(t *testing.T) {
	secret := errors.New("glpat-secret at 10.0.0.7")
	for _, tt := range []struct {
		name   string
		err    error
		status int
		says   string
		level  string
	}{
		{"a request that makes no sense", BadRequest("the body is not JSON"), 400, "the body is not JSON", "WARN"},
		{"a wrong signature", Unauthorized("the signature does not fit"), 401, "the signature does not fit", "WARN"},
		{"a large body", TooLarge(25 << 20), 413, "larger than 25 MiB", "WARN"},
		{"a store that is full", Unavailable("it could not be stored, send it again", secret), 503, "send it again", "ERROR"},
		{"a refusal within another error", fmt.Errorf("receive: %w", Unauthorized("too old")), 401, "too old", "WARN"},
		{"a refusal of a kind that nobody knows", &Refusal{Status: 418, Reason: "a teapot"}, 418, "a teapot", "WARN"},
		{"a refusal without a status", &Refusal{Reason: "no status", Err: secret}, 500, "internal error", "ERROR"},
		{"a refusal that is none", &Refusal{Status: 200, Reason: "fine", Err: secret}, 500, "internal error", "ERROR"},
		{"any other error", secret, 500, "internal error", "ERROR"},
	} {
		for _, target := range []string{"/hooks/gitlab", "/slack/interactions"} {
			t.Run(tt.name+" at "+target, func(t *testing.T) {
				h, log := serve(t, &outside{err: tt.err}, nil)
				w := ask(t, h, "POST", target, strings.NewReader("{}"))
				var said problem
				if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil {
					t.Fatal(err)
				}
				if w.Code != tt.status || !strings.Contains(said.Error, tt.says) {
					t.Errorf("got %d %q, want %d with %q", w.Code, said.Error, tt.status, tt.says)
				}
				if strings.Contains(w.Body.String(), "secret") {
					t.Error("the answer shows what is inside")
				}
				if !strings.Contains(log.String(), "level="+tt.level) {
					t.Errorf("the log says %s", log)
				}
			})
		}
	}
}

func TestATornBodyIsABadRequest(t *testing.T) {
	o := &outside{}
	h, _ := serve(t, o, nil)
	if w := ask(t, h, "POST", "/hooks/gitlab", torn{}); w.Code != 400 || o.headers != nil {
		t.Errorf("got %d, received %v", w.Code, o.headers != nil)
	}
}

func TestAPanicIsAnAnswer(t *testing.T) {
	h, log := serve(t, &outside{panics: "secret words"}, nil)
	w := ask(t, h, "POST", "/hooks/gitlab", strings.NewReader("{}"))
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret") || !strings.Contains(w.Body.String(), "internal error") {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "secret words") {
		t.Error("the log does not say why")
	}
}

func TestNotReadySaysWhy(t *testing.T) {
	h, _ := serve(t, &outside{ready: errors.New("the database cannot be written: no space left")}, nil)
	w := ask(t, h, "GET", "/readyz", nil)
	if w.Code != 503 || !strings.Contains(w.Body.String(), "no space left") {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	if w := ask(t, h, "GET", "/livez", nil); w.Code != 200 {
		t.Errorf("it does not live: %d", w.Code)
	}
}
