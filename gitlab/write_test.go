package gitlab_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestTheNoteIsMadeOnceAndEditedWhereItChanged(t *testing.T) {
	w := newWorld(t)
	w.set("staging", pipeline.StageRunning)
	w.must(pipeline.WriteNote{})
	before := w.writes()
	w.must(pipeline.WriteNote{})
	if w.writes() != before {
		t.Error("an unchanged note was written again")
	}
	w.set("staging", pipeline.StageSucceeded)
	w.must(pipeline.WriteNote{})
	notes := w.snapshot().MergeRequests[0].Notes
	if len(notes) != 1 || !strings.Contains(notes[0].Body, "✅ staging") || notes[0].AuthorID != w.bot {
		t.Errorf("got %d notes, the first: %+v", len(notes), notes[0])
	}
}

func TestTheNoteIsFoundAgainWithoutItsId(t *testing.T) {
	w := newWorld(t)
	marker := "<!-- slipway:delivery " + w.delivery.ID + " -->"
	_, err := w.g.Comment(w.project.ID, w.iid, w.users["ada"], marker+"\nforged by somebody else")
	must(t, err)
	for range 120 { // more than a page of comments came since
		_, err := w.g.Comment(w.project.ID, w.iid, w.users["ada"], "me too")
		must(t, err)
	}
	w.must(pipeline.WriteNote{})
	id := w.delivery.Handles.NoteID
	for range 120 {
		_, err := w.g.Comment(w.project.ID, w.iid, w.users["ada"], "me too")
		must(t, err)
	}
	w.delivery.Handles.NoteID = 0
	w.must(pipeline.WriteNote{})
	if w.delivery.Handles.NoteID != id {
		t.Errorf("found note %d, want %d", w.delivery.Handles.NoteID, id)
	}
	if n := w.g.CountNotes(w.project.ID, w.iid, marker, w.bot); n != 1 {
		t.Errorf("%d notes of ours, want 1", n)
	}
}

func TestCommitStatusesFollowTheStage(t *testing.T) {
	w := newWorld(t)
	do := pipeline.WriteStatus{Stage: "staging", Attempt: 1}
	for _, step := range []struct {
		stage pipeline.StageStatus
		want  string
		rows  int
	}{
		{pipeline.StagePending, "pending", 1}, {pipeline.StageQueued, "pending", 1}, {pipeline.StageRunning, "running", 1}, {pipeline.StageQueued, "running", 1},
		{pipeline.StageFailed, "failed", 1}, {pipeline.StageRunning, "running", 2}, {pipeline.StageSucceeded, "success", 2},
	} {
		w.set("staging", step.stage)
		w.must(do)
		w.must(do)
		rows := w.snapshot().Statuses
		last := rows[len(rows)-1]
		if last.Status != step.want || len(rows) != step.rows {
			t.Errorf("%s: got %s in %d rows, want %s in %d", step.stage, last.Status, len(rows), step.want, step.rows)
		}
		if last.PipelineID != w.delivery.CI.ID || last.Name != "slipway/staging" || last.TargetURL != "https://slipway.example.com/deliveries/"+w.delivery.ID {
			t.Errorf("%s: got %+v", step.stage, last)
		}
	}
}

func TestAFailedDeliveryLeavesTheCIPipelineGreen(t *testing.T) {
	for _, status := range []pipeline.StageStatus{pipeline.StageFailed, pipeline.StageRolledBack, pipeline.StageRejected, pipeline.StageExpired, pipeline.StageCanceled, pipeline.StageSuperseded} {
		t.Run(string(status), func(t *testing.T) {
			w := newWorld(t)
			w.plan.TurnRed = false
			must(t, w.g.RunPipeline(w.project.ID, w.delivery.CI.ID))
			before := w.pipelines()[0].Status
			for _, s := range []pipeline.StageStatus{pipeline.StagePending, pipeline.StageRunning, status} {
				w.set("staging", s)
				w.must(pipeline.WriteStatus{Stage: "staging", Attempt: 1})
			}
			if now := w.pipelines()[0].Status; now != before {
				t.Errorf("the CI pipeline is %s, want %s", now, before)
			}
		})
	}
}

