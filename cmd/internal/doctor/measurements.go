package doctor

import (
	"context"
	"errors"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy/metrics"
)

// measurements looks at one metrics source.
type measurements struct {
	Sources
	cfg *config.Source
}

// run asks it something that needs no data, so that having none is fine.
func (m *measurements) run(ctx context.Context) []Finding {
	ask := m.Measure[m.cfg.Name]
	if ask == nil {
		return []Finding{note(m.cfg.String()+" is not asked, because nobody knows what it would answer to", "in the configuration:  web: {probe: …}  is what is put in for $query")}
	}
	err := ask(ctx)
	var not *metrics.NotOneError
	if err == nil || errors.As(err, &not) {
		return []Finding{fine(m.cfg.String() + " answers to these credentials")}
	}
	return []Finding{broken(words(err), "docs/metrics.md says for each kind of source which keys and rights it needs")}
}
