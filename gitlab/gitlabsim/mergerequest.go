package gitlabsim

import (
	"errors"
	"fmt"
	"maps"
	"strings"
)

// MergeRequestOptions describes a new merge request, with the commit of its source branch.
type MergeRequestOptions struct {
	ProjectID    int64
	Title        string
	Description  string
	SourceBranch string
	TargetBranch string // the default branch where it is empty
	Files        map[string]string
	Delete       []string
	AuthorID     int64
	// ForkID is the number of another project from which the merge request comes. Its
	// commits are here all the same.
	ForkID int64
}

// MergeMethod is how a merge request gets into its target branch.
type MergeMethod string

// The methods, and which ids the merge request has afterwards.
const (
	MergeCommit       MergeMethod = "merge"     // a merge commit
	SquashMerge       MergeMethod = "squash"    // a squash commit and a merge commit
	SquashFastForward MergeMethod = "squash-ff" // a squash commit only
	FastForward       MergeMethod = "ff"        // neither: the source branch's last commit
)

// OpenMergeRequest commits to a source branch and opens a merge request for it. It returns its number.
func (g *GitLab) OpenMergeRequest(o MergeRequestOptions) (int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.projects[o.ProjectID]
	if p == nil || g.users[o.AuthorID] == nil {
		return 0, fmt.Errorf("open merge request in project %d: no such project or author", o.ProjectID)
	}
	if o.TargetBranch == "" {
		o.TargetBranch = p.DefaultBranch
	}
	if o.Title == "" || o.SourceBranch == "" || p.branches[o.TargetBranch] == "" {
		return 0, errors.New("open merge request: title or source branch is empty, or the target branch doesn't exist")
	}
	base := p.branches[o.TargetBranch]
	if p.branches[o.SourceBranch] == "" {
		p.branches[o.SourceBranch] = base
	}
	c := g.commitTo(p, CommitOptions{Branch: o.SourceBranch, Files: o.Files, Delete: o.Delete, Message: o.Title, AuthorID: o.AuthorID})
	now := g.now()
	mr := &MergeRequest{
		ID: g.next("merge_request"), IID: int64(len(p.mrs)) + 1, Title: o.Title, Description: o.Description, State: "opened",
		SourceBranch: o.SourceBranch, TargetBranch: o.TargetBranch, AuthorID: o.AuthorID, HeadSHA: c.SHA, SourceProjectID: o.ForkID,
		CreatedAt: now, UpdatedAt: now, commits: []string{c.SHA},
	}
	p.mrs = append(p.mrs, mr)
	g.emit(p, eventMergeRequest, g.mergeRequestPayload(p, mr, "open", o.AuthorID))
	return mr.IID, nil
}

// Merge merges as a person does, and returns the commit that the target branch is at afterwards. Where the project
// has CI jobs it starts a CI pipeline for it.
func (g *GitLab) Merge(projectID, iid, byUserID int64, method MergeMethod) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, mr, err := g.find(projectID, iid, byUserID)
	if err != nil {
		return "", fmt.Errorf("merge !%d: %w", iid, err)
	}
	if mr.State != "opened" {
		return "", fmt.Errorf("merge !%d: it is %s", iid, mr.State)
	}
	if g.level(p, byUserID) < Developer {
		return "", fmt.Errorf("merge !%d: user %d may not", iid, byUserID)
	}
	if err := g.mergeInto(p, mr, byUserID, method); err != nil {
		return "", fmt.Errorf("merge !%d: %w", iid, err)
	}
	now := g.now()
	mr.State, mr.MergeUserID, mr.MergedAt, mr.UpdatedAt = "merged", byUserID, now, now
	p.branches[mr.TargetBranch] = mr.MergedSHA
	delete(p.branches, mr.SourceBranch)
	g.emit(p, eventMergeRequest, g.mergeRequestPayload(p, mr, "merge", byUserID))
	if len(p.ci.Jobs) > 0 {
		g.startPipeline(p, Pipeline{Ref: mr.TargetBranch, SHA: mr.MergedSHA, Source: "push", UserID: byUserID})
	}
	return mr.MergedSHA, nil
}

