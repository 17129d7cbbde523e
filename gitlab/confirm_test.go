package gitlab_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// identified is the problem that Identify finds with a request, "" if it counts.
func (w *world) identified(r pipeline.Request) string {
	w.t.Helper()
	return w.must(pipeline.Identify{Request: r}).(pipeline.Identified).Person.Problem
}

// TestACommandCountsOnlyAsGitLabTellsIt is what keeps whoever knows a hook's token from
// commanding in other people's names.
func TestACommandCountsOnlyAsGitLabTellsIt(t *testing.T) {
	tests := []struct {
		name    string
		request func(*world) pipeline.Request
		problem string
	}{
		{"a genuine command counts", func(w *world) pipeline.Request { return w.command("bob", "@slipway approve") }, ""},
		{"the name of somebody else", func(w *world) pipeline.Request {
			r := w.command("ada", "@slipway approve")
			r.GitLabID, r.Username = w.users["bob"], "bob"
			return r
		}, "somebody else wrote this comment"},
		{"a comment that does not exist", func(w *world) pipeline.Request {
			r := w.command("bob", "@slipway approve")
			r.NoteID += 1000
			return r
		}, "no such comment"},
		{"no comment at all", func(w *world) pipeline.Request {
			r := w.command("bob", "@slipway approve")
			r.NoteID = 0
			return r
		}, "not known"},
		{"talk that is made a command", func(w *world) pipeline.Request {
			n, err := w.g.Comment(w.project.ID, w.iid, w.users["bob"], "Looks good")
			must(w.t, err)
			r := w.command("bob", "@slipway approve")
			r.NoteID = n.ID
			return r
		}, "reads otherwise"},
		{"a rejection that is made an approval", func(w *world) pipeline.Request {
			r := w.command("bob", "@slipway reject too early")
			r.What, r.Reason = pipeline.VerbApprove, ""
			return r
		}, "reads otherwise"},
		{"an approval of something else", func(w *world) pipeline.Request {
			r := w.command("bob", "@slipway approve staging")
			r.Environment = "production"
			return r
		}, "reads otherwise"},
		{"a rollback to another release", func(w *world) pipeline.Request {
			r := w.command("bob", "@slipway rollback to 1b2c3d4e")
			r.Release = "3f2a91c0"
			return r
		}, "reads otherwise"},
		{"other words in somebody's mouth", func(w *world) pipeline.Request {
			r := w.command("bob", "@slipway reject too early")
			r.Reason = "ada cannot code"
			return r
		}, "reads otherwise"},
		{"a comment on another merge request", func(w *world) pipeline.Request {
			other, err := w.g.OpenMergeRequest(gitlabsim.MergeRequestOptions{ProjectID: w.project.ID, Title: "Other", SourceBranch: "other", AuthorID: w.users["ada"], Files: map[string]string{"o": "x"}})
			must(w.t, err)
			n, err := w.g.Comment(w.project.ID, other, w.users["bob"], "@slipway approve")
			must(w.t, err)
			return w.asked(n)
		}, "no such comment on this merge request"},
		{"a comment that a maintainer changed into a command", func(w *world) pipeline.Request {
			w.addUser(gitlabsim.User{Username: "mallory"}, gitlabsim.Maintainer)
			must(w.t, w.g.AddToken("mallory", w.users["mallory"], gitlabsim.PersonalToken))
			n, err := w.g.Comment(w.project.ID, w.iid, w.users["bob"], "Not yet, I'd say")
			must(w.t, err)
			w.clock.ahead.Store(int64(3 * time.Second))
			body := strings.NewReader(`{"body":"@slipway approve"}`)
			req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPut, fmt.Sprintf("%s/api/v4/projects/%d/merge_requests/%d/notes/%d", w.g.URL(), w.project.ID, w.iid, n.ID), body)
			must(w.t, err)
			req.Header.Set("PRIVATE-TOKEN", "mallory")
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(req)
			must(w.t, err)
			must(w.t, resp.Body.Close())
			if resp.StatusCode != http.StatusOK {
				w.t.Fatalf("the maintainer may not edit: %s", resp.Status)
			}
			n.Body = "@slipway approve"
			return w.asked(n)
		}, "was changed after it was written"},
		{"a comment from before the merge, told again", func(w *world) pipeline.Request {
			r := w.command("bob", "@slipway approve")
			w.delivery.MergeRequest.MergedAt = time.Now().Add(time.Second)
			return r
		}, "before the delivery began"},
		{"a comment from before the question whether to roll back", func(w *world) pipeline.Request {
			r := w.command("bob", "@slipway approve")
			w.delivery.Stage("go-live").Status = pipeline.StageSucceeded
			s := w.delivery.Stage("production")
			s.Status, s.Phase, s.Attempt, s.Started = pipeline.StageAsking, pipeline.PhaseDeciding, 1, time.Now().Add(-time.Hour)
			s.Deadline = time.Now().Add(24*time.Hour + 2*time.Minute)
			return r
		}, "before the question was asked"},
		{"a comment from before the question, told again", func(w *world) pipeline.Request {
			r := w.command("bob", "@slipway approve")
			w.delivery.Stage("go-live").Started = time.Now().Add(2 * time.Minute)
			return r
		}, "before the question was asked"},
		{"a comment to the delivery, told to its rollback", func(w *world) pipeline.Request {
			r := w.command("bob", "@slipway cancel")
			w.delivery.RollbackOf, w.delivery.Created = w.delivery.ID, time.Now().Add(2*time.Minute)
			return r
		}, "before the delivery began"},
		{"an old comment, told again", func(w *world) pipeline.Request {
			r := w.command("bob", "@slipway rollback")
			r.At = time.Now().Add(20 * time.Minute)
			return r
		}, "more than 15 minutes"},
		{"a request that came in by no known way", func(w *world) pipeline.Request {
			r := w.command("bob", "@slipway approve")
			r.Via = "carrier pigeon"
			return r
		}, "does not know how"},
		{"a name in a request from Slack", func(w *world) pipeline.Request {
			return pipeline.Request{Key: "k", What: pipeline.VerbApprove, Via: pipeline.ViaSlack, GitLabID: w.users["bob"], Username: "bob"}
		}, "does not know which GitLab user you are"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.plan.Environments = nil
			w.plan.Stages[2].Judgement.Rule.Approvers = nil
			w.set("go-live", pipeline.StageAsking)
			r := tt.request(w)
			if got := w.identified(r); !strings.Contains(got, tt.problem) || (got == "") != (tt.problem == "") {
				t.Errorf("got %q, want %q", got, tt.problem)
			}
		})
	}
}

