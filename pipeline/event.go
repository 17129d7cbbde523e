package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// Event is something that happened: a hook, a decision, a timer, the outcome of an
// effect, a message from the other kind of aggregate.
type Event interface {
	// EventKind is the stable name under which the event is stored.
	EventKind() string
}

// Events that people and GitLab cause.
type (
	// Merged starts a delivery.
	Merged struct {
		Project      Project      `json:"project"`
		MergeRequest MergeRequest `json:"merge_request"`
		SHA          string       `json:"sha"`
	}
	// Proposed starts the review delivery of a commit of an open merge request.
	Proposed struct {
		Project      Project      `json:"project"`
		MergeRequest MergeRequest `json:"merge_request"`
		SHA          string       `json:"sha"`
	}
	// Closed is a hook's word that a merge request was closed or merged. It only makes a
	// review delivery look.
	Closed struct{}
	// CIChanged is a hook's word that a CI pipeline of the commit changed. It only makes
	// us look: the newest one on the right branch counts, not the one that the hook names,
	// which is kept for the history.
	CIChanged struct {
		CI CIPipeline `json:"ci"`
	}
	// JobChanged is a hook's word that a job of the commit changed. It only makes us look
	// at the one with that ID, if a stage plays it; the rest is kept for the history.
	JobChanged struct {
		Name string    `json:"name"`
		Job  JobHandle `json:"job"`
	}
	// Requested is a person's wish, before anyone knows whether they may.
	Requested struct {
		Request Request `json:"request"`
	}
	// RollbackStarted creates a delivery of one rollback stage.
	RollbackStarted struct {
		Of       string   `json:"of"` // delivery
		PlanRef  string   `json:"plan_ref"`
		Decision Decision `json:"decision"`
	}
	// TearDownStarted creates a delivery of one stage that removes an environment.
	TearDownStarted struct {
		Of      string    `json:"of"` // review delivery
		PlanRef string    `json:"plan_ref"`
		Closed  time.Time `json:"closed"` // when we heard of the merge request's end
		Had     time.Time `json:"had"`    // when Of last did something in the environment
	}
	// Tick says that the wake time has come.
	Tick struct{}
)

