package slacksim

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fields is a JSON object that the Web API answers with.
type fields map[string]any

// refusal is an answer with "ok": false.
type refusal struct {
	code  string
	extra fields
}

func refuse(code string) *refusal { return &refusal{code: code} }

// method is one method of the Web API.
type method struct {
	// scope that the token needs; methods whose scope depends on the channel leave it empty and ask for themselves.
	scope string
	// perMinute is the published limit; 0 means that the method has a limit of its own kind.
	perMinute int
	// run does it; the lock is held.
	run func(args) (fields, *refusal)
}

func (s *Sim) methodTable() map[string]method {
	return map[string]method{
		"auth.test":             {run: s.authTest},
		"chat.postMessage":      {scope: "chat:write", run: s.chatPostMessage},
		"chat.postEphemeral":    {scope: "chat:write", perMinute: 100, run: s.chatPostEphemeral},
		"chat.update":           {scope: "chat:write", perMinute: 50, run: s.chatUpdate},
		"chat.delete":           {scope: "chat:write", perMinute: 50, run: s.chatDelete},
		"chat.getPermalink":     {run: s.chatGetPermalink},
		"conversations.history": {perMinute: 50, run: s.conversationsHistory},
		"conversations.replies": {perMinute: 50, run: s.conversationsReplies},
		"conversations.info":    {perMinute: 50, run: s.conversationsInfo},
		"conversations.list":    {perMinute: 20, run: s.conversationsList},
		"conversations.open":    {scope: "im:write", perMinute: 50, run: s.conversationsOpen},
		"reactions.add":         {scope: "reactions:write", perMinute: 50, run: s.reactionsAdd},
		"users.info":            {scope: "users:read", perMinute: 100, run: s.usersInfo},
		"users.list":            {scope: "users:read", perMinute: 20, run: s.usersList},
		"users.lookupByEmail":   {scope: "users:read.email", perMinute: 50, run: s.usersLookupByEmail},
		"views.open":            {perMinute: 100, run: s.viewsOpen},
		"views.push":            {perMinute: 100, run: s.viewsPush},
		"views.update":          {perMinute: 100, run: s.viewsUpdate},
	}
}

// args are the arguments of a call, from a form or from JSON.
type args struct {
	form  url.Values
	json  map[string]json.RawMessage
	token string
}

// has says whether the argument was given at all.
func (a args) has(name string) bool {
	if a.json != nil {
		_, ok := a.json[name]
		return ok
	}
	return a.form.Has(name)
}

// str is a plain argument; JSON numbers and booleans are taken as they are written.
func (a args) str(name string) string {
	if a.json == nil {
		return a.form.Get(name)
	}
	raw := a.json[name]
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

// raw is an argument that holds JSON: a string of it, or in a JSON body the value itself.
func (a args) raw(name string) json.RawMessage {
	if a.json != nil && !strings.HasPrefix(string(a.json[name]), `"`) {
		return a.json[name]
	}
	return json.RawMessage(a.str(name))
}

func (a args) flag(name string) bool {
	v := a.str(name)
	return v == "1" || v == "true"
}

// limit reads a page size between 1 and most.
func (a args) limit(fallback, most int) (int, *refusal) {
	raw := a.str("limit")
	if raw == "" || raw == "0" {
		return fallback, nil
	}
	n, err := strconv.Atoi(raw)
	if err != nil || n < 1 || n > most {
		return 0, refuse("invalid_limit")
	}
	return n, nil
}

// readArgs reads a call's arguments and token; body is what is recorded of it, without the token.
func readArgs(r *http.Request) (a args, body string, ref *refusal) {
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return a, "", refuse("request_too_large")
		}
		return a, "", refuse("request_timeout")
	}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		a.token = bearer
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.Method == http.MethodGet:
		a.form = r.URL.Query()
	case len(raw) == 0:
		a.form = url.Values{}
	case kind == "application/json":
		if err := decode(raw, &a.json); err != nil || a.json == nil {
			return a, string(raw), refuse("invalid_json")
		}
		return a, string(raw), nil
	case kind == "application/x-www-form-urlencoded":
		if a.form, err = url.ParseQuery(string(raw)); err != nil {
			return a, "", refuse("invalid_form_data")
		}
	case kind == "":
		return a, "", refuse("missing_post_type")
	default:
		return a, "", refuse("invalid_post_type")
	}
	// A token in the query would end up in logs, so that only a body may carry it.
	if a.token == "" && r.Method != http.MethodGet {
		a.token = a.form.Get("token")
	}
	recorded := maps.Clone(a.form)
	recorded.Del("token")
	return a, recorded.Encode(), nil
}

