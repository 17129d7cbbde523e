package kubesim

import (
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// dispatch sends a request to its verb.
func (s *Sim) dispatch(w http.ResponseWriter, r *request) {
	switch {
	case r.subresource == "log" && r.resource == registry.Pods && r.verb == "get":
		s.serveLog(w, r)
	case r.subresource == "scale" && r.kind.Scale:
		s.serveScale(w, r)
	case r.subresource != "" && (r.subresource != "status" || !r.kind.Status):
		notThere(w)
	case r.verb == "watch":
		s.serveWatch(w, r)
	case r.verb == "list":
		s.serveList(w, r)
	case r.verb == "get":
		obj, err := s.reg.Get(r.resource, r.namespace, r.name)
		s.answer(w, r, http.StatusOK, obj, err)
	case r.verb == "create" && r.name == "":
		s.serveCreate(w, r)
	case r.verb == "update" && r.name != "":
		s.serveUpdate(w, r)
	case r.verb == "patch" && r.name != "":
		s.servePatch(w, r)
	case r.verb == "delete" && r.subresource == "":
		s.serveDelete(w, r)
	case r.verb == "deletecollection":
		s.serveDeleteAll(w, r)
	default:
		writeError(w, apierrors.NewMethodNotSupported(r.kind.GroupResource(), r.verb))
	}
}

func (s *Sim) answer(w http.ResponseWriter, r *request, code int, obj registry.Object, err error) {
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, code, shown(r, obj))
}

// shown is the form in which the client wants an object: itself, or only its metadata.
func shown(r *request, obj registry.Object) any {
	if !strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata") {
		return obj
	}
	out := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}}
	if typed := reflect.ValueOf(obj).Elem().FieldByName("ObjectMeta"); typed.IsValid() {
		if meta, ok := typed.Interface().(metav1.ObjectMeta); ok {
			out.ObjectMeta = meta
		}
		return out
	}
	out.ObjectMeta = metav1.ObjectMeta{
		Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion(),
		Generation: obj.GetGeneration(), Labels: obj.GetLabels(), Annotations: obj.GetAnnotations(),
		CreationTimestamp: obj.GetCreationTimestamp(), DeletionTimestamp: obj.GetDeletionTimestamp(),
		OwnerReferences: obj.GetOwnerReferences(), Finalizers: obj.GetFinalizers(), ManagedFields: obj.GetManagedFields(),
	}
	return out
}

// withoutType is a built-in object without its kind: the real server leaves it out in lists, which surprises people.
func withoutType(obj registry.Object) any {
	v := reflect.ValueOf(obj)
	if !v.Elem().FieldByName("TypeMeta").IsValid() {
		return obj
	}
	shallow := reflect.New(v.Elem().Type())
	shallow.Elem().Set(v.Elem())
	out, ok := shallow.Interface().(registry.Object)
	if !ok {
		return obj
	}
	out.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return out
}

func (s *Sim) serveList(w http.ResponseWriter, r *request) {
	match, err := selection(r)
	if err != nil {
		writeError(w, err)
		return
	}
	found, revision := s.reg.List(r.resource, r.namespace, match)
	items := make([]any, 0, len(found))
	partial := strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata")
	for _, obj := range found {
		if partial {
			items = append(items, shown(r, obj))
		} else {
			items = append(items, withoutType(obj))
		}
	}
	kind, version := r.kind.Kind+"List", r.kind.GroupVersion().String()
	if partial {
		kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"kind": kind, "apiVersion": version,
		"metadata": map[string]any{"resourceVersion": strconv.FormatUint(revision, 10)}, "items": items,
	})
}

// write reads what all writes have in common from the query.
func write(r *request) (registry.Write, error) {
	q := r.URL.Query()
	out := registry.Write{Manager: q.Get("fieldManager"), Subresource: r.subresource, Force: q.Get("force") == "true"}
	for _, v := range q["dryRun"] {
		if v != metav1.DryRunAll {
			return out, apierrors.NewBadRequest(fmt.Sprintf("invalid dryRun %q", v))
		}
		out.DryRun = true
	}
	return out, nil
}

// named gives a write its field manager where none is asked for: the client's program, as in its user agent.
func named(r *request, w registry.Write) registry.Write {
	if w.Manager == "" {
		w.Manager, _, _ = strings.Cut(r.UserAgent(), "/")
	}
	return w
}

