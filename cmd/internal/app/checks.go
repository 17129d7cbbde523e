package app

import (
	"context"

	"gitlab.com/slipway-cd/slipway/deploy/check"
	measured "gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// checks makes what runs the checks of stages.
func (a *App) checks(known map[string]sampler, jobs check.Jobs) (*check.Executor, error) {
	sources := map[string]measured.Source{}
	for name, source := range known {
		sources[name] = source.Sampler
	}
	return check.New(check.Options{Hosts: a.o.Config.Checks.Hosts, Sources: sources, Reports: reports{a.gitlab}, Jobs: jobs})
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
