package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	appsconfig "k8s.io/client-go/applyconfigurations/apps/v1"
	coreconfig "k8s.io/client-go/applyconfigurations/core/v1"
	metaconfig "k8s.io/client-go/applyconfigurations/meta/v1"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
)

const (
	benchReplicas = 4
	labelVersion  = "slipway.dev/version"
	benchManager  = "bench"
)

// observer notes when each thing of a namespace was first so, as a client of the API server sees it.
type observer struct {
	mu          sync.Mutex
	deployments map[string]*appsv1.Deployment
	services    map[string]*corev1.Service
	slices      map[string]*discoveryv1.EndpointSlice
	configs     map[string]*corev1.ConfigMap
	changed     chan struct{}
}

// observe watches a namespace until the benchmark ends.
func (r *rig) observe(namespace string) *observer {
	r.Helper()
	o := &observer{
		deployments: map[string]*appsv1.Deployment{}, services: map[string]*corev1.Service{}, configs: map[string]*corev1.ConfigMap{},
		slices: map[string]*discoveryv1.EndpointSlice{}, changed: make(chan struct{}, 1),
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	r.Cleanup(cancel)
	client, all := r.client(), metav1.ListOptions{}
	for _, begin := range []func() (watch.Interface, error){
		func() (watch.Interface, error) { return client.AppsV1().Deployments(namespace).Watch(ctx, all) },
		func() (watch.Interface, error) { return client.CoreV1().Services(namespace).Watch(ctx, all) },
		func() (watch.Interface, error) { return client.CoreV1().ConfigMaps(namespace).Watch(ctx, all) },
		func() (watch.Interface, error) {
			return client.DiscoveryV1().EndpointSlices(namespace).Watch(ctx, all)
		},
	} {
		w, err := begin()
		r.ok(err)
		go func() {
			for e := range w.ResultChan() {
				o.take(e)
			}
		}()
	}
	return o
}

func (o *observer) take(e watch.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	gone := e.Type == watch.Deleted
	switch x := e.Object.(type) {
	case *appsv1.Deployment:
		keep(o.deployments, x.Name, x, gone)
	case *corev1.Service:
		keep(o.services, x.Name, x, gone)
	case *corev1.ConfigMap:
		keep(o.configs, x.Name, x, gone)
	case *discoveryv1.EndpointSlice:
		keep(o.slices, x.Name, x, gone)
	}
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

func keep[T any](all map[string]T, name string, x T, gone bool) {
	if gone {
		delete(all, name)
		return
	}
	all[name] = x
}

// when waits until it is so and gives the moment at which that was seen.
func (o *observer) when(r *rig, what string, so func() bool) time.Time {
	r.Helper()
	deadline := time.After(patience)
	for {
		o.mu.Lock()
		ok := so()
		o.mu.Unlock()
		if ok {
			return time.Now()
		}
		select {
		case <-o.changed:
		case <-deadline:
			r.Fatalf("wait for %s: it never came to that", what)
		}
	}
}

func (o *observer) deployment(name string) *appsv1.Deployment {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.deployments[name]
}

// available tells that a Deployment is rolled out: all its pods are of the image and available, and there are no others.
func (o *observer) available(deployment, image string) bool {
	d := o.deployments[deployment]
	return d != nil && d.Spec.Template.Spec.Containers[0].Image == image && d.Status.ObservedGeneration >= d.Generation &&
		d.Status.AvailableReplicas == *d.Spec.Replicas && d.Status.UpdatedReplicas == *d.Spec.Replicas && d.Status.Replicas == *d.Spec.Replicas
}

// serves tells that the Service's ready endpoints are these pods, all of them, and no others.
func (o *observer) serves(service, prefix string, n int) bool {
	var ready []string
	for _, s := range o.slices {
		if s.Labels[discoveryv1.LabelServiceName] != service {
			continue
		}
		for _, e := range s.Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready && e.TargetRef != nil {
				ready = append(ready, e.TargetRef.Name)
			}
		}
	}
	return len(ready) == n && !slices.ContainsFunc(ready, func(pod string) bool { return !strings.HasPrefix(pod, prefix) })
}

// version is the Deployment of a commit's blue-green release, "" if there is none yet.
func (o *observer) version(sha string) string {
	for name, d := range o.deployments {
		if strings.HasPrefix(d.Labels[labelVersion], sha[:7]) {
			return name
		}
	}
	return ""
}

// benchRig is a rig on the real control plane whose staging environment is measured.
func benchRig(b *testing.B) *rig {
	b.Helper()
	if testing.Short() {
		b.Skip("short: no control plane")
	}
	return newRig(b, "real")
}

// allow lets checks ask a host.
func (r *rig) allow(host string) {
	r.Helper()
	data, err := os.ReadFile(r.config)
	r.ok(err)
	config := strings.Replace(string(data), "hosts:\n", fmt.Sprintf("hosts:\n  - %q\n", host), 1)
	if config == string(data) {
		r.Fatal("the configuration has no list of hosts")
	}
	r.ok(os.WriteFile(r.config, []byte(config), 0o600))
}

// change opens a merge request with another pipeline file and a marker that makes it a change.
func (r *rig) change(n int, stages string, more map[string]string) int64 {
	r.Helper()
	files := map[string]string{
		world.PipelineFile:                  "version: 1\napplication: shop\non: {merge: {after: merge}}\nstages:\n" + stages,
		"CHANGE.md":                         fmt.Sprint("change ", n, "\n"),
		"deploy/staging/kustomization.yaml": fmt.Sprintf("resources: [../base]\nreplicas:\n  - {name: shop, count: %d}\n", benchReplicas),
	}
	for name, text := range more {
		files[name] = text
	}
	iid, err := r.world.Change(fmt.Sprint("Change ", n), "", fmt.Sprint("change-", n), files)
	r.ok(err)
	return iid
}

func image(sha string) string { return "registry.example.com/shop:" + sha[:8] }

// figures are the measured times of one kind, in milliseconds.
type figures map[string][]float64

func (f figures) add(name string, d time.Duration) {
	f[name] = append(f[name], float64(d.Microseconds())/1000)
}

// ratio adds how many times the floor something takes.
func (f figures) ratio(name string, d, floor time.Duration) {
	f[name+timesFloor] = append(f[name+timesFloor], float64(d)/float64(floor))
}

const timesFloor = "-by-floor"

func (f figures) report(b *testing.B) {
	for name, all := range f {
		slices.Sort(all)
		unit := "-ms"
		if strings.HasSuffix(name, timesFloor) {
			unit = ""
		}
		b.ReportMetric(all[len(all)/2], name+"-p50"+unit)
		b.ReportMetric(all[len(all)*99/100], name+"-max"+unit)
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkBlueGreen delivers change after change by the whole program, and measures on the real control plane, as another
// client of the API server sees it, how soon traffic moves and moves back. The floor is what the cluster takes for the same
// with a client that only does that: for the way back, a selector that is flipped between the same pods in the same
// namespace, while the release before is on standby.
func BenchmarkBlueGreen(b *testing.B) {
	r := benchRig(b)
	var broken atomic.Bool
	var refused atomic.Int64 // when the check was first answered badly
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			refused.CompareAndSwap(0, time.Now().UnixMicro())
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	b.Cleanup(shop.Close)
	r.allow(strings.TrimPrefix(shop.URL, "http://"))
	r.start()
	deploy := "  - name: staging\n    deploy:\n      environment: staging\n      manifests: deploy/staging\n" +
		"      strategy: blue-green\n      standby: %s\n      images: {registry.example.com/shop: \"${{ commit.short_sha }}\"}\n"
	plain := fmt.Sprintf(deploy, "0s")
	checked := fmt.Sprintf(deploy, "10m") + "    check: {http: \"" + shop.URL + "\", every: 1s, for: 10m}\n"
	o := r.observe(r.staging)
	n, f := 0, figures{}
	next := func(stages string) (string, int64, time.Time) {
		n++
		iid := r.change(n, stages, nil)
		began := time.Now()
		return r.merge(iid), iid, began
	}
	_, iid, _ := next(plain)
	r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
	for b.Loop() {
		// Forward: the pods are available, the selector moves, and the endpoints follow.
		sha, iid, began := next(plain)
		var deployment string
		ready := o.when(r, "the pods", func() bool {
			deployment = o.version(sha)
			return deployment != "" && o.available(deployment, image(sha))
		})
		moved := o.when(r, "the selector", func() bool { return strings.HasPrefix(o.services["shop"].Spec.Selector[labelVersion], sha[:7]) })
		serving := o.when(r, "the endpoints", func() bool { return o.serves("shop", deployment, benchReplicas) })
		f.add("available-to-selector", moved.Sub(ready))
		f.add("merge-to-serving", serving.Sub(began))
		r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
		before := sha
		// Back, from hot standby, because a check fails.
		refused.Store(0)
		sha, iid, _ = next(checked)
		o.when(r, "the new version to serve", func() bool {
			deployment = o.version(sha)
			return deployment != "" && o.serves("shop", deployment, benchReplicas)
		})
		r.ok(r.world.AwaitNote(r.within(), iid, "on standby"))
		old := o.version(before)
		floor := r.floorFlips(f, o, deployment, old)
		broken.Store(true)
		back := o.when(r, "the old version to serve", func() bool { return o.serves("shop", old, benchReplicas) })
		r.ok(r.world.AwaitNote(r.within(), iid, "**Rolled back**"))
		broken.Store(false)
		answered := back.Sub(time.UnixMicro(refused.Load()))
		f.add("bad-answer-to-old-serving", answered)
		decided := back.Sub(r.decided())
		f.add("decision-to-old-serving", decided)
		f.ratio("bad-answer-to-old-serving", answered, floor)
		f.ratio("decision-to-old-serving", decided, floor)
		r.floor(f)
	}
	f.report(b)
}

// decided is when Slipway had committed its last decision to go back, by its log, which cuts off what is below a millisecond.
func (r *rig) decided() time.Time {
	r.Helper()
	log := r.log.String()
	line := log[:max(0, strings.LastIndex(log, ` msg="goes back to the release before"`))]
	_, at, _ := strings.Cut(line[strings.LastIndex(line, "\n")+1:], "time=")
	at, _, _ = strings.Cut(at, " ")
	decided, err := time.Parse(time.RFC3339Nano, at)
	r.ok(err)
	return decided
}

// floorFlips measures what a lone flip of a selector takes between the pods of two Deployments, and returns the median of a
// few. Each comes after a second of rest, as what a check decides does: one right after the other would be faster.
func (r *rig) floorFlips(f figures, o *observer, now, other string) time.Duration {
	r.Helper()
	const flips = 3
	services := r.client().CoreV1().Services(r.staging)
	service := coreconfig.Service("floor", r.staging).WithSpec(coreconfig.ServiceSpec().WithSelector(o.deployment(now).Spec.Selector.MatchLabels).
		WithPorts(coreconfig.ServicePort().WithPort(80)))
	_, err := services.Apply(r.within(), service, metav1.ApplyOptions{FieldManager: benchManager, Force: true})
	r.ok(err)
	o.when(r, "the floor's pods", func() bool { return o.serves("floor", now, benchReplicas) })
	var all []time.Duration
	for i := range flips {
		to := []string{other, now}[i%2]
		patch := fmt.Sprintf(`{"spec":{"selector":{%q:%q}}}`, labelVersion, o.deployment(to).Labels[labelVersion])
		rest := time.NewTimer(time.Second)
		<-rest.C
		began := time.Now()
		_, err := services.Patch(r.within(), "floor", types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: benchManager})
		r.ok(err)
		f.add("floor-patch", time.Since(began))
		moved := o.when(r, "the floor's endpoints", func() bool { return o.serves("floor", to, benchReplicas) })
		f.add("floor-patch-to-serving", moved.Sub(began))
		all = append(all, moved.Sub(began))
	}
	r.ok(services.Delete(r.within(), "floor", metav1.DeleteOptions{}))
	slices.Sort(all)
	return all[len(all)/2]
}

// floor measures what the cluster itself takes for a plain Deployment with all pods at once.
func (r *rig) floor(f figures) {
	r.Helper()
	ns := r.kubetest.Namespace(r.TB)
	o := r.observe(ns)
	client, ctx := r.client(), r.within()
	labels := map[string]string{"app": "floor"}
	service := coreconfig.Service("floor", ns).WithSpec(coreconfig.ServiceSpec().WithSelector(labels).
		WithPorts(coreconfig.ServicePort().WithPort(80)))
	_, err := client.CoreV1().Services(ns).Apply(ctx, service, metav1.ApplyOptions{FieldManager: benchManager})
	r.ok(err)
	pods := coreconfig.PodTemplateSpec().WithLabels(labels).WithSpec(coreconfig.PodSpec().WithContainers(
		coreconfig.Container().WithName("shop").WithImage("floor:1")))
	d := appsconfig.Deployment("floor", ns).WithSpec(appsconfig.DeploymentSpec().WithReplicas(benchReplicas).
		WithSelector(metaconfig.LabelSelector().WithMatchLabels(labels)).WithTemplate(pods))
	began := time.Now()
	_, err = client.AppsV1().Deployments(ns).Apply(ctx, d, metav1.ApplyOptions{FieldManager: benchManager})
	r.ok(err)
	up := o.when(r, "the floor's pods", func() bool { return o.serves("floor", "floor", benchReplicas) })
	f.add("floor-deployment-to-serving", up.Sub(began))
}

// BenchmarkNextStep measures how soon after the pods of one stage are available the next stage writes to the cluster.
func BenchmarkNextStep(b *testing.B) {
	r := benchRig(b)
	r.start()
	stages := "  - name: staging\n    deploy: {environment: staging, manifests: deploy/staging, images: {registry.example.com/shop: \"${{ commit.short_sha }}\"}}\n" +
		"  - name: next\n    deploy: {environment: staging, manifests: next, prune: nothing}\n"
	o := r.observe(r.staging)
	n, f := 0, figures{}
	for b.Loop() {
		n++
		iid := r.change(n, stages, map[string]string{"next/next.yaml": fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: next}\ndata: {round: %q}\n", fmt.Sprint(n))})
		sha := r.merge(iid)
		ready := o.when(r, "the pods", func() bool { return o.available("shop", image(sha)) })
		written := o.when(r, "the next stage", func() bool { return o.configs["next"] != nil && o.configs["next"].Data["round"] == fmt.Sprint(n) })
		f.add("available-to-next-write", written.Sub(ready))
		r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
	}
	f.report(b)
}

// BenchmarkTwoHundredWorkloads delivers 200 Deployments at once. The floor is a client that applies the same, eight at a
// time, and waits.
func BenchmarkTwoHundredWorkloads(b *testing.B) {
	const many = 200
	r := benchRig(b)
	r.start()
	f := figures{}
	for n := 0; b.Loop(); n++ {
		var manifests strings.Builder
		for i := range many {
			fmt.Fprintf(&manifests, "---\n%s", workload(fmt.Sprintf("w%d-%d", n, i)))
		}
		iid := r.change(n+1, "  - name: staging\n    deploy: {environment: staging, manifests: many}\n", map[string]string{"many/all.yaml": manifests.String()})
		began := time.Now()
		r.merge(iid)
		r.ok(r.world.AwaitNote(r.within(), iid, "**Delivered**"))
		f.add("200-workloads", time.Since(began))
		r.floorMany(f, many)
	}
	f.report(b)
}

func workload(name string) string {
	return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %[1]s}\nspec:\n  selector: {matchLabels: {app: %[1]s}}\n"+
		"  template:\n    metadata: {labels: {app: %[1]s}}\n    spec: {containers: [{name: c, image: \"app:1\"}]}\n", name)
}

func (r *rig) floorMany(f figures, many int) {
	r.Helper()
	ns := r.kubetest.Namespace(r.TB)
	o := r.observe(ns)
	client := r.client()
	began := time.Now()
	free := make(chan struct{}, 8)
	for i := range many {
		free <- struct{}{}
		go func() {
			defer func() { <-free }()
			labels := map[string]string{"app": fmt.Sprint("w", i)}
			_, err := client.AppsV1().Deployments(ns).Create(r.Context(), &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Name: labels["app"]},
				Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "app:1"}}},
				}},
			}, metav1.CreateOptions{})
			if err != nil {
				r.Error(err)
			}
		}()
	}
	done := o.when(r, "all of the floor's workloads", func() bool {
		n := 0
		for _, d := range o.deployments {
			if d.Status.AvailableReplicas == 1 {
				n++
			}
		}
		return n == many
	})
	f.add("floor-200-workloads", done.Sub(began))
}
