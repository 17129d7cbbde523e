package kubesim

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/controllers"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// serveLog answers what a container wrote; with follow it stays until the pod's container changes or goes.
func (s *Sim) serveLog(w http.ResponseWriter, r *request) {
	obj, err := s.reg.Get(registry.Pods, r.namespace, r.name)
	if err != nil {
		writeError(w, err)
		return
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		notThere(w)
		return
	}
	q := r.URL.Query()
	container, err := logContainer(pod, q.Get("container"))
	if err != nil {
		writeError(w, err)
		return
	}
	previous := q.Get("previous") == "true"
	if err := checkStarted(pod, container, previous); err != nil {
		writeError(w, err)
		return
	}
	text := render(controllers.Log(pod, container, previous), r, s.opts.Now())
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(text) // the client may be gone
	if q.Get("follow") == "true" && !previous {
		flush(w)
		s.followLog(r, pod)
	}
}

func logContainer(pod *corev1.Pod, name string) (string, error) {
	var names []string
	for _, c := range pod.Spec.Containers {
		if c.Name == name {
			return name, nil
		}
		names = append(names, c.Name)
	}
	switch {
	case name != "":
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
	case len(names) > 1:
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", pod.Name, names))
	default:
		return names[0], nil
	}
}

// checkStarted refuses the log of a container that has never run.
func checkStarted(pod *corev1.Pod, container string, previous bool) error {
	waiting := "ContainerCreating"
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name != container {
			continue
		}
		if previous {
			if c.LastTerminationState.Terminated != nil {
				return nil
			}
			return apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", container, pod.Name))
		}
		if c.State.Waiting == nil || c.LastTerminationState.Terminated != nil {
			return nil
		}
		waiting = c.State.Waiting.Reason
		if strings.Contains(waiting, "ImagePull") {
			waiting = "trying and failing to pull image"
		}
	}
	return apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", container, pod.Name, waiting))
}

// render cuts the lines to what the query asks for.
func render(lines []controllers.LogLine, r *request, now time.Time) []byte {
	q := r.URL.Query()
	if n, err := strconv.Atoi(q.Get("sinceSeconds")); err == nil {
		from := now.Add(-time.Duration(n) * time.Second)
		for len(lines) > 0 && lines[0].At.Before(from) {
			lines = lines[1:]
		}
	}
	if n, err := strconv.Atoi(q.Get("tailLines")); err == nil && n >= 0 && n < len(lines) {
		lines = lines[len(lines)-n:]
	}
	var out []byte
	for _, l := range lines {
		if q.Get("timestamps") == "true" {
			out = l.At.UTC().AppendFormat(out, time.RFC3339Nano)
			out = append(out, ' ')
		}
		out = append(append(out, l.Text...), '\n')
	}
	if n, err := strconv.Atoi(q.Get("limitBytes")); err == nil && n >= 0 && n < len(out) {
		out = out[:n]
	}
	return out
}

func (s *Sim) followLog(r *request, pod *corev1.Pod) {
	seen := s.reg.Revision()
	for {
		now, err := s.reg.Get(registry.Pods, pod.Namespace, pod.Name)
		if err != nil || now.GetUID() != pod.UID {
			return
		}
		if p, ok := now.(*corev1.Pod); !ok || restarts(p) != restarts(pod) {
			return
		}
		_, upto, changed, err := s.reg.Since(seen)
		if err != nil {
			return
		}
		if upto > seen {
			seen = upto
			continue
		}
		select {
		case <-changed:
		case <-s.done:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func restarts(pod *corev1.Pod) (n int32) {
	for _, c := range pod.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}
