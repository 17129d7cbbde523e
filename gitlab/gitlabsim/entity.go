package gitlabsim

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

func (g *GitLab) userEntity(id int64) any {
	u := g.users[id]
	if u == nil {
		return nil
	}
	return obj{
		"id": u.ID, "username": u.Username, "public_email": orNil(publicEmail(u)), "name": u.Name, "state": u.State, "locked": false,
		"avatar_url": nil, "web_url": g.url + "/" + u.Username,
	}
}

// publicEmail is what a profile shows. GitLab lets only confirmed addresses be shown.
func publicEmail(u *User) string {
	if u.PrivateEmail || u.Unconfirmed {
		return ""
	}
	return u.Email
}

func (g *GitLab) fullUserEntity(u *User) obj {
	e, _ := g.userEntity(u.ID).(obj)
	e["email"], e["commit_email"], e["bot"], e["is_admin"] = u.Email, u.Email, u.Bot, u.Admin
	e["created_at"], e["confirmed_at"] = "2024-01-01T00:00:00.000Z", "2024-01-01T00:00:00.000Z"
	if u.Unconfirmed {
		e["confirmed_at"] = nil
	}
	return e
}

func (g *GitLab) projectEntity(p *project) any {
	ns := namespace(p.Path)
	id := int64(0)
	if gr := g.groups[ns]; gr != nil {
		id = gr.ID
	}
	return obj{
		"id": p.ID, "name": p.Name, "name_with_namespace": strings.ReplaceAll(ns, "/", " / ") + " / " + p.Name, "description": orNil(p.Description),
		"path": p.Path[strings.LastIndex(p.Path, "/")+1:], "path_with_namespace": p.Path, "default_branch": p.DefaultBranch,
		"web_url": g.projectURL(p), "http_url_to_repo": g.projectURL(p) + ".git", "ssh_url_to_repo": "git@gitlab.example.com:" + p.Path + ".git",
		"visibility": "private", "archived": false, "empty_repo": len(p.commits) == 0, "created_at": apiTime(p.createdAt),
		"namespace": obj{"id": id, "name": ns, "path": ns, "kind": "group", "full_path": ns, "parent_id": nil},
	}
}

func (g *GitLab) commitEntity(p *project, c *commit) obj {
	u := g.users[c.AuthorID]
	parents := []string{}
	parents = append(parents, c.Parents...)
	_, rest, _ := strings.Cut(c.Message, "\n")
	return obj{
		"id": c.SHA, "short_id": shortID(c.SHA), "title": title(c.Message), "message": c.Message + strings.Repeat("\n", min(1, len(rest))),
		"parent_ids": parents, "author_name": u.Name, "author_email": u.Email, "committer_name": u.Name, "committer_email": u.Email,
		"authored_date": apiTime(c.At), "committed_date": apiTime(c.At), "created_at": apiTime(c.At),
		"web_url": g.projectURL(p) + "/-/commit/" + c.SHA,
	}
}

func (g *GitLab) mergeRequestEntity(p *project, mr *MergeRequest) any {
	notes := 0
	for _, n := range mr.Notes {
		if !n.System {
			notes++
		}
	}
	status := "not_open"
	if mr.State == "opened" {
		status = "mergeable"
	}
	return obj{
		"id": mr.ID, "iid": mr.IID, "project_id": p.ID, "title": mr.Title, "description": mr.Description, "state": mr.State,
		"created_at": apiTime(mr.CreatedAt), "updated_at": apiTime(mr.UpdatedAt), "merged_at": apiTime(mr.MergedAt),
		"merge_user": g.userEntity(mr.MergeUserID), "merged_by": g.userEntity(mr.MergeUserID), "closed_at": apiTime(mr.ClosedAt), "closed_by": nil,
		"target_branch": mr.TargetBranch, "source_branch": mr.SourceBranch, "source_project_id": cmp.Or(mr.SourceProjectID, p.ID), "target_project_id": p.ID,
		"user_notes_count": notes, "upvotes": 0, "downvotes": 0, "author": g.userEntity(mr.AuthorID), "assignees": []any{}, "assignee": nil,
		"reviewers": []any{}, "labels": []any{}, "draft": false, "work_in_progress": false, "milestone": nil, "merge_when_pipeline_succeeds": false,
		"detailed_merge_status": status, "merge_status": "can_be_merged", "sha": mr.HeadSHA, "merge_commit_sha": orNil(mr.MergeCommitSHA),
		"squash_commit_sha": orNil(mr.SquashCommitSHA), "squash": mr.SquashCommitSHA != "", "web_url": g.mergeRequestURL(p, mr),
		"references":    obj{"short": fmt.Sprintf("!%d", mr.IID), "relative": fmt.Sprintf("!%d", mr.IID), "full": fmt.Sprintf("%s!%d", p.Path, mr.IID)},
		"has_conflicts": false, "blocking_discussions_resolved": true,
	}
}

