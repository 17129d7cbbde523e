package kubetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubetest/binary"
)

// Cluster is a Kubernetes cluster for tests, seen as its administrator.
type Cluster struct {
	// URL is where the API server listens, such as https://127.0.0.1:23456.
	URL string
	// KubeconfigPath is a kubeconfig file of an administrator.
	KubeconfigPath string
	// Kubeconfig is what the file holds.
	Kubeconfig []byte
	// External says that the cluster came from SLIPWAY_TEST_KUBECONFIG: its pods are whatever they are there, and it
	// can't be paused.
	External bool

	config *rest.Config
	client kubernetes.Interface
	plane  *controlPlane // nil for an external cluster

	gateway    sync.Once
	gatewayErr error
}

// errNotBuilt says that the executable of the control plane is missing.
var errNotBuilt = errors.New("kubetest: control plane not built: run make controlplane")

// startShared starts the one control plane of this process. It is process-wide because starting one takes seconds and
// nearly a gigabyte. Nobody stops it: it ends when the process does.
var startShared = sync.OnceValues(start)

// Start returns the cluster that all tests of this process share, and starts it for the first of them. Without a
// built control plane it skips the test, or fails it under CI=true. With -short it skips the test.
func Start(t testing.TB) *Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("kubetest: no control plane with -short")
	}
	cluster, err := startShared()
	if errors.Is(err, errNotBuilt) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

func start() (*Cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	cluster := &Cluster{KubeconfigPath: os.Getenv("SLIPWAY_TEST_KUBECONFIG")}
	if cluster.KubeconfigPath != "" {
		cluster.External = true
	} else {
		executable, err := findExecutable()
		if err != nil {
			return nil, err
		}
		if cluster.plane, err = startControlPlane(ctx, executable); err != nil {
			return nil, fmt.Errorf("start the control plane: %w", err)
		}
		cluster.KubeconfigPath = cluster.plane.kubeconfig
	}
	var err error
	if cluster.Kubeconfig, err = os.ReadFile(cluster.KubeconfigPath); err != nil {
		return nil, fmt.Errorf("read the kubeconfig for tests: %w", err)
	}
	if cluster.config, err = clientcmd.RESTConfigFromKubeConfig(cluster.Kubeconfig); err != nil {
		return nil, fmt.Errorf("read the kubeconfig for tests: %w", err)
	}
	if err := rest.LoadTLSFiles(cluster.config); err != nil {
		return nil, fmt.Errorf("read the kubeconfig for tests: %w", err)
	}
	cluster.config.QPS = -1 // client-go's own throttle would slow the tests down silently
	cluster.URL = cluster.config.Host
	if cluster.client, err = kubernetes.NewForConfig(cluster.config); err != nil {
		return nil, fmt.Errorf("make a client for tests: %w", err)
	}
	return cluster, nil
}

func findExecutable() (string, error) {
	source, err := binary.Source()
	if err != nil {
		return "", err
	}
	path, err := binary.Path(source)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", errNotBuilt
	} else if err != nil {
		return "", fmt.Errorf("look for the control plane: %w", err)
	}
	return path, nil
}

// Config returns a client configuration of an administrator, without client-side throttling. It is the caller's own.
func (c *Cluster) Config() *rest.Config {
	return rest.CopyConfig(c.config)
}

// Client returns a client of an administrator.
func (c *Cluster) Client() kubernetes.Interface {
	return c.client
}

// Namespace makes a namespace for this test, which is deleted when the test ends, and returns its name. Pods can be
// made in it at once.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	namespace, err := c.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: namePrefix(t.Name())},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		// Without waiting for the end: the next test has a namespace of its own.
		if err := c.client.CoreV1().Namespaces().Delete(ctx, namespace.Name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("delete namespace %s: %v", namespace.Name, err)
		}
	})
	c.waitServiceAccount(t, namespace.Name)
	return namespace.Name
}

// waitServiceAccount returns when the namespace has its default service account, without which the API server refuses
// pods.
func (c *Cluster) waitServiceAccount(t testing.TB, namespace string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	watcher, err := c.client.CoreV1().ServiceAccounts(namespace).Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, "default").String(),
	})
	if err != nil {
		t.Fatalf("watch the service accounts of %s: %v", namespace, err)
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if event.Type == watch.Added {
			return
		}
	}
	t.Fatalf("namespace %s got no default service account", namespace)
}

// namePrefix makes the start of a namespace's name from a test's name, so that a person sees whose it is.
func namePrefix(test string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		default:
			return '-'
		}
	}, test)
	return "t-" + strings.Trim(name[:min(40, len(name))], "-") + "-"
}

// Pause stops the API server in its tracks until Resume or the end of the test: connections are accepted and nothing
// answers. It stops it for every test of this process, so a test that calls it mustn't run in parallel to others. On
// an external cluster the test is skipped.
func (c *Cluster) Pause(t testing.TB) {
	t.Helper()
	if c.plane == nil {
		t.Skip("kubetest: an external cluster can't be paused")
	}
	t.Cleanup(func() { c.Resume(t) })
	if err := c.plane.pause(); err != nil {
		t.Fatal(err)
	}
}

// Resume lets the API server go on. Without a Pause before it does nothing.
func (c *Cluster) Resume(t testing.TB) {
	t.Helper()
	if c.plane == nil {
		return
	}
	if err := c.plane.resume(); err != nil {
		t.Fatal(err)
	}
}
