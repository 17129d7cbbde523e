package registry

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// Write says how an object is written.
type Write struct {
	Manager     string // the field manager
	Subresource string // "", "status" or "scale"
	DryRun      bool   // everything but storing it
	Force       bool   // of an apply: take over fields that others own
}

// Create stores a new object and returns it with everything that the server fills in.
func (r *Registry) Create(resource string, in Object, w Write) (Object, error) {
	k, err := r.kind(resource)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	obj, err := copyOf(in)
	if err != nil {
		return nil, err
	}
	r.setDefaults(obj)
	obj = tracked(r.fields[k.Resource], k.New(), obj, w.Manager)
	return r.create(k, obj, w)
}

// create is what a create and an apply of a missing object share; fields are tracked and defaults set.
func (r *Registry) create(k *Kind, obj Object, w Write) (Object, error) {
	if obj.GetResourceVersion() != "" {
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if err := r.checkNamespace(k, obj); err != nil {
		return nil, err
	}
	if obj.GetName() == "" && obj.GetGenerateName() != "" {
		obj.SetName(obj.GetGenerateName() + rand.String(5))
	}
	obj.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	obj.SetUID(uuid.NewUUID())
	obj.SetCreationTimestamp(r.stamp())
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetGeneration(0)
	if k.Generation {
		obj.SetGeneration(1)
	}
	clearStatus(k, obj)
	r.prepareCreate(obj)
	if errs := validate(k, obj, nil); len(errs) > 0 {
		return nil, apierrors.NewInvalid(k.GroupKind(), obj.GetName(), errs)
	}
	if _, err := r.get(k, obj.GetNamespace(), obj.GetName()); err == nil {
		return nil, apierrors.NewAlreadyExists(k.GroupResource(), obj.GetName())
	}
	if err := r.checkQuota(k, obj); err != nil {
		return nil, err
	}
	if r.admit != nil {
		if err := r.admit(k, obj, true, r.count); err != nil {
			return nil, err
		}
	}
	if w.DryRun {
		return obj, nil
	}
	r.store(k, nil, obj)
	return obj, nil
}

func (r *Registry) checkNamespace(k *Kind, obj Object) error {
	if !k.Namespaced {
		obj.SetNamespace("")
		return nil
	}
	ns, ok := r.objects[Namespaces][key{"", obj.GetNamespace()}]
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: Namespaces}, obj.GetNamespace())
	}
	if ns.GetDeletionTimestamp() != nil && k.Resource != Events {
		err := apierrors.NewForbidden(k.GroupResource(), obj.GetName(),
			fmt.Errorf("unable to create new content in namespace %s because it is being terminated", ns.GetName()))
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
			Type:    corev1.NamespaceTerminatingCause,
			Message: fmt.Sprintf("namespace %s is being terminated", ns.GetName()),
			Field:   "metadata.namespace",
		})
		return err
	}
	return nil
}

// Update replaces an object, or its status. A resource version in it must be the current one.
func (r *Registry) Update(resource string, in Object, w Write) (Object, error) {
	obj, err := copyOf(in)
	if err != nil {
		return nil, err
	}
	return r.change(resource, in.GetNamespace(), in.GetName(), w, func(_ *Kind, _ Object) (Object, error) { return obj, nil })
}

// Modify changes the current version of an object by a function, so it can't meet a conflict.
func (r *Registry) Modify(resource, namespace, name string, w Write, edit func(Object) error) (Object, error) {
	return r.change(resource, namespace, name, w, func(_ *Kind, live Object) (Object, error) {
		obj, err := copyOf(live)
		if err != nil {
			return nil, err
		}
		if err := edit(obj); err != nil {
			return nil, err
		}
		if equality.Semantic.DeepEqual(live, obj) { // most of what controllers report is no news
			return live, nil
		}
		return obj, nil
	})
}

// change reads, lets renew compute the new version, and stores it, all under the lock.
func (r *Registry) change(resource, namespace, name string, w Write, renew func(*Kind, Object) (Object, error)) (Object, error) {
	k, err := r.kind(resource)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	live, err := r.get(k, namespace, name)
	if err != nil {
		return nil, err
	}
	obj, err := renew(k, live)
	if err != nil || obj == live {
		return live, err
	}
	if obj, err = r.within(k, live, obj, w); err != nil {
		return nil, err
	}
	if w.Subresource != "scale" { // a scale has moved its one field's owner by itself
		obj = tracked(r.fields[fieldsKey(k, w.Subresource)], live, obj, w.Manager)
	}
	return r.replace(k, live, obj, w)
}

// within leaves of the new version what the write may change: not who the object is, and either the status or all
// but the status. Defaults are set.
func (r *Registry) within(k *Kind, live, obj Object, w Write) (Object, error) {
	if err := keepIdentity(k, live, obj); err != nil {
		return nil, err
	}
	if w.Subresource == "status" {
		var err error
		if obj, err = onlyStatus(k, live, obj); err != nil {
			return nil, err
		}
	} else {
		copyStatus(k, live, obj)
	}
	r.setDefaults(obj)
	return obj, nil
}

