package webhook

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// lax is a field that is left at its zero value where the payload has another type there.
// A payload struct holds nothing else, so decoding it can't fail because of a field.
type lax[T any] struct{ v T }

func (l *lax[T]) UnmarshalJSON(b []byte) error {
	var v T
	if json.Unmarshal(b, &v) == nil {
		l.v = v
	}
	return nil
}

// payload names every field that Slipway reads, of all kinds together: they share most of them.
type payload struct {
	ObjectKind lax[string] `json:"object_kind"`
	EventType  lax[string] `json:"event_type"`
	EventName  lax[string] `json:"event_name"`

	User         lax[userPayload]         `json:"user"`
	Project      lax[projectPayload]      `json:"project"`
	ProjectID    lax[int64]               `json:"project_id"`
	Attributes   lax[attributesPayload]   `json:"object_attributes"`
	MergeRequest lax[mergeRequestPayload] `json:"merge_request"`

	BuildID           lax[int64]              `json:"build_id"`
	BuildName         lax[string]             `json:"build_name"`
	BuildStage        lax[string]             `json:"build_stage"`
	BuildStatus       lax[string]             `json:"build_status"`
	BuildFailure      lax[string]             `json:"build_failure_reason"`
	BuildAllowFailure lax[bool]               `json:"build_allow_failure"`
	PipelineID        lax[int64]              `json:"pipeline_id"`
	Commit            lax[buildCommitPayload] `json:"commit"`
	SHA               lax[string]             `json:"sha"`
	Ref               lax[string]             `json:"ref"`

	Status       lax[string]          `json:"status"`
	DeploymentID lax[int64]           `json:"deployment_id"`
	DeployableID lax[int64]           `json:"deployable_id"`
	Environment  lax[json.RawMessage] `json:"environment"` // a name in a deployment hook, an object in a job hook
	Tier         lax[string]          `json:"environment_tier"`
	ShortSHA     lax[string]          `json:"short_sha"`
	Approver     lax[userPayload]     `json:"approver"`
	Approval     lax[approvalPayload] `json:"approval"`
}

type userPayload struct {
	ID       lax[int64]  `json:"id"`
	Username lax[string] `json:"username"`
	Name     lax[string] `json:"name"`
}

type projectPayload struct {
	ID            lax[int64]  `json:"id"`
	Path          lax[string] `json:"path_with_namespace"`
	WebURL        lax[string] `json:"web_url"`
	DefaultBranch lax[string] `json:"default_branch"`
}

type attributesPayload struct {
	ID              lax[int64]         `json:"id"`
	IID             lax[int64]         `json:"iid"`
	Action          lax[string]        `json:"action"`
	State           lax[string]        `json:"state"`
	Title           lax[string]        `json:"title"`
	URL             lax[string]        `json:"url"`
	SourceBranch    lax[string]        `json:"source_branch"`
	TargetBranch    lax[string]        `json:"target_branch"`
	TargetProjectID lax[int64]         `json:"target_project_id"`
	SourceProjectID lax[int64]         `json:"source_project_id"`
	OldRev          lax[string]        `json:"oldrev"`
	UpdatedAt       lax[string]        `json:"updated_at"`
	MergeCommitSHA  lax[string]        `json:"merge_commit_sha"`
	SquashCommitSHA lax[string]        `json:"squash_commit_sha"`
	LastCommit      lax[commitPayload] `json:"last_commit"`
	AuthorID        lax[int64]         `json:"author_id"`
	System          lax[bool]          `json:"system"`

	SHA    lax[string] `json:"sha"`
	Ref    lax[string] `json:"ref"`
	Tag    lax[bool]   `json:"tag"`
	Source lax[string] `json:"source"` // an object in a merge request hook
	Status lax[string] `json:"status"`

	Note         lax[string] `json:"note"`
	NoteableType lax[string] `json:"noteable_type"`
	DiscussionID lax[string] `json:"discussion_id"`
	Internal     lax[bool]   `json:"internal"`
}

type mergeRequestPayload struct {
	IID             lax[int64] `json:"iid"`
	TargetProjectID lax[int64] `json:"target_project_id"`
}

type commitPayload struct {
	ID lax[string] `json:"id"`
}

// buildCommitPayload is the commit of a job hook, whose id is really the CI pipeline's.
type buildCommitPayload struct {
	ID lax[int64] `json:"id"`
}

type approvalPayload struct {
	Comment lax[string] `json:"comment"`
}

const (
	maxTextBytes = 1024 // titles and names: cut
	maxNameBytes = 1024 // branches, environments, statuses: refused, because a cut one names something else
	maxURLBytes  = 2048
)

// cut shortens text that people wrote to max bytes, on a rune boundary, and takes out NUL, which databases refuse.
func cut(s string, limit int) (string, bool) {
	s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	if len(s) <= limit {
		return s, false
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit], true
}

func text(l lax[string]) string {
	s, _ := cut(l.v, maxTextBytes)
	return s
}

// name returns a string that identifies something, or nothing where it can't be one.
func name(l lax[string]) string {
	if len(l.v) > maxNameBytes || strings.ContainsFunc(l.v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return ""
	}
	return l.v
}

// address returns an http or https URL, or nothing: it ends up behind links.
func address(l lax[string]) string {
	s := l.v
	if len(s) > maxURLBytes || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return ""
	}
	if !strings.HasPrefix(s, "https://") && !strings.HasPrefix(s, "http://") {
		return ""
	}
	return s
}

// positive returns an id, or zero: GitLab counts from one.
func positive(l lax[int64]) int64 { return max(l.v, 0) }

// sha returns a whole commit id, or nothing. SHA-256 repositories have 64 digits.
func sha(l lax[string]) string {
	if len(l.v) != 40 && len(l.v) != 64 {
		return ""
	}
	return hexDigits(l.v)
}

func shortSHA(l lax[string]) string {
	if len(l.v) < 7 || len(l.v) > 64 {
		return ""
	}
	return hexDigits(l.v)
}

func hexDigits(s string) string {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return ""
		}
	}
	return s
}

func user(l lax[userPayload]) User {
	return User{ID: positive(l.v.ID), Username: name(l.v.Username), Name: text(l.v.Name)}
}
