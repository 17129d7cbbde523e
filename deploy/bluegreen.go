package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// role is what an object of a release has to do with moving traffic to it.
type role int

const (
	plain     role = iota // nothing
	versioned             // a Deployment behind a gate, which each blue-green release has for itself
	gate                  // a Service that leads traffic to Deployments of the release
	follower              // a disruption budget, or what scales a Deployment: it goes where the traffic goes
	route                 // the HTTPRoute that moves the traffic
)

// part is one object of a release as it is when the release serves.
type part struct {
	manifest.Object
	role     role
	original string            // name in the manifests
	selector map[string]string // of a gate, as in the manifests
}

// arrangement is what a release's objects become in the cluster, in the order of its set.
type arrangement struct {
	version string // "" unless the release is blue-green
	apart   bool   // its selectors leave out the pods of a pair: see pipeline.Release
	parts   []part
}

// versionOf names a blue-green release within its environment. Equal manifests of one commit have equal versions, as
// long as what becomes of them is the same: a Deployment's selector can't be changed, so a release whose selectors are
// made in another way has another version.
func versionOf(sha string, encoded []byte) string {
	const commit, content = 7, 5
	sum := sha256.Sum256(append([]byte("apart\n"), encoded...))
	return strings.ToLower(sha[:min(commit, len(sha))]) + "-" + hex.EncodeToString(sum[:])[:content]
}

// versionedName is the name of a Deployment of one version. It stays short enough for a label and for readable pods.
func versionedName(name, version string) string {
	const longest = 63
	if room := longest - len(version) - 1; len(name) > room {
		sum := sha256.Sum256([]byte(name))
		name = strings.TrimRight(name[:room-6], "-.") + "-" + hex.EncodeToString(sum[:])[:5]
	}
	return name + "-" + version
}

// arrange says what the objects of a set become. A version makes them a blue-green release: each Deployment behind a
// Service gets a name, a selector and pods of its own, the Service selects these pods, and what scales or protects them
// follows. Everything else stays as it is. The objects themselves are not changed.
//
// The pods of a pair are in the Service beside those of the release, so they have its labels. That an autoscaler doesn't
// count them, and a budget doesn't, is due to the selectors of the release: they say which tracks they don't mean.
func arrange(objects []manifest.Object, r pipeline.Release) (arrangement, error) {
	a := arrangement{version: r.Version, apart: r.Apart}
	for _, o := range objects {
		p := part{Object: o, original: o.GetName()}
		switch {
		case isService(o) && len(targets(o, objects)) > 0:
			p.role, p.selector = gate, selectorOf(o.Unstructured)
		case isKind(o, "Deployment") && behindService(o, objects):
			p.role = versioned
		case r.Traffic != nil && isRoute(o) && o.GetName() == r.Traffic.HTTPRoute:
			p.role = route
		}
		a.parts = append(a.parts, p)
	}
	for i := range a.parts {
		if a.parts[i].role == plain && a.follows(a.parts[i].Object) {
			a.parts[i].role = follower
		}
	}
	if a.version == "" {
		return a, nil
	}
	if err := a.possible(objects); err != nil {
		return a, err
	}
	for i := range a.parts {
		a.parts[i].Object = manifest.Object{Unstructured: a.parts[i].DeepCopy(), From: a.parts[i].From}
		if err := a.become(&a.parts[i]); err != nil {
			return a, err
		}
	}
	return a, nil
}

// become makes one part that of the version.
func (a arrangement) become(p *part) error {
	label := map[string]string{LabelVersion: a.version}
	var err error
	switch p.role {
	case versioned:
		p.SetName(versionedName(p.original, a.version))
		p.SetLabels(merged(p.GetLabels(), label))
		if err = a.narrow(p.Object); err == nil {
			err = addLabels(p.Object, label, "spec", "template", "metadata", "labels")
		}
	case gate:
		err = addLabels(p.Object, label, "spec", "selector")
	case follower:
		if name, ok := scales(p.Object); ok {
			err = unstructured.SetNestedField(p.Object.Object, versionedName(name, a.version), "spec", "scaleTargetRef", "name")
		} else {
			err = a.narrow(p.Object)
		}
	case plain, route:
	}
	if err != nil {
		return refusal(pipeline.ReasonManifest, p.From.String()+": "+p.Title()+" doesn't have the form of its kind", err)
	}
	return nil
}

// narrow lets an object select the pods of the version, and not those of a pair that is put beside it.
func (a arrangement) narrow(o manifest.Object) error {
	if err := addLabels(o, map[string]string{LabelVersion: a.version}, "spec", "selector", "matchLabels"); err != nil || !a.apart {
		return err
	}
	expressions, _, err := unstructured.NestedSlice(o.Object, "spec", "selector", "matchExpressions")
	if err != nil {
		return err //nolint:wrapcheck // become says which object it is
	}
	return unstructured.SetNestedSlice(o.Object, append(expressions, notOfAPair()), "spec", "selector", "matchExpressions")
}

// notOfAPair selects what is on no track of a canary stage.
func notOfAPair() map[string]any {
	return map[string]any{"key": LabelTrack, "operator": string(metav1.LabelSelectorOpNotIn), "values": []any{TrackBaseline, TrackCanary}}
}

