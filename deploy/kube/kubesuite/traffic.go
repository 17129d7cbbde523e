package kubesuite

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	appsconfig "k8s.io/client-go/applyconfigurations/apps/v1"
	coreconfig "k8s.io/client-go/applyconfigurations/core/v1"
)

func trafficTests() []test {
	return []test{
		{"a service's endpoints follow its selector in one patch", endpointsFollow},
		{"a pod that isn't ready is no ready endpoint", endpointsReady},
		{"a pod on its way out is no ready endpoint", endpointsLeave},
		{"a selector can name one template's pods", endpointsOfTemplate},
		{"traffic is never without an endpoint while the selector moves", endpointsMove},
	}
}

func (e *env) service(selector map[string]string) {
	e.Helper()
	svc := coreconfig.Service("app", e.ns).WithSpec(coreconfig.ServiceSpec().WithSelector(selector).
		WithPorts(coreconfig.ServicePort().WithName("http").WithPort(80).WithTargetPort(intstr.FromString("http"))))
	made, err := e.client.CoreV1().Services(e.ns).Apply(e.ctx, svc, applyAs(manager))
	if err != nil {
		e.Fatalf("apply service: %v", err)
	}
	if made.Spec.ClusterIP == "" || made.Spec.Type != "ClusterIP" || made.Spec.SessionAffinity != "None" {
		e.Errorf("service has address %q, type %s, affinity %s", made.Spec.ClusterIP, made.Spec.Type, made.Spec.SessionAffinity)
	}
}

// endpoints are the names of the pods that take the service's traffic, or not yet.
func (e *env) endpoints(ready bool) []string {
	e.Helper()
	var out []string
	for _, p := range e.allEndpoints() {
		if p.Conditions.Ready != nil && *p.Conditions.Ready == ready && p.TargetRef != nil {
			out = append(out, p.TargetRef.Name)
		}
	}
	slices.Sort(out)
	return out
}

// allEndpoints are the endpoints of all slices of the service.
func (e *env) allEndpoints() []discoveryv1.Endpoint {
	e.Helper()
	list, err := e.client.DiscoveryV1().EndpointSlices(e.ns).List(e.ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=app"})
	if err != nil {
		e.Fatalf("list endpoint slices: %v", err)
	}
	var out []discoveryv1.Endpoint
	for _, s := range list.Items {
		out = append(out, s.Endpoints...)
		if len(s.Endpoints) > 0 && (len(s.Ports) != 1 || *s.Ports[0].Port != 8080 || *s.Ports[0].Name != "http") {
			e.Errorf("ports of the slice are %+v, want http on 8080", s.Ports)
		}
	}
	return out
}

func (e *env) awaitEndpoints(ready bool, want func() []string) {
	e.Helper()
	e.await("the endpoints", "endpointslices", func() string {
		if got := e.endpoints(ready); !slices.Equal(got, want()) {
			return fmt.Sprintf("endpoints are %v, want %v", got, want())
		}
		return ""
	})
}

func endpointsFollow(e *env) {
	e.apply(e.app("shop:1", 2))
	green := e.app("shop:2", 1).WithName("green")
	green.Spec.Selector.MatchLabels = map[string]string{"app": "green"}
	green.Spec.Template.Labels = map[string]string{"app": "green"}
	e.apply(green)
	e.service(map[string]string{"app": "app"})
	e.awaitRollout()
	e.awaitEndpoints(true, func() []string { return e.podNames("app=app") })
	e.pick(`{"app":"green"}`)
	e.awaitEndpoints(true, func() []string { return e.podNames("app=green") })
}

// versionLabel is what tells the pods of one version from those of another.
const versionLabel = "slipway.dev/version"

// version is a Deployment of one version of the app, named after it.
func (e *env) version(name string, replicas int32) *appsconfig.DeploymentApplyConfiguration {
	labels := map[string]string{"app": "app", versionLabel: name}
	d := e.app("shop:"+name, replicas).WithName(name)
	d.Spec.Selector.MatchLabels, d.Spec.Template.Labels = labels, labels
	return d
}

// pick changes labels of the service's selector.
func (e *env) pick(selector string) {
	e.Helper()
	patch := []byte(`{"spec":{"selector":` + selector + `}}`)
	if _, err := e.client.CoreV1().Services(e.ns).Patch(e.ctx, "app", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager}); err != nil {
		e.Fatalf("patch service: %v", err)
	}
}

