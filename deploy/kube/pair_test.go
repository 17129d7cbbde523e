package kube_test

import (
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	server "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/registry"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const canaryStage = "canary"

// pairUp starts a pair of the commit beside a release.
func (w *world) pairUp(sha string, stable pipeline.Release) pipeline.Pair {
	w.t.Helper()
	return w.must(sha, w.startPair(stable)).(pipeline.Paired).Pair
}

func (w *world) startPair(stable pipeline.Release) pipeline.StartPair {
	a := pipeline.StartPair{Stage: canaryStage, Attempt: 1, Stable: stable, Compare: stable}
	if w.canary != nil && len(w.canary.Weights) > 0 {
		a.Weight = w.canary.Weights[0]
	}
	return a
}

// endPair ends a pair that the delivery knows.
func (w *world) endPair(sha string) []string {
	w.t.Helper()
	event, err := w.executor().Execute(w.context(), w.later(sha, pipeline.EndPair{Stage: canaryStage, Attempt: 1, Environment: "production"}))
	if err != nil {
		w.t.Fatalf("end the pair: %v", err)
	}
	removed := event.(pipeline.PairEnded).Removed
	slices.Sort(removed)
	return removed
}

// later is a task that was tried before.
func (w *world) later(sha string, do pipeline.Action) *pipeline.Task {
	task := w.task(sha, do)
	task.Attempt = 2
	return task
}

// only is the one Deployment of a track.
func (w *world) only(t pipeline.Track) *appsv1.Deployment {
	w.t.Helper()
	if len(t.Workloads) != 1 {
		w.t.Fatalf("the workloads are %q", t.Workloads)
	}
	return w.deploymentNamed(t.Workloads[0])
}

// pods are those of a track.
func (w *world) pods(track string) []corev1.Pod {
	w.t.Helper()
	list, err := w.admin.CoreV1().Pods(w.namespace).List(w.t.Context(), metav1.ListOptions{LabelSelector: deploy.LabelTrack + "=" + track})
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

// endpoints counts who has the traffic of a Service, by Deployment.
func (w *world) endpoints(service string) map[string]int {
	w.t.Helper()
	list, err := w.admin.DiscoveryV1().EndpointSlices(w.namespace).List(w.t.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		w.t.Fatal(err)
	}
	counts := map[string]int{}
	for _, s := range list.Items {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				name := e.TargetRef.Name
				name = name[:strings.LastIndex(name, "-")]
				counts[name[:strings.LastIndex(name, "-")]]++
			}
		}
	}
	return counts
}

func (w *world) awaitEndpoints(service string, want map[string]int) {
	w.t.Helper()
	w.await(fmt.Sprintf("the endpoints of %s to be %v", service, want), func() bool { return maps.Equal(w.endpoints(service), want) })
}

// always tells that a Deployment had traffic all the time.
func (tr *traffic) always(t *testing.T, name string) {
	t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	began := false
	for _, saw := range tr.saw {
		has := slices.Contains(strings.Split(saw, "+"), name)
		if began = began || has; began && !has {
			t.Errorf("%s had no traffic in between: it went to %q", name, tr.saw)
		}
	}
}

// wantEqual compares the two tracks of a pair.
func (w *world) wantEqual(p pipeline.Pair, instances int) {
	w.t.Helper()
	baseline, canary := w.only(p.Baseline), w.only(p.Canary)
	for _, d := range []*appsv1.Deployment{baseline, canary} {
		if int(*d.Spec.Replicas) != instances || int(d.Status.AvailableReplicas) != instances {
			w.t.Errorf("%s has %d of %d pods available, want %d", d.Name, d.Status.AvailableReplicas, *d.Spec.Replicas, instances)
		}
	}
	if diff := cmp.Diff(resourcesOf(baseline), resourcesOf(canary)); diff != "" {
		w.t.Errorf("the resources differ: baseline (-), canary (+):\n%s", diff)
	}
	for _, t := range []struct {
		track string
		is    pipeline.Track
		d     *appsv1.Deployment
	}{{deploy.TrackBaseline, p.Baseline, baseline}, {deploy.TrackCanary, p.Canary, canary}} {
		pods := w.pods(t.track)
		if len(pods) != instances {
			w.t.Errorf("there are %d pods of the %s", len(pods), t.track)
		}
		for _, pod := range pods {
			if pod.Labels[deploy.LabelVersion] != t.is.Version || pod.Labels["app"] == "" {
				w.t.Errorf("pod %s has the labels %v, and the version is %s", pod.Name, pod.Labels, t.is.Version)
			}
		}
		if t.d.Labels[deploy.LabelTrack] != t.track || t.d.Labels[deploy.LabelEnvironment] != "production" || t.d.Annotations[deploy.AnnotationCommit] != t.is.SHA {
			w.t.Errorf("deployment %s has the labels %v and the annotations %v", t.d.Name, t.d.Labels, t.d.Annotations)
		}
	}
}