// Outcomes of effects.
type (
	// Planned: the pipeline file was compiled. The plan itself is in the blob.
	Planned struct {
		PlanRef string    `json:"plan_ref"`
		At      time.Time `json:"merged_at,omitzero"` // GitLab's merge time, if it told
	}
	// PlanRefused: the pipeline file is missing or wrong.
	PlanRefused struct {
		Problems []Problem `json:"problems"`
	}
	// CISeen is what a look at the commit's CI pipeline found. An ID of 0: there is none.
	CISeen struct {
		CI CIPipeline `json:"ci"`
	}
	// MergeRequestSeen is what a look at a review's merge request found.
	MergeRequestSeen struct {
		Open   bool      `json:"open"`
		Merged bool      `json:"merged,omitempty"`
		Ended  time.Time `json:"ended,omitzero"` // by GitLab
	}
	// TornDown: nothing of the environment's is left.
	TornDown struct {
		Stage   string   `json:"stage"`
		Attempt int      `json:"attempt"`
		Removed []string `json:"removed,omitempty"` // "ConfigMap shop"
	}
	// Evaluated resolves a dynamic stage.
	Evaluated struct {
		Stage    string `json:"stage"`
		Attempt  int    `json:"attempt"`
		Run      bool   `json:"run"`
		Why      string `json:"why,omitempty"` // of a "no", or of an error
		Error    bool   `json:"error,omitempty"`
		Resolved *Stage `json:"resolved,omitempty"`
	}
	// Identified answers a request with who asks and what they may do.
	Identified struct {
		Request string        `json:"request"` // its key
		Person  policy.Person `json:"person"`
	}
	// Applied: the manifests are in the cluster; the rollout is to be watched.
	Applied struct {
		Stage   string  `json:"stage"`
		Attempt int     `json:"attempt"`
		Release Release `json:"release"`
		// Adopted names what serves and is no release of Slipway's: "Deployment shop". A
		// blue-green release takes over from it, and it can have the traffic back. "" if
		// there is none.
		Adopted string `json:"adopted,omitempty"`
		// Alone: nothing of an earlier release is left beside it, so there is nothing to retire.
		Alone bool `json:"alone,omitempty"`
	}
	// RolledOut ends a watch well: everything runs and is available.
	RolledOut struct {
		Stage   string  `json:"stage"`
		Attempt int     `json:"attempt"`
		Images  []Image `json:"images,omitempty"` // with digests
	}
	// Restored: the recorded release is applied again; it is to be watched.
	Restored struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		// Serving: its pods were still ready, and have the traffic again already.
		Serving bool `json:"serving,omitempty"`
	}
	// Switched: the release has the traffic.
	Switched struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
	}
	// Retired: what the release before left is gone.
	Retired struct {
		Stage   string   `json:"stage"`
		Attempt int      `json:"attempt"`
		Removed []string `json:"removed,omitempty"` // "ConfigMap shop-old"
	}
	// JobStarted: the Kubernetes Job is in the cluster, and is never made again.
	JobStarted struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		Job     string `json:"job"` // its name in the cluster
		UID     string `json:"uid"`
	}
	// JobRan: the Kubernetes Job has ended, well or not.
	JobRan struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		Passed  bool   `json:"passed"`
		Ran     Ran    `json:"ran"`
		Detail  string `json:"detail,omitempty"` // why it did not pass, in words
	}
	// JobStopped: the Kubernetes Job that nobody waits for any more is gone, and its pods have ended.
	JobStopped struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
	}
	// Checked is what one run of a check saw.
	Checked struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		Check   string `json:"check"`
		Run     int    `json:"run"`
		Passed  bool   `json:"passed"`
		Saw     string `json:"saw"` // a sentence without full stop: bounded, no secrets
	}
	// PipelineSeen is what starting a CI pipeline, or a look at it, found.
	PipelineSeen struct {
		Stage   string    `json:"stage"`
		Attempt int       `json:"attempt"`
		CI      JobHandle `json:"ci"`
	}
	// NoticeSent: the message is in the channel.
	NoticeSent struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		URL     string `json:"url,omitempty"`
	}
	// Progressed tells how far something is. It changes what people see, nothing else.
	Progressed struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		Words   string `json:"words"`
	}
	// JobSeen is what a look at a job, or playing it, found.
	JobSeen struct {
		Stage   string    `json:"stage"`
		Attempt int       `json:"attempt"`
		Job     JobHandle `json:"job"`
	}
	// Failed: an effect could not be done, or what it watched went wrong.
	Failed struct {
		Effect  string     `json:"effect"` // kind of the effect
		Key     string     `json:"key"`
		Stage   string     `json:"stage,omitempty"`
		Attempt int        `json:"attempt,omitempty"`
		Code    ReasonCode `json:"code"`
		Detail  string     `json:"detail"` // in words, bounded, without secrets
		// Unchanged: the effect is known to have changed nothing, so nothing is rolled back.
		Unchanged bool `json:"unchanged,omitempty"`
	}
	// Delayed: an effect failed for now and is tried again.
	Delayed struct {
		Effect  string     `json:"effect"`
		Stage   string     `json:"stage,omitempty"`
		Attempt int        `json:"attempt,omitempty"`
		Code    ReasonCode `json:"code,omitempty"`
		Detail  string     `json:"detail"`
	}
	// NoteWritten: the merge request note exists.
	NoteWritten struct {
		ID int64 `json:"id"`
	}
	// MessageSent: the Slack message exists.
	MessageSent struct {
		Channel string `json:"channel"`
		TS      string `json:"ts"`
		URL     string `json:"url,omitempty"`
	}
	// DeploymentWritten: the GitLab deployment exists.
	DeploymentWritten struct {
		Handle DeploymentHandle `json:"handle"`
	}
)

