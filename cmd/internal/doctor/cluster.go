package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const maxSkew = 30 * time.Second

// cluster looks at a cluster, and remembers how it is for its environments.
type cluster struct {
	Sources
	cfg       *config.Cluster
	answers   bool
	condition kube.Condition
}

func (c *cluster) run(ctx context.Context) []Finding {
	k, err := c.Cluster(c.cfg.Name)
	if err != nil {
		return []Finding{broken(unusable(err), c.mend()...)}
	}
	if c.condition, err = k.Condition(ctx); err != nil {
		return []Finding{broken(words(err), c.mend()...)}
	}
	c.answers = true
	out := []Finding{fine("Kubernetes " + c.condition.Version + " answers")}
	if skew := c.condition.Skew; skew.Abs() > maxSkew {
		where := "ahead of"
		if skew < 0 {
			where = "behind"
		}
		out[0] = note(fmt.Sprintf("Kubernetes %s answers, but its clock is about %s %s this machine's", c.condition.Version, skew.Abs().Round(10*time.Second), where),
			"set the clock that is wrong; on this machine:  timedatectl set-ntp true")
	}
	if !c.condition.HTTPRoutes {
		out = append(out, note("it serves no HTTPRoutes (Gateway API v1), so traffic can't be split by one; all else works"))
	}
	return out
}

// unusable says why there is no way to a cluster, with the cause: the operator reads it
// here, not in a log.
func unusable(err error) string {
	if f, ok := pipeline.AsFailure(err); ok && f.Err != nil {
		return strings.TrimPrefix(f.Err.Error(), "kube: ")
	}
	return words(err)
}

func (c *cluster) mend() []string {
	switch {
	case c.cfg.InCluster:
		return []string{"in_cluster: true works in a pod with a service account; elsewhere give kubeconfig: or agent:"}
	case c.cfg.Agent != nil:
		return []string{
			"the same question, by hand, with a token of the scope k8s_proxy:",
			fmt.Sprintf(`curl --header "Authorization: Bearer pat:%d:$TOKEN" %s/version`, c.cfg.Agent.ID, c.cfg.Agent.Server()),
			"the agent's .gitlab/agents/NAME/config.yaml has to let the token's user in under user_access (docs/kubernetes.md)",
		}
	}
	command := "kubectl --kubeconfig " + c.cfg.Kubeconfig
	if c.cfg.Context != "" {
		command += " --context " + c.cfg.Context
	}
	return []string{"the same question, by hand:  " + command + " version"}
}

// environment looks at an environment's namespace.
type environment struct {
	Sources
	cfg *config.Environment
	in  *cluster
}

func (e *environment) run(ctx context.Context) []Finding {
	switch {
	case !e.in.answers:
		return []Finding{note("not looked at, because cluster " + e.cfg.Cluster + " doesn't answer")}
	case strings.Contains(e.cfg.Namespace, "{slug}"):
		return []Finding{note("each name has a namespace of its own, " + e.cfg.Namespace + ", which has to be there when a delivery comes; it was not looked at")}
	}
	ns, err := e.Namespace(e.cfg.Cluster, e.as(), e.cfg.Namespace)
	if err != nil {
		return []Finding{broken(unusable(err))}
	}
	exists, known, err := ns.Exists(ctx)
	if err != nil {
		return []Finding{broken(words(err), e.mend(err)...)}
	}
	if known && !exists {
		return []Finding{broken("cluster "+e.cfg.Cluster+" has no namespace "+e.cfg.Namespace, "kubectl create namespace "+e.cfg.Namespace,
			"and the role in it (docs/kubernetes.md)")}
	}
	missing, err := ns.Access(ctx, slices.DeleteFunc(kube.Needs(), func(n kube.Need) bool { return n.IsHTTPRoute() && !e.in.condition.HTTPRoutes }))
	if err != nil {
		return []Finding{broken(words(err), e.mend(err)...)}
	}
	return e.judge(missing, known)
}

func (e *environment) as() *config.Impersonate {
	if e.cfg.Impersonate == nil {
		return nil
	}
	as := *e.cfg.Impersonate
	if as.Namespace == "" {
		as.Namespace = e.cfg.Namespace
	}
	return &as
}

// where is the namespace, and who acts there.
func (e *environment) where() string {
	where := "namespace " + e.cfg.Namespace + " of cluster " + e.cfg.Cluster
	if as := e.as(); as != nil {
		where += ", as service account " + as.Namespace + "/" + as.ServiceAccount
	}
	return where
}

// mend is for a refusal: to impersonate, or to ask at all.
func (e *environment) mend(err error) []string {
	as := e.as()
	var f *pipeline.Failure
	if as == nil || !errors.As(err, &f) || f.Code != pipeline.ReasonForbidden {
		return nil
	}
	return []string{
		"let Slipway's own account act as it, and nothing else; bind this role to that account:",
		fmt.Sprintf("kubectl -n %s create role slipway-impersonates --verb=impersonate --resource=serviceaccounts --resource-name=%s", as.Namespace, as.ServiceAccount),
		fmt.Sprintf("kubectl -n %s create rolebinding slipway-impersonates --role=slipway-impersonates --serviceaccount=NAMESPACE:ACCOUNT", as.Namespace),
	}
}

// judge sorts what is missing: what stops deliveries, what stops those that hold a kind,
// and what is only nice to have. A kind that may be handled in part was meant to be
// handled, so that is wrong.
func (e *environment) judge(missing []kube.Need, seen bool) []Finding {
	whole := map[string]int{}
	for _, n := range kube.Needs() {
		if n.Weight != kube.Optional { // which may be more of the same resource
			whole[n.Group+"/"+n.Resource] = len(n.Verbs)
		}
	}
	var stops, kinds, nice []kube.Need
	for _, n := range missing {
		switch {
		case n.Weight == kube.Optional:
			nice = append(nice, n)
		case n.Weight == kube.IfUsed && len(n.Verbs) == whole[n.Group+"/"+n.Resource]:
			kinds = append(kinds, n)
		default:
			stops = append(stops, n)
		}
	}
	var out []Finding
	if len(stops) > 0 {
		out = append(out, broken("Slipway may not "+list(stops)+" in "+e.where(), e.rules(stops)...))
	} else {
		says := e.where() + ": all rights are there"
		if len(missing) > 0 {
			says = e.where() + ": the rights that every delivery needs are there"
		}
		if !seen {
			says += " (whether the namespace is, Slipway may not see)"
		}
		out = append(out, fine(says))
	}
	if len(kinds) > 0 {
		names := make([]string, 0, len(kinds))
		for _, n := range kinds {
			names = append(names, n.Resource)
		}
		out = append(out, note("no rights for "+strings.Join(names, ", ")+"; that is right if the manifests hold none", e.rules(kinds)...))
	}
	for _, n := range nice {
		out = append(out, note("Slipway may not "+n.String()+", so "+n.Without, e.rules([]kube.Need{n})...))
	}
	return out
}

func list(needs []kube.Need) string {
	parts := make([]string, 0, len(needs))
	for _, n := range needs {
		parts = append(parts, n.String())
	}
	return strings.Join(parts, "; ")
}

// rules are what to add to the role.
func (e *environment) rules(needs []kube.Need) []string {
	whose := "Slipway's own account"
	if as := e.as(); as != nil {
		whose = "service account " + as.Namespace + "/" + as.ServiceAccount
	}
	return append([]string{"add to the rules of the Role that is bound to " + whose + " in namespace " + e.cfg.Namespace + ":"}, kube.RoleRules(needs)...)
}
