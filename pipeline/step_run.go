package pipeline

import (
	"fmt"
	"time"
)

// working tells that the stage is at what it is for: it has begun, and is not checked yet.
func (st *StageState) working() bool { return st.Status == StageRunning && st.Phase != PhaseChecking }

// beginRun runs the stage's Kubernetes Job, once the environment is granted.
func (s *stepper) beginRun(st *StageState, def Stage) {
	st.Status, st.Phase = StageRunning, PhaseApplying
	st.Deadline = s.now.Add(orElse(def.Timeout, deployTimeout))
	s.act(st, "run", clusterSlot(def), RunJob{Stage: st.Name, Attempt: st.Attempt})
}

// jobStarted: from here on the Job is only watched. If it is gone it may have run, and running it again is for people to
// decide.
func (s *stepper) jobStarted(e JobStarted) {
	st := s.current(e.Stage, e.Attempt)
	if st == nil || st.Phase != PhaseApplying {
		return
	}
	def := s.d.definition(s.plan, st)
	if def.Kind != KindRun {
		return
	}
	st.Phase, st.Begun = PhaseObserving, &StartedJob{Name: e.Job, UID: e.UID, At: s.now}
	s.act(st, "watch", clusterSlot(def), WatchJob{Stage: st.Name, Attempt: st.Attempt, Job: *st.Begun})
}

func (s *stepper) jobRan(e JobRan) {
	st := s.current(e.Stage, e.Attempt)
	begun := st != nil && (st.Phase == PhaseObserving || st.Phase == PhaseApplying) // the latter if an older version has run it
	if !begun || s.d.definition(s.plan, st).Kind != KindRun {
		return
	}
	st.Ran = &e.Ran
	def := s.d.definition(s.plan, st)
	if e.Passed {
		st.Deadline = time.Time{}
		s.worked(st, def, Reason{Code: ReasonDone})
		return
	}
	s.fail(st, Reason{Code: ReasonRunFailed, What: e.Ran.Job, Detail: e.Detail}, true)
}

// endRun takes the Job back that is under way.
func (s *stepper) endRun(st *StageState, why Reason) {
	if st.Phase != PhaseStopping {
		s.withdraw(st, s.awaited(st))
	}
	s.stopRun(st, why)
}

// stopRun ends a Kubernetes Job that nobody waits for any more. Its pods may write until they have ended, so the stage
// keeps the environment as long.
func (s *stepper) stopRun(st *StageState, why Reason) {
	if st.Phase != PhaseStopping {
		st.Phase, st.Progress, st.Deadline = PhaseStopping, "", s.now.Add(stopTimeout)
		s.act(st, "stop", "", StopJob{Stage: st.Name, Attempt: st.Attempt})
	}
	st.Reason = why
}

func (s *stepper) jobStopped(e JobStopped) {
	st := s.current(e.Stage, e.Attempt)
	switch {
	case st == nil || st.Phase != PhaseStopping:
	case st.Reason.Code == ReasonRunLost:
		s.failForGood(st, s.d.definition(s.plan, st), st.Reason, true)
	default:
		s.fail(st, st.Reason, true)
	}
}

// notStopped gives the environment back although pods of the Job may still run there, and says so. The Job is not run
// once more beside them.
func (s *stepper) notStopped(st *StageState, def Stage, why string) {
	reason := st.Reason
	reason.Detail = joined(reason.Detail, fmt.Sprintf("pods of its Job may still run in %s: %s", def.Environment(), why))
	if st.Ending != StageCanceled {
		s.failForGood(st, def, reason, true)
		return
	}
	s.giveBack(st, def, nil)
	s.end(st, StageCanceled, reason)
}

// pipelineSeen is what became of a CI pipeline that the stage started.
func (s *stepper) pipelineSeen(e PipelineSeen) {
	st := s.current(e.Stage, e.Attempt)
	if st == nil || !st.working() || s.d.definition(s.plan, st).Kind != KindTrigger {
		return
	}
	st.Job, st.Progress = e.CI, e.CI.Status
	def := s.d.definition(s.plan, st)
	switch {
	case (CIPipeline{Status: e.CI.Status}).Passed():
		s.worked(st, def, Reason{Code: ReasonDone})
	case (CIPipeline{Status: e.CI.Status}).Failed():
		s.fail(st, Reason{Code: ReasonPipelineFailed, Detail: "its status is " + e.CI.Status}, true)
	case st.LookAt.IsZero() || s.due(st.LookAt):
		st.LookAt = s.now.Add(jobLookEvery)
	}
}

func (s *stepper) lookAtPipeline(st *StageState) {
	st.Looks++
	st.LookAt = s.now.Add(jobLookEvery)
	s.emitLatest(stageKey(st, fmt.Sprintf("look/%d", st.Looks)), "job/"+st.Name, LookAtPipeline{Stage: st.Name, Attempt: st.Attempt, Pipeline: st.Job.ID})
}

func (s *stepper) noticeSent(e NoticeSent) {
	st := s.current(e.Stage, e.Attempt)
	if st == nil || !st.working() || s.d.definition(s.plan, st).Kind != KindNotify {
		return
	}
	st.Job.URL = e.URL
	s.worked(st, s.d.definition(s.plan, st), Reason{Code: ReasonDone})
}

func (s *stepper) jobChanged(e JobChanged) {
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		if st.Job.ID != 0 && st.Job.ID == e.Job.ID && st.working() && s.d.definition(s.plan, st).Kind == KindJob {
			s.lookAtJob(st)
		}
	}
}

func (s *stepper) lookAtJob(st *StageState) {
	st.Looks++
	st.LookAt = s.now.Add(jobLookEvery)
	s.emitLatest(stageKey(st, fmt.Sprintf("look/%d", st.Looks)), "job/"+st.Name, LookAtJob{Stage: st.Name, Attempt: st.Attempt, Job: st.Job.ID})
}

func (s *stepper) jobSeen(e JobSeen) {
	st := s.current(e.Stage, e.Attempt)
	if st == nil || !st.working() || s.d.definition(s.plan, st).Kind != KindJob {
		return
	}
	st.Job, st.Progress = e.Job, e.Job.Status
	def := s.d.definition(s.plan, st)
	switch e.Job.Status {
	case "success":
		s.worked(st, def, Reason{Code: ReasonDone})
	case "failed", "canceled", "skipped":
		s.fail(st, Reason{Code: ReasonJobFailed, What: def.Job.Name, Detail: "its status is " + e.Job.Status}, true)
	default:
		if st.LookAt.IsZero() || s.due(st.LookAt) {
			st.LookAt = s.now.Add(jobLookEvery)
		}
	}
}
