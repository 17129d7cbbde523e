// Package registry finds out which digest an image's tag stands for, by asking container registries.
//
// Only registries that the operator lists are asked: an image's name is text that anybody may have written, and must not
// make the server call hosts of its own network.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Registry is one that may be asked.
type Registry struct {
	Host     string // with its port, such as registry.example.com:5000
	Username string // "" asks as nobody
	Password string
	Insecure bool // by plain HTTP
}

// Options says which registries may be asked.
type Options struct {
	Registries []Registry
	Timeout    time.Duration // of one image; default 20 s
}

// Client asks registries. It is safe for concurrent use.
type Client struct {
	timeout   time.Duration
	transport http.RoundTripper
	by        map[string]Registry // by the name that images have
}

// New checks the options.
func New(o Options) (*Client, error) {
	c := &Client{timeout: o.Timeout, by: map[string]Registry{}}
	if c.timeout <= 0 {
		c.timeout = 20 * time.Second
	}
	for _, r := range o.Registries {
		host, err := name.NewRegistry(r.Host, name.StrictValidation)
		if err != nil {
			return nil, fmt.Errorf("registry: %q is not a host such as registry.example.com:5000", r.Host)
		}
		if _, twice := c.by[host.RegistryStr()]; twice {
			return nil, fmt.Errorf("registry: %q is there twice", r.Host)
		}
		c.by[host.RegistryStr()] = r
	}
	c.transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 15 * time.Second, IdleConnTimeout: time.Minute,
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4,
	}
	return c, nil
}

// Digest is what an image's tag stands for now, such as "sha256:…"; "" if its registry isn't listed. The error is a
// *pipeline.Failure in words for people, or the context's.
func (c *Client) Digest(ctx context.Context, image string) (string, error) {
	ref, err := name.ParseReference(image, name.WeakValidation)
	if err != nil {
		return "", &pipeline.Failure{Code: pipeline.ReasonManifest, Permanent: true, Detail: fmt.Sprintf("%q is not the name of an image", clip(image))}
	}
	r, listed := c.by[ref.Context().RegistryStr()]
	if !listed {
		return "", nil
	}
	if r.Insecure {
		if ref, err = name.ParseReference(image, name.WeakValidation, name.Insecure); err != nil {
			return "", fmt.Errorf("read the name of an image: %w", err)
		}
	}
	asking, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	auth := authn.Anonymous
	if r.Username != "" {
		auth = authn.FromConfig(authn.AuthConfig{Username: r.Username, Password: r.Password})
	}
	options := []remote.Option{
		remote.WithContext(asking), remote.WithAuth(auth), remote.WithTransport(c.transport), remote.WithUserAgent("slipway"),
		remote.WithRetryBackoff(remote.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Steps: 2}), // the effect is tried again anyhow
	}
	digest, err := head(ref, options)
	switch {
	case err == nil:
		return digest.String(), nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	}
	return "", failure(err, r.Host, image)
}

// head asks for the manifest's digest, and for the manifest itself where that isn't answered.
func head(ref name.Reference, options []remote.Option) (v1.Hash, error) {
	found, err := remote.Head(ref, options...)
	if err == nil {
		return found.Digest, nil
	}
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode != http.StatusNotFound && answer.StatusCode != http.StatusMethodNotAllowed {
		return v1.Hash{}, err //nolint:wrapcheck // it is translated
	}
	whole, err := remote.Get(ref, options...) // its answer says why, which HEAD's can't
	if err != nil {
		return v1.Hash{}, err //nolint:wrapcheck // it is translated
	}
	return whole.Digest, nil
}

func failure(err error, host, image string) *pipeline.Failure {
	image = clip(image)
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: "registry " + host + " doesn't answer", Err: err}
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return &pipeline.Failure{Code: pipeline.ReasonImagePull, Permanent: true, Detail: image + ": the image isn't there", Err: err}
	case http.StatusUnauthorized, http.StatusForbidden:
		return &pipeline.Failure{Code: pipeline.ReasonImagePull, Permanent: true, Detail: fmt.Sprintf("%s: registry %s doesn't show it to Slipway: it isn't there, or its credentials lack the right to read it", image, host), Err: err}
	}
	return &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: fmt.Sprintf("registry %s answers with status %d", host, answer.StatusCode), Err: err}
}

func clip(image string) string {
	const limit = 200
	if runes := []rune(image); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return image
}
