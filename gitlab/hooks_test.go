package gitlab_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/gitlab/webhook"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// approveOnly understands one command.
func approveOnly(body string) (pipeline.Request, bool) {
	if !strings.HasPrefix(body, "@slipway approve") {
		return pipeline.Request{}, false
	}
	return pipeline.Request{What: pipeline.VerbApprove}, true
}

func TestHooksBecomeEvents(t *testing.T) {
	at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	c, err := gitlab.New(gitlab.Options{URL: "https://gitlab.example.com", Token: "t", Parse: approveOnly, Now: func() time.Time { return at }})
	must(t, err)
	sha := strings.Repeat("ab", 20)
	project := webhook.Project{ID: 42, Path: "shop/api", WebURL: "https://gitlab.example.com/shop/api", DefaultBranch: "main"}
	ours := pipeline.Project{ID: 42, Path: "shop/api", URL: "https://gitlab.example.com/shop/api", DefaultBranch: "main"}
	ada := webhook.User{ID: 3, Username: "ada"}
	const nothing = "the merge request was neither merged nor closed, and has no new commit of the project's own"
	reviews := gitlab.Find{Project: 42, MergeRequest: 7, Reviews: true}
	proposed := pipeline.Proposed{Project: ours, SHA: sha, MergeRequest: pipeline.MergeRequest{IID: 7, SourceBranch: "carts"}}
	tests := []struct {
		name string
		hook webhook.Hook
		want []gitlab.Routed
		why  string
	}{
		{
			"a merge starts a delivery",
			webhook.MergeRequest{Project: project, Action: "merge", IID: 7, Title: "Add carts", TargetBranch: "main", MergeSHA: sha, AuthorID: 5, User: ada},
			[]gitlab.Routed{{
				Delivery: "42-7-abababab", Key: "merge/42/7/" + sha,
				Event: pipeline.Merged{Project: ours, SHA: sha, MergeRequest: pipeline.MergeRequest{IID: 7, Title: "Add carts", TargetBranch: "main", AuthorID: 5, MergedByID: 3, MergedBy: "ada"}},
			}, {Find: reviews, Event: pipeline.Closed{}}}, "",
		},
		{"an update without a commit is nothing", webhook.MergeRequest{Project: project, Action: "update", IID: 7, HeadSHA: sha}, nil, nothing},
		{"an approval is nothing", webhook.MergeRequest{Project: project, Action: "approved", IID: 7, HeadSHA: sha, OldRev: sha}, nil, nothing},
		{"a fork's merge request has no review", webhook.MergeRequest{Project: project, Action: "open", IID: 7, HeadSHA: sha, SourceProject: 43}, nil, nothing},
		{"a closed merge request ends its reviews", webhook.MergeRequest{Project: project, Action: "close", IID: 7}, []gitlab.Routed{{Find: reviews, Event: pipeline.Closed{}}}, ""},
		{
			"a merge request that is opened starts a review", webhook.MergeRequest{Project: project, Action: "open", IID: 7, HeadSHA: sha, SourceProject: 42, SourceBranch: "carts", UpdatedAt: "now"},
			[]gitlab.Routed{{Delivery: "42-7-abababab-review", Key: "review/42-7-abababab-review/" + sha, Event: proposed}}, "",
		},
		{
			"a commit that is pushed starts a review of its own", webhook.MergeRequest{Project: project, Action: "update", IID: 7, HeadSHA: sha, OldRev: sha, SourceBranch: "carts", UpdatedAt: "now"},
			[]gitlab.Routed{{Delivery: pipeline.ReviewID(42, 7, sha, "now"), Key: "review/" + pipeline.ReviewID(42, 7, sha, "now") + "/" + sha, Event: proposed}}, "",
		},
		{
			"one that is reopened does, too, with the commit that it had", webhook.MergeRequest{Project: project, Action: "reopen", IID: 7, HeadSHA: sha, SourceBranch: "carts", UpdatedAt: "later"},
			[]gitlab.Routed{{Delivery: pipeline.ReviewID(42, 7, sha, "later"), Key: "review/" + pipeline.ReviewID(42, 7, sha, "later") + "/" + sha, Event: proposed}}, "",
		},
		{
			"a CI pipeline makes us look", webhook.Pipeline{Project: project, ID: 900, SHA: sha, Ref: "main", Source: "push", Status: "success"},
			[]gitlab.Routed{{
				Find:  gitlab.Find{Project: 42, SHA: sha},
				Event: pipeline.CIChanged{CI: pipeline.CIPipeline{ID: 900, Status: "success", URL: ours.URL + "/-/pipelines/900"}},
			}}, "",
		},
		{
			"so does a merge request's own", webhook.Pipeline{Project: project, ID: 900, SHA: sha, Source: "merge_request_event", Status: "success"},
			[]gitlab.Routed{{
				Find:  gitlab.Find{Project: 42, SHA: sha},
				Event: pipeline.CIChanged{CI: pipeline.CIPipeline{ID: 900, Status: "success", URL: ours.URL + "/-/pipelines/900"}},
			}}, "",
		},
		{"a CI pipeline of our own statuses is nothing", webhook.Pipeline{Project: project, ID: 900, SHA: sha, Source: "external", Status: "success"}, nil, "the CI pipeline is not the one of a merge"},
		{"a tag's CI pipeline is nothing", webhook.Pipeline{Project: project, ID: 900, SHA: sha, Source: "push", Tag: true}, nil, "the CI pipeline is for a tag"},
		{
			"a job makes us look", webhook.Job{Project: project, ID: 5, Name: "smoke", Status: "success", SHA: sha},
			[]gitlab.Routed{{
				Find:  gitlab.Find{Project: 42, SHA: sha},
				Event: pipeline.JobChanged{Name: "smoke", Job: pipeline.JobHandle{ID: 5, Status: "success", URL: ours.URL + "/-/jobs/5"}},
			}}, "",
		},
		{
			"a command in a comment is a request",
			webhook.Note{Project: project, ID: 11, DiscussionID: "d1", Body: "@slipway approve", AuthorID: 3, Author: ada, MergeRequestIID: 7},
			[]gitlab.Routed{{
				Find: gitlab.Find{Project: 42, MergeRequest: 7}, Key: fmt.Sprintf("note/42/11/%x", sha256.Sum256([]byte("3 @slipway approve"))),
				Event: pipeline.Requested{Request: pipeline.Request{
					Key: "note/11", What: pipeline.VerbApprove, Via: pipeline.ViaComment, GitLabID: 3, Username: "ada", NoteID: 11, DiscussionID: "d1", At: at,
				}},
			}}, "",
		},
		{"talk is nothing", webhook.Note{Project: project, ID: 11, Body: "nice", AuthorID: 3, Author: ada}, nil, "the comment holds no command"},
		{"GitLab's own comment is nothing", webhook.Note{Project: project, ID: 11, Body: "@slipway approve", System: true}, nil, "GitLab wrote the comment"},
		{"our own comment is nothing", webhook.Note{Project: project, ID: 11, Body: "<!-- slipway:delivery 1 -->\n@slipway approve", AuthorID: 9}, nil, "Slipway wrote the comment"},
		{
			"a bot's comment is nothing",
			webhook.Note{Project: project, ID: 11, Body: "@slipway approve", AuthorID: 9, Author: webhook.User{ID: 9, Username: "group_12_bot_8d8f"}}, nil, "a bot wrote the comment",
		},
		{
			"an approved deployment is a request",
			webhook.Deployment{Project: project, ID: 31, Status: "approved", Environment: "production", ShortSHA: sha[:8], Approver: ada, ApprovalComment: "fine"},
			[]gitlab.Routed{{
				Find: gitlab.Find{Project: 42, ShortSHA: sha[:8]}, Key: "42/deployment/31/approved/3",
				Event: pipeline.Requested{Request: pipeline.Request{
					Key: "deployment/31/approved/3", What: pipeline.VerbApprove, Via: pipeline.ViaDeployment, Environment: "production", Reason: "fine", GitLabID: 3, Username: "ada", DeploymentID: 31, At: at,
				}},
			}}, "",
		},
		{"a finished deployment is nothing", webhook.Deployment{Project: project, ID: 31, Status: "success"}, nil, "the deployment was neither approved nor rejected"},
		{
			"an address outside this GitLab is dropped",
			webhook.MergeRequest{
				Project: webhook.Project{ID: 42, Path: "shop/api", WebURL: "https://gitlab.example.com.evil.test/shop/api"}, Action: "merge", IID: 7,
				URL: "https://gitlab.example.com@evil.test/", TargetBranch: "main", MergeSHA: sha,
			},
			[]gitlab.Routed{{
				Delivery: "42-7-abababab", Key: "merge/42/7/" + sha,
				Event: pipeline.Merged{Project: pipeline.Project{ID: 42, Path: "shop/api"}, SHA: sha, MergeRequest: pipeline.MergeRequest{IID: 7, TargetBranch: "main"}},
			}, {Find: reviews, Event: pipeline.Closed{}}}, "",
		},
		{"what the parser ignored stays so", webhook.Ignored{Reason: "because"}, nil, "because"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, why := c.Events(tt.hook)
			if diff := cmp.Diff(tt.want, got); diff != "" || why != tt.why {
				t.Errorf("reason %q, want %q\n%s", why, tt.why, diff)
			}
		})
	}
}

