package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/cmd/internal/apart"
	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubetest"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim/contract"
	"gitlab.com/slipway-cd/slipway/store/boltstore"
)

const (
	asSlipway = "SLIPWAY_TEST_RUN_AS_SLIPWAY"
	patience  = 60 * time.Second
)

// TestMain lets the test binary be slipway itself, so that the tests start, stop and
// kill the real program without building it again.
func TestMain(m *testing.M) {
	if os.Getenv(asSlipway) != "" || len(os.Args) == 2 && os.Args[1] == apart.Command {
		signal.Ignore(syscall.SIGXFSZ) // so that a file that may not grow is an error, as a full disk is
		main()
		return
	}
	_ = flag.Set("test.parallel", "4") // they mostly wait; the command line has the last word
	os.Exit(m.Run())
}

// slipway runs the program with arguments, and returns what it printed.
func slipway(t testing.TB, stdin string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asSlipway+"=1")
	cmd.Stdin = strings.NewReader(stdin)
	data, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(data), cmd.ProcessState.ExitCode()
}

// rig is a simulated company with a real slipway process in it.
type rig struct {
	testing.TB
	world    *world.World
	dir      string
	addr     string
	config   string
	flags    []string // of serve, beyond the rig's own
	log      *lockedBuffer
	process  *exec.Cmd
	cluster  string // "sim", "real" or "proxied"
	staging  string // namespaces
	prod     string
	review   string // namespace of reviews, "" unless a test wants some
	kubetest *kubetest.Cluster
	pairs    *pairWatch      // nil without a canary
	proxy    *kubetest.Proxy // slipway's way to a "proxied" cluster, which is a real one
	// migrations is how many deliveries were driven whose pipelines run a Kubernetes Job.
	migrations int
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// eachCluster runs a test against the simulated and against the real control plane.
func eachCluster(t *testing.T, test func(r *rig)) {
	t.Run("on the simulated cluster", func(t *testing.T) { test(newRig(t, "sim")) })
	t.Run("on a real control plane", func(t *testing.T) {
		if testing.Short() {
			t.Skip("short: no control plane")
		}
		test(newRig(t, "real"))
	})
}

func newRig(t testing.TB, cluster string) *rig {
	t.Helper()
	return newRigAt(t, cluster, 200*time.Millisecond)
}

// newRigAt is newRig with pods that take that long to start.
func newRigAt(t testing.TB, cluster string, podStart time.Duration) *rig {
	t.Helper()
	return newRigOf(t, cluster, podStart, false, 0)
}

// newRigOf is newRigAt, with review environments or without, and with a canary before production if it has a lifetime.
func newRigOf(t testing.TB, cluster string, podStart time.Duration, reviews bool, canary time.Duration) *rig {
	t.Helper()
	r := &rig{TB: t, dir: t.TempDir(), log: &lockedBuffer{}, cluster: cluster, staging: "shop-staging", prod: "shop"}
	o := world.Options{Dir: r.dir, PodStart: podStart, JobTime: 50 * time.Millisecond, Canary: canary}
	if cluster == "real" || cluster == "proxied" {
		r.kubetest = kubetest.Start(t)
		r.staging, r.prod = r.kubetest.Namespace(t), r.kubetest.Namespace(t)
		o.Kubeconfig, o.Staging, o.Production, o.Serving = r.kubetest.KubeconfigPath, r.staging, r.prod, r.serving
	}
	if cluster == "proxied" {
		r.proxy = r.kubetest.Proxy(t)
		o.Kubeconfig = filepath.Join(r.dir, "proxied.kubeconfig")
		if err := os.WriteFile(o.Kubeconfig, r.proxy.Kubeconfig(t, r.staging), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r.kubetest != nil && canary > 0 {
		r.pairs = r.watchPairs()
		o.Tracks, o.Changed = r.pairs.available, r.pairs.subscribe
	}
	if r.review = "shop-review"; r.kubetest != nil && reviews {
		r.review = r.kubetest.Namespace(t)
	}
	if reviews {
		o.Review = r.review
	}
	var err error
	if r.world, err = world.New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.world.Close)
	if r.pairs == nil && canary > 0 {
		r.pairs = r.watchPairs()
	}
	r.addr = freeAddress(t)
	if r.config, err = r.world.WriteConfig(r.addr); err != nil {
		t.Fatal(err)
	}
	if err := r.world.Connect("http://" + r.addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.kill()
		if t.Failed() {
			t.Logf("slipway's log:\n%s", tail(r.log.String(), 12000))
		}
	})
	return r
}

func tail(s string, n int) string {
	if len(s) > n {
		return "… " + s[len(s)-n:]
	}
	return s
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs slipway serve and waits until it is ready.
func (r *rig) start() {
	r.Helper()
	r.process = exec.Command(os.Args[0], append([]string{"serve", "--config", r.config, "--unknown-grace", "300ms"}, r.flags...)...)
	r.process.Env = append(os.Environ(), asSlipway+"=1")
	r.process.Stderr = r.log
	r.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.process.Start(); err != nil {
		r.Fatal(err)
	}
	client := &http.Client{Timeout: 5 * time.Second}
	deadline := time.Now().Add(patience)
	for {
		resp, err := client.Get("http://" + r.addr + "/readyz")
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			r.Fatalf("slipway does not get ready: %v\n%s", err, tail(r.log.String(), 4000))
		}
		wait := time.NewTimer(5 * time.Millisecond)
		<-wait.C
	}
}

// kill ends the process as a power loss would: SIGKILL.
func (r *rig) kill() {
	if r.process != nil {
		_ = r.process.Process.Kill()
		_ = r.process.Wait()
		r.process = nil
	}
}

// stop ends the process as an operator does, and wants a clean exit.
func (r *rig) stop() {
	r.Helper()
	if err := r.process.Process.Signal(syscall.SIGTERM); err != nil {
		r.Fatal(err)
	}
	if err := r.process.Wait(); err != nil {
		r.Fatalf("slipway did not stop cleanly: %v", err)
	}
	r.process = nil
}

// within gives what follows a deadline.
func (r *rig) within() context.Context {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	r.Cleanup(cancel)
	return ctx
}

func (r *rig) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) good(title, branch string) int64 {
	r.Helper()
	iid, err := r.world.Good(title, branch)
	r.ok(err)
	return iid
}

