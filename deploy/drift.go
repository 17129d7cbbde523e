package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const hiddenValue = "[secret]"

// maxDifferences bounds how many fields of one object are told.
const maxDifferences = 20

// Comparer asks a cluster how an object is, and how it would be if it were applied by force. It changes nothing.
type Comparer interface {
	// Compare gives nil for both if the object isn't there. Its errors are as those of Cluster.
	Compare(ctx context.Context, o manifest.Object) (live, wanted *unstructured.Unstructured, err error)
}

// Applier applies objects.
type Applier interface {
	Apply(ctx context.Context, objects []manifest.Object, force bool) (applied int, err error)
}

// Deviation is one field of a live object that is not as its release has recorded it, or an object that is not there.
type Deviation struct {
	Kind, Name string
	Missing    bool   // the whole object
	Field      string // such as ".spec.template.spec.containers[web].image"
	Live       string // "" if the field is not there. Values of Secrets, and what looks like one, are "[secret]"
	Recorded   string // "" if the release doesn't have it
	By         string // the field manager that set it, "" if the cluster doesn't tell
	At         time.Time
	// Trouble says why the object can't be compared, "" if it can.
	Trouble string
	// Left says why it is never corrected, "" if it may be.
	Left string

	object manifest.Object // as it is to be, with the version that was compared
}

// Drift compares what a release recorded with what is live in the namespace. The set is what the release placed there.
// The cluster itself says what differs: it is asked how each object would be after it was applied again, so defaults,
// other ways to write a quantity, and fields that the release leaves to others are no differences.
func Drift(ctx context.Context, in Comparer, namespace string, set manifest.Set, owner Owner) ([]Deviation, error) {
	where := place{Target: Target{Namespace: namespace, CRDs: true}, owner: owner}
	if err := where.within(set); err != nil {
		return nil, err
	}
	redact := newRedactor(set)
	var found []Deviation
	for _, o := range stamp(set.Objects, owner, namespace) {
		this := Deviation{Kind: clean(o.GetKind(), 100), Name: clean(o.GetName(), 253)}
		live, wanted, err := in.Compare(ctx, o)
		if sized, scaled := asLarge(o, live, set.Objects); scaled && err == nil {
			o = sized
			live, wanted, err = in.Compare(ctx, o)
		}
		if failure, ok := pipeline.AsFailure(err); ok && failure.Permanent {
			this.Trouble = clean(failure.Detail, maxDetail)
			found = append(found, this)
			continue
		}
		if err != nil {
			return nil, err
		}
		if this.object = o; live == nil {
			this.Missing = true
			found = append(found, this)
			continue
		}
		if who := owner.stranger(live); who != "" {
			this.object, this.Trouble = manifest.Object{}, "it is delivered "+who+" by now"
			found = append(found, this)
			continue
		}
		found = append(found, restrained(compared(this, live, wanted, redact), live, owner)...)
	}
	return found, nil
}

// asLarge is a blue-green Deployment with as many pods as it has, where its manifest doesn't decide that: bringing it up
// has written a number, too.
func asLarge(o manifest.Object, live *unstructured.Unstructured, all []manifest.Object) (manifest.Object, bool) {
	version := o.GetLabels()[LabelVersion]
	if live == nil || version == "" || !isKind(o, "Deployment") {
		return o, false
	}
	_, written, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "replicas")
	if written && !slices.ContainsFunc(all, func(f manifest.Object) bool { name, ok := scales(f); return ok && name == o.GetName() }) {
		return o, false
	}
	sized := part{Object: manifest.Object{Unstructured: o.DeepCopy(), From: o.From}}
	if resize(&sized, live, nil) != nil {
		return o, false
	}
	return sized.Object, true
}

// restrained keeps corrections from what is a delivery's business: where a blue-green release's Services lead, and what
// another release than the recorded one has brought.
func restrained(found []Deviation, live *unstructured.Unstructured, owner Owner) []Deviation {
	other := live.GetAnnotations()[AnnotationRelease]
	selector, gate := selectorOf(live), len(found) > 0 && isService(found[0].object) && selectorOf(found[0].object.Unstructured)[LabelVersion] != ""
	for i := range found {
		d := &found[i]
		switch {
		case other != "" && other != owner.Release:
			d.object, d.Left = manifest.Object{}, "a delivery that did not end well has left it so; deliver or roll back"
		case gate && strings.HasPrefix(d.Field, ".spec.selector"):
			d.object, d.Left = manifest.Object{}, "it says where the traffic goes, which only deliveries and rollbacks change"
		case gate && len(selector) > 0:
			if unstructured.SetNestedStringMap(d.object.Object, selector, "spec", "selector") != nil {
				d.object = manifest.Object{}
			}
		}
	}
	return found
}

