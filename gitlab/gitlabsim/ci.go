package gitlabsim

import (
	"fmt"
	"time"
)

// CI is the CI configuration of a project: its jobs, stage by stage in the order of first mention.
type CI struct {
	Jobs []JobSpec
	// Auto runs the jobs that aren't manual by themselves, each for JobTime or its own Duration. Otherwise they
	// stay pending until FinishJob or RunPipeline.
	Auto    bool
	JobTime time.Duration
	// VariablesRole is the role that it takes to start a CI pipeline with variables; Developer where it is zero,
	// NoOne where nobody may.
	VariablesRole int
}

// NoOne is a VariablesRole above every role.
const NoOne = Owner + 1

// JobSpec describes one CI job.
type JobSpec struct {
	Name        string
	Stage       string // "test" where it is empty
	Manual      bool
	Blocking    bool // a manual job that the later stages wait for (allow_failure: false)
	Environment string
	Duration    time.Duration
	Fails       bool // ends as failed when it runs by itself or is run
	// Report is the JUnit report that the job uploads when it ends; nil for none.
	Report *Report
}

// SetCI gives a project its CI configuration, for CI pipelines from now on.
func (g *GitLab) SetCI(projectID int64, ci CI) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.projects[projectID]
	if p == nil {
		return fmt.Errorf("configure CI of project %d: no such project", projectID)
	}
	seen := map[string]bool{}
	for i, job := range ci.Jobs {
		if job.Name == "" || seen[job.Name] {
			return fmt.Errorf("configure CI of project %d: job %d has no name of its own", projectID, i+1)
		}
		seen[job.Name] = true
	}
	p.ci = ci
	return nil
}

// StartPipeline starts a CI pipeline for a branch's commit and returns its id.
func (g *GitLab) StartPipeline(projectID int64, ref string, userID int64) (int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.projects[projectID]
	if p == nil || p.branches[ref] == "" || len(p.ci.Jobs) == 0 {
		return 0, fmt.Errorf("start CI pipeline for %q of project %d: no such project or branch, or no jobs", ref, projectID)
	}
	return g.startPipeline(p, Pipeline{Ref: ref, SHA: p.branches[ref], Source: "push", UserID: userID}).ID, nil
}

// FinishJob ends a CI job that is pending or running as "success", "failed" or "canceled".
func (g *GitLab) FinishJob(projectID, jobID int64, status string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.projects[projectID]
	if p == nil {
		return fmt.Errorf("finish job %d: no such project", jobID)
	}
	pl, j := p.job(jobID)
	if j == nil || (j.Status != "pending" && j.Status != "running") {
		return fmt.Errorf("finish job %d: no such job, or it doesn't run", jobID)
	}
	switch status {
	case "success", "failed", "canceled":
	default:
		return fmt.Errorf("finish job %d: status %q is none to finish with", jobID, status)
	}
	if j.Status == "pending" {
		g.setJob(p, j, "running")
	}
	g.setJob(p, j, status)
	g.advance(p, pl)
	return nil
}

// RunPipeline runs all jobs that aren't manual to their end, at once.
func (g *GitLab) RunPipeline(projectID, pipelineID int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.projects[projectID]
	if p == nil || p.pipeline(pipelineID) == nil {
		return fmt.Errorf("run CI pipeline %d: no such project or pipeline", pipelineID)
	}
	pl := p.pipeline(pipelineID)
	for again := true; again; {
		again = false
		for _, j := range pl.Jobs {
			if j.Status == "pending" || j.Status == "running" {
				g.runToEnd(p, j)
				g.advance(p, pl)
				again = true
			}
		}
	}
	return nil
}

func (g *GitLab) runToEnd(p *project, j *Job) {
	if j.Status == "pending" {
		g.setJob(p, j, "running")
	}
	if j.spec.Fails {
		g.setJob(p, j, "failed")
		return
	}
	g.setJob(p, j, "success")
}

// startPipeline makes a CI pipeline of what is given: its commit, ref, source, user and variables.
func (g *GitLab) startPipeline(p *project, given Pipeline) *Pipeline {
	now := g.now()
	pl := &given
	pl.ID, pl.IID, pl.Status, pl.CreatedAt, pl.UpdatedAt = g.next("pipeline"), int64(len(p.pipelines))+1, "created", now, now
	p.pipelines = append(p.pipelines, pl)
	for _, spec := range p.ci.Jobs {
		pl.Jobs = append(pl.Jobs, g.newJob(pl, spec, pl.UserID))
	}
	g.emit(p, eventPipeline, g.pipelinePayload(p, pl))
	for _, j := range pl.Jobs {
		g.emit(p, eventJob, g.jobPayload(p, pl, j))
	}
	g.advance(p, pl)
	return pl
}

func (g *GitLab) newJob(pl *Pipeline, spec JobSpec, userID int64) *Job {
	if spec.Stage == "" {
		spec.Stage = "test"
	}
	return &Job{
		ID: g.next("job"), PipelineID: pl.ID, Name: spec.Name, Stage: spec.Stage, Status: "created", Manual: spec.Manual,
		AllowFailure: spec.Manual && !spec.Blocking, Environment: spec.Environment, UserID: userID, CreatedAt: g.now(), spec: spec,
	}
}

