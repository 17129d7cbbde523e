package kubetest

import (
	"context"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RefuseAdmission makes a policy refuse, with the message, every object that people write in the namespace, until the test
// ends or the function that it returns is called. What the cluster writes by itself is let through, so that what runs isn't
// disturbed.
func (c *Cluster) RefuseAdmission(t testing.TB, namespace, message string) (allow func()) {
	t.Helper()
	policies := c.client.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	bindings := c.client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	name := "kubetest-refuse-" + namespace
	if _, err := policies.Create(t.Context(), refusal(name, namespace, message), metav1.CreateOptions{}); err != nil {
		t.Fatalf("make an admission policy: %v", err)
	}
	end := func(ctx context.Context) {
		if err := bindings.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("end an admission policy: %v", err)
		}
		if err := policies.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("end an admission policy: %v", err)
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		end(ctx)
	})
	_, err := bindings.Create(t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("bind an admission policy: %v", err)
	}
	c.waitRefused(t, namespace, true)
	return func() {
		t.Helper()
		end(t.Context())
		c.waitRefused(t, namespace, false)
	}
}

func refusal(name, namespace, message string) *admissionv1.ValidatingAdmissionPolicy {
	// The selector of namespaces doesn't hold for what belongs to the whole cluster, such as the addresses of Services.
	scope := admissionv1.NamespacedScope
	rule := func(groups []string, resources ...string) admissionv1.NamedRuleWithOperations {
		return admissionv1.NamedRuleWithOperations{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
			Rule:       admissionv1.Rule{APIGroups: groups, APIVersions: []string{"*"}, Resources: resources, Scope: &scope},
		}}
	}
	fail, forbidden := admissionv1.Fail, metav1.StatusReasonForbidden
	return &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail,
			MatchConstraints: &admissionv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
				ResourceRules:     []admissionv1.NamedRuleWithOperations{rule([]string{"*"}, "*")},
				ExcludeResourceRules: []admissionv1.NamedRuleWithOperations{
					rule([]string{""}, "pods", "events", "endpoints", "namespaces", "serviceaccounts"),
					rule([]string{"apps"}, "replicasets", "controllerrevisions"),
					rule([]string{"discovery.k8s.io", "events.k8s.io", "coordination.k8s.io"}, "*"),
				},
			},
			Validations: []admissionv1.Validation{{Expression: "false", Message: message, Reason: &forbidden}},
		},
	}
}

// waitRefused returns when the API server has heard of the policy, or of its end, which it does a moment later.
func (c *Cluster) waitRefused(t testing.TB, namespace string, refused bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"}}
	err := poll(ctx, nil, "the API server knows the policy", func() bool {
		_, err := c.client.CoreV1().ConfigMaps(namespace).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return refused == apierrors.IsForbidden(err) && (refused || err == nil)
	})
	if err != nil {
		t.Fatal(err)
	}
}
