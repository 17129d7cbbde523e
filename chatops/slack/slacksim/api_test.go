package slacksim_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
)

func TestAMessageIsPostedEditedReadAndDeleted(t *testing.T) {
	sim, client := start(t, nil)
	ctx := t.Context()
	channel, ts := post(t, client, "#shop-deploys", slack.MsgOptionText("Ship it?", false),
		slack.MsgOptionBlocks(question()...),
		slack.MsgOptionMetadata(slack.SlackMetadata{EventType: "slipway_delivery", EventPayload: map[string]any{"id": "d1"}}))
	if channel != "C0DEPLOYS" {
		t.Errorf("got channel %s, want the id for a name", channel)
	}
	if _, _, text, err := client.UpdateMessageContext(ctx, channel, ts, slack.MsgOptionText("Shipped", false),
		slack.MsgOptionBlocks(section("Shipped by Anna"))); err != nil || text != "Shipped" {
		t.Fatalf("update: %q, %v", text, err)
	}
	history, err := client.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{
		ChannelID: channel, IncludeAllMetadata: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(history.Messages) != 1 {
		t.Fatalf("got %d messages, want 1", len(history.Messages))
	}
	got := history.Messages[0]
	if got.Text != "Shipped" || got.Timestamp != ts || got.BotID == "" || got.Edited == nil || len(got.Blocks.BlockSet) != 1 {
		t.Errorf("got %+v", got.Msg)
	}
	if got.Metadata.EventType != "slipway_delivery" || got.Metadata.EventPayload["id"] != "d1" {
		t.Errorf("got metadata %+v, want what was posted", got.Metadata)
	}
	versions := sim.History("shop-deploys", ts)
	if len(versions) != 2 || len(versions[0].Buttons()) != 2 || len(versions[1].Buttons()) != 0 {
		t.Errorf("got versions %+v, want the buttons gone in the second", versions)
	}
	link, err := client.GetPermalinkContext(ctx, &slack.PermalinkParameters{Channel: channel, Ts: ts})
	if err != nil || !strings.HasSuffix(link, "/archives/C0DEPLOYS/p"+strings.ReplaceAll(ts, ".", "")) {
		t.Errorf("got permalink %q, %v", link, err)
	}
	item := slack.NewRefToMessage(channel, ts)
	if err := client.AddReactionContext(ctx, "rocket", item); err != nil {
		t.Fatal(err)
	}
	wantCode(t, client.AddReactionContext(ctx, "rocket", item), "already_reacted")
	if _, _, err := client.DeleteMessageContext(ctx, channel, ts); err != nil {
		t.Fatal(err)
	}
	if left := sim.Messages("C0DEPLOYS"); len(left) != 0 {
		t.Errorf("got %+v after deletion", left)
	}
	_, _, _, err = client.UpdateMessageContext(ctx, channel, ts, slack.MsgOptionText("again", false))
	wantCode(t, err, "message_not_found")
}

func TestAnUpdateKeepsWhatItDoesNotSend(t *testing.T) {
	sim, client := start(t, nil)
	_, ts := post(t, client, "C0DEPLOYS", slack.MsgOptionText("Ship it?", false), slack.MsgOptionBlocks(question()...),
		slack.MsgOptionMetadata(slack.SlackMetadata{EventType: "e", EventPayload: map[string]any{"a": "b"}}))
	for _, step := range []struct {
		name    string
		options []slack.MsgOption
		buttons int
	}{
		{"text alone keeps the buttons", []slack.MsgOption{slack.MsgOptionText("done", false)}, 2},
		{"an empty list of blocks takes them away", []slack.MsgOption{slack.MsgOptionText("done", false), slack.MsgOptionBlocks()}, 0},
	} {
		if _, _, _, err := client.UpdateMessageContext(t.Context(), "C0DEPLOYS", ts, step.options...); err != nil {
			t.Fatal(err)
		}
		m := sim.Messages("C0DEPLOYS")[0]
		if len(m.Buttons()) != step.buttons || m.Metadata == nil {
			t.Errorf("%s: got %d buttons and metadata %v", step.name, len(m.Buttons()), m.Metadata)
		}
	}
}

func TestRefusalsOfPosting(t *testing.T) {
	sim, client := start(t, nil)
	byAnna, err := sim.PostAs("U0ANNA", "shop-deploys", "hello")
	if err != nil {
		t.Fatal(err)
	}
	_, mine := post(t, client, "C0DEPLOYS", slack.MsgOptionText("mine", false))
	text := slack.MsgOptionText("hi", false)
	update := func(channel, ts string, o ...slack.MsgOption) error {
		_, _, _, err := client.UpdateMessageContext(t.Context(), channel, ts, o...)
		return err
	}
	send := func(channel string, o ...slack.MsgOption) error {
		_, _, err := client.PostMessageContext(t.Context(), channel, o...)
		return err
	}
	metadata := func(m slack.SlackMetadata) slack.MsgOption { return slack.MsgOptionMetadata(m) }
	long := slack.MsgOptionText(strings.Repeat("ä", 4001), false)
	for _, c := range []struct{ name, want, got string }{
		{"an unknown channel", "channel_not_found", code(send("C0NOWHERE", text))},
		{"a private channel without an invitation", "channel_not_found", code(send("C0SECRET", text))},
		{"an archived channel", "is_archived", code(send("C0OLD", text))},
		{"a public channel uninvited is fine with chat:write.public", "", code(send("general", text))},
		{"a private channel with an invitation is fine", "", code(send("ops", text))},
		{"a person is written to directly", "", code(send("U0ANNA", text))},
		{"nobody writes to the deleted", "channel_not_found", code(send("U0GONE", text))},
		{"no text", "no_text", code(send("C0DEPLOYS"))},
		{"blocks without text are fine", "", code(send("C0DEPLOYS", slack.MsgOptionBlocks(section("x"))))},
		{"4,001 characters", "msg_too_long", code(send("C0DEPLOYS", long))},
		{"metadata without a payload", "invalid_metadata_schema", code(send("C0DEPLOYS", text, metadata(slack.SlackMetadata{EventType: "x"})))},
		{"metadata of 20 KB", "metadata_too_large", code(send("C0DEPLOYS", text, metadata(slack.SlackMetadata{
			EventType: "x", EventPayload: map[string]any{"a": strings.Repeat("x", 20<<10)},
		})))},
		{"an update by the channel's name", "channel_not_found", code(update("shop-deploys", mine, text))},
		{"an update of somebody else's message", "cant_update_message", code(update("C0DEPLOYS", byAnna, text))},
		{"an update of no message", "message_not_found", code(update("C0DEPLOYS", "1.000001", text))},
		{"an update in an archived channel", "is_inactive", code(update("C0OLD", mine, text))},
		{"an update that is too long", "msg_too_long", code(update("C0DEPLOYS", mine, long))},
		{"an ephemeral message for somebody outside", "user_not_in_channel", code(send("ops", text, slack.MsgOptionPostEphemeral("U0BEN")))},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.got != c.want {
				t.Errorf("got %q, want %q", c.got, c.want)
			}
		})
	}
}

