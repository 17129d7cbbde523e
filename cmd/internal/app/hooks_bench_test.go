package app

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/gitlab/webhook"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/store"
	"gitlab.com/slipway-cd/slipway/store/boltstore"
)

const (
	connections  = 64
	slice        = 1500 // hooks to one server, before it is the next one's turn
	seeded       = 2000 // deliveries that exist before, for hooks about CI and comments
	projectID    = 42
	projectPath  = "shop/web"
	signingToken = "whsec_YmVuY2htYXJrLXNpZ25pbmctdG9rZW4tMDEyMzQ1Njc="
)

// BenchmarkHooks sends signed hooks over 64 connections to a server without a store, to
// one that makes them durable, and to the whole one, by turns, 1,500 to each. The
// ratios are of hooks a second, to the server without a store in the same round.
func BenchmarkHooks(b *testing.B) {
	for _, mix := range []struct {
		name string
		make func(h *hooks, n int) []byte
	}{
		{"merges", (*hooks).merge},
		{"mixed", func(h *hooks, n int) []byte {
			return []func(*hooks, int) []byte{(*hooks).merge, (*hooks).ci, (*hooks).comment}[n%3](h, n)
		}},
	} {
		b.Run(mix.name, func(b *testing.B) { compareServers(b, mix.make) })
	}
}

// server is one of those that are compared.
type server struct {
	kind  string
	addr  string
	conns []net.Conn
	took  []time.Duration
	rates []float64 // hooks a second, of each turn
	ratio []float64 // of those to the bare server's in the same round
	cpu   float64   // seconds of the server's process
}

func compareServers(b *testing.B, body func(h *hooks, n int) []byte) {
	gitlabURL := silentGitLab(b)
	h := readHooks(b)
	servers := []*server{{kind: bareServer}, {kind: intakeServer}, {kind: wholeServer}}
	for _, s := range servers {
		dir := b.TempDir()
		file := writeConfig(b, dir, gitlabURL)
		seed(b, filepath.Join(dir, "slipway.db"))
		s.addr = startServer(b, s.kind, file)
		for range connections {
			c, err := net.Dial("tcp", s.addr)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			s.conns = append(s.conns, c)
		}
		s.send(b, h.requests(b, s.addr, 1000, body))
		s.took, s.rates, s.cpu = nil, nil, 0
	}
	for b.Loop() {
		for _, s := range servers {
			rate := s.send(b, h.requests(b, s.addr, slice, body))
			s.rates = append(s.rates, rate)
			s.ratio = append(s.ratio, rate/servers[0].rates[len(s.rates)-1])
		}
	}
	for _, s := range servers {
		b.ReportMetric(s.cpu*1e6/float64(slice*len(s.rates)), s.kind+"-cpu-µs/hook")
		b.ReportMetric(median(s.rates), s.kind+"-hooks/s")
		report(b, s.kind, s.took)
		if s.kind != bareServer {
			b.ReportMetric(median(s.ratio), s.kind+"-ratio")
		}
	}
	b.ReportMetric(0, "ns/op") // of all servers together: it says nothing
}

// send puts requests on all connections and returns how many were answered a second. It
// waits until the server has nothing left to do, so that the next one has its turn alone.
func (s *server) send(b *testing.B, requests [][]byte) (rate float64) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	took := make([][]time.Duration, len(s.conns))
	cpu := metric(b, s.addr, "process_cpu_seconds_total")
	began := time.Now()
	for i, c := range s.conns {
		wg.Go(func() {
			in := bufio.NewReader(c)
			for n := next.Add(1) - 1; n < int64(len(requests)); n = next.Add(1) - 1 {
				at := time.Now()
				if err := post(c, in, requests[n]); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(at))
			}
		})
	}
	wg.Wait()
	rate = float64(len(requests)) / time.Since(began).Seconds()
	s.took = append(s.took, slices.Concat(took...)...)
	s.cpu += metric(b, s.addr, "process_cpu_seconds_total") - cpu
	if s.kind == wholeServer {
		for metric(b, s.addr, "slipway_inbox_events") > 0 {
			time.Sleep(5 * time.Millisecond) // a benchmark's pause; nothing is measured now
		}
	}
	return rate
}

