package pipeline

import (
	"slices"
	"strings"
)

func (s *stepper) finishIfDone() {
	if !s.mainDone() || slices.ContainsFunc(s.d.Stages, func(st StageState) bool {
		return !st.Status.Finished() && st.Status != StagePending // of the aftermath
	}) {
		return
	}
	s.leave(s.d.Winding, s.d.Reason)
	status, reason := s.outcome()
	s.finish(status, reason)
}

// mainDone tells that all has ended but the aftermath.
func (s *stepper) mainDone() bool {
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		if !s.d.definition(s.plan, st).Aftermath && !st.Status.Finished() && (st.Status != StagePending || s.d.Winding == "") {
			return false
		}
	}
	return true
}

// beginAftermath lets the stages start that follow the delivery's end, if it is one that
// they are for. It tells whether it did so now.
func (s *stepper) beginAftermath() bool {
	if s.d.Aftermath || len(s.plan.AftermathOn) == 0 || !s.mainDone() {
		return false
	}
	status, _ := s.outcome()
	s.d.Aftermath = slices.Contains(s.plan.AftermathOn, status)
	return s.d.Aftermath
}

// leave ends the stages whose turn never came.
func (s *stepper) leave(status Status, reason Reason) {
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		if st.Status != StagePending {
			continue
		}
		st.Status, st.Reason = s.unreached(status, reason)
		st.Ended = s.now
		if s.plan != nil && s.d.definition(s.plan, st).Aftermath {
			st.Status, st.Reason = StageSkipped, Reason{Code: ReasonDone}
		}
	}
}

// unreached is what becomes of a stage whose turn never came.
func (s *stepper) unreached(status Status, reason Reason) (StageStatus, Reason) {
	switch status {
	case StatusCanceled:
		return StageCanceled, reason
	case StatusSuperseded:
		return StageSuperseded, reason
	default:
		if s.d.Cause != "" {
			reason = Reason{Code: ReasonEarlierFailed, What: s.d.Cause}
		}
		return StageSkipped, reason
	}
}

func (s *stepper) undone(st *StageState) bool {
	return st.Undo && s.d.definition(s.plan, st).Kind != KindRollback
}

// outcome is the delivery's last word.
func (s *stepper) outcome() (Status, Reason) {
	for i := range s.d.Stages {
		if st := &s.d.Stages[i]; st.Reason.Code == ReasonNotRolledBack {
			return StatusFailed, st.Reason
		}
	}
	back, remarks := s.wentBack()
	status, reason := s.d.Winding, s.d.Reason
	switch status {
	case "":
		status, reason = StatusSucceeded, s.succeeded()
	case StatusFailed, StatusRolledBack:
		status, reason = s.badEnd(back)
	default: // canceled, superseded, rejected: the reason was given when it was
	}
	if len(remarks) > 0 {
		first, _, _ := strings.Cut(reason.Detail, "\n")
		reason.Detail = strings.TrimPrefix(first+"; "+strings.Join(remarks, ", "), "; ")
	}
	return status, reason
}

// wentBack is what became of environments that were to go back, for people, and
// whether one did.
func (s *stepper) wentBack() (back bool, remarks []string) {
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		switch {
		case (st.Target != nil || st.Back) && (st.Status == StageRolledBack || st.Status == StageCanceled):
			back = true
			to := st.before()
			if st.Target != nil {
				to = Short(st.Target.SHA)
			}
			remarks = append(remarks, s.d.definition(s.plan, st).Environment()+" is back at "+to)
		case s.undone(st) && st.Reason.Code == ReasonStale:
			remarks = append(remarks, st.Reason.Detail)
		}
	}
	return back, remarks
}

// succeeded is the reason of a delivery that went to its end.
func (s *stepper) succeeded() Reason {
	var but []string
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		if s.d.RollbackOf != "" || s.d.TearDownOf != "" {
			return st.Reason
		}
		if st.Status.bad() && !s.d.definition(s.plan, st).Aftermath {
			but = append(but, st.Name)
		}
	}
	if len(but) == 0 {
		return Reason{Code: ReasonDone}
	}
	return Reason{Code: ReasonDone, Detail: strings.Join(but, " and ") + " did not succeed, which the pipeline file allows"}
}

// badEnd is the last word of a delivery whose stage ended badly.
func (s *stepper) badEnd(back bool) (Status, Reason) {
	failed := s.d.Stage(s.d.Cause)
	if failed == nil {
		return StatusFailed, s.d.Reason
	}
	status, reason := StatusFailed, failed.Reason
	if rejected := failed.Status == StageRejected || failed.Status == StageExpired; rejected {
		status = StatusRejected
	} else if s.d.RollbackOf == "" && s.d.TearDownOf == "" {
		why, _, _ := strings.Cut(failed.Reason.String(), "\n")
		reason = Reason{Code: ReasonStageFailed, What: failed.Name, Detail: why}
	}
	if back && s.d.Winding == StatusRolledBack {
		status = StatusRolledBack
	}
	return status, reason
}

// finish ends the delivery and tells the environments that it wants nothing more.
func (s *stepper) finish(status Status, reason Reason) {
	s.d.Status, s.d.Reason, s.d.Ended, s.d.Winding = status, reason, s.now, ""
	s.d.CIWatch = CIWatch{Looks: s.d.CIWatch.Looks}
	s.leave(status, reason)
	for _, env := range s.plan.EnvironmentNames() {
		s.send(env, Departed{Delivery: s.d.ID})
	}
}
