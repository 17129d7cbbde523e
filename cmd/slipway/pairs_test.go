package main

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/deploy"
)

// pairWatch knows the Deployments of the pairs in production.
type pairWatch struct {
	mu   sync.Mutex
	now  map[string]*appsv1.Deployment
	told map[chan struct{}]bool // of changes
}

// watchPairs watches until the test ends.
func (r *rig) watchPairs() *pairWatch {
	r.Helper()
	p := &pairWatch{now: map[string]*appsv1.Deployment{}, told: map[chan struct{}]bool{}}
	watcher, err := r.client().AppsV1().Deployments(r.prod).Watch(r.Context(), metav1.ListOptions{LabelSelector: deploy.LabelPair})
	r.ok(err)
	var watching sync.WaitGroup
	watching.Go(func() {
		for event := range watcher.ResultChan() {
			if d, ok := event.Object.(*appsv1.Deployment); ok {
				p.see(event.Type, d)
			}
		}
	})
	r.Cleanup(func() {
		watcher.Stop()
		watching.Wait()
	})
	return p
}

func (p *pairWatch) see(what watch.EventType, d *appsv1.Deployment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now[d.Name] = d; what == watch.Deleted {
		delete(p.now, d.Name)
	}
	for told := range p.told {
		select {
		case told <- struct{}{}:
		default:
		}
	}
}

func (p *pairWatch) subscribe() (<-chan struct{}, func()) {
	told := make(chan struct{}, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told[told] = true
	return told, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.told, told)
	}
}

// deployments are the pairs', by name: the baseline comes first.
func (p *pairWatch) deployments() []*appsv1.Deployment {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*appsv1.Deployment
	for _, name := range slices.Sorted(maps.Keys(p.now)) {
		all = append(all, p.now[name])
	}
	return all
}

// available are the tracks that can be measured.
func (p *pairWatch) available() []world.Track {
	var tracks []world.Track
	for _, d := range p.deployments() {
		if available(d) {
			t := world.Track{Name: d.Labels[deploy.LabelTrack], Version: d.Labels[deploy.LabelVersion]}
			for _, c := range d.Spec.Template.Spec.Containers {
				t.Images = append(t.Images, c.Image)
			}
			tracks = append(tracks, t)
		}
	}
	return tracks
}

// begun tells that a Deployment may have pods.
func begun(d *appsv1.Deployment) bool { return !d.Spec.Paused }

func available(d *appsv1.Deployment) bool {
	return begun(d) && d.Status.ObservedGeneration >= d.Generation && *d.Spec.Replicas > 0 && d.Status.AvailableReplicas == *d.Spec.Replicas
}

// count is how many Deployments are so.
func count(all []*appsv1.Deployment, so func(*appsv1.Deployment) bool) (n int) {
	for _, d := range all {
		if so(d) {
			n++
		}
	}
	return n
}

// awaitPair waits until the Deployments of pairs in production are as wanted.
func (r *rig) awaitPair(what string, wanted func(pair []*appsv1.Deployment) bool) {
	r.Helper()
	changed, stop := r.pairs.subscribe()
	defer stop()
	for ctx := r.within(); !wanted(r.pairs.deployments()); {
		select {
		case <-changed:
		case <-ctx.Done():
			r.Fatalf("no pair %s: %d Deployments are there", what, len(r.pairs.deployments()))
		}
	}
}

// checkPair compares the tracks of the pair that is in production, and returns its pods. They have to be made since then.
// The canary has what more says besides: the containers that the commit brings.
func (r *rig) checkPair(since time.Time, more ...string) (pods []string) {
	r.Helper()
	list, err := r.client().AppsV1().Deployments(r.prod).List(r.within(), metav1.ListOptions{LabelSelector: deploy.LabelPair})
	r.ok(err)
	if len(list.Items) != 2 {
		r.Fatalf("the pair has %d Deployments", len(list.Items))
	}
	baseline, canary := trackOf(list.Items[0]), trackOf(list.Items[1])
	if list.Items[0].Labels[deploy.LabelTrack] == deploy.TrackCanary {
		baseline, canary = canary, baseline
	}
	canary.Containers = slices.DeleteFunc(canary.Containers, func(c corev1.Container) bool { return slices.Contains(more, c.Name) })
	if diff := cmp.Diff(baseline, canary); diff != "" {
		r.Errorf("the tracks differ: baseline (-), canary (+):\n%s", diff)
	}
	for _, d := range list.Items {
		if track := d.Labels[deploy.LabelTrack]; d.Spec.Template.Labels[deploy.LabelTrack] != track || !strings.HasPrefix(d.Name, "shop-"+track+"-") {
			r.Errorf("%s is on track %s, and its pods are on %s", d.Name, track, d.Spec.Template.Labels[deploy.LabelTrack])
		}
		pods = append(pods, r.freshPods(d, since)...)
	}
	slices.Sort(pods)
	return pods
}

