package deploy

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// trouble is why a rollout does not come to a good end.
type trouble struct {
	code     pipeline.ReasonCode
	key      string // the same trouble has the same key, however its words change
	detail   string
	patience time.Duration // how long it may last before it fails the rollout
	// Where the log is that tells more, "" if there is none.
	pod, container string
}

// restarts is how many restarts make a crash loop.
const restarts = 2

// podTroubles lists what keeps a pod from getting ready.
func podTroubles(p *corev1.Pod, patience Patience) []trouble {
	if p.DeletionTimestamp != nil {
		return nil
	}
	var found []trouble
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			found = append(found, trouble{
				code: pipeline.ReasonUnschedulable, key: "unschedulable/" + p.Name, patience: patience.Unschedulable,
				detail: fmt.Sprintf("pod %s: %s", p.Name, clean(c.Message, 300)),
			})
		}
	}
	if p.Status.Phase == corev1.PodFailed && p.Status.Reason != "" { // such as Evicted
		found = append(found, trouble{
			code: pipeline.ReasonOther, key: "failed/" + p.Name, patience: patience.Start,
			detail: fmt.Sprintf("pod %s failed: %s", p.Name, clean(p.Status.Reason+" "+p.Status.Message, 300)),
		})
	}
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, s := range statuses {
			if t, ok := containerTrouble(p, s, patience); ok {
				found = append(found, t)
			}
		}
	}
	return found
}

func containerTrouble(p *corev1.Pod, s corev1.ContainerStatus, patience Patience) (trouble, bool) {
	where := fmt.Sprintf("container %s of pod %s", s.Name, p.Name)
	if w := s.State.Waiting; w != nil {
		switch w.Reason {
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable":
			return pullTrouble(p, s, patience), true
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return trouble{
				code: pipeline.ReasonOther, key: "start/" + p.Name + "/" + s.Name, patience: patience.Start,
				detail: fmt.Sprintf("%s can't start: %s", where, clean(w.Message, 300)),
			}, true
		}
	}
	waiting := s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff"
	crashed := s.State.Terminated != nil && s.State.Terminated.ExitCode != 0
	if s.RestartCount < restarts || !waiting && !crashed {
		return trouble{}, false
	}
	t := trouble{
		code: pipeline.ReasonCrashLoop, key: "crash/" + p.Name + "/" + s.Name,
		detail: fmt.Sprintf("%s %s and was restarted %d times", where, ended(s), s.RestartCount),
		pod:    p.Name, container: s.Name,
	}
	return t, true
}

// ended says how a container's last run ended.
func ended(s corev1.ContainerStatus) string {
	last := ending(s)
	switch {
	case last == nil:
		return "keeps ending"
	case last.Reason == "OOMKilled":
		return "ran out of memory (OOMKilled)"
	case last.Signal != 0:
		return fmt.Sprintf("ended by signal %d", last.Signal)
	}
	return fmt.Sprintf("exited with code %d", last.ExitCode)
}

func pullTrouble(p *corev1.Pod, s corev1.ContainerStatus, patience Patience) trouble {
	w := s.State.Waiting
	t := trouble{
		code: pipeline.ReasonImagePull, key: "image/" + p.Name + "/" + s.Name, patience: patience.ImagePull,
		detail: fmt.Sprintf("%s: %s", imageOf(p, s.Name), clean(w.Message, 250)),
	}
	message := strings.ToLower(w.Message)
	switch {
	case w.Reason == "InvalidImageName", w.Reason == "ErrImageNeverPull":
		t.patience = 0
	case strings.Contains(message, "not found"), strings.Contains(message, "manifest unknown"), strings.Contains(message, "not_found"):
		t.patience = 0
	}
	return t
}

// imageOf is the image that the container was given, which its status may show otherwise.
func imageOf(p *corev1.Pod, container string) string {
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for _, c := range list {
			if c.Name == container {
				return clean(c.Image, 150)
			}
		}
	}
	return "container " + container
}

// refusedPods is the trouble of a controller that may not make pods.
func refusedPods(who, message string) *trouble {
	t := &trouble{code: pipeline.ReasonOther, key: "refused/" + who, detail: who + " can't make pods: " + clean(message, 300)}
	switch {
	case strings.Contains(message, "exceeded quota"):
		t.code = pipeline.ReasonQuota
	case strings.Contains(message, "denied request"), strings.Contains(message, "denied the request"):
		t.code = pipeline.ReasonRefused
	case strings.Contains(message, "forbidden"):
		t.code = pipeline.ReasonForbidden
	}
	return t
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