func (r *rig) merge(iid int64) string {
	r.Helper()
	sha, err := r.world.GitLab.Merge(r.world.Project, iid, r.world.Ben, gitlabsim.MergeCommit)
	r.ok(err)
	return sha
}

// deliver takes a good change to production.
func (r *rig) deliver(title, branch string) (iid int64, sha string) {
	r.Helper()
	iid = r.good(title, branch)
	sha = r.merge(iid)
	r.ok(r.world.PressWhenAsked(r.within(), iid, world.SlackAda, "Approve"))
	r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
	return iid, sha
}

// note is the one note of Slipway on a merge request.
func (r *rig) note(iid int64) string {
	r.Helper()
	notes := r.world.Notes(iid)
	if len(notes) != 1 {
		r.Fatalf("!%d has %d notes of Slipway, want 1", iid, len(notes))
	}
	return notes[0].Body
}

// awaitSettled waits until every deployment and status of a commit is as wanted.
func (r *rig) awaitSettled(sha string, deployments, statuses map[string]string) {
	r.Helper()
	var seen string
	err := r.world.AwaitGitLab(r.within(), "deployments and statuses", func(p gitlabsim.ProjectSnapshot) bool {
		gotD, gotS := map[string]string{}, map[string]string{}
		for _, d := range p.Deployments {
			if d.SHA == sha {
				gotD[d.Environment] = d.Status
			}
		}
		for _, s := range p.Statuses {
			if s.SHA == sha && !s.Retried {
				gotS[strings.TrimPrefix(s.Name, "slipway/")] = s.Status
			}
		}
		seen = fmt.Sprint("deployments ", gotD, " statuses ", gotS)
		return fmt.Sprint(gotD) == fmt.Sprint(deployments) && fmt.Sprint(gotS) == fmt.Sprint(statuses)
	})
	if err != nil {
		r.Fatalf("%v: seen %s\nwant deployments %v statuses %v", err, seen, deployments, statuses)
	}
}

