package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// labelHash is Kubernetes' own label, by which a Service can be held on the pods that a Deployment has now.
const labelHash = appsv1.DefaultDeploymentUniqueLabelKey

// gateNow is a gate, the Service of its name as it is, and what becomes of it when the release is applied.
type gateNow struct {
	part
	live *unstructured.Unstructured // nil if there is none
	// held: it leads to what serves now, and stays as it is until the traffic moves.
	held bool
	// pin holds it on the pods that serve, before others with the same labels come up. nil if it is held already.
	pin *pin
	// mixed: it is held on pods by their hash, beside idle blue-green ones that it would lead to otherwise.
	mixed bool
}

// pin is what a Service is held on: a version, or the pods of a Deployment that is not blue-green.
type pin struct {
	version          string
	hash, deployment string
}

// change is the pin as a change of the Service. The annotation says what blue-green takes over.
func (p pin) change() map[string]any {
	if p.version != "" {
		return map[string]any{"spec": map[string]any{"selector": map[string]any{LabelVersion: p.version, labelHash: nil}}}
	}
	return map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{AnnotationReplaces: p.deployment + "/" + p.hash}},
		"spec":     map[string]any{"selector": map[string]any{labelHash: p.hash, LabelVersion: nil}},
	}
}

// replaced reads from a Service what it led to before blue-green took it over, "" if nothing.
func replaced(service *unstructured.Unstructured) (deployment, hash string) {
	deployment, hash, _ = strings.Cut(service.GetAnnotations()[AnnotationReplaces], "/")
	return deployment, hash
}

// survey looks at the Services of a release's gates.
func (e *Executor) survey(ctx context.Context, where place, a arrangement) ([]gateNow, error) {
	var gates []gateNow
	for _, g := range a.only(gate) {
		now := gateNow{part: g}
		var err error
		if now.live, err = where.Cluster.Get(ctx, g.Object); err != nil {
			return nil, err
		}
		if now.live != nil {
			if err := e.judgeGate(ctx, where, a.version, &now); err != nil {
				return nil, err
			}
		}
		gates = append(gates, now)
	}
	return gates, nil
}

// judgeGate decides what becomes of a gate whose Service is there.
func (e *Executor) judgeGate(ctx context.Context, where place, version string, now *gateNow) error {
	selector := selectorOf(now.live)
	hash := selector[labelHash]
	switch {
	case selector[LabelVersion] != "":
		now.held = selector[LabelVersion] != version
		return nil
	case version == "":
		now.mixed = hash != ""
		return nil
	}
	delete(selector, labelHash)
	sets, err := replicaSetsBehind(ctx, where.Cluster, now.Title(), selector)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(sets, func(rs *appsv1.ReplicaSet) bool { return hash != "" && rs.Labels[labelHash] == hash }) {
		now.held = true
		return nil
	}
	found, err := pinOn(sets, now.Title())
	if err != nil || found == nil || found.version == version {
		return err
	}
	now.held, now.pin = true, found
	e.Logger.InfoContext(ctx, "a Service is taken over", "project", where.owner.Project, "cluster", where.Name, "namespace", where.Namespace,
		"service", now.GetName(), "deployment", found.deployment, "selector_managed_by", managers(now.live, "spec", "selector"))
	return nil
}

