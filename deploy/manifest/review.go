package manifest

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// LabelReview is on everything of a review, also on its pods, and in all selectors.
const LabelReview = "slipway.dev/review"

// separate lets the objects live beside those of other reviews in one namespace: each name
// ends with the slug, what refers to it follows, and selectors see the review's own pods only.
//
// It is kustomize that does so, because it knows where Kubernetes refers to names.
func separate(objects []Object, slug string) (_ []Object, err error) {
	memory := filesys.MakeFsInMemory()
	var files []string
	for i, o := range objects {
		data, err := o.MarshalJSON()
		if err != nil {
			return nil, o.mistake(o.Title()+" is not valid", "")
		}
		files = append(files, fmt.Sprintf("%d.json", i))
		if err := memory.WriteFile("/"+files[i], data); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", o.Title(), err)
		}
	}
	for name, content := range map[string]any{"kustomization.yaml": separation(files, slug), "references.yaml": references()} {
		data, err := yaml.Marshal(content)
		if err == nil {
			err = memory.WriteFile("/"+name, data)
		}
		if err != nil {
			return nil, fmt.Errorf("prepare %s: %w", name, err)
		}
	}
	defer func() {
		if p := recover(); p != nil {
			err = &Error{What: "makes kustomize crash when the objects get the names of the review"}
		}
	}()
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionNone
	built, err := krusty.MakeKustomizer(options).Run(memory, "/")
	if err != nil {
		return nil, &Error{What: "the objects cannot get the names of the review: kustomize: " + kustomizeProblem(err)}
	}
	if built.Size() != len(objects) {
		return nil, fmt.Errorf("separate a review: %d objects became %d", len(objects), built.Size())
	}
	named := make([]Object, 0, len(objects))
	for i, resource := range built.Resources() {
		data, err := resource.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("separate a review: %w", err)
		}
		o := objects[i].DeepCopy()
		if err := utiljson.Unmarshal(data, &o.Object); err != nil {
			return nil, fmt.Errorf("separate a review: %w", err)
		}
		if o.GetKind() != objects[i].GetKind() {
			return nil, fmt.Errorf("separate a review: %s became a %s", objects[i].Title(), o.GetKind())
		}
		narrow(o, slug)
		named = append(named, Object{Unstructured: o, From: objects[i].From})
	}
	return named, checkLength(named)
}

// narrow holds what selects all pods to those of the review, which kustomize leaves as it is.
func narrow(o *unstructured.Unstructured, slug string) {
	for kind, path := range map[string][]string{"NetworkPolicy": {"spec", "podSelector"}, "PodDisruptionBudget": {"spec", "selector"}} {
		selector, found, err := unstructured.NestedMap(o.Object, path...)
		if o.GetKind() != kind || !found || err != nil {
			continue
		}
		labels, _ := selector["matchLabels"].(fields)
		if labels == nil {
			labels = fields{}
		}
		labels[LabelReview], selector["matchLabels"] = slug, labels
		_ = unstructured.SetNestedMap(o.Object, selector, path...) // it was a map a moment ago
	}
}

// checkLength finds the Services whose names are too long with the slug: they are DNS labels.
func checkLength(objects []Object) error {
	const longest = 63
	for _, o := range objects {
		if o.GetKind() == "Service" && len(o.GetName()) > longest {
			return o.mistake(fmt.Sprintf("%s has a name of %d characters with that of its review, and %d are allowed", o.Title(), len(o.GetName()), longest), "give it a shorter one")
		}
	}
	return nil
}

type fields = map[string]any

func separation(files []string, slug string) fields {
	return fields{
		"resources": files, "nameSuffix": "-" + slug, "configurations": []string{"references.yaml"},
		"labels": []fields{{
			"pairs": fields{LabelReview: slug}, "includeSelectors": true, "includeTemplates": true,
		}},
	}
}

// references are those that kustomize does not know by itself: of the Gateway API.
// Source: https://gateway-api.sigs.k8s.io/reference/spec/
func references() fields {
	var services, gateways []fields
	for _, kind := range []string{"HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"} {
		services = append(services, fields{"path": "spec/rules/backendRefs/name", "kind": kind},
			fields{"path": "spec/rules/filters/requestMirror/backendRef/name", "kind": kind})
		gateways = append(gateways, fields{"path": "spec/parentRefs/name", "kind": kind})
	}
	return fields{"nameReference": []fields{
		{"kind": "Service", "version": "v1", "fieldSpecs": services},
		{"kind": "Gateway", "group": "gateway.networking.k8s.io", "fieldSpecs": gateways},
	}}
}

// setHosts replaces host names in Ingresses and routes. One that is nowhere is an error: it
// is a mistake in spelling, and what should be apart would share a name.
func setHosts(objects []Object, hosts map[string]string) error {
	used := map[string]bool{}
	swap := func(value any) any {
		host, _ := value.(string)
		to, ok := hosts[host]
		if !ok {
			return value
		}
		used[host] = true
		return to
	}
	for _, o := range objects {
		spec, _ := o.Object["spec"].(fields)
		switch group := o.GroupVersionKind().Group; {
		case group == "networking.k8s.io" && o.GetKind() == "Ingress":
			eachMap(spec["rules"], func(rule fields) { replace(rule, "host", swap) })
			eachMap(spec["tls"], func(tls fields) { replaceAll(tls["hosts"], swap) })
		case group == "gateway.networking.k8s.io":
			replaceAll(spec["hostnames"], swap)
			eachMap(spec["listeners"], func(listener fields) { replace(listener, "hostname", swap) })
		}
	}
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		if !used[host] {
			return &Error{What: fmt.Sprintf("no Ingress and no route has the host %q", clip(host)), Hint: "hosts replaces the names that the manifests have"}
		}
	}
	return nil
}

func eachMap(list any, do func(fields)) {
	items, _ := list.([]any)
	for _, item := range items {
		if m, ok := item.(fields); ok {
			do(m)
		}
	}
}

func replace(m fields, key string, swap func(any) any) {
	if value, ok := m[key]; ok {
		m[key] = swap(value)
	}
}

func replaceAll(list any, swap func(any) any) {
	items, _ := list.([]any)
	for i := range items {
		items[i] = swap(items[i])
	}
}
