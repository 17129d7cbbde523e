package kube_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubetest"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "4") // they mostly wait; the command line has the last word
	os.Exit(m.Run())
}

// world is one namespace of a cluster, and an executor that deliveries of one project use there.
type world struct {
	t         testing.TB
	sim       *kubesim.Sim      // nil for the real control plane
	real      *kubetest.Cluster // nil for the simulated one
	admin     kubernetes.Interface
	namespace string
	options   kube.Options
	crds      bool // definitions of kinds are allowed
	registry  deploy.Registry
	// adminConfig is of an administrator, whoever the executor is.
	adminConfig []byte
	patience    deploy.Patience
	deploy      pipeline.Deploy                     // what the stage says beside its environment and path
	run         *pipeline.Run                       // makes it a run stage
	canary      *pipeline.Canary                    // comes before the stage if it is set
	tries       int                                 // of effects before, for which a task is the next
	environment string                              // "production" unless a test says so
	slug        string                              // of a review
	fence       *manifest.Fence                     // of a review
	mortal      func(deploy.Cluster) deploy.Cluster // stands before the cluster if it is set

	source source
	blobs  blobs
	logs   lockedBuffer
	target func(ctx context.Context) error // refuses the environment if it is set

	mu       sync.Mutex
	progress []string
	told     chan string // progress, dropped when nobody listens
}

// onEachCluster runs a test against the simulated cluster and against the real control plane.
func onEachCluster(t *testing.T, test func(t *testing.T, w *world)) {
	t.Parallel()
	t.Run("simulated", func(t *testing.T) {
		t.Parallel()
		test(t, simulated(t))
	})
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		test(t, realOne(t))
	})
}

func simulated(t *testing.T) *world {
	t.Helper()
	return simulatedAt(t, time.Now)
}

