package gitlab

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/gitlab/webhook"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// reviewEvents starts the review of a commit that a merge request has got, and ends those of
// one that was closed or merged.
func (c *Client) reviewEvents(h webhook.MergeRequest) []Routed {
	again := h.UpdatedAt // the same commit may be pushed twice, with another between, and be reopened
	switch h.Action {
	case webhook.ActionOpen:
		again = ""
	case webhook.ActionReopen:
	case webhook.ActionUpdate:
		if h.OldRev == "" {
			return nil // no new commits
		}
	case webhook.ActionClose, webhook.ActionMerge:
		return []Routed{{
			Find: Find{Project: h.Project.ID, MergeRequest: h.IID, Reviews: true}, Event: pipeline.Closed{},
		}}
	default:
		return nil
	}
	if h.HeadSHA == "" || h.SourceProject != 0 && h.SourceProject != h.Project.ID {
		return nil // whoever can fork the project may not use its cluster
	}
	mr := pipeline.MergeRequest{
		IID: h.IID, Title: h.Title, URL: c.own(h.URL), SourceBranch: h.SourceBranch, TargetBranch: h.TargetBranch, AuthorID: h.AuthorID,
	}
	id := pipeline.ReviewID(h.Project.ID, h.IID, h.HeadSHA, again)
	return []Routed{{
		Delivery: id, Key: fmt.Sprintf("review/%s/%s", id, h.HeadSHA),
		Event: pipeline.Proposed{Project: c.hookProject(h.Project), MergeRequest: mr, SHA: h.HeadSHA},
	}}
}

// DescribeOpen asks GitLab for an open merge request, and confirms that sha is its newest commit
// and comes from the project itself. A merge request that says otherwise is a permanent failure
// with [pipeline.ReasonStale].
func (c *Client) DescribeOpen(ctx context.Context, project, iid int64, sha string) (pipeline.Commit, pipeline.MergeRequest, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	mr, resp, err := c.api.MergeRequests.GetMergeRequest(project, iid, nil, api.WithContext(ctx))
	if err != nil {
		return pipeline.Commit{}, pipeline.MergeRequest{}, c.failed(ctx, call{doing: fmt.Sprintf("read merge request !%d", iid), needs: "Reporter"}, resp, err)
	}
	stale := ""
	switch {
	case mr.State != "opened":
		stale = "the merge request says that it is " + clip(oneLine(mr.State), 40)
	case mr.SourceProjectID != project || mr.TargetProjectID != project:
		stale = "the merge request comes from another project, and reviews are only for the project's own branches"
	case sha == "" || mr.SHA != sha:
		stale = "the merge request has a newer commit than " + pipeline.Short(sha)
	}
	if stale != "" {
		return pipeline.Commit{}, pipeline.MergeRequest{}, &pipeline.Failure{Code: pipeline.ReasonStale, Permanent: true, Unchanged: true, Detail: stale}
	}
	commit, err := c.describeCommit(ctx, project, sha, mr.SourceBranch)
	return commit, describedMergeRequest(mr), err
}

func (c *Client) lookAtMergeRequest(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	d := &t.Delivery
	mr, resp, err := c.api.MergeRequests.GetMergeRequest(d.Project.ID, d.MergeRequest.IID, nil, api.WithContext(ctx))
	if err != nil {
		return nil, c.failed(ctx, call{doing: fmt.Sprintf("read merge request !%d", d.MergeRequest.IID), needs: "Reporter"}, resp, err)
	}
	seen := pipeline.MergeRequestSeen{Merged: mr.State == "merged"}
	switch mr.State {
	case "opened":
		return pipeline.MergeRequestSeen{Open: true}, nil
	case "locked":
		return nil, &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: "GitLab is still merging the merge request", Unchanged: true}
	}
	seen.Ended = endOf(&mr.BasicMergeRequest)
	return seen, nil
}

// endOf is when a merge request was closed or merged.
func endOf(mr *api.BasicMergeRequest) time.Time {
	at := mr.ClosedAt
	if mr.State == "merged" {
		at = mr.MergedAt
	}
	if at == nil {
		at = mr.UpdatedAt
	}
	if at == nil {
		return time.Time{}
	}
	return at.UTC()
}

// MostMergeRequests is how many EndedMergeRequests may be asked for at once.
const MostMergeRequests = 100

// EndedMergeRequests tells, in one request, which of a project's merge requests were closed or merged, and when. One that
// is not there is not told.
func (c *Client) EndedMergeRequests(ctx context.Context, project int64, iids []int64) (map[int64]time.Time, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	iids = iids[:min(len(iids), MostMergeRequests)]
	list, resp, err := c.api.MergeRequests.ListProjectMergeRequests(project, &api.ListProjectMergeRequestsOptions{
		IIDs: &iids, ListOptions: api.ListOptions{PerPage: MostMergeRequests},
	}, api.WithContext(ctx))
	if err != nil {
		return nil, c.failed(ctx, call{doing: "list merge requests", needs: "Reporter"}, resp, err)
	}
	ended := map[int64]time.Time{}
	for _, mr := range list {
		if mr.State == "closed" || mr.State == "merged" {
			ended[mr.IID] = endOf(mr)
		}
	}
	return ended, nil
}

