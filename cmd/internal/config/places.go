package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// Cluster is a Kubernetes cluster, and one way to reach it.
type Cluster struct {
	Name       string `yaml:"name"`
	InCluster  bool   `yaml:"in_cluster"` // the one that Slipway itself runs in
	Kubeconfig string `yaml:"kubeconfig"` // path
	Context    string `yaml:"context"`    // "" is the file's current one
	Agent      *Agent `yaml:"agent"`
}

// Agent reaches a cluster through the GitLab agent for Kubernetes that runs in it.
// Source: https://docs.gitlab.com/user/clusters/agent/user_access/
type Agent struct {
	// KAS is the address of GitLab's agent server. Below it, /k8s-proxy is the cluster's API.
	KAS string `yaml:"kas"`
	ID  int64  `yaml:"id"` // the agent's number in GitLab
	// Token is a GitLab access token with the scope k8s_proxy, of a user whom the agent's
	// user_access lets in.
	Token     Secret `yaml:"token"`
	TokenFile string `yaml:"token_file"`
	CAFile    string `yaml:"ca_file"` // PEM, where the system does not trust the agent server's certificate
}

// Server is the address of the cluster's API.
func (a *Agent) Server() string { return a.KAS + "/k8s-proxy" }

// Bearer is what the agent server takes in place of a token of the cluster.
func (a *Agent) Bearer() Secret { return Secret(fmt.Sprintf("pat:%d:%s", a.ID, a.Token.Reveal())) }

// Environment maps a GitLab environment of some projects to a place in a cluster, with
// the rules that a pipeline file cannot weaken.
type Environment struct {
	Name      string   `yaml:"name"`     // a * at its end stands for any rest: review/*
	Projects  []string `yaml:"projects"` // paths; * stands for one part, ** for one or more
	Cluster   string   `yaml:"cluster"`
	Namespace string   `yaml:"namespace"` // {slug} in it is the slug of a name that a pattern takes
	// Impersonate lets the cluster's own rules hold: Slipway acts there as this account.
	Impersonate *Impersonate `yaml:"impersonate"`
	URL         string       `yaml:"url"`  // of the live app; may hold {slug}, too
	Tier        string       `yaml:"tier"` // production, staging, testing, development or other
	// Judged: nothing is deployed here without an approved judgement before it.
	Judged    bool     `yaml:"judged"`
	Approvers []string `yaml:"approvers"` // user:NAME, group:PATH or role:ROLE
	Not       []string `yaml:"not"`       // author, merger or user:NAME
	// Review: only open merge requests are deployed here, and none that were merged.
	Review bool `yaml:"review"`
	// Hosts that the objects of reviews may claim: mr.example.com, *.review.example.com; may hold
	// {slug}. Without one they claim none.
	Hosts []string `yaml:"hosts"`
	// Kinds that reviews may bring besides the usual ones, such as Certificate.cert-manager.io.
	Kinds []string `yaml:"kinds"`
	// Branches that may be deployed from, such as release/*; without one only the project's
	// default branch, which GitLab protects.
	Branches []string `yaml:"branches"`
	// CRDs allows deliveries to bring CustomResourceDefinitions, which belong to the whole cluster.
	CRDs bool `yaml:"crds"`
	// Drift says what becomes of fields that are no longer as the release recorded them: show
	// them (the default), correct them whenever nothing is being delivered, or ignore them.
	Drift string `yaml:"drift"`
}

// What Environment.Drift may be.
const (
	DriftShow    = "show"
	DriftCorrect = "correct"
	DriftIgnore  = "ignore"
)

// Impersonate names a service account of the environment's cluster.
type Impersonate struct {
	ServiceAccount string `yaml:"service_account"`
	Namespace      string `yaml:"namespace"` // "" is the environment's
}

// Place is where a project's environment lives, and under which rules.
type Place struct {
	Rules pipeline.EnvironmentRules
	// As is the service account to act as, nil for Slipway's own credentials.
	As *Impersonate
	// CRDs: deliveries may bring CustomResourceDefinitions.
	CRDs  bool
	Drift string
	// Hosts that the objects of a review may claim, and further kinds that it may bring.
	Hosts, Kinds []string
}

// slugMark is replaced in the namespace and the URL of a pattern's environments.
const slugMark = "{slug}"

var (
	label     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	subdomain = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`)
	// environmentName is what GitLab takes as the name of an environment.
	environmentName = regexp.MustCompile(`^[A-Za-z0-9_${}. -]([A-Za-z0-9_/${}. -]*[A-Za-z0-9_${}. -])?$`)
	kindName        = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*(\.[a-z0-9]([-.a-z0-9]*[a-z0-9])?)?$`)
	projectPart     = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
)

