package kube

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy"
)

// maxMessage bounds the cluster's own words in what is kept, in bytes.
const maxMessage = 1024

// trim cuts an object down to what a tree shows before it is kept: thousands of them stay in memory while people look.
func trim(object any) (any, error) {
	o, ok := object.(metav1.Object)
	if !ok {
		return object, nil
	}
	trimMeta(o)
	switch o := o.(type) {
	case *appsv1.Deployment:
		o.Spec = appsv1.DeploymentSpec{Replicas: o.Spec.Replicas, Paused: o.Spec.Paused, Template: trimTemplate(o.Spec.Template)}
		for i := range o.Status.Conditions {
			shorten(&o.Status.Conditions[i].Message)
		}
	case *appsv1.StatefulSet:
		o.Spec = appsv1.StatefulSetSpec{Replicas: o.Spec.Replicas, UpdateStrategy: o.Spec.UpdateStrategy, Template: trimTemplate(o.Spec.Template)}
	case *appsv1.DaemonSet:
		o.Spec = appsv1.DaemonSetSpec{UpdateStrategy: o.Spec.UpdateStrategy, Template: trimTemplate(o.Spec.Template)}
	case *appsv1.ReplicaSet:
		o.Spec = appsv1.ReplicaSetSpec{Replicas: o.Spec.Replicas}
		for i := range o.Status.Conditions {
			shorten(&o.Status.Conditions[i].Message)
		}
	case *corev1.Pod:
		trimPod(o)
	case *batchv1.Job:
		o.Spec = batchv1.JobSpec{Completions: o.Spec.Completions, Suspend: o.Spec.Suspend}
	case *batchv1.CronJob:
		o.Spec = batchv1.CronJobSpec{Schedule: o.Spec.Schedule, Suspend: o.Spec.Suspend}
	case *discoveryv1.EndpointSlice:
		trimSlice(o)
	case *corev1.Event:
		shorten(&o.Message)
	case *metav1.PartialObjectMetadata:
		o.TypeMeta = metav1.TypeMeta{}
	}
	return object, nil
}

// trimMeta keeps who an object is, whose, and what people wrote for the tree.
func trimMeta(o metav1.Object) {
	o.SetManagedFields(nil)
	o.SetFinalizers(nil)
	o.SetSelfLink("")
	if u, ok := o.(*unstructured.Unstructured); ok {
		o.SetAnnotations(picked(u.GetAnnotations()))
		return
	}
	o.SetAnnotations(picked(o.GetAnnotations()))
	if labels := o.GetLabels(); len(labels) > 0 {
		kept := map[string]string{}
		for key, value := range labels {
			if key == deploy.LabelManagedBy || key == discoveryv1.LabelServiceName || strings.HasPrefix(key, "slipway.dev/") {
				kept[key] = value
			}
		}
		o.SetLabels(kept)
	}
}

func picked(annotations map[string]string) map[string]string {
	var kept map[string]string
	for key, value := range annotations {
		if strings.HasPrefix(key, "slipway.dev/") || strings.HasPrefix(key, deploy.AnnotationLink) {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[key] = value
		}
	}
	return kept
}

func trimTemplate(t corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: trimContainers(t.Spec.Containers)}}
}

func trimContainers(all []corev1.Container) []corev1.Container {
	kept := make([]corev1.Container, 0, len(all))
	for _, c := range all {
		kept = append(kept, corev1.Container{Name: c.Name, Image: c.Image})
	}
	return kept
}

func trimPod(p *corev1.Pod) {
	p.Spec = corev1.PodSpec{Containers: trimContainers(p.Spec.Containers), InitContainers: trimContainers(p.Spec.InitContainers)}
	status := corev1.PodStatus{Phase: p.Status.Phase, Reason: p.Status.Reason, Message: p.Status.Message}
	shorten(&status.Message)
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady || c.Type == corev1.PodScheduled {
			shorten(&c.Message)
			status.Conditions = append(status.Conditions, c)
		}
	}
	status.ContainerStatuses = trimStatuses(p.Status.ContainerStatuses)
	status.InitContainerStatuses = trimStatuses(p.Status.InitContainerStatuses)
	p.Status = status
}

func trimStatuses(all []corev1.ContainerStatus) []corev1.ContainerStatus {
	var kept []corev1.ContainerStatus
	for _, s := range all {
		k := corev1.ContainerStatus{Name: s.Name, RestartCount: s.RestartCount, Ready: s.Ready, State: s.State, LastTerminationState: s.LastTerminationState}
		for _, state := range []*corev1.ContainerState{&k.State, &k.LastTerminationState} {
			if state.Waiting != nil {
				shorten(&state.Waiting.Message)
			}
			if state.Terminated != nil {
				state.Terminated.Message = ""
			}
		}
		kept = append(kept, k)
	}
	return kept
}

func trimSlice(s *discoveryv1.EndpointSlice) {
	s.Ports = nil
	for i, e := range s.Endpoints {
		s.Endpoints[i] = discoveryv1.Endpoint{Addresses: e.Addresses, Conditions: discoveryv1.EndpointConditions{Ready: e.Conditions.Ready}}
	}
}

// shorten cuts text, and lets go of what it was cut from.
func shorten(text *string) {
	if len(*text) > maxMessage {
		*text = strings.ToValidUTF8(strings.Clone((*text)[:maxMessage]), "")
	}
}
