package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

const maxListed = 20 // projects of a pattern that are looked at

// projects looks at the projects of all environments, and at their hooks.
type projects struct {
	Sources
	groups map[string][]gitlab.Hook // that were asked for; nil for what GitLab doesn't show
	me     gitlab.Me
}

func (p *projects) run(ctx context.Context) []Finding {
	var err error
	if p.me, err = p.GitLab.Me(ctx); err != nil {
		return []Finding{note("not looked at, because GitLab doesn't answer as it should")}
	}
	var out []Finding
	seen := map[string]bool{}
	look := func(path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		f := p.project(ctx, path)
		f.Of = "project " + path
		out = append(out, f)
	}
	patterns := p.patterns()
	for _, pattern := range patterns {
		if _, exact := config.Group(pattern); exact {
			look(pattern)
		}
	}
	for _, pattern := range patterns {
		if _, exact := config.Group(pattern); exact {
			continue
		}
		paths, f := p.list(ctx, pattern)
		if f != nil {
			f.Of = "projects " + pattern
			out = append(out, *f)
		}
		for _, path := range paths {
			look(path)
		}
	}
	return out
}

// patterns are those of all environments, each once.
func (p *projects) patterns() []string {
	var out []string
	for _, e := range p.Config.Environments {
		for _, pattern := range e.Projects {
			if !slices.Contains(out, pattern) {
				out = append(out, pattern)
			}
		}
	}
	return out
}

// list gives the paths of some projects of a pattern, and says where those are not all.
func (p *projects) list(ctx context.Context, pattern string) ([]string, *Finding) {
	group, _ := config.Group(pattern)
	if group == "" {
		f := note("the pattern names no group, so its projects were not looked at")
		return nil, &f
	}
	found, more, err := p.GitLab.GroupProjects(ctx, group, maxListed)
	switch {
	case errors.Is(err, gitlab.ErrHidden):
		f := broken(fmt.Sprintf("GitLab shows @%s no group %s", p.me.Username, group),
			fmt.Sprintf("invite @%s to the group as Developer, or mend environments[].projects:", p.me.Username),
			p.invite("groups", group))
		return nil, &f
	case err != nil:
		f := broken(words(err))
		return nil, &f
	}
	var paths []string
	for _, one := range found {
		if config.Allows(pattern, one.Path) {
			paths = append(paths, one.Path)
		}
	}
	switch {
	case len(paths) == 0:
		f := note(fmt.Sprintf("@%s sees no project that the pattern covers", p.me.Username))
		return nil, &f
	case more:
		f := note(fmt.Sprintf("there are more projects; the %d of them that changed last were looked at", len(paths)))
		return paths, &f
	}
	return paths, nil
}

func (p *projects) project(ctx context.Context, path string) Finding {
	found, level, err := p.GitLab.ProjectAt(ctx, path)
	switch {
	case errors.Is(err, gitlab.ErrHidden):
		return broken(fmt.Sprintf("GitLab shows @%s no such project", p.me.Username),
			fmt.Sprintf("mend environments[].projects if there is none, or make @%s a Developer of it:", p.me.Username),
			p.invite("projects", path))
	case err != nil:
		return broken(words(err))
	case found.Path != path:
		return broken("GitLab writes this project "+found.Path+", so the configuration never fits it", "environments[].projects:  ["+found.Path+"]")
	case level < policy.Developer:
		return broken(fmt.Sprintf("@%s is %s, and has to be Developer", p.me.Username, cmp.Or(map[policy.AccessLevel]string{policy.NoAccess: "no member"}[level], level.String())),
			fmt.Sprintf("make @%s a Developer at %s/-/project_members", p.me.Username, found.URL))
	}
	hook := p.hook(ctx, found)
	hook.Says = fmt.Sprintf("@%s is %s; %s", p.me.Username, level, hook.Says)
	return hook
}

// invite is the command that makes Slipway's user a Developer of a project or a group.
func (p *projects) invite(kind, path string) string {
	return glab(p.Config, "POST", kind+"/"+url.PathEscape(path)+"/members", fmt.Sprintf("user_id=%d", p.me.ID), "access_level=30")
}

// hook looks for the hook of the project, or of a group above it, that reaches Slipway.
func (p *projects) hook(ctx context.Context, of pipeline.Project) Finding {
	best, at, err := p.find(ctx, of)
	visible := !errors.Is(err, gitlab.ErrHidden)
	page := of.URL + "/-/hooks"
	want := p.Config.URL + "/hooks/gitlab"
	switch {
	case best != nil:
		return p.judge(*best, at)
	case err != nil && visible:
		return broken(words(err))
	case !visible:
		return note(fmt.Sprintf("GitLab shows hooks to Maintainers only, so look by hand whether there is one for %s", want),
			page+"  needs: "+strings.Join(labels(wanted()), ", ")+", and SSL verification")
	}
	verify := "token"
	if len(p.Config.GitLab.SigningTokens) > 0 {
		verify = "signing_token"
	}
	on := []string{"url=" + want, "enable_ssl_verification=true", "push_events=false", verify + `="$HOOK_TOKEN"`}
	for _, e := range wanted() {
		on = append(on, e+"=true")
	}
	return broken("no hook goes to "+want, "add one at "+page+", or so, with HOOK_TOKEN one of gitlab."+verify+"s:",
		glab(p.Config, "POST", fmt.Sprintf("projects/%d/hooks", of.ID), on...))
}