// track is what has to be the same of a baseline and its canary.
type track struct {
	Replicas, Available, Pods int32
	Labels, PodLabels         map[string]string // but for those that tell the tracks apart
	Containers                []corev1.Container
}

func trackOf(d appsv1.Deployment) track {
	t := track{
		Replicas: *d.Spec.Replicas, Available: d.Status.AvailableReplicas, Pods: d.Status.Replicas,
		Labels: maps.Clone(d.Labels), PodLabels: maps.Clone(d.Spec.Template.Labels),
	}
	for _, labels := range []map[string]string{t.Labels, t.PodLabels} {
		delete(labels, deploy.LabelTrack)
		delete(labels, deploy.LabelVersion)
	}
	for _, c := range d.Spec.Template.Spec.Containers { // image and configuration are what the commit changes
		t.Containers = append(t.Containers, corev1.Container{Name: c.Name, Resources: c.Resources, Ports: c.Ports})
	}
	return t
}

// freshPods are the pods of a pair's Deployment.
func (r *rig) freshPods(d appsv1.Deployment, since time.Time) (names []string) {
	r.Helper()
	list, err := r.client().CoreV1().Pods(r.prod).List(r.within(), metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
	r.ok(err)
	for _, pod := range list.Items {
		if pod.DeletionTimestamp != nil {
			continue
		}
		if pod.CreationTimestamp.Time.Before(since.Truncate(time.Second)) {
			r.Errorf("pod %s is of %s, and the canary began after %s", pod.Name, pod.CreationTimestamp.Time, since)
		}
		names = append(names, pod.Name)
	}
	if len(names) != int(*d.Spec.Replicas) {
		r.Errorf("%s has the pods %q, want %d", d.Name, names, *d.Spec.Replicas)
	}
	return names
}

// checkSamePods wants that nobody has made the pair anew.
func (r *rig) checkSamePods(were, are []string) {
	r.Helper()
	if !slices.Equal(were, are) {
		r.Errorf("the pair's pods were %q, and are %q", were, are)
	}
}

// ofPairs are the kinds of which a pair has objects, with what the cluster makes for them.
var ofPairs = []schema.GroupVersionResource{
	{Group: "apps", Version: "v1", Resource: "deployments"}, {Group: "apps", Version: "v1", Resource: "replicasets"},
	{Version: "v1", Resource: "pods"}, {Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "secrets"}, {Version: "v1", Resource: "services"},
	{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"},
}

// pairObjects is what production has of pairs.
func (r *rig) pairObjects() (found []string) {
	r.Helper()
	for _, kind := range ofPairs {
		list, err := r.dynamic(kind).List(r.within(), metav1.ListOptions{LabelSelector: deploy.LabelPair})
		r.ok(err)
		for _, o := range list.Items {
			found = append(found, kind.Resource+"/"+o.GetName())
		}
	}
	return found
}

// awaitNoPair waits until nothing of a pair is left. What the cluster removes by itself goes a moment later.
func (r *rig) awaitNoPair() {
	r.Helper()
	for deadline := time.Now().Add(patience); ; {
		left := r.pairObjects()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("of a pair are left: %s", strings.Join(left, ", "))
		}
		pause := time.NewTimer(20 * time.Millisecond)
		<-pause.C
	}
}

func (r *rig) dynamic(kind schema.GroupVersionResource) dynamic.ResourceInterface {
	r.Helper()
	client, err := dynamic.NewForConfig(r.clientConfig())
	r.ok(err)
	return client.Resource(kind).Namespace(r.prod)
}
