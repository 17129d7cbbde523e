package controllers

import (
	"crypto/sha256"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// report writes the pod's status as its containers have it.
func (l *Loop) report(pod *corev1.Pod, life *podLife) error {
	write := registry.Write{Manager: kubelet, Subresource: "status"}
	_, err := l.reg.Modify(registry.Pods, pod.Namespace, pod.Name, write, func(o registry.Object) error {
		p, ok := o.(*corev1.Pod)
		if !ok {
			return fmt.Errorf("pod is a %T", o)
		}
		l.fillStatus(p, life)
		return nil
	})
	if err != nil {
		return fmt.Errorf("report pod %s: %w", pod.Name, err)
	}
	return nil
}

func (l *Loop) fillStatus(pod *corev1.Pod, life *podLife) {
	s := &pod.Status
	s.ObservedGeneration = pod.Generation
	s.StartTime = &life.started
	s.HostIP = "192.168.10." + strings.TrimPrefix(pod.Spec.NodeName, "node-")
	s.HostIPs = []corev1.HostIP{{IP: s.HostIP}}
	s.Phase = life.phase()
	s.ContainerStatuses = nil
	var unready []string
	for _, c := range life.containers {
		status := containerStatus(pod, c)
		s.ContainerStatuses = append(s.ContainerStatuses, status)
		if !status.Ready {
			unready = append(unready, c.name)
		}
	}
	s.InitContainerStatuses = nil
	inited := life.containers == nil || life.containers[0].step != creating
	for _, c := range pod.Spec.InitContainers {
		s.InitContainerStatuses = append(s.InitContainerStatuses, initStatus(c, inited, life.started))
	}
	if inited {
		s.PodIP, s.PodIPs = life.address, []corev1.PodIP{{IP: life.address}}
	}
	l.mergePodCondition(s, corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: truth(inited), ObservedGeneration: pod.Generation})
	l.mergePodCondition(s, corev1.PodCondition{Type: corev1.PodInitialized, Status: truth(inited || len(pod.Spec.InitContainers) == 0), ObservedGeneration: pod.Generation})
	reason, message := "", ""
	switch {
	case s.Phase == corev1.PodSucceeded:
		reason = "PodCompleted"
	case s.Phase == corev1.PodFailed:
		reason = "PodFailed"
	case len(unready) > 0:
		reason, message = "ContainersNotReady", fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
		l.mergePodCondition(s, corev1.PodCondition{Type: kind, Status: truth(len(unready) == 0), Reason: reason, Message: message, ObservedGeneration: pod.Generation})
	}
	if len(unready) == 0 && life.readySince.IsZero() {
		life.readySince = l.Now()
	}
}

func truth(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

func (p *podLife) phase() corev1.PodPhase {
	done, failed, waiting := 0, 0, 0
	for _, c := range p.containers {
		switch c.step {
		case creating, pullFailed, pullBackOff:
			waiting++
		case completed:
			done++
		case exited:
			if c.at.IsZero() {
				failed++
			}
		case running, ready, backOff:
		}
	}
	switch {
	case waiting > 0:
		return corev1.PodPending
	case failed > 0 && failed+done == len(p.containers):
		return corev1.PodFailed
	case done > 0 && done == len(p.containers):
		return corev1.PodSucceeded
	default:
		return corev1.PodRunning
	}
}

func containerStatus(pod *corev1.Pod, c *containerLife) corev1.ContainerStatus {
	started := c.step == running || c.step == ready
	s := corev1.ContainerStatus{
		Name: c.name, Image: c.image, RestartCount: c.restarts, Ready: c.step == ready, Started: &started,
	}
	if c.step != creating && c.step != pullFailed && c.step != pullBackOff {
		s.ImageID, s.ContainerID = imageID(c.image), containerID(pod, c)
	}
	switch c.step {
	case creating:
		reason := "ContainerCreating"
		if len(pod.Spec.InitContainers) > 0 {
			reason = "PodInitializing"
		}
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: reason}
	case pullFailed:
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: pullMessage(c.image)}
	case pullBackOff:
		s.State.Waiting = &corev1.ContainerStateWaiting{
			Reason:  "ImagePullBackOff",
			Message: fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", c.image, pullMessage(c.image)),
		}
	case running, ready:
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: c.started}
		s.LastTerminationState.Terminated = c.ended
	case exited, completed:
		s.State.Terminated = c.ended
	case backOff:
		s.RestartCount-- // counted ahead for the run that follows
		s.State.Waiting = &corev1.ContainerStateWaiting{
			Reason: "CrashLoopBackOff",
			Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
				crashWait(c.restarts-1), c.name, pod.Name, pod.Namespace, pod.UID),
		}
		s.LastTerminationState.Terminated = c.ended
	}
	return s
}

func initStatus(c corev1.Container, done bool, started metav1.Time) corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: c.Name, Image: c.Image, Ready: done}
	if done {
		s.State.Terminated = &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: started, FinishedAt: started}
		s.ImageID = imageID(c.Image)
		return s
	}
	s.State.Running = &corev1.ContainerStateRunning{StartedAt: started}
	return s
}

// imageID is the digest that the node would report: made up, the same for the same reference.
func imageID(image string) string {
	if _, digest, ok := strings.Cut(image, "@"); ok {
		return repository(image) + "@" + digest
	}
	return fmt.Sprintf("%s@sha256:%x", repository(image), sha256.Sum256([]byte(image)))
}

func repository(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		name = name[:colon]
	}
	return name
}

func containerID(pod *corev1.Pod, c *containerLife) string {
	return fmt.Sprintf("containerd://%x", sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", pod.UID, c.name, c.started.Unix())))
}
