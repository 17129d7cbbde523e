package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// View is a delivery as people see it: the one summary that the merge request note,
// the Slack message and the page are rendered from. Titles, names, questions and
// reasons in it may hold text that people wrote; whoever renders it escapes it.
type View struct {
	ID           string
	Application  string // the project's path if the file could not be read
	Project      Project
	MergeRequest MergeRequest
	SHA          string
	Status       Status
	Icon         string // an emoji that fits the status
	Reason       string // a sentence without full stop, "" if there is nothing to say
	RollbackOf   string
	Review       bool   // for an open merge request, or the removal of what it brought
	TearDownOf   string // the review delivery whose environment is removed, "" otherwise
	Order        int64  // of two reports that share a place, the one of the greater counts
	CI           CIPipeline
	Stages       []StageView
	Questions    []Question // that wait for an answer now
	Decisions    []Decision
	Problems     []Problem
	Links        []Link
	Warnings     []Warning // of reports that could not be written
	MessageURL   string    // of the Slack message
	Created      time.Time
	Started      time.Time
	Ended        time.Time
	// What the delivery offers now, for buttons and help.
	MayCancel, MayRetry, MayRollback bool
	MayPromote                       bool // end the standby
}

// StageView is one stage as people see it.
type StageView struct {
	Name        string
	Kind        StageKind
	Status      StageStatus
	Icon        string
	Word        string // the status as a word
	Reason      string // a sentence without full stop
	Progress    string // while it runs
	Environment string
	Namespace   string
	URL         string // where to look: the live app, the job, the deployment
	Needs       []string
	Attempt     int
	Started     time.Time
	Ended       time.Time
	Deadline    time.Time
	Images      []Image
	Checks      []CheckView
	Standby     time.Time // until when the release before is ready to take the traffic back
	Ran         *Ran      // how its Kubernetes Job ended
	Analysis    *Analysis // how its canary stands, without what changes between two looks
	Previous    string    // short sha of what ran before, "" if nothing
	Now         string    // short sha of what runs since, "" if nothing changed
	ReplacedBy  string    // what has brought another release since, "" while Now runs
	Aftermath   bool      // it follows how the delivery ended
}

// CheckView is one check as people see it.
type CheckView struct {
	Name string
	Icon string
	Word string // "passed", "failed", "running"
	Saw  string // what its last run saw, "" while all is well
}

// Question is a judgement that waits for people.
type Question struct {
	Token       string // opaque, for the value of a button: see ParseToken
	Stage       string
	Attempt     int
	Ask         string
	Approvers   []string
	Not         []string
	Quorum      int
	Approvals   []Decision // so far
	Since       time.Time  // when it was asked
	Expires     time.Time
	Confirm     bool
	Environment string // that comes next, "" if none
	// Recording: an answer is being looked at, so buttons are to go.
	Recording bool
	// Back: the question is whether to roll back, and an approval does.
	Back bool
}

// NewView summarises a delivery. plan is nil before it is known.
func NewView(plan *Plan, d *Delivery) View {
	v := View{
		ID: d.ID, Application: d.Project.Path, Project: d.Project, MergeRequest: d.MergeRequest, SHA: d.SHA,
		Status: d.Status, Icon: d.Status.Icon(), Reason: d.Reason.String(), RollbackOf: d.RollbackOf, CI: d.CI,
		Review: d.Review, TearDownOf: d.TearDownOf, Order: d.Order(),
		Decisions: d.Decisions, Problems: d.Problems, Warnings: d.Warnings, MessageURL: d.Handles.MessageURL,
		Created: d.Created, Started: d.Started, Ended: d.Ended,
		MayCancel:   d.notCancelable() == "",
		MayRetry:    d.retryable() && (d.TearDownOf != "" || d.Closing.At.IsZero()),
		MayRollback: d.mayGoBack() && d.Closing.At.IsZero(),
	}
	if plan == nil {
		return v
	}
	if st := d.live(plan, ""); st != nil && st.hasBefore() && st.Phase == PhaseChecking && d.Winding == "" {
		v.MayRollback, v.MayPromote = true, !st.Standby.IsZero() && !st.unproven()
	}
	v.Links = plan.Links
	if plan.Application != "" {
		v.Application = plan.Application
	}
	for i := range d.Stages {
		s := &d.Stages[i]
		def := d.definition(plan, s)
		if def.Aftermath && s.Attempt == 0 {
			continue // it may never be needed
		}
		v.Stages = append(v.Stages, newStageView(plan, d, def, s))
		switch {
		case s.Status == StageAsking && s.Phase == PhaseDeciding:
			v.Questions = append(v.Questions, wayBackQuestion(plan, d, def, s))
		case s.Status == StageAsking && (def.Judgement != nil || def.Canary != nil):
			v.Questions = append(v.Questions, newQuestion(plan, d, def, s))
		}
	}
	return v
}

