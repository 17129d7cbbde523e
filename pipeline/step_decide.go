package pipeline

import (
	"fmt"
	"slices"

	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// noWayBack is the stage because of which a deploy is not rolled back without asking, ""
// if there is none: the deploy itself, or one before it in the same environment that has
// begun.
func (s *stepper) noWayBack(st *StageState, def Stage) string {
	if def.NoWayBack {
		return st.Name
	}
	seen := map[string]bool{}
	names := slices.Clone(def.Needs)
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		need := s.d.Stage(name)
		if seen[name] || need == nil {
			continue
		}
		seen[name] = true
		d := s.d.definition(s.plan, need)
		if d.NoWayBack && need.Attempt > 0 && need.Status != StageSkipped && (d.Environment() == "" || d.Environment() == def.Environment()) {
			return name
		}
		names = append(names, d.Needs...)
	}
	return ""
}

// askWhetherBack asks people whether to roll back where it must not happen by itself. Until
// they answer, the stage keeps the environment.
func (s *stepper) askWhetherBack(st *StageState, because string, reason Reason) {
	st.Status, st.Phase, st.Progress = StageAsking, PhaseDeciding, ""
	st.Reason, st.Ending = reason, StageRolledBack
	st.Deadline = s.now.Add(askTimeout)
	st.Because = because
	s.windBy(st, StatusFailed, reason)
}

// decideBack settles the answer to whether to roll back, and returns why not, if not.
func (s *stepper) decideBack(st *StageState, r Request, p policy.Person) string {
	def := s.d.definition(s.plan, st)
	a := policy.MayRollback(p, s.plan.Environments[def.Environment()].Rule)
	if !a.Allowed {
		return a.Refusal
	}
	s.decide(r, st.Name, st.Attempt, p, a.Rule)
	s.answer(r, true, "")
	if r.What == VerbReject {
		s.leaveAsItIs(st, fmt.Sprintf("%s decided against a rollback", p.Label()))
		return ""
	}
	st.Decided = true
	if s.d.Winding == StatusFailed {
		s.d.Winding = StatusRolledBack
	}
	if st.Undo {
		s.lockBack(st, def)
	} else {
		s.restore(st, StageRolledBack, st.Reason)
	}
	return ""
}

// notDecided: nobody said whether to roll back.
func (s *stepper) notDecided(st *StageState, _ Stage) {
	s.leaveAsItIs(st, "nobody decided about a rollback in time")
}

// leaveAsItIs ends a failed deploy without a rollback.
func (s *stepper) leaveAsItIs(st *StageState, why string) {
	def := s.d.definition(s.plan, st)
	if st.Undo {
		s.end(st, StageSucceeded, Reason{Code: ReasonStale, Detail: def.Environment() + " is not rolled back: " + why})
		return
	}
	reason := st.Reason
	reason.Detail = joined(reason.Detail, why)
	s.giveBack(st, def, nil)
	s.end(st, StageFailed, reason)
	s.consequence(st, def)
}

// unproven tells that a check's last run has not passed, or that it has not run.
func (st *StageState) unproven() bool {
	return slices.ContainsFunc(st.Checks, func(c CheckState) bool { return !c.Passed && (c.Runs == 0 || !c.OK) })
}

// promote ends the standby now: what was replaced goes, and the stage has succeeded.
func (s *stepper) promote(r Request, p policy.Person) string {
	a := policy.MayCommand(p)
	st := s.d.live(s.plan, firstNonEmpty(r.Environment, r.Argument))
	if st != nil { // whoever may go back may also give that up
		a = policy.MayRollback(p, s.plan.Environments[s.d.definition(s.plan, st).Environment()].Rule)
	}
	switch {
	case !a.Allowed:
		return a.Refusal
	case st == nil || st.Phase != PhaseChecking || !s.now.Before(st.Standby):
		return "Nothing is on standby here."
	case st.unproven():
		return "A check has not passed yet, so the release before stays on standby."
	}
	s.decide(r, st.Name, st.Attempt, p, a.Rule)
	s.stopChecks(st)
	for i := range st.Checks {
		st.Checks[i].Passed = true
	}
	st.Standby = s.now
	s.answer(r, true, "")
	s.checkedAll(st, s.d.definition(s.plan, st))
	return ""
}
