package slack

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// write runs one WriteMessage of the scene, and keeps the handle as the core would.
type write struct {
	plan *pipeline.Plan
	d    pipeline.Delivery
	task pipeline.Task
}

func newWrite(change step) *write {
	w := &write{task: pipeline.Task{Attempt: 1}}
	w.plan, w.d = scene()
	if change != nil {
		change(w.plan, &w.d)
	}
	return w
}

func (w *write) run(ctx context.Context, c *Client) (pipeline.Event, error) {
	t := w.task
	t.Plan, t.Delivery, t.Effect = w.plan, w.d, pipeline.Effect{Key: "message/1", Slot: "message", Latest: true, Do: pipeline.WriteMessage{}}
	return c.Execute(ctx, &t)
}

// must runs it, and takes the outcome into the state.
func (w *write) must(t *testing.T, c *Client) pipeline.Event {
	t.Helper()
	e, err := w.run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if sent, ok := e.(pipeline.MessageSent); ok {
		w.d.Handles.Channel, w.d.Handles.TS, w.d.Handles.MessageURL = sent.Channel, sent.TS, sent.URL
	}
	return e
}

// becomes makes the delivery another scene, with the handles that it has.
func (w *write) becomes(change step) {
	handles := w.d.Handles
	w.plan, w.d = scene()
	change(w.plan, &w.d)
	w.d.Handles = handles
}

// mustFail wants a *pipeline.Failure.
func mustFail(t *testing.T, err error) *pipeline.Failure {
	t.Helper()
	f, ok := pipeline.AsFailure(err)
	if !ok {
		t.Fatalf("got %v, want a failure", err)
	}
	return f
}

func only(t *testing.T, sim *slacksim.Sim) slacksim.Message {
	t.Helper()
	all := sim.Messages("C0DEPLOYS")
	if len(all) != 1 {
		t.Fatalf("the channel shows %d messages, want 1", len(all))
	}
	return all[0]
}

func TestAMessageIsSentOnceAndThenEdited(t *testing.T) {
	sim, c := workspace(t, nil, nil)
	w := newWrite(nil)
	e := w.must(t, c)
	m := only(t, sim)
	want := pipeline.MessageSent{Channel: "C0DEPLOYS", TS: m.TS, URL: strings.TrimSuffix(sim.URL(), "/api/") + "/archives/C0DEPLOYS/p" + strings.ReplaceAll(m.TS, ".", "")}
	if diff := cmp.Diff(pipeline.Event(want), e); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
	if m.Metadata == nil || m.Metadata.EventType != eventType || string(m.Metadata.EventPayload) != `{"id":"7-12-3f2a91c0"}` {
		t.Errorf("metadata %+v", m.Metadata)
	}
	all := scenes()
	for i, s := range []struct {
		name    string
		buttons int
	}{{"04-asking", 2}, {"06-recording", 0}, {"07-approved", 0}, {"08-delivered", 1}} {
		w.becomes(all[s.name])
		if e := w.must(t, c); e != nil {
			t.Errorf("%s: outcome %v", s.name, e)
		}
		m := only(t, sim)
		if m.Version != i+2 || len(m.Buttons()) != s.buttons {
			t.Errorf("%s: version %d with %d buttons", s.name, m.Version, len(m.Buttons()))
		}
	}
	w.must(t, c)
	if got := len(sim.CallsOf("chat.update")); got != 4 {
		t.Errorf("%d edits, though the last one changed nothing", got)
	}
}

func TestWithoutAChannelNothingIsSent(t *testing.T) {
	sim, c := workspace(t, nil, nil)
	w := newWrite(func(p *pipeline.Plan, _ *pipeline.Delivery) { p.Channel = "" })
	if e := w.must(t, c); e != nil || len(sim.Calls()) != 0 {
		t.Errorf("outcome %v after %d calls", e, len(sim.Calls()))
	}
	_, c = workspace(t, nil, func(o *Options) { o.DefaultChannel = "#shop-deploys" })
	if e := w.must(t, c); e == nil {
		t.Error("the default channel was not used")
	}
}

