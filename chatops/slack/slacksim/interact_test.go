package slacksim_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
)

// ask posts the question and returns its timestamp.
func ask(t *testing.T, client *slack.Client) string {
	t.Helper()
	_, ts := post(t, client, "C0DEPLOYS", slack.MsgOptionText("Ship it?", false), slack.MsgOptionBlocks(question()...),
		slack.MsgOptionMetadata(slack.SlackMetadata{EventType: "e", EventPayload: map[string]any{"id": "d1"}}))
	return ts
}

func TestAPressReachesTheApp(t *testing.T) {
	sim, client := start(t, nil)
	a := newApp(t, sim, fine)
	ts := ask(t, client)
	for _, button := range []string{"approve", "Approve", "judgement/approve"} {
		answer, err := sim.Press(t.Context(), slacksim.Press{
			User: "U0ANNA", Channel: "#shop-deploys", TS: ts, Button: button, Confirm: true,
		})
		if err != nil || answer.Status != http.StatusOK {
			t.Fatalf("press %q: %+v, %v", button, answer, err)
		}
	}
	got := a.last(t)
	if got.Type != slack.InteractionTypeBlockActions || got.User.ID != "U0ANNA" || got.Channel.ID != "C0DEPLOYS" ||
		got.Container.MessageTs != ts || got.Message.Timestamp != ts || got.Message.Metadata.EventPayload["id"] != "d1" ||
		got.Team.ID == "" || got.TriggerID == "" || got.ResponseURL == "" {
		t.Errorf("got payload %+v", got)
	}
	if n := len(got.ActionCallback.BlockActions); n != 1 {
		t.Fatalf("got %d actions, want 1", n)
	}
	action := got.ActionCallback.BlockActions[0]
	want := []string{"approve", "judgement", "j1/1", "Approve", "button"}
	if diff := cmp.Diff(want, []string{action.ActionID, action.BlockID, action.Value, action.Text.Text, string(action.Type)}); diff != "" {
		t.Errorf("action (-want +got):\n%s", diff)
	}
	if sent := sim.Interactions(); len(sent) != 3 || sent[2].Kind != "block_actions" || sent[2].Answer.Status != 200 {
		t.Errorf("got record %+v", sent)
	}
}

func TestPressesThatCannotHappen(t *testing.T) {
	sim, client := start(t, nil)
	a := newApp(t, sim, fine)
	ts := ask(t, client)
	_, private := post(t, client, "C0PRIVATE", slack.MsgOptionText("x", false), slack.MsgOptionBlocks(question()...))
	for _, c := range []struct {
		name  string
		press slacksim.Press
		want  error
	}{
		{"a button that isn't there", slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ts, Button: "retry"}, slacksim.ErrNoButton},
		{"no button", slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ts}, slacksim.ErrNoButton},
		{"no message", slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: "1.2", Button: "reject"}, slacksim.ErrNoMessage},
		{"a question left open", slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ts, Button: "approve"}, slacksim.ErrNeedsConfirm},
		{"somebody outside a private channel", slacksim.Press{User: "U0BEN", Channel: "C0PRIVATE", TS: private, Button: "reject"}, nil},
		{"somebody who left", slacksim.Press{User: "U0GONE", Channel: "C0DEPLOYS", TS: ts, Button: "reject"}, nil},
		{"a rendering that never was", slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ts, Button: "reject", Version: 2}, nil},
		{"a stale press of what is new", slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ts, Button: "reject", Stale: true}, slacksim.ErrNoButton},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := sim.Press(t.Context(), c.press)
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if len(a.payloads) != 0 {
		t.Errorf("the app heard of %d of them", len(a.payloads))
	}
}

