package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Watch tells how the workloads are. Only what they need is watched: their own kinds by Slipway's labels, and replica
// sets and pods by what the workloads' selectors have in common.
func (n *Namespace) Watch(ctx context.Context, workloads []manifest.Object, owner deploy.Owner) (<-chan deploy.Picture, error) {
	v := &view{namespace: n, workloads: workloads, sets: map[string]*watched{}, changed: make(chan struct{}, 1)}
	mine := labels.SelectorFromSet(owner.Labels()).String()
	for _, o := range workloads {
		resource, err := workloadResource(o)
		if err != nil {
			return nil, err
		}
		v.sets[resource.Resource] = &watched{resource: resource, selector: mine}
	}
	common := commonSelector(workloads)
	if v.sets["deployments"] != nil {
		v.sets["replicasets"] = &watched{resource: appsv1.SchemeGroupVersion.WithResource("replicasets"), selector: common}
	}
	v.sets["pods"] = &watched{resource: corev1.SchemeGroupVersion.WithResource("pods"), selector: common}
	pictures := make(chan deploy.Picture, 1)
	go v.run(ctx, pictures)
	return pictures, nil
}

func workloadResource(o manifest.Object) (schema.GroupVersionResource, error) {
	switch o.GroupVersionKind() {
	case schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}:
		return appsv1.SchemeGroupVersion.WithResource("deployments"), nil
	case schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "StatefulSet"}:
		return appsv1.SchemeGroupVersion.WithResource("statefulsets"), nil
	case schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "DaemonSet"}:
		return appsv1.SchemeGroupVersion.WithResource("daemonsets"), nil
	case schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}:
		return batchv1.SchemeGroupVersion.WithResource("jobs"), nil
	}
	return schema.GroupVersionResource{}, refusal(pipeline.ReasonManifest, fmt.Sprintf("%s in %s can't be watched", o.Title(), o.GetAPIVersion()), nil)
}

// podLabels are what the object's pods have in common.
func podLabels(o manifest.Object) map[string]string {
	if o.GetKind() == "Job" { // the cluster makes its selector
		return map[string]string{batchv1.JobNameLabel: o.GetName()}
	}
	match, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
	return match
}

// commonSelector selects the pods of all workloads, and as few others as their labels allow. "" selects all.
func commonSelector(workloads []manifest.Object) string {
	values := map[string][]string{}
	for i, o := range workloads {
		match := podLabels(o)
		if i == 0 {
			for key, value := range match {
				values[key] = []string{value}
			}
			continue
		}
		for key := range values {
			if value, ok := match[key]; ok {
				values[key] = append(values[key], value)
			} else {
				delete(values, key)
			}
		}
	}
	selector := labels.NewSelector()
	for _, key := range slices.Sorted(maps.Keys(values)) {
		slices.Sort(values[key])
		requirement, err := labels.NewRequirement(key, selection.In, slices.Compact(values[key]))
		if err != nil {
			return "" // the cluster will say what is wrong with it
		}
		selector = selector.Add(*requirement)
	}
	return selector.String()
}

// view makes pictures of what several watches tell.
type view struct {
	namespace *Namespace
	workloads []manifest.Object
	sets      map[string]*watched // by resource
	changed   chan struct{}
}

// run sends pictures until the context ends or a watch is refused, and returns when all its watches have ended.
func (v *view) run(ctx context.Context, pictures chan deploy.Picture) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer close(pictures)
	defer running.Wait()
	defer cancel()
	for _, w := range v.sets {
		running.Go(func() {
			v.namespace.follow(ctx, w, func() {
				select {
				case v.changed <- struct{}{}:
				default:
				}
			})
		})
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.changed:
		}
		p, ready := v.picture()
		if !ready {
			continue
		}
		select {
		case <-pictures: // nobody took the one before
		default:
		}
		pictures <- p
		if p.Err != nil {
			return
		}
	}
}