// code is Slack's name of the error, or the error's text when it isn't one of Slack's.
func code(err error) string {
	var refused slack.SlackErrorResponse
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refused):
		return refused.Err
	}
	return err.Error()
}

func TestTokensAndScopes(t *testing.T) {
	sim, client := start(t, nil)
	ctx := t.Context()
	who, err := client.AuthTestContext(ctx)
	if err != nil || who.UserID != "U0BOTUSER" || who.BotID == "" || who.TeamID == "" {
		t.Fatalf("got %+v, %v", who, err)
	}
	_, err = slack.New("xoxb-wrong", slack.OptionAPIURL(sim.URL())).AuthTestContext(ctx)
	wantCode(t, err, "invalid_auth")
	_, err = slack.New("", slack.OptionAPIURL(sim.URL())).AuthTestContext(ctx)
	wantCode(t, err, "not_authed")

	sim.SetScopes("chat:write", "users:read")
	_, _, err = client.PostMessageContext(ctx, "C0PUBLIC", slack.MsgOptionText("hi", false))
	wantCode(t, err, "not_in_channel")
	_, err = client.GetUserByEmailContext(ctx, "anna@example.com")
	wantCode(t, err, "missing_scope")
	var refused slack.SlackErrorResponse
	errors.As(err, &refused)
	if refused.Needed != "users:read.email" || refused.Provided != "chat:write,users:read" {
		t.Errorf("got needed %q, provided %q", refused.Needed, refused.Provided)
	}
	anna, err := client.GetUserInfoContext(ctx, "U0ANNA")
	if err != nil || anna.Profile.Email != "" {
		t.Errorf("got e-mail %q, %v without the scope", anna.Profile.Email, err)
	}
	_, err = client.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{ChannelID: "C0DEPLOYS"})
	wantCode(t, err, "missing_scope")
}

