package apart

import (
	"context"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// Build is Kustomize within other bounds.
func Build(ctx context.Context, k manifest.Kustomization, wall, processor time.Duration) ([]byte, error) {
	return build(ctx, k, bounds{wall, processor})
}

// Occupy lets nobody build until its result is called.
func Occupy() (release func()) {
	building <- struct{}{}
	return func() { <-building }
}
