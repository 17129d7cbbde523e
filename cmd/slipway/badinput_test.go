package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/gitlab/webhook"
)

// request is one that a test sends to slipway by itself.
type request struct {
	path   string
	header map[string]string
	body   []byte
	// chunked hides how long the body is.
	chunked bool
}

// post sends a request and returns how it was answered.
func (r *rig) post(q request) (status int, answer string) {
	r.Helper()
	var body io.Reader = bytes.NewReader(q.body)
	if q.chunked {
		body = struct{ io.Reader }{body}
	}
	req, err := http.NewRequestWithContext(r.within(), http.MethodPost, "http://"+r.addr+q.path, body)
	r.ok(err)
	for k, v := range q.header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	r.ok(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	r.ok(err)
	return resp.StatusCode, string(data)
}

// get reads a page.
func (r *rig) get(path string) (status int, text string) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.within(), http.MethodGet, "http://"+r.addr+path, http.NoBody)
	r.ok(err)
	resp, err := http.DefaultClient.Do(req)
	r.ok(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	r.ok(err)
	return resp.StatusCode, string(data)
}

// awaitPage reads a page again and again until it is as wanted.
func (r *rig) awaitPage(path, what string, ok func(status int, text string) bool) {
	r.Helper()
	deadline := time.Now().Add(patience)
	for {
		status, text := r.get(path)
		if ok(status, text) {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("%s does not say %s: %d\n%s", path, what, status, tail(text, 4000))
		}
		again := time.NewTimer(10 * time.Millisecond)
		<-again.C
	}
}

// awaitPageSays waits until a page holds the words.
func (r *rig) awaitPageSays(path, words string) {
	r.Helper()
	r.awaitPage(path, strconv.Quote(words), func(_ int, text string) bool { return strings.Contains(text, words) })
}

// page is the path of the page of the delivery of a merge.
func (r *rig) page(iid int64, sha string) string {
	return fmt.Sprintf("/deliveries/%d-%d-%s", r.world.Project, iid, sha[:8])
}

// metric reads one number of /metrics, 0 if it is not there.
func (r *rig) metric(name string) float64 {
	r.Helper()
	_, text := r.get("/metrics")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.ParseFloat(m[1], 64)
	r.ok(err)
	return n
}

// awaitMetric waits until a number of /metrics is as wanted.
func (r *rig) awaitMetric(name string, want float64) {
	r.Helper()
	r.awaitPage("/metrics", fmt.Sprintf("%s %v", name, want), func(int, string) bool { return r.metric(name) == want })
}

// edit changes the operator's file before slipway starts.
func (r *rig) edit(change func(config map[string]any)) {
	r.Helper()
	data, err := r.world.Config(r.addr)
	r.ok(err)
	config := map[string]any{}
	r.ok(yaml.Unmarshal(data, &config))
	change(config)
	data, err = yaml.Marshal(config)
	r.ok(err)
	r.ok(os.WriteFile(r.config, data, 0o600))
}

// signed is a hook as GitLab sends it.
func (r *rig) signed(event string, at time.Time, body []byte) request {
	r.Helper()
	signature, err := webhook.Sign(world.SigningToken, "hook-1", at, body)
	r.ok(err)
	return request{path: "/hooks/gitlab", body: body, header: map[string]string{
		"Content-Type": "application/json", "X-Gitlab-Event": event,
		"webhook-id": "hook-1", "webhook-timestamp": strconv.FormatInt(at.Unix(), 10), "webhook-signature": signature,
	}}
}

// mergeHook is the hook of a merge, in a project of any name.
func mergeHook(project string, id int64) []byte {
	return fmt.Appendf(nil, `{"object_kind":"merge_request","event_type":"merge_request","user":{"id":1,"username":"ada"},
		"project":{"id":%d,"path_with_namespace":%q,"web_url":"https://gitlab.example.com/x","default_branch":"main"},
		"object_attributes":{"iid":1,"action":"merge","state":"merged","title":"t","source_branch":"s","target_branch":"main",
		"merge_commit_sha":"0123456789abcdef0123456789abcdef01234567","target_project_id":%d}}`, id, project, id)
}

func TestBadHooksAreAnsweredAndForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.start()
	now := time.Now()
	push := []byte(`{"object_kind":"push","project":{"id":1}}`)
	good := func() request { return r.signed("Push Hook", now, push) }
	with := func(q request, header, value string) request {
		q.header[header] = value
		if value == "" {
			delete(q.header, header)
		}
		return q
	}
	// A valid signature shows that it is the size that is refused.
	large := append(append([]byte(`{"object_kind":"push","x":"`), bytes.Repeat([]byte("x"), 30<<20)...), `"}`...)
	chunked := r.signed("Push Hook", now, large)
	chunked.chunked = true
	other, err := webhook.Sign("whsec_YW5vdGhlci1zaWduaW5nLXRva2VuLTAxMjM0NTY3", "hook-1", now, push)
	r.ok(err)
	_, id, _ := strings.Cut(good().header["webhook-signature"], ",")

	for name, c := range map[string]struct {
		request request
		status  int
		words   string
	}{
		"without a signature":                {with(good(), "webhook-signature", ""), 401, "the webhook-signature header is missing"},
		"with another token's signature":     {with(good(), "webhook-signature", other), 401, "matches no configured signing token"},
		"with a signature of another form":   {with(good(), "webhook-signature", id), 401, "matches no configured signing token"},
		"with another body than was signed":  {func() request { q := good(); q.body = []byte(`{}`); return q }(), 401, "matches no configured signing token"},
		"with another id than was signed":    {with(good(), "webhook-id", "hook-2"), 401, "matches no configured signing token"},
		"without an id":                      {with(good(), "webhook-id", ""), 401, "the webhook-id header is missing"},
		"without a time":                     {with(good(), "webhook-timestamp", ""), 401, "the webhook-timestamp header is missing"},
		"with a time that is no number":      {with(good(), "webhook-timestamp", "yesterday"), 401, "not a number of seconds"},
		"that are six minutes old":           {r.signed("Push Hook", now.Add(-6*time.Minute), push), 401, "too far from this server's clock"},
		"of six minutes from now":            {r.signed("Push Hook", now.Add(6*time.Minute), push), 401, "too far from this server's clock"},
		"of 30 MB":                           {r.signed("Push Hook", now, large), 413, "larger than 25 MiB"},
		"of 30 MB that do not say so":        {chunked, 413, "larger than 25 MiB"},
		"that are not JSON":                  {r.signed("Push Hook", now, []byte(`{"object_kind":`)), 400, "not a JSON object"},
		"that are empty":                     {r.signed("Push Hook", now, nil), 400, "not a JSON object"},
		"that are a list":                    {r.signed("Push Hook", now, []byte(`[1]`)), 400, "not a JSON object"},
		"that are nested too deep":           {r.signed("Push Hook", now, bytes.Repeat([]byte("["), 1000)), 400, "nested too deep"},
		"of a kind that nothing is done for": {good(), 200, `"ignored"`},
		"of a kind that nobody knows":        {r.signed("Quantum Hook", now, []byte(`{"object_kind":"quantum"}`)), 200, `"ignored"`},
		"of a merge without a commit":        {r.signed("Merge Request Hook", now, []byte(`{"object_kind":"merge_request","project":{"id":1},"object_attributes":{"action":"merge","iid":1}}`)), 200, `"ignored"`},
		"of a project that nobody added":     {r.signed("Merge Request Hook", now, mergeHook("evil/shop", 999)), 200, "the project may not deploy anywhere; an operator has to add it to an environment"},
	} {
		status, answer := r.post(c.request)
		if status != c.status || !strings.Contains(answer, c.words) {
			r.Errorf("hooks %s are answered %d %s, want %d with %q", name, status, tail(answer, 300), c.status, c.words)
		}
		var parsed map[string]string
		if err := json.Unmarshal([]byte(answer), &parsed); err != nil {
			r.Errorf("hooks %s are answered with something that is not JSON: %q", name, answer)
		}
	}
	for name, want := range map[string]float64{
		`slipway_hooks_total{event="Push Hook",result="refused"}`:          14,
		`slipway_hooks_total{event="Push Hook",result="ignored"}`:          1,
		`slipway_hooks_total{event="other",result="ignored"}`:              1,
		`slipway_hooks_total{event="Merge Request Hook",result="ignored"}`: 2,
		`slipway_aggregates_live`:                                          0,
	} {
		if got := r.metric(name); got != want {
			r.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	r.askedNothing()
	r.deliver("Sell umbrellas", "umbrellas") // nothing got stuck
	r.checkOnce()
	r.checkDatabase()
}

func TestHooksWithASecretToken(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.edit(func(config map[string]any) {
		gitlab := config["gitlab"].(map[string]any)
		delete(gitlab, "signing_tokens")
		gitlab["secret_tokens"] = []string{"the-old-token", "the-new-token"}
	})
	r.start()
	for name, c := range map[string]struct {
		token  string
		status int
		words  string
	}{
		"no token":      {"", 401, "the X-Gitlab-Token header is missing"},
		"another token": {"the-wrong-token", 401, "matches no configured secret token"},
		"the old token": {"the-old-token", 200, "ignored"},
		"the new token": {"the-new-token", 200, "ignored"},
	} {
		q := request{path: "/hooks/gitlab", body: []byte(`{"object_kind":"push"}`), header: map[string]string{"X-Gitlab-Event": "Push Hook"}}
		if c.token != "" {
			q.header["X-Gitlab-Token"] = c.token
		}
		if status, answer := r.post(q); status != c.status || !strings.Contains(answer, c.words) {
			r.Errorf("a hook with %s is answered %d %s, want %d with %q", name, status, answer, c.status, c.words)
		}
	}
	if strings.Contains(r.log.String(), "the-wrong-token") {
		r.Error("a token is in the log")
	}
}

// TestTheSameMergeToldTwiceIsDeliveredOnce has a hook on the project and one on its
// group, and GitLab's operator sends both again.
func TestTheSameMergeToldTwiceIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.start()
	r.ok(r.world.Connect("http://" + r.addr)) // the group's hook tells the same under an id of its own
	iid := r.good("Sell umbrellas", "umbrellas")
	sha := r.merge(iid)
	r.ok(r.world.GitLab.Quiet(r.within()))
	r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
	r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))

	merges := func() (answers []string) {
		for _, d := range r.world.GitLab.Deliveries() {
			if d.Event == "Merge Request Hook" && strings.Contains(string(d.Body), `"action":"merge"`) {
				if d.Status != 200 {
					r.Errorf("a hook was answered %d", d.Status)
				}
				answers = append(answers, d.Answer)
			}
		}
		return answers
	}
	if told := merges(); len(told) != 2 || !strings.Contains(told[0], "accepted") || !strings.Contains(told[1], "duplicate") {
		r.Errorf("the merge's two hooks are answered %q", told)
	}
	for _, d := range r.world.GitLab.Deliveries() {
		if d.Event == "Merge Request Hook" && strings.Contains(string(d.Body), `"action":"merge"`) {
			r.ok(r.world.GitLab.Resend(d.ID))
		}
	}
	r.ok(r.world.AwaitGitLab(r.within(), "the answers", func(gitlabsim.ProjectSnapshot) bool { return len(merges()) == 4 }))
	for _, answer := range merges()[2:] {
		if !strings.Contains(answer, "duplicate") {
			r.Errorf("a hook that is sent again is answered %q", answer)
		}
	}
	if n := r.metric(`slipway_deliveries_ended_total{status="succeeded"}`); n != 1 {
		r.Errorf("%v deliveries", n)
	}
	r.runs(r.prod, sha)
	r.checkOnce()
	r.checkDatabase()
}

func TestPipelineFilesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.edit(func(config map[string]any) {
		other := config["environments"].([]any)[1].(map[string]any)
		elsewhere := map[string]any{"name": "vault", "projects": []string{"bank/*"}, "cluster": other["cluster"], "namespace": "vault"}
		config["environments"] = append(config["environments"].([]any), elsewhere)
	})
	r.start()
	file := r.file(world.PipelineFile)
	replace := func(old, with string) map[string]string {
		files, err := r.world.Edited(world.PipelineFile, old, with)
		r.ok(err)
		return files
	}
	ended := 0.0
	for i, c := range []struct {
		name   string
		files  map[string]string
		remove []string
		words  []string
	}{
		{"a file that is missing", nil, []string{world.PipelineFile},
			[]string{"There is no .slipway.yml at this commit."}},
		{"a file that is not YAML", map[string]string{world.PipelineFile: "version: 1\napplication: [shop\n"}, nil,
			[]string{".slipway.yml:2:"}},
		{"an empty file", map[string]string{world.PipelineFile: ""}, nil,
			[]string{".slipway.yml:1:1"}},
		{"a key that nobody knows", replace("    job: {name: smoke-test}", "    jbo: {name: smoke-test}"), nil,
			[]string{".slipway.yml:17:5", "jbo", "did you mean job?"}},
		{"an expression with a mistake", replace("${{ merge_request.title }}", "${{ merge_request.titel }}"), nil,
			[]string{".slipway.yml:22:37", "titel"}},
		{"an environment of another project", replace("environment: production", "environment: vault"), nil,
			[]string{".slipway.yml:29:20", "may not deploy to", "vault", "it may use staging, production"}},
		{"an environment that needs a judgement", replace("    judgement:\n      ask: \"Ship “${{ merge_request.title }}” to our customers?\"\n      approvers: [group:shop/maintainers]\n      not: [author]\n      expires: 24h\n", "    wait: {for: 1s}\n"), nil,
			[]string{".slipway.yml:", "judgement"}},
	} {
		// Each change brings its own file, and the next one puts the good one back first.
		_, err := r.world.GitLab.Commit(gitlabsim.CommitOptions{
			ProjectID: r.world.Project, Branch: "main", Files: map[string]string{world.PipelineFile: file}, Message: "Mend it", AuthorID: r.world.Ada,
		})
		r.ok(err)
		iid, err := r.world.GitLab.OpenMergeRequest(gitlabsim.MergeRequestOptions{
			ProjectID: r.world.Project, Title: c.name, SourceBranch: fmt.Sprintf("bad-%d", i), Files: c.files, Delete: c.remove, AuthorID: r.world.Ben,
		})
		r.ok(err)
		sha := r.merge(iid)
		r.ok(r.world.AwaitNote(r.within(), iid, "**Nothing was delivered**"))
		ended++
		r.awaitMetric(`slipway_deliveries_ended_total{status="invalid"}`, ended)
		note := r.note(iid)
		_, page := r.get(r.page(iid, sha))
		for _, words := range c.words {
			if !strings.Contains(plain(note), words) {
				r.Errorf("%s: the note does not say %q:\n%s", c.name, words, note)
			}
			if !strings.Contains(strings.ToLower(plain(page)), strings.ToLower(strings.TrimSuffix(words, "."))) {
				r.Errorf("%s: the page does not say %q", c.name, words)
			}
		}
	}
	r.nothingHappened()

	_, err := r.world.GitLab.Commit(gitlabsim.CommitOptions{
		ProjectID: r.world.Project, Branch: "stable", Message: "An older line", AuthorID: r.world.Ada, Files: map[string]string{world.PipelineFile: file},
	})
	r.ok(err)
	iid, err := r.world.GitLab.OpenMergeRequest(gitlabsim.MergeRequestOptions{
		ProjectID: r.world.Project, Title: "A merge into another branch", SourceBranch: "backport", TargetBranch: "stable",
		Files: map[string]string{"README.md": "changed"}, AuthorID: r.world.Ben,
	})
	r.ok(err)
	r.merge(iid)
	r.awaitMetric(`slipway_deliveries_ended_total{status="none"}`, 1)
	r.awaitMetric("slipway_effects_pending", 0)
	if notes := r.world.Notes(iid); len(notes) != 0 {
		r.Errorf("a merge that the file does not deliver has a note: %s", notes[0].Body)
	}
	r.nothingHappened()

	_, err = r.world.GitLab.Commit(gitlabsim.CommitOptions{
		ProjectID: r.world.Project, Branch: "main", Files: map[string]string{world.PipelineFile: file}, Message: "Mend it", AuthorID: r.world.Ada,
	})
	r.ok(err)
	r.deliver("Sell umbrellas", "umbrellas")
	r.checkOnce()
	r.checkDatabase()
}

