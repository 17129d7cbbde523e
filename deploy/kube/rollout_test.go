package kube_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestGoodReleaseRollsOut(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "one")+deployment("registry.example.com/shop:1", 3, ""))
		r := w.mustApply("aaaa1111")
		if r.Objects != 2 || r.Replicas != 3 || r.SHA != "aaaa1111" || r.Delivery != "7-1-aaaa1111" || r.Ref != "main" || r.Title != "Change aaaa1111" {
			t.Errorf("release is %+v", r)
		}
		if len(r.Images) != 1 || r.Images[0].Name != "registry.example.com/shop:1" {
			t.Errorf("images are %v", r.Images)
		}
		out, err := w.observe(w.context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Images) != 1 || out.Images[0].Name != "registry.example.com/shop:1" {
			t.Errorf("images that run are %v", out.Images)
		}
		if w.sim != nil && !strings.HasPrefix(out.Images[0].Digest, "sha256:") {
			t.Errorf("the image's digest is %q", out.Images[0].Digest)
		}
		if words := w.saw(); len(words) == 0 || !strings.Contains(words[len(words)-1], "3 pods ready") {
			t.Errorf("progress was %q", words)
		}
		d, err := w.admin.AppsV1().Deployments(w.namespace).Get(t.Context(), "shop", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]string{deploy.LabelManagedBy: "slipway", deploy.LabelProject: "7", deploy.LabelEnvironment: "production"} {
			if d.Labels[key] != want {
				t.Errorf("label %s is %q, want %q", key, d.Labels[key], want)
			}
		}
		for key, want := range map[string]string{deploy.AnnotationDelivery: r.Delivery, deploy.AnnotationRelease: r.ID, deploy.AnnotationCommit: r.SHA} {
			if d.Annotations[key] != want {
				t.Errorf("annotation %s is %q, want %q", key, d.Annotations[key], want)
			}
		}
		if len(d.Spec.Template.Labels) != 1 || len(d.Spec.Template.Annotations) != 0 {
			t.Errorf("pods are marked: %v %v", d.Spec.Template.Labels, d.Spec.Template.Annotations)
		}
		if d.Status.AvailableReplicas != 3 {
			t.Errorf("%d replicas are available", d.Status.AvailableReplicas)
		}

		// The same commit again changes no pod.
		again := w.release("aaaa1111")
		after, err := w.admin.AppsV1().Deployments(w.namespace).Get(t.Context(), "shop", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if after.Generation != d.Generation || again.Manifests != r.Manifests {
			t.Errorf("applied again: generation %d after %d, manifests %s after %s", after.Generation, d.Generation, again.Manifests, r.Manifests)
		}
	})
}

func TestFailingRolloutsSayWhy(t *testing.T) {
	tooMuch := strings.Replace(deployment("shop:1", 1, ""), `image: "shop:1"`, `image: "shop:1", resources: {requests: {cpu: "5000"}}`, 1)
	cases := []struct {
		name, manifests string
		code            pipeline.ReasonCode
		words           []string
	}{
		{"a crash loop, with the end of the log", deployment("shop:crash", 2, ""), pipeline.ReasonCrashLoop,
			[]string{"container app of pod shop-", "exited with code 1", "panic: connect to database: connection refused"}},
		{"an image that isn't there", deployment("shop:missing", 2, ""), pipeline.ReasonImagePull, []string{"shop:missing: "}},
		{"a pod that is never ready", deployment("shop:neverready", 2, ", progressDeadlineSeconds: 2"), pipeline.ReasonDeadline,
			[]string{"deployment shop", "0 of 2 pods ready"}},
		{"a pod that asks for too much", tooMuch, pipeline.ReasonUnschedulable, []string{"pod shop-", "nsufficient cpu"}},
		{"a paused deployment", deployment("shop:1", 1, ", paused: true"), pipeline.ReasonOther, []string{"paused"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.patience = deploy.Patience{ImagePull: time.Second, Unschedulable: 300 * time.Millisecond}
				w.commit("bbbb2222", tc.manifests)
				f := w.fails("bbbb2222")
				if f.Code != tc.code {
					t.Errorf("the code is %s, want %s", f.Code, tc.code)
				}
				for _, word := range tc.words {
					if !strings.Contains(f.Detail, word) {
						t.Errorf("it says %q, which lacks %q", f.Detail, word)
					}
				}
			})
		})
	}
}

func TestOnlyPodsOfTheNewRevisionCount(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("bad00000", deployment("shop:crash", 1, ""))
		w.commit("cccc3333", deployment("shop:2", 1, ""))
		if f := w.fails("bad00000"); f.Code != pipeline.ReasonCrashLoop {
			t.Fatalf("failed otherwise: %v", f)
		}
		w.release("cccc3333") // while a pod of the old one still crashes
	})
}

func TestExhaustedQuotaIsTold(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.podQuota(1)
		w.patience = deploy.Patience{Refused: 500 * time.Millisecond}
		w.commit("dddd4444", deployment("shop:1", 3, ""))
		f := w.fails("dddd4444")
		if f.Code != pipeline.ReasonQuota || !strings.Contains(f.Detail, "deployment shop can't make pods") || !strings.Contains(f.Detail, "exceeded quota") {
			t.Errorf("got %s: %s", f.Code, f.Detail)
		}
	})
}

const statefulSet = `
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec: {serviceName: db, replicas: 2, selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: "db:1"}]}}}
`

const daemonSet = `
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec: {selector: {matchLabels: {app: agent}}, template: {metadata: {labels: {app: agent}}, spec: {containers: [{name: agent, image: "agent:1"}]}}}
`

