package kubesuite

import (
	"context"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreconfig "k8s.io/client-go/applyconfigurations/core/v1"
)

func podTests() []test {
	return []test{
		{"a crashing container backs off and says how it ended", podCrashes},
		{"a missing image is waited for, with the reason", podMissing},
		{"a pod that is never ready runs", podNeverReady},
		{"a pod that asks for too much stays pending", podUnschedulable},
		{"a running pod's log is read", podLogs},
		{"a log that can't be is refused with the reason", podLogRefused},
		{"one bad container leaves its neighbour running", podNeighbour},
	}
}

func quantity(name corev1.ResourceName, amount string) corev1.ResourceList {
	return corev1.ResourceList{name: apiresource.MustParse(amount)}
}

// awaitPod waits until the only pod is as wanted.
func (e *env) awaitPod(what string, is func(*corev1.Pod) bool) *corev1.Pod {
	e.Helper()
	var out *corev1.Pod
	e.await(what, "pods", func() string {
		pods := e.pods()
		if len(pods) != 1 {
			return "not one pod"
		}
		if !is(&pods[0]) {
			return "pod is " + string(pods[0].Status.Phase) + " " + waiting(&pods[0])
		}
		out = &pods[0]
		return ""
	})
	return out
}

func waiting(p *corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Waiting != nil {
			return c.State.Waiting.Reason
		}
	}
	return ""
}

func podCrashes(e *env) {
	e.apply(e.app("shop:crash", 1))
	pod := e.awaitPod("the crash loop", func(p *corev1.Pod) bool { return waiting(p) == "CrashLoopBackOff" })
	c := pod.Status.ContainerStatuses[0]
	if c.RestartCount < 1 || c.Ready || pod.Status.Phase != corev1.PodRunning {
		e.Errorf("container has %d restarts, ready %v, in phase %s", c.RestartCount, c.Ready, pod.Status.Phase)
	}
	e.wantContains("the message", c.State.Waiting.Message, "back-off ", "restarting failed container=web pod="+pod.Name)
	last := c.LastTerminationState.Terminated
	if last == nil || last.ExitCode != 1 || last.Reason != "Error" {
		e.Fatalf("the run before ended as %+v, want exit code 1 and reason Error", last)
	}
	for _, previous := range []bool{false, true} {
		text := e.log(pod.Name, &corev1.PodLogOptions{Previous: previous, TailLines: new(int64(1))})
		if text != "panic: connect to database: connection refused\n" {
			e.Errorf("the log's last line (previous: %v) is %q", previous, text)
		}
	}
}

func podMissing(e *env) {
	e.apply(e.app("shop:missing", 1))
	for _, reason := range []string{"ErrImagePull", "ImagePullBackOff"} {
		pod := e.awaitPod(reason, func(p *corev1.Pod) bool { return waiting(p) == reason })
		c := pod.Status.ContainerStatuses[0]
		e.wantContains("the message of "+reason, c.State.Waiting.Message, `"shop:missing"`)
		if c.Ready || pod.Status.Phase != corev1.PodPending {
			e.Errorf("container is ready %v in phase %s", c.Ready, pod.Status.Phase)
		}
	}
}

func podNeverReady(e *env) {
	e.apply(e.app("shop:neverready", 1))
	pod := e.awaitPod("the start", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	c := pod.Status.ContainerStatuses[0]
	if podReady(pod) || c.Ready || c.State.Running == nil || c.RestartCount != 0 {
		e.Errorf("pod is ready %v with container %+v", podReady(pod), c)
	}
	for _, cond := range pod.Status.Conditions {
		if cond.Type == corev1.PodReady && cond.Reason != "ContainersNotReady" {
			e.Errorf("reason of Ready is %q, want ContainersNotReady", cond.Reason)
		}
	}
}

func podUnschedulable(e *env) {
	d := e.app("shop:1", 1)
	d.Spec.Template.Spec.Containers[0].WithResources(coreconfig.ResourceRequirements().WithRequests(quantity(corev1.ResourceCPU, "100k")))
	e.apply(d)
	pod := e.awaitPod("the scheduler's refusal", func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
				e.wantContains("the message", c.Message, "nodes are available", "Insufficient cpu")
				return true
			}
		}
		return false
	})
	if pod.Status.Phase != corev1.PodPending || pod.Spec.NodeName != "" {
		e.Errorf("pod is %s on node %q, want Pending on none", pod.Status.Phase, pod.Spec.NodeName)
	}
	e.await("the event", "events", func() string {
		list, err := e.client.CoreV1().Events(e.ns).List(e.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod.Name + ",reason=FailedScheduling"})
		if err != nil || len(list.Items) == 0 || list.Items[0].Type != corev1.EventTypeWarning {
			return "no warning"
		}
		return ""
	})
}

func (e *env) log(pod string, options *corev1.PodLogOptions) string {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.ctx, e.opts.Patience)
	defer cancel()
	stream, err := e.client.CoreV1().Pods(e.ns).GetLogs(pod, options).Stream(ctx)
	if err != nil {
		e.Fatalf("read the log of %s: %v", pod, err)
	}
	defer func() { _ = stream.Close() }()
	text, err := io.ReadAll(stream)
	if err != nil {
		e.Fatalf("read the log of %s: %v", pod, err)
	}
	return string(text)
}

func podLogs(e *env) {
	e.apply(e.app("shop:1", 1))
	e.awaitRollout()
	pod := e.pods()[0].Name
	whole := e.log(pod, &corev1.PodLogOptions{Container: "web"})
	if whole == "" || strings.Contains(whole, "panic") || !strings.HasSuffix(whole, "\n") {
		e.Errorf("log is %q", whole)
	}
	if tail := e.log(pod, &corev1.PodLogOptions{TailLines: new(int64(1))}); strings.Count(tail, "\n") != 1 || !strings.HasSuffix(whole, tail) {
		e.Errorf("last line is %q of %q", tail, whole)
	}
}

func podLogRefused(e *env) {
	e.apply(e.app("shop:missing", 1))
	pod := e.awaitPod("the wait", func(p *corev1.Pod) bool { return strings.Contains(waiting(p), "Image") })
	_, err := e.client.CoreV1().Pods(e.ns).GetLogs(pod.Name, &corev1.PodLogOptions{}).Stream(e.ctx)
	if !apierrors.IsBadRequest(err) {
		e.Fatalf("log of a container that hasn't started: got %v, want bad request", err)
	}
	e.wantContains("the refusal", err.Error(), `container "web" in pod "`+pod.Name+`" is waiting to start`)
	_, err = e.client.CoreV1().Pods(e.ns).GetLogs(pod.Name, &corev1.PodLogOptions{Container: "nope"}).Stream(e.ctx)
	if !apierrors.IsBadRequest(err) {
		e.Fatalf("log of an unknown container: got %v, want bad request", err)
	}
	e.wantContains("the refusal", err.Error(), "container nope is not valid for pod "+pod.Name)
	if _, err = e.client.CoreV1().Pods(e.ns).GetLogs("nothing", &corev1.PodLogOptions{}).Stream(e.ctx); !apierrors.IsNotFound(err) {
		e.Errorf("log of an unknown pod: got %v, want not found", err)
	}
}

func podNeighbour(e *env) {
	d := e.app("shop:1", 1)
	d.Spec.Template.Spec.WithContainers(coreconfig.Container().WithName("side").WithImage("side:crash"))
	e.apply(d)
	e.awaitPod("one container in its crash loop and one ready", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 2 && s[0].Ready && s[0].State.Running != nil && !s[1].Ready && s[1].RestartCount > 0 && !podReady(p)
	})
}
