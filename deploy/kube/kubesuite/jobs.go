package kubesuite

import (
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	batchconfig "k8s.io/client-go/applyconfigurations/batch/v1"
	coreconfig "k8s.io/client-go/applyconfigurations/core/v1"
)

func jobTests() []test {
	return []test{
		{"a job completes", jobCompletes},
		{"a job that fails tells the exit code", jobFails},
		{"a job tries again after a while", jobTriesAgain},
		{"a job that restarts in place has the same limit", jobRestarts},
		{"a job past its deadline is stopped", jobDeadline},
		{"a job runs as many pods at once as it may", jobParallel},
		{"a finished job goes when its time is over", jobExpires},
		{"a suspended job waits", jobSuspended},
		{"a job counts a pod that is taken away as failed", jobLosesPod},
		{"a job that is deleted stops", jobDeleted},
		{"a job that can't be is refused with the reason", jobRefused},
	}
}

// job is the apply configuration of a Job named migrate that may not fail.
func (e *env) job(image string) *batchconfig.JobApplyConfiguration {
	return batchconfig.Job("migrate", e.ns).WithSpec(batchconfig.JobSpec().WithBackoffLimit(0).
		WithTemplate(coreconfig.PodTemplateSpec().WithLabels(map[string]string{"app": "app"}).
			WithSpec(coreconfig.PodSpec().WithRestartPolicy(corev1.RestartPolicyNever).
				WithContainers(coreconfig.Container().WithName("web").WithImage(image)))))
}

func (e *env) applyJob(j *batchconfig.JobApplyConfiguration) *batchv1.Job {
	e.Helper()
	out, err := e.client.BatchV1().Jobs(e.ns).Apply(e.ctx, j, applyAs(manager))
	if err != nil {
		e.Fatalf("apply job: %v", err)
	}
	return out
}

