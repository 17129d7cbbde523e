package kube_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// migrate is a Job. more is further YAML of its spec, in flow style.
func migrate(name, image, more string) string {
	return fmt.Sprintf(`
---
apiVersion: batch/v1
kind: Job
metadata: {name: %s}
spec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: app, image: %q}]}}%s}
`, name, image, more)
}

func (w *world) runJob(attempt int) (pipeline.JobRan, error) {
	w.t.Helper()
	return w.runStage(w.context(), "aaaa1111", attempt)
}

// runStage does all that a run stage does: it starts the Job, and watches it.
func (w *world) runStage(ctx context.Context, sha string, attempt int) (pipeline.JobRan, error) {
	job, err := w.startJob(ctx, sha, attempt)
	if err != nil {
		return pipeline.JobRan{}, err
	}
	event, err := w.executor().Execute(ctx, w.task(sha, pipeline.WatchJob{Stage: stageName, Attempt: attempt, Job: job}))
	if err != nil {
		return pipeline.JobRan{}, err
	}
	return event.(pipeline.JobRan), nil
}

func (w *world) startJob(ctx context.Context, sha string, attempt int) (pipeline.StartedJob, error) {
	event, err := w.executor().Execute(ctx, w.task(sha, pipeline.RunJob{Stage: stageName, Attempt: attempt}))
	if err != nil {
		return pipeline.StartedJob{}, err
	}
	started := event.(pipeline.JobStarted)
	return pipeline.StartedJob{Name: started.Job, UID: started.UID, At: time.Date(2026, 3, 2, 9, 5, 0, 0, time.UTC)}, nil
}

func (w *world) jobs() []string {
	w.t.Helper()
	list, err := w.admin.BatchV1().Jobs(w.namespace).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, j := range list.Items {
		if j.DeletionTimestamp == nil {
			names = append(names, j.Name)
		}
	}
	return names
}

func TestJobsRunToTheirEnd(t *testing.T) {
	const secret = "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: database}\nstringData: {url: connection refused}\n"
	cases := []struct {
		name, manifests string
		run             pipeline.Run
		passed          bool
		code            int32
		words           []string
		named           string
	}{
		{"a job of the manifests", configMap("settings", "one") + migrate("migrate", "migrate:1", ""), pipeline.Run{Manifests: "deploy"}, true, 0, nil, "migrate-"},
		{"one of several", migrate("other", "other:1", "") + migrate("migrate", "migrate:1", ""), pipeline.Run{Manifests: "deploy", Job: "migrate"}, true, 0, nil, "migrate-"},
		{"an image", "", pipeline.Run{Image: "tool:1", Command: []string{"tool"}, Args: []string{"--all"}, Env: map[string]string{"MODE": "full"}}, true, 0, nil, "go-live-"},
		{"a job that fails", migrate("migrate", "exit3", ""), pipeline.Run{Manifests: "deploy"}, false, 3,
			[]string{"Job migrate-aaaa1111-", "exit code 3", "BackoffLimitExceeded"}, "migrate-"},
		{"a job that fails, without the values of its secrets", secret + migrate("migrate", "crash", ""), pipeline.Run{Manifests: "deploy"}, false, 1,
			[]string{"exit code 1", "[secret]"}, "migrate-"},
		{"a job that takes too long", migrate("migrate", "forever", ", activeDeadlineSeconds: 1"), pipeline.Run{Manifests: "deploy"}, false, 1,
			[]string{"DeadlineExceeded"}, "migrate-"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				run := tc.run
				run.Environment = "production"
				w.run = &run
				w.commit("aaaa1111", tc.manifests)
				out, err := w.runJob(1)
				if err != nil {
					t.Fatal(err)
				}
				if out.Passed != tc.passed || out.Ran.ExitCode != tc.code || !strings.HasPrefix(out.Ran.Job, tc.named) || tc.passed != (out.Detail == "") {
					t.Errorf("got %+v", out)
				}
				for _, word := range tc.words {
					if !strings.Contains(out.Detail, word) {
						t.Errorf("it says %q, which lacks %q", out.Detail, word)
					}
				}
				if strings.Contains(out.Detail, "connection refused") {
					t.Errorf("it shows a secret: %q", out.Detail)
				}
				if log, err := w.blobs.GetBlob(t.Context(), out.Ran.Log); out.Ran.Log != "" && (err != nil || len(log) == 0) {
					t.Errorf("the log is %q, %v", log, err)
				} else if w.sim != nil && tc.passed && !strings.HasSuffix(string(log), "done\n") {
					t.Errorf("the log is %q", log)
				}
				// After a kill the same one is found.
				again, err := w.runJob(1)
				if err != nil || again.Ran.Job != out.Ran.Job || again.Passed != out.Passed || len(w.jobs()) != 1 {
					t.Errorf("again: %+v, %v; jobs are %q", again, err, w.jobs())
				}
				// Another attempt has one of its own.
				next, err := w.runJob(2)
				if err != nil || next.Ran.Job == out.Ran.Job || len(w.jobs()) != 2 {
					t.Errorf("the next attempt: %+v, %v; jobs are %q", next, err, w.jobs())
				}
			})
		})
	}
}

