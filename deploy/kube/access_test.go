package kube_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// rules are the needs as a Role has them, without those that keep refuses.
func rules(t *testing.T, keep func(kube.Need) bool) []rbacv1.PolicyRule {
	t.Helper()
	needs := slices.DeleteFunc(kube.Needs(), func(n kube.Need) bool { return !keep(n) })
	var out []rbacv1.PolicyRule
	if err := yaml.UnmarshalStrict([]byte(strings.Join(kube.RoleRules(needs), "\n")), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func everything(kube.Need) bool { return true }

func without(resource string) func(kube.Need) bool {
	return func(n kube.Need) bool { return n.Resource != resource }
}

// account makes a service account that may do this in the world's namespace, and gives its name.
func (w *world) account(rules []rbacv1.PolicyRule) string {
	w.t.Helper()
	if w.sim != nil {
		w.sim.AddAccount(kubesim.Account{Namespace: w.namespace, Name: "deployer", Namespaces: []string{w.namespace}, Rules: rules})
		return "deployer"
	}
	full := w.real.User(w.t, w.namespace, rules...).Name
	return full[strings.LastIndex(full, ":")+1:]
}

// slipway makes the account that Slipway itself uses, with these rights alone.
func (w *world) slipway(rules ...rbacv1.PolicyRule) {
	w.t.Helper()
	if w.sim != nil {
		w.sim.AddAccount(kubesim.Account{Namespace: "slipway", Name: "slipway", Token: "slipways-own", Namespaces: []string{w.namespace}, Rules: rules})
		w.options.Kubeconfig = w.sim.KubeconfigFor("slipways-own", w.namespace)
		return
	}
	w.options.Kubeconfig = w.real.User(w.t, w.namespace, rules...).Kubeconfig
}

// impersonates is all that Slipway's own account needs where an environment has an account.
func impersonates(account string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"impersonate"}, ResourceNames: []string{account}}
}

func (w *world) client() *kube.Namespace {
	w.t.Helper()
	c, err := kube.New(w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.Namespace(w.namespace)
}

const secret = "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: key}\nstringData: {value: hush}\n"

func TestAnEnvironmentsAccountHoldsItToTheClustersRules(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		account := w.account(rules(t, without("secrets")))
		w.slipway(impersonates(account))
		w.options.As = kube.ServiceAccount{Namespace: w.namespace, Name: account}
		w.commit("aaaa1111", configMap("settings", "one")+deployment("shop:1", 1, ""))
		w.release("aaaa1111")
		w.commit("bbbb2222", configMap("settings", "two")+secret+deployment("shop:2", 1, ""))
		_, err := w.apply("bbbb2222")
		f := w.permanent(err)
		want := "system:serviceaccount:" + w.namespace + ":" + account + " may not patch secrets in namespace " + w.namespace + " of cluster " + w.options.Name
		if f.Code != pipeline.ReasonForbidden || !f.Unchanged || f.Detail != want {
			t.Errorf("got %s, unchanged %v: %s\nwant %s", f.Code, f.Unchanged, f.Detail, want)
		}
		if got := w.configMap("settings").Data["value"]; got != "one" {
			t.Errorf("the config map has %q by now", got)
		}
		w.options.As = kube.ServiceAccount{}
		_, err = w.apply("aaaa1111")
		if f := w.permanent(err); f.Code != pipeline.ReasonForbidden || strings.Contains(f.Detail, account) {
			t.Errorf("Slipway's own account: got %s: %s", f.Code, f.Detail)
		}
	})
}

func TestAnAccountThatSlipwayMayNotUseIsRefusedInWords(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		account := w.account(rules(t, everything))
		w.slipway(impersonates("another"))
		w.options.As = kube.ServiceAccount{Namespace: w.namespace, Name: account}
		w.commit("aaaa1111", deployment("shop:1", 1, ""))
		_, err := w.apply("aaaa1111")
		f := w.permanent(err)
		want := "may not act as service account " + account + " in namespace " + w.namespace + " of cluster " + w.options.Name + "; its own account needs the verb impersonate on it"
		if f.Code != pipeline.ReasonForbidden || !strings.HasSuffix(f.Detail, want) {
			t.Errorf("got %s: %s\nwant … %s", f.Code, f.Detail, want)
		}
	})
}

func TestAccessSaysWhatIsMissing(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		given := rules(t, func(n kube.Need) bool {
			return n.Resource != "secrets" && n.Resource != "pods/log" && n.Resource != "pods"
		})
		given = append(given, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}},
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"*"}, ResourceNames: []string{"one"}})
		w.slipway(given...)
		missing, err := w.client().Access(w.context(), kube.Needs())
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			`- {apiGroups: [""], resources: [secrets], verbs: [get, create, patch, delete]}`,
			`- {apiGroups: [""], resources: [pods], verbs: [list, watch]}`,
			`- {apiGroups: [""], resources: [pods/log], verbs: [get]}`,
		}
		if diff := cmp.Diff(want, kube.RoleRules(missing)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAccessIsAskedForOneByOneWhereRulesCannotBeListed(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	w.sim.AddAccount(kubesim.Account{
		Namespace: "slipway", Name: "slipway", Token: "own", Namespaces: []string{w.namespace}, Unlisted: true,
		Rules: append(rules(t, without("pods/log")), rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}),
	})
	w.options.Kubeconfig = w.sim.KubeconfigFor("own", w.namespace)
	missing, err := w.client().Access(w.context(), kube.Needs())
	if diff := cmp.Diff([]string{`- {apiGroups: [""], resources: [pods/log], verbs: [get]}`}, kube.RoleRules(missing)); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestAccessIsTheAccounts(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		account := w.account(rules(t, everything))
		w.slipway(impersonates(account))
		w.options.As = kube.ServiceAccount{Namespace: w.namespace, Name: account}
		missing, err := w.client().Access(w.context(), kube.Needs())
		if err != nil || len(missing) > 0 {
			t.Errorf("missing %v, %v", missing, err)
		}
	})
}

