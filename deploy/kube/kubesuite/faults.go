package kubesuite

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Breakable is a cluster, or a way to one, that no other test uses, with what breaks it.
type Breakable struct {
	Config *rest.Config
	Faults Faults
	// ExpireHistory makes watches that began before now, running ones too, meet 410 Gone.
	ExpireHistory func()
	// RefuseAdmission refuses with the message what people write in the namespace, until allow is called.
	RefuseAdmission func(namespace, message string) (allow func())
}

// Faults are the switches that both clusters have.
type Faults interface {
	SetUnreachable(on bool)
	FailRequests(n, code int)
	SetLatency(d time.Duration)
	EndWatches()
}

func faultTests() []test {
	return []test{
		{"an unreachable cluster cuts watches and comes back", faultUnreachable},
		{"requests that fail are counted", faultRequests},
		{"a slow cluster answers late", faultLatency},
		{"ended watches end without an error", faultWatches},
		{"a watch from before the history is gone", faultHistory},
		{"an informer survives lost watches, history and connections", faultInformer},
		{"a refused object comes with the reason, and pods run on", faultAdmission},
		{"a namespace that is terminating takes nothing new", faultTerminating},
	}
}

// breakable is a namespace of a cluster that this test may break.
func (e *env) breakable() (*env, Breakable) {
	e.Helper()
	if e.opts.Breakable == nil {
		e.Skip("this cluster can't be broken")
	}
	b := e.opts.Breakable(e.T)
	opts := e.opts
	opts.Config = func(testing.TB) *rest.Config { return b.Config }
	return newEnv(e.T, opts), b
}

func (e *env) listMaps(ctx context.Context) error {
	_, err := e.client.CoreV1().ConfigMaps(e.ns).List(ctx, metav1.ListOptions{})
	return err
}

// awaitEnd waits for the end of a watch and returns the error that it told, if any.
func (e *env) awaitEnd(w watch.Interface) error {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.ctx, e.opts.Patience)
	defer cancel()
	var told error
	for {
		select {
		case ev, open := <-w.ResultChan():
			if !open {
				return told
			}
			if ev.Type == watch.Error {
				told = apierrors.FromObject(ev.Object)
			}
		case <-ctx.Done():
			e.Fatal("the watch did not end")
		}
	}
}

func faultUnreachable(e *env) {
	e, b := e.breakable()
	w := e.watchMaps(metav1.ListOptions{ResourceVersion: e.mapsVersion()})
	b.Faults.SetUnreachable(true)
	_ = e.awaitEnd(w)                                                 // how the connection broke is told or not
	short, cancel := context.WithTimeout(e.ctx, 300*time.Millisecond) // client-go tries again ten times, a second apart
	defer cancel()
	var status apierrors.APIStatus
	if err := e.listMaps(short); err == nil || errors.As(err, &status) {
		e.Errorf("list while unreachable: got %v, want an error of the connection", err)
	}
	b.Faults.SetUnreachable(false)
	if err := e.listMaps(e.ctx); err != nil {
		e.Errorf("list afterwards: %v", err)
	}
}

func faultRequests(e *env) {
	e, b := e.breakable()
	b.Faults.FailRequests(2, http.StatusInternalServerError)
	for i, want := range []bool{true, true, false} {
		if err := e.listMaps(e.ctx); apierrors.IsInternalError(err) != want {
			e.Errorf("request %d: got %v, want a failure: %v", i, err, want)
		}
	}
}

func faultLatency(e *env) {
	e, b := e.breakable()
	b.Faults.SetLatency(time.Minute)
	ctx, cancel := context.WithTimeout(e.ctx, 50*time.Millisecond)
	defer cancel()
	if err := e.listMaps(ctx); !errors.Is(err, context.DeadlineExceeded) {
		e.Errorf("got %v, want the deadline to pass", err)
	}
	b.Faults.SetLatency(0)
}

func faultWatches(e *env) {
	e, b := e.breakable()
	w := e.watchMaps(metav1.ListOptions{ResourceVersion: e.mapsVersion()})
	e.configMap("a", "1")
	e.want(w, watch.Added, "1")
	b.Faults.EndWatches()
	if err := e.awaitEnd(w); err != nil {
		e.Errorf("the watch told %v, want no error", err)
	}
}