// TestAJobThatIsGoneIsNotRunAgain: it was deleted, or its time was over, while nobody looked.
func TestAJobThatIsGoneIsNotRunAgain(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprintf("another of its name is there: %v", again), func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.run = &pipeline.Run{Environment: "production", Manifests: "deploy"}
				w.commit("aaaa1111", migrate("migrate", "migrate:1", ""))
				job, err := w.startJob(w.context(), "aaaa1111", 1)
				if err != nil {
					t.Fatal(err)
				}
				if err := w.admin.BatchV1().Jobs(w.namespace).Delete(t.Context(), job.Name, metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}); err != nil {
					t.Fatal(err)
				}
				w.await("the end of the job", func() bool { return len(w.jobs()) == 0 })
				want := 0
				if again {
					if _, err := w.startJob(w.context(), "aaaa1111", 1); err != nil {
						t.Fatal(err)
					}
					want = 1
				}
				_, err = w.do("aaaa1111", pipeline.WatchJob{Stage: stageName, Attempt: 1, Job: job})
				w.wants(err, pipeline.ReasonRunLost, "the Job "+job.Name+" was started at 09:05 UTC on 2 March and is gone; nobody knows whether it finished")
				if names := w.jobs(); len(names) != want {
					t.Errorf("jobs are %q", names)
				}
			})
		})
	}
}

func TestInlineJobsGetNoCredentials(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.run = &pipeline.Run{Environment: "production", Image: "tool:1", Env: map[string]string{"B": "2", "A": "1"}}
		out, err := w.runJob(1)
		if err != nil {
			t.Fatal(err)
		}
		j, err := w.admin.BatchV1().Jobs(w.namespace).Get(t.Context(), out.Ran.Job, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pod := j.Spec.Template.Spec
		if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken || *j.Spec.BackoffLimit != 0 || *j.Spec.TTLSecondsAfterFinished != 86400 {
			t.Errorf("the job is %+v", j.Spec)
		}
		if env := pod.Containers[0].Env; len(env) != 2 || env[0].Name != "A" || env[1].Value != "2" {
			t.Errorf("its environment is %v", env)
		}
		if j.Labels[deploy.LabelEnvironment] != "production" || j.Annotations[deploy.AnnotationDelivery] != "7-1-aaaa1111" {
			t.Errorf("its marks are %v %v", j.Labels, j.Annotations)
		}
	})
}

func TestJobsThatCanNotRunSayWhy(t *testing.T) {
	cases := []struct {
		name, manifests string
		run             pipeline.Run
		code            pipeline.ReasonCode
		words           string
	}{
		{"an image that isn't there", migrate("migrate", "missing", ""), pipeline.Run{Manifests: "deploy"}, pipeline.ReasonImagePull, "missing"},
		{"a Deployment beside it", migrate("migrate", "migrate:1", "") + deployment("shop:1", 1, ""), pipeline.Run{Manifests: "deploy"}, pipeline.ReasonManifest, "Deployment shop is not for a run stage"},
		{"several", migrate("one", "migrate:1", "") + migrate("two", "migrate:1", ""), pipeline.Run{Manifests: "deploy"}, pipeline.ReasonManifest, "several Jobs (one, two)"},
		{"another name", migrate("one", "migrate:1", ""), pipeline.Run{Manifests: "deploy", Job: "two"}, pipeline.ReasonManifest, "no Job two, but one"},
		{"none", configMap("settings", "one"), pipeline.Run{Manifests: "deploy"}, pipeline.ReasonManifest, "holds no Job"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.patience = deploy.Patience{ImagePull: 300 * time.Millisecond}
				run := tc.run
				run.Environment = "production"
				w.run = &run
				w.commit("aaaa1111", tc.manifests)
				_, err := w.runJob(1)
				if f := w.permanent(err); f.Code != tc.code || !strings.Contains(f.Detail, tc.words) {
					t.Errorf("got %s: %s", f.Code, f.Detail)
				}
				if names := w.jobs(); len(names) > 0 {
					t.Errorf("jobs %q are left", names)
				}
			})
		})
	}
}

