package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// HelpText answers `help` and what nobody understands.
const HelpText = "Commands: approve [stage], reject [stage:] [reason], cancel [reason], retry, rollback [environment] [to RELEASE], promote [environment], status, help."

// requested takes a wish in. Who asks and what they may do is looked up first.
func (s *stepper) requested(r Request) {
	s.d.Asked++
	r.Key = fmt.Sprintf("r%d", s.d.Asked)
	if r.At.IsZero() { // else it is when the hook came in, which may be a while ago
		r.At = s.now
	}
	switch {
	case r.What == VerbHelp:
		s.answer(r, true, HelpText)
	case r.What == VerbUnknown:
		s.answer(r, false, "I don't know that command. "+HelpText)
	case s.d.Status == StatusNone && s.d.Reason.Code == ReasonCondition:
		s.answer(r, false, "This merge is not delivered: "+s.d.Reason.String()+".")
	case s.d.Status == StatusNone:
		s.answer(r, false, "There is no delivery for this merge request yet. One starts when it is merged.")
	case len(s.d.Requests) >= maxRequests:
		s.answer(r, false, "Too many requests are being looked at. Please ask again in a moment.")
	default:
		s.d.Requests = append(s.d.Requests, r)
		s.emit("identify/"+r.Key, "", Identify{Request: r})
	}
}

func (s *stepper) answer(r Request, taken bool, text string) {
	if r.Via == ViaDeployment {
		return // there is nowhere to answer
	}
	s.emit("answer/"+r.Key, "", Answer{Request: r, Taken: taken, Text: text})
}

func (s *stepper) takeRequest(key string) (Request, bool) {
	i := slices.IndexFunc(s.d.Requests, func(r Request) bool { return r.Key == key })
	if i < 0 {
		return Request{}, false
	}
	r := s.d.Requests[i]
	s.d.Requests = slices.Delete(s.d.Requests, i, i+1)
	return r, true
}

func (s *stepper) identifyFailed(e Failed) {
	if r, ok := s.takeRequest(strings.TrimPrefix(e.Key, "identify/")); ok {
		s.answer(r, false, "Nothing was done, because your rights could not be looked up: "+e.Detail)
	}
}

// identified decides a wish.
func (s *stepper) identified(e Identified) {
	r, ok := s.takeRequest(e.Request)
	if !ok {
		return
	}
	var refusal string
	switch r.What {
	case VerbApprove, VerbReject:
		refusal = s.judge(r, e.Person)
	case VerbCancel:
		refusal = s.cancel(r, e.Person)
	case VerbRetry:
		refusal = s.retry(r, e.Person)
	case VerbRollback:
		refusal = s.rollback(r, e.Person)
	case VerbPromote:
		refusal = s.promote(r, e.Person)
	case VerbStatus:
		s.tellStatus(r, e.Person)
		return
	default:
		refusal = HelpText
	}
	if refusal != "" {
		s.answer(r, false, refusal)
	}
}

func (s *stepper) decide(r Request, stage string, attempt int, p policy.Person, rule string) {
	if len(s.d.Decisions) >= maxDecisions {
		s.d.Decisions = s.d.Decisions[1:]
	}
	s.d.Decisions = append(s.d.Decisions, Decision{
		Stage: stage, Attempt: attempt, What: r.What, By: p, Via: r.Via, At: s.now, Reason: r.Reason, Rule: rule,
	})
}

// judge settles an answer to a judgement, and returns why not, if not.
func (s *stepper) judge(r Request, p policy.Person) string {
	st, refusal := s.asked(r)
	if refusal != "" {
		return refusal
	}
	def := s.d.definition(s.plan, st)
	if s.due(st.Deadline) {
		return "The time to answer has passed."
	}
	if st.Phase == PhaseDeciding {
		return s.decideBack(st, r, p)
	}
	rules := judgementRules(s.plan, def)
	if r.What == VerbReject { // whoever may approve may say no, also the author
		for i := range rules {
			rules[i].Not = nil
		}
	}
	a := policy.MayJudge(p, s.facts(), rules...)
	if !a.Allowed {
		return a.Refusal
	}
	if r.What == VerbReject {
		s.decide(r, st.Name, st.Attempt, p, a.Rule)
		s.answer(r, true, "")
		s.rejected(st, def, Reason{Code: ReasonRejected, Who: p.Label(), Detail: r.Reason})
		return ""
	}
	var by []string
	for _, d := range s.d.Decisions {
		if d.Stage == st.Name && d.Attempt == st.Attempt && d.What == VerbApprove {
			if d.By.ID == p.ID {
				return "You have approved this already."
			}
			by = append(by, d.By.Label())
		}
	}
	s.decide(r, st.Name, st.Attempt, p, a.Rule)
	by = append(by, p.Label())
	if len(by) >= max(def.Question().Quorum, 1) {
		s.approved(st, def, Reason{Code: ReasonApproved, Who: strings.Join(by, ", ")})
	}
	s.answer(r, true, "")
	return ""
}

