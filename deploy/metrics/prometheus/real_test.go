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
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

// running starts a Prometheus that measures nothing, with more lines of its configuration, and waits until it is ready.
func running(t *testing.T, more string) string {
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
	if err := os.WriteFile(file, []byte("global: {scrape_interval: 1h}\n"+more), 0o600); err != nil {
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
	s, err := New(Options{URL: running(t, "")})
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

func TestARealPrometheusTellsOfATime(t *testing.T) {
	now := time.Now() // may be the end of a minute
	s, err := New(Options{URL: running(t, ""), Limits: wire.Limits{Now: func() time.Time { return now }}})
	if err != nil {
		t.Fatal(err)
	}
	end := now.UTC().Truncate(time.Minute)
	r := metrics.Range{Start: end.Add(-10 * time.Minute), End: end.Add(5 * time.Minute), Step: time.Minute}
	r.Query = "vector(time()) and on() (vector(time() % 120) == 0)"
	got, err := s.Samples(t.Context(), r)
	if err != nil || len(got.Values) != 15 || got.Link == "" {
		t.Fatalf("got %v and %v", got, err)
	}
	for i, v := range got.Values {
		// The sample of a step is what the query says at the end of the step; every other one is missing.
		at := r.Start.Add(time.Duration(i+1) * r.Step)
		want := float64(at.Unix())
		if at.Unix()%120 != 0 || at.After(end) {
			want = math.NaN()
		}
		if v != want && !(math.IsNaN(v) && math.IsNaN(want)) {
			t.Errorf("step %d: got %v, want %v", i, v, want)
		}
	}
	r.Query = `label_replace(vector(1), "a", "b", "", "") or vector(2)`
	var not *metrics.NotOneError
	if _, err := s.Samples(t.Context(), r); !errors.As(err, &not) || not.Got != 2 {
		t.Errorf("got %v, want 2 numbers", err)
	}
	r.Query = "count_over_time(vector(1)[$step:30s])"
	if got, err = s.Samples(t.Context(), r); err != nil || got.Values[0] < 2 || got.Values[0] > 3 {
		t.Errorf("got %v and %v", got.Values, err)
	}
	r.Query = "sum("
	var f *metrics.Failure
	if _, err := s.Samples(t.Context(), r); !errors.As(err, &f) || !f.Permanent || !strings.Contains(f.Words, "does not take the query") {
		t.Errorf("got %v", err)
	}
}

func TestARealPrometheusWithoutItsRemoteStorageGivesAPart(t *testing.T) {
	s, err := New(Options{URL: running(t, "remote_read: [{url: 'http://127.0.0.1:1/read', read_recent: true}]\n"), Limits: quick})
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().UTC().Truncate(time.Minute)
	_, err = s.Samples(t.Context(), metrics.Range{Query: "sum(up) or vector(0)", Start: end.Add(-5 * time.Minute), End: end, Step: time.Minute})
	_, also := s.Number(t.Context(), "sum(up) or vector(0)")
	for _, err := range []error{err, also} {
		var f *metrics.Failure
		if !errors.As(err, &f) || f.Permanent || !strings.Contains(f.Words, "only a part") || !strings.Contains(f.Words, "remote") {
			t.Errorf("got %v", err)
		}
	}
}
