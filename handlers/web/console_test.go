package web

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

func get(t *testing.T, c http.Handler, method, target string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, nil))
	return w
}

func TestANewConsoleNeedsASource(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("there is no error")
	}
	if _, err := New(Options{Source: newMemory(), URL: "http://[::1"}); err == nil {
		t.Error("a broken address is taken")
	}
}

func TestAnswers(t *testing.T) {
	v := succeeded(noon)
	for _, tt := range []struct {
		name, method, target string
		status               int
		says                 string
	}{
		{"the list", "GET", "/", 200, "Show delivery costs"},
		{"a delivery", "GET", "/deliveries/" + v.ID, 200, "Delivered"},
		{"the head of a page", "HEAD", "/deliveries/" + v.ID, 200, ""},
		{"what robots may read", "GET", "/robots.txt", 200, "Disallow: /"},
		{"a delivery that does not exist", "GET", "/deliveries/1-2-3", 404, "There is nothing here"},
		{"an id that cannot be one", "GET", "/deliveries/%3Cscript%3E", 404, "There is nothing here"},
		{"an id that climbs", "GET", "/deliveries/..%2f..%2fetc", 404, "There is nothing here"},
		{"an id that is too long", "GET", "/deliveries/" + strings.Repeat("a", 200), 404, "There is nothing here"},
		{"no id", "GET", "/deliveries/", 404, "There is nothing here"},
		{"the events of a delivery that does not exist", "GET", "/deliveries/1-2-3/events", 404, ""},
		{"an address that does not exist", "GET", "/admin", 404, "There is nothing here"},
		{"a post to what does not exist", "POST", "/slack/interactions", 404, "There is nothing here"},
		{"a file that does not exist", "GET", "/assets/style.css", 404, ""},
		{"a file outside", "GET", "/assets/../console.go", 404, ""},
		{"a cursor that was not made here", "GET", "/?before=%27;--", 400, "not a page of the list"},
		{"a cursor that was not made here, for events", "GET", "/events?before=%27;--", 400, ""},
		{"a post to the list", "POST", "/", 405, "can only be read"},
		{"a post to a delivery", "POST", "/deliveries/" + v.ID, 405, "can only be read"},
		{"a deletion", "DELETE", "/deliveries/" + v.ID, 405, "can only be read"},
		{"options", "OPTIONS", "/", 405, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := get(t, console(t, newMemory(v)), tt.method, tt.target)
			if w.Code != tt.status {
				t.Fatalf("got %d, want %d", w.Code, tt.status)
			}
			if !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("the page does not say %q", tt.says)
			}
			if tt.status == 405 && w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("Allow is %q", w.Header().Get("Allow"))
			}
			if tt.status >= 400 && !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
				t.Errorf("Content-Type is %q", w.Header().Get("Content-Type"))
			}
		})
	}
}

