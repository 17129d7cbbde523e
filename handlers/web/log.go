package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const maxKeptLog = 1 << 20 // bytes of a log that are sent, its last ones

// logPath is the address of the log that a stage's Kubernetes Job left.
func (c *Console) logPath(id, stage string) string {
	return c.path("/deliveries/" + id + "/stages/" + url.PathEscape(stage) + "/log")
}

// logOf reads what follows /deliveries/ as the address of a log.
func logOf(path string) (id, stage string, ok bool) {
	id, rest, found := strings.Cut(path, "/stages/")
	stage, log := strings.CutSuffix(rest, "/log")
	return id, stage, found && log && stage != "" && len(stage) <= maxURL && validID(id)
}

// jobLog serves a log as plain text, so that nothing in it means anything to a browser.
func (c *Console) jobLog(w http.ResponseWriter, r *http.Request, id, stage string) {
	text, err := c.source.Log(r.Context(), id, stage)
	if err != nil {
		c.fail(w, r, fmt.Errorf("show the log of %s: %w", id, err))
		return
	}
	if len(text) > maxKeptLog {
		text = "…" + text[len(text)-maxKeptLog:]
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(text)) //nolint:gosec // it is plain text that no browser may take for more; whoever asked may be gone
	}
}
