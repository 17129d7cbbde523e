package app

import (
	"gitlab.com/slipway-cd/slipway/deploy/analysis"
	measured "gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

// analyses makes what looks at canaries.
func (a *App) analyses(known map[string]sampler, pods analysis.Pods) (*analysis.Executor, error) {
	sources := map[string]measured.Sampler{}
	for name, source := range known {
		sources[name] = source
	}
	filler, err := spec.NewQueries()
	if err != nil {
		return nil, err
	}
	return analysis.New(analysis.Options{Sources: sources, Queries: queries{filler}, Pods: pods, Blobs: a.store})
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