func (g *GitLab) noteEntity(p *project, mr *MergeRequest, n *Note) obj {
	return obj{
		"id": n.ID, "type": noteType(n), "body": n.Body, "attachment": nil, "author": g.userEntity(n.AuthorID), "created_at": apiTime(n.CreatedAt),
		"updated_at": apiTime(n.UpdatedAt), "system": n.System, "noteable_id": mr.ID, "noteable_type": "MergeRequest", "project_id": p.ID,
		"resolvable": n.Reply, "resolved": false, "confidential": n.Internal, "internal": n.Internal, "imported": false, "imported_from": "none",
		"noteable_iid": mr.IID, "commands_changes": obj{},
	}
}

func (g *GitLab) emojiEntity(n *Note, e Emoji) any {
	return obj{
		"id": e.ID, "name": e.Name, "user": g.userEntity(e.UserID), "created_at": apiTime(e.At), "updated_at": apiTime(e.At),
		"awardable_id": n.ID, "awardable_type": "Note", "url": nil,
	}
}

func (g *GitLab) statusEntity(s *Status) obj {
	return obj{
		"id": s.ID, "sha": s.SHA, "ref": s.Ref, "status": s.Status, "name": s.Name, "target_url": orNil(s.TargetURL), "description": orNil(s.Description),
		"created_at": apiTime(s.CreatedAt), "started_at": apiTime(s.StartedAt), "finished_at": apiTime(s.FinishedAt), "allow_failure": false,
		"coverage": nil, "pipeline_id": s.PipelineID, "author": g.userEntity(s.UserID),
	}
}

func (g *GitLab) environmentEntity(e *Environment) obj {
	var agent any
	if e.ClusterAgentID != 0 {
		agent = obj{"id": e.ClusterAgentID, "name": "agent"}
	}
	return obj{
		"id": e.ID, "name": e.Name, "slug": e.Slug, "external_url": orNil(e.ExternalURL), "created_at": apiTime(e.CreatedAt), "updated_at": apiTime(e.UpdatedAt),
		"tier": e.Tier, "state": e.State, "auto_stop_at": nil, "auto_stop_setting": e.AutoStopSetting, "description": orNil(e.Description),
		"kubernetes_namespace": orNil(e.KubernetesNamespace), "flux_resource_path": orNil(e.FluxResourcePath), "cluster_agent": agent,
	}
}

func (g *GitLab) deploymentEntity(p *project, d *Deployment) obj {
	e := p.environment(d.Environment)
	var deployable any
	if d.JobID != 0 {
		pl, j := p.job(d.JobID)
		deployable = g.jobEntity(p, pl, j)
	}
	approvals := []any{}
	for _, a := range d.Approvals {
		approvals = append(approvals, obj{"user": g.userEntity(a.UserID), "status": a.Status, "comment": a.Comment, "created_at": apiTime(a.CreatedAt)})
	}
	return obj{
		"id": d.ID, "iid": d.IID, "ref": d.Ref, "sha": d.SHA, "status": d.Status, "created_at": apiTime(d.CreatedAt), "updated_at": apiTime(d.UpdatedAt),
		"user":        g.userEntity(d.UserID),
		"environment": obj{"id": e.ID, "name": e.Name, "slug": e.Slug, "external_url": orNil(e.ExternalURL), "created_at": apiTime(e.CreatedAt), "updated_at": apiTime(e.UpdatedAt)},
		"deployable":  deployable, "pending_approval_count": 0, "approvals": approvals, "approval_summary": obj{"rules": []any{}},
	}
}

