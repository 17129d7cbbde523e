package engine

import (
	"slices"
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// What is not listed here is forgotten by the store.
func TestADeliveryKeepsWhatItsCanaryNeeds(t *testing.T) {
	d := &pipeline.Delivery{PlanRef: "plan", Stages: []pipeline.StageState{{
		Previous: &pipeline.Release{Manifests: "stable"},
		Analysis: &pipeline.Analysis{Samples: "samples", Compare: &pipeline.Release{Manifests: "earlier"}},
	}}}
	if got := slices.Sorted(slices.Values(blobsOf(d))); !slices.Equal(got, []string{"earlier", "plan", "samples", "stable"}) {
		t.Errorf("kept are %q", got)
	}
}