func TestNoStatusIsWrittenWhileTheCIPipelineIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.delivery.Status = pipeline.StatusWaiting
	w.must(pipeline.WriteStatus{Stage: "staging", Attempt: 1})
	if n := w.writes(); n != 0 {
		t.Errorf("%d writes, want none", n)
	}
}

func TestAStatusWithoutCIPipelineIsWrittenOnce(t *testing.T) {
	w := newWorld(t)
	sha, err := w.g.Commit(gitlabsim.CommitOptions{ProjectID: w.project.ID, Branch: "quiet", Message: "No CI", AuthorID: w.users["ada"], Files: map[string]string{"a": "b"}})
	must(t, err)
	w.delivery.CI, w.delivery.SHA, w.plan.Commit.Ref = pipeline.CIPipeline{}, sha, "quiet"
	w.set("staging", pipeline.StageRunning)
	w.must(pipeline.WriteStatus{Stage: "staging", Attempt: 1})
	w.must(pipeline.WriteStatus{Stage: "staging", Attempt: 1})
	if n := w.g.CountStatuses(w.project.ID, sha, "slipway/staging"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func TestADeploymentIsFollowedToItsEnd(t *testing.T) {
	tests := []struct {
		name  string
		last  pipeline.StageStatus
		edit  func(*pipeline.StageState)
		want  string
		older bool // the deployment is of the older commit
	}{
		{"it succeeds", pipeline.StageSucceeded, nil, "success", false},
		{"it fails", pipeline.StageFailed, nil, "failed", false},
		{"it is canceled", pipeline.StageCanceled, nil, "canceled", false},
		{"it goes back because it failed", pipeline.StageRollingBack, nil, "failed", false},
		{"it goes back because it was canceled", pipeline.StageRollingBack, func(s *pipeline.StageState) { s.Ending = pipeline.StageCanceled }, "canceled", false},
		{"it has gone back", pipeline.StageRolledBack, nil, "failed", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			do := pipeline.WriteDeployment{Stage: "staging", Attempt: 1}
			s := w.set("staging", pipeline.StageRunning)
			w.must(do)
			w.must(do)
			s.Status = tt.last
			if tt.edit != nil {
				tt.edit(s)
			}
			w.must(do)
			before := w.writes()
			w.must(do)
			s.Status = pipeline.StageSucceeded // whatever comes later, a finished one stays
			w.must(do)
			if w.writes() != before {
				t.Error("a finished deployment was written again")
			}
			got := w.snapshot().Deployments
			if len(got) != 1 || got[0].Status != tt.want || got[0].SHA != w.sha || got[0].Environment != "staging" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestAnEnvironmentIsDescribed(t *testing.T) {
	w := newWorld(t)
	must(t, w.g.AddEnvironment(w.project.ID, "production"))
	for _, stage := range []string{"staging", "production"} {
		w.set(stage, pipeline.StageRunning)
		w.must(pipeline.WriteDeployment{Stage: stage, Attempt: 1})
	}
	for _, e := range w.snapshot().Environments {
		rules := w.plan.Environments[e.Name]
		if e.ExternalURL != rules.URL || e.Tier != rules.Tier || !strings.Contains(e.Description, "https://slipway.example.com/deliveries/"+w.delivery.ID) {
			t.Errorf("got %+v", e)
		}
	}
}

func TestARollbackIsADeploymentOfTheOlderCommit(t *testing.T) {
	w := newWorld(t)
	s := w.set("staging", pipeline.StageRunning)
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	s.Status = pipeline.StageSucceeded
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	s.Attempt, s.Undo, s.Status, s.Target, s.Started = 2, true, pipeline.StageRollingBack, &pipeline.Release{SHA: w.base}, time.Now()
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1}) // a late one of the attempt before
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 2})
	s.Status = pipeline.StageRolledBack
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 2})
	type brief struct{ SHA, Status string }
	var got []brief
	for _, d := range w.snapshot().Deployments {
		got = append(got, brief{d.SHA, d.Status})
	}
	if diff := cmp.Diff([]brief{{w.sha, "success"}, {w.base, "success"}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestARollbackToACommitThatWasDeployedMomentsAgoIsADeploymentOfItsOwn(t *testing.T) {
	w := newWorld(t)
	s := w.set("staging", pipeline.StageRunning)
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	s.Status = pipeline.StageSucceeded
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	w.delivery.Handles.Deployments = nil // another delivery, of the same commit
	s.Status, s.Started = pipeline.StageRunning, time.Now()
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	if n := w.g.CountDeployments(w.project.ID, "staging", w.sha); n != 2 {
		t.Errorf("%d deployments, want 2", n)
	}
}

func TestAFurtherAttemptHasADeploymentOfItsOwn(t *testing.T) {
	w := newWorld(t)
	s := w.set("staging", pipeline.StageRunning)
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	s.Attempt = 2 // before the end of the first was written
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 2})
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	got := w.snapshot().Deployments
	if len(got) != 2 || got[0].Status != "failed" || got[1].Status != "running" {
		t.Errorf("got %+v", got)
	}
}

