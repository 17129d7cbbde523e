package app

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestEachIdentityHasOneClient(t *testing.T) {
	cfg, err := config.Parse([]byte(`
gitlab: {url: https://gitlab.example.com, token: t, secret_tokens: [s]}
clusters:
  - {name: far, agent: {kas: https://kas.example.com, id: 1, token: t}}
  - {name: gone, kubeconfig: /does/not/exist}
environments:
  - {name: staging, projects: [shop/**], cluster: far, namespace: shop-staging}
  - {name: testing, projects: [shop/**], cluster: far, namespace: shop-testing}
  - {name: production, projects: [shop/**], cluster: far, namespace: shop, impersonate: {service_account: deployer}}
  - {name: review/*, projects: [shop/**], cluster: far, namespace: "shop-{slug}", impersonate: {service_account: deployer, namespace: shop}}
  - {name: gone, projects: [shop/**], cluster: gone, namespace: gone}
`), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	c := newClusters(cfg, slog.New(slog.DiscardHandler))
	for _, name := range []string{"staging", "testing", "production", "review/a", "review/b", "production"} {
		if _, err := c.Target(t.Context(), "shop/web", name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(c.by) != 2 { // with its own credentials, and as shop/deployer
		t.Errorf("there are %d clients", len(c.by))
	}
	one, err := c.connect("far", nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.connect("far", nil); err != nil || again != one {
		t.Errorf("asked again, it is another client, %v", err)
	}
	target, err := c.Target(t.Context(), "shop/web", "review/a")
	if err != nil || !strings.HasPrefix(target.Namespace, "shop-review-a-") {
		t.Errorf("review/a lives in %s, %v", target.Namespace, err)
	}
	for project, want := range map[string]pipeline.ReasonCode{"shop-evil/x": pipeline.ReasonNotAllowed, "shop/web": pipeline.ReasonUnreachable} {
		_, err := c.Target(t.Context(), project, "gone")
		if f, ok := pipeline.AsFailure(err); !ok || f.Code != want {
			t.Errorf("%s: %v", project, err)
		}
	}
}

func TestReviewsAndOnlyTheyAreFenced(t *testing.T) {
	cfg, err := config.Parse([]byte(`
gitlab: {url: https://gitlab.example.com, token: t, secret_tokens: [s]}
clusters: [{name: main, agent: {kas: https://kas.example.com, id: 1, token: t}}]
environments:
  - {name: production, projects: [shop/**], cluster: main, namespace: shop}
  - {name: review/*, projects: [shop/**], cluster: main, namespace: "shop-{slug}", review: true, hosts: ["{slug}.example.org"], impersonate: {service_account: deployer}}
  - {name: other/*, projects: [shop/**], cluster: main, namespace: others, review: true, kinds: [Certificate.cert-manager.io], impersonate: {service_account: deployer, namespace: far}}
`), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	c := newClusters(cfg, slog.New(slog.DiscardHandler))
	for name, want := range map[string]*manifest.Fence{
		"production": nil,
		"review/a":   {Hosts: []string{"review-a-ppbxnw.example.org"}, Account: "deployer"},
		"other/a":    {Kinds: []string{"Certificate.cert-manager.io"}},
	} {
		target, err := c.Target(t.Context(), "shop/web", name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, target.Fence); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}
