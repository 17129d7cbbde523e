package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const good = `
listen: 127.0.0.1:9000
url: https://slipway.example.com/
database: /var/lib/slipway/slipway.db
console: {access: password, username: ops, password: "${CONSOLE_PASSWORD}"}
gitlab:
  url: https://gitlab.example.com
  token: ${GITLAB_TOKEN}
  signing_tokens: [whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=]
slack:
  token: xoxb-1
  signing_secret: shh
  people: {U1: ada}
clusters:
  - {name: main, in_cluster: true}
environments:
  - name: staging
    projects: [shop/*]
    cluster: main
    namespace: shop-staging
  - name: production
    projects: [shop/api, "platform/**"]
    cluster: main
    namespace: shop
    tier: production
    judged: true
    approvers: [group:shop/maintainers]
    not: [author]
`

func env(name string) (string, bool) {
	v, ok := map[string]string{"CONSOLE_PASSWORD": "console-secret", "GITLAB_TOKEN": "glpat-secret"}[name]
	return v, ok
}

func TestParse(t *testing.T) {
	c, err := Parse([]byte(good), env)
	if err != nil {
		t.Fatal(err)
	}
	if c.GitLab.Token.Reveal() != "glpat-secret" || c.Console.Password.Reveal() != "console-secret" {
		t.Error("variables were not replaced")
	}
	if c.URL != "https://slipway.example.com" || c.Slack.APIURL != "https://slack.com/api/" || c.Keep.Days != 90 {
		t.Errorf("defaults: %q %q %d", c.URL, c.Slack.APIURL, c.Keep.Days)
	}
}

func TestRefusals(t *testing.T) {
	edit := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the good file", old)
		}
		return strings.Replace(good, old, with, 1)
	}
	for name, c := range map[string]struct{ file, want string }{
		"an unknown key names its line and column":          {edit("listen:", "listne:"), `[2:1] unknown field "listne"`},
		"an unknown nested key is found too":                {edit("judged:", "judgd:"), `unknown field "judgd"`},
		"a variable that is not set is named":               {edit("${GITLAB_TOKEN}", "${NOT_SET}"), "gitlab.token: the environment variable NOT_SET is not set"},
		"hooks without any verification are refused":        {edit("  signing_tokens: [whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=]\n", ""), "signing_tokens or secret_tokens is required"},
		"a signing token has GitLab's form":                 {edit("whsec_", "sec_"), "begin with whsec_"},
		"an environment names a known cluster":              {edit("cluster: main\n    namespace: shop\n", "cluster: mian\n    namespace: shop\n"), `environments[1].cluster: "mian" is not among the clusters`},
		"an approver has a kind":                            {edit("group:shop/maintainers", "ada"), `approver "ada"`},
		"drift is one of three":                             {edit("tier: production", "tier: production\n    drift: fix"), `environments[1].drift: "fix" is not show, correct or ignore`},
		"a tier is one of GitLab's":                         {edit("tier: production", "tier: prod"), `"prod" is not production`},
		"a branch is a pattern":                             {edit("judged: true", "judged: true\n    branches: ['[']"), `environments[1].branches: "[" is not a pattern`},
		"a judged environment has its namespace for itself": {edit("namespace: shop-staging", "namespace: shop"), "is also the namespace of production, which is judged"},
		"a console password needs a name":                   {edit("username: ops, ", ""), "needs username and password"},
		"a missing secret file is named":                    {edit("token: ${GITLAB_TOKEN}", "token_file: /does/not/exist"), "gitlab.token_file: open /does/not/exist"},
		"a wrong type says where":                           {edit("judged: true", "judged: [1]"), "cannot unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.file), env)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "shh") {
				t.Errorf("a secret is in the error: %v", err)
			}
		})
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(good, "  signing_tokens: [whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=]", "  secret_tokens_file: "+file, 1)
	c, err := Parse([]byte(text), env)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.GitLab.SecretTokens) != 2 || c.GitLab.SecretTokens[1].Reveal() != "two" {
		t.Errorf("got %d tokens", len(c.GitLab.SecretTokens))
	}
}

func TestSecretsNeverPrint(t *testing.T) {
	c, err := Parse([]byte(good), env)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("configuration", "config", c, "token", c.GitLab.Token)
	fmt.Fprintf(&out, "%v %+v %#v %s %q", *c, *c, *c, c.GitLab.Token, c.Slack.SigningSecret)
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(data)
	for _, secret := range []string{"glpat-secret", "console-secret", "xoxb-1", "shh", "whsec_MDEy"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%s was printed", secret)
		}
	}
}

func TestEnvironmentsBelongToProjects(t *testing.T) {
	c, err := Parse([]byte(good), env)
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"shop/api production": true, "shop/web staging": true, "platform/a/b production": true,
		"shop/web production": false, "shop/api/sub staging": false, "platform production": false, "evil/shop/api production": false,
	} {
		project, environment, _ := strings.Cut(name, " ")
		if _, err := c.Environment(project, environment); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = c.Environment("shop/web", "production")
	if err == nil || !strings.Contains(err.Error(), "it may use staging") {
		t.Errorf("the refusal does not say what may be used: %v", err)
	}
}
