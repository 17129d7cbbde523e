package kube_test

import (
	"context"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubefault"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// jobRunners run the Job of the manifests: as a stage, and as a check of a deploy.
var jobRunners = map[string]func(w *world, ctx context.Context) error{
	"a run stage": func(w *world, ctx context.Context) error {
		w.run = &pipeline.Run{Environment: "production", Manifests: "deploy"}
		_, err := w.runStage(ctx, "aaaa1111", 1)
		return err
	},
	"a check": func(w *world, ctx context.Context) error {
		w.run = nil
		task := w.task("aaaa1111", pipeline.RunCheck{Stage: stageName, Attempt: 1, Check: "smoke", Run: 1})
		_, _, _, err := w.executor().RunToEnd(ctx, task, pipeline.Run{Manifests: "deploy"}, "smoke-1")
		return err
	},
}

// TestJobsThatCanNotBeginSayWhyAndAreRemoved, so that they don't begin later.
func TestJobsThatCanNotBeginSayWhyAndAreRemoved(t *testing.T) {
	tooMuch := strings.Replace(migrate("migrate", "migrate:1", ""), `image: "migrate:1"`, `image: "migrate:1", resources: {requests: {cpu: "5000"}}`, 1)
	cases := []struct {
		name, manifests string
		breaks          func(w *world)
		code            pipeline.ReasonCode
		words           []string
	}{
		{"an image that isn't there", migrate("migrate", "missing", ""), nil, pipeline.ReasonImagePull, []string{"missing: "}},
		{"a pod that no node takes", tooMuch, nil, pipeline.ReasonUnschedulable, []string{"nsufficient cpu"}},
		{"a quota", migrate("migrate", "migrate:1", ""), func(w *world) { w.podQuota(0) }, pipeline.ReasonQuota,
			[]string{"Job migrate-aaaa1111-", "can't make pods", "exceeded quota"}},
		{"an admission that refuses", migrate("migrate", "migrate:1", ""), func(w *world) { w.refuseAdmission("images must be signed") },
			pipeline.ReasonRefused, []string{"Job migrate-aaaa1111-", "images must be signed"}},
		{"a namespace that is being deleted", migrate("migrate", "migrate:1", ""), (*world).terminate, pipeline.ReasonForbidden, []string{" is being deleted"}},
		{"a field that somebody else manages", configMap("settings", "two") + migrate("migrate", "migrate:1", ""), func(w *world) {
			theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"value": "theirs"}}
			if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Create(w.t.Context(), theirs, metav1.CreateOptions{FieldManager: "kubectl-edit"}); err != nil {
				w.t.Fatal(err)
			}
		}, pipeline.ReasonConflict, []string{"ConfigMap settings: kubectl-edit manages .data.value"}},
	}
	for who, run := range jobRunners {
		for _, tc := range cases {
			t.Run(who+", "+tc.name, func(t *testing.T) {
				onEachCluster(t, func(_ *testing.T, w *world) {
					w.patience = deploy.Patience{ImagePull: 300 * time.Millisecond, Unschedulable: 300 * time.Millisecond, Refused: 300 * time.Millisecond}
					w.commit("aaaa1111", tc.manifests)
					if tc.breaks != nil {
						tc.breaks(w)
					}
					w.wants(run(w, w.context()), tc.code, tc.words...)
					w.await("the end of the job", func() bool { return len(w.jobs()) == 0 })
				})
			})
		}
	}
}

// running starts a Job that doesn't end by itself, and returns when its pod runs.
func (w *world) running(run func(*world, context.Context) error) <-chan error {
	w.t.Helper()
	w.commit("aaaa1111", migrate("migrate", "forever", ""))
	ended := make(chan error, 1)
	ctx := w.context()
	go func() { ended <- run(w, ctx) }()
	w.awaitProgress("the job is running")
	return ended
}

// theJob is the one Job that there is.
func (w *world) theJob() batchv1.Job {
	w.t.Helper()
	list, err := w.admin.BatchV1().Jobs(w.namespace).List(w.t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		w.t.Fatalf("%d jobs, %v", len(list.Items), err)
	}
	return list.Items[0]
}