// replace is what an update, a patch and an apply share; fields are tracked and defaults set.
func (r *Registry) replace(k *Kind, live, obj Object, w Write) (Object, error) {
	obj.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	obj.SetResourceVersion(live.GetResourceVersion())
	if k.Generation && w.Subresource != "status" && specChanged(k, live, obj) {
		obj.SetGeneration(live.GetGeneration() + 1)
	}
	if errs := validate(k, obj, live); len(errs) > 0 {
		return nil, apierrors.NewInvalid(k.GroupKind(), obj.GetName(), errs)
	}
	if r.admit != nil && w.Subresource != "status" {
		if err := r.admit(k, obj, false, r.count); err != nil {
			return nil, err
		}
	}
	if same(live, obj) {
		return live, nil
	}
	if w.DryRun {
		return obj, nil
	}
	if obj.GetDeletionTimestamp() != nil && len(obj.GetFinalizers()) == 0 && k.Resource != Namespaces && k.Resource != Pods {
		return r.drop(k, obj), nil
	}
	r.store(k, live, obj)
	return obj, nil
}

// keepIdentity checks the preconditions that an update carries and keeps what no client can set.
func keepIdentity(k *Kind, live, obj Object) error {
	if uid := obj.GetUID(); uid != "" && uid != live.GetUID() {
		return apierrors.NewConflict(k.GroupResource(), live.GetName(),
			fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", uid, live.GetUID())) //nolint:staticcheck // the API server's wording
	}
	if rv := obj.GetResourceVersion(); rv != "" && rv != live.GetResourceVersion() {
		return conflict(k, live.GetName())
	}
	obj.SetUID(live.GetUID())
	obj.SetCreationTimestamp(live.GetCreationTimestamp())
	obj.SetDeletionTimestamp(live.GetDeletionTimestamp())
	obj.SetDeletionGracePeriodSeconds(live.GetDeletionGracePeriodSeconds())
	obj.SetGeneration(live.GetGeneration())
	obj.SetGenerateName(live.GetGenerateName())
	return nil
}

// onlyStatus is the live object with the status, and the annotations, of the given one.
func onlyStatus(k *Kind, live, obj Object) (Object, error) {
	out, err := copyOf(live)
	if err != nil {
		return nil, err
	}
	copyStatus(k, obj, out)
	out.SetAnnotations(obj.GetAnnotations())
	out.SetManagedFields(obj.GetManagedFields())
	return out, nil
}

func copyOf(obj Object) (Object, error) {
	out, ok := obj.DeepCopyObject().(Object)
	if !ok {
		return nil, fmt.Errorf("copy %T: it has no metadata", obj)
	}
	return out, nil
}

func tracked(fm *managedfields.FieldManager, live, obj Object, manager string) Object {
	out, ok := fm.UpdateNoErrors(live, obj, manager).(Object)
	if !ok {
		return obj
	}
	return out
}

// same tells whether a write changed anything but the times in the managed fields. The real server stores nothing then,
// and the resource version stays: that is how an apply is seen to have had nothing to do.
func same(live, obj Object) bool {
	if equality.Semantic.DeepEqual(live, obj) {
		return true
	}
	a, b := live.GetManagedFields(), obj.GetManagedFields()
	if len(a) != len(b) {
		return false
	}
	left, errLeft := copyOf(live)
	right, errRight := copyOf(obj)
	if err := errors.Join(errLeft, errRight); err != nil {
		return false
	}
	for _, o := range []Object{left, right} {
		entries := o.GetManagedFields()
		for i := range entries {
			entries[i].Time = nil
		}
		o.SetManagedFields(entries)
	}
	return equality.Semantic.DeepEqual(left, right)
}

// Preconditions are what a delete wants to find; empty fields match anything.
type Preconditions struct {
	UID             types.UID
	ResourceVersion string
}

func (p Preconditions) check(k *Kind, live Object) error {
	var problem string
	switch {
	case p.UID != "" && p.UID != live.GetUID():
		problem = fmt.Sprintf("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", p.UID, live.GetUID())
	case p.ResourceVersion != "" && p.ResourceVersion != live.GetResourceVersion():
		problem = fmt.Sprintf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", p.ResourceVersion, live.GetResourceVersion())
	default:
		return nil
	}
	return apierrors.NewConflict(k.GroupResource(), live.GetName(), errors.New(problem))
}

// prepareCreate fills in what the server gives to new objects of a kind.
func (r *Registry) prepareCreate(obj Object) {
	switch o := obj.(type) {
	case *corev1.Namespace:
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		o.Labels[corev1.LabelMetadataName] = o.Name
		o.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
		o.Status.Phase = corev1.NamespaceActive
	case *corev1.Pod:
		o.Status.Phase = corev1.PodPending
		o.Status.QOSClass = qosClass(&o.Spec)
		if o.Spec.ServiceAccountName == "" {
			o.Spec.ServiceAccountName, o.Spec.DeprecatedServiceAccount = "default", "default"
		}
	case *corev1.Service:
		r.giveAddress(o)
	}
	prepareJob(obj)
}

func (r *Registry) giveAddress(s *corev1.Service) {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	single, ipv4 := corev1.IPFamilyPolicySingleStack, []corev1.IPFamily{corev1.IPv4Protocol}
	if s.Spec.IPFamilyPolicy == nil {
		s.Spec.IPFamilyPolicy = &single
	}
	if s.Spec.IPFamilies == nil {
		s.Spec.IPFamilies = ipv4
	}
	if s.Spec.ClusterIP == "" {
		r.services++
		s.Spec.ClusterIP = strings.Join([]string{"10", "96", strconv.Itoa(r.services / 250), strconv.Itoa(r.services%250 + 2)}, ".")
	}
	s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
}
