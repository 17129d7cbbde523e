package kubesim_test

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRefusedAdmissionSaysWhy(t *testing.T) {
	sim, c := start(t, quick())
	sim.Faults.RefuseAdmission("shop", "images must be signed")
	_, err := c.AppsV1().Deployments("shop").Create(t.Context(), deployment("web", "shop:1", 1), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "denied the request: images must be signed") {
		t.Errorf("got %v, want the webhook's refusal", err)
	}
	sim.Faults.RefuseAdmission("shop", "")
	create(t, c, deployment("web", "shop:1", 1))
	awaitReady(t, sim, "web", 1)
}

func TestQuotaStopsPodsUntilItIsLifted(t *testing.T) {
	sim, c := start(t, quick())
	sim.Faults.SetPodQuota("shop", 1)
	create(t, c, deployment("web", "shop:1", 2))
	await(t, sim, "the quota's refusal", func() string {
		w := workload(sim, "web")
		if w.Reason != "FailedCreate" || !strings.Contains(w.Message, "exceeded quota: pods, requested: pods=1, used: pods=1, limited: pods=1") {
			return "workload says " + w.Reason + " " + w.Message
		}
		return ""
	})
	sim.Faults.SetPodQuota("shop", -1)
	awaitReady(t, sim, "web", 2)
	if w := workload(sim, "web"); w.Reason != "" {
		t.Errorf("reason is still %s", w.Reason)
	}
}
