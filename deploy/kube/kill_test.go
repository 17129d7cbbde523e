package kube_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// errKilled is what the executor of a process sees that is killed: nothing follows.
var errKilled = errors.New("killed")

// mortal is a cluster for one process that is killed at its last call: before the cluster hears of it or, if late is set,
// before the answer is heard.
type mortal struct {
	deploy.Cluster
	left *int
	late bool
}

func (m mortal) call(do func() error) error {
	if *m.left--; *m.left < 0 {
		return errKilled
	}
	if *m.left > 0 {
		return do()
	}
	if m.late {
		if err := do(); err != nil {
			return err
		}
	}
	*m.left = -1
	return errKilled
}

func (m mortal) Check(ctx context.Context, objects []manifest.Object) error {
	return m.call(func() error { return m.Cluster.Check(ctx, objects) })
}

func (m mortal) Apply(ctx context.Context, objects []manifest.Object, force bool) (int, error) {
	for i := range objects {
		err := m.call(func() error {
			_, err := m.Cluster.Apply(ctx, objects[i:i+1], force)
			return err
		})
		if err != nil {
			return i, err
		}
	}
	return len(objects), nil
}

func (m mortal) Get(ctx context.Context, o manifest.Object) (live *unstructured.Unstructured, err error) {
	err = m.call(func() error { live, err = m.Cluster.Get(ctx, o); return err })
	return live, err
}

func (m mortal) List(ctx context.Context, kind schema.GroupVersionKind, selector string) (list []*unstructured.Unstructured, err error) {
	err = m.call(func() error { list, err = m.Cluster.List(ctx, kind, selector); return err })
	return list, err
}

func (m mortal) Merge(ctx context.Context, o manifest.Object, change map[string]any) (live *unstructured.Unstructured, err error) {
	err = m.call(func() error { live, err = m.Cluster.Merge(ctx, o, change); return err })
	return live, err
}

func (m mortal) Remove(ctx context.Context, objects []manifest.Object, claim deploy.Claim) ([]string, error) {
	var all []string
	for i := range objects {
		err := m.call(func() error {
			some, err := m.Cluster.Remove(ctx, objects[i:i+1], claim)
			all = append(all, some...)
			return err
		})
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// survive carries out an action by processes that are killed at their first call, their second call, and so on, until one
// lives long enough.
func (w *world) survive(sha string, late bool, do pipeline.Action) pipeline.Event {
	w.t.Helper()
	const most = 300
	defer func() { w.mortal = nil }()
	for lives := 1; lives < most; lives++ {
		left := lives
		w.mortal = func(c deploy.Cluster) deploy.Cluster { return mortal{c, &left, late} }
		event, err := w.do(sha, do)
		switch f, ok := pipeline.AsFailure(err); {
		case err == nil:
			return event
		case errors.Is(err, errKilled), ok && !f.Permanent:
		default:
			w.t.Fatalf("%s, killed at call %d: %v", do.ActionKind(), lives, err)
		}
	}
	w.t.Fatalf("%s needs more than %d calls", do.ActionKind(), most)
	return nil
}

// TestNoKillMakesAGap: each action is killed at each of its calls to the cluster, and done again.
func TestNoKillMakesAGap(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("the answer is lost: %v", late), func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.deploy.Strategy = pipeline.StrategyBlueGreen
				w.kubectl(service + deployment("shop:0", 1, ""))
				w.awaitAvailable("shop", 1)
				clients := w.clients()
				w.commit("aaaa1111", configMap("old", "1")+service+deployment("shop:1", 1, "")+autoscaler+budget)
				w.commit("bbbb2222", service+deployment("shop:2", 1, "")+autoscaler+budget)
				deliver := func(sha string, before *pipeline.Release) pipeline.Release {
					w.mortal = nil
					apply := pipeline.Apply{Stage: stageName, Attempt: 1, ReleaseID: "7-1-" + sha + "/" + stageName + "/1"}
					r := w.survive(sha, late, apply).(pipeline.Applied).Release
					if _, err := w.observe(w.context(), r); err != nil {
						t.Fatal(err)
					}
					w.survive(sha, late, pipeline.Switch{Stage: stageName, Environment: "production", To: r, From: before})
					return r
				}
				retire := func(r pipeline.Release, old *pipeline.Release) {
					w.survive(r.SHA, late, pipeline.Retire{Stage: stageName, Environment: "production", Serving: r, Old: old})
				}
				one := deliver("aaaa1111", nil)
				retire(one, nil)
				if n := *w.deploymentNamed("shop").Spec.Replicas; n != 0 {
					t.Errorf("the deployment of kubectl has %d replicas", n)
				}
				two := deliver("bbbb2222", &one)
				w.survive("bbbb2222", late, pipeline.Restore{Stage: stageName, Environment: "production", To: &one, From: &two})
				retire(one, &two)
				two = deliver("bbbb2222", &one)
				retire(two, &one)
				w.wantGone("old")
				w.survive("bbbb2222", late, pipeline.Restore{Stage: stageName, Environment: "production", To: &one, From: &two})
				if _, err := w.observe(w.context(), one); err != nil {
					t.Fatal(err)
				}
				w.survive("bbbb2222", late, pipeline.Switch{Stage: stageName, Environment: "production", To: one, From: &two})
				retire(one, &two)
				w.configMap("old")

				v1, v2 := versionedDeployment(one), versionedDeployment(two)
				clients.went(t, "shop", v1, v2, v1, v2, v1)
				w.wantDeployments("shop", v1)
				if want := map[string]string{"app": "shop", deploy.LabelVersion: one.Version}; !maps.Equal(w.selector(), want) {
					t.Errorf("the selector is %v", w.selector())
				}
			})
		})
	}
}

