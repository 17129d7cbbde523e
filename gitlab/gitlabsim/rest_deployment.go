package gitlabsim

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"time"
)

func (c *call) deployment() (*Deployment, *answer) {
	id, err := c.varID("deployment_id")
	if err != nil {
		return nil, err
	}
	for _, d := range c.p.deployments {
		if d.ID == id {
			return d, nil
		}
	}
	a := notFound("")
	return nil, &a
}

func listDeployments(c *call) answer {
	if err := c.oneOf("status", "created", "running", "success", "failed", "canceled", "skipped", "blocked"); err != nil {
		return *err
	}
	if err := c.oneOf("order_by", "id", "iid", "created_at", "updated_at", "finished_at"); err != nil {
		return *err
	}
	if err := c.oneOf("sort", "asc", "desc"); err != nil {
		return *err
	}
	bounds := map[string]time.Time{}
	for _, name := range []string{"updated_after", "updated_before", "finished_after", "finished_before"} {
		t, err := c.after(name)
		if err != nil {
			return *err
		}
		bounds[name] = t
	}
	if (!bounds["updated_after"].IsZero() || !bounds["updated_before"].IsZero()) && c.str("order_by") != "updated_at" {
		return badRequest("`updated_at` filter and `updated_at` sorting must be paired")
	}
	if (!bounds["finished_after"].IsZero() || !bounds["finished_before"].IsZero()) && (c.str("order_by") != "finished_at" || c.str("status") == "") {
		return badRequest("`finished_at` filter and `finished_at` sorting must be paired, together with a status filter")
	}
	var found []*Deployment
	for _, d := range c.p.deployments {
		if env, given := c.text("environment"); given && env != d.Environment {
			continue
		}
		if status, given := c.text("status"); given && status != d.Status {
			continue
		}
		if within(bounds, "updated", d.UpdatedAt) && within(bounds, "finished", d.FinishedAt) {
			found = append(found, d)
		}
	}
	slices.SortStableFunc(found, func(a, b *Deployment) int {
		if c.str("order_by") == "updated_at" {
			return cmp.Or(a.UpdatedAt.Compare(b.UpdatedAt), cmp.Compare(a.ID, b.ID))
		}
		return cmp.Compare(a.ID, b.ID)
	})
	if c.str("sort") == "desc" {
		slices.Reverse(found)
	}
	return paginate(c, found, func(d *Deployment) any { return c.g.deploymentEntity(c.p, d) })
}

func getDeployment(c *call) answer {
	d, err := c.deployment()
	if err != nil {
		return *err
	}
	return ok(c.g.deploymentEntity(c.p, d))
}

func createDeployment(c *call) answer {
	if err := c.required("environment", "sha", "ref", "tag", "status"); err != nil {
		return *err
	}
	if err := c.oneOf("status", "running", "success", "failed", "canceled"); err != nil {
		return *err
	}
	env, sha, ref := c.str("environment"), c.str("sha"), c.str("ref")
	if !validEnvironment(env) {
		return rejected(obj{"name": []string{"can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, but it cannot start or end with '/'"}})
	}
	// The environment stays, also where the deployment is refused.
	c.g.ensureEnvironment(c.p, env)
	if c.p.commits[sha] == nil {
		return rejected(obj{"sha": []string{"The commit does not exist"}})
	}
	if ref == "" || c.p.resolve(ref) == nil {
		return rejected(obj{"ref": []string{"The branch or tag does not exist"}})
	}
	d := c.g.newDeployment(c.p, Deployment{Environment: env, SHA: sha, Ref: ref, Tag: c.flag("tag"), UserID: c.user.ID})
	c.g.setDeployment(c.p, d, c.str("status"))
	return created(c.g.deploymentEntity(c.p, d))
}

func updateDeployment(c *call) answer {
	d, err := c.deployment()
	if err != nil {
		return *err
	}
	if err := c.required("status"); err != nil {
		return *err
	}
	if err := c.oneOf("status", "running", "success", "failed", "canceled"); err != nil {
		return *err
	}
	if d.JobID != 0 {
		return forbidden("Deployments created using GitLab CI can not be updated using the API")
	}
	if err := c.g.moveDeployment(c.p, d, c.str("status")); err != nil {
		return rejected(obj{"status": []string{err.Error()}})
	}
	return ok(c.g.deploymentEntity(c.p, d))
}

