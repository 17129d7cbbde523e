package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Effect is something to do in the outside world, asked for once by its key.
type Effect struct {
	Key string // within the delivery: "stage/attempt/what", or "what/number"
	// Slot makes effects that write the same place wait for each other; "" is free.
	Slot string
	// Latest: a newer effect of the slot replaces this one if it has not started. The
	// executor renders what is true when it runs.
	Latest bool
	Do     Action
}

// Action is what an effect does.
type Action interface {
	// ActionKind is the stable name under which the action is stored.
	ActionKind() string
}

// Actions that change the world or look at it, and whose outcome Step waits for. Each
// may end in Failed.
type (
	// LoadPlan reads .slipway.yml at the commit, compiles it and stores the plan.
	// Outcome: Planned or PlanRefused.
	LoadPlan struct{}
	// LookAtCI asks GitLab for the commit's CI pipeline. Outcome: CISeen.
	LookAtCI struct{}
	// Evaluate resolves the condition and the templates of a dynamic stage. Outcome: Evaluated.
	Evaluate struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
	}
	// Identify looks up who asks and what they may do. Outcome: Identified.
	Identify struct {
		Request Request `json:"request"`
	}
	// Apply renders the manifests at the commit and applies them. Outcome: Applied.
	Apply struct {
		Stage     string `json:"stage"`
		Attempt   int    `json:"attempt"`
		ReleaseID string `json:"release_id"`
		// Images are those of the canary that went before, with their digests: what was tested is what
		// is deployed.
		Images []Image `json:"images,omitempty"`
	}
	// Observe watches a rollout to its end. Outcome: RolledOut; Progressed between.
	Observe struct {
		Stage   string  `json:"stage"`
		Attempt int     `json:"attempt"`
		Release Release `json:"release"`
	}
	// Restore applies a recorded release. Outcome: Restored.
	Restore struct {
		Stage       string   `json:"stage"`
		Attempt     int      `json:"attempt"`
		Environment string   `json:"environment"`
		To          *Release `json:"to"` // what shall run; Step always names one
		// From is what is undone, whose further objects are removed; nil if unknown.
		From *Release `json:"from,omitempty"`
	}
	// Switch moves the traffic to a release whose pods are all available. Outcome: Switched.
	Switch struct {
		Stage       string  `json:"stage"`
		Attempt     int     `json:"attempt"`
		Environment string  `json:"environment"`
		To          Release `json:"to"`
		// From has the traffic until now; nil if unknown.
		From *Release `json:"from,omitempty"`
	}
	// Retire removes what a release has and the one that serves now hasn't. Outcome: Retired.
	Retire struct {
		Stage       string  `json:"stage"`
		Attempt     int     `json:"attempt"`
		Environment string  `json:"environment"`
		Serving     Release `json:"serving"`
		// Old is what is removed; nil if applying it failed half-way, so that it was never
		// recorded: then it is what the stage renders to.
		Old *Release `json:"old,omitempty"`
		// Also is what a failed rollback left beside Old, nil if nothing.
		Also *Release `json:"also,omitempty"`
		// Keep leaves Old's pods where they are, without traffic.
		Keep bool `json:"keep,omitempty"`
	}
	// Remove removes a blue-green release that was kept for people to look at, unless it
	// serves. No outcome.
	Remove struct {
		Environment string  `json:"environment"`
		Release     Release `json:"release"`
	}
	// RunJob makes the stage's Kubernetes Job, which runs from then on. Outcome: JobStarted.
	RunJob struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
	}
	// WatchJob watches the stage's Kubernetes Job to its end. It never makes one: what is gone may have run. Outcome: JobRan.
	WatchJob struct {
		Stage   string     `json:"stage"`
		Attempt int        `json:"attempt"`
		Job     StartedJob `json:"job"`
	}
	// StopJob removes a Kubernetes Job that nobody waits for any more, and waits until its pods
	// have ended. Outcome: JobStopped.
	StopJob struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
	}
	// RunCheck runs a check once. Outcome: Checked.
	RunCheck struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		Check   string `json:"check"` // its name
		Run     int    `json:"run"`   // 1 at first
	}
	// StartPipeline starts the stage's CI pipeline. Outcome: PipelineSeen.
	StartPipeline struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
	}
	// LookAtPipeline asks GitLab how the stage's CI pipeline is. Outcome: PipelineSeen.
	LookAtPipeline struct {
		Stage    string `json:"stage"`
		Attempt  int    `json:"attempt"`
		Pipeline int64  `json:"pipeline"`
	}
	// SendNotice sends the stage's message. Outcome: NoticeSent.
	SendNotice struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
	}
	// PlayJob plays the stage's manual job. Outcome: JobSeen.
	PlayJob struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		// Again is the job of the attempt before; it is retried, not played. 0 if none.
		Again int64 `json:"again,omitempty"`
	}
	// LookAtJob asks GitLab how the job is. Outcome: JobSeen.
	LookAtJob struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		Job     int64  `json:"job"`
	}
	// LookAtMergeRequest asks GitLab whether a review's merge request is still open.
	// Outcome: MergeRequestSeen.
	LookAtMergeRequest struct{}
	// StartTearDown stores a plan of one stage that removes the environment and starts its
	// delivery. No outcome here: the event goes to the new delivery.
	StartTearDown struct {
		Environment string    `json:"environment"`
		Closed      time.Time `json:"closed"`
		Had         time.Time `json:"had"`
		NewID       string    `json:"new_id"`
	}
	// TearDown removes everything of the project's environment, volume claims too. Outcome: TornDown.
	TearDown struct {
		Stage       string `json:"stage"`
		Attempt     int    `json:"attempt"`
		Environment string `json:"environment"`
		// Releases are what is recorded of it, oldest first.
		Releases []Release `json:"releases,omitempty"`
	}
	// StartRollback stores a plan of one rollback stage and starts its delivery.
	// No outcome here: the event goes to the new delivery.
	StartRollback struct {
		Environment string   `json:"environment"`
		To          string   `json:"to,omitempty"`
		Decision    Decision `json:"decision"`
		NewID       string   `json:"new_id"`
	}
)