// Correct applies again what the differences are of, by force. An object that has changed since it was compared is left
// alone with an error that another try may pass: a delivery may have begun meanwhile.
func Correct(ctx context.Context, in Applier, found []Deviation) (int, error) {
	var objects []manifest.Object
	for _, d := range found {
		same := func(o manifest.Object) bool { return o.Key() == d.object.Key() }
		if d.object.Unstructured != nil && !slices.ContainsFunc(objects, same) {
			objects = append(objects, d.object)
		}
	}
	return in.Apply(ctx, objects, true)
}

// compared lists the fields in which the two forms of an object differ.
func compared(this Deviation, live, wanted *unstructured.Unstructured, redact redactor) []Deviation {
	o := this.object
	this.object = manifest.Object{Unstructured: o.DeepCopy(), From: o.From}
	this.object.SetResourceVersion(live.GetResourceVersion())
	c := &comparison{
		redact: redact, secret: o.GetKind() == "Secret" && o.GroupVersionKind().Group == "", managers: managersOf(live), base: this,
	}
	c.values(nil, ours(live.Object), ours(wanted.Object))
	return c.found
}

// ours is an object without what the cluster alone writes.
func ours(object map[string]any) map[string]any {
	kept := maps.Clone(object)
	delete(kept, "status")
	if meta, ok := kept["metadata"].(map[string]any); ok {
		meta = maps.Clone(meta)
		for _, key := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"} {
			delete(meta, key)
		}
		meta["labels"] = without(meta["labels"], LabelTrack) // it says where the traffic is
		meta["annotations"] = without(meta["annotations"], AnnotationReplaces)
		kept["metadata"] = meta
	}
	return kept
}

// without is a map without one key, as it is if it is no map.
func without(v any, key string) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	m = maps.Clone(m)
	delete(m, key)
	return m
}

// comparison is of one object.
type comparison struct {
	base     Deviation
	redact   redactor
	secret   bool
	managers []managed
	found    []Deviation
}

// step is one part of a field's path: a key of a map, or an item of a list.
type step struct {
	key  string
	item map[string]any // of a list of maps
	list bool
}

func (c *comparison) values(path []step, live, wanted any) {
	if len(c.found) >= maxDifferences || reflect.DeepEqual(live, wanted) {
		return
	}
	l, liveMap := live.(map[string]any)
	w, wantedMap := wanted.(map[string]any)
	if liveMap && wantedMap {
		for _, key := range slices.Sorted(maps.Keys(union(l, w))) {
			c.values(at(path, step{key: key}), l[key], w[key])
		}
		return
	}
	ll, liveList := live.([]any)
	wl, wantedList := wanted.([]any)
	if liveList && wantedList && allNamed(ll) && allNamed(wl) {
		c.items(path, ll, wl)
		return
	}
	c.add(path, live, wanted)
}

// items compares lists whose items have names.
func (c *comparison) items(path []step, live, wanted []any) {
	have := map[string]map[string]any{}
	for _, item := range live {
		m, _ := item.(map[string]any)
		have[itemName(m)] = m
	}
	for _, item := range wanted {
		m, _ := item.(map[string]any)
		was, ok := have[itemName(m)]
		delete(have, itemName(m))
		if !ok {
			c.add(at(path, step{item: m, list: true}), nil, m)
			continue
		}
		c.values(at(path, step{item: was, list: true}), was, m)
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		c.add(at(path, step{item: have[name], list: true}), have[name], nil)
	}
}

func (c *comparison) add(path []step, live, wanted any) {
	d := c.base
	d.Field = clean(fieldName(path), 300)
	d.Live, d.Recorded = c.shown(d.Field, live), c.shown(d.Field, wanted)
	if d.Live == d.Recorded && live != nil && wanted != nil && d.Live != hiddenValue {
		d.Live, d.Recorded = d.Live+" …", d.Recorded+" …" // they differ where they are not shown
	}
	d.By, d.At = setBy(c.managers, path)
	c.found = append(c.found, d)
}

// shown is a value for people's eyes.
func (c *comparison) shown(field string, v any) string {
	switch {
	case v == nil:
		return ""
	case c.secret, secretive().MatchString(field):
		return hiddenValue
	}
	text, ok := v.(string)
	if !ok {
		data, err := json.Marshal(concealed(v))
		if err != nil {
			return "?"
		}
		text = string(data)
	}
	return clip(c.redact.line(clean(text, 400)), 200)
}

