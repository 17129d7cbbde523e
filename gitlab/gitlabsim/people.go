package gitlabsim

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// TokenKind says what sort of access token it is.
type TokenKind string

// The kinds of token. A project or group token belongs to a bot user.
const (
	PersonalToken TokenKind = "personal"
	ProjectToken  TokenKind = "project"
	GroupToken    TokenKind = "group"
)

// AddUser adds a user and returns it with its id.
func (g *GitLab) AddUser(u User) (User, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if u.Username == "" {
		return User{}, errors.New("add user: the username is empty")
	}
	for _, other := range g.users {
		if other.Username == u.Username || other.ID == u.ID || u.Email != "" && strings.EqualFold(other.Email, u.Email) {
			return User{}, fmt.Errorf("add user %s: id, username or e-mail address is taken", u.Username)
		}
	}
	for u.ID == 0 || g.users[u.ID] != nil {
		u.ID = g.next("user")
	}
	if u.Name == "" {
		u.Name = u.Username
	}
	if u.State == "" {
		u.State = "active"
	}
	g.users[u.ID] = &u
	g.changed()
	return u, nil
}

// AddGroup adds a group by its full path.
func (g *GitLab) AddGroup(path string) (Group, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if path == "" || g.groups[path] != nil {
		return Group{}, fmt.Errorf("add group %q: the path is empty or taken", path)
	}
	return g.addGroup(path).Group, nil
}

func (g *GitLab) addGroup(path string) *group {
	gr := &group{Group: Group{ID: g.next("group"), Path: path}, members: map[int64]int{}}
	g.groups[path] = gr
	return gr
}

// AddGroupMember gives a user a role in a group, its subgroups and their projects. Level NoAccess takes it away.
func (g *GitLab) AddGroupMember(path string, userID int64, level int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	gr := g.groups[path]
	if gr == nil || g.users[userID] == nil {
		return fmt.Errorf("add user %d to group %q: no such user or group", userID, path)
	}
	setLevel(gr.members, userID, level)
	return nil
}

// AddProject adds an empty project, and its group where that doesn't exist.
func (g *GitLab) AddProject(p Project) (Project, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	cut := strings.LastIndex(p.Path, "/")
	if cut <= 0 || cut == len(p.Path)-1 {
		return Project{}, fmt.Errorf("add project %q: the path needs a namespace", p.Path)
	}
	if g.projectByPath(p.Path) != nil || g.projects[p.ID] != nil {
		return Project{}, fmt.Errorf("add project %q: the path or id is taken", p.Path)
	}
	if g.groups[p.Path[:cut]] == nil {
		g.addGroup(p.Path[:cut])
	}
	for p.ID == 0 || g.projects[p.ID] != nil {
		p.ID = g.next("project")
	}
	if p.Name == "" {
		p.Name = p.Path[cut+1:]
	}
	if p.DefaultBranch == "" {
		p.DefaultBranch = "main"
	}
	g.projects[p.ID] = &project{
		Project: p, createdAt: g.now(), members: map[int64]int{}, branches: map[string]string{}, commits: map[string]*commit{},
	}
	g.changed()
	return p, nil
}

// AddMember gives a user a role in a project. Level NoAccess takes it away.
func (g *GitLab) AddMember(projectID, userID int64, level int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.projects[projectID]
	if p == nil || g.users[userID] == nil {
		return fmt.Errorf("add user %d to project %d: no such user or project", userID, projectID)
	}
	setLevel(p.members, userID, level)
	return nil
}

func setLevel(members map[int64]int, userID int64, level int) {
	if level == NoAccess {
		delete(members, userID)
		return
	}
	members[userID] = level
}

// AddToken makes value an access token of the user; without scopes it has "api".
func (g *GitLab) AddToken(value string, userID int64, kind TokenKind, scopes ...string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if value == "" || g.tokens[value] != nil || g.users[userID] == nil {
		return fmt.Errorf("add token of user %d: no such user, or the token is empty or taken", userID)
	}
	if len(scopes) == 0 {
		scopes = []string{"api"}
	}
	g.tokens[value] = &token{userID: userID, kind: kind, scopes: scopes}
	return nil
}

// RevokeToken ends a token: what uses it is answered 401.
func (g *GitLab) RevokeToken(value string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.tokens[value]; t != nil {
		t.revoked = true
	}
}

// SetTokenExpiry says on which day a token ends. It works on all the same: a test's days are not GitLab's.
func (g *GitLab) SetTokenExpiry(value string, day time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.tokens[value]; t != nil {
		t.expires = day
	}
}

// AddFreezePeriod adds a deploy freeze to a project, two cron expressions and a time zone.
func (g *GitLab) AddFreezePeriod(projectID int64, start, end, timezone string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.projects[projectID]
	if p == nil {
		return fmt.Errorf("add freeze period to project %d: no such project", projectID)
	}
	p.freezes = append(p.freezes, FreezePeriod{ID: g.next("freeze"), Start: start, End: end, Timezone: timezone, CreatedAt: g.now()})
	return nil
}

func (g *GitLab) projectByPath(path string) *project {
	for _, p := range g.projects {
		if strings.EqualFold(p.Path, path) {
			return p
		}
	}
	return nil
}

// level is the highest role that a user has in a project, through it or the groups above it; the lock is held.
func (g *GitLab) level(p *project, userID int64) int {
	return max(p.members[userID], g.groupLevel(namespace(p.Path), userID))
}

func (g *GitLab) groupLevel(path string, userID int64) int {
	best := NoAccess
	for ; path != ""; path = namespace(path) {
		if gr := g.groups[path]; gr != nil {
			best = max(best, gr.members[userID])
		}
	}
	return best
}

func namespace(path string) string {
	if i := strings.LastIndex(path, "/"); i >= 0 {
		return path[:i]
	}
	return ""
}
