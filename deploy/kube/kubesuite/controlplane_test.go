package kubesuite_test

import (
	"context"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesuite"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubetest"
)

func TestRealControlPlane(t *testing.T) {
	cluster := kubetest.Start(t)
	addRoutes(t, cluster.Config())
	kubesuite.Run(t, kubesuite.Options{
		Patience: time.Minute,
		Config:   func(testing.TB) *rest.Config { return cluster.Config() },
		Limited: func(t testing.TB, namespace string) *rest.Config {
			all := []string{"*"}
			return cluster.User(t, namespace, rbacv1.PolicyRule{APIGroups: all, Resources: all, Verbs: all}).Config
		},
	})
}

// addRoutes defines HTTPRoutes with a schema that takes anything, and waits until they are served: enough to hold the
// dynamic client's way with custom objects against the real server.
func addRoutes(t *testing.T, config *rest.Config) {
	t.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	anything := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{
			"name":        "httproutes.gateway.networking.k8s.io",
			"annotations": map[string]any{"api-approved.kubernetes.io": "unapproved, a stand-in for tests"},
		},
		"spec": map[string]any{
			"group": "gateway.networking.k8s.io", "scope": "Namespaced",
			"names": map[string]any{"kind": "HTTPRoute", "plural": "httproutes", "singular": "httproute", "listKind": "HTTPRouteList"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": anything},
			}},
		},
	}}
	definitions := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	if _, err := definitions.Create(t.Context(), definition, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("define HTTPRoutes: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w, err := definitions.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + definition.GetName()})
	if err != nil {
		t.Fatalf("watch definitions: %v", err)
	}
	defer w.Stop()
	for ev := range w.ResultChan() {
		u, ok := ev.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, c := range conditions {
			if c, ok := c.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
				return
			}
		}
	}
	t.Fatal("HTTPRoutes were not established")
}
