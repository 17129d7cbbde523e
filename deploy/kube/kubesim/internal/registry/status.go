package registry

import (
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// part is a piece ("Spec", "Status") of a typed object, not valid where it has none.
func part(obj Object, name string) reflect.Value {
	v := reflect.ValueOf(obj)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v.Elem().FieldByName(name)
}

// copyStatus gives to the status of from. Both must be of the kind.
func copyStatus(k *Kind, from, to Object) {
	if !k.Status {
		return
	}
	if src, ok := from.(*unstructured.Unstructured); ok {
		dst, ok := to.(*unstructured.Unstructured)
		if !ok {
			return
		}
		status, found := src.Object["status"]
		if !found {
			delete(dst.Object, "status")
			return
		}
		dst.Object["status"] = status
		return
	}
	if src, dst := part(from, "Status"), part(to, "Status"); src.IsValid() && dst.IsValid() {
		dst.Set(src)
	}
}

func clearStatus(k *Kind, obj Object) { copyStatus(k, k.New(), obj) }

// specChanged tells whether the generation counts up: for custom kinds at any change outside of metadata and status,
// for Deployments also when annotations change (the real registry has it so, because annotations go to the ReplicaSets).
func specChanged(k *Kind, live, obj Object) bool {
	if k.Custom {
		return !equality.Semantic.DeepEqual(content(live), content(obj))
	}
	if _, ok := obj.(*appsv1.Deployment); ok && !equality.Semantic.DeepEqual(live.GetAnnotations(), obj.GetAnnotations()) {
		return true
	}
	if pod, ok := obj.(*corev1.Pod); ok { // being bound to a node is no change of the wanted state
		if bound, ok := live.(*corev1.Pod); ok {
			before, after := bound.Spec.DeepCopy(), pod.Spec.DeepCopy()
			before.NodeName = after.NodeName
			return !equality.Semantic.DeepEqual(before, after)
		}
	}
	before, after := part(live, "Spec"), part(obj, "Spec")
	return before.IsValid() && !equality.Semantic.DeepEqual(before.Interface(), after.Interface())
}

func content(obj Object) map[string]any {
	out := map[string]any{}
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return out
	}
	for name, value := range u.Object {
		if name != "metadata" && name != "status" {
			out[name] = value
		}
	}
	return out
}
