package gitlab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// People finds who in GitLab a Slack user is: from the operator's map or, opted in, by the
// e-mail address that Slack has confirmed.
type People interface {
	// GitLabUser returns what is known. A permanent *pipeline.Failure refuses the person
	// with its Detail; any other error is tried again.
	GitLabUser(ctx context.Context, slackID string) (Who, error)
}

// Who names a GitLab user. The first field that is set counts.
type Who struct {
	ID       int64
	Username string
	Email    string // confirmed by whoever gives it
}

const maxGroups = 20 // that are looked up for one request

func (c *Client) identify(ctx context.Context, t *pipeline.Task, r pipeline.Request) (pipeline.Event, error) {
	p, err := c.person(ctx, t, r)
	if err != nil {
		var f *pipeline.Failure
		if !errors.As(err, &f) || !f.Permanent {
			return nil, err
		}
		// The request is answered, with the reason why nobody knows what the person may do.
		p.Problem = "Slipway could not look up what you may do: " + f.Detail + "."
	}
	return pipeline.Identified{Request: r.Key, Person: p}, nil
}

func (c *Client) person(ctx context.Context, t *pipeline.Task, r pipeline.Request) (policy.Person, error) {
	p := policy.Person{SlackID: r.SlackID}
	find := c.findPerson
	switch r.Via {
	case pipeline.ViaSlack:
	case pipeline.ViaAPI: // GitLab told who that is when the request came in
		p = policy.Person{ID: r.GitLabID, Username: r.Username}
		find = func(context.Context, pipeline.Request, *policy.Person) (string, error) { return "", nil }
	default:
		p = policy.Person{ID: r.GitLabID, Username: r.Username}
		find = func(ctx context.Context, r pipeline.Request, p *policy.Person) (string, error) {
			return c.confirmed(ctx, t, r, p)
		}
	}
	if problem, err := find(ctx, r, &p); err != nil || problem != "" {
		p.Problem = problem
		return p, err
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	if err := c.membership(ctx, t.Delivery.Project.ID, &p); err != nil {
		return p, err
	}
	rules := rulesFor(t, r)
	hidden, err := c.groups(ctx, groupPaths(rules), &p)
	if err != nil {
		return p, err
	}
	if p.Username == "" {
		p.Problem = "You are not a member of this project."
		return p, nil
	}
	if err := c.standing(ctx, &p); err != nil {
		return p, err
	}
	p.Problem = hiddenProblem(rules, hidden, p)
	return p, nil
}

// hiddenProblem says so where a person is refused only because Slipway can't see who is in a group.
func hiddenProblem(rules []policy.Rule, hidden []string, p policy.Person) string {
	for _, rule := range rules {
		for _, path := range rule.GroupPaths() {
			if slices.Contains(hidden, path) && !p.Blocked && !policy.MayJudge(p, policy.Facts{}, rule).Allowed {
				return "Slipway's GitLab user cannot see who is in the group " + clip(oneLine(path), 100) + ", which may decide here. An operator has to add it to the group."
			}
		}
	}
	return ""
}

// standing tells whether the person may do anything at all: GitLab lists them as a human, and
// as active.
func (c *Client) standing(ctx context.Context, p *policy.Person) error {
	users, resp, err := c.api.Users.ListUsers(&api.ListUsersOptions{Username: &p.Username, Humans: new(true)}, api.WithContext(ctx))
	if err != nil {
		return c.failed(ctx, call{doing: "look up a user"}, resp, err)
	}
	p.Blocked = true
	for _, u := range users {
		if u.ID == p.ID {
			p.Name = clip(oneLine(u.Name), 100)
			p.Blocked = u.State != "" && u.State != "active" || u.Locked || u.Bot || botName.MatchString(u.Username)
		}
	}
	return nil
}

// findPerson finds the GitLab user of a Slack user. The string says why there is none.
func (c *Client) findPerson(ctx context.Context, r pipeline.Request, p *policy.Person) (string, error) {
	if r.SlackID == "" {
		return "Slipway does not know which GitLab user you are.", nil
	}
	if c.o.People == nil {
		return "Slipway is not set up to know which GitLab user a Slack user is.", nil
	}
	who, err := c.o.People.GitLabUser(ctx, r.SlackID)
	if f, ok := pipeline.AsFailure(err); ok && f.Permanent {
		return f.Detail, nil
	}
	if err != nil {
		return "", err
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	switch {
	case who.ID != 0:
		p.ID = who.ID
		return "", nil
	case who.Username != "":
		return c.byUsername(ctx, who.Username, p)
	case who.Email != "":
		return c.byEmail(ctx, who.Email, p)
	}
	return "Slipway does not know which GitLab user you are.", nil
}

func (c *Client) byUsername(ctx context.Context, username string, p *policy.Person) (string, error) {
	users, resp, err := c.api.Users.ListUsers(&api.ListUsersOptions{Username: &username}, api.WithContext(ctx))
	if err != nil {
		return "", c.failed(ctx, call{doing: "look up a user"}, resp, err)
	}
	for _, u := range users {
		if strings.EqualFold(u.Username, username) {
			p.ID, p.Username = u.ID, u.Username
			return "", nil
		}
	}
	return "There is no GitLab user @" + clip(oneLine(username), 100) + ", who you are mapped to.", nil
}

// byEmail accepts exactly one user whose public address this is, or whose confirmed one:
// GitLab lets people make only confirmed addresses public, and shows others to
// administrators only.
func (c *Client) byEmail(ctx context.Context, email string, p *policy.Person) (string, error) {
	users, resp, err := c.api.Users.ListUsers(&api.ListUsersOptions{Search: &email, ListOptions: api.ListOptions{PerPage: 20}}, api.WithContext(ctx))
	if err != nil {
		return "", c.failed(ctx, call{doing: "look up a user by e-mail address"}, resp, err)
	}
	var found []*api.User
	for _, u := range users {
		if strings.EqualFold(u.PublicEmail, email) || strings.EqualFold(u.Email, email) && u.ConfirmedAt != nil {
			found = append(found, u)
		}
	}
	switch len(found) {
	case 0:
		return "No GitLab user has your Slack e-mail address as public e-mail. Add it to your GitLab profile, or ask an operator to map you.", nil
	case 1:
		p.ID, p.Username = found[0].ID, found[0].Username
		return "", nil
	}
	return "Several GitLab users have your Slack e-mail address. Ask an operator to map you.", nil
}

// membership looks up the person's role in the project, also by way of its groups.
func (c *Client) membership(ctx context.Context, project int64, p *policy.Person) error {
	m, resp, err := c.api.ProjectMembers.GetInheritedProjectMember(project, p.ID, api.WithContext(ctx))
	switch {
	case err == nil:
		p.Access, p.Username = policy.AccessLevel(m.AccessLevel), m.Username
		return nil
	case statusOf(err) == http.StatusNotFound && !strings.Contains(strings.ToLower(notFoundWords(resp)), "project"):
		return nil // not a member
	}
	return c.failed(ctx, call{doing: "look up the members of the project", needs: "Reporter"}, resp, err)
}

// groups looks up which of the groups the person belongs to, and returns those that the token can't see. Only direct
// members count, as for GitLab's own approvals: everybody in a group is also in all groups below it.
func (c *Client) groups(ctx context.Context, paths []string, p *policy.Person) (hidden []string, err error) {
	for _, path := range paths {
		m, resp, err := c.api.GroupMembers.GetGroupMember(path, p.ID, api.WithContext(ctx))
		switch {
		case err == nil && m.AccessLevel >= api.GuestPermissions:
			p.Groups = append(p.Groups, path)
			p.Username = m.Username
		case err == nil:
		case statusOf(err) == http.StatusNotFound && !strings.Contains(strings.ToLower(notFoundWords(resp)), "group"):
			// Not a member.
		case statusOf(err) == http.StatusNotFound || statusOf(err) == http.StatusForbidden:
			hidden = append(hidden, path)
		default:
			return nil, c.failed(ctx, call{doing: fmt.Sprintf("look up the members of group %s", clip(path, 100))}, resp, err)
		}
	}
	return hidden, nil
}

// rulesFor are the rules whose groups matter for the request: for an answer those of the
// judgements that are not settled, for a rollback those of the environments.
func rulesFor(t *pipeline.Task, r pipeline.Request) []policy.Rule {
	if t.Plan == nil {
		return nil
	}
	var rules []policy.Rule
	switch r.What {
	case pipeline.VerbApprove, pipeline.VerbReject:
		for _, s := range t.Delivery.Stages {
			def, _ := t.Delivery.Definition(t.Plan, s.Name)
			if s.Phase == pipeline.PhaseDeciding { // whether to roll back
				rules = append(rules, t.Plan.Environments[def.Environment()].Rule)
				continue
			}
			if def.Judgement == nil && def.Canary == nil || s.Status.Finished() || r.Stage != "" && r.Stage != s.Name {
				continue
			}
			q := def.Question()
			rules = append(rules, q.Rule, t.Plan.Environments[q.Environment].Rule)
		}
	case pipeline.VerbRollback:
		for _, name := range t.Plan.EnvironmentNames() {
			rules = append(rules, t.Plan.Environments[name].Rule)
		}
	default: // the others go by the role in the project
	}
	return rules
}

func groupPaths(rules []policy.Rule) []string {
	var paths []string
	for _, rule := range rules {
		for _, p := range rule.GroupPaths() {
			if !slices.Contains(paths, p) && len(paths) < maxGroups {
				paths = append(paths, p)
			}
		}
	}
	return paths
}