func endpointsLeave(e *env) {
	e.service(map[string]string{"app": "app"})
	e.apply(e.app("shop:1", 1))
	e.awaitRollout()
	e.awaitEndpoints(true, func() []string { return e.podNames("app=app") })
	pods := e.client.CoreV1().Pods(e.ns)
	name := e.pods()[0].Name
	hold := []byte(`{"metadata":{"finalizers":["kubesuite.slipway/held"]}}`)
	if _, err := pods.Patch(e.ctx, name, types.MergePatchType, hold, metav1.PatchOptions{}); err != nil {
		e.Fatal(err)
	}
	if err := pods.Delete(e.ctx, name, metav1.DeleteOptions{}); err != nil {
		e.Fatal(err)
	}
	e.await("the endpoint to be marked", "endpointslices", func() string {
		for _, p := range e.allEndpoints() {
			if p.TargetRef != nil && p.TargetRef.Name == name {
				if *p.Conditions.Terminating && !*p.Conditions.Ready {
					return ""
				}
				return fmt.Sprintf("endpoint is ready %v, terminating %v", *p.Conditions.Ready, *p.Conditions.Terminating)
			}
		}
		return "no endpoint of the pod"
	})
	if _, err := pods.Patch(e.ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		e.Fatal(err)
	}
	e.await("the endpoint to go", "endpointslices", func() string {
		if slices.Contains(append(e.endpoints(true), e.endpoints(false)...), name) {
			return "still there"
		}
		return ""
	})
}

func endpointsOfTemplate(e *env) {
	e.service(map[string]string{"app": "app"})
	e.apply(e.app("shop:1", 2))
	e.awaitRollout()
	first := e.pods()[0].Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	e.pick(`{"pod-template-hash":"` + first + `"}`)
	e.awaitEndpoints(true, func() []string { return e.podNames("app=app,pod-template-hash=" + first) })
	e.apply(e.impatient("shop:neverready", 2))
	e.awaitTimeout()
	if all := e.podNames("app=app"); len(all) < 3 {
		e.Errorf("there are pods %v, want those of two templates", all)
	}
	e.awaitEndpoints(true, func() []string { return e.podNames("app=app,pod-template-hash=" + first) })
	if got := e.endpoints(false); len(got) > 0 {
		e.Errorf("endpoints that aren't ready are %v, want none: they are of the other template", got)
	}
}

// endpointsMove flips the selector between two versions as fast as the endpoints follow, and looks at each change of them.
func endpointsMove(e *env) {
	const flips = 20
	for _, name := range []string{"blue", "green"} {
		e.apply(e.version(name, 2))
	}
	e.service(map[string]string{"app": "app", versionLabel: "blue"})
	pods := map[string][]string{}
	for _, name := range []string{"blue", "green"} {
		e.await("the version "+name, "deployments", func() string {
			d, err := e.client.AppsV1().Deployments(e.ns).Get(e.ctx, name, metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			return rolledOut(d)
		})
		pods[name] = e.podNames(versionLabel + "=" + name)
	}
	e.awaitEndpoints(true, func() []string { return pods["blue"] })
	ctx, cancel := context.WithTimeout(e.ctx, e.opts.Patience)
	defer cancel()
	list, err := e.client.DiscoveryV1().EndpointSlices(e.ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		e.Fatal(err)
	}
	w, err := e.client.DiscoveryV1().EndpointSlices(e.ns).Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		e.Fatal(err)
	}
	defer w.Stop()
	current := map[string]*discoveryv1.EndpointSlice{}
	for i := range list.Items {
		current[list.Items[i].Name] = &list.Items[i]
	}
	changes := 0
	for i := range flips {
		name := []string{"green", "blue"}[i%2]
		e.pick(`{"` + versionLabel + `":"` + name + `"}`)
		for ready := []string(nil); !slices.Equal(ready, pods[name]); changes++ {
			ev, open := <-w.ResultChan()
			slice, ok := ev.Object.(*discoveryv1.EndpointSlice)
			if !open || !ok {
				e.Fatalf("the watch ended at flip %d with %+v; the endpoints were %v", i, ev.Object, ready)
			}
			current[slice.Name] = slice
			if ev.Type == watch.Deleted {
				delete(current, slice.Name)
			}
			if ready = readyOf(current); len(ready) == 0 {
				e.Fatalf("at flip %d there was no ready endpoint", i)
			}
		}
	}
	e.Logf("%d flips made %d changes", flips, changes)
}

// readyOf are the names of the pods that the slices say are ready.
func readyOf(all map[string]*discoveryv1.EndpointSlice) []string {
	var out []string
	for _, s := range all {
		for _, p := range s.Endpoints {
			if p.Conditions.Ready != nil && *p.Conditions.Ready && p.TargetRef != nil {
				out = append(out, p.TargetRef.Name)
			}
		}
	}
	slices.Sort(out)
	return out
}

func (e *env) podNames(selector string) []string {
	e.Helper()
	list, err := e.client.CoreV1().Pods(e.ns).List(e.ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		e.Fatalf("list pods: %v", err)
	}
	out := make([]string, 0, len(list.Items))
	for _, p := range list.Items {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

func endpointsReady(e *env) {
	e.service(map[string]string{"app": "app"})
	e.apply(e.app("shop:neverready", 1))
	e.awaitEndpoints(false, func() []string { return e.podNames("app=app") })
	if got := e.endpoints(true); len(got) > 0 {
		e.Errorf("ready endpoints are %v, want none", got)
	}
}
