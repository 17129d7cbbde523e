package slacksim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
)

func long(n int) string { return strings.Repeat("ß", n) }

func TestBlocksAreHeldAgainstBlockKit(t *testing.T) {
	text := func(kind, s string) string { return fmt.Sprintf(`{"type":%q,"text":%q}`, kind, s) }
	button := func(more string) string {
		return `[{"type":"actions","elements":[{"type":"button","text":` + text("plain_text", "Go") + more + `}]}]`
	}
	confirm := func(title, body, yes, no int) string {
		return button(fmt.Sprintf(`,"confirm":{"title":%s,"text":%s,"confirm":%s,"deny":%s}`,
			text("plain_text", long(title)), text("mrkdwn", long(body)), text("plain_text", long(yes)), text("plain_text", long(no))))
	}
	list := func(n int, item string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	chart := `[{"type":"data_visualization","title":"Errors","chart":{"type":"line",` +
		`"series":[{"name":"canary","data":[{"label":"1","value":2}]}],"axis_config":{"categories":["1"]}}}]`
	for _, c := range []struct{ name, blocks, pointer string }{
		{"50 blocks", list(50, `{"type":"divider"}`), ""},
		{"51 blocks", list(51, `{"type":"divider"}`), "/blocks"},
		{"section text of 3,000", `[{"type":"section","text":` + text("mrkdwn", long(3000)) + `}]`, ""},
		{"section text of 3,001", `[{"type":"section","text":` + text("mrkdwn", long(3001)) + `}]`, "/blocks/0/text/text"},
		{"empty section text", `[{"type":"section","text":` + text("mrkdwn", "") + `}]`, "/blocks/0/text/text"},
		{"a section of nothing", `[{"type":"section"}]`, "/blocks/0"},
		{"11 fields", `[{"type":"section","fields":` + list(11, text("mrkdwn", "x")) + `}]`, "/blocks/0/fields"},
		{"a field of 2,001", `[{"type":"section","fields":[` + text("mrkdwn", long(2001)) + `]}]`, "/blocks/0/fields/0/text"},
		{"header of 150", `[{"type":"header","text":` + text("plain_text", long(150)) + `}]`, ""},
		{"header of 151", `[{"type":"header","text":` + text("plain_text", long(151)) + `}]`, "/blocks/0/text/text"},
		{"header in mrkdwn", `[{"type":"header","text":` + text("mrkdwn", "x") + `}]`, "/blocks/0/text/type"},
		{"header without text", `[{"type":"header"}]`, "/blocks/0"},
		{"an unknown block", `[{"type":"marquee"}]`, "/blocks/0/type"},
		{"no type", `[{"text":"x"}]`, "/blocks/0"},
		{"an unknown property", `[{"type":"divider","colour":"red"}]`, "/blocks/0"},
		{"emoji in mrkdwn", `[{"type":"section","text":{"type":"mrkdwn","text":"x","emoji":true}}]`, "/blocks/0/text"},
		{"a block id twice", `[{"type":"divider","block_id":"a"},{"type":"divider","block_id":"a"}]`, "/blocks/1/block_id"},
		{"a block id of 256", `[{"type":"divider","block_id":"` + strings.Repeat("x", 256) + `"}]`, "/blocks/0/block_id"},
		{"a button", button(`,"action_id":"go","value":"1","style":"primary","url":"https://example.com/x"`), ""},
		{"button text of 76", `[{"type":"actions","elements":[{"type":"button","text":` + text("plain_text", long(76)) + `}]}]`, "/blocks/0/elements/0/text/text"},
		{"button text in mrkdwn", `[{"type":"actions","elements":[{"type":"button","text":` + text("mrkdwn", "Go") + `}]}]`, "/blocks/0/elements/0/text/type"},
		{"a value of 2,000", button(`,"value":"` + long(2000) + `"`), ""},
		{"a value of 2,001", button(`,"value":"` + long(2001) + `"`), "/blocks/0/elements/0/value"},
		{"a value that is a number", button(`,"value":1`), "/blocks/0/elements/0/value"},
		{"a style that isn't", button(`,"style":"default"`), "/blocks/0/elements/0/style"},
		{"a relative link", button(`,"url":"/deliveries/1"`), "/blocks/0/elements/0/url"},
		{"an action id twice in a block", `[{"type":"actions","elements":[` +
			`{"type":"button","action_id":"a","text":` + text("plain_text", "x") + `},{"type":"button","action_id":"a","text":` + text("plain_text", "y") + `}]}]`,
			"/blocks/0/elements/1/action_id"},
		{"26 buttons", `[{"type":"actions","elements":` + list(26, `{"type":"button","text":`+text("plain_text", "x")+`}`) + `}]`, "/blocks/0/elements"},
		{"no buttons", `[{"type":"actions","elements":[]}]`, "/blocks/0/elements"},
		{"an input among buttons", `[{"type":"actions","elements":[{"type":"plain_text_input"}]}]`, "/blocks/0/elements/0/type"},
		{"a full confirmation", confirm(100, 300, 30, 30), ""},
		{"a confirmation's title of 101", confirm(101, 1, 1, 1), "/blocks/0/elements/0/confirm/title/text"},
		{"a confirmation's text of 301", confirm(1, 301, 1, 1), "/blocks/0/elements/0/confirm/text/text"},
		{"a confirmation's yes of 31", confirm(1, 1, 31, 1), "/blocks/0/elements/0/confirm/confirm/text"},
		{"a confirmation's no of 31", confirm(1, 1, 1, 31), "/blocks/0/elements/0/confirm/deny/text"},
		{"a confirmation without a no", button(`,"confirm":{"title":` + text("plain_text", "x") + `,"text":` + text("mrkdwn", "x") + `,"confirm":` + text("plain_text", "x") + `}`), "/blocks/0/elements/0/confirm"},
		{"11 context elements", `[{"type":"context","elements":` + list(11, text("mrkdwn", "x")) + `}]`, "/blocks/0/elements"},
		{"an image without alt text", `[{"type":"image","image_url":"https://example.com/x.png"}]`, "/blocks/0"},
		{"a menu with 101 options", `[{"type":"actions","elements":[{"type":"static_select","options":` +
			list(101, `{"text":`+text("plain_text", "x")+`,"value":"x"}`) + `}]}]`, "/blocks/0/elements/0/options"},
		{"a menu without options", `[{"type":"actions","elements":[{"type":"static_select"}]}]`, "/blocks/0/elements/0"},
		{"a chart where charts aren't rolled out", chart, "/blocks/0/type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			problems := postRaw(t, nil, c.blocks)
			switch {
			case c.pointer == "" && len(problems) > 0:
				t.Errorf("got %q, want none", problems)
			case c.pointer != "" && !strings.Contains(strings.Join(problems, "\n"), "[json-pointer:"+c.pointer+"]"):
				t.Errorf("got %q, want one at %s", problems, c.pointer)
			}
		})
	}
	charts := func(o *slacksim.Options) { o.DataVisualization = true }
	if problems := postRaw(t, charts, chart); len(problems) > 0 {
		t.Errorf("a chart where charts are rolled out: %q", problems)
	}
	if problems := postRaw(t, charts, strings.Replace(chart, `["1"]`, `["2"]`, 1)); len(problems) == 0 {
		t.Error("a chart whose point has no category was taken")
	}
}