func faultHistory(e *env) {
	e, b := e.breakable()
	before := e.mapsVersion()
	b.ExpireHistory()
	// Some servers refuse the watch and some begin it with the error: clients have to bear both.
	w, err := e.client.CoreV1().ConfigMaps(e.ns).Watch(e.ctx, metav1.ListOptions{ResourceVersion: before})
	if err == nil {
		err = e.awaitEnd(w)
	}
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		e.Errorf("watch from before: got %v, want 410 Gone", err)
	}
	fresh := e.watchMaps(metav1.ListOptions{ResourceVersion: e.mapsVersion(), FieldSelector: "metadata.name=a"})
	e.configMap("a", "1")
	e.want(fresh, watch.Added, "1")
}

func faultInformer(e *env) {
	e, b := e.breakable()
	factory := informers.NewSharedInformerFactoryWithOptions(e.client, 0, informers.WithNamespace(e.ns))
	informer := factory.Core().V1().ConfigMaps().Informer()
	seen := make(chan string, 100)
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) {
		if cm, ok := obj.(*corev1.ConfigMap); ok {
			seen <- cm.Name
		}
	}})
	if err != nil {
		e.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(e.ctx, e.opts.Patience)
	e.Cleanup(factory.Shutdown)
	e.Cleanup(cancel)
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		e.Fatal("the informer did not sync")
	}
	for _, harm := range []struct {
		name string
		do   func()
	}{
		{"watches", b.Faults.EndWatches},
		{"history", b.ExpireHistory},
		{"connections", func() { b.Faults.SetUnreachable(true); b.Faults.SetUnreachable(false) }},
	} {
		harm.do()
		e.createAgain(ctx, harm.name)
		for got := ""; got != harm.name; {
			select {
			case got = <-seen:
			case <-ctx.Done():
				e.Fatalf("after lost %s the informer did not see the new object", harm.name)
			}
		}
	}
}

// createAgain makes a map, and tries again where the connection is one that was just closed.
func (e *env) createAgain(ctx context.Context, name string) {
	e.Helper()
	var err error
	for range 5 {
		_, err = e.client.CoreV1().ConfigMaps(e.ns).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err == nil || apierrors.IsAlreadyExists(err) {
			return
		}
	}
	e.Fatalf("create %s: %v", name, err)
}

func faultAdmission(e *env) {
	e, b := e.breakable()
	e.apply(e.app("shop:1", 1))
	e.awaitRollout()
	allow := b.RefuseAdmission(e.ns, "images must be signed")
	client := e.client.AppsV1().Deployments(e.ns)
	_, err := client.Apply(e.ctx, e.app("shop:2", 1), applyAs(manager))
	if !apierrors.IsForbidden(err) {
		e.Fatalf("apply while it is refused: got %v, want forbidden", err)
	}
	e.wantContains("the refusal", err.Error(), "denied", "request", "images must be signed")
	old := e.pods()[0].Name
	if err := e.client.CoreV1().Pods(e.ns).Delete(e.ctx, old, metav1.DeleteOptions{}); err != nil {
		e.Fatal(err)
	}
	e.awaitPod("another pod", func(p *corev1.Pod) bool { return p.Name != old && podReady(p) })
	allow()
	e.apply(e.app("shop:2", 1))
	e.awaitRollout()
}

func faultTerminating(e *env) {
	e.apply(e.app("shop:1", 1))
	e.awaitRollout()
	maps := e.client.CoreV1().ConfigMaps(e.ns)
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "held", Finalizers: []string{"kubesuite.slipway/held"}}}
	if _, err := maps.Create(e.ctx, held, metav1.CreateOptions{}); err != nil {
		e.Fatal(err)
	}
	if err := e.client.CoreV1().Namespaces().Delete(e.ctx, e.ns, metav1.DeleteOptions{}); err != nil {
		e.Fatal(err)
	}
	e.await("the deployment to go", "deployments", func() string {
		if _, err := e.client.AppsV1().Deployments(e.ns).Get(e.ctx, "app", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return "still there"
		}
		return ""
	})
	ns, err := e.client.CoreV1().Namespaces().Get(e.ctx, e.ns, metav1.GetOptions{})
	if err != nil || ns.Status.Phase != corev1.NamespaceTerminating {
		e.Fatalf("namespace is %+v, %v; want it to be terminating", ns.Status, err)
	}
	_, err = e.client.AppsV1().Deployments(e.ns).Apply(e.ctx, e.app("shop:2", 1), applyAs(manager))
	if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		e.Errorf("apply in a namespace that is going: got %v, want forbidden with its cause", err)
	}
	left, err := maps.Get(e.ctx, "held", metav1.GetOptions{})
	if err != nil {
		e.Fatal(err)
	}
	left.Finalizers = nil
	if _, err := maps.Update(e.ctx, left, metav1.UpdateOptions{}); err != nil {
		e.Fatal(err)
	}
}
