package gitlabsim

import (
	"cmp"
	"fmt"
)

// obj is a JSON object.
type obj = map[string]any

func (g *GitLab) hookUser(id int64) obj {
	u := g.users[id]
	if u == nil {
		return nil
	}
	return obj{"id": u.ID, "name": u.Name, "username": u.Username, "avatar_url": nil, "email": "[REDACTED]"}
}

func (g *GitLab) projectURL(p *project) string { return g.url + "/" + p.Path }

func (g *GitLab) mergeRequestURL(p *project, mr *MergeRequest) string {
	return fmt.Sprintf("%s/-/merge_requests/%d", g.projectURL(p), mr.IID)
}

func (g *GitLab) hookProject(p *project) obj {
	return obj{
		"id": p.ID, "name": p.Name, "description": p.Description, "web_url": g.projectURL(p), "avatar_url": nil,
		"git_ssh_url": "git@gitlab.example.com:" + p.Path + ".git", "git_http_url": g.projectURL(p) + ".git",
		"namespace": namespace(p.Path), "visibility_level": 0, "path_with_namespace": p.Path,
		"default_branch": p.DefaultBranch, "ci_config_path": "",
	}
}

func (g *GitLab) hookCommit(p *project, sha string) obj {
	c := p.commits[sha]
	if c == nil {
		return nil
	}
	author := g.users[c.AuthorID]
	return obj{
		"id": c.SHA, "message": c.Message, "title": title(c.Message), "timestamp": c.At.Format("2006-01-02T15:04:05-07:00"),
		"url": g.projectURL(p) + "/-/commit/" + c.SHA, "author": obj{"name": author.Name, "email": "[REDACTED]"},
	}
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func idOrNil(id int64) any {
	if id == 0 {
		return nil
	}
	return id
}

func stateID(state string) int {
	return map[string]int{"opened": 1, "closed": 2, "merged": 3}[state]
}

func (g *GitLab) mergeRequestAttributes(p *project, mr *MergeRequest) obj {
	return obj{
		"id": mr.ID, "iid": mr.IID, "title": mr.Title, "description": mr.Description, "state": mr.State, "state_id": stateID(mr.State),
		"author_id": mr.AuthorID, "created_at": hookTime(mr.CreatedAt), "updated_at": hookTime(mr.UpdatedAt), "merged_at": hookTime(mr.MergedAt),
		"source_branch": mr.SourceBranch, "target_branch": mr.TargetBranch, "source_project_id": cmp.Or(mr.SourceProjectID, p.ID), "target_project_id": p.ID,
		"merge_commit_sha": orNil(mr.MergeCommitSHA), "squash_commit_sha": orNil(mr.SquashCommitSHA), "merge_user_id": idOrNil(mr.MergeUserID),
		"merge_status": "can_be_merged", "detailed_merge_status": "mergeable", "merge_error": nil, "head_pipeline_id": nil,
		"merge_params": obj{"force_remove_source_branch": "1"}, "draft": false, "work_in_progress": false, "labels": []any{},
		"assignee_ids": []any{}, "reviewer_ids": []any{}, "milestone_id": nil, "blocking_discussions_resolved": true,
		"last_commit": g.hookCommit(p, mr.HeadSHA), "source": g.hookProject(p), "target": g.hookProject(p),
		"url": g.mergeRequestURL(p, mr), "system": false,
	}
}

func (g *GitLab) mergeRequestPayload(p *project, mr *MergeRequest, action string, by int64) obj {
	attributes := g.mergeRequestAttributes(p, mr)
	attributes["action"], attributes["actioned_at"] = action, hookTime(mr.UpdatedAt)
	changes := obj{"updated_at": obj{"previous": hookTime(mr.CreatedAt), "current": hookTime(mr.UpdatedAt)}}
	if action == "merge" {
		changes["state_id"] = obj{"previous": 4, "current": 3}
	}
	return obj{
		"object_kind": "merge_request", "event_type": "merge_request", "user": g.hookUser(by), "project": g.hookProject(p),
		"object_attributes": attributes, "labels": []any{}, "changes": changes,
		"repository": obj{"name": p.Name, "url": "git@gitlab.example.com:" + p.Path + ".git", "description": p.Description, "homepage": g.projectURL(p)},
	}
}

func (g *GitLab) pipelinePayload(p *project, pl *Pipeline) obj {
	var stages []string
	builds := []any{}
	for _, j := range pl.Jobs {
		if !contains(stages, j.Stage) {
			stages = append(stages, j.Stage)
		}
		if !j.Retried {
			builds = append(builds, obj{
				"id": j.ID, "stage": j.Stage, "name": j.Name, "status": j.Status, "created_at": hookTime(j.CreatedAt),
				"started_at": hookTime(j.StartedAt), "finished_at": hookTime(j.FinishedAt), "when": when(j), "manual": j.Manual,
				"allow_failure": j.AllowFailure, "failure_reason": nil, "user": g.hookUser(j.UserID), "runner": nil,
				"environment": jobEnvironment(j),
			})
		}
	}
	return obj{
		"object_kind": "pipeline",
		"object_attributes": obj{
			"id": pl.ID, "iid": pl.IID, "name": nil, "ref": pl.Ref, "tag": false, "sha": pl.SHA, "before_sha": "0000000000000000000000000000000000000000",
			"source": pl.Source, "status": pl.Status, "detailed_status": pl.Status, "stages": stages, "created_at": hookTime(pl.CreatedAt),
			"finished_at": hookTime(pl.FinishedAt), "duration": nil, "queued_duration": nil, "protected_ref": pl.Ref == p.DefaultBranch,
			"variables": []any{}, "url": fmt.Sprintf("%s/-/pipelines/%d", g.projectURL(p), pl.ID),
		},
		"merge_request": g.pipelineMergeRequest(p, pl), "user": g.hookUser(pl.UserID), "project": g.hookProject(p), "commit": g.hookCommit(p, pl.SHA), "builds": builds,
	}
}

// pipelineMergeRequest is the merge request whose own CI pipeline this is.
func (g *GitLab) pipelineMergeRequest(p *project, pl *Pipeline) any {
	for _, mr := range p.mrs {
		if pl.Source == mergeRequestEvent && pl.Ref == mergeRequestRef(mr.IID) {
			return obj{
				"id": mr.ID, "iid": mr.IID, "title": mr.Title, "source_branch": mr.SourceBranch, "source_project_id": cmp.Or(mr.SourceProjectID, p.ID),
				"target_branch": mr.TargetBranch, "target_project_id": p.ID, "state": mr.State, "merge_status": "can_be_merged",
				"detailed_merge_status": "mergeable", "url": g.mergeRequestURL(p, mr),
			}
		}
	}
	return nil
}

func when(j *Job) string {
	if j.Manual {
		return "manual"
	}
	return "on_success"
}

func jobEnvironment(j *Job) any {
	if j.Environment == "" {
		return nil
	}
	return obj{"name": j.Environment, "action": "start", "deployment_tier": tier(j.Environment)}
}

func (g *GitLab) jobPayload(p *project, pl *Pipeline, j *Job) obj {
	return obj{
		"object_kind": "build", "ref": pl.Ref, "tag": false, "before_sha": "0000000000000000000000000000000000000000", "sha": pl.SHA,
		"retries_count": 0, "build_id": j.ID, "build_name": j.Name, "build_stage": j.Stage, "build_status": j.Status,
		"build_created_at": hookTime(j.CreatedAt), "build_started_at": hookTime(j.StartedAt), "build_finished_at": hookTime(j.FinishedAt),
		"build_duration": nil, "build_queued_duration": nil, "build_allow_failure": j.AllowFailure, "build_failure_reason": "unknown_failure",
		"pipeline_id": pl.ID, "runner": nil, "project_id": p.ID, "project_name": p.Path, "user": g.hookUser(j.UserID),
		"commit":  obj{"id": pl.ID, "name": nil, "sha": pl.SHA, "message": p.commits[pl.SHA].Message, "status": pl.Status},
		"project": g.hookProject(p), "environment": jobEnvironment(j), "source_pipeline": nil,
	}
}

func (g *GitLab) emitNote(p *project, mr *MergeRequest, n *Note, action string, by int64) {
	toggle, kind := eventNote, "note"
	if n.Internal {
		toggle, kind = eventConfidentialNote, "confidential_note"
	}
	attributes := g.noteAttributes(p, mr, n)
	attributes["action"] = action
	g.emit(p, toggle, obj{
		"object_kind": "note", "event_type": kind, "user": g.hookUser(by), "project_id": p.ID, "project": g.hookProject(p),
		"object_attributes": attributes, "merge_request": g.mergeRequestAttributes(p, mr),
		"repository": obj{"name": p.Name, "homepage": g.projectURL(p)},
	})
}

func (g *GitLab) noteAttributes(p *project, mr *MergeRequest, n *Note) obj {
	return obj{
		"id": n.ID, "note": n.Body, "description": n.Body, "noteable_type": "MergeRequest", "noteable_id": mr.ID, "author_id": n.AuthorID,
		"created_at": hookTime(n.CreatedAt), "updated_at": hookTime(n.UpdatedAt), "project_id": p.ID, "discussion_id": n.DiscussionID,
		"type": noteType(n), "internal": n.Internal, "system": n.System, "attachment": nil, "line_code": nil, "commit_id": nil, "st_diff": nil,
		"change_position": nil, "original_position": nil, "position": nil, "resolved_at": nil, "resolved_by_id": nil, "resolved_by_push": nil,
		"url": fmt.Sprintf("%s#note_%d", g.mergeRequestURL(p, mr), n.ID),
	}
}

func (g *GitLab) deploymentPayload(p *project, d *Deployment) obj {
	e := p.environment(d.Environment)
	var jobURL any
	if d.JobID != 0 {
		jobURL = fmt.Sprintf("%s/-/jobs/%d", g.projectURL(p), d.JobID)
	}
	user := g.users[d.UserID]
	return obj{
		"object_kind": "deployment", "status": d.Status, "status_changed_at": d.UpdatedAt.Format("2006-01-02 15:04:05 -0700"),
		"deployment_id": d.ID, "deployable_id": idOrNil(d.JobID), "deployable_url": jobURL, "environment": d.Environment,
		"environment_tier": e.Tier, "environment_slug": e.Slug, "environment_external_url": orNil(e.ExternalURL),
		"project": g.hookProject(p), "short_sha": shortID(d.SHA), "user": g.hookUser(d.UserID), "user_url": g.url + "/" + user.Username,
		"commit_url": g.projectURL(p) + "/-/commit/" + d.SHA, "commit_title": title(p.commits[d.SHA].Message), "ref": d.Ref,
	}
}

func (g *GitLab) emojiPayload(p *project, mr *MergeRequest, n *Note, e Emoji) obj {
	return obj{
		"object_kind": "emoji", "event_type": "award", "user": g.hookUser(e.UserID), "project_id": p.ID, "project": g.hookProject(p),
		"object_attributes": obj{
			"id": e.ID, "name": e.Name, "user_id": e.UserID, "created_at": hookTime(e.At), "updated_at": hookTime(e.At),
			"awardable_type": "Note", "awardable_id": n.ID, "action": "award", "awarded_on_url": fmt.Sprintf("%s#note_%d", g.mergeRequestURL(p, mr), n.ID),
		},
		"note": g.noteAttributes(p, mr, n), "merge_request": g.mergeRequestAttributes(p, mr),
	}
}

func noteType(n *Note) any {
	if n.Reply {
		return "DiscussionNote"
	}
	return nil
}
