package deploy

import (
	"context"
	"strings"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Registry knows which digest an image's tag stands for.
type Registry interface {
	// Digest is "sha256:…", or "" if the image's registry isn't one to ask. The error is a *pipeline.Failure in words for
	// people, or the context's.
	Digest(ctx context.Context, image string) (string, error)
}

// pinTested adds the digests with which a canary of this delivery ran: what is deployed is what was tested, also where a
// tag has moved since.
func pinTested(set manifest.Set, tested []pipeline.Image) {
	digests := map[string]string{}
	for _, image := range tested {
		name, _, _ := strings.Cut(image.Name, "@")
		if image.Digest != "" {
			digests[name] = image.Digest
		}
	}
	set.PinImages(digests)
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
