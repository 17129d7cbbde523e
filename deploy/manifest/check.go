package manifest

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
)

// check refuses what no cluster would take, or what a delivery must not bring.
func check(o Object, crds bool) error {
	apiVersion, _ := o.Object["apiVersion"].(string)
	kind, _ := o.Object["kind"].(string)
	gv, err := schema.ParseGroupVersion(apiVersion)
	switch {
	case apiVersion == "":
		return o.mistake("has no apiVersion", "")
	case err != nil:
		return o.mistake("has an apiVersion that is not GROUP/VERSION", "")
	case kind == "":
		return o.mistake("has no kind", "")
	}
	metadata, ok := o.Object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	switch {
	case !ok:
		return o.mistake(clip(kind)+" has no metadata", "")
	case name == "" && metadata["generateName"] != nil:
		return o.mistake(clip(kind)+" has generateName", "give it a name: an object without one would be made again by every try")
	case name == "":
		return o.mistake(clip(kind)+" has no metadata.name", "")
	case len(name) > 253 || len(validation.IsDNS1123Subdomain(name)) > 0 && gv.Group != "rbac.authorization.k8s.io":
		return o.mistake(fmt.Sprintf("%s has the name %q, which Kubernetes doesn't allow", clip(kind), clip(name)), "use lower-case letters, digits, - and .")
	}
	if why := refusedKind(gv.Group, kind); why != "" && (!crds || !o.DefinesKind()) {
		return o.mistake(o.Title()+" is not allowed", why)
	}
	if namespace, found := metadata["namespace"]; found {
		if _, ok := namespace.(string); !ok && namespace != nil {
			return o.mistake(o.Title()+": metadata.namespace is "+typeName(namespace), "quote it")
		}
	}
	return checkStrings(o)
}

// checkStrings finds the numbers and booleans that somebody forgot to quote.
func checkStrings(o Object) error {
	fields := [][]string{{"metadata", "labels"}, {"metadata", "annotations"}}
	if o.GroupVersionKind().Group == "" && (o.GetKind() == "ConfigMap" || o.GetKind() == "Secret") {
		fields = append(fields, []string{"data"}, []string{"stringData"}, []string{"binaryData"})
	}
	for _, field := range fields {
		value, found, err := unstructured.NestedFieldNoCopy(o.Object, field...)
		if err != nil || !found || value == nil {
			continue
		}
		where := field[len(field)-1]
		m, ok := value.(map[string]any)
		if !ok {
			return o.mistake(fmt.Sprintf("%s: %s is %s", o.Title(), where, typeName(value)), "write it as KEY: VALUE lines")
		}
		for _, key := range slices.Sorted(maps.Keys(m)) {
			text, ok := m[key].(string)
			if !ok && m[key] != nil {
				return o.mistake(fmt.Sprintf("%s: %s %q is %s", o.Title(), where, clip(key), typeName(m[key])), "quote it")
			}
			if encoded := where == "binaryData" || where == "data" && o.GetKind() == "Secret"; encoded && !isBase64(text) {
				return o.mistake(fmt.Sprintf("%s: %s %q is not base64", o.Title(), where, clip(key)), "plain text of a Secret belongs in stringData")
			}
		}
	}
	return nil
}

func isBase64(text string) bool {
	_, err := base64.StdEncoding.DecodeString(text)
	return err == nil
}

func typeName(value any) string {
	switch value.(type) {
	case nil:
		return "empty"
	case string:
		return "a text"
	case bool:
		return "true or false"
	case int64, float64:
		return "a number"
	case []any:
		return "a list"
	}
	return "a map"
}

// tidy takes away what belongs to the cluster, and what would make two renderings differ.
func tidy(o Object) {
	delete(o.Object, "status")
	if metadata, ok := o.Object["metadata"].(map[string]any); ok {
		for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink", "generateName", "ownerReferences"} {
			delete(metadata, field)
		}
		if annotations, ok := metadata["annotations"].(map[string]any); ok {
			// kubectl's copy of the whole object, Secrets' values too.
			delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
		}
	}
	if o.GetKind() == "Secret" && o.GroupVersionKind().Group == "" {
		encodeSecret(o)
	}
}

// encodeSecret moves stringData to data. The API server keeps no owner for what came by stringData, so a key that is
// left out later would stay.
func encodeSecret(o Object) {
	plain, ok := o.Object["stringData"].(map[string]any)
	delete(o.Object, "stringData")
	if !ok {
		return
	}
	data, ok := o.Object["data"].(map[string]any)
	if !ok {
		data = map[string]any{}
	}
	for key, value := range plain {
		text, _ := value.(string)
		data[key] = base64.StdEncoding.EncodeToString([]byte(text))
	}
	o.Object["data"] = data
}

// unique refuses an object that is written twice: which one holds would depend on the order.
func unique(objects []Object) error {
	seen := map[Key]Origin{}
	for _, o := range objects {
		if first, ok := seen[o.Key()]; ok {
			hint := ""
			if first.File != "" {
				hint = "it is also in " + first.String()
			}
			return o.mistake(o.Title()+" is written twice", hint)
		}
		seen[o.Key()] = o.From
	}
	return nil
}

func (o Object) mistake(what, hint string) error {
	return &Error{Origin: o.From, What: what, Hint: hint}
}