// checkOnce proves that nothing was made twice, and that GitLab was spoken to as its
// published contract says.
func (r *rig) checkOnce() {
	r.Helper()
	p := r.world.ProjectNow()
	messages := map[string]int{}
	for _, m := range r.world.Slack.Messages(r.world.ChannelID) {
		if m.Metadata != nil {
			messages[string(m.Metadata.EventPayload)]++
		}
	}
	for id, n := range messages {
		if n != 1 {
			r.Errorf("%d messages in Slack for %s", n, id)
		}
	}
	for _, mr := range p.MergeRequests {
		markers := map[string]int{}
		for _, n := range mr.Notes {
			for line := range strings.Lines(n.Body) {
				if strings.Contains(line, "<!-- slipway:") {
					markers[strings.TrimSpace(line)]++
				}
			}
		}
		for marker, n := range markers {
			if n != 1 {
				r.Errorf("!%d has %d notes %s", mr.IID, n, marker)
			}
		}
	}
	type row struct{ sha, name string }
	deployments, statuses := map[row]int{}, map[row]int{}
	for _, d := range p.Deployments {
		deployments[row{d.SHA, d.Environment}]++
	}
	for _, s := range p.Statuses {
		statuses[row{s.SHA, s.Name}]++
	}
	for d, n := range deployments {
		if n != 1 {
			r.Errorf("%d deployments of %.8s to %s", n, d.sha, d.name)
		}
	}
	for s, n := range statuses {
		if n != 1 {
			r.Errorf("%d rows of status %s on %.8s", n, s.name, s.sha)
		}
	}
	r.checkContract()
}

func (r *rig) checkContract() {
	r.Helper()
	spec, err := os.ReadFile(filepath.Join("..", "..", "gitlab", "testdata", "gitlab-openapi-subset.yaml"))
	r.ok(err)
	c, err := contract.New(spec)
	r.ok(err)
	for _, req := range r.world.GitLab.Requests() {
		url := req.Path
		if req.Query != "" {
			url += "?" + req.Query
		}
		if err := c.Check(req.Method, url, req.Header, req.Body); err != nil {
			r.Errorf("%s %s breaks GitLab's contract: %v", req.Method, url, err)
		}
	}
	for _, req := range r.world.GitLab.UnknownRequests() {
		r.Errorf("the simulator does not know %s %s", req.Method, req.Path)
	}
}

// checkDatabase stops slipway and proves the store's promises on the file.
func (r *rig) checkDatabase() {
	r.Helper()
	r.stop()
	problems, err := boltstore.CheckFile(r.Context(), filepath.Join(r.dir, "slipway.db"))
	r.ok(err)
	for _, p := range problems {
		r.Errorf("database: %s: %s", p.ID, p.What)
	}
}

// file is one of the project's files.
func (r *rig) file(path string) string {
	r.Helper()
	files, err := r.world.Files()
	r.ok(err)
	return files[path]
}

// awaitNoQuestion waits until the merge request's message asks nothing more.
func (r *rig) awaitNoQuestion(iid int64) slacksim.Message {
	r.Helper()
	var m slacksim.Message
	err := r.world.Slack.Await(r.within(), func(slacksim.Snapshot) bool {
		var ok bool
		m, ok = r.world.Message(iid)
		return ok && !slices.ContainsFunc(m.Buttons(), func(e slacksim.Element) bool { return e.ActionID == "approve" || e.ActionID == "reject" })
	})
	if err != nil {
		r.Fatalf("the message of !%d still asks: %v", iid, m.Buttons())
	}
	return m
}
