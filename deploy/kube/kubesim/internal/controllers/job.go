package controllers

import (
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// jobLife is what a Job's status doesn't keep, or only to the second.
type jobLife struct {
	began, over time.Time // when it started, last after a pause, and ended
	failures    int       // since the last success
	failed      time.Time // the latest of them
}

// jobEnd is how a Job ends: the interim condition tells at once, the final one when no pod is left.
type jobEnd struct {
	interim, final  batchv1.JobConditionType
	reason, message string
}

// jobRun is a Job and where its pods are.
type jobRun struct {
	job  *batchv1.Job
	life *jobLife
	end  *jobEnd // nil while there is more to do

	active            []*corev1.Pod // neither ended nor on their way out
	settled           []*corev1.Pod // ended, and not counted before
	leaving           int32
	succeeded, failed int32 // with those that are settled now
}

// reconcileJob runs a Job's pods until enough have completed, or too many failed, or its time is over. As in a real
// cluster a finalizer keeps each pod until it is counted.
func (l *Loop) reconcileJob(obj registry.Object) (time.Duration, error) {
	job, ok := obj.(*batchv1.Job)
	if !ok {
		return 0, nil
	}
	if l.jobs[job.UID] == nil {
		l.jobs[job.UID] = &jobLife{}
	}
	if finished(job) {
		return l.expireJob(job)
	}
	r := l.jobRun(job)
	var wait time.Duration
	if r.end == nil {
		r.end, wait = l.jobFailure(r)
	}
	later, failure := l.directJob(r)
	if wait == 0 || later > 0 && later < wait {
		wait = later
	}
	if r.end == nil && r.reached() {
		r.end = &jobEnd{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods"}
	}
	if err := l.reportJob(r); err != nil {
		return 0, err
	}
	for _, pod := range r.settled {
		if err := l.letGo(pod); err != nil {
			return 0, err
		}
	}
	return wait, failure
}

func suspended(job *batchv1.Job) bool { return job.Spec.Suspend != nil && *job.Spec.Suspend }

func finished(job *batchv1.Job) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
	})
}

// jobRun looks at the Job's pods.
func (l *Loop) jobRun(job *batchv1.Job) *jobRun {
	r := &jobRun{job: job, life: l.jobs[job.UID], succeeded: job.Status.Succeeded, failed: job.Status.Failed}
	for _, c := range job.Status.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == batchv1.JobFailureTarget:
			r.end = &jobEnd{c.Type, batchv1.JobFailed, c.Reason, c.Message}
		case c.Type == batchv1.JobSuccessCriteriaMet:
			r.end = &jobEnd{c.Type, batchv1.JobComplete, c.Reason, c.Message}
		}
	}
	if r.life.began.IsZero() && !suspended(job) {
		r.life.began = l.Now()
	}
	found, _ := l.reg.List(registry.Pods, job.Namespace, func(o registry.Object) bool { return metav1.IsControlledBy(o, job) })
	for _, o := range found {
		if pod, ok := o.(*corev1.Pod); ok {
			r.sort(pod, l.Now())
		}
	}
	return r
}

// sort puts a pod where it belongs. One that is deleted before it has ended counts as failed.
func (r *jobRun) sort(pod *corev1.Pod, now time.Time) {
	succeeded, failed := pod.Status.Phase == corev1.PodSucceeded, pod.Status.Phase == corev1.PodFailed
	if pod.DeletionTimestamp != nil && !succeeded && !failed {
		r.leaving++
		failed = true
	}
	switch {
	case !succeeded && !failed:
		r.active = append(r.active, pod)
		return
	case !slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer):
		return
	case succeeded:
		r.succeeded++
		r.life.failures = 0
	default:
		r.failed++
		r.life.failures++
		r.life.failed = now
	}
	r.settled = append(r.settled, pod)
}

