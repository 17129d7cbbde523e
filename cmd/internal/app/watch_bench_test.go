//go:build linux

package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
)

// BenchmarkWatchedWorkloads is how much memory the released program has in RAM while somebody looks at an environment
// with so many idle workloads, each a Deployment with its replica set and its pod. With none nobody looks.
func BenchmarkWatchedWorkloads(b *testing.B) {
	path := buildSlipway(b)
	for _, n := range []int{0, 200, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			var used, own []float64
			for b.Loop() {
				rss, anon := watchedMemory(b, path, n)
				used, own = append(used, rss), append(own, anon)
			}
			b.ReportMetric(median(used), "RSS-MB")
			b.ReportMetric(median(own), "anon-MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func watchedMemory(b *testing.B, path string, workloads int) (rss, anon float64) {
	b.Helper()
	w, err := world.New(world.Options{Dir: b.TempDir(), PodStart: 50 * time.Millisecond, JobTime: 10 * time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	addr := freeAddress(b)
	if err := w.Connect("http://" + addr); err != nil {
		b.Fatal(err)
	}
	file, err := w.WriteConfig(addr)
	if err != nil {
		b.Fatal(err)
	}
	if workloads > 0 {
		p := startProcess(b, path, file, addr)
		deliver(b, w)
		p.stop(b)
		populate(b, w, workloads)
	}
	p := startProcess(b, path, file, addr)
	defer p.stop(b)
	if workloads > 0 {
		awaitTree(b, addr, w.Project, workloads)
	}
	time.Sleep(3 * time.Second) // a benchmark's pause: what the first look leaves behind settles
	return p.resident(b), p.memory(b, "RssAnon")
}

// populate makes idle workloads of the shop's production, and waits until their pods run.
func populate(b *testing.B, w *world.World, n int) {
	b.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(w.Cluster.Kubeconfig())
	if err != nil {
		b.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.Context(), 3*time.Minute)
	defer cancel()
	for i := range n {
		name := fmt.Sprintf("idle-%d", i)
		pod := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}}}
		pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example.com/idle:1", Env: []corev1.EnvVar{{Name: "PADDING", Value: strings.Repeat("x", 1000)}}}}
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			"app.kubernetes.io/managed-by": "slipway", "slipway.dev/project": strconv.FormatInt(w.Project, 10), "slipway.dev/environment": "production",
		}}}
		d.Spec.Selector, d.Spec.Template = &metav1.LabelSelector{MatchLabels: pod.Labels}, pod
		if _, err := client.AppsV1().Deployments("shop").Create(ctx, d, metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	for running := 0; running < n; time.Sleep(100 * time.Millisecond) { // a benchmark's pause
		pods, err := client.CoreV1().Pods("shop").List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
		if err != nil {
			b.Fatal(err)
		}
		running = len(pods.Items)
	}
}

// awaitTree looks at production until all its workloads are in the tree.
func awaitTree(b *testing.B, addr string, project int64, n int) {
	b.Helper()
	for began := time.Now(); ; time.Sleep(500 * time.Millisecond) { // a benchmark's pause
		resp, err := http.Get(fmt.Sprintf("http://%s/api/environments/%d/production", addr, project))
		if err != nil {
			b.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			b.Fatal(err)
		}
		shown := strings.Count(string(body), `"kind":"Deployment","name":"idle-`)
		if shown >= min(n, 200) && !strings.Contains(string(body), `"trouble"`) {
			return
		}
		if time.Since(began) > time.Minute {
			b.Fatalf("%d of %d workloads are shown: %.300s", shown, n, body)
		}
	}
}