func (g *GitLab) mergeInto(p *project, mr *MergeRequest, by int64, method MergeMethod) error {
	target := p.branches[mr.TargetBranch]
	files := map[string]string{}
	maps.Copy(files, p.commits[target].files)
	for _, sha := range mr.commits {
		applyDiff(p, sha, files)
	}
	mergeTitle := fmt.Sprintf("Merge branch '%s' into '%s'\n\n%s\n\nSee merge request %s!%d", mr.SourceBranch, mr.TargetBranch, mr.Title, p.Path, mr.IID)
	switch method {
	case MergeCommit:
		mr.MergeCommitSHA = g.newCommit(p, []string{target, mr.HeadSHA}, files, mergeTitle, by).SHA
		mr.MergedSHA = mr.MergeCommitSHA
	case SquashMerge:
		mr.SquashCommitSHA = g.newCommit(p, []string{target}, files, mr.Title, mr.AuthorID).SHA
		mr.MergeCommitSHA = g.newCommit(p, []string{target, mr.SquashCommitSHA}, files, mergeTitle, by).SHA
		mr.MergedSHA = mr.MergeCommitSHA
	case SquashFastForward:
		mr.SquashCommitSHA = g.newCommit(p, []string{target}, files, mr.Title, mr.AuthorID).SHA
		mr.MergedSHA = mr.SquashCommitSHA
	case FastForward:
		if !p.reaches(mr.HeadSHA, target) {
			return errors.New("a fast-forward merge is not possible: rebase first")
		}
		mr.MergedSHA = mr.HeadSHA
	default:
		return fmt.Errorf("unknown merge method %q", method)
	}
	return nil
}

// applyDiff replays on files what a commit changed against its first parent.
func applyDiff(p *project, sha string, files map[string]string) {
	c := p.commits[sha]
	before := map[string]string{}
	if len(c.Parents) > 0 {
		before = p.commits[c.Parents[0]].files
	}
	for path, content := range c.files {
		if old, ok := before[path]; !ok || old != content {
			files[path] = content
		}
	}
	for path := range before {
		if _, ok := c.files[path]; !ok {
			delete(files, path)
		}
	}
}

// Comment writes a comment as a person does in the browser. A comment of quick actions only is never saved: then
// the note's id is zero.
func (g *GitLab) Comment(projectID, iid, userID int64, body string) (Note, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, mr, err := g.find(projectID, iid, userID)
	if err != nil {
		return Note{}, fmt.Errorf("comment on !%d: %w", iid, err)
	}
	if g.level(p, userID) < Reporter {
		return Note{}, fmt.Errorf("comment on !%d: user %d may not", iid, userID)
	}
	rest, _ := stripQuickActions(body)
	if strings.TrimSpace(rest) == "" {
		return Note{}, nil
	}
	return *g.addNote(p, mr, userID, rest, "", false), nil
}

func (g *GitLab) addNote(p *project, mr *MergeRequest, userID int64, body, discussion string, internal bool) *Note {
	now := g.now()
	n := &Note{ID: g.next("note"), Body: body, AuthorID: userID, Internal: internal, CreatedAt: now, UpdatedAt: now}
	n.DiscussionID, n.Reply = discussion, discussion != ""
	if discussion == "" {
		n.DiscussionID = fmt.Sprintf("%040x", 0xd15c0000000+n.ID)
	}
	mr.Notes = append(mr.Notes, n)
	mr.UpdatedAt = now
	g.emitNote(p, mr, n, "create", userID)
	return n
}

func (g *GitLab) find(projectID, iid, userID int64) (*project, *MergeRequest, error) {
	p := g.projects[projectID]
	if p == nil {
		return nil, nil, fmt.Errorf("no project %d", projectID)
	}
	mr := p.mergeRequest(iid)
	if mr == nil {
		return nil, nil, fmt.Errorf("no merge request !%d in %s", iid, p.Path)
	}
	if g.users[userID] == nil {
		return nil, nil, fmt.Errorf("no user %d", userID)
	}
	return p, mr, nil
}
