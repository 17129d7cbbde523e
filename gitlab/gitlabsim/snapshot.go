package gitlabsim

import (
	"maps"
	"slices"
	"strings"
)

// Snapshot is a copy of everything that a page or a test wants to look at.
type Snapshot struct {
	Projects []ProjectSnapshot
	Users    []User
}

// ProjectSnapshot is one project and what belongs to it, each list in the order of creation.
type ProjectSnapshot struct {
	Project
	WebURL        string
	Branches      map[string]string // name to commit
	Commits       []Commit
	MergeRequests []MergeRequest
	Pipelines     []Pipeline
	Statuses      []Status
	Deployments   []Deployment
	Environments  []Environment
	Hooks         []Hook // without their tokens
	Uploads       []Upload
}

// Snapshot copies the present state. Nothing in it changes afterwards.
func (g *GitLab) Snapshot() Snapshot {
	g.mu.Lock()
	defer g.mu.Unlock()
	var s Snapshot
	for _, id := range slices.Sorted(maps.Keys(g.users)) {
		s.Users = append(s.Users, *g.users[id])
	}
	for _, id := range slices.Sorted(maps.Keys(g.projects)) {
		s.Projects = append(s.Projects, g.projectSnapshot(g.projects[id]))
	}
	return s
}

func (g *GitLab) projectSnapshot(p *project) ProjectSnapshot {
	s := ProjectSnapshot{
		Project: p.Project, WebURL: g.projectURL(p), Branches: maps.Clone(p.branches),
		Statuses: values(p.statuses), Deployments: values(p.deployments), Environments: values(p.environments), Uploads: slices.Clone(p.uploads),
	}
	for _, sha := range p.order {
		c := p.commits[sha].Commit
		c.Parents = slices.Clone(c.Parents)
		s.Commits = append(s.Commits, c)
	}
	for _, mr := range p.mrs {
		c := *mr
		c.commits = nil
		c.Notes = nil
		for _, n := range mr.Notes {
			own := *n
			own.Emoji = slices.Clone(n.Emoji)
			c.Notes = append(c.Notes, &own)
		}
		s.MergeRequests = append(s.MergeRequests, c)
	}
	for _, pl := range p.pipelines {
		c := *pl
		c.Jobs, c.Variables = nil, slices.Clone(pl.Variables)
		for _, j := range pl.Jobs {
			own := *j
			own.stop = nil
			c.Jobs = append(c.Jobs, &own)
		}
		s.Pipelines = append(s.Pipelines, c)
	}
	for _, h := range p.hooks {
		own := *h
		own.Token, own.SigningToken, own.Events = "", "", maps.Clone(h.Events)
		s.Hooks = append(s.Hooks, own)
	}
	return s
}

func values[T any](pointers []*T) []T {
	all := make([]T, 0, len(pointers))
	for _, p := range pointers {
		all = append(all, *p)
	}
	return all
}

// CountNotes counts a merge request's comments that hold the marker (empty for any) and are of the author (zero for anybody).
func (g *GitLab) CountNotes(projectID, iid int64, marker string, authorID int64) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	count := 0
	if p := g.projects[projectID]; p != nil {
		if mr := p.mergeRequest(iid); mr != nil {
			for _, n := range mr.Notes {
				if strings.Contains(n.Body, marker) && (authorID == 0 || n.AuthorID == authorID) {
					count++
				}
			}
		}
	}
	return count
}

// CountDeployments counts the deployments of a commit to an environment, whatever their status.
func (g *GitLab) CountDeployments(projectID int64, environment, sha string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	count := 0
	if p := g.projects[projectID]; p != nil {
		for _, d := range p.deployments {
			if d.Environment == environment && d.SHA == sha {
				count++
			}
		}
	}
	return count
}

// CountStatuses counts the rows of an external status on a commit, those included that a newer row replaced.
func (g *GitLab) CountStatuses(projectID int64, sha, name string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	count := 0
	if p := g.projects[projectID]; p != nil {
		for _, s := range p.statuses {
			if s.SHA == sha && s.Name == name {
				count++
			}
		}
	}
	return count
}
