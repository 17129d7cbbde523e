package controllers

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// reconcileOrphans deals with what an owner leaves: dependents go with it, or lose the reference where they shall stay.
// An owner that waits for them in the foreground is let go when none is left.
func (l *Loop) reconcileOrphans(namespace, uid string) error {
	owner, resource := l.ownerByUID(namespace, uid)
	dependents := l.reg.DependentsOf(namespace, uid)
	switch {
	case owner == nil:
		return l.removeAll(dependents)
	case slices.Contains(owner.GetFinalizers(), metav1.FinalizerOrphanDependents):
		if err := l.orphan(dependents, uid); err != nil {
			return err
		}
		return l.dropFinalizer(resource, owner, metav1.FinalizerOrphanDependents)
	case slices.Contains(owner.GetFinalizers(), metav1.FinalizerDeleteDependents):
		if len(dependents) == 0 {
			return l.dropFinalizer(resource, owner, metav1.FinalizerDeleteDependents)
		}
		for _, list := range dependents {
			for _, o := range list { // called again for each that is gone
				l.waitedFor(o, uid)
			}
		}
		return l.removeAll(dependents)
	}
	return nil
}

// waitedFor remembers that the end of a dependent concerns its owner.
func (l *Loop) waitedFor(o registry.Object, owner string) {
	l.later(item{orphans, o.GetNamespace(), owner}, max(l.PodStop/4, 20*time.Millisecond))
}

func (l *Loop) ownerByUID(namespace, uid string) (registry.Object, string) {
	for _, k := range l.reg.Kinds() {
		found, _ := l.reg.List(k.Resource, namespace, func(o registry.Object) bool { return string(o.GetUID()) == uid })
		if len(found) > 0 {
			return found[0], k.Resource
		}
	}
	return nil, ""
}

func (l *Loop) removeAll(dependents map[string][]registry.Object) error {
	for resource, list := range dependents {
		for _, o := range list {
			if o.GetDeletionTimestamp() != nil {
				continue
			}
			_, _, err := l.reg.Delete(resource, o.GetNamespace(), o.GetName(), registry.Removal{Propagation: metav1.DeletePropagationBackground})
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("delete dependent %s: %w", o.GetName(), err)
			}
		}
	}
	return nil
}

func (l *Loop) orphan(dependents map[string][]registry.Object, uid string) error {
	for resource, list := range dependents {
		for _, o := range list {
			_, err := l.reg.Modify(resource, o.GetNamespace(), o.GetName(), registry.Write{Manager: managerName}, func(obj registry.Object) error {
				obj.SetOwnerReferences(slices.DeleteFunc(slices.Clone(obj.GetOwnerReferences()), func(ref metav1.OwnerReference) bool {
					return string(ref.UID) == uid
				}))
				return nil
			})
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("orphan %s: %w", o.GetName(), err)
			}
		}
	}
	return nil
}

func (l *Loop) dropFinalizer(resource string, owner registry.Object, name string) error {
	_, err := l.reg.Modify(resource, owner.GetNamespace(), owner.GetName(), registry.Write{Manager: managerName}, func(o registry.Object) error {
		o.SetFinalizers(slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == name }))
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("drop finalizer of %s: %w", owner.GetName(), err)
	}
	return nil
}

// reconcileNamespace gives a new namespace what each has, and empties one that is deleted.
func (l *Loop) reconcileNamespace(obj registry.Object) error {
	name := obj.GetName()
	if obj.GetDeletionTimestamp() == nil {
		return l.furnish(name)
	}
	left := 0
	for _, k := range l.reg.Kinds() {
		if !k.Namespaced {
			continue
		}
		found, _ := l.reg.List(k.Resource, name, nil)
		left += len(found)
		if err := l.removeAll(map[string][]registry.Object{k.Resource: found}); err != nil {
			return err
		}
		after, _ := l.reg.List(k.Resource, name, nil)
		left += len(after) - len(found)
	}
	if left == 0 {
		l.reg.Finish(registry.Namespaces, "", name)
	}
	return nil
}

func (l *Loop) furnish(namespace string) error {
	meta := metav1.ObjectMeta{Namespace: namespace}
	account := &corev1.ServiceAccount{ObjectMeta: meta}
	account.Name = "default"
	roots := &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"ca.crt": ""}}
	roots.Name = "kube-root-ca.crt"
	for resource, o := range map[string]registry.Object{registry.ServiceAccounts: account, registry.ConfigMaps: roots} {
		if _, err := l.reg.Create(resource, o, registry.Write{Manager: managerName}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("furnish namespace %s: %w", namespace, err)
		}
	}
	return nil
}

// reconcileQuota reports how much of a quota is used.
func (l *Loop) reconcileQuota(obj registry.Object) error {
	quota, ok := obj.(*corev1.ResourceQuota)
	if !ok {
		return nil
	}
	used := int64(l.reg.CountPods(quota.Namespace))
	write := registry.Write{Manager: managerName, Subresource: "status"}
	_, err := l.reg.Modify(registry.Quotas, quota.Namespace, quota.Name, write, func(o registry.Object) error {
		if q, ok := o.(*corev1.ResourceQuota); ok {
			q.Status.Hard = q.Spec.Hard
			q.Status.Used = corev1.ResourceList{}
			if _, counted := q.Spec.Hard[corev1.ResourcePods]; counted {
				q.Status.Used[corev1.ResourcePods] = *resource.NewQuantity(used, resource.DecimalSI)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("report quota: %w", err)
	}
	return nil
}
