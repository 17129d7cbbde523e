package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryKindOfSource(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("shh-from-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for source, says := range map[string]string{
		`prometheus: {url: "http://prometheus:9090", page: "https://prometheus.example.com", token_file: FILE}`:                  "Prometheus at http://prometheus:9090",
		`datadog: {site: datadoghq.eu, api: v1, api_key: "${GITLAB_TOKEN}", app_key_file: FILE}`:                                 "Datadog at https://api.datadoghq.eu",
		`datadog: {api_key: shh-1, app_key: shh-2}`:                                                                              "Datadog at https://api.datadoghq.com",
		`newrelic: {region: eu, account: 42, key_file: FILE}`:                                                                    "New Relic at https://api.eu.newrelic.com",
		`newrelic: {account: 42, key: shh-1}`:                                                                                    "New Relic at https://api.newrelic.com",
		`cloudwatch: {region: eu-central-1, access_key: AKIA, secret_key_file: FILE, session_token: shh-1}`:                      "CloudWatch at eu-central-1",
		`google_cloud: {project: shop-1, credentials_file: FILE}`:                                                                "Google Cloud Monitoring at shop-1",
		`influxdb: {url: "http://influxdb:8086", org: shop, token_file: FILE}`:                                                   "InfluxDB at http://influxdb:8086",
		`graphite: {url: "http://graphite", username: ada, password_file: FILE}`:                                                 "Graphite at http://graphite",
		`elasticsearch: {url: "https://elastic:9200", api_key_file: FILE, headers: {X-A: shh-1}}`:                                "Elasticsearch at https://elastic:9200",
		`dynatrace: {url: "https://abc.live.dynatrace.com", token_file: FILE}`:                                                   "Dynatrace at https://abc.live.dynatrace.com",
		`web: {url: "http://numbers:80/api?q=$query&key=shh-1", values: /data/*/v, times: /data/*/t, stamps: end, token: shh-2}`: "a web source at http://numbers:80",
	} {
		c, err := Parse([]byte(good+"metrics_sources: [{name: main, per_second: 2.5, "+strings.ReplaceAll(source, "FILE", `"`+file+`"`)+"}]\n"), env)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		s := &c.Sources[0]
		if s.String() != says || s.PerSecond != 2.5 {
			t.Errorf("%s: got %s", source, s)
		}
		kinds := s.kinds()
		if len(kinds) != 1 {
			t.Fatalf("%s: %d kinds", source, len(kinds))
		}
		for _, hidden := range kinds[0].secrets {
			if hidden.file != "" && hidden.into.Reveal() != "shh-from-a-file" {
				t.Errorf("%s: %s was not read from its file", source, hidden.key)
			}
			if printed := fmt.Sprintf("%+v %#v %v", kinds[0], *hidden.into, s); strings.Contains(printed, "shh") {
				t.Errorf("%s: a secret was printed: %s", source, printed)
			}
		}
	}
}

