package kube_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// TestNoKillLeavesAPairOrAGap: creation and removal are killed at each of their calls to the cluster, and done again.
func TestNoKillLeavesAPairOrAGap(t *testing.T) {
	for _, late := range []bool{false, true} {
		for _, routed := range []bool{false, true} {
			t.Run(fmt.Sprintf("the answer is lost: %v, a route splits the traffic: %v", late, routed), func(t *testing.T) {
				onEachCluster(t, func(t *testing.T, w *world) {
					w.deploy.Strategy = pipeline.StrategyBlueGreen
					w.commit("aaaa1111", configMap("settings", "one")+service+mounting("shop:1"))
					w.commit("bbbb2222", configMap("settings", "two")+service+mounting("shop:2"))
					w.canary = &pipeline.Canary{Instances: 1}
					if routed {
						w.route(httpRoute, "True")
						w.deploy.Traffic = &pipeline.Traffic{HTTPRoute: "shop"}
						w.canary.Weights = []int{10}
					}
					clients := w.clients()
					one := w.deliver("aaaa1111", nil)
					stable := w.deployments()[0]
					for range 2 {
						p := w.survive("bbbb2222", late, w.startPair(one)).(pipeline.Paired).Pair
						w.wantEqual(p, 1)
						w.wantDeployments(stable, p.Baseline.Workloads[0], p.Canary.Workloads[0])
						if routed {
							w.survive("bbbb2222", late, pipeline.WeighPair{Stage: canaryStage, Attempt: 1, Weight: 30})
						}
						w.surviveEnd("bbbb2222", late)
						w.wantDeployments(stable)
						w.await("all of the pair to be gone", func() bool {
							return slices.Equal(w.names(), []string{"ConfigMap settings", "Deployment " + stable, "Service shop"})
						})
					}
					if routed {
						w.wantWeights("shop=20 other=10")
					}
					w.awaitEndpoints("shop", map[string]int{stable: 1})
					clients.always(t, stable)
				})
			})
		}
	}
}

// mounting is a Deployment that reads the settings.
func mounting(image string) string {
	return strings.Replace(deployment(image, 1, ""), "{containers: [", "{volumes: [{name: s, configMap: {name: settings}}], containers: [", 1)
}

// surviveEnd ends the pair by processes that are killed at their first call, their second call, and so on.
func (w *world) surviveEnd(sha string, late bool) {
	w.t.Helper()
	w.tries = 1 // the first try looks once more in any case
	defer func() { w.tries = 0 }()
	w.survive(sha, late, pipeline.EndPair{Stage: canaryStage, Attempt: 1, Environment: "production"})
}

// TestAPairThatIsCanceledIsRemoved: while its pods come up.
func TestAPairThatIsCanceledIsRemoved(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.canary = &pipeline.Canary{Instances: 2}
		w.commit("aaaa1111", configMap("settings", "one")+service+mounting("shop:1"))
		w.commit("bbbb2222", configMap("settings", "two")+service+mounting("shop:neverready"))
		clients := w.clients()
		one := w.deliver("aaaa1111", nil)
		ctx, cancel := context.WithCancel(w.context())
		result := make(chan error, 1)
		e, task := w.executor(), w.task("bbbb2222", w.startPair(one))
		go func() {
			_, err := e.Execute(ctx, task)
			result <- err
		}()
		w.await("the baseline", func() bool {
			return slices.ContainsFunc(w.pods(deploy.TrackBaseline), func(p corev1.Pod) bool {
				return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
			})
		})
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
		if removed := w.endPair("bbbb2222"); len(removed) != 3 { // two Deployments and the settings
			t.Errorf("removed %q", removed)
		}
		w.wantDeployments("shop")
		w.awaitEndpoints("shop", map[string]int{"shop": 1})
		clients.always(t, "shop")
	})
}

// TestAnEarlierReleaseIsComparedWith: with its own images and configuration.
func TestAnEarlierReleaseIsComparedWith(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "one")+service+mounting("shop:1"))
		w.commit("bbbb2222", configMap("settings", "two")+service+mounting("shop:2"))
		w.commit("cccc3333", configMap("settings", "two")+service+mounting("shop:3"))
		one := w.deliver("aaaa1111", nil)
		two := w.deliver("bbbb2222", &one)
		w.canary = &pipeline.Canary{Instances: 1}
		start := w.startPair(two)
		start.Compare = one
		p := w.must("cccc3333", start).(pipeline.Paired).Pair
		uses := func(track pipeline.Track) string {
			s := w.only(track).Spec.Template.Spec
			image, _, _ := strings.Cut(s.Containers[0].Image, "@") // the simulated cluster told a digest
			return image + " " + w.configMap(s.Volumes[0].ConfigMap.Name).Data["value"]
		}
		if uses(p.Baseline) != "shop:1 one" || uses(p.Canary) != "shop:3 two" || p.Baseline.SHA != "aaaa1111" || p.Baseline.Release != one.ID {
			t.Errorf("the baseline is %s, the canary %s: %+v", uses(p.Baseline), uses(p.Canary), p)
		}
		if w.only(p.Canary).Spec.Template.Spec.Volumes[0].ConfigMap.Name != "settings" {
			t.Error("what is the same is copied")
		}
		w.endPair("cccc3333")
	})
}

