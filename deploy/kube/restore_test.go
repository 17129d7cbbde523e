package kube_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const claim = `
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`

func TestRestoreBringsBackTheRecordedRelease(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "one")+deployment("shop:1", 2, ""))
		w.commit("bbbb2222", configMap("settings", "two")+configMap("extra", "new")+claim+deployment("shop:crash", 2, ""))
		good := w.release("aaaa1111")
		bad := w.mustApply("bbbb2222")
		if _, err := w.observe(w.context(), bad); err == nil {
			t.Fatal("the bad release rolled out")
		}
		foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "foreign"}}
		if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		// Somebody has helped meanwhile, and now manages a field of ours.
		patch := []byte(`{"data":{"value":"three"}}`)
		if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Patch(t.Context(), "settings", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
			t.Fatal(err)
		}

		w.restore("bbbb2222", &good, &bad)
		if _, err := w.observe(w.context(), good); err != nil {
			t.Fatalf("verify: %v", err)
		}
		settings := w.configMap("settings")
		if settings.Data["value"] != "one" || settings.Annotations[deploy.AnnotationRelease] != good.ID || settings.Annotations[deploy.AnnotationDelivery] != good.Delivery {
			t.Errorf("settings are %v of release %s", settings.Data, settings.Annotations[deploy.AnnotationRelease])
		}
		w.wantGone("extra")
		w.configMap("foreign")
		if _, err := w.admin.CoreV1().PersistentVolumeClaims(w.namespace).Get(t.Context(), "data", metav1.GetOptions{}); err != nil {
			t.Errorf("the volume claim: %v", err)
		}
		d, err := w.admin.AppsV1().Deployments(w.namespace).Get(t.Context(), "shop", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if image := d.Spec.Template.Spec.Containers[0].Image; image != "shop:1" {
			t.Errorf("image is %s", image)
		}

		w.restore("bbbb2222", &good, &bad) // again, after an unknown outcome
	})
}

func TestRestoreRemovesWhatAnUnrecordedReleaseBrought(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "one"))
		w.commit("bbbb2222", configMap("settings", "two")+configMap("extra", "new"))
		good := w.release("aaaa1111")
		w.mustApply("bbbb2222") // whose outcome was lost
		w.restore("bbbb2222", &good, nil)
		w.wantGone("extra")
		if value := w.configMap("settings").Data["value"]; value != "one" {
			t.Errorf("settings are %s", value)
		}
	})
}

func TestRestoreLeavesWhatIsNotOurs(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "one"))
		w.commit("bbbb2222", configMap("settings", "one")+configMap("extra", "new"))
		good, bad := w.release("aaaa1111"), w.release("bbbb2222")
		patch := []byte(`{"metadata":{"labels":{"slipway.dev/environment":"staging"}}}`)
		if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Patch(t.Context(), "extra", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		w.restore("bbbb2222", &good, &bad)
		w.configMap("extra")
	})
}

func TestRestoreToNothingRemovesOnlyWhatTheDeliveryMade(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		before := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "before"}, Data: map[string]string{"value": "one"}}
		if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Create(t.Context(), before, metav1.CreateOptions{FieldManager: "kubectl-create"}); err != nil {
			t.Fatal(err)
		}
		w.commit("aaaa1111", configMap("before", "one")+configMap("made", "new")+claim+deployment("shop:crash", 1, ""))
		bad := w.mustApply("aaaa1111")
		if _, err := w.observe(w.context(), bad); err == nil {
			t.Fatal("the bad release rolled out")
		}
		w.restore("aaaa1111", nil, &bad)
		w.wantGone("made")
		w.configMap("before")
		if _, err := w.admin.AppsV1().Deployments(w.namespace).Get(t.Context(), "shop", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the deployment: %v", err)
		}
		if _, err := w.admin.CoreV1().PersistentVolumeClaims(w.namespace).Get(t.Context(), "data", metav1.GetOptions{}); err != nil {
			t.Errorf("the volume claim: %v", err)
		}
	})
}

func TestRestoreSaysWhenItsRecordIsGone(t *testing.T) {
	w := simulated(t)
	_, err := w.executor().Execute(w.context(), w.task("aaaa1111", pipeline.Restore{
		Stage: stageName, Environment: "production", To: &pipeline.Release{ID: "r1", Manifests: "lost"},
	}))
	if err == nil {
		t.Fatal("restored without a record")
	}
}

func (w *world) wantGone(configMap string) {
	w.t.Helper()
	_, err := w.admin.CoreV1().ConfigMaps(w.namespace).Get(w.t.Context(), configMap, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		w.t.Errorf("config map %s is still there: %v", configMap, err)
	}
}