func TestALogIsPlainText(t *testing.T) {
	v := runFailed(noon)
	m := newMemory(v)
	m.logs = map[string]string{
		v.ID + " migrate":   "ALTER TABLE carts\n<script>alert(1)</script>\xff\n",
		v.ID + " a/b":       "of a stage with a slash",
		v.ID + " long":      strings.Repeat("x", 2*maxKeptLog) + "the end",
		v.ID + " $ money 1": "of a stage with signs",
	}
	c := console(t, m)
	for _, tt := range []struct {
		target string
		status int
		says   string
	}{
		{"/deliveries/" + v.ID + "/stages/migrate/log", 200, "ALTER TABLE carts\n<script>alert(1)</script>\uFFFD\n"},
		{c.logPath(v.ID, "a/b"), 200, "of a stage with a slash"},
		{c.logPath(v.ID, "$ money 1"), 200, "of a stage with signs"},
		{c.logPath(v.ID, "long"), 200, "the end"},
		{"/deliveries/" + v.ID + "/stages/production/log", 404, ""},
		{"/deliveries/" + v.ID + "/stages//log", 404, ""},
		{"/deliveries/" + v.ID + "/stages/migrate", 404, ""},
		{"/deliveries/" + v.ID + "/stages/migrate/log/", 404, ""},
		{"/deliveries/..%2f..%2fetc/stages/migrate/log", 404, ""},
		{"/deliveries//stages/migrate/log", 404, ""},
	} {
		w := get(t, c, "GET", tt.target)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) || w.Body.Len() > maxKeptLog+10 {
			t.Errorf("%s: %d, %d bytes", tt.target, w.Code, w.Body.Len())
		}
		if tt.status == 200 && (w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || w.Header().Get("X-Content-Type-Options") != "nosniff" ||
			w.Header().Get("Content-Length") != strconv.Itoa(w.Body.Len())) {
			t.Errorf("%s: %v", tt.target, w.Header())
		}
	}
	if w := get(t, c, "HEAD", "/deliveries/"+v.ID+"/stages/migrate/log"); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "0" {
		t.Errorf("HEAD: %d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
	if w := get(t, c, "POST", "/deliveries/"+v.ID+"/stages/migrate/log"); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
	m.err = errors.New("disk broken")
	if w := get(t, c, "GET", "/deliveries/"+v.ID+"/stages/migrate/log"); w.Code != 500 || strings.Contains(w.Body.String(), "disk") {
		t.Errorf("a store that is broken: %d", w.Code)
	}
}

// TestACardLeadsToTheLogOfItsJob: the address that is shown is the one that is served.
func TestACardLeadsToTheLogOfItsJob(t *testing.T) {
	v := runFailed(noon)
	m := newMemory(v)
	m.logs = map[string]string{v.ID + " migrate": "the log"}
	c := console(t, m)
	page := get(t, c, "GET", "/deliveries/"+v.ID).Body.String()
	found := regexp.MustCompile(`href="([^"]+)">Log of the Job<`).FindStringSubmatch(page)
	if found == nil || get(t, c, "GET", found[1]).Body.String() != "the log" {
		t.Errorf("it leads to %q", found)
	}
}

func TestEveryAnswerIsProtected(t *testing.T) {
	v := succeeded(noon)
	m := newMemory(v)
	m.logs = map[string]string{v.ID + " migrate": "the log"}
	c := console(t, m)
	for _, target := range []string{"/", "/deliveries/" + v.ID, "/deliveries/" + v.ID + "/stages/migrate/log", "/nothing", c.asset("style.css"), c.asset("live.js")} {
		h := get(t, c, "GET", target).Header()
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy lacks %q", target, want)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: the policy is unsafe: %s", target, csp)
		}
		for key, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin"} {
			if got := h.Get(key); got != want {
				t.Errorf("%s: %s is %q, want %q", target, key, got, want)
			}
		}
	}
}

func TestFilesAreKeptForEverUnderTheirHash(t *testing.T) {
	c := console(t, newMemory())
	for plain, kind := range map[string]string{"style.css": "text/css", "live.js": "text/javascript", "mark-ok.svg": "image/svg+xml"} {
		w := get(t, c, "GET", c.asset(plain))
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %s %s", plain, w.Code, w.Header().Get("Content-Type"), w.Header().Get("Cache-Control"))
		}
		if !regexp.MustCompile(`\.[0-9a-f]{12}\.`).MatchString(c.asset(plain)) {
			t.Errorf("%s has no hash", c.asset(plain))
		}
	}
	if other := console(t, newMemory()); other.assets.build != c.assets.build {
		t.Error("the same files make different builds")
	}
}

func TestAddressesKeepThePathOfTheServer(t *testing.T) {
	v := rollback(noon)
	c, err := New(Options{Source: newMemory(v), URL: "https://example.com/slipway/"})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/", "/deliveries/" + v.ID} {
		page := get(t, c, "GET", target).Body.String()
		for _, m := range regexp.MustCompile(`(?:href|src|data-events)="(/[^"]*)"`).FindAllStringSubmatch(page, -1) {
			if !strings.HasPrefix(m[1], "/slipway/") {
				t.Errorf("%s leads to %s", target, m[1])
			}
		}
	}
}

