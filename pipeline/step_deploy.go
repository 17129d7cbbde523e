package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// lock asks for the environment, to go forward or back.
func (s *stepper) lock(st *StageState, environment string, back bool) {
	st.Phase, st.Deadline = PhaseLocking, time.Time{}
	claim := Claim{
		Delivery: s.d.ID, Stage: st.Name, Attempt: st.Attempt, Order: s.d.Order(), Name: s.d.name(), Back: back, Since: s.now,
	}
	def := s.d.definition(s.plan, st)
	if def.Rollback != nil {
		claim.Of, claim.To = s.undoes(def), def.Rollback.To
	}
	claim.Down = def.Kind == KindTearDown
	if def.Canary != nil {
		claim.Compare = def.Canary.Baseline
	}
	s.send(environment, LockWanted{
		Environment: EnvironmentRef{Project: s.d.Project.ID, Name: environment},
		Claim:       claim,
		Supersede:   s.plan.Concurrency != Queue && !back && !claim.Down,
	})
}

// undoes is the delivery that a rollback stage takes back, "" if whatever runs.
func (s *stepper) undoes(def Stage) string { return firstNonEmpty(def.Rollback.Of, s.d.RollbackOf) }

// name is how other deliveries speak of this one.
func (d *Delivery) name() string {
	switch {
	case d.RollbackOf != "":
		return fmt.Sprintf("the rollback of !%d", d.MergeRequest.IID)
	case d.TearDownOf != "":
		return fmt.Sprintf("the removal of !%d", d.MergeRequest.IID)
	case d.Review:
		return fmt.Sprintf("the review of !%d (%s)", d.MergeRequest.IID, Short(d.SHA))
	}
	return fmt.Sprintf("!%d (%s)", d.MergeRequest.IID, Short(d.SHA))
}

// giveBack returns the environment, or the place in its queue, if the stage has it.
func (s *stepper) giveBack(st *StageState, def Stage, released *Release) {
	if holds(st, def) {
		s.send(def.Environment(), s.returning(st, def, released))
	}
}

// giveBackUnsure returns it after a rollback that has failed half-way.
func (s *stepper) giveBackUnsure(st *StageState, def Stage) {
	if holds(st, def) {
		back := s.returning(st, def, nil)
		back.Unsure, back.Left, back.Apart = true, s.undoing(st, def), s.apart(st, def)
		s.send(def.Environment(), back)
	}
}

// holds tells that the stage has the environment, or a place in its queue. One that asks whether to go back has returned
// it before, and a canary that judges what has been never wanted it.
func holds(st *StageState, def Stage) bool {
	if def.Environment() == "" || st.Phase == "" || st.Phase == PhaseEvaluating {
		return false
	}
	return def.Kind != KindDeploy && def.Kind != KindCanary || st.Held != 0 || st.Phase == PhaseLocking
}

// returning is what the environment has to know when it is returned.
func (s *stepper) returning(st *StageState, def Stage, released *Release) LockReturned {
	back := LockReturned{Delivery: s.d.ID, Stage: st.Name, Attempt: st.Attempt, Released: released, Kept: s.kept(st, def)}
	if st.Held != 0 {
		back.Attempt, st.Held = st.Held, 0
	}
	switch {
	case def.Kind == KindRollback:
		// After a rollback that had failed, what it was to take away may be what is brought back.
		if released != nil && st.Previous != nil && st.Previous.ID != released.ID {
			back.Failed = st.Previous
		}
	case st.Target != nil || st.Back || (st.Status == StageRunning || st.Status == StageAsking) && released == nil:
		back.Failed = st.Release
	}
	return back
}

func (s *stepper) granted(e LockGranted) {
	st := s.d.Stage(e.Stage)
	switch {
	case st != nil && st.Held != 0 && st.Held == e.Attempt:
		return // told again
	case st == nil || st.Attempt != e.Attempt || st.Phase != PhaseLocking || st.Status.Finished():
		// The stage ended while the answer was on its way.
		s.send(e.Environment, LockReturned{Delivery: s.d.ID, Stage: e.Stage, Attempt: e.Attempt})
		return
	}
	def := s.d.definition(s.plan, st)
	st.Held, st.Unsure = e.Attempt, e.Unsure
	if st.Reason.Code == ReasonQueued {
		st.Reason = Reason{}
	}
	switch {
	case def.Kind == KindRollback:
		s.rollbackGranted(st, def, e)
	case def.Kind == KindTearDown:
		s.tearDownGranted(st, def, e)
	case st.Undo:
		s.undoGranted(st, def, e)
	case def.Kind == KindCanary:
		s.canaryGranted(st, def, e)
	default:
		st.Previous = e.Current
		s.beginWork(st, def)
	}
}

// beginWork does what the environment was granted for.
func (s *stepper) beginWork(st *StageState, def Stage) {
	if def.Kind == KindRun {
		s.beginRun(st, def)
		return
	}
	s.beginApply(st, def)
}