func TestAStalePressAndAReplayLookLikeTheRealOnes(t *testing.T) {
	sim, client := start(t, nil)
	a := newApp(t, sim, fine)
	ts := ask(t, client)
	if _, _, _, err := client.UpdateMessageContext(t.Context(), "C0DEPLOYS", ts, slack.MsgOptionText("Shipped", false),
		slack.MsgOptionBlocks(section("Shipped"))); err != nil {
		t.Fatal(err)
	}
	press := slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ts, Button: "Reject"}
	if _, err := sim.Press(t.Context(), press); !errors.Is(err, slacksim.ErrNoButton) {
		t.Fatalf("got %v, want %v", err, slacksim.ErrNoButton)
	}
	for _, change := range []func(*slacksim.Press){
		func(p *slacksim.Press) { p.Stale = true },
		func(p *slacksim.Press) { p.Version = 1 },
	} {
		behind := press
		change(&behind)
		if _, err := sim.Press(t.Context(), behind); err != nil {
			t.Fatal(err)
		}
		if got := a.last(t); got.Message.Text != "Ship it?" || got.ActionCallback.BlockActions[0].Value != "j1/1" {
			t.Errorf("got %+v, want the old rendering", got.Message.Msg)
		}
	}
	if _, err := sim.Replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	sent := sim.Interactions()
	one, two := sent[len(sent)-2], sent[len(sent)-1]
	if one.Body != two.Body || one.Header.Get("X-Slack-Signature") != two.Header.Get("X-Slack-Signature") || len(a.payloads) != 3 {
		t.Errorf("the replay differs: %+v and %+v", one, two)
	}
}

func TestAnAppThatDoesNotAcknowledge(t *testing.T) {
	sim, client := start(t, func(o *slacksim.Options) { o.AckTimeout = 30 * time.Millisecond })
	release := make(chan struct{})
	defer close(release)
	slow := false
	newApp(t, sim, func(slack.InteractionCallback) (int, string) {
		if slow {
			<-release
		}
		return http.StatusForbidden, "not you"
	})
	press := slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ask(t, client), Button: "reject"}
	answer, err := sim.Press(t.Context(), press)
	if !errors.Is(err, slacksim.ErrRefused) || answer.Status != http.StatusForbidden || answer.Body != "not you" {
		t.Errorf("got %+v, %v; want the refusal", answer, err)
	}
	slow = true
	if _, err = sim.Press(t.Context(), press); !errors.Is(err, slacksim.ErrNoAck) {
		t.Errorf("got %v, want %v", err, slacksim.ErrNoAck)
	}
}

func TestPrivateNamesStayPrivate(t *testing.T) {
	sim, client := start(t, nil)
	a := newApp(t, sim, fine)
	_, ts := post(t, client, "ops", slack.MsgOptionText("x", false), slack.MsgOptionBlocks(question()...))
	if _, err := sim.Press(t.Context(), slacksim.Press{User: "U0ANNA", Channel: "ops", TS: ts, Button: "reject"}); err != nil {
		t.Fatal(err)
	}
	if got := a.last(t).Channel.Name; got != "privategroup" {
		t.Errorf("got channel name %q", got)
	}
}