const (
	maxLabel = 63  // characters of a namespace
	maxName  = 255 // characters of an environment's name
)

func (c *Config) checkPlaces() error {
	clusters := map[string]bool{}
	for i := range c.Clusters {
		cl := &c.Clusters[i]
		if clusters[cl.Name] {
			return fmt.Errorf("clusters[%d].name: %q is there twice", i, cl.Name)
		}
		if err := cl.check(); err != nil {
			return fmt.Errorf("clusters[%d]%w", i, err)
		}
		clusters[cl.Name] = true
	}
	for i := range c.Environments {
		if err := c.Environments[i].check(clusters); err != nil {
			return fmt.Errorf("environments[%d]%w", i, err)
		}
	}
	if err := c.checkReviews(); err != nil {
		return err
	}
	return c.checkJudged()
}

func (cl *Cluster) check() error {
	ways := 0
	for _, is := range []bool{cl.InCluster, cl.Kubeconfig != "" || cl.Context != "", cl.Agent != nil} {
		if is {
			ways++
		}
	}
	switch {
	case cl.Name == "":
		return errors.New(".name: missing")
	case ways > 1:
		return errors.New(": in_cluster, kubeconfig and agent exclude each other")
	case ways == 0, cl.Context != "" && cl.Kubeconfig == "":
		return errors.New(": one of kubeconfig (a path), in_cluster: true and agent is required")
	}
	if cl.Agent != nil {
		return cl.Agent.check()
	}
	return nil
}

func (a *Agent) check() error {
	switch {
	case !isURL(a.KAS):
		return fmt.Errorf(".agent.kas: %q is not an http or https address; it is the agent server's, such as https://kas.gitlab.com or https://gitlab.example.com/-/kubernetes-agent", a.KAS)
	case strings.HasSuffix(a.KAS, "/k8s-proxy"):
		return errors.New(".agent.kas: leave /k8s-proxy out; it is added")
	case a.ID <= 0:
		return errors.New(".agent.id: missing; it is the agent's number, which GitLab shows beside its name")
	case a.Token == "":
		return errors.New(".agent.token: missing; give an access token with the scope k8s_proxy, or token_file")
	case strings.HasPrefix(a.Token.Reveal(), "pat:"):
		return errors.New(".agent.token: give the access token alone; pat: and the agent's id are added")
	}
	return nil
}

// checkJudged refuses a way around a judgement: another environment in the same namespace
// that asks for none, or asks others.
func (c *Config) checkJudged() error {
	for i, e := range c.Environments {
		for _, o := range c.Environments {
			if e.Judged && o.Judged && e.Cluster == o.Cluster && e.mayShare(&o) && !sameRule(e.rule(), o.rule()) {
				return fmt.Errorf("environments[%d].namespace: %s is also the namespace of %s, which others approve; let both have the same approvers and not, or %s a namespace of its own",
					i, e.Namespace, o.Name, e.Name)
			}
			if !e.Judged && o.Judged && e.Cluster == o.Cluster && e.mayShare(&o) {
				return fmt.Errorf("environments[%d].namespace: %s is also the namespace of %s, which is judged; let %s be judged too, or have a namespace of its own",
					i, e.Namespace, o.Name, e.Name)
			}
		}
	}
	return nil
}

func sameRule(a, b policy.Rule) bool {
	return slices.Equal(a.Approvers, b.Approvers) && slices.Equal(a.Not, b.Not)
}

// checkReviews keeps what nobody has reviewed yet out of the namespaces of everything else.
func (c *Config) checkReviews() error {
	for i, e := range c.Environments {
		for _, o := range c.Environments {
			if e.Review && !o.Review && e.Cluster == o.Cluster && e.mayShare(&o) {
				return fmt.Errorf("environments[%d].namespace: %s is also the namespace of %s, which is not for reviews; let reviews have a namespace of their own",
					i, e.Namespace, o.Name)
			}
			if host := o.host(); e.Review && !o.Review && host != "" {
				for _, h := range e.Hosts {
					if meets(e.fill(h, "slug"), host) {
						return fmt.Errorf("environments[%d].hosts: %s takes %s, too, which is the address of %s; let reviews have hosts of their own", i, h, host, o.Name)
					}
				}
			}
		}
	}
	return nil
}

