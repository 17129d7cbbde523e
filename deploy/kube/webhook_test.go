package kube_test

import (
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	reviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const webhookName = "sign.example.com"

// webhook lets the cluster ask a webhook about such objects of the namespace until the returned function is called.
func (w *world) webhook(url string, authority []byte, resources ...string) (end func()) {
	w.t.Helper()
	fail, none, name := admissionv1.Fail, admissionv1.SideEffectClassNone, "kube-test-"+w.namespace
	hooks := w.admin.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err := hooks.Create(w.t.Context(), &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: webhookName, FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      admissionv1.WebhookClientConfig{URL: &url, CABundle: authority},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: resources},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = hooks.Delete(w.detached(), name, metav1.DeleteOptions{}) }) // it may be gone already
	return func() {
		if err := hooks.Delete(w.t.Context(), name, metav1.DeleteOptions{}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// denying is a webhook that denies everything.
func denying(t *testing.T, message string) (url string, authority []byte) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		review := &reviewv1.AdmissionReview{}
		if err := json.NewDecoder(r.Body).Decode(review); err != nil || review.Request == nil {
			http.Error(rw, "no review", http.StatusBadRequest)
			return
		}
		review.Response = &reviewv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Message: message}}
		_ = json.NewEncoder(rw).Encode(review) // the API server may have gone
	}))
	t.Cleanup(server.Close)
	return server.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func TestAWebhookThatDenies(t *testing.T) {
	t.Parallel()
	t.Run("a Deployment", func(t *testing.T) {
		w := realOne(t)
		w.commit("aaaa1111", deployment("shop:1", 1, ""))
		url, authority := denying(t, "images must be signed")
		w.webhook(url, authority, "deployments")
		var err error
		w.await("the webhook", func() bool { _, err = w.apply("aaaa1111"); return err != nil })
		w.wants(err, pipeline.ReasonRefused, "Deployment shop", webhookName, "images must be signed")
	})
	t.Run("pods", func(t *testing.T) {
		w := realOne(t)
		w.patience = deploy.Patience{Refused: 300 * time.Millisecond}
		url, authority := denying(t, "images must be signed")
		w.webhook(url, authority, "pods")
		w.await("the webhook", func() bool {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}}}
			_, err := w.admin.CoreV1().Pods(w.namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err != nil
		})
		w.commit("aaaa1111", deployment("shop:1", 1, ""))
		w.wants(w.fails("aaaa1111"), pipeline.ReasonRefused, "deployment shop can't make pods", "images must be signed")
		w.run = &pipeline.Run{Environment: "production", Image: "tool:1"}
		_, err := w.runJob(1)
		w.wants(err, pipeline.ReasonRefused, "can't make pods", "images must be signed")
	})
}

// TestAWebhookThatCanNotBeAsked is named, and asked again.
func TestAWebhookThatCanNotBeAsked(t *testing.T) {
	t.Parallel()
	w := realOne(t)
	w.commit("aaaa1111", deployment("shop:1", 1, ""))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	end := w.webhook("https://"+listener.Addr().String(), nil, "deployments")
	w.await("the webhook", func() bool { _, err = w.apply("aaaa1111"); return err != nil })
	w.wantsLater(err, pipeline.ReasonUnreachable, "Deployment shop: admission webhook "+webhookName+" of cluster real can't be asked")
	end()
	if _, err := w.persist(w.context(), "aaaa1111", pipeline.Apply{Stage: stageName, Attempt: 1, ReleaseID: "r"}); err != nil {
		t.Error(err)
	}
}
