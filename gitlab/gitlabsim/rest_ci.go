package gitlabsim

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

func listStatuses(c *call) answer {
	at := c.p.resolve(c.vars["sha"])
	if at == nil {
		return notFound("Commit")
	}
	pipelineID, byPipeline, err := c.number("pipeline_id")
	if err != nil {
		return *err
	}
	if err := c.oneOf("order_by", "id", "pipeline_id"); err != nil {
		return *err
	}
	if err := c.oneOf("sort", "asc", "desc"); err != nil {
		return *err
	}
	var rows []*Status
	for _, s := range c.allStatuses(at.SHA) {
		if s.Retried && !c.flag("all") || byPipeline && s.PipelineID != pipelineID {
			continue
		}
		if name, given := c.text("name"); given && name != s.Name {
			continue
		}
		if ref, given := c.text("ref"); given && ref != s.Ref {
			continue
		}
		rows = append(rows, s)
	}
	slices.SortStableFunc(rows, func(a, b *Status) int {
		if c.str("order_by") == "pipeline_id" {
			return cmp.Or(cmp.Compare(a.PipelineID, b.PipelineID), cmp.Compare(a.ID, b.ID))
		}
		return cmp.Compare(a.ID, b.ID)
	})
	if c.str("sort") == "desc" {
		slices.Reverse(rows)
	}
	return paginate(c, rows, func(s *Status) any { return c.g.statusEntity(s) })
}

// allStatuses are the external statuses and the CI jobs of a commit: GitLab lists both.
func (c *call) allStatuses(sha string) []*Status {
	var rows []*Status
	for _, s := range c.p.statuses {
		if s.SHA == sha {
			rows = append(rows, s)
		}
	}
	for _, pl := range c.p.pipelines {
		if pl.SHA != sha {
			continue
		}
		for _, j := range pl.Jobs {
			rows = append(rows, &Status{
				ID: j.ID, PipelineID: pl.ID, SHA: sha, Ref: pl.Ref, Name: j.Name, Status: j.Status, UserID: j.UserID, Retried: j.Retried,
				CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, FinishedAt: j.FinishedAt,
			})
		}
	}
	return rows
}

func postStatus(c *call) answer {
	if err := c.required("state"); err != nil {
		return *err
	}
	if err := c.oneOf("state", "pending", "running", "success", "failed", "canceled", "skipped"); err != nil {
		return *err
	}
	pipelineID, byPipeline, bad := c.number("pipeline_id")
	if bad != nil {
		return *bad
	}
	at := c.p.resolve(c.vars["sha"])
	if at == nil {
		return notFound("Commit")
	}
	ref, byRef := c.text("ref")
	var pl *Pipeline
	for _, candidate := range c.p.pipelines {
		if candidate.SHA == at.SHA && (!byRef || candidate.Ref == ref) && (!byPipeline || candidate.ID == pipelineID) {
			pl = candidate // the newest wins
		}
	}
	if byPipeline && pl == nil {
		return notFound("Pipeline for pipeline_id, sha and ref")
	}
	if ref == "" && pl != nil {
		ref = pl.Ref
	}
	if ref == "" {
		branches := c.p.contains(at.SHA)
		if len(branches) == 0 {
			return notFound("References for commit")
		}
		ref = branches[0]
	}
	name := cmp.Or(c.str("name"), c.str("context"), "default")
	target := c.str("target_url")
	if target != "" && !strings.HasPrefix(target, "http://") && !strings.HasPrefix(target, "https://") || len(target) > 255 {
		return rejected(obj{"target_url": []string{"is blocked: Only allowed schemes are http, https"}})
	}
	if len(name) > 255 || len(c.str("description")) > 255 {
		return rejected(obj{"description": []string{"is too long (maximum is 255 characters)"}})
	}
	if pl == nil {
		pl = c.g.externalPipeline(c.p, at.SHA, ref, c.user.ID)
	}
	row, err := c.g.setStatus(c.p, pl, Status{
		Name: name, Ref: ref, Status: c.str("state"), Description: c.str("description"), TargetURL: target, UserID: c.user.ID,
	})
	if err != nil {
		return rejected(err.Error())
	}
	return created(c.g.statusEntity(row))
}

