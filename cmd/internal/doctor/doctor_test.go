package doctor_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"gitlab.com/slipway-cd/slipway/cmd/internal/app"
	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/cmd/internal/doctor"
	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/store/boltstore"
)

const (
	url  = "https://slipway.example.com"
	file = `url: https://slipway.example.com
database: DIR/slipway.db
gitlab: {url: "GITLAB", token: glpat-world-slipway, signing_tokens: ["whsec_d29ybGQtc2lnbmluZy10b2tlbi0wMTIzNDU2Nzg5YWI="]}
slack: {token: xoxb-world, signing_secret: world-slack-secret, api_url: "SLACK", channel: "#shop-deploys"}
clusters: [{name: main, kubeconfig: DIR/kubeconfig}]
environments:
  - {name: staging, projects: [shop/web], cluster: main, namespace: shop-staging}
`
)

// place is a world that is set up as it should be, and the configuration for it.
type place struct {
	*testing.T
	*world.World
	dir  string
	file string
	kas  string // of the agent server, if there is one
	now  time.Time
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{T: t, dir: t.TempDir(), now: time.Now()}
	var err error
	if p.World, err = world.New(world.Options{Dir: p.dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	p.ok(p.Connect(url))
	p.file = strings.NewReplacer("DIR", p.dir, "GITLAB", p.GitLab.URL(), "SLACK", p.Slack.URL()).Replace(file)
	return p
}

func (p *place) ok(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// edit replaces a piece of the configuration.
func (p *place) edit(old, with string) {
	p.Helper()
	if !strings.Contains(p.file, old) {
		p.Fatalf("the configuration has no %q", old)
	}
	p.file = strings.Replace(p.file, old, with, 1)
}

// limit lets the cluster know Slipway as an account with these rights in shop-staging.
func (p *place) limit(rules ...rbacv1.PolicyRule) {
	p.Helper()
	p.Cluster.AddAccount(kubesim.Account{Namespace: "slipway", Name: "slipway", Token: "own", Namespaces: []string{"shop-staging"}, Rules: rules})
	p.ok(os.WriteFile(filepath.Join(p.dir, "kubeconfig"), p.Cluster.KubeconfigFor("own", "shop-staging"), 0o600))
}

// agent serves the cluster as GitLab's agent server does, with a clock that is off, and gives its address.
func (p *place) agent(id int, token string, off time.Duration) string {
	p.Helper()
	server := httptest.NewServer(http.StripPrefix("/k8s-proxy", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer pat:%d:%s", id, token) {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		r.Header.Set("Authorization", "Bearer "+p.Cluster.Token())
		p.Cluster.Handler().ServeHTTP(misdated{w, off}, r)
	})))
	p.Cleanup(server.Close)
	p.kas = server.URL
	return server.URL
}

// misdated answers with a clock that is off.
type misdated struct {
	http.ResponseWriter
	off time.Duration
}

func (m misdated) WriteHeader(status int) {
	m.Header().Set("Date", time.Now().Add(m.off).UTC().Format(http.TimeFormat))
	m.ResponseWriter.WriteHeader(status)
}

// examine gives the report, without what is fine unless it is asked for.
func (p *place) examine(all bool) (report string, broken bool) {
	p.Helper()
	cfg, err := config.Parse([]byte(p.file), os.LookupEnv)
	p.ok(err)
	sources, err := app.Checkup(cfg, slog.New(slog.DiscardHandler))
	p.ok(err)
	sources.Now = func() time.Time { return p.now }
	var out strings.Builder
	broken = doctor.Run(p.Context(), doctor.Checks(sources), func(f doctor.Finding) {
		if f.Verdict == doctor.Fine && !all {
			return
		}
		fmt.Fprintf(&out, "%s %s: %s\n", f.Verdict.Mark(), f.Of, f.Says)
		for _, m := range f.Mend {
			fmt.Fprintf(&out, "    %s\n", m)
		}
	})
	if p.kas == "" {
		p.kas = "no agent server"
	}
	return strings.NewReplacer(p.kas, "KAS", p.GitLab.URL(), "GITLAB", strings.TrimPrefix(p.GitLab.URL(), "http://"), "HOST", p.dir, "DIR").Replace(out.String()), broken
}

// numbers is a Prometheus that wants a token.
func (p *place) numbers(token string) string {
	p.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"matrix","result":[]}}`)
	}))
	p.Cleanup(server.Close)
	return server.URL
}

func TestMetricsSources(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	at := p.numbers("right-token")
	p.file += fmt.Sprintf(`metrics_sources:
  - {name: good, prometheus: {url: "%s", token: right-token}}
  - {name: bad, prometheus: {url: "%s", token: wrong-token}}
  - {name: plain, web: {url: "http://numbers.example.com/?q=$query", values: /v}}
