package gitlabsim_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

func TestStatusesOfACommit(t *testing.T) {
	type step struct {
		person, name, state string
		status              int
		says                string // part of the answer
		pipeline            string // its status afterwards
	}
	tests := []struct {
		name  string
		steps []step
		rows  int
	}{
		{"a status goes from pending to running to success in one row", []step{
			{"bot", "slipway", "pending", 201, `"status":"pending"`, "running"},
			{"bot", "slipway", "running", 201, `"status":"running"`, "running"},
			{"bot", "slipway", "success", 201, `"status":"success"`, "success"},
		}, 1},
		{"a repeated transition is refused", []step{
			{"bot", "slipway", "running", 201, "", "running"},
			{"bot", "slipway", "running", 400, `Cannot transition status via :run from :running`, "running"},
		}, 1},
		{"pending twice is refused", []step{
			{"bot", "slipway", "pending", 201, "", "running"},
			{"bot", "slipway", "pending", 400, `Cannot transition status via :enqueue from :pending`, "running"},
		}, 1},
		{"a running one can't be skipped", []step{
			{"bot", "slipway", "running", 201, "", "running"},
			{"bot", "slipway", "skipped", 400, `:skip from :running`, "running"},
		}, 1},
		{"after the end a new row begins, and a success twice makes two rows", []step{
			{"bot", "slipway", "success", 201, "", "success"},
			{"bot", "slipway", "success", 201, "", "success"},
		}, 2},
		{"another user doesn't move the row of the first", []step{
			{"bot", "slipway", "running", 201, "", "running"},
			{"dev", "slipway", "running", 201, "", "running"},
		}, 2},
		{"a failure turns the finished CI pipeline red", []step{
			{"bot", "slipway", "failed", 201, "", "failed"},
		}, 1},
		{"an unknown state is refused", []step{{"bot", "slipway", "great", 400, `"error":"state does not have a valid value"`, "success"}}, 0},
		{"a reporter may not", []step{{"reporter", "slipway", "success", 403, "403 Forbidden", "success"}}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, gitlabsim.Options{})
			must(t, w.g.SetCI(w.project, gitlabsim.CI{Jobs: []gitlabsim.JobSpec{{Name: "build"}}}))
			sha := w.merge(w.open("Change"), gitlabsim.MergeCommit)
			id := w.g.Snapshot().Projects[0].Pipelines[0].ID
			must(t, w.g.RunPipeline(w.project, id))
			for i, s := range tt.steps {
				got := w.as(s.person, "POST", "statuses/"+sha, m{"state": s.state, "name": s.name, "pipeline_id": id})
				if got.status != s.status || !strings.Contains(strings.ReplaceAll(string(got.raw), `\"`, `"`), s.says) {
					t.Errorf("step %d: got %d %s", i, got.status, got.raw)
				}
				if now := w.g.Snapshot().Projects[0].Pipelines[0].Status; now != s.pipeline {
					t.Errorf("step %d: the CI pipeline is %s, want %s", i, now, s.pipeline)
				}
			}
			if rows := w.g.CountStatuses(w.project, sha, "slipway"); rows != tt.rows {
				t.Errorf("%d rows, want %d", rows, tt.rows)
			}
			shown := w.as("bot", "GET", "repository/commits/"+sha+"/statuses?name=slipway", nil)
			if list, _ := shown.json.([]any); len(list) != min(tt.rows, 1) {
				t.Errorf("%s is shown, want only the latest", shown.raw)
			}
			all := w.as("bot", "GET", "repository/commits/"+sha+"/statuses?name=slipway&all=true", nil)
			if list, _ := all.json.([]any); len(list) != tt.rows {
				t.Errorf("%d rows are listed, want %d", len(list), tt.rows)
			}
			w.obeysContract()
		})
	}
}

func TestStatusWithoutItsPipeline(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	sha := w.merge(w.open("Change"), gitlabsim.MergeCommit)
	got := w.as("bot", "POST", "statuses/"+sha, m{"state": "running", "pipeline_id": 99})
	if got.status != 404 || got.field(t, "message") != "404 Pipeline for pipeline_id, sha and ref Not Found" {
		t.Errorf("got %d %s", got.status, got.raw)
	}
	got = w.as("bot", "POST", "statuses/"+sha, m{"state": "running"})
	if got.status != 201 || got.field(t, "name") != "default" || got.field(t, "ref") != "main" {
		t.Errorf("got %d %s", got.status, got.raw)
	}
	if pl := w.g.Snapshot().Projects[0].Pipelines; len(pl) != 1 || pl[0].Source != "external" {
		t.Errorf("the CI pipelines are %+v", pl)
	}
}

