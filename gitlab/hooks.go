package gitlab

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"

	"gitlab.com/slipway-cd/slipway/gitlab/webhook"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Routed is an event with where it goes.
type Routed struct {
	// Delivery is the id of the delivery that the event is for. Where it is empty, Find says
	// which deliveries it concerns; there may be none.
	Delivery string
	Find     Find
	// Key deduplicates the same happening told by several hooks (a project's and its group's).
	// It is empty where a repetition only makes us look once more: use the hook's own key.
	Key   string
	Event pipeline.Event
}

// Find describes deliveries by what a hook knows of them. Zero fields don't narrow.
type Find struct {
	Project      int64
	MergeRequest int64  // its newest delivery is meant
	Reviews      bool   // all review deliveries of the merge request are meant
	SHA          string // in full
	ShortSHA     string // where the hook has no more: [Client.CommitSHA] finds the whole
}

// Events says what a hook means for deliveries. Without events the string says why, for a log
// line or a counter; it holds no text from the hook.
func (c *Client) Events(hook webhook.Hook) ([]Routed, string) {
	switch h := hook.(type) {
	case webhook.MergeRequest:
		return c.mergeEvents(h)
	case webhook.Pipeline:
		return c.ciEvents(h)
	case webhook.Job:
		return c.jobEvents(h)
	case webhook.Note:
		return c.noteEvents(h)
	case webhook.Deployment:
		return c.deploymentEvents(h)
	case webhook.Ignored:
		return nil, h.Reason
	}
	return nil, "Slipway does nothing with hooks of this kind"
}

func (c *Client) mergeEvents(h webhook.MergeRequest) ([]Routed, string) {
	reviews := c.reviewEvents(h)
	switch {
	case h.Action != webhook.ActionMerge && len(reviews) == 0:
		return nil, "the merge request was neither merged nor closed, and has no new commit of the project's own"
	case h.Action != webhook.ActionMerge:
		return reviews, ""
	}
	mr := pipeline.MergeRequest{
		IID: h.IID, Title: h.Title, URL: c.own(h.URL), SourceBranch: h.SourceBranch, TargetBranch: h.TargetBranch,
		AuthorID: h.AuthorID, MergedByID: h.User.ID, MergedBy: h.User.Username,
	}
	return append([]Routed{{
		Delivery: pipeline.DeliveryID(h.Project.ID, h.IID, h.MergeSHA),
		Key:      fmt.Sprintf("merge/%d/%d/%s", h.Project.ID, h.IID, h.MergeSHA),
		Event:    pipeline.Merged{Project: c.hookProject(h.Project), MergeRequest: mr, SHA: h.MergeSHA},
	}}, reviews...), ""
}

func (c *Client) hookProject(p webhook.Project) pipeline.Project {
	return pipeline.Project{ID: p.ID, Path: p.Path, URL: c.own(p.WebURL), DefaultBranch: p.DefaultBranch}
}

// own keeps an address only if it is this GitLab's: what a hook says ends up behind links
// before anything of it is looked up.
func (c *Client) own(address string) string {
	if !strings.HasPrefix(address, strings.TrimRight(c.o.URL, "/")+"/") {
		return ""
	}
	return safeURL(address)
}

func (c *Client) ciEvents(h webhook.Pipeline) ([]Routed, string) {
	switch {
	case h.Tag:
		return nil, "the CI pipeline is for a tag"
	case !branchSource(h.Source) && h.Source != "merge_request_event":
		return nil, "the CI pipeline is not the one of a merge"
	}
	ci := pipeline.CIPipeline{ID: h.ID, Status: h.Status}
	if web := c.own(h.Project.WebURL); web != "" {
		ci.URL = fmt.Sprintf("%s/-/pipelines/%d", web, h.ID)
	}
	return []Routed{{
		Find:  Find{Project: h.Project.ID, SHA: h.SHA},
		Event: pipeline.CIChanged{CI: ci},
	}}, ""
}

