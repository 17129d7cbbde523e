package gitlab

import (
	"context"
	"fmt"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Execute carries out the effects that are GitLab's: LookAtCI, Identify, PlayJob, LookAtJob,
// StartPipeline, LookAtPipeline, LookAtMergeRequest, StopEnvironment, WriteNote, WriteStatus, WriteDeployment, DrawChart, and Answer for a
// request that came by a comment.
// Every other effect is a permanent failure.
func (c *Client) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	switch do := t.Effect.Do.(type) {
	case pipeline.LookAtCI:
		return c.lookAtCI(ctx, t)
	case pipeline.Identify:
		return c.identify(ctx, t, do.Request)
	case pipeline.PlayJob:
		return c.playJob(ctx, t, do)
	case pipeline.LookAtJob:
		return c.lookAtJob(ctx, t, do)
	case pipeline.StartPipeline:
		return c.startPipeline(ctx, t, do)
	case pipeline.LookAtPipeline:
		return c.lookAtPipeline(ctx, t, do)
	case pipeline.LookAtMergeRequest:
		return c.lookAtMergeRequest(ctx, t)
	case pipeline.StopEnvironment:
		return nil, c.stopEnvironment(ctx, t, do)
	case pipeline.WriteNote:
		return c.writeNote(ctx, t)
	case pipeline.WriteStatus:
		return nil, c.writeStatus(ctx, t, do)
	case pipeline.WriteDeployment:
		return c.writeDeployment(ctx, t, do)
	case pipeline.DrawChart:
		return c.drawChart(ctx, t, do)
	case pipeline.Answer:
		return nil, c.answer(ctx, t, do)
	}
	return nil, &pipeline.Failure{
		Code: pipeline.ReasonOther, Permanent: true, Unchanged: true,
		Detail: fmt.Sprintf("GitLab cannot carry out %q", t.Effect.Do.ActionKind()),
	}
}

// again tells that an earlier try of this effect may have done something.
func again(t *pipeline.Task) bool { return t.Unknown || t.Attempt > 1 }

// ref is the branch that the delivery's commit was merged into.
func ref(t *pipeline.Task) string {
	switch {
	case t.Plan != nil && t.Plan.Commit.Ref != "":
		return t.Plan.Commit.Ref
	case t.Delivery.MergeRequest.TargetBranch != "":
		return t.Delivery.MergeRequest.TargetBranch
	}
	return t.Delivery.Project.DefaultBranch
}