func resourcesOf(d *appsv1.Deployment) map[string]corev1.ResourceRequirements {
	all := map[string]corev1.ResourceRequirements{}
	for _, c := range d.Spec.Template.Spec.Containers {
		all[c.Name] = c.Resources
	}
	return all
}

func TestAPairIsEqualAndHasItsShareOfTheTraffic(t *testing.T) {
	for _, strategy := range bothStrategies {
		t.Run(string(strategy), func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				host, digests := w.registryWith("shop:1", "shop:2")
				first, second := host+"/shop:1", host+"/shop:2"
				w.deploy.Strategy = strategy
				w.canary = &pipeline.Canary{Instances: 2}
				w.commit("aaaa1111", configMap("settings", "one")+service+deployment(first, 3, ""))
				w.commit("bbbb2222", configMap("settings", "one")+service+
					strings.Replace(deployment(second, 5, ""), second+`"`, second+`", resources: {requests: {cpu: 10m}}`, 1))
				clients := w.clients()
				one := w.deliver("aaaa1111", nil)
				stable := w.deployments()[0]
				generation, settings := w.deploymentNamed(stable).Generation, w.configMap("settings").ResourceVersion

				p := w.pairUp("bbbb2222", one)
				w.wantEqual(p, 2)
				baseline, canary := p.Baseline.Workloads[0], p.Canary.Workloads[0]
				if !strings.HasPrefix(baseline, "shop-baseline-") || !strings.HasPrefix(canary, "shop-canary-") {
					t.Errorf("they are called %s and %s", baseline, canary)
				}
				w.wantDeployments(stable, baseline, canary)
				w.awaitEndpoints("shop", map[string]int{stable: 3, baseline: 2, canary: 2})
				want := []pipeline.Image{{Name: first + "@" + digests[0], Digest: digests[0]}, {Name: second + "@" + digests[1], Digest: digests[1]}}
				if got := slices.Concat(p.Baseline.Images, p.Canary.Images); !slices.Equal(got, want) {
					t.Errorf("the images are %v", got)
				}
				if p.Instances != 2 || p.Since.IsZero() || p.Baseline.Release != one.ID || p.Baseline.SHA != "aaaa1111" || p.Canary.SHA != "bbbb2222" {
					t.Errorf("the pair is %+v", p)
				}
				words := regexp.MustCompile(`^baseline \d of 2, canary \d of 2 available; container app of the baseline has the resources that the commit gives it$`)
				if saw := w.saw(); !slices.ContainsFunc(saw, words.MatchString) {
					t.Errorf("people read %q", saw)
				}

				// Again, such as after a kill: the same pods.
				before := append(w.pods(deploy.TrackBaseline), w.pods(deploy.TrackCanary)...)
				again := w.pairUp("bbbb2222", one)
				if again.Since = p.Since; !cmp.Equal(again, p) {
					t.Errorf("the second time it is %+v", again)
				}
				after := append(w.pods(deploy.TrackBaseline), w.pods(deploy.TrackCanary)...)
				if names(before) != names(after) {
					t.Errorf("the pods were %s and are %s", names(before), names(after))
				}

				if removed := w.endPair("bbbb2222"); !slices.Equal(removed, []string{"Deployment " + baseline, "Deployment " + canary}) {
					t.Errorf("removed %q", removed)
				}
				w.wantDeployments(stable)
				w.awaitEndpoints("shop", map[string]int{stable: 3})
				clients.always(t, stable)
				if d := w.deploymentNamed(stable); d.Generation != generation || w.configMap("settings").ResourceVersion != settings {
					t.Error("what serves was changed")
				}
				if removed := w.endPair("bbbb2222"); len(removed) > 0 {
					t.Errorf("the second time it removed %q", removed)
				}
			})
		})
	}
}

// registryWith serves images under these tags, which are pinned to their digests.
func (w *world) registryWith(tags ...string) (host string, digests []string) {
	w.t.Helper()
	s := httptest.NewServer(server.New(server.Logger(log.New(io.Discard, "", 0))))
	w.t.Cleanup(s.Close)
	host = strings.TrimPrefix(s.URL, "http://")
	for _, tag := range tags {
		digests = append(digests, w.push(host+"/"+tag))
	}
	var err error
	if w.registry, err = registry.New(registry.Options{Registries: []registry.Registry{{Host: host, Insecure: true}}}); err != nil {
		w.t.Fatal(err)
	}
	return host, digests
}

// push puts a new image under a tag.
func (w *world) push(tag string) (digest string) {
	w.t.Helper()
	ref, err := name.ParseReference(tag)
	if err != nil {
		w.t.Fatal(err)
	}
	image, err := random.Image(10, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		w.t.Fatal(err)
	}
	sum, err := image.Digest()
	if err != nil {
		w.t.Fatal(err)
	}
	return sum.String()
}

