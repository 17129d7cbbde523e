package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// scene is a release that is to come up, and what is there before.
type scene struct {
	where   place
	arr     arrangement
	gates   []gateNow
	routing routing
	route   *unstructured.Unstructured // nil if there is none
	live    map[manifest.Key]*unstructured.Unstructured
}

// look reads what the release meets. It changes nothing, unless an earlier release has its traffic on a preview Service
// still: that move is finished first, so that the preview Service is free. strict refuses a route that no gateway follows.
func (e *Executor) look(ctx context.Context, where place, a arrangement, traffic *pipeline.Traffic, strict bool) (*scene, error) {
	s := &scene{where: where, arr: a, live: map[manifest.Key]*unstructured.Unstructured{}}
	var err error
	if s.routing, s.route, err = routingOf(ctx, where, a, traffic, strict); err != nil {
		return nil, err
	}
	if s.route != nil && s.routing.previewing(rulesOf(s.route)) {
		if err := s.finishMove(ctx); err != nil {
			return nil, err
		}
	}
	if s.gates, err = e.survey(ctx, where, a); err != nil {
		return nil, err
	}
	return s, s.readSizes(ctx)
}

// finishMove brings traffic that goes to preview Services back to the release's own, for the pods that have it.
func (s *scene) finishMove(ctx context.Context) error {
	for _, g := range s.arr.only(gate) {
		if !slices.Contains(s.routing.services, g.original) {
			continue
		}
		o, err := preview(g)
		if err != nil {
			return err
		}
		live, err := s.where.Cluster.Get(ctx, o)
		if err != nil {
			return err
		}
		if live == nil || selectorOf(live)[LabelVersion] == "" {
			continue
		}
		if who := s.where.owner.stranger(live); who != "" {
			return taken(o, who)
		}
		if _, err := s.where.Cluster.Merge(ctx, g.Object, pin{version: selectorOf(live)[LabelVersion]}.change()); err != nil {
			return err
		}
		if err := s.where.settled(ctx, g.original, selectorOf(live)[LabelVersion]); err != nil {
			return err
		}
	}
	return s.routing.reroute(ctx, s.where, func(rules []any) []any { return s.routing.moved(rules, false) })
}

// adopts names the Deployment that is not blue-green and has the traffic which the release will get, "" if there is none.
func (s *scene) adopts() string {
	if s.arr.version == "" {
		return ""
	}
	for _, g := range s.gates {
		name := ""
		switch {
		case g.pin != nil && g.pin.hash != "":
			name = g.pin.deployment
		case g.live != nil:
			name, _ = replaced(g.live)
		}
		if name != "" {
			return deploymentNamed(name).Title()
		}
	}
	return ""
}

// held tells that something else serves, so that what follows the traffic doesn't change yet.
func (s *scene) held() bool {
	return slices.ContainsFunc(s.gates, func(g gateNow) bool { return g.held })
}

// readSizes reads the Deployments whose number of pods isn't the manifests' alone.
func (s *scene) readSizes(ctx context.Context) error {
	for i := range s.arr.parts {
		d := &s.arr.parts[i]
		if d.role != versioned || s.arr.version == "" && !s.held() || !s.arr.scaled(*d) {
			continue
		}
		own, err := s.where.Cluster.Get(ctx, d.Object)
		if err != nil {
			return err
		}
		serving := own
		if own == nil || replicaCount(own) == 0 {
			if serving, err = s.serving(ctx, *d); err != nil {
				return err
			}
		}
		if err := resize(d, own, serving); err != nil {
			return err
		}
	}
	return nil
}

// scaled tells that something else than the manifest decides how many pods a Deployment has.
func (a arrangement) scaled(d part) bool {
	if _, found, _ := unstructured.NestedFieldNoCopy(d.Object.Object, "spec", "replicas"); !found {
		return true
	}
	return slices.ContainsFunc(a.only(follower), func(f part) bool {
		name, ok := scales(f.Object)
		return ok && name == d.GetName()
	})
}

// serving is the Deployment that has the traffic which d will get, nil if there is none.
func (s *scene) serving(ctx context.Context, d part) (*unstructured.Unstructured, error) {
	for _, g := range s.gates {
		if g.live == nil || !within(g.selector, templateLabels(d.Unstructured)) {
			continue
		}
		name, _ := replaced(g.live)
		if g.pin != nil {
			name = g.pin.deployment
		}
		if version := selectorOf(g.live)[LabelVersion]; version != "" {
			name = versionedName(d.original, version)
		}
		if name == "" {
			continue
		}
		return s.where.Cluster.Get(ctx, deploymentNamed(name))
	}
	return nil, nil // there is none
}

func deploymentNamed(name string) manifest.Object {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
	o.SetName(name)
	return manifest.Object{Unstructured: o}
}