func (s *stepper) beginApply(st *StageState, def Stage) {
	st.Status, st.Phase = StageRunning, PhaseApplying
	st.Deadline = s.now.Add(orElse(def.Timeout, deployTimeout))
	s.act(st, "apply", clusterSlot(def), Apply{
		Stage: st.Name, Attempt: st.Attempt, ReleaseID: fmt.Sprintf("%s/%s/%d", s.d.ID, st.Name, st.Attempt), Images: s.tested(def.Environment()),
	})
}

// reapply is the next attempt of a deploy. The stage keeps the environment, so that
// nobody builds on what the attempt before left there.
func (s *stepper) reapply(st *StageState, def Stage, why Reason, unchanged bool) {
	*st = StageState{
		Name: st.Name, Attempt: st.Attempt + 1, Failures: st.Failures, Started: s.now, Reason: why,
		Resolved: st.Resolved, Previous: st.Previous, Unsure: st.Unsure, Adopted: st.Adopted, Release: st.Release, Held: st.Held, Changed: st.Changed || !unchanged,
	}
	s.beginWork(st, def)
}

// clusterSlot keeps one delivery from doing two things to one environment at once.
func clusterSlot(def Stage) string { return "cluster/" + def.Environment() }

func (s *stepper) rollbackGranted(st *StageState, def Stage, e LockGranted) {
	if st.Previous = e.Current; e.Unsure != nil {
		st.Previous = e.Unsure.Left // is what is to be taken away; what ran well may be what is brought back
	}
	switch of := s.undoes(def); {
	case of != "" && e.Unsure == nil && (e.Current == nil || e.Current.Delivery != of):
		reason := Reason{Code: ReasonNothingToUndo, What: def.Rollback.Environment}
		if e.Current != nil {
			reason.Detail = Short(e.Current.SHA) + " runs there by now"
		}
		s.giveBack(st, def, nil)
		s.end(st, StageFailed, reason)
		s.consequence(st, def)
	case e.Target == nil:
		s.giveBack(st, def, nil)
		s.end(st, StageFailed, Reason{Code: ReasonOther, Detail: firstNonEmpty(e.Why, "no earlier release is recorded for "+def.Rollback.Environment)})
		s.consequence(st, def)
	default:
		st.Target = e.Target
		s.beginRestore(st, def)
	}
}

func (s *stepper) undoGranted(st *StageState, def Stage, e LockGranted) {
	switch {
	case st.Release == nil || e.Current == nil || e.Current.ID != st.Release.ID:
		s.giveBack(st, def, nil)
		s.end(st, StageSucceeded, Reason{Code: ReasonStale, Detail: def.Environment() + " is not rolled back, because something else runs there by now"})
	case st.Previous == nil:
		s.giveBack(st, def, nil)
		s.end(st, StageSucceeded, Reason{Code: ReasonStale, Detail: def.Environment() + " is not rolled back, because no earlier release is recorded"})
	default:
		st.Target = st.Previous
		s.beginRestore(st, def)
	}
}

// restore takes the environment, which this stage holds, back to what was recorded.
// Where nothing is recorded, what was applied stays: removing it could take down what
// ran before Slipway came.
func (s *stepper) restore(st *StageState, ending StageStatus, reason Reason) {
	def := s.d.definition(s.plan, st)
	st.Ending, st.Reason = ending, reason
	if !st.hasBefore() && st.Release == nil && def.Deploy.Strategy == StrategyBlueGreen {
		// What was there may be held on its pods by now, and is let go again.
		st.Adopted = "what ran before"
	}
	because := s.noWayBack(st, def)
	if because != "" && !st.Decided && st.hasBefore() && ending == StageRolledBack {
		s.askWhetherBack(st, because, reason)
		return
	}
	if st.hasBefore() {
		st.Target = st.Previous
		s.beginRestore(st, def)
		if ending == StageRolledBack { // nothing else starts meanwhile
			s.windBy(st, StatusRolledBack, reason)
		}
		return
	}
	reason.Detail = joined(reason.Detail, "no earlier release is recorded, so nothing was rolled back")
	s.giveBack(st, def, nil)
	if ending == StageCanceled {
		s.end(st, StageCanceled, reason)
		return
	}
	s.end(st, StageFailed, reason)
	s.consequence(st, def)
}

func (s *stepper) beginRestore(st *StageState, def Stage) {
	st.Status, st.Phase, st.Progress, st.Standby, st.Back = StageRollingBack, PhaseRestoring, "", time.Time{}, false
	st.Deadline = s.now.Add(orElse(def.Timeout, deployTimeout))
	s.act(st, "restore", clusterSlot(def), Restore{
		Stage: st.Name, Attempt: st.Attempt, Environment: def.Environment(), To: st.Target, From: s.undoing(st, def),
	})
}

