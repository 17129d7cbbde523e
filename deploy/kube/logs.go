package kube

import (
	"context"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxLog bounds how much of a log is read, in bytes.
const maxLog = 32 << 10

// LogTail returns the last lines of a container's log.
func (n *Namespace) LogTail(ctx context.Context, pod, container string, previous bool, lines int) ([]string, error) {
	tail, limit := int64(lines), int64(maxLog)
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	stream, err := n.typed.CoreV1().Pods(n.namespace).GetLogs(pod, &corev1.PodLogOptions{
		Container: container, Previous: previous, TailLines: &tail, LimitBytes: &limit,
	}).Stream(requestCtx)
	what := attempt{verb: "get", resource: "pods/log", title: "Pod " + pod, namespace: n.namespace}
	if err != nil {
		return nil, n.failure(ctx, err, what)
	}
	defer stream.Close()
	text, err := io.ReadAll(io.LimitReader(stream, maxLog))
	if err != nil {
		return nil, n.failure(ctx, fmt.Errorf("read the log: %w", err), what)
	}
	return splitLog(string(text), lines), nil
}

// splitLog keeps the last lines that aren't empty.
func splitLog(text string, lines int) []string {
	var kept []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
			kept = append(kept, line)
		}
	}
	return kept[max(0, len(kept)-lines):]
}
