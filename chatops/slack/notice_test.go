package slack

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// telling is the effect that sends the message of a notify stage.
func telling(n pipeline.Notify, attempt int, unknown bool) *pipeline.Task {
	plan, d := scene()
	plan.Stages = append(plan.Stages, pipeline.Stage{Name: "tell", Kind: pipeline.KindNotify, Notify: &n})
	d.Stages = append(d.Stages, pipeline.StageState{Name: "tell", Status: pipeline.StageRunning, Attempt: 1})
	return &pipeline.Task{Plan: plan, Delivery: d, Attempt: attempt, Unknown: unknown, Effect: pipeline.Effect{
		Key: "tell/1/notice", Do: pipeline.SendNotice{Stage: "tell", Attempt: 1},
	}}
}

func TestANoticeIsSentToItsChannel(t *testing.T) {
	sim, c := workspace(t, nil, nil)
	e, err := c.Execute(t.Context(), telling(pipeline.Notify{Channel: "#general", Text: "Shop 3f2a91c0 is live.\n\nThanks, *ada* & <bob>!"}, 1, false))
	if err != nil {
		t.Fatal(err)
	}
	all := sim.Messages("C0PUBLIC")
	if len(all) != 1 {
		t.Fatalf("the channel shows %d messages", len(all))
	}
	want := "Shop 3f2a91c0 is live.\nThanks, ∗ada∗ &amp; &lt;bob&gt;!\n<https://slipway.example.com/deliveries/7-12-3f2a91c0|!12 Add the cart>"
	if diff := cmp.Diff(want, all[0].Text); diff != "" {
		t.Error(diff)
	}
	url := strings.TrimSuffix(sim.URL(), "/api/") + "/archives/C0PUBLIC/p" + strings.ReplaceAll(all[0].TS, ".", "")
	if diff := cmp.Diff(pipeline.Event(pipeline.NoticeSent{Stage: "tell", Attempt: 1, URL: url}), e); diff != "" {
		t.Error(diff)
	}
}

func TestANoticeWithoutPagesLinksTheMergeRequest(t *testing.T) {
	sim, c := workspace(t, nil, func(o *Options) { o.ConsoleURL = "" })
	if _, err := c.Execute(t.Context(), telling(pipeline.Notify{Channel: "#shop-deploys", Text: "Hi"}, 1, false)); err != nil {
		t.Fatal(err)
	}
	if got, want := only(t, sim).Text, "Hi\n<https://gitlab.example.com/shop/api/-/merge_requests/12|!12 Add the cart>"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestANoticeCallsNobodyAndForgesNothing(t *testing.T) {
	sim, c := workspace(t, nil, nil)
	text := "@channel <!here> <!subteam^S012AB3CD> <@U0ANNA> <https://evil.example.com|Approve> ```code``` \x00\u202e" + strings.Repeat("long & longer ", 1000)
	if _, err := c.Execute(t.Context(), telling(pipeline.Notify{Channel: "#shop-deploys", Text: text}, 1, false)); err != nil {
		t.Fatal(err)
	}
	got := only(t, sim).Text
	for _, bad := range []string{"@channel", "<!", "<@", "<https://evil", "```", "\x00", "\u202e"} {
		if strings.Contains(got, bad) {
			t.Errorf("%q is in the message", bad)
		}
	}
	if n := utf8.RuneCountInString(got); n > 3500 || !strings.HasSuffix(got, "|!12 Add the cart>") {
		t.Errorf("%d characters, ending in %q", n, got[len(got)-50:])
	}
}

func TestANoticeIsSentOnceAlsoIfTheAnswerGotLost(t *testing.T) {
	for name, fault := range map[string]slacksim.Fault{
		"it was sent": {Drop: true, After: true}, "it was not": {Drop: true}, "the answer says nothing": {Body: `{"ok":false}`, After: true},
	} {
		t.Run(name, func(t *testing.T) {
			sim, c := workspace(t, nil, nil)
			n := pipeline.Notify{Channel: "#shop-deploys", Text: "Hi"}
			other := telling(n, 1, false)
			other.Effect.Key = "tell/2/notice" // another attempt of the stage has a message of its own
			if _, err := c.Execute(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			fault.Method = "chat.postMessage"
			sim.Fail(fault)
			_, err := c.Execute(t.Context(), telling(n, 1, false))
			if f := mustFail(t, err); f.Permanent || !f.Unknown {
				t.Fatalf("got %+v", f)
			}
			e, err := c.Execute(t.Context(), telling(n, 2, true))
			if err != nil {
				t.Fatal(err)
			}
			all := sim.Messages("C0DEPLOYS")
			sent, _ := e.(pipeline.NoticeSent)
			if len(all) != 2 || !strings.HasSuffix(sent.URL, strings.ReplaceAll(all[1].TS, ".", "")) {
				t.Errorf("%d messages, and %+v", len(all), e)
			}
		})
	}
}

func TestANoticeThatCannotBeSentSaysWhy(t *testing.T) {
	sim, c := workspace(t, nil, nil)
	_, err := c.Execute(t.Context(), telling(pipeline.Notify{Channel: "#secret", Text: "Hi"}, 1, false))
	if f := mustFail(t, err); !f.Permanent || !strings.Contains(f.Detail, "/invite") {
		t.Errorf("got %+v", f)
	}
	sim.Fail(slacksim.Fault{Method: "conversations.history", Error: "not_in_channel"})
	_, err = c.Execute(t.Context(), telling(pipeline.Notify{Channel: "#general", Text: "Hi"}, 2, true))
	if f := mustFail(t, err); !f.Permanent || !strings.Contains(f.Detail, "may have been sent") || len(sim.Messages("C0PUBLIC")) != 0 {
		t.Errorf("got %+v", f)
	}
	_, err = c.Execute(t.Context(), telling(pipeline.Notify{}, 1, false))
	if f := mustFail(t, err); !f.Permanent || !strings.Contains(f.Detail, "names no channel") {
		t.Errorf("got %+v", f)
	}
}
