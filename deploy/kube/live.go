package kube

import (
	"context"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"gitlab.com/slipway-cd/slipway/deploy"
)

// How long watches go on after the last look, and how soon a kind that was refused is tried again.
const (
	defaultLinger = 5 * time.Minute
	refusedAgain  = 5 * time.Minute
)

// lookout is the watches of one namespace. They run while somebody looks, and a while longer.
type lookout struct {
	kinds  []*followed
	cancel context.CancelFunc
	run    sync.WaitGroup

	mu      sync.Mutex
	holders int         // who follow, and keep it running
	end     *time.Timer // nil while somebody follows
	heard   map[int]chan struct{}
	next    int
}

// Live is what the namespace holds. The first look starts the watches, and waits until they have told everything or the
// context ends: what is not there by then is in Live.Trouble. They end some minutes after the last look.
func (n *Namespace) Live(ctx context.Context) deploy.Live {
	l, release := n.hold(ctx)
	defer release()
	for _, k := range l.kinds {
		select {
		case <-k.settled:
		case <-ctx.Done():
		}
	}
	return l.live(n.name)
}

// Follow signals after the namespace has changed, several changes being one signal, until stop is called. The watches run
// as long.
func (n *Namespace) Follow(ctx context.Context) (changed <-chan struct{}, stop func()) {
	l, release := n.hold(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	id, c := l.next, make(chan struct{}, 1)
	l.next++
	l.heard[id] = c
	return c, func() {
		l.mu.Lock()
		delete(l.heard, id)
		l.mu.Unlock()
		release()
	}
}

// Watched counts the namespaces that are being watched now.
func (c *Client) Watched() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lookouts)
}

// Close ends the watches that Live and Follow have started.
func (c *Client) Close() {
	c.mu.Lock()
	all := c.lookouts
	c.lookouts = nil
	c.closed = true
	c.mu.Unlock()
	for _, l := range all {
		l.cancel()
		l.run.Wait()
	}
}

// hold keeps the namespace's lookout running, and starts it if need be. The watches outlive the caller's context.
func (n *Namespace) hold(ctx context.Context) (l *lookout, release func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l = n.lookouts[n.namespace]; l == nil {
		l = &lookout{heard: map[int]chan struct{}{}}
		ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
		if n.closed {
			l.cancel()
		} else {
			if n.lookouts == nil {
				n.lookouts = map[string]*lookout{}
			}
			n.lookouts[n.namespace] = l
		}
		l.start(ctx, n)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holders++
	if l.end != nil {
		l.end.Stop()
		l.end = nil
	}
	return l, sync.OnceFunc(func() { n.release(l) })
}

func (n *Namespace) release(l *lookout) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holders--; l.holders == 0 {
		l.end = time.AfterFunc(n.linger, func() { n.endIdle(l) })
	}
}

// endIdle ends the watches if nobody has looked meanwhile.
func (n *Namespace) endIdle(l *lookout) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holders > 0 {
		return
	}
	l.cancel()
	if n.lookouts[n.namespace] == l {
		delete(n.lookouts, n.namespace)
	}
}

func (l *lookout) start(ctx context.Context, n *Namespace) {
	l.kinds = n.kinds()
	for _, k := range l.kinds {
		k.changed = l.tell
		l.run.Go(func() { k.run(ctx, n) })
	}
}

