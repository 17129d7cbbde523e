package controllers

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"sort"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/rand"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

const deploymentSource = "deployment-controller"

// reconcileDeployment takes a Deployment one step towards its template and replicas and reports on it.
func (l *Loop) reconcileDeployment(obj registry.Object) (time.Duration, error) {
	d, ok := obj.(*appsv1.Deployment)
	if !ok {
		return 0, nil
	}
	r := l.replicaSetsOf(d)
	if d.DeletionTimestamp != nil {
		return l.reportDeployment(r, nil)
	}
	created, err := l.prepareRollout(&r)
	if err != nil {
		return 0, err
	}
	var sizes map[string]int32
	switch {
	case d.Spec.Paused || r.scaling():
		sizes = r.rescaled()
	case d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		sizes = l.recreate(r)
	default:
		sizes = r.sizes()
	}
	if err := l.resizeSets(&r, sizes); err != nil {
		return 0, err
	}
	if err := l.forgetOld(r); err != nil {
		return 0, err
	}
	return l.reportDeployment(r, created)
}

// replicaSetsOf finds the ReplicaSets that the Deployment controls and which of them has its template.
func (l *Loop) replicaSetsOf(d *appsv1.Deployment) rollout {
	r := rollout{d: d}
	found, _ := l.reg.List(registry.ReplicaSets, d.Namespace, func(o registry.Object) bool { return metav1.IsControlledBy(o, d) })
	sort.SliceStable(found, func(i, j int) bool {
		return revisionOf(found[i]) < revisionOf(found[j])
	})
	for _, o := range found {
		rs, ok := o.(*appsv1.ReplicaSet)
		switch {
		case !ok:
		case r.newRS == nil && sameTemplate(&rs.Spec.Template, &d.Spec.Template):
			r.newRS = rs
		default:
			r.old = append(r.old, rs)
		}
	}
	return r
}

func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	left, right := a.DeepCopy(), b.DeepCopy()
	delete(left.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(right.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(left, right)
}

func revisionOf(o metav1.Object) int {
	n, err := strconv.Atoi(o.GetAnnotations()[revisionAnnotation])
	if err != nil {
		return 0
	}
	return n
}

// prepareRollout makes sure that there is a ReplicaSet for the template, under the latest revision. It returns the condition
// that says so where it made one.
func (l *Loop) prepareRollout(r *rollout) (*appsv1.DeploymentCondition, error) {
	latest := 0
	for _, rs := range r.old {
		latest = max(latest, revisionOf(rs))
	}
	if r.newRS != nil {
		return nil, l.syncRevision(r, latest+1)
	}
	if r.d.Spec.Paused {
		return nil, nil // a paused Deployment starts nothing, and there is nothing to say about it
	}
	if r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType && l.oldPodsRemain(*r) {
		return nil, nil // the old pods go first
	}
	made, err := l.createReplicaSet(r, latest+1)
	if err != nil {
		return nil, err
	}
	r.newRS = made
	return &appsv1.DeploymentCondition{
		Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetCreated",
		Message: fmt.Sprintf("Created new replica set %q", made.Name),
	}, nil
}

func (l *Loop) createReplicaSet(r *rollout, revision int) (*appsv1.ReplicaSet, error) {
	d := r.d
	hash := templateHash(&d.Spec.Template)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: d.Name + "-" + hash, Namespace: d.Namespace,
			Labels:          labels.Merge(d.Spec.Template.Labels, labels.Set{appsv1.DefaultDeploymentUniqueLabelKey: hash}),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{
			MinReadySeconds: d.Spec.MinReadySeconds,
			Selector:        d.Spec.Selector.DeepCopy(),
			Template:        *d.Spec.Template.DeepCopy(),
		},
	}
	rs.Spec.Selector.MatchLabels = labels.Merge(rs.Spec.Selector.MatchLabels, labels.Set{appsv1.DefaultDeploymentUniqueLabelKey: hash})
	rs.Spec.Template.Labels = labels.Merge(rs.Spec.Template.Labels, labels.Set{appsv1.DefaultDeploymentUniqueLabelKey: hash})
	none := int32(0)
	rs.Spec.Replicas = &none
	size, _ := rollout{d: d, newRS: rs, old: r.old}.newSize()
	rs.Spec.Replicas = &size
	l.annotate(rs, d, revision)
	made, err := l.reg.Create(registry.ReplicaSets, rs, registry.Write{Manager: managerName})
	if err != nil {
		l.event(d, deploymentSource, corev1.EventTypeWarning, "ReplicaSetCreateError", fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, err))
		return nil, fmt.Errorf("create replica set: %w", err)
	}
	if size > 0 {
		l.event(d, deploymentSource, corev1.EventTypeNormal, "ScalingReplicaSet", fmt.Sprintf("Scaled up replica set %s from 0 to %d", rs.Name, size))
	}
	out, ok := made.(*appsv1.ReplicaSet)
	if !ok {
		return nil, fmt.Errorf("replica set is a %T", made)
	}
	return out, nil
}