// advance starts the jobs of the first stage that isn't through, and computes the CI pipeline's status.
func (g *GitLab) advance(p *project, pl *Pipeline) {
	var stages []string
	for _, j := range pl.Jobs {
		if len(stages) == 0 || !contains(stages, j.Stage) {
			stages = append(stages, j.Stage)
		}
	}
	blocked, failed := false, false
	for _, stage := range stages {
		for _, j := range pl.Jobs {
			if j.Stage != stage || j.Retried || j.Status != "created" {
				continue
			}
			switch {
			case failed:
				g.setJob(p, j, "skipped")
			case blocked:
			case j.Manual:
				g.setJob(p, j, "manual")
			default:
				g.enqueue(p, pl, j)
			}
		}
		for _, j := range pl.Jobs {
			if j.Stage != stage || j.Retried || j.AllowFailure {
				continue
			}
			switch j.Status {
			case "failed", "canceled", "skipped":
				failed = true
			case "success":
			default:
				blocked = true
			}
		}
	}
	g.refresh(p, pl)
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// enqueue makes a job pending, and lets it run by itself where the project is configured so.
func (g *GitLab) enqueue(p *project, pl *Pipeline, j *Job) {
	g.setJob(p, j, "pending")
	if !p.ci.Auto {
		return
	}
	g.setJob(p, j, "running")
	d := j.spec.Duration
	if d == 0 {
		d = p.ci.JobTime
	}
	j.stop = g.opts.Clock.AfterFunc(d, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if j.Status == "running" && !g.closed {
			g.runToEnd(p, j)
			g.advance(p, pl)
		}
	})
}

func (g *GitLab) setJob(p *project, j *Job, status string) {
	now := g.now()
	j.Status = status
	switch status {
	case "running":
		j.StartedAt = now
		if j.Environment != "" {
			g.deployByJob(p, j)
		}
	case "success", "failed", "canceled":
		j.FinishedAt = now
		for _, d := range p.deployments {
			if d.JobID == j.ID && d.Status != status {
				g.setDeployment(p, d, status)
			}
		}
	}
	g.emit(p, eventJob, g.jobPayload(p, p.pipeline(j.PipelineID), j))
}

func (g *GitLab) deployByJob(p *project, j *Job) {
	pl := p.pipeline(j.PipelineID)
	g.ensureEnvironment(p, j.Environment)
	d := g.newDeployment(p, Deployment{Environment: j.Environment, SHA: pl.SHA, Ref: pl.Ref, UserID: j.UserID, JobID: j.ID})
	g.setDeployment(p, d, "running")
}

// refresh computes the CI pipeline's status from its jobs and external statuses, and tells of a change.
func (g *GitLab) refresh(p *project, pl *Pipeline) {
	status := composite(p, pl)
	if status == pl.Status {
		g.changed()
		return
	}
	now := g.now()
	pl.Status, pl.UpdatedAt = status, now
	switch status {
	case "running":
		if pl.StartedAt.IsZero() {
			pl.StartedAt = now
		}
		pl.FinishedAt = time.Time{}
	case "success", "failed", "canceled", "skipped":
		pl.FinishedAt = now
	}
	g.emit(p, eventPipeline, g.pipelinePayload(p, pl))
}

// composite is GitLab's rule (lib/gitlab/ci/status/composite.rb): a manual or failed job that is allowed to fail
// counts for nothing.
func composite(p *project, pl *Pipeline) string {
	count := map[string]int{}
	total := 0
	add := func(status string, ignored bool) {
		if !ignored {
			count[status]++
			total++
		}
	}
	for _, j := range pl.Jobs {
		if !j.Retried {
			add(j.Status, j.AllowFailure && (j.Status == "manual" || j.Status == "failed" || j.Status == "canceled"))
		}
	}
	for _, s := range p.statuses {
		if s.PipelineID == pl.ID && !s.Retried {
			add(s.Status, false)
		}
	}
	only := func(statuses ...string) bool {
		n := 0
		for _, s := range statuses {
			n += count[s]
		}
		return n == total
	}
	switch {
	case total == 0 || only("skipped"):
		return "skipped"
	case only("success", "skipped"):
		return "success"
	case only("created"):
		return "created"
	case only("canceled", "success", "skipped"):
		return "canceled"
	case only("pending", "created", "skipped"):
		return "pending"
	case count["running"] > 0 || count["pending"] > 0:
		return "running"
	case count["manual"] > 0:
		return "manual"
	case count["created"] > 0:
		return "running"
	default:
		return "failed"
	}
}

// play starts a manual job.
func (g *GitLab) play(p *project, pl *Pipeline, j *Job, userID int64) bool {
	if j.Status != "manual" || j.Retried {
		return false
	}
	j.UserID = userID
	g.enqueue(p, pl, j)
	g.advance(p, pl)
	return true
}

// PlayJob starts a manual job as a person does in the browser.
func (g *GitLab) PlayJob(projectID, jobID, userID int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.projects[projectID]
	if p == nil {
		return fmt.Errorf("play job %d: no such project", jobID)
	}
	pl, j := p.job(jobID)
	if j == nil || g.level(p, userID) < Developer || !g.play(p, pl, j, userID) {
		return fmt.Errorf("play job %d: no such job, it can't be played, or user %d may not", jobID, userID)
	}
	return nil
}

// retryJob puts a new job in the place of a finished one, or returns nil.
func (g *GitLab) retryJob(p *project, pl *Pipeline, j *Job, userID int64) *Job {
	if j.Retried || (j.Status != "failed" && j.Status != "canceled" && j.Status != "success") {
		return nil
	}
	j.Retried = true
	again := g.newJob(pl, j.spec, userID)
	pl.Jobs = append(pl.Jobs, again)
	for _, later := range pl.Jobs {
		if later.Status == "skipped" && !later.Retried {
			later.Status = "created"
		}
	}
	g.enqueue(p, pl, again)
	g.advance(p, pl)
	return again
}

func (g *GitLab) cancelJob(p *project, pl *Pipeline, j *Job) {
	switch j.Status {
	case "created", "pending", "running", "manual":
		if j.stop != nil {
			j.stop()
		}
		g.setJob(p, j, "canceled")
		g.advance(p, pl)
	}
}
