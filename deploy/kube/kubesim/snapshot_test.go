package kubesim_test

import (
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSnapshotShowsWorkloadsPodsAndTraffic(t *testing.T) {
	sim, c := start(t, quick())
	create(t, c, deployment("web", "shop:1", 2))
	create(t, c, deployment("bad", "shop:crash", 1))
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}},
	}}
	if _, err := c.CoreV1().Services("shop").Create(t.Context(), svc, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, sim, "web", 2)
	await(t, sim, "the crash loop", func() string {
		w := workload(sim, "bad")
		if len(w.Pods) != 1 || w.Pods[0].Reason != "CrashLoopBackOff" || w.Pods[0].Restarts < 1 || w.Pods[0].Ready {
			return "no crash loop"
		}
		return ""
	})
	web := workload(sim, "web")
	if web.Kind != "Deployment" || web.Desired != 2 || web.Revision != "1" || !slices.Equal(web.Images, []string{"shop:1"}) {
		t.Errorf("web is %+v", web)
	}
	pod := web.Pods[0]
	if !pod.Ready || pod.Phase != "Running" || pod.Node == "" || pod.Labels["app"] != "web" || pod.Created.IsZero() || pod.Reason != "" {
		t.Errorf("pod is %+v", pod)
	}
	await(t, sim, "the traffic", func() string {
		for _, ns := range sim.Snapshot().Namespaces {
			if ns.Name == "kube-system" {
				t.Error("an empty namespace of the system is shown")
			}
			for _, s := range ns.Services {
				if s.Name == "web" && s.Selector["app"] == "web" && len(s.Pods) == 2 {
					return ""
				}
			}
		}
		return "the service has no two pods"
	})
}

func TestSnapshotSaysWhyAJobFailed(t *testing.T) {
	sim, c := start(t, quick())
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "migrate"}, Spec: batchv1.JobSpec{
		BackoffLimit: new(int32(1)),
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "migrate", Image: "migrate:exit3"}},
		}},
	}}
	if _, err := c.BatchV1().Jobs("shop").Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, sim, "the failure", func() string {
		if w := workload(sim, "migrate"); w.Reason != "BackoffLimitExceeded" || w.Kind != "Job" || w.Ready != 0 || len(w.Pods) != 2 {
			return "job says " + w.Reason
		}
		return ""
	})
}

func TestSubscriptionEnds(t *testing.T) {
	sim, c := start(t, quick())
	changed, end := sim.Subscribe()
	create(t, c, deployment("web", "shop:1", 0))
	<-changed
	end()
	end()
}