// stopJob stops the stage's Job, or looks twice whether there is one, until it is gone with its pods.
func (w *world) stopJob() {
	w.t.Helper()
	if err := w.stopped(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stopped() error {
	stop := pipeline.StopJob{Stage: stageName, Attempt: 1}
	for attempt := 1; ; attempt++ {
		task := w.task("aaaa1111", stop)
		task.Attempt = attempt
		event, err := w.executor().Execute(w.context(), task)
		if f, ok := pipeline.AsFailure(err); ok && !f.Permanent && f.After > 0 {
			continue
		}
		if want := (pipeline.JobStopped{Stage: stageName, Attempt: 1}); err == nil && event != want {
			return fmt.Errorf("the outcome is %#v", event)
		}
		return err
	}
}

// leaveJob starts the stage's Job, and is gone when it runs.
func (w *world) leaveJob() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.context())
	ended := make(chan error, 1)
	go func() {
		_, err := w.runStage(ctx, "aaaa1111", 1)
		ended <- err
	}()
	for words := range w.told {
		if words == "the job is running" {
			break
		}
	}
	cancel()
	if err := <-ended; err == nil {
		w.t.Error("the job has ended by itself")
	}
}

func TestAJobIsStopped(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.run = &pipeline.Run{Environment: "production", Manifests: "deploy"}
		w.commit("aaaa1111", migrate("migrate", "forever", ""))
		w.stopJob() // there is none yet
		w.leaveJob()
		w.stopJob()
		if jobs, pods := w.jobs(), w.podsOf("aaaa1111"); len(jobs)+len(pods) > 0 {
			t.Errorf("it was stopped, and there are jobs %q and pods %q", jobs, pods)
		}
		w.stopJob()
	})
}

// podsOf lists the pods of Jobs of a commit, also those that are ending.
func (w *world) podsOf(sha string) (names []string) {
	w.t.Helper()
	list, err := w.admin.CoreV1().Pods(w.namespace).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range list.Items {
		if strings.Contains(list.Items[i].Name, sha) {
			names = append(names, list.Items[i].Name)
		}
	}
	return names
}

// hold sets the finalizers of the Job's pods, so that they stay for a while.
func (w *world) hold(finalizers string) {
	w.t.Helper()
	for _, name := range w.podsOf("aaaa1111") {
		patch := []byte(`{"metadata":{"finalizers":` + finalizers + `}}`)
		if _, err := w.admin.CoreV1().Pods(w.namespace).Patch(w.context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestAJobIsStoppedWhenItsPodsHaveEnded(t *testing.T) {
	for name, remove := range map[string]func(w *world){
		"by Slipway": func(*world) {},
		"after somebody has removed it": func(w *world) {
			background := metav1.DeletePropagationBackground
			if err := w.admin.BatchV1().Jobs(w.namespace).Delete(w.context(), w.jobs()[0], metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.run = &pipeline.Run{Environment: "production", Manifests: "deploy"}
				w.commit("aaaa1111", migrate("migrate", "forever", ""))
				w.leaveJob()
				w.hold(`["example.com/still-writing"]`)
				remove(w)
				ended := make(chan error, 1)
				go func() { ended <- w.stopped() }()
				w.await("the job to be removed", func() bool { return len(w.jobs()) == 0 })
				select {
				case err := <-ended:
					t.Fatalf("it counts as stopped while %q are there: %v", w.podsOf("aaaa1111"), err)
				default:
				}
				w.hold("[]")
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				if pods := w.podsOf("aaaa1111"); len(pods) > 0 {
					t.Errorf("pods %q are left", pods)
				}
			})
		})
	}
}

// TestAJobThatCannotBeFoundAnyMoreIsNotStopped: the operator may have taken the environment away while it ran.
func TestAJobThatCannotBeFoundAnyMoreIsNotStopped(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	w.run = &pipeline.Run{Environment: "production", Manifests: "deploy"}
	w.commit("aaaa1111", migrate("migrate", "forever", ""))
	w.leaveJob()
	w.environment = "elsewhere"
	stop := w.task("aaaa1111", pipeline.StopJob{Stage: stageName, Attempt: 1})
	if event, err := w.executor().Execute(w.context(), stop); err != nil || event != (pipeline.JobStopped{Stage: stageName, Attempt: 1}) {
		t.Errorf("one that was never made: %#v, %v", event, err)
	}
	stop.Delivery.Stages[0].Begun = &pipeline.StartedJob{Name: w.jobs()[0]}
	_, err := w.executor().Execute(w.context(), stop)
	if f := w.permanent(err); f.Code != pipeline.ReasonNotAllowed {
		t.Errorf("one that runs: %+v", f)
	}
}

func TestAJobThatIsNoLongerSlipwaysIsNotStopped(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	w.run = &pipeline.Run{Environment: "production", Manifests: "deploy"}
	w.commit("aaaa1111", migrate("migrate", "forever", ""))
	w.leaveJob()
	name := w.jobs()[0]
	patch := []byte(`{"metadata":{"labels":{"` + deploy.LabelManagedBy + `":"somebody"}}}`)
	if _, err := w.admin.BatchV1().Jobs(w.namespace).Patch(w.context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if f := w.permanent(w.stopped()); !strings.Contains(f.Detail, "has lost Slipway's labels, so it was not stopped") {
		t.Errorf("got %s", f.Detail)
	}
}

func TestTheJobOfTheAttemptBeforeEndsFirst(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.run = &pipeline.Run{Environment: "production", Manifests: "deploy"}
		w.commit("aaaa1111", migrate("migrate", "forever", ""))
		w.leaveJob()
		before := w.jobs()
		w.commit("aaaa1111", migrate("migrate", "migrate:1", ""))
		if out, err := w.runJob(2); err != nil || !out.Passed {
			t.Fatalf("got %+v, %v", out, err)
		}
		if now := w.jobs(); len(now) != 1 || now[0] == before[0] {
			t.Errorf("jobs were %q and are %q", before, now)
		}
		// One that has ended stays for people to look at.
		if out, err := w.runJob(3); err != nil || !out.Passed {
			t.Fatalf("got %+v, %v", out, err)
		}
		if now := w.jobs(); len(now) != 2 {
			t.Errorf("jobs are %q", now)
		}
	})
}