// Actions that report, and the two that the engine carries out inside the transaction
// of the step (Send, Withdraw). Reports render what is true when they run; of notes and
// messages only the newest matters.
type (
	// WriteNote creates or edits the merge request note. Outcome: NoteWritten.
	WriteNote struct{}
	// WriteMessage sends or edits the Slack message. Outcome: MessageSent.
	WriteMessage struct{}
	// Ask calls people to a question that has just opened. Editing a message rings no bell,
	// so a short reply in its thread, shown in the channel too, is sent once.
	Ask struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
	}
	// WriteStatus sets the stage's commit status.
	WriteStatus struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
	}
	// WriteDeployment creates or updates the stage's GitLab deployment. Outcome: DeploymentWritten.
	WriteDeployment struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
	}
	// StopEnvironment shows the GitLab environment as stopped. No outcome.
	StopEnvironment struct {
		Environment string `json:"environment"`
	}
	// DrawChart puts the picture of a canary's samples where the merge request note can show it. Outcome: ChartDrawn.
	DrawChart struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		Samples string `json:"samples"` // the blob of the Measurement
	}
	// Answer tells one person what became of their request: an emoji on their comment,
	// a reply in its thread, or a message that only they see in Slack.
	Answer struct {
		Request Request `json:"request"`
		Taken   bool    `json:"taken"`          // accepted, or understood
		Text    string  `json:"text,omitempty"` // plain words; "" is an emoji only
	}
	// Withdraw takes back an effect that has not ended: it must not run any more.
	Withdraw struct {
		Key string `json:"key"`
	}
	// Send hands an event to another aggregate, in the transaction of the step.
	Send struct {
		Environment string          `json:"environment,omitempty"` // EnvironmentID
		Delivery    string          `json:"delivery,omitempty"`
		Kind        string          `json:"kind"`
		Data        json.RawMessage `json:"data"`
	}
)

