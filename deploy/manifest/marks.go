package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ownMarks begin the names of Slipway's own labels and annotations. Annotations for people, such as links, have a prefix
// before it.
const ownMarks = "slipway.dev/"

// unmarked refuses an object that brings marks of Slipway's own: by these it tells whose an object is, where the traffic
// goes, and what may be removed.
func unmarked(o Object) error {
	for _, path := range [][]string{
		{"metadata", "labels"}, {"metadata", "annotations"}, {"spec", "template", "metadata", "labels"},
		{"spec", "jobTemplate", "spec", "template", "metadata", "labels"},
		{"spec", "selector"}, {"spec", "selector", "matchLabels"},
	} {
		marks, _, _ := unstructured.NestedMap(o.Object, path...)
		for _, key := range slices.Sorted(maps.Keys(marks)) {
			if strings.HasPrefix(key, ownMarks) {
				return o.mistake(fmt.Sprintf("%s brings %s, which is for Slipway to set", o.Title(), key), "leave it out")
			}
		}
	}
	return nil
}
