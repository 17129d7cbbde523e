package deploy

import (
	"context"
	"strings"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// How much of a log people are shown.
const (
	ShownLines    = 200
	shownLogWidth = 400 // characters
)

// Logs reads the logs of a cluster.
type Logs interface {
	LogTail(ctx context.Context, pod, container string, previous bool, lines int) ([]string, error)
}

// ShownLog is the end of a container's log as people may see it: without control characters, each line bounded, and with
// the values of the sets' Secrets, and what looks like one, replaced.
func ShownLog(ctx context.Context, in Logs, pod, container string, sets ...manifest.Set) ([]string, error) {
	lines, err := in.LogTail(ctx, pod, container, false, ShownLines)
	if err != nil || len(lines) == 0 { // it may just have been started again
		before, failed := in.LogTail(ctx, pod, container, true, ShownLines)
		if failed == nil {
			lines, err = before, nil
		}
	}
	if err != nil {
		return nil, err
	}
	var all manifest.Set
	for _, set := range sets {
		all.Objects = append(all.Objects, set.Objects...)
	}
	redact := newRedactor(all)
	shown := make([]string, 0, len(lines))
	for _, raw := range lines {
		line := clip(redact.line(clean(strings.ReplaceAll(raw, "\t", "    "), 4*shownLogWidth)), shownLogWidth)
		if line != "" {
			shown = append(shown, line)
		}
	}
	return shown, nil
}
