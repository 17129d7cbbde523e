package gitlab

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	maxJobs    = 500 // of one CI pipeline that are looked through
	namedInAll = 20  // jobs that an error message names
)

func (c *Client) lookAtCI(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	ci, err := c.newestCI(ctx, t)
	if err != nil {
		return nil, err
	}
	return pipeline.CISeen{CI: ci}, nil
}

// newestCI is the newest CI pipeline of the delivery's commit, the zero value if there is none.
func (c *Client) newestCI(ctx context.Context, t *pipeline.Task) (pipeline.CIPipeline, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	project, sha, ref := t.Delivery.Project.ID, t.Delivery.SHA, ref(t)
	opt := &api.ListProjectPipelinesOptions{
		SHA: &sha, OrderBy: new("id"), Sort: new("desc"), ListOptions: api.ListOptions{PerPage: 50},
	}
	if ref != "" && !t.Delivery.Review { // a review's may be of its branch or of its merge request
		opt.Ref = &ref
	}
	list, resp, err := c.api.Pipelines.ListProjectPipelines(project, opt, api.WithContext(ctx))
	if err != nil {
		return pipeline.CIPipeline{}, c.failed(ctx, call{doing: "look at the CI pipelines", needs: "Reporter"}, resp, err)
	}
	for _, p := range list { // the newest first
		if !runsFor(&t.Delivery, ref, p) || p.SHA != sha {
			continue
		}
		if p.Source == string(api.PipelineSourceAPI) {
			// A stage may have started it for this very commit. What that proves is the stage's
			// matter, not the commit's.
			mark, _, err := c.markOf(ctx, project, p.ID)
			if err != nil {
				return pipeline.CIPipeline{}, err
			}
			if mark != "" {
				continue
			}
		}
		return pipeline.CIPipeline{ID: p.ID, Status: p.Status, URL: safeURL(p.WebURL)}, nil
	}
	return pipeline.CIPipeline{}, nil
}

// ciID is the CI pipeline that the delivery belongs to, 0 if there is none.
func (c *Client) ciID(ctx context.Context, t *pipeline.Task) (int64, error) {
	if t.Delivery.CI.ID != 0 {
		return t.Delivery.CI.ID, nil
	}
	ci, err := c.newestCI(ctx, t)
	return ci.ID, err
}

func (c *Client) playJob(ctx context.Context, t *pipeline.Task, do pipeline.PlayJob) (pipeline.Event, error) {
	name, err := jobName(t, do.Stage)
	if err != nil {
		return nil, err
	}
	if !t.Plan.MayPlay(name) {
		return nil, jobFailure(pipeline.ReasonNotAllowed, fmt.Sprintf("a stage of this project may not play the job %q; an operator can allow it with jobs", clip(name, 100)))
	}
	id, err := c.ciID(ctx, t)
	if err != nil {
		return nil, err
	}
	if id == 0 {
		return nil, jobFailure(pipeline.ReasonCIMissing, fmt.Sprintf("so there is no job %q to play", name))
	}
	job, err := c.findJob(ctx, t.Delivery.Project.ID, id, name)
	if err != nil {
		return nil, err
	}
	if job, err = c.startJob(ctx, t, do, job); err != nil {
		return nil, err
	}
	return pipeline.JobSeen{Stage: do.Stage, Attempt: do.Attempt, Job: jobHandle(job)}, nil
}

// startJob plays the job, retries it, or takes it as it is.
func (c *Client) startJob(ctx context.Context, t *pipeline.Task, do pipeline.PlayJob, job *api.Job) (*api.Job, error) {
	ended := job.Status == "failed" || job.Status == "canceled" || job.Status == "success" || job.Status == "skipped"
	started := do.Again != 0 && job.ID > do.Again // the retry of an earlier try
	switch {
	case job.Status == "manual":
		return c.start(ctx, t, job, "play")
	case started || !ended:
		return job, nil
	case do.Again != 0:
		return c.start(ctx, t, job, "retry")
	case job.Status == "success" || t.Unknown:
		return job, nil // somebody played it before, or our own lost call did
	case job.Status == "skipped":
		return nil, jobFailure(pipeline.ReasonJobFailed, fmt.Sprintf("job %q was skipped by its CI pipeline", job.Name))
	}
	return c.start(ctx, t, job, "retry")
}