// postRaw posts blocks that the client's own types couldn't express, and returns what the simulator says about them.
func postRaw(t *testing.T, change func(*slacksim.Options), blocks string) []string {
	t.Helper()
	_, client := start(t, change)
	_, _, err := client.PostMessageContext(t.Context(), "C0DEPLOYS", slack.MsgOptionText("x", false),
		slack.MsgOptionBlocks(rawBlocks(t, blocks)...))
	if err == nil {
		return nil
	}
	var refused slack.SlackErrorResponse
	if !errors.As(err, &refused) || refused.Err != "invalid_blocks" {
		t.Fatalf("got %v, want invalid_blocks", err)
	}
	for _, m := range refused.ResponseMetadata.Messages {
		if !strings.HasPrefix(m, "[ERROR] ") {
			t.Errorf("message %q has no [ERROR]", m)
		}
	}
	return refused.ResponseMetadata.Messages
}

// rawBlock is a block that marshals as it is.
type rawBlock struct{ raw json.RawMessage }

func (rawBlock) BlockType() slack.MessageBlockType { return "raw" }
func (rawBlock) ID() string                        { return "" }
func (b rawBlock) MarshalJSON() ([]byte, error)    { return b.raw, nil }

func rawBlocks(t *testing.T, list string) (out []slack.Block) {
	t.Helper()
	var raws []json.RawMessage
	if err := json.Unmarshal([]byte(list), &raws); err != nil {
		t.Fatalf("%v in %s", err, list)
	}
	for _, raw := range raws {
		out = append(out, rawBlock{raw})
	}
	return out
}