// jobFailure says why the Job has failed, or when to look at its deadline again.
func (l *Loop) jobFailure(r *jobRun) (*jobEnd, time.Duration) {
	failure := func(reason, message string) *jobEnd {
		return &jobEnd{batchv1.JobFailureTarget, batchv1.JobFailed, reason, message}
	}
	if r.failed > *r.job.Spec.BackoffLimit || r.tooManyRestarts() {
		return failure(batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit"), 0
	}
	if r.job.Spec.ActiveDeadlineSeconds == nil || suspended(r.job) {
		return nil, 0
	}
	left := l.scaled(time.Duration(*r.job.Spec.ActiveDeadlineSeconds)*time.Second) - l.Now().Sub(r.life.began)
	if left <= 0 {
		return failure(batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline"), 0
	}
	return nil, left
}

// tooManyRestarts holds the restarts in place, where the pods' policy is OnFailure, to the same limit as failed pods.
func (r *jobRun) tooManyRestarts() bool {
	if r.job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	var restarts int32
	for _, pod := range r.active {
		for _, c := range pod.Status.ContainerStatuses {
			restarts += c.RestartCount
		}
	}
	return restarts > 0 && restarts >= *r.job.Spec.BackoffLimit
}

// reached tells whether the Job has all that it was for. Without a number of completions one success is enough, and the
// other pods may come to their end.
func (r *jobRun) reached() bool {
	if len(r.active) > 0 || r.job.DeletionTimestamp != nil && r.succeeded == 0 {
		return false
	}
	if r.job.Spec.Completions == nil {
		return r.succeeded > 0
	}
	return r.succeeded >= *r.job.Spec.Completions
}

// directJob makes and deletes pods. It returns when a pod may follow on one that failed.
func (l *Loop) directJob(r *jobRun) (time.Duration, error) {
	want := 0
	switch {
	case r.end != nil || suspended(r.job):
	case r.job.DeletionTimestamp != nil:
		return 0, nil
	default:
		want = r.wanted()
	}
	slices.SortStableFunc(r.active, func(a, b *corev1.Pod) int {
		switch {
		case moreUseful(a, b):
			return -1
		case moreUseful(b, a):
			return 1
		default:
			return 0
		}
	})
	for len(r.active) > want {
		last := r.active[len(r.active)-1]
		if err := l.deletePod(r.job, last); err != nil {
			return 0, err
		}
		r.active = r.active[:len(r.active)-1]
		r.leaving++
	}
	missing := want - len(r.active)
	if policy := r.job.Spec.PodReplacementPolicy; policy != nil && *policy == batchv1.Failed {
		missing -= int(r.leaving)
	}
	if missing <= 0 {
		return 0, nil
	}
	if wait := l.jobBackOff(r.life); wait > 0 {
		return wait, nil
	}
	for range missing {
		pod, err := l.createPod(r.job, &r.job.Spec.Template, corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			GenerateName: r.job.Name + "-", Finalizers: []string{batchv1.JobTrackingFinalizer},
		}})
		if err != nil {
			return 0, err
		}
		r.active = append(r.active, pod)
	}
	return 0, nil
}

// wanted is how many pods shall be active now.
func (r *jobRun) wanted() int {
	parallel := int(*r.job.Spec.Parallelism)
	switch {
	case r.job.Spec.Completions != nil:
		return max(min(parallel, int(*r.job.Spec.Completions-r.succeeded)), 0)
	case r.succeeded > 0:
		return len(r.active)
	default:
		return parallel
	}
}

// jobBackOff is how long the next pod still waits after failures: 10 s, doubled up to 10 minutes.
func (l *Loop) jobBackOff(life *jobLife) time.Duration {
	if life.failures == 0 {
		return 0
	}
	wait := min(10*time.Second<<min(life.failures-1, 6), 10*time.Minute)
	return l.scaled(wait) - l.Now().Sub(life.failed)
}

// expireJob deletes a finished Job when its time to live is over.
func (l *Loop) expireJob(job *batchv1.Job) (time.Duration, error) {
	life, ttl := l.jobs[job.UID], job.Spec.TTLSecondsAfterFinished
	if life.over.IsZero() {
		life.over = l.Now()
	}
	if ttl == nil || job.DeletionTimestamp != nil {
		return 0, nil
	}
	if left := l.scaled(time.Duration(*ttl)*time.Second) - l.Now().Sub(life.over); left > 0 {
		return left, nil
	}
	_, _, err := l.reg.Delete(registry.Jobs, job.Namespace, job.Name, registry.Removal{Propagation: metav1.DeletePropagationForeground})
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("delete finished job %s: %w", job.Name, err)
	}
	return 0, nil
}

// abandoned tells whether a pod waits to be counted by a Job that is gone.
func (l *Loop) abandoned(pod *corev1.Pod) bool {
	if !slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer) {
		return false
	}
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil {
		return true
	}
	job, err := l.reg.Get(registry.Jobs, pod.Namespace, ref.Name)
	return err != nil || job.GetUID() != ref.UID
}

// letGo takes the Job's finalizer off a pod.
func (l *Loop) letGo(pod *corev1.Pod) error {
	_, err := l.reg.Modify(registry.Pods, pod.Namespace, pod.Name, registry.Write{Manager: managerName}, func(o registry.Object) error {
		o.SetFinalizers(slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == batchv1.JobTrackingFinalizer }))
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("let pod %s go: %w", pod.Name, err)
	}
	return nil
}