// picture reads all watches. It isn't ready before each has listed its objects, unless there is trouble to tell.
func (v *view) picture() (deploy.Picture, bool) {
	objects, ready := map[string][]*unstructured.Unstructured{}, true
	var p deploy.Picture
	for name, w := range v.sets {
		w.change(func() {
			ready = ready && w.listed
			if w.err != nil {
				p.Err = w.err
			}
			if w.trouble {
				p.Trouble = "cluster unreachable, trying again"
			}
			objects[name] = slices.Collect(maps.Values(w.objects))
		})
	}
	if p.Err != nil || p.Trouble != "" {
		return p, true
	}
	if !ready {
		return p, false
	}
	pods := typed[corev1.Pod](objects["pods"])
	replicaSets := typed[appsv1.ReplicaSet](objects["replicasets"])
	for _, o := range v.workloads {
		found, _ := workloadResource(o)
		resource := found.Resource
		live := named(objects[resource], o.GetName())
		if live != nil && v.namespace.stale(resource, live) {
			return p, false // it is older than what we wrote, so the rest of the picture may be, too
		}
		p.Workloads = append(p.Workloads, workload(resource, live, replicaSets, pods))
	}
	return p, true
}

func workload(resource string, live *unstructured.Unstructured, replicaSets []*appsv1.ReplicaSet, pods []*corev1.Pod) deploy.Workload {
	if live == nil {
		return deploy.Workload{}
	}
	one := []*unstructured.Unstructured{live}
	switch resource {
	case "deployments":
		if d := typed[appsv1.Deployment](one); len(d) == 1 {
			return deploy.Workload{Deployment: d[0], Pods: podsOfDeployment(d[0], replicaSets, pods)}
		}
	case "statefulsets":
		if s := typed[appsv1.StatefulSet](one); len(s) == 1 {
			return deploy.Workload{StatefulSet: s[0], Pods: podsOfStatefulSet(s[0], pods)}
		}
	case "daemonsets":
		if d := typed[appsv1.DaemonSet](one); len(d) == 1 {
			generation := d[0].Annotations[appsv1.DeprecatedTemplateGeneration]
			return deploy.Workload{DaemonSet: d[0], Pods: podsOf(d[0], "pod-template-generation", generation, pods)}
		}
	case "jobs":
		if j := typed[batchv1.Job](one); len(j) == 1 {
			return deploy.Workload{Job: j[0], Pods: podsOf(j[0], batchv1.JobNameLabel, j[0].Name, pods)}
		}
	}
	return deploy.Workload{}
}

// podsOfDeployment are the pods of the replica set that has the deployment's newest revision.
func podsOfDeployment(d *appsv1.Deployment, replicaSets []*appsv1.ReplicaSet, pods []*corev1.Pod) []*corev1.Pod {
	if d.Status.ObservedGeneration < d.Generation {
		return nil // its revision is still that of the pods before
	}
	const revision = "deployment.kubernetes.io/revision"
	for _, rs := range replicaSets {
		if metav1.IsControlledBy(rs, d) && d.Annotations[revision] != "" && rs.Annotations[revision] == d.Annotations[revision] {
			return podsOf(rs, appsv1.DefaultDeploymentUniqueLabelKey, rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey], pods)
		}
	}
	return nil
}

func podsOfStatefulSet(s *appsv1.StatefulSet, pods []*corev1.Pod) []*corev1.Pod {
	if s.Status.ObservedGeneration < s.Generation {
		return nil
	}
	return podsOf(s, appsv1.ControllerRevisionHashLabelKey, s.Status.UpdateRevision, pods)
}

// podsOf are the pods that an object controls and whose label has the value, by name.
func podsOf(owner metav1.Object, label, value string, pods []*corev1.Pod) []*corev1.Pod {
	var own []*corev1.Pod
	for _, p := range pods {
		if metav1.IsControlledBy(p, owner) && value != "" && p.Labels[label] == value {
			own = append(own, p)
		}
	}
	slices.SortFunc(own, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return own
}

func named(objects []*unstructured.Unstructured, name string) *unstructured.Unstructured {
	for _, o := range objects {
		if o.GetName() == name {
			return o
		}
	}
	return nil
}

// typed converts what it can; an object that isn't as its type says is left out.
func typed[T any](objects []*unstructured.Unstructured) []*T {
	converted := make([]*T, 0, len(objects))
	for _, o := range objects {
		var t T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &t); err == nil {
			converted = append(converted, &t)
		}
	}
	return converted
}
