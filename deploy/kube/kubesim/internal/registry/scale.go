package registry

import (
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// scaled is the part of a workload that its scale subresource shows.
func scaled(obj Object) (replicas **int32, current int32, selector *metav1.LabelSelector, err error) {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector, nil
	case *appsv1.ReplicaSet:
		return &o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector, nil
	case *appsv1.StatefulSet:
		return &o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector, nil
	default:
		return nil, 0, nil, fmt.Errorf("scale %T: it has no replicas", obj)
	}
}

// Scale is the scale of a workload.
func (r *Registry) Scale(resource, namespace, name string) (*autoscalingv1.Scale, error) {
	obj, err := r.Get(resource, namespace, name)
	if err != nil {
		return nil, err
	}
	return scaleOf(obj)
}

func scaleOf(obj Object) (*autoscalingv1.Scale, error) {
	replicas, current, labels, err := scaled(obj)
	if err != nil {
		return nil, err
	}
	selector, err := metav1.LabelSelectorAsSelector(labels)
	if err != nil {
		return nil, fmt.Errorf("selector of %s: %w", obj.GetName(), err)
	}
	return &autoscalingv1.Scale{
		TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v1", Kind: "Scale"},
		ObjectMeta: metav1.ObjectMeta{
			Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
			ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: **replicas},
		Status: autoscalingv1.ScaleStatus{Replicas: current, Selector: selector.String()},
	}, nil
}

// SetScale sets a workload's replicas; a resource version in the scale must be the current one.
func (r *Registry) SetScale(resource, namespace, name string, scale *autoscalingv1.Scale, w Write) (*autoscalingv1.Scale, error) {
	return r.rescale(resource, namespace, name, w, func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) { return scale, nil })
}

// PatchScale changes a workload's scale by a JSON or merge patch.
func (r *Registry) PatchScale(resource, namespace, name string, kind types.PatchType, patch []byte, w Write) (*autoscalingv1.Scale, error) {
	return r.rescale(resource, namespace, name, w, func(live *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		before, err := json.Marshal(live)
		if err != nil {
			return nil, fmt.Errorf("encode scale of %s: %w", name, err)
		}
		k := &Kind{GroupVersionKind: live.GroupVersionKind(), Resource: resource, empty: func() Object { return &autoscalingv1.Scale{} }}
		after, err := patchJSON(before, kind, patch, k)
		if err != nil {
			return nil, err
		}
		out := &autoscalingv1.Scale{}
		return out, r.DecodeInto(after, "application/json", out)
	})
}

func (r *Registry) rescale(resource, namespace, name string, w Write, edit func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error)) (*autoscalingv1.Scale, error) {
	w.Subresource = "scale"
	obj, err := r.change(resource, namespace, name, w, func(k *Kind, live Object) (Object, error) {
		before, err := scaleOf(live)
		if err != nil {
			return nil, err
		}
		wanted, err := edit(before)
		if err != nil {
			return nil, err
		}
		if wanted.Spec.Replicas < 0 {
			return nil, apierrors.NewInvalid(schema.GroupKind{Group: "autoscaling", Kind: "Scale"}, name, field.ErrorList{field.Invalid(
				field.NewPath("spec", "replicas"), wanted.Spec.Replicas, "must be greater than or equal to 0")})
		}
		return applyScale(k, live, wanted, w.Manager, r.stamp())
	})
	if err != nil {
		return nil, err
	}
	return scaleOf(obj)
}

func applyScale(k *Kind, live Object, wanted *autoscalingv1.Scale, manager string, now metav1.Time) (Object, error) {
	obj, err := copyOf(live)
	if err != nil {
		return nil, err
	}
	obj.SetUID(wanted.UID)
	obj.SetResourceVersion(wanted.ResourceVersion)
	replicas, _, _, err := scaled(obj)
	if err != nil {
		return nil, err
	}
	if **replicas == wanted.Spec.Replicas {
		return obj, nil
	}
	count := wanted.Spec.Replicas
	*replicas = &count
	entries, err := ownScale(k, live.GetManagedFields(), manager, now)
	if err != nil {
		return nil, fmt.Errorf("track scale of %s: %w", live.GetName(), err)
	}
	obj.SetManagedFields(entries)
	return obj, nil
}

// ownScale makes the manager the owner of spec.replicas, as an update through the scale subresource does. Replicas that
// nobody owns stay so: the real server doesn't begin to track a Scale that has no managed fields.
func ownScale(k *Kind, parent []metav1.ManagedFieldsEntry, manager string, now metav1.Time) ([]metav1.ManagedFieldsEntry, error) {
	version := k.GroupVersion().String()
	handler := managedfields.NewScaleHandler(parent, k.GroupVersion(), managedfields.ResourcePathMappings{
		version: fieldpath.MakePathOrDie("spec", "replicas"),
	})
	before, err := handler.ToSubresource()
	if err != nil {
		return nil, fmt.Errorf("read managed fields: %w", err)
	}
	if len(before) == 0 {
		return parent, nil
	}
	entry := metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Subresource: "scale", Time: &now,
		APIVersion: "autoscaling/v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{}}}`),
	}
	entries, err := handler.ToParent([]metav1.ManagedFieldsEntry{entry})
	if err != nil {
		return nil, fmt.Errorf("read managed fields: %w", err)
	}
	for i := range entries {
		if entries[i].Subresource == "scale" && entries[i].Time == nil {
			entries[i].Time = &now
		}
	}
	return entries, nil
}
