package gitlab

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// descriptionStart begins the environment descriptions that Slipway may replace; what people
// wrote there stays.
const descriptionStart = "Deployed by [Slipway]("

// adoptSkew is how far GitLab's clock may be behind ours when a deployment is recognised.
const adoptSkew = time.Minute

// writeDeployment makes the GitLab deployment of one attempt of a stage true: it is created
// once, as running, and then followed to its end. A finished one isn't touched again.
func (c *Client) writeDeployment(ctx context.Context, t *pipeline.Task, do pipeline.WriteDeployment) (pipeline.Event, error) {
	s := t.Delivery.Stage(do.Stage)
	if t.Plan == nil || s == nil {
		return nil, nil
	}
	def, _ := t.Delivery.Definition(t.Plan, do.Stage)
	env, want := def.Environment(), deploymentStatus(s, def.Kind, do.Attempt)
	h, known := t.Delivery.Handles.Deployment(do.Stage, do.Attempt)
	switch {
	case !def.Deploys(): // a Kubernetes Job in the environment changes no release of it
		return nil, nil
	case env == "" || want == "" || !known && do.Attempt != s.Attempt:
		return nil, nil
	case !known && def.Kind == pipeline.KindDeploy && s.Undo && s.Target == nil && s.Status.Finished():
		return nil, nil // people decided against going back, or something else runs by now
	}
	if known {
		return nil, c.followDeployment(ctx, t, h.ID, want)
	}
	d, err := c.findDeployment(ctx, t, s, env)
	if err != nil {
		return nil, err
	}
	if d == nil {
		c.ensureEnvironment(ctx, t, env)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if d, err = c.createDeployment(ctx, t, s, env); err != nil {
			return nil, err
		}
	}
	made := pipeline.DeploymentWritten{Handle: pipeline.DeploymentHandle{
		Stage: do.Stage, Attempt: do.Attempt, ID: d.ID, Environment: env, URL: environmentURL(t.Delivery.Project.URL, d),
	}}
	if endedDeployment(d.Status) || d.Status == string(want) {
		return made, nil
	}
	if err := c.setDeployment(ctx, t, d.ID, want); err != nil {
		return nil, err // the next try finds the deployment again
	}
	return made, nil
}

func (c *Client) followDeployment(ctx context.Context, t *pipeline.Task, id int64, want api.DeploymentStatusValue) error {
	look, cancel := c.limit(ctx)
	defer cancel()
	d, resp, err := c.api.Deployments.GetProjectDeployment(t.Delivery.Project.ID, id, api.WithContext(look))
	if err != nil {
		return c.failed(look, call{doing: fmt.Sprintf("look at deployment %d", id), needs: "Reporter"}, resp, err)
	}
	if endedDeployment(d.Status) || d.Status == string(want) {
		return nil
	}
	return c.setDeployment(ctx, t, id, want)
}

func (c *Client) setDeployment(ctx context.Context, t *pipeline.Task, id int64, want api.DeploymentStatusValue) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	_, resp, err := c.api.Deployments.UpdateProjectDeployment(t.Delivery.Project.ID, id,
		&api.UpdateProjectDeploymentOptions{Status: &want}, api.WithContext(ctx))
	switch {
	case err == nil:
		return nil
	case statusOf(err) == http.StatusForbidden:
		return &pipeline.Failure{
			Code: pipeline.ReasonRefused, Permanent: true, Err: err,
			Detail: fmt.Sprintf("GitLab deployment %d cannot be set to %s: a CI job owns it, or Slipway's user lacks the role Developer or the right to deploy to this protected environment", id, want),
		}
	case statusOf(err) == http.StatusBadRequest && strings.Contains(err.Error(), "transition"):
		// Somebody ended it in the meantime, and ended ones are left alone.
		c.log.InfoContext(ctx, "a deployment was ended by somebody else", "delivery", t.Delivery.ID, "deployment", id)
		return nil
	}
	return c.failed(ctx, call{doing: "update the GitLab deployment", needs: "Developer", makes: true}, resp, err)
}

