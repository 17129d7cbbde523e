package gitlabsim

import (
	"crypto/sha1" // commit ids look like git's
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// CommitOptions describes a new commit on a branch. The branch is made, from the default branch, where it is missing.
type CommitOptions struct {
	ProjectID int64
	Branch    string
	Files     map[string]string // path to content, added or replaced
	Delete    []string
	Message   string
	AuthorID  int64
}

// Commit adds a commit to a branch and returns its id. It starts no CI pipeline: see [GitLab.StartPipeline].
func (g *GitLab) Commit(o CommitOptions) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.projects[o.ProjectID]
	if p == nil || g.users[o.AuthorID] == nil {
		return "", fmt.Errorf("commit to project %d: no such project or author", o.ProjectID)
	}
	if o.Branch == "" || o.Message == "" {
		return "", errors.New("commit: the branch or the message is empty")
	}
	c := g.commitTo(p, o)
	g.changed()
	return c.SHA, nil
}

func (g *GitLab) commitTo(p *project, o CommitOptions) *commit {
	parent := p.branches[o.Branch]
	if parent == "" {
		parent = p.branches[p.DefaultBranch]
	}
	files := map[string]string{}
	var parents []string
	if base := p.commits[parent]; base != nil {
		maps.Copy(files, base.files)
		parents = []string{parent}
	}
	maps.Copy(files, o.Files)
	for _, path := range o.Delete {
		delete(files, path)
	}
	c := g.newCommit(p, parents, files, o.Message, o.AuthorID)
	p.branches[o.Branch] = c.SHA
	return c
}

func (g *GitLab) newCommit(p *project, parents []string, files map[string]string, message string, author int64) *commit {
	h := sha1.New() // see the import
	fmt.Fprintf(h, "%d %d %s %q %d\n", p.ID, g.next("commit"), strings.Join(parents, " "), message, author)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%q %q\n", path, files[path])
	}
	c := &commit{
		Commit: Commit{SHA: hex.EncodeToString(h.Sum(nil)), Parents: parents, Message: message, AuthorID: author, At: g.now()},
		files:  files,
	}
	p.commits[c.SHA] = c
	p.order = append(p.order, c.SHA)
	return c
}

// resolve finds a commit by branch, whole id or a prefix of at least seven digits.
func (p *project) resolve(ref string) *commit {
	ref = strings.TrimPrefix(ref, "refs/heads/")
	if ref == "" || ref == "HEAD" {
		ref = p.DefaultBranch
	}
	if sha := p.branches[ref]; sha != "" {
		return p.commits[sha]
	}
	if c := p.commits[ref]; c != nil {
		return c
	}
	if len(ref) >= 7 {
		for sha, c := range p.commits {
			if strings.HasPrefix(sha, ref) {
				return c
			}
		}
	}
	return nil
}

// contains names the branches that have the commit in their history, in alphabetical order.
func (p *project) contains(sha string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p.branches)) {
		if p.reaches(p.branches[name], sha) {
			names = append(names, name)
		}
	}
	return names
}

func (p *project) reaches(from, sha string) bool {
	seen := map[string]bool{}
	for todo := []string{from}; len(todo) > 0; {
		at := todo[0]
		todo = todo[1:]
		if at == sha {
			return true
		}
		if c := p.commits[at]; c != nil && !seen[at] {
			seen[at] = true
			todo = append(todo, c.Parents...)
		}
	}
	return false
}

func title(message string) string {
	first, _, _ := strings.Cut(message, "\n")
	return first
}

func shortID(sha string) string { return sha[:min(8, len(sha))] }