func (l *lookout) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.heard {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// kinds are what is watched: what Slipway applies, by its label, and what its workloads make, which doesn't carry it.
// Secrets are not among them: the right to list them is the right to read them.
func (n *Namespace) kinds() []*followed {
	const mine = deploy.LabelManagedBy + "=" + deploy.Manager
	ns := n.namespace
	core, apps, batch, net := n.typed.core, n.typed.apps, n.typed.batch, n.typed.networking
	routes := schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}
	return []*followed{
		follow("Deployment", "deployments.apps", mine, apps.Deployments(ns), &appsv1.Deployment{}),
		follow("StatefulSet", "statefulsets.apps", mine, apps.StatefulSets(ns), &appsv1.StatefulSet{}),
		follow("DaemonSet", "daemonsets.apps", mine, apps.DaemonSets(ns), &appsv1.DaemonSet{}),
		follow("ReplicaSet", "replicasets.apps", "", apps.ReplicaSets(ns), &appsv1.ReplicaSet{}),
		follow("Pod", "pods", "", core.Pods(ns), &corev1.Pod{}),
		follow("Service", "services", mine, core.Services(ns), &corev1.Service{}),
		follow("EndpointSlice", "endpointslices.discovery.k8s.io", "", n.typed.discovery.EndpointSlices(ns), &discoveryv1.EndpointSlice{}),
		follow("Ingress", "ingresses.networking.k8s.io", mine, net.Ingresses(ns), &networkingv1.Ingress{}),
		follow("HTTPRoute", routes.GroupResource().String(), mine, plain{n.dynamic.Resource(routes).Namespace(ns)}, &unstructured.Unstructured{}),
		follow("Job", "jobs.batch", "", batch.Jobs(ns), &batchv1.Job{}),
		follow("CronJob", "cronjobs.batch", mine, batch.CronJobs(ns), &batchv1.CronJob{}),
		follow("HorizontalPodAutoscaler", "horizontalpodautoscalers.autoscaling", mine, n.typed.autoscaling.HorizontalPodAutoscalers(ns), &autoscalingv2.HorizontalPodAutoscaler{}),
		follow("PodDisruptionBudget", "poddisruptionbudgets.policy", mine, n.typed.policy.PodDisruptionBudgets(ns), &policyv1.PodDisruptionBudget{}),
		follow("ConfigMap", "configmaps", mine, n.names.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(ns), &metav1.PartialObjectMetadata{}),
		follow("Event", "events", "", warnings{core.Events(ns)}, &corev1.Event{}),
	}
}

// live reads what all watches have told so far.
func (l *lookout) live(cluster string) deploy.Live {
	live := deploy.Live{Unseen: map[string]string{}}
	for _, k := range l.kinds {
		store, refused, trouble := k.now()
		if refused != "" {
			live.Unseen[k.kind] = refused
		}
		switch {
		case trouble:
			live.Trouble = "cluster " + cluster + " doesn't answer; what is shown may be old"
		case store == nil && refused == "" && !k.isSettled() && live.Trouble == "":
			live.Trouble = "cluster " + cluster + " has not told everything yet"
		}
		if store != nil {
			sortInto(&live, store)
		}
	}
	return live
}

// sortInto puts the objects of a store where they belong.
func sortInto(live *deploy.Live, store cache.Store) {
	for _, object := range store.List() {
		switch o := object.(type) {
		case *appsv1.Deployment:
			live.Deployments = append(live.Deployments, o)
		case *appsv1.StatefulSet:
			live.StatefulSets = append(live.StatefulSets, o)
		case *appsv1.DaemonSet:
			live.DaemonSets = append(live.DaemonSets, o)
		case *appsv1.ReplicaSet:
			live.ReplicaSets = append(live.ReplicaSets, o)
		case *corev1.Pod:
			live.Pods = append(live.Pods, o)
		case *corev1.Service:
			live.Services = append(live.Services, o)
		case *discoveryv1.EndpointSlice:
			live.Slices = append(live.Slices, o)
		case *networkingv1.Ingress:
			live.Ingresses = append(live.Ingresses, o)
		case *unstructured.Unstructured:
			live.HTTPRoutes = append(live.HTTPRoutes, o)
		case *batchv1.Job:
			live.Jobs = append(live.Jobs, o)
		case *batchv1.CronJob:
			live.CronJobs = append(live.CronJobs, o)
		case *autoscalingv2.HorizontalPodAutoscaler:
			live.Autoscalers = append(live.Autoscalers, o)
		case *policyv1.PodDisruptionBudget:
			live.Budgets = append(live.Budgets, o)
		case *metav1.PartialObjectMetadata:
			live.ConfigMaps = append(live.ConfigMaps, o)
		case *corev1.Event:
			live.Events = append(live.Events, o)
		}
	}
}
