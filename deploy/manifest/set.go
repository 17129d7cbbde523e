package manifest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// Set is a rendered set of objects, in the order in which they are applied.
type Set struct {
	Objects []Object
}

// Object is one Kubernetes object and where it was written.
type Object struct {
	*unstructured.Unstructured
	From Origin // zero for an object that was decoded
}

// Origin is a place in the repository.
type Origin struct {
	File     string
	Document int // of the file, from 1; 0 if it isn't known
	Line     int // where the document begins, from 1; 0 if it isn't known
}

// Key names an object within a namespace.
type Key struct {
	schema.GroupKind
	Namespace string // as written; "" is the environment's
	Name      string
}

// Key is what makes the object the same one in two sets.
func (o Object) Key() Key {
	return Key{GroupKind: o.GroupVersionKind().GroupKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
}

// Title is how people call the object: "Deployment shop".
func (o Object) Title() string { return o.GetKind() + " " + o.GetName() }

// DefinesKind tells that the object is a CustomResourceDefinition.
func (o Object) DefinesKind() bool {
	return o.GroupVersionKind().GroupKind() == schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
}

// Encode is the stored form: a JSON list of the objects, compressed. Equal sets give equal bytes.
func (s Set) Encode() ([]byte, error) {
	data, err := s.plain()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	zip := gzip.NewWriter(&b) // its header has no time and no name
	if _, err := zip.Write(data); err != nil {
		return nil, fmt.Errorf("encode manifests: %w", err)
	}
	if err := zip.Close(); err != nil {
		return nil, fmt.Errorf("encode manifests: %w", err)
	}
	return b.Bytes(), nil
}

// plain is the JSON list.
func (s Set) plain() ([]byte, error) {
	list := make([]map[string]any, len(s.Objects))
	for i, o := range s.Objects {
		list[i] = o.Object
	}
	data, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("encode manifests: %w", err)
	}
	return data, nil
}

// Decode reads the stored form, and the plain list that earlier versions stored.
func Decode(data []byte) (Set, error) {
	data, err := unzipped(data)
	if err != nil {
		return Set{}, err
	}
	var list []any
	if err := utiljson.Unmarshal(data, &list); err != nil {
		return Set{}, errors.New("decode manifests: not a JSON list") // without the cause, which may show a value
	}
	set := Set{Objects: make([]Object, 0, len(list))}
	for i, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			return Set{}, fmt.Errorf("decode manifests: item %d is not an object", i+1)
		}
		o := Object{Unstructured: &unstructured.Unstructured{Object: m}}
		if o.GetKind() == "" || o.GetAPIVersion() == "" || o.GetName() == "" {
			return Set{}, fmt.Errorf("decode manifests: item %d has no apiVersion, kind or name", i+1)
		}
		set.Objects = append(set.Objects, o)
	}
	return set, nil
}

func unzipped(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	const most = 256 << 20 // far beyond what Render lets pass
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("decode manifests: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(zip, most))
	if err != nil {
		return nil, fmt.Errorf("decode manifests: %w", err)
	}
	return plain, nil
}

// Images lists the images of all containers, each once, sorted.
func (s Set) Images() []string {
	var images []string
	for _, o := range s.Objects {
		eachContainer(o, func(c map[string]any) {
			if image, _ := c["image"].(string); image != "" {
				images = append(images, image)
			}
		})
	}
	slices.Sort(images)
	return slices.Compact(images)
}

// Replicas is how many pods the Deployments and StatefulSets ask for. One that doesn't say asks for one.
func (s Set) Replicas() int32 {
	var sum int64
	for _, o := range s.Objects {
		if kind := o.GetKind(); kind != "Deployment" && kind != "StatefulSet" {
			continue
		}
		n, found, err := unstructured.NestedInt64(o.Object, "spec", "replicas")
		if !found || err != nil {
			n = 1
		}
		sum = min(sum+min(max(n, 0), math.MaxInt32), math.MaxInt32)
	}
	return int32(sum)
}

// Without lists the objects of s that other doesn't have, in the order of s.
func (s Set) Without(other Set) []Object {
	has := map[Key]bool{}
	for _, o := range other.Objects {
		has[o.Key()] = true
	}
	var rest []Object
	for _, o := range s.Objects {
		if !has[o.Key()] {
			rest = append(rest, o)
		}
	}
	return rest
}

// Error is a mistake in the repository's manifests.
type Error struct {
	Origin
	What string // a sentence without its full stop
	Hint string // what to do, "" if that is plain
}

// Error is "file:line (document 2): what (hint)".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Origin.String()) //nolint:staticcheck // QF1008: String alone would read as the whole error
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(e.What)
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// String is "file:line (document 2)", as far as it is known.
func (o Origin) String() string {
	s := o.File
	if o.Line > 0 {
		s += fmt.Sprintf(":%d", o.Line)
	}
	if o.Document > 1 {
		s += fmt.Sprintf(" (document %d)", o.Document)
	}
	return s
}
