package gitlab

import (
	"context"
	"net/http"
	"strings"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	statusPrefix   = "slipway/"
	reviewPrefix   = "slipway/review/" // a fast-forward merge delivers the very commit that was reviewed
	maxDescription = 140               // characters that GitLab shows beside a status
)

// writeStatus makes the stage's commit status true. GitLab moves a status forward only
// (created, pending, running, ended), finds a pending or running one again by commit, branch,
// name and user, and makes a new row once it has ended. So we look first, and write only
// where GitLab would take a step.
func (c *Client) writeStatus(ctx context.Context, t *pipeline.Task, do pipeline.WriteStatus) error {
	s := t.Delivery.Stage(do.Stage)
	if t.Plan == nil || s == nil || t.Delivery.Status == pipeline.StatusLoading || t.Delivery.Status == pipeline.StatusWaiting {
		// While the delivery waits for the CI pipeline, a pending status in it would make the
		// two wait for each other.
		return nil
	}
	want := statusFor(s.Status, t.Plan.TurnRed)
	ciPipeline, err := c.ciID(ctx, t)
	if err != nil {
		return err
	}
	now, err := c.currentStatus(ctx, t, do.Stage, ciPipeline)
	if err != nil || !takesStep(now, want) {
		return err
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	opt := &api.SetCommitStatusOptions{
		State: want, Name: new(statusName(t, do.Stage)), Description: new(statusWords(s)),
	}
	if r := statusRef(t, ciPipeline); r != "" {
		opt.Ref = &r
	}
	if page := c.page(t.Delivery.ID); page != "" {
		opt.TargetURL = &page
	}
	if ciPipeline != 0 {
		opt.PipelineID = &ciPipeline
	}
	_, resp, err := c.api.Commits.SetCommitStatus(t.Delivery.Project.ID, t.Delivery.SHA, opt, api.WithContext(ctx))
	if err == nil {
		return nil
	}
	if statusOf(err) == http.StatusBadRequest && strings.Contains(err.Error(), "Cannot transition") {
		// Somebody moved it between our look and our write: the next try looks again.
		return &pipeline.Failure{
			Code: pipeline.ReasonRefused, Permanent: t.Attempt > 3, After: conflictsWait, Err: err,
			Detail: "GitLab does not let the commit status become " + string(want),
		}
	}
	return c.failed(ctx, call{doing: "set the commit status", needs: "Developer", makes: true}, resp, err)
}

func statusName(t *pipeline.Task, stage string) string {
	if t.Delivery.Review {
		return reviewPrefix + stage
	}
	return statusPrefix + stage
}

// statusRef is the branch that the status is for. The CI pipeline of a merge request is for
// none: its number alone says which one is meant.
func statusRef(t *pipeline.Task, ciPipeline int64) string {
	if t.Delivery.Review && ciPipeline != 0 {
		return ""
	}
	return ref(t)
}

// currentStatus is the newest status of the stage, "" if there is none.
func (c *Client) currentStatus(ctx context.Context, t *pipeline.Task, stage string, ciPipeline int64) (api.BuildStateValue, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	name := statusName(t, stage)
	opt := &api.GetCommitStatusesOptions{Name: &name, ListOptions: api.ListOptions{PerPage: 100}}
	if r := statusRef(t, ciPipeline); r != "" {
		opt.Ref = &r
	}
	if ciPipeline != 0 {
		opt.PipelineID = &ciPipeline
	}
	list, resp, err := c.api.Commits.GetCommitStatuses(t.Delivery.Project.ID, t.Delivery.SHA, opt, api.WithContext(ctx))
	if err != nil {
		return "", c.failed(ctx, call{doing: "look at the commit statuses", needs: "Reporter"}, resp, err)
	}
	var newest *api.CommitStatus
	for _, s := range list {
		if ciPipeline != 0 && s.PipelineID != 0 && s.PipelineID != ciPipeline {
			continue // older servers don't filter by it
		}
		if s.Name == name && (newest == nil || s.ID > newest.ID) {
			newest = s
		}
	}
	if newest == nil {
		return "", nil
	}
	return api.BuildStateValue(newest.Status), nil
}

// takesStep tells that writing want changes something, and that GitLab allows it.
func takesStep(now, want api.BuildStateValue) bool {
	switch now {
	case want:
		return false
	case api.Running:
		return want != api.Pending && want != api.Skipped
	}
	return true
}

// statusFor is GitLab's word for a stage's status.
//
// A status counts for its CI pipeline as a job does: a failed one fails it, a canceled one
// cancels it, a skipped one does neither. So where a failed delivery must not change the CI
// pipeline's outcome, whatever goes wrong is "skipped". GitLab refuses the step from running
// to skipped, so such a stage stays pending while it runs.
func statusFor(s pipeline.StageStatus, turnRed bool) api.BuildStateValue {
	bad, stopped, busy := api.Failed, api.Canceled, api.Running
	if !turnRed {
		bad, stopped, busy = api.Skipped, api.Skipped, api.Pending
	}
	switch s {
	case pipeline.StagePending, pipeline.StageQueued, pipeline.StageAsking:
		return api.Pending
	case pipeline.StageRunning, pipeline.StageRollingBack:
		return busy
	case pipeline.StageSucceeded:
		return api.Success
	case pipeline.StageFailed, pipeline.StageRolledBack, pipeline.StageExpired:
		return bad
	case pipeline.StageRejected, pipeline.StageCanceled:
		return stopped
	case pipeline.StageSkipped, pipeline.StageSuperseded:
		return api.Skipped
	}
	return api.Pending
}

func statusWords(s *pipeline.StageState) string {
	words := string(s.Status)
	if why := s.Reason.String(); why != "" && s.Reason.Code != pipeline.ReasonDone {
		words += ": " + firstLine(why)
	}
	return clip(oneLine(words), maxDescription)
}
