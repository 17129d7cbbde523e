package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHostsOfChecks(t *testing.T) {
	for host, want := range map[string]bool{
		"shop.internal": true, "shop.internal:8080": true, "*.example.com": true, "*.internal:8443": true, "localhost:9000": true,
		"127.0.0.1:9000": true, "10.1.2.3": true, "[::1]:9000": true, "[2001:db8::1]": true, "Shop.Example.com": true, "a_b.svc": true,
		"": false, "*": false, "*.": false, "https://shop.internal": false, "shop.internal/health": false, "shop.internal:": false, "shop.internal:0": false,
		"shop.internal:http": false, "a.*.com": false, "*example.com": false, "**.example.com": false, "::1": false, "[::1": false, "[fe80::1%25eth0]": false,
		"a@b.com": false, "a..b": false, ".a": false, "-a.com": false, "a b": false,
	} {
		if isHost(host) != want {
			t.Errorf("%q: got %v", host, !want)
		}
	}
}

func TestMetricsSources(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("prometheus-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Parse([]byte(good+`
checks: {hosts: ["*.example.com", "shop.internal:8080"]}
metrics_sources:
  - {name: main, prometheus: {url: "https://prometheus.example.com", token_file: "`+file+`", headers: {X-Scope-OrgID: shop, X-Key: "${GITLAB_TOKEN}"}}}
  - {name: eu, prometheus: {url: "http://eu:9090", username: ada, password: pw}}
`), env)
	if err != nil {
		t.Fatal(err)
	}
	p := c.Sources[0].Prometheus
	if p.Token.Reveal() != "prometheus-secret" || p.Headers["X-Key"].Reveal() != "glpat-secret" || p.Headers["X-Scope-OrgID"].Reveal() != "shop" || len(c.Checks.Hosts) != 2 {
		t.Errorf("got %+v", c.Checks)
	}
	if s := fmt.Sprintf("%+v %#v", *p, *p); strings.Contains(s, "-secret") || strings.Contains(s, "shop") {
		t.Errorf("a secret was printed: %s", s)
	}
}

func TestRefusalsOfChecksAndSources(t *testing.T) {
	source := func(prometheus string) string {
		return "metrics_sources: [{name: main, prometheus: {" + prometheus + "}}]"
	}
	for name, c := range map[string]struct{ text, want string }{
		"a host is no address":                {`checks: {hosts: ["https://a.b"]}`, `checks.hosts[0]: "https://a.b" is not a host`},
		"a source has a name":                 {`metrics_sources: [{prometheus: {url: "http://a"}}]`, "metrics_sources[0].name: missing"},
		"a name is there once":                {`metrics_sources: [{name: a, prometheus: {url: "http://a"}}, {name: a, prometheus: {url: "http://a"}}]`, `metrics_sources[1].name: "a" is there twice`},
		"a source has a kind":                 {`metrics_sources: [{name: a}]`, "metrics_sources[0]: one of prometheus, datadog, newrelic"},
		"an unknown kind is an unknown key":   {`metrics_sources: [{name: a, grafite: {}}]`, `unknown field "grafite"`},
		"a Prometheus has an address":         {source(`url: "prometheus:9090"`), "metrics_sources[0].prometheus.url"},
		"the address holds no password":       {source(`url: "http://ada:shh@a"`), "username and password_file"},
		"there is one way to sign in":         {source(`url: "http://a", token: shh, username: ada, password: shh`), "token and username exclude each other"},
		"a username has a password":           {source(`url: "http://a", username: ada`), "belong together"},
		"a header has a name":                 {source(`url: "http://a", headers: {"a b": c}`), `"a b" is not the name of a header`},
		"a variable in a header that is none": {source(`url: "http://a", headers: {A: "${NOPE}"}`), "metrics_sources[0].prometheus.headers.A: the environment variable NOPE is not set"},
		"a secret file that is missing":       {source(`url: "http://a", token_file: /does/not/exist`), "metrics_sources[0].prometheus.token_file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(good+c.text+"\n"), env)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "shh") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
