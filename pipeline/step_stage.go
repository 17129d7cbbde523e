package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// start takes a stage whose turn has come into its next attempt.
func (s *stepper) start(st *StageState) {
	def, _ := s.plan.Stage(st.Name)
	*st = StageState{Name: st.Name, Attempt: st.Attempt + 1, Failures: st.Failures, Status: StageRunning, Started: s.now,
		Looks: st.Looks, LastJob: max(st.Job.ID, st.LastJob), Reason: whyAgain(st.Reason)}
	switch {
	case def.Skip != "":
		s.end(st, StageSkipped, Reason{Code: ReasonCondition, Detail: def.Skip})
	case def.Dynamic:
		st.Phase, st.Deadline = PhaseEvaluating, s.now.Add(lookupTimeout)
		s.act(st, "evaluate", "", Evaluate{Stage: st.Name, Attempt: st.Attempt})
	default:
		s.run(st, def)
	}
}

func (s *stepper) evaluated(e Evaluated) {
	st := s.current(e.Stage, e.Attempt)
	if st == nil || st.Phase != PhaseEvaluating {
		return
	}
	st.Phase, st.Deadline = "", time.Time{}
	switch {
	case e.Error:
		s.fail(st, Reason{Code: ReasonInvalidFile, Detail: e.Why}, true)
	case !e.Run:
		s.end(st, StageSkipped, Reason{Code: ReasonCondition, Detail: e.Why})
	default:
		st.Resolved = e.Resolved
		s.run(st, s.d.definition(s.plan, st))
	}
}

