package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

const (
	goodFile = `version: 1
application: shop
stages:
  - name: staging
    deploy: {environment: staging, manifests: deploy}
`
	badFile = `version: 1
stages:
  - name: a
    jbo: {name: x}
`
)

// write puts a file into a folder of the test and returns its path.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTools(t *testing.T) {
	t.Parallel()
	good, bad := write(t, "good.yml", goodFile), write(t, "bad.yml", badFile)
	problems := func(name string) string {
		return name + ":1:1: the file has no application (add application:)\n" +
			name + ":3:5: this stage does nothing (give it one of deploy, canary, run, judgement, wait, job, trigger, notify and validate)\n" +
			name + ":4:5: the key \"jbo\" is not known here (did you mean job?)\n"
	}
	empty, junk := write(t, "empty.db", ""), write(t, "junk.db", strings.Repeat("this is no database\n", 5000))
	large := write(t, "large.yml", "# "+strings.Repeat("x", 1<<20))
	for name, c := range map[string]struct {
		args  []string
		stdin string
		out   string
		code  int
	}{
		"validate takes a good file":                {[]string{"validate", good}, "", good + ": ok, 1 stages\n", 0},
		"validate says where a bad file is wrong":   {[]string{"validate", bad}, "", problems(bad), 1},
		"validate goes on after a bad file":         {[]string{"validate", bad, good}, "", problems(bad) + good + ": ok, 1 stages\n", 1},
		"validate reads standard input":             {[]string{"validate", "-"}, goodFile, ".slipway.yml: ok, 1 stages\n", 0},
		"validate refuses a bad standard input":     {[]string{"validate", "-"}, badFile, problems(".slipway.yml"), 1},
		"validate refuses a file that is too large": {[]string{"validate", large}, "", large + ":1:1: the file is larger than 256 KB\n", 1},
		"validate names a file that is missing":     {[]string{"validate", "missing.yml"}, "", "slipway: read pipeline file: open missing.yml: no such file or directory\n", 1},
		"validate needs a file":                     {[]string{"validate"}, "", "slipway: requires at least 1 arg(s), only received 0\n", 1},
		"check names a file that is missing":        {[]string{"check", "missing.db"}, "", "slipway: open the database missing.db: open missing.db: no such file or directory\n", 1},
		"check knows an empty file":                 {[]string{"check", empty}, "", "slipway: check the database " + empty + ": this file is empty\n", 1},
		"check knows a file of another kind":        {[]string{"check", junk}, "", "slipway: open the database " + junk + ": this file is not a database of Slipway, or it is damaged: invalid database\n", 1},
		"an unknown command is an error":            {[]string{"frobnicate"}, "", "slipway: unknown command \"frobnicate\" for \"slipway\"\n", 1},
		"an unknown command below another is too":   {[]string{"config", "chekc"}, "", "slipway: unknown command \"chekc\" for \"slipway config\"\n", 1},
		"an unknown flag is an error":               {[]string{"demo", "--nope"}, "", "slipway: unknown flag: --nope\n", 1},
		"serve names a file that is missing":        {[]string{"serve", "--config", "missing.yml"}, "", "slipway: there is no configuration at missing.yml; name it with --config (docs/configuration.md has all keys)\n", 1},
	} {
		if out, code := slipway(t, c.stdin, c.args...); code != c.code || out != c.out {
			t.Errorf("%s: exit %d and\n%s\nwant exit %d and\n%s", name, code, tail(out, 2000), c.code, c.out)
		}
	}
}