// awaitJob waits until the job is as wanted.
func (e *env) awaitJob(what string, is func(*batchv1.Job) bool) *batchv1.Job {
	e.Helper()
	var out *batchv1.Job
	e.await(what, "jobs", func() string {
		j, err := e.client.BatchV1().Jobs(e.ns).Get(e.ctx, "migrate", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if out = j; !is(j) {
			return fmt.Sprintf("job has status %+v", j.Status)
		}
		return ""
	})
	return out
}

func jobCondition(j *batchv1.Job, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i, c := range j.Status.Conditions {
		if c.Type == kind && c.Status == corev1.ConditionTrue {
			return &j.Status.Conditions[i]
		}
	}
	return nil
}

// wantEnd waits for the job's end and holds it to its two conditions.
func (e *env) wantEnd(first, last batchv1.JobConditionType, reason, message string) *batchv1.Job {
	e.Helper()
	j := e.awaitJob("the condition "+string(last), func(j *batchv1.Job) bool { return jobCondition(j, last) != nil })
	for _, kind := range []batchv1.JobConditionType{first, last} {
		if c := jobCondition(j, kind); c == nil || c.Reason != reason || c.Message != message {
			e.Errorf("condition %s is %+v, want reason %s and message %q", kind, c, reason, message)
		}
	}
	if j.Status.Active != 0 || *j.Status.Ready != 0 || *j.Status.Terminating != 0 || j.Status.StartTime == nil {
		e.Errorf("status of a job that has ended is %+v", j.Status)
	}
	return j
}

func (e *env) wantFailure(reason, message string) *batchv1.Job {
	e.Helper()
	j := e.wantEnd(batchv1.JobFailureTarget, batchv1.JobFailed, reason, message)
	if j.Status.CompletionTime != nil || jobCondition(j, batchv1.JobComplete) != nil {
		e.Errorf("a failed job is complete too: %+v", j.Status)
	}
	e.await("the event", "events", func() string {
		list, err := e.client.CoreV1().Events(e.ns).List(e.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=migrate,reason=" + reason})
		if err != nil || len(list.Items) == 0 || list.Items[0].Message != message {
			return "no event"
		}
		return ""
	})
	return j
}

func (e *env) wantComplete() *batchv1.Job {
	e.Helper()
	j := e.wantEnd(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete, "CompletionsReached", "Reached expected number of succeeded pods")
	if j.Status.CompletionTime == nil {
		e.Error("a complete job has no completion time")
	}
	return j
}

func jobCompletes(e *env) {
	made := e.applyJob(e.job("migrate:1"))
	want := map[string]string{
		"app": "app", batchv1.JobNameLabel: "migrate", batchv1.ControllerUidLabel: string(made.UID),
		"job-name": "migrate", "controller-uid": string(made.UID),
	}
	j := e.wantComplete()
	if j.Status.Succeeded != 1 || j.Status.Failed != 0 {
		e.Errorf("status is %+v, want one success", j.Status)
	}
	pod := e.awaitPod("the end", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded && len(p.Finalizers) == 0 })
	for name, value := range want {
		if pod.Labels[name] != value {
			e.Errorf("label %s of the pod is %q, want %q", name, pod.Labels[name], value)
		}
	}
	if !strings.HasPrefix(pod.Name, "migrate-") || !metav1.IsControlledBy(pod, j) {
		e.Errorf("pod %s has owners %+v, want the job", pod.Name, pod.OwnerReferences)
	}
	ended := pod.Status.ContainerStatuses[0].State.Terminated
	if ended == nil || ended.ExitCode != 0 || ended.Reason != "Completed" || podReady(pod) {
		e.Errorf("container ended as %+v, and the pod is ready: %v", ended, podReady(pod))
	}
	if text := e.log(pod.Name, &corev1.PodLogOptions{TailLines: new(int64(1))}); text != "done\n" {
		e.Errorf("the log's last line is %q", text)
	}
}

func jobFails(e *env) {
	e.applyJob(e.job("migrate:exit3"))
	if j := e.wantFailure("BackoffLimitExceeded", "Job has reached the specified backoff limit"); j.Status.Failed != 1 || j.Status.Succeeded != 0 {
		e.Errorf("status is %+v, want one failure", j.Status)
	}
	pod := e.awaitPod("the failure", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	ended := pod.Status.ContainerStatuses[0].State.Terminated
	if ended == nil || ended.ExitCode != 3 || ended.Reason != "Error" || pod.Status.ContainerStatuses[0].RestartCount != 0 {
		e.Errorf("container ended as %+v, want exit code 3", ended)
	}
	if text := e.log(pod.Name, &corev1.PodLogOptions{TailLines: new(int64(1))}); text != "exit status 3\n" {
		e.Errorf("the log's last line is %q", text)
	}
}

func jobTriesAgain(e *env) {
	j := e.job("migrate:crash")
	j.Spec.WithBackoffLimit(1)
	e.applyJob(j)
	e.awaitJob("the first failure", func(j *batchv1.Job) bool { return j.Status.Failed == 1 && len(j.Status.Conditions) == 0 })
	if ended := e.wantFailure("BackoffLimitExceeded", "Job has reached the specified backoff limit"); ended.Status.Failed != 2 {
		e.Errorf("%d pods have failed, want 2", ended.Status.Failed)
	}
	pods := e.pods()
	if len(pods) != 2 {
		e.Fatalf("%d pods are left to look at, want 2", len(pods))
	}
	if gap := pods[0].CreationTimestamp.Sub(pods[1].CreationTimestamp.Time).Abs(); gap < 9*time.Second {
		e.Errorf("the second pod came %v after the first, want about 10 s", gap)
	}
}

func jobRestarts(e *env) {
	j := e.job("migrate:crash")
	j.Spec.WithBackoffLimit(1)
	j.Spec.Template.Spec.WithRestartPolicy(corev1.RestartPolicyOnFailure)
	e.applyJob(j)
	if ended := e.wantFailure("BackoffLimitExceeded", "Job has reached the specified backoff limit"); ended.Status.Failed != 1 {
		e.Errorf("%d pods have failed, want 1", ended.Status.Failed)
	}
	e.awaitNoPods()
}

func (e *env) awaitNoPods() {
	e.Helper()
	e.await("the pods to go", "pods", func() string {
		if n := len(e.pods()); n > 0 {
			return fmt.Sprintf("%d pods left", n)
		}
		return ""
	})
}

func jobDeadline(e *env) {
	j := e.job("migrate:forever")
	j.Spec.WithActiveDeadlineSeconds(3)
	e.applyJob(j)
	running := e.awaitJob("a ready pod", func(j *batchv1.Job) bool {
		return j.Status.Active == 1 && j.Status.Ready != nil && *j.Status.Ready == 1
	})
	if len(running.Status.Conditions) > 0 || running.Status.StartTime == nil {
		e.Errorf("status of a running job is %+v", running.Status)
	}
	pod := e.pods()[0]
	if text := e.log(pod.Name, &corev1.PodLogOptions{TailLines: new(int64(1))}); text != "working\n" || pod.Status.Phase != corev1.PodRunning {
		e.Errorf("pod is %s, and its log's last line %q", pod.Status.Phase, text)
	}
	if ended := e.wantFailure("DeadlineExceeded", "Job was active longer than specified deadline"); ended.Status.Failed != 1 {
		e.Errorf("%d pods have failed, want 1: the one that was stopped", ended.Status.Failed)
	}
	e.awaitNoPods()
}

func jobParallel(e *env) {
	j := e.job("migrate:1")
	j.Spec.WithCompletions(5).WithParallelism(2)
	list, err := e.client.CoreV1().Pods(e.ns).List(e.ctx, metav1.ListOptions{})
	if err != nil {
		e.Fatal(err)
	}
	w, err := e.client.CoreV1().Pods(e.ns).Watch(e.ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		e.Fatal(err)
	}
	defer w.Stop()
	e.applyJob(j)
	if ended := e.wantComplete(); ended.Status.Succeeded != 5 || ended.Status.Failed != 0 {
		e.Errorf("status is %+v, want 5 successes", ended.Status)
	}
	phases := map[string]corev1.PodPhase{}
	for ev := range w.ResultChan() {
		pod, ok := ev.Object.(*corev1.Pod)
		if !ok || ev.Type == watch.Deleted {
			continue
		}
		phases[pod.Name] = pod.Status.Phase
		active, done := 0, 0
		for _, phase := range phases {
			if phase == corev1.PodSucceeded {
				done++
			} else {
				active++
			}
		}
		if active > 2 {
			e.Errorf("%d pods at once, want no more than 2", active)
		}
		if done == 5 {
			return
		}
	}
	e.Error("the watch ended before five pods had")
}

func jobExpires(e *env) {
	j := e.job("migrate:1")
	j.Spec.WithTTLSecondsAfterFinished(1)
	e.applyJob(j)
	e.await("the job to go", "jobs", func() string {
		if _, err := e.client.BatchV1().Jobs(e.ns).Get(e.ctx, "migrate", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return "still there"
		}
		return ""
	})
	e.awaitNoPods()
}

func jobSuspended(e *env) {
	j := e.job("migrate:1")
	j.Spec.WithSuspend(true)
	e.applyJob(j)
	waiting := e.awaitJob("the pause", func(j *batchv1.Job) bool { return jobCondition(j, batchv1.JobSuspended) != nil })
	if waiting.Status.StartTime != nil || waiting.Status.Active != 0 || len(e.pods()) > 0 {
		e.Errorf("a job that waits has status %+v and %d pods", waiting.Status, len(e.pods()))
	}
	j.Spec.WithSuspend(false)
	e.applyJob(j)
	ended := e.wantComplete()
	if !slices.ContainsFunc(ended.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Type == batchv1.JobSuspended && c.Status == corev1.ConditionFalse && c.Reason == "JobResumed"
	}) {
		e.Errorf("conditions are %+v, want the resumption among them", ended.Status.Conditions)
	}
}

func jobLosesPod(e *env) {
	j := e.job("migrate:forever")
	j.Spec.WithBackoffLimit(3)
	e.applyJob(j)
	e.awaitPod("a start", podReady)
	if err := e.client.CoreV1().Pods(e.ns).Delete(e.ctx, e.pods()[0].Name, metav1.DeleteOptions{}); err != nil {
		e.Fatal(err)
	}
	e.awaitJob("the loss", func(j *batchv1.Job) bool { return j.Status.Failed == 1 && j.Status.Active == 0 })
	e.awaitNoPods() // for ten seconds
}

func jobDeleted(e *env) {
	e.applyJob(e.job("migrate:forever"))
	e.awaitPod("a start", podReady)
	background := metav1.DeletePropagationBackground
	if err := e.client.BatchV1().Jobs(e.ns).Delete(e.ctx, "migrate", metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		e.Fatal(err)
	}
	e.awaitNoPods()
}

func jobRefused(e *env) {
	jobs := e.client.BatchV1().Jobs(e.ns)
	always, negative := e.job("migrate:1"), e.job("migrate:1")
	always.Spec.Template.Spec.RestartPolicy = nil
	negative.Spec.WithBackoffLimit(-1)
	_, restarts := jobs.Apply(e.ctx, always, applyAs(manager))
	_, below := jobs.Apply(e.ctx, negative, applyAs(manager))
	e.applyJob(e.job("migrate:1"))
	_, changed := jobs.Apply(e.ctx, e.job("migrate:2"), applyAs(manager))
	for _, tc := range []struct {
		err  error
		want string
	}{
		{restarts, `spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`},
		{below, "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0"},
		{changed, "field is immutable"},
	} {
		if !apierrors.IsInvalid(tc.err) {
			e.Errorf("got %v, want invalid: %s", tc.err, tc.want)
			continue
		}
		e.wantContains("the refusal", tc.err.Error(), `Job.batch "migrate" is invalid`, tc.want)
	}
	if _, err := jobs.Patch(e.ctx, "migrate", types.MergePatchType, []byte(`{"spec":{"parallelism":0}}`), metav1.PatchOptions{}); err != nil {
		e.Errorf("change the parallelism: %v", err)
	}
}
