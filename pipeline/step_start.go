package pipeline

import (
	"errors"
	"fmt"
)

// create makes a delivery out of the first event that names it.
func (s *stepper) create(e Event) error {
	switch e := e.(type) {
	case Merged:
		s.d.Project, s.d.MergeRequest, s.d.SHA = e.Project, e.MergeRequest, e.SHA
		s.born(StatusLoading)
		s.load()
	case Proposed:
		s.d.Project, s.d.MergeRequest, s.d.SHA, s.d.Review = e.Project, e.MergeRequest, e.SHA, true
		s.born(StatusLoading)
		s.load()
	case TearDownStarted:
		if s.plan == nil {
			return errors.New("its plan is missing")
		}
		s.d.Project, s.d.MergeRequest, s.d.SHA = s.plan.Project, s.plan.MergeRequest, s.plan.Commit.SHA
		s.d.Review, s.d.TearDownOf, s.d.PlanRef, s.d.Closing.Heard = true, e.Of, e.PlanRef, e.Closed
		s.born(StatusRunning)
		s.begin()
	case RollbackStarted:
		if s.plan == nil {
			return errors.New("its plan is missing")
		}
		s.d.Project, s.d.MergeRequest, s.d.SHA = s.plan.Project, s.plan.MergeRequest, s.plan.Commit.SHA
		s.d.RollbackOf, s.d.PlanRef = e.Of, e.PlanRef
		s.d.Decisions = []Decision{e.Decision}
		s.born(StatusRunning)
		s.begin()
	case Requested:
		s.born(StatusNone)
		s.d.Ended = s.now
		s.requested(e.Request)
	case Replaced, KeepEnded:
		// It was forgotten, and needs to hear nothing.
	default:
		return errors.New("the delivery does not exist")
	}
	return nil
}

func (s *stepper) born(status Status) {
	s.d.Schema, s.d.Status, s.d.Created = DeliverySchema, status, s.now
}

func (s *stepper) load() {
	s.d.Loads++
	s.emit(fmt.Sprintf("load/%d", s.d.Loads), "", LoadPlan{})
}

func (s *stepper) planned(e Planned) error {
	if s.d.Status != StatusLoading {
		return nil
	}
	if s.plan == nil {
		return errors.New("its plan is missing")
	}
	// The plan was made from what GitLab answered; until now there was only a hook's word.
	s.d.Project, s.d.MergeRequest = s.plan.Project, s.plan.MergeRequest
	s.d.PlanRef, s.d.Reason, s.d.Problems = e.PlanRef, Reason{}, nil
	if !e.At.IsZero() {
		s.d.MergeRequest.MergedAt = e.At.UTC()
	}
	s.d.Stages = nil
	for _, st := range s.plan.Stages {
		s.d.Stages = append(s.d.Stages, StageState{Name: st.Name, Status: StagePending})
	}
	s.enrol()
	if s.plan.After == AfterPipeline {
		s.awaitCI()
		return nil
	}
	s.begin()
	return nil
}

// enrol tells the environments that this delivery will come.
func (s *stepper) enrol() {
	for _, env := range s.plan.EnvironmentNames() {
		if !s.wants(env) {
			continue
		}
		s.send(env, Enrolled{
			Environment: EnvironmentRef{Project: s.d.Project.ID, Name: env},
			Enrolment:   Enrolment{Delivery: s.d.ID, Order: s.d.Order()},
		})
	}
}

// wants tells that a stage which has not ended is for the environment.
func (s *stepper) wants(environment string) bool {
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		if !st.Status.Finished() && s.d.definition(s.plan, st).Environment() == environment {
			return true
		}
	}
	return false
}

func (s *stepper) refused(e PlanRefused) {
	if s.d.Status != StatusLoading {
		return
	}
	s.d.Problems = e.Problems
	code := ReasonInvalidFile
	if len(e.Problems) == 0 {
		code = ReasonNoFile
	}
	s.finish(StatusInvalid, Reason{Code: code})
}

// notLoaded: the pipeline file could not be read, or says that this merge is not to be
// delivered, in which case nobody needs to hear of it.
func (s *stepper) notLoaded(reason Reason) {
	switch {
	case s.d.Status != StatusLoading:
	case reason.Code == ReasonCondition:
		s.finish(StatusNone, reason)
	default:
		s.finish(StatusFailed, reason)
	}
}

// begin lets the stages start.
func (s *stepper) begin() {
	s.d.Status, s.d.Reason, s.d.Started = StatusRunning, Reason{}, s.now
	s.d.CIWatch = CIWatch{Looks: s.d.CIWatch.Looks}
	if len(s.d.Stages) == 0 {
		for _, st := range s.plan.Stages {
			s.d.Stages = append(s.d.Stages, StageState{Name: st.Name, Status: StagePending})
		}
	}
}

func (s *stepper) awaitCI() {
	s.d.Status, s.d.Reason = StatusWaiting, Reason{Code: ReasonCIRunning}
	s.d.CIWatch.Since, s.d.CIWatch.Deadline = s.now, s.now.Add(ciPatience)
	s.lookAtCI()
}

func (s *stepper) lookAtCI() {
	w := &s.d.CIWatch
	w.Looks++
	w.Looking, w.Again, w.LookAt = true, false, s.now.Add(10*ciLookEvery)
	s.emit(fmt.Sprintf("ci/%d", w.Looks), "ci", LookAtCI{})
}

// ciChanged looks again, after the look that is under way.
func (s *stepper) ciChanged() {
	if s.d.Status != StatusWaiting {
		return
	}
	if s.d.CIWatch.Looking {
		s.d.CIWatch.Again = true
		return
	}
	s.lookAtCI()
}

func (s *stepper) ciSeen(e CISeen) {
	if s.d.Status != StatusWaiting {
		return
	}
	s.d.CI = e.CI
	w := &s.d.CIWatch
	w.Looking = false
	s.d.Reason = Reason{Code: ReasonCIRunning}
	switch {
	case e.CI.ID != 0 && e.CI.Passed():
		s.begin()
	case e.CI.ID != 0 && e.CI.Failed() && !w.Again:
		s.finish(StatusFailed, Reason{Code: ReasonCIFailed, Detail: "its status is " + e.CI.Status})
	case e.CI.ID == 0 && !w.Again && !s.now.Before(w.Since.Add(ciMissingFor)):
		s.finish(StatusFailed, Reason{Code: ReasonCIMissing, Detail: s.waitsForCI()})
	case w.Again:
		s.lookAtCI()
	default:
		w.LookAt = s.now.Add(ciLookEvery)
	}
}

// waitsForCI is the key of the pipeline file because of which the stages wait.
func (s *stepper) waitsForCI() string {
	if s.d.Review {
		return "`review: after: pipeline` waits for one"
	}
	return "`on: merge: after: pipeline` waits for one"
}

func (s *stepper) tickCI() {
	w := &s.d.CIWatch
	switch {
	case s.d.Status != StatusWaiting:
	case s.due(w.Deadline):
		s.finish(StatusFailed, Reason{Code: ReasonTimeout, Detail: "the CI pipeline did not end within a day"})
	case s.due(w.LookAt):
		s.lookAtCI()
	}
}
