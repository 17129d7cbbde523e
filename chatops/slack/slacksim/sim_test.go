package slacksim_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
)

const (
	token  = "xoxb-test-token"
	secret = "signing-secret"
)

// clock is a time that only the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func start(t *testing.T, change func(*slacksim.Options)) (*slacksim.Sim, *slack.Client) {
	t.Helper()
	options := slacksim.Options{Token: token, SigningSecret: secret}
	if change != nil {
		change(&options)
	}
	sim, err := slacksim.New(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, u := range []slacksim.User{
		{ID: "U0ANNA", Name: "anna", RealName: "Anna Berg", Email: "anna@example.com", EmailConfirmed: true},
		{ID: "U0BEN", Name: "ben", RealName: "Ben Ode", Email: "ben@example.com"},
		{ID: "U0GUEST", Name: "gus", RealName: "Gus T", Email: "gus@example.com", EmailConfirmed: true, Guest: true},
		{ID: "U0GONE", Name: "gone", RealName: "Gone By", Email: "gone@example.com", Deleted: true},
	} {
		if _, err := sim.AddUser(u); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []slacksim.Channel{
		{ID: "C0DEPLOYS", Name: "shop-deploys", BotMember: true},
		{ID: "C0PUBLIC", Name: "general"},
		{ID: "C0SECRET", Name: "secret", Private: true},
		{ID: "C0PRIVATE", Name: "ops", Private: true, BotMember: true, Members: []string{"U0ANNA"}},
		{ID: "C0OLD", Name: "old", Archived: true, BotMember: true},
	} {
		if _, err := sim.AddChannel(c); err != nil {
			t.Fatal(err)
		}
	}
	return sim, slack.New(token, slack.OptionAPIURL(sim.URL()))
}

// app is the other end: it verifies what Slack sends with the real client's verifier and answers as the test says.
type app struct {
	mu       sync.Mutex
	payloads []slack.InteractionCallback
	commands []slack.SlashCommand
	answer   func(slack.InteractionCallback) (int, string)
	server   *httptest.Server
}

func newApp(t *testing.T, sim *slacksim.Sim, answer func(slack.InteractionCallback) (int, string)) *app {
	t.Helper()
	a := &app{answer: answer}
	a.server = httptest.NewServer(a)
	t.Cleanup(a.server.Close)
	if err := sim.SetInteractivityURL(a.server.URL); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	verifier, err := slack.NewSecretsVerifier(r.Header, secret)
	if err == nil {
		_, _ = verifier.Write(body)
		err = verifier.Ensure()
	}
	if err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "signature")
		return
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	if strings.Contains(string(body), "command=") {
		command, _ := slack.SlashCommandParse(r)
		a.mu.Lock()
		a.commands = append(a.commands, command)
		a.mu.Unlock()
		status, text := a.answer(slack.InteractionCallback{ResponseURL: command.ResponseURL, TriggerID: command.TriggerID})
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
		return
	}
	payload, err := slack.InteractionCallbackParse(r)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, err.Error())
		return
	}
	a.mu.Lock()
	a.payloads = append(a.payloads, payload)
	a.mu.Unlock()
	status, text := a.answer(payload)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func (a *app) last(t *testing.T) slack.InteractionCallback {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.payloads) == 0 {
		t.Fatal("the app got no payload")
	}
	return a.payloads[len(a.payloads)-1]
}

func fine(slack.InteractionCallback) (int, string) { return http.StatusOK, "" }

func plain(text string) *slack.TextBlockObject {
	return slack.NewTextBlockObject("plain_text", text, false, false)
}

func section(text string) slack.Block {
	return slack.NewSectionBlock(slack.NewTextBlockObject("mrkdwn", text, false, false), nil, nil)
}

// question is a message with an Approve button that asks back and a Reject button that doesn't.
func question() []slack.Block {
	approve := slack.NewButtonBlockElement("approve", "j1/1", plain("Approve")).WithStyle(slack.StylePrimary)
	approve.Confirm = slack.NewConfirmationBlockObject(plain("Ship to production?"), plain("It goes live."), plain("Ship"), plain("Wait"))
	reject := slack.NewButtonBlockElement("reject", "j1/1", plain("Reject"))
	return []slack.Block{section("*Ship it?*"), slack.NewActionBlock("judgement", approve, reject)}
}

func post(t *testing.T, client *slack.Client, channel string, options ...slack.MsgOption) (id, ts string) {
	t.Helper()
	id, ts, err := client.PostMessageContext(t.Context(), channel, options...)
	if err != nil {
		t.Fatal(err)
	}
	return id, ts
}

// wantCode checks that err is Slack's error of that name.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var refused slack.SlackErrorResponse
	if !errors.As(err, &refused) || refused.Err != code {
		t.Fatalf("got error %v, want %s", err, code)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for name, options := range map[string]slacksim.Options{
		"a token of another kind":        {Token: "xapp-1", SigningSecret: secret},
		"no signing secret":              {Token: token},
		"an interactivity path, no host": {Token: token, SigningSecret: secret, InteractivityURL: "/slack"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := slacksim.New(options); err == nil {
				t.Fatal("want an error")
			}
		})
	}
}

