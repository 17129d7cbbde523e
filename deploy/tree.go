package deploy

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// AnnotationLink is followed by a link's name; the value is an http or https address. People write it on objects.
const AnnotationLink = "link.slipway.dev/"

// How much of a tree is shown.
const (
	maxNodes  = 1000
	maxEvents = 5 // of one object
	maxLinks  = 20
	maxURL    = 2048
)

// Tree is what runs in one environment.
type Tree struct {
	Health Health // of the worst node
	Words  string // of that node, or how many pods are ready
	Nodes  []*Node
	Links  []Link   // to the application, by its routes
	Notes  []string // what is not seen, and why
	More   int      // objects that were left out
}

// Node is one object. All its text is one line each, and bounded.
type Node struct {
	Kind, Name string
	Health     Health
	Words      string
	Images     []string
	Containers []string // of a pod, those with a log
	Version    string   // by its label or its controller's
	Track      string
	Release    string
	Commit     string
	Restarts   int32
	Created    time.Time
	Events     []Happening // newest first
	Links      []Link
	Drifted    bool   // it is not as the release recorded it
	Revision   string // changes when somebody changes what is wanted of the object
	Children   []*Node

	uid string
}

// Link is a plain http or https address.
type Link struct {
	Name, URL string
}

// Happening is a warning that the cluster gave about an object.
type Happening struct {
	Reason, Words string
	Count         int32
	At            time.Time
}

// Grow makes the tree of an environment: the objects with the owner's labels, what they control, and what of the set is
// not there. The set is what should be live; an empty one finds nothing missing.
func Grow(live Live, owner Owner, set manifest.Set) Tree {
	g := &growth{live: live, by: map[string][]*Node{}, events: eventsBy(live.Events), redact: newRedactor(set)}
	var roots []*Node
	have := map[string]bool{}
	for _, k := range live.all() {
		mine := owned(k.object, owner)
		parent := controller(k.object)
		if !mine && parent == "" {
			continue
		}
		n := g.node(k)
		if parent != "" && k.kind != "Deployment" && k.kind != "StatefulSet" && k.kind != "DaemonSet" {
			g.by[parent] = append(g.by[parent], n)
			continue
		}
		if mine {
			have[k.kind+"/"+k.object.GetName()] = true
			roots = append(roots, n)
		}
	}
	t := Tree{Health: Unknown}
	for _, n := range roots {
		g.attach(n, 0)
	}
	t.Nodes = append(roots, g.missing(set, have)...)
	slices.SortStableFunc(t.Nodes, func(a, b *Node) int {
		return cmp.Or(cmp.Compare(order(a.Kind), order(b.Kind)), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	t.bound()
	t.judge()
	t.Links = g.links(owner)
	for _, kind := range sortedKeys(live.Unseen) {
		t.Notes = append(t.Notes, clean(live.Unseen[kind], 300))
	}
	return t
}

// growth is one tree being made.
type growth struct {
	live   Live
	by     map[string][]*Node // children by their controller's uid
	events map[string][]*corev1.Event
	redact redactor
}

func owned(o metav1.Object, owner Owner) bool {
	have := o.GetLabels()
	for k, v := range owner.Labels() {
		if have[k] != v {
			return false
		}
	}
	return true
}

func (g *growth) node(k kept) *Node {
	o := k.object
	n := &Node{
		Kind: k.kind, Name: o.GetName(), Created: o.GetCreationTimestamp().UTC(), uid: string(o.GetUID()),
		Version: clean(o.GetLabels()[LabelVersion], 100), Track: clean(o.GetLabels()[LabelTrack], 100),
		Release: clean(o.GetAnnotations()[AnnotationRelease], 200), Commit: clean(o.GetAnnotations()[AnnotationCommit], 64),
		Links: written(o.GetAnnotations()),
	}
	n.Revision = strconv.FormatInt(o.GetGeneration(), 10)
	if k.kind == "ConfigMap" || k.kind == "Service" { // they have no generation
		n.Revision = o.GetResourceVersion()
	}
	n.Health, n.Words = k.health()
	n.Words = clean(n.Words, maxDetail)
	n.Images = imagesIn(o)
	switch o := o.(type) {
	case *corev1.Pod:
		for _, s := range o.Status.ContainerStatuses {
			n.Restarts += s.RestartCount
		}
		for _, list := range [][]corev1.Container{o.Spec.Containers, o.Spec.InitContainers} {
			for _, c := range list {
				n.Containers = append(n.Containers, clean(c.Name, 100))
			}
		}
	case *networkingv1.Ingress:
		n.Links = append(n.Links, ingressLinks(o)...)
	case *unstructured.Unstructured:
		n.Links = append(n.Links, hostLinks(routeHosts(o), "https")...)
	}
	for _, e := range g.events[n.uid] {
		n.Events = append(n.Events, g.happening(e))
	}
	return n
}

func imagesIn(o metav1.Object) []string {
	var spec corev1.PodSpec
	switch o := o.(type) {
	case *appsv1.Deployment:
		spec = o.Spec.Template.Spec
	case *appsv1.StatefulSet:
		spec = o.Spec.Template.Spec
	case *appsv1.DaemonSet:
		spec = o.Spec.Template.Spec
	case *corev1.Pod:
		spec = o.Spec
	}
	var images []string
	for _, c := range spec.Containers {
		images = appendNew(images, clean(c.Image, 200))
	}
	return images
}

// attach hangs what an object controls below it. What a pod's metadata doesn't tell, its controller's does.
func (g *growth) attach(n *Node, depth int) {
	const deepest = 4 // a CronJob's Job's pod is the third
	if n.uid == "" || depth > deepest {
		return
	}
	for _, child := range g.by[n.uid] {
		child.Version, child.Track = cmp.Or(child.Version, n.Version), cmp.Or(child.Track, n.Track)
		child.Release, child.Commit = cmp.Or(child.Release, n.Release), cmp.Or(child.Commit, n.Commit)
		g.attach(child, depth+1)
		if child.Kind == "ReplicaSet" && child.Health == Suspended && len(child.Children) == 0 && len(child.Events) == 0 {
			continue // kept by the cluster for its own undo
		}
		n.Children = append(n.Children, child)
		n.explain(child)
	}
	slices.SortStableFunc(n.Children, func(a, b *Node) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.Name, b.Name))
	})
}

