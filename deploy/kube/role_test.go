package kube_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// documentedRole is the role that operators are told to make.
func documentedRole(t *testing.T) rbacv1.Role {
	t.Helper()
	page, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(page), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		var role rbacv1.Role
		if err := yaml.UnmarshalStrict([]byte(block), &role); err == nil && role.Kind == "Role" {
			return role
		}
	}
	t.Fatal("docs/kubernetes.md has no Role")
	return rbacv1.Role{}
}

// rights are single ones, such as "get pods".
func rights(rules []rbacv1.PolicyRule) []string {
	var out []string
	for _, r := range rules {
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				for _, verb := range r.Verbs {
					out = append(out, strings.TrimSuffix(verb+" "+resource+"."+group, "."))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestDocumentedRoleIsWhatTheDoctorAsksFor(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(rights(rules(t, everything)), rights(documentedRole(t).Rules)); diff != "" {
		t.Errorf("needs.go (-) and docs/kubernetes.md (+):\n%s", diff)
	}
}

func TestDocumentedRoleIsEnough(t *testing.T) {
	t.Parallel()
	w := realOne(t)
	w.options.Kubeconfig = w.real.User(t, w.namespace, documentedRole(t).Rules...).Kubeconfig
	const rest = `
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: shop}
---
apiVersion: v1
kind: Secret
metadata: {name: shop}
stringData: {key: value}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec: {schedule: "0 3 * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: app, image: "shop:1"}]}}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec: {defaultBackend: {service: {name: shop, port: {number: 80}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: shop}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: shop}
spec: {minAvailable: 1, selector: {matchLabels: {app: shop}}}
`
	w.commit("aaaa1111", configMap("settings", "one")+deployment("shop:1", 2, ""))
	w.commit("bbbb2222", configMap("settings", "two")+deployment("shop:crash", 2, "")+rest+claim)
	good := w.release("aaaa1111")
	bad := w.mustApply("bbbb2222")
	_, err := w.observe(w.context(), bad)
	if f := w.permanent(err); f.Code != pipeline.ReasonCrashLoop || !strings.Contains(f.Detail, "panic: ") {
		t.Errorf("got %s: %s", f.Code, f.Detail)
	}
	w.restore("bbbb2222", &good, &bad)
	if _, err := w.observe(w.context(), good); err != nil {
		t.Errorf("verify: %v", err)
	}
}

func TestDocumentedRoleIsEnoughToMoveTraffic(t *testing.T) {
	t.Parallel()
	w := realOne(t)
	w.options.Kubeconfig = w.real.User(t, w.namespace, documentedRole(t).Rules...).Kubeconfig
	w.deploy.Strategy, w.deploy.Prune = pipeline.StrategyBlueGreen, pipeline.PruneVolumes
	w.kubectl(service + deployment("shop:0", 1, "") + autoscaler)
	w.awaitAvailable("shop", 1)
	w.route(httpRoute, "True")
	w.commit("aaaa1111", claim+service+deployment("shop:1", 1, "")+autoscaler+budget)
	w.commit("bbbb2222", service+deployment("shop:2", 1, "")+autoscaler+budget)
	w.commit("cccc3333", migrate("migrate", "migrate:1", ""))
	one := w.deliver("aaaa1111", nil)
	w.deploy.Traffic = &pipeline.Traffic{HTTPRoute: "shop"}
	two := w.release("bbbb2222")
	w.switchTo(two, &one)
	w.restore("bbbb2222", &one, &two)
	w.retire(one, &two)
	two = w.deliver("bbbb2222", &one)
	if err := w.admin.AppsV1().Deployments(w.namespace).Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err) // it was kubectl's, who wouldn't let it be taken over
	}
	w.deploy = pipeline.Deploy{}
	w.deliver("aaaa1111", &two)
	w.run = &pipeline.Run{Environment: "production", Manifests: "deploy"}
	if out, err := w.runStage(w.context(), "cccc3333", 1); err != nil || !out.Passed {
		t.Errorf("the job: %+v, %v", out, err)
	}
	w.must("cccc3333", pipeline.StopJob{Stage: stageName, Attempt: 1})
}
