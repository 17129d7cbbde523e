package pipeline

// ReasonCode is the name of a reason: a value that code can compare and metrics can
// count. The words for people come from Reason.String.
type ReasonCode string

const (
	// Why a delivery or stage waits.
	ReasonCIRunning   ReasonCode = "ci-running"
	ReasonQueued      ReasonCode = "environment-busy"
	ReasonAsking      ReasonCode = "asking"
	ReasonTryingAgain ReasonCode = "trying-again"
	// Why it ended.
	ReasonDone           ReasonCode = "done"
	ReasonNoFile         ReasonCode = "no-pipeline-file"
	ReasonInvalidFile    ReasonCode = "invalid-pipeline-file"
	ReasonCIFailed       ReasonCode = "ci-failed"
	ReasonCIMissing      ReasonCode = "ci-missing"
	ReasonCondition      ReasonCode = "condition"
	ReasonEarlierFailed  ReasonCode = "earlier-stage-failed"
	ReasonRejected       ReasonCode = "rejected"
	ReasonExpired        ReasonCode = "expired"
	ReasonCanceled       ReasonCode = "canceled"
	ReasonSuperseded     ReasonCode = "superseded"
	ReasonTimeout        ReasonCode = "timeout"
	ReasonApproved       ReasonCode = "approved"
	ReasonStageFailed    ReasonCode = "stage-failed"
	ReasonRolledBack     ReasonCode = "rolled-back"
	ReasonNotRolledBack  ReasonCode = "rollback-failed"
	ReasonNothingToUndo  ReasonCode = "nothing-to-undo"
	ReasonStale          ReasonCode = "stale"
	ReasonJobFailed      ReasonCode = "job-failed"
	ReasonCheckFailed    ReasonCode = "check-failed"
	ReasonRunFailed      ReasonCode = "run-failed"
	ReasonRunLost        ReasonCode = "run-lost" // nobody knows how it ended, so it is not run again by itself
	ReasonPipelineFailed ReasonCode = "pipeline-failed"
	ReasonLeftovers      ReasonCode = "leftovers"
	ReasonClosed         ReasonCode = "merge-request-ended"
	ReasonTornDown       ReasonCode = "torn-down"
	// How a canary ended.
	ReasonNothingToCompare ReasonCode = "nothing-to-compare"
	ReasonCanaryPassed     ReasonCode = "canary-passed"
	ReasonCanaryFailed     ReasonCode = "canary-failed"
	ReasonCanaryGrey       ReasonCode = "canary-grey"
	ReasonCanaryUnwell     ReasonCode = "canary-unwell"
	ReasonNoSamples        ReasonCode = "no-samples"
	ReasonMeasure          ReasonCode = "measure" // asking for the metrics again would change nothing
	// What a deployer sees.
	ReasonImagePull     ReasonCode = "image-pull"
	ReasonCrashLoop     ReasonCode = "crash-loop"
	ReasonUnschedulable ReasonCode = "unschedulable"
	ReasonQuota         ReasonCode = "quota"
	ReasonForbidden     ReasonCode = "forbidden"
	ReasonConflict      ReasonCode = "conflict"
	ReasonDeadline      ReasonCode = "progress-deadline"
	ReasonManifest      ReasonCode = "manifest"
	ReasonUnreachable   ReasonCode = "unreachable"
	ReasonNotAllowed    ReasonCode = "not-allowed"
	ReasonRefused       ReasonCode = "refused" // the outside world said no for good
	ReasonOther         ReasonCode = "other"
)

// Reason says why, as a name and the particulars. Who and Detail may hold text that
// people wrote: whoever renders it escapes it.
type Reason struct {
	Code   ReasonCode `json:"code,omitempty"`
	Who    string     `json:"who,omitempty"`  // a person, a delivery
	What   string     `json:"what,omitempty"` // a stage, an environment, a release
	Detail string     `json:"detail,omitempty"`
}

// String is the reason as people read it: a sentence without its full stop.
func (r Reason) String() string {
	base := r.words()
	switch {
	case base == "":
		return r.Detail
	case r.Detail != "":
		return base + ": " + r.Detail
	}
	return base
}

func (r Reason) words() string {
	switch r.Code {
	case "", ReasonOther, ReasonStale, ReasonRunLost: // the detail says it all
		return ""
	case ReasonCIRunning:
		return "waiting for the CI pipeline"
	case ReasonQueued:
		return "waiting for " + r.What + ", which " + r.Who + " is using"
	case ReasonAsking:
		return "waiting for an approval"
	case ReasonTryingAgain:
		if r.What != "" {
			return "trying again after " + r.What
		}
		return "trying again"
	case ReasonDone:
		return "done"
	case ReasonNoFile:
		return "there is no .slipway.yml at this commit"
	case ReasonInvalidFile:
		return ".slipway.yml has errors"
	case ReasonCIFailed:
		return "the CI pipeline did not pass"
	case ReasonCIMissing:
		return "the commit has no CI pipeline"
	case ReasonCondition:
		return "its condition is not met"
	case ReasonEarlierFailed:
		return "stage " + r.What + " did not succeed"
	case ReasonRejected:
		return "rejected by " + r.Who
	case ReasonExpired:
		return "nobody answered in time"
	case ReasonCanceled:
		return "canceled by " + r.Who
	case ReasonSuperseded:
		return "superseded by " + r.Who
	case ReasonTimeout:
		return "took longer than allowed"
	case ReasonApproved:
		return "approved by " + r.Who
	case ReasonStageFailed:
		return "stage " + r.What + " failed"
	case ReasonRolledBack:
		return "rolled back to " + r.What
	case ReasonNotRolledBack:
		return "the rollback failed and it is unsure what runs in " + r.What + ", so look at it now"
	case ReasonNothingToUndo:
		return "nothing was rolled back in " + r.What
	case ReasonJobFailed:
		return "job " + r.What + " did not succeed"
	case ReasonCheckFailed:
		return "check " + r.What + " failed"
	case ReasonRunFailed:
		return "Kubernetes Job " + r.What + " failed"
	case ReasonPipelineFailed:
		return "the CI pipeline that it started did not pass"
	case ReasonLeftovers:
		return "done, but something of " + firstNonEmpty(r.What, "the release before") + " could not be removed"
	case ReasonClosed:
		return "the merge request was " + r.What
	case ReasonTornDown:
		return r.What + " was removed"
	case ReasonNothingToCompare:
		return "there is nothing to compare with in " + r.What
	case ReasonCanaryPassed:
		return "canary passed"
	case ReasonCanaryFailed:
		return "canary failed"
	case ReasonCanaryGrey:
		return "the canary is neither good nor bad"
	case ReasonCanaryUnwell:
		return "canary failed, because its pods are not well"
	case ReasonNoSamples:
		return "the canary can't be judged"
	case ReasonMeasure:
		return "the metrics can't be asked for"
	case ReasonImagePull:
		return "the image cannot be pulled"
	case ReasonCrashLoop:
		return "a container keeps crashing"
	case ReasonUnschedulable:
		return "no node can take a pod"
	case ReasonQuota:
		return "the namespace's quota is used up"
	case ReasonForbidden:
		return "the cluster forbids it"
	case ReasonConflict:
		return "somebody else manages a field"
	case ReasonDeadline:
		return "the rollout made no progress in time"
	case ReasonManifest:
		return "the manifests are wrong"
	case ReasonUnreachable:
		return "it cannot be reached"
	case ReasonNotAllowed:
		return "not allowed here"
	case ReasonRefused:
		return "refused"
	}
	return string(r.Code)
}