// TestAPairThatWasHalfBegunBeginsAnew: the pods of a track are not older than the other's because a process was killed.
func TestAPairThatWasHalfBegunBeginsAnew(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.canary = &pipeline.Canary{Instances: 2}
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
		one := w.deliver("aaaa1111", nil)
		p := w.pairUp("bbbb2222", one)
		old := w.pods(deploy.TrackBaseline)
		if err := w.admin.AppsV1().Deployments(w.namespace).Delete(t.Context(), p.Canary.Workloads[0], metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		p = w.pairUp("bbbb2222", one)
		w.wantEqual(p, 2)
		for _, pod := range w.pods(deploy.TrackBaseline) {
			if slices.ContainsFunc(old, func(o corev1.Pod) bool { return o.UID == pod.UID }) {
				t.Errorf("pod %s is older than the canary", pod.Name)
			}
		}
		w.endPair("bbbb2222")
	})
}

// TestATrackThatDoesNotComeUp is told with the track, and what serves serves on.
func TestATrackThatDoesNotComeUp(t *testing.T) {
	tooMuch := strings.Replace(deployment("shop:2", 1, ""), `image: "shop:2"`, `image: "shop:2", resources: {requests: {cpu: "5000"}}`, 1)
	cases := []struct {
		name, commit string
		code         pipeline.ReasonCode
		words        []string
		quota        int
	}{
		{"a canary that crashes", deployment("shop:crash", 1, ""), pipeline.ReasonCrashLoop, []string{"canary: container app of pod shop-canary-", "exited with code 1", "panic: connect to database"}, 0},
		{"a canary without an image", deployment("shop:missing", 1, ""), pipeline.ReasonImagePull, []string{"canary: shop:missing: "}, 0},
		{"a canary that is never ready", deployment("shop:neverready", 1, ", progressDeadlineSeconds: 2"), pipeline.ReasonDeadline, []string{"canary: deployment shop-canary-", "0 of 1 pod ready"}, 0},
		{"neither has room, with the resources of the commit", tooMuch, pipeline.ReasonUnschedulable, []string{"the baseline, which is the release before with the resources of the commit, doesn't come up", "nsufficient cpu"}, 0},
		{"a quota", deployment("shop:2", 1, ""), pipeline.ReasonQuota, []string{"the baseline doesn't come up, which is not the commit's doing", "exceeded quota"}, 1},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.patience = deploy.Patience{ImagePull: time.Second, Unschedulable: 300 * time.Millisecond, Refused: 300 * time.Millisecond}
				w.canary = &pipeline.Canary{Instances: 1}
				w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
				w.commit("bbbb2222", service+tc.commit)
				clients := w.clients()
				one := w.deliver("aaaa1111", nil)
				if tc.quota > 0 {
					w.podQuota(tc.quota)
				}
				_, err := w.do("bbbb2222", w.startPair(one))
				w.wants(err, tc.code, tc.words...)
				w.endPair("bbbb2222")
				w.wantDeployments("shop")
				w.awaitEndpoints("shop", map[string]int{"shop": 1})
				clients.always(t, "shop")
			})
		})
	}
}

// TestABaselineThatDoesNotComeUpIsNotTheCommitsFault: what is recorded doesn't start any more, and the commit doesn't either.
func TestABaselineThatDoesNotComeUpIsNotTheCommitsFault(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.canary = &pipeline.Canary{Instances: 1}
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		w.commit("cccc3333", service+deployment("shop:crash", 1, ""))
		one := w.deliver("aaaa1111", nil)
		w.commit("bbbb2222", service+deployment("shop:crash2", 1, ""))
		old := one // an earlier release, which is compared with
		old.ID, old.SHA = "7-1-cccc3333/go-live/1", "cccc3333"
		data, err := w.rendered("cccc3333").Encode()
		if err != nil {
			t.Fatal(err)
		}
		if old.Manifests, err = w.blobs.PutBlob(t.Context(), data); err != nil {
			t.Fatal(err)
		}
		start := w.startPair(one)
		start.Compare = old
		_, err = w.do("bbbb2222", start)
		w.wants(err, pipeline.ReasonCrashLoop, "the baseline doesn't come up, which is not the commit's doing: container app of pod shop-baseline-")
		w.endPair("bbbb2222")
		w.wantDeployments("shop")
	})
}

