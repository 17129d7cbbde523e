package kube_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestRefusedManifestsChangeNothing(t *testing.T) {
	cases := []struct {
		name, manifests string
		code            pipeline.ReasonCode
		words           []string
	}{
		{"an object of another namespace", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: kube-system}\n", pipeline.ReasonNotAllowed,
			[]string{"deploy/all.yaml", "ConfigMap x names namespace kube-system"}},
		{"an object of the whole cluster", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: x}\n", pipeline.ReasonManifest,
			[]string{"deploy/all.yaml", "belongs to the whole cluster"}},
		{"a kind that nobody knows", "apiVersion: example.com/v1\nkind: Rocket\nmetadata: {name: x}\n", pipeline.ReasonManifest,
			[]string{"doesn't know Rocket in example.com/v1"}},
		{"a field that is not valid", deployment("shop:1", -1, ""), pipeline.ReasonManifest,
			[]string{"Deployment shop: spec.replicas: ", "greater than or equal to 0"}},
		{"a field that isn't there", strings.Replace(deployment("shop:1", 1, ""), "replicas: 1", "replica: 1", 1), pipeline.ReasonManifest, []string{"no field .spec.replica"}},
		{"a quantity that is none", strings.Replace(deployment("shop:1", 1, ""), `"shop:1"`, `"shop:1", resources: {limits: {cpu: much}}`, 1),
			pipeline.ReasonManifest, []string{"Deployment shop: ", "quantities must match"}},
		{"a selector that doesn't match", strings.Replace(deployment("shop:1", 1, ""), "matchLabels: {app: shop}", "matchLabels: {app: other}", 1),
			pipeline.ReasonManifest, []string{"selector"}},
		{"a file without objects", "", pipeline.ReasonManifest, []string{"holds no Kubernetes objects"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				first := configMap("first", "one")
				if tc.manifests == "" {
					first = ""
				}
				w.commit("aaaa1111", first+"\n---\n"+tc.manifests)
				_, err := w.apply("aaaa1111")
				f := w.permanent(err)
				if f.Code != tc.code || !f.Unchanged {
					t.Errorf("code is %s, unchanged %v: %s", f.Code, f.Unchanged, f.Detail)
				}
				for _, word := range tc.words {
					if !strings.Contains(f.Detail, word) {
						t.Errorf("it says %q, which lacks %q", f.Detail, word)
					}
				}
				if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Get(t.Context(), "first", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					t.Errorf("the first object was applied: %v", err)
				}
			})
		})
	}
}

func TestConflictNamesManagerAndField(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "one")+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", configMap("settings", "two")+deployment("shop:2", 1, ""))
		w.release("aaaa1111")
		patch := []byte(`{"spec":{"replicas":2}}`)
		_, err := w.admin.AppsV1().Deployments(w.namespace).Patch(t.Context(), "shop", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "kubectl-edit"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.apply("bbbb2222")
		f := w.permanent(err)
		if f.Code != pipeline.ReasonConflict || !f.Unchanged || f.Detail != "Deployment shop: kubectl-edit manages .spec.replicas" {
			t.Errorf("got %s, unchanged %v: %s", f.Code, f.Unchanged, f.Detail)
		}
		if value := w.configMap("settings").Data["value"]; value != "one" {
			t.Errorf("the config map was changed to %q before the conflict was found", value)
		}
	})
}

func TestLaterTriesLookWhetherAnEarlierOneChangedSomething(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "one"))
		w.release("aaaa1111")
		patch := []byte(`{"data":{"value":"theirs"}}`)
		if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Patch(t.Context(), "settings", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
			t.Fatal(err)
		}
		w.commit("bbbb2222", configMap("made", "new")+configMap("settings", "two"))
		task := w.task("bbbb2222", pipeline.Apply{Stage: stageName, Attempt: 1, ReleaseID: "r2"})
		task.Attempt, task.Unknown = 2, true
		_, err := w.executor().Execute(w.context(), task)
		if f := w.permanent(err); f.Code != pipeline.ReasonConflict || !f.Unchanged {
			t.Errorf("nothing was applied: got %s, unchanged %v", f.Code, f.Unchanged)
		}
		// As an earlier try of this release would have left it.
		left := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "made", Annotations: map[string]string{deploy.AnnotationRelease: "r2"}}}
		if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Create(t.Context(), left, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		_, err = w.executor().Execute(w.context(), task)
		if f := w.permanent(err); f.Unchanged {
			t.Error("an object of the release is there, and it says that nothing was changed")
		}
	})
}