func (s *Sim) readObject(w http.ResponseWriter, r *request) (registry.Object, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	obj, problems, err := s.reg.Decode(r.kind, body, mediaType(r))
	if err != nil {
		return nil, err
	}
	if err := s.judgeUnknown(w, r, problems); err != nil {
		return nil, err
	}
	if obj.GetNamespace() == "" {
		obj.SetNamespace(r.namespace)
	}
	if obj.GetNamespace() != r.namespace {
		return nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return obj, nil
}

// judgeUnknown refuses unknown fields, warns about them or ignores them, as the request asks; it warns by default.
func (s *Sim) judgeUnknown(w http.ResponseWriter, r *request, problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	switch r.URL.Query().Get("fieldValidation") {
	case metav1.FieldValidationStrict:
		return registry.StrictError(r.kind, problems)
	case metav1.FieldValidationIgnore:
	default:
		for _, p := range problems {
			w.Header().Add("Warning", fmt.Sprintf("299 - %q", p.Error()))
		}
	}
	return nil
}

// readWrite reads how to write and what. If it can't, it has answered.
func (s *Sim) readWrite(w http.ResponseWriter, r *request) (registry.Write, registry.Object, bool) {
	options, err := write(r)
	if err != nil {
		writeError(w, err)
		return options, nil, false
	}
	obj, err := s.readObject(w, r)
	if err != nil {
		writeError(w, err)
		return options, nil, false
	}
	return options, obj, true
}

func (s *Sim) serveCreate(w http.ResponseWriter, r *request) {
	if r.kind.Namespaced && r.namespace == "" {
		writeError(w, apierrors.NewBadRequest("an empty namespace may not be set during creation"))
		return
	}
	options, obj, ok := s.readWrite(w, r)
	if !ok {
		return
	}
	made, err := s.reg.Create(r.resource, obj, named(r, options))
	s.answer(w, r, http.StatusCreated, made, err)
}

func (s *Sim) serveUpdate(w http.ResponseWriter, r *request) {
	options, obj, ok := s.readWrite(w, r)
	if !ok {
		return
	}
	if obj.GetName() != r.name {
		writeError(w, apierrors.NewBadRequest(fmt.Sprintf(
			"the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), r.name)))
		return
	}
	changed, err := s.reg.Update(r.resource, obj, named(r, options))
	s.answer(w, r, http.StatusOK, changed, err)
}

func (s *Sim) servePatch(w http.ResponseWriter, r *request) {
	options, err := write(r)
	if err != nil {
		writeError(w, err)
		return
	}
	body, err := readBody(r)
	if err != nil {
		writeError(w, err)
		return
	}
	kind := types.PatchType(mediaType(r))
	if kind != types.ApplyYAMLPatchType {
		options = named(r, options)
	}
	obj, created, err := s.reg.Patch(r.resource, r.namespace, r.name, kind, body, options)
	code := http.StatusOK
	if created {
		code = http.StatusCreated
	}
	s.answer(w, r, code, obj, err)
}

// removal reads how to delete from the body and the query.
func (s *Sim) removal(r *request) (registry.Removal, error) {
	var out registry.Removal
	body, err := readBody(r)
	if err != nil {
		return out, err
	}
	options := &metav1.DeleteOptions{}
	if len(body) > 0 {
		if err := s.reg.DecodeInto(body, mediaType(r), options); err != nil {
			return out, err
		}
	}
	q := r.URL.Query()
	if p := metav1.DeletionPropagation(q.Get("propagationPolicy")); p != "" {
		options.PropagationPolicy = &p
	}
	if seconds, err := strconv.ParseInt(q.Get("gracePeriodSeconds"), 10, 64); err == nil {
		options.GracePeriodSeconds = &seconds
	}
	out.GraceSeconds = options.GracePeriodSeconds
	out.DryRun = len(options.DryRun) > 0 || q.Get("dryRun") != ""
	if options.PropagationPolicy != nil {
		out.Propagation = *options.PropagationPolicy
	}
	if p := options.Preconditions; p != nil {
		if p.UID != nil {
			out.Preconditions.UID = *p.UID
		}
		if p.ResourceVersion != nil {
			out.Preconditions.ResourceVersion = *p.ResourceVersion
		}
	}
	return out, nil
}

func (s *Sim) serveDelete(w http.ResponseWriter, r *request) {
	how, err := s.removal(r)
	if err != nil {
		writeError(w, err)
		return
	}
	obj, gone, err := s.reg.Delete(r.resource, r.namespace, r.name, how)
	if err != nil || !gone {
		s.answer(w, r, http.StatusOK, obj, err)
		return
	}
	writeStatus(w, http.StatusOK, &metav1.Status{
		Status:  metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: obj.GetName(), Group: r.kind.Group, Kind: r.resource, UID: obj.GetUID()},
	})
}

func (s *Sim) serveDeleteAll(w http.ResponseWriter, r *request) {
	match, err := selection(r)
	if err != nil {
		writeError(w, err)
		return
	}
	how, err := s.removal(r)
	if err != nil {
		writeError(w, err)
		return
	}
	found, _ := s.reg.List(r.resource, r.namespace, match)
	for _, obj := range found {
		if _, _, err := s.reg.Delete(r.resource, obj.GetNamespace(), obj.GetName(), how); err != nil && !apierrors.IsNotFound(err) {
			writeError(w, err)
			return
		}
	}
	writeStatus(w, http.StatusOK, &metav1.Status{Status: metav1.StatusSuccess})
}

func (s *Sim) serveScale(w http.ResponseWriter, r *request) {
	scale, err := s.scale(r)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, scale)
}

func (s *Sim) scale(r *request) (*autoscalingv1.Scale, error) {
	if r.verb == "get" {
		return s.reg.Scale(r.resource, r.namespace, r.name) // already the server's own status
	}
	options, err := write(r)
	if err != nil {
		return nil, err
	}
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	switch r.verb {
	case "update":
		wanted := &autoscalingv1.Scale{}
		if err := s.reg.DecodeInto(body, mediaType(r), wanted); err != nil {
			return nil, err // already the server's own status
		}
		return s.reg.SetScale(r.resource, r.namespace, r.name, wanted, named(r, options)) // already the server's own status
	case "patch":
		return s.reg.PatchScale(r.resource, r.namespace, r.name, types.PatchType(mediaType(r)), body, named(r, options)) // already the server's own status
	default:
		return nil, apierrors.NewMethodNotSupported(r.kind.GroupResource(), r.verb)
	}
}
