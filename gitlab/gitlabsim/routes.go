package gitlabsim

import (
	"net/http"
	"strings"
)

// route is one operation of the API.
type route struct {
	method    string
	segments  []string // ":name" takes one segment
	level     int      // the role in the project that it needs
	inProject bool
	multipart bool
	handle    func(*call) answer
}

// table is every operation that the simulator knows, with the role that each needs.
func (g *GitLab) table() []route {
	var routes []route
	add := func(method, path string, level int, handle func(*call) answer) {
		routes = append(routes, route{
			method: method, segments: strings.Split(path, "/"), level: level,
			inProject: strings.HasPrefix(path, "projects/"), multipart: strings.HasSuffix(path, "/uploads"), handle: handle,
		})
	}
	get := func(path string, level int, handle func(*call) answer) { add(http.MethodGet, path, level, handle) }
	post := func(path string, level int, handle func(*call) answer) { add(http.MethodPost, path, level, handle) }
	put := func(path string, level int, handle func(*call) answer) { add(http.MethodPut, path, level, handle) }
	del := func(path string, level int, handle func(*call) answer) { add(http.MethodDelete, path, level, handle) }

	get("user", 0, getSelf)
	get("users", 0, listUsers)
	get("personal_access_tokens/self", 0, getOwnToken)
	get("version", 0, getVersion)
	get("groups/:id/projects", 0, listGroupProjects)
	get("groups/:id/hooks", 0, listGroupHooks)
	get("groups/:id/members/:user_id", 0, getDirectGroupMember)
	get("groups/:id/members/all/:user_id", 0, getGroupMember)

	const p = "projects/:id"
	get(p, Guest, getProject)
	get(p+"/members/all", Guest, listMembers)
	get(p+"/members/all/:user_id", Guest, getMember)
	get(p+"/repository/files/:file_path/raw", Reporter, getFile)
	get(p+"/repository/archive", Reporter, getArchive)
	get(p+"/repository/archive.tar.gz", Reporter, getArchive)
	get(p+"/repository/commits/:sha", Reporter, getCommit)
	get(p+"/repository/commits/:sha/merge_requests", Reporter, listCommitMergeRequests)
	get(p+"/repository/commits/:sha/statuses", Reporter, listStatuses)
	post(p+"/statuses/:sha", Developer, postStatus)

	const mr = p + "/merge_requests/:merge_request_iid"
	get(p+"/merge_requests", Reporter, listMergeRequests)
	get(mr, Reporter, getMergeRequest)
	get(mr+"/notes", Reporter, listNotes)
	post(mr+"/notes", Reporter, createNote)
	get(mr+"/notes/:note_id", Reporter, getNote)
	put(mr+"/notes/:note_id", Reporter, updateNote)
	del(mr+"/notes/:note_id", Reporter, deleteNote)
	get(mr+"/notes/:note_id/award_emoji", Reporter, listEmoji)
	post(mr+"/notes/:note_id/award_emoji", Reporter, createEmoji)
	get(mr+"/discussions/:discussion_id", Reporter, getDiscussion)
	post(mr+"/discussions/:discussion_id/notes", Reporter, createReply)

	get(p+"/deployments", Reporter, listDeployments)
	post(p+"/deployments", Developer, createDeployment)
	get(p+"/deployments/:deployment_id", Reporter, getDeployment)
	put(p+"/deployments/:deployment_id", Developer, updateDeployment)
	get(p+"/environments", Reporter, listEnvironments)
	post(p+"/environments", Developer, createEnvironment)
	get(p+"/environments/:environment_id", Reporter, getEnvironment)
	put(p+"/environments/:environment_id", Developer, updateEnvironment)
	post(p+"/environments/:environment_id/stop", Developer, stopEnvironment)
	get(p+"/freeze_periods", Reporter, listFreezePeriods)

	get(p+"/pipelines", Reporter, listPipelines)
	get(p+"/pipelines/:pipeline_id", Reporter, getPipeline)
	get(p+"/pipelines/:pipeline_id/jobs", Reporter, listJobs)
	get(p+"/pipelines/:pipeline_id/variables", Reporter, listVariables)
	get(p+"/pipelines/:pipeline_id/test_report", Reporter, getTestReport)
	get(p+"/pipelines/:pipeline_id/test_report_summary", Reporter, getTestReportSummary)
	post(p+"/pipeline", Developer, createPipeline)
	post(p+"/pipelines/:pipeline_id/retry", Developer, retryPipeline)
	get(p+"/jobs/:job_id", Reporter, getJob)
	post(p+"/jobs/:job_id/play", Developer, playJob)
	post(p+"/jobs/:job_id/retry", Developer, retryJob)
	post(p+"/jobs/:job_id/cancel", Developer, cancelJob)

	get(p+"/hooks", Maintainer, listHooks)
	post(p+"/hooks", Maintainer, createHook)
	put(p+"/hooks/:hook_id", Maintainer, updateHook)
	del(p+"/hooks/:hook_id", Maintainer, deleteHook)
	get(p+"/hooks/:hook_id/events", Maintainer, listHookEvents)
	post(p+"/hooks/:hook_id/events/:hook_log_id/resend", Maintainer, resendHook)

	post(p+"/uploads", Guest, createUpload)
	return routes
}

// route finds the operation; otherMethod says that the path exists with another method.
func (g *GitLab) route(method, path string) (found *route, vars map[string]string, otherMethod bool) {
	segments := split(path)
	for i := range g.routes {
		rt := &g.routes[i]
		vars, ok := rt.match(segments)
		if !ok {
			continue
		}
		if rt.method == method {
			return rt, vars, false
		}
		otherMethod = true
	}
	return nil, nil, otherMethod
}

func (rt *route) match(segments []string) (map[string]string, bool) {
	if len(segments) != len(rt.segments) {
		return nil, false
	}
	vars := map[string]string{}
	for i, want := range rt.segments {
		if name, ok := strings.CutPrefix(want, ":"); ok {
			vars[name] = segments[i]
		} else if want != segments[i] {
			return nil, false
		}
	}
	return vars, true
}
