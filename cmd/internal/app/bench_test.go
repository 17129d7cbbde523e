package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/gitlab/webhook"
	"gitlab.com/slipway-cd/slipway/handlers"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Servers that the test binary can be, so that the benchmarks and what they measure are
// two processes.
const (
	asServer = "SLIPWAY_BENCH_SERVER"
	// bareServer answers a hook as soon as it is verified and understood.
	bareServer = "bare"
	// intakeServer makes hooks durable, and nothing else: no engine runs.
	intakeServer = "intake"
	// wholeServer is the server as it is, with an engine that steps what came in.
	wholeServer = "whole"
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(asServer); kind != "" {
		if err := runServer(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runServer prints its address and serves until its standard input ends.
func runServer(kind string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cfg, err := config.Load(os.Args[1], os.LookupEnv)
	if err != nil {
		return err
	}
	a, err := New(Options{Config: cfg, Logger: slog.New(slog.NewJSONHandler(io.Discard, nil))}) //nolint:sloglint // writing the lines is part of what is measured
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	fmt.Println(a.Addr())
	if kind == wholeServer {
		return a.Run(ctx)
	}
	defer a.Close()
	if kind == bareServer {
		if err := a.answerAtOnce(); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	a.serve(ctx, g, a.main, a.server)
	return g.Wait()
}

// answerAtOnce replaces the receiver of hooks by one that has no store.
func (a *App) answerAtOnce() error {
	in, err := newIntake(a.o.Config, a.gitlab, a.store, a.engine, a.metrics, a.log)
	if err != nil {
		return err
	}
	a.server, err = handlers.New(handlers.Options{Hooks: &bare{in}, Health: a, Logger: a.log, Metrics: a.metrics.handler()})
	return err
}

// bare is intake without a store.
type bare struct{ *intake }

func (i *bare) Receive(_ context.Context, header http.Header, body []byte) (handlers.Receipt, error) {
	if err := i.verifier.Verify(header, body); err != nil {
		return handlers.Receipt{}, handlers.Unauthorized(err.Error())
	}
	hook, err := webhook.Parse(header, body)
	if err != nil {
		return handlers.Receipt{}, handlers.BadRequest(err.Error())
	}
	routed, ignored := i.gitlab.Events(hook)
	if len(routed) == 0 {
		return handlers.Receipt{Result: "ignored", Reason: ignored}, nil
	}
	if m, ok := routed[0].Event.(pipeline.Merged); ok && !i.cfg.Knows(m.Project.Path) {
		return handlers.Receipt{Result: "ignored"}, nil
	}
	i.metrics.hook(header.Get("X-Gitlab-Event"), "accepted")
	return handlers.Receipt{Result: "accepted"}, nil
}

// writeConfig writes the configuration of a server that knows the benchmarks' project.
func writeConfig(tb testing.TB, dir, gitlabURL string) (file string) {
	tb.Helper()
	file = filepath.Join(dir, "slipway.yml")
	text := fmt.Sprintf(`listen: 127.0.0.1:0
url: http://slipway.example.com
database: %q
gitlab: {url: %q, token: glpat-bench, signing_tokens: [%s]}
clusters: [{name: main, kubeconfig: %q}]
environments:
  - {name: staging, projects: [%s], cluster: main, namespace: staging}
  - {name: production, projects: [%s], cluster: main, namespace: production}
`, filepath.Join(dir, "slipway.db"), gitlabURL, signingToken, filepath.Join(dir, "kubeconfig"), projectPath, projectPath)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}

// startServer starts the test binary as a server and returns its address.
func startServer(tb testing.TB, kind, configFile string) (addr string) {
	tb.Helper()
	cmd := exec.Command(os.Args[0], configFile)
	cmd.Env = append(os.Environ(), asServer+"="+kind)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			tb.Error(err)
		}
	})
	if _, err := fmt.Fscanln(out, &addr); err != nil {
		tb.Fatalf("the server %s did not start: %v", kind, err)
	}
	return addr
}

// silentGitLab takes requests and never answers, so that what a server does is its own
// work.
func silentGitLab(tb testing.TB) (url string) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			tb.Error(err)
		}
	}()
	tb.Cleanup(func() { srv.Close() })
	return "http://" + l.Addr().String()
}

// report tells the median and the 99th percentile of durations in milliseconds.
func report(b *testing.B, name string, took []time.Duration) {
	b.Helper()
	if len(took) == 0 {
		b.Fatalf("nothing was measured for %s", name)
	}
	slices.Sort(took)
	for _, q := range []int{50, 99} {
		at := min(len(took)*q/100, len(took)-1)
		b.ReportMetric(took[at].Seconds()*1000, fmt.Sprintf("%s-p%d-ms", name, q))
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// metric reads one number from a server's metrics.
func metric(tb testing.TB, addr, name string) (value float64) {
	tb.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				tb.Fatal(err)
			}
			return value
		}
	}
	tb.Fatalf("%s has no metric %s", addr, name)
	return 0
}
