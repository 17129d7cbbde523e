package pipeline

import (
	"strings"
	"time"
)

// up: the release's pods all run. A blue-green one has no traffic yet, nor has one that
// follows one.
func (s *stepper) up(st *StageState, def Stage) {
	if !st.Release.blueGreen() && !st.Previous.blueGreen() && !st.Unsure.apart() {
		s.worked(st, def, Reason{})
		return
	}
	st.Phase, st.Progress = PhaseSwitching, ""
	s.act(st, "switch", clusterSlot(def), Switch{
		Stage: st.Name, Attempt: st.Attempt, Environment: def.Environment(), To: *st.Release, From: st.Previous,
	})
}

func (s *stepper) switched(e Switched) {
	st := s.current(e.Stage, e.Attempt)
	switch {
	case st == nil:
	case st.Phase == PhaseSwitching:
		s.worked(st, s.d.definition(s.plan, st), Reason{})
	case st.Phase == PhaseReturning:
		st.Back = true
		s.clear(st)
	}
}

// retire removes what the release before left.
func (s *stepper) retire(st *StageState, def Stage) {
	st.Phase, st.Deadline = PhaseRetiring, s.now.Add(orElse(def.Timeout, deployTimeout))
	s.act(st, "retire", clusterSlot(def), Retire{
		Stage: st.Name, Attempt: st.Attempt, Environment: def.Environment(), Serving: *st.Release, Old: st.Previous, Also: st.Unsure.left(),
	})
}

func (s *stepper) retired(e Retired) {
	st := s.current(e.Stage, e.Attempt)
	switch {
	case st == nil:
	case st.Phase == PhaseRetiring:
		s.settled(st, Reason{Code: ReasonDone})
	case st.Phase == PhaseClearing:
		s.verified(st, "")
	}
}

// settled ends a deploy whose release has the traffic for good.
func (s *stepper) settled(st *StageState, reason Reason) {
	def := s.d.definition(s.plan, st)
	s.giveBack(st, def, st.Release)
	s.end(st, StageSucceeded, reason)
}

// notRetired: what runs is right, only something old is left beside it.
func (s *stepper) notRetired(st *StageState, why string) {
	why, _, _ = strings.Cut(why, "\n")
	if st.Phase == PhaseClearing {
		s.verified(st, why)
		return
	}
	s.settled(st, Reason{Code: ReasonLeftovers, Detail: why})
}

// blueGreen tells that the release has Deployments of its own. No release has none.
func (r *Release) blueGreen() bool { return r != nil && r.Strategy == StrategyBlueGreen }

// apart tells that a rollback is between releases whose pods are beside each other.
func (s *stepper) apart(st *StageState, def Stage) bool {
	from := s.undoing(st, def)
	return st.Unsure.apart() || st.Target.blueGreen() || from.blueGreen() || from == nil && def.Deploy != nil && def.Deploy.Strategy == StrategyBlueGreen
}

// cameBack: the recorded release runs again. Where pods of the undone one are beside its
// own, it may still need the traffic.
func (s *stepper) cameBack(st *StageState) {
	def := s.d.definition(s.plan, st)
	if st.Back || !s.apart(st, def) {
		st.Back = true
		s.clear(st)
		return
	}
	st.Phase, st.Progress = PhaseReturning, ""
	s.act(st, "return", clusterSlot(def), Switch{
		Stage: st.Name, Attempt: st.Attempt, Environment: def.Environment(), To: *st.Target, From: s.undoing(st, def),
	})
}

// clear removes what was undone. A rolling release was replaced in place, and what it had
// beyond is gone already.
func (s *stepper) clear(st *StageState) {
	def := s.d.definition(s.plan, st)
	from := s.undoing(st, def)
	if !s.apart(st, def) {
		s.verified(st, "")
		return
	}
	st.Phase, st.Progress = PhaseClearing, ""
	s.act(st, "clear", clusterSlot(def), Retire{
		Stage: st.Name, Attempt: st.Attempt, Environment: def.Environment(), Serving: *st.Target, Old: from, Keep: keeps(st, from),
	})
}

// undoing is the release that a rollback takes back, nil if it was never recorded.
func (s *stepper) undoing(st *StageState, def Stage) *Release {
	if def.Kind == KindRollback {
		return st.Previous
	}
	return st.Release
}

// keeps tells that the undone release stays for people to look at. Beside a rolling one it
// can't: their pods carry the same labels, so it would get traffic.
func keeps(st *StageState, from *Release) bool {
	return from.blueGreen() && from.KeepFailed > 0 && st.Target.blueGreen()
}

// kept is what the environment has to remember about an undone release, nil if nothing.
func (s *stepper) kept(st *StageState, def Stage) *Kept {
	from := s.undoing(st, def)
	if st.Target == nil || !st.Back || !keeps(st, from) {
		return nil
	}
	return &Kept{Delivery: s.d.ID, Release: *from, Until: s.now.Add(from.KeepFailed)}
}

// keepEnded removes a release that people have had time to look at.
func (s *stepper) keepEnded(e KeepEnded) {
	s.emit("remove/"+e.Release.ID, "remove/"+e.Environment, Remove(e))
}

// replaced notes whether what the delivery brought still runs.
func (s *stepper) replaced(e Replaced) {
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		if def := s.d.definition(s.plan, st); def.Kind != KindDeploy || def.Environment() != e.Environment {
			continue
		}
		this := st.Release != nil && st.Release.ID == e.Release
		if this || e.Release == "" && st.Reason.Code == ReasonNotRolledBack {
			st.ReplacedBy = e.By
		}
	}
}

// hasBefore tells that there is something to go back to.
func (st *StageState) hasBefore() bool { return st.Previous != nil || st.Adopted != "" }

// before is how people call what ran before.
func (st *StageState) before() string {
	if st.Previous != nil {
		return Short(st.Previous.SHA)
	}
	return st.Adopted
}

// live is the deploy that is under way in an environment ("" is any) and has got as far
// as changing it, nil if there is none.
func (d *Delivery) live(plan *Plan, environment string) *StageState {
	for i := range d.Stages {
		st := &d.Stages[i]
		def := d.definition(plan, st)
		if def.Kind != KindDeploy || environment != "" && def.Environment() != environment {
			continue
		}
		if st.Status == StageRunning && (st.Phase == PhaseObserving || st.Phase == PhaseSwitching || st.Phase == PhaseChecking) {
			return st
		}
	}
	return nil
}

// interrupt takes back what a live deploy waits for, so that something else can follow.
func (s *stepper) interrupt(st *StageState) {
	s.stopChecks(st)
	st.Standby = time.Time{}
	if what := s.awaited(st); what != "" {
		s.withdraw(st, what)
	}
}
