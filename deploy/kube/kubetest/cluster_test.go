package kubetest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubetest"
)

func TestThreeReplicasBecomeAvailable(t *testing.T) {
	cluster := kubetest.Start(t)
	namespace := cluster.Namespace(t)
	apply(t, cluster, namespace, deployment("registry.example.com/shop:1", 3))
	began := time.Now()
	awaitDeployment(t, cluster, namespace, "available", func(d *appsv1.Deployment) bool {
		return d.Status.AvailableReplicas == 3 && condition(d, appsv1.DeploymentAvailable).Status == corev1.ConditionTrue
	})
	t.Logf("three replicas were available after %v", time.Since(began))

	pod := awaitPod(t, cluster, namespace, "running", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	if pod.Status.PodIP == "" || pod.Spec.NodeName == "" {
		t.Errorf("pod has IP %q and node %q, want both", pod.Status.PodIP, pod.Spec.NodeName)
	}
	if got := podLog(t, cluster, pod, &corev1.PodLogOptions{}); strings.Contains(got, "panic") {
		t.Errorf("healthy pod's log has a panic:\n%s", got)
	}
}

func TestFaultsFollowFromTheImage(t *testing.T) {
	cases := []struct {
		name  string
		image string
		want  func(*corev1.Pod) bool
	}{
		{"a crashing image ends in a crash loop that restarts again and again", "shop:crash", func(p *corev1.Pod) bool {
			status := first(p)
			return waitingFor(p) == "CrashLoopBackOff" && status.RestartCount >= 2 && !status.Ready &&
				status.LastTerminationState.Terminated != nil && status.LastTerminationState.Terminated.ExitCode == 1
		}},
		{"a missing image can't be pulled", "shop:missing", func(p *corev1.Pod) bool {
			return waitingFor(p) == "ErrImagePull" && strings.Contains(first(p).State.Waiting.Message, `"shop:missing"`)
		}},
		{"a missing image ends in a back-off", "shop:missing", func(p *corev1.Pod) bool {
			return waitingFor(p) == "ImagePullBackOff" && strings.Contains(first(p).State.Waiting.Message, `"shop:missing"`)
		}},
		{"an image that is never ready runs", "shop:neverready", func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodRunning && first(p).State.Running != nil && !first(p).Ready && !ready(p)
		}},
		{"a crash goes before a missing image", "missing:crash", func(p *corev1.Pod) bool {
			return waitingFor(p) == "CrashLoopBackOff"
		}},
	}
	cluster := kubetest.Start(t)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			namespace := cluster.Namespace(t)
			apply(t, cluster, namespace, deployment(tc.image, 1))
			awaitPod(t, cluster, namespace, tc.name, tc.want)
		})
	}
}

func TestOneFaultyContainerLeavesItsNeighbourRunning(t *testing.T) {
	for _, fault := range []string{"crash", "missing", "neverready"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cluster := kubetest.Start(t)
			namespace := cluster.Namespace(t)
			d := deployment("proxy:1", 1)
			d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "second", Image: "shop:" + fault})
			apply(t, cluster, namespace, d)
			awaitPod(t, cluster, namespace, "one container ready and one not, after a restart where it crashes", func(p *corev1.Pod) bool {
				if len(p.Status.ContainerStatuses) != 2 || ready(p) {
					return false
				}
				good, bad := p.Status.ContainerStatuses[0], p.Status.ContainerStatuses[1]
				return good.Ready && good.State.Running != nil && !bad.Ready && (fault != "crash" || bad.RestartCount == 1)
			})
		})
	}
}

func TestLogOfACrashLoopEndsWithItsPanic(t *testing.T) {
	cluster := kubetest.Start(t)
	namespace := cluster.Namespace(t)
	apply(t, cluster, namespace, deployment("shop:crash", 1))
	pod := awaitPod(t, cluster, namespace, "in its crash loop", func(p *corev1.Pod) bool { return waitingFor(p) == "CrashLoopBackOff" })

	const panicLine = "panic: connect to database: connection refused\n"
	full := "starting shop:crash\n" + panicLine
	cases := []struct {
		name    string
		options corev1.PodLogOptions
		want    string
	}{
		{"the whole log", corev1.PodLogOptions{}, full},
		{"the log of the run before", corev1.PodLogOptions{Previous: true}, full},
		{"the last line", corev1.PodLogOptions{TailLines: new(int64(1))}, panicLine},
		{"the first bytes", corev1.PodLogOptions{LimitBytes: new(int64(8))}, "starting"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if got := podLog(t, cluster, pod, &tc.options); got != tc.want {
				t.Errorf("log is %q, want %q", got, tc.want)
			}
		})
	}
}

