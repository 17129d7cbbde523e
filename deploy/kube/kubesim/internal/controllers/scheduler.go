package controllers

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

const schedulerName = "kube-scheduler"

// AddNodes creates the cluster's nodes.
func (l *Loop) AddNodes() error {
	for i := range l.Nodes {
		capacity := corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewMilliQuantity(l.NodeCPU, resource.DecimalSI),
			corev1.ResourceMemory: resource.MustParse("64Gi"),
			corev1.ResourcePods:   resource.MustParse("250"),
		}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name:   fmt.Sprintf("node-%d", i),
			Labels: map[string]string{corev1.LabelHostname: fmt.Sprintf("node-%d", i), corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64"},
		}}
		if _, err := l.reg.Create(registry.Nodes, node, registry.Write{Manager: "kubelet"}); err != nil {
			return fmt.Errorf("create node: %w", err)
		}
		_, err := l.reg.Modify(registry.Nodes, "", node.Name, registry.Write{Manager: "kubelet", Subresource: "status"}, func(o registry.Object) error {
			n, ok := o.(*corev1.Node)
			if !ok {
				return fmt.Errorf("node is a %T", o)
			}
			n.Status.Capacity, n.Status.Allocatable = capacity, capacity
			n.Status.Conditions = []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
				Message: "kubelet is posting ready status", LastHeartbeatTime: l.stamp(), LastTransitionTime: l.stamp(),
			}}
			return nil
		})
		if err != nil {
			return fmt.Errorf("report node: %w", err)
		}
	}
	return nil
}

// schedule binds the pod to the emptiest node with room for it, or says why there is none.
func (l *Loop) schedule(pod *corev1.Pod) (time.Duration, error) {
	node := ""
	if !unschedulable(pod) {
		node = l.pickNode(pod)
	}
	if node == "" {
		message := fmt.Sprintf("0/%d nodes are available: %d Insufficient cpu. preemption: 0/%d nodes are available: %d No preemption victims found for incoming pod.",
			l.Nodes, l.Nodes, l.Nodes, l.Nodes)
		changed, err := l.setPodCondition(pod, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message,
		})
		if changed {
			l.event(pod, schedulerName, corev1.EventTypeWarning, "FailedScheduling", message)
		}
		return 0, err
	}
	_, err := l.reg.Modify(registry.Pods, pod.Namespace, pod.Name, registry.Write{Manager: schedulerName}, func(o registry.Object) error {
		if p, ok := o.(*corev1.Pod); ok {
			p.Spec.NodeName = node
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("bind pod: %w", err)
	}
	l.event(pod, schedulerName, corev1.EventTypeNormal, "Scheduled", fmt.Sprintf("Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, node))
	_, err = l.setPodCondition(pod, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
	return 0, err
}

func (l *Loop) setPodCondition(pod *corev1.Pod, c corev1.PodCondition) (bool, error) {
	write := registry.Write{Manager: schedulerName, Subresource: "status"}
	changed := false
	_, err := l.reg.Modify(registry.Pods, pod.Namespace, pod.Name, write, func(o registry.Object) error {
		if p, ok := o.(*corev1.Pod); ok {
			changed = l.mergePodCondition(&p.Status, c)
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("set condition of pod %s: %w", pod.Name, err)
	}
	return changed, nil
}

// mergePodCondition sets a condition; its transition time moves only when its status does.
func (l *Loop) mergePodCondition(s *corev1.PodStatus, c corev1.PodCondition) bool {
	c.LastTransitionTime = l.stamp()
	for i, before := range s.Conditions {
		if before.Type != c.Type {
			continue
		}
		if before.Status == c.Status {
			c.LastTransitionTime = before.LastTransitionTime
		}
		changed := before.Status != c.Status || before.Reason != c.Reason || before.Message != c.Message
		s.Conditions[i] = c
		return changed
	}
	s.Conditions = append(s.Conditions, c)
	return true
}

func (l *Loop) pickNode(pod *corev1.Pod) string {
	type load struct {
		pods int
		cpu  int64
	}
	nodes := map[string]*load{}
	for i := range l.Nodes {
		nodes[fmt.Sprintf("node-%d", i)] = &load{}
	}
	l.reg.Each(registry.Pods, "", func(o registry.Object) {
		p, ok := o.(*corev1.Pod)
		if !ok || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			return
		}
		if n := nodes[p.Spec.NodeName]; n != nil {
			n.pods++
			n.cpu += cpuOf(p)
		}
	})
	best := ""
	for i := range l.Nodes {
		name := fmt.Sprintf("node-%d", i)
		n := nodes[name]
		if n.cpu+cpuOf(pod) <= l.NodeCPU && (best == "" || n.pods < nodes[best].pods) {
			best = name
		}
	}
	return best
}

// cpuOf is what the pod asks for, in thousandths of a core.
func cpuOf(pod *corev1.Pod) int64 {
	var sum int64
	for _, c := range pod.Spec.Containers {
		sum += c.Resources.Requests.Cpu().MilliValue()
	}
	return sum
}
