package controllers

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// slots keeps one pod of the current template under each name and replaces outdated ones one at a time, the last first.
// Pods under other names go. It stops at the first slot that isn't ready where inOrder is set.
func (l *Loop) slots(owner registry.Object, template *corev1.PodTemplateSpec, names []string, inOrder bool) ([]*corev1.Pod, string, error) {
	hash := owner.GetName() + "-" + templateHash(template)
	byName := map[string]*corev1.Pod{}
	leaving := map[string]bool{}
	found, _ := l.reg.List(registry.Pods, owner.GetNamespace(), func(o registry.Object) bool { return metav1.IsControlledBy(o, owner) })
	for _, o := range found {
		if pod, ok := o.(*corev1.Pod); ok {
			byName[pod.Name] = pod
			leaving[pod.Name] = pod.DeletionTimestamp != nil
		}
	}
	settled := true
	for i, name := range names {
		pod := byName[name]
		if pod == nil {
			base := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{appsv1.ControllerRevisionHashLabelKey: hash}}}
			if inOrder {
				base.Labels[appsv1.StatefulSetPodNameLabel] = name
				base.Labels[appsv1.PodIndexLabel] = strconv.Itoa(i)
				base.Spec.Hostname = name
			}
			made, err := l.createPod(owner, template, base)
			if err != nil {
				return l.ownedPods(owner), hash, err
			}
			byName[name] = made
		}
		if !isReady(byName[name]) || leaving[name] {
			settled = false
			if inOrder {
				break
			}
		}
	}
	if err := l.replaceOutdated(owner, names, byName, leaving, hash, settled); err != nil {
		return l.ownedPods(owner), hash, err
	}
	return l.ownedPods(owner), hash, nil
}

func (l *Loop) replaceOutdated(owner registry.Object, names []string, byName map[string]*corev1.Pod, leaving map[string]bool, hash string, settled bool) error {
	wantedNames := map[string]bool{}
	for _, name := range names {
		wantedNames[name] = true
	}
	for name, pod := range byName {
		if !wantedNames[name] && !leaving[name] {
			if err := l.deletePod(owner, pod); err != nil {
				return err
			}
		}
	}
	for i := len(names) - 1; i >= 0; i-- {
		pod := byName[names[i]]
		if pod == nil || leaving[names[i]] || pod.Labels[appsv1.ControllerRevisionHashLabelKey] == hash {
			continue
		}
		if settled || !isReady(pod) {
			return l.deletePod(owner, pod)
		}
		return nil
	}
	return nil
}

func countOf(pods []*corev1.Pod, hash string) (updated int32) {
	for _, pod := range pods {
		if pod.Labels[appsv1.ControllerRevisionHashLabelKey] == hash {
			updated++
		}
	}
	return updated
}

func (l *Loop) reconcileStatefulSet(obj registry.Object) error {
	set, ok := obj.(*appsv1.StatefulSet)
	if !ok || set.DeletionTimestamp != nil {
		return nil
	}
	var names []string
	for i := range *set.Spec.Replicas {
		names = append(names, fmt.Sprintf("%s-%d", set.Name, i))
	}
	pods, hash, failure := l.slots(set, &set.Spec.Template, names, true)
	ready, available, _ := l.available(pods, 0)
	write := registry.Write{Manager: managerName, Subresource: "status"}
	_, err := l.reg.Modify(registry.StatefulSets, set.Namespace, set.Name, write, func(o registry.Object) error {
		current, ok := o.(*appsv1.StatefulSet)
		if !ok {
			return nil
		}
		s := &current.Status
		s.ObservedGeneration, s.Replicas, s.ReadyReplicas, s.AvailableReplicas = set.Generation, int32(len(pods)), ready, available
		s.UpdatedReplicas, s.UpdateRevision = countOf(pods, hash), hash
		if s.CurrentRevision == "" || s.UpdatedReplicas == *set.Spec.Replicas && s.ReadyReplicas == *set.Spec.Replicas {
			s.CurrentRevision = hash
		}
		s.CurrentReplicas = countOf(pods, s.CurrentRevision)
		if s.CollisionCount == nil {
			s.CollisionCount = new(int32)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("report stateful set: %w", err)
	}
	return failure
}

func (l *Loop) reconcileDaemonSet(obj registry.Object) error {
	set, ok := obj.(*appsv1.DaemonSet)
	if !ok || set.DeletionTimestamp != nil {
		return nil
	}
	var names []string
	for i := range l.Nodes {
		names = append(names, fmt.Sprintf("%s-node-%d", set.Name, i))
	}
	pods, hash, failure := l.slots(set, &set.Spec.Template, names, false)
	ready, available, _ := l.available(pods, 0)
	write := registry.Write{Manager: managerName, Subresource: "status"}
	_, err := l.reg.Modify(registry.DaemonSets, set.Namespace, set.Name, write, func(o registry.Object) error {
		if current, ok := o.(*appsv1.DaemonSet); ok {
			s, n := &current.Status, int32(l.Nodes)
			s.ObservedGeneration, s.DesiredNumberScheduled, s.CurrentNumberScheduled = set.Generation, n, int32(len(pods))
			s.UpdatedNumberScheduled = countOf(pods, hash)
			s.NumberReady, s.NumberAvailable, s.NumberUnavailable = ready, available, n-available
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("report daemon set: %w", err)
	}
	return failure
}