func TestAnEffectBeforeTheRecordOfTheMessageEditsIt(t *testing.T) {
	sim, c := workspace(t, nil, nil)
	w := newWrite(nil)
	if _, err := w.run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	w.becomes(asking) // the state has no handle yet
	e := w.must(t, c)
	m := only(t, sim)
	if sent, ok := e.(pipeline.MessageSent); !ok || sent.TS != m.TS || m.Version != 2 {
		t.Errorf("outcome %v, version %d", e, m.Version)
	}
}

func TestAMessageWhoseRecordWasLostIsFound(t *testing.T) {
	for _, c := range []struct {
		name    string
		channel string
		before  func(*testing.T, *slacksim.Sim)
		task    pipeline.Task
		now     time.Time // when the next process starts
	}{
		{name: "the effect is known to have started", channel: "#shop-deploys", task: pipeline.Task{Attempt: 2, Unknown: true}},
		{name: "the channel is named by its id", channel: "C0DEPLOYS", task: pipeline.Task{Attempt: 2, Unknown: true}},
		{name: "the outcome is on its way when the process starts", channel: "#shop-deploys", task: pipeline.Task{Attempt: 1}, now: noon.Add(time.Hour)},
		{name: "much was written since", channel: "#shop-deploys", task: pipeline.Task{Attempt: 2, Unknown: true}, before: func(t *testing.T, sim *slacksim.Sim) {
			for range 450 {
				if _, err := sim.PostAs("U0ANNA", "C0DEPLOYS", "hello"); err != nil {
					t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sim, first := workspace(t, nil, nil)
			w := newWrite(nil)
			w.plan.Channel = c.channel
			other := newWrite(nil)
			other.d.ID = "7-11-00000000"
			other.must(t, first)
			if _, err := w.run(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			if c.before != nil {
				c.before(t, sim)
			}
			later := newWrite(nil)
			later.d.ID = "7-13-00000000"
			later.must(t, first)
			now := c.now
			if now.IsZero() {
				now = noon.Add(-time.Hour)
			}
			second, err := New(Options{Token: botToken, SigningSecret: signingSecret, APIURL: sim.URL(), Now: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			w.task = c.task
			w.becomes(asking)
			w.plan.Channel = c.channel
			e := w.must(t, second)
			var mine []slacksim.Message
			for _, m := range sim.Messages("C0DEPLOYS") {
				if m.FromApp && strings.Contains(string(m.Metadata.EventPayload), w.d.ID) {
					mine = append(mine, m)
				}
			}
			if len(mine) != 1 {
				t.Fatalf("%d messages of the delivery", len(mine))
			}
			if sent, ok := e.(pipeline.MessageSent); !ok || sent.TS != mine[0].TS || mine[0].Version != 2 {
				t.Errorf("outcome %v, version %d", e, mine[0].Version)
			}
		})
	}
}

func TestAMessageWhoseSendingIsDoubtfulIsLookedFor(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault slacksim.Fault
		task  pipeline.Task // of the next try
	}{
		{"the connection breaks after it was sent", slacksim.Fault{Drop: true, After: true}, pipeline.Task{Attempt: 2, Unknown: true}},
		{"the connection breaks before it was sent", slacksim.Fault{Drop: true}, pipeline.Task{Attempt: 2, Unknown: true}},
		{"Slack answers 500 after it was sent", slacksim.Fault{Status: http.StatusInternalServerError, After: true}, pipeline.Task{Attempt: 2, Unknown: true}},
		{"Slack reports trouble after it was sent", slacksim.Fault{Error: "internal_error", After: true}, pipeline.Task{Attempt: 2, Unknown: true}},
		{"Slack says neither yes nor no", slacksim.Fault{Body: `{"ok":false}`, After: true}, pipeline.Task{Attempt: 2, Unknown: true}},
		{"Slack answers with a page", slacksim.Fault{Body: `<html>`, After: true}, pipeline.Task{Attempt: 2, Unknown: true}},
		{"a newer effect comes first", slacksim.Fault{Drop: true, After: true}, pipeline.Task{Attempt: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sim, client := workspace(t, nil, nil)
			c.fault.Method = "chat.postMessage"
			sim.Fail(c.fault)
			w := newWrite(nil)
			_, err := w.run(t.Context(), client)
			if f := mustFail(t, err); f.Permanent || !f.Unknown || f.Detail == "" {
				t.Errorf("failure %+v", f)
			}
			w.task = c.task
			w.must(t, client)
			only(t, sim)
		})
	}
}

func TestWhenLookingIsNotPossibleNothingIsSentTwice(t *testing.T) {
	without := func(scope string) func(*slacksim.Options) {
		return func(o *slacksim.Options) {
			for _, s := range slacksim.DefaultScopes() {
				if s != scope {
					o.Scopes = append(o.Scopes, s)
				}
			}
		}
	}
	for _, c := range []struct {
		name, channel string
		sims          func(*slacksim.Options)
		says          string
	}{
		{"the history may not be read", "C0DEPLOYS", without("channels:history"), "the scope channels:history"},
		{"the channels may not be listed", "#shop-deploys", without("groups:read"), "the scope groups:read"},
		{"the bot is not in the channel", "C0PUBLIC", nil, "/invite"},
		{"the channel is gone", "#gone", nil, "/invite"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sim, client := workspace(t, c.sims, nil)
			w := newWrite(func(p *pipeline.Plan, _ *pipeline.Delivery) { p.Channel = c.channel })
			w.task = pipeline.Task{Attempt: 2, Unknown: true}
			_, err := w.run(t.Context(), client)
			if f := mustFail(t, err); !f.Permanent || !strings.Contains(f.Detail, c.says) || !strings.Contains(f.Detail, "not sent again") {
				t.Errorf("failure %+v", f)
			}
			// The core warns, and its next effect does not send it either.
			w.task = pipeline.Task{Attempt: 1}
			w.d.Warnings = []pipeline.Warning{{Effect: "write-message", Detail: "x"}}
			_, err = w.run(t.Context(), client)
			if f := mustFail(t, err); !f.Permanent {
				t.Errorf("next failure %+v", f)
			}
			if n := len(sim.CallsOf("chat.postMessage")); n != 0 {
				t.Errorf("%d messages were sent", n)
			}
		})
	}
	t.Run("a look that fails for now keeps the doubt", func(t *testing.T) {
		sim, client := workspace(t, nil, nil)
		sim.Fail(slacksim.Fault{Method: "conversations.history", RetryAfter: 7 * time.Second})
		w := newWrite(nil)
		w.task = pipeline.Task{Attempt: 2, Unknown: true}
		_, err := w.run(t.Context(), client)
		if f := mustFail(t, err); f.Permanent || !f.Unknown || f.After != 7*time.Second {
			t.Errorf("failure %+v", f)
		}
	})
	t.Run("an answer without a result decides nothing", func(t *testing.T) {
		sim, client := workspace(t, nil, nil)
		sim.Fail(slacksim.Fault{Method: "conversations.history", Body: `{"ok":false}`})
		w := newWrite(nil)
		w.task = pipeline.Task{Attempt: 2, Unknown: true}
		_, err := w.run(t.Context(), client)
		if f := mustFail(t, err); f.Permanent || !f.Unknown || len(sim.Messages("C0DEPLOYS")) != 0 {
			t.Errorf("failure %+v", f)
		}
	})
	t.Run("without doubt it is sent all the same", func(t *testing.T) {
		sim, client := workspace(t, nil, nil)
		w := newWrite(func(p *pipeline.Plan, _ *pipeline.Delivery) { p.Channel = "C0PUBLIC" })
		w.task = pipeline.Task{Attempt: 2} // the first one was refused with 429
		w.must(t, client)
		if len(sim.Messages("C0PUBLIC")) != 1 {
			t.Error("it was not sent")
		}
	})
}

func TestFailuresSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		name      string
		channel   string
		sims      func(*slacksim.Options)
		options   func(*Options)
		fault     *slacksim.Fault
		says      string
		permanent bool
		unknown   bool
		after     time.Duration
	}{
		{name: "a channel that is not there", channel: "#nowhere", says: "#nowhere: check its name, and invite the app there with /invite", permanent: true},
		{name: "a private channel without the app", channel: "C0SECRET", says: "/invite", permanent: true},
		{name: "an archived channel", channel: "C0OLD", says: "archived", permanent: true},
		{name: "a wrong token", options: func(o *Options) { o.Token = "xoxb-other" }, says: "bot token (invalid_auth)", after: time.Minute},
		{name: "a missing scope", sims: func(o *slacksim.Options) { o.Scopes = []string{"users:read"} }, says: "the scope chat:write", permanent: true},
		{name: "an unwelcome message", fault: &slacksim.Fault{Error: "restricted_action"}, says: "settings do not let", permanent: true},
		{name: "something new", fault: &slacksim.Fault{Error: "new_error"}, says: "new_error", permanent: true},
		{name: "too many requests", fault: &slacksim.Fault{RetryAfter: 42 * time.Second}, says: "pause", after: 42 * time.Second},
		{name: "too many requests without a time", fault: &slacksim.Fault{Status: 429}, says: "pause", after: 30 * time.Second},
		{name: "trouble at Slack", fault: &slacksim.Fault{Status: 503}, says: "503", unknown: true},
		{name: "a redirect", fault: &slacksim.Fault{Status: 302}, says: "slack.api_url", permanent: true},
		{name: "a proxy's refusal", fault: &slacksim.Fault{Status: 403}, says: "403", permanent: true},
		{name: "nobody there", options: func(o *Options) { o.APIURL = "http://127.0.0.1:1/api/" }, says: "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sim, client := workspace(t, c.sims, c.options)
			if c.fault != nil {
				c.fault.Method = "chat.postMessage"
				sim.Fail(*c.fault)
			}
			w := newWrite(nil)
			if c.channel != "" {
				w.plan.Channel = c.channel
			}
			_, err := w.run(t.Context(), client)
			f := mustFail(t, err)
			if !strings.Contains(f.Detail, c.says) || strings.Contains(f.Error(), botToken) {
				t.Errorf("it says %q", f.Error())
			}
			got := []any{f.Permanent, f.Unknown, f.After}
			if diff := cmp.Diff([]any{c.permanent, c.unknown, c.after}, got); diff != "" {
				t.Errorf("permanent, unknown, after (-want +got):\n%s", diff)
			}
			if n := len(sim.Messages("C0DEPLOYS")); n != 0 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

func TestAfterAnInvitationTheMessageIsSent(t *testing.T) {
	sim, c := workspace(t, nil, nil)
	w := newWrite(func(p *pipeline.Plan, _ *pipeline.Delivery) { p.Channel = "#secret" })
	_, err := w.run(t.Context(), c)
	f := mustFail(t, err)
	w.becomes(asking)
	w.plan.Channel = "#secret"
	w.d.Warnings = []pipeline.Warning{{Effect: "write-message", Detail: f.Detail}}
	if err := sim.ChangeChannel("C0SECRET", func(c *slacksim.Channel) { c.BotMember = true }); err != nil {
		t.Fatal(err)
	}
	w.must(t, c)
	if n := len(sim.Messages("C0SECRET")); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestAnEditThatFails(t *testing.T) {
	t.Run("a deleted message is not sent again", func(t *testing.T) {
		sim, c := workspace(t, nil, nil)
		w := newWrite(nil)
		w.must(t, c)
		if _, _, err := c.api.DeleteMessageContext(t.Context(), "C0DEPLOYS", w.d.Handles.TS); err != nil {
			t.Fatal(err)
		}
		w.becomes(asking)
		_, err := w.run(t.Context(), c)
		if f := mustFail(t, err); !f.Permanent || !strings.Contains(f.Detail, "deleted") {
			t.Errorf("failure %+v", f)
		}
		if n := len(sim.Messages("C0DEPLOYS")); n != 0 {
			t.Errorf("%d messages", n)
		}
	})
	t.Run("an answer without a result is none", func(t *testing.T) {
		sim, c := workspace(t, nil, nil)
		w := newWrite(nil)
		w.must(t, c)
		w.becomes(asking)
		sim.Fail(slacksim.Fault{Method: "chat.update", Body: `{"ok":false}`})
		_, err := w.run(t.Context(), c)
		if f := mustFail(t, err); f.Permanent {
			t.Errorf("failure %+v", f)
		}
		w.must(t, c)
		if m := only(t, sim); m.Version != 2 {
			t.Errorf("version %d", m.Version)
		}
	})
	t.Run("success after a warning takes the warning back", func(t *testing.T) {
		sim, c := workspace(t, nil, nil)
		w := newWrite(nil)
		w.must(t, c)
		w.d.Warnings = []pipeline.Warning{{Effect: "write-message", Detail: "the channel is archived"}}
		if e := w.must(t, c); e == nil {
			t.Error("nobody hears that the message is true")
		}
		if n := len(sim.CallsOf("chat.update")); n != 0 {
			t.Errorf("%d edits of what is there already", n)
		}
	})
}

func TestAWithdrawnEffectEndsAtOnce(t *testing.T) {
	sim, c := workspace(t, nil, nil)
	sim.Fail(slacksim.Fault{Method: "chat.postMessage", Hold: make(chan struct{})})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := newWrite(nil).run(ctx, c)
		done <- err
	}()
	deadline, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	if err := sim.Await(deadline, func(s slacksim.Snapshot) bool { return s.Revision > 0 && len(sim.Messages("C0DEPLOYS")) == 1 }); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-done:
		if _, failure := pipeline.AsFailure(err); failure || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-deadline.Done():
		t.Fatal("it did not end")
	}
}

func TestTurnsThatCannotComeInTimeAreNotTaken(t *testing.T) {
	_, c := workspace(t, nil, nil)
	l := newLimits().postsTo("C0DEPLOYS")
	for range 2 {
		if err := wait(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if f := mustFail(t, wait(ctx, l)); f.Permanent || f.Unknown || f.After == 0 {
		t.Errorf("failure %+v", f)
	}
	for range manyChannels + 2 {
		c.limits.postsTo(time.Now().String())
	}
	if n := len(c.limits.posts); n > manyChannels+1 {
		t.Errorf("%d limiters are kept", n)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory(2)
	for _, id := range []string{"a", "b", "a", "c"} {
		m.change(id, func(s *sent) { s.ts = id })
	}
	if m.get("a").ts != "" || m.get("b").ts != "b" || m.get("c").ts != "c" || len(m.order) != 2 {
		t.Errorf("kept %v", m.order)
	}
}

func TestTheSameMessagesKeepWithinSlacksLimits(t *testing.T) {
	sim, c := workspace(t, func(o *slacksim.Options) { o.RateLimits = true }, nil)
	w := newWrite(nil)
	w.must(t, c)
	w.becomes(asking)
	w.must(t, c)
	if m := only(t, sim); m.Version != 2 {
		t.Errorf("version %d", m.Version)
	}
}

func TestTheClientIsCheckedWhenMade(t *testing.T) {
	for _, o := range []Options{
		{SigningSecret: "s"}, {Token: "xoxb-1"}, {Token: "xoxb-1", SigningSecret: "s", APIURL: "https://slack.com/api"},
		{Token: "xoxb-1", SigningSecret: "s", APIURL: "slack/"},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestTheTokenIsChecked(t *testing.T) {
	scopes := func(s ...string) func(*slacksim.Options) { return func(o *slacksim.Options) { o.Scopes = s } }
	few := []string{"chat:write", "chat:write.public", "commands", "channels:read", "groups:read", "groups:history"}
	for _, c := range []struct {
		name    string
		sims    func(*slacksim.Options)
		options func(*Options)
		says    string
	}{
		{"all is well", nil, nil, ""},
		{"a wrong token", nil, func(o *Options) { o.Token = "xoxb-other" }, "invalid_auth"},
		{"a missing scope", scopes(few...), nil, "lacks channels:history:"},
		{"people are looked up", scopes(append(few, "channels:history")...), func(o *Options) { o.MatchEmail = true }, "lacks users:read, users:read.email:"},
		{"people are not looked up", scopes(append(few, "channels:history")...), nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, client := workspace(t, c.sims, c.options)
			err := client.Check(t.Context())
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}
