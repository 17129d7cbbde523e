package kube_test

import (
	"context"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// connection is one that ends with the test.
func (w *world) connection() *kube.Client {
	w.t.Helper()
	c, err := kube.New(w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

func (w *world) owner(r pipeline.Release) deploy.Owner {
	return deploy.Owner{Project: 7, Environment: "production", Delivery: r.Delivery, Release: r.ID, SHA: r.SHA}
}

// recorded is the set of a release.
func (w *world) recorded(r pipeline.Release) manifest.Set {
	w.t.Helper()
	data, err := w.blobs.GetBlob(w.t.Context(), r.Manifests)
	if err != nil {
		w.t.Fatal(err)
	}
	set, err := manifest.Decode(data)
	if err != nil {
		w.t.Fatal(err)
	}
	return set
}

// treeUntil looks at the tree whenever it has changed, until it is as it should be.
func (w *world) treeUntil(n *kube.Namespace, r pipeline.Release, what string, ok func(deploy.Tree) bool) deploy.Tree {
	w.t.Helper()
	ctx := w.context()
	changed, stop := n.Follow(ctx)
	defer stop()
	for {
		live := n.Live(ctx)
		tree := deploy.Grow(live, w.owner(r), w.recorded(r))
		if ok(tree) {
			return tree
		}
		select {
		case <-changed:
		case <-ctx.Done():
			w.t.Fatalf("wait for %s: the tree is %s, %s, trouble %q\n%s", what, tree.Health, tree.Words, live.Trouble, drawn(tree))
		}
	}
}

// drawn is a tree as text.
func drawn(t deploy.Tree) string {
	var b strings.Builder
	var draw func(nodes []*deploy.Node, indent string)
	draw = func(nodes []*deploy.Node, indent string) {
		for _, n := range nodes {
			name := n.Name
			if indent != "" {
				name = "*"
			}
			b.WriteString(indent + n.Kind + " " + name + ": " + string(n.Health) + " " + n.Words + "\n")
			draw(n.Children, indent+"  ")
		}
	}
	draw(t.Nodes, "")
	return b.String()
}

func find(t deploy.Tree, kind, name string) *deploy.Node {
	var found *deploy.Node
	t.Each(func(n *deploy.Node) {
		if n.Kind == kind && (n.Name == name || name == "") && found == nil {
			found = n
		}
	})
	return found
}

const withService = `
---
apiVersion: v1
kind: Service
metadata: {name: shop, annotations: {link.slipway.dev/Logs: "https://logs.example.com/?a=1&b=2", link.slipway.dev/bad: "javascript:alert(1)"}}
spec: {selector: {app: shop}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {key: swordfish-7}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec: {tls: [{hosts: [shop.example.com]}], rules: [{host: shop.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}}]}
`

func TestTheTreeIsWhatRuns(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "one")+deployment("shop:1", 2, "")+withService)
		r := w.release("aaaa1111")
		n := w.connection().Namespace(w.namespace)
		tree := w.treeUntil(n, r, "two pods and two endpoints", func(tree deploy.Tree) bool {
			s := find(tree, "Service", "shop")
			return tree.Health == deploy.Healthy && tree.Words == "2 of 2 pods ready" && s != nil && s.Words == "2 ready endpoints"
		})
		want := `Ingress shop: Unknown routes shop.example.com to shop; no controller has given it an address
Service shop: Healthy 2 ready endpoints
Deployment shop: Healthy 2 of 2 pods ready
  ReplicaSet *: Healthy 2 of 2 pods ready
    Pod *: Healthy ready
    Pod *: Healthy ready
ConfigMap settings: Healthy 
Secret keys: Unknown 
`
		if got := drawn(tree); got != want {
			t.Errorf("the tree is\n%s\nwant\n%s", got, want)
		}
		pod := find(tree, "Pod", "")
		if pod.Commit != "aaaa1111" || pod.Release != r.ID || len(pod.Images) != 1 || pod.Images[0] != "shop:1" || pod.Containers[0] != "app" || pod.Created.IsZero() {
			t.Errorf("a pod is %+v", pod)
		}
		if links := find(tree, "Service", "shop").Links; len(links) != 1 || links[0] != (deploy.Link{Name: "Logs", URL: "https://logs.example.com/?a=1&b=2"}) {
			t.Errorf("the links are %+v", links)
		}
		if len(tree.Links) != 1 || tree.Links[0].URL != "https://shop.example.com" {
			t.Errorf("the application is at %+v", tree.Links)
		}
	})
}

func TestTheTreeSaysWhatIsWrongAndWhatIsMissing(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "one")+deployment("shop:crash", 1, ""))
		r := w.mustApply("aaaa1111")
		n := w.connection().Namespace(w.namespace)
		tree := w.treeUntil(n, r, "a crash loop", func(tree deploy.Tree) bool {
			return tree.Health == deploy.Degraded && strings.Contains(tree.Words, "restarted")
		})
		d := find(tree, "Deployment", "shop")
		if !strings.Contains(d.Words, "container app of pod shop-") || !strings.Contains(d.Words, "restarted") || d.Restarts < 2 {
			t.Errorf("the deployment says %q after %d restarts", d.Words, d.Restarts)
		}
		if err := w.admin.CoreV1().ConfigMaps(w.namespace).Delete(t.Context(), "settings", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		tree = w.treeUntil(n, r, "a missing config map", func(tree deploy.Tree) bool { return tree.Health == deploy.Missing })
		if tree.Words != "ConfigMap settings: not in the cluster" {
			t.Errorf("the tree says %q", tree.Words)
		}
	})
}

