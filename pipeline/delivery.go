package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// DeliverySchema is the version of the stored form of Delivery.
const DeliverySchema = 2

// DeliveryID names the delivery of one merged commit. The same merge always gets the
// same name, whichever hook told of it and however often.
func DeliveryID(project, mergeRequest int64, sha string) string {
	return fmt.Sprintf("%d-%d-%s", project, mergeRequest, Short(sha))
}

// ReviewID names the review delivery of one commit of a merge request that is open. again
// tells it from those before the merge request was reopened, "" if it never was.
func ReviewID(project, mergeRequest int64, sha, again string) string {
	id := DeliveryID(project, mergeRequest, sha) + "-review"
	if again != "" {
		id += "-" + hash(again)
	}
	return id
}

// tearDownID names the removal of one environment after one end of a merge request. All
// review deliveries that had the environment give it the same name, so that it is removed once.
func tearDownID(project, mergeRequest int64, environment string, at time.Time) string {
	return fmt.Sprintf("%d-%d-gone-%s", project, mergeRequest, hash(environment+"\x00"+at.UTC().Format(time.RFC3339Nano)))
}

// IsReview tells by its id that a delivery is for an open merge request, or removes what
// such a one brought.
func IsReview(id string) bool {
	return strings.Contains(id, "-review") || strings.Contains(id, "-gone-")
}

