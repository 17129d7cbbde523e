package controllers

import (
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// reportJob writes the Job's status, and an event when it has ended, waits, or goes on.
func (l *Loop) reportJob(r *jobRun) error {
	write := registry.Write{Manager: managerName, Subresource: "status"}
	over := r.end != nil && len(r.active) == 0 && len(r.settled) == 0 && r.leaving == 0
	turned := false
	_, err := l.reg.Modify(registry.Jobs, r.job.Namespace, r.job.Name, write, func(o registry.Object) error {
		job, ok := o.(*batchv1.Job)
		if !ok {
			return fmt.Errorf("job is a %T", o)
		}
		l.fillJobStatus(&job.Status, r)
		if r.end == nil {
			turned = l.setSuspended(&job.Status, r)
			return nil
		}
		l.setJobCondition(&job.Status, r.end.interim, corev1.ConditionTrue, r.end.reason, r.end.message)
		if over {
			l.setJobCondition(&job.Status, r.end.final, corev1.ConditionTrue, r.end.reason, r.end.message)
		}
		if over && r.end.final == batchv1.JobComplete {
			now := l.stamp()
			job.Status.CompletionTime = &now
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("report job: %w", err)
	}
	tell := func(kind, reason, message string) { l.event(r.job, sourceOf(r.job), kind, reason, message) }
	switch {
	case turned && suspended(r.job):
		tell(corev1.EventTypeNormal, "Suspended", "Job suspended")
	case turned:
		tell(corev1.EventTypeNormal, "Resumed", "Job resumed")
	case !over:
	case r.end.final == batchv1.JobComplete:
		tell(corev1.EventTypeNormal, "Completed", "Job completed")
	default:
		tell(corev1.EventTypeWarning, r.end.reason, r.end.message)
	}
	return nil
}

func (l *Loop) fillJobStatus(s *batchv1.JobStatus, r *jobRun) {
	var ready int32
	for _, pod := range r.active {
		if isReady(pod) {
			ready++
		}
	}
	leaving := r.leaving
	s.Active, s.Ready, s.Terminating = int32(len(r.active)), &ready, &leaving
	s.Succeeded, s.Failed = r.succeeded, r.failed
	s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	if s.StartTime == nil && !r.life.began.IsZero() {
		began := metav1.NewTime(r.life.began.UTC().Truncate(time.Second))
		s.StartTime = &began
	}
}

// setSuspended keeps the condition of a Job that waits, or has waited, and tells whether it changed. The time before a
// pause doesn't count for the deadline.
func (l *Loop) setSuspended(s *batchv1.JobStatus, r *jobRun) bool {
	switch {
	case suspended(r.job):
		r.life.began, s.StartTime = time.Time{}, nil
		return l.setJobCondition(s, batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended")
	case slices.ContainsFunc(s.Conditions, func(c batchv1.JobCondition) bool { return c.Type == batchv1.JobSuspended }):
		return l.setJobCondition(s, batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed")
	default:
		return false
	}
}

// setJobCondition tells whether it changed anything.
func (l *Loop) setJobCondition(s *batchv1.JobStatus, kind batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string) bool {
	now := l.stamp()
	want := batchv1.JobCondition{Type: kind, Status: status, LastProbeTime: now, LastTransitionTime: now, Reason: reason, Message: message}
	for i, c := range s.Conditions {
		if c.Type == kind {
			if c.Status == status {
				return false
			}
			s.Conditions[i] = want
			return true
		}
	}
	s.Conditions = append(s.Conditions, want)
	return true
}