`, at, at)
	got, broken := p.examine(true)
	_, got, _ = strings.Cut(got, "all rights are there\n")
	want := `✓ metrics source good: Prometheus at AT answers to these credentials
✗ metrics source bad: Prometheus refuses to answer (client error: 401): check its address and credentials in Slipway's configuration
    docs/metrics.md says for each kind of source which keys and rights it needs
! metrics source plain: a web source at http://numbers.example.com is not asked, because nobody knows what it would answer to
    in the configuration:  web: {probe: …}  is what is put in for $query
`
	if diff := cmp.Diff(want, strings.ReplaceAll(got, at, "AT")); diff != "" || !broken {
		t.Errorf("broken %v:\n%s", broken, diff)
	}
}

func TestAllIsFine(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	got, broken := p.examine(true)
	want := `✓ database: DIR/slipway.db is not there yet and can be made
✓ gitlab: GITLAB is GitLab 19.5.0-ee and knows us as @slipway; the token has the scope api and doesn't end
✓ project shop/web: @slipway is Maintainer; its hook sends all events
✓ slack: the bot token works and has all scopes; whether the signing secret is right shows only when somebody presses a button
✓ slack #shop-deploys: the app is in the channel
✓ cluster main: Kubernetes v1.37.2 answers
✓ environment staging: namespace shop-staging of cluster main: all rights are there
`
	if diff := cmp.Diff(want, got); diff != "" || broken {
		t.Errorf("broken %v:\n%s", broken, diff)
	}
	entries, err := filepath.Glob(filepath.Join(p.dir, ".slipway-doctor-*"))
	if err != nil || len(entries) > 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
}

// rights are what the documented role grants, but for some resources.
func rights(t *testing.T, without ...string) []rbacv1.PolicyRule {
	t.Helper()
	needs := slices.DeleteFunc(kube.Needs(), func(n kube.Need) bool { return slices.Contains(without, n.Resource) })
	var rules []rbacv1.PolicyRule
	if err := yaml.UnmarshalStrict([]byte(strings.Join(kube.RoleRules(needs), "\n")), &rules); err != nil {
		t.Fatal(err)
	}
	return rules
}

const impersonate = "impersonate: {service_account: deployer}"

func TestWhatIsWrongIsToldWithWhatMendsIt(t *testing.T) {
	t.Parallel()
	hook := func(events ...string) map[string]bool {
		on := map[string]bool{}
		for _, e := range events {
			on[e+"_events"] = true
		}
		return on
	}
	for name, c := range map[string]struct {
		arrange func(*place)
		want    string
		broken  bool
	}{
		"a database that a server has open is left alone": {func(p *place) {
			s, err := boltstore.Open(boltstore.Options{Path: filepath.Join(p.dir, "slipway.db")})
			p.ok(err)
			p.Cleanup(func() { p.ok(s.Close()) })
		}, `! database: DIR/slipway.db is open in another process, so it was not looked at; a Slipway that is running has it
`, false},
		"a folder for the database that is missing": {func(p *place) { p.edit(p.dir+"/slipway.db", p.dir+"/no/slipway.db") },
			`✗ database: there is no folder DIR/no
    mkdir -p DIR/no
    or another path in the configuration:  database: PATH
`, true},
		"a token that is revoked": {func(p *place) { p.GitLab.RevokeToken(world.GitLabToken) },
			`✗ gitlab: GITLAB: GitLab does not accept Slipway's access token: it is wrong, expired or revoked
    check gitlab.url and gitlab.token; the same question, by hand:
    curl --header "PRIVATE-TOKEN: $TOKEN" GITLAB/api/v4/user