// sameMergeRequest tells that two deliveries are of one merge request of one project.
func sameMergeRequest(a, b string) bool {
	of := func(id string) string {
		parts := strings.SplitN(id, "-", 3)
		return strings.Join(parts[:min(len(parts), 2)], "-")
	}
	return of(a) == of(b)
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// Short is the abbreviated form of a commit's sha: its first 8 digits.
func Short(sha string) string {
	if len(sha) > 8 {
		return sha[:8]
	}
	return sha
}

// Status is where a delivery stands.
type Status string

const (
	StatusLoading    Status = "loading"     // the pipeline file is being read
	StatusWaiting    Status = "waiting"     // for the commit's CI pipeline
	StatusRunning    Status = "running"     // stages are under way
	StatusSucceeded  Status = "succeeded"   // every stage ended well or was skipped
	StatusFailed     Status = "failed"      // a stage failed, and what runs was left as it is
	StatusRolledBack Status = "rolled back" // a stage failed, and what was deployed went back
	StatusRejected   Status = "rejected"    // people said no
	StatusCanceled   Status = "canceled"
	StatusSuperseded Status = "superseded" // a newer delivery took its place
	StatusInvalid    Status = "invalid"    // the pipeline file is missing or wrong; nothing ran
	StatusNone       Status = "none"       // there is no delivery: only a question about one
)

// Finished tells that nothing more will happen by itself.
func (s Status) Finished() bool {
	switch s {
	case StatusLoading, StatusWaiting, StatusRunning:
		return false
	default:
		return true
	}
}

// StageStatus is where a stage stands.
type StageStatus string

const (
	StagePending     StageStatus = "pending"      // its turn has not come
	StageQueued      StageStatus = "queued"       // it waits for the environment
	StageRunning     StageStatus = "running"      //
	StageAsking      StageStatus = "asking"       // people are asked
	StageRollingBack StageStatus = "rolling back" //
	StageSucceeded   StageStatus = "succeeded"
	StageFailed      StageStatus = "failed"
	StageRolledBack  StageStatus = "rolled back" // it failed, and its environment is as before
	StageRejected    StageStatus = "rejected"
	StageExpired     StageStatus = "expired" // nobody answered in time
	StageCanceled    StageStatus = "canceled"
	StageSkipped     StageStatus = "skipped"
	StageSuperseded  StageStatus = "superseded"
)

// Finished tells that the stage has ended.
func (s StageStatus) Finished() bool {
	switch s {
	case StagePending, StageQueued, StageRunning, StageAsking, StageRollingBack:
		return false
	default:
		return true
	}
}

// bad tells that the stage has ended, and not well.
func (s StageStatus) bad() bool {
	switch s {
	case StageFailed, StageRolledBack, StageRejected, StageExpired:
		return true
	default:
		return false
	}
}

// Delivery is the state of one delivery, as Step left it. What Slipway made in the
// outside world is named in Handles.
type Delivery struct {
	Schema       int          `json:"schema"`
	ID           string       `json:"id"`
	Status       Status       `json:"status"`
	Reason       Reason       `json:"reason,omitzero"` // why it ended so, or what it waits for
	Project      Project      `json:"project"`
	MergeRequest MergeRequest `json:"merge_request"`
	SHA          string       `json:"sha"`
	PlanRef      string       `json:"plan_ref,omitempty"` // the blob that holds the Plan
	Problems     []Problem    `json:"problems,omitempty"` // of the pipeline file
	CI           CIPipeline   `json:"ci,omitzero"`
	CIWatch      CIWatch      `json:"ci_watch,omitzero"`
	Loads        int          `json:"loads,omitempty"` // of the pipeline file; grows when people retry
	Created      time.Time    `json:"created"`
	Started      time.Time    `json:"started,omitzero"` // the first stage
	Ended        time.Time    `json:"ended,omitzero"`
	Stages       []StageState `json:"stages,omitempty"` // in the order of the plan
	Decisions    []Decision   `json:"decisions,omitempty"`
	// Requests are people's wishes whose rights are being looked up, oldest first.
	Requests []Request `json:"requests,omitempty"`
	Handles  Handles   `json:"handles,omitzero"`
	// Revision grows whenever something that people see has changed.
	Revision int `json:"revision"`
	// Asked counts requests, so that each gets a key of its own.
	Asked int       `json:"asked,omitempty"`
	Wake  time.Time `json:"wake,omitzero"` // when Tick is wanted; zero if finished
	// Winding: no further stage starts; the delivery ends with this status when what runs has ended.
	Winding Status `json:"winding,omitempty"`
	// Aftermath: everything else has ended, and the stages run that follow a bad end.
	Aftermath bool `json:"aftermath,omitempty"`
	// Cause is the stage that ended badly and made the delivery wind, "" if none did.
	Cause string `json:"cause,omitempty"`
	// Warnings are what could not be done beside the stages, newest last, one per kind of effect.
	Warnings []Warning `json:"warnings,omitempty"`
	// Sent counts messages to other aggregates, so that each gets a key of its own.
	Sent int `json:"sent,omitempty"`
	// RollbackOf names the delivery that a rollback command was given to, "" otherwise.
	RollbackOf string `json:"rollback_of,omitempty"`
	// Review: its merge request is open, and what it brings goes when that is closed or merged.
	Review bool `json:"review,omitempty"`
	// TearDownOf names the review delivery whose environment this one removes, "" otherwise.
	TearDownOf string  `json:"tear_down_of,omitempty"`
	Closing    Closing `json:"closing,omitzero"`
}

// Closing is the end of the merge request that a review delivery is for.
type Closing struct {
	Looks  int       `json:"looks,omitempty"` // so that each look gets a key of its own
	At     time.Time `json:"at,omitzero"`     // by GitLab; zero while it is open
	Heard  time.Time `json:"heard,omitzero"`  // by our clock: later deliveries of a reopened one are newer
	Merged bool      `json:"merged,omitempty"`
	Told   bool      `json:"told,omitempty"` // what removes the environments was started
}

// CIPipeline is GitLab's pipeline of the commit.
type CIPipeline struct {
	ID     int64  `json:"id,omitempty"`
	Status string `json:"status,omitempty"` // GitLab's word: created, pending, running, success, failed, canceled, skipped, manual …
	URL    string `json:"url,omitempty"`
}

// CIWatch is how the core waits for the CI pipeline.
type CIWatch struct {
	Looks    int       `json:"looks,omitempty"` // so that each look gets a key of its own
	Looking  bool      `json:"looking,omitempty"`
	Again    bool      `json:"again,omitempty"` // something changed during the look
	LookAt   time.Time `json:"look_at,omitzero"`
	Since    time.Time `json:"since,omitzero"`
	Deadline time.Time `json:"deadline,omitzero"`
}

// Passed tells that nothing mandatory is left to run.
func (c CIPipeline) Passed() bool { return c.Status == "success" || c.Status == "manual" }

// Failed tells that it ended, and not well. A skipped one has proved nothing.
func (c CIPipeline) Failed() bool {
	return c.Status == "failed" || c.Status == "canceled" || c.Status == "skipped"
}

// StageState is where one stage of one delivery stands.
type StageState struct {
	Name    string      `json:"name"`
	Status  StageStatus `json:"status"`
	Attempt int         `json:"attempt,omitempty"` // 1 at first; grows with every retry, and when the stage is undone
	// Failures counts failed attempts since people last asked for a retry.
	Failures int       `json:"failures,omitempty"`
	Reason   Reason    `json:"reason,omitzero"`
	Progress string    `json:"progress,omitempty"` // "2 of 3 pods ready", "trying again: …"
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Deadline time.Time `json:"deadline,omitzero"` // of the attempt, the wait or the question
	LookAt   time.Time `json:"look_at,omitzero"`  // when a job is looked at again
	Resolved *Stage    `json:"resolved,omitempty"`
	Phase    Phase     `json:"phase,omitempty"`
	Previous *Release  `json:"previous,omitempty"` // what ran when the environment was granted
	// Unsure: Previous is only the last good release, because nobody knew what ran.
	Unsure *Unsure `json:"unsure,omitempty"`
	// Adopted names what ran when nothing was recorded yet, and can have the traffic back.
	Adopted string   `json:"adopted,omitempty"`
	Release *Release `json:"release,omitempty"` // what this stage brought
	// Alone: nothing of an earlier release is beside it, so nothing is retired when it has worked.
	Alone bool `json:"alone,omitempty"`
	// Target is the release that is being brought back, nil unless the stage rolls back.
	Target *Release `json:"target,omitempty"`
	// Held is the attempt under which the environment was granted, 0 unless the stage has
	// it. Further attempts keep the environment.
	Held int `json:"held,omitempty"`
	// Changed: an attempt before this one changed the environment, and was not taken back.
	Changed bool `json:"changed,omitempty"`
	// ReplacedBy is what has brought another release since, for people; "" while this stage's runs.
	ReplacedBy string `json:"replaced_by,omitempty"`
	// Undo: the whole attempt goes back: a rollback stage, or a deploy that had succeeded
	// and is undone because of what came after it.
	Undo bool      `json:"undo,omitempty"`
	Job  JobHandle `json:"job,omitzero"`
	// LastJob is the job of the attempt before, which a further attempt retries.
	LastJob int64 `json:"last_job,omitempty"`
	Looks   int   `json:"looks,omitempty"` // at the job, so that each gets a key of its own
	// Ending is what the stage becomes when its rollback is done, its apply has come back, or its
	// pair is gone: then pending stands for another attempt.
	Ending StageStatus `json:"ending,omitempty"`
	// Checks are how the stage's checks stand, in the order of the plan.
	Checks []CheckState `json:"checks,omitempty"`
	// Standby is until when the release before stays ready to take the traffic back.
	Standby time.Time `json:"standby,omitzero"`
	// Back: the target of a rollback has the traffic again.
	Back bool `json:"back,omitempty"`
	// Because is the stage whose work does not go back, so that people are asked whether to
	// roll back, "" if they are not. Decided: they said yes.
	Because string `json:"because,omitempty"`
	Decided bool   `json:"decided,omitempty"`
	// Begun is the Kubernetes Job that a run stage has started, nil before that. It is never started again.
	Begun *StartedJob `json:"begun,omitempty"`
	// Outcome of the Kubernetes Job that a run stage ran.
	Ran *Ran `json:"ran,omitempty"`
	// Analysis of a canary stage.
	Analysis *Analysis `json:"analysis,omitempty"`
}

// Phase is how far a stage has come within its attempt, "" if that is told by its status.
type Phase string

const (
	PhaseEvaluating Phase = "evaluating" // conditions and templates
	PhaseLocking    Phase = "locking"    // the environment was asked for
	PhaseApplying   Phase = "applying"
	PhaseObserving  Phase = "observing"
	PhaseRestoring  Phase = "restoring" // the recorded release is being applied
	PhaseVerifying  Phase = "verifying" // the recorded release is being watched
	PhaseSwitching  Phase = "switching" // the traffic is being moved to the new release
	PhaseChecking   Phase = "checking"  // checks run, and the release before is on standby
	PhaseRetiring   Phase = "retiring"  // what the release before left is being removed
	PhaseReturning  Phase = "returning" // the traffic is being moved to the recorded release
	PhaseClearing   Phase = "clearing"  // what was undone is being removed
	PhaseDeciding   Phase = "deciding"  // people are asked whether to roll back
	PhaseStopping   Phase = "stopping"  // the pods of a Kubernetes Job are ending
	PhaseRemoving   Phase = "removing"  // all that is in the environment is being removed
	PhasePairing    Phase = "pairing"   // baseline and canary are being created
	PhaseWarming    Phase = "warming"   // they run, and what they do is not judged yet
	PhaseAnalysing  Phase = "analysing" // they are compared; people are asked here, too
	PhaseUnpairing  Phase = "unpairing" // they are being removed
)

// Decision is what a person decided, with why it counted.
type Decision struct {
	Stage   string        `json:"stage,omitempty"` // of a judgement
	Attempt int           `json:"attempt,omitempty"`
	What    Verb          `json:"what"` // approve, reject, cancel, retry, rollback
	By      policy.Person `json:"by"`
	Via     Via           `json:"via"`
	At      time.Time     `json:"at"`
	Reason  string        `json:"reason,omitempty"` // the person's words
	Rule    string        `json:"rule"`             // what allowed it
}

// Verb is what a person asks for.
type Verb string

const (
	VerbApprove  Verb = "approve"
	VerbReject   Verb = "reject"
	VerbCancel   Verb = "cancel"
	VerbRetry    Verb = "retry"
	VerbRollback Verb = "rollback"
	VerbPromote  Verb = "promote" // end the standby now
	VerbStatus   Verb = "status"
	VerbHelp     Verb = "help"
	VerbUnknown  Verb = "" // a command that nobody understands; it is answered with help
)

// Via is the way by which a person's wish came in.
type Via string

const (
	ViaSlack      Via = "Slack"
	ViaComment    Via = "comment"
	ViaDeployment Via = "GitLab deployment approval"
	ViaAPI        Via = "API" // the command line, or a program
)

// Request is a person's wish on its way to a decision: who they are and what they
// may do is looked up before it counts.
type Request struct {
	Key     string `json:"key"` // unique within the delivery, which gives it
	What    Verb   `json:"what"`
	Via     Via    `json:"via"`
	Stage   string `json:"stage,omitempty"`   // of an answer; "" is the one that is asking
	Attempt int    `json:"attempt,omitempty"` // of the stage that the button was drawn for; 0 is the current one
	// Environment narrows approve and reject to what leads to it, and rollback to it.
	Environment string `json:"environment,omitempty"`
	// Release is the one that a rollback shall bring back: its id, or the beginning of its
	// commit's sha or of its version; "" is the one before.
	Release  string `json:"release,omitempty"`
	Argument string `json:"argument,omitempty"` // the rest of the command line
	Reason   string `json:"reason,omitempty"`   // the person's words
	// Who: one of these identifies the person.
	GitLabID int64  `json:"gitlab_id,omitempty"`
	Username string `json:"username,omitempty"` // shown until the look-up is done
	SlackID  string `json:"slack_id,omitempty"`
	// Where an answer goes.
	NoteID       int64     `json:"note_id,omitempty"`
	DiscussionID string    `json:"discussion_id,omitempty"`
	DeploymentID int64     `json:"deployment_id,omitempty"` // GitLab's, that was approved or rejected
	Channel      string    `json:"channel,omitempty"`
	ResponseURL  string    `json:"response_url,omitempty"`
	At           time.Time `json:"at"`
}

// Handles are the names that the outside world gave to what Slipway made there. They
// are kept so that each is made once and then edited in place.
type Handles struct {
	NoteID      int64              `json:"note_id,omitempty"`
	Channel     string             `json:"channel,omitempty"` // Slack's channel id
	TS          string             `json:"ts,omitempty"`      // Slack's name of the message
	MessageURL  string             `json:"message_url,omitempty"`
	Deployments []DeploymentHandle `json:"deployments,omitempty"`
}

// DeploymentHandle is one GitLab deployment of this delivery.
type DeploymentHandle struct {
	Stage       string `json:"stage"`
	Attempt     int    `json:"attempt"`
	ID          int64  `json:"id"`
	Environment string `json:"environment"`
	URL         string `json:"url,omitempty"`
}

// Deployment finds the handle of a stage's attempt.
func (h Handles) Deployment(stage string, attempt int) (DeploymentHandle, bool) {
	for _, d := range h.Deployments {
		if d.Stage == stage && d.Attempt == attempt {
			return d, true
		}
	}
	return DeploymentHandle{}, false
}

// Release is what runs in an environment.
type Release struct {
	ID        string    `json:"id"` // "42-7-3f2a91c0/production/1": delivery, stage and attempt
	Delivery  string    `json:"delivery"`
	SHA       string    `json:"sha"`
	Ref       string    `json:"ref,omitempty"`
	Title     string    `json:"title,omitempty"`
	Manifests string    `json:"manifests"` // blob: the whole rendered set, in order
	Images    []Image   `json:"images,omitempty"`
	Objects   int       `json:"objects"`
	Replicas  int32     `json:"replicas,omitempty"` // sum over the workloads
	By        string    `json:"by,omitempty"`       // who approved or merged
	At        time.Time `json:"at,omitzero"`
	// Bad: it failed or was rolled back, and is never gone back to.
	Bad bool `json:"bad,omitempty"`
	// How it was brought up, so that it can be brought back in the same way. "" is rolling.
	Strategy Strategy `json:"strategy,omitempty"`
	// Version tells a blue-green release from others in the cluster: the end of its
	// Deployments' names, and a label of their pods. "" otherwise.
	Version string `json:"version,omitempty"`
	// Apart: a blue-green release whose Deployments and disruption budgets leave out the pods of a canary stage. Those
	// of older ones don't, and a Deployment's selector can't be changed.
	Apart      bool          `json:"apart,omitempty"`
	Traffic    *Traffic      `json:"traffic,omitempty"`
	Prune      Prune         `json:"prune,omitempty"`
	KeepFailed time.Duration `json:"keep_failed,omitempty"`
}

// Image is a container image of a release.
type Image struct {
	Name   string `json:"name"`             // as in the manifest, with its tag
	Digest string `json:"digest,omitempty"` // "sha256:…" where the cluster told
}

// Problem is one error in the pipeline file.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // 1-based; 0 if the whole file is meant
	Column int    `json:"column,omitempty"`
	What   string `json:"what"`
	Hint   string `json:"hint,omitempty"`
}

// String is "file:line:column: what (hint)".
func (p Problem) String() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d:%d", p.Line, p.Column)
	}
	s += ": " + p.What
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}

// DeploymentSHA is the commit that the stage's GitLab deployment is for: the delivery's,
// or the older one that the stage brings back.
func (s *StageState) DeploymentSHA(delivered string) string {
	if s.Undo && s.Target != nil {
		return s.Target.SHA
	}
	return delivered
}

// Stage finds the state of a stage, nil if there is none.
func (d *Delivery) Stage(name string) *StageState {
	for i := range d.Stages {
		if d.Stages[i].Name == name {
			return &d.Stages[i]
		}
	}
	return nil
}

// Order places deliveries of one project in time: a greater one is newer. GitLab tells
// the merge to the millisecond; of two in the same one the greater number counts as newer.
func (d *Delivery) Order() int64 {
	at := d.Created
	switch {
	case d.TearDownOf != "":
		at = d.Closing.Heard
	case d.RollbackOf == "" && !d.Review && !d.MergeRequest.MergedAt.IsZero():
		at = d.MergeRequest.MergedAt
	}
	return at.UnixMilli()*1000 + d.MergeRequest.IID%1000
}