func TestWarningsOfTheClusterAreTold(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	w.commit("aaaa1111", deployment("shop:missing", 1, ""))
	r := w.mustApply("aaaa1111")
	n := w.connection().Namespace(w.namespace)
	tree := w.treeUntil(n, r, "a warning", func(tree deploy.Tree) bool {
		p := find(tree, "Pod", "")
		return p != nil && len(p.Events) > 0
	})
	if e := find(tree, "Pod", "").Events[0]; e.Reason == "" || e.Words == "" || e.Count < 1 || e.At.IsZero() {
		t.Errorf("the warning is %+v", e)
	}
}

// A Slipway whose role is from before the tree sees what it may, and says the rest.
func TestWhatMayNotBeSeenIsSaid(t *testing.T) {
	onEachCluster(t, func(t *testing.T, w *world) {
		w.commit("aaaa1111", configMap("settings", "one")+deployment("shop:1", 1, ""))
		r := w.release("aaaa1111")
		w.slipway(rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"list", "watch"}})
		n := w.connection().Namespace(w.namespace)
		tree := w.treeUntil(n, r, "the deployment", func(tree deploy.Tree) bool { return find(tree, "Deployment", "shop") != nil })
		if c := find(tree, "ConfigMap", "settings"); c == nil || c.Health != deploy.Unknown || c.Words != "not seen" {
			t.Errorf("the config map is %+v", c)
		}
		if notes := strings.Join(tree.Notes, "\n"); !strings.Contains(notes, "may not list pods in namespace") && !strings.Contains(notes, "may not watch pods in namespace") {
			t.Errorf("the notes are\n%s", notes)
		}
	})
}

func TestTheDocumentedRoleSeesTheTree(t *testing.T) {
	t.Parallel()
	w := realOne(t)
	w.options.Kubeconfig = w.real.User(t, w.namespace, documentedRole(t).Rules...).Kubeconfig
	w.commit("aaaa1111", configMap("settings", "one")+deployment("shop:1", 1, "")+withService)
	r := w.release("aaaa1111")
	n := w.connection().Namespace(w.namespace)
	tree := w.treeUntil(n, r, "everything", func(tree deploy.Tree) bool { return tree.Words == "1 of 1 pod ready" })
	if len(tree.Notes) > 0 {
		t.Errorf("it may not see: %q", tree.Notes)
	}
	if _, err := deploy.Drift(w.context(), n, w.namespace, w.recorded(r), w.owner(r)); err != nil {
		t.Errorf("it may not compare: %v", err)
	}
}

func TestWatchesEndWhenNobodyLooks(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	w.options.Linger = 50 * time.Millisecond
	c := w.connection()
	n := c.Namespace(w.namespace)
	if c.Watched() != 0 {
		t.Error("it watches before anybody has looked")
	}
	_, stop := n.Follow(w.context())
	n.Live(w.context())
	n.Live(w.context())
	if c.Watched() != 1 {
		t.Errorf("%d namespaces are watched, want 1", c.Watched())
	}
	stop()
	stop() // twice is once
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	for tick := time.NewTicker(10 * time.Millisecond); c.Watched() != 0; {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("it still watches")
		}
	}
	if live := n.Live(w.context()); live.Trouble != "" || c.Watched() != 1 {
		t.Errorf("after another look %d are watched, trouble %q", c.Watched(), live.Trouble)
	}
}

func TestAClusterThatIsAwayIsSaid(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	n := w.connection().Namespace(w.namespace)
	w.sim.Faults.SetUnreachable(true)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if live := n.Live(ctx); live.Trouble != "cluster sim doesn't answer; what is shown may be old" {
		t.Errorf("trouble is %q", live.Trouble)
	}
}

func TestAfterAnOutageTheTreeGoesOn(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	w.commit("aaaa1111", configMap("settings", "one"))
	r := w.mustApply("aaaa1111")
	n := w.connection().Namespace(w.namespace)
	w.treeUntil(n, r, "the config map", func(tree deploy.Tree) bool { return find(tree, "ConfigMap", "settings").Health == deploy.Healthy })
	w.sim.Faults.SetUnreachable(true)
	w.sim.Faults.EndWatches()
	changed, stop := n.Follow(w.context())
	for ctx := w.context(); n.Live(ctx).Trouble == ""; {
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("nobody is told of the outage")
		}
	}
	stop()
	w.sim.Faults.SetUnreachable(false)
	if _, err := w.admin.CoreV1().ConfigMaps(w.namespace).Patch(t.Context(), "settings", types.MergePatchType, []byte(`{"metadata":{"labels":{"slipway.dev/version":"v2"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.treeUntil(n, r, "the new label", func(tree deploy.Tree) bool { return find(tree, "ConfigMap", "settings").Version == "v2" })
}