! projects: not looked at, because GitLab doesn't answer as it should
`, true},
		"a token that ends soon": {func(p *place) {
			p.now = time.Date(2027, 1, 20, 12, 0, 0, 0, time.UTC)
			p.GitLab.SetTokenExpiry(world.GitLabToken, time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC))
		}, `! gitlab: GITLAB is GitLab 19.5.0-ee and knows us as @slipway; the token has the scope api and ends on 2027-01-31
    rotate it before, and put the new one into gitlab.token
`, false},
		"a token that may only read": {func(p *place) {
			p.ok(p.GitLab.AddToken("reader", p.Bot, gitlabsim.PersonalToken, "read_api"))
			p.edit("glpat-world-slipway", "reader")
		}, `✗ gitlab: GITLAB is GitLab 19.5.0-ee and knows us as @slipway, but the token has the scopes read_api
    make a token with the scope api and the role Developer, and put it into gitlab.token (docs/gitlab.md)
`, true},
		"projects that are not there, hidden or called otherwise": {func(p *place) {
			p.edit("[shop/web]", "[shop/none, Shop/web, other/*, '**/x']")
		}, `✗ project shop/none: GitLab shows @slipway no such project
    mend environments[].projects if there is none, or make @slipway a Developer of it:
    glab api --hostname HOST --method POST projects/shop%2Fnone/members -f user_id=4 -f access_level=30
✗ project Shop/web: GitLab writes this project shop/web, so the configuration never fits it
    environments[].projects:  [shop/web]
✗ projects other/*: GitLab shows @slipway no group other
    invite @slipway to the group as Developer, or mend environments[].projects:
    glab api --hostname HOST --method POST groups/other/members -f user_id=4 -f access_level=30
! projects **/x: the pattern names no group, so its projects were not looked at
`, true},
		"a role that is too low": {func(p *place) { p.ok(p.GitLab.AddMember(p.Project, p.Bot, gitlabsim.Reporter)) },
			`✗ project shop/web: @slipway is Reporter, and has to be Developer
    make @slipway a Developer at GITLAB/shop/web/-/project_members
`, true},
		"hooks that a Developer may not see": {func(p *place) { p.ok(p.GitLab.AddMember(p.Project, p.Bot, gitlabsim.Developer)) },
			`! project shop/web: @slipway is Developer; GitLab shows hooks to Maintainers only, so look by hand whether there is one for https://slipway.example.com/hooks/gitlab
    GITLAB/shop/web/-/hooks  needs: Merge request events, Comments, Pipeline events, Job events, Deployment events, and SSL verification
`, false},
		"a hook that goes elsewhere": {func(p *place) { p.edit("url: https://slipway.example.com\n", "url: https://slipway.example.org\n") },
			`✗ project shop/web: @slipway is Maintainer; no hook goes to https://slipway.example.org/hooks/gitlab
    add one at GITLAB/shop/web/-/hooks, or so, with HOOK_TOKEN one of gitlab.signing_tokens:
    glab api --hostname HOST --method POST projects/1/hooks -f url=https://slipway.example.org/hooks/gitlab -f enable_ssl_verification=true -f push_events=false -f signing_token="$HOOK_TOKEN" -f merge_requests_events=true -f note_events=true -f pipeline_events=true -f job_events=true -f deployment_events=true
`, true},
		"a hook without all events and without verification": {func(p *place) {
			p.edit("url: https://slipway.example.com\n", "url: https://slipway.example.org\n")
			_, err := p.GitLab.AddHook(p.Project, gitlabsim.Hook{URL: "https://slipway.example.org/hooks/gitlab/", SkipVerification: true, Events: hook("merge_requests", "note", "job")})
			p.ok(err)
		}, `! project shop/web: @slipway is Maintainer; its hook doesn't send Pipeline events, Deployment events; its hook is sent without SSL verification
    glab api --hostname HOST --method PUT projects/1/hooks/2 -f pipeline_events=true -f deployment_events=true -f enable_ssl_verification=true
`, false},
		"a hook without comments": {func(p *place) {
			p.edit("url: https://slipway.example.com\n", "url: https://slipway.example.org\n")
			_, err := p.GitLab.AddHook(p.Project, gitlabsim.Hook{URL: "https://slipway.example.org/hooks/gitlab", Events: hook("merge_requests", "pipeline", "job", "deployment")})
			p.ok(err)
		}, `✗ project shop/web: @slipway is Maintainer; its hook doesn't send Comments
    glab api --hostname HOST --method PUT projects/1/hooks/2 -f note_events=true