// replicaSetsBehind are those with pods that a Service's selector selects, but for a pair's, which serves beside. Pods that no ReplicaSet of a Deployment runs
// are an error: they can't be told from a new release's.
func replicaSetsBehind(ctx context.Context, cluster Cluster, service string, selector map[string]string) ([]*appsv1.ReplicaSet, error) {
	if len(selector) == 0 {
		return nil, nil
	}
	text := labels.SelectorFromSet(selector).String()
	pods, err := cluster.List(ctx, corev1.SchemeGroupVersion.WithKind("Pod"), text)
	if err != nil {
		return nil, err
	}
	for _, p := range pods {
		owner := metav1.GetControllerOf(p)
		phase, _, _ := unstructured.NestedString(p.Object, "status", "phase")
		over := phase == string(corev1.PodSucceeded) || phase == string(corev1.PodFailed)
		if (owner == nil || owner.Kind != "ReplicaSet") && !over && p.GetDeletionTimestamp() == nil {
			return nil, refusal(pipeline.ReasonManifest, fmt.Sprintf("%s leads to pod %s, which no Deployment runs, so blue-green can't keep the traffic where it is", service, p.GetName()), nil)
		}
	}
	found, err := cluster.List(ctx, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), text)
	if err != nil {
		return nil, err
	}
	var sets []*appsv1.ReplicaSet
	for _, o := range found {
		rs := &appsv1.ReplicaSet{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, rs); err != nil {
			return nil, fmt.Errorf("read replica set %s: %w", o.GetName(), err)
		}
		if rs.Labels[LabelPair] == "" && (replicas(rs.Spec.Replicas) > 0 || rs.Status.Replicas > 0) {
			sets = append(sets, rs)
		}
	}
	return sets, nil
}

// pinOn is what holds a Service on the pods that it leads to, nil if there are none.
func pinOn(sets []*appsv1.ReplicaSet, service string) (*pin, error) {
	pins := map[string]*pin{}
	for _, rs := range sets {
		owner := metav1.GetControllerOf(rs)
		switch version := rs.Labels[LabelVersion]; {
		case owner == nil || owner.Kind != "Deployment":
			return nil, refusal(pipeline.ReasonManifest, fmt.Sprintf("%s leads to pods of ReplicaSet %s, which no Deployment runs, so blue-green can't keep the traffic where it is", service, rs.Name), nil)
		case version != "":
			pins["version "+version] = &pin{version: version, deployment: owner.Name}
		case pins["Deployment "+owner.Name] != nil:
			return nil, &pipeline.Failure{Code: pipeline.ReasonConflict, After: 5 * time.Second, Detail: fmt.Sprintf("Deployment %s, behind %s, is still rolling out", owner.Name, service)}
		default:
			pins["Deployment "+owner.Name] = &pin{hash: rs.Labels[labelHash], deployment: owner.Name}
		}
	}
	names := slices.Sorted(maps.Keys(pins))
	switch len(names) {
	case 0:
		return nil, nil // there is nothing to hold it on
	case 1:
		return pins[names[0]], nil
	}
	return nil, refusal(pipeline.ReasonConflict, fmt.Sprintf("%s leads to the pods of several Deployments (%s), and blue-green can only take over from one", service, strings.Join(names, ", ")), nil)
}

// managers lists who manages a field of an object, but for Slipway.
func managers(o *unstructured.Unstructured, field ...string) string {
	var names []string
	for _, entry := range o.GetManagedFields() {
		if entry.Manager == Manager || entry.FieldsV1 == nil {
			continue
		}
		var fields map[string]any
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		path := make([]string, len(field))
		for i, name := range field {
			path[i] = "f:" + name
		}
		if _, found, err := unstructured.NestedFieldNoCopy(fields, path...); found && err == nil {
			names = append(names, clean(entry.Manager, 100))
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// trial is the gate as the cluster is asked whether it would take it before anything is changed. While it is held its
// selector is what it is now, so that only other managers of other fields are in the way: taking the selector over is
// what blue-green is asked for.
func (g gateNow) trial() manifest.Object {
	if g.live == nil {
		return g.Object
	}
	return asLive(g.Object, g.live, "spec", "selector")
}

// asLive is the object with a field as it is in the cluster, and without a conflict about who brought it there.
func asLive(o manifest.Object, live *unstructured.Unstructured, field ...string) manifest.Object {
	trial := manifest.Object{Unstructured: o.DeepCopy(), From: o.From}
	if value, found, err := unstructured.NestedFieldCopy(live.Object, field...); found && err == nil {
		if unstructured.SetNestedField(trial.Object, value, field...) != nil {
			return o
		}
	}
	if by := live.GetLabels()[LabelManagedBy]; by != "" && by != Manager {
		trial.SetLabels(merged(trial.GetLabels(), map[string]string{LabelManagedBy: by}))
	}
	return trial
}