// host is that of the environment's address, "" if it has none.
func (e *Environment) host() string {
	u, err := url.Parse(e.fill(e.URL, "slug"))
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// meets tells that a pattern of hosts stands for the host.
func meets(pattern, host string) bool {
	below, many := strings.CutPrefix(strings.ToLower(pattern), "*.")
	return many && strings.HasSuffix(host, "."+below) || !many && host == below
}

// mayShare tells that some names of both environments may be in one namespace.
func (e *Environment) mayShare(o *Environment) bool {
	before, after := e.around()
	its, end := o.around()
	switch {
	case !e.slugged() && !o.slugged():
		return e.Namespace == o.Namespace
	case !e.slugged():
		return strings.HasPrefix(e.Namespace, its) && strings.HasSuffix(e.Namespace, end)
	case !o.slugged():
		return strings.HasPrefix(o.Namespace, before) && strings.HasSuffix(o.Namespace, after)
	}
	return (strings.HasPrefix(before, its) || strings.HasPrefix(its, before)) && (strings.HasSuffix(after, end) || strings.HasSuffix(end, after))
}

// around is what all namespaces of a pattern's environments begin and end with.
func (e *Environment) around() (before, after string) {
	before, after, _ = strings.Cut(e.Namespace, slugMark)
	return before + slugStart(strings.TrimSuffix(e.Name, "*")), after
}

func (e *Environment) slugged() bool { return strings.Contains(e.Namespace, slugMark) }

// Pattern tells that the name stands for many environments.
func (e *Environment) Pattern() bool { return strings.HasSuffix(e.Name, "*") }

func (e *Environment) check(clusters map[string]bool) error {
	switch {
	case e.Name == "":
		return errors.New(".name: missing")
	case !e.named():
		return fmt.Errorf(".name: %q is no name that GitLab gives an environment; only as the last character, after others, a * stands for any rest", e.Name)
	case len(e.Projects) == 0:
		return fmt.Errorf(".projects: missing; name the projects that may deploy to %s", e.Name)
	case !clusters[e.Cluster]:
		return fmt.Errorf(".cluster: %q is not among the clusters", e.Cluster)
	case e.Review && e.Judged:
		return errors.New(".review: nobody is asked before a review, so judged and review exclude each other")
	case e.Review && len(e.Branches) > 0:
		return errors.New(".branches: a review may be of any branch of the project; leave branches out")
	case e.URL != "" && !isURL(e.fill(e.URL, "slug")):
		return fmt.Errorf(".url: %q is not an http or https address", e.URL)
	case !slices.Contains([]string{"production", "staging", "testing", "development", "other"}, e.Tier):
		return fmt.Errorf(".tier: %q is not production, staging, testing, development or other", e.Tier)
	}
	if !slices.Contains([]string{DriftShow, DriftCorrect, DriftIgnore}, e.Drift) {
		return fmt.Errorf(".drift: %q is not show, correct or ignore", e.Drift)
	}
	if err := e.checkNamespace(); err != nil {
		return err
	}
	if err := e.checkFence(); err != nil {
		return err
	}
	if err := checkEach(e.Projects); err != nil {
		return fmt.Errorf(".projects: %w", err)
	}
	for _, b := range e.Branches {
		if _, err := path.Match(b, ""); err != nil || b == "" {
			return fmt.Errorf(".branches: %q is not a pattern", b)
		}
	}
	if err := e.rule().Validate(); err != nil {
		return fmt.Errorf(".approvers: %w", err)
	}
	return nil
}

// checkFence looks at what holds the objects of reviews.
func (e *Environment) checkFence() error {
	switch {
	case !e.Review && len(e.Hosts) > 0:
		return errors.New(".hosts: only what reviews claim is held to hosts; leave hosts out, or add review: true")
	case !e.Review && len(e.Kinds) > 0:
		return errors.New(".kinds: only reviews are held to kinds; leave kinds out, or add review: true")
	}
	for _, host := range e.Hosts {
		filled := strings.ToLower(e.fill(host, "slug"))
		switch {
		case strings.Contains(filled, slugMark):
			return fmt.Errorf(".hosts: %s is one environment, so there is no %s", e.Name, slugMark)
		case !domain.MatchString(filled) || !strings.Contains(strings.TrimPrefix(filled, "*."), "."):
			return fmt.Errorf(".hosts: %q is not a host such as mr.example.com, {slug}.review.example.com or *.review.example.com", host)
		}
	}
	for _, kind := range e.Kinds {
		if !kindName.MatchString(kind) {
			return fmt.Errorf(".kinds: %q is not a kind such as Certificate.cert-manager.io", kind)
		}
	}
	return nil
}

// named tells that the name, or what its pattern takes, is one that GitLab allows.
func (e *Environment) named() bool {
	name := e.Name
	if prefix, pattern := strings.CutSuffix(name, "*"); pattern {
		if prefix == "" {
			return false
		}
		name = prefix + "x"
	}
	return len(name) <= maxName && environmentName.MatchString(name)
}

func (e *Environment) checkNamespace() error {
	longest := e.fill(e.Namespace, strings.Repeat("s", maxSlug))
	switch {
	case e.Namespace == "":
		return errors.New(".namespace: missing")
	case !e.Pattern() && (e.slugged() || strings.Contains(e.URL, slugMark)):
		return fmt.Errorf(".name: %s is one environment, so there is no %s; write the name with a * at its end, or the namespace and the URL without %s", e.Name, slugMark, slugMark)
	case !label.MatchString(longest):
		return fmt.Errorf(".namespace: %q is not the name of a namespace: lower-case letters, digits and dashes", e.Namespace)
	case len(longest) > maxLabel:
		return fmt.Errorf(".namespace: %q is too long: %d characters at most, of which a slug takes up to %d", e.Namespace, maxLabel, maxSlug)
	}
	as := e.Impersonate
	switch {
	case as == nil:
	case !subdomain.MatchString(as.ServiceAccount):
		return fmt.Errorf(".impersonate.service_account: %q is not the name of a service account", as.ServiceAccount)
	case as.Namespace != "" && !label.MatchString(e.fill(as.Namespace, "slug")):
		return fmt.Errorf(".impersonate.namespace: %q is not the name of a namespace", as.Namespace)
	}
	return nil
}

// fill puts a slug into a text of a pattern's environments.
func (e *Environment) fill(text, slug string) string {
	if !e.Pattern() {
		return text
	}
	return strings.ReplaceAll(text, slugMark, slug)
}

func (e *Environment) rule() policy.Rule {
	return policy.Rule{Approvers: e.Approvers, Not: e.Not}
}

// Environment gives the rules of a project's environment. The error says which
// environments the project may use.
func (c *Config) Environment(project, name string) (pipeline.EnvironmentRules, error) {
	p, err := c.Place(project, name)
	return p.Rules, err
}

// Place finds where a project's environment lives. An environment that is named wins over
// patterns, a longer pattern over a shorter one, and of equals the first. The error says
// which environments the project may use.
func (c *Config) Place(project, name string) (Place, error) {
	var best *Environment
	var usable []string
	for i := range c.Environments {
		e := &c.Environments[i]
		if !e.allows(project) {
			continue
		}
		if e.takes(name) && (best == nil || best.Pattern() && (!e.Pattern() || len(e.Name) > len(best.Name))) {
			best = e
		}
		if !slices.Contains(usable, e.Name) {
			usable = append(usable, e.Name)
		}
	}
	switch {
	case best != nil:
		p := best.place(name)
		if p.Rules.Review = best.Review; best.Review {
			p.Rules.Slug = reviewSlug(project, name)
		}
		return p, nil
	case len(usable) == 0:
		return Place{}, fmt.Errorf("project %s may not deploy anywhere; an operator has to add it to an environment", project)
	}
	return Place{}, fmt.Errorf("project %s may not deploy to %q; it may use %s", project, name, strings.Join(usable, ", "))
}

// takes tells that the environment is, or its pattern stands for, this name.
func (e *Environment) takes(name string) bool {
	prefix, pattern := strings.CutSuffix(e.Name, "*")
	if !pattern {
		return e.Name == name
	}
	return strings.HasPrefix(name, prefix) && len(name) > len(prefix) && len(name) <= maxName && environmentName.MatchString(name)
}

// place is the environment under one of the names that it takes.
func (e *Environment) place(name string) Place {
	p := Place{Drift: e.Drift, Rules: pipeline.EnvironmentRules{
		Cluster: e.Cluster, Namespace: e.fill(e.Namespace, slug(name)), URL: e.fill(e.URL, slug(name)),
		Tier: e.Tier, Judged: e.Judged, Rule: e.rule(), Branches: e.Branches,
	}, CRDs: e.CRDs, Kinds: e.Kinds}
	for _, host := range e.Hosts {
		p.Hosts = append(p.Hosts, e.fill(host, slug(name)))
	}
	if as := e.Impersonate; as != nil {
		p.As = &Impersonate{ServiceAccount: as.ServiceAccount, Namespace: e.fill(as.Namespace, slug(name))}
		if p.As.Namespace == "" {
			p.As.Namespace = p.Rules.Namespace
		}
	}
	return p
}

// Reviews tells whether the project's open merge requests may be deployed anywhere.
func (c *Config) Reviews(project string) bool {
	return slices.ContainsFunc(c.Environments, func(e Environment) bool { return e.Review && e.allows(project) })
}

// Knows tells whether the project may use any environment.
func (c *Config) Knows(project string) bool {
	return slices.ContainsFunc(c.Environments, func(e Environment) bool { return e.allows(project) })
}

func (e *Environment) allows(project string) bool {
	return anyAllows(e.Projects, project)
}
