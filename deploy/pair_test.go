package deploy

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// rulesFrom reads rules of a route in YAML, with numbers as a cluster gives them.
func rulesFrom(t *testing.T, text string) []any {
	t.Helper()
	o := objects(t, "apiVersion: v1\nkind: X\nspec:\n  rules:\n"+text)
	return rulesOf(o[0].Unstructured)
}

func TestTheShareOfARoute(t *testing.T) {
	cases := []struct {
		name     string
		services []string
		weight   int
		rules    string
		want     string
	}{
		{"one backend", []string{"shop"}, 5, `  - backendRefs: [{name: shop, port: 80}]`,
			`  - backendRefs: [{name: shop, port: 80, weight: 90}, {name: shop-baseline-1, port: 80, weight: 5}, {name: shop-canary-1, port: 80, weight: 5}]`},
		{"half and half leaves nothing", []string{"shop"}, 50, `  - backendRefs: [{name: shop, port: 80, weight: 7}]`,
			`  - backendRefs: [{name: shop, port: 80, weight: 0}, {name: shop-baseline-1, port: 80, weight: 50}, {name: shop-canary-1, port: 80, weight: 50}]`},
		{"somebody else's backend keeps its proportion", []string{"shop"}, 5, `  - backendRefs: [{name: shop, weight: 1}, {name: other, weight: 3}]`,
			`  - backendRefs: [{name: shop, weight: 18}, {name: other, weight: 60}, {name: shop-baseline-1, weight: 1}, {name: shop-canary-1, weight: 1}]`},
		{"and its number where that goes", []string{"shop"}, 10, `  - backendRefs: [{name: shop, weight: 50}, {name: other, weight: 7}]`,
			`  - backendRefs: [{name: shop, weight: 40}, {name: other, weight: 7}, {name: shop-baseline-1, weight: 5}, {name: shop-canary-1, weight: 5}]`},
		{"two Services of the release", []string{"shop", "admin"}, 25, `  - backendRefs: [{name: shop, weight: 1}, {name: admin, weight: 1}]`,
			`  - backendRefs: [{name: shop, weight: 2}, {name: admin, weight: 2}, {name: admin-baseline-1, weight: 1}, {name: admin-canary-1, weight: 1}, {name: shop-baseline-1, weight: 1}, {name: shop-canary-1, weight: 1}]`},
		{"rules without the Service, or without traffic for it", []string{"shop"}, 5, "  - backendRefs: [{name: other}]\n  - backendRefs: [{name: shop, weight: 0}, {name: other, weight: 1}]\n  - filters: []",
			"  - backendRefs: [{name: other}]\n  - backendRefs: [{name: shop, weight: 0}, {name: other, weight: 1}]\n  - filters: []"},
		{"large weights are made small first", []string{"shop"}, 5, `  - backendRefs: [{name: shop, weight: 999999}, {name: other, weight: 333333}]`,
			`  - backendRefs: [{name: shop, weight: 54}, {name: other, weight: 20}, {name: shop-baseline-1, weight: 3}, {name: shop-canary-1, weight: 3}]`},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := weighing{Pair: "1", Services: tc.services, Weight: tc.weight}
			rules := rulesFrom(t, tc.rules)
			w.note(rules)
			got, err := w.share(rules)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(rulesFrom(t, tc.want), got); diff != "" {
				t.Errorf("wanted (-), got (+):\n%s", diff)
			}
			proportions(t, rules, got, w)
			var kept weighing
			data, err := json.Marshal(w)
			if err == nil {
				err = json.Unmarshal(data, &kept)
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(rules, kept.before(got)); diff != "" {
				t.Errorf("taken back, it was (-), and is (+):\n%s", diff)
			}
		})
	}
}

func TestWeightsThatCanNotBeSplitAreRefused(t *testing.T) {
	w := weighing{Pair: "1", Services: []string{"shop"}, Weight: 5}
	_, err := w.share(rulesFrom(t, `  - backendRefs: [{name: shop, weight: 999999}, {name: other, weight: 1000000}]`))
	if f, ok := pipeline.AsFailure(err); !ok || !f.Permanent || !strings.Contains(f.Detail, "so large that 5 % can't be split off") {
		t.Errorf("got %v", err)
	}
}