func TestACommentThatQuotesOurMarkerIsHeardOnceWeKnowWhoWeAre(t *testing.T) {
	w := newWorld(t, func(o *gitlab.Options) {
		o.Parse = func(string) (pipeline.Request, bool) { return pipeline.Request{}, true }
	})
	_, err := w.c.Me(t.Context())
	must(t, err)
	note := webhook.Note{Project: webhook.Project{ID: 1}, ID: 2, Body: "<!-- slipway:delivery 1 -->\n@slipway approve", AuthorID: w.users["ada"], MergeRequestIID: 1}
	if got, why := w.c.Events(note); len(got) != 1 {
		t.Errorf("ignored: %s", why)
	}
	note.AuthorID = w.bot
	if got, _ := w.c.Events(note); len(got) != 0 {
		t.Errorf("our own comment became %+v", got)
	}
}

// TestProjectAndGroupHooksOfOneMergeHaveOneKey also proves that what GitLab sends for a
// merge leads to a delivery that Describe confirms.
func TestProjectAndGroupHooksOfOneMergeHaveOneKey(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	keys := map[string]int{}
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		hook, err := webhook.Parse(r.Header, body)
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		events, _ := w.c.Events(hook)
		for _, e := range events {
			if m, ok := e.Event.(pipeline.Merged); ok {
				keys[e.Key]++
				if _, _, err := w.c.Describe(r.Context(), m.Project.ID, m.MergeRequest.IID, m.SHA); err != nil {
					t.Error(err)
				}
			}
		}
	}))
	t.Cleanup(sink.Close)
	for range 2 {
		_, err := w.g.AddHook(w.project.ID, gitlabsim.Hook{URL: sink.URL + "/hooks"})
		must(t, err)
	}
	for i, method := range []gitlabsim.MergeMethod{gitlabsim.MergeCommit, gitlabsim.SquashMerge, gitlabsim.SquashFastForward, gitlabsim.FastForward} {
		name := "change-" + string(rune('a'+i))
		iid, err := w.g.OpenMergeRequest(gitlabsim.MergeRequestOptions{ProjectID: w.project.ID, Title: name, SourceBranch: name, AuthorID: w.users["ada"], Files: map[string]string{name: "x"}})
		must(t, err)
		_, err = w.g.Merge(w.project.ID, iid, w.users["bob"], method)
		must(t, err)
	}
	must(t, w.g.Quiet(t.Context()))
	mu.Lock()
	defer mu.Unlock()
	if len(keys) != 4 {
		t.Errorf("got %d keys, want 4: %v", len(keys), keys)
	}
	for k, n := range keys {
		if n != 2 {
			t.Errorf("%s came %d times, want 2", k, n)
		}
	}
}

func TestEveryPublishedPayloadIsRoutedOrIgnoredWithAReason(t *testing.T) {
	c, err := gitlab.New(gitlab.Options{URL: "https://gitlab.example.com", Token: "t", Parse: approveOnly})
	must(t, err)
	merges := 0
	err = filepath.WalkDir("testdata/hooks", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		hook, err := webhook.Parse(http.Header{}, body)
		if err != nil {
			return err
		}
		events, why := c.Events(hook)
		if (len(events) == 0) == (why == "") {
			t.Errorf("%s: %d events and the reason %q", path, len(events), why)
		}
		for _, e := range events {
			if _, ok := e.Event.(pipeline.Merged); ok {
				merges++
			}
			if e.Delivery == "" && e.Find.Project == 0 {
				t.Errorf("%s: goes nowhere: %+v", path, e)
			}
		}
		return nil
	})
	must(t, err)
	if merges < 3 {
		t.Errorf("%d merges among the payloads, want at least 3", merges)
	}
}