// simulatedAt is a simulated cluster with a clock of its own.
func simulatedAt(t *testing.T, now func() time.Time) *world {
	t.Helper()
	sim, err := kubesim.New(kubesim.Options{
		PodStartTime: 50 * time.Millisecond, PodStopTime: 20 * time.Millisecond, Speed: 20, Namespaces: []string{"shop"}, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return newWorld(t, &world{sim: sim, namespace: "shop", options: kube.Options{Name: "sim", Kubeconfig: sim.Kubeconfig()}})
}

func realOne(t testing.TB) *world {
	t.Helper()
	cluster := kubetest.Start(t)
	return newWorld(t, &world{real: cluster, namespace: cluster.Namespace(t), options: kube.Options{Name: "real", Kubeconfig: cluster.Kubeconfig}})
}

func newWorld(t testing.TB, w *world) *world {
	t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(w.options.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, w.adminConfig = -1, w.options.Kubeconfig
	if w.admin, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	w.t, w.told = t, make(chan string, 100)
	w.source, w.environment = source{}, "production"
	w.blobs = blobs{data: map[string][]byte{}}
	w.options.Timeout = 5 * time.Second
	return w
}

// Target implements deploy.Clusters: one environment, production.
func (w *world) Target(ctx context.Context, project, environment string) (deploy.Target, error) {
	if project != "shop/api" || environment != w.environment {
		return deploy.Target{}, &pipeline.Failure{Code: pipeline.ReasonNotAllowed, Permanent: true, Detail: project + " may not use " + environment}
	}
	if w.target != nil {
		if err := w.target(ctx); err != nil {
			return deploy.Target{}, err
		}
	}
	client, err := kube.New(w.options)
	if err != nil {
		return deploy.Target{}, err
	}
	namespace := client.Namespace(w.namespace)
	if w.crds {
		namespace = namespace.AllowCRDs()
	}
	target := deploy.Target{Cluster: namespace, Name: w.options.Name, Namespace: w.namespace, CRDs: w.crds, Fence: w.fence}
	if w.mortal != nil {
		target.Cluster = w.mortal(target.Cluster)
	}
	return target, nil
}

func (w *world) executor() *deploy.Executor {
	w.t.Helper()
	e, err := deploy.New(deploy.Options{
		Source: w.source, Blobs: &w.blobs, Clusters: w, Patience: w.patience, Registry: w.registry, Logger: slog.New(slog.NewTextHandler(&w.logs, nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

const stageName = "go-live"

// task is an action of the delivery of a commit, whose manifests are in the folder deploy.
func (w *world) task(sha string, do pipeline.Action) *pipeline.Task {
	def := w.deploy
	if def.Environment, def.Manifests = w.environment, "deploy"; def.Strategy == "" {
		def.Strategy = pipeline.StrategyRolling
	}
	stage := pipeline.Stage{Name: stageName, Kind: pipeline.KindDeploy, Deploy: &def}
	if w.run != nil {
		stage = pipeline.Stage{Name: stageName, Kind: pipeline.KindRun, Run: w.run}
	}
	stages := []pipeline.Stage{stage}
	if w.canary != nil {
		c := *w.canary
		c.Environment, c.Deploy = w.environment, def
		stages = append([]pipeline.Stage{{Name: canaryStage, Kind: pipeline.KindCanary, Canary: &c}}, stages...)
	}
	return &pipeline.Task{
		Plan: &pipeline.Plan{Commit: pipeline.Commit{SHA: sha, Ref: "main"}, Stages: stages,
			Environments: map[string]pipeline.EnvironmentRules{w.environment: {Slug: w.slug, Review: w.slug != ""}}},
		Delivery: pipeline.Delivery{
			ID: "7-1-" + sha, SHA: sha, Project: pipeline.Project{ID: 7, Path: "shop/api"},
			MergeRequest: pipeline.MergeRequest{IID: 1, Title: "Change " + sha}, Stages: []pipeline.StageState{{Name: stageName, Attempt: 1}},
		},
		Effect: pipeline.Effect{Key: stageName, Do: do}, Attempt: 1 + w.tries,
		Progress: func(e pipeline.Event) {
			if p, ok := e.(pipeline.Progressed); ok {
				w.mu.Lock()
				w.progress = append(w.progress, p.Words)
				w.mu.Unlock()
				select {
				case w.told <- p.Words:
				default:
				}
			}
		},
	}
}

func (w *world) saw() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.progress
}

func (w *world) context() context.Context {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 60*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

// detached is a context for what is cleaned up after the test.
func (w *world) detached() context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 10*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

func (w *world) apply(sha string) (pipeline.Release, error) {
	w.t.Helper()
	task := w.task(sha, pipeline.Apply{Stage: stageName, Attempt: 1, ReleaseID: "7-1-" + sha + "/" + stageName + "/1"})
	event, err := w.executor().Execute(w.context(), task)
	if err != nil {
		return pipeline.Release{}, err
	}
	applied, ok := event.(pipeline.Applied)
	if !ok || applied.Stage != stageName || applied.Attempt != 1 {
		w.t.Fatalf("apply gave %#v", event)
	}
	return applied.Release, nil
}

func (w *world) observe(ctx context.Context, r pipeline.Release) (pipeline.RolledOut, error) {
	w.t.Helper()
	event, err := w.executor().Execute(ctx, w.task(r.SHA, pipeline.Observe{Stage: stageName, Attempt: 1, Release: r}))
	if err != nil {
		return pipeline.RolledOut{}, err
	}
	return event.(pipeline.RolledOut), nil
}

// release applies a commit and waits until it is rolled out.
func (w *world) release(sha string) pipeline.Release {
	w.t.Helper()
	r := w.mustApply(sha)
	if _, err := w.observe(w.context(), r); err != nil {
		w.t.Fatalf("observe %s: %v; progress was %q", sha, err, w.saw())
	}
	return r
}

func (w *world) mustApply(sha string) pipeline.Release {
	w.t.Helper()
	r, err := w.apply(sha)
	if err != nil {
		w.t.Fatalf("apply %s: %v", sha, err)
	}
	return r
}

// fails applies a commit and returns why its rollout failed.
func (w *world) fails(sha string) *pipeline.Failure {
	w.t.Helper()
	_, err := w.observe(w.context(), w.mustApply(sha))
	return w.permanent(err)
}

func (w *world) permanent(err error) *pipeline.Failure {
	w.t.Helper()
	f, ok := pipeline.AsFailure(err)
	if !ok || !f.Permanent {
		w.t.Fatalf("got error %v (%#v), want a permanent failure", err, f)
	}
	if n := len([]rune(f.Detail)); n > 500 {
		w.t.Errorf("its detail has %d characters: %s", n, f.Detail)
	}
	return f
}

func (w *world) restore(sha string, to, from *pipeline.Release) {
	w.t.Helper()
	event, err := w.executor().Execute(w.context(), w.task(sha, pipeline.Restore{
		Stage: stageName, Attempt: 1, Environment: "production", To: to, From: from,
	}))
	if err != nil {
		w.t.Fatalf("restore: %v", err)
	}
	if _, ok := event.(pipeline.Restored); !ok {
		w.t.Fatalf("restore gave %#v", event)
	}
}

// commit puts one manifest file at a commit.
func (w *world) commit(sha, manifests string) {
	w.source[sha] = fstest.MapFS{"deploy/all.yaml": {Data: []byte(manifests)}}
}

// deployment is a Deployment named shop. more is further YAML of its spec, in flow style, such as ", minReadySeconds: 1".
func deployment(image string, replicas int, more string) string {
	return fmt.Sprintf(`
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec: {replicas: %d, selector: {matchLabels: {app: shop}}, template: {metadata: {labels: {app: shop}}, spec: {containers: [{name: app, image: %q}]}}%s}
`, replicas, image, more)
}

func configMap(name, value string) string {
	return fmt.Sprintf("\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {value: %q}\n", name, value)
}

func (w *world) configMap(name string) *corev1.ConfigMap {
	w.t.Helper()
	c, err := w.admin.CoreV1().ConfigMaps(w.namespace).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatalf("get config map %s: %v", name, err)
	}
	return c
}

type source map[string]fstest.MapFS

func (s source) Files(_ context.Context, _ pipeline.Project, sha, path string) (fs.FS, error) {
	files := fstest.MapFS{}
	for name, f := range s[sha] {
		if name == path || strings.HasPrefix(name, path+"/") {
			files[name] = f
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("path %s: %w", path, fs.ErrNotExist)
	}
	return files, nil
}

type blobs struct {
	mu   sync.Mutex
	data map[string][]byte
}

func (b *blobs) PutBlob(_ context.Context, data []byte) (string, error) {
	sum := sha256.Sum256(data)
	b.mu.Lock()
	defer b.mu.Unlock()
	ref := hex.EncodeToString(sum[:])
	b.data[ref] = bytes.Clone(data)
	return ref, nil
}

func (b *blobs) GetBlob(_ context.Context, ref string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.data[ref]
	if !ok {
		return nil, errors.New("no such blob")
	}
	return data, nil
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
