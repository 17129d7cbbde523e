package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// ownedBy is a Deployment of the pair with which its other objects go.
type ownedBy struct{ name, uid string }

// compose makes the objects of both tracks.
func (d *duet) compose(ctx context.Context, a pipeline.StartPair) error {
	digests := d.digests(a)
	for _, s := range d.sides {
		s.labels, s.config = map[string]string{}, map[partName]string{}
		s.version = cmp.Or(d.servingVersion(), pipeline.Short(s.release.SHA)+"-"+s.track)
		for _, name := range d.workloads {
			w, err := s.deployment(name)
			if err != nil {
				return err
			}
			if err := d.needs(ctx, s, *w); err != nil {
				return err
			}
			o, err := d.pairDeployment(s, *w)
			if err != nil {
				return err
			}
			s.deployments = append(s.deployments, o)
		}
		if s.track == TrackBaseline {
			manifest.Set{Objects: s.deployments}.PinImages(digests)
		}
	}
	for i := range d.workloads {
		d.equalize(d.sides[0].deployments[i], d.sides[1].deployments[i])
	}
	for _, s := range d.sides {
		if err := d.trackServices(s); err != nil {
			return err
		}
	}
	return d.sign()
}

// servingVersion is the version that the Services of a blue-green release ask for. Pods that shall be behind them have it.
func (d *duet) servingVersion() string {
	if d.route != "" {
		return ""
	}
	for _, g := range d.gates {
		if version := selectorOf(g.live)[LabelVersion]; version != "" {
			return version
		}
	}
	return ""
}

// digests are those that the images of the baseline stand for: as they run if that is what serves, or as they are recorded.
func (d *duet) digests(a pipeline.StartPair) map[string]string {
	digests := map[string]string{}
	if a.Compare.ID == a.Stable.ID {
		for _, image := range d.serving.images {
			digests[image.Name] = image.Digest
		}
	} else {
		for _, image := range a.Compare.Images {
			digests[image.Name] = image.Digest
		}
	}
	maps.DeleteFunc(digests, func(name, _ string) bool { return manifest.ImageDigest(name) != "" })
	return digests
}

// pairDeployment is a Deployment as it is on a track: with a name, a selector and labels of its own, and with as many pods
// as the other track's.
func (d *duet) pairDeployment(s *side, w part) (manifest.Object, error) {
	o := manifest.Object{Unstructured: w.DeepCopy(), From: w.From}
	o.SetName(trackName(w.original, s.track, d.id))
	own := map[string]string{LabelPair: d.id, LabelTrack: s.track, LabelWorkload: labelValue(w.original)}
	all := merged(maps.Clone(own), map[string]string{LabelVersion: s.version})
	labels, err := d.podLabels(s, w, merged(templateLabels(w.Unstructured), all))
	if err != nil {
		return o, err
	}
	o.SetLabels(merged(o.GetLabels(), all))
	for _, set := range []func() error{
		func() error {
			unstructured.RemoveNestedField(o.Object, "spec", "selector")
			return unstructured.SetNestedStringMap(o.Object, own, "spec", "selector", "matchLabels")
		},
		func() error {
			return unstructured.SetNestedStringMap(o.Object, labels, "spec", "template", "metadata", "labels")
		},
		func() error {
			return unstructured.SetNestedField(o.Object, int64(d.canary.Instances), "spec", "replicas")
		},
		func() error { return s.refer(o) },
	} {
		if set() != nil {
			return o, refusal(pipeline.ReasonManifest, w.From.String()+": "+w.Title()+" doesn't have the form of its kind", nil)
		}
	}
	unstructured.RemoveNestedField(o.Object, "spec", "paused")
	return o, nil
}

// podLabels are those of a track's pods. Without a route they are what the Services ask for that lead to what serves; with
// one, they differ from that in one label of each such Service, because the tracks have Services of their own.
func (d *duet) podLabels(s *side, w part, labels map[string]string) (map[string]string, error) {
	for _, g := range d.gates {
		behind := slices.ContainsFunc(d.stable.behind(g.part), func(b part) bool { return b.original == w.original })
		selector := selectorOf(g.live)
		switch {
		case d.route == "" && behind && !within(selector, labels):
			return nil, refusal(pipeline.ReasonManifest, fmt.Sprintf("%s leads to pods with %s, which those of %s of %s don't have, so they would get no traffic", g.Title(), sorted(selector), w.Title(), s.what()), nil)
		case d.route != "" && within(selector, labels):
			key := s.leastNeeded(selector, labels)
			if key == "" {
				return nil, refusal(pipeline.ReasonManifest, fmt.Sprintf("%s and a NetworkPolicy select the pods of %s by the same labels, so a route can't tell a pair's from the others", g.Title(), w.Title()), nil)
			}
			value := labelValue(labels[key] + "-" + s.track)
			s.labels[key+"="+labels[key]], labels[key] = value, value
		}
	}
	return labels, nil
}

// leastNeeded is the label of a Service's selector that no policy of the network asks for, "" if there is none.
func (s *side) leastNeeded(selector, labels map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		if key == LabelVersion {
			continue
		}
		asked := slices.ContainsFunc(s.arr.parts, func(p part) bool {
			match, _, _ := unstructured.NestedStringMap(p.Object.Object, "spec", "podSelector", "matchLabels")
			return p.GetKind() == "NetworkPolicy" && match[key] == labels[key]
		})
		if !asked {
			return key
		}
	}
	return ""
}

