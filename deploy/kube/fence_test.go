package kube_test

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const takeover = `
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec: {rules: [{host: shop.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}}]}
`

func TestAReviewMayNotTakeProductionsHost(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	w.slug, w.fence = "mr-12-abcdef", &manifest.Fence{Hosts: []string{"*.review.example.com"}}
	w.commit("aaaa1111", configMap("settings", "one")+takeover)
	_, err := w.apply("aaaa1111")
	failure := w.permanent(err)
	if failure.Code != pipeline.ReasonNotAllowed || !failure.Unchanged || !strings.Contains(failure.Detail, `Ingress shop-mr-12-abcdef claims the host "shop.example.com"`) {
		t.Errorf("it is refused with %#v", failure)
	}
	if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Get(w.context(), "settings-mr-12-abcdef", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("something was applied: %v", err)
	}
	w.commit("bbbb2222", strings.Replace(takeover, "shop.example.com", "mr-12.review.example.com", 1))
	r := w.mustApply("bbbb2222")

	// The operator has tightened the rules since: what was allowed then is not applied again, but it can be removed.
	w.fence = &manifest.Fence{}
	_, err = w.executor().Execute(w.context(), w.task("bbbb2222", pipeline.Restore{Stage: stageName, Attempt: 1, Environment: w.environment, To: &r}))
	if failure := w.permanent(err); !strings.Contains(failure.Detail, "has named none") {
		t.Errorf("it is restored with %#v", failure)
	}
	_, err = w.executor().Execute(w.context(), w.task("bbbb2222", pipeline.TearDown{Stage: stageName, Attempt: 1, Environment: w.environment, Releases: []pipeline.Release{r}}))
	if err != nil {
		t.Fatal(err)
	}
	left, err := w.admin.NetworkingV1().Ingresses(w.namespace).List(w.context(), metav1.ListOptions{})
	if err != nil || len(left.Items) != 0 {
		t.Errorf("%d Ingresses are left, %v", len(left.Items), err)
	}
}

func TestAJobOfAReviewMayNotActAsSlipway(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	w.slug, w.fence = "mr-12-abcdef", &manifest.Fence{Account: "deployer"}
	w.run = &pipeline.Run{Environment: w.environment, Image: "tools:1", ServiceAccount: "deployer"}
	w.commit("aaaa1111", configMap("unused", "x"))
	_, err := w.executor().Execute(w.context(), w.task("aaaa1111", pipeline.RunJob{Stage: stageName, Attempt: 1}))
	if failure := w.permanent(err); failure.Code != pipeline.ReasonNotAllowed || !strings.Contains(failure.Detail, "uses the service account that Slipway acts as") {
		t.Errorf("it is refused with %#v", failure)
	}
	jobs, err := w.admin.BatchV1().Jobs(w.namespace).List(w.context(), metav1.ListOptions{})
	if err != nil || len(jobs.Items) != 0 {
		t.Errorf("%d Jobs, %v", len(jobs.Items), err)
	}
}
