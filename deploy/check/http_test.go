package check

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// serve answers with the handler, and returns the address and the host as an operator would list it.
func serve(t *testing.T, h http.HandlerFunc) (address, host string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL, strings.TrimPrefix(s.URL, "http://")
}

var took = regexp.MustCompile(`in \d+ ms`)

func TestAnAddressIsAsked(t *testing.T) {
	status := func(codes ...int) http.HandlerFunc {
		var n atomic.Int64
		return func(w http.ResponseWriter, r *http.Request) {
			code := codes[min(int(n.Add(1)), len(codes))-1]
			w.WriteHeader(code)
			fmt.Fprintf(w, "upstream %d\n\tof %s %s", code, r.Method, r.UserAgent())
		}
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		check  pipeline.HTTPCheck
		passed bool
		saw    string // with the time as T, and the address as URL
	}{
		{"200 is good", status(200), pipeline.HTTPCheck{Requests: 1, Pass: 1}, true, "GET URL/health answered 200 in T"},
		{"several are good", status(200, 204), pipeline.HTTPCheck{Requests: 3, Pass: 3}, true, "all 3 requests passed: GET URL/health answered 204 in T"},
		{"503 is not", status(503), pipeline.HTTPCheck{Requests: 1, Pass: 1}, false, `GET URL/health answered 503 "upstream 503 of GET slipway" in T`},
		{"503 may be what is wanted", status(503), pipeline.HTTPCheck{Requests: 1, Pass: 1, Status: []int{500, 503}}, true, "GET URL/health answered 503 in T"},
		{"200 is not wanted then", status(200), pipeline.HTTPCheck{Requests: 1, Pass: 1, Status: []int{503}}, false, `GET URL/health answered 200 "upstream 200 of GET slipway" in T`},
		{"some may fail", status(503, 200), pipeline.HTTPCheck{Requests: 5, Pass: 4}, true, `1 of 5 requests failed: GET URL/health answered 503 "upstream 503 of GET slipway" in T`},
		{"but not too many", status(503, 200, 500, 500), pipeline.HTTPCheck{Requests: 5, Pass: 3}, false, `3 of 5 requests failed: GET URL/health answered 503 "upstream 503 of GET slipway" in T`},
		{"the body matches", status(200), pipeline.HTTPCheck{Requests: 1, Pass: 1, Body: `(?m)^upstream \d+$`}, true, "GET URL/health answered 200 in T"},
		{"the body does not match", status(200), pipeline.HTTPCheck{Requests: 1, Pass: 1, Body: `"status":\s*"ok"`}, false,
			`GET URL/health answered 200 "upstream 200 of GET slipway" in T, which does not match "status":\s*"ok"`},
		{"another method", status(200), pipeline.HTTPCheck{Requests: 1, Pass: 1, Method: "post", Body: "of POST"}, true, "POST URL/health answered 200 in T"},
		{"it is too slow", status(200), pipeline.HTTPCheck{Requests: 1, Pass: 1, Latency: 1}, false, "GET URL/health answered 200 in T; at most 0 ms is allowed"},
		{"it is fast enough", status(200), pipeline.HTTPCheck{Requests: 1, Pass: 1, Latency: 20 * time.Second}, true, "GET URL/health answered 200 in T"},
		{"it never answers", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			pipeline.HTTPCheck{Requests: 4, Pass: 4, Latency: time.Millisecond}, false, "1 of 4 requests failed: GET URL/health failed: no answer within 1 s"},
		{"it breaks off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			pipeline.HTTPCheck{Requests: 1, Pass: 1}, false, "GET URL/health failed: the connection broke"},
		{"a redirect elsewhere is not followed", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://login.example.com/in?next=secret", http.StatusFound)
		}, pipeline.HTTPCheck{Requests: 1, Pass: 1}, false, "GET URL/health answered 302 in T, which leads to https://login.example.com/in?…"},
		{"a redirect on the same host is followed", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/health" {
				http.Redirect(w, r, "/healthz", http.StatusFound)
			}
		}, pipeline.HTTPCheck{Requests: 1, Pass: 1}, true, "GET URL/health answered 200 in T"},
		{"a redirect that is wanted is not followed", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/healthz", http.StatusFound)
		}, pipeline.HTTPCheck{Requests: 1, Pass: 1, Status: []int{302}}, true, "GET URL/health answered 302 in T"},
		{"a redirect without end ends", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/health", http.StatusFound) },
			pipeline.HTTPCheck{Requests: 1, Pass: 1}, false, "GET URL/health answered 302 in T, which leads to /health"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			address, host := serve(t, tt.answer)
			tt.check.URL = address + "/health"
			got := checked(t, executor(t, Options{Hosts: []string{host}}), task(pipeline.Check{HTTP: &tt.check}, nil))
			saw := strings.ReplaceAll(took.ReplaceAllString(got.Saw, "in T"), address, "URL")
			if got.Passed != tt.passed || saw != tt.saw {
				t.Errorf("got %v, %s\nwant %v, %s", got.Passed, saw, tt.passed, tt.saw)
			}
		})
	}
}