// wanted are the events that Slipway lives by, the first two above all.
func wanted() []string {
	return []string{"merge_requests_events", "note_events", "pipeline_events", "job_events", "deployment_events"}
}

// labels are the events as GitLab's page names them.
func labels(events []string) []string {
	names := map[string]string{
		"merge_requests_events": "Merge request events", "note_events": "Comments", "pipeline_events": "Pipeline events",
		"job_events": "Job events", "deployment_events": "Deployment events",
	}
	out := make([]string, 0, len(events))
	for _, e := range events {
		out = append(out, names[e])
	}
	return out
}

// find gives the best hook that goes to Slipway, and where it is in the REST API.
// gitlab.ErrHidden: there is none among those that GitLab shows.
func (p *projects) find(ctx context.Context, of pipeline.Project) (best *gitlab.Hook, at string, err error) {
	take := func(hooks []gitlab.Hook, where string) {
		for _, h := range hooks {
			if strings.EqualFold(strings.TrimRight(h.URL, "/"), p.Config.URL+"/hooks/gitlab") && (best == nil || faults(h) < faults(*best)) {
				best, at = &h, fmt.Sprintf("%s/hooks/%d", where, h.ID)
			}
		}
	}
	hooks, err := p.GitLab.ProjectHooks(ctx, of.ID)
	if err != nil && !errors.Is(err, gitlab.ErrHidden) {
		return nil, "", err
	}
	take(hooks, fmt.Sprintf("projects/%d", of.ID))
	for group := parent(of.Path); group != ""; group = parent(group) {
		take(p.groupHooks(ctx, group), "groups/"+url.PathEscape(group))
	}
	return best, at, err
}

func parent(path string) string {
	i := strings.LastIndex(path, "/")
	return path[:max(i, 0)]
}

// groupHooks are a group's, none where GitLab doesn't show them: most tokens may not see them, and most groups have none.
func (p *projects) groupHooks(ctx context.Context, group string) []gitlab.Hook {
	hooks, asked := p.groups[group]
	if !asked {
		hooks, _ = p.GitLab.GroupHooks(ctx, group)
		p.groups[group] = hooks
	}
	return hooks
}

func missing(h gitlab.Hook) []string {
	return slices.DeleteFunc(wanted(), func(e string) bool { return slices.Contains(h.Events, e) })
}

// faults count what is wrong with a hook, the worst things most.
func faults(h gitlab.Hook) int {
	n := len(missing(h))
	if h.Off {
		n += 100
	}
	if !h.Verifies {
		n += 10
	}
	return n
}

// judge says what is wrong with a hook that goes to Slipway.
func (p *projects) judge(h gitlab.Hook, at string) Finding {
	absent := missing(h)
	insecure := !h.Verifies && strings.HasPrefix(p.Config.URL, "https://")
	if !h.Off && len(absent) == 0 && !insecure {
		return fine("its hook sends all events")
	}
	var says, set []string
	for _, e := range absent {
		set = append(set, e+"=true")
	}
	if len(absent) > 0 {
		says = append(says, "its hook doesn't send "+strings.Join(labels(absent), ", "))
	}
	if insecure {
		says, set = append(says, "its hook is sent without SSL verification"), append(set, "enable_ssl_verification=true")
	}
	f := note(strings.Join(says, "; "))
	if slices.Contains(absent, wanted()[0]) || slices.Contains(absent, wanted()[1]) {
		f.Verdict = Broken
	}
	if h.Off {
		f = broken(strings.Join(append([]string{"GitLab has switched its hook off, because sending it failed"}, says...), "; "),
			"see under the hook's recent events why, and press Test there: an answer of 2xx switches it on again")
	}
	if len(set) > 0 {
		f.Mend = append(f.Mend, glab(p.Config, "PUT", at, set...))
	}
	return f
}

// glab is a command of GitLab's own command line tool.
func glab(c *config.Config, method, path string, fields ...string) string {
	command := "glab api --method " + method + " " + path
	if u, err := url.Parse(c.GitLab.URL); err == nil && u.Host != "gitlab.com" {
		command = "glab api --hostname " + u.Host + " --method " + method + " " + path
	}
	return strings.Join(append([]string{command}, fields...), " -f ")
}
