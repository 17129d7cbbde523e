package kube

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

func TestCommonSelectorCoversAllWorkloads(t *testing.T) {
	workload := func(match map[string]any) manifest.Object {
		return manifest.Object{Unstructured: &unstructured.Unstructured{Object: map[string]any{
			"spec": map[string]any{"selector": map[string]any{"matchLabels": match}},
		}}}
	}
	cases := []struct {
		name      string
		workloads []manifest.Object
		want      string
	}{
		{"one", []manifest.Object{workload(map[string]any{"app": "shop", "part": "web"})}, "app in (shop),part in (web)"},
		{"two that share a label", []manifest.Object{workload(map[string]any{"app": "shop", "part": "web"}), workload(map[string]any{"app": "shop", "part": "db"})},
			"app in (shop),part in (db,web)"},
		{"two that share a key", []manifest.Object{workload(map[string]any{"app": "web", "x": "y"}), workload(map[string]any{"app": "db"})}, "app in (db,web)"},
		{"two that share nothing", []manifest.Object{workload(map[string]any{"app": "web"}), workload(map[string]any{"name": "db"})}, ""},
		{"one without a selector", []manifest.Object{workload(map[string]any{"app": "web"}), workload(nil)}, ""},
		{"one with a value that is no label", []manifest.Object{workload(map[string]any{"app": "a b"})}, ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if got := commonSelector(tc.workloads); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestPodsAreThoseOfTheNewestRevision(t *testing.T) {
	const revision = "deployment.kubernetes.io/revision"
	yes := true
	owned := func(kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID("uid-" + name), Controller: &yes}}
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{UID: "uid-d", Annotations: map[string]string{revision: "2"}, Generation: 2}}
	d.Status.ObservedGeneration = 2
	set := func(name, number string) *appsv1.ReplicaSet {
		return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID("uid-" + name), OwnerReferences: owned("Deployment", "d"),
			Annotations: map[string]string{revision: number}, Labels: map[string]string{"pod-template-hash": name},
		}}
	}
	pod := func(name, set, hash string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: owned("ReplicaSet", set), Labels: map[string]string{"pod-template-hash": hash}}}
	}
	sets := []*appsv1.ReplicaSet{set("old", "1"), set("new", "2")}
	pods := []*corev1.Pod{pod("b", "new", "new"), pod("a", "new", "new"), pod("c", "old", "old"), pod("d", "other", "new"), pod("e", "new", "else")}
	got := podsOfDeployment(d, sets, pods)
	if len(got) != 2 || got[0].Name != "a" || got[1].Name != "b" {
		t.Errorf("got %v", got)
	}
	d.Generation = 3
	if got := podsOfDeployment(d, sets, pods); len(got) != 0 {
		t.Errorf("before the change is noticed: %v", got)
	}
}

func TestClaimsHoldOnlyForOurObjects(t *testing.T) {
	owner := deploy.Owner{Project: 7, Environment: "production"}
	live := func(change func(*unstructured.Unstructured)) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{}}
		o.SetLabels(owner.Labels())
		o.SetAnnotations(map[string]string{deploy.AnnotationDelivery: "d1"})
		o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "slipway"}, {Manager: "kube-controller-manager", Subresource: "status"}})
		change(o)
		return o
	}
	alone := deploy.Claim{Owner: owner, Delivery: "d1", Alone: true}
	cases := []struct {
		name   string
		claim  deploy.Claim
		change func(*unstructured.Unstructured)
		want   bool
	}{
		{"ours", alone, func(*unstructured.Unstructured) {}, true},
		{"another environment's", alone, func(o *unstructured.Unstructured) {
			l := o.GetLabels()
			l[deploy.LabelEnvironment] = "staging"
			o.SetLabels(l)
		}, false},
		{"without labels", alone, func(o *unstructured.Unstructured) { o.SetLabels(nil) }, false},
		{"another delivery's", alone, func(o *unstructured.Unstructured) {
			o.SetAnnotations(map[string]string{deploy.AnnotationDelivery: "d2"})
		}, false},
		{"another delivery's, if any may go", deploy.Claim{Owner: owner}, func(o *unstructured.Unstructured) { o.SetAnnotations(nil) }, true},
		{"also managed by somebody else", alone, func(o *unstructured.Unstructured) {
			o.SetManagedFields(append(o.GetManagedFields(), metav1.ManagedFieldsEntry{Manager: "helm"}))
		}, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if got := holds(tc.claim, live(tc.change)); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestLogsAreSplitIntoTheirLastLines(t *testing.T) {
	if got := strings.Join(splitLog("one\r\n\n \ntwo\nthree", 2), "|"); got != "two|three" {
		t.Errorf("got %q", got)
	}
	if got := splitLog("", 2); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}