// concealed is a value without the secrets in it: what is under a secretive key, and the value beside a secretive name.
func concealed(v any) any {
	switch v := v.(type) {
	case map[string]any:
		shown := make(map[string]any, len(v))
		name, _ := v["name"].(string)
		for key, value := range v {
			if _, leaf := value.(string); leaf && (secretive().MatchString(key) || key == "value" && secretive().MatchString(name)) {
				value = hiddenValue
			}
			shown[key] = concealed(value)
		}
		return shown
	case []any:
		shown := make([]any, len(v))
		for i, item := range v {
			shown[i] = concealed(item)
		}
		return shown
	}
	return v
}

// secretive matches names of what is better not shown.
func secretive() *regexp.Regexp {
	return regexp.MustCompile(`(?i)passw|secret|token|credential|api[_-]?key|private[_-]?key|connection[_-]?string|dsn\b`)
}

func at(path []step, s step) []step { return append(slices.Clip(path), s) }

func union(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// allNamed tells that the items of a list can be told apart.
func allNamed(list []any) bool {
	seen := map[string]bool{}
	for _, item := range list {
		m, ok := item.(map[string]any)
		name := itemName(m)
		if !ok || name == "" || seen[name] {
			return false
		}
		seen[name] = true
	}
	return true
}

// itemName is what an item of a list is known by in Kubernetes' own kinds.
func itemName(m map[string]any) string {
	for _, key := range []string{"name", "mountPath", "devicePath", "topologyKey", "ip", "type", "uid"} {
		if s, ok := m[key].(string); ok && s != "" {
			return s
		}
	}
	for _, key := range []string{"containerPort", "port"} {
		if n, ok := m[key]; ok {
			return fmt.Sprint(n, m["protocol"])
		}
	}
	return ""
}

// fieldName writes a path as kubectl does, with names in place of numbers.
func fieldName(path []step) string {
	var b strings.Builder
	for _, s := range path {
		switch {
		case s.list:
			b.WriteString("[" + itemName(s.item) + "]")
		case strings.ContainsAny(s.key, "./"):
			b.WriteString("[" + s.key + "]")
		default:
			b.WriteString("." + s.key)
		}
	}
	return b.String()
}

// managed is what one manager has set, and when it last did.
type managed struct {
	name   string
	at     time.Time
	fields map[string]any
}

// managersOf lists who manages fields of an object, the newest first.
func managersOf(o *unstructured.Unstructured) []managed {
	var all []managed
	for _, entry := range o.GetManagedFields() {
		m := managed{name: clean(entry.Manager, 100)}
		if entry.Subresource != "" {
			m.name += " (" + clean(entry.Subresource, 50) + ")"
		}
		if entry.Time != nil {
			m.at = entry.Time.UTC()
		}
		if entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &m.fields) != nil {
			continue
		}
		all = append(all, m)
	}
	slices.SortStableFunc(all, func(a, b managed) int { return b.at.Compare(a.at) })
	return all
}

// setBy finds who set the field, or something in it. Slipway itself is told only where nobody else is.
func setBy(all []managed, path []step) (string, time.Time) {
	for _, m := range all {
		if m.name != Manager && m.has(path) {
			return m.name, m.at
		}
	}
	for _, m := range all {
		if m.has(path) {
			return m.name, m.at
		}
	}
	return "", time.Time{}
}

// has follows the path through the manager's fields, as far as it goes: a field may be set as a whole.
func (m managed) has(path []step) bool {
	fields := m.fields
	for i, s := range path {
		next, ok := inField(fields, s)
		if !ok {
			return i > 0 && len(fields) == 0
		}
		fields = next
	}
	return true
}

func inField(fields map[string]any, s step) (map[string]any, bool) {
	if !s.list {
		next, ok := fields["f:"+s.key].(map[string]any)
		return next, ok
	}
	for key, value := range fields {
		text, ok := strings.CutPrefix(key, "k:")
		var names map[string]any
		if !ok || json.Unmarshal([]byte(text), &names) != nil {
			continue
		}
		if matches(names, s.item) {
			next, ok := value.(map[string]any)
			return next, ok
		}
	}
	return nil, false
}

// matches tells that the item has the names, whose numbers come as another type.
func matches(names, item map[string]any) bool {
	for key, want := range names {
		if fmt.Sprint(item[key]) != fmt.Sprint(want) {
			return false
		}
	}
	return len(names) > 0
}