func (LoadPlan) ActionKind() string           { return "load-plan" }
func (LookAtCI) ActionKind() string           { return "look-at-ci" }
func (Evaluate) ActionKind() string           { return "evaluate" }
func (Identify) ActionKind() string           { return "identify" }
func (Apply) ActionKind() string              { return "apply" }
func (Observe) ActionKind() string            { return "observe" }
func (Restore) ActionKind() string            { return "restore" }
func (Switch) ActionKind() string             { return "switch" }
func (Retire) ActionKind() string             { return "retire" }
func (Remove) ActionKind() string             { return "remove" }
func (RunJob) ActionKind() string             { return "run-job" }
func (WatchJob) ActionKind() string           { return "watch-job" }
func (StopJob) ActionKind() string            { return "stop-job" }
func (RunCheck) ActionKind() string           { return "run-check" }
func (StartPipeline) ActionKind() string      { return "start-pipeline" }
func (LookAtPipeline) ActionKind() string     { return "look-at-pipeline" }
func (SendNotice) ActionKind() string         { return "send-notice" }
func (PlayJob) ActionKind() string            { return "play-job" }
func (LookAtJob) ActionKind() string          { return "look-at-job" }
func (LookAtMergeRequest) ActionKind() string { return "look-at-merge-request" }
func (StartTearDown) ActionKind() string      { return "start-tear-down" }
func (TearDown) ActionKind() string           { return "tear-down" }
func (StopEnvironment) ActionKind() string    { return "stop-environment" }
func (DrawChart) ActionKind() string          { return "draw-chart" }
func (StartRollback) ActionKind() string      { return "start-rollback" }
func (WriteNote) ActionKind() string          { return "write-note" }
func (WriteMessage) ActionKind() string       { return "write-message" }
func (Ask) ActionKind() string                { return "ask" }
func (WriteStatus) ActionKind() string        { return "write-status" }
func (WriteDeployment) ActionKind() string    { return "write-deployment" }
func (Answer) ActionKind() string             { return "answer" }
func (Withdraw) ActionKind() string           { return "withdraw" }
func (Send) ActionKind() string               { return "send" }
func (StartPair) ActionKind() string          { return "start-pair" }
func (WatchPair) ActionKind() string          { return "watch-pair" }
func (WeighPair) ActionKind() string          { return "weigh-pair" }
func (Measure) ActionKind() string            { return "measure" }
func (EndPair) ActionKind() string            { return "end-pair" }

// EncodeAction is the stored form of an action.
func EncodeAction(a Action) (kind string, data []byte, err error) {
	data, err = json.Marshal(a)
	if err != nil {
		return "", nil, fmt.Errorf("encode action %s: %w", a.ActionKind(), err)
	}
	return a.ActionKind(), data, nil
}

// DecodeAction reads the stored form. Send and Withdraw have none: the engine carries them
// out when it commits the step.
func DecodeAction(kind string, data []byte) (Action, error) {
	a, err := decodeAction(kind, data)
	if err != nil {
		return nil, fmt.Errorf("decode action %s: %w", kind, err)
	}
	return a, nil
}

func decodeAction(kind string, data []byte) (Action, error) {
	switch kind {
	case "load-plan":
		return actionAs[LoadPlan](data)
	case "look-at-ci":
		return actionAs[LookAtCI](data)
	case "evaluate":
		return actionAs[Evaluate](data)
	case "identify":
		return actionAs[Identify](data)
	case "apply":
		return actionAs[Apply](data)
	case "observe":
		return actionAs[Observe](data)
	case "restore":
		return actionAs[Restore](data)
	case "switch":
		return actionAs[Switch](data)
	case "retire":
		return actionAs[Retire](data)
	case "remove":
		return actionAs[Remove](data)
	case "run-job":
		return actionAs[RunJob](data)
	case "watch-job":
		return actionAs[WatchJob](data)
	case "stop-job":
		return actionAs[StopJob](data)
	case "run-check":
		return actionAs[RunCheck](data)
	case "start-pipeline":
		return actionAs[StartPipeline](data)
	case "look-at-pipeline":
		return actionAs[LookAtPipeline](data)
	case "send-notice":
		return actionAs[SendNotice](data)
	case "play-job":
		return actionAs[PlayJob](data)
	case "look-at-job":
		return actionAs[LookAtJob](data)
	case "look-at-merge-request":
		return actionAs[LookAtMergeRequest](data)
	case "start-tear-down":
		return actionAs[StartTearDown](data)
	case "tear-down":
		return actionAs[TearDown](data)
	case "stop-environment":
		return actionAs[StopEnvironment](data)
	case "draw-chart":
		return actionAs[DrawChart](data)
	case "start-rollback":
		return actionAs[StartRollback](data)
	case "write-note":
		return actionAs[WriteNote](data)
	case "write-message":
		return actionAs[WriteMessage](data)
	case "write-status":
		return actionAs[WriteStatus](data)
	case "write-deployment":
		return actionAs[WriteDeployment](data)
	case "answer":
		return actionAs[Answer](data)
	case "ask":
		return actionAs[Ask](data)
	case "start-pair":
		return actionAs[StartPair](data)
	case "watch-pair":
		return actionAs[WatchPair](data)
	case "weigh-pair":
		return actionAs[WeighPair](data)
	case "measure":
		return actionAs[Measure](data)
	case "end-pair":
		return actionAs[EndPair](data)
	default:
		return nil, errUnknownKind
	}
}

