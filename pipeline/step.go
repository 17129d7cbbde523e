package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Limits of the core's own patience. Stages bring their own.
const (
	ciLookEvery   = 30 * time.Second // without a hook
	ciMissingFor  = 2 * time.Minute  // until a commit without CI pipeline is given up
	ciPatience    = 24 * time.Hour
	jobLookEvery  = 30 * time.Second
	stopTimeout   = 15 * time.Minute // until pods that do not end are left alone
	heartbeat     = time.Hour        // a live aggregate is woken at least this often
	maxRequests   = 20               // wishes that wait for their look-up
	maxDecisions  = 100
	deployTimeout = 30 * time.Minute
	jobTimeout    = time.Hour
	askTimeout    = 24 * time.Hour
	lookupTimeout = 10 * time.Minute // evaluating a stage
)

// Step applies one event to a delivery. It is pure: the same arguments give the same
// results, and the arguments are not changed. plan is nil until it is known; with a
// Planned or RollbackStarted event it is that event's plan. A delivery that does not
// exist yet is the zero Delivery with its ID.
//
// The effects are to be carried out after the state is durable. An error means that
// the event makes no sense to this version, and that nothing may be changed.
func Step(plan *Plan, before Delivery, e Event, now time.Time) (Delivery, []Effect, error) {
	now = now.UTC().Truncate(time.Millisecond)
	d := before.clone()
	if d.Schema != 0 {
		d.Schema = DeliverySchema
	}
	s := &stepper{plan: plan, d: &d, now: now}
	if err := s.apply(e); err != nil {
		return before, nil, fmt.Errorf("step delivery %s with %s: %w", before.ID, e.EventKind(), err)
	}
	s.watchPairs()
	s.advance()
	s.tearDown()
	s.report(&before)
	d.Wake = s.wake()
	return d, s.effects, nil
}

// stepper holds one step while it is taken.
type stepper struct {
	plan    *Plan
	d       *Delivery
	now     time.Time
	effects []Effect
	// unneeded is a kind of report that what happened is no cause for: one that has just
	// failed would only fail again.
	unneeded string
}

func (s *stepper) apply(e Event) error {
	if s.d.Schema == 0 {
		return s.create(e)
	}
	switch e := e.(type) {
	case Merged, Proposed, RollbackStarted:
		return nil // told again
	case TearDownStarted:
		s.tearDownAgain(e)
	case Closed:
		s.closed()
	case MergeRequestSeen:
		s.mergeRequestSeen(e)
	case Planned:
		return s.planned(e)
	case PlanRefused:
		s.refused(e)
	case CIChanged:
		s.ciChanged()
	case CISeen:
		s.ciSeen(e)
	case Requested:
		s.requested(e.Request)
	case Identified:
		s.identified(e)
	case NoteWritten:
		s.d.Handles.NoteID = e.ID
		s.reached(WriteNote{})
	case MessageSent:
		s.d.Handles.Channel, s.d.Handles.TS, s.d.Handles.MessageURL = e.Channel, e.TS, e.URL
		if !s.reached(WriteMessage{}) {
			s.unneeded = WriteMessage{}.ActionKind() // its own address is not in it
		}
	case DeploymentWritten:
		s.deploymentWritten(e.Handle)
	case Failed:
		s.failed(e)
	case Delayed:
		s.delayed(e)
	case Superseded:
		s.superseded(e)
	case KeepEnded:
		s.keepEnded(e)
	case Replaced:
		s.replaced(e)
	case Tick:
		s.tick()
	default:
		return s.applyToStage(e)
	}
	return nil
}