func (g *GitLab) pipelineEntity(p *project, pl *Pipeline) obj {
	return obj{
		"id": pl.ID, "iid": pl.IID, "project_id": p.ID, "sha": pl.SHA, "ref": pl.Ref, "status": pl.Status, "source": pl.Source, "name": nil,
		"created_at": apiTime(pl.CreatedAt), "updated_at": apiTime(pl.UpdatedAt), "web_url": fmt.Sprintf("%s/-/pipelines/%d", g.projectURL(p), pl.ID),
	}
}

func (g *GitLab) jobEntity(p *project, pl *Pipeline, j *Job) obj {
	var commit any
	if c := p.commits[pl.SHA]; c != nil {
		commit = g.commitEntity(p, c)
	}
	return obj{
		"id": j.ID, "name": j.Name, "stage": j.Stage, "status": j.Status, "ref": pl.Ref, "tag": false, "allow_failure": j.AllowFailure, "coverage": nil,
		"created_at": apiTime(j.CreatedAt), "started_at": apiTime(j.StartedAt), "finished_at": apiTime(j.FinishedAt), "erased_at": nil, "duration": nil,
		"queued_duration": nil, "user": g.userEntity(j.UserID), "commit": commit, "pipeline": g.pipelineEntity(p, pl), "archived": false,
		"web_url": fmt.Sprintf("%s/-/jobs/%d", g.projectURL(p), j.ID), "artifacts": []any{}, "runner": nil, "tag_list": []any{},
		"project": obj{"ci_job_token_scope_enabled": false},
	}
}

func (g *GitLab) hookEntity(p *project, h *Hook) obj {
	e := g.anyHookEntity(h)
	e["project_id"] = p.ID
	return e
}

func (g *GitLab) anyHookEntity(h *Hook) obj {
	e := obj{
		"id": h.ID, "url": h.URL, "name": orNil(h.Name), "description": orNil(h.Description), "created_at": apiTime(h.CreatedAt),
		"alert_status": g.alertStatus(h), "disabled_until": apiTime(h.DisabledUntil), "token_present": h.Token != "",
		"signing_token_present": h.SigningToken != "", "enable_ssl_verification": !h.SkipVerification, "url_variables": []any{}, "custom_headers": []any{},
	}
	for _, toggle := range hookToggles() {
		e[toggle] = h.Events[toggle]
	}
	return e
}

// hookToggles are the switches of a project hook.
func hookToggles() []string {
	return []string{
		eventMergeRequest, eventPipeline, eventJob, eventNote, eventConfidentialNote, eventDeployment, eventEmoji,
		"push_events", "tag_push_events", "issues_events", "confidential_issues_events", "wiki_page_events", "feature_flag_events",
		"releases_events", "milestone_events", "resource_access_token_events", "resource_deploy_token_events", "vulnerability_events",
	}
}

func deliveryEntity(d *delivery) any {
	headers := obj{}
	for name, value := range d.headers {
		if name == "X-Gitlab-Token" || name == "webhook-signature" {
			value = "[REDACTED]"
		}
		headers[name] = value
	}
	status := any("internal error")
	if d.Status != 0 {
		status = strconv.Itoa(d.Status)
	}
	return obj{
		"id": d.ID, "url": d.hook.URL, "trigger": d.trigger, "request_headers": headers, "request_data": rawJSON(d.Body),
		"response_headers": obj{}, "response_body": d.Answer, "execution_duration": 0.1, "response_status": status, "created_at": apiTime(d.At),
	}
}
