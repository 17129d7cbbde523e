package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	maxLog  = 64 << 10 // bytes of a log that are kept, from its end
	maxRead = 16 << 20 // bytes of it that are read to find that end
)

// LogTail returns the last lines of a container's log.
func (n *Namespace) LogTail(ctx context.Context, pod, container string, previous bool, lines int) ([]string, error) {
	tail, limit := int64(lines), int64(maxRead)
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	stream, err := n.typed.core.Pods(n.namespace).GetLogs(pod, &corev1.PodLogOptions{
		Container: container, Previous: previous, TailLines: &tail, LimitBytes: &limit,
	}).Stream(requestCtx)
	what := attempt{verb: "get", resource: "pods/log", title: "Pod " + pod, namespace: n.namespace}
	if err != nil {
		return nil, n.failure(ctx, err, what)
	}
	defer stream.Close()
	end, err := readEnd(io.LimitReader(stream, maxRead))
	if err != nil {
		return nil, n.failure(ctx, fmt.Errorf("read the log: %w", err), what)
	}
	return splitLog(string(end), lines), nil
}

// readEnd reads to the end and keeps the last bytes, without the rest of a line whose beginning it doesn't have.
func readEnd(r io.Reader) ([]byte, error) {
	var kept []byte
	chunk, cut := make([]byte, 16<<10), false
	for {
		read, err := r.Read(chunk)
		kept = append(kept, chunk[:read]...)
		if len(kept) > 2*maxLog || err != nil && len(kept) > maxLog {
			kept, cut = append(kept[:0], kept[len(kept)-maxLog:]...), true
		}
		switch {
		case errors.Is(err, io.EOF):
			if _, whole, ok := bytes.Cut(kept, []byte("\n")); cut && ok {
				return whole, nil
			}
			return kept, nil
		case err != nil:
			return nil, err // the caller says what was read
		}
	}
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
