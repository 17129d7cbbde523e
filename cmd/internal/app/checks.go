package app

import (
	"context"
	"fmt"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy/check"
	measured "gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/prometheus"
	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// checks makes what runs the checks of stages.
func (a *App) checks(jobs check.Jobs) (*check.Executor, error) {
	known, err := metricsSources(a.o.Config)
	if err != nil {
		return nil, err
	}
	return check.New(check.Options{Hosts: a.o.Config.Checks.Hosts, Sources: known, Reports: reports{a.gitlab}, Jobs: jobs})
}

// metricsSources are the operator's systems that keep measurements, by name.
func metricsSources(cfg *config.Config) (map[string]measured.Source, error) {
	all := map[string]measured.Source{}
	for _, s := range cfg.Sources {
		p := s.Prometheus
		o := prometheus.Options{
			URL: p.URL, Token: p.Token.Reveal(), Username: p.Username, Password: p.Password.Reveal(), Headers: map[string]string{},
		}
		for name, value := range p.Headers {
			o.Headers[name] = value.Reveal()
		}
		source, err := prometheus.New(o)
		if err != nil {
			return nil, fmt.Errorf("metrics source %s: %w", s.Name, err)
		}
		all[s.Name] = source
	}
	return all, nil
}

// reports is GitLab as checks want it.
type reports struct{ *gitlab.Client }

func (r reports) TestReport(ctx context.Context, t *pipeline.Task) (int64, []check.Suite, error) {
	id, found, err := r.Client.TestReport(ctx, t)
	suites := make([]check.Suite, 0, len(found))
	for _, s := range found {
		suites = append(suites, check.Suite(s))
	}
	return id, suites, err
}