func (s *stepper) applied(e Applied) {
	st := s.current(e.Stage, e.Attempt)
	if st == nil || st.Phase != PhaseApplying {
		return
	}
	st.Release, st.Alone, st.Phase, st.Progress = &e.Release, e.Alone, PhaseObserving, ""
	if st.Previous == nil && e.Adopted != "" {
		st.Adopted = e.Adopted
	}
	if st.Ending == StageCanceled {
		s.stopped(st, s.d.definition(s.plan, st), false)
		return
	}
	s.act(st, "observe", clusterSlot(s.d.definition(s.plan, st)), Observe{Stage: st.Name, Attempt: st.Attempt, Release: e.Release})
}

// stopped ends a stage that was canceled while it was applied.
func (s *stepper) stopped(st *StageState, def Stage, unchanged bool) {
	if def.OnFailure == FailRollback && (!unchanged || st.Changed) && s.noWayBack(st, def) == "" {
		s.restore(st, StageCanceled, s.d.Reason)
		return
	}
	reason := s.d.Reason
	if !unchanged || st.Changed {
		reason = leftThere(reason)
	}
	s.giveBack(st, def, nil)
	s.end(st, StageCanceled, reason)
}

// leftThere says that a canceled deploy is not taken back.
func leftThere(reason Reason) Reason {
	reason.Detail = joined(reason.Detail, "what was applied stays")
	return reason
}

func (s *stepper) rolledOut(e RolledOut) {
	st := s.current(e.Stage, e.Attempt)
	switch {
	case st == nil:
	case st.Phase == PhaseObserving && st.Release != nil:
		def := s.d.definition(s.plan, st)
		release := *st.Release
		release.At, release.By = s.now, s.responsible()
		if len(e.Images) > 0 {
			release.Images = e.Images
		}
		st.Release = &release
		s.up(st, def)
	case st.Phase == PhaseVerifying:
		s.cameBack(st)
	}
}

// verified: the recorded release runs again, and has the traffic. left says what could not
// be removed beside it, "" if nothing is left.
func (s *stepper) verified(st *StageState, left string) {
	def := s.d.definition(s.plan, st)
	back := *st.Target
	back.At = s.now
	if left != "" {
		s.warn(Retire{}.ActionKind(), left)
	}
	switch {
	case def.Kind == KindRollback:
		s.giveBack(st, def, &back)
		s.end(st, StageSucceeded, Reason{Code: ReasonRolledBack, What: Short(back.SHA)})
	case st.Undo:
		s.giveBack(st, def, &back)
		s.end(st, StageRolledBack, Reason{Code: ReasonEarlierFailed, What: s.d.Cause})
	default:
		s.endBack(st, def, &back)
	}
}

// endBack ends a deploy whose environment is as before. If nobody knew what was there before, it is known now.
func (s *stepper) endBack(st *StageState, def Stage, back *Release) {
	if st.Unsure == nil {
		back = nil // nothing changed
	}
	s.giveBack(st, def, back)
	ending := st.Ending
	s.end(st, ending, st.Reason)
	if ending != StageCanceled {
		s.consequence(st, def)
	}
}

func (s *stepper) restored(e Restored) {
	st := s.current(e.Stage, e.Attempt)
	if st == nil || st.Phase != PhaseRestoring {
		return
	}
	if st.Target == nil { // what was adopted had never stopped
		st.Back = true
		s.endBack(st, s.d.definition(s.plan, st), nil)
		return
	}
	st.Phase, st.Progress, st.Back = PhaseVerifying, "", e.Serving
	s.act(st, "verify", clusterSlot(s.d.definition(s.plan, st)), Observe{Stage: st.Name, Attempt: st.Attempt, Release: *st.Target})
}

// notRestored: going back failed too, and people must look.
func (s *stepper) notRestored(st *StageState, reason Reason) {
	def := s.d.definition(s.plan, st)
	s.giveBackUnsure(st, def)
	detail := reason.String()
	if first, _, _ := strings.Cut(st.Reason.String(), "\n"); first != "" && st.Reason.Code != ReasonDone {
		detail = joined(detail, "before that: "+first)
	}
	s.end(st, StageFailed, Reason{Code: ReasonNotRolledBack, What: def.Environment(), Detail: detail})
	s.consequence(st, def)
}

// responsible is who let this happen: the last who approved, else who merged.
func (s *stepper) responsible() string {
	for _, d := range slices.Backward(s.d.Decisions) {
		if d.What == VerbApprove {
			return d.By.Label()
		}
	}
	if by := firstNonEmpty(s.d.MergeRequest.MergedBy, s.d.MergeRequest.AuthorUsername); by != "" {
		return "@" + by
	}
	return ""
}

// orRollingBack keeps the word "rolling back" for a deploy that is being undone.
func (s *stepper) orRollingBack(st *StageState, status StageStatus) StageStatus {
	if s.undone(st) {
		return StageRollingBack
	}
	return status
}

func (s *stepper) superseded(e Superseded) {
	reason := Reason{Code: ReasonSuperseded, Who: e.By, What: e.Environment}
	switch {
	case s.d.Status.Finished():
	case s.d.Status != StatusRunning:
		s.finish(StatusSuperseded, reason)
	case !s.wants(e.Environment):
		// It has had the environment, or skipped it.
	default:
		s.wind(StatusSuperseded, reason)
	}
}