// TestAPairThatNobodyEndedIsRemoved by the next pair, by a deploy and with the environment.
func TestAPairThatNobodyEndedIsRemoved(t *testing.T) {
	ways := []struct {
		name   string
		remove func(w *world, one pipeline.Release)
	}{
		{"the next pair", func(w *world, one pipeline.Release) {
			p := w.pairUp("cccc3333", one)
			w.wantDeployments("shop", p.Baseline.Workloads[0], p.Canary.Workloads[0])
			w.endPair("cccc3333")
		}},
		{"a deploy", func(w *world, one pipeline.Release) { w.deliver("cccc3333", &one) }},
		{"a blue-green deploy", func(w *world, one pipeline.Release) {
			w.deploy.Strategy = pipeline.StrategyBlueGreen
			w.deliver("cccc3333", &one)
		}},
		{"the end of the environment", func(w *world, one pipeline.Release) { w.tearDown("cccc3333", one) }},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.route(httpRoute, "True")
				w.commit("aaaa1111", configMap("settings", "one")+service+mounting("shop:1"))
				w.commit("bbbb2222", configMap("settings", "two")+service+mounting("shop:2"))
				w.commit("cccc3333", configMap("settings", "one")+service+mounting("shop:3"))
				one := w.deliver("aaaa1111", nil)
				w.canary = &pipeline.Canary{Instances: 1, Weights: []int{10}}
				w.deploy.Traffic = &pipeline.Traffic{HTTPRoute: "shop"}
				p := w.pairUp("bbbb2222", one)
				w.deploy.Traffic, w.canary.Weights = nil, nil
				way.remove(w, one)
				w.wantWeights("shop=20 other=10")
				w.await("nothing of it to be left", func() bool {
					return !slices.ContainsFunc(w.names(), func(name string) bool {
						return strings.HasSuffix(name, strings.TrimPrefix(p.Canary.Workloads[0], "shop-canary-"))
					})
				})
			})
		})
	}
}

// TestEndingWhatIsNotThere: a pair that was never made, is half removed, or is beside a release that has changed.
func TestEndingWhatIsNotThere(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.canary = &pipeline.Canary{Instances: 1}
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
		one := w.deliver("aaaa1111", nil)
		for range 2 {
			if removed := w.endPair("bbbb2222"); len(removed) > 0 {
				t.Errorf("removed %q", removed)
			}
		}
		p := w.pairUp("bbbb2222", one)
		deployments := w.admin.AppsV1().Deployments(w.namespace)
		for _, name := range []string{"shop", p.Baseline.Workloads[0]} {
			if err := deployments.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if removed := w.endPair("bbbb2222"); !slices.Equal(removed, []string{"Deployment " + p.Canary.Workloads[0]}) {
			t.Errorf("removed %q", removed)
		}
		w.wantDeployments()
	})
}

// TestACallThatArrivesLateLeavesNoPair: whoever was creating the pair has been told to leave it, and the cluster hears of
// it after the pair was ended.
func TestACallThatArrivesLateLeavesNoPair(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.canary = &pipeline.Canary{Instances: 1}
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
		one := w.deliver("aaaa1111", nil)
		late := w.only(w.pairUp("bbbb2222", one).Canary)
		late.ResourceVersion, late.UID = "", ""
		w.endPair("bbbb2222")
		w.await("all of the pair to be gone", func() bool { return len(w.pods(deploy.TrackCanary)) == 0 })
		w.mortal = func(c deploy.Cluster) deploy.Cluster {
			return &lateCall{Cluster: c, arrive: func() {
				if _, err := w.admin.AppsV1().Deployments(w.namespace).Create(t.Context(), late, metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}}
		}
		ended := w.must("bbbb2222", pipeline.EndPair{Stage: canaryStage, Attempt: 1, Environment: "production", Stable: &one}).(pipeline.PairEnded)
		if !slices.Equal(ended.Removed, []string{"Deployment " + late.Name}) {
			t.Errorf("removed %q", ended.Removed)
		}
		w.mortal = nil
		w.wantDeployments("shop")
	})
}

// lateCall lets a call arrive when the first look is over, which lists the Deployments of a pair, and then its Services.
type lateCall struct {
	deploy.Cluster
	lists  int
	arrive func()
}