// Messages between deliveries and environments.
type (
	// Enrolled tells an environment that a delivery will want it.
	Enrolled struct {
		Environment EnvironmentRef `json:"environment"`
		Enrolment   Enrolment      `json:"enrolment"`
	}
	// LockWanted asks for an environment.
	LockWanted struct {
		Environment EnvironmentRef `json:"environment"`
		Claim       Claim          `json:"claim"`
		Supersede   bool           `json:"supersede,omitempty"` // older ones that have not started end
	}
	// LockReturned gives an environment back, or a place in its queue.
	LockReturned struct {
		Delivery string   `json:"delivery"`
		Stage    string   `json:"stage"`
		Attempt  int      `json:"attempt"`
		Released *Release `json:"released,omitempty"` // what runs there now, if that changed
		// Failed is a release that must never be gone back to.
		Failed *Release `json:"failed,omitempty"`
		// Kept is a release that stays for people to look at for a while.
		Kept *Kept `json:"kept,omitempty"`
		// Unsure: it went back and failed half-way, so nobody knows what runs there. Left is what was to be taken away, and
		// Apart tells that pods of several releases may be beside each other.
		Unsure bool     `json:"unsure,omitempty"`
		Left   *Release `json:"left,omitempty"`
		Apart  bool     `json:"apart,omitempty"`
		// Emptied: nothing runs there any more.
		Emptied bool `json:"emptied,omitempty"`
	}
	// Departed: a delivery has ended and wants nothing more.
	Departed struct {
		Delivery string `json:"delivery"`
	}
	// LockGranted: the stage has the environment for itself.
	LockGranted struct {
		Environment string `json:"environment"`
		Stage       string `json:"stage"`
		Attempt     int    `json:"attempt"`
		// Current is what runs, or the last good release where that is unsure.
		Current *Release `json:"current,omitempty"`
		Unsure  *Unsure  `json:"unsure,omitempty"`
		// Target is the release that a rollback goes to; nil if there is none.
		Target *Release `json:"target,omitempty"`
		// Why says why there is none.
		Why string `json:"why,omitempty"`
		// Compare is the release that a canary asked to be compared with; Why says why there is none.
		Compare *Release `json:"compare,omitempty"`
		// Releases are all that are remembered, for a stage that removes the environment.
		Releases []Release `json:"releases,omitempty"`
	}
	// LockQueued: somebody else has the environment.
	LockQueued struct {
		Environment string `json:"environment"`
		Stage       string `json:"stage"`
		Attempt     int    `json:"attempt"`
		Holder      string `json:"holder"` // its name, for people
	}
	// KeepEnded: a release that was kept for people to look at may be removed.
	KeepEnded struct {
		Environment string  `json:"environment"`
		Release     Release `json:"release"`
	}
	// Replaced: a release that a delivery brought no longer runs, or runs again.
	Replaced struct {
		Environment string `json:"environment"`
		// Release is its id, "" if it was never recorded because its own rollback has failed.
		Release string `json:"release,omitempty"`
		By      string `json:"by,omitempty"` // the name of what brought another one, for people; "" if it runs again
	}
	// Superseded: a newer delivery was there first, or wants to be.
	Superseded struct {
		Environment string `json:"environment"`
		By          string `json:"by"` // its name, for people
	}
)

// EnvironmentRef says which environment a message is for, so that the first message
// can create it.
type EnvironmentRef struct {
	Project int64  `json:"project"`
	Name    string `json:"name"`
}

func (Merged) EventKind() string            { return "merged" }
func (Proposed) EventKind() string          { return "proposed" }
func (Closed) EventKind() string            { return "closed" }
func (TearDownStarted) EventKind() string   { return "tear-down-started" }
func (MergeRequestSeen) EventKind() string  { return "merge-request-seen" }
func (TornDown) EventKind() string          { return "torn-down" }
func (CIChanged) EventKind() string         { return "ci-changed" }
func (CISeen) EventKind() string            { return "ci-seen" }
func (JobChanged) EventKind() string        { return "job-changed" }
func (Requested) EventKind() string         { return "requested" }
func (RollbackStarted) EventKind() string   { return "rollback-started" }
func (Tick) EventKind() string              { return "tick" }
func (Planned) EventKind() string           { return "planned" }
func (PlanRefused) EventKind() string       { return "plan-refused" }
func (Evaluated) EventKind() string         { return "evaluated" }
func (Identified) EventKind() string        { return "identified" }
func (Applied) EventKind() string           { return "applied" }
func (RolledOut) EventKind() string         { return "rolled-out" }
func (Restored) EventKind() string          { return "restored" }
func (Switched) EventKind() string          { return "switched" }
func (Retired) EventKind() string           { return "retired" }
func (JobStarted) EventKind() string        { return "job-started" }
func (JobRan) EventKind() string            { return "job-ran" }
func (JobStopped) EventKind() string        { return "job-stopped" }
func (Checked) EventKind() string           { return "checked" }
func (PipelineSeen) EventKind() string      { return "pipeline-seen" }
func (NoticeSent) EventKind() string        { return "notice-sent" }
func (Replaced) EventKind() string          { return "replaced" }
func (KeepEnded) EventKind() string         { return "keep-ended" }
func (Progressed) EventKind() string        { return "progressed" }
func (JobSeen) EventKind() string           { return "job-seen" }
func (Failed) EventKind() string            { return "failed" }
func (Delayed) EventKind() string           { return "delayed" }
func (NoteWritten) EventKind() string       { return "note-written" }
func (MessageSent) EventKind() string       { return "message-sent" }
func (DeploymentWritten) EventKind() string { return "deployment-written" }
func (Enrolled) EventKind() string          { return "enrolled" }
func (LockWanted) EventKind() string        { return "lock-wanted" }
func (LockReturned) EventKind() string      { return "lock-returned" }
func (Departed) EventKind() string          { return "departed" }
func (LockGranted) EventKind() string       { return "lock-granted" }
func (LockQueued) EventKind() string        { return "lock-queued" }
func (Superseded) EventKind() string        { return "superseded" }
func (Paired) EventKind() string            { return "paired" }
func (PairUnwell) EventKind() string        { return "pair-unwell" }
func (Weighed) EventKind() string           { return "weighed" }
func (Sampled) EventKind() string           { return "sampled" }
func (ChartDrawn) EventKind() string        { return "chart-drawn" }
func (PairEnded) EventKind() string         { return "pair-ended" }