func TestAChangedJobOfADeployIsExplained(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", migrate("migrate", "migrate:1", ""))
		w.commit("bbbb2222", migrate("migrate", "migrate:2", ""))
		w.mustApply("aaaa1111")
		_, err := w.apply("bbbb2222")
		if f := w.permanent(err); f.Code != pipeline.ReasonManifest || !strings.Contains(f.Detail, "let a run stage run it") {
			t.Errorf("got %s: %s", f.Code, f.Detail)
		}
	})
}

// TestJobsOfChecksAreApart: several checks of one attempt run one Job each, in the environment of their stage.
func TestJobsOfChecksAreApart(t *testing.T) {
	w := simulated(t)
	task := w.task("aaaa1111", pipeline.RunCheck{Stage: stageName, Attempt: 1, Check: "smoke", Run: 1})
	names := map[string]bool{}
	for _, name := range []string{"smoke-1", "smoke-2", "Load Test-1", "smoke-1"} {
		passed, ran, detail, err := w.executor().RunToEnd(w.context(), task, pipeline.Run{Image: "smoke:1"}, name)
		if err != nil || !passed || detail != "" {
			t.Fatalf("%s: %v, %q, %v", name, passed, detail, err)
		}
		names[ran.Job] = true
	}
	if len(names) != 3 {
		t.Errorf("the jobs are %v", names)
	}
	list, err := w.admin.BatchV1().Jobs(w.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range list.Items {
		if d := j.Spec.ActiveDeadlineSeconds; d == nil || *d != 3600 {
			t.Errorf("job %s may run for %v seconds", j.Name, d)
		}
	}
}

// TestChecksWriteNothingOverWhatIsThere: they run without the environment's lock.
func TestChecksWriteNothingOverWhatIsThere(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	w.commit("aaaa1111", configMap("settings", "the release's"))
	w.mustApply("aaaa1111")
	check := func(manifests string) error {
		w.commit("aaaa1111", manifests)
		task := w.task("aaaa1111", pipeline.RunCheck{Stage: stageName, Attempt: 1, Check: "smoke", Run: 1})
		_, _, _, err := w.executor().RunToEnd(w.context(), task, pipeline.Run{Environment: "production", Manifests: "deploy"}, "smoke-1")
		return err
	}
	f := w.permanent(check(configMap("settings", "the check's") + migrate("smoke", "smoke:1", "")))
	if f.Code != pipeline.ReasonNotAllowed || !strings.Contains(f.Detail, "ConfigMap settings was delivered, and not by a check") {
		t.Errorf("got %+v", f)
	}
	if got := w.configMap("settings").Data["value"]; got != "the release's" {
		t.Errorf("the release's value is %q now", got)
	}
	for _, value := range []string{"one", "two"} { // what a check brought before, the next may change
		if err := check(configMap("smoke-settings", value) + migrate("smoke-"+value, "smoke:1", "")); err != nil {
			t.Fatal(err)
		}
		if got := w.configMap("smoke-settings").Data["value"]; got != value {
			t.Errorf("the check's value is %q, want %q", got, value)
		}
	}
}