func (c *Client) start(ctx context.Context, t *pipeline.Task, job *api.Job, how string) (*api.Job, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	project := t.Delivery.Project.ID
	var played *api.Job
	var resp *api.Response
	var err error
	if how == "play" {
		played, resp, err = c.api.Jobs.PlayJob(project, job.ID, &api.PlayJobOptions{}, api.WithContext(ctx))
	} else {
		played, resp, err = c.api.Jobs.RetryJob(project, job.ID, api.WithContext(ctx))
	}
	if err == nil {
		return played, nil
	}
	k := call{doing: fmt.Sprintf("%s job %q", how, clip(job.Name, 100)), needs: "Developer (or more, where the branch or environment is protected)", makes: true}
	if statusOf(err) == http.StatusBadRequest {
		// Somebody was faster: the job is no longer playable, and the next try takes it.
		return nil, &pipeline.Failure{
			Code: pipeline.ReasonRefused, Permanent: t.Attempt > 3, After: conflictsWait, Err: err,
			Detail: fmt.Sprintf("GitLab says that job %q cannot be started now", clip(job.Name, 100)),
		}
	}
	return nil, c.failed(ctx, k, resp, err)
}

// findJob finds the newest run of a job by its name.
func (c *Client) findJob(ctx context.Context, project, ciPipeline int64, name string) (*api.Job, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	var found *api.Job
	var names []string
	opt := &api.ListJobsOptions{ListOptions: api.ListOptions{PerPage: 100, Page: 1}}
	for seen := 0; seen < maxJobs; {
		jobs, resp, err := c.api.Jobs.ListPipelineJobs(project, ciPipeline, opt, api.WithContext(ctx))
		if err != nil {
			return nil, c.failed(ctx, call{doing: "look at the CI pipeline's jobs", needs: "Reporter"}, resp, err)
		}
		for _, j := range jobs {
			if j.Name == name && (found == nil || j.ID > found.ID) {
				found = j
			}
			names = append([]string{clip(j.Name, 60)}, names...) // GitLab lists the newest first
		}
		seen += len(jobs)
		if resp.NextPage == 0 || len(jobs) == 0 {
			break
		}
		opt.Page = resp.NextPage
	}
	if found != nil {
		return found, nil
	}
	return nil, jobFailure(pipeline.ReasonRefused, fmt.Sprintf("there is no job %q in CI pipeline %d; %s", name, ciPipeline, jobNames(names)))
}

func jobNames(names []string) string {
	switch {
	case len(names) == 0:
		return "it has no jobs"
	case len(names) > namedInAll:
		return fmt.Sprintf("its jobs are %s and %d more", strings.Join(names[:namedInAll], ", "), len(names)-namedInAll)
	}
	return "its jobs are " + strings.Join(names, ", ")
}

func (c *Client) lookAtJob(ctx context.Context, t *pipeline.Task, do pipeline.LookAtJob) (pipeline.Event, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	job, resp, err := c.api.Jobs.GetJob(t.Delivery.Project.ID, do.Job, api.WithContext(ctx))
	if err != nil {
		return nil, c.failed(ctx, call{doing: fmt.Sprintf("look at job %d", do.Job), needs: "Reporter"}, resp, err)
	}
	return pipeline.JobSeen{Stage: do.Stage, Attempt: do.Attempt, Job: jobHandle(job)}, nil
}

func jobHandle(j *api.Job) pipeline.JobHandle {
	return pipeline.JobHandle{ID: j.ID, Status: j.Status, URL: safeURL(j.WebURL)}
}

func jobName(t *pipeline.Task, stage string) (string, error) {
	def, _ := t.Delivery.Definition(t.Plan, stage)
	if def.Job == nil || def.Job.Name == "" {
		return "", jobFailure(pipeline.ReasonOther, fmt.Sprintf("stage %q names no job", stage))
	}
	return def.Job.Name, nil
}

func jobFailure(code pipeline.ReasonCode, detail string) error {
	return &pipeline.Failure{Code: code, Permanent: true, Unchanged: true, Detail: clip(detail, maxDetail)}
}
