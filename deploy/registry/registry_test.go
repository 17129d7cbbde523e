package registry_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	server "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/registry"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

var _ deploy.Registry = (*registry.Client)(nil)

// serve starts a registry that has the image shop:1. before may answer a request itself.
func serve(t *testing.T, before func(http.ResponseWriter, *http.Request) bool) (host, digest string) {
	t.Helper()
	inner := server.New(server.Logger(log.New(io.Discard, "", 0)))
	ready := atomic.Bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ready.Load() && before != nil && before(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	host = strings.TrimPrefix(s.URL, "http://")
	ref, err := name.ParseReference(host + "/team/shop:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, empty.Image); err != nil {
		t.Fatal(err)
	}
	hash, err := empty.Image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	ready.Store(true)
	return host, hash.String()
}

func client(t *testing.T, r ...registry.Registry) *registry.Client {
	t.Helper()
	c, err := registry.New(registry.Options{Registries: r})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTagsHaveDigests(t *testing.T) {
	host, digest := serve(t, nil)
	c := client(t, registry.Registry{Host: host, Insecure: true})
	if got, err := c.Digest(t.Context(), host+"/team/shop:1"); err != nil || got != digest {
		t.Errorf("got %q, %v, want %s", got, err, digest)
	}
}

func TestOnlyListedRegistriesAreAsked(t *testing.T) {
	asked := atomic.Int64{}
	host, _ := serve(t, func(http.ResponseWriter, *http.Request) bool {
		asked.Add(1)
		return false
	})
	c := client(t, registry.Registry{Host: "registry.example.com"})
	_, port, _ := strings.Cut(host, ":")
	// Only loopback addresses, so that a mistake here calls nobody.
	for _, image := range []string{host + "/team/shop:1", "localhost:" + port + "/team/shop:1", host + "/team/shop"} {
		if got, err := c.Digest(t.Context(), image); err != nil || got != "" {
			t.Errorf("%s gives %q, %v", image, got, err)
		}
	}
	if asked.Load() > 0 {
		t.Errorf("it was asked %d times", asked.Load())
	}
}

func TestRegistriesSayWhyNot(t *testing.T) {
	status := atomic.Int64{}
	host, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) bool {
		if s := int(status.Load()); s != 0 {
			w.WriteHeader(s)
			return true
		}
		return false
	})
	c := client(t, registry.Registry{Host: host, Insecure: true})
	cases := []struct {
		name, image string
		status      int
		code        pipeline.ReasonCode
		permanent   bool
		detail      string
	}{
		{"no such tag", "/team/shop:2", 0, pipeline.ReasonImagePull, true, "/team/shop:2: the image isn't there"},
		{"no such image", "/team/other:1", 0, pipeline.ReasonImagePull, true, "the image isn't there"},
		{"no name of an image", "/team/SHOP:1", 0, pipeline.ReasonManifest, true, "is not the name of an image"},
		{"no right", "/team/shop:1", 403, pipeline.ReasonImagePull, true, "doesn't show it to Slipway"},
		{"a server that is ill", "/team/shop:1", 503, pipeline.ReasonUnreachable, false, "status 503"},
		{"a server that is busy", "/team/shop:1", 429, pipeline.ReasonUnreachable, false, "status 429"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			status.Store(int64(tc.status))
			_, err := c.Digest(t.Context(), host+tc.image)
			f, ok := pipeline.AsFailure(err)
			if !ok || f.Code != tc.code || f.Permanent != tc.permanent || !strings.Contains(f.Detail, tc.detail) {
				t.Errorf("got %#v", err)
			}
		})
	}
}

func TestARegistryThatIsAwayIsTriedAgain(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	host := strings.TrimPrefix(s.URL, "http://")
	s.Close()
	c := client(t, registry.Registry{Host: host, Insecure: true})
	_, err := c.Digest(t.Context(), host+"/team/shop:1")
	if f, ok := pipeline.AsFailure(err); !ok || f.Permanent || f.Code != pipeline.ReasonUnreachable || f.Detail != "registry "+host+" doesn't answer" {
		t.Errorf("got %#v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Digest(ctx, host+"/team/shop:1"); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end the context's error is %v", err)
	}
}

func TestCredentialsGoToTheirRegistryOnly(t *testing.T) {
	var got atomic.Value
	guarded := func(w http.ResponseWriter, r *http.Request) bool {
		user, password, ok := r.BasicAuth()
		if !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		got.Store(user + ":" + password)
		return false
	}
	host, digest := serve(t, guarded)
	c := client(t, registry.Registry{Host: host, Insecure: true, Username: "slipway", Password: "hunter2hunter2"})
	if d, err := c.Digest(t.Context(), host+"/team/shop:1"); err != nil || d != digest || got.Load() != "slipway:hunter2hunter2" {
		t.Errorf("got %q, %v, with credentials %v", d, err, got.Load())
	}
	_, err := client(t, registry.Registry{Host: host, Insecure: true}).Digest(t.Context(), host+"/team/shop:1")
	if f, ok := pipeline.AsFailure(err); !ok || !f.Permanent {
		t.Errorf("without credentials: %v", err)
	}
	if _, err := registry.New(registry.Options{Registries: []registry.Registry{{Host: "https://x/y"}}}); err == nil {
		t.Error("an address is taken for a host")
	}
}
