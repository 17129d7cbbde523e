package kubesim_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

func TestUnreachableClusterEndsConnectionsAndComesBack(t *testing.T) {
	sim, c := start(t, quick())
	w, err := c.CoreV1().Pods("shop").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sim.Faults.SetUnreachable(true)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for open := true; open; {
		select {
		case _, open = <-w.ResultChan():
		case <-ctx.Done():
			t.Fatal("the watch outlived its connection")
		}
	}
	var status apierrors.APIStatus
	short, end := context.WithTimeout(t.Context(), 500*time.Millisecond) // client-go tries again ten times, a second apart
	defer end()
	if _, err := c.CoreV1().Pods("shop").List(short, metav1.ListOptions{}); err == nil || errors.As(err, &status) {
		t.Errorf("list while unreachable: got %v, want an error of the connection", err)
	}
	sim.Faults.SetUnreachable(false)
	if _, err := c.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("list afterwards: %v", err)
	}
}

func TestFailedRequestsAreCounted(t *testing.T) {
	sim, c := start(t, quick())
	sim.Faults.FailRequests(2, http.StatusInternalServerError)
	for i, want := range []bool{true, true, false} {
		_, err := c.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
		if apierrors.IsInternalError(err) != want {
			t.Errorf("request %d: got %v, want a failure: %v", i, err, want)
		}
	}
}

func TestSlowClusterAnswersLate(t *testing.T) {
	sim, c := start(t, quick())
	sim.Faults.SetLatency(time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.CoreV1().Pods("shop").List(ctx, metav1.ListOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline to pass", err)
	}
}

func TestRefusedAdmissionSaysWhy(t *testing.T) {
	sim, c := start(t, quick())
	sim.Faults.RefuseAdmission("shop", "images must be signed")
	_, err := c.AppsV1().Deployments("shop").Create(t.Context(), deployment("web", "shop:1", 1), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "denied the request: images must be signed") {
		t.Errorf("got %v, want the webhook's refusal", err)
	}
	sim.Faults.RefuseAdmission("shop", "")
	create(t, c, deployment("web", "shop:1", 1))
	awaitReady(t, sim, "web", 1)
}

func TestQuotaStopsPodsUntilItIsLifted(t *testing.T) {
	sim, c := start(t, quick())
	sim.Faults.SetPodQuota("shop", 1)
	create(t, c, deployment("web", "shop:1", 2))
	await(t, sim, "the quota's refusal", func() string {
		w := workload(sim, "web")
		if w.Reason != "FailedCreate" || !strings.Contains(w.Message, "exceeded quota: pods, requested: pods=1, used: pods=1, limited: pods=1") {
			return "workload says " + w.Reason + " " + w.Message
		}
		return ""
	})
	sim.Faults.SetPodQuota("shop", -1)
	awaitReady(t, sim, "web", 2)
	if w := workload(sim, "web"); w.Reason != "" {
		t.Errorf("reason is still %s", w.Reason)
	}
}

func TestWatchFromBeforeTheHistoryIsGone(t *testing.T) {
	sim, c := start(t, quick())
	list, err := c.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sim.ExpireHistory()
	w, err := c.CoreV1().Pods("shop").Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	ev := <-w.ResultChan()
	if err := apierrors.FromObject(ev.Object); ev.Type != watch.Error || !apierrors.IsResourceExpired(err) {
		t.Errorf("event is %s %v, want 410 Gone", ev.Type, err)
	}
}

func TestInformerSurvivesLostWatchesAndHistory(t *testing.T) {
	sim, c := start(t, quick())
	seen := follow(t, c)
	for name, harm := range map[string]func(){
		"ended watches":   sim.Faults.EndWatches,
		"expired history": sim.ExpireHistory,
		"lost connection": func() { sim.Faults.SetUnreachable(true); sim.Faults.SetUnreachable(false) },
	} {
		harm()
		object := strings.ReplaceAll(name, " ", "-")
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: object}}
		if err := retry(t, func() error {
			_, err := c.CoreV1().ConfigMaps("shop").Create(t.Context(), cm, metav1.CreateOptions{})
			return err
		}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		timeout := time.After(20 * time.Second)
		for got := ""; got != object; {
			select {
			case got = <-seen:
			case <-timeout:
				t.Fatalf("after %s the informer did not see the new object", name)
			}
		}
	}
}

// retry tries again while the server fails or the connection is one that it has just closed.
func retry(t *testing.T, do func() error) error {
	t.Helper()
	var err error
	for range 5 {
		var status apierrors.APIStatus
		if err = do(); err == nil || errors.As(err, &status) && !apierrors.IsServiceUnavailable(err) {
			return err
		}
	}
	return err
}

func follow(t *testing.T, c kubernetes.Interface) <-chan string {
	t.Helper()
	factory := informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithNamespace("shop"))
	informer := factory.Core().V1().ConfigMaps().Informer()
	seen := make(chan string, 100)
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) {
		if cm, ok := obj.(*corev1.ConfigMap); ok {
			seen <- cm.Name
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(factory.Shutdown)
	t.Cleanup(cancel)
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("the informer did not sync")
	}
	return seen
}
