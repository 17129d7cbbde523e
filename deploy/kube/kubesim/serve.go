package kubesim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim/internal/registry"
)

// maxBody is what the real API server takes of one request.
const maxBody = 3 << 20

// request is what a URL and a method ask for.
type request struct {
	*http.Request
	kind        *registry.Kind
	group       schema.GroupVersion
	verb        string
	namespace   string
	resource    string
	name        string
	subresource string
	account     account
}

// Handler serves the API: for a server of your own in place of Start.
func (s *Sim) Handler() http.Handler {
	return s.Faults.Handler(http.HandlerFunc(s.serve))
}

func (s *Sim) serve(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	w.Header().Set("Date", s.opts.Now().UTC().Format(http.TimeFormat))
	path := strings.Trim(r.URL.Path, "/")
	switch path {
	case "livez", "readyz", "healthz":
		_, _ = io.WriteString(w, "ok")
		return
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.RLock()
	who, known := s.accounts[token]
	s.mu.RUnlock()
	if !known {
		writeError(w, apierrors.NewUnauthorized("Unauthorized"))
		return
	}
	who, err := s.impersonated(who, r)
	if err != nil {
		writeError(w, err)
		return
	}
	if s.serveDiscovery(w, r, path) {
		return
	}
	req, ok := s.parse(r, path)
	if !ok {
		notThere(w)
		return
	}
	req.account = who
	if req.group.Group == authorizationGroup {
		s.serveReview(w, req)
		return
	}
	if req.kind == nil {
		notThere(w)
		return
	}
	if err := req.authorize(); err != nil {
		writeError(w, err)
		return
	}
	if accept := r.Header.Get("Accept"); accept != "" && !strings.Contains(accept, "json") && !strings.Contains(accept, "*/*") && req.subresource != "log" {
		writeError(w, apierrors.NewGenericServerResponse(http.StatusNotAcceptable, r.Method, req.kind.GroupResource(), "",
			"only the following media types are accepted: application/json, application/json;stream=watch", 0, true))
		return
	}
	s.dispatch(w, req)
}

// notThere is the answer to a path that nothing serves.
func notThere(w http.ResponseWriter) { http.Error(w, "404 page not found", http.StatusNotFound) }

// parse reads /api/v1/… and /apis/GROUP/VERSION/…, in a namespace or not.
func (s *Sim) parse(r *http.Request, path string) (*request, bool) {
	parts := strings.Split(path, "/")
	req := &request{Request: r}
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		req.group, parts = schema.GroupVersion{Version: parts[1]}, parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		req.group, parts = schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	default:
		return nil, false
	}
	if parts[0] == registry.Namespaces && len(parts) >= 3 && parts[2] != "status" && parts[2] != "finalize" {
		req.namespace, parts = parts[1], parts[2:]
	}
	if len(parts) > 3 {
		return nil, false
	}
	req.resource = parts[0]
	if len(parts) > 1 {
		req.name = parts[1]
	}
	if len(parts) > 2 {
		req.subresource = parts[2]
	}
	if k, ok := s.reg.Lookup(req.group, req.resource); ok {
		req.kind = k
		if req.namespace != "" && !k.Namespaced {
			return nil, false
		}
	}
	req.verb = verbOf(r, req.name)
	return req, req.verb != ""
}

func verbOf(r *http.Request, name string) string {
	watch := r.URL.Query().Get("watch")
	switch {
	case r.Method == http.MethodGet && name != "":
		return "get"
	case r.Method == http.MethodGet && (watch == "true" || watch == "1"):
		return "watch"
	case r.Method == http.MethodGet:
		return "list"
	case r.Method == http.MethodPost:
		return "create"
	case r.Method == http.MethodPut:
		return "update"
	case r.Method == http.MethodPatch:
		return "patch"
	case r.Method == http.MethodDelete && name != "":
		return "delete"
	case r.Method == http.MethodDelete:
		return "deletecollection"
	default:
		return ""
	}
}

// authorize refuses what the token may not do, in the words of the real server.
func (r *request) authorize() error {
	namespace := r.namespace
	if r.resource == registry.Namespaces {
		namespace = r.name
	}
	resource := r.resource
	if r.subresource != "" {
		resource += "/" + r.subresource
	}
	if r.account.allows(namespace, r.verb, r.group.Group, resource, r.name) {
		return nil
	}
	return apierrors.NewForbidden(r.kind.GroupResource(), r.name, fmt.Errorf("User %q cannot %s resource %q in API group %q %s", //nolint:staticcheck // the API server's wording
		r.account.user, r.verb, resource, r.group.Group, scope(namespace)))
}

func readBody(r *request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	case err != nil:
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return body, nil
}

func mediaType(r *request) string {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(kind)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // the client may be gone
}

func writeStatus(w http.ResponseWriter, code int, s *metav1.Status) {
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	if s.Details != nil && s.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(s.Details.RetryAfterSeconds)))
	}
	writeJSON(w, code, s)
}

// writeError answers with the error's Status, or 500 with its text as the real server does.
func writeError(w http.ResponseWriter, err error) {
	status := statusOf(err)
	writeStatus(w, int(status.Code), &status)
}

func statusOf(err error) metav1.Status {
	var known apierrors.APIStatus
	if errors.As(err, &known) {
		status := known.Status()
		if status.Code != 0 {
			return status
		}
	}
	return metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}
}
