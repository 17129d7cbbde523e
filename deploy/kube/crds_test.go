package kube_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// definition defines the kind Rocket in a group of its own, whose objects have these fields. There is one, with
// the last of them.
func definition(group string, fields ...string) string {
	typed := make([]string, len(fields))
	for i, f := range fields {
		typed[i] = f + ": {type: string}"
	}
	return fmt.Sprintf(`
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rockets.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {kind: Rocket, plural: rockets}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {%[2]s}}}}}
---
apiVersion: %[1]s/v1
kind: Rocket
metadata: {name: one}
spec: {%[3]s: x}
`, group, strings.Join(typed, ", "), fields[len(fields)-1])
}

// documentedClusterRole is what operators are told to add where definitions are allowed.
func documentedClusterRole(t *testing.T) []rbacv1.PolicyRule {
	t.Helper()
	page, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(page), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		var role rbacv1.ClusterRole
		if err := yaml.UnmarshalStrict([]byte(block), &role); err == nil && role.Kind == "ClusterRole" {
			return role.Rules
		}
	}
	t.Fatal("docs/kubernetes.md has no ClusterRole")
	return nil
}

func TestDefinitionsComeBeforeTheirObjectsAndStay(t *testing.T) {
	t.Parallel()
	w := realOne(t)
	group := w.namespace + ".example.com"
	user := w.real.User(t, w.namespace, append(documentedRole(t).Rules, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{"*"}, Verbs: []string{"*"}})...)
	role, err := w.admin.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}, Rules: documentedClusterRole(t)}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user.Name}},
	}
	if _, err := w.admin.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.options.Kubeconfig = user.Kubeconfig

	w.commit("aaaa1111", configMap("settings", "one"))
	w.commit("bbbb2222", configMap("settings", "two")+definition(group, "fuel"))
	w.commit("cccc3333", configMap("settings", "three")+definition(group, "fuel", "crew"))
	_, err = w.apply("bbbb2222")
	if f := w.permanent(err); f.Code != pipeline.ReasonNotAllowed || !f.Unchanged || !strings.Contains(f.Detail, "an operator can allow it") {
		t.Errorf("without the operator's word: %s: %s", f.Code, f.Detail)
	}
	w.crds = true
	first := w.release("aaaa1111")
	if got, want := w.preview("bbbb2222", ""), "create CustomResourceDefinition rockets."+group+"\nchange ConfigMap settings\n    data.value: \"one\" → \"two\"\ncreate Rocket one"; got != want {
		t.Errorf("preview is\n%s\nwant\n%s", got, want)
	}
	second := w.release("bbbb2222")
	third := w.release("cccc3333") // its object needs the new form of the definition
	w.restore("cccc3333", &second, &third)
	w.restore("bbbb2222", &first, &second)

	config, err := clientcmd.RESTConfigFromKubeConfig(w.real.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client := dynamic.NewForConfigOrDie(config)
	crds := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	live, err := crds.Get(t.Context(), "rockets."+group, metav1.GetOptions{})
	if err != nil {
		t.Fatalf("the definition is gone: %v", err)
	}
	if text := fmt.Sprint(live.Object["spec"]); !strings.Contains(text, "crew") {
		t.Errorf("the rollback changed the definition to %s", text)
	}
	rockets, err := client.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: "rockets"}).Namespace(w.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(rockets.Items) != 0 {
		t.Errorf("%d rockets are left, error %v", len(rockets.Items), err)
	}
	if err := crds.Delete(t.Context(), live.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

func TestManyObjectsAreAppliedAtTheSameTime(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		var all strings.Builder
		for i := range 200 {
			all.WriteString(configMap(fmt.Sprintf("c%03d", i), "x"))
		}
		w.commit("aaaa1111", all.String())
		began := time.Now()
		if r := w.mustApply("aaaa1111"); r.Objects != 200 {
			t.Errorf("%d objects", r.Objects)
		}
		t.Logf("200 objects checked and applied in %v", time.Since(began).Round(time.Millisecond))
		list, err := w.admin.CoreV1().ConfigMaps(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "slipway.dev/environment=production"})
		if err != nil || len(list.Items) != 200 {
			t.Errorf("%d config maps, error %v", len(list.Items), err)
		}
	})
}