// TestNoKillMakesAGapBetweenStrategies: the same from rolling to blue-green, back by rollback, and back by delivery.
func TestNoKillMakesAGapBetweenStrategies(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("the answer is lost: %v", late), func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.commit("aaaa1111", service+deployment("shop:1", 1, "")+autoscaler)
				w.commit("bbbb2222", service+deployment("shop:2", 1, "")+autoscaler)
				clients := w.clients()
				one := w.deliver("aaaa1111", nil)
				w.deploy.Strategy = pipeline.StrategyBlueGreen
				for range 2 {
					two := w.release("bbbb2222")
					w.switchTo(two, &one)
					restored := w.survive("bbbb2222", late, pipeline.Restore{Stage: stageName, Environment: "production", To: &one, From: &two}).(pipeline.Restored)
					if !restored.Serving {
						t.Error("it doesn't serve at once")
					}
					w.survive("bbbb2222", late, pipeline.Retire{Stage: stageName, Environment: "production", Serving: one, Old: &two})
					w.wantDeployments("shop")
				}
				two := w.deliver("bbbb2222", &one)
				w.wantDeployments(versionedDeployment(two))
				w.deploy.Strategy = pipeline.StrategyRolling
				three := w.survive("aaaa1111", late, pipeline.Apply{Stage: stageName, Attempt: 1, ReleaseID: "7-2-aaaa1111/go-live/1"}).(pipeline.Applied).Release
				if _, err := w.observe(w.context(), three); err != nil {
					t.Fatal(err)
				}
				w.survive("aaaa1111", late, pipeline.Switch{Stage: stageName, Environment: "production", To: three, From: &two})
				w.survive("aaaa1111", late, pipeline.Retire{Stage: stageName, Environment: "production", Serving: three, Old: &two})
				v2 := versionedDeployment(two)
				clients.went(t, "shop", v2, "shop", v2, "shop", v2, "shop")
				w.wantDeployments("shop")
				if want := map[string]string{"app": "shop"}; !maps.Equal(w.selector(), want) || w.scaleTarget() != "shop" {
					t.Errorf("the selector is %v, scaled is %s", w.selector(), w.scaleTarget())
				}
			})
		})
	}
}
