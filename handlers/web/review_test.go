package web

import (
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestReviewsAreTagged(t *testing.T) {
	review := base(noon, pipeline.StatusSucceeded, "")
	review.ID, review.Review, review.MergeRequest.MergedBy = "42-17-3f2a91c0-review", true, ""
	gone := review
	gone.ID, gone.TearDownOf, gone.Reason = "42-17-gone-12345678", review.ID, "review/mr-17 was removed"
	merged := base(noon, pipeline.StatusSucceeded, "")
	c := console(t, newMemory(review, gone, merged))
	list, err := c.listFragment(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{`<span class="tag">Review</span>`: 1, `<span class="tag">End of review</span>`: 1, "Ready for review": 1, "Removed": 1, "Delivered": 1} {
		if n := strings.Count(neutral(c, list), text); n < want {
			t.Errorf("the list has %q %d times, want %d", text, n, want)
		}
	}
	for id, want := range map[string]bool{review.ID: true, merged.ID: false} {
		page, err := c.deliveryFragment(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(neutral(c, page), `<span class="tag">Review</span>`); got != want {
			t.Errorf("%s is tagged: %t, want %t", id, got, want)
		}
	}
}
