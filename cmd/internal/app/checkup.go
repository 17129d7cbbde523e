package app

import (
	"context"
	"log/slog"
	"time"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/cmd/internal/doctor"
	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/store/boltstore"
)

// Checkup builds what `slipway doctor` looks at. The database stays closed, so that it
// works beside a server that is running.
func Checkup(cfg *config.Config, log *slog.Logger) (doctor.Sources, error) {
	g, err := gitlab.New(gitlab.Options{URL: cfg.GitLab.URL, Token: cfg.GitLab.Token.Reveal(), Logger: log})
	if err != nil {
		return doctor.Sources{}, err
	}
	c := newClusters(cfg, log)
	s := doctor.Sources{
		Config: cfg, Database: boltstore.Probe, GitLab: g, Now: time.Now,
		Cluster: func(name string) (doctor.Cluster, error) { return c.connect(name, nil) },
		Namespace: func(cluster string, as *config.Impersonate, namespace string) (doctor.Namespace, error) {
			k, err := c.connect(cluster, as)
			if err != nil {
				return nil, err
			}
			return k.Namespace(namespace), nil
		},
	}
	a := &App{o: Options{Config: cfg, Logger: log}, log: log}
	if _, err := a.buildSlack(); err != nil {
		return doctor.Sources{}, err
	}
	if a.slack != nil { // a nil client would be no nil interface
		s.Slack = a.slack
	}
	sources, err := metricsSources(cfg)
	if err != nil {
		return doctor.Sources{}, err
	}
	s.Measure = map[string]func(context.Context) error{}
	for name, source := range sources {
		if source.probe != "" {
			s.Measure[name] = func(ctx context.Context) error { return measure(ctx, source, time.Now()) }
		}
	}
	return s, nil
}
