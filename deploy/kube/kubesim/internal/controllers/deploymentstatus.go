package controllers

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// The reasons of the Progressing condition, as the real controller gives them.
const (
	reasonUpdated   = "ReplicaSetUpdated"
	reasonAvailable = "NewReplicaSetAvailable"
	reasonTimedOut  = "ProgressDeadlineExceeded"
	reasonPaused    = "DeploymentPaused"
	reasonResumed   = "DeploymentResumed"
	reasonFound     = "FoundNewReplicaSet"
)

// reportDeployment writes the status; created is the condition of a ReplicaSet that was just made, which is shown
// before anything else is counted, as the real controller does. It returns when the progress deadline is due.
func (l *Loop) reportDeployment(r rollout, created *appsv1.DeploymentCondition) (time.Duration, error) {
	if created != nil {
		l.progress[r.d.UID] = l.Now()
		if err := l.writeStatus(&r, func(s *appsv1.DeploymentStatus) { l.setCondition(s, *created, true) }); err != nil {
			return 0, err
		}
	}
	status := l.statusOf(r)
	l.judgeProgress(r, status)
	l.copyFailure(r, status)
	if err := l.writeStatus(&r, func(s *appsv1.DeploymentStatus) { *s = *status }); err != nil {
		return 0, err
	}
	return l.deadline(r.d, status), nil
}

func (l *Loop) writeStatus(r *rollout, edit func(*appsv1.DeploymentStatus)) error {
	write := registry.Write{Manager: managerName, Subresource: "status"}
	changed, err := l.reg.Modify(registry.Deployments, r.d.Namespace, r.d.Name, write, func(o registry.Object) error {
		d, ok := o.(*appsv1.Deployment)
		if !ok {
			return nil
		}
		edit(&d.Status)
		if r.newRS != nil && revisionOf(d) != revisionOf(r.newRS) {
			d.Annotations = maps.Clone(d.Annotations)
			if d.Annotations == nil {
				d.Annotations = map[string]string{}
			}
			d.Annotations[revisionAnnotation] = strconv.Itoa(revisionOf(r.newRS))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("report deployment: %w", err)
	}
	if d, ok := changed.(*appsv1.Deployment); ok {
		r.d = d
	}
	return nil
}

func (l *Loop) statusOf(r rollout) *appsv1.DeploymentStatus {
	s := r.d.Status.DeepCopy()
	s.ObservedGeneration = r.d.Generation
	s.Replicas, s.UpdatedReplicas, s.ReadyReplicas = 0, 0, 0
	leaving := int32(0)
	s.TerminatingReplicas = &leaving
	for _, rs := range r.all() {
		if n := rs.Status.TerminatingReplicas; n != nil {
			leaving += *n
		}
		s.Replicas += rs.Status.Replicas
		s.ReadyReplicas += rs.Status.ReadyReplicas
	}
	if r.newRS != nil {
		s.UpdatedReplicas = r.newRS.Status.Replicas
	}
	s.AvailableReplicas = availableOf(r.all())
	s.UnavailableReplicas = max(wanted(r.all())-s.AvailableReplicas, 0)
	_, unavailable := bounds(r.d)
	available := appsv1.DeploymentCondition{
		Type: appsv1.DeploymentAvailable, Status: corev1.ConditionFalse,
		Reason: "MinimumReplicasUnavailable", Message: "Deployment does not have minimum availability.",
	}
	if s.AvailableReplicas >= *r.d.Spec.Replicas-unavailable {
		available.Status, available.Reason = corev1.ConditionTrue, "MinimumReplicasAvailable"
		available.Message = "Deployment has minimum availability."
	}
	l.setCondition(s, available, false)
	return s
}

// judgeProgress sets the Progressing condition: complete, getting on, or past its deadline.
func (l *Loop) judgeProgress(r rollout, s *appsv1.DeploymentStatus) {
	d := r.d
	if d.Spec.ProgressDeadlineSeconds == nil {
		s.Conditions = slices.DeleteFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == appsv1.DeploymentProgressing })
		return
	}
	current := progressing(s)
	subject := fmt.Sprintf("Deployment %q", d.Name)
	if r.newRS != nil {
		subject = fmt.Sprintf("ReplicaSet %q", r.newRS.Name)
	}
	set := func(status corev1.ConditionStatus, reason, message string, again bool) {
		l.setCondition(s, appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: status, Reason: reason, Message: message}, again)
	}
	switch {
	case d.Spec.Paused:
		if current == nil || current.Reason != reasonPaused && current.Reason != reasonTimedOut {
			set(corev1.ConditionUnknown, reasonPaused, "Deployment is paused", false)
		}
	case current != nil && current.Reason == reasonPaused:
		l.progress[d.UID] = l.Now()
		set(corev1.ConditionUnknown, reasonResumed, "Deployment is resumed", false)
	case current == nil && r.newRS != nil:
		l.progress[d.UID] = l.Now()
		set(corev1.ConditionTrue, reasonFound, fmt.Sprintf("Found new replica set %q", r.newRS.Name), false)
	case current != nil && current.Reason == reasonAvailable && s.Replicas == s.UpdatedReplicas:
		// Complete, and a pod that falls over later doesn't change it.
	case complete(d, s):
		set(corev1.ConditionTrue, reasonAvailable, subject+" has successfully progressed.", false)
	case gotOn(&d.Status, s):
		l.progress[d.UID] = l.Now()
		set(corev1.ConditionTrue, reasonUpdated, subject+" is progressing.", true)
	case l.timedOut(d, current):
		set(corev1.ConditionFalse, reasonTimedOut, subject+" has timed out progressing.", false)
	}
}

