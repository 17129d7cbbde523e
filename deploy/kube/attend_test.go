package kube_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// heedful is a cluster that notes in which order it is asked and changed, and what is kept under watch.
type heedful struct {
	deploy.Cluster

	mu       sync.Mutex
	calls    []string
	attended map[string]deploy.Attended // by resource
	// deaf are watches that have lost touch: they show what they showed last.
	deaf bool
}

func (h *heedful) note(call string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, call)
}

// forget returns the calls until now and begins anew.
func (h *heedful) forget() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	calls := h.calls
	h.calls = nil
	return calls
}

func (h *heedful) Get(ctx context.Context, o manifest.Object) (*unstructured.Unstructured, error) {
	h.note("get " + o.Title())
	return h.Cluster.Get(ctx, o)
}

func (h *heedful) List(ctx context.Context, kind schema.GroupVersionKind, selector string) ([]*unstructured.Unstructured, error) {
	h.note("list " + kind.Kind)
	return h.Cluster.List(ctx, kind, selector)
}

func (h *heedful) Apply(ctx context.Context, objects []manifest.Object, force bool) (int, error) {
	for _, o := range objects {
		h.note("apply " + o.Title())
	}
	return h.Cluster.Apply(ctx, objects, force)
}

func (h *heedful) Attend(ctx context.Context, resource schema.GroupVersionResource, selector string) deploy.Attended {
	a := &mayBeDeaf{Attended: h.Cluster.Attend(ctx, resource, selector), h: h}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attended[resource.Resource] = a
	return a
}

// mayBeDeaf is a watch that may have lost touch.
type mayBeDeaf struct {
	deploy.Attended
	h    *heedful
	last []*unstructured.Unstructured
}

func (d *mayBeDeaf) Now() ([]*unstructured.Unstructured, bool) {
	d.h.mu.Lock()
	defer d.h.mu.Unlock()
	if d.h.deaf {
		return d.last, false
	}
	objects, live := d.Attended.Now()
	d.last = objects
	return objects, live
}

// standby is a world with a release on standby, whose pods are kept under watch.
type standby struct {
	*world
	saw      *heedful
	e        *deploy.Executor
	one, two pipeline.Release
}

func newStandby(t *testing.T, w *world) *standby {
	t.Helper()
	client, err := kube.New(w.options)
	if err != nil {
		t.Fatal(err)
	}
	h := &heedful{Cluster: client.Namespace(w.namespace), attended: map[string]deploy.Attended{}}
	w.mortal = func(deploy.Cluster) deploy.Cluster { return h }
	w.deploy.Strategy = pipeline.StrategyBlueGreen
	w.commit("aaaa1111", service+deployment("shop:1", 2, ""))
	w.commit("bbbb2222", service+deployment("shop:2", 2, ""))
	s := &standby{world: w, saw: h, e: w.executor()}
	s.one = w.deliver("aaaa1111", nil)
	s.two = w.release("bbbb2222")
	w.switchTo(s.two, &s.one)
	if err := s.e.Attend(t.Context(), pipeline.Project{ID: 7, Path: "shop/api"}, "production"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.e.Leave(7, "production") })
	s.await("the watch to show the standby", func() bool { return s.shown(s.one) == 2 })
	return s
}

// shown is how many available pods a live watch shows of a release, -1 if it isn't live or has no such Deployment.
func (s *standby) shown(r pipeline.Release) int64 {
	s.saw.mu.Lock()
	deployments := s.saw.attended["deployments"]
	s.saw.mu.Unlock()
	objects, live := deployments.Now()
	if !live {
		return -1
	}
	for _, o := range objects {
		if o.GetName() == versionedDeployment(r) {
			n, _, _ := unstructured.NestedInt64(o.Object, "status", "availableReplicas")
			return n
		}
	}
	return -1
}

// back goes back to the release before, and tells whether its pods took the traffic at once, and what was called.
func (s *standby) back() (serving bool, calls []string) {
	s.t.Helper()
	s.saw.forget()
	event, err := s.e.Execute(s.context(), s.task("bbbb2222", pipeline.Restore{
		Stage: stageName, Attempt: 1, Environment: "production", To: &s.one, From: &s.two,
	}))
	if err != nil {
		s.t.Fatal(err)
	}
	return event.(pipeline.Restored).Serving, s.saw.forget()
}

