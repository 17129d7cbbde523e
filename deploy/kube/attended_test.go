package kube

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

func TestWhatAWatchShowsIsOnlyBelievedWhileItIsLive(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(w *watched)
		live   bool
	}{
		{"a watch that runs", func(*watched) {}, true},
		{"one that was never told everything", func(w *watched) { w.listed = false }, false},
		{"one that has ended and begins again", func(w *watched) { w.open = false }, false},
		{"one whose cluster doesn't answer", func(w *watched) { w.trouble = true }, false},
		{"one that is refused", func(w *watched) { w.err = errExpired }, false},
		{"one that was silent for long", func(w *watched) { w.heard = time.Now().Add(-deaf) }, false},
		{"one that shows what was before our own write", func(w *watched) {
			for _, o := range w.objects {
				o.SetGeneration(1)
			}
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := &unstructured.Unstructured{}
			o.SetName("shop")
			o.SetUID("one")
			o.SetGeneration(2)
			n := &Namespace{Client: &Client{written: map[writtenKey]written{{"deployments", "ns", "shop"}: {"one", 2}}}, namespace: "ns"}
			a := &attended{namespace: n, set: watched{
				resource: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"},
				objects:  map[types.UID]*unstructured.Unstructured{"one": o}, listed: true, open: true, heard: time.Now(),
			}}
			tc.change(&a.set)
			if objects, live := a.Now(); live != tc.live || len(objects) != 1 {
				t.Errorf("live is %v, want %v; it shows %d objects", live, tc.live, len(objects))
			}
		})
	}
}
