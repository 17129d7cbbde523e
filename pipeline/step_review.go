package pipeline

import (
	"fmt"
	"slices"
	"time"
)

// closed looks whether the merge request of a review has really ended. A delivery that had
// no environment and cannot get one any more has nothing to do then.
func (s *stepper) closed() {
	if !s.d.Review || s.d.TearDownOf != "" || !s.d.Closing.At.IsZero() {
		return
	}
	if s.d.Status.Finished() && !s.d.retryable() && len(s.d.had(s.plan)) == 0 {
		return
	}
	s.d.Closing.Looks++
	s.emitLatest(fmt.Sprintf("merge-request/%d", s.d.Closing.Looks), "merge-request", LookAtMergeRequest{})
}

// mergeRequestSeen ends a review whose merge request has ended.
func (s *stepper) mergeRequestSeen(e MergeRequestSeen) {
	c := &s.d.Closing
	if e.Open || e.Ended.IsZero() || !c.At.IsZero() || !s.d.Review || s.d.TearDownOf != "" {
		return
	}
	c.At, c.Heard, c.Merged = e.Ended.UTC(), s.now, e.Merged
	reason := Reason{Code: ReasonClosed, What: c.word()}
	switch {
	case s.d.notCancelable() != "":
	case s.d.Status != StatusRunning:
		s.finish(StatusCanceled, reason)
	default:
		s.wind(StatusCanceled, reason)
	}
}

func (c Closing) word() string {
	if c.Merged {
		return "merged"
	}
	return "closed"
}

// tearDown lets the environments go that a review had, when its merge request has ended and
// nothing of it is under way any more.
func (s *stepper) tearDown() {
	c := &s.d.Closing
	if s.d.TearDownOf != "" || c.At.IsZero() || c.Told || !s.d.Status.Finished() {
		return
	}
	c.Told = true
	for _, h := range s.d.had(s.plan) {
		s.emit("tear-down/"+h.environment, "", StartTearDown{
			Environment: h.environment, Closed: c.Heard, Had: h.until,
			NewID: tearDownID(s.d.Project.ID, s.d.MergeRequest.IID, h.environment, c.At),
		})
	}
}

// had is an environment that a delivery may have changed, and when it last did something there.
type had struct {
	environment string
	until       time.Time
}

func (d *Delivery) had(plan *Plan) []had {
	var all []had
	add := func(environment string, until time.Time) {
		i := slices.IndexFunc(all, func(h had) bool { return h.environment == environment })
		switch {
		case environment == "":
		case i < 0:
			all = append(all, had{environment, until})
		case until.After(all[i].until):
			all[i].until = until
		}
	}
	for i := range d.Stages {
		st := &d.Stages[i]
		if st.Attempt < 2 && !touched(st) { // earlier attempts are not remembered
			continue
		}
		def := d.definition(plan, st)
		add(def.Environment(), st.Ended)
		for _, c := range def.Checks {
			if c.Job != nil {
				add(c.Job.Environment, st.Ended)
			}
		}
	}
	return all
}

// tearDownAgain removes the environment once more, if a review that was slower to hear of its
// merge request's end did something there after it was removed.
func (s *stepper) tearDownAgain(e TearDownStarted) {
	if s.d.TearDownOf == "" || !s.d.Status.Finished() || e.Had.Before(s.d.Ended) {
		return
	}
	s.d.Status, s.d.Reason, s.d.Ended, s.d.Cause = StatusRunning, Reason{}, time.Time{}, ""
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		*st = StageState{Name: st.Name, Status: StagePending, Attempt: st.Attempt}
	}
}

// tearDownGranted removes what the merge request brought. What another one has brought since
// stays.
func (s *stepper) tearDownGranted(st *StageState, def Stage, e LockGranted) {
	if e.Current != nil && !sameMergeRequest(e.Current.Delivery, s.d.ID) {
		s.giveBack(st, def, nil)
		s.end(st, StageSkipped, Reason{Code: ReasonStale, Detail: fmt.Sprintf("%s stays, because %s of another merge request runs there by now", e.Environment, Short(e.Current.SHA))})
		return
	}
	st.Status, st.Phase, st.Previous = StageRunning, PhaseRemoving, e.Current
	st.Deadline = s.now.Add(orElse(def.Timeout, deployTimeout))
	s.act(st, "remove", clusterSlot(def), TearDown{Stage: st.Name, Attempt: st.Attempt, Environment: e.Environment, Releases: e.Releases})
}

// tornDown: nothing is left, so the environment is forgotten.
func (s *stepper) tornDown(e TornDown) {
	st := s.current(e.Stage, e.Attempt)
	if st == nil || st.Phase != PhaseRemoving {
		return
	}
	environment := s.d.definition(s.plan, st).Environment()
	s.send(environment, LockReturned{Delivery: s.d.ID, Stage: st.Name, Attempt: st.Held, Emptied: true})
	st.Held = 0
	s.end(st, StageSucceeded, Reason{Code: ReasonTornDown, What: environment})
	s.emit("stop/"+stageKey(st, "environment"), "deployment/"+st.Name, StopEnvironment{Environment: environment})
}
