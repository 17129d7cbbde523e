package kube

import (
	"errors"
	"strconv"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// numbered are objects whose names are their places.
func numbered(n int) []manifest.Object {
	objects := make([]manifest.Object, n)
	for i := range objects {
		objects[i] = manifest.Object{Unstructured: &unstructured.Unstructured{Object: map[string]any{}}}
		objects[i].SetName(strconv.Itoa(i))
	}
	return objects
}

func TestEachDoesEightAtATime(t *testing.T) {
	var now, most atomic.Int64
	eight := make(chan struct{})
	done, err := each(numbered(100), func(manifest.Object) error {
		defer now.Add(-1)
		n := now.Add(1)
		for {
			before := most.Load()
			if n <= before || most.CompareAndSwap(before, n) {
				break
			}
		}
		if n == 8 {
			select {
			case <-eight:
			default:
				close(eight)
			}
		}
		<-eight
		return nil
	})
	if err != nil || done != 100 || most.Load() != 8 {
		t.Errorf("%d done, at most %d at a time, error %v", done, most.Load(), err)
	}
}

func TestEachTellsTheFirstErrorInOrder(t *testing.T) {
	later := make(chan struct{})
	begun := atomic.Int64{}
	done, err := each(numbered(100), func(o manifest.Object) error {
		begun.Add(1)
		switch o.GetName() {
		case "2":
			<-later // it fails after one that comes later
			return errors.New("the third")
		case "5":
			defer close(later)
			return errors.New("the sixth")
		case "0", "1", "3", "4":
		default:
			<-later
		}
		return nil
	})
	if err == nil || err.Error() != "the third" {
		t.Errorf("error is %v", err)
	}
	if n := begun.Load(); n > 20 || done != int(n)-2 {
		t.Errorf("%d were begun, %d done", n, done)
	}
}