func TestPeopleAreLookedUp(t *testing.T) {
	_, client := start(t, nil)
	ctx := t.Context()
	anna, err := client.GetUserByEmailContext(ctx, "Anna@example.com")
	if err != nil || anna.ID != "U0ANNA" || !anna.IsEmailConfirmed || anna.Profile.Email != "anna@example.com" {
		t.Fatalf("got %+v, %v", anna, err)
	}
	ben, err := client.GetUserByEmailContext(ctx, "ben@example.com")
	if err != nil || ben.IsEmailConfirmed {
		t.Errorf("got %+v, %v; want an unconfirmed e-mail", ben, err)
	}
	guest, err := client.GetUserInfoContext(ctx, "U0GUEST")
	if err != nil || !guest.IsRestricted {
		t.Errorf("got %+v, %v; want a guest", guest, err)
	}
	_, err = client.GetUserByEmailContext(ctx, "gone@example.com")
	wantCode(t, err, "users_not_found")
	_, err = client.GetUserInfoContext(ctx, "U0NOBODY")
	wantCode(t, err, "user_not_found")
	users, err := client.GetUsersContext(ctx, slack.GetUsersOptionLimit(2))
	if err != nil || len(users) != 5 || !users[0].IsBot || !users[4].Deleted {
		t.Errorf("got %d users, %v; want all five over three pages", len(users), err)
	}
}

func TestChannelsAreFound(t *testing.T) {
	_, client := start(t, nil)
	ctx := t.Context()
	names := func(p slack.GetConversationsParameters) (out []string) {
		for {
			channels, next, err := client.GetConversationsContext(ctx, &p)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range channels {
				out = append(out, c.Name)
			}
			if next == "" {
				return out
			}
			p.Cursor = next
		}
	}
	both := []string{"public_channel", "private_channel"}
	if diff := cmp.Diff([]string{"shop-deploys", "general", "ops", "old"}, names(slack.GetConversationsParameters{Types: both, Limit: 1})); diff != "" {
		t.Errorf("all pages (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"shop-deploys", "general"}, names(slack.GetConversationsParameters{ExcludeArchived: true})); diff != "" {
		t.Errorf("public and alive (-want +got):\n%s", diff)
	}
	info, err := client.GetConversationInfoContext(ctx, &slack.GetConversationInfoInput{ChannelID: "C0PUBLIC"})
	if err != nil || info.Name != "general" || info.IsMember {
		t.Errorf("got %+v, %v", info, err)
	}
	_, err = client.GetConversationInfoContext(ctx, &slack.GetConversationInfoInput{ChannelID: "C0SECRET"})
	wantCode(t, err, "channel_not_found")
	_, err = client.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{ChannelID: "C0PUBLIC"})
	wantCode(t, err, "not_in_channel")
}

func TestHistoryIsCutByTimeAndPage(t *testing.T) {
	_, client := start(t, nil)
	var stamps []string
	for _, text := range []string{"a", "b", "c", "d"} {
		_, ts := post(t, client, "C0DEPLOYS", slack.MsgOptionText(text, false))
		stamps = append(stamps, ts)
	}
	post(t, client, "C0DEPLOYS", slack.MsgOptionText("in a thread", false), slack.MsgOptionTS(stamps[0]))
	for _, c := range []struct {
		name string
		ask  slack.GetConversationHistoryParameters
		want string
		more bool
	}{
		{"everything, newest first, without threads", slack.GetConversationHistoryParameters{}, "dcba", false},
		{"a page", slack.GetConversationHistoryParameters{Limit: 3}, "dcb", true},
		{"after oldest", slack.GetConversationHistoryParameters{Oldest: stamps[1]}, "dc", false},
		{"from oldest", slack.GetConversationHistoryParameters{Oldest: stamps[1], Inclusive: true}, "dcb", false},
		{"between", slack.GetConversationHistoryParameters{Oldest: stamps[0], Latest: stamps[2]}, "b", false},
		{"one message by its timestamp", slack.GetConversationHistoryParameters{Oldest: stamps[2], Latest: stamps[2], Inclusive: true, Limit: 1}, "c", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.ask.ChannelID = "C0DEPLOYS"
			got, err := client.GetConversationHistoryContext(t.Context(), &c.ask)
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			for _, m := range got.Messages {
				text.WriteString(m.Text)
			}
			if text.String() != c.want || got.HasMore != c.more {
				t.Errorf("got %q, more %v; want %q, %v", text.String(), got.HasMore, c.want, c.more)
			}
		})
	}
}