// approved: enough people said yes.
func (s *stepper) approved(st *StageState, def Stage, reason Reason) {
	if def.Kind == KindCanary {
		s.unpair(st, StageSucceeded, reason)
		return
	}
	s.worked(st, def, reason)
}

// rejected: somebody said no.
func (s *stepper) rejected(st *StageState, def Stage, reason Reason) {
	if def.Kind == KindCanary {
		s.unpair(st, StageRejected, reason)
		return
	}
	s.end(st, StageRejected, reason)
	s.consequence(st, def)
}

func (s *stepper) facts() policy.Facts {
	mr := s.d.MergeRequest
	return policy.Facts{AuthorID: mr.AuthorID, AuthorUsername: mr.AuthorUsername, MergedByID: mr.MergedByID, MergedBy: mr.MergedBy}
}

// asked finds the judgement that an answer is for, or says why there is none.
func (s *stepper) asked(r Request) (*StageState, string) {
	if r.Stage != "" && r.Attempt > 0 { // a button knows what it was drawn for
		st := s.d.Stage(r.Stage)
		switch {
		case st == nil:
			return nil, "This question is not part of the delivery."
		case st.Attempt != r.Attempt:
			return nil, "This button belongs to an earlier question."
		case st.Status != StageAsking:
			return nil, fmt.Sprintf("This was settled already: %s (%s).", st.Reason, st.Status)
		}
		return st, ""
	}
	want := firstNonEmpty(r.Stage, r.Environment)
	var found []*StageState
	var names []string
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		if st.Status != StageAsking {
			continue
		}
		names = append(names, st.Name)
		if def := s.d.definition(s.plan, st); want == "" || want == st.Name || want == def.Environment() || def.Judgement != nil && want == def.Judgement.Environment {
			found = append(found, st)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], ""
	case len(names) == 0:
		return nil, "Nothing waits for an answer: the delivery " + s.d.Status.sentence() + "."
	case len(found) == 0:
		return nil, fmt.Sprintf("%q asks nothing. These do: %s.", want, strings.Join(names, ", "))
	}
	return nil, "More than one stage asks: " + strings.Join(names, ", ") + ". Name the one that you mean."
}

