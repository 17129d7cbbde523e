package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// What [Parse] refuses. No field of a hook leads to an error, only a body that isn't one JSON object within bounds.
var (
	errTooLarge = errors.New("the hook is larger than GitLab sends")
	errTooDeep  = errors.New("the hook is nested too deep")
	errBadJSON  = errors.New("the hook is not a JSON object")
)

const (
	// maxBytes is the largest hook that GitLab sends.
	maxBytes = 25 << 20
	// MaxNoteBytes bounds the body of a [Note]. Commands are short; the rest is a click away.
	MaxNoteBytes = 16 << 10

	maxDepth = 64
)

// Parse reads a hook that [Verifier.Verify] has accepted. The kind comes from the body, which is signed; the
// X-Gitlab-Event header only helps where the body doesn't name one, and it always says "System Hook" for hooks of
// the whole instance. An error means that the body isn't a hook at all and says why it is not.
func Parse(header http.Header, body []byte) (Hook, error) {
	if len(body) > maxBytes {
		return nil, fmt.Errorf("parse hook of %d bytes: %w", len(body), errTooLarge)
	}
	if tooDeep(body) {
		return nil, fmt.Errorf("parse hook: %w", errTooDeep)
	}
	// The whole body must be JSON; of its values only the named ones are kept in memory.
	var top *payload
	if err := json.Unmarshal(body, &top); err != nil || top == nil {
		return nil, fmt.Errorf("parse hook: %w", errBadJSON)
	}
	kind := kindOf(top, header)
	switch kind {
	case KindMergeRequest:
		return mergeRequest(top), nil
	case KindPipeline:
		return pipeline(top), nil
	case KindJob:
		return job(top), nil
	case KindNote:
		return note(top), nil
	case KindDeployment:
		return deployment(top), nil
	case KindEmoji, KindPush, KindTagPush, KindIssue, KindRelease, KindMember, KindProject, KindOther:
		return Ignored{Of: kind, Reason: "Slipway does nothing with hooks of this kind"}, nil
	default:
		return Ignored{Of: KindOther, Reason: "Slipway does nothing with hooks of this kind"}, nil
	}
}