// proportions compares what each backend has in the whole of its rule.
func proportions(t *testing.T, before, after []any, w weighing) {
	t.Helper()
	for i := range before {
		sumBefore, sumAfter := int64(0), int64(0)
		for _, b := range backends(before[i]) {
			sumBefore += weight(b)
		}
		for _, b := range backends(after[i]) {
			sumAfter += weight(b)
			if weight(b) > maxRouteWeight {
				t.Errorf("%v is more than a route can have", weight(b))
			}
		}
		for _, b := range backends(before[i]) {
			name, _ := b["name"].(string)
			now := weight(find(after[i], name))
			for _, track := range []string{TrackBaseline, TrackCanary} {
				if of := find(after[i], trackName(name, track, w.Pair)); of != nil {
					if 100*weight(of)*sumBefore != int64(w.Weight)*weight(b)*sumAfter {
						t.Errorf("the %s of %s has %d of %d", track, name, weight(of), sumAfter)
					}
					now += weight(of)
				}
			}
			if now*sumBefore != weight(b)*sumAfter {
				t.Errorf("%s had %d of %d, and has %d of %d", name, weight(b), sumBefore, now, sumAfter)
			}
		}
	}
}

func TestReferencesOfPods(t *testing.T) {
	const spec = `
imagePullSecrets: [{name: s1}]
volumes:
- {name: a, configMap: {name: c1}}
- {name: b, secret: {secretName: s2}}
- {name: c, projected: {sources: [{configMap: {name: c2}}, {secret: {name: s3}}, {downwardAPI: {}}]}}
- {name: d, csi: {nodePublishSecretRef: {name: s4}}}
- {name: e, emptyDir: {}}
containers:
- env: [{name: A, valueFrom: {configMapKeyRef: {name: c3, key: k}}}, {name: B, valueFrom: {secretKeyRef: {name: s5, key: k}}}, {name: C, value: c1}]
  envFrom: [{configMapRef: {name: c4}}, {secretRef: {name: s6}}]
initContainers:
- envFrom: [{configMapRef: {name: c5}}]
`
	var pod map[string]any
	if err := yaml.Unmarshal([]byte(spec), &pod); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	eachReference(pod, func(kind, name string) string { kinds[name] = kind; return "new-" + name })
	want := map[string]string{
		"c1": "ConfigMap", "c2": "ConfigMap", "c3": "ConfigMap", "c4": "ConfigMap", "c5": "ConfigMap",
		"s1": "Secret", "s2": "Secret", "s3": "Secret", "s4": "Secret", "s5": "Secret", "s6": "Secret",
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("wanted (-), found (+):\n%s", diff)
	}
	again := map[string]bool{}
	eachReference(pod, func(_, name string) string { again[name] = true; return name })
	for name := range want {
		if !again["new-"+name] || again[name] {
			t.Errorf("%s is not renamed", name)
		}
	}
}