`, true},
		"a hook of the group is as good": {func(p *place) {
			p.edit("url: https://slipway.example.com\n", "url: https://slipway.example.org\n")
			p.ok(p.GitLab.AddGroupMember("shop", p.Bot, gitlabsim.Owner))
			_, err := p.GitLab.AddGroupHook("shop", gitlabsim.Hook{URL: "https://slipway.example.org/hooks/gitlab"})
			p.ok(err)
		}, "", false},
		"projects of a pattern are looked at": {func(p *place) {
			p.ok(p.GitLab.AddGroupMember("shop", p.Bot, gitlabsim.Developer))
			_, err := p.GitLab.AddProject(gitlabsim.Project{Path: "shop/deep/ui"})
			p.ok(err)
			p.edit("[shop/web]", "[shop/**]")
		}, `! project shop/deep/ui: @slipway is Developer; GitLab shows hooks to Maintainers only, so look by hand whether there is one for https://slipway.example.com/hooks/gitlab
    GITLAB/shop/deep/ui/-/hooks  needs: Merge request events, Comments, Pipeline events, Job events, Deployment events, and SSL verification
`, false},
		"scopes and a channel that the app lacks": {func(p *place) {
			p.Slack.SetScopes("chat:write", "commands", "channels:read", "channels:history", "groups:read", "groups:history")
			p.edit("#shop-deploys", "#none")
		}, `✗ slack: the app lacks the scopes chat:write.public
    add them at https://api.slack.com/apps under OAuth & Permissions, and install the app again
✗ slack #none: Slipway cannot use the Slack channel #none: check its name, and invite the app there with /invite
    in the channel:  /invite @slipway
    or name another in the configuration:  slack: {channel: …}
`, true},
		"a cluster that is away": {func(p *place) { p.Cluster.Faults.SetUnreachable(true) },
			`✗ cluster main: cluster main doesn't answer
    the same question, by hand:  kubectl --kubeconfig DIR/kubeconfig version
! environment staging: not looked at, because cluster main doesn't answer
`, true},
		"a way to a cluster that does not exist": {func(p *place) { p.edit("kubeconfig: "+p.dir+"/kubeconfig", "in_cluster: true") },
			`✗ cluster main: cluster main: use the pod's service account: unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined
    in_cluster: true works in a pod with a service account; elsewhere give kubeconfig: or agent:
! environment staging: not looked at, because cluster main doesn't answer
`, true},
		"a clock that is wrong, by way of GitLab's agent": {func(p *place) {
			p.edit("kubeconfig: "+p.dir+"/kubeconfig", "agent: {kas: "+p.agent(7, "agent-token", -2*time.Minute)+", id: 7, token: agent-token}")
		}, `! cluster main: Kubernetes v1.37.2 answers, but its clock is about 2m0s behind this machine's
    set the clock that is wrong; on this machine:  timedatectl set-ntp true
`, false},
		"an agent that does not let the token in": {func(p *place) {
			p.edit("kubeconfig: "+p.dir+"/kubeconfig", "agent: {kas: "+p.agent(7, "agent-token", 0)+", id: 8, token: agent-token}")
		}, `✗ cluster main: cluster main doesn't accept Slipway's credentials
    the same question, by hand, with a token of the scope k8s_proxy:
    curl --header "Authorization: Bearer pat:8:$TOKEN" KAS/k8s-proxy/version
    the agent's .gitlab/agents/NAME/config.yaml has to let the token's user in under user_access (docs/kubernetes.md)
! environment staging: not looked at, because cluster main doesn't answer
`, true},
		"a namespace that is not there": {func(p *place) { p.edit("namespace: shop-staging", "namespace: shop-stagin") },
			`✗ environment staging: cluster main has no namespace shop-stagin
    kubectl create namespace shop-stagin
    and the role in it (docs/kubernetes.md)
`, true},
		"rights that are missing": {func(p *place) {
			p.limit(append(rights(p.T, "pods", "secrets", "cronjobs", "networkpolicies", "pods/log"),
				rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets", "pods"}, Verbs: []string{"get"}})...)
		}, `✗ environment staging: Slipway may not create, patch, delete secrets; list, watch pods in namespace shop-staging of cluster main
    add to the rules of the Role that is bound to Slipway's own account in namespace shop-staging:
    - {apiGroups: [""], resources: [secrets], verbs: [create, patch, delete]}
    - {apiGroups: [""], resources: [pods], verbs: [list, watch]}
