package kube_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// review lets what follows be of a review with this slug.
func (w *world) review(slug string) { w.environment, w.slug = "review/"+slug, slug }

// tearDown removes the environment, as often as the engine would try.
func (w *world) tearDown(sha string, releases ...pipeline.Release) pipeline.TornDown {
	w.t.Helper()
	ctx := w.context()
	for {
		event, err := w.executor().Execute(ctx, w.task(sha, pipeline.TearDown{Stage: stageName, Attempt: 1, Environment: w.environment, Releases: releases}))
		if err == nil {
			torn, ok := event.(pipeline.TornDown)
			if !ok {
				w.t.Fatalf("the removal gave %#v", event)
			}
			return torn
		}
		f, ok := pipeline.AsFailure(err)
		if !ok || f.Permanent || !strings.Contains(f.Detail, "is still being removed") {
			w.t.Fatalf("remove the environment: %v", err)
		}
		again := time.NewTimer(50 * time.Millisecond)
		select {
		case <-again.C:
		case <-ctx.Done():
			w.t.Fatalf("remove the environment: %v", err)
		}
	}
}

// names are what the namespace holds of the kinds that the tests use, but for what the cluster puts there.
func (w *world) names() []string {
	w.t.Helper()
	var names []string
	add := func(kind, name string, err error) {
		if err != nil {
			w.t.Fatal(err)
		}
		if name != "kube-root-ca.crt" && name != "" {
			names = append(names, kind+" "+name)
		}
	}
	ctx, all := w.context(), metav1.ListOptions{}
	maps, err := w.admin.CoreV1().ConfigMaps(w.namespace).List(ctx, all)
	for i := range maps.Items {
		add("ConfigMap", maps.Items[i].Name, nil)
	}
	add("", "", err)
	claims, err := w.admin.CoreV1().PersistentVolumeClaims(w.namespace).List(ctx, all)
	for i := range claims.Items {
		add("PersistentVolumeClaim", claims.Items[i].Name, nil)
	}
	add("", "", err)
	services, err := w.admin.CoreV1().Services(w.namespace).List(ctx, all)
	for i := range services.Items {
		add("Service", services.Items[i].Name, nil)
	}
	add("", "", err)
	deployments, err := w.admin.AppsV1().Deployments(w.namespace).List(ctx, all)
	for i := range deployments.Items {
		add("Deployment", deployments.Items[i].Name, nil)
	}
	add("", "", err)
	slices.Sort(names)
	return names
}

func (w *world) put(name string, labels map[string]string) {
	w.t.Helper()
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Create(w.context(), o, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func TestReviewsShareANamespaceAndGoOneByOne(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		const files = `
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80}]}
`
		w.commit("aaaa1111", configMap("settings", "one")+claim+files+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", configMap("settings", "two")+configMap("extra", "new")+claim+files+deployment("shop:2", 1, ""))
		w.review("two")
		w.release("aaaa1111")
		w.review("one")
		first := w.release("aaaa1111")
		second := w.release("bbbb2222")

		// What nobody recorded, because a deploy failed half-way; a claim that a StatefulSet made; and what is not ours.
		owner := deploy.Owner{Project: 7, Environment: "review/one"}
		w.put("half-way-one", owner.Labels())
		w.put("foreign", map[string]string{deploy.LabelManagedBy: "somebody"})
		owner.Project = 8
		w.put("of-another-project", owner.Labels())
		volume := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data-db-one-0", Labels: map[string]string{manifest.LabelReview: "one"}}}
		volume.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
		volume.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
		if _, err := w.admin.CoreV1().PersistentVolumeClaims(w.namespace).Create(w.context(), volume, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}

		if removed := w.tearDown("bbbb2222", first, second).Removed; len(removed) > 0 && slices.Contains(removed, "ConfigMap foreign") {
			t.Errorf("removed %v", removed)
		}
		want := []string{
			"ConfigMap foreign", "ConfigMap of-another-project", "ConfigMap settings-two", "Deployment shop-two",
			"PersistentVolumeClaim data-two", "Service shop-two",
		}
		if got := w.names(); !slices.Equal(got, want) {
			t.Errorf("left are %v, want %v", got, want)
		}
		if d, err := w.admin.AppsV1().Deployments(w.namespace).Get(w.context(), "shop-two", metav1.GetOptions{}); err != nil || d.Status.AvailableReplicas != 1 {
			t.Errorf("the other review: %d pods are available, %v", d.Status.AvailableReplicas, err)
		}

		// Once more, as after a kill: there is nothing to do. And another release comes up afterwards.
		if removed := w.tearDown("bbbb2222", first, second).Removed; len(removed) > 0 {
			t.Errorf("removed once more: %v", removed)
		}
		w.release("aaaa1111")
		w.tearDown("aaaa1111") // by its labels alone
		if got := w.names(); !slices.Equal(got, want) {
			t.Errorf("left are %v, want %v", got, want)
		}
	})
}

func TestARemovalDoesNotGuessWhatIsRecorded(t *testing.T) {
	w := simulated(t)
	w.review("one")
	w.commit("aaaa1111", configMap("settings", "one"))
	r := w.mustApply("aaaa1111")
	r.Manifests = "lost"
	if _, err := w.executor().Execute(w.context(), w.task("aaaa1111", pipeline.TearDown{Stage: stageName, Attempt: 1, Environment: w.environment, Releases: []pipeline.Release{r}})); err == nil {
		t.Error("what a release consists of is lost, and nobody hears of it")
	}
	if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Get(w.context(), "settings-one", metav1.GetOptions{}); apierrors.IsNotFound(err) {
		t.Error("it was removed all the same")
	}
}