func (c *Client) jobEvents(h webhook.Job) ([]Routed, string) {
	if h.SHA == "" {
		return nil, "the job's commit is missing"
	}
	job := pipeline.JobHandle{ID: h.ID, Status: h.Status}
	if web := c.own(h.Project.WebURL); web != "" {
		job.URL = fmt.Sprintf("%s/-/jobs/%d", web, h.ID)
	}
	return []Routed{{
		Find:  Find{Project: h.Project.ID, SHA: h.SHA},
		Event: pipeline.JobChanged{Name: h.Name, Job: job},
	}}, ""
}

// botName matches the users that GitLab makes for project and group access tokens.
var botName = regexp.MustCompile(`^(?:project|group)_\d+_bot(?:_|\d|$)`)

func (c *Client) noteEvents(h webhook.Note) ([]Routed, string) {
	switch {
	case h.System:
		return nil, "GitLab wrote the comment"
	case c.wroteIt(h):
		return nil, "Slipway wrote the comment"
	case botName.MatchString(h.Author.Username):
		return nil, "a bot wrote the comment"
	case c.o.Parse == nil:
		return nil, "commands in comments are switched off"
	}
	r, ok := c.o.Parse(h.Body)
	if !ok {
		return nil, "the comment holds no command"
	}
	r.Key = fmt.Sprintf("note/%d", h.ID)
	r.Via, r.GitLabID, r.Username = pipeline.ViaComment, h.AuthorID, h.Author.Username
	r.NoteID, r.DiscussionID, r.At = h.ID, h.DiscussionID, c.o.Now().UTC()
	return []Routed{{
		Find: Find{Project: h.Project.ID, MergeRequest: h.MergeRequestIID},
		// The content is part of the key: comments are numbered, and nobody shall use up the
		// numbers of those to come.
		Key:   fmt.Sprintf("note/%d/%d/%x", h.Project.ID, h.ID, sha256.Sum256(fmt.Appendf(nil, "%d %s", h.AuthorID, h.Body))),
		Event: pipeline.Requested{Request: r},
	}}, ""
}

// wroteIt knows our own comments by their author, and before that is known by their marker.
func (c *Client) wroteIt(h webhook.Note) bool {
	if me := c.knownMe(); me.ID != 0 {
		return h.AuthorID == me.ID
	}
	return strings.HasPrefix(h.Body, markerStart)
}

func (c *Client) deploymentEvents(h webhook.Deployment) ([]Routed, string) {
	var verb pipeline.Verb
	switch h.Status {
	case "approved":
		verb = pipeline.VerbApprove
	case "rejected":
		verb = pipeline.VerbReject
	default:
		return nil, "the deployment was neither approved nor rejected"
	}
	if h.Approver.ID == 0 {
		return nil, "the deployment's approver is missing"
	}
	if h.ShortSHA == "" {
		return nil, "the deployment's commit is missing"
	}
	key := fmt.Sprintf("deployment/%d/%s/%d", h.ID, h.Status, h.Approver.ID)
	return []Routed{{
		Find: Find{Project: h.Project.ID, ShortSHA: h.ShortSHA},
		Key:  fmt.Sprintf("%d/%s", h.Project.ID, key),
		Event: pipeline.Requested{Request: pipeline.Request{
			Key: key, What: verb, Via: pipeline.ViaDeployment, Environment: h.Environment, Reason: h.ApprovalComment,
			GitLabID: h.Approver.ID, Username: h.Approver.Username, DeploymentID: h.ID, At: c.o.Now().UTC(),
		}},
	}}, ""
}

// branchSource tells whether a CI pipeline with this source can be the one of a merged
// commit: it ran for the branch, and by the project's own configuration.
func branchSource(source string) bool {
	switch source {
	case "push", "web", "api", "trigger", "webide", "":
		return true
	}
	return false
}