// EncodeEvent is the stored form of an event.
func EncodeEvent(e Event) (kind string, data []byte, err error) {
	data, err = json.Marshal(e)
	if err != nil {
		return "", nil, fmt.Errorf("encode event %s: %w", e.EventKind(), err)
	}
	return e.EventKind(), data, nil
}

// DecodeEvent reads the stored form. An unknown kind is an error: it was written by a
// newer version.
func DecodeEvent(kind string, data []byte) (Event, error) {
	e, err := decodeEvent(kind, data)
	if err != nil {
		return nil, fmt.Errorf("decode event %s: %w", kind, err)
	}
	return e, nil
}

func decodeEvent(kind string, data []byte) (Event, error) {
	switch kind {
	case "merged":
		return decodeAs[Merged](data)
	case "proposed":
		return decodeAs[Proposed](data)
	case "closed":
		return decodeAs[Closed](data)
	case "tear-down-started":
		return decodeAs[TearDownStarted](data)
	case "merge-request-seen":
		return decodeAs[MergeRequestSeen](data)
	case "torn-down":
		return decodeAs[TornDown](data)
	case "ci-changed":
		return decodeAs[CIChanged](data)
	case "ci-seen":
		return decodeAs[CISeen](data)
	case "job-changed":
		return decodeAs[JobChanged](data)
	case "requested":
		return decodeAs[Requested](data)
	case "rollback-started":
		return decodeAs[RollbackStarted](data)
	case "tick":
		return decodeAs[Tick](data)
	case "planned":
		return decodeAs[Planned](data)
	case "plan-refused":
		return decodeAs[PlanRefused](data)
	case "evaluated":
		return decodeAs[Evaluated](data)
	case "identified":
		return decodeAs[Identified](data)
	case "applied":
		return decodeAs[Applied](data)
	case "rolled-out":
		return decodeAs[RolledOut](data)
	case "restored":
		return decodeAs[Restored](data)
	case "switched":
		return decodeAs[Switched](data)
	case "retired":
		return decodeAs[Retired](data)
	case "job-started":
		return decodeAs[JobStarted](data)
	case "job-ran":
		return decodeAs[JobRan](data)
	case "job-stopped":
		return decodeAs[JobStopped](data)
	case "checked":
		return decodeAs[Checked](data)
	case "pipeline-seen":
		return decodeAs[PipelineSeen](data)
	case "notice-sent":
		return decodeAs[NoticeSent](data)
	case "replaced":
		return decodeAs[Replaced](data)
	case "keep-ended":
		return decodeAs[KeepEnded](data)
	case "progressed":
		return decodeAs[Progressed](data)
	case "job-seen":
		return decodeAs[JobSeen](data)
	case "failed":
		return decodeAs[Failed](data)
	case "delayed":
		return decodeAs[Delayed](data)
	case "note-written":
		return decodeAs[NoteWritten](data)
	case "message-sent":
		return decodeAs[MessageSent](data)
	case "deployment-written":
		return decodeAs[DeploymentWritten](data)
	case "enrolled":
		return decodeAs[Enrolled](data)
	case "lock-wanted":
		return decodeAs[LockWanted](data)
	case "lock-returned":
		return decodeAs[LockReturned](data)
	case "departed":
		return decodeAs[Departed](data)
	case "lock-granted":
		return decodeAs[LockGranted](data)
	case "lock-queued":
		return decodeAs[LockQueued](data)
	case "superseded":
		return decodeAs[Superseded](data)
	case "paired":
		return decodeAs[Paired](data)
	case "pair-unwell":
		return decodeAs[PairUnwell](data)
	case "weighed":
		return decodeAs[Weighed](data)
	case "sampled":
		return decodeAs[Sampled](data)
	case "chart-drawn":
		return decodeAs[ChartDrawn](data)
	case "pair-ended":
		return decodeAs[PairEnded](data)
	default:
		return nil, errUnknownKind
	}
}

func decodeAs[E Event](data []byte) (Event, error) {
	var e E
	err := json.Unmarshal(data, &e)
	return e, err
}

// errUnknownKind of an event or an action: a newer version wrote it.
var errUnknownKind = errors.New("the kind is not known")
