package gitlabsim_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

func TestManyAtOnce(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{HookWorkers: 4})
	w.addHook()
	iid := w.open("Change")
	changed, end := w.g.Subscribe()
	defer end()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5 {
				got, err := w.try("bot", "POST", fmt.Sprintf("merge_requests/%d/notes", iid), m{"body": fmt.Sprintf("note %d.%d", i, j)})
				if err != nil || got.status != http.StatusCreated {
					t.Errorf("got %d, %v", got.status, err)
				}
				w.g.Snapshot()
			}
		})
	}
	wg.Wait()
	if n := w.g.CountNotes(w.project, iid, "note", w.bot); n != 40 {
		t.Errorf("%d comments, want 40", n)
	}
	if n := len(w.quiet()); n != 41 {
		t.Errorf("%d hooks came, want 41", n)
	}
	select {
	case <-changed:
	default:
		t.Error("the subscriber heard of nothing")
	}
}

func TestSnapshotIsACopy(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	must(t, w.g.SetCI(w.project, gitlabsim.CI{Jobs: []gitlabsim.JobSpec{{Name: "build"}}}))
	iid := w.open("Change")
	w.merge(iid, gitlabsim.MergeCommit)
	_, err := w.g.Comment(w.project, iid, w.dev, "hello")
	must(t, err)
	s := w.g.Snapshot().Projects[0]
	s.MergeRequests[0].Notes[0].Body = "changed"
	s.Pipelines[0].Jobs[0].Status = "changed"
	s.Branches["main"] = "changed"
	again := w.g.Snapshot().Projects[0]
	if again.MergeRequests[0].Notes[0].Body != "hello" || again.Pipelines[0].Jobs[0].Status != "pending" || again.Branches["main"] == "changed" {
		t.Errorf("a change of the snapshot got through: %+v", again)
	}
}

func TestCloseDoesNotWaitForAReceiverThatHangs(t *testing.T) {
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer sink.Close()
	defer close(release)
	w := newWorld(t, gitlabsim.Options{HookTimeout: time.Hour})
	_, err := w.g.AddHook(w.project, gitlabsim.Hook{URL: sink.URL})
	must(t, err)
	w.open("Change")
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() { w.g.Close(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("Close hangs")
	}
}

func TestHookThatIsAnsweredTooLateCountsAsFailed(t *testing.T) {
	release := make(chan struct{})
	sink := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer sink.Close()
	defer close(release)
	w := newWorld(t, gitlabsim.Options{HookTimeout: 20 * time.Millisecond})
	_, err := w.g.AddHook(w.project, gitlabsim.Hook{URL: sink.URL})
	must(t, err)
	w.open("Change")
	w.quiet()
	if d := w.g.Deliveries(); len(d) != 1 || d[0].Status != 0 || d[0].Answer == "" {
		t.Errorf("the deliveries are %+v", d)
	}
}

func TestPeopleMayOnlyDoWhatTheyMay(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	iid := w.open("Change")
	if _, err := w.g.Merge(w.project, iid, w.reporter, gitlabsim.MergeCommit); err == nil {
		t.Error("a reporter merges")
	}
	if _, err := w.g.Comment(w.project, iid, w.stranger, "hello"); err == nil {
		t.Error("a stranger comments")
	}
	w.merge(iid, gitlabsim.MergeCommit)
	if _, err := w.g.Merge(w.project, iid, w.maintainer, gitlabsim.MergeCommit); err == nil {
		t.Error("a merge request is merged twice")
	}
	first, second := w.open("First"), w.open("Second")
	w.merge(first, gitlabsim.FastForward)
	if _, err := w.g.Merge(w.project, second, w.maintainer, gitlabsim.FastForward); err == nil {
		t.Error("a branch that isn't rebased is merged by fast-forward")
	}
	w.merge(second, gitlabsim.MergeCommit)
	for _, file := range []string{"First", "Second"} {
		if got := w.as("bot", "GET", "repository/files/deploy%2Fstaging%2F"+file+".yaml/raw", nil); got.status != http.StatusOK {
			t.Errorf("%s is not on main: %d", file, got.status)
		}
	}
}

func TestBlockingManualJobHoldsTheCIPipeline(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	must(t, w.g.SetCI(w.project, gitlabsim.CI{Jobs: []gitlabsim.JobSpec{
		{Name: "build", Stage: "build"}, {Name: "gate", Stage: "gate", Manual: true, Blocking: true}, {Name: "after", Stage: "after"},
	}}))
	w.merge(w.open("Change"), gitlabsim.MergeCommit)
	must(t, w.g.RunPipeline(w.project, 1))
	statuses := func() (string, map[string]string) {
		pl := w.g.Snapshot().Projects[0].Pipelines[0]
		jobs := map[string]string{}
		for _, j := range pl.Jobs {
			jobs[j.Name] = j.Status
		}
		return pl.Status, jobs
	}
	if status, jobs := statuses(); status != "manual" || jobs["gate"] != "manual" || jobs["after"] != "created" {
		t.Errorf("before: %s, %v", status, jobs)
	}
	must(t, w.g.PlayJob(w.project, 2, w.dev))
	must(t, w.g.RunPipeline(w.project, 1))
	if status, jobs := statuses(); status != "success" || jobs["after"] != "success" {
		t.Errorf("after: %s, %v", status, jobs)
	}
}

func TestFailedJobSkipsWhatComesAfter(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	must(t, w.g.SetCI(w.project, gitlabsim.CI{Jobs: []gitlabsim.JobSpec{{Name: "build", Stage: "build", Fails: true}, {Name: "test", Stage: "test"}}}))
	w.merge(w.open("Change"), gitlabsim.MergeCommit)
	must(t, w.g.RunPipeline(w.project, 1))
	pl := w.g.Snapshot().Projects[0].Pipelines[0]
	if pl.Status != "failed" || pl.Jobs[1].Status != "skipped" {
		t.Errorf("got %s, %+v", pl.Status, pl.Jobs[1])
	}
}
