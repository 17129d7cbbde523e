package controllers

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// fate is what becomes of a container, decided by its image's name.
type fate int

const (
	fine fate = iota
	crashes
	imageMissing
	neverReady
	endless // of a Job's container: it doesn't complete
)

// exits finds the exit code that an image's name asks for.
var exits = regexp.MustCompile(`exit([1-9][0-9]?[0-9]?)`)

func fateOf(image string) fate {
	switch {
	case strings.Contains(image, "crash"), exits.MatchString(image):
		return crashes
	case strings.Contains(image, "missing"):
		return imageMissing
	case strings.Contains(image, "neverready"):
		return neverReady
	case strings.Contains(image, "forever"):
		return endless
	default:
		return fine
	}
}

// exitCode is what a crashing container ends with: as its image's name says, or 1.
func exitCode(image string) int32 {
	if found := exits.FindStringSubmatch(image); found != nil {
		if code, err := strconv.ParseUint(found[1], 10, 8); err == nil {
			return int32(code)
		}
	}
	return 1
}

func unschedulable(pod *corev1.Pod) bool {
	for _, c := range pod.Spec.Containers {
		if strings.Contains(c.Image, "unschedulable") {
			return true
		}
	}
	return false
}

// Log is what a container of the pod has written, oldest line first: the run before where previous is set.
// It reads the pod alone, so a log can be asked for at any time.
func Log(pod *corev1.Pod, container string, previous bool) []LogLine {
	var status corev1.ContainerStatus
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == container {
			status = s
		}
	}
	started := pod.CreationTimestamp.Time
	ended := status.State.Terminated
	if status.State.Running != nil {
		started = status.State.Running.StartedAt.Time
	}
	if ended == nil && (previous || status.State.Waiting != nil) {
		ended = status.LastTerminationState.Terminated
	}
	if ended != nil {
		started = ended.StartedAt.Time
	}
	image := ""
	for _, c := range pod.Spec.Containers {
		if c.Name == container {
			image = c.Image
		}
	}
	lines := []string{
		fmt.Sprintf("starting %s (%s) on %s", container, image, pod.Spec.NodeName),
		"configuration read, 0 warnings",
	}
	switch {
	case exits.MatchString(image) && !strings.Contains(image, "crash"):
		lines = append(lines, "working", fmt.Sprintf("exit status %d", exitCode(image)))
	case fateOf(image) == crashes:
		lines = append(lines,
			"connecting to database",
			"panic: connect to database: connection refused")
	case fateOf(image) == neverReady:
		lines = append(lines, "warming up the cache", "not ready: waiting for the cache")
	case fateOf(image) == endless:
		lines = append(lines, "working")
	case ended != nil && ended.ExitCode == 0:
		lines = append(lines, "done")
	default:
		lines = append(lines, "listening on :8080", "ready")
	}
	out := make([]LogLine, len(lines))
	for i, text := range lines {
		out[i] = LogLine{At: started.Add(time.Duration(i) * 10 * time.Millisecond), Text: text}
	}
	return out
}

// LogLine is one line that a container wrote.
type LogLine struct {
	At   time.Time
	Text string
}
