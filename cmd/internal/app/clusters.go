package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// clusters finds the place of an environment by the operator's configuration, and
// connects to each cluster when it is first needed, so that one that is away does not
// keep the server from starting.
type clusters struct {
	cfg *config.Config
	log *slog.Logger
	mu  sync.Mutex
	by  map[string]*kube.Client
}

func newClusters(cfg *config.Config, log *slog.Logger) *clusters {
	return &clusters{cfg: cfg, log: log, by: map[string]*kube.Client{}}
}

// Target implements deploy.Clusters.
func (c *clusters) Target(_ context.Context, project, environment string) (deploy.Target, error) {
	rules, err := c.cfg.Environment(project, environment)
	if err != nil {
		return deploy.Target{}, &pipeline.Failure{Code: pipeline.ReasonNotAllowed, Detail: err.Error(), Permanent: true, Unchanged: true}
	}
	cluster, err := c.connect(rules.Cluster)
	if err != nil {
		return deploy.Target{}, err
	}
	return deploy.Target{Cluster: cluster.Namespace(rules.Namespace), Name: rules.Cluster, Namespace: rules.Namespace}, nil
}

func (c *clusters) connect(name string) (*kube.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.by[name]; k != nil {
		return k, nil
	}
	for _, cl := range c.cfg.Clusters {
		if cl.Name != name {
			continue
		}
		k, err := kube.New(kube.Options{Name: name, InCluster: cl.InCluster, KubeconfigPath: cl.Kubeconfig, Context: cl.Context})
		if err != nil {
			return nil, &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: fmt.Sprintf("Slipway cannot use cluster %s, and its log says why", name), Unchanged: true, Err: err}
		}
		c.by[name] = k
		return k, nil
	}
	return nil, &pipeline.Failure{Code: pipeline.ReasonNotAllowed, Detail: fmt.Sprintf("cluster %q is not configured", name), Permanent: true, Unchanged: true}
}

// ping asks a cluster for its version.
func (c *clusters) ping(ctx context.Context, name string) (string, error) {
	k, err := c.connect(name)
	if err != nil {
		return "", err
	}
	return k.Ping(ctx)
}