func listPipelines(c *call) answer {
	if err := c.oneOf("order_by", "id", "status", "ref", "updated_at", "user_id"); err != nil {
		return *err
	}
	if err := c.oneOf("sort", "asc", "desc"); err != nil {
		return *err
	}
	bounds := map[string]time.Time{}
	for _, name := range []string{"updated_after", "updated_before", "created_after", "created_before"} {
		t, err := c.after(name)
		if err != nil {
			return *err
		}
		bounds[name] = t
	}
	var found []*Pipeline
	for _, pl := range c.p.pipelines {
		fits := within(bounds, "updated", pl.UpdatedAt) && within(bounds, "created", pl.CreatedAt)
		for name, value := range map[string]string{"sha": pl.SHA, "ref": pl.Ref, "status": pl.Status, "source": pl.Source} {
			if want, given := c.text(name); given && want != value {
				fits = false
			}
		}
		if name, given := c.text("username"); given && (c.g.users[pl.UserID] == nil || c.g.users[pl.UserID].Username != name) {
			fits = false
		}
		if fits {
			found = append(found, pl)
		}
	}
	slices.SortStableFunc(found, func(a, b *Pipeline) int {
		if c.str("order_by") == "updated_at" {
			return cmp.Or(a.UpdatedAt.Compare(b.UpdatedAt), cmp.Compare(a.ID, b.ID))
		}
		return cmp.Compare(a.ID, b.ID)
	})
	if c.str("sort") != "asc" {
		slices.Reverse(found)
	}
	return paginate(c, found, func(pl *Pipeline) any { return c.g.pipelineEntity(c.p, pl) })
}

func (c *call) pipeline() (*Pipeline, *answer) {
	id, err := c.varID("pipeline_id")
	if err != nil {
		return nil, err
	}
	if pl := c.p.pipeline(id); pl != nil {
		return pl, nil
	}
	a := notFound("")
	return nil, &a
}

func (c *call) fullPipeline(pl *Pipeline) obj {
	e := c.g.pipelineEntity(c.p, pl)
	e["user"], e["tag"], e["before_sha"], e["yaml_errors"] = c.g.userEntity(pl.UserID), false, strings.Repeat("0", 40), nil
	e["started_at"], e["finished_at"], e["committed_at"] = apiTime(pl.StartedAt), apiTime(pl.FinishedAt), nil
	e["duration"], e["queued_duration"], e["coverage"] = nil, nil, nil
	e["detailed_status"] = obj{"text": pl.Status, "label": pl.Status, "group": pl.Status}
	return e
}

func getPipeline(c *call) answer {
	pl, err := c.pipeline()
	if err != nil {
		return *err
	}
	return ok(c.fullPipeline(pl))
}

func listJobs(c *call) answer {
	pl, err := c.pipeline()
	if err != nil {
		return *err
	}
	scope := c.list("scope")
	for _, s := range scope {
		switch s {
		case "created", "waiting_for_resource", "preparing", "waiting_for_callback", "pending", "running", "success", "failed",
			"canceling", "canceled", "skipped", "manual", "scheduled":
		default:
			return invalid("scope does not have a valid value")
		}
	}
	var found []*Job
	for _, j := range slices.Backward(pl.Jobs) {
		if j.Retried && !c.flag("include_retried") || len(scope) > 0 && !slices.Contains(scope, j.Status) {
			continue
		}
		found = append(found, j)
	}
	return paginate(c, found, func(j *Job) any { return c.g.jobEntity(c.p, pl, j) })
}

func retryPipeline(c *call) answer {
	pl, err := c.pipeline()
	if err != nil {
		return *err
	}
	for _, j := range slices.Clone(pl.Jobs) {
		if !j.Retried && (j.Status == "failed" || j.Status == "canceled") {
			c.g.retryJob(c.p, pl, j, c.user.ID)
		}
	}
	return created(c.fullPipeline(pl))
}

func (c *call) job() (*Pipeline, *Job, *answer) {
	id, err := c.varID("job_id")
	if err != nil {
		return nil, nil, err
	}
	pl, j := c.p.job(id)
	if j == nil {
		a := notFound("")
		return nil, nil, &a
	}
	return pl, j, nil
}

func getJob(c *call) answer {
	pl, j, err := c.job()
	if err != nil {
		return *err
	}
	return ok(c.g.jobEntity(c.p, pl, j))
}

func playJob(c *call) answer {
	pl, j, err := c.job()
	if err != nil {
		return *err
	}
	if !c.g.play(c.p, pl, j, c.user.ID) {
		return badRequest("Unplayable Job")
	}
	return ok(c.g.jobEntity(c.p, pl, j))
}

func retryJob(c *call) answer {
	pl, j, err := c.job()
	if err != nil {
		return *err
	}
	again := c.g.retryJob(c.p, pl, j, c.user.ID)
	if again == nil {
		return forbidden("Job is not retryable")
	}
	return created(c.g.jobEntity(c.p, pl, again))
}

func cancelJob(c *call) answer {
	pl, j, err := c.job()
	if err != nil {
		return *err
	}
	c.g.cancelJob(c.p, pl, j)
	return created(c.g.jobEntity(c.p, pl, j))
}
