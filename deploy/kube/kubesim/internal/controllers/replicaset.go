package controllers

import (
	"fmt"
	"slices"
	"sort"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

const managerName = "kube-controller-manager"

// ownedPods are the pods that the object controls and that still count: not on their way out, not ended.
func (l *Loop) ownedPods(owner registry.Object) []*corev1.Pod {
	found, _ := l.reg.List(registry.Pods, owner.GetNamespace(), func(o registry.Object) bool {
		return metav1.IsControlledBy(o, owner)
	})
	var out []*corev1.Pod
	for _, o := range found {
		pod, ok := o.(*corev1.Pod)
		if ok && pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			out = append(out, pod)
		}
	}
	return out
}

// leaving counts the object's pods that are on their way out.
func (l *Loop) leaving(owner registry.Object) *int32 {
	found, _ := l.reg.List(registry.Pods, owner.GetNamespace(), func(o registry.Object) bool {
		return metav1.IsControlledBy(o, owner) && o.GetDeletionTimestamp() != nil
	})
	n := int32(len(found))
	return &n
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// available counts the pods that have been ready for minReadySeconds, and says when the next one will have been.
func (l *Loop) available(pods []*corev1.Pod, minReadySeconds int32) (ready, available int32, next time.Duration) {
	wait := l.scaled(time.Duration(minReadySeconds) * time.Second)
	for _, pod := range pods {
		if !isReady(pod) {
			continue
		}
		ready++
		left := time.Duration(0)
		if life := l.pods[pod.UID]; life != nil && wait > 0 {
			left = wait - l.Now().Sub(life.readySince)
		}
		if left <= 0 {
			available++
		} else if next == 0 || left < next {
			next = left
		}
	}
	return ready, available, next
}

// reconcileReplicaSet keeps as many pods as are wanted and reports them.
func (l *Loop) reconcileReplicaSet(obj registry.Object) (time.Duration, error) {
	rs, ok := obj.(*appsv1.ReplicaSet)
	if !ok {
		return 0, nil
	}
	var failure error
	pods := l.ownedPods(rs)
	if rs.DeletionTimestamp == nil {
		pods, failure = l.resize(rs, pods)
	}
	ready, available, next := l.available(pods, rs.Spec.MinReadySeconds)
	leaving := l.leaving(rs) // before Modify, which holds the registry
	write := registry.Write{Manager: managerName, Subresource: "status"}
	_, err := l.reg.Modify(registry.ReplicaSets, rs.Namespace, rs.Name, write, func(o registry.Object) error {
		if current, ok := o.(*appsv1.ReplicaSet); ok {
			s := &current.Status
			s.Replicas, s.FullyLabeledReplicas = int32(len(pods)), int32(len(pods))
			s.ReadyReplicas, s.AvailableReplicas = ready, available
			s.TerminatingReplicas = leaving
			s.ObservedGeneration = rs.Generation
			l.setReplicaFailure(s, failure)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("report replica set: %w", err)
	}
	return next, failure
}

func (l *Loop) setReplicaFailure(s *appsv1.ReplicaSetStatus, failure error) {
	at := slices.IndexFunc(s.Conditions, func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure })
	switch {
	case failure == nil && at >= 0:
		s.Conditions = slices.Delete(s.Conditions, at, at+1)
	case failure != nil && at < 0:
		s.Conditions = append(s.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate",
			Message: failure.Error(), LastTransitionTime: l.stamp(),
		})
	}
}

// resize creates or deletes pods until there are as many as wanted; it returns those that there are then.
func (l *Loop) resize(rs *appsv1.ReplicaSet, pods []*corev1.Pod) ([]*corev1.Pod, error) {
	for len(pods) < int(*rs.Spec.Replicas) {
		pod, err := l.createPod(rs, &rs.Spec.Template, corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: rs.Name + "-"}})
		if err != nil {
			return pods, err
		}
		pods = append(pods, pod)
	}
	sort.SliceStable(pods, func(i, j int) bool { return moreUseful(pods[i], pods[j]) })
	for len(pods) > int(*rs.Spec.Replicas) {
		last := pods[len(pods)-1]
		if err := l.deletePod(rs, last); err != nil {
			return pods, err
		}
		pods = pods[:len(pods)-1]
	}
	return pods, nil
}

// moreUseful orders pods by what a scale-down should keep: running before pending, ready before not, old before new.
func moreUseful(a, b *corev1.Pod) bool {
	switch {
	case (a.Spec.NodeName != "") != (b.Spec.NodeName != ""):
		return a.Spec.NodeName != ""
	case (a.Status.Phase == corev1.PodRunning) != (b.Status.Phase == corev1.PodRunning):
		return a.Status.Phase == corev1.PodRunning
	case isReady(a) != isReady(b):
		return isReady(a)
	default:
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
}

// createPod makes a pod of a template, owned by the object; base gives its name.
func (l *Loop) createPod(owner registry.Object, template *corev1.PodTemplateSpec, base corev1.Pod) (*corev1.Pod, error) {
	pod := base.DeepCopy()
	pod.Namespace = owner.GetNamespace()
	pod.Labels = labels.Merge(template.Labels, base.Labels)
	pod.Annotations = template.Annotations
	pod.Spec = *template.Spec.DeepCopy()
	if base.Spec.Hostname != "" {
		pod.Spec.Hostname = base.Spec.Hostname
	}
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, owner.GetObjectKind().GroupVersionKind())}
	made, err := l.reg.Create(registry.Pods, pod, registry.Write{Manager: managerName})
	if err != nil {
		l.event(owner, sourceOf(owner), corev1.EventTypeWarning, "FailedCreate", "Error creating: "+err.Error())
		return nil, err // shown as the condition's message, which is the server's own
	}
	l.event(owner, sourceOf(owner), corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: "+made.GetName())
	out, ok := made.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("pod is a %T", made)
	}
	return out, nil
}

func (l *Loop) deletePod(owner registry.Object, pod *corev1.Pod) error {
	if _, _, err := l.reg.Delete(registry.Pods, pod.Namespace, pod.Name, registry.Removal{}); err != nil {
		return fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	l.event(owner, sourceOf(owner), corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: "+pod.Name)
	return nil
}

func sourceOf(owner registry.Object) string {
	switch owner.(type) {
	case *appsv1.ReplicaSet:
		return "replicaset-controller"
	case *appsv1.StatefulSet:
		return "statefulset-controller"
	case *appsv1.DaemonSet:
		return "daemonset-controller"
	default:
		return "job-controller"
	}
}
