package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/deploy/registry"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// clusters finds the place of an environment by the operator's configuration, and
// connects to each cluster when it is first needed, so that one that is away does not
// keep the server from starting.
type clusters struct {
	cfg *config.Config
	log *slog.Logger
	mu  sync.Mutex
	by  map[identity]*kube.Client
}

// identity is a cluster, and whom Slipway acts as there.
type identity struct {
	cluster string
	as      kube.ServiceAccount // nobody: with its own credentials
}

// Clusters are the places of a configuration, for tools that need no server.
func Clusters(cfg *config.Config, log *slog.Logger) deploy.Clusters { return newClusters(cfg, log) }

// Operator is a configuration as the pipeline file's compiler wants it, for tools that need no server.
func Operator(cfg *config.Config) spec.Operator { return operator{cfg} }

func newClusters(cfg *config.Config, log *slog.Logger) *clusters {
	return &clusters{cfg: cfg, log: log, by: map[identity]*kube.Client{}}
}

// Target implements deploy.Clusters.
func (c *clusters) Target(_ context.Context, project, environment string) (deploy.Target, error) {
	place, err := c.cfg.Place(project, environment)
	if err != nil {
		return deploy.Target{}, &pipeline.Failure{Code: pipeline.ReasonNotAllowed, Detail: err.Error(), Permanent: true, Unchanged: true}
	}
	rules := place.Rules
	cluster, err := c.connect(rules.Cluster, place.As)
	if err != nil {
		return deploy.Target{}, err
	}
	namespace := cluster.Namespace(rules.Namespace)
	if place.CRDs {
		namespace = namespace.AllowCRDs()
	}
	return deploy.Target{Cluster: namespace, Name: rules.Cluster, Namespace: rules.Namespace, CRDs: place.CRDs, Fence: fence(place)}, nil
}

// fence is what holds the objects of a review environment, nil for any other.
func fence(place config.Place) *manifest.Fence {
	if !place.Rules.Review {
		return nil
	}
	f := &manifest.Fence{Hosts: place.Hosts, Kinds: place.Kinds}
	if place.As != nil && place.As.Namespace == place.Rules.Namespace {
		f.Account = place.As.ServiceAccount
	}
	return f
}

// connect gives the one client of a cluster and an identity there; as is nil for Slipway's own.
func (c *clusters) connect(name string, as *config.Impersonate) (*kube.Client, error) {
	id := identity{cluster: name}
	if as != nil {
		id.as = kube.ServiceAccount{Namespace: as.Namespace, Name: as.ServiceAccount}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.by[id]; k != nil {
		return k, nil
	}
	for i := range c.cfg.Clusters {
		if c.cfg.Clusters[i].Name != name {
			continue
		}
		o := way(&c.cfg.Clusters[i])
		o.As = id.as
		k, err := kube.New(o)
		if err != nil {
			return nil, &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: fmt.Sprintf("Slipway cannot use cluster %s, and its log says why", name), Unchanged: true, Err: err}
		}
		c.by[id] = k
		return k, nil
	}
	return nil, &pipeline.Failure{Code: pipeline.ReasonNotAllowed, Detail: fmt.Sprintf("cluster %q is not configured", name), Permanent: true, Unchanged: true}
}

// way is how a cluster is reached.
func way(cl *config.Cluster) kube.Options {
	o := kube.Options{Name: cl.Name, InCluster: cl.InCluster, KubeconfigPath: cl.Kubeconfig, Context: cl.Context}
	if cl.Agent != nil {
		o.Server, o.BearerToken, o.CAFile = cl.Agent.Server(), cl.Agent.Bearer().Reveal(), cl.Agent.CAFile
	}
	return o
}

// close ends the watches of all clusters.
func (c *clusters) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.by {
		k.Close()
	}
}

// ping asks a cluster for its version.
func (c *clusters) ping(ctx context.Context, name string) (string, error) {
	k, err := c.connect(name, nil)
	if err != nil {
		return "", err
	}
	return k.Ping(ctx)
}

// registriesOf gives the registries that are asked for digests, nil if there are none.
func registriesOf(cfg *config.Config) (deploy.Registry, error) {
	if len(cfg.Registries) == 0 {
		return nil, nil //nolint:nilnil // no registry is asked
	}
	var o registry.Options
	for _, r := range cfg.Registries {
		o.Registries = append(o.Registries, registry.Registry{Host: r.Host, Username: r.Username, Password: r.Password.Reveal(), Insecure: r.Insecure})
	}
	client, err := registry.New(o)
	if err != nil {
		return nil, fmt.Errorf("use the registries: %w", err)
	}
	return client, nil
}
