package app

import (
	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy/analysis"
	measured "gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// analyses makes what looks at canaries.
func (a *App) analyses(known map[string]sampler, pods analysis.Pods) (*analysis.Executor, error) {
	filler, err := spec.NewQueries()
	if err != nil {
		return nil, err
	}
	return analysis.New(analysis.Options{Sources: samplers(known), Queries: queries{filler}, Pods: pods, Blobs: a.store})
}

// Trace prepares to judge canaries again by the sources of a configuration, for tools that need no server.
func Trace(cfg *config.Config) (*analysis.Trace, error) {
	known, err := metricsSources(cfg)
	if err != nil {
		return nil, err
	}
	filler, err := spec.NewQueries()
	if err != nil {
		return nil, err
	}
	return &analysis.Trace{Sources: samplers(known), Queries: queries{filler}}, nil
}

func samplers(known map[string]sampler) map[string]measured.Sampler {
	all := map[string]measured.Sampler{}
	for name, source := range known {
		all[name] = source
	}
	return all
}

// queries are those of pipeline files as the analysis wants them.
type queries struct{ *spec.Queries }

func (q queries) Fill(plan *pipeline.Plan, query string, tracks ...analysis.Track) ([]string, error) {
	all := make([]spec.Track, len(tracks))
	for i, t := range tracks {
		all[i] = spec.Track(t)
	}
	return q.Queries.Fill(plan, query, all...)
}
