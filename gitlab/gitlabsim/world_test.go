package gitlabsim_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim/contract"
)

const signingToken = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// handClock stands still until it is told to go on.
type handClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*handTimer
}

type handTimer struct {
	at   time.Time
	f    func()
	done bool
}

func newHandClock() *handClock {
	return &handClock{now: time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)}
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &handTimer{at: c.now.Add(d), f: f}
	c.timers = append(c.timers, t)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		stopped := !t.done
		t.done = true
		return stopped
	}
}

// Advance moves the time and runs what is due, in order.
func (c *handClock) Advance(d time.Duration) {
	c.mu.Lock()
	until := c.now.Add(d)
	for {
		var next *handTimer
		for _, t := range c.timers {
			if !t.done && !t.at.After(until) && (next == nil || t.at.Before(next.at)) {
				next = t
			}
		}
		if next == nil {
			break
		}
		next.done, c.now = true, next.at
		c.mu.Unlock()
		next.f()
		c.mu.Lock()
	}
	c.now = until
	c.mu.Unlock()
}

// received is one hook as the receiver got it.
type received struct {
	header http.Header
	body   []byte
}

type world struct {
	t       *testing.T
	g       *gitlabsim.GitLab
	clock   *handClock
	project int64
	// the people, by role
	bot, dev, maintainer, reporter, stranger int64

	mu     sync.Mutex
	hooks  []received
	status int // what the receiver answers
	sink   *httptest.Server
}

// newWorld is a project "shop/backend" with one commit, people of every role with a token named after each, and a receiver of hooks.
func newWorld(t *testing.T, o gitlabsim.Options) *world {
	t.Helper()
	w := &world{t: t, clock: newHandClock(), status: http.StatusOK}
	if o.Clock == nil {
		o.Clock = w.clock
	}
	g, err := gitlabsim.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	w.g = g
	must(t, g.Start("127.0.0.1:0"))
	p, err := g.AddProject(gitlabsim.Project{Path: "shop/backend"})
	must(t, err)
	w.project = p.ID
	for _, person := range []struct {
		name  string
		level int
		id    *int64
	}{
		{"bot", gitlabsim.Developer, &w.bot}, {"dev", gitlabsim.Developer, &w.dev}, {"maintainer", gitlabsim.Maintainer, &w.maintainer},
		{"reporter", gitlabsim.Reporter, &w.reporter}, {"stranger", gitlabsim.NoAccess, &w.stranger},
	} {
		u, err := g.AddUser(gitlabsim.User{Username: person.name, Email: person.name + "@example.com"})
		must(t, err)
		*person.id = u.ID
		must(t, g.AddToken("token-"+person.name, u.ID, gitlabsim.PersonalToken))
		must(t, g.AddMember(p.ID, u.ID, person.level))
	}
	_, err = g.Commit(gitlabsim.CommitOptions{
		ProjectID: p.ID, Branch: "main", Message: "Begin", AuthorID: w.dev,
		Files: map[string]string{".slipway.yml": "version: 1\n", "deploy/staging/app.yaml": "kind: Deployment\n", "README.md": "# Shop\n"},
	})
	must(t, err)
	w.sink = httptest.NewServer(http.HandlerFunc(w.receive))
	t.Cleanup(w.sink.Close)
	return w
}

func (w *world) receive(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hooks = append(w.hooks, received{header: r.Header.Clone(), body: body})
	rw.WriteHeader(w.status)
}

func (w *world) addHook() int64 {
	w.t.Helper()
	id, err := w.g.AddHook(w.project, gitlabsim.Hook{URL: w.sink.URL + "/hooks", SigningToken: signingToken, Token: "plain"})
	must(w.t, err)
	return id
}

// quiet waits for the hooks that are under way, and returns all that came so far.
func (w *world) quiet() []received {
	w.t.Helper()
	must(w.t, w.g.Quiet(w.t.Context()))
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]received(nil), w.hooks...)
}

func (w *world) answer(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = status
}

func (w *world) open(title string) int64 {
	w.t.Helper()
	iid, err := w.g.OpenMergeRequest(gitlabsim.MergeRequestOptions{
		ProjectID: w.project, Title: title, SourceBranch: strings.ReplaceAll(strings.ToLower(title), " ", "-"), AuthorID: w.dev,
		Files: map[string]string{"deploy/staging/" + title + ".yaml": title},
	})
	must(w.t, err)
	return iid
}

func (w *world) merge(iid int64, method gitlabsim.MergeMethod) string {
	w.t.Helper()
	sha, err := w.g.Merge(w.project, iid, w.maintainer, method)
	must(w.t, err)
	return sha
}

// reply is an answer of the API.
type reply struct {
	status int
	header http.Header
	raw    []byte
	json   any
}

func (r reply) field(t *testing.T, path ...string) any {
	t.Helper()
	v := r.json
	for _, name := range path {
		o, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("no object before %q in %s", name, r.raw)
		}
		v = o[name]
	}
	return v
}

func (r reply) id(t *testing.T) int64 {
	t.Helper()
	n, ok := r.field(t, "id").(float64)
	if !ok {
		t.Fatalf("no id in %s", r.raw)
	}
	return int64(n)
}

// as calls the API with the token of a person. The path is below the project, or absolute with a slash before it.
func (w *world) as(person, method, path string, body any) reply {
	w.t.Helper()
	r, err := w.try(person, method, path, body)
	must(w.t, err)
	return r
}

func (w *world) try(person, method, path string, body any) (reply, error) {
	full := w.g.URL() + "/api/v4/projects/shop%2Fbackend/" + path
	if strings.HasPrefix(path, "/") {
		full = w.g.URL() + "/api/v4" + path
	}
	full = strings.TrimSuffix(full, "/")
	var in io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return reply{}, err
		}
		in = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, full, in)
	if err != nil {
		return reply{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if person != "" {
		req.Header.Set("PRIVATE-TOKEN", "token-"+person)
	}
	// A connection of its own, so that the client doesn't repeat a call on a dropped one.
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	r := reply{status: resp.StatusCode, header: resp.Header, raw: raw}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		err = json.Unmarshal(raw, &r.json)
	}
	return r, err
}

// published is GitLab's contract, which takes a while to load.
var published = sync.OnceValues(func() (*contract.Contract, error) {
	doc, err := os.ReadFile("../testdata/gitlab-openapi-subset.yaml")
	if err != nil {
		return nil, err
	}
	return contract.New(doc)
})

// obeysContract checks every well-formed call that was made so far.
func (w *world) obeysContract() {
	w.t.Helper()
	c, err := published()
	must(w.t, err)
	for _, r := range w.g.Requests() {
		if r.Status >= 400 || r.Status == 0 {
			continue
		}
		if err := c.Check(r.Method, r.Path+"?"+r.Query, r.Header, r.Body); err != nil {
			w.t.Error(err)
		}
	}
	for _, r := range w.g.UnknownRequests() {
		w.t.Errorf("unknown request %s %s", r.Method, r.Path)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type m = map[string]any
