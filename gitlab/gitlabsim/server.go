package gitlabsim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxRequestBytes  = 20 << 20
	maxRecordedBytes = 64 << 10
)

// Request is one call of the API as it was made and answered.
type Request struct {
	Method  string
	Path    string // as sent, still escaped
	Query   string
	Header  http.Header // without the token
	Body    []byte      // at most 64 KiB
	User    string      // whose token it was, empty for none
	Status  int         // zero where the connection was dropped
	Answer  []byte      // at most 64 KiB, JSON answers only
	Unknown bool        // the simulator doesn't know this operation
	Fault   bool        // a fault of Fail had its way
	At      time.Time
}

// Requests returns every API call, in the order of their answers.
func (g *GitLab) Requests() []Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.requests)
}

// UnknownRequests returns the calls of operations that the simulator doesn't know. A test should want none.
func (g *GitLab) UnknownRequests() []Request {
	return slices.DeleteFunc(g.Requests(), func(r Request) bool { return !r.Unknown })
}

// answer is what an operation answers.
type answer struct {
	status int
	body   any // JSON
	raw    []byte
	kind   string // content type of raw
	header http.Header
}

// call is one request on its way through.
type call struct {
	g     *GitLab
	r     *http.Request
	body  []byte
	vars  map[string]string
	query url.Values
	json  obj
	token *token
	user  *User
	p     *project
	mr    *MergeRequest
}

func (g *GitLab) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequestBytes+1))
	if err != nil || len(body) > maxRequestBytes {
		http.Error(w, "Request Entity Too Large", http.StatusRequestEntityTooLarge)
		return
	}
	record := Request{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Body: body[:min(len(body), maxRecordedBytes)],
		Header: http.Header{"Content-Type": r.Header.Values("Content-Type"), "Accept": r.Header.Values("Accept")},
	}
	f := g.takeFault(r, body)
	a, ok := g.perform(r, body, f, &record)
	if ok && a.body != nil {
		a.encode()
	}
	g.mu.Lock()
	record.At = g.now()
	if ok {
		record.Status = a.status
		if a.kind == "application/json" {
			record.Answer = a.raw[:min(len(a.raw), maxRecordedBytes)]
		}
	}
	g.requests = append(g.requests, record)
	g.changed()
	g.mu.Unlock()
	if !ok {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	a.write(w)
}

// perform lets a fault have its way with the call, or answers it; false means that the connection is to be dropped.
func (g *GitLab) perform(r *http.Request, body []byte, f *Fault, record *Request) (answer, bool) {
	if f != nil {
		record.Fault = true
		if f.Delay > 0 && !g.wait(r, f.Delay) {
			return answer{}, false
		}
		if f.Status != 0 && !f.Do {
			return failure(f.Status), true
		}
		if f.Drop && !f.Do {
			return answer{}, false
		}
	}
	a := g.answer(r, body, record)
	switch {
	case f == nil || !f.Do:
		return a, true
	case f.Drop:
		return answer{}, false
	case f.Status != 0:
		return failure(f.Status), true
	}
	return a, true
}

func (g *GitLab) wait(r *http.Request, d time.Duration) bool {
	done := make(chan struct{})
	stop := g.opts.Clock.AfterFunc(d, func() { close(done) })
	defer stop()
	select {
	case <-done:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (g *GitLab) answer(r *http.Request, body []byte, record *Request) answer {
	g.mu.Lock()
	defer g.mu.Unlock()
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), "/api/v4/")
	if !ok {
		record.Unknown = true
		return answer{status: http.StatusNotFound, body: obj{"error": "404 Not Found"}}
	}
	found, vars, otherMethod := g.route(r.Method, rest)
	if found == nil {
		record.Unknown = true
		if otherMethod {
			return answer{status: http.StatusMethodNotAllowed, body: obj{"error": "405 Not Allowed"}}
		}
		return answer{status: http.StatusNotFound, body: obj{"error": "404 Not Found"}}
	}
	c := &call{g: g, r: r, body: body, vars: vars, query: r.URL.Query()}
	if a := c.authenticate(); a != nil {
		return *a
	}
	record.User = c.user.Username
	if a := c.decode(found); a != nil {
		return *a
	}
	if a := c.locate(found); a != nil {
		return *a
	}
	return found.handle(c)
}

// encode turns the body into bytes.
func (a *answer) encode() {
	encoded, err := json.Marshal(a.body)
	if err != nil {
		a.status, encoded = http.StatusInternalServerError, []byte(`{"message":"500 Internal Server Error"}`)
	}
	a.raw, a.kind = encoded, "application/json"
}

func (a answer) write(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if a.kind != "" {
		w.Header().Set("Content-Type", a.kind)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.raw)
}

