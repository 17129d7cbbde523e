package kubesuite

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

func watchTests() []test {
	return []test{
		{"a watch delivers each change once and in order", watchDelivers},
		{"a watch resumes from where another ended", watchResumes},
		{"a selected watch sees objects come and go as they match", watchSelects},
		{"an informer has the objects and follows", informerFollows},
		{"a watch ends at its time", watchEnds},
	}
}

func (e *env) configMap(name, value string) {
	e.Helper()
	client := e.client.CoreV1().ConfigMaps(e.ns)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"value": value}}, Data: map[string]string{"value": value}}
	_, err := client.Create(e.ctx, cm, metav1.CreateOptions{})
	if err != nil {
		_, err = client.Update(e.ctx, cm, metav1.UpdateOptions{})
	}
	if err != nil {
		e.Fatalf("write %s: %v", name, err)
	}
}

func (e *env) watchMaps(options metav1.ListOptions) watch.Interface {
	e.Helper()
	w, err := e.client.CoreV1().ConfigMaps(e.ns).Watch(e.ctx, options)
	if err != nil {
		e.Fatalf("watch: %v", err)
	}
	e.Cleanup(w.Stop)
	return w
}

// want takes the next event and holds it to its type, the map named a, and its value.
func (e *env) want(w watch.Interface, kind watch.EventType, value string) *corev1.ConfigMap {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.ctx, e.opts.Patience)
	defer cancel()
	select {
	case ev, open := <-w.ResultChan():
		cm, ok := ev.Object.(*corev1.ConfigMap)
		if !open || !ok || ev.Type != kind || cm.Name != "a" || cm.Data["value"] != value {
			e.Fatalf("event is %s %+v (open: %v), want %s a=%s", ev.Type, ev.Object, open, kind, value)
		}
		return cm
	case <-ctx.Done():
		e.Fatalf("no event came, want %s a=%s", kind, value)
		return nil
	}
}

func (e *env) mapsVersion() string {
	e.Helper()
	list, err := e.client.CoreV1().ConfigMaps(e.ns).List(e.ctx, metav1.ListOptions{})
	if err != nil {
		e.Fatalf("list: %v", err)
	}
	return list.ResourceVersion
}

func watchDelivers(e *env) {
	w := e.watchMaps(metav1.ListOptions{ResourceVersion: e.mapsVersion(), FieldSelector: "metadata.name=a"})
	e.configMap("a", "1")
	e.configMap("other", "1")
	e.configMap("a", "2")
	if err := e.client.CoreV1().ConfigMaps(e.ns).Delete(e.ctx, "a", metav1.DeleteOptions{}); err != nil {
		e.Fatal(err)
	}
	first := e.want(w, watch.Added, "1")
	second := e.want(w, watch.Modified, "2")
	last := e.want(w, watch.Deleted, "2")
	if first.ResourceVersion == second.ResourceVersion || second.ResourceVersion == last.ResourceVersion {
		e.Errorf("resource versions are %s, %s, %s; want each its own", first.ResourceVersion, second.ResourceVersion, last.ResourceVersion)
	}
}

func watchResumes(e *env) {
	w := e.watchMaps(metav1.ListOptions{ResourceVersion: e.mapsVersion(), FieldSelector: "metadata.name=a"})
	e.configMap("a", "1")
	from := e.want(w, watch.Added, "1").ResourceVersion
	w.Stop()
	e.configMap("a", "2")
	e.configMap("a", "3")
	again := e.watchMaps(metav1.ListOptions{ResourceVersion: from, FieldSelector: "metadata.name=a"})
	e.want(again, watch.Modified, "2")
	e.want(again, watch.Modified, "3")
	// Without a version a watch begins with what there is.
	fresh := e.watchMaps(metav1.ListOptions{FieldSelector: "metadata.name=a"})
	e.want(fresh, watch.Added, "3")
}

func watchSelects(e *env) {
	w := e.watchMaps(metav1.ListOptions{ResourceVersion: e.mapsVersion(), LabelSelector: "value=on"})
	e.configMap("a", "off")
	e.configMap("a", "on")
	e.configMap("a", "off")
	e.want(w, watch.Added, "on")
	e.want(w, watch.Deleted, "on")
}

func informerFollows(e *env) {
	e.configMap("a", "1")
	factory := informers.NewSharedInformerFactoryWithOptions(e.client, 0, informers.WithNamespace(e.ns))
	informer := factory.Core().V1().ConfigMaps().Informer()
	changes := make(chan *corev1.ConfigMap, 16)
	tell := func(obj any) {
		if cm, ok := obj.(*corev1.ConfigMap); ok && cm.Name == "a" {
			changes <- cm
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: tell, UpdateFunc: func(_, obj any) { tell(obj) }})
	if err != nil {
		e.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(e.ctx, e.opts.Patience)
	defer cancel()
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	defer cancel()
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		e.Fatal("the informer did not sync")
	}
	e.configMap("a", "2")
	for {
		select {
		case cm := <-changes:
			if cm.Data["value"] == "2" {
				return
			}
		case <-ctx.Done():
			e.Fatal("the informer did not see the change")
		}
	}
}

func watchEnds(e *env) {
	second := int64(1)
	w := e.watchMaps(metav1.ListOptions{ResourceVersion: e.mapsVersion(), TimeoutSeconds: &second})
	ctx, cancel := context.WithTimeout(e.ctx, e.opts.Patience)
	defer cancel()
	for {
		select {
		case _, open := <-w.ResultChan():
			if !open {
				return
			}
		case <-ctx.Done():
			e.Fatal("the watch did not end")
		}
	}
}
