package gitlabsim

import (
	"fmt"
	"time"
)

const mergeRequestEvent = "merge_request_event"

func mergeRequestRef(iid int64) string { return fmt.Sprintf("refs/merge-requests/%d/head", iid) }

// Push commits to the source branch of an open merge request, and returns the commit.
func (g *GitLab) Push(projectID, iid, userID int64, files map[string]string, message string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, mr, err := g.find(projectID, iid, userID)
	if err != nil {
		return "", fmt.Errorf("push to !%d: %w", iid, err)
	}
	if mr.State != "opened" {
		return "", fmt.Errorf("push to !%d: it is %s", iid, mr.State)
	}
	before := mr.HeadSHA
	c := g.commitTo(p, CommitOptions{Branch: mr.SourceBranch, Files: files, Message: message, AuthorID: userID})
	mr.HeadSHA, mr.UpdatedAt = c.SHA, g.now()
	mr.commits = append(mr.commits, c.SHA)
	payload := g.mergeRequestPayload(p, mr, "update", userID)
	if attributes, ok := payload["object_attributes"].(obj); ok {
		attributes["oldrev"] = before
	}
	g.emit(p, eventMergeRequest, payload)
	return c.SHA, nil
}

// CloseMergeRequest closes a merge request without a merge.
func (g *GitLab) CloseMergeRequest(projectID, iid, byUserID int64) error {
	return g.turn(projectID, iid, byUserID, "close", "opened", "closed")
}

// ReopenMergeRequest opens a closed merge request again.
func (g *GitLab) ReopenMergeRequest(projectID, iid, byUserID int64) error {
	return g.turn(projectID, iid, byUserID, "reopen", "closed", "opened")
}

func (g *GitLab) turn(projectID, iid, userID int64, action, from, to string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, mr, err := g.find(projectID, iid, userID)
	if err != nil {
		return fmt.Errorf("%s !%d: %w", action, iid, err)
	}
	if mr.State != from {
		return fmt.Errorf("%s !%d: it is %s", action, iid, mr.State)
	}
	now := g.now()
	mr.State, mr.UpdatedAt, mr.ClosedAt = to, now, time.Time{}
	if to == "closed" {
		mr.ClosedAt = now
	}
	g.emit(p, eventMergeRequest, g.mergeRequestPayload(p, mr, action, userID))
	return nil
}

// StartMergeRequestPipeline starts a merge request's own CI pipeline, for its newest commit.
func (g *GitLab) StartMergeRequestPipeline(projectID, iid, userID int64) (int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, mr, err := g.find(projectID, iid, userID)
	if err != nil {
		return 0, fmt.Errorf("start CI pipeline of !%d: %w", iid, err)
	}
	if len(p.ci.Jobs) == 0 {
		return 0, fmt.Errorf("start CI pipeline of !%d: the project has no jobs", iid)
	}
	return g.startPipeline(p, Pipeline{Ref: mergeRequestRef(iid), SHA: mr.HeadSHA, Source: mergeRequestEvent, UserID: userID}).ID, nil
}