func TestSchemaIsTheCommittedOne(t *testing.T) {
	t.Parallel()
	out, code := slipway(t, "", "schema")
	committed, err := os.ReadFile(filepath.Join("..", "..", "pipeline", "spec", "slipway.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 || out != string(committed) {
		t.Errorf("exit %d, and it differs from the committed schema", code)
	}
}

func TestSlackManifestNamesTheServer(t *testing.T) {
	t.Parallel()
	out, code := slipway(t, "", "slack", "manifest", "--url", "https://slipway.example.org")
	var manifest struct {
		Settings struct {
			Interactivity struct {
				URL string `json:"request_url"`
			} `json:"interactivity"`
		} `json:"settings"`
	}
	if err := json.Unmarshal([]byte(out), &manifest); err != nil || code != 0 {
		t.Fatalf("exit %d: %v\n%s", code, err, out)
	}
	if url := manifest.Settings.Interactivity.URL; url != "https://slipway.example.org/slack/interactions" {
		t.Errorf("interactions go to %s", url)
	}
}

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	const secrets = `
gitlab:
  url: https://gitlab.example.com
  token: glpat-very-secret
  secret_tokens: [hook-very-secret]
slack: {token: xoxb-very-secret, signing_secret: slack-very-secret, people: {U1: ada}}
console: {access: password, username: ops, password: console-very-secret}
clusters: [{name: main, in_cluster: true}]
environments:
  - {name: staging, projects: [shop/*], cluster: main, namespace: shop-staging}
`
	replace := func(old, with string) string { return strings.Replace(secrets, old, with, 1) }
	for name, c := range map[string]struct {
		file, out string
		code      int
	}{
		"a good file": {secrets, `listens on   127.0.0.1:8080, people reach it at http://127.0.0.1:8080
database     slipway.db
gitlab       https://gitlab.example.com, hooks at http://127.0.0.1:8080/hooks/gitlab
slack        interactions at http://127.0.0.1:8080/slack/interactions, 1 people mapped
console      password
environment  staging → main/shop-staging for [shop/*]
ok
`, 0},
		"checks and sources": {secrets + "checks: {hosts: [shop.internal, '*.example.com']}\nmetrics_sources: [{name: main, prometheus: {url: 'http://prometheus:9090', token: prometheus-very-secret}}, {name: dd, datadog: {site: datadoghq.eu, api_key: api-very-secret, app_key: app-very-secret}}]\n",
			`listens on   127.0.0.1:8080, people reach it at http://127.0.0.1:8080
database     slipway.db
gitlab       https://gitlab.example.com, hooks at http://127.0.0.1:8080/hooks/gitlab
slack        interactions at http://127.0.0.1:8080/slack/interactions, 1 people mapped
console      password
environment  staging → main/shop-staging for [shop/*]
checks       may ask shop.internal, *.example.com
metrics      main: Prometheus at http://prometheus:9090
metrics      dd: Datadog at https://api.datadoghq.eu
ok
`, 0},
		"an unknown key":        {replace("  secret_tokens:", "  secret_tokns:"), "slipway: configuration FILE: [5:3] unknown field \"secret_tokns\"\n", 1},
		"a secret in the place": {replace("[hook-very-secret]", "{x: hook-very-secret}"), "slipway: configuration FILE: [5:18] ", 1},
		"a list that is none":   {replace("[shop/*]", "shop-very-secret"), "slipway: configuration FILE: [10:31] string was used where sequence is expected\n", 1},
		"a missing variable":    {replace("glpat-very-secret", "${SLIPWAY_TEST_NOT_SET}"), "slipway: configuration FILE: gitlab.token: the environment variable SLIPWAY_TEST_NOT_SET is not set\n", 1},
		"a missing secret file": {replace("token: glpat-very-secret", "token_file: /does/not/exist"), "slipway: configuration FILE: gitlab.token_file: open /does/not/exist: no such file or directory\n", 1},
		"a bracket too few":     {replace("[hook-very-secret]", "[hook-very-secret"), "slipway: configuration FILE: [6:1] ',' or ']' must be specified\n", 1},
		"a wrong signing token": {replace("secret_tokens", "signing_tokens"), "slipway: configuration FILE: gitlab.signing_tokens[0]: GitLab's signing tokens begin with whsec_\n", 1},
	} {
		file := write(t, "slipway.yml", c.file)
		out, code := slipway(t, "", "config", "check", "--config", file)
		want := strings.ReplaceAll(c.out, "FILE", file)
		if code != c.code || out != want && (!strings.HasSuffix(want, "] ") || !strings.HasPrefix(out, want)) {
			t.Errorf("%s: exit %d and\n%s\nwant exit %d and\n%s", name, code, out, c.code, want)
		}
		if strings.Contains(out, "very-secret") {
			t.Errorf("%s: a secret is printed: %s", name, out)
		}
	}
}

// TestCheckOfAFile looks at a database that was used, healthy first and then damaged.
func TestCheckOfAFile(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.start()
	r.deliver("Open the shop", "open")
	iid := r.good("Sell umbrellas", "umbrellas")
	r.merge(iid)
	r.ok(r.world.Slack.Await(r.within(), r.asked(iid)))
	r.kill()
	database := filepath.Join(r.dir, "slipway.db")
	if out, code := slipway(t, "", "check", database); code != 0 || out != database+": ok\n" {
		t.Fatalf("a database that was killed: exit %d and %s", code, out)
	}
	healthy, err := os.ReadFile(database)
	r.ok(err)

	random := rand.New(rand.NewPCG(1, 2)) // places of damage
	found := 0
	const page = 4096
	for n := range 12 {
		data := append([]byte(nil), healthy...)
		switch n {
		case 0:
			data = data[:len(data)/4/page*page]
		case 1:
			data = data[:2*page]
		default: // many pages: of those that were written once, most are free by now
			for range 12 {
				at := page * (2 + random.IntN(40))
				for i := range page / 2 {
					data[at+i] = byte(random.Uint32())
				}
			}
		}
		damaged := write(t, "damaged.db", string(data))
		out, code := slipway(t, "", "check", damaged)
		switch {
		case strings.Contains(out, "goroutine ") || code > 1 || code < 0:
			t.Errorf("damage %d: exit %d and\n%s", n, code, tail(out, 2000))
		case code == 1 && out != "":
			found++
		case out != damaged+": ok\n":
			t.Errorf("damage %d: exit %d and\n%s", n, code, out)
		}
	}
	if found < 4 {
		t.Errorf("only %d of 12 damaged files were found out", found)
	}
	r.start() // the file itself was only read
	r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
	r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
	r.checkDatabase()
}