func TestAResponseAddressWorksFiveTimesForThirtyMinutes(t *testing.T) {
	hand := &clock{now: time.Now()}
	sim, client := start(t, func(o *slacksim.Options) { o.Clock = hand.Now })
	a := newApp(t, sim, fine)
	ts := ask(t, client)
	press := slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ts, Button: "reject"}
	if _, err := sim.Press(t.Context(), press); err != nil {
		t.Fatal(err)
	}
	address := a.last(t).ResponseURL
	answer := func(o ...slack.MsgOption) error {
		_, _, err := client.PostMessageContext(t.Context(), "", o...)
		return err
	}
	if err := answer(slack.MsgOptionReplaceOriginal(address), slack.MsgOptionText("Recording…", false)); err != nil {
		t.Fatal(err)
	}
	if m := sim.Messages("C0DEPLOYS")[0]; m.Text != "Recording…" || len(m.Buttons()) != 0 || m.Version != 2 {
		t.Errorf("got %+v, want it replaced", m)
	}
	if err := answer(slack.MsgOptionResponseURL(address, slack.ResponseTypeEphemeral), slack.MsgOptionText("only you", false)); err != nil {
		t.Fatal(err)
	}
	if got := sim.Ephemerals("U0ANNA"); len(got) != 1 || got[0].Text != "only you" || len(sim.Ephemerals("U0BEN")) != 0 {
		t.Errorf("got ephemerals %+v", got)
	}
	if err := answer(slack.MsgOptionResponseURL(address, slack.ResponseTypeInChannel), slack.MsgOptionText("all of you", false)); err != nil {
		t.Fatal(err)
	}
	if err := answer(slack.MsgOptionResponseURL(address, "ephemeral"), slack.MsgOptionText(strings.Repeat("x", 5000), false)); err == nil {
		t.Error("5,000 characters were taken")
	}
	for range 2 {
		if err := answer(slack.MsgOptionResponseURL(address, "ephemeral"), slack.MsgOptionText("again", false)); err != nil {
			t.Fatal(err)
		}
	}
	if err := answer(slack.MsgOptionResponseURL(address, "ephemeral"), slack.MsgOptionText("a sixth time", false)); err == nil {
		t.Error("the sixth use worked")
	}
	calls := sim.CallsOf("response_url")
	if last := calls[len(calls)-1]; len(calls) != 7 || last.Error != "used_url" {
		t.Errorf("got %d calls, the last %+v", len(calls), last)
	}

	press.Stale = true
	if _, err := sim.Press(t.Context(), press); err != nil {
		t.Fatal(err)
	}
	hand.Advance(31 * time.Minute)
	if err := answer(slack.MsgOptionDeleteOriginal(a.last(t).ResponseURL)); err == nil {
		t.Error("it worked after 31 minutes")
	}
	if calls := sim.CallsOf("response_url"); calls[len(calls)-1].Error != "expired_url" {
		t.Errorf("got %+v", calls[len(calls)-1])
	}
}

func TestButtonsOfEphemeralMessages(t *testing.T) {
	sim, client := start(t, nil)
	a := newApp(t, sim, fine)
	ts, err := client.PostEphemeralContext(t.Context(), "C0DEPLOYS", "U0ANNA", slack.MsgOptionText("x", false),
		slack.MsgOptionBlocks(question()...))
	if err != nil {
		t.Fatal(err)
	}
	press := slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ts, Button: "reject"}
	if _, err := sim.Press(t.Context(), press); err != nil {
		t.Fatal(err)
	}
	if got := a.last(t); !got.Container.IsEphemeral || got.Message.Timestamp != "" {
		t.Errorf("got %+v, want an ephemeral container and no message", got)
	}
	if _, _, err := client.PostMessageContext(t.Context(), "", slack.MsgOptionDeleteOriginal(a.last(t).ResponseURL)); err != nil {
		t.Fatal(err)
	}
	if left := sim.Ephemerals("U0ANNA"); len(left) != 0 {
		t.Errorf("got %+v, want it deleted", left)
	}
	press.User = "U0BEN"
	if _, err := sim.Press(t.Context(), press); !errors.Is(err, slacksim.ErrNoMessage) {
		t.Errorf("got %v, want %v for somebody else", err, slacksim.ErrNoMessage)
	}
}

// reasonModal asks for a reason of at least five characters.
func reasonModal(title string) slack.ModalViewRequest {
	element := slack.NewPlainTextInputBlockElement(plain("Why?"), "text")
	element.Multiline, element.MinLength = true, 5
	kind := slack.NewOptionsSelectBlockElement("static_select", plain("Kind"), "pick",
		slack.NewOptionBlockObject("bug", plain("A bug"), nil), slack.NewOptionBlockObject("late", plain("Too late"), nil))
	optional := slack.NewInputBlock("kind", plain("Kind"), nil, kind)
	optional.Optional = true
	return slack.ModalViewRequest{
		Type: slack.VTModal, Title: plain(title), Submit: plain("Reject"), Close: plain("Back"), CallbackID: "reject",
		PrivateMetadata: "j1/1", NotifyOnClose: true,
		Blocks: slack.Blocks{BlockSet: []slack.Block{slack.NewInputBlock("reason", plain("Reason"), nil, element), optional}},
	}
}