func TestMissingRightsAreNamed(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		user := "system:serviceaccount:elsewhere:default"
		if w.sim != nil {
			w.sim.AddToken("stranger", []string{"elsewhere"})
			w.options.Kubeconfig = w.sim.KubeconfigFor("stranger", "shop")
		} else {
			who := w.real.User(t, w.namespace, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}})
			w.options.Kubeconfig, user = who.Kubeconfig, who.Name
		}
		w.commit("aaaa1111", deployment("shop:1", 1, ""))
		_, err := w.apply("aaaa1111")
		f := w.permanent(err)
		want := user + " may not patch deployments.apps in namespace " + w.namespace + " of cluster " + w.options.Name
		if f.Code != pipeline.ReasonForbidden || !f.Unchanged || f.Detail != want {
			t.Errorf("got %s, unchanged %v: %s\nwant %s", f.Code, f.Unchanged, f.Detail, want)
		}
		r := pipeline.Release{ID: "r", SHA: "aaaa1111", Delivery: "d"}
		for ref := range w.blobs.data {
			r.Manifests = ref
		}
		_, err = w.observe(w.context(), r)
		if f := w.permanent(err); f.Code != pipeline.ReasonForbidden || !strings.Contains(f.Detail, " may not list ") {
			t.Errorf("observing got %s: %s", f.Code, f.Detail)
		}
	})
}

func TestMissingNamespaceIsNamed(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.namespace = "nowhere"
		w.commit("aaaa1111", deployment("shop:1", 1, ""))
		_, err := w.apply("aaaa1111")
		if f := w.permanent(err); !f.Unchanged || !strings.Contains(f.Detail, "has no namespace nowhere") {
			t.Errorf("got %s, unchanged %v: %s", f.Code, f.Unchanged, f.Detail)
		}
	})
}

func TestAdmissionRefusalIsToldInItsWords(t *testing.T) {
	w := simulated(t)
	w.sim.Faults.RefuseAdmission(w.namespace, "images must be signed")
	w.commit("aaaa1111", deployment("shop:1", 1, ""))
	_, err := w.apply("aaaa1111")
	if f := w.permanent(err); f.Code != pipeline.ReasonRefused || !strings.Contains(f.Detail, "images must be signed") {
		t.Errorf("got %s: %s", f.Code, f.Detail)
	}
}

func TestUnreachableClusterIsTriedAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // it takes connections and never answers
	w := simulated(t)
	w.options.Kubeconfig = []byte(strings.ReplaceAll(string(w.options.Kubeconfig), w.sim.URL(), "https://"+listener.Addr().String()))
	w.options.Timeout = 300 * time.Millisecond
	w.commit("aaaa1111", deployment("shop:1", 1, ""))
	_, err = w.apply("aaaa1111")
	f, ok := pipeline.AsFailure(err)
	if !ok || f.Permanent || f.Code != pipeline.ReasonUnreachable || f.Detail != "cluster sim doesn't answer" {
		t.Errorf("got %#v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = w.executor().Execute(ctx, w.task("aaaa1111", pipeline.Apply{Stage: stageName, Attempt: 1}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after its end the context's error is %v", err)
	}
}

func TestServerErrorsAreTriedAgain(t *testing.T) {
	w := simulated(t)
	w.commit("aaaa1111", deployment("shop:1", 1, ""))
	w.sim.Faults.FailRequests(1000, 500)
	_, err := w.apply("aaaa1111")
	if f, ok := pipeline.AsFailure(err); !ok || f.Permanent || f.Code != pipeline.ReasonUnreachable {
		t.Errorf("got %#v", err)
	}
	w.sim.Faults.FailRequests(0, 0)
	if _, err := w.apply("aaaa1111"); err != nil {
		t.Errorf("after the errors: %v", err)
	}
}

func TestPolicyIsAskedAgainAtRunTime(t *testing.T) {
	w := simulated(t)
	w.commit("aaaa1111", deployment("shop:1", 1, ""))
	r := w.release("aaaa1111")
	w.target = func(context.Context) error {
		return &pipeline.Failure{Code: pipeline.ReasonNotAllowed, Permanent: true, Detail: "no longer"}
	}
	for _, do := range []pipeline.Action{
		pipeline.Apply{Stage: stageName, Attempt: 2}, pipeline.Observe{Stage: stageName, Release: r},
		pipeline.Restore{Stage: stageName, Environment: "production", To: &r},
	} {
		_, err := w.executor().Execute(w.context(), w.task("aaaa1111", do))
		if f := w.permanent(err); f.Code != pipeline.ReasonNotAllowed {
			t.Errorf("%s got %s", do.ActionKind(), f.Code)
		}
	}
}