// nothingHappened checks that nothing was deployed and that nobody was told in Slack.
func (r *rig) nothingHappened() {
	r.Helper()
	p := r.world.ProjectNow()
	if len(p.Deployments) > 0 || len(p.Statuses) > 0 {
		r.Errorf("%d deployments and %d statuses", len(p.Deployments), len(p.Statuses))
	}
	if m := r.world.Slack.Messages(r.world.ChannelID); len(m) > 0 {
		r.Errorf("%d messages in Slack: %s", len(m), m[0].Text)
	}
	for _, namespace := range []string{r.staging, r.prod} {
		list, err := r.client().AppsV1().Deployments(namespace).List(r.within(), metav1.ListOptions{})
		r.ok(err)
		if len(list.Items) > 0 {
			r.Errorf("%d Deployments in %s", len(list.Items), namespace)
		}
	}
}

var (
	links  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	tags   = regexp.MustCompile(`<[^>]*>`)
	spaces = regexp.MustCompile(`\s+`)
)

// plain is what people read of Markdown or HTML.
func plain(text string) string {
	text = tags.ReplaceAllString(links.ReplaceAllString(text, "$1"), "")
	text = strings.NewReplacer("`", "", `\`, "", "&#34;", `"`, "&quot;", `"`, "&#39;", "'", "&amp;", "&", "\u2060", "").Replace(text)
	return spaces.ReplaceAllString(text, " ")
}

func TestAnUnknownProjectIsNotWrittenTo(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.edit(func(config map[string]any) {
		for _, e := range config["environments"].([]any) {
			e.(map[string]any)["projects"] = []string{"other/*"}
		}
	})
	r.start()
	iid := r.good("Sell umbrellas", "umbrellas")
	r.merge(iid)
	r.ok(r.world.GitLab.Quiet(r.within()))
	for _, d := range r.world.GitLab.Deliveries() {
		if d.Event == "Merge Request Hook" && strings.Contains(string(d.Body), `"action":"merge"`) {
			if d.Status != 200 || !strings.Contains(d.Answer, "ignored") || !strings.Contains(d.Answer, "may not deploy anywhere") {
				r.Errorf("the hook is answered %d %s", d.Status, d.Answer)
			}
		}
	}
	if n := r.metric(`slipway_hooks_total{event="Merge Request Hook",result="ignored"}`); n != 2 { // opened, merged
		r.Errorf("%v ignored hooks are counted, want 2", n)
	}
	if !strings.Contains(r.log.String(), "hook of an unknown project") || !strings.Contains(r.log.String(), world.ProjectPath) {
		r.Error("the log does not name the project")
	}
	r.askedNothing()
	if notes := r.world.Notes(iid); len(notes) > 0 {
		r.Errorf("the merge request has a note: %s", notes[0].Body)
	}
	r.nothingHappened()
	r.checkDatabase()
}

// askedNothing proves that GitLab was asked nothing but who we are, at the start.
func (r *rig) askedNothing() {
	r.Helper()
	for _, q := range r.world.GitLab.Requests() {
		if q.Path != "/api/v4/user" {
			r.Errorf("GitLab was asked %s %s", q.Method, q.Path)
		}
	}
}