! environment staging: no rights for cronjobs, networkpolicies; that is right if the manifests hold none
    add to the rules of the Role that is bound to Slipway's own account in namespace shop-staging:
    - {apiGroups: [batch], resources: [cronjobs], verbs: [get, create, patch, delete]}
    - {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [get, create, patch, delete]}
! environment staging: Slipway may not get pods/log, so a crash loop is told without the end of its log
    add to the rules of the Role that is bound to Slipway's own account in namespace shop-staging:
    - {apiGroups: [""], resources: [pods/log], verbs: [get]}
! environment staging: Slipway may not list, watch cronjobs.batch, so what runs where doesn't show which are there
    add to the rules of the Role that is bound to Slipway's own account in namespace shop-staging:
    - {apiGroups: [batch], resources: [cronjobs], verbs: [list, watch]}
`, true},
		"an account that Slipway may not use": {func(p *place) {
			p.limit(rights(p.T)...)
			p.edit("namespace: shop-staging", "namespace: shop-staging, "+impersonate)
		}, `✗ environment staging: Slipway may not act as service account deployer in namespace shop-staging of cluster main; its own account needs the verb impersonate on it
    let Slipway's own account act as it, and nothing else; bind this role to that account:
    kubectl -n shop-staging create role slipway-impersonates --verb=impersonate --resource=serviceaccounts --resource-name=deployer
    kubectl -n shop-staging create rolebinding slipway-impersonates --role=slipway-impersonates --serviceaccount=NAMESPACE:ACCOUNT
`, true},
		"rights that the account lacks": {func(p *place) {
			p.limit(rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"impersonate"}, ResourceNames: []string{"deployer"}})
			p.Cluster.AddAccount(kubesim.Account{Namespace: "shop-staging", Name: "deployer", Namespaces: []string{"shop-staging"}, Rules: rights(p.T, "replicasets")})
			p.edit("namespace: shop-staging", "namespace: shop-staging, "+impersonate)
		}, `✗ environment staging: Slipway may not get, list, watch replicasets.apps in namespace shop-staging of cluster main, as service account shop-staging/deployer
    add to the rules of the Role that is bound to service account shop-staging/deployer in namespace shop-staging:
    - {apiGroups: [apps], resources: [replicasets], verbs: [get, list, watch]}
`, true},
		"namespaces that come and go": {func(p *place) {
			p.edit("{name: staging, projects: [shop/web], cluster: main, namespace: shop-staging}", `{name: review/*, projects: [shop/web], cluster: main, namespace: "shop-{slug}"}`)
		}, `! environment review/*: each name has a namespace of its own, shop-{slug}, which has to be there when a delivery comes; it was not looked at
`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			c.arrange(p)
			got, broken := p.examine(false)
			if diff := cmp.Diff(c.want, got); diff != "" || broken != c.broken {
				t.Errorf("broken %v:\n%s", broken, diff)
			}
			for _, secret := range []string{"glpat-", "whsec_", "xoxb-", "world-slack-secret"} {
				if strings.Contains(got, secret) {
					t.Errorf("the report has a secret:\n%s", got)
				}
			}
		})
	}
}

func TestFindingsAreSafeToPrint(t *testing.T) {
	t.Parallel()
	check := doctor.Configuration("slipway.yml", nil, errors.New("red \x1b[31m\nline "+strings.Repeat("x", 2000)))
	var got doctor.Finding
	if !doctor.Run(t.Context(), []doctor.Check{check}, func(f doctor.Finding) { got = f }) {
		t.Error("it is not broken")
	}
	if strings.ContainsAny(got.Says, "\x1b\n") || len(got.Says) > 700 || !strings.HasPrefix(got.Says, "red [31m line x") {
		t.Errorf("got %q", got.Says)
	}
	data, err := json.Marshal(got)
	if err != nil || !bytes.Contains(data, []byte(`{"verdict":"broken","of":"configuration","says":"red `)) {
		t.Errorf("got %s, %v", data, err)
	}
}