func TestComplaintsOfPods(t *testing.T) {
	start := metav1.NewTime(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	notReady := func(after time.Duration) []corev1.PodCondition {
		return []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(start.Add(after))}}
	}
	ready := []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	containersReady := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionTrue}
	notReadyFor := func(reason string) []corev1.PodCondition {
		c := notReady(time.Minute)
		c[0].Reason = reason
		return c
	}
	paired, now := start.Add(time.Minute), start.Add(5*time.Hour)
	crash := func(began, ended time.Time) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{Name: "app", RestartCount: 2, LastTerminationState: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, StartedAt: metav1.NewTime(began), FinishedAt: metav1.NewTime(ended)},
		}}}
	}
	backOff := func(statuses []corev1.ContainerStatus) []corev1.ContainerStatus {
		statuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}
		return statuses
	}
	recent, long := crash(now.Add(-time.Hour), now.Add(-9*time.Minute)), crash(now.Add(-time.Hour), now.Add(-11*time.Minute))
	starting := crash(paired.Add(-time.Second), now.Add(-time.Minute))
	once := crash(paired, now.Add(-time.Second))
	once[0].RestartCount = 1
	cases := []struct {
		name       string
		status     corev1.PodStatus
		ill, other string
	}{
		{"one that is well", corev1.PodStatus{Phase: corev1.PodRunning, Conditions: ready}, "", ""},
		{"one that starts", corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &start, Conditions: notReady(0)}, "", "is starting"},
		{"one that isn't ready any more", corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &start, Conditions: notReady(time.Minute)}, "1 of 2 canary pods isn't ready any more: pod shop", ""},
		{"one that its readiness gates hold back", corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &start, Conditions: append(notReadyFor("ReadinessGatesNotReady"), containersReady)},
			"1 of 2 canary pods isn't ready any more: pod shop", ""},
		{"one whose node is silent", corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &start, Conditions: append(notReadyFor(""), containersReady)},
			"", "the node of pod shop doesn't answer"},
		{"one that has crashed twice and runs", corev1.PodStatus{Phase: corev1.PodRunning, Conditions: ready, ContainerStatuses: recent},
			"1 of 2 canary pods crashes: container app exited with code 3 and was restarted 2 times", ""},
		{"one that has crashed twice and runs for long", corev1.PodStatus{Phase: corev1.PodRunning, Conditions: ready, ContainerStatuses: long}, "", ""},
		{"one that crashed at its start, and once since", corev1.PodStatus{Phase: corev1.PodRunning, Conditions: ready, ContainerStatuses: starting}, "", ""},
		{"one that did and isn't ready any more", corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &start, Conditions: notReady(time.Hour), ContainerStatuses: backOff(crash(start.Time, now))},
			"1 of 2 canary pods isn't ready any more: container app of pod shop exited with code 3 and was restarted 2 times", ""},
		{"one that waits to be started again", corev1.PodStatus{Phase: corev1.PodRunning, Conditions: notReady(time.Hour), ContainerStatuses: backOff(crash(paired, now.Add(-time.Hour)))},
			"1 of 2 canary pods crashes: container app exited with code 3 and was restarted 2 times", ""},
		{"one that has crashed once", corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &start, Conditions: notReady(0), ContainerStatuses: once}, "", "is starting"},
		{"one without an image", corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{
			{Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "gone"}}},
		}}, "1 of 2 canary pods doesn't start: container app: gone", ""},
		{"one that a node took with it", corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "low on memory"}, "", "pod shop failed: Evicted low on memory"},
		{"one without a node", corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes"},
		}}, "", "0/3 nodes"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Status: tc.status}
			canary := condition{track: TrackCanary, since: paired, now: now, want: 2, ready: 1}
			canary.add(pod)
			unwell, unequal := compareConditions(condition{track: TrackBaseline, want: 2, ready: 2}, canary)
			if unwell != tc.ill || tc.ill == "" && tc.other == "" && unequal != "" || !strings.Contains(unequal, tc.other) {
				t.Errorf("unwell is %q, unequal %q", unwell, unequal)
			}
			baseline := condition{track: TrackBaseline, since: paired, now: now, want: 2, ready: 1}
			baseline.add(pod)
			if unwell, unequal := compareConditions(baseline, canary); unwell+unequal != "" {
				t.Errorf("both have it, and unwell is %q, unequal %q", unwell, unequal)
			}
			if unwell, _ := compareConditions(baseline, condition{track: TrackCanary, want: 2, ready: 2}); unwell != "" {
				t.Errorf("only the baseline has it, and unwell is %q", unwell)
			}
		})
	}
}

// TestACrashLoopOfBothTracksIsNobodysDoing: a baseline whose containers are restarted, too, leaves the verdict to the metrics.
func TestACrashLoopOfBothTracksIsNobodysDoing(t *testing.T) {
	paired := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	now := paired.Add(time.Hour)
	pod := func(restarts int32, code int32, ended time.Time) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", RestartCount: restarts, LastTerminationState: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, StartedAt: metav1.NewTime(ended), FinishedAt: metav1.NewTime(ended)},
		}}}
		return p
	}
	migrated := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	migrated.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "migrate", State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", FinishedAt: metav1.NewTime(now)},
	}}}
	cases := []struct {
		name     string
		baseline *corev1.Pod
		unwell   bool
	}{
		{"the baseline crashed once", pod(1, 1, paired.Add(time.Minute)), false},
		{"the baseline was restarted by its probe", pod(1, 0, paired.Add(time.Minute)), false},
		{"the baseline crashed before the pair was available", pod(1, 1, paired.Add(-time.Minute)), true},
		{"a new pod of the baseline has done its init container", migrated, true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			baseline := condition{track: TrackBaseline, since: paired, now: now, want: 1}
			baseline.add(tc.baseline)
			canary := baseline.canary()
			canary.want = 1
			canary.add(pod(3, 1, now.Add(-time.Minute)))
			if unwell, unequal := compareConditions(baseline, canary); (unwell != "") != tc.unwell || unequal != "" {
				t.Errorf("unwell is %q, unequal %q", unwell, unequal)
			}
		})
	}
}