func TestDeployments(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	must(t, w.g.SetCI(w.project, gitlabsim.CI{Jobs: []gitlabsim.JobSpec{{Name: "deploy", Environment: "ci"}}}))
	sha := w.merge(w.open("Change"), gitlabsim.MergeCommit)
	must(t, w.g.RunPipeline(w.project, 1))
	create := func(over m) reply {
		body := m{"environment": "review/a", "sha": sha, "ref": "main", "tag": false, "status": "running"}
		for k, v := range over {
			if body[k] = v; v == nil {
				delete(body, k)
			}
		}
		return w.as("bot", "POST", "deployments", body)
	}
	for name, bad := range map[string]struct {
		over m
		want string
	}{
		"an unknown commit":      {m{"sha": strings.Repeat("0", 40)}, `{"message":{"sha":["The commit does not exist"]}}`},
		"an unknown branch":      {m{"ref": "nowhere"}, `{"message":{"ref":["The branch or tag does not exist"]}}`},
		"a missing tag flag":     {m{"tag": nil}, `{"error":"tag is missing"}`},
		"a status of jobs only":  {m{"status": "blocked"}, `{"error":"status does not have a valid value"}`},
		"an impossible name":     {m{"environment": "/a"}, `cannot start or end with '/'`},
		"several missing fields": {m{"tag": nil, "ref": nil}, `{"error":"ref is missing, tag is missing"}`},
	} {
		if got := create(bad.over); got.status != 400 || !strings.Contains(strings.ReplaceAll(string(got.raw), `\u0026`, "&"), bad.want) {
			t.Errorf("%s: got %d %s", name, got.status, got.raw)
		}
	}
	d := create(nil)
	if d.status != 201 || d.field(t, "environment", "name") != "review/a" || d.field(t, "deployable") != nil {
		t.Fatalf("got %d %s", d.status, d.raw)
	}
	path := fmt.Sprintf("deployments/%d", d.id(t))
	for i, s := range []struct {
		to     string
		status int
	}{{"running", 400}, {"success", 200}, {"success", 400}, {"running", 400}, {"failed", 200}} {
		got := w.as("bot", "PUT", path, m{"status": s.to})
		if got.status != s.status {
			t.Errorf("step %d to %s: got %d %s", i, s.to, got.status, got.raw)
		}
		if s.status == 400 && !strings.Contains(string(got.raw), "cannot transition via") {
			t.Errorf("step %d: got %s", i, got.raw)
		}
	}
	owned := w.as("bot", "GET", "deployments?environment=ci&status=success", nil).json.([]any)
	if len(owned) != 1 {
		t.Fatalf("%d deployments of the CI job, want one", len(owned))
	}
	got := w.as("bot", "PUT", fmt.Sprintf("deployments/%v", owned[0].(map[string]any)["id"]), m{"status": "failed"})
	if got.status != 403 || !strings.Contains(string(got.raw), "created using GitLab CI") {
		t.Errorf("the CI job's deployment: got %d %s", got.status, got.raw)
	}
	if got := w.as("reporter", "PUT", path, m{"status": "success"}); got.status != 403 {
		t.Errorf("a reporter deploys: %d", got.status)
	}
	if n := w.g.CountDeployments(w.project, "review/a", sha); n != 1 {
		t.Errorf("%d deployments, want 1", n)
	}
	if got := w.as("bot", "GET", "deployments?updated_after=2026-01-01T00:00:00Z", nil); got.status != 400 {
		t.Errorf("an inefficient query is answered %d", got.status)
	}
	w.obeysContract()
}

