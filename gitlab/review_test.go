package gitlab_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// open makes an open merge request and the review of its newest commit.
func (w *world) review(title string) (iid int64) {
	w.t.Helper()
	iid, err := w.g.OpenMergeRequest(gitlabsim.MergeRequestOptions{
		ProjectID: w.project.ID, Title: title, SourceBranch: "topic", AuthorID: w.users["ada"], Files: map[string]string{"topic.txt": title},
	})
	must(w.t, err)
	w.pushed(iid)
	return iid
}

// pushed is the review of the newest commit of a merge request.
func (w *world) pushed(iid int64) {
	mrs := w.snapshot().MergeRequests
	sha := mrs[len(mrs)-1].HeadSHA
	mr := pipeline.MergeRequest{IID: iid, Title: "Topic", SourceBranch: "topic", TargetBranch: "main"}
	w.plan.Commit, w.plan.MergeRequest = pipeline.Commit{SHA: sha, Ref: "topic"}, mr
	w.plan.Stages[0].Deploy.Environment = "review/topic"
	w.plan.Environments["review/topic"] = pipeline.EnvironmentRules{URL: "https://topic.review.example.com", Review: true}
	w.delivery.ID, w.delivery.SHA, w.delivery.MergeRequest, w.delivery.Review = pipeline.ReviewID(w.project.ID, iid, sha, ""), sha, mr, true
	w.delivery.CI, w.delivery.Handles, w.delivery.Created = pipeline.CIPipeline{}, pipeline.Handles{}, time.Now().UTC()
}

func TestDescribeOpenConfirmsTheNewestCommitOfTheProjectsOwn(t *testing.T) {
	w := newWorld(t)
	iid := w.review("Topic")
	commit, mr, err := w.c.DescribeOpen(t.Context(), w.project.ID, iid, w.delivery.SHA)
	must(t, err)
	if commit.SHA != w.delivery.SHA || commit.Ref != "topic" || mr.AuthorUsername != "ada" || mr.TargetBranch != "main" || !mr.MergedAt.IsZero() {
		t.Errorf("got %+v of %+v", commit, mr)
	}
	old := w.delivery.SHA
	newer, err := w.g.Push(w.project.ID, iid, w.users["ada"], map[string]string{"more.txt": "x"}, "More")
	must(t, err)
	fork, err := w.g.OpenMergeRequest(gitlabsim.MergeRequestOptions{
		ProjectID: w.project.ID, Title: "From outside", SourceBranch: "outside", AuthorID: w.users["ada"], ForkID: 99, Files: map[string]string{"o": "x"},
	})
	must(t, err)
	mrs := w.snapshot().MergeRequests
	outside := mrs[len(mrs)-1].HeadSHA
	check := func(name string, iid int64, sha, says string) {
		_, _, err := w.c.DescribeOpen(t.Context(), w.project.ID, iid, sha)
		if f := failure(t, err); !f.Permanent || f.Code != pipeline.ReasonStale || !strings.Contains(f.Detail, says) {
			t.Errorf("%s: got %+v", name, f)
		}
	}
	check("an older commit", iid, old, "has a newer commit")
	check("a fork", fork, outside, "comes from another project")
	check("a merged one", w.iid, w.sha, "says that it is merged")
	must(t, w.g.CloseMergeRequest(w.project.ID, iid, w.users["bob"]))
	check("a closed one", iid, newer, "says that it is closed")
}

func TestALookAtTheMergeRequestTellsHowItEnded(t *testing.T) {
	w := newWorld(t)
	iid := w.review("Topic")
	look := func() pipeline.MergeRequestSeen {
		t.Helper()
		seen, ok := w.must(pipeline.LookAtMergeRequest{}).(pipeline.MergeRequestSeen)
		if !ok || seen.Open == !seen.Ended.IsZero() {
			t.Fatalf("got %+v", seen)
		}
		return seen
	}
	if seen := look(); !seen.Open {
		t.Errorf("open: got %+v", seen)
	}
	must(t, w.g.CloseMergeRequest(w.project.ID, iid, w.users["bob"]))
	if seen := look(); seen.Open || seen.Merged {
		t.Errorf("closed: got %+v", seen)
	}
	must(t, w.g.ReopenMergeRequest(w.project.ID, iid, w.users["bob"]))
	if seen := look(); !seen.Open {
		t.Errorf("reopened: got %+v", seen)
	}
	_, err := w.g.Merge(w.project.ID, iid, w.users["bob"], gitlabsim.MergeCommit)
	must(t, err)
	if seen := look(); seen.Open || !seen.Merged {
		t.Errorf("merged: got %+v", seen)
	}
}