func TestTheNameComesFromGitLabAndNotFromTheHook(t *testing.T) {
	w := newWorld(t)
	r := w.command("bob", "@slipway cancel")
	r.Username = "ada"
	if p := w.must(pipeline.Identify{Request: r}).(pipeline.Identified).Person; p.Username != "bob" || p.ID != w.users["bob"] {
		t.Errorf("got %+v", p)
	}
}

func TestACommandIsTriedAgainWhereGitLabCannotTell(t *testing.T) {
	w := newWorld(t)
	r := w.command("bob", "@slipway approve")
	w.fail(gitlabsim.Fault{Method: "GET", Path: "projects/*/merge_requests/*/notes/*", Status: 502})
	_, err := w.run(pipeline.Identify{Request: r})
	if f := failure(t, err); f.Permanent {
		t.Errorf("got %+v", f)
	}
}

func TestADeploymentsApprovalCountsOnlyAsGitLabTellsIt(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*world, *pipeline.Request)
		problem string
	}{
		{"a genuine approval counts", func(*world, *pipeline.Request) {}, ""},
		{"the name of somebody else", func(w *world, r *pipeline.Request) { r.GitLabID = w.users["ada"] }, "does not say that this person approved"},
		{"a rejection that was an approval", func(_ *world, r *pipeline.Request) { r.What = pipeline.VerbReject }, "does not say that this person rejected"},
		{"other words", func(_ *world, r *pipeline.Request) { r.Reason = "I was forced" }, "does not say that this person approved"},
		{"another environment", func(_ *world, r *pipeline.Request) { r.Environment = "staging" }, "another commit or environment"},
		{"another delivery", func(w *world, _ *pipeline.Request) { w.delivery.SHA = w.base }, "another commit or environment"},
		{"no such deployment", func(_ *world, r *pipeline.Request) { r.DeploymentID += 1000 }, "no such deployment"},
		{"no deployment", func(_ *world, r *pipeline.Request) { r.DeploymentID = 0 }, "not known"},
		{"an approval from before the question", func(w *world, _ *pipeline.Request) {
			w.delivery.Stage("go-live").Started = time.Now().Add(2 * time.Minute)
		}, "before the question was asked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.plan.Environments = nil
			w.plan.Stages[2].Judgement.Rule.Approvers = nil
			w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1}) // nothing: it has not begun
			w.set("production", pipeline.StageRunning)
			w.delivery.Stage("production").Phase = pipeline.PhaseApplying
			h := w.must(pipeline.WriteDeployment{Stage: "production", Attempt: 1}).(pipeline.DeploymentWritten).Handle
			w.set("go-live", pipeline.StageAsking)
			must(t, w.g.AnswerDeployment(w.project.ID, h.ID, w.users["bob"], "approved", "fine"))
			r := pipeline.Request{
				Key: "k", What: pipeline.VerbApprove, Via: pipeline.ViaDeployment, Environment: "production", Reason: "fine",
				GitLabID: w.users["bob"], Username: "bob", DeploymentID: h.ID, At: time.Now(),
			}
			tt.change(w, &r)
			if got := w.identified(r); !strings.Contains(got, tt.problem) || (got == "") != (tt.problem == "") {
				t.Errorf("got %q, want %q", got, tt.problem)
			}
		})
	}
}

