package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

const slow = 60 * time.Second

// browser is a person in front of the pages.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu   sync.Mutex
	said []string // on the console
}

// newBrowser skips where there is no Chromium, and fails there where it is a must.
func newBrowser(t *testing.T, m *memory) (b *browser, srv *httptest.Server) {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("no Chromium: install the package chromium")
		}
		t.Skip("no Chromium: install the package chromium to run this")
	}
	// The browser hangs up before the server waits for its streams: what is cleaned up
	// last is begun first.
	srv = httptest.NewServer(console(t, m))
	t.Cleanup(srv.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 3*slow)
	t.Cleanup(cancel)
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 800),
	}
	for _, flag := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, _ = chromedp.NewContext(ctx)
	b = &browser{t: t, ctx: ctx}
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) }) // the browser is gone either way
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			b.mu.Lock()
			b.said = append(b.said, m.String())
			b.mu.Unlock()
		}
	}()
	return b, srv
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// await waits until an expression is true on the page. While the page is being left, it can't be asked.
func (b *browser) await(expression string) {
	b.t.Helper()
	poll := chromedp.Poll[bool]("!!("+expression+")", chromedp.WithPollingTimeout(slow))
	deadline := time.Now().Add(slow)
	_, err := chromedp.Run(b.ctx, poll)
	for err != nil && !errors.Is(err, chromedp.ErrPollingTimeout) && b.ctx.Err() == nil && time.Now().Before(deadline) {
		_, err = chromedp.Run(b.ctx, poll)
	}
	if err != nil {
		b.t.Fatalf("wait for %s: %v\nthe page says: %s", expression, err, b.eval("String(document.body?.innerText)"))
	}
}

func (b *browser) eval(expression string) string {
	b.t.Helper()
	s, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// quiet checks that the console holds no complaint: no error, no violated policy.
func (b *browser) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.said) > 0 {
		b.t.Errorf("the console says:\n%s", strings.Join(b.said, "\n"))
	}
}

func TestABrowserFollowsADelivery(t *testing.T) {
	now := time.Now()
	v, evil := running(now), hostile(now)
	evil.ID = "42-16-bad00bad"
	m := newMemory(v, evil)
	b, srv := newBrowser(t, m)

	b.do(chromedp.Navigate(srv.URL + "/"))
	b.await(`document.getElementById("live").dataset.state === "live"`)
	added := succeeded(now)
	added.ID, added.MergeRequest.Title = "42-18-00ff00ff", "Newer than the page"
	m.set(added)
	b.await(`document.querySelector(".rows .row:first-child h2").textContent.includes("Newer than the page")`)

	b.do(chromedp.Click(chromedp.CSS("#row-" + v.ID + " h2 a")))
	b.await(`document.querySelector(".status.run") && document.getElementById("live").dataset.state === "live"`)
	// What must survive an update: the page itself, the focus, what people have opened.
	b.eval(`window.same = true, document.querySelector("#stage-1-images").open = true,
		document.querySelector("#stage-1-images summary").focus(), ""`)
	m.set(with(v, "3 of 3 pods ready"))
	b.await(`document.querySelector(".sentence").textContent.includes("3 of 3 pods ready")`)
	m.set(succeededLater(v))
	b.await(`document.querySelector(".word").textContent.startsWith("Delivered")`)
	b.await(`window.same && document.title.startsWith("Delivered") && document.getElementById("announce").textContent === "Delivered."`)
	b.await(`document.querySelector("#stage-1-images").open && document.activeElement.closest("#stage-1-images")`)
	b.await(`document.querySelector("link[rel=icon]").href.includes("mark-ok")`)
	b.await(`/^Started .* ago · /.test(document.querySelector(".clock").textContent)`)

	b.do(chromedp.Navigate(srv.URL + "/deliveries/" + evil.ID))
	b.await(`document.getElementById("live").dataset.state === "live"`)
	b.await(`!document.querySelector("main script, main img, [onerror], [onclick], a[href^='javascript']")`)
	b.quiet()
}

func TestABrowserConnectsAgain(t *testing.T) {
	v := running(time.Now())
	m := newMemory(v)
	b, srv := newBrowser(t, m)
	b.do(chromedp.Navigate(srv.URL + "/deliveries/" + v.ID))
	b.await(`document.getElementById("live").dataset.state === "live"`)
	srv.CloseClientConnections()
	b.await(`document.getElementById("live").dataset.state === "lost"`)
	m.set(succeededLater(v))
	b.await(`document.getElementById("live").dataset.state === "live"`)
	b.await(`document.querySelector(".word").textContent.startsWith("Delivered")`)
}

// No page is wider than a phone, whatever the delivery holds.
func TestABrowserOnAPhone(t *testing.T) {
	now := time.Now()
	m := newMemory()
	for i, s := range states(now) {
		s.view.ID = fmt.Sprintf("42-%d-3f2a91c0", i+1)
		m.views = append(m.views, s.view)
	}
	b, srv := newBrowser(t, m)
	b.do(chromedp.EmulateViewport(360, 740))
	targets := []string{"/", "/nothing"}
	for _, v := range m.views {
		targets = append(targets, "/deliveries/"+v.ID)
	}
	for _, target := range targets {
		b.do(chromedp.Navigate(srv.URL + target))
		if wide := b.eval(`String(document.documentElement.scrollWidth)`); wide != "360" {
			t.Errorf("%s is %s wide", target, wide)
		}
	}
}

