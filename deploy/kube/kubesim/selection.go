package kubesim

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// selection is the label and field selector of a list, a watch or a deletion of many.
func selection(r *request) (func(registry.Object) bool, error) {
	q := r.URL.Query()
	byLabel, err := labels.Parse(q.Get("labelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("unable to parse requirement: %v", err))
	}
	byField, err := fields.ParseSelector(q.Get("fieldSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	known := fieldsOf(r.kind.New())
	for _, want := range byField.Requirements() {
		if !known.Has(want.Field) {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("field label not supported: %s", want.Field))
		}
	}
	if byLabel.Empty() && byField.Empty() {
		return nil, nil // no function is the wish for all
	}
	return func(o registry.Object) bool {
		return byLabel.Matches(labels.Set(o.GetLabels())) && (byField.Empty() || byField.Matches(fieldsOf(o)))
	}, nil
}

// fieldsOf are the fields that an object can be selected by.
func fieldsOf(o registry.Object) fields.Set {
	out := fields.Set{"metadata.name": o.GetName(), "metadata.namespace": o.GetNamespace()}
	switch o := o.(type) {
	case *corev1.Pod:
		out["status.phase"], out["spec.nodeName"] = string(o.Status.Phase), o.Spec.NodeName
		out["spec.restartPolicy"], out["spec.serviceAccountName"] = string(o.Spec.RestartPolicy), o.Spec.ServiceAccountName
		out["status.podIP"] = o.Status.PodIP
	case *corev1.Event:
		out["involvedObject.kind"], out["involvedObject.name"] = o.InvolvedObject.Kind, o.InvolvedObject.Name
		out["involvedObject.namespace"], out["involvedObject.uid"] = o.InvolvedObject.Namespace, string(o.InvolvedObject.UID)
		out["reason"], out["type"] = o.Reason, o.Type
	case *corev1.Secret:
		out["type"] = string(o.Type)
	case *corev1.Namespace:
		out["status.phase"] = string(o.Status.Phase)
	}
	return out
}