// applyToStage handles what concerns one attempt of one stage. What comes for another
// attempt is late and changes nothing.
func (s *stepper) applyToStage(e Event) error {
	switch e := e.(type) {
	case LockGranted:
		s.granted(e)
	case LockQueued:
		if st := s.current(e.Stage, e.Attempt); st != nil && st.Phase == PhaseLocking {
			st.Status = s.orRollingBack(st, StageQueued)
			st.Reason = Reason{Code: ReasonQueued, What: e.Environment, Who: e.Holder}
		}
	case Evaluated:
		s.evaluated(e)
	case Applied:
		s.applied(e)
	case RolledOut:
		s.rolledOut(e)
	case Restored:
		s.restored(e)
	case Switched:
		s.switched(e)
	case Retired:
		s.retired(e)
	case JobStarted:
		s.jobStarted(e)
	case JobRan:
		s.jobRan(e)
	case JobStopped:
		s.jobStopped(e)
	case TornDown:
		s.tornDown(e)
	case Checked:
		s.checked(e)
	case PipelineSeen:
		s.pipelineSeen(e)
	case NoticeSent:
		s.noticeSent(e)
	case Progressed:
		if st := s.current(e.Stage, e.Attempt); st != nil {
			st.Progress = e.Words
		}
	case JobSeen:
		s.jobSeen(e)
	case JobChanged:
		s.jobChanged(e)
	case Paired:
		s.paired(e)
	case PairUnwell:
		s.pairUnwell(e)
	case Weighed:
		s.weighed(e)
	case Sampled:
		s.sampled(e)
	case PairEnded:
		s.pairEnded(e)
	case ChartDrawn:
		s.chartDrawn(e)
	default:
		return errors.New("a delivery does not understand it")
	}
	return nil
}

// current is the stage if it is live in that attempt, else nil.
func (s *stepper) current(name string, attempt int) *StageState {
	st := s.d.Stage(name)
	if st == nil || st.Attempt != attempt || st.Status.Finished() {
		return nil
	}
	return st
}

func (s *stepper) emit(key, slot string, do Action) {
	s.effects = append(s.effects, Effect{Key: key, Slot: slot, Do: do})
}

func (s *stepper) emitLatest(key, slot string, do Action) {
	s.effects = append(s.effects, Effect{Key: key, Slot: slot, Latest: true, Do: do})
}

// act emits the effect that carries a stage's attempt on.
func (s *stepper) act(st *StageState, what, slot string, do Action) {
	s.emit(stageKey(st, what), slot, do)
}

func (s *stepper) withdraw(st *StageState, what string) {
	key := stageKey(st, what)
	s.effects = append(s.effects, Effect{Key: "withdraw/" + key, Do: Withdraw{Key: key}})
}

func stageKey(st *StageState, what string) string {
	return fmt.Sprintf("%s/%d/%s", st.Name, st.Attempt, what)
}

// send hands an event to the environment.
func (s *stepper) send(environment string, e Event) {
	s.d.Sent++
	s.effects = append(s.effects, sendEffect(s.d.Sent, Send{Environment: EnvironmentID(s.d.Project.ID, environment)}, e))
}

func sendEffect(n int, to Send, e Event) Effect {
	kind, data, err := EncodeEvent(e)
	if err != nil {
		// Events are plain structs of strings and numbers, so encoding cannot fail.
		panic(err)
	}
	to.Kind, to.Data = kind, data
	return Effect{Key: fmt.Sprintf("send/%d", n), Do: to}
}

// advance starts what can start and ends what has ended, until nothing moves.
func (s *stepper) advance() {
	if s.d.Status != StatusRunning {
		return
	}
	for s.advanceOnce() {
	}
	if s.beginAftermath() {
		for s.advanceOnce() {
		}
	}
	s.finishIfDone()
}

func (s *stepper) advanceOnce() bool {
	moved := false
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		if st.Status != StagePending || !s.mayStart(st) {
			continue
		}
		if s.needsMet(s.d.definition(s.plan, st)) {
			s.start(st)
			moved = true
		}
	}
	return moved
}

// mayStart tells that the delivery has come to where a stage of this kind may start.
func (s *stepper) mayStart(st *StageState) bool {
	if s.d.definition(s.plan, st).Aftermath {
		return s.d.Aftermath
	}
	return s.d.Winding == ""
}

// needsMet tells that every stage before it ended well enough.
func (s *stepper) needsMet(def Stage) bool {
	for _, name := range def.Needs {
		need := s.d.Stage(name)
		if need == nil || !need.Status.Finished() {
			return false
		}
		if need.Status == StageSucceeded || need.Status == StageSkipped {
			continue
		}
		if d, _ := s.plan.Stage(name); d.OnFailure != FailContinue {
			return false
		}
	}
	return true
}

