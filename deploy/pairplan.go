package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// duet is a baseline and a canary that are to be put beside what serves.
type duet struct {
	where     place
	id        string
	canary    pipeline.Canary
	weight    int
	stable    arrangement // what serves, as it is in the cluster
	gates     []gateNow   // the Services that lead to it
	route     string      // that splits the traffic, "" if the number of pods does
	services  []string    // that the route leads to, and that are split
	workloads []string    // names in the manifests of the Deployments that are paired
	sides     [2]*side    // the baseline, and the canary
	serving   serving
	notes     []string // for people: how the two are made equal, and what is left out
}

// serving is what is recorded of the release that serves.
type serving struct {
	images   []pipeline.Image // with the digests that run
	replicas int32            // of the Deployments that are paired
}

// side is one track of a pair.
type side struct {
	track   string
	release pipeline.Release
	set     manifest.Set
	arr     arrangement       // of the set under its own names
	version string            // the value of LabelVersion
	labels  map[string]string // "key=value" → the value that its pods have instead
	config  map[partName]string

	deployments, copies, services []manifest.Object
}

// duet finds out what the pair consists of. It changes nothing.
func (e *Executor) duet(ctx context.Context, t *pipeline.Task, a pipeline.StartPair, c pipeline.Canary, where place, id string) (*duet, error) {
	d := &duet{where: where, id: id, canary: c, weight: a.Weight}
	baseline, err := e.baseline(ctx, a.Compare)
	if err != nil {
		return nil, err
	}
	commit, err := e.commit(ctx, t, c, pipeline.Release{ID: fmt.Sprintf("%s/%s/%d", t.Delivery.ID, a.Stage, a.Attempt), SHA: t.Delivery.SHA})
	if err != nil {
		return nil, err
	}
	d.sides = [2]*side{baseline, commit}
	for _, s := range d.sides {
		s.release.Delivery = t.Delivery.ID // whose the pair is, and not who first brought what it is made of
		if err := where.within(s.set); err != nil {
			return nil, err
		}
		owner := where.owner
		owner.Delivery, owner.Release, owner.SHA = s.release.Delivery, s.release.ID, s.release.SHA
		if s.arr, err = arrange(stamp(s.set.Objects, owner, where.Namespace), pipeline.Release{}); err != nil {
			return nil, err
		}
	}
	if d.stable, err = e.arrangement(ctx, where, a.Stable); err != nil {
		return nil, err
	}
	for _, find := range []func() error{
		d.choose,
		func() error { return d.seeServing(ctx, a) },
		func() error { return d.seeGates(ctx) },
		func() error { return d.seeRoute(ctx) },
		func() error { return d.compose(ctx, a) },
	} {
		if err := find(); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// baseline is the recorded release that is compared with.
func (e *Executor) baseline(ctx context.Context, r pipeline.Release) (*side, error) {
	set, err := e.recorded(ctx, r)
	set.Objects = slices.DeleteFunc(set.Objects, manifest.Object.DefinesKind) // they are not paired, and stay as they are
	return &side{track: TrackBaseline, release: r, set: set}, err
}

// commit is what the delivery's commit renders to, as it would be deployed.
func (e *Executor) commit(ctx context.Context, t *pipeline.Task, c pipeline.Canary, r pipeline.Release) (*side, error) {
	set, err := e.render(ctx, t, c.Deploy)
	if err != nil {
		return nil, err
	}
	return &side{track: TrackCanary, release: r, set: set}, e.pin(ctx, set)
}

// choose decides which Deployments are paired: those that are named or, if none is, all that a Service leads to and both
// releases have.
func (d *duet) choose() error {
	names := d.canary.Workloads
	if len(names) == 0 {
		for _, w := range d.sides[1].arr.only(versioned) {
			names = append(names, w.original)
		}
		if len(names) == 0 {
			return refusal(pipeline.ReasonManifest, "no Service of these manifests leads to a Deployment, so there is nothing to pair by itself: name the Deployments in workloads", nil)
		}
	}
	for _, name := range names {
		missing := ""
		for _, s := range d.sides {
			o, err := s.deployment(name)
			if err != nil {
				return err
			}
			if o == nil {
				missing = s.what()
			}
		}
		switch {
		case missing == "":
			d.workloads = appendNew(d.workloads, name)
		case len(d.canary.Workloads) > 0:
			return refusal(pipeline.ReasonManifest, fmt.Sprintf("Deployment %s can't be paired, because %s doesn't have it", clean(name, 100), missing), nil)
		default:
			d.notes = append(d.notes, fmt.Sprintf("Deployment %s is not compared, because %s doesn't have it", clean(name, 100), missing))
		}
	}
	if len(d.workloads) == 0 {
		return refusal(pipeline.ReasonManifest, "the commit and the release that it is compared with have no Deployment in common: "+strings.Join(d.notes, ", "), nil)
	}
	return nil
}

// what the side is, for people.
func (s *side) what() string {
	if s.track == TrackCanary {
		return "the commit"
	}
	return "release " + clean(s.release.ID, 100)
}

// deployment is the side's Deployment of that name, nil if there is none. One that can't be there twice is refused.
func (s *side) deployment(name string) (*part, error) {
	for i := range s.arr.parts {
		p := &s.arr.parts[i]
		if p.original != name {
			continue
		}
		switch {
		case isKind(p.Object, "StatefulSet", "DaemonSet"):
			return nil, refusal(pipeline.ReasonManifest, p.Title()+" can't be paired: only Deployments can, whose pods are all the same", nil)
		case !isKind(p.Object, "Deployment"):
			continue
		}
		volumes, _, _ := unstructured.NestedSlice(p.Object.Object, "spec", "template", "spec", "volumes")
		for _, v := range volumes {
			volume, _ := v.(map[string]any)
			if claim, ok := volume["persistentVolumeClaim"].(map[string]any); ok {
				return nil, refusal(pipeline.ReasonManifest, fmt.Sprintf("%s can't be paired: its pods have volume claim %v, which other pods must not write to", p.Title(), claim["claimName"]), nil)
			}
		}
		return p, nil
	}
	return nil, nil // there is none
}

// seeServing looks at the Deployments beside which the pair is put. Where they are gone, the pair would have all traffic.
func (d *duet) seeServing(ctx context.Context, a pipeline.StartPair) error {
	for _, name := range d.workloads {
		i := slices.IndexFunc(d.stable.parts, func(p part) bool { return p.original == name && isKind(p.Object, "Deployment") })
		if i < 0 {
			return refusal(pipeline.ReasonManifest, fmt.Sprintf("release %s, which serves, has no Deployment %s, beside which a pair could be put", clean(a.Stable.ID, 100), clean(name, 100)), nil)
		}
		o := d.stable.parts[i]
		live, err := d.where.readDeployment(ctx, o.Object)
		switch {
		case err != nil:
			return err
		case live == nil:
			return refusal(pipeline.ReasonOther, o.Title()+", which serves, is gone", nil)
		case live.Annotations[AnnotationRelease] != a.Stable.ID:
			return refusal(pipeline.ReasonConflict, fmt.Sprintf("%s, which serves, is %s by now, and not release %s", o.Title(), orNobody(live.Annotations[AnnotationRelease]), clean(a.Stable.ID, 100)), nil)
		case live.Status.AvailableReplicas == 0:
			return &pipeline.Failure{Code: pipeline.ReasonOther, After: 2 * time.Second, Detail: o.Title() + ", which serves, has no available pod, and a pair beside it would get all of the traffic"}
		}
		d.serving.replicas += replicas(live.Spec.Replicas)
		images, err := d.running(ctx, o, metav1.FormatLabelSelector(live.Spec.Selector))
		if err != nil {
			return err
		}
		d.serving.images = append(d.serving.images, images...)
	}
	return nil
}

// running are the images of a Deployment's pods, with the digests that they run. An image of which pods run different ones,
// because its tag was moved, has none.
func (d *duet) running(ctx context.Context, o part, selector string) ([]pipeline.Image, error) {
	pods, err := d.where.Cluster.List(ctx, corev1.SchemeGroupVersion.WithKind("Pod"), selector+",!"+LabelPair)
	if err != nil {
		return nil, err
	}
	digests, different := map[string]string{}, map[string]bool{}
	for _, p := range pods {
		pod := &corev1.Pod{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(p.Object, pod); err != nil {
			return nil, fmt.Errorf("read pod %s: %w", p.GetName(), err)
		}
		for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
			image, digest := imageOf(pod, s.Name), manifest.ImageDigest(s.ImageID)
			if !strings.HasPrefix(digest, "sha256:") || !sameRepository(image, s.ImageID) {
				continue
			}
			different[image] = different[image] || digests[image] != "" && digests[image] != digest
			digests[image] = digest
		}
	}
	images := imagesOf(manifest.Set{Objects: []manifest.Object{o.Object}})
	for i, image := range images {
		switch {
		case different[image.Name]:
			d.notes = append(d.notes, "pods of "+o.Title()+" run different images under the name "+clean(image.Name, 150))
		case image.Digest == "":
			images[i].Digest = digests[image.Name]
		}
	}
	return images, nil
}

// sameRepository tells that a node got an image from where its name says. What was loaded into the node by hand has a
// digest by which nobody else can get it.
func sameRepository(image, id string) bool {
	name := manifest.ImageName(image)
	got := manifest.ImageName(strings.TrimPrefix(id, "docker-pullable://"))
	return name == got || strings.HasSuffix(got, "/"+name)
}

// seeGates looks at the Services that lead to what is paired.
func (d *duet) seeGates(ctx context.Context) error {
	for _, g := range d.stable.only(gate) {
		if !slices.ContainsFunc(d.stable.behind(g), func(w part) bool { return slices.Contains(d.workloads, w.original) }) {
			continue
		}
		live, err := d.where.Cluster.Get(ctx, g.Object)
		switch {
		case err != nil:
			return err
		case live == nil:
			return refusal(pipeline.ReasonOther, g.Title()+", which leads to what serves, is gone", nil)
		case selectorOf(live)[labelHash] != "":
			return refusal(pipeline.ReasonConflict, g.Title()+" is held on the pods of one Deployment, as while another release takes over, so a pair would get no traffic", nil)
		}
		d.gates = append(d.gates, gateNow{part: g, live: live})
	}
	return nil
}

// seeRoute looks at the HTTPRoute by which the traffic is split.
func (d *duet) seeRoute(ctx context.Context) error {
	if d.weight == 0 {
		return nil
	}
	traffic := d.canary.Deploy.Traffic
	if traffic == nil {
		return refusal(pipeline.ReasonManifest, "weights need an HTTPRoute that splits the traffic", nil)
	}
	r := routing{Traffic: *traffic}
	live, err := d.where.Cluster.Get(ctx, r.object(d.where.Namespace))
	if err != nil {
		return err
	}
	if live == nil {
		return refusal(pipeline.ReasonManifest, fmt.Sprintf("there is no HTTPRoute %s in namespace %s", r.HTTPRoute, d.where.Namespace), nil)
	}
	if why := refusedRoute(live); why != "" {
		return refusal(pipeline.ReasonRefused, fmt.Sprintf("HTTPRoute %s can't split traffic: %s", r.HTTPRoute, why), nil)
	}
	for _, g := range d.gates {
		if named(rulesOf(live), g.original) {
			d.services = append(d.services, g.original)
		}
	}
	if len(d.services) == 0 {
		return refusal(pipeline.ReasonManifest, fmt.Sprintf("HTTPRoute %s refers to no Service that leads to what is paired (%s)", r.HTTPRoute, strings.Join(d.workloads, ", ")), nil)
	}
	d.route = r.HTTPRoute
	return nil
}