func names(pods []corev1.Pod) string {
	var all []string
	for _, p := range pods {
		all = append(all, p.Name)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// TestConfigurationOfATrackIsItsOwn: what differs between the releases is copied, and what serves keeps its own.
func TestConfigurationOfATrackIsItsOwn(t *testing.T) {
	const uses = `, template: {metadata: {labels: {app: shop}}, spec: {` +
		`volumes: [{name: a, configMap: {name: settings}}, {name: b, projected: {sources: [{secret: {name: keys}}]}}, {name: c, secret: {secretName: others}}], ` +
		`containers: [{name: app, image: %q, envFrom: [{configMapRef: {name: same}}], env: [{name: KEY, valueFrom: {secretKeyRef: {name: keys, key: k}}}, {name: NEW, valueFrom: {configMapKeyRef: {name: new, key: value, optional: true}}}]}]}}}`
	with := func(image string) string {
		d := deployment(image, 1, "")
		return d[:strings.Index(d, ", template:")] + fmt.Sprintf(uses, image) + "\n"
	}
	secret := func(value string) string {
		return "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {k: " + value + "}\n"
	}
	onEachCluster(t, func(t *testing.T, w *world) {
		w.canary = &pipeline.Canary{Instances: 1}
		others := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "others"}}
		if _, err := w.admin.CoreV1().Secrets(w.namespace).Create(t.Context(), others, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		w.commit("aaaa1111", configMap("settings", "one")+configMap("same", "1")+secret("first")+service+with("shop:1"))
		w.commit("bbbb2222", configMap("settings", "two")+configMap("same", "1")+configMap("new", "n")+configMap("unused", "u")+secret("second")+service+with("shop:2"))
		one := w.deliver("aaaa1111", nil)
		p := w.pairUp("bbbb2222", one)
		id := strings.TrimPrefix(p.Canary.Workloads[0], "shop-canary-")
		spec := func(track pipeline.Track) string {
			s := w.only(track).Spec.Template.Spec
			c := s.Containers[0]
			return strings.Join([]string{
				s.Volumes[0].ConfigMap.Name, s.Volumes[1].Projected.Sources[0].Secret.Name, s.Volumes[2].Secret.SecretName, c.EnvFrom[0].ConfigMapRef.Name,
				c.Env[0].ValueFrom.SecretKeyRef.Name, c.Env[1].ValueFrom.ConfigMapKeyRef.Name,
			}, " ")
		}
		if got := spec(p.Baseline); got != "settings keys others same keys new" {
			t.Errorf("the baseline refers to %s", got)
		}
		keys := "keys-canary-" + id
		if got, want := spec(p.Canary), "settings-canary-"+id+" "+keys+" others same "+keys+" new-canary-"+id; got != want {
			t.Errorf("the canary refers to %s, want %s", got, want)
		}
		if one, two := w.configMap("settings").Data["value"], w.configMap("settings-canary-" + id).Data["value"]; one != "one" || two != "two" {
			t.Errorf("the settings are %s, and those of the canary %s", one, two)
		}
		w.wantGone("unused")
		w.wantGone("new")
		want := []string{"ConfigMap new-canary-" + id, "ConfigMap settings-canary-" + id, "Deployment shop-baseline-" + id, "Deployment shop-canary-" + id, "Secret " + keys}
		if removed := w.endPair("bbbb2222"); !slices.Equal(removed, want) {
			t.Errorf("removed %q, want %q", removed, want)
		}
		w.configMap("settings")
		w.configMap("same")
		if strings.Contains(w.logs.String(), "second") {
			t.Error("a secret is in the log")
		}
	})
}

// TestOnlyWhatIsNamedIsPaired: a release has several Deployments.
func TestOnlyWhatIsNamedIsPaired(t *testing.T) {
	worker := strings.ReplaceAll(deployment("worker:1", 1, ""), "shop}", "worker}")
	admin := strings.ReplaceAll(deployment("admin:1", 1, ""), "shop}", "admin}") + strings.ReplaceAll(service, "shop}", "admin}")
	cases := []struct {
		name  string
		named []string
		want  []string
	}{
		{"nothing is named, so those behind a Service are", nil, []string{"shop", "admin"}},
		{"one of two", []string{"shop"}, []string{"shop"}},
		{"one without a Service", []string{"worker"}, []string{"worker"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			onEachCluster(t, func(t *testing.T, w *world) {
				w.canary = &pipeline.Canary{Instances: 1, Workloads: tc.named}
				w.commit("aaaa1111", service+deployment("shop:1", 1, "")+worker+admin)
				w.commit("bbbb2222", service+deployment("shop:2", 1, "")+worker+admin)
				one := w.deliver("aaaa1111", nil)
				p := w.pairUp("bbbb2222", one)
				var got []string
				for _, name := range p.Canary.Workloads {
					got = append(got, name[:strings.Index(name, "-canary-")])
				}
				if !slices.Equal(got, tc.want) || len(p.Baseline.Workloads) != len(tc.want) {
					t.Errorf("paired are %q and %q", p.Canary.Workloads, p.Baseline.Workloads)
				}
				w.endPair("bbbb2222")
				w.wantDeployments("shop", "worker", "admin")
			})
		})
	}
}
