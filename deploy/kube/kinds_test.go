package kube_test

import (
	"context"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

const shuttles = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: shuttles.space.example.com}
spec:
  group: space.example.com
  names: {kind: Shuttle, plural: shuttles}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {seats: {type: integer}}}}}}}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: stations.space.example.com}
spec:
  group: space.example.com
  names: {kind: Station, plural: stations}
  scope: Cluster
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
`

func TestKindsThatAreInstalledLaterAreFound(t *testing.T) {
	t.Parallel()
	w := realOne(t)
	client, err := kube.New(w.options)
	if err != nil {
		t.Fatal(err)
	}
	cluster := client.Namespace(w.namespace)
	shuttle := object("space.example.com/v1", "Shuttle", map[string]any{"seats": int64(7)})
	station := object("space.example.com/v1", "Station", nil)
	if f := w.permanent(cluster.Check(w.context(), shuttle)); !strings.Contains(f.Detail, "doesn't know Shuttle") {
		t.Fatalf("before: %s", f.Detail)
	}

	admin, err := dynamic.NewForConfig(w.real.Config())
	if err != nil {
		t.Fatal(err)
	}
	definitions := admin.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, text := range strings.Split(shuttles, "---\n") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		made, err := definitions.Create(t.Context(), &unstructured.Unstructured{Object: o}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := definitions.Delete(ctx, made.GetName(), metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	// Each try is a look at the cluster; the new kinds are served a moment after they were made.
	ctx := w.context()
	for err = cluster.Check(ctx, shuttle); err != nil && ctx.Err() == nil; {
		err = cluster.Check(ctx, shuttle)
	}
	if _, err := cluster.Apply(ctx, shuttle, false); err != nil {
		t.Errorf("after: %v", err)
	}
	for err = cluster.Check(ctx, station); err != nil && strings.Contains(err.Error(), "doesn't know"); {
		err = cluster.Check(ctx, station)
	}
	if f := w.permanent(err); !strings.Contains(f.Detail, "belongs to the whole cluster") {
		t.Errorf("a kind of the whole cluster: %s", f.Detail)
	}
}

func object(apiVersion, kind string, spec map[string]any) []manifest.Object {
	o := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": "one"}}
	if spec != nil {
		o["spec"] = spec
	}
	return []manifest.Object{{Unstructured: &unstructured.Unstructured{Object: o}}}
}
