package kubesim

import (
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// Snapshot is what runs in the cluster, for a page that shows it.
type Snapshot struct {
	Revision   uint64 // counts up with every change
	Namespaces []NamespaceView
}

// NamespaceView is one namespace, without those of the system that are empty.
type NamespaceView struct {
	Name      string
	Workloads []WorkloadView
	Services  []ServiceView
}

// WorkloadView is a Deployment, StatefulSet, DaemonSet, Job, or a pod that nothing controls.
type WorkloadView struct {
	Kind, Name             string
	Labels                 map[string]string
	Images                 []string // that are wanted, one per container
	Desired, Ready, Update int32    // pods wanted, ready, and of the wanted version
	Revision               string   // of a Deployment
	Reason, Message        string   // why it doesn't get on, empty while it does
	Pods                   []PodView
}

// PodView is one pod.
type PodView struct {
	Name, Phase, Node string
	Reason, Message   string // why it isn't ready, as kubectl shows it: "CrashLoopBackOff", "Terminating"
	Images            []string
	Labels            map[string]string
	Ready             bool
	Restarts          int32
	Created           time.Time
}

// ServiceView is a Service and the pods that its traffic goes to.
type ServiceView struct {
	Name     string
	Selector map[string]string
	Pods     []string
}

// Snapshot takes a picture of what runs.
func (s *Sim) Snapshot() Snapshot {
	out := Snapshot{Revision: s.reg.Revision()}
	found, _ := s.reg.List(registry.Namespaces, "", nil)
	for _, ns := range found {
		view := NamespaceView{Name: ns.GetName(), Workloads: s.workloads(ns.GetName()), Services: s.services(ns.GetName())}
		if strings.HasPrefix(view.Name, "kube-") && len(view.Workloads)+len(view.Services) == 0 {
			continue
		}
		out.Namespaces = append(out.Namespaces, view)
	}
	return out
}

// Subscribe tells on the channel that something changed; changes that come close together are told once.
// The function ends it, and so does Close; both leave the channel open.
func (s *Sim) Subscribe() (<-chan struct{}, func()) {
	out, stop := make(chan struct{}, 1), make(chan struct{})
	seen := s.reg.Revision()
	s.running.Go(func() {
		for {
			_, upto, changed, err := s.reg.Since(seen)
			if err != nil {
				upto = s.reg.Revision()
			}
			if upto > seen {
				seen = upto
				select {
				case out <- struct{}{}:
				default:
				}
				continue
			}
			select {
			case <-changed:
			case <-stop:
				return
			case <-s.done:
				return
			}
		}
	})
	return out, sync.OnceFunc(func() { close(stop) })
}

func (s *Sim) workloads(namespace string) []WorkloadView {
	var out []WorkloadView
	byOwner := s.podsByOwner(namespace)
	for _, resource := range []string{registry.Deployments, registry.StatefulSets, registry.DaemonSets, registry.Jobs} {
		found, _ := s.reg.List(resource, namespace, nil)
		for _, o := range found {
			view := viewOf(o)
			view.Name, view.Labels, view.Pods = o.GetName(), o.GetLabels(), byOwner[string(o.GetUID())]
			out = append(out, view)
		}
	}
	for _, pod := range byOwner[""] {
		view := WorkloadView{Kind: "Pod", Name: pod.Name, Labels: pod.Labels, Images: pod.Images, Desired: 1, Pods: []PodView{pod}}
		if pod.Ready {
			view.Ready = 1
		}
		out = append(out, view)
	}
	return out
}

func viewOf(o registry.Object) WorkloadView {
	switch o := o.(type) {
	case *appsv1.Deployment:
		view := WorkloadView{
			Kind: "Deployment", Images: images(&o.Spec.Template.Spec), Desired: *o.Spec.Replicas, Ready: o.Status.ReadyReplicas,
			Update: o.Status.UpdatedReplicas, Revision: o.Annotations["deployment.kubernetes.io/revision"],
		}
		for _, c := range o.Status.Conditions {
			if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse || c.Type == appsv1.DeploymentReplicaFailure {
				view.Reason, view.Message = c.Reason, c.Message
			}
		}
		return view
	case *appsv1.StatefulSet:
		return WorkloadView{
			Kind: "StatefulSet", Images: images(&o.Spec.Template.Spec), Desired: *o.Spec.Replicas,
			Ready: o.Status.ReadyReplicas, Update: o.Status.UpdatedReplicas,
		}
	case *appsv1.DaemonSet:
		return WorkloadView{
			Kind: "DaemonSet", Images: images(&o.Spec.Template.Spec), Desired: o.Status.DesiredNumberScheduled,
			Ready: o.Status.NumberReady, Update: o.Status.UpdatedNumberScheduled,
		}
	case *batchv1.Job:
		view := WorkloadView{Kind: "Job", Images: images(&o.Spec.Template.Spec), Desired: 1, Ready: o.Status.Succeeded}
		if o.Spec.Completions != nil {
			view.Desired = *o.Spec.Completions
		}
		for _, c := range o.Status.Conditions {
			if c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue {
				view.Reason, view.Message = c.Reason, c.Message
			}
		}
		return view
	default:
		return WorkloadView{}
	}
}

func images(spec *corev1.PodSpec) []string {
	out := make([]string, 0, len(spec.Containers))
	for _, c := range spec.Containers {
		out = append(out, c.Image)
	}
	return out
}

// podsByOwner groups the namespace's pods by the uid of their workload: for a Deployment's that of the Deployment.
func (s *Sim) podsByOwner(namespace string) map[string][]PodView {
	parents := map[string]string{}
	sets, _ := s.reg.List(registry.ReplicaSets, namespace, nil)
	for _, rs := range sets {
		if ref := metav1.GetControllerOfNoCopy(rs); ref != nil {
			parents[string(rs.GetUID())] = string(ref.UID)
		}
	}
	out := map[string][]PodView{}
	found, _ := s.reg.List(registry.Pods, namespace, nil)
	for _, o := range found {
		pod, ok := o.(*corev1.Pod)
		if !ok {
			continue
		}
		owner := ""
		if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
			owner = string(ref.UID)
			if parent, ok := parents[owner]; ok {
				owner = parent
			}
		}
		out[owner] = append(out[owner], podView(pod))
	}
	for _, pods := range out {
		sort.SliceStable(pods, func(i, j int) bool { return pods[i].Created.Before(pods[j].Created) })
	}
	return out
}