// run does what the stage is for.
func (s *stepper) run(st *StageState, def Stage) {
	switch def.Kind {
	case KindDeploy:
		s.lock(st, def.Deploy.Environment, false)
	case KindRollback:
		st.Undo = true
		s.lock(st, def.Rollback.Environment, true)
	case KindJudgement:
		st.Status, st.Reason = StageAsking, Reason{Code: ReasonAsking}
		st.Deadline = s.now.Add(orElse(def.Judgement.Expires, askTimeout))
	case KindWait:
		st.Deadline = s.now.Add(def.Wait.For)
	case KindJob:
		st.Deadline = s.now.Add(orElse(def.Timeout, jobTimeout))
		s.act(st, "play", "", PlayJob{Stage: st.Name, Attempt: st.Attempt, Again: st.LastJob})
	case KindRun, KindTearDown:
		s.lock(st, def.Environment(), false)
	case KindCanary:
		s.runCanary(st, def)
	case KindValidate:
		s.check(st, def)
	case KindTrigger:
		st.Deadline = s.now.Add(orElse(def.Timeout, jobTimeout))
		s.act(st, "start", "", StartPipeline{Stage: st.Name, Attempt: st.Attempt})
	case KindNotify:
		st.Deadline = s.now.Add(lookupTimeout)
		s.act(st, "send", "", SendNotice{Stage: st.Name, Attempt: st.Attempt})
	default:
		s.fail(st, Reason{Code: ReasonInvalidFile, Detail: fmt.Sprintf("stage kind %q is not known", def.Kind)}, true)
	}
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// end closes a stage.
func (s *stepper) end(st *StageState, status StageStatus, reason Reason) {
	st.Status, st.Reason, st.Ended, st.Progress, st.Ending = status, reason, s.now, "", ""
	st.Deadline, st.LookAt = time.Time{}, time.Time{}
}

// fail ends an attempt badly: another attempt if the stage has one left, else what its
// on_failure says. unchanged tells that nothing in the cluster was touched.
func (s *stepper) fail(st *StageState, reason Reason, unchanged bool) {
	def := s.d.definition(s.plan, st)
	if st.Ending == StageCanceled { // it was canceled while it was applied
		s.stopped(st, def, unchanged)
		return
	}
	st.Failures++
	attempt := fmt.Sprintf("attempt %d of %d", st.Failures, def.Retry+1)
	if st.Failures <= def.Retry && s.d.Winding == "" {
		why := Reason{Code: ReasonTryingAgain, What: attempt, Detail: reason.String()}
		if st.Held != 0 {
			s.reapply(st, def, why, unchanged)
			return
		}
		s.giveBack(st, def, nil)
		s.end(st, StagePending, why)
		return
	}
	if def.Retry > 0 {
		reason.Detail = joined(reason.Detail, attempt)
	}
	s.failForGood(st, def, reason, unchanged)
}

// failForGood ends a stage badly, whatever its retries.
func (s *stepper) failForGood(st *StageState, def Stage, reason Reason, unchanged bool) {
	unchanged = unchanged && !st.Changed
	if def.Kind == KindDeploy && def.OnFailure == FailRollback && !unchanged {
		s.restore(st, StageRolledBack, reason)
		return
	}
	s.giveBack(st, def, nil)
	s.end(st, StageFailed, reason)
	s.consequence(st, def)
}

// whyAgain is what of the attempt before is still said in the next.
func whyAgain(r Reason) Reason {
	if r.Code == ReasonTryingAgain {
		return r
	}
	return Reason{}
}

// joined adds a remark to the first line of a detail; a log may follow below.
func joined(detail, remark string) string {
	switch {
	case detail == "":
		return remark
	case remark == "":
		return detail
	}
	first, log, more := strings.Cut(detail, "\n")
	first += " (" + remark + ")"
	if more {
		first += "\n" + log
	}
	return first
}

// consequence is what a stage that ended badly means for the delivery.
func (s *stepper) consequence(st *StageState, def Stage) {
	var winding Status
	switch st.Status {
	case StageRejected, StageExpired:
		winding = StatusRejected
	case StageRolledBack:
		winding = StatusRolledBack
	default:
		winding = StatusFailed
	}
	switch def.OnFailure {
	case FailStop:
	case FailContinue:
		if st.Reason.Code != ReasonNotRolledBack {
			return
		}
	case FailRollback:
		if !def.Deploys() && s.undoBefore(st.Name, def) {
			winding = StatusRolledBack
		}
	}
	s.windBy(st, winding, st.Reason)
}

// windBy winds because a stage ends badly.
func (s *stepper) windBy(st *StageState, status Status, reason Reason) {
	if s.d.Winding == "" {
		s.d.Cause = st.Name
	}
	s.wind(status, reason)
}

// wind lets no further stage start, and ends what only waits.
func (s *stepper) wind(status Status, reason Reason) {
	if s.d.Winding != "" {
		return
	}
	s.d.Winding, s.d.Reason = status, reason
	if s.d.Cause != "" {
		reason = Reason{Code: ReasonEarlierFailed, What: s.d.Cause}
	}
	for i := range s.d.Stages {
		s.windStage(&s.d.Stages[i], status, reason)
	}
}

func (s *stepper) windStage(st *StageState, status Status, reason Reason) {
	var ending StageStatus
	switch status {
	case StatusCanceled:
		ending = StageCanceled
	case StatusSuperseded:
		ending = StageSuperseded
	default:
		ending = StageSkipped
	}
	def := s.d.definition(s.plan, st)
	switch {
	case st.Status.Finished() || st.Status == StagePending || st.Status == StageRollingBack:
	case st.Phase == PhaseLocking:
		s.giveBack(st, def, nil)
		s.end(st, ending, reason)
	case def.Kind == KindJudgement, def.Kind == KindWait, def.Kind == KindValidate, st.Phase == PhaseEvaluating:
		s.stopChecks(st)
		s.end(st, ending, reason)
	case def.Kind == KindCanary:
		s.windCanary(st, ending, reason)
	case status != StatusCanceled:
		// What changes something goes on to its own end.
	case st.Phase == PhaseDeciding, st.Phase == PhaseRetiring:
		// People are asked about it already, or it has succeeded but for tidying up.
	case def.Kind == KindRun:
		s.stopChecks(st)
		if st.working() {
			st.Ending = StageCanceled
			s.endRun(st, reason)
			return
		}
		s.giveBack(st, def, nil)
		s.end(st, StageCanceled, reason)
	case !def.Deploys():
		s.stopChecks(st)
		s.end(st, StageCanceled, reason)
	case st.Phase == PhaseApplying:
		// Half of the objects may be there. The rest of the answer comes with the outcome.
		st.Ending, st.Progress = StageCanceled, "canceling"
	case def.OnFailure != FailRollback || s.noWayBack(st, def) != "":
		s.interrupt(st)
		s.giveBack(st, def, nil)
		s.end(st, StageCanceled, leftThere(reason))
	default:
		s.interrupt(st)
		s.restore(st, StageCanceled, reason)
	}
}

// undoBefore takes back the deploys that lead to a stage: the nearest ones on every
// path. It tells whether there was one.
func (s *stepper) undoBefore(failed string, def Stage) bool {
	found := false
	seen := map[string]bool{}
	names := slices.Clone(def.Needs)
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		st := s.d.Stage(name)
		if st == nil {
			continue
		}
		need := s.d.definition(s.plan, st)
		if need.Kind != KindDeploy {
			names = append(names, need.Needs...)
			continue
		}
		if st.Status == StageSucceeded && st.Release != nil {
			s.undo(st, need, failed)
			found = true
		}
	}
	return found
}

