package slack

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// inbox keeps events by their key, as the store does.
type inbox struct {
	mu     sync.Mutex
	keys   []string
	events map[string]pipeline.Requested
	broken error
	left   time.Duration // that the last delivery had
}

func (i *inbox) Deliver(ctx context.Context, deliveryID, key string, e pipeline.Event) (bool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if at, ok := ctx.Deadline(); ok {
		i.left = time.Until(at)
	}
	if i.broken != nil {
		return false, i.broken
	}
	if i.events == nil {
		i.events = map[string]pipeline.Requested{}
	}
	if _, known := i.events[key]; known {
		return false, nil
	}
	i.keys = append(i.keys, deliveryID+" "+key)
	i.events[key] = e.(pipeline.Requested)
	return true, nil
}

func (i *inbox) requests() []pipeline.Request {
	i.mu.Lock()
	defer i.mu.Unlock()
	var out []pipeline.Request
	for _, k := range i.keys {
		_, key, _ := strings.Cut(k, " ")
		out = append(out, i.events[key].Request)
	}
	return out
}

// app is Slipway's HTTP side, as small as it can be.
type app struct {
	t       *testing.T
	i       *Interactions
	mu      sync.Mutex
	results []Result
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Error(err)
	}
	result, err := a.i.Handle(r.Context(), r.Header, body)
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		w.WriteHeader(refusal.Status)
		return
	case err != nil:
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	a.mu.Lock()
	a.results = append(a.results, result)
	a.mu.Unlock()
	if result.ContentType != "" {
		w.Header().Set("Content-Type", result.ContentType)
	}
	_, _ = w.Write(result.Body)
}

func (a *app) last() Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.results[len(a.results)-1]
}

// asked is a workspace with a question in its channel, and the app behind it.
type asked struct {
	sim   *slacksim.Sim
	c     *Client
	app   *app
	inbox *inbox
	w     *write
}

func ask(t *testing.T, sims func(*slacksim.Options), options func(*Options)) *asked {
	t.Helper()
	a := &asked{inbox: &inbox{}, w: newWrite(asking)}
	a.sim, a.c = workspace(t, sims, func(o *Options) {
		o.Now = time.Now
		if options != nil {
			options(o)
		}
	})
	a.w.d.Created = time.Now().Add(time.Minute)
	i, err := NewInteractions(a.c, a.inbox)
	if err != nil {
		t.Fatal(err)
	}
	a.app = &app{t: t, i: i}
	server := httptest.NewServer(a.app)
	t.Cleanup(server.Close)
	if err := a.sim.SetInteractivityURL(server.URL + pathInteractions); err != nil {
		t.Fatal(err)
	}
	if err := a.sim.SetCommandURL(server.URL + pathCommands); err != nil {
		t.Fatal(err)
	}
	a.w.must(t, a.c)
	return a
}

func (a *asked) press(button string) slacksim.Press {
	return slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: a.w.d.Handles.TS, Button: button, Confirm: true}
}

// openForm presses Reject and returns the form.
func (a *asked) openForm(t *testing.T) slacksim.View {
	t.Helper()
	if _, err := a.sim.Press(t.Context(), a.press("reject")); err != nil {
		t.Fatal(err)
	}
	views := a.sim.OpenViews("U0ANNA")
	if len(views) != 1 {
		t.Fatalf("%d forms are open", len(views))
	}
	return views[0]
}