func TestTheListHasPages(t *testing.T) {
	m := newMemory()
	for i := range pageSize + 5 {
		v := succeeded(noon)
		v.ID = fmt.Sprintf("42-%d-3f2a91c0", 100-i)
		m.views = append(m.views, v)
	}
	c := console(t, m)
	first := get(t, c, "GET", "/").Body.String()
	if n := strings.Count(first, `class="row"`); n != pageSize {
		t.Errorf("the first page has %d rows", n)
	}
	next := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(first)
	if next == nil {
		t.Fatal("there is no next page")
	}
	second := get(t, c, "GET", next[1]).Body.String()
	if n := strings.Count(second, `class="row"`); n != 5 {
		t.Errorf("the second page has %d rows", n)
	}
	if strings.Contains(second, `rel="next"`) || !strings.Contains(second, "Back to the newest") {
		t.Error("the last page leads on, or not back")
	}
	if !strings.Contains(second, "/events?before=") {
		t.Error("the second page listens to the first one's events")
	}
}

type panicking struct{ *memory }

func (panicking) Changes(string) (<-chan struct{}, func()) { panic("secret words") }

func TestFailuresDoNotShowWhatIsInside(t *testing.T) {
	for _, tt := range []struct {
		name   string
		source func() Source
		target string
	}{
		{"an error of the list", func() Source { return &memory{err: errors.New("secret words")} }, "/"},
		{"an error of a delivery", func() Source { return &memory{err: errors.New("secret words")} }, "/deliveries/1-2-3"},
		{"a panic", func() Source { return panicking{newMemory()} }, "/events"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var logged bytes.Buffer
			c, err := New(Options{Source: tt.source(), Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			if err != nil {
				t.Fatal(err)
			}
			w := get(t, c, "GET", tt.target)
			if w.Code != 500 || !strings.Contains(w.Body.String(), "Something went wrong") {
				t.Errorf("got %d", w.Code)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Error("the page shows what is inside")
			}
			if !strings.Contains(logged.String(), "secret words") {
				t.Error("the log does not say why")
			}
		})
	}
}

func TestHostileTextStaysText(t *testing.T) {
	v := hostile(noon)
	c := console(t, newMemory(v))
	for _, target := range []string{"/", "/deliveries/" + v.ID} {
		page := get(t, c, "GET", target).Body.String()
		_, main, _ := strings.Cut(page, "<main")
		main, _, _ = strings.Cut(main, "</main>")
		for _, bad := range []string{"<script", "<img", "javascript:", "data:text", "secret@", "//example.com\"", "\u202e", "\x1b", `"onclick`, "ZgotmplZ", `="..`, "deliveries/.."} {
			if strings.Contains(main, bad) {
				t.Errorf("%s holds %q", target, bad)
			}
		}
		if !strings.Contains(main, "&lt;script&gt;") {
			t.Errorf("%s does not show the text at all", target)
		}
		if size := len(page); size > 200<<10 {
			t.Errorf("%s is %d bytes large", target, size)
		}
	}
}

func TestABigDeliveryMakesABoundedPage(t *testing.T) {
	v := succeeded(noon)
	for i := range 5000 {
		s := v.Stages[i%4]
		s.Name, s.Reason, s.Needs = fmt.Sprint("stage-", i), strings.Repeat("word ", 2000)+"\n"+strings.Repeat("log line\n", 5000), nil
		v.Stages = append(v.Stages, s)
		v.Decisions = append(v.Decisions, v.Decisions[0])
		v.Problems = append(v.Problems, pipeline.Problem{File: ".slipway.yml", What: "wrong"})
	}
	w := get(t, console(t, newMemory(v)), "GET", "/deliveries/"+v.ID)
	if w.Code != 200 || w.Body.Len() > 2<<20 {
		t.Errorf("got %d with %d bytes", w.Code, w.Body.Len())
	}
	if !strings.Contains(w.Body.String(), "more stages are not shown") {
		t.Error("the page does not say that there is more")
	}
}

func TestOutsideLinksTellNothing(t *testing.T) {
	for _, s := range states(noon) {
		page := get(t, console(t, newMemory(s.view)), "GET", "/deliveries/"+s.view.ID).Body.String()
		for _, a := range regexp.MustCompile(`<a [^>]*href="https?:[^>]*>`).FindAllString(page, -1) {
			if !strings.Contains(a, `rel="noopener noreferrer"`) {
				t.Errorf("%s: %s", s.name, a)
			}
		}
		if strings.Contains(page, " style=") || regexp.MustCompile(`<script[^>]*>[^<]`).MatchString(page) {
			t.Errorf("%s: the page has style or script within", s.name)
		}
	}
}
