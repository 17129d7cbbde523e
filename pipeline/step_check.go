package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// worked: the stage has done what it is for. What is left are its checks, and the time
// on standby of what it replaced.
func (s *stepper) worked(st *StageState, def Stage, reason Reason) {
	st.Reason, st.Progress, st.LookAt = reason, "", time.Time{}
	if st.Release != nil && def.Deploy != nil && def.Deploy.Standby > 0 && st.hasBefore() && st.Release.blueGreen() {
		st.Standby = s.now.Add(def.Deploy.Standby)
	}
	s.check(st, def)
}

// check begins the stage's checks, if it has any.
func (s *stepper) check(st *StageState, def Stage) {
	st.Status, st.Phase, st.Deadline, st.Checks = StageRunning, PhaseChecking, st.Standby, nil
	if def.Kind == KindValidate {
		st.Deadline = s.now.Add(orElse(def.Timeout, deployTimeout))
	}
	for _, c := range def.Checks {
		cs := CheckState{Name: c.Name}
		if c.For > 0 {
			cs.Until = s.now.Add(c.For)
		}
		st.Checks = append(st.Checks, cs)
	}
	for i := range st.Checks {
		s.runCheck(st, &st.Checks[i])
	}
	s.checkedAll(st, def)
}

func (s *stepper) runCheck(st *StageState, c *CheckState) {
	c.Runs++
	c.Running, c.Next = true, time.Time{}
	s.act(st, checkKey(c), "check/"+st.Name+"/"+c.Name, RunCheck{Stage: st.Name, Attempt: st.Attempt, Check: c.Name, Run: c.Runs})
}

func checkKey(c *CheckState) string { return fmt.Sprintf("check/%s/%d", c.Name, c.Runs) }

func (s *stepper) checked(e Checked) {
	st := s.current(e.Stage, e.Attempt)
	if st == nil || st.Phase != PhaseChecking {
		return
	}
	i := slices.IndexFunc(st.Checks, func(c CheckState) bool { return c.Name == e.Check && c.Runs == e.Run && c.Running })
	if i >= 0 {
		s.ran(st, &st.Checks[i], e.Passed, e.Saw)
	}
}

// checkFailed: a check could not be run, which proves nothing good.
func (s *stepper) checkFailed(st *StageState, e Failed) {
	for i := range st.Checks {
		if c := &st.Checks[i]; c.Running && e.Key == stageKey(st, checkKey(c)) {
			s.ran(st, c, false, "it could not be run: "+e.Detail)
			return
		}
	}
}

// ran takes in one run of a check.
func (s *stepper) ran(st *StageState, c *CheckState, passed bool, saw string) {
	def := s.d.definition(s.plan, st)
	rule := def.check(c.Name)
	c.Running, c.OK, c.Saw = false, passed, brief(saw)
	if !passed {
		c.Failed++
	}
	over := !s.now.Before(c.Until)
	switch {
	case c.Failed > rule.Failures:
		s.checksFailed(st, def, c, rule, saw)
		return
	case passed && over:
		c.Passed = true
	default:
		c.Next = s.now.Add(rule.Every)
		if !over && c.Next.After(c.Until) {
			c.Next = c.Until // the last run is at the end
		}
	}
	s.checkedAll(st, def)
}

// brief is what is kept of what a check saw: its first line, and not much of that. The state of a delivery holds it for
// each of its checks, and is written with each step. All of it is in the reason of a stage that failed.
func brief(saw string) string {
	const most = 200 // characters
	saw, _, _ = strings.Cut(saw, "\n")
	if runes := []rune(saw); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return saw
}

func (s Stage) check(name string) Check {
	for _, c := range s.Checks {
		if c.Name == name {
			return c
		}
	}
	return Check{}
}

// checksFailed ends the stage's attempt because of what a check saw.
func (s *stepper) checksFailed(st *StageState, def Stage, c *CheckState, rule Check, detail string) {
	if rule.Failures > 0 {
		detail = joined(detail, fmt.Sprintf("%d of %d runs failed", c.Failed, c.Runs))
	}
	s.stopChecks(st)
	reason := Reason{Code: ReasonCheckFailed, What: c.Name, Detail: detail}
	if def.Kind == KindDeploy {
		s.failForGood(st, def, reason, false) // the same release would only be checked again
		return
	}
	s.fail(st, reason, true)
}

// stopChecks takes back the runs that are under way.
func (s *stepper) stopChecks(st *StageState) {
	for i := range st.Checks {
		if c := &st.Checks[i]; c.Running {
			s.withdraw(st, checkKey(c))
			c.Running = false
		}
		st.Checks[i].Next = time.Time{}
	}
}

// checkedAll ends the phase when every check has passed and the standby is over.
func (s *stepper) checkedAll(st *StageState, def Stage) {
	if slices.ContainsFunc(st.Checks, func(c CheckState) bool { return !c.Passed }) || s.now.Before(st.Standby) {
		st.Progress = s.checkProgress(st)
		return
	}
	s.conclude(st, def)
}

// conclude ends a stage whose work is done and checked.
func (s *stepper) conclude(st *StageState, def Stage) {
	st.Progress, st.Standby = "", time.Time{}
	if def.Kind == KindDeploy && (st.hasBefore() && !st.Alone || st.Release.blueGreen() || st.Unsure.apart()) {
		s.retire(st, def)
		return
	}
	reason := st.Reason
	if reason.Code == "" || reason.Code == ReasonTryingAgain {
		reason = Reason{Code: ReasonDone}
	}
	released := st.Release
	if def.Kind != KindDeploy {
		released = nil
	}
	s.giveBack(st, def, released)
	s.end(st, StageSucceeded, reason)
}

// checkProgress says how far checks and standby are.
func (s *stepper) checkProgress(st *StageState) string {
	var parts []string
	for _, c := range st.Checks {
		switch {
		case c.Passed:
			parts = append(parts, c.Name+" passed")
		case c.Failed > 0:
			parts = append(parts, fmt.Sprintf("%s failed %s", c.Name, times(c.Failed)))
		default:
			parts = append(parts, c.Name+" is being checked")
		}
	}
	if s.now.Before(st.Standby) {
		parts = append(parts, st.before()+" is on standby until "+st.Standby.Format("15:04 UTC"))
	}
	return strings.Join(parts, ", ")
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// tickChecks runs the checks whose time has come.
func (s *stepper) tickChecks(st *StageState, def Stage) {
	for i := range st.Checks {
		if c := &st.Checks[i]; s.due(c.Next) {
			s.runCheck(st, c)
		}
	}
	switch {
	case def.Kind == KindValidate && s.due(st.Deadline):
		s.stopChecks(st)
		s.fail(st, Reason{Code: ReasonTimeout, Detail: st.Progress}, true)
	case s.due(st.Deadline):
		st.Deadline = time.Time{} // the standby is over
		s.checkedAll(st, def)
	}
}

// nextCheck is when the next check runs, zero if none is planned.
func (st *StageState) nextCheck() time.Time {
	var next time.Time
	for _, c := range st.Checks {
		if !c.Next.IsZero() && (next.IsZero() || c.Next.Before(next)) {
			next = c.Next
		}
	}
	return next
}
