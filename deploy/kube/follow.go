package kube

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// watched is the objects of one resource as far as a watch has told.
type watched struct {
	resource schema.GroupVersionResource
	selector string

	mu      sync.Mutex
	objects map[types.UID]*unstructured.Unstructured
	listed  bool
	trouble bool
	err     error
	open    bool      // a watch tells of changes now
	heard   time.Time // when it last told something, if only that it is still there
}

func (w *watched) change(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

// expect begins a request. If it isn't answered soon, that is told as trouble: the client tries again within itself for a
// while when it can't connect. The returned function ends it.
func (w *watched) expect(changed func()) func(error) {
	const soon = 2 * time.Second
	over := false
	late := time.AfterFunc(soon, func() {
		w.change(func() { w.trouble = w.trouble || !over })
		changed()
	})
	return func(err error) {
		late.Stop()
		w.change(func() {
			over = true
			if err == nil {
				w.trouble = false
			}
		})
	}
}

// follow keeps w as the cluster has it until the context ends or the cluster refuses for good. changed is called after
// every change. A list is read from the store and not from a cache, so nothing in it is older than our own writes.
func (n *Namespace) follow(ctx context.Context, w *watched, changed func()) {
	pause := backoff{}
	for ctx.Err() == nil {
		version, err := n.list(ctx, w, changed)
		for err == nil {
			changed()
			began := time.Now()
			version, err = n.watchOnce(ctx, w, version, changed)
			if time.Since(began) > 5*time.Second {
				pause = backoff{}
			}
			if err == nil {
				pause.sleepShortly(ctx) // the watch ended in good order, so the next one goes on from there
			}
		}
		if ctx.Err() != nil {
			return
		}
		failure := n.failure(ctx, err, attempt{verb: "watch", resource: w.resource.GroupResource().String(), namespace: n.namespace})
		fatal := isPermanent(failure)
		w.change(func() {
			if w.trouble = !errors.Is(err, errExpired); fatal {
				w.err = failure
			}
		})
		changed()
		if fatal {
			return
		}
		if !errors.Is(err, errExpired) || time.Since(pause.last) < time.Second {
			pause.sleep(ctx)
		}
		pause.last = time.Now()
	}
}

// errExpired says that the watch is too far behind: the objects are listed again.
var errExpired = errors.New("the watch has expired")

// list reads all objects anew.
func (n *Namespace) list(ctx context.Context, w *watched, changed func()) (version string, err error) {
	objects := map[types.UID]*unstructured.Unstructured{}
	options := metav1.ListOptions{LabelSelector: w.selector, Limit: 500}
	for {
		page, err := n.listPage(ctx, w, changed, options)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			o := &page.Items[i]
			o.SetManagedFields(nil)
			objects[o.GetUID()] = o
		}
		version = page.GetResourceVersion()
		if options.Continue = page.GetContinue(); options.Continue == "" {
			break
		}
	}
	w.change(func() { w.objects, w.listed = objects, true })
	return version, nil
}

func (n *Namespace) listPage(ctx context.Context, w *watched, changed func(), options metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	answered := w.expect(changed)
	page, err := n.dynamic.Resource(w.resource).Namespace(n.namespace).List(requestCtx, options)
	answered(err)
	if apierrors.IsResourceExpired(err) {
		return nil, errExpired
	}
	return page, err
}

// watchOnce follows the changes after a version until the watch ends. Without an error it ended in good order, and the
// returned version is where to go on.
func (n *Namespace) watchOnce(ctx context.Context, w *watched, version string, changed func()) (string, error) {
	const length = 5 * time.Minute
	seconds := int64(length/time.Second) + rand.Int64N(60) //nolint:gosec // so that not all ask anew at once
	// A server that is gone without a word doesn't end the watch in time.
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+30*time.Second)
	defer cancel()
	watcher, err := n.startWatch(ctx, w, changed, metav1.ListOptions{
		LabelSelector: w.selector, ResourceVersion: version, AllowWatchBookmarks: true, TimeoutSeconds: &seconds,
	})
	if err != nil {
		return version, err
	}
	defer watcher.Stop()
	w.change(func() { w.open, w.heard = true, time.Now() })
	defer w.change(func() { w.open = false })
	changed()
	for {
		select {
		case <-ctx.Done():
			return version, ctx.Err()
		case event, open := <-watcher.ResultChan():
			if !open {
				return version, nil
			}
			o, ok := event.Object.(*unstructured.Unstructured)
			if event.Type == watch.Error || !ok {
				return version, watchError(event)
			}
			version = o.GetResourceVersion()
			if n.take(w, event.Type, o) {
				changed()
			}
		}
	}
}

// startWatch gives up on a server that doesn't answer: the context of a watch can't, since it lasts as long as the
// watch.
func (n *Namespace) startWatch(ctx context.Context, w *watched, changed func(), options metav1.ListOptions) (watch.Interface, error) {
	startCtx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(n.timeout, cancel)
	answered := w.expect(changed)
	watcher, err := n.dynamic.Resource(w.resource).Namespace(n.namespace).Watch(startCtx, options)
	answered(err)
	if !late.Stop() && err == nil {
		watcher.Stop()
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return nil, errExpired
		}
		return nil, err
	}
	return stopping{watcher, cancel}, nil
}

// stopping is a watch whose context ends with it.
type stopping struct {
	watch.Interface
	cancel context.CancelFunc
}

func (s stopping) Stop() {
	s.Interface.Stop()
	s.cancel()
}

func watchError(event watch.Event) error {
	err := apierrors.FromObject(event.Object)
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return errExpired
	}
	return err
}

// take puts one change into w, and tells whether it is one.
func (n *Namespace) take(w *watched, kind watch.EventType, o *unstructured.Unstructured) bool {
	if kind == watch.Bookmark {
		w.change(func() { w.heard = time.Now() })
		return false
	}
	o.SetManagedFields(nil)
	w.change(func() {
		w.heard = time.Now()
		if kind == watch.Deleted {
			delete(w.objects, o.GetUID())
			return
		}
		w.objects[o.GetUID()] = o
	})
	return true
}

func isPermanent(err error) bool {
	f, ok := pipeline.AsFailure(err)
	return ok && f.Permanent
}

// backoff waits longer after each failure, to at most ten seconds.
type backoff struct {
	n    int
	last time.Time
}

func (b *backoff) sleep(ctx context.Context) {
	const first, longest = 250 * time.Millisecond, 10 * time.Second
	pause := min(first<<min(b.n, 10), longest)
	b.n++
	wait(ctx, pause/2+rand.N(pause/2)) //nolint:gosec // jitter
}

func (b *backoff) sleepShortly(ctx context.Context) {
	wait(ctx, 50*time.Millisecond+rand.N(50*time.Millisecond)) //nolint:gosec // jitter
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
