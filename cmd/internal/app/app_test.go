package app

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/store"
)

func parsed(t *testing.T, more string) *config.Config {
	t.Helper()
	cfg, err := config.Parse([]byte(`
listen: 127.0.0.1:0
database: `+filepath.Join(t.TempDir(), "slipway.db")+`
gitlab: {url: "http://127.0.0.1:1", token: glpat-x, secret_tokens: [hook]}
clusters: [{name: main, kubeconfig: /does/not/exist}]
environments: [{name: staging, projects: [shop/*], cluster: main, namespace: shop-staging}]
`+more), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestNewNeedsAConfigurationAndALogger(t *testing.T) {
	for name, o := range map[string]Options{"neither": {}, "no logger": {Config: &config.Config{}}, "no configuration": {Logger: slog.New(slog.DiscardHandler)}} {
		if _, err := New(o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestAServerStartsWithoutGitLabSlackAndClusters(t *testing.T) {
	a, err := New(Options{Config: parsed(t, "console: {access: open}"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for path, want := range map[string]int{"/readyz": 200, "/livez": 200, "/metrics": 200, "/": 200, "/deliveries/nothing": 404, "/slack/interactions": 404, "/hooks/gitlab": 404} {
		resp, err := http.Get("http://" + a.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want && (path != "/hooks/gitlab" || resp.StatusCode != http.StatusMethodNotAllowed) {
			t.Errorf("GET %s is answered %d, want %d", path, resp.StatusCode, want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ends with %v", err)
	}
	if err := a.Ready(t.Context()); err == nil {
		t.Error("it is ready after its end")
	}
}

func TestMetricsOnTheirOwnAddressAreNotOnTheMainOne(t *testing.T) {
	cfg := parsed(t, "metrics: {listen: 127.0.0.1:0}")
	a, err := New(Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for address, want := range map[string]int{a.Addr(): 404, a.own.Addr().String(): 200} {
		resp, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET /metrics is answered %d, want %d", resp.StatusCode, want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAnAddressThatIsTakenLetsTheDatabaseGo(t *testing.T) {
	cfg := parsed(t, "")
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	cfg.Listen = strings.TrimPrefix(taken.URL, "http://")
	if _, err := New(Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "listen: ") || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("got %v", err)
	}
	cfg.Listen = "127.0.0.1:0"
	a, err := New(Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("the database is still locked: %v", err)
	}
	a.Close()
}

func TestACommentMeansTheNewestLiveDelivery(t *testing.T) {
	doc := func(id string, finished bool) store.Document {
		return store.Document{ID: store.ID("delivery/" + id), Finished: finished}
	}
	for name, c := range map[string]struct {
		docs []store.Document // newest first
		want string
	}{
		"nothing was delivered":                    {nil, pipeline.DeliveryID(7, 3, "none")},
		"one that has ended":                       {[]store.Document{doc("7-3-aaaaaaaa", true)}, "7-3-aaaaaaaa"},
		"a live one before an ended one":           {[]store.Document{doc("7-3-bbbbbbbb", true), doc("7-3-aaaaaaaa", false)}, "7-3-aaaaaaaa"},
		"a rollback that is under way":             {[]store.Document{doc("7-3-aaaaaaaa-rollback-1", false), doc("7-3-aaaaaaaa", true)}, "7-3-aaaaaaaa-rollback-1"},
		"a review, while nothing was merged":       {[]store.Document{doc("7-3-bbbbbbbb-review-12", true), doc("7-3-aaaaaaaa-review", true)}, "7-3-bbbbbbbb-review-12"},
		"a delivery, while its review is removed":  {[]store.Document{doc("7-3-gone-12345678", false), doc("7-3-aaaaaaaa", false), doc("7-3-bbbbbbbb-review", true)}, "7-3-aaaaaaaa"},
		"a delivery that ended, after its review":  {[]store.Document{doc("7-3-gone-12345678", true), doc("7-3-aaaaaaaa", true), doc("7-3-bbbbbbbb-review", true)}, "7-3-aaaaaaaa"},
		"a review that is under way":               {[]store.Document{doc("7-3-bbbbbbbb-review-12", false), doc("7-3-aaaaaaaa-review", true)}, "7-3-bbbbbbbb-review-12"},
		"a delivery, after its rollback has ended": {[]store.Document{doc("7-3-aaaaaaaa-rollback-1", true), doc("7-3-aaaaaaaa", true)}, "7-3-aaaaaaaa"},
	} {
		if got := meant(c.docs, gitlab.Find{Project: 7, MergeRequest: 3}); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestThePasswordGuardsThePages(t *testing.T) {
	page := guard(config.Console{Access: "password", Username: "ops", Password: "right"}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	}))
	for name, c := range map[string]struct {
		user, password string
		want           int
	}{
		"nobody":                                 {"", "", 401},
		"the right name and password":            {"ops", "right", 418},
		"a wrong password":                       {"ops", "wrong", 401},
		"a wrong name":                           {"root", "right", 401},
		"name and password cut at another place": {"ops\x00right", "", 401},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		if c.user != "" {
			r.SetBasicAuth(c.user, c.password)
		}
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: got %d, want %d", name, w.Code, c.want)
		}
	}
}

func TestPagesHearOfTheirOwnDeliveryOnly(t *testing.T) {
	c := newChanges()
	all, stopAll := c.subscribe("")
	one, stopOne := c.subscribe("1-1-aaaaaaaa")
	c.tell("1-2-bbbbbbbb")
	c.tell("1-2-bbbbbbbb") // nobody has looked: both are one
	if len(all) != 1 || len(one) != 0 {
		t.Errorf("heard %d and %d changes, want 1 and 0", len(all), len(one))
	}
	<-all
	c.tell("1-1-aaaaaaaa")
	if len(all) != 1 || len(one) != 1 {
		t.Errorf("heard %d and %d changes, want 1 and 1", len(all), len(one))
	}
	stopAll()
	stopOne()
	c.tell("1-1-aaaaaaaa")
	if len(c.subs) != 0 {
		t.Errorf("%d subscriptions are left", len(c.subs))
	}
}

func TestPlacesComeFromTheOperator(t *testing.T) {
	c := newClusters(parsed(t, ""), slog.New(slog.DiscardHandler))
	for name, x := range map[string]struct {
		project, environment string
		code                 pipeline.ReasonCode
		permanent            bool
		words                string
	}{
		"another project":                 {"bank/vault", "staging", pipeline.ReasonNotAllowed, true, "may not deploy anywhere"},
		"another environment":             {"shop/web", "production", pipeline.ReasonNotAllowed, true, "it may use staging"},
		"a kubeconfig that is not there":  {"shop/web", "staging", pipeline.ReasonUnreachable, false, "cluster main"},
		"and it is looked for once again": {"shop/web", "staging", pipeline.ReasonUnreachable, false, "its log says why"},
	} {
		_, err := c.Target(t.Context(), x.project, x.environment)
		f, ok := pipeline.AsFailure(err)
		if !ok || f.Code != x.code || f.Permanent != x.permanent || !f.Unchanged || !strings.Contains(f.Detail, x.words) {
			t.Errorf("%s: got %+v", name, f)
		}
	}
}

func TestNamesOfHooksFromOutsideShareALabel(t *testing.T) {
	a, err := New(Options{Config: parsed(t, ""), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, name := range []string{"Merge Request Hook", "x\"} 1\nevil 1", "", "Quantum Hook"} {
		a.metrics.hook(name, "ignored")
	}
	w := httptest.NewRecorder()
	a.metrics.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	text := w.Body.String()
	if !strings.Contains(text, `slipway_hooks_total{event="other",result="ignored"} 3`) || strings.Contains(text, "evil") {
		t.Errorf("the metrics are\n%s", text)
	}
}