func TestAStageThatNeverStartedHasNoDeployment(t *testing.T) {
	w := newWorld(t)
	for _, s := range []pipeline.StageStatus{pipeline.StagePending, pipeline.StageQueued, pipeline.StageSkipped} {
		w.set("staging", s)
		w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	}
	if n := w.writes(); n != 0 {
		t.Errorf("%d writes, want none", n)
	}
}

func TestAKubernetesJobIsNoDeployment(t *testing.T) {
	w := newWorld(t)
	w.plan.Stages[0] = pipeline.Stage{Name: "staging", Kind: pipeline.KindRun, Run: &pipeline.Run{Environment: "staging"}}
	for _, s := range []pipeline.StageStatus{pipeline.StageRunning, pipeline.StageSucceeded, pipeline.StageFailed} {
		w.set("staging", s)
		w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	}
	if n := w.writes(); n != 0 {
		t.Errorf("%d writes, want none", n)
	}
	w.must(pipeline.WriteStatus{Stage: "staging", Attempt: 1})
	if n := w.writes(); n != 1 {
		t.Errorf("%d writes with the commit status, want 1", n)
	}
}

func TestADecisionAgainstARollbackIsNoDeployment(t *testing.T) {
	w := newWorld(t)
	s := w.set("staging", pipeline.StageRunning)
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	s.Status = pipeline.StageSucceeded
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	s.Attempt, s.Undo, s.Status, s.Phase, s.Started = 2, true, pipeline.StageAsking, pipeline.PhaseDeciding, time.Now()
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 2})
	s.Status = pipeline.StageSucceeded
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 2})
	if got := w.snapshot().Deployments; len(got) != 1 || got[0].Status != "success" {
		t.Errorf("got %+v", got)
	}
}

func TestACommentIsAnsweredOnceWithAnEmojiAndInItsThread(t *testing.T) {
	w := newWorld(t)
	n, err := w.g.Comment(w.project.ID, w.iid, w.users["rita"], "@slipway approve")
	must(t, err)
	do := pipeline.Answer{
		Request: w.asked(n),
		Text:    "@rita is Reporter in this project; it takes Developer or more.\n/close\nTry @slipway help for more: @slipway reject [stage:] [reason], or @bob.",
	}
	w.must(do)
	w.must(do)
	notes := w.snapshot().MergeRequests[0].Notes
	if len(notes) != 2 || notes[1].DiscussionID != n.DiscussionID {
		t.Fatalf("got %d notes", len(notes))
	}
	want := "<!-- slipway:answer " + w.delivery.ID + " test/1 -->\n\\@\u2060rita is Reporter in this project; it takes Developer or more.  \n\\/close  \nTry `@slipway help` for more: `@slipway reject [stage:] [reason]`, or \\@\u2060bob."
	if diff := cmp.Diff(want, strings.TrimSpace(notes[1].Body)); diff != "" {
		t.Error(diff)
	}
	if len(notes[0].Emoji) != 1 || notes[0].Emoji[0].Name != "no_entry_sign" {
		t.Errorf("got emoji %+v", notes[0].Emoji)
	}
}