// authenticate finds the user behind the token.
func (c *call) authenticate() *answer {
	value := c.r.Header.Get("PRIVATE-TOKEN")
	if value == "" {
		value = strings.TrimPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	}
	unauthorized := &answer{status: http.StatusUnauthorized, body: obj{"message": "401 Unauthorized"}}
	if value == "" {
		return unauthorized
	}
	t := c.g.tokens[value]
	if t == nil {
		return unauthorized
	}
	if t.revoked {
		return &answer{status: http.StatusUnauthorized, body: obj{
			"error":             "invalid_token",
			"error_description": "Token was revoked. You have to re-authorize from the user.",
		}}
	}
	c.token, c.user = t, c.g.users[t.userID]
	if c.user.State != "active" {
		return &answer{status: http.StatusForbidden, body: obj{"message": "403 Forbidden - Your account has been blocked."}}
	}
	reading := c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
	needed := "api"
	switch {
	case slices.Contains(t.scopes, "api"):
		return nil
	case reading && slices.Contains(t.scopes, "read_api"):
		return nil
	case reading && c.r.URL.Path == "/api/v4/user" && slices.Contains(t.scopes, "read_user"):
		return nil
	case reading:
		needed = "api read_api"
	}
	return &answer{status: http.StatusForbidden, body: obj{
		"error": "insufficient_scope", "error_description": "The request requires higher privileges than provided by the access token.", "scope": needed,
	}}
}

// decode reads parameters from the body: JSON or a form.
func (c *call) decode(rt *route) *answer {
	c.json = obj{}
	if len(c.body) == 0 || rt.multipart {
		return nil
	}
	switch kind, _, _ := strings.Cut(c.r.Header.Get("Content-Type"), ";"); kind {
	case "application/json":
		if err := json.Unmarshal(c.body, &c.json); err != nil {
			return &answer{status: http.StatusBadRequest, body: obj{"error": "Problems parsing JSON"}}
		}
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(c.body))
		if err != nil {
			return &answer{status: http.StatusBadRequest, body: obj{"error": "invalid parameters"}}
		}
		for k, v := range form {
			c.json[k] = v[0]
		}
	default:
		return &answer{status: http.StatusUnsupportedMediaType, body: obj{"error": "The provided content-type '" + kind + "' is not supported."}}
	}
	return nil
}

// locate finds the project and the merge request of the path and checks the user's role.
func (c *call) locate(rt *route) *answer {
	if !rt.inProject {
		return nil
	}
	id := c.vars["id"]
	if n, err := strconv.ParseInt(id, 10, 64); err == nil {
		c.p = c.g.projects[n]
	} else {
		c.p = c.g.projectByPath(id)
	}
	level := NoAccess
	if c.p != nil {
		level = c.g.level(c.p, c.user.ID)
		if c.user.Admin {
			level = Owner
		}
	}
	if level == NoAccess {
		a := notFound("Project")
		return &a
	}
	if level < rt.level {
		a := forbidden("")
		return &a
	}
	if iid, ok := c.vars["merge_request_iid"]; ok {
		n, err := strconv.ParseInt(iid, 10, 64)
		if err != nil {
			a := invalid("merge_request_iid is invalid")
			return &a
		}
		if c.mr = c.p.mergeRequest(n); c.mr == nil {
			a := notFound("")
			return &a
		}
	}
	return nil
}

func ok(body any) answer      { return answer{status: http.StatusOK, body: body} }
func created(body any) answer { return answer{status: http.StatusCreated, body: body} }
func noContent() answer       { return answer{status: http.StatusNoContent} }

// invalid is a parameter that doesn't pass the declaration of the operation.
func invalid(text string) answer {
	return answer{status: http.StatusBadRequest, body: obj{"error": text}}
}

// rejected is a record that doesn't pass its own validation; message is a string or an object.
func rejected(message any) answer {
	return answer{status: http.StatusBadRequest, body: obj{"message": message}}
}

func notFound(what string) answer {
	if what == "" {
		return answer{status: http.StatusNotFound, body: obj{"message": "404 Not found"}}
	}
	return answer{status: http.StatusNotFound, body: obj{"message": "404 " + what + " Not Found"}}
}

func forbidden(why string) answer {
	if why != "" {
		why = " - " + why
	}
	return answer{status: http.StatusForbidden, body: obj{"message": "403 Forbidden" + why}}
}

func badRequest(why string) answer { return rejected("400 Bad request - " + why) }

// failure is what a broken GitLab says. It never has rate limit headers: the note limit has none either.
func failure(status int) answer {
	switch status {
	case http.StatusUnauthorized:
		return answer{status: status, body: obj{"message": "401 Unauthorized"}}
	case http.StatusNotFound:
		return answer{status: status, body: obj{"message": "404 Not found"}}
	case http.StatusConflict:
		return answer{status: status, body: obj{"message": "409 Another update to this commit status is in progress"}}
	case http.StatusTooManyRequests:
		return answer{status: status, body: obj{"message": obj{"error": "This endpoint has been requested too many times. Try again later."}}}
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return answer{status: status, kind: "text/html", raw: fmt.Appendf(nil, "<html><body><h1>%d GitLab is not responding</h1></body></html>", status)}
	}
	return answer{status: status, body: obj{"message": fmt.Sprintf("%d %s", status, http.StatusText(status))}}
}