func (l *lateCall) List(ctx context.Context, kind schema.GroupVersionKind, selector string) ([]*unstructured.Unstructured, error) {
	list, err := l.Cluster.List(ctx, kind, selector)
	if l.lists++; l.lists == 2 {
		l.arrive()
	}
	return list, err
}

// TestThePairWaitsForAClusterThatIsAway: each action says so, and goes on afterwards.
func TestThePairWaitsForAClusterThatIsAway(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		faults, _ := w.breakable()
		w.canary = &pipeline.Canary{Instances: 1}
		w.commit("aaaa1111", service+deployment("shop:1", 1, ""))
		w.commit("bbbb2222", service+deployment("shop:2", 1, ""))
		one := w.deliver("aaaa1111", nil)
		away := func(do pipeline.Action) {
			t.Helper()
			faults.SetUnreachable(true)
			_, err := w.executor().Execute(w.context(), w.later("bbbb2222", do))
			w.wantsLater(err, pipeline.ReasonUnreachable, "doesn't answer")
			faults.SetUnreachable(false)
		}
		away(w.startPair(one))
		w.pairUp("bbbb2222", one)
		away(pipeline.EndPair{Stage: canaryStage, Attempt: 1, Environment: "production"})
		w.endPair("bbbb2222")
		w.wantDeployments("shop")
	})
}

func TestWhatCanNotBePairedIsRefused(t *testing.T) {
	good := service + deployment("shop:1", 1, "")
	bound := strings.Replace(deployment("shop:2", 1, ""), "{containers: [", "{volumes: [{name: d, persistentVolumeClaim: {claimName: data}}], containers: [", 1)
	stateful := "\n---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\n" +
		"spec: {serviceName: shop, selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: app, image: db}]}}}\n"
	account := strings.Replace(deployment("shop:2", 1, ""), "{containers: [", "{serviceAccountName: robot, containers: [", 1) +
		"\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: robot}\n"
	cases := []struct {
		name, commit string
		canary       pipeline.Canary
		spoil        func(w *world)
		words        string
	}{
		{"a volume claim", service + bound, pipeline.Canary{}, nil, "its pods have volume claim data"},
		{"a stateful set", good + stateful, pipeline.Canary{Workloads: []string{"db"}}, nil, "StatefulSet db can't be paired"},
		{"a name that isn't there", good, pipeline.Canary{Workloads: []string{"shopp"}}, nil, "the commit doesn't have it"},
		{"no Service", deployment("shop:2", 1, ""), pipeline.Canary{}, nil, "name the Deployments in workloads"},
		{"pods that the Service doesn't select", service + strings.ReplaceAll(deployment("shop:2", 1, ""), "app: shop", "app: shop2") + strings.ReplaceAll(service, "shop}", "shop2}"), pipeline.Canary{}, nil, "Service shop leads to pods with app=shop"},
		{"a service account that comes with the commit", service + account, pipeline.Canary{}, nil, "ServiceAccount robot, which isn't in the cluster yet"},
		{"what serves is gone", good, pipeline.Canary{}, func(w *world) {
			if err := w.admin.AppsV1().Deployments(w.namespace).Delete(w.t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
				w.t.Fatal(err)
			}
		}, "Deployment shop, which serves, is gone"},
		{"another release serves", good, pipeline.Canary{}, func(w *world) {
			patch := fmt.Sprintf(`{"metadata": {"annotations": {%q: "another"}}}`, deploy.AnnotationRelease)
			if _, err := w.admin.AppsV1().Deployments(w.namespace).Patch(w.t.Context(), "shop", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				w.t.Fatal(err)
			}
		}, "is release another by now"},
		{"weights without a route", good, pipeline.Canary{Weights: []int{5}}, nil, "weights need an HTTPRoute"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.commit("aaaa1111", good)
				w.commit("bbbb2222", tc.commit)
				one := w.deliver("aaaa1111", nil)
				stage := tc.canary
				stage.Instances = 1
				if w.canary = &stage; tc.spoil != nil {
					tc.spoil(w)
				}
				had := w.deployments()
				_, err := w.do("bbbb2222", w.startPair(one))
				if f := w.permanent(err); !strings.Contains(f.Detail, tc.words) {
					t.Errorf("it says %q, which lacks %q", f.Detail, tc.words)
				}
				w.wantDeployments(had...)
			})
		})
	}
}

// rendered is the set of a commit.
func (w *world) rendered(sha string) manifest.Set {
	w.t.Helper()
	set, err := manifest.Render(w.t.Context(), w.source[sha], manifest.Source{Path: "deploy"}, manifest.Limits{})
	if err != nil {
		w.t.Fatal(err)
	}
	return set
}
