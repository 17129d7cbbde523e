package kube_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubefault"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

var bothStrategies = []pipeline.Strategy{pipeline.StrategyRolling, pipeline.StrategyBlueGreen}

// breakable gives the executor a way to the cluster that can be broken. On the real one the test's own way stays whole.
func (w *world) breakable() (faults *kubefault.Faults, expire func()) {
	w.t.Helper()
	if w.sim != nil {
		return w.sim.Faults.Faults, w.sim.ExpireHistory
	}
	proxy := w.real.Proxy(w.t)
	w.options.Kubeconfig = proxy.Kubeconfig(w.t, w.namespace)
	return proxy.Faults, func() { proxy.ExpireHistory(w.t) }
}

// refuseAdmission lets the cluster refuse what is written until allow is called.
func (w *world) refuseAdmission(message string) (allow func()) {
	w.t.Helper()
	if w.sim == nil {
		return w.real.RefuseAdmission(w.t, w.namespace, message)
	}
	w.sim.Faults.RefuseAdmission(w.namespace, message)
	return func() { w.sim.Faults.RefuseAdmission(w.namespace, "") }
}

// podQuota allows that many pods, and any number if it is negative.
func (w *world) podQuota(n int) {
	w.t.Helper()
	if w.sim != nil {
		w.sim.Faults.SetPodQuota(w.namespace, n)
		return
	}
	quotas := w.admin.CoreV1().ResourceQuotas(w.namespace)
	if n < 0 {
		if err := quotas.Delete(w.t.Context(), "few", metav1.DeleteOptions{}); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	_, err := quotas.Create(w.t.Context(), &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "few"}, Spec: corev1.ResourceQuotaSpec{
		Hard: corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(int64(n), resource.DecimalSI)},
	}}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.await("the quota", func() bool {
		q, err := quotas.Get(w.t.Context(), "few", metav1.GetOptions{})
		return err == nil && len(q.Status.Used) > 0
	})
}

