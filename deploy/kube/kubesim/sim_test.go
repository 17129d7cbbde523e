package kubesim_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim"
)

// quick is a cluster whose pods start and stop fast, with the namespace shop.
func quick() kubesim.Options {
	return kubesim.Options{
		PodStartTime: 50 * time.Millisecond, PodStopTime: 20 * time.Millisecond, Speed: 20, Namespaces: []string{"shop"},
	}
}

func start(t testing.TB, opts kubesim.Options) (*kubesim.Sim, *kubernetes.Clientset) {
	t.Helper()
	sim, err := kubesim.New(opts)
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
	return sim, client(t, sim.Kubeconfig())
}

func config(t testing.TB, kubeconfig []byte) *rest.Config {
	t.Helper()
	c, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c.QPS = -1
	return c
}

func client(t testing.TB, kubeconfig []byte) *kubernetes.Clientset {
	t.Helper()
	out, err := kubernetes.NewForConfig(config(t, kubeconfig))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func deployment(name, image string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}},
			},
		},
	}
}

func create(t testing.TB, c *kubernetes.Clientset, d *appsv1.Deployment) *appsv1.Deployment {
	t.Helper()
	out, err := c.AppsV1().Deployments("shop").Create(t.Context(), d, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create deployment: %v", err)
	}
	return out
}

// await looks again at each change of the cluster until is has nothing to say.
func await(t *testing.T, sim *kubesim.Sim, what string, is func() string) {
	t.Helper()
	changed, end := sim.Subscribe()
	defer end()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		why := is()
		if why == "" {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s did not come: %s", what, why)
		}
	}
}

// workload is what the snapshot shows of a workload in the namespace shop.
func workload(sim *kubesim.Sim, name string) kubesim.WorkloadView {
	for _, ns := range sim.Snapshot().Namespaces {
		for _, w := range ns.Workloads {
			if ns.Name == "shop" && w.Name == name {
				return w
			}
		}
	}
	return kubesim.WorkloadView{}
}

func awaitReady(t *testing.T, sim *kubesim.Sim, name string, pods int32) {
	t.Helper()
	await(t, sim, "readiness of "+name, func() string {
		if w := workload(sim, name); w.Ready != pods || w.Update != pods || len(w.Pods) != int(pods) {
			return "not ready"
		}
		return ""
	})
}

func TestOptionsThatMakeNoClusterAreRefused(t *testing.T) {
	for name, opts := range map[string]kubesim.Options{
		"negative nodes":   {Nodes: -1},
		"negative speed":   {Speed: -1},
		"negative history": {History: -1},
		"odd namespace":    {Namespaces: []string{"Not A Name"}},
		"namespace twice":  {Namespaces: []string{"a", "a"}},
	} {
		if sim, err := kubesim.New(opts); err == nil {
			t.Errorf("%s: made a cluster", name)
			_ = sim.Close()
		}
	}
}

func TestKubeconfigOfTheAdministratorAndOfALimitedToken(t *testing.T) {
	sim, admin := start(t, quick())
	if _, err := admin.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("administrator lists nodes: %v", err)
	}
	sim.AddToken("limited", []string{"shop"})
	limited := client(t, sim.KubeconfigFor("limited", "shop"))
	if _, err := limited.AppsV1().Deployments("shop").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("limited token in its namespace: %v", err)
	}
	_, err := limited.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	want := `nodes is forbidden: User "system:serviceaccount:shop:default" cannot list resource "nodes" in API group "" at the cluster scope`
	if !apierrors.IsForbidden(err) || err.Error() != want {
		t.Errorf("limited token lists nodes: got %v, want %s", err, want)
	}
	stranger := client(t, sim.KubeconfigFor("stranger", "shop"))
	if _, err := stranger.Discovery().ServerVersion(); !apierrors.IsUnauthorized(err) {
		t.Errorf("unknown token: got %v, want unauthorized", err)
	}
}

