package kubesuite

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// resource is one that the suite waits for, with its group.
func resource(name string) schema.GroupVersionResource {
	out := schema.GroupVersionResource{Version: "v1", Resource: name}
	switch name {
	case "deployments", "replicasets":
		out.Group = "apps"
	case "jobs":
		out.Group = "batch"
	case "endpointslices":
		out.Group = "discovery.k8s.io"
	}
	return out
}

// await looks again at every change of the resource until is has nothing to say; what it says last is why the test fails.
func (e *env) await(what, name string, is func() string) {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.ctx, e.opts.Patience)
	defer cancel()
	why := ""
	for {
		list, err := e.dynamic.Resource(resource(name)).Namespace(e.ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			e.Fatalf("wait for %s: list %s: %v (so far: %s)", what, name, err, why)
		}
		if why = is(); why == "" {
			return
		}
		w, err := e.dynamic.Resource(resource(name)).Namespace(e.ns).Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
		if err != nil {
			e.Fatalf("wait for %s: watch %s: %v (so far: %s)", what, name, err, why)
		}
		for changed := true; changed; {
			changed = next(ctx, w)
			if why = is(); why == "" {
				w.Stop()
				return
			}
		}
		w.Stop()
		if ctx.Err() != nil {
			e.Fatalf("%s did not come in %v: %s", what, e.opts.Patience, why)
		}
	}
}

// next waits for a change; it reports false when the watch or the time has ended.
func next(ctx context.Context, w watch.Interface) bool {
	select {
	case _, open := <-w.ResultChan():
		return open
	case <-ctx.Done():
		return false
	}
}
