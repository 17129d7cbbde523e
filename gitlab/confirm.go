package gitlab

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/gitlab/webhook"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// Whoever set a hook up knows its token and can say anything in its name. So a request that
// came by a hook counts only as far as GitLab itself tells the same.

const (
	commandAge = 15 * time.Minute // until a comment is too old to command
	editSlack  = 2 * time.Second  // between GitLab's times of making a comment and saving it
	clockSkew  = time.Minute      // between GitLab's clock and ours
)

// confirmed asks GitLab who made the request. The string says in words why it does not count.
func (c *Client) confirmed(ctx context.Context, t *pipeline.Task, r pipeline.Request, p *policy.Person) (string, error) {
	switch r.Via {
	case pipeline.ViaComment:
		return c.confirmComment(ctx, t, r, p)
	case pipeline.ViaDeployment:
		return c.confirmApproval(ctx, t, r, p)
	default: // Slack's are confirmed by their signature, and never get here
		return "Slipway does not know how this request came in.", nil
	}
}

func (c *Client) confirmComment(ctx context.Context, t *pipeline.Task, r pipeline.Request, p *policy.Person) (string, error) {
	project, iid := mergeRequestOf(&t.Delivery)
	n, problem, err := c.commandNote(ctx, project, iid, r)
	if err != nil || problem != "" {
		return problem, err
	}
	p.Username, p.Name = n.Author.Username, clip(oneLine(n.Author.Name), 100)
	// Maintainers can edit other people's comments, and GitLab's API does not tell who did.
	if n.CreatedAt == nil || n.UpdatedAt == nil || n.UpdatedAt.Sub(*n.CreatedAt) > editSlack {
		return "This comment was changed after it was written. Please write the command as a new comment.", nil
	}
	return c.stale(t, r, *n.CreatedAt, "Please write it again."), nil
}

// commandNote reads the comment that a request says it came from. The string says what is wrong
// with it: it isn't there, somebody else wrote it, or it says something else.
func (c *Client) commandNote(ctx context.Context, project, iid int64, r pipeline.Request) (*api.Note, string, error) {
	if project == 0 || iid == 0 || r.NoteID == 0 || c.o.Parse == nil {
		return nil, "The comment is not known.", nil
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	n, resp, err := c.api.Notes.GetMergeRequestNote(project, iid, r.NoteID, api.WithContext(ctx))
	switch {
	case statusOf(err) == http.StatusNotFound:
		return nil, "GitLab has no such comment on this merge request.", nil
	case err != nil:
		return nil, "", c.failed(ctx, call{doing: "read the comment", needs: "Reporter"}, resp, err)
	case n.System || n.Author.ID == 0 || n.Author.ID != r.GitLabID:
		return nil, "GitLab says that somebody else wrote this comment.", nil
	}
	said, ok := c.o.Parse(noteBody(n.Body))
	if !ok || said.What != r.What || said.Stage != r.Stage || said.Environment != r.Environment ||
		said.Release != r.Release || said.Argument != r.Argument || said.Reason != r.Reason {
		return nil, "GitLab says that this comment reads otherwise.", nil
	}
	return n, "", nil
}

// noteBody is as much of a comment as is read from a hook.
func noteBody(body string) string {
	body = strings.ReplaceAll(body, "\x00", "\uFFFD")
	if len(body) <= webhook.MaxNoteBytes {
		return body
	}
	n := webhook.MaxNoteBytes
	for n > 0 && !utf8.RuneStart(body[n]) {
		n--
	}
	return body[:n]
}

// approvedDeployment is what GitLab tells of a deployment and of who approved it
// (docs.gitlab.com/api/deployments); the client library leaves the approvals out.
type approvedDeployment struct {
	SHA         string `json:"sha"`
	Environment struct {
		Name string `json:"name"`
	} `json:"environment"`
	Approvals []struct {
		User struct {
			ID       int64  `json:"id"`
			Username string `json:"username"`
			Name     string `json:"name"`
		} `json:"user"`
		Status    string    `json:"status"`
		CreatedAt time.Time `json:"created_at"`
		Comment   string    `json:"comment"`
	} `json:"approvals"`
}

func (c *Client) confirmApproval(ctx context.Context, t *pipeline.Task, r pipeline.Request, p *policy.Person) (string, error) {
	want := map[pipeline.Verb]string{pipeline.VerbApprove: "approved", pipeline.VerbReject: "rejected"}[r.What]
	if r.DeploymentID == 0 || want == "" {
		return "The deployment is not known.", nil
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	var d approvedDeployment
	req, err := c.api.NewRequest(http.MethodGet, fmt.Sprintf("projects/%d/deployments/%d", t.Delivery.Project.ID, r.DeploymentID), nil,
		[]api.RequestOptionFunc{api.WithContext(ctx)})
	if err != nil {
		return "", fmt.Errorf("read deployment %d: %w", r.DeploymentID, err)
	}
	resp, err := c.api.Do(req, &d)
	switch {
	case statusOf(err) == http.StatusNotFound:
		return "GitLab has no such deployment in this project.", nil
	case err != nil:
		return "", c.failed(ctx, call{doing: "read the deployment's approvals", needs: "Reporter"}, resp, err)
	case d.SHA == "" || d.SHA != t.Delivery.SHA || d.Environment.Name != r.Environment:
		return "GitLab says that this deployment is of another commit or environment.", nil
	}
	for _, a := range d.Approvals {
		if a.User.ID != 0 && a.User.ID == r.GitLabID && a.Status == want && strings.TrimSpace(a.Comment) == strings.TrimSpace(r.Reason) {
			p.Username, p.Name = a.User.Username, clip(oneLine(a.User.Name), 100)
			return c.stale(t, r, a.CreatedAt, "Please answer here again."), nil
		}
	}
	return "GitLab does not say that this person " + want + " this deployment.", nil
}

// stale says why something written at that time is too old to count: a hook that is sent again
// must not carry an old word to a new question. "" is fresh.
func (c *Client) stale(t *pipeline.Task, r pipeline.Request, written time.Time, instead string) string {
	d, heard := &t.Delivery, r.At
	if heard.IsZero() {
		heard = c.o.Now()
	}
	switch {
	case heard.Sub(written) > commandAge:
		return "This was written more than 15 minutes before Slipway heard of it. " + instead
	case d.RollbackOf == "" && written.Before(d.MergeRequest.MergedAt), written.Before(d.Created.Add(-clockSkew)):
		return "This was written before the delivery began. " + instead
	}
	if r.What != pipeline.VerbApprove && r.What != pipeline.VerbReject {
		return ""
	}
	want := r.Stage
	if want == "" {
		want = r.Environment
	}
	for _, q := range pipeline.NewView(t.Plan, d).Questions {
		if written.Before(q.Since.Add(-clockSkew)) && (want == "" || want == q.Stage || want == q.Environment) {
			return "This was written before the question was asked. " + instead
		}
	}
	return ""
}
