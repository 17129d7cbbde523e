package kube

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// followed is one kind of a namespace, kept by a shared informer.
type followed struct {
	kind     string
	resource string // for words
	source   func(*followed, *Namespace) *cache.ListWatch
	example  runtime.Object
	changed  func()
	settled  chan struct{} // closed when it has told everything for the first time, or the cluster didn't answer
	once     sync.Once

	mu      sync.Mutex
	store   cache.Store // nil before the first list
	refused string      // why the cluster doesn't show it
	trouble bool        // the last request failed
	stop    context.CancelFunc
}

// lister is a client of one kind.
type lister[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

func follow[L runtime.Object](kind, resource, selector string, client lister[L], example runtime.Object) *followed {
	source := func(f *followed, n *Namespace) *cache.ListWatch {
		return &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
				options.LabelSelector = selector
				defer f.late()()
				list, err := client.List(ctx, options)
				f.heard(ctx, n, err)
				return list, err
			},
			WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
				options.LabelSelector = selector
				defer f.late()()
				w, err := client.Watch(ctx, options)
				f.heard(ctx, n, err)
				return w, err
			},
		}
	}
	return &followed{kind: kind, resource: resource, source: source, example: example, settled: make(chan struct{})}
}

// run keeps an informer until the context ends. A kind that the cluster refuses to show is tried again from time to time.
func (f *followed) run(ctx context.Context, n *Namespace) {
	for ctx.Err() == nil {
		f.inform(ctx, n)
		wait(ctx, refusedAgain)
	}
}

// inform runs one informer until the context ends or the cluster refuses.
func (f *followed) inform(ctx context.Context, n *Namespace) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	informer := cache.NewSharedIndexInformerWithOptions(
		cache.ToListWatcherWithWatchListSemantics(f.source(f, n), nil), f.example, cache.SharedIndexInformerOptions{ObjectDescription: f.resource})
	// Errors are told by heard, with words for people.
	_ = informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {})
	_ = informer.SetTransform(trim)
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{ // the errors are of informers that have started
		AddFunc: func(any) { f.changed() }, UpdateFunc: func(any, any) { f.changed() }, DeleteFunc: func(any) { f.changed() },
	})
	f.mu.Lock()
	f.stop = cancel
	f.mu.Unlock()
	var waiting sync.WaitGroup
	defer waiting.Wait()
	waiting.Go(func() {
		select {
		case <-informer.HasSyncedChecker().Done():
			f.mu.Lock()
			f.store, f.refused = informer.GetStore(), ""
			f.mu.Unlock()
			f.settle()
		case <-ctx.Done():
		}
	})
	informer.RunWithContext(ctx)
	cancel()
}

func (f *followed) settle() {
	f.once.Do(func() { close(f.settled) })
	f.changed()
}

func (f *followed) isSettled() bool {
	select {
	case <-f.settled:
		return true
	default:
		return false
	}
}

// late begins a request. If it isn't answered soon, that is trouble: the client tries again within itself for a while when
// it can't connect. The returned function ends it.
func (f *followed) late() func() {
	const soon = 2 * time.Second
	over := false
	timer := time.AfterFunc(soon, func() {
		f.mu.Lock()
		f.trouble = f.trouble || !over
		f.mu.Unlock()
		f.settle()
	})
	return func() {
		timer.Stop()
		f.mu.Lock()
		over = true
		f.mu.Unlock()
	}
}

// heard takes note of how a request ended.
func (f *followed) heard(ctx context.Context, n *Namespace, err error) {
	expired := apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsInvalid(err)
	if ctx.Err() != nil || expired {
		return
	}
	failure := error(nil)
	if err != nil {
		failure = n.failure(ctx, err, attempt{verb: "watch", resource: f.resource, namespace: n.namespace})
	}
	f.mu.Lock()
	was := f.trouble
	f.trouble = failure != nil
	over := failure != nil && isPermanent(failure)
	if over {
		f.trouble, f.store = false, nil
		if f.refused = words(failure); apierrors.IsNotFound(err) {
			f.refused = "" // a kind that this cluster doesn't have, such as HTTPRoute
		}
		f.stop()
	}
	now := f.trouble
	f.mu.Unlock()
	switch {
	case failure != nil:
		f.settle()
	case was != now:
		f.changed()
	}
}

// words are what people read of an error.
func words(err error) string {
	if failure, ok := pipeline.AsFailure(err); ok {
		return failure.Detail
	}
	return err.Error()
}

func (f *followed) now() (store cache.Store, refused string, trouble bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.store, f.refused, f.trouble
}

// plain is a dynamic client as a lister.
type plain struct{ dynamic.ResourceInterface }

func (p plain) List(ctx context.Context, options metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	return p.ResourceInterface.List(ctx, options)
}

// warnings are the events that say that something is wrong.
type warnings struct{ typedcore.EventInterface }

const onlyWarnings = "type=" + corev1.EventTypeWarning

func (w warnings) List(ctx context.Context, options metav1.ListOptions) (*corev1.EventList, error) {
	options.FieldSelector = onlyWarnings
	return w.EventInterface.List(ctx, options)
}

func (w warnings) Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.FieldSelector = onlyWarnings
	return w.EventInterface.Watch(ctx, options)
}

// idleTime is a duration, or how long it is by default.
func idleTime(d time.Duration) time.Duration {
	if d <= 0 {
		return defaultLinger
	}
	return d
}
