package gitlab

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// ErrHidden says that the token's user may not see what was asked for, or that it isn't there.
var ErrHidden = errors.New("hidden from the token's user")

// Token is what GitLab says of the access token that the client uses.
type Token struct {
	Name    string
	Scopes  []string
	Expires time.Time // the day on which it ends, zero if never
}

// Hook is one hook of a project or a group.
type Hook struct {
	ID  int64
	URL string
	// Events are the switches that are on, by the names of the REST API: "merge_requests_events".
	Events []string
	// Verifies tells that GitLab verifies the certificate of whom it sends the hook to.
	Verifies bool
	// Off tells that GitLab has switched the hook off because it failed too often.
	Off bool
}

// Token asks GitLab about the token. ErrHidden where it is none that GitLab lists, such as an OAuth token.
func (c *Client) Token(ctx context.Context) (Token, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	t, resp, err := c.api.PersonalAccessTokens.GetSinglePersonalAccessToken(api.WithContext(ctx))
	if err != nil {
		return Token{}, c.hidden(ctx, call{doing: "look at the access token"}, resp, err)
	}
	out := Token{Name: clip(oneLine(t.Name), 100), Scopes: t.Scopes}
	if t.ExpiresAt != nil {
		out.Expires = time.Time(*t.ExpiresAt)
	}
	return out, nil
}

// Version asks GitLab for its version, such as "19.5.0-ee".
func (c *Client) Version(ctx context.Context) (string, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	v, resp, err := c.api.Version.GetVersion(api.WithContext(ctx))
	if err != nil {
		return "", c.failed(ctx, call{doing: "ask for the version"}, resp, err)
	}
	return clip(oneLine(v.Version), 100), nil
}

// ProjectAt finds a project by its path, and the role that the token's user has there, also by way of its groups.
// ErrHidden where there is none that the user may see.
func (c *Client) ProjectAt(ctx context.Context, path string) (pipeline.Project, policy.AccessLevel, error) {
	me, err := c.Me(ctx)
	if err != nil {
		return pipeline.Project{}, 0, err
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	found, resp, err := c.api.Projects.GetProject(path, nil, api.WithContext(ctx))
	if err != nil {
		return pipeline.Project{}, 0, c.hidden(ctx, call{doing: "read the project"}, resp, err)
	}
	p := policy.Person{ID: me.ID}
	if err := c.membership(ctx, found.ID, &p); err != nil {
		return pipeline.Project{}, 0, err
	}
	return project(found), p.Access, nil
}

// GroupProjects lists projects of a group and the groups below it, most of them at most; more tells that there are
// others. ErrHidden where there is no group that the token's user may see.
func (c *Client) GroupProjects(ctx context.Context, group string, most int) (found []pipeline.Project, more bool, err error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	most = min(most, 100) // GitLab's largest page
	list, resp, err := c.api.Groups.ListGroupProjects(group, &api.ListGroupProjectsOptions{
		ListOptions: api.ListOptions{PerPage: int64(most)}, IncludeSubGroups: new(true), Archived: new(false), WithShared: new(false),
		OrderBy: new("last_activity_at"),
	}, api.WithContext(ctx))
	if err != nil {
		return nil, false, c.hidden(ctx, call{doing: "list the projects of the group"}, resp, err)
	}
	for _, p := range list {
		found = append(found, project(p))
	}
	return found, resp.NextPage != 0, nil
}

func project(p *api.Project) pipeline.Project {
	return pipeline.Project{ID: p.ID, Path: p.PathWithNamespace, URL: safeURL(p.WebURL), DefaultBranch: p.DefaultBranch}
}

const maxHooks = 100 // that are looked at

// ProjectHooks lists the hooks of a project. ErrHidden: GitLab shows them to Maintainers.
func (c *Client) ProjectHooks(ctx context.Context, project int64) ([]Hook, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	list, resp, err := c.api.Projects.ListProjectHooks(project, &api.ListProjectHooksOptions{ListOptions: api.ListOptions{PerPage: maxHooks}}, api.WithContext(ctx))
	if err != nil {
		return nil, c.hidden(ctx, call{doing: "list the hooks of the project"}, resp, err)
	}
	hooks := make([]Hook, 0, len(list))
	for _, h := range list {
		hooks = append(hooks, Hook{ID: h.ID, URL: h.URL, Verifies: h.EnableSSLVerification, Off: off(h.AlertStatus), Events: events(map[string]bool{
			"merge_requests_events": h.MergeRequestsEvents, "pipeline_events": h.PipelineEvents, "job_events": h.JobEvents,
			"note_events": h.NoteEvents, "deployment_events": h.DeploymentEvents,
		})})
	}
	return hooks, nil
}

// GroupHooks lists the hooks of a group, which count for all projects below it. ErrHidden: GitLab has them from the
// Premium tier on, and shows them to Owners.
func (c *Client) GroupHooks(ctx context.Context, group string) ([]Hook, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	list, resp, err := c.api.Groups.ListGroupHooks(group, &api.ListGroupHooksOptions{ListOptions: api.ListOptions{PerPage: maxHooks}}, api.WithContext(ctx))
	if err != nil {
		return nil, c.hidden(ctx, call{doing: "list the hooks of the group"}, resp, err)
	}
	hooks := make([]Hook, 0, len(list))
	for _, h := range list {
		hooks = append(hooks, Hook{ID: h.ID, URL: h.URL, Verifies: h.EnableSSLVerification, Off: off(h.AlertStatus), Events: events(map[string]bool{
			"merge_requests_events": h.MergeRequestsEvents, "pipeline_events": h.PipelineEvents, "job_events": h.JobEvents,
			"note_events": h.NoteEvents, "deployment_events": h.DeploymentEvents,
		})})
	}
	return hooks, nil
}

func off(alert string) bool { return strings.HasSuffix(alert, "disabled") }

func events(on map[string]bool) []string {
	var out []string
	for name, is := range on {
		if is {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// hidden is failed, or ErrHidden where that is what GitLab's answer means.
func (c *Client) hidden(ctx context.Context, k call, resp *api.Response, err error) error {
	if status := statusOf(err); status == http.StatusNotFound || status == http.StatusForbidden {
		return ErrHidden
	}
	return c.failed(ctx, k, resp, err)
}
