package deploy

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// attendance is the environments whose blue-green releases are kept under watch, by pipeline.EnvironmentID.
type attendance struct {
	mu sync.Mutex
	of map[string]*attending
}

// attending is what is watched of one environment. The nil one sees nothing.
type attending struct {
	stop        context.CancelFunc
	deployments Attended // of all versions
	slices      Attended // the endpoints of its Services
}

// Attend keeps the pods of an environment's blue-green releases under watch until Leave or the end of the context, so that
// its traffic can be moved without asking the cluster first. Without it every move begins with a look.
func (e *Executor) Attend(ctx context.Context, project pipeline.Project, environment string) error {
	id := pipeline.EnvironmentID(project.ID, environment)
	e.attendance.mu.Lock()
	defer e.attendance.mu.Unlock()
	if e.attendance.of[id] != nil {
		return nil
	}
	target, err := e.Clusters.Target(ctx, project.Path, environment)
	if err != nil {
		return err
	}
	mine := labels.Set(Owner{Project: project.ID, Environment: environment}.Labels()).String()
	ctx, stop := context.WithCancel(ctx)
	if e.attendance.of == nil {
		e.attendance.of = map[string]*attending{}
	}
	e.attendance.of[id] = &attending{
		stop:        stop,
		deployments: target.Cluster.Attend(ctx, appsv1.SchemeGroupVersion.WithResource("deployments"), mine+","+LabelVersion),
		slices:      target.Cluster.Attend(ctx, discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), mine),
	}
	return nil
}

// Leave ends what Attend began.
func (e *Executor) Leave(project int64, environment string) {
	id := pipeline.EnvironmentID(project, environment)
	e.attendance.mu.Lock()
	defer e.attendance.mu.Unlock()
	if a := e.attendance.of[id]; a != nil {
		a.stop()
		delete(e.attendance.of, id)
	}
}

func (e *Executor) attending(project int64, environment string) *attending {
	e.attendance.mu.Lock()
	defer e.attendance.mu.Unlock()
	return e.attendance.of[pipeline.EnvironmentID(project, environment)]
}

// shows tells that a live watch has a Deployment as it should be. Anything else proves nothing, and the cluster is asked.
func (a *attending) shows(o manifest.Object, good func(*appsv1.Deployment) bool) bool {
	if a == nil {
		return false
	}
	all, live := a.deployments.Now()
	if !live {
		return false
	}
	i := slices.IndexFunc(all, func(d *unstructured.Unstructured) bool { return d.GetName() == o.GetName() })
	if i < 0 {
		return false
	}
	d := &appsv1.Deployment{}
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(all[i].Object, d)
	return err == nil && d.DeletionTimestamp == nil && d.Status.ObservedGeneration >= d.Generation && good(d)
}

// arrived waits a moment for the endpoints of the Services to become the release's, so that nothing else of ours keeps the
// cluster from it. Nothing depends on its having seen them.
func (a *attending) arrived(ctx context.Context, arr arrangement) {
	const longest = 300 * time.Millisecond
	if a == nil || arr.version == "" {
		return
	}
	timer := time.NewTimer(longest)
	defer timer.Stop()
	for {
		all, live := a.slices.Now()
		if !live || !slices.ContainsFunc(arr.only(gate), func(g part) bool { return elsewhere(all, arr, g) }) {
			return
		}
		select {
		case <-a.slices.Changed():
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// elsewhere tells that a gate has endpoints, and that there are pods among them that aren't the release's.
func elsewhere(all []*unstructured.Unstructured, arr arrangement, g part) bool {
	own := filterSlices(all, g.original)
	return slices.ContainsFunc(readyPods(own), func(pod string) bool {
		return !slices.ContainsFunc(arr.behind(g), func(d part) bool { return strings.HasPrefix(pod, d.GetName()+"-") })
	})
}

func filterSlices(all []*unstructured.Unstructured, service string) []*unstructured.Unstructured {
	var own []*unstructured.Unstructured
	for _, s := range all {
		if s.GetLabels()[discoveryv1.LabelServiceName] == service {
			own = append(own, s)
		}
	}
	return own
}
