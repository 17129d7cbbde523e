package spec_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

func TestAQueryIsFilledInForEachTrack(t *testing.T) {
	queries, err := spec.NewQueries()
	if err != nil {
		t.Fatal(err)
	}
	plan := &pipeline.Plan{Application: "shop", Commit: pipeline.Commit{SHA: "3f2a91c0"}, MergeRequest: pipeline.MergeRequest{IID: 12, Title: `x"} or up{y="`}}
	tracks := []spec.Track{{Name: "baseline", Version: "v-0ld", Release: "1-2-0ld/production/1"}, {Name: "canary", Version: "v-3f2a91c0", Release: "7-12-3f2a91c0/canary/1"}}
	for _, c := range []struct {
		name, query string
		want        []string // or, if it is one text, what the error says
	}{
		{"the track and its version", `x{track="${{ track }}",version="${{version}}"}`, []string{`x{track="baseline",version="v-0ld"}`, `x{track="canary",version="v-3f2a91c0"}`}},
		{"an expression, with what is known of the commit", `${{ track == "canary" ? commit.sha : "main" }}:${{ release }}`, []string{"main:1-2-0ld/production/1", "3f2a91c0:7-12-3f2a91c0/canary/1"}},
		{"the application", "${{ application }}-${{ track }}", []string{"shop-baseline", "shop-canary"}},
		{"no expression", "up", []string{"up", "up"}},
		{"a title", `x{title="${{ merge_request.title }}"}`, []string{"which could change the query"}},
		{"a title beside the track", `x{title="${{ track + merge_request.title }}"}`, []string{"which could change the query"}},
		{"a stage", `${{ stages.ci.status }}`, []string{"a query cannot ask for stages"}},
		{"what is no expression", `${{ track`, []string{"never closed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := queries.Fill(plan, c.query, tracks...)
			if len(c.want) == 1 {
				if err == nil || !strings.Contains(err.Error(), c.want[0]) {
					t.Errorf("got %q, %v; want an error with %q", got, err, c.want[0])
				}
				return
			}
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// A version that isn't of our making must not get into a query either.
func TestAVersionCannotChangeAQuery(t *testing.T) {
	queries, err := spec.NewQueries()
	if err != nil {
		t.Fatal(err)
	}
	got, err := queries.Fill(&pipeline.Plan{}, `x{version="${{ version }}"}`, spec.Track{Name: "canary", Version: `v"} or up{y="`})
	if err == nil {
		t.Errorf("the query became %q", got)
	}
}