func podView(pod *corev1.Pod) PodView {
	view := PodView{
		Name: pod.Name, Phase: string(pod.Status.Phase), Node: pod.Spec.NodeName, Images: images(&pod.Spec),
		Labels: pod.Labels, Created: pod.CreationTimestamp.Time,
	}
	for _, c := range pod.Status.Conditions {
		switch {
		case c.Type == corev1.PodReady:
			view.Ready = c.Status == corev1.ConditionTrue
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse:
			view.Reason, view.Message = c.Reason, c.Message
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		view.Restarts += c.RestartCount
		switch {
		case c.State.Waiting != nil:
			view.Reason, view.Message = c.State.Waiting.Reason, c.State.Waiting.Message
		case c.State.Terminated != nil:
			view.Reason, view.Message = c.State.Terminated.Reason, c.State.Terminated.Message
		}
	}
	if pod.DeletionTimestamp != nil {
		view.Reason, view.Message, view.Ready = "Terminating", "", false
	}
	return view
}

func (s *Sim) services(namespace string) []ServiceView {
	var out []ServiceView
	found, _ := s.reg.List(registry.Services, namespace, nil)
	for _, o := range found {
		svc, ok := o.(*corev1.Service)
		if !ok {
			continue
		}
		out = append(out, ServiceView{Name: svc.Name, Selector: svc.Spec.Selector, Pods: s.backends(svc)})
	}
	return out
}

func (s *Sim) backends(svc *corev1.Service) []string {
	var out []string
	found, _ := s.reg.List(registry.EndpointSlices, svc.Namespace, func(o registry.Object) bool {
		return o.GetLabels()[discoveryv1.LabelServiceName] == svc.Name
	})
	for _, o := range found {
		if slice, ok := o.(*discoveryv1.EndpointSlice); ok {
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready != nil && *e.Conditions.Ready && e.TargetRef != nil {
					out = append(out, e.TargetRef.Name)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}
