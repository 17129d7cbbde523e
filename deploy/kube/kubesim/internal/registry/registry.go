package registry

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
)

// Admit is asked before a new or changed object is stored; an error refuses it. It is called with the registry
// locked, so it must not call back; count tells how many objects of a resource are in a namespace.
type Admit func(k *Kind, obj Object, created bool, count func(resource, namespace string) int) error

// Options of New. The zero value works, with the real clock and a history of 2048 changes.
type Options struct {
	Now     func() time.Time
	History int // how many changes a watch can go back
	Admit   Admit
}

type key struct{ namespace, name string }

// Registry is the cluster's memory. All methods are safe for concurrent use.
type Registry struct {
	now    func() time.Time
	admit  Admit
	kinds  map[string]*Kind
	scheme *runtime.Scheme
	codecs serializer.CodecFactory
	fields map[string]*managedfields.FieldManager // by resource, or resource/subresource

	mu       sync.RWMutex
	objects  map[string]map[key]Object
	revision uint64
	history  history
	services int // cluster IPs given so far
}

// New makes an empty registry.
func New(opts Options) (*Registry, error) {
	if opts.History < 0 {
		return nil, fmt.Errorf("history of %d changes: must not be negative", opts.History)
	}
	if opts.History == 0 {
		opts.History = 2048
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	r := &Registry{
		now:      opts.Now,
		admit:    opts.Admit,
		kinds:    map[string]*Kind{},
		scheme:   scheme,
		codecs:   serializer.NewCodecFactory(scheme),
		objects:  map[string]map[key]Object{},
		revision: 1,
		history:  history{limit: opts.History, changed: make(chan struct{})},
	}
	for _, k := range kinds() {
		r.kinds[k.Resource] = k
		r.objects[k.Resource] = map[key]Object{}
	}
	if r.fields, err = newFieldManagers(scheme, r.kinds); err != nil {
		return nil, err
	}
	return r, nil
}

// Get returns the stored object, or a NotFound status error. Don't change what it returns.
func (r *Registry) Get(resource, namespace, name string) (Object, error) {
	k, err := r.kind(resource)
	if err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.get(k, namespace, name)
}

func (r *Registry) kind(resource string) (*Kind, error) {
	k, ok := r.kinds[resource]
	if !ok {
		return nil, fmt.Errorf("resource %q is not served", resource)
	}
	return k, nil
}

func (r *Registry) get(k *Kind, namespace, name string) (Object, error) {
	obj, ok := r.objects[k.Resource][key{namespace, name}]
	if !ok {
		return nil, apierrors.NewNotFound(k.GroupResource(), name)
	}
	return obj, nil
}

// List returns the objects of a resource that match, by namespace and name, and the resource version of the answer.
// An empty namespace means all of them.
func (r *Registry) List(resource, namespace string, match func(Object) bool) ([]Object, uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.list(resource, namespace, match), r.revision
}

func (r *Registry) list(resource, namespace string, match func(Object) bool) []Object {
	var out []Object
	for id, obj := range r.objects[resource] {
		if namespace != "" && id.namespace != namespace {
			continue
		}
		if match == nil || match(obj) {
			out = append(out, obj)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].GetNamespace() != out[j].GetNamespace() {
			return out[i].GetNamespace() < out[j].GetNamespace()
		}
		return out[i].GetName() < out[j].GetName()
	})
	return out
}

// Each shows every object of a resource, in no order. An empty namespace means all of them. It holds the registry, so look
// must not call it.
func (r *Registry) Each(resource, namespace string, look func(Object)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for id, obj := range r.objects[resource] {
		if namespace == "" || id.namespace == namespace {
			look(obj)
		}
	}
}

// Count is how many objects of a resource are in a namespace.
func (r *Registry) Count(resource, namespace string) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.count(resource, namespace)
}

func (r *Registry) count(resource, namespace string) int {
	n := 0
	for id := range r.objects[resource] {
		if id.namespace == namespace {
			n++
		}
	}
	return n
}

// DependentsOf lists the objects of every resource in the namespace that name the uid as an owner.
func (r *Registry) DependentsOf(namespace string, uid string) map[string][]Object {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := map[string][]Object{}
	for resource := range r.objects {
		found := r.list(resource, namespace, func(o Object) bool {
			for _, ref := range o.GetOwnerReferences() {
				if string(ref.UID) == uid {
					return true
				}
			}
			return false
		})
		if len(found) > 0 {
			out[resource] = found
		}
	}
	return out
}

// store puts a new version of the object in place; live is the version before, or nil.
func (r *Registry) store(k *Kind, live, obj Object) {
	r.revision++
	obj.SetResourceVersion(strconv.FormatUint(r.revision, 10))
	id := key{obj.GetNamespace(), obj.GetName()}
	r.objects[k.Resource][id] = obj
	change := Change{Revision: r.revision, Resource: k.Resource, Type: Added, Object: obj}
	if live != nil {
		change.Type, change.Before = Modified, live
	}
	r.history.add(change)
}

// drop removes the object; obj is its last version, which gets the resource version of the removal.
func (r *Registry) drop(k *Kind, obj Object) Object {
	last, ok := obj.DeepCopyObject().(Object)
	if !ok {
		return obj
	}
	r.revision++
	last.SetResourceVersion(strconv.FormatUint(r.revision, 10))
	delete(r.objects[k.Resource], key{obj.GetNamespace(), obj.GetName()})
	r.history.add(Change{Revision: r.revision, Resource: k.Resource, Type: Deleted, Object: last, Before: obj})
	return last
}

func (r *Registry) stamp() metav1.Time {
	return metav1.NewTime(r.now().UTC().Truncate(time.Second))
}

func conflict(k *Kind, name string) error {
	return apierrors.NewConflict(k.GroupResource(), name,
		errors.New("the object has been modified; please apply your changes to the latest version and try again"))
}