func TestWhatIsSeenIsBoundedAndHoldsNoSecret(t *testing.T) {
	address, host := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, "\x1b[31m{\"db_password\": \"hunter2\"}\u202e token=abcdef Authorization: Bearer eyJhbGci "+strings.Repeat("é", maxBody))
	})
	c := pipeline.HTTPCheck{URL: address + "/" + strings.Repeat("p", 500) + "?key=topsecret", Requests: 1, Pass: 1}
	got := checked(t, executor(t, Options{Hosts: []string{host}}), task(pipeline.Check{HTTP: &c}, nil))
	if n := len([]rune(got.Saw)); n > maxDetail {
		t.Errorf("%d characters", n)
	}
	for _, secret := range []string{"hunter2", "abcdef", "eyJhbGci", "topsecret", "\x1b", "\u202e"} {
		if strings.Contains(got.Saw, secret) {
			t.Errorf("%q is in %q", secret, got.Saw)
		}
	}
}

func TestOnlyTheBeginningOfABodyIsRead(t *testing.T) {
	address, host := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil { // without end
			if _, err := fmt.Fprint(w, strings.Repeat("x", 4096)); err != nil {
				return
			}
		}
	})
	c := pipeline.HTTPCheck{URL: address, Requests: 1, Pass: 1, Body: "x{1000}"}
	if got := checked(t, executor(t, Options{Hosts: []string{host}}), task(pipeline.Check{HTTP: &c}, nil)); !got.Passed {
		t.Errorf("got %+v", got)
	}
}

func TestAHostThatIsNotThereIsAnOutcome(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	safe := httptest.NewTLSServer(http.NotFoundHandler())
	defer safe.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for url, says := range map[string]string{
		gone.URL: "failed: connection refused", "http://nobody.invalid/": "the host's name is not found", safe.URL: "the certificate is not trusted",
		strings.Replace(plain.URL, "http:", "https:", 1): "the host answers http, not https",
	} {
		c := pipeline.HTTPCheck{URL: url, Requests: 1, Pass: 1}
		e := executor(t, Options{Hosts: []string{"*.invalid", strings.SplitN(url, "//", 2)[1]}})
		if got := checked(t, e, task(pipeline.Check{HTTP: &c}, nil)); got.Passed || !strings.Contains(got.Saw, says) {
			t.Errorf("got %+v, want %q", got, says)
		}
	}
}

func TestAnHTTPCheckThatCannotBeRunSaysWhy(t *testing.T) {
	tests := []struct {
		name  string
		check pipeline.HTTPCheck
		says  string
	}{
		{"no address", pipeline.HTTPCheck{URL: "shop/health"}, "not an http or https address"},
		{"a file", pipeline.HTTPCheck{URL: "file:///etc/passwd"}, "not an http or https address"},
		{"a password in the address", pipeline.HTTPCheck{URL: "https://ada:pw@shop.example.com"}, "must not contain a user"},
		{"a method that changes things", pipeline.HTTPCheck{URL: "https://shop.example.com", Method: "DELETE"}, "not with DELETE"},
		{"a wrong expression", pipeline.HTTPCheck{URL: "https://shop.example.com", Body: "("}, "expression is wrong"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := refused(t, executor(t, Options{Hosts: []string{"shop.example.com"}}), task(pipeline.Check{HTTP: &tt.check}, nil))
			if !f.Permanent || !strings.Contains(f.Detail, tt.says) || strings.Contains(f.Detail, "pw@") {
				t.Errorf("got %+v, want %q", f, tt.says)
			}
		})
	}
}

func TestACheckThatIsWithdrawnEndsAtOnce(t *testing.T) {
	asked := make(chan struct{})
	address, host := serve(t, func(_ http.ResponseWriter, r *http.Request) { close(asked); <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	c := pipeline.HTTPCheck{URL: address, Requests: 5, Pass: 1}
	if e, err := executor(t, Options{Hosts: []string{host}}).Execute(ctx, task(pipeline.Check{HTTP: &c}, nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %+v and %v", e, err)
	}
}

func TestARedirectToAnotherHostIsNotFollowedEvenIfChecksMayAskIt(t *testing.T) {
	other, _ := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the other host was asked") })
	other = strings.Replace(other, "127.0.0.1", "localhost", 1)
	address, host := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, http.StatusFound) })
	c := pipeline.HTTPCheck{URL: address, Requests: 1, Pass: 1}
	e := executor(t, Options{Hosts: []string{host, strings.TrimPrefix(other, "http://")}})
	if got := checked(t, e, task(pipeline.Check{HTTP: &c}, nil)); got.Passed || !strings.Contains(got.Saw, "which leads to "+other) {
		t.Errorf("got %+v", got)
	}
}
