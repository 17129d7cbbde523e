package kube

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestErrorsOfTheClusterAreTold(t *testing.T) {
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	status := func(code int32, reason metav1.StatusReason, message string, causes ...metav1.StatusCause) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Code: code, Reason: reason, Message: message, Details: &metav1.StatusDetails{Causes: causes}}}
	}
	conflict := func(manager, field string) metav1.StatusCause {
		return metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict, Message: "conflict with " + manager, Field: field}
	}
	cases := []struct {
		name      string
		err       error
		code      pipeline.ReasonCode
		permanent bool
		unknown   bool
		detail    string
	}{
		{"fields of two managers", status(409, metav1.StatusReasonConflict, "Apply failed",
			conflict(`"kubectl-client-side-apply" using apps/v1 at 2026-01-02T03:04:05Z`, ".spec.replicas"),
			conflict(`"kube-controller-manager" with subresource "scale" using apps/v1`, ".spec.paused"),
			conflict(`"kubectl-client-side-apply" using apps/v1 at 2026-01-02T03:04:05Z`, ".spec.minReadySeconds")),
			pipeline.ReasonConflict, true, false,
			"Deployment shop: kubectl-client-side-apply manages .spec.replicas, .spec.minReadySeconds; kube-controller-manager (by scale) manages .spec.paused"},
		{"a write at the same moment", apierrors.NewConflict(deployments, "shop", errors.New("the object has been modified")), pipeline.ReasonConflict, false, false, "Deployment shop: changed at the same moment"},
		{"a right that is missing", apierrors.NewForbidden(deployments, "shop", errors.New(`User "system:serviceaccount:slipway:slipway" cannot patch resource "deployments" in API group "apps" in the namespace "shop"`)),
			pipeline.ReasonForbidden, true, false, "system:serviceaccount:slipway:slipway may not patch deployments.apps in namespace shop of cluster main"},
		{"a quota", apierrors.NewForbidden(deployments, "shop", errors.New("exceeded quota: few, requested: count/deployments.apps=1, used: 2, limited: 2")),
			pipeline.ReasonQuota, true, false, `Deployment shop: deployments.apps "shop" is forbidden: exceeded quota: few, requested: count/deployments.apps=1, used: 2, limited: 2`},
		{"a namespace that is going", status(403, metav1.StatusReasonForbidden, "unable to create", metav1.StatusCause{Type: "NamespaceTerminating"}),
			pipeline.ReasonForbidden, true, false, "namespace shop of cluster main is being deleted"},
		{"a webhook's refusal", status(400, "Denied", `admission webhook "sign.example.com" denied the request: unsigned`),
			pipeline.ReasonRefused, true, false, `Deployment shop: admission webhook "sign.example.com" denied the request: unsigned`},
		{"a policy's refusal", apierrors.NewForbidden(deployments, "shop", errors.New("ValidatingAdmissionPolicy 'sign' with binding 'sign' denied request: unsigned")),
			pipeline.ReasonRefused, true, false, `Deployment shop: deployments.apps "shop" is forbidden: ValidatingAdmissionPolicy 'sign' with binding 'sign' denied request: unsigned`},
		{"a webhook that can't be asked", apierrors.NewInternalError(errors.New(`failed calling webhook "sign.example.com": failed to call webhook: Post "https://sign.svc": connection refused`)),
			pipeline.ReasonUnreachable, false, false, "Deployment shop: admission webhook sign.example.com of cluster main can't be asked"},
		{"wrong credentials", apierrors.NewUnauthorized("no"), pipeline.ReasonForbidden, false, false, "cluster main doesn't accept Slipway's credentials"},
		{"too many requests", apierrors.NewTooManyRequests("slow down", 7), pipeline.ReasonUnreachable, false, false, "cluster main asks to wait"},
		{"a server error", apierrors.NewInternalError(errors.New("etcd is gone")), pipeline.ReasonUnreachable, false, true, "cluster main answers with status 500"},
		{"a connection that broke", io.ErrUnexpectedEOF, pipeline.ReasonUnreachable, false, true, "cluster main doesn't answer"},
		{"a request that took too long", context.DeadlineExceeded, pipeline.ReasonUnreachable, false, true, "cluster main doesn't answer"},
		{"control characters", status(400, metav1.StatusReasonBadRequest, "bad\x1b[31m\nthing\u202e"), pipeline.ReasonManifest, true, false, "deploy/a.yaml:3: Deployment shop: bad[31m thing"},
		{"a long message", status(400, metav1.StatusReasonBadRequest, strings.Repeat("é", 2000)), pipeline.ReasonManifest, true, false, ""},
	}
	c := &Client{name: "main"}
	what := attempt{verb: "apply", resource: "deployments.apps", title: "Deployment shop", namespace: "shop", from: manifest.Origin{File: "deploy/a.yaml", Line: 3}}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			f, ok := pipeline.AsFailure(c.failure(t.Context(), tc.err, what))
			if !ok || f.Code != tc.code || f.Permanent != tc.permanent || f.Unknown != tc.unknown || tc.detail != "" && f.Detail != tc.detail {
				t.Errorf("got %+v\nwant %s, permanent %v, unknown %v: %s", f, tc.code, tc.permanent, tc.unknown, tc.detail)
			}
			if n := len([]rune(f.Detail)); n > maxDetail {
				t.Errorf("the detail has %d characters", n)
			}
			if tc.name == "too many requests" && f.After != 7*time.Second {
				t.Errorf("it is tried after %v", f.After)
			}
			// What is told about a Secret holds nothing of the answer but names.
			secret := what
			secret.secret, secret.title = true, "Secret shop"
			hidden, _ := pipeline.AsFailure(c.failure(t.Context(), tc.err, secret))
			for _, text := range []string{"unsigned", "thing", "é", "etcd is gone"} {
				if strings.Contains(hidden.Error(), text) {
					t.Errorf("of a Secret it tells %q", hidden.Error())
				}
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.failure(ended, io.EOF, what); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context's end the error is %v", err)
	}
}
