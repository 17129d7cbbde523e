package kube_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/yaml"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const service = `
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80, targetPort: 8080}]}
`

// traffic records who has had the traffic of Service shop: the Deployments of its ready endpoints, each change once.

type traffic struct {
	mu   sync.Mutex
	saw  []string
	told chan struct{}
}

// clients watches the endpoints of Service shop until the test ends, as a client would that sends requests all the time.

func (w *world) clients() *traffic {
	w.t.Helper()
	tr := &traffic{told: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	watcher, err := w.admin.DiscoveryV1().EndpointSlices(w.namespace).Watch(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=shop"})
	if err != nil {
		w.t.Fatal(err)
	}
	var running sync.WaitGroup
	slicesOf := map[string]*discoveryv1.EndpointSlice{}
	running.Go(func() {
		for event := range watcher.ResultChan() {
			s, ok := event.Object.(*discoveryv1.EndpointSlice)
			if !ok {
				continue
			}
			if slicesOf[s.Name] = s; event.Type == watch.Deleted {
				delete(slicesOf, s.Name)
			}
			tr.see(slicesOf)
		}
	})
	w.t.Cleanup(func() {
		watcher.Stop()
		cancel()
		running.Wait()
	})
	return tr
}

func (tr *traffic) see(all map[string]*discoveryv1.EndpointSlice) {
	serving := map[string]bool{}
	for _, s := range all {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				name := e.TargetRef.Name // DEPLOYMENT-HASH-RANDOM
				name = name[:strings.LastIndex(name, "-")]
				serving[name[:strings.LastIndex(name, "-")]] = true
			}
		}
	}
	names := strings.Join(slices.Sorted(maps.Keys(serving)), "+")
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.saw) == 0 && names == "" || len(tr.saw) > 0 && tr.saw[len(tr.saw)-1] == names {
		return
	}
	tr.saw = append(tr.saw, names)
	select {
	case tr.told <- struct{}{}:
	default:
	}
}

// went waits until the last one in the list has the traffic, and compares who had it in between.

func (tr *traffic) went(t *testing.T, through ...string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		tr.mu.Lock()
		saw := slices.Clone(tr.saw)
		tr.mu.Unlock()
		if n := len(saw); n > 0 && saw[n-1] == through[len(through)-1] && n >= len(through) {
			if !slices.Equal(saw, through) {
				t.Errorf("the traffic went to %q, want %q", saw, through)
			}
			return
		}
		select {
		case <-tr.told:
		case <-deadline:
			t.Fatalf("the traffic went to %q, want %q", saw, through)
		}
	}
}

func versionedDeployment(r pipeline.Release) string { return "shop-" + r.Version }

func (w *world) do(sha string, do pipeline.Action) (pipeline.Event, error) {
	w.t.Helper()
	return w.executor().Execute(w.context(), w.task(sha, do))
}

func (w *world) must(sha string, do pipeline.Action) pipeline.Event {
	w.t.Helper()
	event, err := w.do(sha, do)
	if err != nil {
		w.t.Fatalf("%s %s: %v", do.ActionKind(), sha, err)
	}
	return event
}

// switchTo moves the traffic; deliver does all that a delivery does to a release; retire is its end.

func (w *world) switchTo(r pipeline.Release, from *pipeline.Release) {
	w.t.Helper()
	w.must(r.SHA, pipeline.Switch{Stage: stageName, Attempt: 1, Environment: "production", To: r, From: from})
}

func (w *world) retire(r pipeline.Release, old *pipeline.Release) []string {
	w.t.Helper()
	return w.must(r.SHA, pipeline.Retire{Stage: stageName, Attempt: 1, Environment: "production", Serving: r, Old: old}).(pipeline.Retired).Removed
}

func (w *world) deliver(sha string, before *pipeline.Release) pipeline.Release {
	w.t.Helper()
	r := w.release(sha)
	if r.Strategy == pipeline.StrategyBlueGreen {
		w.switchTo(r, before)
	}
	w.retire(r, before)
	return r
}

func (w *world) deployments() []string {
	w.t.Helper()
	list, err := w.admin.AppsV1().Deployments(w.namespace).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, d := range list.Items {
		if d.DeletionTimestamp == nil {
			names = append(names, d.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (w *world) wantDeployments(want ...string) {
	w.t.Helper()
	slices.Sort(want)
	if got := w.deployments(); !slices.Equal(got, want) {
		w.t.Errorf("deployments are %q, want %q", got, want)
	}
}

func (w *world) selector() map[string]string {
	w.t.Helper()
	s, err := w.admin.CoreV1().Services(w.namespace).Get(w.t.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Spec.Selector
}

// kubectl applies manifests as a person does, with a field manager of kubectl's.

func (w *world) kubectl(manifests string) {
	w.t.Helper()
	force := true
	for _, doc := range strings.Split(manifests, "---\n") {
		var meta metav1.PartialObjectMetadata
		if yaml.Unmarshal([]byte(doc), &meta) != nil || meta.Kind == "" {
			continue
		}
		options := metav1.PatchOptions{FieldManager: "kubectl-client-side-apply", Force: &force}
		var err error
		switch meta.Kind {
		case "Deployment":
			_, err = w.admin.AppsV1().Deployments(w.namespace).Patch(w.t.Context(), meta.Name, types.ApplyPatchType, []byte(doc), options)
		case "Service":
			_, err = w.admin.CoreV1().Services(w.namespace).Patch(w.t.Context(), meta.Name, types.ApplyPatchType, []byte(doc), options)
		case "HorizontalPodAutoscaler":
			_, err = w.admin.AutoscalingV2().HorizontalPodAutoscalers(w.namespace).Patch(w.t.Context(), meta.Name, types.ApplyPatchType, []byte(doc), options)
		default:
			w.t.Fatalf("kubectl can't apply %s", meta.Kind)
		}
		if err != nil {
			w.t.Fatalf("kubectl apply %s %s: %v", meta.Kind, meta.Name, err)
		}
	}
}

func (w *world) awaitAvailable(name string, n int32) {
	w.t.Helper()
	w.await(fmt.Sprintf("%d pods of %s", n, name), func() bool {
		d, err := w.admin.AppsV1().Deployments(w.namespace).Get(w.t.Context(), name, metav1.GetOptions{})
		return err == nil && d.Status.ObservedGeneration >= d.Generation && d.Status.AvailableReplicas == n && d.Status.Replicas == n
	})
}

func (w *world) await(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain for %s", what)
		}
		timer := time.NewTimer(20 * time.Millisecond)
		<-timer.C
	}
}

func (w *world) deploymentNamed(name string) *appsv1.Deployment {
	w.t.Helper()
	d, err := w.admin.AppsV1().Deployments(w.namespace).Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) wantTrack(r pipeline.Release, want string) {
	w.t.Helper()
	if got := w.deploymentNamed(versionedDeployment(r)).Labels[deploy.LabelTrack]; got != want {
		w.t.Errorf("the track of %s is %q, want %q", r.SHA, got, want)
	}
}

// TestBlueGreenTakesOverFromKubectl: what runs already, applied by people, serves until the new release does.

const autoscaler = `
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: shop}
spec: {minReplicas: 1, maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}}
`

const budget = `
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: shop}
spec: {minAvailable: 1, selector: {matchLabels: {app: shop}}}
`

func (w *world) scaleTarget() string {
	w.t.Helper()
	h, err := w.admin.AutoscalingV2().HorizontalPodAutoscalers(w.namespace).Get(w.t.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return h.Spec.ScaleTargetRef.Name
}

func (w *world) protected() string {
	w.t.Helper()
	b, err := w.admin.PolicyV1().PodDisruptionBudgets(w.namespace).Get(w.t.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return b.Spec.Selector.MatchLabels[deploy.LabelVersion]
}

// TestAnUnrecordedBlueGreenReleaseIsTakenBack: it was killed while it was applied, and nobody has heard of it.

// TestStagesThatShareAnEnvironmentDoNotPruneEachOther: the release before is the other stage's.
