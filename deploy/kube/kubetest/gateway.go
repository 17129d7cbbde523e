package kubetest

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

//go:embed testdata/gateway-api/*.yaml
var gatewayAPI embed.FS

// GatewayAPI makes the cluster serve HTTPRoutes and Gateways as the Gateway API defines them (testdata/gateway-api says
// where from) and returns when it does. Nothing acts on them: routes get no status. An external cluster that doesn't serve
// them is left as it is, and the test is skipped.
func (c *Cluster) GatewayAPI(t testing.TB) {
	t.Helper()
	if c.External {
		_, err := c.client.Discovery().ServerResourcesForGroupVersion("gateway.networking.k8s.io/v1")
		if err != nil {
			t.Skipf("the external cluster has no Gateway API: %v", err)
		}
		return
	}
	c.gateway.Do(func() { c.gatewayErr = c.defineGatewayAPI() })
	if c.gatewayErr != nil {
		t.Fatal(c.gatewayErr)
	}
}

// defineGatewayAPI has a context of its own, because the definitions are for all tests of the process.
func (c *Cluster) defineGatewayAPI() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := dynamic.NewForConfig(c.config)
	if err != nil {
		return fmt.Errorf("make a client for definitions: %w", err)
	}
	definitions := client.Resource(schema.GroupVersionResource{
		Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
	})
	files, err := fs.Glob(gatewayAPI, "testdata/gateway-api/*.yaml")
	if err != nil {
		return fmt.Errorf("list the definitions of the Gateway API: %w", err)
	}
	var names []string
	for _, file := range files {
		content, err := gatewayAPI.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the definitions of the Gateway API: %w", err)
		}
		definition := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(content, &definition.Object); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		names = append(names, definition.GetName())
		if _, err := definitions.Create(ctx, definition, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("define %s: %w", definition.GetName(), err)
		}
	}
	for _, name := range names {
		if err := waitEstablished(ctx, definitions, name); err != nil {
			return err
		}
	}
	return c.waitServed(ctx, client)
}

func waitEstablished(ctx context.Context, definitions dynamic.ResourceInterface, name string) error {
	watcher, err := definitions.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()})
	if err != nil {
		return fmt.Errorf("watch definition %s: %w", name, err)
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		definition, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		conditions, _, _ := unstructured.NestedSlice(definition.Object, "status", "conditions")
		for _, c := range conditions {
			if c, ok := c.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
				return nil
			}
		}
	}
	return fmt.Errorf("definition %s was not established in time", name)
}

// waitServed returns when objects can be listed: the server learns of an established definition a moment later.
func (c *Cluster) waitServed(ctx context.Context, client dynamic.Interface) error {
	return poll(ctx, nil, "the Gateway API is served", func() bool {
		for _, resource := range []string{"httproutes", "gateways"} {
			kind := schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: resource}
			if _, err := client.Resource(kind).List(ctx, metav1.ListOptions{}); err != nil {
				return false
			}
		}
		return true
	})
}
