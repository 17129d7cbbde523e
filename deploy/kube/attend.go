package kube

import (
	"context"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gitlab.com/slipway-cd/slipway/deploy"
)

// deaf is after which silence a watch isn't believed any more: the cluster gives a sign of life every minute.
const deaf = 90 * time.Second

// attended is a watch whose last word can be asked for at any time.
type attended struct {
	namespace *Namespace
	set       watched
	changed   chan struct{}
}

// Attend watches the objects of a resource that a label selector selects until the context ends.
func (n *Namespace) Attend(ctx context.Context, resource schema.GroupVersionResource, selector string) deploy.Attended {
	a := &attended{namespace: n, set: watched{resource: resource, selector: selector}, changed: make(chan struct{}, 1)}
	go n.follow(ctx, &a.set, func() {
		select {
		case a.changed <- struct{}{}:
		default:
		}
	})
	return a
}

// Now is what the watch has told. It isn't live while there is no watch, or while an object is older than our own last
// write of it.
func (a *attended) Now() (objects []*unstructured.Unstructured, live bool) {
	a.set.change(func() {
		objects = slices.Collect(maps.Values(a.set.objects))
		live = a.set.listed && a.set.open && !a.set.trouble && a.set.err == nil && time.Since(a.set.heard) < deaf
	})
	for _, o := range objects {
		live = live && !a.namespace.stale(a.set.resource.Resource, o)
	}
	return objects, live
}

// Changed holds a signal after each change.
func (a *attended) Changed() <-chan struct{} { return a.changed }