func TestAModalIsOpenedFilledInAndSubmitted(t *testing.T) {
	sim, client := start(t, nil)
	var opened string
	a := newApp(t, sim, func(p slack.InteractionCallback) (int, string) {
		switch {
		case p.Type == slack.InteractionTypeBlockActions:
			v, err := client.OpenViewContext(t.Context(), p.TriggerID, reasonModal("Reject"))
			if err != nil {
				return http.StatusInternalServerError, err.Error()
			}
			opened = v.ID
		case p.Type == slack.InteractionTypeViewSubmission && p.View.State.Values["reason"]["text"].Value == "because":
			return http.StatusOK, `{"response_action":"errors","errors":{"reason":"a real reason, please"}}`
		}
		return http.StatusOK, ""
	})
	if _, err := sim.Press(t.Context(), slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ask(t, client), Button: "reject"}); err != nil {
		t.Fatal(err)
	}
	views := sim.OpenViews("U0ANNA")
	if len(views) != 1 || views[0].ID != opened || views[0].Title != "Reject" || views[0].PrivateMetadata != "j1/1" {
		t.Fatalf("got views %+v", views)
	}
	for name, values := range map[string]map[string]string{
		"a required field left empty":  {},
		"a reason that is too short":   {"reason.text": "no"},
		"an input that isn't there":    {"reason.text": "too slow", "x.y": "z"},
		"an option that isn't offered": {"reason.text": "too slow", "kind.pick": "mood"},
	} {
		if _, err := sim.SubmitModal(t.Context(), "U0ANNA", opened, values); err == nil {
			t.Errorf("%s was submitted", name)
		}
	}
	if _, err := sim.SubmitModal(t.Context(), "U0BEN", opened, nil); !errors.Is(err, slacksim.ErrNoView) {
		t.Errorf("got %v, want %v for somebody else", err, slacksim.ErrNoView)
	}
	answer, err := sim.SubmitModal(t.Context(), "U0ANNA", opened, map[string]string{"reason.text": "because"})
	if err != nil || answer.Errors["reason"] == "" || sim.OpenViews("U0ANNA")[0].Errors["reason"] == "" {
		t.Fatalf("got %+v, %v; want the app's objection and the modal open", answer, err)
	}
	if _, err = sim.SubmitModal(t.Context(), "U0ANNA", opened, map[string]string{"reason.text": "it leaks", "kind.pick": "bug"}); err != nil {
		t.Fatal(err)
	}
	got := a.last(t)
	values := got.View.State.Values
	if got.View.PrivateMetadata != "j1/1" || got.View.CallbackID != "reject" || values["reason"]["text"].Value != "it leaks" ||
		values["kind"]["pick"].SelectedOption.Value != "bug" || got.User.ID != "U0ANNA" {
		t.Errorf("got submission %+v", got.View)
	}
	if left := sim.OpenViews("U0ANNA"); len(left) != 0 {
		t.Errorf("got views %+v after the submission", left)
	}
}