// resize gives a Deployment as many pods as it has, so that nobody's scaling is undone, or as many as the one that
// serves, but no fewer than its manifest says.
func resize(d *part, own, serving *unstructured.Unstructured) error {
	n, found, _ := unstructured.NestedInt64(d.Object.Object, "spec", "replicas")
	if !found {
		n = 1
	}
	switch {
	case own != nil && replicaCount(own) > 0:
		n = replicaCount(own)
	case serving != nil:
		n = max(n, replicaCount(serving))
	}
	if err := unstructured.SetNestedField(d.Object.Object, n, "spec", "replicas"); err != nil {
		return refusal(pipeline.ReasonManifest, d.Title()+" has no spec", err)
	}
	return nil
}

func replicaCount(workload *unstructured.Unstructured) int64 {
	n, found, err := unstructured.NestedInt64(workload.Object, "spec", "replicas")
	if !found || err != nil {
		return 1
	}
	return n
}

// trial is the release's objects as the cluster is asked for beforehand.
func (s *scene) trial(ctx context.Context) ([]manifest.Object, error) {
	var objects []manifest.Object
	for _, p := range s.arr.parts {
		switch p.role {
		case gate:
			if slices.Contains(s.routing.services, p.original) {
				o, err := preview(p)
				if err != nil {
					return nil, err
				}
				objects = append(objects, o)
			}
			i := slices.IndexFunc(s.gates, func(g gateNow) bool { return g.Key() == p.Key() })
			if s.arr.version == "" && !s.gates[i].held && !s.gates[i].mixed {
				objects = append(objects, p.Object)
				continue
			}
			objects = append(objects, s.gates[i].trial())
		case follower:
			o, err := s.trialFollower(ctx, p)
			if err != nil {
				return nil, err
			}
			objects = append(objects, o)
		case route:
			o := p.Object
			if s.route != nil {
				o = asLive(o, s.route, "spec", "rules")
			}
			objects = append(objects, o)
		case plain, versioned:
			objects = append(objects, p.Object)
		}
	}
	return objects, nil
}

func (s *scene) trialFollower(ctx context.Context, p part) (manifest.Object, error) {
	if s.arr.version == "" && !s.held() {
		return p.Object, nil
	}
	live, err := s.where.Cluster.Get(ctx, p.Object)
	if err != nil || live == nil {
		return p.Object, err
	}
	if _, ok := scales(p.Object); ok {
		return asLive(p.Object, live, "spec", "scaleTargetRef"), nil
	}
	return asLive(p.Object, live, "spec", "selector"), nil
}

// bringUp applies what of the release may be there before it has the traffic. It returns how much was changed before an
// error. force takes fields over from others.
func (s *scene) bringUp(ctx context.Context, force bool) (changed int, err error) {
	if slices.ContainsFunc(s.gates, func(g gateNow) bool { return g.mixed }) {
		removed, err := s.where.removeBehind(ctx, s.arr)
		if changed += len(removed); err != nil {
			return changed, err
		}
	}
	for _, g := range s.gates {
		if g.pin == nil {
			continue
		}
		if _, err := s.where.Cluster.Merge(ctx, g.Object, g.pin.change()); err != nil {
			return changed, err
		}
		changed++
	}
	batches, err := s.now(force)
	if err != nil {
		return changed, err
	}
	for _, b := range batches {
		applied, err := s.where.Cluster.Apply(ctx, b.objects, b.force)
		if changed += applied; err != nil {
			return changed, err
		}
	}
	if s.routing.services != nil && len(s.arr.only(route)) == 0 {
		return changed, s.routing.reroute(ctx, s.where, s.routing.with)
	}
	return changed, nil
}

// batch is objects that are applied in the same way.
type batch struct {
	objects []manifest.Object
	force   bool
}

// now is what is applied while something else may serve, in the order of the set. A preview Service comes right after
// the Service that it is like. What moves traffic to a blue-green release is taken over from others: whether they manage
// more of it was asked before. So are its Deployments, which are nobody else's.
func (s *scene) now(force bool) ([]batch, error) {
	var batches []batch
	add := func(o manifest.Object, force bool) {
		if n := len(batches); n == 0 || batches[n-1].force != force {
			batches = append(batches, batch{force: force})
		}
		last := &batches[len(batches)-1]
		last.objects = append(last.objects, o)
	}
	take := force || s.arr.version != ""
	for _, p := range s.arr.parts {
		switch p.role {
		case gate:
			if !slices.ContainsFunc(s.gates, func(g gateNow) bool { return g.Key() == p.Key() && g.held }) {
				add(p.Object, take)
			}
			if slices.Contains(s.routing.services, p.original) {
				o, err := preview(p)
				if err != nil {
					return nil, err
				}
				add(o, take)
			}
		case follower:
			if !s.held() {
				add(p.Object, take)
			}
		case route:
			o, err := s.routed(p)
			if err != nil {
				return nil, err
			}
			add(o, take)
		case versioned:
			add(p.Object, take) // what an autoscaler writes meanwhile is no conflict
		case plain:
			add(p.Object, force)
		}
	}
	return batches, nil
}