func TestRefusalsOfSources(t *testing.T) {
	for source, want := range map[string]string{
		`datadog: {site: "https://datadoghq.eu", api_key: shh, app_key: shh}`:         `.datadog.site: "https://datadoghq.eu" is not a site`,
		`datadog: {site: datadoghq.eu, url: "https://a", api_key: shh, app_key: shh}`: "site and url exclude each other",
		`datadog: {url: "http://proxy.internal", api_key: shh, app_key: shh}`:         "must begin with https",
		`datadog: {api: v3, api_key: shh, app_key: shh}`:                              `.datadog.api: "v3" is not v1 or v2`,
		`datadog: {api_key: shh}`:                                                             ".datadog.app_key: missing; give it, or app_key_file",
		`newrelic: {account: 1}`:                                                              ".newrelic.key: missing",
		`newrelic: {key: shh}`:                                                                ".newrelic.account: missing",
		`newrelic: {account: 1, key: shh, region: asia}`:                                      `.newrelic.region: "asia" is not us or eu`,
		`newrelic: {account: 1, key: shh, region: eu, url: "https://a"}`:                      "region and url exclude each other",
		`cloudwatch: {region: here, access_key: a, secret_key: shh}`:                          `.cloudwatch.region: "here" is not a region`,
		`cloudwatch: {region: eu-central-1, secret_key: shh}`:                                 ".cloudwatch.access_key: missing",
		`cloudwatch: {region: eu-central-1, access_key: a}`:                                   ".cloudwatch.secret_key: missing",
		`cloudwatch: {region: eu-central-1, access_key: a, secret_key: shh, url: "http://a"}`: ".cloudwatch.url: \"http://a\" must begin with https",
		`google_cloud: {project: a/b, credentials: shh}`:                                      ".google_cloud.project",
		`google_cloud: {project: a}`:                                                          ".google_cloud.credentials: missing; give it, or credentials_file",
		`influxdb: {url: "http://a", token: shh}`:                                             ".influxdb.org: missing",
		`influxdb: {url: "a:8086", org: o, token: shh}`:                                       ".influxdb.url",
		`graphite: {url: "http://ada:shh@a"}`:                                                 "username and password_file",
		`elasticsearch: {url: "http://a", api_key: shh, username: ada, password: shh}`:        "api_key and username exclude each other",
		`dynatrace: {url: "http://a", token: shh}`:                                            "must begin with https",
		`dynatrace: {url: "https://a"}`:                                                       ".dynatrace.token: missing",
		`web: {url: "http://a"}`:                                                              ".web.values: \"\" is not a path",
		`web: {url: "http://a", values: /v, times: t}`:                                        ".web.times",
		`web: {url: "http://$query.example.com", values: /v}`:                                 "must not have a placeholder",
		`web: {url: "http://a", values: /v, method: GET, body: "{}"}`:                         ".web.body: a GET has none",
		`web: {url: "http://a", values: /v, method: PUT}`:                                     ".web.method",
		`web: {url: "http://a", values: /v, stamps: middle}`:                                  ".web.stamps",
		`graphite: {url: "http://a", headers: {X-A: "a\nshh"}}`:                               "X-A has more than one line",
		`graphite: {url: "http://a"}, web: {url: "http://a", values: /v}`:                     "graphite and web exclude each other",
		`per_second: -1, graphite: {url: "http://a"}`:                                         "metrics_sources[0].per_second",
		`prometheus: {url: "http://a", page: "ftp://a"}`:                                      ".prometheus.page",
		`datadog: {api_key_file: /does/not/exist, app_key: shh}`:                              "metrics_sources[0].datadog.api_key_file",
		`datadog: {api_key_file: /does/not/exist, api_key: shh, app_key: shh}`:                "api_key and metrics_sources[0].datadog.api_key_file exclude each other",
	} {
		_, err := Parse([]byte(good+"metrics_sources: [{name: main, "+source+"}]\n"), env)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "shh") {
			t.Errorf("%s: got %v, want %q", source, err, want)
		}
	}
}

// Whoever judges a canary again has no server: its metrics sources are enough, and what else is there needs no secrets.
func TestSourcesCanBeReadAlone(t *testing.T) {
	read := func(text string) (*Config, error) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "slipway.yml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return LoadSources(file, env)
	}
	const sources = `metrics_sources: [{name: main, projects: [shop/*], per_second: 2, prometheus: {url: "http://prometheus:9090", token: "${GITLAB_TOKEN}"}}]` + "\n"
	const templates = `metric_templates: {http-errors: {source: main, query: 'errors{t="${{ track }}"}', total: requests}}` + "\n"
	const server = `gitlab: {url: "https://gitlab.example.com", token: "${NOT_SET}", secret_tokens_file: /does/not/exist}` + "\n" +
		`clusters: [{name: far, agent: {kas: "https://kas.example.com", id: 1, token_file: /does/not/exist}}]` + "\n"
	for _, text := range []string{sources + templates, server + sources + templates} {
		c, err := read(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if token, _ := env("GITLAB_TOKEN"); len(c.Sources) != 1 || c.Sources[0].Prometheus.Token.Reveal() != token || c.Sources[0].Projects[0] != "shop/*" {
			t.Errorf("%s: the source is %+v", text, c.Sources)
		}
		if c.MetricTemplates["http-errors"].Kind != "count" || len(c.Clusters) > 0 || c.GitLab.Token != "" {
			t.Errorf("%s: got %+v", text, c)
		}
	}
	for text, want := range map[string]string{
		strings.Replace(sources, "GITLAB_TOKEN", "NOT_SET", 1):   "metrics_sources[0].prometheus.token: the environment variable NOT_SET is not set",
		strings.Replace(sources, "http://", "", 1):               ".prometheus.url",
		sources + strings.Replace(templates, "main", "other", 1): `there is no metrics source "other"`,
		sources + "metrics_source: []\n":                         "metrics_source",
		strings.Replace(sources, "per_second", "per_minute", 1):  "per_minute",
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "glpat-secret") {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