func newStageView(plan *Plan, d *Delivery, def Stage, s *StageState) StageView {
	sv := StageView{
		Name: s.Name, Kind: def.Kind, Status: s.Status, Icon: s.Status.Icon(), Word: string(s.Status),
		Reason: s.Reason.String(), Progress: s.Progress, Environment: def.Environment(), Needs: def.Needs,
		Attempt: s.Attempt, Started: s.Started, Ended: s.Ended, Deadline: s.Deadline,
		Checks: checkViews(s), Standby: s.Standby, Ran: s.Ran, ReplacedBy: s.ReplacedBy, Aftermath: def.Aftermath, Analysis: analysisView(s.Analysis),
	}
	if sv.Progress == "" {
		sv.Progress = s.doing()
	}
	if s.Reason.Code == ReasonDone {
		sv.Reason = ""
	}
	if s.Analysis != nil && s.Analysis.Looking {
		sv.Deadline = time.Time{} // of the look: nobody waits for it
	}
	if rules, ok := plan.Environments[sv.Environment]; ok {
		if sv.Namespace = rules.Namespace; def.Kind != KindTearDown {
			sv.URL = rules.URL
		}
	}
	if s.Job.URL != "" {
		sv.URL = s.Job.URL
	}
	if h, ok := d.Handles.Deployment(s.Name, s.Attempt); ok && sv.URL == "" {
		sv.URL = h.URL
	}
	sv.Previous = s.before()
	if s.Release != nil {
		sv.Images = s.Release.Images
		if s.Status == StageSucceeded && s.Reason.Code != ReasonStale {
			sv.Now = Short(s.Release.SHA)
		}
	}
	switch {
	case !s.restored():
	case s.Target != nil:
		sv.Now = Short(s.Target.SHA)
	case s.Back:
		sv.Now = s.Adopted
	}
	return sv
}

// doing says what is done in a phase of which nothing else tells, "" for the other phases.
func (s *StageState) doing() string {
	switch s.Phase {
	case PhaseSwitching:
		if s.Release != nil {
			return "the traffic is being moved to " + Short(s.Release.SHA)
		}
	case PhaseReturning:
		if s.Target != nil {
			return "the traffic is being moved back to " + Short(s.Target.SHA)
		}
		return "the traffic is being moved back to " + s.before()
	case PhaseRetiring:
		return "what the release before left is being removed"
	case PhaseClearing:
		return "what was undone is being removed"
	case PhaseStopping:
		return "its pods are ending, and it keeps the environment until they have"
	case PhasePairing:
		return "baseline and canary are being created"
	case PhaseUnpairing:
		return "baseline and canary are being removed"
	case PhaseEvaluating, PhaseLocking, PhaseApplying, PhaseObserving, PhaseRestoring, PhaseVerifying, PhaseChecking, PhaseDeciding, PhaseRemoving,
		PhaseWarming, PhaseAnalysing:
	}
	return ""
}

// restored tells that a stage with a target has ended with it in place.
func (st *StageState) restored() bool {
	return st.Status == StageSucceeded || st.Status == StageRolledBack || st.Status == StageCanceled
}

func newQuestion(plan *Plan, d *Delivery, def Stage, s *StageState) Question {
	j := def.Question()
	rules := judgementRules(plan, def)
	q := Question{
		Token: Token(d.ID, s.Name, s.Attempt), Stage: s.Name, Attempt: s.Attempt, Ask: j.Ask,
		Quorum: max(j.Quorum, 1), Since: s.Started, Expires: s.Deadline, Confirm: j.Confirm, Environment: j.Environment,
	}
	if def.Canary != nil {
		// Its samples are in the report, and the question is why it comes now.
		q.Since, q.Ask = s.Deadline.Add(-orElse(j.Expires, askTimeout)), firstNonEmpty(j.Ask, canaryAsk(def, s))
	}
	for _, r := range rules {
		q.Approvers = append(q.Approvers, r.Approvers...)
		q.Not = append(q.Not, r.Not...)
	}
	for _, dec := range d.Decisions {
		if dec.Stage == s.Name && dec.Attempt == s.Attempt && dec.What == VerbApprove {
			q.Approvals = append(q.Approvals, dec)
		}
	}
	q.Recording = d.recording(s)
	return q
}