// mergeRequestRef is the branch of a merge request's own CI pipelines.
// Source: https://docs.gitlab.com/ci/pipelines/merge_request_pipelines/
func mergeRequestRef(iid int64) string { return fmt.Sprintf("refs/merge-requests/%d/head", iid) }

// runsFor tells that a CI pipeline is one of the delivery's commit: of the branch that was
// merged into; of a review, of its branch or of its merge request.
func runsFor(d *pipeline.Delivery, ref string, p *api.PipelineInfo) bool {
	if d.Review && p.Source == "merge_request_event" {
		return p.Ref == mergeRequestRef(d.MergeRequest.IID)
	}
	return branchSource(p.Source) && (ref == "" || p.Ref == ref)
}

// stopEnvironment shows an environment as stopped from which everything was removed.
func (c *Client) stopEnvironment(ctx context.Context, t *pipeline.Task, do pipeline.StopEnvironment) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	project := t.Delivery.Project.ID
	list, resp, err := c.api.Environments.ListEnvironments(project, &api.ListEnvironmentsOptions{Name: &do.Environment}, api.WithContext(ctx))
	if err != nil {
		return c.failed(ctx, call{doing: "look at the environment", needs: "Reporter"}, resp, err)
	}
	for _, e := range list {
		if e.Name != do.Environment || e.State == "stopped" {
			continue
		}
		_, resp, err := c.api.Environments.StopEnvironment(project, e.ID, &api.StopEnvironmentOptions{}, api.WithContext(ctx))
		if err != nil && statusOf(err) != http.StatusNotFound { // somebody was faster
			return c.failed(ctx, call{doing: "stop the environment", needs: "Developer (or more, where the environment is protected)"}, resp, err)
		}
	}
	return nil
}

// reviewMarker begins the one note that all reviews of a merge request share.
const reviewMarker = markerStart + "review -->"

const orderMarker = markerStart + "order "

// newerNote tells that a later review of the merge request has written the note.
func newerNote(body string, order int64) bool {
	_, rest, found := strings.Cut(body, orderMarker)
	if !found {
		return false
	}
	digits, _, _ := strings.Cut(rest, " ")
	written, err := strconv.ParseInt(digits, 10, 64)
	return err == nil && written > order
}

func markerOf(d *pipeline.Delivery) string {
	if d.Review {
		return reviewMarker
	}
	return noteMarker(d.ID)
}

// markers are the hidden lines by which a note is found again.
func markers(v pipeline.View) string {
	if v.Review {
		return fmt.Sprintf("%s\n%s%d -->\n", reviewMarker, orderMarker, v.Order)
	}
	return noteMarker(v.ID) + "\n"
}

// reviewTitle is the first words of a review's note.
func reviewTitle(v pipeline.View) string {
	if v.TearDownOf != "" {
		return tearDownTitle(v)
	}
	switch v.Status {
	case pipeline.StatusLoading:
		return "Reading " + code(FileName)
	case pipeline.StatusWaiting:
		return "Review environment: waiting for the CI pipeline"
	case pipeline.StatusRunning:
		return "Review environment: deploying"
	case pipeline.StatusSucceeded:
		return "Review environment"
	case pipeline.StatusFailed:
		return "The review environment failed"
	case pipeline.StatusRolledBack:
		return "Review environment: rolled back"
	case pipeline.StatusCanceled:
		return "Review environment: canceled"
	case pipeline.StatusSuperseded:
		return "Review environment: superseded"
	case pipeline.StatusInvalid:
		return "Nothing was deployed for review"
	case pipeline.StatusNone, pipeline.StatusRejected:
	}
	return "There is no review environment"
}

func tearDownTitle(v pipeline.View) string {
	switch v.Status {
	case pipeline.StatusRunning:
		return "Removing the review environment"
	case pipeline.StatusSucceeded:
		return "The review environment is gone"
	case pipeline.StatusSuperseded:
		return "The review environment stays"
	default:
		return "The review environment was not removed"
	}
}

// live lists what a review has brought up, with where it can be looked at.
func live(v pipeline.View) []pipeline.StageView {
	if !v.Review || v.TearDownOf != "" {
		return nil
	}
	var found []pipeline.StageView
	for _, s := range v.Stages {
		if s.Kind == pipeline.KindDeploy && s.Status == pipeline.StageSucceeded && s.URL != "" {
			found = append(found, s)
		}
	}
	return found
}