// routed is the release's own route with its preview backends: the release has no traffic yet.
func (s *scene) routed(p part) (manifest.Object, error) {
	o := manifest.Object{Unstructured: p.DeepCopy(), From: p.From}
	if err := unstructured.SetNestedSlice(o.Object, s.routing.with(rulesOf(o.Unstructured)), "spec", "rules"); err != nil {
		return o, refusal(pipeline.ReasonManifest, p.Title()+" has no spec", err)
	}
	return o, nil
}

// available refuses to move traffic to Deployments whose pods are not all available.
func (p place) available(ctx context.Context, deployments []part) error {
	for _, d := range deployments {
		if p.attending.shows(d.Object, allThere) {
			continue
		}
		live, err := p.readDeployment(ctx, d.Object)
		switch {
		case err != nil:
			return err
		case live == nil:
			return refusal(pipeline.ReasonOther, d.Title()+" is gone, so it can't take the traffic", nil)
		}
		if s := standDeployment(live); !allThere(live) {
			return &pipeline.Failure{Code: pipeline.ReasonOther, After: time.Second, Detail: fmt.Sprintf("traffic isn't moved to %s yet: %s", d.Title(), ofPods(s.ready, s.want))}
		}
	}
	return nil
}

// allThere tells that a Deployment shall have pods, and that all of them are available.
func allThere(d *appsv1.Deployment) bool {
	s := standDeployment(d)
	return d.Status.ObservedGeneration >= d.Generation && s.want > 0 && s.ready >= s.want
}

func (p place) readDeployment(ctx context.Context, o manifest.Object) (*appsv1.Deployment, error) {
	live, err := p.Cluster.Get(ctx, o)
	if err != nil || live == nil {
		return nil, err
	}
	d := &appsv1.Deployment{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, d); err != nil {
		return nil, fmt.Errorf("read %s: %w", o.Title(), err)
	}
	return d, nil
}

// removeVersions removes the environment's blue-green Deployments that are chosen, and tells their titles.
func (p place) removeVersions(ctx context.Context, choose func(*unstructured.Unstructured) bool) ([]string, error) {
	found, err := p.versions(ctx)
	if err != nil {
		return nil, err
	}
	var objects []manifest.Object
	for _, d := range found {
		if choose(d) {
			objects = append(objects, manifest.Object{Unstructured: d})
		}
	}
	return p.Cluster.Remove(ctx, objects, Claim{Owner: p.owner})
}

// removeBehind removes the blue-green Deployments that the gates would lead to if they were held on nothing, and returns
// when their pods have gone from all Services.
func (p place) removeBehind(ctx context.Context, arr arrangement) ([]string, error) {
	behind := func(labels map[string]string) bool {
		return slices.ContainsFunc(arr.only(gate), func(g part) bool { return within(g.selector, labels) })
	}
	removed, err := p.removeVersions(ctx, func(d *unstructured.Unstructured) bool { return behind(templateLabels(d)) })
	if err != nil {
		return removed, err
	}
	// Deleting a Deployment returns before its pods know, and an earlier try may have deleted it.
	return removed, until(ctx, "pods without traffic are still being removed", func() (bool, error) {
		pods, err := p.Cluster.List(ctx, corev1.SchemeGroupVersion.WithKind("Pod"), LabelVersion)
		left := slices.ContainsFunc(pods, func(pod *unstructured.Unstructured) bool {
			return behind(pod.GetLabels()) && pod.GetLabels()[LabelPair] == "" && pod.GetDeletionTimestamp() == nil
		})
		return !left, err
	})
}

// versions are the environment's blue-green Deployments.
func (p place) versions(ctx context.Context) ([]*unstructured.Unstructured, error) {
	return p.Cluster.List(ctx, appsv1.SchemeGroupVersion.WithKind("Deployment"), labels.Set(p.owner.Labels()).String()+","+LabelVersion+",!"+LabelPair)
}

// until asks again and again, and leaves it to another try after a while.
func until(ctx context.Context, waiting string, done func() (bool, error)) error {
	const longest, first, last = 20 * time.Second, 25 * time.Millisecond, 500 * time.Millisecond
	end := time.Now().Add(longest)
	for wait := first; ; wait = min(2*wait, last) {
		ok, err := done()
		switch {
		case ok || err != nil:
			return err
		case time.Now().After(end):
			return &pipeline.Failure{Code: pipeline.ReasonOther, After: time.Second, Detail: waiting}
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// pause lets time pass, unless the context ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