func TestPeopleAndChannelsMustBeUnique(t *testing.T) {
	sim, _ := start(t, nil)
	for name, u := range map[string]slacksim.User{
		"the same id":     {ID: "U0ANNA", Name: "other"},
		"the same name":   {Name: "anna"},
		"the same e-mail": {Name: "other", Email: "ANNA@example.com"},
		"a bad id":        {ID: "anna", Name: "other"},
	} {
		if _, err := sim.AddUser(u); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	for name, c := range map[string]slacksim.Channel{
		"the same name":  {Name: "#general"},
		"capitals":       {Name: "General"},
		"a bad id":       {ID: "general", Name: "other"},
		"nothing at all": {},
	} {
		if _, err := sim.AddChannel(c); err == nil {
			t.Errorf("channel with %s was taken", name)
		}
	}
	made, err := sim.AddUser(slacksim.User{Name: "new"})
	if err != nil || made.ID == "" {
		t.Fatalf("got %+v, %v; want an id", made, err)
	}
}

func TestSubscribersHearOfChanges(t *testing.T) {
	sim, client := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- sim.Await(ctx, func(s slacksim.Snapshot) bool {
			return len(s.Channels[0].Messages) == 1 && s.Channels[0].Messages[0].Text == "second"
		})
	}()
	_, ts := post(t, client, "C0DEPLOYS", slack.MsgOptionText("first", false))
	if _, _, _, err := client.UpdateMessageContext(ctx, "C0DEPLOYS", ts, slack.MsgOptionText("second", false)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	changes, stop := sim.Subscribe()
	stop()
	if _, err := sim.PostAs("U0ANNA", "general", "hello"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changes:
		t.Fatal("a stopped subscription heard of a change")
	default:
	}
}

func TestSnapshotIsJSONWithSlacksOwnBlocks(t *testing.T) {
	sim, client := start(t, nil)
	post(t, client, "#shop-deploys", slack.MsgOptionText("Ship it?", false), slack.MsgOptionBlocks(question()...))
	raw, err := json.Marshal(sim.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"name":"shop-deploys"`, `"action_id":"approve"`, `"block_id":"judgement"`, `"version":1`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("%s is missing in %s", want, raw)
		}
	}
}

func TestTheTokenIsNeverRecorded(t *testing.T) {
	sim, client := start(t, nil)
	post(t, client, "C0DEPLOYS", slack.MsgOptionText("hi", false))
	mistaken := slack.New("xoxb-mistaken", slack.OptionAPIURL(sim.URL()))
	if _, _, err := mistaken.PostMessageContext(t.Context(), "C0DEPLOYS", slack.MsgOptionText("hi", false)); err == nil {
		t.Fatal("a wrong token worked")
	}
	body := `{"token":"` + token + `","channel":"C0DEPLOYS","text":"hi"}`
	response, err := http.Post(sim.URL()+"chat.postMessage", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	calls := sim.Calls()
	if len(calls) != 3 || calls[2].Error != "not_authed" {
		t.Fatalf("got %+v, want a third call that is not_authed", calls)
	}
	for _, call := range calls {
		if strings.Contains(call.Body, token) || strings.Contains(call.Body, "mistaken") || strings.Contains(call.Answer, token) {
			t.Errorf("the token is in %s", call.Body)
		}
	}
	form, err := url.ParseQuery(calls[0].Body)
	if err != nil || form.Get("text") != "hi" || calls[0].Method != "chat.postMessage" {
		t.Errorf("got %+v, want the arguments of the call", calls[0])
	}
}

func TestManyAtOnceGetTheirOwnTimestamps(t *testing.T) {
	frozen := &clock{now: time.Unix(1_800_000_000, 0)}
	sim, client := start(t, func(o *slacksim.Options) { o.Clock = frozen.Now })
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 10 {
				_, ts, err := client.PostMessageContext(t.Context(), "C0DEPLOYS", slack.MsgOptionText("x", false))
				if err == nil {
					_, _, _, err = client.UpdateMessageContext(t.Context(), "C0DEPLOYS", ts, slack.MsgOptionText("y", false))
				}
				if err != nil {
					t.Error(err)
				}
				sim.Snapshot()
			}
		})
	}
	group.Wait()
	last := ""
	for _, m := range sim.Messages("shop-deploys") {
		if m.TS <= last {
			t.Fatalf("%s came after %s", m.TS, last)
		}
		last = m.TS
	}
	if n := len(sim.Messages("shop-deploys")); n != 40 {
		t.Fatalf("got %d messages, want 40", n)
	}
}

func TestItStartsOnceAndStaysReadableAfterClosing(t *testing.T) {
	sim, client := start(t, nil)
	if err := sim.Start("127.0.0.1:0"); err == nil {
		t.Error("it started twice")
	}
	post(t, client, "C0DEPLOYS", slack.MsgOptionText("hi", false))
	if err := sim.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AuthTestContext(t.Context()); err == nil {
		t.Error("it answers after closing")
	}
	if got := sim.Messages("#shop-deploys"); len(got) != 1 || got[0].Text != "hi" {
		t.Errorf("got %+v", got)
	}
}

func TestPeopleAndChannelsChange(t *testing.T) {
	sim, client := start(t, nil)
	say := func() error {
		_, _, err := client.PostMessageContext(t.Context(), "C0SECRET", slack.MsgOptionText("hi", false))
		return err
	}
	wantCode(t, say(), "channel_not_found")
	if err := sim.ChangeChannel("C0SECRET", func(c *slacksim.Channel) { c.BotMember = true }); err != nil {
		t.Fatal(err)
	}
	if err := say(); err != nil {
		t.Errorf("after the invitation: %v", err)
	}
	if err := sim.ChangeUser("U0ANNA", func(u *slacksim.User) { u.Deleted = true }); err != nil {
		t.Fatal(err)
	}
	_, err := client.GetUserByEmailContext(t.Context(), "anna@example.com")
	wantCode(t, err, "users_not_found")
	if sim.ChangeUser("U0NOBODY", func(*slacksim.User) {}) == nil || sim.ChangeChannel("C0NOWHERE", func(*slacksim.Channel) {}) == nil {
		t.Error("somebody who isn't there was changed")
	}
}
