package engine

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// TestManifestsThatAreStillNeededAreKept: of releases to go back to, and of those that are still to be removed.
func TestManifestsThatAreStillNeededAreKept(t *testing.T) {
	r := func(manifests string) *pipeline.Release { return &pipeline.Release{Manifests: manifests} }
	env := &pipeline.Environment{
		Releases: []pipeline.Release{*r("one"), *r("two")}, Kept: []pipeline.Kept{{Release: *r("kept")}}, Unsure: &pipeline.Unsure{Left: r("left")},
	}
	if diff := cmp.Diff([]string{"one", "two", "kept", "left"}, blobsOfEnvironment(env)); diff != "" {
		t.Errorf("of an environment (-want +got):\n%s", diff)
	}
	d := &pipeline.Delivery{PlanRef: "plan", Stages: []pipeline.StageState{{
		Previous: r("before"), Release: r("new"), Target: r("before"), Ran: &pipeline.Ran{Log: "log"}, Unsure: &pipeline.Unsure{Left: r("left")},
	}}}
	if diff := cmp.Diff([]string{"plan", "log", "before", "new", "left"}, blobsOf(d)); diff != "" {
		t.Errorf("of a delivery (-want +got):\n%s", diff)
	}
}