// post sends one request as it is, and wants to hear that the hook was accepted.
func post(c net.Conn, in *bufio.Reader, request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"accepted"`)) {
		return fmt.Errorf("the server answered %d %s", resp.StatusCode, body)
	}
	return nil
}

// hooks makes hooks out of real ones.
type hooks struct {
	merged, pipeline, note map[string]any
	next                   int
}

func readHooks(tb testing.TB) *hooks {
	tb.Helper()
	read := func(name string) (doc map[string]any) {
		data, err := os.ReadFile(filepath.Join("..", "..", "..", "gitlab", "testdata", "hooks", filepath.FromSlash(name)))
		if err != nil {
			tb.Fatal(err)
		}
		if err := json.Unmarshal(data, &doc); err != nil {
			tb.Fatal(err)
		}
		project := doc["project"].(map[string]any)
		project["id"], project["path_with_namespace"] = projectID, projectPath
		return doc
	}
	return &hooks{
		merged: read("captured/merge_request_merge.json"), pipeline: read("client-go/pipeline.json"),
		note: read("client-go/note_merge_request.json"), next: seeded + 1,
	}
}

func attributes(doc map[string]any) map[string]any { return doc["object_attributes"].(map[string]any) }

func encode(doc map[string]any) []byte {
	data, err := json.Marshal(doc)
	if err != nil {
		panic(err) // it was JSON
	}
	return data
}

func sha(n int) string { return fmt.Sprintf("%08x%032x", n, n) }

// merge is a hook of some 3.5 KB about a merge that nobody has told of before.
func (h *hooks) merge(n int) []byte {
	a := attributes(h.merged)
	a["iid"], a["merge_commit_sha"] = n, sha(n)
	return encode(h.merged)
}

// ci is a hook about the CI pipeline of a delivery that exists.
func (h *hooks) ci(n int) []byte {
	a := attributes(h.pipeline)
	a["id"], a["sha"], a["source"] = n, sha(1+n%seeded), "push"
	return encode(h.pipeline)
}

// comment is a hook about a command to a delivery that exists.
func (h *hooks) comment(n int) []byte {
	a := attributes(h.note)
	a["id"], a["note"] = n, "@slipway status"
	h.note["merge_request"].(map[string]any)["iid"] = 1 + n%seeded
	return encode(h.note)
}

// requests are whole HTTP requests, signed now.
func (h *hooks) requests(tb testing.TB, addr string, n int, body func(h *hooks, n int) []byte) [][]byte {
	tb.Helper()
	list := make([][]byte, n)
	now := time.Now()
	for i := range list {
		h.next++
		data, id := body(h, h.next), fmt.Sprintf("7c0fd5e6-5b8e-4bfa-9d3c-%012d", h.next)
		signature, err := webhook.Sign(signingToken, id, now, data)
		if err != nil {
			tb.Fatal(err)
		}
		list[i] = fmt.Appendf(nil, "POST /hooks/gitlab HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nUser-Agent: GitLab/19.4.0\r\n"+
			"Idempotency-Key: %s\r\nX-Gitlab-Event: Merge Request Hook\r\nX-Gitlab-Instance: https://gitlab.example.com\r\n"+
			"webhook-id: %s\r\nwebhook-timestamp: %d\r\nwebhook-signature: %s\r\nContent-Length: %d\r\n\r\n%s",
			addr, id, id, now.Unix(), signature, len(data), data)
	}
	return list
}

// seed fills a database with deliveries that wait for their CI pipeline.
func seed(tb testing.TB, path string) {
	tb.Helper()
	s, err := boltstore.Open(boltstore.Options{Path: path, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	}()
	plan := twoDeploys()
	ref, err := putPlan(tb.Context(), s, plan)
	if err != nil {
		tb.Fatal(err)
	}
	var events []store.Event
	for n := 1; n <= seeded; n++ {
		id := engine.Delivery(pipeline.DeliveryID(projectID, int64(n), sha(n)))
		events = append(events, store.Event{To: id, Kind: "seed", At: time.Now()})
	}
	if _, err := s.Deliver(tb.Context(), events...); err != nil {
		tb.Fatal(err)
	}
	var left atomic.Int64
	left.Store(seeded)
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := seedOne(tb, s, plan, ref); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func seedOne(tb testing.TB, s store.Store, plan *pipeline.Plan, ref string) error {
	claims, err := s.Claim(tb.Context(), 1)
	if err != nil {
		return err
	}
	c := claims[0]
	d := pipeline.Delivery{ID: deliveryID(c.ID)}
	var project, iid int64
	var n int
	if _, err := fmt.Sscanf(d.ID, "%d-%d-%x", &project, &iid, &n); err != nil {
		return err
	}
	now := time.Now()
	mr := pipeline.MergeRequest{IID: iid, Title: "Show prices with taxes", TargetBranch: "main"}
	if d, _, err = pipeline.Step(nil, d, pipeline.Merged{Project: plan.Project, MergeRequest: mr, SHA: sha(n)}, now); err != nil {
		return err
	}
	if d, _, err = pipeline.Step(plan, d, pipeline.Planned{PlanRef: ref}, now); err != nil {
		return err
	}
	d.MergeRequest, d.Wake = mr, now.Add(time.Hour)
	doc, err := d.Encode()
	if err != nil {
		return err
	}
	return s.Commit(tb.Context(), store.Commit{
		ID: c.ID, Fence: c.Fence, Version: c.Version, Data: doc, Due: d.Wake, Consumed: []uint64{c.Events[0].Seq}, Blobs: []string{ref},
		Index: store.Index{Project: projectID, MergeRequest: iid, SHA: sha(n), Status: string(d.Status), Title: mr.Title, Started: now},
	})
}

// twoDeploys is a plan with two environments, one after the other.
func twoDeploys() *pipeline.Plan {
	deploy := func(env string) *pipeline.Deploy {
		return &pipeline.Deploy{Environment: env, Strategy: pipeline.StrategyRolling, Manifests: "deploy/" + env}
	}
	return &pipeline.Plan{
		Schema: pipeline.PlanSchema, Application: "shop", After: pipeline.AfterPipeline, Concurrency: pipeline.Queue,
		Project:      pipeline.Project{ID: projectID, Path: projectPath, URL: "https://gitlab.example.com/" + projectPath, DefaultBranch: "main"},
		Commit:       pipeline.Commit{SHA: sha(1), ShortSHA: pipeline.Short(sha(1)), Ref: "main", Title: "Show prices with taxes", Author: "Ben Okafor"},
		MergeRequest: pipeline.MergeRequest{IID: 1, Title: "Show prices with taxes", TargetBranch: "main"},
		Channel:      "#shop-deploys",
		Stages: []pipeline.Stage{
			{Name: "staging", Kind: pipeline.KindDeploy, OnFailure: pipeline.FailRollback, Timeout: time.Hour, Deploy: deploy("staging")},
			{Name: "production", Kind: pipeline.KindDeploy, Needs: []string{"staging"}, OnFailure: pipeline.FailRollback, Timeout: time.Hour, Deploy: deploy("production")},
		},
		Environments: map[string]pipeline.EnvironmentRules{
			"staging":    {Cluster: "main", Namespace: "staging", Tier: "staging"},
			"production": {Cluster: "main", Namespace: "production", Tier: "production"},
		},
	}
}
