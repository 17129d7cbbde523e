package prometheus

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
)

// running starts a Prometheus that measures nothing, and waits until it is ready.
func running(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("prometheus is missing: run make prometheus")
		}
		t.Skip("prometheus is missing: run make prometheus, or install your package prometheus")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte("global: {scrape_interval: 1h}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var log strings.Builder
	cmd := exec.CommandContext(ctx, program, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		if resp, err := http.Get("http://" + addr + "/-/ready"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return "http://" + addr
			}
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Fatalf("prometheus ended:\n%s", log.String())
		case <-deadline:
			t.Fatal("prometheus is not ready after a minute")
		}
	}
}

func TestARealPrometheusIsUnderstood(t *testing.T) {
	s, err := New(Options{URL: running(t)})
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]float64{"vector(0.034)": 0.034, "2 * 21": 42, "sum(vector(1)) / vector(0)": math.Inf(1)} {
		if got, err := s.Number(t.Context(), query); err != nil || got != want {
			t.Errorf("%s: got %v and %v, want %v", query, got, err, want)
		}
	}
	if got, err := s.Number(t.Context(), "vector(0) / 0"); err != nil || !math.IsNaN(got) {
		t.Errorf("0 / 0: got %v and %v", got, err)
	}
	for query, got := range map[string]int{"nothing_measures_this": 0, `label_replace(vector(1), "a", "b", "", "") or vector(2)`: 2} {
		var not *metrics.NotOneError
		if _, err := s.Number(t.Context(), query); !errors.As(err, &not) || not.Got != got {
			t.Errorf("%s: got %v, want %d numbers", query, err, got)
		}
	}
	for query, says := range map[string]string{"sum(": "does not take the query", `"a text"`: "but a text", "nothing_measures_this[5m]": "but a matrix"} {
		var f *metrics.Failure
		if _, err := s.Number(t.Context(), query); !errors.As(err, &f) || !f.Permanent || !strings.Contains(f.Words, says) {
			t.Errorf("%s: got %v, want %q", query, err, says)
		}
	}
}