func TestWhatAnAppMayAnswerToASubmission(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		open         []string
		fails        bool
	}{
		{"nothing closes it", "", nil, false},
		{"clear closes all", `{"response_action":"clear"}`, nil, false},
		{"update replaces it", `{"response_action":"update","view":{"type":"modal","title":{"type":"plain_text","text":"Thanks"},"blocks":[]}}`, []string{"Thanks"}, false},
		{"push puts another in front", `{"response_action":"push","view":{"type":"modal","title":{"type":"plain_text","text":"More"},"blocks":[]}}`, []string{"Reject", "More"}, false},
		{"an error for what is no input", `{"response_action":"errors","errors":{"judgement":"no"}}`, []string{"Reject"}, true},
		{"text is not understood", `thanks`, []string{"Reject"}, true},
		{"an unknown action", `{"response_action":"dance"}`, []string{"Reject"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			sim, client := start(t, nil)
			newApp(t, sim, func(p slack.InteractionCallback) (int, string) {
				if p.Type == slack.InteractionTypeViewSubmission {
					return http.StatusOK, c.answer
				}
				if _, err := client.OpenViewContext(t.Context(), p.TriggerID, reasonModal("Reject")); err != nil {
					t.Error(err)
				}
				return http.StatusOK, ""
			})
			if _, err := sim.Press(t.Context(), slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ask(t, client), Button: "reject"}); err != nil {
				t.Fatal(err)
			}
			id := sim.OpenViews("U0ANNA")[0].ID
			_, err := sim.SubmitModal(t.Context(), "U0ANNA", id, map[string]string{"reason.text": "too slow"})
			if (err != nil) != c.fails {
				t.Errorf("got %v, want an error: %v", err, c.fails)
			}
			var open []string
			for _, v := range sim.OpenViews("U0ANNA") {
				open = append(open, v.Title)
			}
			if diff := cmp.Diff(c.open, open); diff != "" {
				t.Errorf("open (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTriggersLiveThreeSecondsAndOnce(t *testing.T) {
	hand := &clock{now: time.Now()}
	sim, client := start(t, func(o *slacksim.Options) { o.Clock = hand.Now })
	a := newApp(t, sim, fine)
	press := slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ask(t, client), Button: "reject"}
	fresh := func() string {
		if _, err := sim.Press(t.Context(), press); err != nil {
			t.Fatal(err)
		}
		return a.last(t).TriggerID
	}
	open := func(trigger string, view slack.ModalViewRequest) error {
		_, err := client.OpenViewContext(t.Context(), trigger, view)
		return err
	}
	wantCode(t, open("1.2.3", reasonModal("x")), "invalid_trigger_id")
	trigger := fresh()
	wantCode(t, open(trigger, reasonModal(strings.Repeat("x", 25))), "invalid_arguments")
	if err := open(trigger, reasonModal("x")); err != nil {
		t.Fatalf("a refused view used the trigger up: %v", err)
	}
	wantCode(t, open(trigger, reasonModal("x")), "exchanged_trigger_id")
	trigger = fresh()
	hand.Advance(3*time.Second + time.Millisecond)
	wantCode(t, open(trigger, reasonModal("x")), "expired_trigger_id")
}

func TestViewsAreUpdatedAndClosed(t *testing.T) {
	sim, client := start(t, nil)
	a := newApp(t, sim, fine)
	if _, err := sim.Press(t.Context(), slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ask(t, client), Button: "reject"}); err != nil {
		t.Fatal(err)
	}
	opened, err := client.OpenViewContext(t.Context(), a.last(t).TriggerID, reasonModal("Loading"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.UpdateViewContext(t.Context(), reasonModal("Ready"), "", opened.Hash, opened.ID); err != nil {
		t.Fatal(err)
	}
	_, err = client.UpdateViewContext(t.Context(), reasonModal("Late"), "", opened.Hash, opened.ID)
	wantCode(t, err, "hash_conflict")
	_, err = client.UpdateViewContext(t.Context(), reasonModal("Lost"), "", "", "V0NONE")
	wantCode(t, err, "not_found")
	if got := sim.OpenViews("U0ANNA"); len(got) != 1 || got[0].Title != "Ready" || got[0].ID != opened.ID {
		t.Fatalf("got %+v", got)
	}
	if _, err := sim.CloseModal(t.Context(), "U0ANNA", opened.ID); err != nil {
		t.Fatal(err)
	}
	if got := a.last(t); got.Type != slack.InteractionTypeViewClosed || got.View.ID != opened.ID {
		t.Errorf("got %+v, want view_closed", got)
	}
}

func TestASlashCommandIsTypedAndAnswered(t *testing.T) {
	for _, c := range []struct{ name, answer, all, mine string }{
		{"silence", "", "", ""},
		{"text is for the typist", "on it", "", "on it"},
		{"JSON is for the typist", `{"text":"on it"}`, "", "on it"},
		{"JSON for everybody", `{"response_type":"in_channel","text":"on it"}`, "on it", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			sim, _ := start(t, nil)
			a := newApp(t, sim, func(slack.InteractionCallback) (int, string) { return http.StatusOK, c.answer })
			if _, err := sim.SlashCommand(t.Context(), slacksim.SlashCommand{
				User: "U0ANNA", Channel: "general", Command: "/slipway", Text: "status & more",
			}); err != nil {
				t.Fatal(err)
			}
			got := a.commands[0]
			if got.Command != "/slipway" || got.Text != "status & more" || got.UserID != "U0ANNA" || got.ChannelID != "C0PUBLIC" ||
				got.TriggerID == "" || got.ResponseURL == "" {
				t.Errorf("got command %+v", got)
			}
			texts := func(messages []slacksim.Message) string {
				var all []string
				for _, m := range messages {
					all = append(all, m.Text)
				}
				return strings.Join(all, ",")
			}
			if all, mine := texts(sim.Messages("general")), texts(sim.Ephemerals("U0ANNA")); all != c.all || mine != c.mine {
				t.Errorf("everybody sees %q, the typist %q; want %q and %q", all, mine, c.all, c.mine)
			}
		})
	}
}

func TestAnAppWithAnotherSecretRefuses(t *testing.T) {
	sim, client := start(t, func(o *slacksim.Options) { o.SigningSecret = "another" })
	a := newApp(t, sim, fine)
	answer, err := sim.Press(t.Context(), slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ask(t, client), Button: "reject"})
	if !errors.Is(err, slacksim.ErrRefused) || answer.Status != http.StatusUnauthorized || len(a.payloads) != 0 {
		t.Errorf("got %+v, %v; want 401", answer, err)
	}
}

func TestAnOldClockMakesAnOldSignature(t *testing.T) {
	hand := &clock{now: time.Now().Add(-6 * time.Minute)}
	sim, client := start(t, func(o *slacksim.Options) { o.Clock = hand.Now })
	newApp(t, sim, fine)
	if _, err := sim.Press(t.Context(), slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ask(t, client), Button: "reject"}); !errors.Is(err, slacksim.ErrRefused) {
		t.Errorf("got %v, want %v by the verifier", err, slacksim.ErrRefused)
	}
}