func TestAnApprovalIsDurableBeforeItIsAcknowledged(t *testing.T) {
	a := ask(t, nil, nil)
	noConfirm := a.press("approve")
	noConfirm.Confirm = false
	if _, err := a.sim.Press(t.Context(), noConfirm); !errors.Is(err, slacksim.ErrNeedsConfirm) {
		t.Errorf("production is approved without being asked back: %v", err)
	}
	if _, err := a.sim.Press(t.Context(), a.press("approve")); err != nil {
		t.Fatal(err)
	}
	got := a.inbox.requests()
	if len(got) != 1 {
		t.Fatalf("%d requests", len(got))
	}
	r := got[0]
	if !strings.HasPrefix(r.ResponseURL, strings.TrimSuffix(a.sim.URL(), "api/")) || r.At.IsZero() ||
		!strings.HasPrefix(r.Key, "slack/T0SLACKSIM/U0ANNA/") || !strings.HasSuffix(r.Key, "/7-12-3f2a91c0/go-live/1") {
		t.Errorf("request %+v", r)
	}
	r.ResponseURL, r.At, r.Key = "", time.Time{}, ""
	want := pipeline.Request{What: pipeline.VerbApprove, Via: pipeline.ViaSlack, Stage: "go-live", Attempt: 1, SlackID: "U0ANNA", Channel: "C0DEPLOYS"}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(a.inbox.keys[0], a.w.d.ID+" ") {
		t.Errorf("delivered to %s", a.inbox.keys[0])
	}
	if a.inbox.left <= 0 || a.inbox.left > 3*time.Second {
		t.Errorf("the store may take %s", a.inbox.left)
	}
	if got := a.app.last(); got.Kind != KindApprove || got.Delivery != a.w.d.ID || !got.Fresh || len(got.Body) != 0 {
		t.Errorf("result %+v", got)
	}
	if _, err := a.sim.Replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(a.inbox.requests()); n != 1 || a.app.last().Fresh {
		t.Errorf("after a replay there are %d requests, the last one fresh: %t", n, a.app.last().Fresh)
	}
}