// undo takes back a deploy that had succeeded, as a new attempt of its stage.
func (s *stepper) undo(st *StageState, def Stage, failed string) {
	st.Attempt++
	st.Undo, st.Ending, st.Back = true, StageRolledBack, false
	st.Started, st.Ended, st.Checks = s.now, time.Time{}, nil
	st.Reason = Reason{Code: ReasonEarlierFailed, What: failed}
	if because := s.noWayBack(st, def); because != "" {
		st.Status, st.Phase, st.Because, st.Deadline = StageAsking, PhaseDeciding, because, s.now.Add(askTimeout)
		return
	}
	s.lockBack(st, def)
}

func (s *stepper) lockBack(st *StageState, def Stage) {
	st.Status = StageRollingBack
	s.lock(st, def.Environment(), true)
}

func (s *stepper) tickStage(st *StageState) {
	def := s.d.definition(s.plan, st)
	if s.due(st.LookAt) && st.Job.ID != 0 {
		s.lookAgain(st, def)
	}
	switch {
	case st.Phase == PhaseChecking:
		s.tickChecks(st, def)
		return
	case def.Kind == KindCanary && st.Phase != PhaseEvaluating:
		s.tickCanary(st, def)
		return
	}
	if s.due(st.Deadline) {
		s.expire(st, def)
	}
}

// expire ends what has taken longer than allowed.
func (s *stepper) expire(st *StageState, def Stage) {
	timeout := Reason{Code: ReasonTimeout}
	switch {
	case st.Phase == PhaseDeciding:
		s.notDecided(st, def)
	case st.Phase == PhaseRetiring, st.Phase == PhaseClearing:
		s.withdraw(st, s.awaited(st))
		s.notRetired(st, "it took longer than allowed")
	case st.Status == StageAsking:
		s.end(st, StageExpired, Reason{Code: ReasonExpired})
		s.consequence(st, def)
	case st.Status == StageRollingBack:
		s.withdraw(st, s.awaited(st))
		s.notRestored(st, timeout)
	case def.Kind == KindWait:
		s.worked(st, def, Reason{Code: ReasonDone})
	case st.Phase == PhaseEvaluating:
		s.withdraw(st, "evaluate")
		s.fail(st, timeout, true)
	case def.Kind == KindJob, def.Kind == KindTrigger, def.Kind == KindNotify:
		if st.Job.ID != 0 { // whoever ends it half-way knows better than Slipway what it does
			timeout.Detail = "it goes on in GitLab"
		}
		s.withdraw(st, s.awaited(st))
		s.fail(st, timeout, true)
	case st.Phase == PhaseStopping:
		s.notStopped(st, def, fmt.Sprintf("they have not ended in %d minutes", int(stopTimeout.Minutes())))
	case def.Kind == KindRun:
		s.endRun(st, timeout)
	case st.Phase == PhaseRemoving:
		s.withdraw(st, s.awaited(st))
		s.fail(st, timeout, false)
	case st.Phase == PhaseApplying:
		s.withdraw(st, "apply")
		s.fail(st, timeout, false)
	default:
		s.interrupt(st)
		timeout.Detail = st.Progress
		s.fail(st, timeout, false)
	}
}

func (s *stepper) lookAgain(st *StageState, def Stage) {
	if def.Kind == KindTrigger {
		s.lookAtPipeline(st)
		return
	}
	s.lookAtJob(st)
}