func firstNonEmpty(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

func (s *stepper) cancel(r Request, p policy.Person) string {
	if a := policy.MayCommand(p); !a.Allowed {
		return a.Refusal
	} else if refusal := s.d.notCancelable(); refusal != "" {
		return refusal
	} else {
		s.decide(r, "", 0, p, a.Rule)
	}
	s.stop(p, r.Reason)
	s.answer(r, true, "")
	return ""
}

func (d *Delivery) notCancelable() string {
	switch {
	case d.TearDownOf != "" && !d.Status.Finished():
		return "The review environment is being removed, and stopping half-way would leave the rest of it there."
	case d.Status.Finished():
		return "This delivery has ended already: it " + d.Status.sentence() + "."
	case d.Winding != "":
		return "This delivery is ending already."
	case slices.ContainsFunc(d.Stages, func(st StageState) bool { return st.Status == StageRollingBack }):
		return "The rollback is under way, and stopping half-way would leave the environment in between."
	}
	return ""
}

// stop cancels a live delivery.
func (s *stepper) stop(p policy.Person, why string) {
	reason := Reason{Code: ReasonCanceled, Who: p.Label(), Detail: why}
	if s.d.Status != StatusRunning {
		s.finish(StatusCanceled, reason)
		return
	}
	s.wind(StatusCanceled, reason)
}

func (s *stepper) retry(r Request, p policy.Person) string {
	a := policy.MayCommand(p)
	switch {
	case !a.Allowed:
		return a.Refusal
	case !s.d.Status.Finished():
		return "This delivery is still under way."
	case s.d.TearDownOf == "" && !s.d.Closing.At.IsZero():
		return "There is nothing to try again: the merge request was " + s.d.Closing.word() + "."
	case !s.d.retryable():
		return "There is nothing to try again: the delivery " + s.d.Status.sentence() + "."
	}
	s.decide(r, "", 0, p, a.Rule)
	s.answer(r, true, "")
	s.d.Ended, s.d.Reason, s.d.Winding, s.d.Cause, s.d.Aftermath = time.Time{}, Reason{}, "", "", false
	switch {
	case len(s.d.Stages) == 0:
		s.d.Status = StatusLoading
		s.load()
	case s.d.Started.IsZero():
		s.again()
		s.awaitCI()
	default:
		s.again()
		s.d.Status = StatusRunning
	}
	return ""
}

// again lets every stage that did not succeed have another turn.
func (s *stepper) again() {
	for i := range s.d.Stages {
		st := &s.d.Stages[i]
		if st.Status != StageSucceeded || s.d.definition(s.plan, st).Aftermath {
			*st = StageState{Name: st.Name, Status: StagePending, Attempt: st.Attempt, Looks: st.Looks, LastJob: max(st.Job.ID, st.LastJob)}
		}
	}
	s.enrol()
}

// retryable tells that a retry would have something to do.
func (d *Delivery) retryable() bool {
	switch d.Status {
	case StatusFailed, StatusRolledBack, StatusRejected, StatusCanceled, StatusInvalid:
		return true
	default:
		return false
	}
}

// mayGoBack tells that a rollback without further words has something to take back: what the delivery deployed last.
func (d *Delivery) mayGoBack() bool {
	for i := range slices.Backward(d.Stages) {
		if st := &d.Stages[i]; st.brought() {
			return st.ReplacedBy == ""
		}
	}
	return false
}

// brought tells that the stage has changed what runs. After its own rollback has failed it may have.
func (st *StageState) brought() bool {
	if st.Reason.Code == ReasonNotRolledBack {
		return !st.Undo || st.Release != nil // else it is a rollback, which people try again
	}
	return st.Status == StageSucceeded && st.Release != nil && !st.Undo
}

func (s *stepper) rollback(r Request, p policy.Person) string {
	if !s.d.Closing.At.IsZero() {
		return "There is nothing to roll back: the merge request was " + s.d.Closing.word() + "."
	}
	if st := s.d.live(s.plan, firstNonEmpty(r.Environment, r.Argument)); st != nil && s.d.notCancelable() == "" {
		return s.rollbackLive(st, r, p)
	}
	if st := s.d.liveCanary(s.plan, firstNonEmpty(r.Environment, r.Argument)); st != nil && r.Release == "" && s.d.notCancelable() == "" {
		return s.endCanary(st, r, p)
	}
	st, refusal := s.toRollBack(firstNonEmpty(r.Environment, r.Argument))
	if refusal != "" {
		return refusal
	}
	environment := s.d.definition(s.plan, st).Environment()
	a := policy.MayRollback(p, s.plan.Environments[environment].Rule)
	if !a.Allowed {
		return a.Refusal
	}
	s.decide(r, "", 0, p, a.Rule)
	if s.d.notCancelable() == "" {
		s.stop(p, joined("rollback", r.Reason))
	}
	s.emit("rollback/"+r.Key, "", StartRollback{
		Environment: environment, To: r.Release, Decision: s.d.Decisions[len(s.d.Decisions)-1], NewID: s.d.ID + "-" + r.Key,
	})
	s.answer(r, true, "")
	return ""
}

// rollbackLive takes back a deploy that is under way, or on standby.
func (s *stepper) rollbackLive(st *StageState, r Request, p policy.Person) string {
	def := s.d.definition(s.plan, st)
	a := policy.MayRollback(p, s.plan.Environments[def.Environment()].Rule)
	switch {
	case !a.Allowed:
		return a.Refusal
	case !st.hasBefore():
		return "No earlier release is recorded for " + def.Environment() + "."
	case r.Release != "" && (st.Previous == nil || !st.Previous.named(r.Release)):
		return fmt.Sprintf("%s is being deployed, so it can only go back to %s, which ran before. Cancel, and then roll back to another.", def.Environment(), st.before())
	}
	s.decide(r, "", 0, p, a.Rule)
	reason := Reason{Code: ReasonCanceled, Who: p.Label(), Detail: joined("rollback", r.Reason)}
	s.interrupt(st)
	st.Decided = true
	s.restore(st, StageCanceled, reason)
	s.stop(p, joined("rollback", r.Reason))
	s.answer(r, true, "")
	return ""
}

// named tells whether people mean this release: by its id, or by the beginning of its
// commit's sha or its version. "" means any.
func (r *Release) named(name string) bool {
	const least = 4 // characters that name a commit
	return name == "" || r.ID == name || len(name) >= least && (strings.HasPrefix(r.SHA, name) || strings.HasPrefix(r.Version, name))
}

// toRollBack picks the deploy that is meant: the last one, or that of the environment.
func (s *stepper) toRollBack(environment string) (*StageState, string) {
	var names []string
	for i := range slices.Backward(s.d.Stages) {
		st := &s.d.Stages[i]
		if !st.brought() {
			continue
		}
		name := s.d.definition(s.plan, st).Environment()
		switch {
		case environment != "" && environment != name:
			names = append(names, name)
		case st.ReplacedBy != "":
			return nil, fmt.Sprintf("There is nothing to take back in %s: %s has brought another release since.", name, st.ReplacedBy)
		default:
			return st, ""
		}
	}
	if len(names) == 0 {
		return nil, "This delivery has changed nothing that could go back."
	}
	return nil, fmt.Sprintf("This delivery has not changed %q. It has changed %s.", environment, strings.Join(names, ", "))
}

func (s *stepper) tellStatus(r Request, p policy.Person) {
	if a := policy.MayAsk(p); !a.Allowed {
		s.answer(r, false, a.Refusal)
		return
	}
	v := NewView(s.plan, s.d)
	words := []string{"The delivery " + v.Status.sentence()}
	if v.Reason != "" {
		words[0] += " (" + v.Reason + ")"
	}
	for _, st := range v.Stages {
		words = append(words, st.Name+": "+st.Word)
	}
	s.answer(r, true, strings.Join(words, "; ")+".")
}
