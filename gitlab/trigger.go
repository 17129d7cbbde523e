package gitlab

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	// deliveryKey is the variable by which a CI pipeline that a stage started is found again.
	deliveryKey = "DELIVERY_KEY"
	maxStarted  = 100              // CI pipelines whose variables are looked at to find one
	slowStart   = 15 * time.Second // GitLab may still be making a CI pipeline when the call has been given up
	mayStart    = "Developer (or more, where the branch is protected)"
)

// startPipeline starts the stage's CI pipeline, unless an earlier try has: GitLab doesn't
// notice that it is asked twice.
func (c *Client) startPipeline(ctx context.Context, t *pipeline.Task, do pipeline.StartPipeline) (pipeline.Event, error) {
	def, _ := t.Delivery.Definition(t.Plan, do.Stage)
	if def.Trigger == nil {
		return nil, jobFailure(pipeline.ReasonOther, fmt.Sprintf("stage %q starts no CI pipeline", do.Stage))
	}
	at := def.Trigger.Ref
	if at == "" {
		at = ref(t)
	}
	if at != ref(t) && !t.Plan.MayTrigger(at) {
		return nil, jobFailure(pipeline.ReasonNotAllowed, fmt.Sprintf(
			"a stage may not start a CI pipeline on %s, but only on %s, which was merged into; an operator can allow others", clip(at, 100), clip(ref(t), 100)))
	}
	mark := t.Delivery.ID + "/" + t.Effect.Key
	var ci pipeline.JobHandle
	var err error
	if again(t) {
		if ci, err = c.findStarted(ctx, t, do.Stage, at, mark); err != nil {
			return nil, err
		}
	}
	if ci.ID == 0 {
		if ci, err = c.createPipeline(ctx, t, at, mark, def.Trigger.Variables); err != nil {
			return nil, err
		}
	}
	return pipeline.PipelineSeen{Stage: do.Stage, Attempt: do.Attempt, CI: ci}, nil
}

func (c *Client) createPipeline(ctx context.Context, t *pipeline.Task, at, mark string, given map[string]string) (pipeline.JobHandle, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	variables := []*api.PipelineVariableOptions{{Key: new(deliveryKey), Value: &mark}}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if key != deliveryKey { // ours counts, because we look for it
			variables = append(variables, &api.PipelineVariableOptions{Key: &key, Value: new(given[key])})
		}
	}
	p, resp, err := c.api.Pipelines.CreatePipeline(t.Delivery.Project.ID,
		&api.CreatePipelineOptions{Ref: &at, Variables: &variables}, api.WithContext(ctx))
	if err == nil {
		return pipeline.JobHandle{ID: p.ID, Status: p.Status, URL: safeURL(p.WebURL)}, nil
	}
	if statusOf(err) == http.StatusBadRequest && strings.Contains(err.Error(), "permissions to set pipeline variables") {
		return pipeline.JobHandle{}, &pipeline.Failure{
			Code: pipeline.ReasonRefused, Permanent: true, Unchanged: true, Err: err,
			Detail: "the project does not let Slipway's GitLab user start CI pipelines with variables: a Maintainer sets “Minimum role to use pipeline variables” to Developer (Settings → CI/CD → Variables)",
		}
	}
	err = c.failed(ctx, call{doing: "start a CI pipeline on " + clip(at, 100), needs: mayStart, makes: true}, resp, err)
	if f, ok := pipeline.AsFailure(err); ok && f.Unknown {
		f.After = slowStart
	}
	return pipeline.JobHandle{}, err
}

// findStarted finds the CI pipeline that an earlier try has started; its zero value says that
// there is none. Only those count that Slipway's own user started on this branch since the stage began.
func (c *Client) findStarted(ctx context.Context, t *pipeline.Task, stage, at, mark string) (pipeline.JobHandle, error) {
	me, err := c.Me(ctx)
	if err != nil {
		return pipeline.JobHandle{}, err
	}
	since := t.Delivery.Created
	if s := t.Delivery.Stage(stage); s != nil && !s.Started.IsZero() {
		since = s.Started
	}
	look, cancel := c.limit(ctx)
	defer cancel()
	list, resp, err := c.api.Pipelines.ListProjectPipelines(t.Delivery.Project.ID, &api.ListProjectPipelinesOptions{
		Ref: &at, Source: new(string(api.PipelineSourceAPI)), Username: &me.Username, UpdatedAfter: new(since.Add(-adoptSkew).UTC()),
		OrderBy: new("id"), Sort: new("desc"), ListOptions: api.ListOptions{PerPage: maxStarted},
	}, api.WithContext(look))
	if err != nil {
		return pipeline.JobHandle{}, c.failed(look, call{doing: "look at the CI pipelines", needs: "Reporter"}, resp, err)
	}
	for _, p := range list {
		found, shown, err := c.markOf(ctx, t.Delivery.Project.ID, p.ID)
		switch {
		case err != nil:
			return pipeline.JobHandle{}, err
		case !shown:
			return pipeline.JobHandle{}, undecided(at, "GitLab does not show the variables to find it by")
		case found == mark:
			return pipeline.JobHandle{ID: p.ID, Status: p.Status, URL: safeURL(p.WebURL)}, nil
		}
	}
	if len(list) == maxStarted {
		return pipeline.JobHandle{}, undecided(at, "too many were started since to find it")
	}
	return pipeline.JobHandle{}, nil
}

// undecided leaves it to people: a second CI pipeline may deploy twice.
func undecided(at, why string) error {
	return &pipeline.Failure{
		Code: pipeline.ReasonRefused, Permanent: true,
		Detail: fmt.Sprintf("a CI pipeline on %s may have been started, and %s, so none is started again: look at the project's CI pipelines", clip(at, 100), why),
	}
}

// markOf is the mark of a CI pipeline that a stage started, "" of every other. GitLab shows
// variables to Maintainers, and to who started the CI pipeline; of others shown is false.
func (c *Client) markOf(ctx context.Context, project, id int64) (mark string, shown bool, err error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	variables, resp, err := c.api.Pipelines.GetPipelineVariables(project, id, api.WithContext(ctx))
	switch statusOf(err) {
	case http.StatusForbidden:
		return "", false, nil
	case http.StatusNotFound: // somebody removed the CI pipeline
		return "", true, nil
	}
	if err != nil {
		return "", false, c.failed(ctx, call{doing: "look at a CI pipeline's variables", needs: mayStart}, resp, err)
	}
	for _, v := range variables {
		if v.Key == deliveryKey {
			return v.Value, true, nil
		}
	}
	return "", true, nil
}

func (c *Client) lookAtPipeline(ctx context.Context, t *pipeline.Task, do pipeline.LookAtPipeline) (pipeline.Event, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	p, resp, err := c.api.Pipelines.GetPipeline(t.Delivery.Project.ID, do.Pipeline, api.WithContext(ctx))
	if err != nil {
		return nil, c.failed(ctx, call{doing: fmt.Sprintf("look at CI pipeline %d", do.Pipeline), needs: "Reporter"}, resp, err)
	}
	return pipeline.PipelineSeen{
		Stage: do.Stage, Attempt: do.Attempt, CI: pipeline.JobHandle{ID: p.ID, Status: p.Status, URL: safeURL(p.WebURL)},
	}, nil
}
