package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim"
)

func TestPlanSaysWhatADeliveryWouldChange(t *testing.T) {
	t.Parallel()
	sim := simulatedCluster(t)
	rest, err := clientcmd.RESTConfigFromKubeConfig(sim.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	// Its tokens are on the server only.
	operator := write(t, "slipway.yml", "gitlab: {url: https://gitlab.example.com, token: \"${NOT_SET_HERE}\", secret_tokens_file: /does/not/exist}\n"+
		"clusters: [{name: main, kubeconfig: "+write(t, "kubeconfig", string(sim.Kubeconfig()))+"}]\n"+
		"environments: [{name: production, projects: [shop/*], cluster: main, namespace: shop}]\n"+
		"slack: {token: \"${NOT_SET_HERE}\", signing_secret_file: /does/not/exist, channel: \"#shop\"}\n"+
		"metrics_sources: [{name: numbers, prometheus: {url: \"https://prometheus.example.com\", token: \"${NOT_SET_HERE}\"}}]\n"+
		"triggers: [{projects: [shop/*], refs: [docs]}]\n")
	dir := t.TempDir()
	put := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const file = "version: 1\napplication: shop\nstages:\n- name: live\n  deploy: {environment: production, manifests: deploy}\n" +
		"  check:\n  - metric: {source: numbers, query: up, min: 1}\n- name: docs\n  trigger: {ref: docs}\n- name: tell\n  notify: {text: Done}\n"
	const sha = "2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a"
	put(".slipway.yml", file)
	put("deploy/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: one}\n")
	plan := func(wantCode int, want string, more ...string) {
		t.Helper()
		out, code := slipway(t, "", append([]string{"plan", "-c", operator, "--project", "shop/web", "--ref-sha", sha, dir}, more...)...)
		if code != wantCode || !strings.Contains(out, want) {
			t.Errorf("%v: exit %d and\n%s\nwant exit %d and\n%s", more, code, out, wantCode, want)
		}
	}
	const head = "live → production (cluster main, namespace shop)"
	plan(2, head+":\n  create ConfigMap settings\n")
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"a": "one"}}
	_, err = kubernetes.NewForConfigOrDie(rest).CoreV1().ConfigMaps("shop").Create(t.Context(), settings, metav1.CreateOptions{FieldManager: "slipway"})
	if err != nil {
		t.Fatal(err)
	}
	plan(0, head+": nothing would change\n")
	put("deploy/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: one, b: two}\n")
	plan(2, head+":\n  change ConfigMap settings\n      data.b: + \"two\"\n")
	plan(1, "slipway: no stage deploys to staging\n", "--environment", "staging")
	plan(1, "project other/web may not deploy anywhere", "--project", "other/web")
	put("deploy/a.yaml", "apiVersion: v1\nkind: ConfigMap\n")
	plan(1, head+": deploy/a.yaml:1: ConfigMap has no metadata\n")
	put(".slipway.yml", strings.Replace(file, "manifests", "manifest", 1))
	plan(1, "did you mean manifests?")
	if err := sim.Close(); err != nil {
		t.Fatal(err)
	}
	put(".slipway.yml", file)
	put("deploy/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n")
	plan(1, head+": cluster main doesn't answer\n")
}

func simulatedCluster(t *testing.T) *kubesim.Sim {
	t.Helper()
	sim, err := kubesim.New(kubesim.Options{Namespaces: []string{"shop"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return sim
}

func TestPlanOfTheExampleChart(t *testing.T) {
	t.Parallel()
	operator := write(t, "slipway.yml", "clusters: [{name: main, kubeconfig: "+write(t, "kubeconfig", string(simulatedCluster(t).Kubeconfig()))+"}]\n"+
		"environments: [{name: staging, projects: [shop/*], cluster: main, namespace: shop}, {name: production, projects: [shop/*], cluster: main, namespace: shop}]\n")
	out, code := slipway(t, "", "plan", "-c", operator, "--project", "shop/web", "--ref-sha", strings.Repeat("2a", 20), "../../examples/helm")
	want := `staging → staging (cluster main, namespace shop):
  create ConfigMap shop
  create Service shop
  create Deployment shop
production → production (cluster main, namespace shop):
  create ConfigMap shop
  create Service shop
  create Deployment shop
  create Ingress shop
`
	if code != 2 || out != want {
		t.Errorf("exit %d and\n%s\nwant\n%s", code, out, want)
	}
}

func TestPlanOfAReviewSaysWhichHostItMayNotClaim(t *testing.T) {
	t.Parallel()
	operator := write(t, "slipway.yml", "clusters: [{name: main, kubeconfig: "+write(t, "kubeconfig", string(simulatedCluster(t).Kubeconfig()))+"}]\n"+
		"environments: [{name: review/*, projects: [shop/*], cluster: main, namespace: shop, review: true, hosts: ['mr-12.review.example.com']}]\n")
	plan := func(review string) (string, int) {
		return slipway(t, "", "plan", "-c", operator, "--project", "shop/web", "--ref-sha", strings.Repeat("2a", 20), "--review", review, "../../examples/review")
	}
	if out, code := plan("12"); code != 2 || !strings.Contains(out, "create Ingress shop-review-mr-12-") {
		t.Errorf("its own host: exit %d and\n%s", code, out)
	}
	if out, code := plan("13"); code != 1 || !strings.Contains(out, `claims the host "mr-13.review.example.com", and a review environment such as review/mr-13 may not (the operator's hosts of this environment are mr-12.review.example.com;`) {
		t.Errorf("another's host: exit %d and\n%s", code, out)
	}
}