func ExampleSign() {
	// The example of https://docs.slack.dev/authentication/verifying-requests-from-slack
	fmt.Println(slacksim.Sign("8f742231b10e8888abcd99yyyzzz85a5", "1531420618", []byte("token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c")))
	// Output: v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503
}

func TestAButtonForSomeIsNotThereForOthers(t *testing.T) {
	sim, client := start(t, nil)
	newApp(t, sim, fine)
	button := slack.NewButtonBlockElement("retry", "1", plain("Retry"))
	button.VisibleToUserIDs = []string{"U0ANNA"}
	_, ts := post(t, client, "C0DEPLOYS", slack.MsgOptionText("x", false), slack.MsgOptionBlocks(slack.NewActionBlock("a", button)))
	press := slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ts, Button: "Retry"}
	if _, err := sim.Press(t.Context(), press); err != nil {
		t.Error(err)
	}
	press.User = "U0BEN"
	if _, err := sim.Press(t.Context(), press); !errors.Is(err, slacksim.ErrNoButton) {
		t.Errorf("got %v, want %v", err, slacksim.ErrNoButton)
	}
}

func TestAReplacementKeepsNothingOfTheOriginal(t *testing.T) {
	sim, client := start(t, nil)
	a := newApp(t, sim, fine)
	if _, err := sim.Press(t.Context(), slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ask(t, client), Button: "reject"}); err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(a.last(t).ResponseURL, "application/json", strings.NewReader(`{"replace_original":true,"text":"gone"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if m := sim.Messages("C0DEPLOYS")[0]; m.Text != "gone" || len(m.Blocks) != 0 {
		t.Errorf("got %+v", m)
	}
}

func TestAMenuInAMessageSendsItsOption(t *testing.T) {
	sim, client := start(t, nil)
	a := newApp(t, sim, fine)
	menu := slack.NewOptionsSelectBlockElement("static_select", plain("Which"), "which",
		slack.NewOptionBlockObject("v1", plain("One"), nil), slack.NewOptionBlockObject("v2", plain("Two"), nil))
	_, ts := post(t, client, "C0DEPLOYS", slack.MsgOptionText("x", false), slack.MsgOptionBlocks(slack.NewActionBlock("a", menu)))
	press := slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ts, Button: "which", Option: "v2"}
	if _, err := sim.Press(t.Context(), press); err != nil {
		t.Fatal(err)
	}
	if got := a.last(t).ActionCallback.BlockActions[0].SelectedOption.Value; got != "v2" {
		t.Errorf("got option %q", got)
	}
	press.Option = "v3"
	if _, err := sim.Press(t.Context(), press); err == nil {
		t.Error("an option that isn't offered was chosen")
	}
}