func progressing(s *appsv1.DeploymentStatus) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == appsv1.DeploymentProgressing {
			return &s.Conditions[i]
		}
	}
	return nil
}

func complete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	want := *d.Spec.Replicas
	return s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want
}

func gotOn(before, after *appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas || after.AvailableReplicas > before.AvailableReplicas
}

func (l *Loop) timedOut(d *appsv1.Deployment, current *appsv1.DeploymentCondition) bool {
	if current == nil || current.Reason == reasonAvailable {
		return false
	}
	return current.Reason == reasonTimedOut || l.untilTimeout(d) <= 0
}

func (l *Loop) untilTimeout(d *appsv1.Deployment) time.Duration {
	since, ok := l.progress[d.UID]
	if !ok {
		since = l.Now()
		l.progress[d.UID] = since
	}
	return since.Add(l.scaled(time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second)).Sub(l.Now())
}

func (l *Loop) deadline(d *appsv1.Deployment, s *appsv1.DeploymentStatus) time.Duration {
	current := progressing(s)
	if d.Spec.ProgressDeadlineSeconds == nil || current == nil || current.Reason == reasonAvailable || current.Reason == reasonTimedOut || d.Spec.Paused {
		return 0
	}
	return max(l.untilTimeout(d), time.Millisecond)
}

// copyFailure shows on the Deployment why its ReplicaSets can't create pods.
func (l *Loop) copyFailure(r rollout, s *appsv1.DeploymentStatus) {
	sets := r.all()
	slices.Reverse(sets)
	for _, rs := range sets {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				l.setCondition(s, appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
				}, false)
				return
			}
		}
	}
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == appsv1.DeploymentReplicaFailure })
}

// setCondition puts a condition at the end, as the real controller does; one with the same status and reason stays as it is
// unless again is set, which renews its update time.
func (l *Loop) setCondition(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition, again bool) {
	c.LastUpdateTime, c.LastTransitionTime = l.stamp(), l.stamp()
	at := slices.IndexFunc(s.Conditions, func(o appsv1.DeploymentCondition) bool { return o.Type == c.Type })
	if at >= 0 {
		before := s.Conditions[at]
		if before.Status == c.Status && before.Reason == c.Reason && !again {
			return
		}
		if before.Status == c.Status {
			c.LastTransitionTime = before.LastTransitionTime
		}
		if equality.Semantic.DeepEqual(before, c) {
			return
		}
		s.Conditions = slices.Delete(slices.Clone(s.Conditions), at, at+1)
	}
	s.Conditions = append(s.Conditions, c)
}