// templateHash names a template: the suffix of its ReplicaSet and the value of the pods' pod-template-hash label.
func templateHash(template *corev1.PodTemplateSpec) string {
	h := fnv.New32a()
	_ = json.NewEncoder(h).Encode(template) // neither the type nor the hash can fail
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// annotate copies the Deployment's annotations to its ReplicaSet, with the revision and the sizes to remember.
func (l *Loop) annotate(rs *appsv1.ReplicaSet, d *appsv1.Deployment, revision int) {
	notes := maps.Clone(rs.Annotations)
	if notes == nil {
		notes = map[string]string{}
	}
	for name, value := range d.Annotations {
		if name != corev1.LastAppliedConfigAnnotation && !strings.HasPrefix(name, "deployment.kubernetes.io/") {
			notes[name] = value
		}
	}
	if before := revisionOf(rs); before < revision {
		if before > 0 {
			notes[historyAnnotation] = strings.TrimPrefix(notes[historyAnnotation]+","+strconv.Itoa(before), ",")
		}
		notes[revisionAnnotation] = strconv.Itoa(revision)
	}
	surge, _ := bounds(d)
	notes[desiredAnnotation] = strconv.Itoa(int(*d.Spec.Replicas))
	notes[maxAnnotation] = strconv.Itoa(int(*d.Spec.Replicas + surge))
	rs.Annotations = notes
}

// syncRevision moves the template's ReplicaSet to the latest revision: after a rollback it was an older one.
// The sizes to remember stay as they are, because a change of replicas is told by them.
func (l *Loop) syncRevision(r *rollout, revision int) error {
	changed, err := l.reg.Modify(registry.ReplicaSets, r.d.Namespace, r.newRS.Name, registry.Write{Manager: managerName}, func(o registry.Object) error {
		rs, ok := o.(*appsv1.ReplicaSet)
		if !ok {
			return nil
		}
		desired, most := rs.Annotations[desiredAnnotation], rs.Annotations[maxAnnotation]
		l.annotate(rs, r.d, revision)
		rs.Annotations[desiredAnnotation], rs.Annotations[maxAnnotation] = desired, most
		rs.Spec.MinReadySeconds = r.d.Spec.MinReadySeconds
		return nil
	})
	if err != nil {
		return fmt.Errorf("update replica set: %w", err)
	}
	if rs, ok := changed.(*appsv1.ReplicaSet); ok {
		r.newRS = rs
	}
	return nil
}

// resizeSets sets the sizes that were decided, and remembers for which number of replicas.
func (l *Loop) resizeSets(r *rollout, sizes map[string]int32) error {
	for i, rs := range r.all() {
		size, resize := sizes[rs.Name]
		if !resize {
			if !r.scaling() || *rs.Spec.Replicas == 0 {
				continue
			}
			size = *rs.Spec.Replicas
		}
		before := *rs.Spec.Replicas
		changed, err := l.reg.Modify(registry.ReplicaSets, rs.Namespace, rs.Name, registry.Write{Manager: managerName}, func(o registry.Object) error {
			if current, ok := o.(*appsv1.ReplicaSet); ok {
				current.Spec.Replicas = &size
				l.annotate(current, r.d, 0)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("scale replica set %s: %w", rs.Name, err)
		}
		if before != size {
			direction := "up"
			if size < before {
				direction = "down"
			}
			l.event(r.d, deploymentSource, corev1.EventTypeNormal, "ScalingReplicaSet",
				fmt.Sprintf("Scaled %s replica set %s from %d to %d", direction, rs.Name, before, size))
		}
		sized, ok := changed.(*appsv1.ReplicaSet)
		switch {
		case !ok:
		case i < len(r.old):
			r.old[i] = sized
		default:
			r.newRS = sized
		}
	}
	return nil
}

// oldPodsRemain tells whether pods of former templates are there, also those on their way out.
func (l *Loop) oldPodsRemain(r rollout) bool {
	for _, rs := range r.old {
		left, _ := l.reg.List(registry.Pods, rs.Namespace, func(o registry.Object) bool { return metav1.IsControlledBy(o, rs) })
		if *rs.Spec.Replicas > 0 || len(left) > 0 {
			return true
		}
	}
	return false
}

// recreate lets all old pods go before it makes new ones.
func (l *Loop) recreate(r rollout) map[string]int32 {
	out := map[string]int32{}
	for _, rs := range r.old {
		if *rs.Spec.Replicas > 0 {
			out[rs.Name] = 0
		}
	}
	if len(out) == 0 && r.newRS != nil && !l.oldPodsRemain(r) {
		if size, changed := r.newSize(); changed {
			out[r.newRS.Name] = size
		}
	}
	return out
}

// forgetOld deletes the oldest empty ReplicaSets beyond the revision history limit.
func (l *Loop) forgetOld(r rollout) error {
	if r.d.Spec.RevisionHistoryLimit == nil || r.d.Status.UpdatedReplicas != *r.d.Spec.Replicas {
		return nil
	}
	extra := len(r.old) - int(*r.d.Spec.RevisionHistoryLimit)
	for _, rs := range r.old {
		if extra <= 0 {
			return nil
		}
		if *rs.Spec.Replicas != 0 || rs.Status.Replicas != 0 || rs.DeletionTimestamp != nil {
			continue
		}
		if _, _, err := l.reg.Delete(registry.ReplicaSets, rs.Namespace, rs.Name, registry.Removal{}); err != nil {
			return fmt.Errorf("delete old replica set %s: %w", rs.Name, err)
		}
		extra--
	}
	return nil
}