// renamed is a selector of the side's manifests with the labels that its pods have.
func (s *side) renamed(selector map[string]string) map[string]string {
	renamed := map[string]string{}
	for key, value := range selector {
		renamed[key] = cmp.Or(s.labels[key+"="+value], value)
	}
	return renamed
}

func sorted(labels map[string]string) string {
	var words []string
	for _, key := range sortedKeys(labels) {
		words = append(words, key+"="+labels[key])
	}
	return clean(strings.Join(words, ", "), 200)
}

// equalize gives the baseline the resources of the canary: with less memory or more processors on one track the two would
// differ by that and not by the commit.
func (d *duet) equalize(baseline, canary manifest.Object) {
	for _, list := range []string{"containers", "initContainers"} {
		from := containers(canary, list)
		for _, c := range containers(baseline, list) {
			i := slices.IndexFunc(from, func(f map[string]any) bool { return f["name"] == c["name"] })
			if i >= 0 && d.copyResources(c, from[i]) {
				d.notes = append(d.notes, fmt.Sprintf("container %v of the baseline has the resources that the commit gives it", c["name"]))
			}
		}
	}
	to, _, _ := unstructured.NestedFieldNoCopy(baseline.Object, "spec", "template", "spec")
	from, _, _ := unstructured.NestedFieldNoCopy(canary.Object, "spec", "template", "spec")
	if spec, ok := to.(map[string]any); ok {
		if other, ok := from.(map[string]any); ok && d.copyResources(spec, other) {
			d.notes = append(d.notes, "pods of the baseline have the resources that the commit gives them")
		}
	}
}

// copyResources tells whether there was a difference.
func (d *duet) copyResources(to, from map[string]any) bool {
	if sameJSON(to["resources"], from["resources"]) {
		return false
	}
	if delete(to, "resources"); from["resources"] != nil {
		to["resources"] = runtime.DeepCopyJSONValue(from["resources"])
	}
	return true
}

// containers are a workload's own, and not copies.
func containers(o manifest.Object, list string) []map[string]any {
	found, _, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "template", "spec", list)
	return mapsIn(found)
}

// trackServices makes the Services by which a route leads to the track.
func (d *duet) trackServices(s *side) error {
	for _, name := range d.services {
		i := slices.IndexFunc(s.arr.parts, func(p part) bool { return p.role == gate && p.original == name })
		if i < 0 {
			return refusal(pipeline.ReasonManifest, fmt.Sprintf("%s has no Service %s that leads to its pods, and the route splits the traffic of that one", s.what(), name), nil)
		}
		o, err := d.trackService(s, s.arr.parts[i])
		if err != nil {
			return err
		}
		s.services = append(s.services, o)
	}
	return nil
}

// sign marks everything as the pair's, and writes on each Deployment what else is.
func (d *duet) sign() error {
	text, err := json.Marshal(d.found().parts)
	if err != nil {
		return fmt.Errorf("encode the parts of a pair: %w", err)
	}
	for _, s := range d.sides {
		for _, o := range slices.Concat(s.copies, s.services) {
			o.SetLabels(merged(o.GetLabels(), map[string]string{LabelPair: d.id, LabelTrack: s.track, LabelVersion: s.version}))
		}
		for _, o := range s.deployments {
			o.SetAnnotations(merged(o.GetAnnotations(), map[string]string{AnnotationParts: string(text)}))
		}
	}
	return nil
}

// found is the pair as it will be found again.
func (d *duet) found() *foundPair {
	f := &foundPair{id: d.id, deployments: d.deployments(), parts: pairParts{Route: d.route, Services: d.services}}
	for _, s := range d.sides {
		for _, o := range slices.Concat(s.copies, s.services) {
			f.remember(partName{Kind: o.GetKind(), Name: o.GetName()})
		}
	}
	return f
}

// deployments are those of both tracks, in turns.
func (d *duet) deployments() []manifest.Object {
	var all []manifest.Object
	for i := range d.workloads {
		all = append(all, d.sides[0].deployments[i], d.sides[1].deployments[i])
	}
	return all
}

// parts are what the pods need and what leads to them. The cluster removes them with the Deployments of their track.
func (d *duet) parts(owners map[string]ownedBy) []manifest.Object {
	var all []manifest.Object
	for _, s := range d.sides {
		var refs []any
		for _, w := range s.deployments {
			if by, ok := owners[w.GetName()]; ok {
				refs = append(refs, map[string]any{"apiVersion": w.GetAPIVersion(), "kind": w.GetKind(), "name": by.name, "uid": by.uid})
			}
		}
		for _, o := range slices.Concat(s.copies, s.services) {
			c := manifest.Object{Unstructured: o.DeepCopy(), From: o.From}
			if meta, ok := c.Object["metadata"].(map[string]any); ok && len(refs) > 0 {
				meta["ownerReferences"] = refs
			}
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b manifest.Object) int { return a.Wave() - b.Wave() })
	return all
}