// TestOnlyDirectMembersOfAGroupCount: GitLab counts everybody in shop as a member of shop/maintainers too.
func TestOnlyDirectMembersOfAGroupCount(t *testing.T) {
	w := newWorld(t)
	_, err := w.g.AddGroup("shop/maintainers")
	must(t, err)
	must(t, w.g.AddGroupMember("shop/maintainers", w.bot, gitlabsim.Guest))
	must(t, w.g.AddGroupMember("shop/maintainers", w.users["bob"], gitlabsim.Developer))
	must(t, w.g.AddGroupMember("shop", w.users["ada"], gitlabsim.Owner))
	w.plan.Environments = nil
	w.set("go-live", pipeline.StageAsking)
	for name, want := range map[string]bool{"bob": true, "ada": false} {
		p := w.must(pipeline.Identify{Request: w.command(name, "@slipway approve")}).(pipeline.Identified).Person
		if got := policy.MayJudge(p, policy.Facts{}, w.plan.Stages[2].Judgement.Rule); got.Allowed != want {
			t.Errorf("%s: got %+v for %+v, want %v", name, got, p, want)
		}
	}
}

// TestAForgedCommandIsNotAnswered: the answer would be a comment by Slipway where the forger likes.
func TestAForgedCommandIsNotAnswered(t *testing.T) {
	tests := []struct {
		name  string
		forge func(*world, *pipeline.Request)
	}{
		{"of another author", func(w *world, r *pipeline.Request) { r.GitLabID = w.users["ada"] }},
		{"of another command", func(_ *world, r *pipeline.Request) { r.What = pipeline.VerbHelp }},
		{"in a comment that is not there", func(_ *world, r *pipeline.Request) { r.NoteID += 1000 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			r := w.command("bob", "@slipway status")
			tt.forge(w, &r)
			before := w.writes()
			w.must(pipeline.Answer{Text: "There is no delivery.", Request: r})
			if n := w.writes() - before; n != 0 {
				t.Errorf("%d writes, want none", n)
			}
		})
	}
}

func TestAnAnswerStaysOutOfOtherThreads(t *testing.T) {
	w := newWorld(t)
	other, err := w.g.Comment(w.project.ID, w.iid, w.users["ada"], "About something else")
	must(t, err)
	r := w.command("bob", "@slipway status")
	r.DiscussionID = other.DiscussionID
	w.must(pipeline.Answer{Text: "There is no delivery.", Request: r})
	if n := w.g.CountNotes(w.project.ID, w.iid, "There is no delivery", w.bot); n != 0 {
		t.Errorf("%d answers in another thread, want none", n)
	}
}

// TestOnlyTheCommitOnTheTargetBranchIsDelivered: a source branch's last commit was not on the
// target branch, so what reviewers and CI saw there is something else.
func TestOnlyTheCommitOnTheTargetBranchIsDelivered(t *testing.T) {
	for _, method := range []gitlabsim.MergeMethod{gitlabsim.MergeCommit, gitlabsim.SquashMerge, gitlabsim.SquashFastForward} {
		t.Run(string(method), func(t *testing.T) {
			w := newWorld(t)
			iid, err := w.g.OpenMergeRequest(gitlabsim.MergeRequestOptions{ProjectID: w.project.ID, Title: "More", SourceBranch: "more", AuthorID: w.users["ada"], Files: map[string]string{"more.txt": "x"}})
			must(t, err)
			sha, err := w.g.Merge(w.project.ID, iid, w.users["bob"], method)
			must(t, err)
			mr := w.snapshot().MergeRequests[1]
			for _, other := range []string{mr.HeadSHA, mr.SquashCommitSHA} {
				if other == "" || other == sha {
					continue
				}
				_, _, err := w.c.Describe(t.Context(), w.project.ID, iid, other)
				if f := failure(t, err); !f.Permanent || f.Code != pipeline.ReasonStale {
					t.Errorf("%s: got %+v", other, f)
				}
			}
		})
	}
}