func TestEnvironments(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	e := w.as("bot", "POST", "environments", m{"name": "production", "external_url": "https://shop.example.com", "description": "hi"})
	if e.status != 201 || e.field(t, "tier") != "production" || e.field(t, "slug") != "production" {
		t.Fatalf("got %d %s", e.status, e.raw)
	}
	if got := w.as("bot", "POST", "environments", m{"name": "production"}); got.status != 400 || !strings.Contains(string(got.raw), "has already been taken") {
		t.Errorf("a second one: got %d %s", got.status, got.raw)
	}
	path := fmt.Sprintf("environments/%d", e.id(t))
	if got := w.as("bot", "PUT", path, m{"external_url": "javascript:alert(1)"}); got.status != 400 {
		t.Errorf("a wrong URL: got %d %s", got.status, got.raw)
	}
	if got := w.as("bot", "PUT", path, m{"external_url": "https://a.example.com", "tier": "staging"}); got.status != 200 || got.field(t, "tier") != "staging" {
		t.Errorf("a change: got %d %s", got.status, got.raw)
	}
	if got := w.as("bot", "POST", path+"/stop", nil); got.status != 200 || got.field(t, "state") != "stopped" {
		t.Errorf("a stop: got %d %s", got.status, got.raw)
	}
	if got := w.as("bot", "GET", "environments?name=production", nil); len(got.json.([]any)) != 1 {
		t.Errorf("by name: %s", got.raw)
	}
	if got := w.as("bot", "GET", "environments?name=prod", nil); len(got.json.([]any)) != 0 {
		t.Errorf("a name is not a search: %s", got.raw)
	}
	if got := w.as("bot", "GET", "environments/77", nil); got.status != 404 || got.field(t, "message") != "404 Not found" {
		t.Errorf("a missing one: got %d %s", got.status, got.raw)
	}
	w.obeysContract()
}

func TestNotes(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	iid := w.open("Change")
	notes := fmt.Sprintf("merge_requests/%d/notes", iid)
	for _, tt := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"a comment is created", "<!-- slipway:1 --> hello", 201, `slipway:1`},
		{"quick actions are taken out", "/approve\nfine", 201, `"body":"fine"`},
		{"only quick actions make no comment", "/approve\n/merge now", 202, `"commands_changes":{}`},
		{"what is no quick action stays", "/slipway approve", 201, `"body":"/slipway approve"`},
		{"quick actions in a code block stay", "```\n/merge\n```", 201, `/merge`},
		{"an empty comment is refused", "  ", 400, `can't be blank`},
		{"an endless comment is refused", strings.Repeat("x", 1_000_001), 400, "too long"},
	} {
		got := w.as("bot", "POST", notes, m{"body": tt.body})
		if got.status != tt.status || !strings.Contains(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(got.raw)), tt.says) {
			t.Errorf("%s: got %d %.200s", tt.name, got.status, got.raw)
		}
	}
	if n := w.g.CountNotes(w.project, iid, "", w.bot); n != 4 {
		t.Errorf("%d comments, want 4", n)
	}
	if n := w.g.CountNotes(w.project, iid, "<!-- slipway:1 -->", w.bot); n != 1 {
		t.Errorf("%d marked comments, want 1", n)
	}
	first := w.as("bot", "GET", notes+"?sort=asc&per_page=1", nil)
	one := fmt.Sprintf("%s/%v", notes, first.json.([]any)[0].(map[string]any)["id"])
	for _, tt := range []struct {
		name, person, method string
		body                 any
		status               int
	}{
		{"the author edits", "bot", "PUT", m{"body": "changed"}, 200},
		{"another developer may not edit", "dev", "PUT", m{"body": "mine"}, 403},
		{"a maintainer may", "maintainer", "PUT", m{"body": "moderated"}, 200},
		{"an edit to nothing is refused", "bot", "PUT", m{"body": ""}, 400},
		{"another developer may not delete", "dev", "DELETE", nil, 403},
		{"the author deletes", "bot", "DELETE", nil, 204},
		{"what is gone is gone", "bot", "GET", nil, 404},
	} {
		if got := w.as(tt.person, tt.method, one, tt.body); got.status != tt.status {
			t.Errorf("%s: got %d %s", tt.name, got.status, got.raw)
		}
	}
	w.obeysContract()
}

