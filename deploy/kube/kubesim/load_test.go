package kubesim_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// BenchmarkTwoHundredDeployments is a namespace as the memory benchmarks have it: 200 Deployments of four replicas behind
// a Service each, made and then rolled.
func BenchmarkTwoHundredDeployments(b *testing.B) {
	const deployments, replicas = 200, 4
	for b.Loop() {
		opts := quick()
		opts.Nodes = 10
		_, c := start(b, opts)
		begin := time.Now()
		for i := range deployments {
			name := fmt.Sprintf("web-%d", i)
			svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
				Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 80}},
			}}
			if _, err := c.CoreV1().Services("shop").Create(b.Context(), svc, metav1.CreateOptions{}); err != nil {
				b.Fatal(err)
			}
			create(b, c, deployment(name, "shop:1", replicas))
		}
		awaitAll(b, c, deployments, replicas, "shop:1")
		b.ReportMetric(time.Since(begin).Seconds(), "s/start")
		begin = time.Now()
		for i := range deployments {
			d := deployment(fmt.Sprintf("web-%d", i), "shop:2", replicas)
			if _, err := c.AppsV1().Deployments("shop").Update(b.Context(), d, metav1.UpdateOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		awaitAll(b, c, deployments, replicas, "shop:2")
		b.ReportMetric(time.Since(begin).Seconds(), "s/roll")
	}
}

// awaitAll returns when every Deployment has its replicas ready with the image. It looks now and then, because to look at
// each change would be most of the work.
func awaitAll(b *testing.B, c kubernetes.Interface, deployments, replicas int, image string) {
	b.Helper()
	tick, deadline := time.NewTicker(50*time.Millisecond), time.After(5*time.Minute)
	defer tick.Stop()
	for {
		list, err := c.AppsV1().Deployments("shop").List(b.Context(), metav1.ListOptions{})
		if err != nil {
			b.Fatal(err)
		}
		done := 0
		for _, d := range list.Items {
			s := d.Status
			if d.Spec.Template.Spec.Containers[0].Image == image && s.ObservedGeneration == d.Generation &&
				int(s.Replicas) == replicas && int(s.UpdatedReplicas) == replicas && int(s.AvailableReplicas) == replicas {
				done++
			}
		}
		if done == deployments {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			b.Fatalf("%d of %d deployments are ready", done, deployments)
		}
	}
}
