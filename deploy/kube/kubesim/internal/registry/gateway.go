package registry

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What the schemas of HTTPRoute and Gateway say, as far as traffic is concerned: the defaults, the bounds and the required
// fields of Gateway API v1 (config/crd/standard). Their lists are atomic, which is how the field managers of custom kinds
// see all lists.
const (
	maxRules    = 16
	maxBackends = 16
	maxWeight   = 1_000_000
	maxPort     = 65535
)

// defaultCustom fills in what the schema of HTTPRoute does.
func defaultCustom(u *unstructured.Unstructured) {
	spec, ok := u.Object["spec"].(map[string]any)
	if u.GetKind() != "HTTPRoute" || !ok {
		return
	}
	for _, parent := range objects(spec["parentRefs"]) {
		setMissing(parent, "group", u.GroupVersionKind().Group)
		setMissing(parent, "kind", "Gateway")
	}
	setMissing(spec, "rules", []any{map[string]any{}})
	for _, rule := range objects(spec["rules"]) {
		setMissing(rule, "matches", []any{map[string]any{}})
		for _, match := range objects(rule["matches"]) {
			setMissing(match, "path", map[string]any{})
			if path, ok := match["path"].(map[string]any); ok {
				setMissing(path, "type", "PathPrefix")
				setMissing(path, "value", "/")
			}
			for _, list := range []string{"headers", "queryParams"} {
				for _, m := range objects(match[list]) {
					setMissing(m, "type", "Exact")
				}
			}
		}
		for _, backend := range objects(rule["backendRefs"]) {
			setMissing(backend, "group", "")
			setMissing(backend, "kind", "Service")
			setMissing(backend, "weight", int64(1))
		}
	}
}

// objects are the objects of a list, themselves and not copies.
func objects(list any) []map[string]any {
	items, _ := list.([]any)
	out := make([]map[string]any, 0, len(items))
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func setMissing(m map[string]any, name string, value any) {
	if _, ok := m[name]; !ok {
		m[name] = value
	}
}

func validateCustom(u *unstructured.Unstructured) field.ErrorList {
	spec, ok := u.Object["spec"].(map[string]any)
	at := field.NewPath("spec")
	if !ok {
		return field.ErrorList{field.Required(at, "")}
	}
	if u.GetKind() == "Gateway" {
		return validateGateway(spec, at)
	}
	return validateRoute(spec, at)
}

func validateRoute(spec map[string]any, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, parent := range objects(spec["parentRefs"]) {
		errs = append(errs, requireText(parent, "name", at.Child("parentRefs").Index(i))...)
	}
	rules := objects(spec["rules"])
	errs = append(errs, validateLength(len(rules), 1, maxRules, at.Child("rules"))...)
	names := sets.New[string]()
	for i, rule := range rules {
		at := at.Child("rules").Index(i)
		if name, ok := rule["name"].(string); ok && names.Has(name) {
			errs = append(errs, field.Invalid(at.Child("name"), name, "Rule name must be unique within the route"))
		} else if ok {
			names.Insert(name)
		}
		backends := objects(rule["backendRefs"])
		errs = append(errs, validateLength(len(backends), 0, maxBackends, at.Child("backendRefs"))...)
		for j, backend := range backends {
			errs = append(errs, validateBackend(backend, at.Child("backendRefs").Index(j))...)
		}
	}
	return errs
}

func validateBackend(backend map[string]any, at *field.Path) field.ErrorList {
	errs := requireText(backend, "name", at)
	errs = append(errs, validateNumber(backend, "weight", 0, maxWeight, at)...)
	errs = append(errs, validateNumber(backend, "port", 1, maxPort, at)...)
	if _, ok := backend["port"]; !ok && backend["group"] == "" && backend["kind"] == "Service" {
		errs = append(errs, field.Invalid(at, backend, "Must have port for Service reference"))
	}
	return errs
}

func validateGateway(spec map[string]any, at *field.Path) field.ErrorList {
	errs := requireText(spec, "gatewayClassName", at)
	listeners := objects(spec["listeners"])
	errs = append(errs, validateLength(len(listeners), 1, 64, at.Child("listeners"))...)
	for i, listener := range listeners {
		at := at.Child("listeners").Index(i)
		errs = append(errs, requireText(listener, "name", at)...)
		errs = append(errs, requireText(listener, "protocol", at)...)
		errs = append(errs, validateNumber(listener, "port", 1, maxPort, at)...)
		if _, ok := listener["port"]; !ok {
			errs = append(errs, field.Required(at.Child("port"), ""))
		}
	}
	return errs
}

func requireText(m map[string]any, name string, at *field.Path) field.ErrorList {
	value, ok := m[name]
	if !ok {
		return field.ErrorList{field.Required(at.Child(name), "")}
	}
	text, ok := value.(string)
	switch {
	case !ok:
		return field.ErrorList{wrongType(at.Child(name), value, "string")}
	case text == "":
		return field.ErrorList{field.Invalid(at.Child(name), text, at.Child(name).String()+" in body should be at least 1 chars long")}
	}
	return nil
}

func validateNumber(m map[string]any, name string, least, most int64, at *field.Path) field.ErrorList {
	value, ok := m[name]
	if !ok {
		return nil
	}
	at = at.Child(name)
	n, ok := value.(int64)
	switch {
	case !ok:
		return field.ErrorList{wrongType(at, value, "integer")}
	case n < least:
		return field.ErrorList{field.Invalid(at, n, fmt.Sprintf("%s in body should be greater than or equal to %d", at, least))}
	case n > most:
		return field.ErrorList{field.Invalid(at, n, fmt.Sprintf("%s in body should be less than or equal to %d", at, most))}
	}
	return nil
}

func wrongType(at *field.Path, value any, want string) *field.Error {
	return field.Invalid(at, value, fmt.Sprintf("%s in body must be of type %s: %q", at, want, fmt.Sprintf("%T", value)))
}

func validateLength(n, least, most int, at *field.Path) field.ErrorList {
	switch {
	case n < least:
		return field.ErrorList{field.Invalid(at, n, fmt.Sprintf("%s in body should have at least %d items", at, least))}
	case n > most:
		return field.ErrorList{field.TooMany(at, n, most)}
	}
	return nil
}