func TestAnAdministratorLacksNothing(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		missing, err := w.client().Access(w.context(), kube.Needs())
		if err != nil || len(missing) > 0 {
			t.Errorf("missing %v, %v", missing, err)
		}
	})
}

func TestWhetherANamespaceExists(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		is := func(want string) {
			t.Helper()
			exists, known, err := w.client().Exists(w.context())
			got := map[[2]bool]string{{true, true}: "there", {false, true}: "gone", {false, false}: "hidden"}[[2]bool{exists, known}]
			if err != nil || got != want {
				t.Errorf("%s is %s, %v; want %s", w.namespace, got, err, want)
			}
		}
		is("there")
		there := w.namespace
		w.namespace = "no-such-namespace"
		is("gone")
		w.namespace = there
		w.slipway(rules(t, everything)...)
		is("hidden")
	})
}

func TestConditionOfACluster(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		got, err := w.client().Condition(w.context())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(got.Version, "v1.") || got.Skew.Abs() > 5*time.Second {
			t.Errorf("got %+v", got)
		}
		if w.sim != nil && !got.HTTPRoutes {
			t.Error("HTTPRoutes are not served")
		}
	})
}

// TestAClusterWithoutTheGatewayAPI is not parallel, so it runs before the tests that define the API in the shared cluster.
func TestAClusterWithoutTheGatewayAPI(t *testing.T) {
	w := realOne(t)
	is := func(want bool) {
		t.Helper()
		if got, err := w.client().Condition(w.context()); err != nil || got.HTTPRoutes != want {
			t.Errorf("HTTPRoutes are served: %v, %v", got.HTTPRoutes, err)
		}
	}
	if !w.real.External {
		is(false)
	}
	w.real.GatewayAPI(t)
	is(true)
}

// TestAClusterBehindAProxy reaches a cluster by an address and a token, as GitLab's agent server is.
func TestAClusterBehindAProxy(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	const bearer = "pat:12:glpat-secret"
	var mu sync.Mutex
	var asked []string
	proxy := proxy(t, "/k8s-proxy", func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.URL.Path)
		return r.Header.Get("Authorization") == "Bearer "+bearer
	}, w.sim)
	w.options = kube.Options{Name: "far", Server: proxy + "/k8s-proxy", BearerToken: bearer, Timeout: 5 * time.Second}
	w.commit("aaaa1111", configMap("settings", "one")+deployment("shop:1", 1, ""))
	w.release("aaaa1111")
	got, err := w.client().Condition(w.context())
	if err != nil || got.Version == "" {
		t.Errorf("got %+v, %v", got, err)
	}
	mu.Lock()
	if !slices.Contains(asked, "/k8s-proxy/version") {
		t.Errorf("asked %v", asked)
	}
	mu.Unlock()
	w.options.BearerToken = "pat:12:wrong"
	_, err = w.client().Condition(w.context())
	if f, ok := pipeline.AsFailure(err); !ok || f.Detail != "cluster far doesn't accept Slipway's credentials" {
		t.Errorf("with a wrong token: %v", err)
	}
}

func TestTheServiceAccountHasItsGroups(t *testing.T) {
	t.Parallel()
	w := realOne(t)
	// A right that only the group of the namespace's service accounts has, and the account itself has not.
	ctx, meta := w.context(), metav1.ObjectMeta{Name: "by-group"}
	if _, err := w.admin.RbacV1().Roles(w.namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"list", "watch"}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.admin.RbacV1().RoleBindings(w.namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "by-group"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "system:serviceaccounts:" + w.namespace}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.admin.CoreV1().ServiceAccounts(w.namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "plain"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.slipway(impersonates("plain"))
	w.options.As = kube.ServiceAccount{Namespace: w.namespace, Name: "plain"}
	events := slices.DeleteFunc(kube.Needs(), func(n kube.Need) bool { return n.Resource != "events" })
	missing, err := w.client().Access(ctx, events)
	if err != nil || len(missing) > 0 {
		t.Errorf("missing %v, %v", missing, err)
	}
}

// proxy forwards what is below a path to a simulated cluster as its administrator, if allowed says so.
func proxy(t *testing.T, below string, allowed func(*http.Request) bool, sim *kubesim.Sim) string {
	t.Helper()
	server := httptest.NewServer(http.StripPrefix(below, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		whole := r.Clone(r.Context())
		whole.URL.Path = below + r.URL.Path
		if !allowed(whole) {
			http.Error(rw, "unauthorized", http.StatusUnauthorized)
			return
		}
		r.Header.Set("Authorization", "Bearer "+sim.Token())
		sim.Handler().ServeHTTP(rw, r)
	})))
	t.Cleanup(server.Close)
	return server.URL
}