func TestTheWayBackBeginsWithTheTrafficWhileTheStandbyIsWatched(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		s := newStandby(t, w)
		clients := w.clients()
		clients.went(t, versionedDeployment(s.two))
		serving, calls := s.back()
		if !serving || calls[0] != "apply Service shop" {
			t.Errorf("serving: %v, after %q", serving, calls)
		}
		clients.went(t, versionedDeployment(s.two), versionedDeployment(s.one))
		w.wantTrack(s.one, deploy.TrackStable)

		// Forward again, by what the watch shows.
		s.await("the watch to show the other", func() bool { return s.shown(s.two) == 2 })
		s.saw.forget()
		if _, err := s.e.Execute(w.context(), w.task("bbbb2222", pipeline.Switch{
			Stage: stageName, Attempt: 1, Environment: "production", To: s.two, From: &s.one,
		})); err != nil {
			t.Fatal(err)
		}
		if calls := s.saw.forget(); calls[0] != "apply Service shop" {
			t.Errorf("forward began with %q", calls)
		}
		// Without a watch the cluster is asked first.
		s.e.Leave(7, "production")
		if serving, calls := s.back(); !serving || calls[0] != "get Deployment "+versionedDeployment(s.one) {
			t.Errorf("serving: %v, after %q", serving, calls)
		}
	})
}

func TestAStandbyWithoutPodsGetsNoTraffic(t *testing.T) {
	gone := func(s *standby) {
		s.t.Helper()
		background := metav1.DeletePropagationBackground
		if err := s.admin.AppsV1().Deployments(s.namespace).Delete(s.t.Context(), versionedDeployment(s.one), metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
			s.t.Fatal(err)
		}
		s.await("the Deployment to go", func() bool { return !slices.Contains(s.deployments(), versionedDeployment(s.one)) })
	}
	for _, tc := range []struct {
		name string
		lose func(s *standby)
	}{
		{"scaled to nothing", func(s *standby) {
			s.t.Helper()
			scale, err := s.admin.AppsV1().Deployments(s.namespace).GetScale(s.t.Context(), versionedDeployment(s.one), metav1.GetOptions{})
			if err != nil {
				s.t.Fatal(err)
			}
			scale.Spec.Replicas = 0
			if _, err := s.admin.AppsV1().Deployments(s.namespace).UpdateScale(s.t.Context(), versionedDeployment(s.one), scale, metav1.UpdateOptions{}); err != nil {
				s.t.Fatal(err)
			}
			s.await("the watch to show it", func() bool { return s.shown(s.one) == 0 })
		}},
		{"removed", func(s *standby) {
			s.t.Helper()
			gone(s)
			s.await("the watch to show it", func() bool { return s.shown(s.one) == -1 })
		}},
		{"removed while the watch has lost touch", func(s *standby) {
			s.t.Helper()
			s.saw.mu.Lock()
			s.saw.deaf = true
			s.saw.mu.Unlock()
			gone(s)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				s := newStandby(t, w)
				clients := w.clients()
				clients.went(t, versionedDeployment(s.two))
				tc.lose(s)
				serving, calls := s.back()
				if serving || calls[0] != "get Deployment "+versionedDeployment(s.one) {
					t.Errorf("serving: %v, after %q", serving, calls)
				}
				if version := w.selector()[deploy.LabelVersion]; version != s.two.Version {
					t.Errorf("the traffic went to %s", version)
				}
				// Once its pods are there again, it gets the traffic.
				w.restoredAgain(s.one)
				w.switchTo(s.one, &s.two)
				clients.went(t, versionedDeployment(s.two), versionedDeployment(s.one))
			})
		})
	}
}

// restoredAgain waits until a release that was restored has its pods.
func (w *world) restoredAgain(r pipeline.Release) {
	w.t.Helper()
	if n := replicasOf(w.deploymentNamed(versionedDeployment(r))); n == 0 {
		w.t.Fatalf("%s was restored without pods", versionedDeployment(r))
	}
	if _, err := w.observe(w.context(), r); err != nil {
		w.t.Fatalf("observe: %v", err)
	}
}

func replicasOf(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// TestAWatchSaysWhenItCanNotBeReliedOn: what it shows is only believed while it is live, and it catches up by itself.
func TestAWatchSaysWhenItCanNotBeReliedOn(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		faults, expire := w.breakable()
		s := newStandby(t, w)
		faults.SetUnreachable(true)
		w.await("the watch to say that it lost touch", func() bool { return s.shown(s.one) == -1 })
		faults.SetUnreachable(false)
		w.await("the watch to be back", func() bool { return s.shown(s.one) == 2 })
		expire()
		w.await("the watch to begin anew", func() bool { return s.shown(s.one) == 2 })
		if serving, calls := s.back(); !serving {
			t.Errorf("it didn't serve; %s", strings.Join(calls, ", "))
		}
	})
}