func TestLogOfAContainerThatNeverStartedIsRefused(t *testing.T) {
	cluster := kubetest.Start(t)
	namespace := cluster.Namespace(t)
	apply(t, cluster, namespace, deployment("shop:missing", 1))
	pod := awaitPod(t, cluster, namespace, "waiting", func(p *corev1.Pod) bool { return waitingFor(p) != "" })
	// Stream, because DoRaw drops the server's message.
	_, err := cluster.Client().CoreV1().Pods(namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).Stream(t.Context())
	if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "is waiting to start") {
		t.Errorf("log of a pod without its image: got error %v, want a bad request that says it waits to start", err)
	}
}

func TestProgressDeadlinePassesForAPodThatIsNeverReady(t *testing.T) {
	cluster := kubetest.Start(t)
	namespace := cluster.Namespace(t)
	d := deployment("shop:neverready", 1)
	d.Spec.ProgressDeadlineSeconds = new(int32(2))
	apply(t, cluster, namespace, d)
	awaitDeployment(t, cluster, namespace, "over its progress deadline", func(d *appsv1.Deployment) bool {
		progressing := condition(d, appsv1.DeploymentProgressing)
		return progressing.Status == corev1.ConditionFalse && progressing.Reason == "ProgressDeadlineExceeded"
	})
}

func TestPodThatAsksForTooMuchStaysUnscheduled(t *testing.T) {
	cluster := kubetest.Start(t)
	namespace := cluster.Namespace(t)
	d := deployment("shop:1", 1)
	d.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
		corev1.ResourceCPU: *resource.NewQuantity(kubetest.NodeCPU+1, resource.DecimalSI),
	}
	apply(t, cluster, namespace, d)
	awaitPod(t, cluster, namespace, "unschedulable", func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
				return p.Status.Phase == corev1.PodPending
			}
		}
		return false
	})
}

func TestPodIsReadyAfterTheTimeThatItsAnnotationSays(t *testing.T) {
	cluster := kubetest.Start(t)
	namespace := cluster.Namespace(t)
	d := deployment("shop:1", 1)
	d.Spec.Template.Annotations = map[string]string{kubetest.ReadyAfter: "1500ms"}
	began := time.Now()
	apply(t, cluster, namespace, d)
	awaitPod(t, cluster, namespace, "ready", ready)
	if took := time.Since(began); took < 1500*time.Millisecond {
		t.Errorf("pod was ready after %v, want at least 1.5 s", took)
	}
}

func TestJobsEndAsTheirImageSays(t *testing.T) {
	cluster := kubetest.Start(t)
	skipExternal(t, cluster)
	for image, want := range map[string]corev1.PodPhase{"migrate:1": corev1.PodSucceeded, "migrate:crash": corev1.PodFailed} {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			namespace := cluster.Namespace(t)
			job := &batchv1.Job{
				ObjectMeta: metav1.ObjectMeta{Name: "migrate"},
				Spec: batchv1.JobSpec{BackoffLimit: new(int32(0)), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
					RestartPolicy: corev1.RestartPolicyNever,
					Containers:    []corev1.Container{{Name: "migrate", Image: image}},
				}}},
			}
			if _, err := cluster.Client().BatchV1().Jobs(namespace).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
				t.Fatalf("make job: %v", err)
			}
			awaitPod(t, cluster, namespace, string(want), func(p *corev1.Pod) bool { return p.Status.Phase == want })
		})
	}
}

