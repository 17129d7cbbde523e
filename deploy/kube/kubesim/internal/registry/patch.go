package registry

import (
	"encoding/json"
	"fmt"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Patch changes an object by a patch of one of the four types; an apply also creates it. It returns the new version and
// whether it was created.
func (r *Registry) Patch(resource, namespace, name string, kind types.PatchType, patch []byte, w Write) (Object, bool, error) {
	if kind == types.ApplyPatchType || kind == types.ApplyYAMLPatchType {
		return r.apply(resource, namespace, name, patch, w)
	}
	obj, err := r.change(resource, namespace, name, w, func(k *Kind, live Object) (Object, error) {
		return r.patched(k, live, kind, patch)
	})
	return obj, false, err
}

func (r *Registry) patched(k *Kind, live Object, kind types.PatchType, patch []byte) (Object, error) {
	before, err := json.Marshal(live)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", live.GetName(), err)
	}
	after, err := patchJSON(before, kind, patch, k)
	if err != nil {
		return nil, err
	}
	obj, _, err := r.Decode(k, after, "application/json")
	if err != nil {
		return nil, err
	}
	if obj.GetName() != live.GetName() || obj.GetNamespace() != live.GetNamespace() {
		return nil, apierrors.NewBadRequest("a patch can't change the name or the namespace of an object")
	}
	return obj, nil
}

func patchJSON(before []byte, kind types.PatchType, patch []byte, k *Kind) ([]byte, error) {
	switch kind {
	case types.JSONPatchType:
		ops, err := jsonpatch.DecodePatch(patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		after, err := ops.Apply(before)
		if err != nil {
			return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", k.GroupResource(), "", err.Error(), 0, false)
		}
		return after, nil
	case types.MergePatchType:
		after, err := jsonpatch.MergePatch(before, patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return after, nil
	case types.StrategicMergePatchType:
		if k.Custom {
			return nil, unsupportedPatch(kind)
		}
		after, err := strategicpatch.StrategicMergePatch(before, patch, k.empty())
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return after, nil
	default:
		return nil, unsupportedPatch(kind)
	}
}

func unsupportedPatch(kind types.PatchType) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusUnsupportedMediaType,
		Reason:  metav1.StatusReasonUnsupportedMediaType,
		Message: fmt.Sprintf("the body of the request was in an unknown format - accepted media types do not include: %s", kind),
	}}
}

// apply is server-side apply.
func (r *Registry) apply(resource, namespace, name string, patch []byte, w Write) (Object, bool, error) {
	k, err := r.kind(resource)
	if err != nil {
		return nil, false, err
	}
	if w.Manager == "" {
		return nil, false, apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("PatchOptions").GroupKind(), "", field.ErrorList{
			field.Required(field.NewPath("fieldManager"), "is required for apply patch"),
		})
	}
	config, err := readConfig(patch, namespace, name)
	if err != nil {
		return nil, false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	live, err := r.get(k, namespace, name)
	switch {
	case apierrors.IsNotFound(err) && w.Subresource == "":
		obj, err := r.applyNew(k, config, w)
		return obj, true, err
	case err != nil:
		return nil, false, err
	}
	obj, err := r.applyLive(k, live, config, w)
	return obj, false, err
}

func (r *Registry) applyNew(k *Kind, config *unstructured.Unstructured, w Write) (Object, error) {
	if config.GetResourceVersion() != "" || config.GetUID() != "" {
		return nil, conflict(k, config.GetName())
	}
	base := k.New()
	base.SetName(config.GetName())
	base.SetNamespace(config.GetNamespace())
	merged, err := r.fields[k.Resource].Apply(base, config, w.Manager, w.Force)
	if err != nil {
		return nil, err
	}
	obj, ok := merged.(Object)
	if !ok {
		return nil, fmt.Errorf("apply %s: got %T", config.GetName(), merged)
	}
	r.setDefaults(obj)
	return r.create(k, obj, w)
}

func (r *Registry) applyLive(k *Kind, live Object, config *unstructured.Unstructured, w Write) (Object, error) {
	merged, err := r.fields[fieldsKey(k, w.Subresource)].Apply(live, config, w.Manager, w.Force)
	if err != nil {
		return nil, err
	}
	obj, ok := merged.(Object)
	if !ok {
		return nil, fmt.Errorf("apply %s: got %T", config.GetName(), merged)
	}
	if obj, err = r.within(k, live, obj, w); err != nil {
		return nil, err
	}
	return r.replace(k, live, obj, w)
}

// readConfig reads what is applied and holds it to the URL that it was sent to.
func readConfig(patch []byte, namespace, name string) (*unstructured.Unstructured, error) {
	config := &unstructured.Unstructured{Object: map[string]any{}}
	asJSON, err := yaml.YAMLToJSON(patch)
	if err == nil {
		err = kjson.UnmarshalCaseSensitivePreserveInts(asJSON, &config.Object)
	}
	switch {
	case err != nil:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	case config.GetAPIVersion() == "" || config.GetKind() == "":
		return nil, apierrors.NewBadRequest("apiVersion and kind must be set in an apply configuration")
	case config.GetName() != "" && config.GetName() != name:
		return nil, apierrors.NewBadRequest(fmt.Sprintf(
			"the name of the object (%s) does not match the name on the URL (%s)", config.GetName(), name))
	case config.GetNamespace() != "" && config.GetNamespace() != namespace:
		return nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	config.SetName(name)
	config.SetNamespace(namespace)
	return config, nil
}