// TestANodeThatComesBackIsNotTheCanarysDoing: it is told by what its containers ended with, if nothing of the pair is well there.
func TestANodeThatComesBackIsNotTheCanarysDoing(t *testing.T) {
	start := metav1.NewTime(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	well := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "a"}, Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	fallen := func(node string, end *corev1.ContainerStateTerminated) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{
			Phase: corev1.PodRunning, StartTime: &start,
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "ContainersNotReady", LastTransitionTime: metav1.NewTime(start.Add(time.Hour))},
			},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "app", RestartCount: 1, LastTerminationState: corev1.ContainerState{Terminated: end}}},
		}}
	}
	with := &corev1.ContainerStateTerminated{ExitCode: 255, Reason: "Unknown"}
	cases := []struct {
		name   string
		canary []*corev1.Pod
		unwell bool
	}{
		{"a node of its own", []*corev1.Pod{fallen("b", with), fallen("b", with)}, false},
		{"a node that had no time for its containers", []*corev1.Pod{fallen("b", &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown"})}, false},
		{"the node of the baseline", []*corev1.Pod{fallen("b", with), fallen("a", with)}, true},
		{"a container that ended by itself", []*corev1.Pod{fallen("b", with), fallen("b", &corev1.ContainerStateTerminated{ExitCode: 1})}, true},
		{"a container that runs on", []*corev1.Pod{fallen("b", nil)}, true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			baseline := condition{track: TrackBaseline, since: start.Time, now: start.Add(time.Hour), want: 1}
			baseline.add(well)
			canary := baseline.canary()
			for _, p := range tc.canary {
				canary.want++
				canary.add(p)
			}
			unwell, unequal := compareConditions(baseline, canary)
			if (unwell != "") != tc.unwell || strings.HasSuffix(unequal, "; canary: the containers of pod shop ended with their node") == tc.unwell {
				t.Errorf("unwell is %q, unequal %q", unwell, unequal)
			}
		})
	}
}

func TestOnlyImagesOfTheirRegistryAreHeldByTheirDigest(t *testing.T) {
	cases := []struct {
		image, id string
		want      bool
	}{
		{"shop:1", "docker.io/library/shop@sha256:abc", true},
		{"registry.example.com:5000/shop:1", "registry.example.com:5000/shop@sha256:abc", true},
		{"shop:1", "docker-pullable://shop@sha256:abc", true},
		{"shop:1", "docker.io/library/import-2026-01-01@sha256:abc", false}, // loaded into the node by hand
		{"shop:1", "registry.example.com/workshop@sha256:abc", false},
	}
	for _, tc := range cases {
		if got := sameRepository(tc.image, tc.id); got != tc.want {
			t.Errorf("%s from %s: %v", tc.image, tc.id, got)
		}
	}
}

// TestPodsAreToldFromThoseThatServe: where a route splits the traffic, one label of each Service differs.
func TestPodsAreToldFromThoseThatServe(t *testing.T) {
	const policy = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shop}
spec: {podSelector: {matchLabels: {app: shop}}}
`
	set := objects(t, shop+"---\n"+policy)
	gateOf := func(selector map[string]string) []gateNow {
		live := manifest.Object{Unstructured: set[0].DeepCopy()}
		if err := addLabels(live, selector, "spec", "selector"); err != nil {
			t.Fatal(err)
		}
		return []gateNow{{part: part{Object: set[0], role: gate, original: "shop", selector: selectorOf(set[0].Unstructured)}, live: live.Unstructured}}
	}
	arr, err := arrange(set, pipeline.Release{})
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"app": "shop", "tier": "web"}
	cases := []struct {
		name, route string
		selector    map[string]string
		want        string // "" is refused
	}{
		{"without a route they are behind the Service", "", nil, "app=shop, tier=web"},
		{"a Service that asks for more leads to none of them", "", map[string]string{"colour": "blue"}, ""},
		{"with one, the label that no policy asks for differs", "shop", map[string]string{"tier": "web"}, "app=shop, tier=web-canary"},
		{"a policy and the Service ask for the same", "shop", nil, ""},
		{"blue-green pods differ by their version", "shop", map[string]string{LabelVersion: "abc-1"}, "app=shop, tier=web"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			d := &duet{route: tc.route, stable: arr, gates: gateOf(tc.selector)}
			s := &side{track: TrackCanary, arr: arr, labels: map[string]string{}}
			got, err := d.podLabels(s, arr.only(versioned)[0], merged(map[string]string{}, labels))
			switch {
			case tc.want == "" && err == nil:
				t.Errorf("it isn't refused: %v", got)
			case tc.want != "" && (err != nil || sorted(got) != tc.want):
				t.Errorf("the labels are %s, error %v", sorted(got), err)
			}
			if tc.want == "app=shop, tier=web-canary" && s.renamed(map[string]string{"tier": "web", "app": "shop"})["tier"] != "web-canary" {
				t.Error("the Service of the track asks for another label")
			}
		})
	}
}