func TestUserMayDoOnlyWhatItsRoleSays(t *testing.T) {
	cluster := kubetest.Start(t)
	namespace, other := cluster.Namespace(t), cluster.Namespace(t)
	user := cluster.User(t, namespace, rbacv1.PolicyRule{
		APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"list", "watch"},
	})
	fromFile, err := clientcmd.BuildConfigFromFlags("", user.KubeconfigPath)
	if err != nil {
		t.Fatalf("read the user's kubeconfig: %v", err)
	}
	for name, config := range map[string]*rest.Config{"by its configuration": user.Config, "by its kubeconfig file": fromFile} {
		t.Run(name, func(t *testing.T) {
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.AppsV1().Deployments(namespace).List(t.Context(), metav1.ListOptions{}); err != nil {
				t.Errorf("list deployments in its own namespace: %v", err)
			}
			if _, err := client.AppsV1().Deployments(other).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
				t.Errorf("list deployments elsewhere: got error %v, want forbidden", err)
			}
			_, err = client.AppsV1().Deployments(namespace).Create(t.Context(), deployment("shop:1", 1), metav1.CreateOptions{})
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), user.Name) {
				t.Errorf("make a deployment: got error %v, want forbidden for %s", err, user.Name)
			}
		})
	}
	narrow := cluster.User(t, namespace, rbacv1.PolicyRule{
		APIGroups: []string{"apps"}, Resources: []string{"deployments/scale"}, ResourceNames: []string{"shop"}, Verbs: []string{"get"},
	})
	client, err := kubernetes.NewForConfig(narrow.Config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.AppsV1().Deployments(namespace).GetScale(t.Context(), "shop", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("read the scale of the one deployment that it may: got error %v, want not found", err)
	}
	nobody, err := kubernetes.NewForConfig(cluster.User(t, namespace).Config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nobody.AppsV1().Deployments(namespace).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("list deployments without a rule: got error %v, want forbidden", err)
	}
}

func TestPausedClusterDoesNotAnswerUntilItIsResumed(t *testing.T) {
	cluster := kubetest.Start(t)
	config := cluster.Config()
	config.Timeout = 500 * time.Millisecond
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	cluster.Pause(t)
	if _, err := client.Discovery().ServerVersion(); err == nil {
		t.Error("a paused cluster has answered")
	}
	cluster.Resume(t)
	version, err := cluster.Client().Discovery().ServerVersion()
	if err != nil {
		t.Fatalf("ask the resumed cluster for its version: %v", err)
	}
	if !strings.HasPrefix(version.GitVersion, "v1.") {
		t.Errorf("cluster says that it is %q, want a version of Kubernetes 1", version.GitVersion)
	}
}

func deployment(image string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "shop"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}},
			},
		},
	}
}

func apply(t *testing.T, cluster *kubetest.Cluster, namespace string, d *appsv1.Deployment) {
	t.Helper()
	skipExternal(t, cluster)
	if _, err := cluster.Client().AppsV1().Deployments(namespace).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatalf("make deployment: %v", err)
	}
}

func skipExternal(t *testing.T, cluster *kubetest.Cluster) {
	t.Helper()
	if cluster.External {
		t.Skip("pods follow their images only in the test's own control plane")
	}
}

func awaitDeployment(t *testing.T, cluster *kubetest.Cluster, namespace, what string, is func(*appsv1.Deployment) bool) {
	t.Helper()
	await(t, "deployment", what, is, func(ctx context.Context) (watch.Interface, error) {
		return cluster.Client().AppsV1().Deployments(namespace).Watch(ctx, metav1.ListOptions{})
	})
}

func awaitPod(t *testing.T, cluster *kubetest.Cluster, namespace, what string, is func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	return await(t, "pod", what, is, func(ctx context.Context) (watch.Interface, error) {
		return cluster.Client().CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{})
	})
}

// await returns the first object of a watch that is as wanted. The watch begins with the objects that are there.
func await[T any](t *testing.T, kind, what string, is func(T) bool, start func(context.Context) (watch.Interface, error)) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	watcher, err := start(ctx)
	if err != nil {
		t.Fatalf("watch %ss: %v", kind, err)
	}
	defer watcher.Stop()
	var last T
	for event := range watcher.ResultChan() {
		object, ok := event.Object.(T)
		if !ok {
			continue
		}
		if last = object; is(object) {
			return object
		}
	}
	t.Fatalf("no %s is %s; the last seen: %+v", kind, what, last)
	return last
}

func condition(d *appsv1.Deployment, kind appsv1.DeploymentConditionType) appsv1.DeploymentCondition {
	for _, c := range d.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return appsv1.DeploymentCondition{}
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func first(p *corev1.Pod) corev1.ContainerStatus {
	if len(p.Status.ContainerStatuses) == 0 {
		return corev1.ContainerStatus{}
	}
	return p.Status.ContainerStatuses[0]
}

func waitingFor(p *corev1.Pod) string {
	if waiting := first(p).State.Waiting; waiting != nil {
		return waiting.Reason
	}
	return ""
}

func podLog(t *testing.T, cluster *kubetest.Cluster, pod *corev1.Pod, options *corev1.PodLogOptions) string {
	t.Helper()
	content, err := cluster.Client().CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, options).DoRaw(t.Context())
	if err != nil {
		t.Fatalf("read the log of pod %s: %v", pod.Name, err)
	}
	return string(content)
}
