package gitlabsim

import (
	"fmt"
	"slices"
	"time"
)

// transition says which event a wanted state fires, and from which states GitLab lets it (app/models/commit_status.rb).
func transition(wanted string) (event string, from []string) {
	switch wanted {
	case "pending":
		return "enqueue", []string{"created"}
	case "running":
		return "run", []string{"created", "pending"} // it is enqueued on the way
	case "success":
		return "success", []string{"created", "pending", "running"}
	case "failed":
		return "drop", []string{"created", "pending", "running"}
	case "canceled":
		return "cancel", []string{"created", "pending", "running"}
	case "skipped":
		return "skip", []string{"created", "pending"}
	}
	return "", nil
}

// setStatus finds or makes the row of an external status and moves it. A row is found again only while it is
// pending or running, and only by the user who made it; otherwise a new row takes the place of the older ones.
func (g *GitLab) setStatus(p *project, pl *Pipeline, want Status) (*Status, error) {
	event, from := transition(want.Status)
	now := g.now()
	var row *Status
	for _, s := range p.statuses {
		if s.PipelineID == pl.ID && s.Name == want.Name && s.Ref == want.Ref && s.UserID == want.UserID &&
			(s.Status == "pending" || s.Status == "running") {
			row = s
		}
	}
	isNew := row == nil
	if isNew {
		row = &Status{ID: 0, PipelineID: pl.ID, SHA: pl.SHA, Ref: want.Ref, Name: want.Name, UserID: want.UserID, Status: "created", CreatedAt: now}
	}
	if !slices.Contains(from, row.Status) {
		return nil, fmt.Errorf("Cannot transition status via :%s from :%s (Reason(s): Status cannot transition via \"%s\")", event, row.Status, event) //nolint:staticcheck // GitLab's words
	}
	if isNew {
		for _, s := range p.statuses {
			if s.PipelineID == pl.ID && s.Name == want.Name {
				s.Retried = true
			}
		}
		row.ID = g.next("job")
		p.statuses = append(p.statuses, row)
	}
	row.Status = want.Status
	if want.Description != "" {
		row.Description = want.Description
	}
	if want.TargetURL != "" {
		row.TargetURL = want.TargetURL
	}
	switch want.Status {
	case "running":
		row.StartedAt = now
	case "success", "failed", "canceled":
		row.FinishedAt = now
	}
	g.refresh(p, pl)
	return row, nil
}

// externalPipeline is what GitLab makes for a status of a commit that has no CI pipeline.
func (g *GitLab) externalPipeline(p *project, sha, ref string, userID int64) *Pipeline {
	now := g.now()
	pl := &Pipeline{
		ID: g.next("pipeline"), IID: int64(len(p.pipelines)) + 1, SHA: sha, Ref: ref, Source: "external", Status: "created",
		UserID: userID, CreatedAt: now, UpdatedAt: now, StartedAt: time.Time{},
	}
	p.pipelines = append(p.pipelines, pl)
	return pl
}
