package deploy

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Live is what a namespace holds at one moment, cut down to what a Tree shows. Whoever reads it changes nothing in it:
// the objects are shared.
type Live struct {
	Deployments  []*appsv1.Deployment
	StatefulSets []*appsv1.StatefulSet
	DaemonSets   []*appsv1.DaemonSet
	ReplicaSets  []*appsv1.ReplicaSet
	Pods         []*corev1.Pod
	Services     []*corev1.Service
	Slices       []*discoveryv1.EndpointSlice
	Ingresses    []*networkingv1.Ingress
	HTTPRoutes   []*unstructured.Unstructured
	Jobs         []*batchv1.Job
	CronJobs     []*batchv1.CronJob
	Autoscalers  []*autoscalingv2.HorizontalPodAutoscaler
	Budgets      []*policyv1.PodDisruptionBudget
	ConfigMaps   []*metav1.PartialObjectMetadata
	Events       []*corev1.Event // of type Warning
	// Unseen says, by kind, why the cluster doesn't show the objects of a kind.
	Unseen map[string]string
	// Trouble says why the picture may be old or is not there yet, "" if neither.
	Trouble string
}

// kept is an object of one of the kinds that Live has.
type kept struct {
	kind   string
	object metav1.Object
	health func() (Health, string)
}

// all lists the objects that Slipway may have applied, whoever did.
func (l *Live) all() []kept {
	var all []kept
	for _, o := range l.Ingresses {
		all = append(all, kept{"Ingress", o, func() (Health, string) { return ingressHealth(o) }})
	}
	for _, o := range l.HTTPRoutes {
		all = append(all, kept{"HTTPRoute", o, func() (Health, string) { return routeHealth(o) }})
	}
	for _, o := range l.Services {
		all = append(all, kept{"Service", o, func() (Health, string) { return serviceHealth(o, readyEndpoints(o.Name, l.Slices)) }})
	}
	for _, o := range l.Deployments {
		all = append(all, kept{"Deployment", o, func() (Health, string) { return deploymentHealth(o) }})
	}
	for _, o := range l.StatefulSets {
		all = append(all, kept{"StatefulSet", o, func() (Health, string) { return statefulSetHealth(o) }})
	}
	for _, o := range l.DaemonSets {
		all = append(all, kept{"DaemonSet", o, func() (Health, string) { return daemonSetHealth(o) }})
	}
	for _, o := range l.CronJobs {
		all = append(all, kept{"CronJob", o, func() (Health, string) { return cronJobHealth(o) }})
	}
	for _, o := range l.Jobs {
		all = append(all, kept{"Job", o, func() (Health, string) { return jobHealth(o) }})
	}
	for _, o := range l.ReplicaSets {
		all = append(all, kept{"ReplicaSet", o, func() (Health, string) { return replicaSetHealth(o) }})
	}
	for _, o := range l.Pods {
		all = append(all, kept{"Pod", o, func() (Health, string) { return podHealth(o) }})
	}
	for _, o := range l.Autoscalers {
		all = append(all, kept{"HorizontalPodAutoscaler", o, func() (Health, string) { return autoscalerHealth(o) }})
	}
	for _, o := range l.Budgets {
		all = append(all, kept{"PodDisruptionBudget", o, func() (Health, string) { return budgetHealth(o) }})
	}
	for _, o := range l.ConfigMaps {
		all = append(all, kept{"ConfigMap", o, func() (Health, string) { return Healthy, "" }})
	}
	return all
}

// readyEndpoints counts the endpoints that a Service sends traffic to. Each is counted once, however many slices name it.
func readyEndpoints(service string, slices []*discoveryv1.EndpointSlice) int {
	ready := map[string]bool{}
	for _, s := range slices {
		if s.Labels[discoveryv1.LabelServiceName] != service {
			continue
		}
		for _, e := range s.Endpoints {
			if (e.Conditions.Ready == nil || *e.Conditions.Ready) && len(e.Addresses) > 0 {
				ready[e.Addresses[0]] = true
			}
		}
	}
	return len(ready)
}
