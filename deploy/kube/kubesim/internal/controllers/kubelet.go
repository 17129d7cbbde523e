package controllers

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

const kubelet = "kubelet"

// step is where a container is in its life.
type step int

const (
	creating step = iota
	pullFailed
	pullBackOff
	running // and not ready
	ready
	exited
	backOff
	completed
)

type containerLife struct {
	name, image string
	fate        fate
	step        step
	at          time.Time // when it goes on, zero for never
	restarts    int32
	pulls       int
	started     metav1.Time
	ended       *corev1.ContainerStateTerminated // the latest run that ended
}

type podLife struct {
	containers []*containerLife
	address    string
	started    metav1.Time
	readySince time.Time
	stopAt     time.Time
}

// reconcilePod takes a pod through its life: a node, its start, what its images do, its end.
func (l *Loop) reconcilePod(obj registry.Object) (time.Duration, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return 0, nil
	}
	if l.abandoned(pod) {
		return 0, l.letGo(pod)
	}
	if pod.DeletionTimestamp != nil {
		return l.stop(pod), nil
	}
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return 0, nil
	}
	if pod.Spec.NodeName == "" {
		return l.schedule(pod)
	}
	life := l.pods[pod.UID]
	if life == nil {
		life = l.begin(pod)
		l.pods[pod.UID] = life
	}
	now := l.Now()
	for _, c := range life.containers {
		for !c.at.IsZero() && !c.at.After(now) {
			l.advance(pod, c, now)
		}
	}
	if err := l.report(pod, life); err != nil {
		return 0, err
	}
	return life.next(now), nil
}

func (l *Loop) begin(pod *corev1.Pod) *podLife {
	l.address++
	life := &podLife{address: fmt.Sprintf("10.244.%d.%d", l.address/250, l.address%250+2), started: l.stamp()}
	for _, c := range pod.Spec.Containers {
		life.containers = append(life.containers, &containerLife{
			name: c.Name, image: c.Image, fate: fateOf(c.Image), at: l.Now().Add(l.PodStart * 6 / 10),
		})
		l.event(pod, kubelet, corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", c.Image))
	}
	return life
}

func (p *podLife) next(now time.Time) time.Duration {
	var wait time.Duration
	for _, c := range p.containers {
		if c.at.IsZero() {
			continue
		}
		if left := max(c.at.Sub(now), time.Millisecond); wait == 0 || left < wait {
			wait = left
		}
	}
	return wait
}

// stop ends a deleted pod after its stopping time, never later than its grace period.
func (l *Loop) stop(pod *corev1.Pod) time.Duration {
	life := l.pods[pod.UID]
	if life == nil {
		life = &podLife{}
		l.pods[pod.UID] = life
	}
	if life.stopAt.IsZero() {
		wait := l.PodStop
		if grace := pod.DeletionGracePeriodSeconds; grace != nil {
			wait = min(wait, time.Duration(*grace)*time.Second)
		}
		life.stopAt = l.Now().Add(wait)
		for _, c := range pod.Spec.Containers {
			l.event(pod, kubelet, corev1.EventTypeNormal, "Killing", "Stopping container "+c.Name)
		}
	}
	if left := life.stopAt.Sub(l.Now()); left > 0 {
		return left
	}
	if len(pod.Finalizers) == 0 {
		l.reg.Finish(registry.Pods, pod.Namespace, pod.Name)
	}
	return 0
}

// advance takes a container one step on. The times between are real ones at the simulation's speed, except start and crash.
func (l *Loop) advance(pod *corev1.Pod, c *containerLife, now time.Time) {
	switch c.step {
	case creating, backOff:
		if c.fate == imageMissing {
			l.failPull(pod, c, now)
			return
		}
		l.run(pod, c, now)
	case pullFailed:
		c.step = pullBackOff
		c.at = now.Add(l.scaled(min(10*time.Second<<c.pulls, 5*time.Minute)))
		l.event(pod, kubelet, corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", c.image))
		l.event(pod, kubelet, corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
	case pullBackOff:
		c.pulls++
		l.failPull(pod, c, now)
	case running:
		l.leaveRunning(pod, c, now)
	case exited: // the first crash is started again at once, later ones wait
		if c.restarts == 0 {
			c.restarts++
			l.run(pod, c, now)
			return
		}
		c.step = backOff
		c.at = now.Add(l.crashBackOff(c))
		c.restarts++
		l.event(pod, kubelet, corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)",
			c.name, pod.Name, pod.Namespace, pod.UID))
	case ready, completed:
		c.at = time.Time{}
	}
}

func (l *Loop) crashBackOff(c *containerLife) time.Duration {
	return l.scaled(crashWait(c.restarts))
}

// crashWait is how long the kubelet waits before a container's next run: 10 s, doubled up to 5 minutes.
func crashWait(restarts int32) time.Duration {
	return min(10*time.Second<<min(max(restarts-1, 0), 6), 5*time.Minute)
}

func (l *Loop) failPull(pod *corev1.Pod, c *containerLife, now time.Time) {
	c.step = pullFailed
	c.at = now.Add(l.PodStart*3/10 + l.scaled(time.Second))
	l.event(pod, kubelet, corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %s", c.image, pullMessage(c.image)))
	l.event(pod, kubelet, corev1.EventTypeWarning, "Failed", "Error: ErrImagePull")
}

func pullMessage(image string) string {
	return fmt.Sprintf("rpc error: code = NotFound desc = failed to pull and unpack image %q: failed to resolve reference %q: %s: not found", image, image, image)
}

func (l *Loop) run(pod *corev1.Pod, c *containerLife, now time.Time) {
	c.step, c.started = running, l.stamp()
	l.event(pod, kubelet, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q", c.image))
	l.event(pod, kubelet, corev1.EventTypeNormal, "Created", "Created container: "+c.name)
	l.event(pod, kubelet, corev1.EventTypeNormal, "Started", "Started container "+c.name)
	c.at = now.Add(l.PodStart * 4 / 10)
	if c.fate == neverReady {
		c.at = time.Time{}
		l.event(pod, kubelet, corev1.EventTypeWarning, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
	}
}

// leaveRunning is what comes after the start: ready, crashed, or done for the pod of a Job.
func (l *Loop) leaveRunning(pod *corev1.Pod, c *containerLife, now time.Time) {
	c.at = time.Time{}
	switch {
	case c.fate == crashes:
		c.ended = &corev1.ContainerStateTerminated{
			ExitCode: exitCode(c.image), Reason: "Error", StartedAt: c.started, FinishedAt: l.stamp(), ContainerID: containerID(pod, c),
		}
		c.step = exited
		if pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
			c.at = now.Add(l.PodStart * 2 / 10)
		}
	case ofJob(pod) && c.fate != endless:
		c.ended = &corev1.ContainerStateTerminated{
			Reason: "Completed", StartedAt: c.started, FinishedAt: l.stamp(), ContainerID: containerID(pod, c),
		}
		c.step = completed
	default:
		c.step = ready
	}
}

func ofJob(pod *corev1.Pod) bool {
	ref := metav1.GetControllerOfNoCopy(pod)
	return ref != nil && ref.Kind == "Job"
}