// TestAJobIsFollowedThroughTroubleOfTheCluster: what happens to it during or after the trouble is seen, and it isn't run twice.
func TestAJobIsFollowedThroughTroubleOfTheCluster(t *testing.T) {
	for who, run := range jobRunners {
		for _, tc := range troubles {
			t.Run(who+", "+tc.name, func(t *testing.T) {
				onEachCluster(t, func(t *testing.T, w *world) {
					faults, expire := w.breakable()
					ended := w.running(run)
					uid := w.theJob().UID
					tc.disturb(w, faults, expire)
					faults.FailRequests(0, 0)
					job := w.theJob()
					if job.UID != uid {
						t.Error("it was made anew")
					}
					background := metav1.DeletePropagationBackground
					if err := w.admin.BatchV1().Jobs(w.namespace).Delete(t.Context(), job.Name, metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
						t.Fatal(err)
					}
					w.wants(<-ended, pipeline.ReasonRunLost, "Job "+job.Name+" is gone")
				})
			})
		}
	}
}

// TestAJobThatCanNotBeRemovedIsTriedAgain, because it may begin yet.
func TestAJobThatCanNotBeRemovedIsTriedAgain(t *testing.T) {
	w := simulated(t)
	w.patience = deploy.Patience{ImagePull: 50 * time.Millisecond}
	w.run = &pipeline.Run{Environment: "production", Manifests: "deploy"}
	w.commit("aaaa1111", migrate("migrate", "missing", ""))
	w.mortal = func(c deploy.Cluster) deploy.Cluster { return withoutRemoval{c} }
	_, err := w.runJob(1)
	w.wantsLater(err, pipeline.ReasonUnreachable, "away")
	if names := w.jobs(); len(names) != 1 {
		t.Errorf("jobs are %q", names)
	}
	w.mortal = nil
	_, err = w.runJob(1)
	w.wants(err, pipeline.ReasonImagePull)
	if names := w.jobs(); len(names) != 0 {
		t.Errorf("jobs are %q", names)
	}
}

// withoutRemoval is a cluster that goes away when something is to be removed.
type withoutRemoval struct{ deploy.Cluster }

func (withoutRemoval) Remove(context.Context, []manifest.Object, deploy.Claim) ([]string, error) {
	return nil, &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: "away"}
}

// TestAJobWithoutAPodWaitsWhereTheClusterDoesNotSayWhy: its events may not be read.
func TestAJobWithoutAPodWaitsWhereTheClusterDoesNotSayWhy(t *testing.T) {
	w := simulated(t)
	w.patience = deploy.Patience{Refused: 50 * time.Millisecond}
	w.run = &pipeline.Run{Environment: "production", Manifests: "deploy"}
	w.commit("aaaa1111", migrate("migrate", "migrate:1", ""))
	w.podQuota(0)
	w.mortal = func(c deploy.Cluster) deploy.Cluster { return withoutEvents{c} }
	ended := make(chan error, 1)
	go func() {
		_, err := w.runJob(1)
		ended <- err
	}()
	w.awaitProgress("the cluster has made no pod for it yet")
	w.podQuota(-1)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// troubles of the way to the cluster.
var troubles = []struct {
	name    string
	disturb func(w *world, faults *kubefault.Faults, expire func())
}{
	{"unreachable and back", func(w *world, faults *kubefault.Faults, _ func()) {
		faults.SetUnreachable(true)
		w.awaitProgress("cluster unreachable, trying again")
		faults.SetUnreachable(false)
	}},
	{"all watches end", func(_ *world, faults *kubefault.Faults, _ func()) { faults.EndWatches() }},
	{"the history is gone", func(_ *world, _ *kubefault.Faults, expire func()) { expire() }},
	{"some requests fail", func(_ *world, faults *kubefault.Faults, _ func()) {
		faults.FailRequests(5, 503)
		faults.EndWatches()
	}},
}

// withoutEvents is a cluster where events may not be read.
type withoutEvents struct{ deploy.Cluster }

func (c withoutEvents) List(ctx context.Context, kind schema.GroupVersionKind, selector string) ([]*unstructured.Unstructured, error) {
	if kind.Kind == "Event" {
		return nil, &pipeline.Failure{Code: pipeline.ReasonForbidden, Permanent: true, Detail: "may not list events"}
	}
	return c.Cluster.List(ctx, kind, selector)
}