func TestARejectionAsksForItsReason(t *testing.T) {
	a := ask(t, nil, nil)
	v := a.openForm(t)
	if v.Title != "Reject go-live" || v.Submit != "Reject" || len(a.inbox.requests()) != 0 || a.app.last().Kind != KindModal {
		t.Errorf("form %q %q after %d requests", v.Title, v.Submit, len(a.inbox.requests()))
	}
	for _, blank := range []string{"   \n ", "\u200b"} {
		answer, err := a.sim.SubmitModal(t.Context(), "U0ANNA", v.ID, map[string]string{"reason.text": blank})
		if err != nil || answer.Errors[blockReason] == "" || len(a.inbox.requests()) != 0 {
			t.Errorf("a blank reason: %v, %+v", err, answer)
		}
	}
	if _, err := a.sim.SubmitModal(t.Context(), "U0ANNA", v.ID, map[string]string{"reason.text": "errors on\n> staging "}); err != nil {
		t.Fatal(err)
	}
	if n := len(a.sim.OpenViews("U0ANNA")); n != 0 {
		t.Errorf("%d forms stay open", n)
	}
	got := a.inbox.requests()
	if len(got) != 1 {
		t.Fatalf("%d requests", len(got))
	}
	r := got[0]
	if r.ResponseURL == "" || !strings.Contains(r.Key, "/"+v.ID+"/") {
		t.Errorf("request %+v", r)
	}
	r.ResponseURL, r.At, r.Key = "", time.Time{}, ""
	want := pipeline.Request{
		What: pipeline.VerbReject, Via: pipeline.ViaSlack, Stage: "go-live", Attempt: 1, Reason: "errors on > staging", SlackID: "U0ANNA", Channel: "C0DEPLOYS",
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if _, err := a.sim.Replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(a.inbox.requests()); n != 1 {
		t.Errorf("after a replay there are %d requests", n)
	}
}

func TestAReasonIsBounded(t *testing.T) {
	a := ask(t, nil, nil)
	v := a.openForm(t)
	if _, err := a.sim.SubmitModal(t.Context(), "U0ANNA", v.ID, map[string]string{"reason.text": strings.Repeat("x", 501)}); err == nil {
		t.Error("Slack's form takes more than 500 characters")
	}
	if _, err := a.sim.SubmitModal(t.Context(), "U0ANNA", v.ID, map[string]string{"reason.text": strings.Repeat("ä", 500)}); err != nil || len(a.inbox.requests()) != 1 {
		t.Errorf("500 characters: %v", err)
	}
}

func TestOldButtonsStillReachTheCore(t *testing.T) {
	a := ask(t, nil, nil)
	a.w.becomes(approved)
	a.w.must(t, a.c)
	if n := len(only(t, a.sim).Buttons()); n != 0 {
		t.Fatalf("%d buttons after the decision", n)
	}
	stale := a.press("approve")
	stale.Stale = true
	if _, err := a.sim.Press(t.Context(), stale); err != nil {
		t.Fatal(err)
	}
	old := a.press("approve")
	old.Version = 1
	if _, err := a.sim.Press(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	for _, r := range a.inbox.requests() { // the core refuses them by the attempt
		if r.Stage != "go-live" || r.Attempt != 1 {
			t.Errorf("request %+v", r)
		}
	}
	if n := len(a.inbox.requests()); n != 2 {
		t.Errorf("%d requests; two presses are two wishes", n)
	}
}

func TestWhenTheStoreRefusesThePersonSeesIt(t *testing.T) {
	a := ask(t, nil, nil)
	a.inbox.broken = errors.New("disk full")
	answer, err := a.sim.Press(t.Context(), a.press("approve"))
	if !errors.Is(err, slacksim.ErrRefused) || answer.Status != http.StatusInternalServerError {
		t.Errorf("press: %d, %v", answer.Status, err)
	}
	v := a.openForm(t)
	if _, err := a.sim.SubmitModal(t.Context(), "U0ANNA", v.ID, map[string]string{"reason.text": "no"}); !errors.Is(err, slacksim.ErrRefused) {
		t.Errorf("form: %v", err)
	}
	if len(a.sim.OpenViews("U0ANNA")) != 1 {
		t.Error("the form is gone, with what the person wrote")
	}
}

func TestAFormThatDoesNotOpen(t *testing.T) {
	a := ask(t, nil, nil)
	a.sim.Fail(slacksim.Fault{Method: "views.open", Error: "expired_trigger_id"})
	if _, err := a.sim.Press(t.Context(), a.press("reject")); err != nil {
		t.Fatal(err)
	}
	got := a.sim.Ephemerals("U0ANNA")
	if len(got) != 1 || !strings.Contains(got[0].Text, "Nothing was rejected: Slack waited too long for the form") {
		t.Errorf("the person sees %+v", got)
	}
	a.sim.Fail(slacksim.Fault{Method: "views.open", Error: "internal_error"})
	a.sim.Fail(slacksim.Fault{Method: "response_url", Status: 500})
	if _, err := a.sim.Press(t.Context(), a.press("reject")); !errors.Is(err, slacksim.ErrRefused) {
		t.Errorf("nobody could be told: %v", err)
	}
}

func TestARollbackIsAskedForAndConfirmed(t *testing.T) {
	a := ask(t, nil, nil)
	a.w.becomes(proven)
	a.w.must(t, a.c)
	hasty := a.press("Roll back production")
	hasty.Confirm = false
	if _, err := a.sim.Press(t.Context(), hasty); !errors.Is(err, slacksim.ErrNeedsConfirm) || !strings.Contains(err.Error(), "Roll production back?") {
		t.Errorf("nobody is asked back: %v", err)
	}
	for _, button := range []string{"Roll back production", "Promote now"} {
		if _, err := a.sim.Press(t.Context(), a.press(button)); err != nil {
			t.Fatal(err)
		}
		if got := a.app.last(); got.Kind != KindOffer || got.Delivery != a.w.d.ID || !got.Fresh {
			t.Errorf("%s: result %+v", button, got)
		}
	}
	if _, err := a.sim.Replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := a.inbox.requests()
	for i := range got {
		if got[i].ResponseURL == "" || got[i].At.IsZero() || !strings.HasPrefix(got[i].Key, "slack/T0SLACKSIM/U0ANNA/") {
			t.Errorf("request %+v", got[i])
		}
		got[i].ResponseURL, got[i].At, got[i].Key = "", time.Time{}, ""
	}
	want := []pipeline.Request{
		{What: pipeline.VerbRollback, Via: pipeline.ViaSlack, Environment: "production", Release: "1a2b3c4d", SlackID: "U0ANNA", Channel: "C0DEPLOYS"},
		{What: pipeline.VerbPromote, Via: pipeline.ViaSlack, Environment: "production", SlackID: "U0ANNA", Channel: "C0DEPLOYS"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(a.inbox.keys[0], a.w.d.ID+" ") {
		t.Errorf("delivered to %s", a.inbox.keys[0])
	}
}

func TestOldOffersStillReachTheCore(t *testing.T) {
	a := ask(t, nil, nil)
	a.w.becomes(delivered)
	a.w.must(t, a.c)
	a.w.becomes(checkFailed)
	a.w.must(t, a.c)
	stale := a.press("rollback")
	stale.Stale = true
	if _, err := a.sim.Press(t.Context(), stale); err != nil {
		t.Fatal(err)
	}
	// The core refuses them by the delivery and the release.
	if got := a.inbox.requests(); len(got) != 1 || got[0].Release != "1a2b3c4d" || got[0].Environment != "production" {
		t.Errorf("requests %+v", got)
	}
}

func TestWhetherToRollBackIsAnsweredAsAnyQuestion(t *testing.T) {
	a := ask(t, nil, nil)
	a.w.becomes(deciding)
	a.w.must(t, a.c)
	if _, err := a.sim.Press(t.Context(), a.press("Roll back")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.sim.Press(t.Context(), a.press("Leave it as it is")); err != nil {
		t.Fatal(err)
	}
	forms := a.sim.OpenViews("U0ANNA")
	if len(forms) != 1 || forms[0].Title != "Leave it as it is" || forms[0].Submit != "Leave it" {
		t.Fatalf("forms %+v", forms)
	}
	if _, err := a.sim.SubmitModal(t.Context(), "U0ANNA", forms[0].ID, map[string]string{"reason.text": "the data are new"}); err != nil {
		t.Fatal(err)
	}
	got := a.inbox.requests()
	if len(got) != 2 || got[0].What != pipeline.VerbApprove || got[1].What != pipeline.VerbReject || got[1].Reason != "the data are new" ||
		got[0].Stage != "production" || got[1].Stage != "production" || got[1].Attempt != 1 {
		t.Errorf("requests %+v", got)
	}
}

// signed makes a request as Slack does.
func signed(secret string, at time.Time, body string) (http.Header, []byte) {
	ts := strconv.FormatInt(at.Unix(), 10)
	return http.Header{"X-Slack-Request-Timestamp": {ts}, "X-Slack-Signature": {slacksim.Sign(secret, ts, []byte(body))}}, []byte(body)
}

func pressBody(value string) string { return pressOf("approve", value) }

func pressOf(actionID, value string) string {
	raw, err := json.Marshal(map[string]any{
		"type": "block_actions", "user": map[string]string{"id": "U1"}, "team": map[string]string{"id": "T1"},
		"response_url": "https://evil.example/", "channel": map[string]string{"id": "C1"},
		"actions": []any{map[string]string{"action_id": actionID, "value": value, "action_ts": "1.2"}},
	})
	if err != nil {
		return err.Error()
	}
	return url.Values{"payload": {string(raw)}}.Encode()
}

func TestOnlySlackIsHeard(t *testing.T) {
	_, c := workspace(t, nil, nil)
	box := &inbox{}
	i, err := NewInteractions(c, box)
	if err != nil {
		t.Fatal(err)
	}
	body := pressBody("d/s/1")
	for _, tc := range []struct {
		name   string
		change func(h http.Header, body []byte) []byte
		secret string
		at     time.Time
		status int
		says   string
	}{
		{name: "another secret", secret: "other", status: 401, says: "does not match"},
		{name: "an old request", at: time.Now().Add(-6 * time.Minute), status: 401, says: "five minutes"},
		{name: "a request from the future", at: time.Now().Add(6 * time.Minute), status: 401, says: "five minutes"},
		{name: "no headers", change: func(h http.Header, b []byte) []byte { clear(h); return b }, status: 401, says: "are missing"},
		{name: "a changed body", change: func(_ http.Header, b []byte) []byte { return append(b, 'x') }, status: 401, says: "does not match"},
		{name: "a malformed signature", change: func(h http.Header, b []byte) []byte { h.Set("X-Slack-Signature", "v0=zz"); return b }, status: 401, says: "malformed"},
		{name: "a malformed time", change: func(h http.Header, b []byte) []byte { h.Set("X-Slack-Request-Timestamp", "noon"); return b }, status: 401, says: "malformed"},
		{name: "a huge body", change: func(_ http.Header, b []byte) []byte { return make([]byte, maxPayload+1) }, status: 413, says: "larger"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			secret, at := tc.secret, tc.at
			if secret == "" {
				secret = signingSecret
			}
			if at.IsZero() {
				at = time.Now()
			}
			h, b := signed(secret, at, body)
			if tc.change != nil {
				b = tc.change(h, b)
			}
			_, err := i.Handle(t.Context(), h, b)
			var r *Refusal
			if !errors.As(err, &r) || r.Status != tc.status || !strings.Contains(r.Reason, tc.says) || strings.Contains(err.Error(), signingSecret) {
				t.Errorf("got %v", err)
			}
		})
	}
	if n := len(box.requests()); n != 0 {
		t.Errorf("%d requests were taken in", n)
	}
	h, b := signed(signingSecret, time.Now(), body)
	if _, err := i.Handle(t.Context(), h, b); err != nil || len(box.requests()) != 1 || box.requests()[0].ResponseURL != "" {
		t.Errorf("the right one: %v, %+v", err, box.requests())
	}
}

func TestWhatIsNotUnderstood(t *testing.T) {
	_, c := workspace(t, nil, nil)
	box := &inbox{}
	i, err := NewInteractions(c, box)
	if err != nil {
		t.Fatal(err)
	}
	in := func(payload string) string { return url.Values{"payload": {payload}}.Encode() }
	for _, tc := range []struct {
		name, body string
		status     int // 0: acknowledged
		kind       Kind
	}{
		{"a payload of another type", in(`{"type":"message_action"}`), 0, KindIgnored},
		{"a closed form", in(`{"type":"view_closed","view":{"callback_id":"reject"}}`), 0, KindIgnored},
		{"another form", in(`{"type":"view_submission","view":{"callback_id":"other"}}`), 0, KindIgnored},
		{"a form without origin", in(`{"type":"view_submission","user":{"id":"U1"},"view":{"callback_id":"reject","private_metadata":"{}"}}`), 0, KindInvalid},
		{"a form with garbage", in(`{"type":"view_submission","user":{"id":"U1"},"view":{"callback_id":"reject","private_metadata":"x"}}`), 0, KindInvalid},
		{"a press of another button", in(`{"type":"block_actions","actions":[{"action_id":"open"}]}`), 0, KindIgnored},
		{"a press without actions", in(`{"type":"block_actions"}`), 0, KindIgnored},
		{"a button with a garbled value", pressBody("nonsense"), 0, KindIgnored},
		{"a button with attempt 0", pressBody("d/s/0"), 0, KindIgnored},
		{"an offer that approves", pressBody("rollback/d/1a2b3c4d/production"), 0, KindIgnored},
		{"an answer that rolls back", pressOf("rollback", "d/s/1"), 0, KindIgnored},
		{"a promotion that rolls back", pressOf("promote", "rollback/d/1a2b3c4d/production"), 0, KindIgnored},
		{"a rollback that promotes", pressOf("rollback", "promote/d//production"), 0, KindIgnored},
		{"a rollback to anything", pressOf("rollback", "rollback/d/*/production"), 0, KindIgnored},
		{"a rollback of everything", pressOf("rollback", "rollback/d/1a2b3c4d/"), 0, KindIgnored},
		{"a rollback of a very long environment", pressOf("rollback", "rollback/d/1a2b3c4d/"+strings.Repeat("x", maxValue)), 0, KindIgnored},
		{"an offer of another kind", pressOf("cancel", "cancel/d//production"), 0, KindIgnored},
		{"Slack's check of the address", "ssl_check=1", 0, KindIgnored},
		{"no JSON", in(`{`), 400, ""},
		{"no type", in(`{}`), 400, ""},
		{"too many actions", in(`{"type":"block_actions","actions":[` + strings.Repeat(`{},`, 20) + `{}]}`), 400, ""},
		{"a very long id", in(`{"type":"block_actions","user":{"id":"` + strings.Repeat("U", 60) + `"}}`), 400, ""},
		{"no form", "%zz", 400, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, b := signed(signingSecret, time.Now(), tc.body)
			got, err := i.Handle(t.Context(), h, b)
			var r *Refusal
			if errors.As(err, &r) != (tc.status != 0) || r != nil && r.Status != tc.status || got.Kind != tc.kind {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	if n := len(box.requests()); n != 0 {
		t.Errorf("%d requests were taken in", n)
	}
}

func TestTheSlashCommandSaysWhereToLook(t *testing.T) {
	a := ask(t, nil, nil)
	for _, text := range []string{"status", "help", "", "<!channel>"} {
		if _, err := a.sim.SlashCommand(t.Context(), slacksim.SlashCommand{User: "U0ANNA", Channel: "C0DEPLOYS", Command: "/slipway", Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	got := a.sim.Ephemerals("U0ANNA")
	if len(got) != 4 || !strings.Contains(got[3].Text, "https://slipway.example.com") || strings.Contains(got[3].Text, "channel>") {
		t.Errorf("the person sees %+v", got)
	}
	only(t, a.sim)
}

func FuzzPayload(f *testing.F) {
	f.Add([]byte(`{"type":"block_actions","user":{"id":"U1"},"actions":[{"action_id":"approve","value":"d/s/1","action_ts":"1.2"}]}`))
	f.Add([]byte(`{"type":"view_submission","user":{"id":"U1"},"view":{"id":"V1","callback_id":"reject","private_metadata":"{\"token\":\"d/s/1\"}","state":{"values":{"reason":{"text":{"value":"no"}}}}}}`))
	f.Add([]byte(`{"type":"block_actions","user":{"id":"U1"},"actions":[{"action_id":"rollback","value":"rollback/d/1a2b3c4d/live","action_ts":"1.2"}]}`))
	f.Add([]byte(`{"type":"view_submission","view":{"state":{"values":null}}}`))
	f.Add([]byte(`[]`))
	c, err := New(Options{Token: "xoxb-1", SigningSecret: "s", APIURL: "http://127.0.0.1:1/api/"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := parsePayload(raw)
		if err != nil {
			return
		}
		p.ResponseURL = "" // nobody is called
		for k := range p.Actions {
			if p.Actions[k].ActionID == actionReject {
				p.Actions[k].ActionID = actionApprove
			}
		}
		box := &inbox{}
		i := &Interactions{c: c, inbox: box}
		if _, err := i.pressed(t.Context(), p); err != nil {
			t.Errorf("pressed: %v", err)
		}
		if _, err := i.submitted(t.Context(), p); err != nil {
			t.Errorf("submitted: %v", err)
		}
		for _, r := range box.requests() {
			offer := r.What == pipeline.VerbRollback || r.What == pipeline.VerbPromote
			if r.SlackID == "" || offer != (r.Stage == "") || offer != (r.Environment != "") || !offer && r.Attempt < 1 || r.ResponseURL != "" && !c.isResponseURL(r.ResponseURL) ||
				len(r.Channel) > 50 || len([]rune(r.Reason)) > maxReason || r.What == pipeline.VerbReject && r.Reason == "" {
				t.Errorf("took in %+v", r)
			}
		}
	})
}