func actionAs[A Action](data []byte) (Action, error) {
	var a A
	err := json.Unmarshal(data, &a)
	return a, err
}

// Task is one effect in the hands of its executor, with the newest state of its
// delivery. Executors have the method
//
//	Execute(ctx context.Context, t *Task) (Event, error)
//
// The event is the outcome, nil if nobody needs to hear. An error that is, or wraps,
// a *Failure says whether another try makes sense; any other error is tried again.
type Task struct {
	Plan     *Plan // nil before Planned
	Delivery Delivery
	Effect   Effect
	Attempt  int // of the effect, 1 at first
	// Unknown: an earlier attempt may have done the thing. Look before acting.
	Unknown bool
	// Progress hands an interim event to the delivery. It never blocks for long and may
	// drop what comes too fast.
	Progress func(Event)
	// Moved tells that the traffic has been moved, where that is what the effect is for: what tells people of it waits
	// until then. It is nil where nobody waits.
	Moved func()
}

// MovesTraffic tells of actions that begin with moving traffic. Nothing that can wait comes before them.
func MovesTraffic(a Action) bool {
	switch a.(type) {
	case Switch, Restore:
		return true
	}
	return false
}

// Failure is an error with what follows from it.
type Failure struct {
	Code      ReasonCode
	Detail    string        // words for people: bounded, no secrets
	Permanent bool          // no further try
	After     time.Duration // not before; 0 leaves it to the engine's backoff
	// Unknown: the call may have been carried out nevertheless.
	Unknown bool
	// Unchanged: nothing was changed before it failed, so there is nothing to roll back.
	Unchanged bool
	Err       error // for the log; may be nil
}

func (f *Failure) Error() string {
	if f.Err != nil && f.Detail != "" {
		return f.Detail + ": " + f.Err.Error()
	}
	if f.Err != nil {
		return f.Err.Error()
	}
	return f.Detail
}

func (f *Failure) Unwrap() error { return f.Err }

// AsFailure finds the *Failure in an error.
func AsFailure(err error) (*Failure, bool) {
	var f *Failure
	ok := errors.As(err, &f)
	return f, ok
}

// StageOf is the stage and attempt that an action carries on, "" and 0 if none. Reports
// carry none on: a stage does not wait for them.
func StageOf(a Action) (stage string, attempt int) {
	switch a := a.(type) {
	case Evaluate:
		return a.Stage, a.Attempt
	case Apply:
		return a.Stage, a.Attempt
	case Observe:
		return a.Stage, a.Attempt
	case Restore:
		return a.Stage, a.Attempt
	case Switch:
		return a.Stage, a.Attempt
	case Retire:
		return a.Stage, a.Attempt
	case RunJob:
		return a.Stage, a.Attempt
	case WatchJob:
		return a.Stage, a.Attempt
	case StartPair:
		return a.Stage, a.Attempt
	case WatchPair:
		return a.Stage, a.Attempt
	case WeighPair:
		return a.Stage, a.Attempt
	case Measure:
		return a.Stage, a.Attempt
	case EndPair:
		return a.Stage, a.Attempt
	case StopJob:
		return a.Stage, a.Attempt
	case TearDown:
		return a.Stage, a.Attempt
	case RunCheck:
		return a.Stage, a.Attempt
	case StartPipeline:
		return a.Stage, a.Attempt
	case LookAtPipeline:
		return a.Stage, a.Attempt
	case SendNotice:
		return a.Stage, a.Attempt
	case PlayJob:
		return a.Stage, a.Attempt
	case LookAtJob:
		return a.Stage, a.Attempt
	}
	return "", 0
}
