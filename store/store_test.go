package store_test

import (
	"testing"

	"gitlab.com/slipway-cd/slipway/store"
)

func TestTheKindOfAnIDIsItsPartBeforeTheFirstSlash(t *testing.T) {
	for id, want := range map[store.ID]string{
		"delivery/42-7-3f2a91c0":    "delivery",
		"environment/42/production": "environment",
		"alone":                     "alone",
		"/rest":                     "",
		"":                          "",
	} {
		if got := id.Kind(); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}