// findDeployment finds the deployment that an earlier try of this attempt made and could not
// report: made by us, not by a CI job, for the same commit and environment, newer than every
// other of this delivery, and not older than the attempt. One that has ended is taken only
// where an earlier try is known, because the environment may have had the same commit before.
func (c *Client) findDeployment(ctx context.Context, t *pipeline.Task, s *pipeline.StageState, env string) (*api.Deployment, error) {
	me, err := c.Me(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	list, resp, err := c.api.Deployments.ListProjectDeployments(t.Delivery.Project.ID, &api.ListProjectDeploymentsOptions{
		Environment: &env, OrderBy: new("id"), Sort: new("desc"), ListOptions: api.ListOptions{PerPage: 50},
	}, api.WithContext(ctx))
	if err != nil {
		return nil, c.failed(ctx, call{doing: "look at the deployments", needs: "Reporter"}, resp, err)
	}
	newest := int64(0)
	for _, h := range t.Delivery.Handles.Deployments {
		newest = max(newest, h.ID)
	}
	sha := s.DeploymentSHA(t.Delivery.SHA)
	for _, d := range list {
		if d.ID <= newest || d.SHA != sha || d.Deployable.ID != 0 || d.User == nil || d.User.ID != me.ID {
			continue
		}
		if d.CreatedAt != nil && d.CreatedAt.Before(s.Started.Add(-adoptSkew)) {
			continue
		}
		if again(t) || !endedDeployment(d.Status) {
			return d, nil
		}
	}
	return nil, nil
}

func (c *Client) createDeployment(ctx context.Context, t *pipeline.Task, s *pipeline.StageState, env string) (*api.Deployment, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	sha, branch := s.DeploymentSHA(t.Delivery.SHA), ref(t)
	if s.Target != nil && s.Target.SHA == sha && s.Target.Ref != "" {
		branch = s.Target.Ref
	}
	d, resp, err := c.api.Deployments.CreateProjectDeployment(t.Delivery.Project.ID, &api.CreateProjectDeploymentOptions{
		Environment: &env, SHA: &sha, Ref: &branch, Tag: new(false), Status: new(api.DeploymentStatusRunning),
	}, api.WithContext(ctx))
	if err != nil {
		return nil, c.failed(ctx, call{doing: "create a deployment of " + clip(env, 100), needs: "Developer (or more, where the environment is protected)", makes: true}, resp, err)
	}
	return d, nil
}

// ensureEnvironment gives the environment its address, tier and description. The deployment
// is made without them, so a refusal is only logged.
func (c *Client) ensureEnvironment(ctx context.Context, t *pipeline.Task, name string) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	project, rules := t.Delivery.Project.ID, t.Plan.Environments[name]
	list, _, err := c.api.Environments.ListEnvironments(project, &api.ListEnvironmentsOptions{Name: &name}, api.WithContext(ctx))
	if err == nil {
		var e *api.Environment
		for _, found := range list {
			if found.Name == name {
				e = found
			}
		}
		err = c.writeEnvironment(ctx, project, name, e, rules, c.environmentWords(t))
	}
	if err != nil && ctx.Err() == nil {
		c.log.WarnContext(ctx, "the GitLab environment could not be described", "delivery", t.Delivery.ID, "environment", name,
			"error", c.failed(ctx, call{doing: "describe the environment", needs: "Developer"}, nil, err))
	}
}

func (c *Client) environmentWords(t *pipeline.Task) string {
	page := c.page(t.Delivery.ID)
	if page == "" {
		return ""
	}
	return fmt.Sprintf("%s%s)", descriptionStart, linkTarget(page))
}

func (c *Client) writeEnvironment(ctx context.Context, project int64, name string, e *api.Environment, rules pipeline.EnvironmentRules, words string) error {
	address, tier := optional(safeURL(rules.URL)), optional(rules.Tier)
	if e == nil {
		_, _, err := c.api.Environments.CreateEnvironment(project, &api.CreateEnvironmentOptions{
			Name: &name, ExternalURL: address, Tier: tier, Description: optional(words),
		}, api.WithContext(ctx))
		return err
	}
	change := &api.EditEnvironmentOptions{}
	if address != nil && *address != e.ExternalURL {
		change.ExternalURL = address
	}
	if tier != nil && *tier != e.Tier {
		change.Tier = tier
	}
	if words != "" && words != e.Description && (e.Description == "" || strings.HasPrefix(e.Description, descriptionStart)) {
		change.Description = &words
	}
	if *change == (api.EditEnvironmentOptions{}) {
		return nil
	}
	_, _, err := c.api.Environments.EditEnvironment(project, e.ID, change, api.WithContext(ctx))
	return err
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func environmentURL(project string, d *api.Deployment) string {
	if safeURL(project) == "" || d.Environment == nil || d.Environment.ID == 0 {
		return ""
	}
	return fmt.Sprintf("%s/-/environments/%d", strings.TrimRight(project, "/"), d.Environment.ID)
}

// deploymentStatus is what the deployment of an attempt should be, "" if there is to be none.
func deploymentStatus(s *pipeline.StageState, kind pipeline.StageKind, attempt int) api.DeploymentStatusValue {
	if attempt < s.Attempt {
		// The attempt is over: it succeeded if the next one undoes it, and failed if it repeats it.
		if kind == pipeline.KindDeploy && s.Undo && attempt == s.Attempt-1 {
			return api.DeploymentStatusSuccess
		}
		return api.DeploymentStatusFailed
	}
	// A stage that goes back on purpose deploys the older release; one that has to go back failed.
	onPurpose := s.Undo
	switch s.Status {
	case pipeline.StageRunning:
		return api.DeploymentStatusRunning
	case pipeline.StageRollingBack:
		switch {
		case onPurpose:
			return api.DeploymentStatusRunning
		case s.Ending == pipeline.StageCanceled:
			return api.DeploymentStatusCanceled
		}
		return api.DeploymentStatusFailed
	case pipeline.StageSucceeded:
		return api.DeploymentStatusSuccess
	case pipeline.StageRolledBack:
		if onPurpose {
			return api.DeploymentStatusSuccess
		}
		return api.DeploymentStatusFailed
	case pipeline.StageFailed, pipeline.StageRejected, pipeline.StageExpired:
		return api.DeploymentStatusFailed
	case pipeline.StageCanceled, pipeline.StageSuperseded:
		return api.DeploymentStatusCanceled
	case pipeline.StagePending, pipeline.StageQueued, pipeline.StageAsking, pipeline.StageSkipped:
		return ""
	}
	return ""
}

func endedDeployment(status string) bool {
	return status == "success" || status == "failed" || status == "canceled" || status == "skipped"
}
