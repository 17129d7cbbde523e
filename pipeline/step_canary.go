package pipeline

import (
	"fmt"
	"slices"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// unpairTries is how often it is tried to remove a pair, with pauses between, before people are told that something of
// it is left.
const (
	unpairTries = 3
	unpairPause = 5 * time.Minute
)

// runCanary begins a canary: a time that has been is judged as it is, and everything else needs the environment.
func (s *stepper) runCanary(st *StageState, def Stage) {
	if !def.Canary.past() {
		s.lock(st, def.Canary.Environment, false)
		return
	}
	st.Analysis = &Analysis{Looks: def.Canary.Looks(), Began: def.Canary.From}
	s.analyse(st, def)
	s.look(st, def)
	st.Progress = fmt.Sprintf("what was from %s to %s is judged", moment(def.Canary.From), moment(def.Canary.To))
}

// past tells that a time that has been is judged, without a pair.
func (c *Canary) past() bool { return !c.From.IsZero() }

func (s *stepper) canaryGranted(st *StageState, def Stage, e LockGranted) {
	st.Previous = e.Current
	compare := e.Current
	if u := e.Unsure; u != nil { // any of several releases may have the traffic
		s.giveBack(st, def, nil)
		s.end(st, StageSkipped, Reason{Code: ReasonNothingToCompare, What: e.Environment, Detail: "nobody knows what runs there since a rollback failed half-way: " + u.By})
		return
	}
	if def.Canary.Baseline != "" {
		compare = e.Compare
	}
	switch {
	case e.Current == nil:
		s.giveBack(st, def, nil)
		s.end(st, StageSkipped, Reason{Code: ReasonNothingToCompare, What: e.Environment, Detail: "no release is recorded"})
	case compare == nil:
		s.giveBack(st, def, nil)
		s.end(st, StageFailed, Reason{Code: ReasonOther, Detail: e.Why})
		s.consequence(st, def)
	default:
		st.Analysis = &Analysis{Compare: compare}
		s.pair(st, def)
	}
}

// pair creates baseline and canary.
func (s *stepper) pair(st *StageState, def Stage) {
	a := st.Analysis
	a.Looks = def.Canary.Looks()
	if len(def.Canary.Weights) > 0 {
		a.Weight = def.Canary.Weights[0]
	}
	st.Status, st.Phase = StageRunning, PhasePairing
	st.Deadline = s.now.Add(orElse(def.Timeout, deployTimeout))
	s.act(st, "pair", clusterSlot(def), StartPair{Stage: st.Name, Attempt: st.Attempt, Stable: *st.Previous, Compare: *a.Compare, Weight: a.Weight})
}

// paired: the pods of both tracks are available. What they do while they warm up is not judged.
func (s *stepper) paired(e Paired) {
	st := s.current(e.Stage, e.Attempt)
	if st == nil || st.Phase != PhasePairing {
		return
	}
	def := s.d.definition(s.plan, st)
	a := st.Analysis
	a.Pair, a.Began = &e.Pair, s.now.Add(def.Canary.Warmup)
	st.Reason, st.Progress, st.Deadline = Reason{}, "", time.Time{}
	if def.Canary.Warmup > 0 {
		st.Phase, a.Next = PhaseWarming, a.Began
		st.Progress = "warming up until " + clock(a.Began)
		return
	}
	s.analyse(st, def)
}

// watchPairs keeps the pods of each pair that stands under watch, also of one that was made by a version which didn't.
func (s *stepper) watchPairs() {
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		a := st.Analysis
		if a == nil || a.Pair == nil || a.Watching || st.Phase != PhaseWarming && st.Phase != PhaseAnalysing {
			continue
		}
		a.Watching = true
		s.act(st, watchKey, "", WatchPair{Stage: st.Name, Attempt: st.Attempt, Pair: *a.Pair})
	}
}

const watchKey = "pods"

// watchDelayed tells people of what only they can change, such as a right that Slipway hasn't got. Once, as each try may
// meet another.
func (s *stepper) watchDelayed(e Delayed) {
	switch e.Code { //nolint:exhaustive // the others pass
	case ReasonForbidden, ReasonNotAllowed, ReasonRefused:
		told := slices.ContainsFunc(s.d.Warnings, func(w Warning) bool { return w.Effect == e.Effect })
		if st := s.current(e.Stage, e.Attempt); !told && st != nil && st.Analysis != nil && st.Analysis.Watching {
			s.warn(e.Effect, e.Detail)
		}
	}
}

// pairUnwell stops a canary whatever else it waits for: its warm-up, the next look, or people's answer.
func (s *stepper) pairUnwell(e PairUnwell) {
	st := s.current(e.Stage, e.Attempt)
	if st == nil || st.Analysis == nil || !st.Analysis.Watching {
		return
	}
	st.Analysis.Watching = false
	s.reached(WatchPair{})
	s.unpair(st, StageFailed, Reason{Code: ReasonCanaryUnwell, Detail: e.Words})
}