// DecidedBack tells that a decision of this delivery was about a rollback: whether a
// deploy goes back, and not a judgement.
func (v View) DecidedBack(d Decision) bool {
	if d.What != VerbApprove && d.What != VerbReject {
		return false
	}
	return slices.ContainsFunc(v.Stages, func(s StageView) bool {
		return s.Name == d.Stage && s.Kind != KindJudgement && s.Kind != KindCanary
	})
}

// recording tells that somebody's answer is being looked at.
func (d *Delivery) recording(s *StageState) bool {
	return slices.ContainsFunc(d.Requests, func(r Request) bool {
		return (r.What == VerbApprove || r.What == VerbReject) && (r.Stage == "" || r.Stage == s.Name)
	})
}

// wayBackQuestion asks whether to roll back what must not go back by itself.
func wayBackQuestion(plan *Plan, d *Delivery, def Stage, s *StageState) Question {
	environment := def.Environment()
	q := Question{
		Token: Token(d.ID, s.Name, s.Attempt), Stage: s.Name, Attempt: s.Attempt, Quorum: 1,
		Since: s.Deadline.Add(-askTimeout), Expires: s.Deadline, Confirm: true, Environment: environment, Recording: d.recording(s), Back: true,
	}
	q.Approvers = plan.Environments[environment].Rule.Approvers // as policy.MayRollback has it
	q.Ask = fmt.Sprintf("Roll %s back to %s? What stage %s did does not go back with it.", environment, s.before(), s.Because)
	return q
}

func checkViews(s *StageState) []CheckView {
	var views []CheckView
	for _, c := range s.Checks {
		// Runs that pass are no news, and what changes with each of them would be.
		v := CheckView{Name: c.Name, Icon: "🔵", Word: "running"}
		if c.Failed > 0 || c.Passed || s.Status.Finished() {
			v.Saw = c.Saw
		}
		switch {
		case c.Passed:
			v.Icon, v.Word = "✅", "passed"
		case s.Status.Finished() && c.Runs > 0 && !c.OK && c.Failed > 0:
			v.Icon, v.Word = "❌", "failed"
		case s.Status.Finished():
			v.Icon, v.Word = "⏹️", "stopped"
		case c.Failed > 0:
			v.Word = fmt.Sprintf("running, %d failed", c.Failed)
		}
		views = append(views, v)
	}
	return views
}

// Token names one asking of one judgement. It says nothing about rights: they are
// looked up when it comes back.
func Token(delivery, stage string, attempt int) string {
	return fmt.Sprintf("%s/%s/%d", delivery, stage, attempt)
}

// ParseToken reads what Token wrote.
func ParseToken(token string) (delivery, stage string, attempt int, err error) {
	parts := strings.Split(token, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" {
		return "", "", 0, errors.New("parse judgement token: want delivery/stage/attempt")
	}
	attempt, err = strconv.Atoi(parts[2])
	if err != nil || attempt < 1 || strconv.Itoa(attempt) != parts[2] {
		return "", "", 0, errors.New("parse judgement token: want a number of an attempt")
	}
	return parts[0], parts[1], attempt, nil
}

// sentence is the status as it follows "the delivery".
func (s Status) sentence() string {
	switch s {
	case StatusSucceeded, StatusFailed:
		return "has " + string(s)
	case StatusWaiting:
		return "waits for its CI pipeline"
	default:
		return "is " + string(s)
	}
}

// Icon is an emoji for the status, the same everywhere.
func (s Status) Icon() string {
	switch s {
	case StatusLoading, StatusWaiting:
		return "⏳"
	case StatusRunning:
		return "🚢"
	case StatusSucceeded:
		return "✅"
	case StatusFailed, StatusInvalid:
		return "❌"
	case StatusRolledBack:
		return "↩️"
	case StatusRejected:
		return "⛔"
	case StatusCanceled:
		return "⏹️"
	case StatusSuperseded:
		return "⏭️"
	case StatusNone:
		return "❔"
	}
	return "❔"
}

// Icon is an emoji for the status, the same everywhere.
func (s StageStatus) Icon() string {
	switch s {
	case StagePending:
		return "⚪"
	case StageQueued:
		return "⏳"
	case StageRunning:
		return "🔵"
	case StageAsking:
		return "🙋"
	case StageRollingBack:
		return "↩️"
	case StageSucceeded:
		return "✅"
	case StageFailed:
		return "❌"
	case StageRolledBack:
		return "↩️"
	case StageRejected:
		return "⛔"
	case StageExpired:
		return "⌛"
	case StageCanceled:
		return "⏹️"
	case StageSkipped:
		return "➖"
	case StageSuperseded:
		return "⏭️"
	}
	return "❔"
}
