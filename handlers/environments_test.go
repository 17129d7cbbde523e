package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// places is an Environments that knows one, shop's production.
type places struct{ err error }

func (p places) List(context.Context) (EnvironmentList, error) {
	return EnvironmentList{Environments: []EnvironmentSummary{}, Configured: []ConfiguredEnvironment{}}, p.err
}

func (p places) Environment(_ context.Context, project int64, name string) (Environment, error) {
	if project != 42 || name != "review/a b" {
		return Environment{}, NotFound("there is no such environment")
	}
	return Environment{EnvironmentSummary: EnvironmentSummary{Name: name}}, p.err
}

func (p places) Log(_ context.Context, project int64, name, pod, container string) (PodLog, error) {
	return PodLog{Pod: fmt.Sprint(project, name, pod), Container: container, Lines: []string{}}, p.err
}

func TestRoutesOfTheAPI(t *testing.T) {
	no := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "a password is needed", http.StatusUnauthorized)
		})
	}
	for _, tt := range []struct {
		name, method, target string
		guard                func(http.Handler) http.Handler
		err                  error
		status               int
		says                 string
	}{
		{"the list", "GET", "/api/environments", nil, nil, 200, `{"environments":[],"configured":[]}`},
		{"an environment whose name has a slash and a space", "GET", "/api/environments/42/review%2Fa%20b", nil, nil, 200, `"name":"review/a b"`},
		{"the same with a plain slash", "GET", "/api/environments/42/review/a%20b", nil, nil, 200, `"release":null`},
		{"a log", "GET", "/api/environments/42/x/pods/shop-1/log?container=web", nil, nil, 200, `{"pod":"42xshop-1","container":"web","lines":[]}`},
		{"an unknown environment", "GET", "/api/environments/42/y", nil, nil, 404, `{"error":"there is no such environment"}`},
		{"no number", "GET", "/api/environments/shop/x", nil, nil, 404, "project's number"},
		{"no name", "GET", "/api/environments/42/", nil, nil, 404, "project's number"},
		{"a broken escape", "GET", "/api/environments/42/a//b", nil, nil, 404, "project's number"},
		{"a cluster that is away", "GET", "/api/environments", nil, &Refusal{Status: 502, Reason: "cluster main doesn't answer"}, 502, "cluster main doesn't answer"},
		{"an error that is nobody's business", "GET", "/api/environments", nil, errors.New("open /var/lib/secret"), 500, `{"error":"internal error"}`},
		{"nobody who may not read the pages", "GET", "/api/environments", no, nil, 401, "a password is needed"},
		{"nor one environment", "GET", "/api/environments/42/x", no, nil, 401, "a password is needed"},
		{"nor a log", "GET", "/api/environments/42/x/pods/p/log", no, nil, 401, "a password is needed"},
		{"a post", "POST", "/api/environments", nil, nil, 405, "error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := serve(t, &outside{}, func(o *Options) { o.Environments, o.Guard = places{tt.err}, tt.guard })
			w := ask(t, h, tt.method, tt.target, nil)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("got %d %s, want %d with %s", w.Code, w.Body, tt.status, tt.says)
			}
			if tt.guard != nil && w.Body.String() != "a password is needed\n" {
				t.Errorf("somebody who may not read it gets %s", w.Body)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Error("it tells internals")
			}
			if tt.status == 200 && w.Header().Get("Cache-Control") != "private, no-store" {
				t.Errorf("Cache-Control is %q", w.Header().Get("Cache-Control"))
			}
		})
	}
	h, _ := serve(t, &outside{}, nil)
	if w := ask(t, h, "GET", "/api/environments", nil); w.Code != http.StatusNotFound {
		t.Errorf("without environments the answer is %d", w.Code)
	}
}

func TestAddressesOfEnvironments(t *testing.T) {
	for in, want := range map[string]address{
		"/api/environments/42/a":                  {project: 42, name: "a"},
		"/api/environments/42/pods/x/log":         {project: 42, name: "pods/x/log"},
		"/api/environments/42/a/pods/x/log":       {project: 42, name: "a", pod: "x"},
		"/api/environments/42/a%2Fpods%2Fx%2Flog": {project: 42, name: "a/pods/x/log"},
	} {
		if got, ok := environmentAt(in); !ok || !cmp.Equal(got, want, cmp.AllowUnexported(address{})) {
			t.Errorf("%s: got %+v", in, got)
		}
	}
	for _, in := range []string{"/api/environments/", "/api/environments/42", "/api/environments/-1/a", "/api/environments/0/a", "/api/environments/42/%zz"} {
		if got, ok := environmentAt(in); ok {
			t.Errorf("%s: got %+v", in, got)
		}
	}
}
