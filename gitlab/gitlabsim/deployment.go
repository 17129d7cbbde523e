package gitlabsim

import (
	"fmt"
	"regexp"
	"strings"
)

func (g *GitLab) newDeployment(p *project, d Deployment) *Deployment {
	now := g.now()
	d.ID, d.IID, d.Status, d.CreatedAt, d.UpdatedAt = g.next("deployment"), int64(len(p.deployments))+1, "created", now, now
	p.deployments = append(p.deployments, &d)
	return &d
}

// moveDeployment is GitLab's state machine (app/models/deployment.rb): only a created one starts to run, no state is
// reached twice, and a finished one may still change how it finished.
func (g *GitLab) moveDeployment(p *project, d *Deployment, status string) error {
	event := map[string]string{"running": "run", "success": "succeed", "failed": "drop", "canceled": "cancel"}[status]
	if d.Status == status || status == "running" && d.Status != "created" {
		return fmt.Errorf("cannot transition via %q", event)
	}
	g.setDeployment(p, d, status)
	return nil
}

func (g *GitLab) setDeployment(p *project, d *Deployment, status string) {
	now := g.now()
	d.Status, d.UpdatedAt = status, now
	if status != "running" {
		d.FinishedAt = now
	}
	if e := p.environment(d.Environment); e != nil && status == "success" {
		e.State, e.UpdatedAt = "available", now
	}
	g.emit(p, eventDeployment, g.deploymentPayload(p, d))
}

// AnswerDeployment approves or rejects a deployment as a person does in the browser. The status is approved or
// rejected. No hook is sent.
func (g *GitLab) AnswerDeployment(projectID, deploymentID, byUserID int64, status, comment string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.projects[projectID]; p != nil && g.users[byUserID] != nil {
		for _, d := range p.deployments {
			if d.ID == deploymentID {
				d.Approvals = append(d.Approvals, Approval{UserID: byUserID, Status: status, Comment: comment, CreatedAt: g.now()})
				return nil
			}
		}
	}
	return fmt.Errorf("answer deployment %d of project %d: no such project, deployment or user", deploymentID, projectID)
}

// AddEnvironment makes an environment as a person does in the browser.
func (g *GitLab) AddEnvironment(projectID int64, name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.projects[projectID]
	if p == nil || p.environment(name) != nil || !validEnvironment(name) {
		return fmt.Errorf("add environment %q to project %d: no such project, or the name is wrong or taken", name, projectID)
	}
	g.ensureEnvironment(p, name)
	return nil
}

func (g *GitLab) ensureEnvironment(p *project, name string) *Environment {
	if e := p.environment(name); e != nil {
		return e
	}
	now := g.now()
	e := &Environment{
		ID: g.next("environment"), Name: name, Slug: slug(name), Tier: tier(name), State: "available",
		AutoStopSetting: "always", CreatedAt: now, UpdatedAt: now,
	}
	p.environments = append(p.environments, e)
	g.changed()
	return e
}

func validEnvironment(name string) bool {
	if name == "" || len(name) > 255 || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
			return false
		}
		return !strings.ContainsRune("-_/${}. ", r)
	})
}

func slug(name string) string {
	s := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	return strings.Trim(s[:min(24, len(s))], "-")
}

// tier guesses as GitLab does (app/models/environment.rb).
func tier(name string) string {
	for _, guess := range []struct{ tier, pattern string }{
		{"development", `(?i)(dev|review|trunk)`},
		{"testing", `(?i)(test|tst|int|ac(ce|)pt|qa|qc|control|quality)`},
		{"staging", `(?i)(st(a|)g|mod(e|)l|pre|demo|non)`},
		{"production", `(?i)(pr(o|)d|live)`},
	} {
		if regexp.MustCompile(guess.pattern).MatchString(name) {
			return guess.tier
		}
	}
	return "other"
}