// TestExhaustedQuotaIsToldOfEveryWorkload: only the cluster's events tell why a StatefulSet or a DaemonSet has no pods.
func TestExhaustedQuotaIsToldOfEveryWorkload(t *testing.T) {
	for title, c := range map[string]struct {
		manifests string
		quota     int
	}{"StatefulSet db": {statefulSet, 1}, "DaemonSet agent": {daemonSet, 0}} {
		t.Run(title, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.podQuota(c.quota)
				w.patience = deploy.Patience{Refused: 1500 * time.Millisecond}
				w.commit("dddd4444", c.manifests)
				f := w.fails("dddd4444")
				if f.Code != pipeline.ReasonQuota || !strings.Contains(f.Detail, title+" can't make pods: ") || !strings.Contains(f.Detail, "exceeded quota") {
					t.Errorf("got %s: %s", f.Code, f.Detail)
				}
			})
		})
	}
}

// TestARefusalOfPodsThatPassesIsWaitedOut of every workload.
func TestARefusalOfPodsThatPassesIsWaitedOut(t *testing.T) {
	onEachCluster(t, func(_ *testing.T, w *world) {
		w.podQuota(0)
		w.commit("dddd4444", statefulSet+daemonSet)
		r := w.mustApply("dddd4444")
		result := w.observing(w.t.Context(), r)
		w.await("a refusal", func() bool {
			events, err := w.admin.CoreV1().Events(w.namespace).List(w.t.Context(), metav1.ListOptions{FieldSelector: "reason=FailedCreate"})
			return err == nil && len(events.Items) > 1
		})
		w.podQuota(-1)
		if err := <-result; err != nil {
			w.t.Error(err)
		}
	})
}

func TestWorkloadThatIsDeletedMeanwhileFails(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("eeee5555", deployment("shop:neverready", 1, ""))
		r := w.mustApply("eeee5555")
		result := w.observing(t.Context(), r)
		w.awaitProgress("0 of 1 pod ready")
		if err := w.admin.AppsV1().Deployments(w.namespace).Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		f := w.permanent(<-result)
		if !strings.Contains(f.Detail, "Deployment shop is gone") {
			t.Errorf("got %s: %s", f.Code, f.Detail)
		}
	})
}

func TestReleaseThatIsReplacedMeanwhileFails(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("eeee5555", deployment("shop:neverready", 1, ""))
		w.commit("ffff6666", deployment("shop:2", 1, ""))
		r := w.mustApply("eeee5555")
		result := w.observing(t.Context(), r)
		w.awaitProgress("0 of 1 pod ready")
		w.mustApply("ffff6666")
		f := w.permanent(<-result)
		if f.Code != pipeline.ReasonConflict || !strings.Contains(f.Detail, "belongs to release 7-1-ffff6666") {
			t.Errorf("got %s: %s", f.Code, f.Detail)
		}
	})
}

func TestRolloutIsFollowedThroughTroubleOfTheCluster(t *testing.T) {
	for _, strategy := range bothStrategies {
		for _, tc := range troubles {
			t.Run(string(strategy)+", "+tc.name, func(t *testing.T) {
				onEachCluster(t, func(t *testing.T, w *world) {
					faults, expire := w.breakable()
					w.deploy.Strategy = strategy
					w.commit("eeee5555", service+deployment("shop:neverready", 2, ""))
					r := w.mustApply("eeee5555")
					name := w.deployments()[0]
					result := w.observing(t.Context(), r)
					w.awaitProgress("0 of 2 pods ready")
					tc.disturb(w, faults, expire)
					// What happens during or after the trouble is seen.
					patch := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"shop:good"}]}}}}`)
					for tries := 0; ; tries++ {
						_, err := w.admin.AppsV1().Deployments(w.namespace).Patch(t.Context(), name, "application/strategic-merge-patch+json", patch, metav1.PatchOptions{})
						if err == nil {
							break
						}
						if tries > 10 {
							t.Fatal(err)
						}
					}
					if err := <-result; err != nil {
						t.Errorf("the rollout failed: %v", err)
					}
				})
			})
		}
	}
}

func TestObservingEndsWithItsContext(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("eeee5555", deployment("shop:neverready", 1, ""))
		r := w.mustApply("eeee5555")
		ctx, cancel := context.WithCancel(t.Context())
		result := w.observing(ctx, r)
		w.awaitProgress("0 of 1 pod ready")
		began := time.Now()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAllKindsOfWorkloadsRollOut(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		others := statefulSet + daemonSet
		w.patience = deploy.Patience{Stall: 10 * time.Second}
		w.commit("aaaa1111", deployment("shop:1", 2, "")+others)
		w.release("aaaa1111")
		w.commit("bbbb2222", deployment("shop:1", 2, "")+strings.ReplaceAll(others, ":1", ":crash"))
		f := w.fails("bbbb2222")
		if f.Code != pipeline.ReasonCrashLoop || !strings.Contains(f.Detail, "panic: connect to database") {
			t.Errorf("got %s: %s", f.Code, f.Detail)
		}
	})
}

func (w *world) observing(ctx context.Context, r pipeline.Release) <-chan error {
	result := make(chan error, 1)
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	go func() {
		defer cancel()
		_, err := w.observe(ctx, r)
		result <- err
	}()
	return result
}

// awaitProgress returns when the words were told, before or now.
func (w *world) awaitProgress(words string) {
	w.t.Helper()
	if slices.Contains(w.saw(), words) {
		return
	}
	timeout := time.After(30 * time.Second)
	for {
		select {
		case said := <-w.told:
			if said == words {
				return
			}
		case <-timeout:
			w.t.Fatalf("progress %q was not told; there was %q", words, w.saw())
		}
	}
}
