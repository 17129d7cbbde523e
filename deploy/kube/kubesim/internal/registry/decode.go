package registry

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Decode reads the body of a request as an object of the kind: JSON, YAML or, for built-in kinds, Protobuf.
// Fields that the kind doesn't have come back as problems, for a warning or a refusal as the request wants.
func (r *Registry) Decode(k *Kind, body []byte, mediaType string) (Object, []error, error) {
	if strings.HasSuffix(mediaType, "protobuf") {
		return r.decodeProtobuf(k, body)
	}
	if strings.HasSuffix(mediaType, "yaml") {
		converted, err := yaml.YAMLToJSON(body)
		if err != nil {
			return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
		}
		body = converted
	}
	obj := k.empty()
	var strict []error
	var err error
	if u, ok := obj.(*unstructured.Unstructured); ok {
		strict, err = kjson.UnmarshalStrict(body, &u.Object)
	} else {
		strict, err = kjson.UnmarshalStrict(body, obj)
	}
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", k.Kind, k.Version, k.Kind, err))
	}
	if err := checkType(k, obj); err != nil {
		return nil, nil, err
	}
	return obj, strict, nil
}

func (r *Registry) decodeProtobuf(k *Kind, body []byte) (Object, []error, error) {
	if k.Custom {
		return nil, nil, unsupportedPatch("application/vnd.kubernetes.protobuf")
	}
	decoded, _, err := r.codecs.UniversalDeserializer().Decode(body, &k.GroupVersionKind, nil)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	obj, ok := decoded.(Object)
	if !ok {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("%T is not an object", decoded))
	}
	return obj, nil, checkType(k, obj)
}

// checkType refuses an object of another kind than its URL's, and fills in a kind that is left out.
func checkType(k *Kind, obj Object) error {
	gvk := obj.GetObjectKind().GroupVersionKind()
	if gvk.Kind != "" && gvk.Kind != k.Kind {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: converting (%s) to (%s): unknown conversion",
			gvk.Kind, k.Version, k.Kind, gvk, k.GroupVersionKind))
	}
	if gvk.Version != "" && gvk.GroupVersion() != k.GroupVersion() {
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)",
			gvk.GroupVersion(), k.GroupVersion()))
	}
	obj.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	return nil
}

// StrictError is the answer to a request that wants unknown fields refused.
func StrictError(k *Kind, problems []error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v",
		k.Kind, k.Version, k.Kind, runtime.NewStrictDecodingError(problems)))
}

// DecodeInto reads a request's JSON, YAML or Protobuf body that is not a stored object, such as a Scale or DeleteOptions.
func (r *Registry) DecodeInto(body []byte, mediaType string, into runtime.Object) error {
	var err error
	if strings.HasSuffix(mediaType, "protobuf") {
		_, _, err = r.codecs.UniversalDeserializer().Decode(body, nil, into)
	} else {
		err = yaml.Unmarshal(body, into)
	}
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}