func TestAReviewWaitsForTheBranchsCIPipelineOrTheMergeRequests(t *testing.T) {
	w := newWorld(t)
	iid := w.review("Topic")
	seen := func() pipeline.CIPipeline {
		t.Helper()
		e, _ := w.must(pipeline.LookAtCI{}).(pipeline.CISeen)
		return e.CI
	}
	if ci := seen(); ci.ID != 0 {
		t.Errorf("there is none yet: got %+v", ci)
	}
	branch, err := w.g.StartPipeline(w.project.ID, "topic", w.users["ada"])
	must(t, err)
	if ci := seen(); ci.ID != branch {
		t.Errorf("got %+v, want the branch's, %d", ci, branch)
	}
	own, err := w.g.StartMergeRequestPipeline(w.project.ID, iid, w.users["ada"])
	must(t, err)
	if ci := seen(); ci.ID != own {
		t.Errorf("got %+v, want the merge request's, %d", ci, own)
	}
	w.delivery.Review = false
	if ci := seen(); ci.ID != branch {
		t.Errorf("what was merged: got %+v, want the branch's, %d", ci, branch)
	}
}

func TestManyMergeRequestsAreLookedAtInOneRequest(t *testing.T) {
	w := newWorld(t)
	open, closed := w.review("Topic"), w.review("Other")
	must(t, w.g.CloseMergeRequest(w.project.ID, closed, w.users["ada"]))
	ended, err := w.c.EndedMergeRequests(t.Context(), w.project.ID, []int64{open, closed, 999})
	must(t, err)
	if at, ok := ended[closed]; len(ended) != 1 || !ok || at.IsZero() {
		t.Errorf("got %v", ended)
	}
	if _, err := w.c.EndedMergeRequests(t.Context(), 999, []int64{1}); err == nil {
		t.Error("a project that isn't there has merge requests")
	}
}

func TestStatusesOfAReviewHaveNamesOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	iid := w.review("Topic")
	id, err := w.g.StartMergeRequestPipeline(w.project.ID, iid, w.users["ada"])
	must(t, err)
	w.delivery.CI.ID = id
	for _, status := range []pipeline.StageStatus{pipeline.StageRunning, pipeline.StageSucceeded} {
		w.set("staging", status)
		w.must(pipeline.WriteStatus{Stage: "staging", Attempt: 1})
		w.must(pipeline.WriteStatus{Stage: "staging", Attempt: 1})
	}
	list := w.snapshot().Statuses
	if len(list) != 1 || list[0].Name != "slipway/review/staging" || list[0].Status != "success" || list[0].PipelineID != id {
		t.Errorf("got %+v", list)
	}
}

func TestAllReviewsOfAMergeRequestShareANote(t *testing.T) {
	w := newWorld(t)
	iid := w.review("Topic")
	first := w.set("staging", pipeline.StageSucceeded)
	first.Release = &pipeline.Release{SHA: w.delivery.SHA}
	w.must(pipeline.WriteNote{})
	older, olderPlan := w.delivery, *w.plan
	_, err := w.g.Push(w.project.ID, iid, w.users["ada"], map[string]string{"more.txt": "x"}, "More")
	must(t, err)
	w.pushed(iid)
	w.delivery.Created = older.Created.Add(time.Minute)
	w.must(pipeline.WriteNote{})
	notes := func() []*gitlabsim.Note {
		mrs := w.snapshot().MergeRequests
		return mrs[len(mrs)-1].Notes
	}
	if n := notes(); len(n) != 1 || !strings.Contains(n[0].Body, pipeline.Short(w.delivery.SHA)) || !strings.Contains(n[0].Body, "[**Open review/topic**](https://topic.review.example.com)") {
		t.Fatalf("got %d notes: %s", len(n), n[0].Body)
	}
	newer := w.delivery.SHA
	older.Status, w.delivery, *w.plan = pipeline.StatusSuperseded, older, olderPlan
	w.must(pipeline.WriteNote{})
	if n := notes(); !strings.Contains(n[0].Body, pipeline.Short(newer)) {
		t.Errorf("the older review has written over the newer:\n%s", n[0].Body)
	}
}

func TestAnEnvironmentThatIsGoneIsStopped(t *testing.T) {
	w := newWorld(t)
	w.review("Topic")
	w.set("staging", pipeline.StageSucceeded).Phase = pipeline.PhaseObserving
	w.must(pipeline.WriteDeployment{Stage: "staging", Attempt: 1})
	must(t, w.g.AddEnvironment(w.project.ID, "review/topical"))
	for range 2 {
		w.must(pipeline.StopEnvironment{Environment: "review/topic"})
	}
	states := map[string]string{}
	for _, e := range w.snapshot().Environments {
		states[e.Name] = e.State + " " + e.ExternalURL
	}
	if states["review/topic"] != "stopped https://topic.review.example.com" || states["review/topical"] != "available " {
		t.Errorf("got %v", states)
	}
	w.must(pipeline.StopEnvironment{Environment: "review/never"})
	defer w.fail(gitlabsim.Fault{Method: http.MethodGet, Path: "projects/*/environments", Status: http.StatusForbidden})()
	if _, err := w.run(pipeline.StopEnvironment{Environment: "review/topic"}); err == nil {
		t.Error("a refusal is no failure")
	}
}