func TestAQuestionAboutNoDeliveryIsAnsweredByItsIdAlone(t *testing.T) {
	w := newWorld(t)
	n, err := w.g.Comment(w.project.ID, w.iid, w.users["bob"], "@slipway status")
	must(t, err)
	w.delivery = pipeline.Delivery{ID: w.delivery.ID, Status: pipeline.StatusNone}
	w.must(pipeline.Answer{Text: "There is no delivery.", Request: w.asked(n)})
	if got := w.g.CountNotes(w.project.ID, w.iid, "There is no delivery.", w.bot); got != 1 {
		t.Errorf("%d answers, want 1", got)
	}
}

func TestAnotherUserMakesANoteOfItsOwn(t *testing.T) {
	w := newWorld(t)
	w.must(pipeline.WriteNote{})
	old := w.delivery.Handles.NoteID
	must(t, w.g.AddToken("another-token", w.addUser(gitlabsim.User{Username: "slipway2"}, gitlabsim.Developer), gitlabsim.PersonalToken))
	w.c = w.client(func(o *gitlab.Options) { o.Token = "another-token" })
	w.set("staging", pipeline.StageRunning)
	w.must(pipeline.WriteNote{})
	if w.delivery.Handles.NoteID == old {
		t.Error("the note of another user was taken")
	}
	before := w.writes()
	w.must(pipeline.WriteNote{})
	if w.writes() != before {
		t.Error("the new note isn't taken")
	}
}

func TestANoteWhoseIdIsWrongIsFoundByItsMarker(t *testing.T) {
	w := newWorld(t)
	w.must(pipeline.WriteNote{})
	w.delivery.Handles.NoteID += 1000
	w.must(pipeline.WriteNote{})
	if n := w.g.CountNotes(w.project.ID, w.iid, "slipway:delivery", w.bot); n != 1 {
		t.Errorf("%d notes, want the one that is found by its marker", n)
	}
}

func TestAnAcceptedCommandGetsAnEmojiOnly(t *testing.T) {
	w := newWorld(t)
	n, err := w.g.Comment(w.project.ID, w.iid, w.users["bob"], "@slipway approve")
	must(t, err)
	w.must(pipeline.Answer{Taken: true, Request: w.asked(n)})
	notes := w.snapshot().MergeRequests[0].Notes
	if len(notes) != 1 || len(notes[0].Emoji) != 1 || notes[0].Emoji[0].Name != "white_check_mark" {
		t.Errorf("got %d notes, emoji %+v", len(notes), notes[0].Emoji)
	}
}

// writer is one effect that writes, with the call that does it.
type writer struct {
	name   string
	method string
	path   string
	do     func(*world) pipeline.Action
	count  func(*world) int // of what must not exist twice
}