func TestMetadataClientGetsOnlyMetadata(t *testing.T) {
	sim, c := start(t, quick())
	create(t, c, deployment("web", "shop:1", 0))
	m, err := metadata.NewForConfig(config(t, sim.Kubeconfig()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Resource(appsv1.SchemeGroupVersion.WithResource("deployments")).Namespace("shop").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(got.Items) != 1 || got.Items[0].Labels["app"] != "web" || got.Items[0].Kind != "PartialObjectMetadata" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWorkloadsOfOtherKindsBecomeReadyAndRoll(t *testing.T) {
	sim, c := start(t, quick())
	labels := map[string]string{"app": "other"}
	template := func(image string) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "db", Image: image}}},
		}
	}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{
		Replicas: new(int32(2)), ServiceName: "db", Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template("db:1"),
	}}
	daemon := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "agent"}, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template("agent:1"),
	}}
	made, err := c.AppsV1().StatefulSets("shop").Create(t.Context(), set, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AppsV1().DaemonSets("shop").Create(t.Context(), daemon, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, sim, "db", 2)
	awaitReady(t, sim, "agent", 3)
	made.Spec.Template = template("db:2")
	made.ResourceVersion = ""
	if _, err := c.AppsV1().StatefulSets("shop").Update(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, sim, "the new revision", func() string {
		s, err := c.AppsV1().StatefulSets("shop").Get(t.Context(), "db", metav1.GetOptions{})
		if err != nil || s.Status.ObservedGeneration != 2 || s.Status.CurrentRevision != s.Status.UpdateRevision || s.Status.UpdatedReplicas != 2 || s.Status.ReadyReplicas != 2 {
			return "not rolled out"
		}
		return ""
	})
	pod, err := c.CoreV1().Pods("shop").Get(t.Context(), "db-1", metav1.GetOptions{})
	if err != nil || pod.Spec.Containers[0].Image != "db:2" {
		t.Errorf("pod db-1 is %+v, %v; want image db:2", pod, err)
	}
}

func TestClockThatIsWrongShowsInTimestampsAndAnswers(t *testing.T) {
	const skew = -2 * time.Hour
	opts := quick()
	opts.Now = func() time.Time { return time.Now().Add(skew) }
	sim, c := start(t, opts)
	made := create(t, c, deployment("web", "shop:1", 1))
	awaitReady(t, sim, "web", 1)
	client, err := rest.HTTPClientFor(config(t, sim.Kubeconfig()))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Get(sim.URL() + "/version")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	date, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		t.Fatal(err)
	}
	for what, at := range map[string]time.Time{
		"creation": made.CreationTimestamp.Time, "date": date, "pod": workload(sim, "web").Pods[0].Created,
	} {
		if off := time.Since(at) + skew; off.Abs() > time.Minute {
			t.Errorf("%s is %v, want it two hours behind", what, at)
		}
	}
}

func TestSpeedShortensTheProgressDeadline(t *testing.T) {
	opts := quick()
	opts.Speed = 2000 // ten minutes become 0.3 s
	sim, c := start(t, opts)
	create(t, c, deployment("web", "shop:neverready", 1))
	await(t, sim, "the progress deadline", func() string {
		if w := workload(sim, "web"); w.Reason != "ProgressDeadlineExceeded" {
			return "reason is " + w.Reason
		}
		return ""
	})
}

func TestFailuresLeaveEvents(t *testing.T) {
	sim, c := start(t, quick())
	create(t, c, deployment("crashing", "shop:crash", 1))
	create(t, c, deployment("absent", "shop:missing", 1))
	create(t, c, deployment("homeless", "shop:unschedulable", 1))
	for reason, part := range map[string]string{
		"BackOff": "Back-off restarting failed container web in pod crashing-", "Failed": `Failed to pull image "shop:missing"`,
		"FailedScheduling": "0/3 nodes are available", "ScalingReplicaSet": "Scaled up replica set crashing-",
	} {
		await(t, sim, reason, func() string {
			list, err := c.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{FieldSelector: "reason=" + reason})
			if err != nil {
				return err.Error()
			}
			for _, e := range list.Items {
				if strings.Contains(e.Message, part) {
					return ""
				}
			}
			return "no event says " + part
		})
	}
}