func TestThreadAndEmoji(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	iid := w.open("Change")
	n, err := w.g.Comment(w.project, iid, w.dev, "@slipway approve")
	must(t, err)
	thread := fmt.Sprintf("merge_requests/%d/discussions/%s", iid, n.DiscussionID)
	reply := w.as("bot", "POST", thread+"/notes", m{"body": "no"})
	if reply.status != 201 || reply.field(t, "type") != "DiscussionNote" {
		t.Errorf("got %d %s", reply.status, reply.raw)
	}
	if got := w.as("bot", "GET", thread, nil); len(got.field(t, "notes").([]any)) != 2 {
		t.Errorf("the thread is %s", got.raw)
	}
	if got := w.as("bot", "POST", strings.Replace(thread, n.DiscussionID, "beef", 1)+"/notes", m{"body": "no"}); got.status != 404 ||
		got.field(t, "message") != "404 Discussion Not Found" {
		t.Errorf("a missing thread: got %d %s", got.status, got.raw)
	}
	emoji := fmt.Sprintf("merge_requests/%d/notes/%d/award_emoji", iid, n.ID)
	if got := w.as("bot", "POST", emoji, m{"name": "eyes"}); got.status != 201 {
		t.Errorf("got %d %s", got.status, got.raw)
	}
	if got := w.as("bot", "POST", emoji, m{"name": "eyes"}); got.status != 404 || !strings.Contains(string(got.raw), "Name has already been taken") {
		t.Errorf("a second time: got %d %s", got.status, got.raw)
	}
	if got := w.as("bot", "POST", emoji, m{"name": ":eyes:"}); got.status != 404 {
		t.Errorf("a wrong name: got %d %s", got.status, got.raw)
	}
	if got := w.as("dev", "GET", emoji, nil); len(got.json.([]any)) != 1 {
		t.Errorf("got %s", got.raw)
	}
	w.obeysContract()
}

func TestNoteLimitHasNoHeaders(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{NotesPerMinute: 2})
	notes := fmt.Sprintf("merge_requests/%d/notes", w.open("Change"))
	for i, want := range []int{201, 201, 429} {
		got := w.as("bot", "POST", notes, m{"body": "hello"})
		if got.status != want {
			t.Errorf("comment %d: got %d", i, got.status)
		}
		if got.header.Get("Retry-After") != "" || got.header.Get("RateLimit-Limit") != "" {
			t.Errorf("headers are %v", got.header)
		}
	}
	if got := w.as("dev", "POST", notes, m{"body": "hello"}); got.status != 201 {
		t.Errorf("the limit is per user: got %d", got.status)
	}
	w.clock.Advance(time.Minute)
	if got := w.as("bot", "POST", notes, m{"body": "hello"}); got.status != 201 {
		t.Errorf("a minute later: got %d", got.status)
	}
}

func TestManualJob(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	must(t, w.g.SetCI(w.project, gitlabsim.CI{Auto: true, JobTime: time.Second, Jobs: []gitlabsim.JobSpec{
		{Name: "build", Stage: "build"}, {Name: "smoke", Stage: "verify", Manual: true, Duration: 5 * time.Second, Fails: true},
	}}))
	sha := w.merge(w.open("Change"), gitlabsim.MergeCommit)
	pipeline := func() string {
		list := w.as("bot", "GET", "pipelines?sha="+sha+"&ref=main", nil).json.([]any)
		return fmt.Sprint(list[0].(map[string]any)["status"])
	}
	manual := func() []any { return w.as("bot", "GET", "pipelines/1/jobs?scope[]=manual", nil).json.([]any) }
	if pipeline() != "running" || len(manual()) != 0 {
		t.Errorf("at first it is %s with %v", pipeline(), manual())
	}
	w.clock.Advance(time.Second)
	if pipeline() != "success" || len(manual()) != 1 {
		t.Fatalf("after the build it is %s with %v", pipeline(), manual())
	}
	job := fmt.Sprintf("jobs/%v", manual()[0].(map[string]any)["id"])
	if got := w.as("reporter", "POST", job+"/play", nil); got.status != 403 {
		t.Errorf("a reporter plays: %d", got.status)
	}
	if got := w.as("bot", "POST", job+"/play", nil); got.status != 200 || got.field(t, "status") != "running" {
		t.Errorf("play: got %d %s", got.status, got.raw)
	}
	if got := w.as("bot", "POST", job+"/play", nil); got.status != 400 || got.field(t, "message") != "400 Bad request - Unplayable Job" {
		t.Errorf("play twice: got %d %s", got.status, got.raw)
	}
	if got := w.as("bot", "POST", job+"/retry", nil); got.status != 403 {
		t.Errorf("retry a running one: got %d %s", got.status, got.raw)
	}
	w.clock.Advance(5 * time.Second)
	if got := w.as("bot", "GET", job, nil); got.field(t, "status") != "failed" {
		t.Errorf("at the end it is %s", got.raw)
	}
	again := w.as("bot", "POST", job+"/retry", nil)
	if again.status != 201 || again.id(t) == 0 || fmt.Sprintf("jobs/%d", again.id(t)) == job {
		t.Errorf("retry: got %d %s", again.status, again.raw)
	}
	if got := w.as("bot", "POST", fmt.Sprintf("jobs/%d/cancel", again.id(t)), nil); got.status != 201 || got.field(t, "status") != "canceled" {
		t.Errorf("cancel: got %d %s", got.status, got.raw)
	}
	if got := w.as("bot", "POST", "pipelines/1/retry", nil); got.status != 201 {
		t.Errorf("retry all: got %d %s", got.status, got.raw)
	}
	w.obeysContract()
}

