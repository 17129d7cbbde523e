package deploy

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// eventful is a cluster of which only the events are asked.
type eventful struct {
	Cluster
	refused time.Time // zero if nothing was
}

func (c *eventful) List(context.Context, schema.GroupVersionKind, string) ([]*unstructured.Unstructured, error) {
	if c.refused.IsZero() {
		return nil, nil
	}
	e := &corev1.Event{
		Reason: "FailedCreate", Message: "exceeded quota: few", LastTimestamp: metav1.NewTime(c.refused),
		InvolvedObject: corev1.ObjectReference{UID: "db-uid"},
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(e)
	return []*unstructured.Unstructured{{Object: object}}, err
}

func TestOnlyARefusalOfPodsThatLastsFailsARollout(t *testing.T) {
	began := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	type look struct {
		pods    int32
		refused int // seconds after the beginning, by the cluster's clock; 0 if nothing was
	}
	for name, c := range map[string]struct {
		looks []look
		fails bool
	}{
		"nothing is refused":                     {[]look{{0, 0}, {0, 0}, {0, 0}}, false},
		"refused again and again":                {[]look{{0, 1}, {0, 3}, {0, 9}, {0, 19}}, true},
		"refused again and again after a while":  {[]look{{0, 0}, {0, 3}, {0, 9}, {0, 19}}, true},
		"refused once":                           {[]look{{0, 1}, {0, 1}, {0, 1}, {0, 1}}, false},
		"refused long ago, and once now":         {[]look{{0, -900}, {0, 1}, {0, 1}}, false},
		"refused for a moment":                   {[]look{{0, 1}, {0, 3}, {0, 9}, {0, 9}}, false},
		"a pod comes, and the next is refused":   {[]look{{0, 1}, {0, 3}, {1, 19}, {1, 25}}, false},
		"a pod comes, and the next stays so":     {[]look{{0, 1}, {0, 3}, {1, 9}, {1, 19}, {1, 39}}, true},
		"all pods are there, and a refusal, too": {[]look{{0, 1}, {0, 3}, {2, 19}, {2, 39}}, false},
	} {
		cluster := &eventful{}
		o := &unstructured.Unstructured{Object: map[string]any{"kind": "StatefulSet"}}
		o.SetName("db")
		w := &watching{cluster: cluster, patience: Patience{Refused: 15 * time.Second}, objects: []manifest.Object{{Unstructured: o}}}
		var found *trouble
		for _, l := range c.looks {
			if cluster.refused = began.Add(time.Duration(l.refused) * time.Second); l.refused == 0 {
				cluster.refused = time.Time{}
			}
			set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{UID: "db-uid"}, Spec: appsv1.StatefulSetSpec{Replicas: new(int32(2))}}
			set.Status.Replicas, set.Status.ReadyReplicas = l.pods, l.pods
			w.last = Picture{Workloads: []Workload{{StatefulSet: set}}}
			found = w.refused(t.Context())
		}
		if (found != nil) != c.fails || found != nil && found.detail != "StatefulSet db can't make pods: exceeded quota: few" {
			t.Errorf("%s: got %+v", name, found)
		}
	}
}

func TestWhatLacksPods(t *testing.T) {
	set := func(policy appsv1.PodManagementPolicyType, pods, ready int32) Workload {
		return Workload{StatefulSet: &appsv1.StatefulSet{
			Spec:   appsv1.StatefulSetSpec{Replicas: new(int32(3)), PodManagementPolicy: policy},
			Status: appsv1.StatefulSetStatus{Replicas: pods, ReadyReplicas: ready},
		}}
	}
	for name, c := range map[string]struct {
		workload Workload
		want     bool
	}{
		"no pod yet":                              {set("", 0, 0), true},
		"the pod before isn't ready":              {set("", 1, 0), false},
		"the pod before is ready":                 {set("", 1, 1), true},
		"all at once, and one isn't ready":        {set(appsv1.ParallelPodManagement, 1, 0), true},
		"all pods are there":                      {set("", 3, 1), false},
		"a node without a pod of its DaemonSet":   {Workload{DaemonSet: &appsv1.DaemonSet{Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 1}}}, true},
		"a Deployment, whose status tells itself": {Workload{Deployment: &appsv1.Deployment{}}, false},
	} {
		if got := lacksPods(c.workload); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