// analyse begins the time of which all counts.
func (s *stepper) analyse(st *StageState, def Stage) {
	a := st.Analysis
	st.Phase, st.Deadline = PhaseAnalysing, time.Time{}
	a.Next = a.lookTime(def.Canary, 1)
	st.Progress = a.progress()
}

// unpair ends a canary: first the pair goes, and only then the stage has the status, and the environment is free.
func (s *stepper) unpair(st *StageState, ending StageStatus, reason Reason) {
	s.stopLooking(st)
	if ending != StagePending {
		s.draw(st)
	}
	a := st.Analysis
	if a.Watching {
		s.withdraw(st, watchKey)
		a.Watching = false
	}
	a.Next, st.LookAt, st.Deadline = time.Time{}, time.Time{}, time.Time{}
	st.Status, st.Ending, st.Reason, st.Progress = StageRunning, ending, reason, ""
	if st.Held == 0 { // a time that has been has no pair
		s.unpaired(st, "")
		return
	}
	st.Phase = PhaseUnpairing
	s.endPair(st)
}

// stopLooking takes back what the canary waits for.
func (s *stepper) stopLooking(st *StageState) {
	a := st.Analysis
	switch {
	case st.Phase == PhasePairing:
		s.withdraw(st, "pair")
	case a.Looking:
		s.withdraw(st, measureKey(st))
	}
	if a.Weighing != 0 {
		s.withdraw(st, weighKey(a.Weighing))
	}
	a.Looking, a.Weighing = false, 0
}

func (s *stepper) endPair(st *StageState) {
	def := s.d.definition(s.plan, st)
	a := st.Analysis
	a.Ends++
	a.Next, st.Deadline = time.Time{}, s.now.Add(deployTimeout)
	s.act(st, unpairKey(st), clusterSlot(def), EndPair{Stage: st.Name, Attempt: st.Attempt, Environment: def.Environment(), Stable: st.Previous})
}

func unpairKey(st *StageState) string { return fmt.Sprintf("unpair/%d", st.Analysis.Ends) }

func (s *stepper) pairEnded(e PairEnded) {
	if st := s.current(e.Stage, e.Attempt); st != nil && st.Phase == PhaseUnpairing {
		s.unpaired(st, "")
	}
}

// notUnpaired: something of the pair is still there.
func (s *stepper) notUnpaired(st *StageState, why string) {
	a := st.Analysis
	if a.Ends >= unpairTries {
		s.unpaired(st, brief(why))
		return
	}
	st.Deadline, a.Next = time.Time{}, s.now.Add(unpairPause)
	st.Progress = "baseline and canary could not be removed, which is tried again at " + clock(a.Next) + ": " + brief(why)
}

// unpaired: the pair is gone, but for what left says. The stage ends, or has another attempt with a pair of its own.
func (s *stepper) unpaired(st *StageState, left string) {
	def := s.d.definition(s.plan, st)
	ending, reason := st.Ending, st.Reason
	if left != "" {
		s.warn(EndPair{}.ActionKind(), "Something of the canary in "+def.Environment()+" is left: "+left)
		if ending == StageSucceeded {
			reason = Reason{Code: ReasonLeftovers, What: "the canary", Detail: left}
		} else {
			reason.Detail = joined(reason.Detail, "something of it could not be removed: "+left)
		}
	}
	if ending == StagePending {
		if left == "" && s.d.Winding == "" {
			s.pairAgain(st, def, reason)
			return
		}
		ending = StageFailed
	}
	s.giveBack(st, def, nil)
	s.end(st, ending, reason)
	if ending.bad() {
		s.consequence(st, def)
	}
}

// pairFailed ends an attempt whose pair could not be made, or not be given its traffic.
func (s *stepper) pairFailed(st *StageState, def Stage, reason Reason) {
	st.Failures++
	if st.Failures <= def.Retry && s.d.Winding == "" {
		s.unpair(st, StagePending, reason)
		return
	}
	if def.Retry > 0 {
		reason.Detail = joined(reason.Detail, fmt.Sprintf("attempt %d of %d", st.Failures, def.Retry+1))
	}
	s.unpair(st, StageFailed, reason)
}

// pairAgain is the next attempt. The stage keeps the environment, so that it is compared with the same.
func (s *stepper) pairAgain(st *StageState, def Stage, reason Reason) {
	why := Reason{Code: ReasonTryingAgain, What: fmt.Sprintf("attempt %d of %d", st.Failures, def.Retry+1), Detail: reason.String()}
	*st = StageState{
		Name: st.Name, Attempt: st.Attempt + 1, Failures: st.Failures, Started: s.now, Reason: why, Looks: st.Looks,
		Resolved: st.Resolved, Previous: st.Previous, Held: st.Held, Analysis: &Analysis{Compare: st.Analysis.Compare},
	}
	s.pair(st, def)
}

