package registry

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestHistoryForgetsTheOldestChangesAndSaysSo(t *testing.T) {
	r, err := New(Options{History: 8})
	if err != nil {
		t.Fatal(err)
	}
	write := Write{Manager: "test"}
	if _, err := r.Create(Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, write); err != nil {
		t.Fatal(err)
	}
	start := r.Revision()
	_, _, changed, err := r.Since(start)
	if err != nil {
		t.Fatal(err)
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "shop"}}
	if _, err := r.Create(ConfigMaps, cm, write); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("a change was not told")
	}
	for i := range 20 {
		_, err := r.Modify(ConfigMaps, "shop", "a", write, func(o Object) error {
			o.SetLabels(map[string]string{"round": string(rune('a' + i))})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, err := r.Since(start); !apierrors.IsResourceExpired(err) {
		t.Errorf("changes since the start: got %v, want expired", err)
	}
	changes, upto, _, err := r.Since(r.Revision() - 5)
	if err != nil || len(changes) != 5 || upto != r.Revision() {
		t.Fatalf("got %d changes up to %d, %v; want the last 5", len(changes), upto, err)
	}
	for i, c := range changes {
		if c.Revision != upto-4+uint64(i) || c.Type != Modified || c.Before == nil || c.Before.GetLabels()["round"] == c.Object.GetLabels()["round"] {
			t.Errorf("change %d is %+v", i, c)
		}
	}
}

func TestWriteThatChangesNothingIsNotAChange(t *testing.T) {
	r, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	before := r.Revision()
	_, err = r.Create(Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, Write{Manager: "test", DryRun: true})
	if err != nil || r.Revision() != before {
		t.Errorf("dry run moved the revision from %d to %d, %v", before, r.Revision(), err)
	}
	if _, err := r.Create(Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, Write{Manager: "test"}); err != nil {
		t.Fatal(err)
	}
	before = r.Revision()
	if _, err := r.Modify(Namespaces, "", "shop", Write{Manager: "other"}, func(Object) error { return nil }); err != nil || r.Revision() != before {
		t.Errorf("an edit of nothing moved the revision from %d to %d, %v", before, r.Revision(), err)
	}
}