func TestPages(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	iid := w.open("Change")
	for i := range 5 {
		_, err := w.g.Comment(w.project, iid, w.dev, fmt.Sprintf("comment %d", i))
		must(t, err)
	}
	got := w.as("bot", "GET", fmt.Sprintf("merge_requests/%d/notes?sort=asc&per_page=2&page=2", iid), nil)
	var bodies []string
	for _, n := range got.json.([]any) {
		bodies = append(bodies, fmt.Sprint(n.(map[string]any)["body"]))
	}
	if !slices.Equal(bodies, []string{"comment 2", "comment 3"}) {
		t.Errorf("the second page is %v", bodies)
	}
	h := got.header
	if h.Get("X-Next-Page") != "3" || h.Get("X-Prev-Page") != "1" || h.Get("X-Total") != "5" || h.Get("X-Total-Pages") != "3" ||
		!strings.Contains(h.Get("Link"), `page=3&per_page=2&sort=asc>; rel="next"`) {
		t.Errorf("headers are %v", h)
	}
	last := w.as("bot", "GET", fmt.Sprintf("merge_requests/%d/notes?per_page=2&page=3", iid), nil)
	if last.header.Get("X-Next-Page") != "" || len(last.json.([]any)) != 1 {
		t.Errorf("the last page is %s with %v", last.raw, last.header)
	}
}

func TestUploadAndFreeze(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	must(t, w.g.AddFreezePeriod(w.project, "0 23 * * 5", "0 7 * * 1", "Europe/Berlin"))
	if got := w.as("bot", "GET", "freeze_periods", nil); !strings.Contains(string(got.raw), `"cron_timezone":"Europe/Berlin"`) {
		t.Errorf("got %s", got.raw)
	}
	var buf bytes.Buffer
	form := multipart.NewWriter(&buf)
	part, err := form.CreateFormFile("file", "chart.png")
	must(t, err)
	_, err = part.Write([]byte("png"))
	must(t, err)
	must(t, form.Close())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.g.URL()+"/api/v4/projects/1/uploads", &buf)
	must(t, err)
	req.Header.Set("Authorization", "Bearer token-bot")
	req.Header.Set("Content-Type", form.FormDataContentType())
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusCreated || !strings.Contains(string(raw), `"markdown":"![chart](/uploads/`) {
		t.Errorf("got %d %s", resp.StatusCode, raw)
	}
	w.obeysContract()
}

func TestMergeRequestsOfACommitAndSinceATime(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	w.open("First")
	w.clock.Advance(time.Hour)
	second := w.open("Second")
	since := w.clock.Now().Add(time.Minute).Format(time.RFC3339)
	w.clock.Advance(time.Hour)
	sha := w.merge(second, gitlabsim.SquashFastForward)
	numbers := func(path string) (all []int) {
		for _, mr := range w.as("bot", "GET", path, nil).json.([]any) {
			all = append(all, int(mr.(map[string]any)["iid"].(float64)))
		}
		return all
	}
	for path, want := range map[string][]int{
		"repository/commits/" + sha + "/merge_requests": {2},
		"merge_requests": {2, 1},
		"merge_requests?state=merged&order_by=updated_at&sort=asc":                  {2},
		"merge_requests?updated_after=" + since:                                     {2},
		"merge_requests?created_after=" + since:                                     nil,
		"merge_requests?iids[]=1":                                                   {1},
		"merge_requests?target_branch=main&author_id=" + fmt.Sprint(w.dev):          {2, 1},
		"merge_requests?state=opened&source_branch=first&order_by=created_at":       {1},
		"merge_requests?state=merged&merged_after=" + since + "&target_branch=main": {2},
	} {
		if got := numbers(path); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
	got := w.as("bot", "GET", "merge_requests/2", nil)
	if got.field(t, "squash_commit_sha") != sha || got.field(t, "merge_commit_sha") != nil || got.field(t, "merge_user", "username") != "maintainer" {
		t.Errorf("got %s", got.raw)
	}
	w.obeysContract()
}