// explain takes over what is wrong with a pod: it tells more than how many are ready. An old pod that is going tells
// nothing of its controller.
func (n *Node) explain(child *Node) {
	controls := n.Kind != "CronJob" && n.Kind != "Job"
	n.Restarts += child.Restarts
	if controls && child.Health == Degraded && n.Health != Healthy && n.Health != Suspended && n.Health != Degraded {
		n.Health, n.Words = Degraded, child.Words
	}
}

// missing makes nodes of what the set has and the cluster doesn't, and of the kinds that nobody watches.
func (g *growth) missing(set manifest.Set, have map[string]bool) []*Node {
	var nodes []*Node
	for _, o := range set.Objects {
		if have[o.GetKind()+"/"+o.GetName()] {
			continue
		}
		n := &Node{Kind: clean(o.GetKind(), 100), Name: clean(o.GetName(), 253), Health: Missing, Words: "not in the cluster"}
		switch {
		case !watchedKind(o.GetKind()):
			n.Health, n.Words = Unknown, ""
		case g.live.Unseen[o.GetKind()] != "" || g.live.Trouble != "":
			n.Health, n.Words = Unknown, "not seen"
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func watchedKind(kind string) bool { return order(kind) < len(kindOrder) && kind != "Secret" }

var kindOrder = []string{
	"Ingress", "HTTPRoute", "Service", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod", "CronJob", "Job",
	"HorizontalPodAutoscaler", "PodDisruptionBudget", "ConfigMap", "Secret",
}

func order(kind string) int {
	if i := slices.Index(kindOrder, kind); i >= 0 {
		return i
	}
	return len(kindOrder)
}

// bound leaves out what is too much to read.
func (t *Tree) bound() {
	left := maxNodes
	var cut func(nodes []*Node) []*Node
	cut = func(nodes []*Node) []*Node {
		for i, n := range nodes {
			if left == 0 {
				for _, m := range nodes[i:] {
					t.More += m.count()
				}
				return nodes[:i]
			}
			left--
			n.Children = cut(n.Children)
		}
		return nodes
	}
	t.Nodes = cut(t.Nodes)
}

func (n *Node) count() int {
	sum := 1
	for _, c := range n.Children {
		sum += c.count()
	}
	return sum
}

// judge says how the whole is: as its worst part.
func (t *Tree) judge() {
	t.Health, t.Words = Unknown, ""
	ready, pods := int32(0), int32(0)
	t.Each(func(n *Node) {
		if n.Kind == "Pod" {
			pods++
			if n.Health == Healthy {
				ready++
			}
		}
	})
	for _, n := range t.Nodes {
		if worst := worse(t.Health, n.Health); worst != t.Health {
			t.Health = worst
			t.Words = clean(n.Kind+" "+n.Name+": "+n.Words, maxDetail)
		}
	}
	if (t.Health == Healthy || t.Health == Unknown) && pods > 0 {
		t.Words = ofPods(ready, pods)
	} else if t.Health == Healthy {
		t.Words = ""
	}
}

// Each calls do for every node, parents first.
func (t *Tree) Each(do func(*Node)) {
	var walk func([]*Node)
	walk = func(nodes []*Node) {
		for _, n := range nodes {
			do(n)
			walk(n.Children)
		}
	}
	walk(t.Nodes)
}

// Mark shows in the tree what Drift has found.
func (t *Tree) Mark(found []Deviation) {
	by := map[string]Deviation{}
	for _, d := range found {
		if had, ok := by[d.Kind+"/"+d.Name]; !ok || !had.Missing {
			by[d.Kind+"/"+d.Name] = d
		}
	}
	for _, n := range t.Nodes {
		d, drifted := by[n.Kind+"/"+n.Name]
		n.Drifted = drifted
		switch {
		case drifted && d.Missing:
			n.Health, n.Words = Missing, "not in the cluster"
		case n.Kind == "Secret" && n.Health == Unknown:
			n.Health = Healthy // it is there, or it would be among them
		}
	}
	t.judge()
}

// Pod tells whether the pod is in the tree, and which containers it has.
func (t *Tree) Pod(name string) (containers []string, ok bool) {
	t.Each(func(n *Node) {
		if n.Kind == "Pod" && n.Name == name {
			containers, ok = n.Containers, true
		}
	})
	return containers, ok
}

// eventsBy sorts the events by the object that they are about, the newest first, a few of each.
func eventsBy(events []*corev1.Event) map[string][]*corev1.Event {
	by := map[string][]*corev1.Event{}
	for _, e := range events {
		uid := string(e.InvolvedObject.UID)
		by[uid] = append(by[uid], e)
	}
	for uid, list := range by {
		slices.SortStableFunc(list, func(a, b *corev1.Event) int { return happened(b).Compare(happened(a)) })
		by[uid] = list[:min(len(list), maxEvents)]
	}
	return by
}

func (g *growth) happening(e *corev1.Event) Happening {
	count := max(e.Count, 1)
	if e.Series != nil {
		count = max(count, e.Series.Count)
	}
	return Happening{Reason: clean(e.Reason, 100), Words: g.redact.line(clean(e.Message, 300)), Count: count, At: happened(e)}
}

func happened(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.UTC()
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.UTC()
	case !e.EventTime.IsZero():
		return e.EventTime.UTC()
	}
	return e.CreationTimestamp.UTC()
}

// written are the links that people put on an object.
func written(annotations map[string]string) []Link {
	var links []Link
	for _, key := range sortedKeys(annotations) {
		name, ok := strings.CutPrefix(key, AnnotationLink)
		if !ok || name == "" || len(links) == maxLinks {
			continue
		}
		if u := safeURL(annotations[key]); u != "" {
			links = append(links, Link{Name: clean(strings.ReplaceAll(name, "_", " "), 100), URL: u})
		}
	}
	return links
}

// safeURL is a plain http or https address as it is, "" for anything else.
func safeURL(text string) string {
	if len(text) > maxURL {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	return u.String()
}

// links are where the application is, by the routes of the environment.
func (g *growth) links(owner Owner) []Link {
	var links []Link
	add := func(more []Link) {
		for _, l := range more {
			if len(links) < maxLinks && !slices.ContainsFunc(links, func(have Link) bool { return have.URL == l.URL }) {
				links = append(links, l)
			}
		}
	}
	for _, i := range g.live.Ingresses {
		if owned(i, owner) {
			add(ingressLinks(i))
		}
	}
	for _, r := range g.live.HTTPRoutes {
		if owned(r, owner) {
			add(hostLinks(routeHosts(r), "https"))
		}
	}
	slices.SortFunc(links, func(a, b Link) int { return strings.Compare(a.Name, b.Name) })
	return links
}

func ingressHosts(i *networkingv1.Ingress) []string {
	var hosts []string
	for _, r := range i.Spec.Rules {
		if r.Host != "" {
			hosts = appendNew(hosts, clean(r.Host, 253))
		}
	}
	return hosts
}

// ingressLinks are https where the Ingress has a certificate for the host.
func ingressLinks(i *networkingv1.Ingress) []Link {
	var links []Link
	for _, host := range ingressHosts(i) {
		scheme := "http"
		for _, t := range i.Spec.TLS {
			if slices.Contains(t.Hosts, host) || len(t.Hosts) == 0 {
				scheme = "https"
			}
		}
		links = append(links, hostLinks([]string{host}, scheme)...)
	}
	return links
}

func routeHosts(r *unstructured.Unstructured) []string {
	hosts, _, _ := unstructured.NestedStringSlice(r.Object, "spec", "hostnames")
	for i := range hosts {
		hosts[i] = clean(hosts[i], 253)
	}
	return hosts
}

var hostForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

// hostLinks leaves out hosts with a wildcard, which lead nowhere.
func hostLinks(hosts []string, scheme string) []Link {
	var links []Link
	for _, host := range hosts {
		if hostForm.MatchString(host) && len(links) < maxLinks {
			links = append(links, Link{Name: host, URL: scheme + "://" + host})
		}
	}
	return links
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