func (c *call) environment() (*Environment, *answer) {
	id, err := c.varID("environment_id")
	if err != nil {
		return nil, err
	}
	for _, e := range c.p.environments {
		if e.ID == id {
			return e, nil
		}
	}
	a := notFound("")
	return nil, &a
}

func listEnvironments(c *call) answer {
	name, byName := c.text("name")
	search, bySearch := c.text("search")
	if byName && bySearch {
		return invalid("name, search cannot be used together")
	}
	if bySearch && len(search) < 3 {
		return badRequest("Search query is less than 3 characters")
	}
	if err := c.oneOf("states", "available", "stopping", "stopped"); err != nil {
		return *err
	}
	var found []*Environment
	for _, e := range c.p.environments {
		if byName && e.Name != name || bySearch && !strings.Contains(strings.ToLower(e.Name), strings.ToLower(search)) {
			continue
		}
		if state, given := c.text("states"); given && state != e.State {
			continue
		}
		found = append(found, e)
	}
	return paginate(c, found, func(e *Environment) any { return c.g.environmentEntity(e) })
}

func createEnvironment(c *call) answer {
	if err := c.required("name"); err != nil {
		return *err
	}
	name := c.str("name")
	if c.p.environment(name) != nil {
		return rejected(obj{"name": []string{"has already been taken"}, "slug": []string{"has already been taken"}})
	}
	if !validEnvironment(name) {
		return rejected(obj{"name": []string{"can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, but it cannot start or end with '/'"}})
	}
	draft := &Environment{}
	if err := c.describe(draft); err != nil {
		return *err
	}
	e := c.g.ensureEnvironment(c.p, name)
	_ = c.describe(e)
	return created(c.g.environmentEntity(e))
}

func getEnvironment(c *call) answer {
	e, err := c.environment()
	if err != nil {
		return *err
	}
	entity := c.g.environmentEntity(e)
	entity["last_deployment"] = nil
	for _, d := range c.p.deployments {
		if d.Environment == e.Name && d.Status == "success" {
			entity["last_deployment"] = c.g.deploymentEntity(c.p, d)
		}
	}
	return ok(entity)
}

func updateEnvironment(c *call) answer {
	e, err := c.environment()
	if err != nil {
		return *err
	}
	if err := c.describe(e); err != nil {
		return *err
	}
	e.UpdatedAt = c.g.now()
	c.g.changed()
	return ok(c.g.environmentEntity(e))
}

// describe sets what may be changed about an environment; its name isn't among it.
func (c *call) describe(e *Environment) *answer {
	if err := c.oneOf("tier", "production", "staging", "testing", "development", "other"); err != nil {
		return err
	}
	if err := c.oneOf("auto_stop_setting", "always", "with_action"); err != nil {
		return err
	}
	if link, given := c.text("external_url"); given && link != "" {
		u, err := url.Parse(link)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || len(link) > 255 {
			a := rejected(obj{"external_url": []string{"is blocked: Only allowed schemes are http, https"}})
			return &a
		}
	}
	agent, hasAgent, err := c.number("cluster_agent_id")
	if err != nil {
		return err
	}
	if description := c.str("description"); len(description) > 10000 {
		a := rejected(obj{"description": []string{"is too long (maximum is 10000 characters)"}})
		return &a
	}
	for name, into := range map[string]*string{
		"external_url": &e.ExternalURL, "tier": &e.Tier, "description": &e.Description, "kubernetes_namespace": &e.KubernetesNamespace,
		"flux_resource_path": &e.FluxResourcePath, "auto_stop_setting": &e.AutoStopSetting,
	} {
		if s, given := c.text(name); given {
			*into = s
		}
	}
	if hasAgent {
		e.ClusterAgentID = agent
	}
	return nil
}

func stopEnvironment(c *call) answer {
	e, err := c.environment()
	if err != nil {
		return *err
	}
	e.State, e.UpdatedAt = "stopped", c.g.now()
	c.g.changed()
	return ok(c.g.environmentEntity(e))
}
