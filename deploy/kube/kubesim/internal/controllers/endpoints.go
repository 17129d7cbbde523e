package controllers

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// reconcileService keeps the EndpointSlice, and the older Endpoints, of a Service that selects pods.
func (l *Loop) reconcileService(obj registry.Object) error {
	svc, ok := obj.(*corev1.Service)
	if !ok || len(svc.Spec.Selector) == 0 || svc.DeletionTimestamp != nil {
		return nil
	}
	var pods []*corev1.Pod
	found, _ := l.reg.List(registry.Pods, svc.Namespace, func(o registry.Object) bool { return selects(svc, o) })
	for _, o := range found {
		pod, ok := o.(*corev1.Pod)
		if ok && pod.Status.PodIP != "" && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			pods = append(pods, pod)
		}
	}
	if err := l.writeSlice(svc, pods); err != nil {
		return err
	}
	return l.writeEndpoints(svc, pods)
}

func (l *Loop) writeSlice(svc *corev1.Service, pods []*corev1.Pod) error {
	want := discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	for i := range svc.Spec.Ports {
		p := svc.Spec.Ports[i]
		port := targetPort(p, pods)
		want.Ports = append(want.Ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &port, AppProtocol: p.AppProtocol})
	}
	for _, pod := range pods {
		want.Endpoints = append(want.Endpoints, endpoint(pod, svc.Spec.PublishNotReadyAddresses))
	}
	existing, _ := l.reg.List(registry.EndpointSlices, svc.Namespace, func(o registry.Object) bool {
		return o.GetLabels()[discoveryv1.LabelServiceName] == svc.Name && metav1.IsControlledBy(o, svc)
	})
	write := registry.Write{Manager: managerName}
	if len(existing) == 0 {
		want.GenerateName, want.Namespace = svc.Name+"-", svc.Namespace
		want.Labels = labels.Merge(svc.Labels, labels.Set{
			discoveryv1.LabelServiceName: svc.Name, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io",
		})
		want.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(svc, corev1.SchemeGroupVersion.WithKind("Service"))}
		if _, err := l.reg.Create(registry.EndpointSlices, &want, write); err != nil {
			return fmt.Errorf("create endpoint slice: %w", err)
		}
		return nil
	}
	_, err := l.reg.Modify(registry.EndpointSlices, svc.Namespace, existing[0].GetName(), write, func(o registry.Object) error {
		if s, ok := o.(*discoveryv1.EndpointSlice); ok {
			s.Endpoints, s.Ports = want.Endpoints, want.Ports
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("update endpoint slice: %w", err)
	}
	return nil
}

func endpoint(pod *corev1.Pod, always bool) discoveryv1.Endpoint {
	serving, terminating := isReady(pod), pod.DeletionTimestamp != nil
	takes := always || serving && !terminating
	node := pod.Spec.NodeName
	return discoveryv1.Endpoint{
		Addresses:  []string{pod.Status.PodIP},
		Conditions: discoveryv1.EndpointConditions{Ready: &takes, Serving: &serving, Terminating: &terminating},
		NodeName:   &node,
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
}

// targetPort is the port that a Service's port leads to; a name is looked up in the first pod.
func targetPort(p corev1.ServicePort, pods []*corev1.Pod) int32 {
	if p.TargetPort.Type == intstr.Int {
		return p.TargetPort.IntVal
	}
	if len(pods) > 0 {
		for _, c := range pods[0].Spec.Containers {
			for _, port := range c.Ports {
				if port.Name == p.TargetPort.StrVal {
					return port.ContainerPort
				}
			}
		}
	}
	if n, err := strconv.ParseInt(p.TargetPort.StrVal, 10, 32); err == nil {
		return int32(n)
	}
	return p.Port
}

//nolint:staticcheck // Endpoints are deprecated, and real clusters still write them
func (l *Loop) writeEndpoints(svc *corev1.Service, pods []*corev1.Pod) error {
	var subset corev1.EndpointSubset
	for _, p := range svc.Spec.Ports {
		subset.Ports = append(subset.Ports, corev1.EndpointPort{Name: p.Name, Port: targetPort(p, pods), Protocol: p.Protocol})
	}
	for _, pod := range pods {
		node := pod.Spec.NodeName
		address := corev1.EndpointAddress{
			IP: pod.Status.PodIP, NodeName: &node,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		}
		switch {
		case pod.DeletionTimestamp != nil:
		case isReady(pod) || svc.Spec.PublishNotReadyAddresses:
			subset.Addresses = append(subset.Addresses, address)
		default:
			subset.NotReadyAddresses = append(subset.NotReadyAddresses, address)
		}
	}
	var subsets []corev1.EndpointSubset
	if len(subset.Addresses)+len(subset.NotReadyAddresses) > 0 {
		subsets = []corev1.EndpointSubset{subset}
	}
	write := registry.Write{Manager: managerName}
	_, err := l.reg.Modify(registry.Endpoints, svc.Namespace, svc.Name, write, func(o registry.Object) error {
		if e, ok := o.(*corev1.Endpoints); ok {
			e.Subsets = subsets
		}
		return nil
	})
	if apierrors.IsNotFound(err) {
		_, err = l.reg.Create(registry.Endpoints, &corev1.Endpoints{
			ObjectMeta: metav1.ObjectMeta{
				Name: svc.Name, Namespace: svc.Namespace, Labels: svc.Labels,
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(svc, corev1.SchemeGroupVersion.WithKind("Service"))},
			},
			Subsets: subsets,
		}, write)
	}
	if err != nil {
		return fmt.Errorf("write endpoints: %w", err)
	}
	return nil
}