func TestValuesOfSecretsAreNowhere(t *testing.T) {
	const value = "correcthorsebattery"
	onEachCluster(t, func(t *testing.T, w *world) {
		secrets := []string{
			"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {'not a key': " + value + "}\n",
			"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: " + value + "\ndata: {key: '" + value + "!'}\n",
			"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: " + value + "}\nrocket: " + value + "\n",
		}
		for _, s := range secrets {
			w.commit("aaaa1111", s)
			_, err := w.apply("aaaa1111")
			if err == nil && w.sim != nil {
				continue // it is less strict about Secrets
			}
			if f := w.permanent(err); f.Code != pipeline.ReasonManifest || strings.Contains(f.Error(), value) {
				t.Errorf("got %s: %v", f.Code, f)
			}
		}
		// A crashing container prints what the Secret holds.
		w.commit("bbbb2222", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {host: database}\n"+deployment("shop:crash", 1, ""))
		if f := w.fails("bbbb2222"); !strings.Contains(f.Detail, "panic: connect to [secret]: connection refused") {
			t.Errorf("the log is told as %q", f.Detail)
		}
		if strings.Contains(w.logs.String(), value) {
			t.Error("a value is in our own log")
		}
	})
}

func TestKustomizationWithABaseElsewhereIsApplied(t *testing.T) {
	w := simulated(t)
	w.source["aaaa1111"] = fstest.MapFS{
		"deploy/kustomization.yaml": {Data: []byte("resources: [../base]\nconfigMapGenerator: [{name: settings, literals: [value=one]}]\n")},
		"base/kustomization.yaml":   {Data: []byte("resources: [all.yaml, ../common]\n")},
		"base/all.yaml":             {Data: []byte(deployment("shop:1", 1, ""))},
		"common/kustomization.yaml": {Data: []byte("resources: [sa.yaml]\n")},
		"common/sa.yaml":            {Data: []byte("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: shop}\n")},
	}
	if r := w.release("aaaa1111"); r.Objects != 3 {
		t.Errorf("%d objects were applied", r.Objects)
	}
}

func TestStageSetsImagesAndProgressDeadline(t *testing.T) {
	w := simulated(t)
	w.commit("aaaa1111", deployment("registry.example.com/shop", 1, ""))
	task := w.task("aaaa1111", pipeline.Apply{Stage: stageName, Attempt: 1, ReleaseID: "r"})
	// A stage that was resolved holds instead of the plan's.
	resolved := task.Plan.Stages[0]
	resolved.Deploy = &pipeline.Deploy{
		Environment: "production", Manifests: "deploy", ProgressDeadline: 90 * time.Second,
		Images: map[string]string{"registry.example.com/shop": "v7"},
	}
	task.Delivery.Stages[0].Resolved = &resolved
	if _, err := w.executor().Execute(w.context(), task); err != nil {
		t.Fatal(err)
	}
	d, err := w.admin.AppsV1().Deployments(w.namespace).Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *d.Spec.ProgressDeadlineSeconds != 90 || d.Spec.Template.Spec.Containers[0].Image != "registry.example.com/shop:v7" {
		t.Errorf("deadline is %d, image %s", *d.Spec.ProgressDeadlineSeconds, d.Spec.Template.Spec.Containers[0].Image)
	}
}

func TestClientsNeedAKubeconfigThatMakesSense(t *testing.T) {
	sim := simulated(t)
	good := sim.options.Kubeconfig
	cases := []struct {
		name    string
		options kube.Options
		want    string
	}{
		{"no name", kube.Options{Kubeconfig: good}, "needs a name"},
		{"nothing", kube.Options{Name: "c"}, "one of kubeconfig"},
		{"two", kube.Options{Name: "c", Kubeconfig: good, InCluster: true}, "one of kubeconfig"},
		{"a context that isn't there", kube.Options{Name: "c", Kubeconfig: good, Context: "moon"}, "moon"},
		{"not a kubeconfig", kube.Options{Name: "c", Kubeconfig: []byte("token: [hunter2")}, "not valid"},
		{"an empty one", kube.Options{Name: "c", Kubeconfig: []byte("{}")}, "no contexts"},
		{"a file that isn't there", kube.Options{Name: "c", KubeconfigPath: "/nonexistent"}, "/nonexistent"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, err := kube.New(tc.options)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got error %v, want one that says %q", err, tc.want)
			}
		})
	}
	client, err := kube.New(sim.options)
	if err != nil {
		t.Fatal(err)
	}
	if version, err := client.Ping(t.Context()); err != nil || !strings.HasPrefix(version, "v1.") {
		t.Errorf("version %q, error %v", version, err)
	}
}

var _ deploy.Clusters = (*world)(nil)
