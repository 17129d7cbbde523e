package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// Difference is one field that would change. Values are one line of JSON, "" where there is none.
type Difference struct {
	Field    string // such as spec.template.spec.containers[app].image
	From, To string
}

// Differences lists the fields in which two forms of an object differ, in the order of their names. What the cluster
// writes by itself, and Slipway's own marks, are left out. Values of Secrets are not shown.
func Differences(from, to *unstructured.Unstructured) []Difference {
	d := differ{}
	secret := manifest.Object{Unstructured: to}
	if secret.GetKind() == "Secret" && secret.GroupVersionKind().Group == "" {
		d.hidden = []string{"data", "stringData", "metadata.annotations"}
	}
	d.walk("", bare(from), bare(to))
	return d.found
}

// bare is a copy without what says nothing about a change.
func bare(o *unstructured.Unstructured) any {
	c := o.DeepCopy()
	delete(c.Object, "status")
	for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
		unstructured.RemoveNestedField(c.Object, "metadata", field)
	}
	for _, label := range []string{LabelManagedBy, LabelProject, LabelEnvironment} {
		unstructured.RemoveNestedField(c.Object, "metadata", "labels", label)
	}
	for _, annotation := range []string{AnnotationEnvironment, AnnotationDelivery, AnnotationRelease, AnnotationCommit} {
		unstructured.RemoveNestedField(c.Object, "metadata", "annotations", annotation)
	}
	return c.Object
}

type differ struct {
	found  []Difference
	hidden []string // fields below which no value is shown
}

func (d *differ) walk(at string, from, to any) {
	if reflect.DeepEqual(from, to) || empty(from) && empty(to) || samePinned(at, from, to) {
		return
	}
	before, wasMap := from.(map[string]any)
	after, isMap := to.(map[string]any)
	if (wasMap || from == nil) && (isMap || to == nil) {
		keys := slices.Collect(maps.Keys(before))
		keys = slices.AppendSeq(keys, maps.Keys(after))
		slices.Sort(keys)
		for _, key := range slices.Compact(keys) {
			d.walk(below(at, key), before[key], after[key])
		}
		return
	}
	old, wasList := from.([]any)
	list, isList := to.([]any)
	if wasList && isList {
		if d.named(at, old, list) {
			return
		}
		if len(old) == len(list) && len(list) > 0 && !plainList(list) {
			for i := range list {
				d.walk(fmt.Sprintf("%s[%d]", at, i), old[i], list[i])
			}
			return
		}
	}
	d.add(at, from, to)
}

// samePinned tells that an image differs only by the digest that applying it has added.
func samePinned(at string, from, to any) bool {
	before, _ := from.(string)
	after, _ := to.(string)
	return after != "" && strings.HasSuffix(at, ".image") && strings.HasPrefix(before, after+"@sha256:")
}

// named compares lists whose items have names, by these.
func (d *differ) named(at string, old, list []any) bool {
	before, ok := byName(old)
	after, also := byName(list)
	if !ok || !also {
		return false
	}
	names := slices.Collect(maps.Keys(before))
	names = slices.AppendSeq(names, maps.Keys(after))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		d.walk(fmt.Sprintf("%s[%s]", at, name), before[name], after[name])
	}
	return true
}

// byName maps the items of a list by their names, if each has one of its own.
func byName(list []any) (map[string]any, bool) {
	items := map[string]any{}
	for _, item := range list {
		m, _ := item.(map[string]any)
		name, _ := m["name"].(string)
		if _, twice := items[name]; name == "" || twice {
			return nil, false
		}
		items[name] = item
	}
	return items, true
}

func plainList(list []any) bool {
	return !slices.ContainsFunc(list, func(item any) bool {
		_, isMap := item.(map[string]any)
		return isMap
	})
}

func empty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

func below(at, key string) string {
	if strings.ContainsAny(key, "./[] ") {
		key = "[" + key + "]"
	} else if at != "" {
		key = "." + key
	}
	return at + key
}

func (d *differ) add(at string, from, to any) {
	difference := Difference{Field: clean(at, 300), From: shown(from), To: shown(to)}
	if slices.ContainsFunc(d.hidden, func(field string) bool {
		return at == field || strings.HasPrefix(at, field) && strings.ContainsAny(at[len(field):len(field)+1], ".[")
	}) {
		difference.From, difference.To = "", "(secret, changed)"
		switch {
		case from == nil:
			difference.To = "(secret, new)"
		case to == nil:
			difference.To = "(secret, gone)"
		}
	}
	d.found = append(d.found, difference)
}

// shown is a value on one line.
func shown(value any) string {
	if value == nil {
		return ""
	}
	data, err := json.Marshal(value)
	if err != nil {
		return "?"
	}
	return clean(string(data), 200)
}