// tooDeep counts brackets outside strings, before anything recursive looks at the body.
func tooDeep(body []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

func kindOf(p *payload, header http.Header) Kind {
	for _, said := range []string{p.ObjectKind.v, p.EventType.v, p.EventName.v, header.Get("X-Gitlab-Event")} {
		if kind, ok := kindNamed(said); ok {
			return kind
		}
		// A kind that the body names and we don't know isn't for the header to overrule.
		if said != "" {
			return KindOther
		}
	}
	return KindOther
}

// kindNamed knows the words of object_kind, event_type, event_name and X-Gitlab-Event.
func kindNamed(said string) (Kind, bool) {
	switch said {
	case "merge_request", "Merge Request Hook":
		return KindMergeRequest, true
	case "pipeline", "Pipeline Hook":
		return KindPipeline, true
	case "build", "Job Hook":
		return KindJob, true
	case "note", "confidential_note", "Note Hook", "Confidential Note Hook":
		return KindNote, true
	case "deployment", "Deployment Hook":
		return KindDeployment, true
	case "emoji", "award", "revoke", "Emoji Hook":
		return KindEmoji, true
	case "push", "Push Hook", "repository_update":
		return KindPush, true
	case "tag_push", "Tag Push Hook":
		return KindTagPush, true
	case "issue", "work_item", "confidential_issue", "Issue Hook", "Confidential Issue Hook":
		return KindIssue, true
	case "release", "Release Hook":
		return KindRelease, true
	case "user_add_to_group", "user_update_for_group", "user_remove_from_group",
		"user_add_to_team", "user_update_for_team", "user_remove_from_team", "Member Hook":
		return KindMember, true
	case "project_create", "project_destroy", "project_rename", "project_transfer", "project_update", "Project Hook":
		return KindProject, true
	}
	return "", false
}

// missing is what a hook becomes that lacks a field which its kind can't do without.
func missing(kind Kind, field string) Ignored {
	return Ignored{Of: kind, Reason: "its field " + field + " is missing or of another type"}
}

func project(p *payload) Project {
	o := p.Project.v
	id := positive(o.ID)
	for _, other := range []lax[int64]{p.ProjectID, p.Attributes.v.TargetProjectID, p.MergeRequest.v.TargetProjectID} {
		if id == 0 {
			id = positive(other)
		}
	}
	return Project{ID: id, Path: name(o.Path), WebURL: address(o.WebURL), DefaultBranch: name(o.DefaultBranch)}
}

func mergeRequest(p *payload) Hook {
	o := p.Attributes.v
	h := MergeRequest{
		Project:      project(p),
		Action:       name(o.Action),
		IID:          positive(o.IID),
		State:        name(o.State),
		Title:        text(o.Title),
		URL:          address(o.URL),
		SourceBranch: name(o.SourceBranch),
		TargetBranch: name(o.TargetBranch),
		HeadSHA:      sha(o.LastCommit.v.ID),
		OldRev:       sha(o.OldRev),
		UpdatedAt:    name(o.UpdatedAt),
		AuthorID:     positive(o.AuthorID),
		User:         user(p.User),
		System:       o.System.v,

		SourceProject: positive(o.SourceProjectID),
	}
	switch {
	case h.Project.ID == 0:
		return missing(KindMergeRequest, "project.id")
	case h.Action == "":
		return missing(KindMergeRequest, "object_attributes.action")
	case h.IID == 0:
		return missing(KindMergeRequest, "object_attributes.iid")
	}
	if h.Action != ActionMerge {
		return h
	}
	h.MergeSHA, h.MergeSource = mergeSHA(o)
	switch {
	case h.TargetBranch == "":
		return missing(KindMergeRequest, "object_attributes.target_branch")
	case h.MergeSHA == "":
		return missing(KindMergeRequest, "object_attributes.merge_commit_sha")
	}
	return h
}

// mergeSHA finds the commit that a merge put on the target branch: a merge commit is the last of the three to be
// made, a squash without one comes before it, and a fast-forward leaves only the commit itself.
func mergeSHA(o attributesPayload) (string, MergeSource) {
	if s := sha(o.MergeCommitSHA); s != "" {
		return s, FromMergeCommit
	}
	if s := sha(o.SquashCommitSHA); s != "" {
		return s, FromSquashCommit
	}
	if s := sha(o.LastCommit.v.ID); s != "" {
		return s, FromLastCommit
	}
	return "", ""
}

func pipeline(p *payload) Hook {
	o := p.Attributes.v
	h := Pipeline{
		Project:         project(p),
		ID:              positive(o.ID),
		SHA:             sha(o.SHA),
		Ref:             name(o.Ref),
		Tag:             o.Tag.v,
		Source:          name(o.Source),
		Status:          name(o.Status),
		MergeRequestIID: positive(p.MergeRequest.v.IID),
		User:            user(p.User),
	}
	switch {
	case h.Project.ID == 0:
		return missing(KindPipeline, "project.id")
	case h.ID == 0:
		return missing(KindPipeline, "object_attributes.id")
	case h.SHA == "":
		return missing(KindPipeline, "object_attributes.sha")
	case h.Ref == "":
		return missing(KindPipeline, "object_attributes.ref")
	case h.Status == "":
		return missing(KindPipeline, "object_attributes.status")
	}
	return h
}

func job(p *payload) Hook {
	h := Job{
		Project:       project(p),
		ID:            positive(p.BuildID),
		Name:          name(p.BuildName),
		Stage:         name(p.BuildStage),
		Status:        name(p.BuildStatus),
		FailureReason: name(p.BuildFailure),
		AllowFailure:  p.BuildAllowFailure.v,
		PipelineID:    positive(p.PipelineID),
		SHA:           sha(p.SHA),
		Ref:           name(p.Ref),
		Environment:   environment(p.Environment.v),
		User:          user(p.User),
	}
	if h.PipelineID == 0 {
		h.PipelineID = positive(p.Commit.v.ID)
	}
	switch {
	case h.Project.ID == 0:
		return missing(KindJob, "project_id")
	case h.ID == 0:
		return missing(KindJob, "build_id")
	case h.Name == "":
		return missing(KindJob, "build_name")
	case h.Status == "":
		return missing(KindJob, "build_status")
	case h.PipelineID == 0:
		return missing(KindJob, "pipeline_id")
	}
	return h
}

// environment reads the environment's name, which is a string in one kind of hook and an object in another.
func environment(raw json.RawMessage) string {
	var plain lax[string]
	_ = plain.UnmarshalJSON(raw)
	if s := name(plain); s != "" {
		return s
	}
	var object lax[struct {
		Name lax[string] `json:"name"`
	}]
	_ = object.UnmarshalJSON(raw)
	return name(object.v.Name)
}

func note(p *payload) Hook {
	o := p.Attributes.v
	h := Note{
		Project:         project(p),
		ID:              positive(o.ID),
		DiscussionID:    name(o.DiscussionID),
		AuthorID:        positive(o.AuthorID),
		Author:          user(p.User),
		System:          o.System.v,
		Internal:        o.Internal.v,
		URL:             address(o.URL),
		MergeRequestIID: positive(p.MergeRequest.v.IID),
	}
	h.Body, h.BodyCut = cut(o.Note.v, MaxNoteBytes)
	if h.AuthorID == 0 {
		h.AuthorID = h.Author.ID
	}
	switch {
	case o.NoteableType.v != "MergeRequest":
		return Ignored{Of: KindNote, Reason: "the comment is not on a merge request"}
	case o.Action.v == "":
		return missing(KindNote, "object_attributes.action")
	case o.Action.v != "create":
		return Ignored{Of: KindNote, Reason: "the comment is not new"}
	case h.Project.ID == 0:
		return missing(KindNote, "project.id")
	case h.ID == 0:
		return missing(KindNote, "object_attributes.id")
	case h.AuthorID == 0:
		return missing(KindNote, "object_attributes.author_id")
	case h.MergeRequestIID == 0:
		return missing(KindNote, "merge_request.iid")
	case h.Author.ID != 0 && h.Author.ID != h.AuthorID:
		// Who may command is decided by the author; a hook that names two people is nobody's word.
		return Ignored{Of: KindNote, Reason: "the comment's author is not the user of the hook"}
	}
	return h
}

func deployment(p *payload) Hook {
	h := Deployment{
		Project:         project(p),
		ID:              positive(p.DeploymentID),
		Status:          name(p.Status),
		Environment:     environment(p.Environment.v),
		Tier:            name(p.Tier),
		ShortSHA:        shortSHA(p.ShortSHA),
		Ref:             name(p.Ref),
		JobID:           positive(p.DeployableID),
		User:            user(p.User),
		Approver:        user(p.Approver),
		ApprovalComment: text(p.Approval.v.Comment),
	}
	switch {
	case h.Project.ID == 0:
		return missing(KindDeployment, "project.id")
	case h.ID == 0:
		return missing(KindDeployment, "deployment_id")
	case h.Status == "":
		return missing(KindDeployment, "status")
	case h.Environment == "":
		return missing(KindDeployment, "environment")
	}
	return h
}