// possible says why the set can't be a blue-green release.
func (a arrangement) possible(objects []manifest.Object) error {
	if len(a.only(gate)) == 0 {
		return refusal(pipeline.ReasonManifest, "blue-green moves the traffic between Deployments behind a Service, and in these manifests "+
			"no Service selects the pods of a Deployment", nil)
	}
	for _, g := range a.only(gate) {
		for _, o := range targets(g.Object, objects) {
			if !isKind(o, "Deployment") {
				return refusal(pipeline.ReasonManifest, fmt.Sprintf("%s selects pods of %s, too, and blue-green can only move traffic between Deployments", g.Title(), o.Title()), nil)
			}
		}
	}
	for _, d := range a.only(versioned) {
		if n, found, err := unstructured.NestedInt64(d.Object.Object, "spec", "replicas"); err == nil && found && n == 0 {
			return refusal(pipeline.ReasonManifest, d.Title()+" has 0 replicas, so it can't take the traffic", nil)
		}
	}
	return nil
}

// follows tells that the object scales or protects a versioned Deployment.
func (a arrangement) follows(o manifest.Object) bool {
	if name, ok := scales(o); ok {
		return slices.ContainsFunc(a.only(versioned), func(d part) bool { return d.original == name })
	}
	if o.GetKind() != "PodDisruptionBudget" {
		return false
	}
	match, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
	return slices.ContainsFunc(a.only(versioned), func(d part) bool { return within(match, templateLabels(d.Unstructured)) })
}

// scales is the Deployment that the object scales: an autoscaler of Kubernetes, or one of the same form.
func scales(o manifest.Object) (deployment string, ok bool) {
	ref, found, err := unstructured.NestedStringMap(o.Object, "spec", "scaleTargetRef")
	if !found || err != nil || ref["kind"] != "Deployment" && ref["kind"] != "" {
		return "", false
	}
	return ref["name"], true
}

// only lists the parts that have one of the roles.
func (a arrangement) only(roles ...role) []part {
	var some []part
	for _, p := range a.parts {
		if slices.Contains(roles, p.role) {
			some = append(some, p)
		}
	}
	return some
}

// objects are the parts' own.
func objectsOf(parts []part) []manifest.Object {
	objects := make([]manifest.Object, len(parts))
	for i, p := range parts {
		objects[i] = p.Object
	}
	return objects
}

// set is all of it.
func (a arrangement) set() manifest.Set { return manifest.Set{Objects: objectsOf(a.parts)} }

// behind are the versioned Deployments that a gate leads to.
func (a arrangement) behind(g part) []part {
	return slices.DeleteFunc(a.only(versioned), func(d part) bool { return !within(g.selector, templateLabels(d.Unstructured)) })
}

// targets are the workloads of the set whose pods a Service selects.
func targets(service manifest.Object, objects []manifest.Object) []manifest.Object {
	selector := selectorOf(service.Unstructured)
	var found []manifest.Object
	for _, o := range objects {
		if isKind(o, "Deployment", "StatefulSet", "DaemonSet") && within(selector, templateLabels(o.Unstructured)) {
			found = append(found, o)
		}
	}
	if !slices.ContainsFunc(found, func(o manifest.Object) bool { return isKind(o, "Deployment") }) {
		return nil
	}
	return found
}

func behindService(deployment manifest.Object, objects []manifest.Object) bool {
	return slices.ContainsFunc(objects, func(o manifest.Object) bool {
		return isService(o) && within(selectorOf(o.Unstructured), templateLabels(deployment.Unstructured))
	})
}

// within tells that labels have all of a selector, which selects something.
func within(selector, labels map[string]string) bool {
	for key, value := range selector {
		if has, ok := labels[key]; !ok || has != value {
			return false
		}
	}
	return len(selector) > 0
}

func isService(o manifest.Object) bool {
	return o.GetKind() == "Service" && o.GroupVersionKind().Group == ""
}

// selectorOf is a Service's, nil if it has none.
func selectorOf(service *unstructured.Unstructured) map[string]string {
	selector, _, _ := unstructured.NestedStringMap(service.Object, "spec", "selector")
	return selector
}

func templateLabels(workload *unstructured.Unstructured) map[string]string {
	labels, _, _ := unstructured.NestedStringMap(workload.Object, "spec", "template", "metadata", "labels")
	return labels
}

// addLabels adds to a map of texts inside an object.
func addLabels(o manifest.Object, labels map[string]string, field ...string) error {
	has, _, err := unstructured.NestedStringMap(o.Object, field...)
	if err != nil {
		return err // the caller says which object it is
	}
	return unstructured.SetNestedStringMap(o.Object, merged(has, labels), field...)
}

// Placed is what should be live of a release's recorded set: the objects of a blue-green release under their versions'
// names. The route that moves the traffic is left out, because its weights are where the traffic is.
func Placed(set manifest.Set, r pipeline.Release) (manifest.Set, error) {
	a, err := arrange(set.Objects, r)
	if err != nil {
		return manifest.Set{}, err
	}
	var placed manifest.Set
	for _, p := range a.parts {
		if p.role != route {
			placed.Objects = append(placed.Objects, p.Object)
		}
	}
	return placed, nil
}