// failed handles an effect that could not be done.
func (s *stepper) failed(e Failed) {
	reason := Reason{Code: e.Code, Detail: e.Detail}
	switch e.Effect {
	case LoadPlan{}.ActionKind():
		s.notLoaded(reason)
	case LookAtCI{}.ActionKind():
		if s.d.Status == StatusWaiting {
			s.d.CIWatch.Looking = false
			s.d.CIWatch.LookAt = s.now.Add(ciLookEvery)
			s.d.Reason.Detail = e.Detail
		}
	case Identify{}.ActionKind():
		s.identifyFailed(e)
	case WriteNote{}.ActionKind(), WriteMessage{}.ActionKind(), WriteStatus{}.ActionKind(), WriteDeployment{}.ActionKind(), StopEnvironment{}.ActionKind(),
		DrawChart{}.ActionKind():
		s.warn(e.Effect, e.Detail)
		s.unneeded = e.Effect
	case Answer{}.ActionKind(), Ask{}.ActionKind(), StartRollback{}.ActionKind(), StartTearDown{}.ActionKind(), LookAtMergeRequest{}.ActionKind():
	default:
		if st := s.current(e.Stage, e.Attempt); st != nil {
			s.stageFailed(st, e, reason)
		}
	}
}

func (s *stepper) stageFailed(st *StageState, e Failed, reason Reason) {
	switch {
	case e.Effect == LookAtJob{}.ActionKind(), e.Effect == LookAtPipeline{}.ActionKind():
		st.Progress = e.Detail // the next look may tell
	case e.Effect == RunCheck{}.ActionKind():
		s.checkFailed(st, e)
	case s.d.definition(s.plan, st).Kind == KindCanary && st.Phase != PhaseEvaluating:
		s.canaryEffectFailed(st, e, reason)
	case e.Key != stageKey(st, s.awaited(st)):
		// It was taken back, and had failed before it heard.
	case st.Phase == PhaseRetiring, st.Phase == PhaseClearing:
		s.notRetired(st, reason.String())
	case st.Status == StageRollingBack:
		s.notRestored(st, reason)
	case st.Phase == PhaseStopping:
		s.notStopped(st, s.d.definition(s.plan, st), reason.String())
	case !e.Unchanged && st.working() && st.Phase != PhaseEvaluating && s.d.definition(s.plan, st).Kind == KindRun:
		s.stopRun(st, reason) // it may run, although nobody can watch it
	default:
		s.fail(st, reason, e.Unchanged || st.Phase == PhaseEvaluating)
	}
}

// awaited is the effect that the attempt waits for, "" if none.
func (s *stepper) awaited(st *StageState) string {
	kind := s.d.definition(s.plan, st).Kind
	switch st.Phase {
	case PhaseEvaluating:
		return "evaluate"
	case PhaseApplying:
		if kind == KindRun {
			return "run"
		}
		return "apply"
	case PhaseSwitching:
		return "switch"
	case PhaseRetiring:
		return "retire"
	case PhaseReturning:
		return "return"
	case PhaseClearing:
		return "clear"
	case PhaseRemoving:
		return "remove"
	case PhaseStopping:
		return "stop"
	case PhaseObserving:
		if kind == KindRun {
			return "watch"
		}
		return "observe"
	case PhaseRestoring:
		return "restore"
	case PhaseVerifying:
		return "verify"
	case PhasePairing:
		return "pair"
	case PhaseAnalysing:
		return measureKey(st)
	case PhaseUnpairing:
		return unpairKey(st)
	case PhaseLocking, PhaseChecking, PhaseDeciding, PhaseWarming:
		return ""
	}
	switch kind {
	case KindTrigger:
		return "start"
	case KindNotify:
		return "send"
	default:
		return "play"
	}
}

func (s *stepper) delayed(e Delayed) {
	if e.Effect == (WatchPair{}).ActionKind() { // the canary goes on meanwhile, and says how far it is
		s.watchDelayed(e)
		return
	}
	words := "trying again: " + e.Detail
	if st := s.current(e.Stage, e.Attempt); e.Stage != "" && st != nil {
		st.Progress = words
		return
	}
	switch {
	case e.Effect == (LoadPlan{}).ActionKind() && s.d.Status == StatusLoading:
		s.d.Reason = Reason{Code: ReasonTryingAgain, Detail: e.Detail}
	case e.Code != ReasonRefused:
	case e.Effect == (WriteNote{}).ActionKind(), e.Effect == (WriteMessage{}).ActionKind():
		// A token that is not accepted stays so until somebody hears of it, and until then
		// nobody is asked there.
		s.warn(e.Effect, e.Detail)
		s.unneeded = e.Effect
	}
}
