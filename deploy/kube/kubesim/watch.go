package kubesim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/watch"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// bookmarkEvery is how often a quiet watch that wants bookmarks gets one.
const bookmarkEvery = 30 * time.Second

// watcher is one running watch.
type watcher struct {
	sim       *Sim
	req       *request
	out       http.ResponseWriter
	match     func(registry.Object) bool
	bookmarks bool
	seen      uint64
}

type frame struct {
	Type   watch.EventType `json:"type"`
	Object any             `json:"object"`
}

func (s *Sim) serveWatch(w http.ResponseWriter, r *request) {
	match, err := selection(r)
	if err != nil {
		writeError(w, err)
		return
	}
	if match == nil {
		match = func(registry.Object) bool { return true }
	}
	q := r.URL.Query()
	wt := &watcher{sim: s, req: r, out: w, match: match, bookmarks: q.Get("allowWatchBookmarks") == "true"}
	initial := q.Get("sendInitialEvents") == "true"
	if err := wt.checkInitial(initial, q.Get("resourceVersionMatch")); err != nil {
		writeError(w, err)
		return
	}
	from := q.Get("resourceVersion")
	replay := initial || from == "" || from == "0"
	if !replay {
		if wt.seen, err = strconv.ParseUint(from, 10, 64); err != nil {
			writeError(w, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version %q", from)))
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if replay && !wt.replay(initial) {
		return
	}
	flush(w)
	wt.run(timeout(q.Get("timeoutSeconds")))
}

// checkInitial holds a streaming list to its rules.
func (wt *watcher) checkInitial(initial bool, match string) error {
	if !initial || match == string(metav1.ResourceVersionMatchNotOlderThan) {
		return nil
	}
	return apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("ListOptions").GroupKind(), "", field.ErrorList{
		field.Forbidden(field.NewPath("resourceVersionMatch"), "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
	})
}

func timeout(seconds string) time.Duration {
	n, err := strconv.Atoi(seconds)
	if err != nil || n <= 0 {
		return 30 * time.Minute
	}
	return time.Duration(n) * time.Second
}

// replay sends what there is as if it had just been added, and after a streaming list the mark of its end.
func (wt *watcher) replay(mark bool) bool {
	found, revision := wt.sim.reg.List(wt.req.resource, wt.req.namespace, wt.match)
	for _, obj := range found {
		if !wt.send(watch.Added, shown(wt.req, obj)) {
			return false
		}
	}
	wt.seen = revision
	return !mark || wt.bookmark(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
}

func (wt *watcher) run(limit time.Duration) {
	end, quiet := time.NewTimer(limit), time.NewTicker(bookmarkEvery)
	defer end.Stop()
	defer quiet.Stop()
	cut := wt.sim.Faults.WatchesEnd()
	for {
		changes, upto, changed, err := wt.sim.reg.Since(wt.seen)
		if err != nil {
			status := statusOf(err)
			status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
			wt.send(watch.Error, status)
			flush(wt.out)
			return
		}
		if !wt.deliver(changes) {
			return
		}
		wt.seen = upto
		select {
		case <-changed:
		case <-quiet.C:
			if wt.bookmarks && !wt.bookmark(nil) {
				return
			}
			flush(wt.out)
		case <-end.C:
			return
		case <-cut:
			return
		case <-wt.sim.done:
			return
		case <-wt.req.Context().Done():
			return
		}
	}
}

func (wt *watcher) deliver(changes []registry.Change) bool {
	sent := false
	for _, c := range changes {
		if c.Resource != wt.req.resource || (wt.req.namespace != "" && c.Object.GetNamespace() != wt.req.namespace) {
			continue
		}
		kind, obj := wt.seenAs(c)
		if obj == nil {
			continue
		}
		if !wt.send(kind, shown(wt.req, obj)) {
			return false
		}
		sent = true
	}
	if sent {
		flush(wt.out)
	}
	return true
}

// seenAs is a change as this watch's selector sees it: an object that comes to match is added, one that no longer does is deleted.
func (wt *watcher) seenAs(c registry.Change) (watch.EventType, registry.Object) {
	now := wt.match(c.Object)
	before := c.Before != nil && wt.match(c.Before)
	switch {
	case c.Type == registry.Deleted && (now || before):
		return watch.Deleted, c.Object
	case c.Type == registry.Deleted:
		return "", nil
	case now && before:
		return watch.Modified, c.Object
	case now:
		return watch.Added, c.Object
	case before:
		last, ok := c.Before.DeepCopyObject().(registry.Object)
		if !ok {
			return "", nil
		}
		last.SetResourceVersion(c.Object.GetResourceVersion())
		return watch.Deleted, last
	default:
		return "", nil
	}
}

func (wt *watcher) bookmark(annotations map[string]string) bool {
	mark := wt.req.kind.New()
	mark.SetResourceVersion(strconv.FormatUint(wt.seen, 10))
	mark.SetAnnotations(annotations)
	return wt.send(watch.Bookmark, shown(wt.req, mark))
}

func (wt *watcher) send(kind watch.EventType, obj any) bool {
	line, err := json.Marshal(frame{Type: kind, Object: obj})
	if err != nil {
		return false
	}
	_, err = wt.out.Write(append(line, '\n'))
	return err == nil
}

// flush sends what is buffered; a writer that can't is one that sends at once.
func flush(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush()
}