func writers() []writer {
	comment := func(w *world) pipeline.Action {
		n, err := w.g.Comment(w.project.ID, w.iid, w.users["bob"], "@slipway status")
		must(w.t, err)
		return pipeline.Answer{Taken: true, Text: "all is well", Request: w.asked(n)}
	}
	return []writer{
		{"note", "POST", "projects/*/merge_requests/*/notes",
			func(*world) pipeline.Action { return pipeline.WriteNote{} },
			func(w *world) int { return w.g.CountNotes(w.project.ID, w.iid, "slipway:delivery", w.bot) }},
		{"status", "POST", "projects/*/statuses/*",
			func(*world) pipeline.Action { return pipeline.WriteStatus{Stage: "staging", Attempt: 1} },
			func(w *world) int { return w.g.CountStatuses(w.project.ID, w.sha, "slipway/staging") }},
		{"deployment", "POST", "projects/*/deployments",
			func(*world) pipeline.Action { return pipeline.WriteDeployment{Stage: "staging", Attempt: 1} },
			func(w *world) int { return w.g.CountDeployments(w.project.ID, "staging", w.sha) }},
		{"reply", "POST", "projects/*/merge_requests/*/discussions/*/notes", comment,
			func(w *world) int { return w.g.CountNotes(w.project.ID, w.iid, "slipway:answer", w.bot) }},
		{"emoji", "POST", "projects/*/merge_requests/*/notes/*/award_emoji", comment,
			func(w *world) int { return len(w.snapshot().MergeRequests[0].Notes[0].Emoji) }},
		{"job", "POST", "projects/*/jobs/*/play",
			func(*world) pipeline.Action { return pipeline.PlayJob{Stage: "smoke", Attempt: 1} },
			func(w *world) int {
				n := 0
				for _, j := range w.pipelines()[0].Jobs {
					if j.Name == "smoke-test" && j.Status != "manual" {
						n++
					}
				}
				return n
			}},
	}
}

func TestEveryWriterSurvivesWhatGitLabAnswers(t *testing.T) {
	faults := []struct {
		name      string
		fault     gitlabsim.Fault
		permanent bool
		unknown   bool
		waits     time.Duration
		says      string
	}{
		{"401", gitlabsim.Fault{Status: 401}, false, false, time.Minute, "token"},
		{"403", gitlabsim.Fault{Status: 403}, true, false, 0, "may not"},
		{"404", gitlabsim.Fault{Status: 404}, true, false, 0, "does not find"},
		{"409", gitlabsim.Fault{Status: 409}, false, false, 2 * time.Second, "try again"},
		{"429 without headers", gitlabsim.Fault{Status: 429}, false, false, 30 * time.Second, "too often"},
		{"502 before doing", gitlabsim.Fault{Status: 502}, false, true, 0, "502"},
		{"502 after doing", gitlabsim.Fault{Status: 502, Do: true}, false, true, 0, "502"},
		{"the connection drops after doing", gitlabsim.Fault{Drop: true, Do: true}, false, true, 0, "connection"},
	}
	for _, wr := range writers() {
		for _, f := range faults {
			t.Run(wr.name+" and "+f.name, func(t *testing.T) {
				w := newWorld(t)
				must(t, w.g.RunPipeline(w.project.ID, w.delivery.CI.ID))
				w.set("staging", pipeline.StageRunning)
				do := wr.do(w)
				f.fault.Method, f.fault.Path, f.fault.Times = wr.method, wr.path, 1
				w.fail(f.fault)
				_, err := w.run(do)
				got := failure(t, err)
				if got.Permanent != f.permanent || got.Unknown != f.unknown || got.After != f.waits {
					t.Errorf("got %+v", got)
				}
				if !strings.Contains(got.Detail, f.says) || strings.Contains(got.Error(), token) {
					t.Errorf("got %q, want %q in it", got.Detail, f.says)
				}
				if f.permanent {
					return
				}
				if _, err := w.try(do, 2, got.Unknown); err != nil {
					t.Fatalf("the second try failed: %v", err)
				}
				if n := wr.count(w); n != 1 {
					t.Errorf("it exists %d times, want once", n)
				}
			})
		}
	}
}

func TestADeploymentThatACIJobOwnsIsSaidInWords(t *testing.T) {
	w := newWorld(t)
	s := w.set("staging", pipeline.StageRunning)
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	s.Status = pipeline.StageSucceeded
	w.fail(gitlabsim.Fault{Method: http.MethodPut, Path: "projects/*/deployments/*", Status: 403})
	_, err := w.run(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	if f := failure(t, err); !f.Permanent || !strings.Contains(f.Detail, "CI job owns it") {
		t.Errorf("got %+v", f)
	}
}
