package deploy

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// needs sees to what the pods of a Deployment refer to. What differs from what is there under its name, which the pods that
// serve use, becomes a copy of the track's.
func (d *duet) needs(ctx context.Context, s *side, w part) error {
	spec, _, err := unstructured.NestedMap(w.Object.Object, "spec", "template", "spec")
	if err != nil {
		return refusal(pipeline.ReasonManifest, w.Title()+" doesn't have the form of its kind", err)
	}
	var refs []partName
	eachReference(spec, func(kind, name string) string {
		if ref := (partName{Kind: kind, Name: name}); !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
		return name
	})
	for _, ref := range refs {
		if err := d.need(ctx, s, ref); err != nil {
			return err
		}
	}
	if account, ok := spec["serviceAccountName"].(string); ok && account != "" {
		return d.needAccount(ctx, s, w, account)
	}
	return nil
}

func (d *duet) need(ctx context.Context, s *side, ref partName) error {
	if _, known := s.config[ref]; known {
		return nil
	}
	i := slices.IndexFunc(s.arr.parts, func(p part) bool {
		return p.GroupVersionKind().Group == "" && p.GetKind() == ref.Kind && p.GetName() == ref.Name
	})
	if i < 0 {
		return nil // somebody else brings it
	}
	o := s.arr.parts[i].Object
	live, err := d.where.Cluster.Get(ctx, o)
	if err != nil {
		return err
	}
	if s.config[ref] = ref.Name; live != nil && sameContent(live, o.Unstructured) {
		return nil
	}
	c := manifest.Object{Unstructured: o.DeepCopy(), From: o.From}
	c.SetName(trackName(ref.Name, s.track, d.id))
	s.config[ref] = c.GetName()
	s.copies = append(s.copies, c)
	return nil
}

// sameContent compares what pods see of a ConfigMap or a Secret.
func sameContent(a, b *unstructured.Unstructured) bool {
	return slices.IndexFunc([]string{"data", "binaryData"}, func(field string) bool {
		left, _, _ := unstructured.NestedMap(a.Object, field)
		right, _, _ := unstructured.NestedMap(b.Object, field)
		return len(left)+len(right) > 0 && !sameJSON(left, right)
	}) < 0
}

// needAccount refuses a service account that comes with the release: what it may do would have to be copied, too.
func (d *duet) needAccount(ctx context.Context, s *side, w part, name string) error {
	i := slices.IndexFunc(s.arr.parts, func(p part) bool { return p.GetKind() == "ServiceAccount" && p.GetName() == name })
	if i < 0 {
		return nil // somebody else brings it
	}
	live, err := d.where.Cluster.Get(ctx, s.arr.parts[i].Object)
	if err != nil || live != nil {
		return err
	}
	return refusal(pipeline.ReasonManifest, fmt.Sprintf("%s of %s needs ServiceAccount %s, which isn't in the cluster yet: a canary brings no accounts, so deliver the account before", w.Title(), s.what(), clean(name, 100)), nil)
}

// refer lets a Deployment's pods refer to the copies.
func (s *side) refer(o manifest.Object) error {
	spec, _, err := unstructured.NestedMap(o.Object, "spec", "template", "spec")
	if err != nil {
		return err //nolint:wrapcheck // the caller says which object it is
	}
	eachReference(spec, func(kind, name string) string {
		if to := s.config[partName{Kind: kind, Name: name}]; to != "" {
			return to
		}
		return name
	})
	return unstructured.SetNestedMap(o.Object, spec, "spec", "template", "spec")
}

// eachReference gives each ConfigMap and Secret that a pod's spec refers to the name that do returns for it. Kustomize,
// which knows these places, too, can rename all objects of a set, but doesn't tell which are referred to.
// Source: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.37/#podspec-v1-core
func eachReference(spec map[string]any, do func(kind, name string) string) {
	rename := func(holder any, kind, field string) {
		if m, ok := holder.(map[string]any); ok {
			if name, ok := m[field].(string); ok && name != "" {
				m[field] = do(kind, name)
			}
		}
	}
	for _, v := range mapsIn(spec["volumes"]) {
		rename(v["configMap"], "ConfigMap", "name")
		rename(v["secret"], "Secret", "secretName")
		if csi, ok := v["csi"].(map[string]any); ok {
			rename(csi["nodePublishSecretRef"], "Secret", "name")
		}
		if projected, ok := v["projected"].(map[string]any); ok {
			for _, source := range mapsIn(projected["sources"]) {
				rename(source["configMap"], "ConfigMap", "name")
				rename(source["secret"], "Secret", "name")
			}
		}
	}
	for _, list := range []string{"containers", "initContainers"} {
		for _, c := range mapsIn(spec[list]) {
			for _, env := range mapsIn(c["env"]) {
				if from, ok := env["valueFrom"].(map[string]any); ok {
					rename(from["configMapKeyRef"], "ConfigMap", "name")
					rename(from["secretKeyRef"], "Secret", "name")
				}
			}
			for _, env := range mapsIn(c["envFrom"]) {
				rename(env["configMapRef"], "ConfigMap", "name")
				rename(env["secretRef"], "Secret", "name")
			}
		}
	}
	for _, secret := range mapsIn(spec["imagePullSecrets"]) {
		rename(secret, "Secret", "name")
	}
}

// mapsIn are the items of a list that are maps.
func mapsIn(list any) []map[string]any {
	items, _ := list.([]any)
	var all []map[string]any
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			all = append(all, m)
		}
	}
	return all
}