// terminate deletes the namespace and holds it back from being gone until the test ends.
func (w *world) terminate() {
	w.t.Helper()
	maps, ctx := w.admin.CoreV1().ConfigMaps(w.namespace), w.t.Context()
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "held", Finalizers: []string{"slipway.test/held"}}}
	if _, err := maps.Create(ctx, held, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	if err := w.admin.CoreV1().Namespaces().Delete(ctx, w.namespace, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
	w.await("the namespace to be emptied", func() bool {
		list, err := w.admin.AppsV1().Deployments(w.namespace).List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0
	})
	w.await("the namespace to be terminating", func() bool {
		_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
	})
	w.t.Cleanup(func() {
		patch := []byte(`{"metadata":{"finalizers":null}}`)
		ctx := w.detached()
		if _, err := maps.Patch(ctx, "held", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
			w.t.Error(err)
		}
	})
}

// wants checks a failure that no further try changes.
func (w *world) wants(err error, code pipeline.ReasonCode, words ...string) *pipeline.Failure {
	w.t.Helper()
	f := w.permanent(err)
	if f.Code != code {
		w.t.Errorf("the code is %q, want %q", f.Code, code)
	}
	for _, word := range words {
		if !strings.Contains(f.Detail, word) {
			w.t.Errorf("it says %q, which lacks %q", f.Detail, word)
		}
	}
	return f
}

// wantsLater checks a failure that is tried again.
func (w *world) wantsLater(err error, code pipeline.ReasonCode, words string) {
	w.t.Helper()
	f, ok := pipeline.AsFailure(err)
	if !ok || f.Permanent || f.Code != code || !strings.Contains(f.Detail, words) {
		w.t.Errorf("got %v (%+v), want %s, tried again, that says %q", err, f, code, words)
	}
}

// TestAFailedReleaseHasNoTrafficAndIsTakenBack: while its rollout is stuck, whoever served serves on, and so after the rollback.
func TestAFailedReleaseHasNoTrafficAndIsTakenBack(t *testing.T) {
	tooMuch := strings.Replace(deployment("shop:2", 2, ""), `image: "shop:2"`, `image: "shop:2", resources: {requests: {cpu: "5000"}}`, 1)
	cases := []struct {
		name, manifests string
		code            pipeline.ReasonCode
		words           []string
		quota           int
	}{
		{"a crash loop", deployment("shop:crash", 2, ""), pipeline.ReasonCrashLoop, []string{"exited with code 1", "panic: connect to database"}, 0},
		{"an image that isn't there", deployment("shop:missing", 2, ""), pipeline.ReasonImagePull, []string{"shop:missing: "}, 0},
		{"a pod that is never ready", deployment("shop:neverready", 2, ", progressDeadlineSeconds: 2"), pipeline.ReasonDeadline, []string{"0 of 2 pods ready"}, 0},
		{"a pod that no node takes", tooMuch, pipeline.ReasonUnschedulable, []string{"nsufficient cpu"}, 0},
		{"a quota", deployment("shop:2", 2, ""), pipeline.ReasonQuota, []string{"can't make pods", "exceeded quota"}, 2},
	}
	for _, strategy := range bothStrategies {
		for _, tc := range cases {
			t.Run(string(strategy)+", "+tc.name, func(t *testing.T) {
				onEachCluster(t, func(t *testing.T, w *world) {
					w.deploy.Strategy = strategy
					w.patience = deploy.Patience{ImagePull: time.Second, Unschedulable: 300 * time.Millisecond, Refused: 300 * time.Millisecond}
					w.commit("aaaa1111", configMap("settings", "one")+service+deployment("shop:1", 2, ""))
					w.commit("bbbb2222", configMap("settings", "two")+service+tc.manifests)
					clients := w.clients()
					one := w.deliver("aaaa1111", nil)
					serves := w.deployments()[0]
					if tc.quota > 0 {
						w.podQuota(tc.quota)
					}
					two := w.mustApply("bbbb2222")
					_, err := w.observe(w.context(), two)
					w.wants(err, tc.code, tc.words...)
					clients.went(t, serves)

					restored := w.must("bbbb2222", pipeline.Restore{Stage: stageName, Attempt: 1, Environment: "production", To: &one, From: &two}).(pipeline.Restored)
					if restored.Serving != (strategy == pipeline.StrategyBlueGreen) {
						t.Errorf("it serves at once: %v", restored.Serving)
					}
					if _, err := w.observe(w.context(), one); err != nil {
						t.Fatal(err)
					}
					w.retire(one, &two)
					w.wantDeployments(serves)
					if value := w.configMap("settings").Data["value"]; value != "one" {
						t.Errorf("settings are %s", value)
					}
					clients.went(t, serves)
				})
			})
		}
	}
}

// TestAnAdmissionThatRefuses stands in the way before the cutover, at it, and at the rollback.
func TestAnAdmissionThatRefuses(t *testing.T) {
	const message = "images must be signed"
	t.Run("a rolling release", func(t *testing.T) {
		onEachCluster(t, func(t *testing.T, w *world) {
			w.commit("aaaa1111", configMap("settings", "one")+deployment("shop:1", 1, ""))
			w.commit("bbbb2222", configMap("settings", "two")+deployment("shop:crash", 1, ""))
			one := w.release("aaaa1111")
			allow := w.refuseAdmission(message)
			_, err := w.apply("bbbb2222")
			if f := w.wants(err, pipeline.ReasonRefused, message); !f.Unchanged {
				t.Error("it doesn't say that nothing was changed")
			}
			allow()
			two := w.mustApply("bbbb2222")
			_, err = w.observe(w.context(), two)
			w.wants(err, pipeline.ReasonCrashLoop)
			allow = w.refuseAdmission(message)
			restore := pipeline.Restore{Stage: stageName, Environment: "production", To: &one, From: &two}
			_, err = w.do("bbbb2222", restore)
			w.wants(err, pipeline.ReasonRefused, message)
			allow()
			w.must("bbbb2222", restore)
			if _, err := w.observe(w.context(), one); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("a blue-green release", func(t *testing.T) {
		onEachCluster(t, func(t *testing.T, w *world) {
			w.deploy.Strategy = pipeline.StrategyBlueGreen
			w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
			w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
			clients := w.clients()
			one := w.deliver("aaaa1111", nil)
			v1 := versionedDeployment(one)
			allow := w.refuseAdmission(message)
			_, err := w.apply("bbbb2222")
			if f := w.wants(err, pipeline.ReasonRefused, message); !f.Unchanged {
				t.Error("it doesn't say that nothing was changed")
			}
			w.wantDeployments(v1)
			allow()
			two := w.release("bbbb2222")
			v2 := versionedDeployment(two)
			allow = w.refuseAdmission(message)
			_, err = w.do("bbbb2222", pipeline.Switch{Stage: stageName, Environment: "production", To: two, From: &one})
			w.wants(err, pipeline.ReasonRefused, "Service shop", message)
			clients.went(t, v1)
			allow()
			w.switchTo(two, &one)
			clients.went(t, v1, v2)
			allow = w.refuseAdmission(message)
			restore := pipeline.Restore{Stage: stageName, Environment: "production", To: &one, From: &two}
			_, err = w.do("bbbb2222", restore)
			w.wants(err, pipeline.ReasonRefused, "Service shop", message)
			clients.went(t, v1, v2)
			allow()
			if !w.must("bbbb2222", restore).(pipeline.Restored).Serving {
				t.Error("it doesn't serve at once")
			}
			w.retire(one, &two)
			clients.went(t, v1, v2, v1)
			w.wantDeployments(v1)
		})
	})
}

func TestANamespaceThatIsBeingDeleted(t *testing.T) {
	for _, strategy := range bothStrategies {
		t.Run(string(strategy), func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.deploy.Strategy = strategy
				w.commit("aaaa1111", configMap("settings", "one")+service+deployment("shop:1", 1, ""))
				w.commit("bbbb2222", configMap("settings", "two")+service+deployment("shop:neverready", 1, ""))
				w.commit("cccc3333", configMap("settings", "three")+service+deployment("shop:3", 1, ""))
				one := w.deliver("aaaa1111", nil)
				two := w.mustApply("bbbb2222")
				result := w.observing(t.Context(), two)
				w.awaitProgress("0 of 1 pod ready")
				w.terminate()
				f := w.permanent(<-result)
				if !strings.Contains(f.Detail, " is gone") && !strings.Contains(f.Detail, "being terminated") {
					t.Errorf("the rollout says %q", f.Detail)
				}
				words := fmt.Sprintf("namespace %s of cluster %s is being deleted", w.namespace, w.options.Name)
				_, err := w.apply("cccc3333")
				w.wants(err, pipeline.ReasonForbidden, words)
				_, err = w.do("bbbb2222", pipeline.Restore{Stage: stageName, Environment: "production", To: &one, From: &two})
				w.wants(err, pipeline.ReasonForbidden, words)
				if strategy == pipeline.StrategyBlueGreen {
					_, err = w.do("bbbb2222", pipeline.Switch{Stage: stageName, Environment: "production", To: two, From: &one})
					w.wants(err, pipeline.ReasonOther, "is gone, so it can't take the traffic")
				}
			})
		})
	}
}

// TestDeploymentsThatSomebodyDeletes: before the traffic moves, and while they are on standby.
func TestDeploymentsThatSomebodyDeletes(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.deploy.Strategy = pipeline.StrategyBlueGreen
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
		w.commit("cccc3333", service+deployment("shop:3", 1, ""))
		remove := func(name string) {
			t.Helper()
			if err := w.admin.AppsV1().Deployments(w.namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		clients := w.clients()
		one := w.deliver("aaaa1111", nil)
		two := w.release("bbbb2222")
		v1 := versionedDeployment(one)
		remove(versionedDeployment(two))
		_, err := w.do("bbbb2222", pipeline.Switch{Stage: stageName, Environment: "production", To: two, From: &one})
		w.wants(err, pipeline.ReasonOther, "Deployment "+versionedDeployment(two)+" is gone")
		w.restore("bbbb2222", &one, &two)
		w.retire(one, &two)
		clients.went(t, v1)

		three := w.release("cccc3333")
		v3 := versionedDeployment(three)
		w.switchTo(three, &one)
		clients.went(t, v1, v3)
		remove(v1) // on standby
		restored := w.must("cccc3333", pipeline.Restore{Stage: stageName, Environment: "production", To: &one, From: &three}).(pipeline.Restored)
		if restored.Serving {
			t.Error("it serves at once without pods")
		}
		if _, err := w.observe(w.context(), one); err != nil {
			t.Fatal(err)
		}
		clients.went(t, v1, v3)
		w.switchTo(one, &three)
		w.retire(one, &three)
		clients.went(t, v1, v3, v1)
		w.wantDeployments(v1)
	})
}

// TestTheTrafficStaysWhereItIsWhileTheClusterIsAway asks for each step of a blue-green release while nobody answers.
func TestTheTrafficStaysWhereItIsWhileTheClusterIsAway(t *testing.T) {
	t.Parallel()
	w := realOne(t)
	faults, _ := w.breakable()
	w.deploy.Strategy = pipeline.StrategyBlueGreen
	w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
	w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
	clients := w.clients()
	one := w.deliver("aaaa1111", nil)
	two := w.release("bbbb2222")
	v1, v2 := versionedDeployment(one), versionedDeployment(two)
	away := func(do pipeline.Action) {
		t.Helper()
		faults.SetUnreachable(true)
		_, err := w.do("bbbb2222", do)
		w.wantsLater(err, pipeline.ReasonUnreachable, "cluster real doesn't answer")
		faults.SetUnreachable(false)
		faults.FailRequests(1, 503)
		if _, err := w.do("bbbb2222", do); err != nil {
			w.wantsLater(err, pipeline.ReasonUnreachable, "cluster real ")
		}
		faults.FailRequests(0, 0)
		w.must("bbbb2222", do)
	}
	away(pipeline.Switch{Stage: stageName, Environment: "production", To: two, From: &one})
	clients.went(t, v1, v2)
	away(pipeline.Restore{Stage: stageName, Environment: "production", To: &one, From: &two})
	clients.went(t, v1, v2, v1)
	away(pipeline.Retire{Stage: stageName, Environment: "production", Serving: one, Old: &two})
	w.wantDeployments(v1)
	clients.went(t, v1, v2, v1)
}

// TestAClusterWithAnotherClock: its times are only compared with its own.
func TestAClusterWithAnotherClock(t *testing.T) {
	for _, skew := range []time.Duration{-2 * time.Hour, 2 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			w := simulatedAt(t, func() time.Time { return time.Now().Add(skew) })
			w.deploy.Strategy = pipeline.StrategyBlueGreen
			w.patience = deploy.Patience{ImagePull: time.Second, Refused: 300 * time.Millisecond}
			w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
			w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
			w.commit("cccc3333", service+deployment("shop:neverready", 1, ", progressDeadlineSeconds: 20"))
			clients := w.clients()
			one := w.deliver("aaaa1111", nil)
			two := w.release("bbbb2222")
			w.switchTo(two, &one)
			w.restore("bbbb2222", &one, &two)
			w.retire(one, &two)
			clients.went(t, versionedDeployment(one), versionedDeployment(two), versionedDeployment(one))
			_, err := w.observe(w.context(), w.mustApply("cccc3333"))
			w.wants(err, pipeline.ReasonDeadline, "0 of 1 pod ready")
			w.run = &pipeline.Run{Environment: "production", Image: "tool:1"}
			for attempt := 1; attempt < 3; attempt++ {
				if out, err := w.runJob(attempt); err != nil || !out.Passed {
					t.Errorf("the job: %+v, %v", out, err)
				}
			}
			w.podQuota(0)
			_, err = w.runJob(3)
			w.wants(err, pipeline.ReasonQuota, "exceeded quota")
		})
	}
}
