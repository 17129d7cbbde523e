package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/handlers"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// deliver takes one change through the pipeline of the world's project.
func deliver(tb testing.TB, w *world.World) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	iid, err := w.Good("Show prices with taxes", "taxes")
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.GitLab.Merge(w.Project, iid, w.Ben, gitlabsim.MergeCommit); err != nil {
		tb.Fatal(err)
	}
	if err := w.PressWhenAsked(ctx, iid, world.SlackAda, "Approve"); err != nil {
		tb.Fatal(err)
	}
	if err := w.AwaitNote(ctx, iid, "**Delivered**"); err != nil {
		tb.Fatal(err)
	}
}

// rig is a company whose shop is delivered to staging and production.
type rig struct {
	t     *testing.T
	world *world.World
	app   *App
	admin kubernetes.Interface
}

func newRig(t *testing.T, change func(*config.Config)) *rig {
	t.Helper()
	w, err := world.New(world.Options{Dir: t.TempDir(), PodStart: 50 * time.Millisecond, JobTime: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	data, err := w.Config("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse(data, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(cfg)
	}
	r := &rig{t: t, world: w}
	if r.app, err = New(Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.app.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if err := w.Connect("http://" + r.app.Addr()); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(w.Cluster.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if r.admin, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	deliver(t, w)
	return r
}

// get reads an address of the server.
func (r *rig) get(path string) (status int, body string) {
	r.t.Helper()
	resp, err := http.Get("http://" + r.app.Addr() + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func read[T any](r *rig, path string) T {
	r.t.Helper()
	status, body := r.get(path)
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil || status != http.StatusOK {
		r.t.Fatalf("GET %s: %d %s", path, status, body)
	}
	return v
}

// until reads an environment until it is as it should be.
func (r *rig) until(what, name string, ok func(handlers.Environment) bool) handlers.Environment {
	r.t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		e := read[handlers.Environment](r, fmt.Sprintf("/api/environments/%d/%s", r.world.Project, name))
		if ok(e) {
			return e
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			r.t.Fatalf("wait for %s: %+v", what, e)
		}
	}
}

// edit changes the shop's configuration in the cluster as somebody else.
func (r *rig) edit(namespace, value string) {
	r.t.Helper()
	patch := fmt.Sprintf(`{"data":{"GREETING":%q}}`, value)
	_, err := r.admin.CoreV1().ConfigMaps(namespace).Patch(r.t.Context(), "shop", types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	if err != nil {
		r.t.Fatal(err)
	}
}

func quiet(e handlers.Environment) bool { return e.Holder == nil && e.Release != nil }

func TestTheAPITellsWhatRunsWhere(t *testing.T) {
	r := newRig(t, nil)
	r.until("production at rest", "production", quiet)
	list := read[handlers.EnvironmentList](r, "/api/environments")
	if len(list.Environments) != 2 || len(list.Configured) != 2 {
		t.Fatalf("the list is %+v", list)
	}
	for _, e := range list.Environments {
		if e.Project.Path != world.ProjectPath || e.Release == nil || e.Release.Title != "Show prices with taxes" || e.Cluster != "main" {
			t.Errorf("%s is %+v", e.Name, e)
		}
	}
	e := r.until("two pods", "staging", func(e handlers.Environment) bool { return quiet(e) && e.Tree.Health == "Healthy" })
	if !strings.HasSuffix(e.Tree.Words, "ready") || len(e.Releases) != 1 || e.Drift.Mode != "show" || e.Drift.Checked.IsZero() || len(e.Drift.Differences) > 0 {
		t.Errorf("staging is %+v", e)
	}
	r.edit("shop-staging", "hacked")
	e = r.until("drift", "staging", func(e handlers.Environment) bool { return len(e.Drift.Differences) > 0 })
	if d := e.Drift.Differences[0]; d.Name != "shop" || d.Field != ".data.GREETING" || d.Live != "hacked" || d.By != "kubectl-edit" || d.At.IsZero() {
		t.Errorf("the difference is %+v", d)
	}
	pod := ""
	for _, o := range e.Tree.Objects {
		if o.Kind == "Deployment" {
			pod = o.Children[0].Children[0].Name
		}
	}
	base := fmt.Sprintf("/api/environments/%d/staging", r.world.Project)
	if log := read[handlers.PodLog](r, base+"/pods/"+pod+"/log"); log.Container != "shop" || len(log.Lines) == 0 {
		t.Errorf("the log is %+v", log)
	}
	for path, want := range map[string]int{
		base + "/pods/other/log":                                                  404,
		base + "/pods/" + pod + "/log?container=other":                            404,
		"/api/environments/999/staging":                                           404,
		"/api/environments/x/staging":                                             404,
		"/api/environments/" + strconv.FormatInt(r.world.Project, 10):             404,
		"/environments":                                                           200,
		"/environments/999/staging":                                               404,
		strings.TrimPrefix(base, "/api"):                                          200,
		strings.TrimPrefix(base, "/api") + "/pods/" + pod + "/log?container=shop": 200,
	} {
		if got, body := r.get(path); got != want {
			t.Errorf("GET %s: got %d, want %d: %.200s", path, got, want, body)
		}
	}
}

func TestDriftIsCorrectedWhereTheOperatorWantsIt(t *testing.T) {
	t.Run("of a rolling release", func(t *testing.T) { driftIsCorrected(t, "staging", "shop-staging", "shop") })
	t.Run("of a blue-green release", func(t *testing.T) { driftIsCorrected(t, "production", "shop", "shop-staging") })
}

// driftIsCorrected edits two namespaces, of which one's environment is to be corrected.
func driftIsCorrected(t *testing.T, name, corrected, other string) {
	r := newRig(t, func(c *config.Config) {
		for i := range c.Environments {
			if c.Environments[i].Name == name {
				c.Environments[i].Drift = config.DriftCorrect
			}
		}
	})
	r.until("staging at rest", "staging", quiet)
	r.until("production at rest", "production", quiet)
	r.edit("shop-staging", "hacked")
	r.edit("shop", "hacked")
	e := r.until("a correction", name, func(e handlers.Environment) bool { return !e.Drift.Corrected.IsZero() && len(e.Drift.Differences) == 0 })
	if e.Drift.Mode != "correct" {
		t.Errorf("drift is %+v", e.Drift)
	}
	for namespace, hacked := range map[string]bool{corrected: false, other: true} {
		cm, err := r.admin.CoreV1().ConfigMaps(namespace).Get(t.Context(), "shop", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := cm.Data["GREETING"] == "hacked"; got != hacked {
			t.Errorf("%s says %q", namespace, cm.Data["GREETING"])
		}
	}
}

func TestNothingIsCorrectedWhileSomethingIsDelivered(t *testing.T) {
	release := pipeline.Release{ID: "1-1-aaaaaaaa/production/1"}
	for name, c := range map[string]struct {
		env  pipeline.Environment
		want bool
	}{
		"a release that runs":      {pipeline.Environment{Releases: []pipeline.Release{release}}, true},
		"nothing was delivered":    {pipeline.Environment{}, false},
		"a delivery has it":        {pipeline.Environment{Releases: []pipeline.Release{release}, Holder: &pipeline.Claim{}}, false},
		"a delivery waits for it":  {pipeline.Environment{Releases: []pipeline.Release{release}, Queue: []pipeline.Claim{{}}}, false},
		"a blue-green release":     {pipeline.Environment{Releases: []pipeline.Release{{ID: release.ID, Version: "3f2a91c-5e0d1"}}}, true},
		"nobody knows what runs":   {pipeline.Environment{Releases: []pipeline.Release{release}, Unsure: &pipeline.Unsure{}}, false},
		"the release is a bad one": {pipeline.Environment{Releases: []pipeline.Release{{ID: release.ID, Bad: true}}}, false},
	} {
		if got := atRest(c.env); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestThePageOfAllEnvironmentsWatchesFew(t *testing.T) {
	var all []whereabouts
	for i := range maxLooked + 5 {
		for range 2 { // environments of two projects in each namespace
			all = append(all, whereabouts{place: &kube.Namespace{}, rules: pipeline.EnvironmentRules{Cluster: "main", Namespace: strconv.Itoa(i)}})
		}
	}
	all[0].place = nil
	if got := watchable(all); len(got) != 2*maxLooked-1 || got[0] != 1 {
		t.Errorf("%d of %d are looked at: %v", len(got), len(all), got)
	}
}

func TestTheAPIIsGuardedLikeThePages(t *testing.T) {
	for access, want := range map[string]int{"off": 404, "{access: password, username: ops, password: x}": 401, "open": 200} {
		if !strings.HasPrefix(access, "{") {
			access = "{access: " + access + "}"
		}
		a, err := New(Options{Config: parsed(t, "console: "+access), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		resp, err := http.Get("http://" + a.Addr() + "/api/environments")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: got %d, want %d", access, resp.StatusCode, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