func TestHTTPFormsThatAreRefused(t *testing.T) {
	sim, _ := start(t, nil)
	for _, c := range []struct{ name, method, kind, body, want string }{
		{"JSON that isn't", "chat.postMessage", "application/json", "{", `"error":"invalid_json"`},
		{"an unknown method", "chat.shout", "application/x-www-form-urlencoded", "a=b", `"error":"unknown_method"`},
		{"no content type", "chat.postMessage", "", "text=x", `"error":"missing_post_type"`},
		{"another content type", "chat.postMessage", "text/csv", "text=x", `"error":"invalid_post_type"`},
		{"JSON with blocks as an array", "chat.postMessage", "application/json",
			`{"channel":"C0DEPLOYS","blocks":[{"type":"divider"}]}`, `"ok":true`},
		{"JSON with blocks as a string", "chat.postMessage", "application/json",
			`{"channel":"C0DEPLOYS","blocks":"[{\"type\":\"divider\"}]"}`, `"ok":true`},
		{"blocks that are no array", "chat.postMessage", "application/json",
			`{"channel":"C0DEPLOYS","text":"x","blocks":{"type":"divider"}}`, `"error":"invalid_blocks_format"`},
		{"a body of 2 MB", "chat.postMessage", "application/json", strings.Repeat(" ", 2<<20), `"error":"request_too_large"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, sim.URL()+c.method, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+token)
			if c.kind != "" {
				request.Header.Set("Content-Type", c.kind)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			body, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), c.want) {
				t.Errorf("got %d %s, %v; want 200 with %s", response.StatusCode, body, err, c.want)
			}
		})
	}
	response, err := http.Get(sim.URL() + "auth.test?token=" + url.QueryEscape(token))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, _ := io.ReadAll(response.Body); !strings.Contains(string(body), "not_authed") {
		t.Errorf("a token in the query gave %s", body)
	}
}

func TestFaults(t *testing.T) {
	sim, client := start(t, nil)
	say := func(text string) error {
		_, _, err := client.PostMessageContext(t.Context(), "C0DEPLOYS", slack.MsgOptionText(text, false))
		return err
	}
	shows := func(text string) bool {
		for _, m := range sim.Messages("C0DEPLOYS") {
			if m.Text == text {
				return true
			}
		}
		return false
	}
	for _, c := range []struct {
		name  string
		fault slacksim.Fault
		done  bool
		check func(error) bool
	}{
		{"an error of Slack's", slacksim.Fault{Error: "fatal_error"}, false,
			func(err error) bool { return code(err) == "fatal_error" }},
		{"a server error", slacksim.Fault{Status: 503}, false,
			func(err error) bool { e := (slack.StatusCodeError{}); return errors.As(err, &e) && e.Code == 503 }},
		{"too many requests", slacksim.Fault{RetryAfter: 7 * time.Second}, false,
			func(err error) bool {
				e := (*slack.RateLimitedError)(nil)
				return errors.As(err, &e) && e.RetryAfter == 7*time.Second
			}},
		{"no answer", slacksim.Fault{Drop: true}, false, func(err error) bool { return err != nil }},
		{"no answer though it was done", slacksim.Fault{Drop: true, After: true}, true, func(err error) bool { return err != nil }},
		{"a server error though it was done", slacksim.Fault{Status: 502, After: true}, true,
			func(err error) bool { e := (slack.StatusCodeError{}); return errors.As(err, &e) && e.Code == 502 }},
		{"not ok without an error, which the client takes for success", slacksim.Fault{Body: `{"ok":false}`}, false,
			func(err error) bool { return err == nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.fault.Method, c.fault.Times = "chat.postMessage", 2
			sim.Fail(c.fault)
			for range 2 {
				if err := say(c.name); !c.check(err) {
					t.Errorf("got %v", err)
				}
			}
			if shows(c.name) != c.done {
				t.Errorf("the message is shown: %v, want %v", shows(c.name), c.done)
			}
			if err := say("well again"); err != nil {
				t.Errorf("the fault isn't used up: %v", err)
			}
		})
	}
}

func TestAHeldAnswerComesWhenItIsLetGo(t *testing.T) {
	sim, client := start(t, nil)
	gate := make(chan struct{})
	sim.Fail(slacksim.Fault{Method: "chat.postMessage", Hold: gate})
	done := make(chan error, 1)
	go func() {
		_, _, err := client.PostMessageContext(t.Context(), "C0DEPLOYS", slack.MsgOptionText("late", false))
		done <- err
	}()
	if err := sim.Await(t.Context(), func(s slacksim.Snapshot) bool { return len(s.Channels[0].Messages) == 1 }); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("the answer came early: %v", err)
	default:
	}
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestPublishedRateLimits(t *testing.T) {
	hand := &clock{now: time.Unix(1_800_000_000, 0)}
	_, client := start(t, func(o *slacksim.Options) { o.RateLimits, o.Clock = true, hand.Now })
	say := func(channel string) error {
		_, _, err := client.PostMessageContext(t.Context(), channel, slack.MsgOptionText("x", false))
		return err
	}
	for range 3 {
		if err := say("C0DEPLOYS"); err != nil {
			t.Fatal(err)
		}
	}
	limited := (*slack.RateLimitedError)(nil)
	if err := say("C0DEPLOYS"); !errors.As(err, &limited) || limited.RetryAfter != 3*time.Second {
		t.Fatalf("got %v, want to wait for 3 s", err)
	}
	if err := say("C0PUBLIC"); err != nil {
		t.Errorf("another channel is limited too: %v", err)
	}
	hand.Advance(3 * time.Second)
	if err := say("C0DEPLOYS"); err != nil {
		t.Errorf("still limited after the wait: %v", err)
	}
}
