package registry

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// newFieldManagers makes what tracks who owns which field: per resource one for the object, one for its status.
// The schemas are those that client-go carries for its apply configurations, so list keys are the real ones.
func newFieldManagers(scheme *runtime.Scheme, kinds map[string]*Kind) (map[string]*managedfields.FieldManager, error) {
	types := applyconfigurations.NewTypeConverter(scheme)
	deduced := managedfields.NewDeducedTypeConverter()
	out := map[string]*managedfields.FieldManager{}
	for _, k := range kinds {
		for _, sub := range []string{"", "status", "scale"} {
			if (sub == "status" && !k.Status) || (sub == "scale" && !k.Scale) {
				continue
			}
			reset := resetFields(k, sub)
			var fm *managedfields.FieldManager
			var err error
			if k.Custom {
				plain := untyped{}
				fm, err = managedfields.NewDefaultCRDFieldManager(deduced, plain, plain, plain, k.GroupVersionKind, k.GroupVersion(), sub, reset)
			} else {
				fm, err = managedfields.NewDefaultFieldManager(types, scheme, scheme, scheme, k.GroupVersionKind, k.GroupVersion(), sub, reset)
			}
			if err != nil {
				return nil, fmt.Errorf("field manager of %s: %w", k.Resource, err)
			}
			out[fieldsKey(k, sub)] = fm
		}
	}
	return out, nil
}

func fieldsKey(k *Kind, subresource string) string {
	if subresource == "" {
		return k.Resource
	}
	return k.Resource + "/" + subresource
}

// resetFields says what a write through this door can't change, and so can't own.
func resetFields(k *Kind, subresource string) map[fieldpath.APIVersion]fieldpath.Filter {
	if !k.Status {
		return nil
	}
	out := fieldpath.NewSet(fieldpath.MakePathOrDie("status"))
	if subresource == "status" {
		out = fieldpath.NewSet(fieldpath.MakePathOrDie("spec"))
	}
	return map[fieldpath.APIVersion]fieldpath.Filter{
		fieldpath.APIVersion(k.GroupVersion().String()): fieldpath.NewExcludeSetFilter(out),
	}
}

// untyped serves the field managers of custom kinds: one version, nothing to convert.
type untyped struct{}

func (untyped) Convert(_, _, _ any) error { return nil }

func (untyped) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	return in.DeepCopyObject(), nil
}

func (untyped) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

func (untyped) Default(obj runtime.Object) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		defaultCustom(u)
	}
}

func (untyped) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(gvk)
	return u, nil
}
