// Package kubesuite is what Slipway relies on of Kubernetes, as tests through the real client-go: every cluster that stands in
// for a real one has to pass it, and so does a real one.
package kubesuite

import (
	"context"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsconfig "k8s.io/client-go/applyconfigurations/apps/v1"
	coreconfig "k8s.io/client-go/applyconfigurations/core/v1"
	metaconfig "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Options say how to reach the cluster under test.
type Options struct {
	// Config is a client configuration of an administrator. It is asked for once per test and may be the same cluster.
	Config func(t testing.TB) *rest.Config
	// Limited is a client configuration of one who may do everything in the namespace and nothing elsewhere.
	Limited func(t testing.TB, namespace string) *rest.Config
	// Breakable is a cluster that the test can break without others noticing. Without it those tests are skipped.
	Breakable func(t testing.TB) Breakable
	// Patience is how long a single thing may take; 30 s when zero.
	Patience time.Duration
}

// Run runs the suite. Each of its tests works in a namespace of its own, and they run in parallel.
func Run(t *testing.T, opts Options) {
	if opts.Patience == 0 {
		opts.Patience = 30 * time.Second
	}
	groups := []struct {
		name  string
		tests []test
	}{
		{"apply", applyTests()},
		{"writes", writeTests()},
		{"rollout", rolloutTests()},
		{"pods", podTests()},
		{"jobs", jobTests()},
		{"traffic", trafficTests()},
		{"routes", routeTests()},
		{"neighbours", neighbourTests()},
		{"watch", watchTests()},
		{"access", accessTests()},
		{"deletion", deletionTests()},
		{"faults", faultTests()},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, tc := range g.tests {
				t.Run(tc.name, func(t *testing.T) {
					t.Parallel()
					tc.run(newEnv(t, opts))
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(*env)
}

// env is one test's namespace and clients.
type env struct {
	*testing.T
	opts    Options
	ctx     context.Context // the test's own, which ends with it
	config  *rest.Config
	client  kubernetes.Interface
	dynamic dynamic.Interface
	ns      string
}

func newEnv(t *testing.T, opts Options) *env {
	t.Helper()
	e := &env{T: t, opts: opts, ctx: t.Context(), config: opts.Config(t)}
	var err error
	if e.client, err = kubernetes.NewForConfig(e.config); err != nil {
		t.Fatalf("make client: %v", err)
	}
	if e.dynamic, err = dynamic.NewForConfig(e.config); err != nil {
		t.Fatalf("make dynamic client: %v", err)
	}
	ns, err := e.client.CoreV1().Namespaces().Create(e.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "suite-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create namespace: %v", err)
	}
	e.ns = ns.Name
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), opts.Patience)
		defer cancel()
		if err := e.client.CoreV1().Namespaces().Delete(ctx, e.ns, metav1.DeleteOptions{}); err != nil {
			t.Logf("delete namespace %s: %v", e.ns, err)
		}
	})
	e.await("the namespace's service account", "serviceaccounts", func() string {
		_, err := e.client.CoreV1().ServiceAccounts(e.ns).Get(e.ctx, "default", metav1.GetOptions{})
		return problem(err)
	})
	return e
}

func problem(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

const manager = "kubesuite"

func applyAs(name string) metav1.ApplyOptions { return metav1.ApplyOptions{FieldManager: name} }

// app is the apply configuration of a Deployment named app.
func (e *env) app(image string, replicas int32) *appsconfig.DeploymentApplyConfiguration {
	labels := map[string]string{"app": "app"}
	return appsconfig.Deployment("app", e.ns).
		WithLabels(labels).
		WithSpec(appsconfig.DeploymentSpec().
			WithReplicas(replicas).
			WithSelector(metaconfig.LabelSelector().WithMatchLabels(labels)).
			WithTemplate(coreconfig.PodTemplateSpec().
				WithLabels(labels).
				WithSpec(coreconfig.PodSpec().WithContainers(
					coreconfig.Container().WithName("web").WithImage(image).
						WithPorts(coreconfig.ContainerPort().WithName("http").WithContainerPort(8080))))))
}

func (e *env) apply(d *appsconfig.DeploymentApplyConfiguration) *appsv1.Deployment {
	e.Helper()
	out, err := e.client.AppsV1().Deployments(e.ns).Apply(e.ctx, d, applyAs(manager))
	if err != nil {
		e.Fatalf("apply deployment: %v", err)
	}
	return out
}

func (e *env) deployment() *appsv1.Deployment {
	e.Helper()
	d, err := e.client.AppsV1().Deployments(e.ns).Get(e.ctx, "app", metav1.GetOptions{})
	if err != nil {
		e.Fatalf("get deployment: %v", err)
	}
	return d
}

// rolledOut says why a Deployment isn't rolled out, by the rules that kubectl and Slipway use.
func rolledOut(d *appsv1.Deployment) string {
	s := d.Status
	want := *d.Spec.Replicas
	switch {
	case s.ObservedGeneration < d.Generation:
		return "generation not observed"
	case s.UpdatedReplicas != want || s.Replicas != want || s.AvailableReplicas != want || s.ReadyReplicas != want:
		return "replicas not there"
	case condition(d, appsv1.DeploymentProgressing).Reason != "NewReplicaSetAvailable":
		return "not complete: " + condition(d, appsv1.DeploymentProgressing).Reason
	default:
		return ""
	}
}

func condition(d *appsv1.Deployment, kind appsv1.DeploymentConditionType) appsv1.DeploymentCondition {
	for _, c := range d.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return appsv1.DeploymentCondition{}
}

func (e *env) awaitRollout() *appsv1.Deployment {
	e.Helper()
	e.await("the rollout", "deployments", func() string { return rolledOut(e.deployment()) })
	return e.deployment()
}

func (e *env) pods() []corev1.Pod {
	e.Helper()
	list, err := e.client.CoreV1().Pods(e.ns).List(e.ctx, metav1.ListOptions{LabelSelector: "app=app"})
	if err != nil {
		e.Fatalf("list pods: %v", err)
	}
	return list.Items
}

func (e *env) wantContains(what, got string, parts ...string) {
	e.Helper()
	for _, part := range parts {
		if !strings.Contains(got, part) {
			e.Errorf("%s is %q, want it to contain %q", what, got, part)
		}
	}
}