func TestDemoScript(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the demo plays at a speed that people can follow")
	}
	t.Parallel()
	out, code := slipway(t, "", "demo", "--script")
	if code != 0 {
		t.Fatalf("exit %d:\n%s", code, out)
	}
	for _, words := range []string{"Ben merges", "Ada presses Approve", "Production runs the new version", "crash loop", "moves the traffic back in one step"} {
		if !strings.Contains(out, words) {
			t.Errorf("it does not say %q:\n%s", words, out)
		}
	}
}

// TestSecretsStaySecret plays deliveries that go well and badly while everything is
// logged, and looks for each secret everywhere where people can read.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	r := newRig(t, "sim")
	r.impatient()
	r.edit(func(config map[string]any) {
		config["log"] = map[string]any{"level": "debug", "format": "json"}
		config["gitlab"].(map[string]any)["secret_tokens"] = []string{"hook-very-secret"}
	})
	r.start()
	iid, sha := r.deliver("Open the shop", "open")
	bad, err := r.world.Bad("Keep sessions elsewhere", "sessions")
	r.ok(err)
	badSHA := r.merge(bad)
	r.ok(r.world.AwaitNote(r.within(), bad, "**Rolled back**"))
	r.comment(iid, r.world.Ada, "@slipway status")
	_, accepted := r.fail(gitlabsim.Fault{Status: 401})
	last := r.good("Sell umbrellas", "umbrellas")
	lastSHA := r.merge(last)
	r.awaitPageSays(r.page(last, lastSHA), "GitLab does not accept Slipway&#39;s access token")
	accepted()
	r.world.Cluster.AddToken(r.world.Cluster.Token(), nil)
	r.ok(r.world.AwaitNote(r.within(), last, "**The delivery failed**"))
	for _, q := range []request{
		{path: "/hooks/gitlab", header: map[string]string{"X-Gitlab-Token": "hook-very-secret"}},
		{path: "/slack/interactions", header: map[string]string{"X-Slack-Signature": "v0=wrong", "X-Slack-Request-Timestamp": "1"}},
	} {
		if status, _ := r.post(q); status != http.StatusUnauthorized {
			t.Errorf("%s answers %d", q.path, status)
		}
	}

	seen := map[string]string{"the log": r.log.String()}
	for _, path := range []string{"/", "/metrics", "/readyz", "/livez", r.page(iid, sha), r.page(bad, badSHA), r.page(last, lastSHA), "/deliveries/none"} {
		status, text := r.get(path)
		seen[path] = fmt.Sprint(status, text)
	}
	p := r.world.ProjectNow()
	for _, mr := range p.MergeRequests {
		for _, n := range mr.Notes {
			seen[fmt.Sprintf("note %d", n.ID)] = n.Body
		}
	}
	seen["the statuses"], seen["the deployments"] = fmt.Sprintf("%+v", p.Statuses), fmt.Sprintf("%+v", p.Deployments)
	slack, err := json.Marshal(r.world.Slack.Snapshot())
	r.ok(err)
	seen["Slack"] = string(slack)
	for _, m := range r.world.Slack.Messages(r.world.ChannelID) {
		seen["Slack"] += fmt.Sprintf("%+v", r.world.Slack.History(m.Channel, m.TS))
	}
	for _, q := range r.world.GitLab.Requests() {
		seen["GitLab's requests"] += q.Method + " " + q.Path + "?" + q.Query + " " + string(q.Body) + "\n"
	}
	for place, words := range map[string]string{"the log": `"level":"WARN"`, "Slack": "Sell umbrellas", "/metrics": "slipway_hooks_total", r.page(iid, sha): "Open the shop"} {
		if !strings.Contains(seen[place], words) {
			t.Errorf("%s does not even say %q, so that nothing is found there proves nothing", place, words)
		}
	}

	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(world.SigningToken, "whsec_"))
	r.ok(err)
	for name, secret := range map[string]string{
		"GitLab's token": world.GitLabToken, "the signing token": strings.TrimPrefix(world.SigningToken, "whsec_"),
		"the signing key": string(key), "the secret token": "hook-very-secret", "Slack's token": world.SlackToken,
		"Slack's signing secret": world.SlackSecret, "the cluster's token": r.world.Cluster.Token(),
	} {
		for place, text := range seen {
			if strings.Contains(text, secret) {
				t.Errorf("%s is in %s", name, place)
			}
		}
	}
	r.checkOnce()
	r.checkDatabase()
}