// wake is when Tick is wanted next, zero if the delivery has ended.
func (s *stepper) wake() time.Time {
	if s.d.Status.Finished() {
		return time.Time{}
	}
	wake := s.now.Add(heartbeat)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(wake) {
			wake = t
		}
	}
	sooner(s.d.CIWatch.LookAt)
	sooner(s.d.CIWatch.Deadline)
	for i := range s.d.Stages {
		if st := &s.d.Stages[i]; !st.Status.Finished() {
			sooner(st.Deadline)
			sooner(st.LookAt)
			sooner(st.nextCheck())
			sooner(s.nextOfCanary(st))
		}
	}
	if !wake.After(s.now) {
		wake = s.now.Add(time.Millisecond)
	}
	return wake
}

func (s *stepper) tick() {
	s.tickCI()
	for i := range s.d.Stages {
		if st := &s.d.Stages[i]; !st.Status.Finished() {
			s.tickStage(st)
		}
	}
}

func (s *stepper) due(t time.Time) bool { return !t.IsZero() && !t.After(s.now) }

// report emits what tells people, if something that they see has changed.
func (s *stepper) report(before *Delivery) {
	was, is := NewView(s.plan, before), NewView(s.plan, s.d)
	if s.d.Status == StatusNone || s.d.Status == StatusLoading || !s.news(before, was, is) {
		return // until the file is read, nobody knows whether this merge is ours to speak about
	}
	over := before.Schema != 0 && before.Status.Finished() && s.d.Status.Finished() && before.Ended.Equal(s.d.Ended)
	if over && len(before.Decisions) == len(s.d.Decisions) && was.MayRollback == is.MayRollback {
		return // it says no more, unless people have decided about it, or what they may decide has changed
	}
	s.d.Revision++
	if s.unneeded != (WriteNote{}).ActionKind() {
		s.emitLatest(noteKey(s.d.Revision), "note", WriteNote{})
	}
	if s.plan != nil && s.plan.Channel != "" && s.unneeded != (WriteMessage{}).ActionKind() {
		s.emitLatest(fmt.Sprintf("message/%d", s.d.Revision), "message", WriteMessage{})
	}
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		if was := before.Stage(st.Name); st.Status == StageAsking && s.plan.Channel != "" && (was == nil || was.Attempt != st.Attempt || was.Status != StageAsking) {
			// It waits for the message that has the buttons, and not in the message's slot: newer
			// messages replace older ones there, and would then stand behind what waits for them.
			s.act(st, "ask", "ask/"+st.Name, Ask{Stage: st.Name, Attempt: st.Attempt})
		}
		s.reportStage(st, before)
	}
}

func noteKey(revision int) string { return fmt.Sprintf("note/%d", revision) }

// news tells that people have something to read. What a stage does for a moment, between two things that people wait for,
// is shown by whoever looks then, and is worth no edit of its own: the end of it is.
func (s *stepper) news(before *Delivery, was, is View) bool {
	stages := slices.Clone(is.Stages)
	for i := range stages {
		now := &stages[i]
		st, old := s.d.Stage(now.Name), before.Stage(now.Name)
		if i >= len(was.Stages) || old == nil || old.Status != st.Status || old.Attempt != st.Attempt || st.Status.Finished() {
			continue
		}
		switch {
		case st.Phase == PhaseRetiring && old.Phase != PhaseRetiring:
			stages[i] = was.Stages[i] // the release before can't have the traffic back any more, and goes
			is.MayRollback, is.MayPromote = was.MayRollback, was.MayPromote
		case now.Progress == st.doing():
			now.Progress = was.Stages[i].Progress
		}
	}
	is.Stages = stages
	return !reflect.DeepEqual(was, is)
}

