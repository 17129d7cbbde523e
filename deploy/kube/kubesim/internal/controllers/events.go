package controllers

import (
	"fmt"
	"sort"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// maxEvents is how many events a namespace keeps. The real server forgets them after an hour.
const maxEvents = 500

// forgetEvents deletes the oldest events of a namespace that has too many, so that a demo can run for days.
func (l *Loop) forgetEvents(namespace string) {
	if l.reg.Count(registry.Events, namespace) <= maxEvents {
		return
	}
	found, _ := l.reg.List(registry.Events, namespace, nil)
	sort.SliceStable(found, func(i, j int) bool {
		a, aOK := found[i].(*corev1.Event)
		b, bOK := found[j].(*corev1.Event)
		return aOK && bOK && a.LastTimestamp.Before(&b.LastTimestamp)
	})
	for _, o := range found[:len(found)-maxEvents*9/10] {
		l.reg.Finish(registry.Events, namespace, o.GetName())
	}
}

// event records that something happened to an object. The same event again counts up.
func (l *Loop) event(about registry.Object, source, kind, reason, message string) {
	gvk := about.GetObjectKind().GroupVersionKind()
	namespace := about.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	now := l.stamp()
	found, _ := l.reg.List(registry.Events, namespace, func(o registry.Object) bool {
		e, ok := o.(*corev1.Event)
		return ok && e.InvolvedObject.UID == about.GetUID() && e.Reason == reason && e.Message == message
	})
	write := registry.Write{Manager: source}
	var err error
	if len(found) > 0 {
		_, err = l.reg.Modify(registry.Events, namespace, found[0].GetName(), write, func(o registry.Object) error {
			if e, ok := o.(*corev1.Event); ok {
				e.Count++
				e.LastTimestamp = now
			}
			return nil
		})
	} else {
		_, err = l.reg.Create(registry.Events, &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace,
				Name:      fmt.Sprintf("%s.%s", about.GetName(), strconv.FormatUint(l.reg.Revision(), 16)),
			},
			InvolvedObject: corev1.ObjectReference{
				APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Namespace: about.GetNamespace(),
				Name: about.GetName(), UID: about.GetUID(), ResourceVersion: about.GetResourceVersion(),
			},
			Reason: reason, Message: message, Type: kind, Count: 1,
			FirstTimestamp: now, LastTimestamp: now,
			Source: corev1.EventSource{Component: source}, ReportingController: source,
		}, write)
	}
	l.forgetEvents(namespace)
	if err != nil {
		l.Logger.Debug("event was not recorded", "reason", reason, "error", err)
	}
}