// windCanary ends a canary because its delivery ends. What is being removed already goes on.
func (s *stepper) windCanary(st *StageState, ending StageStatus, reason Reason) {
	switch {
	case st.Phase != PhaseUnpairing:
		s.unpair(st, ending, reason)
	case st.Ending == StagePending: // there is no other attempt any more
		st.Ending, st.Reason = ending, reason
	}
}

// liveCanary is the canary that is under way in an environment ("" is any), nil if there is none.
func (d *Delivery) liveCanary(plan *Plan, environment string) *StageState {
	for i := range d.Stages {
		st := &d.Stages[i]
		def := d.definition(plan, st)
		if def.Canary != nil && (environment == "" || def.Environment() == environment) && !st.Status.Finished() && st.Held != 0 {
			return st
		}
	}
	return nil
}

// endCanary answers the wish to roll back where a canary is all that is there: it ends, and with it the delivery.
func (s *stepper) endCanary(st *StageState, r Request, p policy.Person) string {
	a := policy.MayRollback(p, s.plan.Environments[s.d.definition(s.plan, st).Environment()].Rule)
	if !a.Allowed {
		return a.Refusal
	}
	s.decide(r, "", 0, p, a.Rule)
	s.stop(p, joined("rollback", r.Reason))
	s.answer(r, true, "")
	return ""
}

// tested are the images of the canary that went before in the environment, with the digests with which they ran.
func (s *stepper) tested(environment string) []Image {
	var images []Image
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		def := s.d.definition(s.plan, st)
		if def.Canary != nil && def.Environment() == environment && st.Status == StageSucceeded && st.Analysis != nil && st.Analysis.Pair != nil {
			images = st.Analysis.Pair.Canary.Images
		}
	}
	return images
}

// tickCanary does what is due in a canary.
func (s *stepper) tickCanary(st *StageState, def Stage) {
	switch {
	case st.Phase == PhaseLocking:
	case s.due(st.Deadline):
		s.expireCanary(st, def)
	case st.Phase == PhaseUnpairing:
		if s.due(st.Analysis.Next) {
			s.endPair(st)
		}
	case st.Status == StageAsking:
	default:
		s.tickAnalysis(st, def)
	}
}

func (s *stepper) tickAnalysis(st *StageState, def Stage) {
	a := st.Analysis
	if st.Phase == PhaseWarming && s.due(a.Next) {
		s.analyse(st, def)
	}
	if st.Phase == PhaseAnalysing && !a.Looking && s.due(a.Next) {
		s.look(st, def)
	}
	s.weigh(st, def)
}

// expireCanary ends what has taken longer than allowed.
func (s *stepper) expireCanary(st *StageState, def Stage) {
	switch {
	case st.Status == StageAsking:
		s.unpair(st, StageExpired, Reason{Code: ReasonExpired, Detail: st.Reason.String()})
	case st.Phase == PhasePairing:
		s.pairFailed(st, def, Reason{Code: ReasonTimeout, Detail: st.Progress})
	case st.Phase == PhaseUnpairing:
		s.withdraw(st, unpairKey(st))
		s.notUnpaired(st, "it took longer than allowed")
	case st.Analysis.Looking:
		s.withdraw(st, measureKey(st))
		s.missed(st, def, "the sources did not answer in time")
	}
}

// canaryEffectFailed handles an effect of a canary that could not be done.
func (s *stepper) canaryEffectFailed(st *StageState, e Failed, reason Reason) {
	a := st.Analysis
	def := s.d.definition(s.plan, st)
	switch {
	case a == nil:
	case e.Effect == (WatchPair{}).ActionKind():
		if a.Watching {
			s.warn(e.Effect, e.Detail)
		}
	case st.Status == StageAsking:
	case a.Weighing != 0 && e.Key == stageKey(st, weighKey(a.Weighing)):
		a.Weighing = 0
		s.pairFailed(st, def, reason)
	case e.Key != stageKey(st, s.awaited(st)):
		// It was taken back, and had failed before it heard.
	case st.Phase == PhasePairing:
		s.pairFailed(st, def, reason)
	case st.Phase == PhaseUnpairing:
		s.notUnpaired(st, reason.String())
	case !a.Looking:
	case e.Code == ReasonMeasure, e.Code == ReasonNotAllowed:
		a.Looking = false
		s.unpair(st, StageFailed, reason) // the next look would fail as well
	default:
		s.missed(st, def, reason.String())
	}
}

// nextOfCanary is when a canary has something to do, zero if it only waits.
func (s *stepper) nextOfCanary(st *StageState) time.Time {
	a := st.Analysis
	if a == nil {
		return time.Time{}
	}
	next := a.Next
	if a.Looking { // its time has come
		next = time.Time{}
	}
	if raise := s.nextRaise(st); !raise.IsZero() && (next.IsZero() || raise.Before(next)) {
		next = raise
	}
	return next
}

// moment is a time that may be long ago, as people read it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// clock is a time as people read it.
func clock(t time.Time) string { return t.UTC().Format("15:04 UTC") }