func TestModalsAreHeldAgainstTheirLimits(t *testing.T) {
	with := func(change func(*slack.ModalViewRequest)) slack.ModalViewRequest {
		v := reasonModal("Reject")
		change(&v)
		return v
	}
	for _, c := range []struct {
		name string
		view slack.ModalViewRequest
		want string
	}{
		{"private metadata of 3,001", with(func(v *slack.ModalViewRequest) { v.PrivateMetadata = long(3001) }), "/view/private_metadata"},
		{"a title of 25", with(func(v *slack.ModalViewRequest) { v.Title = plain(long(25)) }), "/view/title/text"},
		{"a submit label of 25", with(func(v *slack.ModalViewRequest) { v.Submit = plain(long(25)) }), "/view/submit/text"},
		{"an input and no submit", with(func(v *slack.ModalViewRequest) { v.Submit = nil }), "missing required field: submit"},
		{"no title", with(func(v *slack.ModalViewRequest) { v.Title = nil }), "missing required field: title"},
		{"a home tab", with(func(v *slack.ModalViewRequest) { v.Type = slack.VTHomeTab }), "/view/type"},
		{"a callback id of 256", with(func(v *slack.ModalViewRequest) { v.CallbackID = long(256) }), "/view/callback_id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sim, client := start(t, nil)
			a := newApp(t, sim, fine)
			if _, err := sim.Press(t.Context(), slacksim.Press{User: "U0ANNA", Channel: "C0DEPLOYS", TS: ask(t, client), Button: "reject"}); err != nil {
				t.Fatal(err)
			}
			_, err := client.OpenViewContext(t.Context(), a.last(t).TriggerID, c.view)
			wantCode(t, err, "invalid_arguments")
			var refused slack.SlackErrorResponse
			errors.As(err, &refused)
			if all := strings.Join(refused.ResponseMetadata.Messages, "\n"); !strings.Contains(all, c.want) {
				t.Errorf("got %q, want %s", all, c.want)
			}
		})
	}
}

func TestMissingIDsAreFilledIn(t *testing.T) {
	sim, client := start(t, nil)
	post(t, client, "C0DEPLOYS", slack.MsgOptionText("x", false), slack.MsgOptionBlocks(
		slack.NewActionBlock("", slack.NewButtonBlockElement("", "1", plain("One")), slack.NewButtonBlockElement("", "2", plain("Two")))))
	all := sim.Messages("C0DEPLOYS")[0].Buttons()
	if len(all) != 2 || all[0].ActionID == "" || all[0].ActionID == all[1].ActionID || all[0].BlockID == "" {
		t.Errorf("got buttons %+v, want ids of their own", all)
	}
}

// FuzzBlocks sends arbitrary blocks: every answer is a Slack answer, and what is taken reads back as valid blocks.
func FuzzBlocks(f *testing.F) {
	seeds, err := filepath.Glob("testdata/blocks/*.json")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range seeds {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(raw))
	}
	f.Fuzz(func(t *testing.T, blocks string) {
		sim, err := slacksim.New(slacksim.Options{Token: token, SigningSecret: secret, PublicURL: "http://slack.example"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sim.AddChannel(slacksim.Channel{ID: "C0DEPLOYS", Name: "deploys", BotMember: true}); err != nil {
			t.Fatal(err)
		}
		say := func(blocks string) (answer struct {
			OK    bool   `json:"ok"`
			Error string `json:"error"`
		}) {
			form := url.Values{"token": {token}, "channel": {"C0DEPLOYS"}, "text": {"x"}, "blocks": {blocks}}
			r := httptest.NewRequest(http.MethodPost, "/api/chat.postMessage", strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			sim.Handler().ServeHTTP(w, r)
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.OK == (answer.Error != "") {
				t.Fatalf("got %s, %v", w.Body, err)
			}
			return answer
		}
		if !say(blocks).OK {
			return
		}
		shown, err := json.Marshal(sim.Messages("deploys")[0].Blocks)
		if err != nil {
			t.Fatal(err)
		}
		if string(shown) == "null" {
			return
		}
		if again := say(string(shown)); !again.OK {
			t.Errorf("%s was taken and is refused as it reads back, %s: %s", blocks, shown, again.Error)
		}
	})
}