// Without script the page shows everything, and loads itself again.
func TestABrowserWithoutScript(t *testing.T) {
	v := asking(time.Now())
	b, srv := newBrowser(t, newMemory(v))
	b.do(chromedp.Navigate("about:blank"))
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Navigate(srv.URL + "/deliveries/" + v.ID))
	text, refresh := b.eval("document.body.innerText"), b.eval(`document.querySelector("meta[http-equiv=refresh]").content`)
	if refresh != "15" {
		t.Errorf("the page is loaded again after %q seconds", refresh)
	}
	for _, want := range []string{"Waiting for people", "1 of 2", v.Started.UTC().Format("2 Jan 2006, 15:04 UTC"), "This page reloads itself"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	b.quiet()
}

// What runs where fits a phone, follows changes, and lets nobody run a script.
func TestABrowserSeesWhatRunsWhere(t *testing.T) {
	now := time.Now()
	m := newMemory()
	a := &atlas{memory: m, all: []EnvironmentView{healthyShop(now), brokenShop(now), deliveredShop(now), hostileShop(now)}}
	c, err := New(Options{Source: m, Environments: a})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := newBrowser(t, m)
	srv := httptest.NewServer(c)
	defer srv.Close()
	defer b.do(chromedp.Navigate("about:blank")) // so that no stream keeps the server from closing
	b.do(chromedp.EmulateViewport(360, 740))
	targets := []string{"/environments", "/environments/42/production/pods/shop-7d4b9c-x2x9k/log"}
	for _, e := range a.all {
		targets = append(targets, c.environmentPath(e.Environment.Project, e.Name))
	}
	for _, target := range targets {
		b.do(chromedp.Navigate(srv.URL + target))
		if wide := b.eval(`String(document.documentElement.scrollWidth)`); wide != "360" {
			t.Errorf("%s is %s wide", target, wide)
		}
		b.await(`!document.querySelector("main script, main img, [onerror], [onclick], a[href^='javascript']")`)
	}
	b.do(chromedp.EmulateViewport(1280, 800))
	b.do(chromedp.Navigate(srv.URL + "/"))
	b.do(chromedp.Click(chromedp.CSS(`.bar nav a[href="/environments"]`)))
	b.await(`document.querySelector(".matrix") && document.getElementById("live").dataset.state === "live"`)
	b.do(chromedp.Click(chromedp.CSS(`.matrix a[href="/environments/42/production"]`)))
	b.await(`document.querySelector(".status.ok") && document.getElementById("live").dataset.state === "live"`)
	m.mu.Lock()
	a.all[0].Health, a.all[0].Words = "Degraded", "1 of 2 pods ready"
	m.mu.Unlock()
	m.tell("42/production")
	b.await(`document.querySelector(".status.bad") && document.getElementById("announce").textContent === "Degraded. 1 of 2 pods ready."`)
	b.quiet()
}

func TestPeopleAskForARollbackOnTheEnvironmentsPage(t *testing.T) {
	m := newMemory()
	a := &atlas{memory: m, all: []EnvironmentView{healthyShop(time.Now())}}
	c, err := New(Options{Source: m, Environments: a})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 2)
	mux := http.NewServeMux()
	mux.Handle("/", c)
	mux.HandleFunc("POST /api/rollback", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // a short one is a failed comparison
		asked <- r.Header.Get("Authorization") + " " + r.Header.Get("Cookie") + string(body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"taken":false,"answer":"@mallory <b>may not</b>"}`))
	})
	b, _ := newBrowser(t, m)
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer b.do(chromedp.Navigate("about:blank"))
	b.do(chromedp.Navigate(srv.URL + "/environments/42/production"))
	b.await(`document.querySelector("#rollback form")`)
	b.eval(`(() => { const f = document.querySelector("#rollback form").elements;
		f.release.selectedIndex = 1; f.reason.value = "orders fail"; f.token.value = " glpat-x "; return ""; })()`)
	b.do(chromedp.Click(chromedp.CSS("#rollback button")))
	b.await(`document.querySelector("#rollback output").textContent === "@mallory <b>may not</b>"`)
	got := <-asked
	for _, want := range []string{"Bearer glpat-x", `"project":"shop/web"`, `"environment":"production"`, `"release":"42-12-3f2a91c0/production/1"`, `"reason":"orders fail"`, `"key":"`} {
		if !strings.Contains(got, want) {
			t.Errorf("asked %s, without %s", got, want)
		}
	}
	if token := b.eval(`document.querySelector("#rollback form").elements.token.value`); token != "" {
		t.Errorf("the token is kept: %q", token)
	}
	b.quiet()
}