func (s *Sim) serveMethod(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("method")
	a, body, ref := readArgs(r)
	s.serve(w, r, name, body, func() (int, http.Header, fields) { return s.call(name, a, ref) })
}

// serve answers a request with what run makes of it, or as the next fault of the name wants, and records it.
func (s *Sim) serve(w http.ResponseWriter, r *http.Request, name, body string, run func() (int, http.Header, fields)) {
	fault := s.takeFault(name)
	var (
		status int
		header http.Header
		answer fields
	)
	if !fault.isBefore() {
		status, header, answer = run()
	}
	if fault.fails() {
		status, header, answer = fault.answer()
	}
	fault.hold(r.Context())
	text := fault.text(answer)
	s.recordCall(name, r.Method, body, status, text, answer, fault)
	if fault.drops() {
		panic(http.ErrAbortHandler)
	}
	for key, values := range header {
		w.Header()[key] = values
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// call runs a method as Slack would, without faults.
func (s *Sim) call(name string, a args, ref *refusal) (int, http.Header, fields) {
	s.mu.Lock()
	defer s.mu.Unlock()
	header := http.Header{}
	m, known := s.methods[name]
	var out fields
	switch {
	case ref != nil:
	case !known:
		ref = &refusal{"unknown_method", fields{"req_method": name}}
	default:
		if ref = s.authorise(a.token); ref == nil {
			if wait := s.wait(name, m, a); wait > 0 {
				header.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
				return http.StatusTooManyRequests, header, fields{"ok": false, "error": "ratelimited"}
			}
			header.Set("X-OAuth-Scopes", strings.Join(s.provided(), ","))
			if ref = s.need(m.scope); ref == nil {
				out, ref = m.run(a)
			}
		}
	}
	if ref != nil {
		out = fields{"ok": false, "error": ref.code}
		maps.Copy(out, ref.extra)
		return http.StatusOK, header, out
	}
	out["ok"] = true
	return http.StatusOK, header, out
}

func (s *Sim) authorise(token string) *refusal {
	switch {
	case token == "":
		return refuse("not_authed")
	case subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) != 1:
		return refuse("invalid_auth")
	}
	return nil
}

// need refuses when the token lacks a scope.
func (s *Sim) need(scope string) *refusal {
	if scope == "" || s.scopes[scope] {
		return nil
	}
	return &refusal{"missing_scope", fields{"needed": scope, "provided": strings.Join(s.provided(), ",")}}
}

func (s *Sim) provided() []string { return slices.Sorted(maps.Keys(s.scopes)) }

// wait says how long a caller must wait by the published limits: per minute and method, and for messages about one
// a second and channel, of which a short burst is let through.
func (s *Sim) wait(name string, m method, a args) time.Duration {
	if !s.limits || (m.perMinute == 0 && name != "chat.postMessage") {
		return 0
	}
	key, span, most := name, time.Minute, m.perMinute
	if name == "chat.postMessage" {
		key, span, most = name+" "+a.str("channel"), 3*time.Second, 3
	}
	now := s.clock()
	recent := slices.DeleteFunc(s.windows[key], func(t time.Time) bool { return now.Sub(t) >= span })
	if len(recent) >= most {
		s.windows[key] = recent
		return recent[0].Add(span).Sub(now)
	}
	s.windows[key] = append(recent, now)
	return 0
}

// invalid answers with the list of what is wrong, as Slack does for blocks and views.
func invalid(code string, problems []string) *refusal {
	messages := make([]string, len(problems))
	for i, p := range problems {
		messages[i] = "[ERROR] " + p
	}
	return &refusal{code, fields{"errors": problems, "response_metadata": fields{"messages": messages}}}
}
