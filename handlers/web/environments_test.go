package web

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// atlas is an Environments that a test can change.
type atlas struct {
	*memory
	all []EnvironmentView
	err error
}

func (a *atlas) List(context.Context) ([]EnvironmentView, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]EnvironmentView(nil), a.all...), a.err
}

func (a *atlas) Environment(_ context.Context, project int64, name string) (EnvironmentView, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.all {
		if e.Environment.Project == project && e.Name == name {
			return e, a.err
		}
	}
	return EnvironmentView{}, ErrNotFound
}

func (a *atlas) Log(_ context.Context, _ int64, _, pod, container string) (string, []string, error) {
	if pod != "shop-7d4b9c-x2x9k" {
		return "", nil, ErrNotFound
	}
	return firstOf(container, "shop"), []string{"listening on :8080", "<b>GET</b> /cart 200"}, nil
}

func (a *atlas) EnvironmentChanges(_ context.Context, project int64, name string) (<-chan struct{}, func()) {
	if project == 0 {
		return a.Changes("")
	}
	return a.Changes(pipeline.EnvironmentID(project, name))
}

func atlasConsole(t *testing.T, all ...EnvironmentView) *Console {
	t.Helper()
	m := newMemory()
	c, err := New(Options{Source: m, Environments: &atlas{memory: m, all: all}, URL: "https://slipway.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func shopRelease(n string, at time.Time, title string) pipeline.Release {
	return pipeline.Release{
		ID: "42-" + n + "-3f2a91c0/production/1", Delivery: "42-" + n + "-3f2a91c0", SHA: "3f2a91c0deadbeef3f2a91c0deadbeef3f2a91c" + n[:1], Title: title,
		Images: []pipeline.Image{{Name: "registry.example.com/shop:" + n}}, By: "@ada", At: at,
	}
}

// healthyShop is production with everything well.
func healthyShop(now time.Time) EnvironmentView {
	project := pipeline.Project{ID: 42, Path: "shop/web", URL: "https://gitlab.example.com/shop/web"}
	bad := shopRelease("13", now.Add(-26*time.Hour), "Faster search")
	bad.Bad = true
	made := now.Add(-2 * time.Hour)
	pod := func(name string) Resource {
		return Resource{Kind: "Pod", Name: name, Health: "Healthy", Words: "ready", Images: []string{"registry.example.com/shop:14"}, Containers: []string{"shop"}, Created: made}
	}
	return EnvironmentView{
		Project: project, Application: "shop", Cluster: "main", Namespace: "shop", Tier: "production", URL: "https://shop.example.com",
		Environment: pipeline.Environment{Project: 42, Name: "production", Releases: []pipeline.Release{
			shopRelease("12", now.Add(-50*time.Hour), "Show delivery costs"), bad, shopRelease("14", now.Add(-2*time.Hour), "Show prices with taxes"),
		}},
		Health: "Healthy", Words: "2 of 2 pods ready", Links: []pipeline.Link{{Title: "shop.example.com", URL: "https://shop.example.com"}},
		Resources: []Resource{
			{Kind: "Ingress", Name: "shop", Health: "Healthy", Words: "routes shop.example.com to shop", Created: made, Links: []pipeline.Link{{Title: "shop.example.com", URL: "https://shop.example.com"}}},
			{Kind: "Service", Name: "shop", Health: "Healthy", Words: "2 ready endpoints", Created: made},
			{
				Kind: "Deployment", Name: "shop", Health: "Healthy", Words: "2 of 2 pods ready", Images: []string{"registry.example.com/shop:14"}, Created: made,
				Links: []pipeline.Link{{Title: "Logs", URL: "https://logs.example.com/?a=1&b=2"}, {Title: "Evil", URL: "javascript:alert(1)"}},
				Children: []Resource{{
					Kind: "ReplicaSet", Name: "shop-7d4b9c", Health: "Healthy", Words: "2 of 2 pods ready", Created: made,
					Children: []Resource{pod("shop-7d4b9c-x2x9k"), pod("shop-7d4b9c-m4v7q")},
				}},
			},
			{Kind: "HorizontalPodAutoscaler", Name: "shop", Health: "Healthy", Words: "2 replicas of shop, between 2 and 10", Created: made},
			{Kind: "ConfigMap", Name: "shop", Health: "Healthy", Created: made},
			{Kind: "Secret", Name: "keys", Health: "Healthy"},
		},
		Drift: DriftView{Mode: "show", Checked: true},
	}
}

// brokenShop is staging where much is wrong.
func brokenShop(now time.Time) EnvironmentView {
	e := healthyShop(now)
	e.Name, e.Tier, e.Namespace, e.URL = "staging", "staging", "shop-staging", "https://staging.shop.example.com"
	e.Health, e.Words = "Degraded", "Deployment shop: container shop of pod shop-7d4b9c-x2x9k exited with code 1 and was restarted 4 times"
	e.Queue = []pipeline.Claim{{Delivery: "42-15-aaaaaaaa", Name: "!15 (aaaaaaaa)"}}
	d := e.Resources[2]
	d.Health, d.Words, d.Restarts, d.Drifted = "Degraded", "container shop of pod shop-7d4b9c-x2x9k exited with code 1 and was restarted 4 times", 4, true
	crashed := Resource{
		Kind: "Pod", Name: "shop-7d4b9c-x2x9k", Health: "Degraded", Words: "container shop of pod shop-7d4b9c-x2x9k exited with code 1 and was restarted 4 times",
		Images: []string{"registry.example.com/shop:14"}, Containers: []string{"shop", "sidecar"}, Restarts: 4, Created: now.Add(-time.Hour),
		Track: "canary", Version: "3f2a91c",
		Events: []ResourceEvent{{Reason: "BackOff", Words: "Back-off restarting failed container shop", Count: 12, At: now.Add(-time.Minute)}},
	}
	d.Children = []Resource{{Kind: "ReplicaSet", Name: "shop-7d4b9c", Health: "Progressing", Words: "1 of 2 pods ready", Created: now.Add(-time.Hour), Children: []Resource{crashed}}}
	e.Resources = []Resource{e.Resources[1], d, {Kind: "ConfigMap", Name: "shop", Health: "Missing", Words: "not in the cluster"}}
	e.Notes = []string{"slipway may not watch events in namespace shop-staging of cluster main"}
	e.Trouble = "cluster main doesn't answer; what is shown may be old"
	e.Drift = DriftView{Mode: "correct", Checked: true, Corrected: now.Add(-3 * time.Hour), Differences: []DifferenceView{
		{Kind: "ConfigMap", Name: "shop", Missing: true},
		{Kind: "Deployment", Name: "shop", Field: ".spec.replicas", Live: "3", Recorded: "2", By: "kubectl-edit", At: now.Add(-10 * time.Minute)},
		{Kind: "Deployment", Name: "shop", Field: ".spec.template.spec.containers[shop].env[DEBUG]", Recorded: "1"},
		{Kind: "Widget", Name: "w", Trouble: "cluster main doesn't know Widget in example.com/v1"},
	}}
	return e
}

// deliveredShop is another application's environment, in the middle of a delivery.
func deliveredShop(now time.Time) EnvironmentView {
	return EnvironmentView{
		Project: pipeline.Project{ID: 43, Path: "shop/search"}, Application: "search", Cluster: "main", Namespace: "search", Tier: "development",
		Environment: pipeline.Environment{
			Project: 43, Name: "review/faster search", Holder: &pipeline.Claim{Delivery: "43-2-bbbbbbbb", Name: "!2 (bbbbbbbb)", Stage: "review", Since: now},
		},
		Health: "Progressing", Words: "0 of 1 pod ready", Drift: DriftView{Mode: "show", Problem: "it is compared when nothing is being delivered"},
		Resources: []Resource{{Kind: "Deployment", Name: "search", Health: "Progressing", Words: "0 of 1 pod ready", Created: now}},
	}
}

// hostileShop is named by somebody who means no good.
func hostileShop(now time.Time) EnvironmentView {
	e := brokenShop(now)
	const evil = `"><script>alert(1)</script> '; rm -rf ~ #`
	e.Name, e.Application, e.Words, e.Trouble = "prod"+evil, evil, evil, evil
	e.Project = pipeline.Project{ID: 44, Path: "evil" + evil, URL: "javascript:alert(1)"}
	e.Environment.Project = 44
	for i := range e.Releases {
		e.Releases[i].Title, e.Releases[i].ID, e.Releases[i].By = evil, evil, evil
	}
	e.Links = []pipeline.Link{{Title: evil, URL: "https://user@evil.example.com"}}
	e.Resources = []Resource{{Kind: evil, Name: evil, Health: evil, Words: evil, Images: []string{evil}, Containers: []string{evil}, Track: evil,
		Links: []pipeline.Link{{Title: evil, URL: "data:text/html,x"}}, Events: []ResourceEvent{{Reason: evil, Words: evil}}}}
	e.Drift.Differences = []DifferenceView{{Kind: evil, Name: evil, Field: evil, Live: evil, Recorded: evil, By: evil}}
	return e
}

// unsureShop is staging after a rollback that has failed half-way.
func unsureShop(now time.Time) EnvironmentView {
	e := healthyShop(now)
	e.Name, e.Tier = "staging", "staging"
	e.Unsure = &pipeline.Unsure{Since: now.Add(-time.Minute), Of: "42-15-aaaaaaaa", By: "!15 (aaaaaaaa)"}
	e.Drift = DriftView{Mode: "correct", Problem: "a rollback has failed half-way, so nobody knows what to compare with"}
	return e
}

func TestEnvironmentPages(t *testing.T) {
	for name, e := range map[string]EnvironmentView{
		"healthy": healthyShop(noon), "broken": brokenShop(noon), "unsure": unsureShop(noon), "delivered": deliveredShop(noon), "hostile": hostileShop(noon),
		"lost": {Environment: pipeline.Environment{Project: 45, Name: "old", Releases: []pipeline.Release{shopRelease("9", noon, "Old")}}, Problem: "the operator's configuration has no place for it any more"},
	} {
		t.Run(name, func(t *testing.T) {
			c := atlasConsole(t, e)
			f, err := c.environmentFragment(t.Context(), spot{project: e.Environment.Project, name: e.Name})
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "environment-"+name+".html", neutral(c, f))
			if strings.Contains(string(f.HTML), "<script") || strings.Contains(string(f.HTML), "javascript:") {
				t.Error("the page holds a script")
			}
		})
	}
}

func TestEnvironmentsPage(t *testing.T) {
	c := atlasConsole(t, healthyShop(noon), brokenShop(noon), deliveredShop(noon), hostileShop(noon))
	f, err := c.environmentsFragment(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "environments.html", neutral(c, f))
	none, err := atlasConsole(t).environmentsFragment(t.Context())
	if err != nil || !strings.Contains(string(none.HTML), "Nothing runs anywhere yet") {
		t.Errorf("without environments: %v %s", err, none.HTML)
	}
}

func TestAnswersAboutEnvironments(t *testing.T) {
	c := atlasConsole(t, healthyShop(noon), deliveredShop(noon))
	for _, tt := range []struct {
		name, method, target string
		status               int
		says                 string
	}{
		{"the matrix", "GET", "/environments", 200, "Show prices with taxes"},
		{"the head of the matrix", "HEAD", "/environments", 200, ""},
		{"an environment", "GET", "/environments/42/production", 200, "slipway rollback production --to 42-12-3f2a91c0/production/1 --project shop/web"},
		{"a name with a slash and a space", "GET", "/environments/43/review%2Ffaster%20search", 200, "0 of 1 pod ready"},
		{"the same behind a proxy that decodes", "GET", "/environments/43/review/faster%20search", 200, "0 of 1 pod ready"},
		{"an unknown environment", "GET", "/environments/42/staging", 404, "There is nothing here"},
		{"an unknown project", "GET", "/environments/7/production", 404, "There is nothing here"},
		{"no number", "GET", "/environments/shop/production", 404, "There is nothing here"},
		{"no name", "GET", "/environments/42/", 404, "There is nothing here"},
		{"events of an unknown one", "GET", "/environments/42/staging/events", 404, ""},
		{"a log", "GET", "/environments/42/production/pods/shop-7d4b9c-x2x9k/log?container=shop", 200, "&lt;b&gt;GET&lt;/b&gt; /cart 200"},
		{"a log of an unknown pod", "GET", "/environments/42/production/pods/other/log", 404, "There is nothing here"},
		{"a post", "POST", "/environments/42/production", 405, "can only be read"},
		{"the list links the matrix", "GET", "/", 200, `<a href="/environments">Environments</a>`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := get(t, c, tt.method, tt.target)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("got %d, want %d with %q:\n%s", w.Code, tt.status, tt.says, w.Body)
			}
		})
	}
	without := console(t, newMemory())
	if w := get(t, without, "GET", "/environments"); w.Code != http.StatusNotFound {
		t.Errorf("without environments the page is answered %d", w.Code)
	}
	if w := get(t, without, "GET", "/"); strings.Contains(w.Body.String(), "/environments") {
		t.Error("without environments the list links them")
	}
}

func TestACommandLineIsOneWhateverIsInANameOfIt(t *testing.T) {
	for in, want := range map[string]string{
		"production": "production", "review/a-b": "review/a-b", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "--force": "'--force'", "$(rm)": "'$(rm)'",
	} {
		if got := quoted(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}
