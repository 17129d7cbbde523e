package controllers

import (
	"sort"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The annotations by which a Deployment and its ReplicaSets remember.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"
)

// rollout is what is decided upon: a Deployment, the ReplicaSet of its template, and the others, oldest first.
type rollout struct {
	d     *appsv1.Deployment
	newRS *appsv1.ReplicaSet
	old   []*appsv1.ReplicaSet
}

// bounds are how many pods more and fewer than wanted there may be: surge rounds up, unavailable down, and not both are zero.
func bounds(d *appsv1.Deployment) (surge, unavailable int32) {
	ru := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || ru == nil || *d.Spec.Replicas == 0 {
		return 0, 0
	}
	s, errSurge := intstr.GetScaledValueFromIntOrPercent(ru.MaxSurge, int(*d.Spec.Replicas), true)
	u, errUnavailable := intstr.GetScaledValueFromIntOrPercent(ru.MaxUnavailable, int(*d.Spec.Replicas), false)
	if errSurge != nil || errUnavailable != nil {
		return 0, 1
	}
	if s == 0 && u == 0 {
		u = 1
	}
	return int32(s), min(int32(u), *d.Spec.Replicas)
}

func (r rollout) all() []*appsv1.ReplicaSet {
	if r.newRS == nil {
		return r.old
	}
	return append(append([]*appsv1.ReplicaSet(nil), r.old...), r.newRS)
}

func wanted(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += *rs.Spec.Replicas
	}
	return n
}

func availableOf(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += rs.Status.AvailableReplicas
	}
	return n
}

// scaling tells whether the Deployment's replicas changed since its ReplicaSets were last sized.
func (r rollout) scaling() bool {
	for _, rs := range r.all() {
		if *rs.Spec.Replicas == 0 {
			continue
		}
		desired, err := strconv.Atoi(rs.Annotations[desiredAnnotation])
		if err == nil && desired != int(*r.d.Spec.Replicas) {
			return true
		}
	}
	return false
}

// sizes decides one step of a rolling update: the ReplicaSets whose size changes. New pods come first; old ones go as
// far as enough pods stay available, those that are broken before the others.
func (r rollout) sizes() map[string]int32 {
	if up, changed := r.newSize(); changed {
		return map[string]int32{r.newRS.Name: up}
	}
	out := map[string]int32{}
	surplus := r.removable()
	if surplus <= 0 {
		return out
	}
	left := map[string]int32{}
	for _, rs := range r.old {
		size := *rs.Spec.Replicas
		broken := min(max(size-rs.Status.AvailableReplicas, 0), surplus)
		surplus -= broken
		left[rs.Name] = size - broken
	}
	_, unavailable := bounds(r.d)
	spare := availableOf(r.all()) - (*r.d.Spec.Replicas - unavailable)
	for _, rs := range r.old {
		if cut := min(left[rs.Name], max(spare, 0)); cut > 0 {
			left[rs.Name] -= cut
			spare -= cut
		}
		if left[rs.Name] != *rs.Spec.Replicas {
			out[rs.Name] = left[rs.Name]
		}
	}
	return out
}

// newSize is how large the new ReplicaSet may be now.
func (r rollout) newSize() (int32, bool) {
	size, target := *r.newRS.Spec.Replicas, *r.d.Spec.Replicas
	if size == target {
		return size, false
	}
	if size > target || r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return target, true
	}
	surge, _ := bounds(r.d)
	room := target + surge - wanted(r.all())
	if room <= 0 {
		return size, false
	}
	return size + min(room, target-size), true
}

// removable is how many old pods may go without falling below what must stay available.
func (r rollout) removable() int32 {
	if wanted(r.old) == 0 {
		return 0
	}
	_, unavailable := bounds(r.d)
	notYet := *r.newRS.Spec.Replicas - r.newRS.Status.AvailableReplicas
	return wanted(r.all()) - (*r.d.Spec.Replicas - unavailable) - notYet
}

// rescaled decides what a change of the Deployment's replicas does to its ReplicaSets: all of it for the only active one,
// shares by size in the middle of a rollout.
func (r rollout) rescaled() map[string]int32 {
	var active []*appsv1.ReplicaSet
	for _, rs := range r.all() {
		if *rs.Spec.Replicas > 0 {
			active = append(active, rs)
		}
	}
	switch {
	case len(active) == 0 && r.newRS != nil:
		return map[string]int32{r.newRS.Name: *r.d.Spec.Replicas}
	case len(active) == 0 && len(r.old) > 0:
		return map[string]int32{r.old[len(r.old)-1].Name: *r.d.Spec.Replicas}
	case len(active) == 0:
		return nil
	case len(active) == 1:
		return map[string]int32{active[0].Name: *r.d.Spec.Replicas}
	}
	out := map[string]int32{}
	surge, _ := bounds(r.d)
	target := *r.d.Spec.Replicas + surge
	if *r.d.Spec.Replicas == 0 {
		target = 0
	}
	total, given := wanted(active), int32(0)
	sort.SliceStable(active, func(i, j int) bool { return *active[i].Spec.Replicas > *active[j].Spec.Replicas })
	for _, rs := range active {
		out[rs.Name] = *rs.Spec.Replicas * target / total
		given += out[rs.Name]
	}
	out[active[0].Name] += target - given
	return out
}
