package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const places = `
gitlab: {url: https://gitlab.example.com, token: t, secret_tokens: [s]}
clusters:
  - {name: main, in_cluster: true}
  - name: far
    agent: {kas: https://kas.gitlab.example.com/, id: 12, token: glpat-secret}
environments:
  - name: production
    projects: [shop/api]
    cluster: main
    namespace: shop-production
    judged: true
    impersonate: {service_account: deployer}
  - {name: review/*, projects: [shop/**], cluster: far, namespace: "shop-{slug}", url: "https://{slug}.example.com", impersonate: {service_account: deployer, namespace: deployers}}
  - {name: review/long/*, projects: [shop/api], cluster: far, namespace: shop-long}
  - {name: review/long/named, projects: [shop/api], cluster: far, namespace: shop-named}
  - {name: review/long/named, projects: [shop/api], cluster: far, namespace: shop-second}
  - {name: demo-*, projects: [shop/web], cluster: far, namespace: shop-demo}
`

func parsed(t *testing.T, file string) *Config {
	t.Helper()
	c, err := Parse([]byte(file), env)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnAgentIsAWayToACluster(t *testing.T) {
	far := parsed(t, places).Clusters[1].Agent
	if far.Server() != "https://kas.gitlab.example.com/k8s-proxy" || far.Bearer().Reveal() != "pat:12:glpat-secret" {
		t.Errorf("got %s with %s", far.Server(), far.Bearer().Reveal())
	}
}

func TestPlaces(t *testing.T) {
	c := parsed(t, places)
	for name, tc := range map[string]struct{ project, environment, cluster, namespace, url, as string }{
		"a name finds its place":                          {"shop/api", "production", "main", "shop-production", "", "shop-production/deployer"},
		"a pattern fills the name's slug in":              {"shop/web", "review/Add_carts", "far", "shop-review-add-carts-91ueay", "https://review-add-carts-91ueay.example.com", "deployers/deployer"},
		"a longer pattern wins":                           {"shop/api", "review/long/x", "far", "shop-long", "", ""},
		"a name wins over patterns, and the first counts": {"shop/api", "review/long/named", "far", "shop-named", "", ""},
		"what a project may not use does not count":       {"shop/web", "review/long/named", "far", "shop-review-long-named-vmbpla", "https://review-long-named-vmbpla.example.com", "deployers/deployer"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := c.Place(tc.project, tc.environment)
			if err != nil {
				t.Fatal(err)
			}
			as := ""
			if p.As != nil {
				as = p.As.Namespace + "/" + p.As.ServiceAccount
			}
			got := []string{p.Rules.Cluster, p.Rules.Namespace, p.Rules.URL, as}
			if diff := cmp.Diff([]string{tc.cluster, tc.namespace, tc.url, tc.as}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, name := range []string{"review/", "review", "demo-", "reviews/x", "Review/x", "review/x/", "review/x\ny", "review/ä", "review/" + strings.Repeat("x", 250), ""} {
		if p, err := c.Place("shop/web", name); err == nil {
			t.Errorf("%q lives in %s", name, p.Rules.Namespace)
		}
	}
}

func TestReviewEnvironmentsHaveASlugOfTheirOwn(t *testing.T) {
	c := parsed(t, strings.Replace(places, "namespace: shop-long}", "namespace: shop-long, review: true}", 1)+
		"  - {name: review/mine/*, projects: [shop/web], cluster: far, namespace: shop-long, review: true}\n")
	seen := map[string]string{}
	for _, at := range [][2]string{{"shop/api", "review/long/1"}, {"shop/api", "review/long/12"}, {"shop/api", "review/long/a-b"}, {"shop/api", "review/long/a/b"}, {"shop/web", "review/mine/1"}} {
		p, err := c.Place(at[0], at[1])
		if err != nil {
			t.Fatal(err)
		}
		slug, at := p.Rules.Slug, at[0]+" "+at[1]
		if !p.Rules.Review || len(slug) > 20 || !label.MatchString(slug) || !strings.HasPrefix(slug, "review-") {
			t.Errorf("%s: %+v", at, p.Rules)
		}
		if other := seen[slug]; other != "" {
			t.Errorf("%s and %s share %s", at, other, slug)
		}
		seen[slug] = at
	}
	if p, _ := c.Place("shop/web", "review/x"); p.Rules.Review || p.Rules.Slug != "" {
		t.Errorf("an environment that is not for reviews: %+v", p.Rules)
	}
	if !c.Reviews("shop/api") || !c.Reviews("shop/web") || c.Reviews("shop/other") {
		t.Error("who may review is wrong")
	}
}

func TestReviewsClaimTheHostsOfTheirSlug(t *testing.T) {
	c := parsed(t, strings.Replace(places, "namespace: shop-long}", "namespace: shop-long, review: true, hosts: ['{slug}.review.example.com', '*.{slug}.review.example.com'], kinds: [Certificate.cert-manager.io]}", 1))
	p, err := c.Place("shop/api", "review/long/12")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"review-long-12-uhsc2f.review.example.com", "*.review-long-12-uhsc2f.review.example.com"}
	if diff := cmp.Diff(want, p.Hosts); diff != "" || p.Kinds[0] != "Certificate.cert-manager.io" {
		t.Errorf("%s, and kinds %q", diff, p.Kinds)
	}
}

func TestPlacesThatCannotBe(t *testing.T) {
	edit := func(old, with string) string {
		if !strings.Contains(places, old) {
			t.Fatalf("%q is not in the file", old)
		}
		return strings.Replace(places, old, with, 1)
	}
	for name, c := range map[string]struct{ file, want string }{
		"a cluster is reached one way":                  {edit("in_cluster: true}", "in_cluster: true, kubeconfig: x}"), "clusters[0]: in_cluster, kubeconfig and agent exclude each other"},
		"a cluster is reached at all":                   {edit("in_cluster: true}", "context: x}"), "clusters[0]: one of kubeconfig (a path), in_cluster: true and agent is required"},
		"an agent server has an address":                {edit("https://kas.gitlab.example.com/", "kas.gitlab.example.com"), `clusters[1].agent.kas: "kas.gitlab.example.com" is not an http`},
		"the proxy is added":                            {edit("example.com/,", "example.com/k8s-proxy,"), "leave /k8s-proxy out"},
		"an agent has a number":                         {edit("id: 12, ", ""), "clusters[1].agent.id: missing"},
		"an agent needs a token":                        {edit(", token: glpat-secret", ""), "clusters[1].agent.token: missing"},
		"the token is given alone":                      {edit("token: glpat-secret", "token: pat:12:glpat-secret"), "clusters[1].agent.token: give the access token alone"},
		"a missing token file is named":                 {edit("token: glpat-secret", "token_file: /does/not/exist"), "clusters[1].agent.token_file: open /does/not/exist"},
		"one environment has no slug":                   {edit("namespace: shop-production", `namespace: "shop-{slug}"`), "environments[0].name: production is one environment"},
		"a namespace has a name":                        {edit("namespace: shop-long", "namespace: shop_long"), `environments[2].namespace: "shop_long" is not the name of a namespace`},
		"a namespace fits with any slug":                {edit(`"shop-{slug}"`, `"`+strings.Repeat("x", 40)+`{slug}"`), "of which a slug takes up to 24"},
		"a service account has a name":                  {edit("service_account: deployer}", "service_account: Deployer}"), `environments[0].impersonate.service_account: "Deployer"`},
		"a service account's namespace has a name":      {edit("namespace: deployers", "namespace: a/b"), `environments[1].impersonate.namespace: "a/b"`},
		"a * stands at the end of a name":               {edit("review/long/*", "review/*/x"), `environments[2].name: "review/*/x"`},
		"a * alone would be everything":                 {edit("name: review/*", `name: "*"`), `environments[1].name: "*"`},
		"a pattern may not lead around a judgement":     {edit("name: review/*", "name: prod*"), "is also the namespace of production, which is judged"},
		"a pattern without slug may not either":         {edit("namespace: shop-long", "namespace: shop-production"), ""},
		"nobody is asked before a review":               {edit("    judged: true", "    judged: true\n    review: true"), "judged and review exclude each other"},
		"reviews have no branches":                      {edit("namespace: shop-long}", "namespace: shop-long, review: true, branches: [main]}"), "environments[2].branches: a review may be of any branch"},
		"reviews have a namespace of their own":         {edit("namespace: shop-named}", "namespace: shop-second, review: true}"), "environments[3].namespace: shop-second is also the namespace of review/long/named, which is not for reviews"},
		"only reviews are held to hosts":                {edit("namespace: shop-long}", "namespace: shop-long, hosts: [a.example.com]}"), "environments[2].hosts: only what reviews claim"},
		"only reviews are held to kinds":                {edit("namespace: shop-long}", "namespace: shop-long, kinds: [Certificate.cert-manager.io]}"), "environments[2].kinds: only reviews"},
		"a review claims hosts, not addresses":          {edit("namespace: shop-long}", "namespace: shop-long, review: true, hosts: ['https://a.example.com']}"), `environments[2].hosts: "https://a.example.com" is not a host`},
		"a review does not claim everything":            {edit("namespace: shop-long}", "namespace: shop-long, review: true, hosts: ['*']}"), `environments[2].hosts: "*" is not a host`},
		"a review does not claim a whole top level":     {edit("namespace: shop-long}", "namespace: shop-long, review: true, hosts: ['*.com']}"), `environments[2].hosts: "*.com" is not a host`},
		"one review environment has no slug":            {edit("namespace: shop-named}", "namespace: shop-named, review: true, hosts: ['{slug}.example.com']}"), "environments[3].hosts: review/long/named is one environment"},
		"a kind is written as kinds are":                {edit("namespace: shop-long}", "namespace: shop-long, review: true, kinds: [certificates]}"), `environments[2].kinds: "certificates" is not a kind`},
		"a review does not claim another's address":     {edit("namespace: shop-long}", "namespace: shop-long, review: true, hosts: ['*.example.com']}"), "environments[2].hosts: *.example.com takes slug.example.com, too, which is the address of review/*"},
		"a project's path has no slash too many":        {edit("[shop/**]", "[/shop/**]"), "has a slash too many"},
		"** stands for whole parts":                     {edit("[shop/**]", "[shop**]"), "it stands for whole parts"},
		"a project is in a group":                       {edit("[shop/**]", "[shop]"), "write shop/web, shop/* or shop/**"},
		"patterns are not made to take long to compare": {edit("[shop/**]", "['**/a/**/b/**']"), "more than two **"},
	} {
		t.Run(name, func(t *testing.T) {
			file := c.file
			if c.want == "" { // the judged one is in another cluster
				file, c.want = strings.Replace(file, "cluster: main", "cluster: far", 1), "environments[2].namespace: shop-production is also the namespace of production"
			} else if strings.Contains(c.want, "judged") {
				file = strings.Replace(file, "cluster: main", "cluster: far", 1)
			}
			_, err := Parse([]byte(file), env)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "glpat-secret") {
				t.Errorf("a secret is in the error: %v", err)
			}
		})
	}
}

func TestWhichProjectsAPatternCovers(t *testing.T) {
	for pattern, c := range map[string]struct{ yes, no []string }{
		"shop/web":   {[]string{"shop/web"}, []string{"shop/web2", "shop/web/x", "Shop/web", "shop/Web", "a/shop/web", "shop/web ", "shop/web\n", "shop/wеb", "shop%2Fweb", "shop//web"}},
		"shop/*":     {[]string{"shop/web", "shop/web.js", "shop/_x"}, []string{"shop", "shop/", "shop/a/b", "shop-evil/x", "evil/shop/x", "SHOP/web", "shop/..", "shop/.", "shop/a\x00", "shop/a\nb", "shop/*"}},
		"shop/**":    {[]string{"shop/web", "shop/a/b", "shop/a/b/c"}, []string{"shop", "shop/", "shop-evil/x", "shopx/y", "evil/shop/x", "shop//x", "shop/../evil/x", "shop/x/", "/shop/x", "Shop/x", `shop\x`}},
		"**":         {[]string{"shop/web", "a/b/c"}, []string{"", "/", "a//b", "a/ b"}},
		"**/deploy":  {[]string{"shop/deploy", "a/b/deploy"}, []string{"deploy", "shop/deploy/x", "shop/xdeploy"}},
		"shop/**/ui": {[]string{"shop/a/ui", "shop/a/b/ui"}, []string{"shop/ui", "shop/a/ui/x", "shop/a/xui"}},
		"shop/api-?": {[]string{"shop/api-1"}, []string{"shop/api-", "shop/api-12", "shop/api-/x"}},
	} {
		for _, project := range c.yes {
			if !Allows(pattern, project) {
				t.Errorf("%s doesn't cover %q", pattern, project)
			}
		}
		for _, project := range c.no {
			if Allows(pattern, project) {
				t.Errorf("%s covers %q", pattern, project)
			}
		}
	}
}

func TestSlugsAreGitLabs(t *testing.T) {
	// The names and what is before the hash are those of GitLab's own test of its slugs
	// (spec/lib/gitlab/slug/environment_spec.rb).
	for name, want := range map[string]string{
		"staging-12345678901234567": "staging-123456789-HASH", "9-staging-123456789012345": "env-9-staging-123-HASH",
		"staging-1234567890123456": "staging-1234567890123456", "staging-1234567890123456-": "staging-123456789-HASH",
		"production": "production", "PRODUCTION": "production-HASH", "review/1-foo": "review-1-foo-HASH", "1-foo": "env-1-foo-HASH",
		"1/foo": "env-1-foo-HASH", "foo-": "foo", "foo--bar": "foo-bar-HASH", "foo**bar": "foo-bar-HASH", "*-foo": "env-foo-HASH",
		"staging-12345678-": "staging-12345678", "staging-12345678-01234567": "staging-12345678-HASH",
	} {
		got := slug(name)
		if want = strings.Replace(want, "HASH", hash(name), 1); got != want || len(got) > maxSlug || !label.MatchString(got) {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if got := hash("review/Add_carts"); len(got) != hashed {
		t.Errorf("the hash is %q", got)
	}
	if slug("review/a-b") == slug("review/a/b") {
		t.Error("two names have one slug")
	}
}

func TestJudgedEnvironmentsOfOneNamespaceHaveTheSameApprovers(t *testing.T) {
	const text = `
gitlab: {url: https://gitlab.example.com, token: t, secret_tokens: [s]}
clusters: [{name: main, in_cluster: true}]
environments:
- {name: production, projects: [shop/*], cluster: main, namespace: shop, judged: true, approvers: ["group:shop/sre"]}
- {name: other, projects: [shop/*], cluster: main, namespace: %s, judged: true, approvers: [%q]}
`
	for _, c := range []struct {
		namespace, approvers string
		refused              bool
	}{
		{"shop", "group:shop/sre", false}, {"shop", "role:developer", true}, {"shop-other", "role:developer", false},
	} {
		_, err := Parse(fmt.Appendf(nil, text, c.namespace, c.approvers), env)
		if refused := err != nil && strings.Contains(err.Error(), "which others approve"); refused != c.refused || err != nil && !refused {
			t.Errorf("%+v: got %v", c, err)
		}
	}
}