// reportStage keeps the stage's commit status and GitLab deployment true.
func (s *stepper) reportStage(st *StageState, before *Delivery) {
	was := before.Stage(st.Name)
	if st.Attempt == 0 && s.d.definition(s.plan, st).Aftermath {
		return // it may never be needed
	}
	if s.d.definition(s.plan, st).Kind == KindTearDown {
		return // the commit has been judged, and nothing is deployed
	}
	changed := was == nil || was.Status != st.Status || was.Attempt != st.Attempt
	// A status before the stages begin would hold up the CI pipeline that they wait for.
	if begun := !s.d.Started.IsZero(); begun && (changed || before.Started.IsZero()) {
		// One after the other: GitLab lists them in the order in which they were made.
		s.emit(fmt.Sprintf("status/%s/%d", st.Name, s.d.Revision), "statuses", WriteStatus{Stage: st.Name, Attempt: st.Attempt})
	}
	if !s.d.definition(s.plan, st).Deploys() {
		return
	}
	if was != nil && was.Attempt != st.Attempt && touched(was) && !was.Status.Finished() {
		// The attempt before ended in the same step that began this one.
		s.writeDeployment(was)
	}
	if touched(st) && (changed || !touched(was)) {
		s.writeDeployment(st)
	}
}

func (s *stepper) writeDeployment(st *StageState) {
	// One after the other, also of different attempts: whoever makes one looks first for one
	// that nobody knows, and must not find that of the attempt before.
	s.emit(fmt.Sprintf("deployment/%s/%d", stageKey(st, "write"), s.d.Revision),
		"deployment/"+st.Name, WriteDeployment{Stage: st.Name, Attempt: st.Attempt})
}

// touched tells that this attempt has got as far as the cluster.
func touched(st *StageState) bool {
	switch st.Phase {
	case "", PhaseEvaluating, PhaseLocking:
		return false
	default:
		return true
	}
}

// reached clears the warning that a report could not be written, and tells whether
// there was one.
func (s *stepper) reached(a Action) bool {
	warnings := len(s.d.Warnings)
	s.d.Warnings = slices.DeleteFunc(s.d.Warnings, func(w Warning) bool { return w.Effect == a.ActionKind() })
	return len(s.d.Warnings) < warnings
}

func (s *stepper) warn(effect, detail string) {
	s.d.Warnings = slices.DeleteFunc(s.d.Warnings, func(w Warning) bool { return w.Effect == effect })
	s.d.Warnings = append(s.d.Warnings, Warning{Effect: effect, Detail: detail})
}

func (s *stepper) deploymentWritten(h DeploymentHandle) {
	s.reached(WriteDeployment{})
	if _, ok := s.d.Handles.Deployment(h.Stage, h.Attempt); !ok {
		s.d.Handles.Deployments = append(s.d.Handles.Deployments, h)
	}
}

// clone copies what a step may change in place. Releases, plans and stages behind
// pointers are never changed in place, so they are shared.
func (d *Delivery) clone() Delivery {
	c := *d
	c.Problems = slices.Clone(d.Problems)
	c.Stages = slices.Clone(d.Stages)
	for i := range c.Stages {
		c.Stages[i].Checks = slices.Clone(d.Stages[i].Checks)
		if a := d.Stages[i].Analysis; a != nil {
			analysis := *a // its history is only ever replaced
			c.Stages[i].Analysis = &analysis
		}
	}
	c.Decisions = slices.Clone(d.Decisions)
	c.Requests = slices.Clone(d.Requests)
	c.Warnings = slices.Clone(d.Warnings)
	c.Handles.Deployments = slices.Clone(d.Handles.Deployments)
	return c
}

// Encode is the stored form of the state.
func (d *Delivery) Encode() ([]byte, error) { return json.Marshal(d) }

// DecodeDelivery reads the stored form. A newer schema is an error.
func DecodeDelivery(data []byte) (Delivery, error) {
	var d Delivery
	if err := json.Unmarshal(data, &d); err != nil {
		return Delivery{}, fmt.Errorf("decode delivery: %w", err)
	}
	if d.Schema > DeliverySchema {
		return Delivery{}, fmt.Errorf("decode delivery %s: schema %d is newer than %d", d.ID, d.Schema, DeliverySchema)
	}
	return d, nil
}

// Definition is the stage of that name as it applies now: resolved, if it had to be, or else as the plan has it. ok is
// false if there is none.
func (d *Delivery) Definition(plan *Plan, name string) (def Stage, ok bool) {
	if s := d.Stage(name); s != nil && s.Resolved != nil {
		return *s.Resolved, true
	}
	return plan.Stage(name)
}

// definition is that of one of the delivery's stages; it is empty as long as there is no plan.
func (d *Delivery) definition(plan *Plan, s *StageState) Stage {
	def, _ := d.Definition(plan, s.Name)
	return def
}
