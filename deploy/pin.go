package deploy

import (
	"context"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// Registry knows which digest an image's tag stands for.
type Registry interface {
	// Digest is "sha256:…", or "" if the image's registry isn't one to ask. The error is a *pipeline.Failure in words for
	// people, or the context's.
	Digest(ctx context.Context, image string) (string, error)
}

// pin adds to the images the digests that their tags stand for now, so that every pod of the release, and of a rollback
// to it, runs the same. What has a digest already keeps it.
func (e *Executor) pin(ctx context.Context, set manifest.Set) error {
	if e.Registry == nil {
		return nil
	}
	digests := map[string]string{}
	for _, image := range set.Images() {
		if manifest.ImageDigest(image) != "" {
			continue
		}
		digest, err := e.Registry.Digest(ctx, image)
		if err != nil {
			return err
		}
		if digest != "" {
			digests[image] = digest
		}
	}
	set.PinImages(digests)
	return nil
}
