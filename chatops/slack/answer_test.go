package slack

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// answerTo carries out an answer to the last request of the inbox.
func (a *asked) answerTo(t *testing.T, attempt int, taken bool, text string, change func(*pipeline.Request)) error {
	t.Helper()
	all := a.inbox.requests()
	r := all[len(all)-1]
	if change != nil {
		change(&r)
	}
	_, err := a.c.Execute(t.Context(), &pipeline.Task{
		Plan: a.w.plan, Delivery: a.w.d, Attempt: attempt,
		Effect: pipeline.Effect{Key: "answer/r1", Do: pipeline.Answer{Request: r, Taken: taken, Text: text}},
	})
	return err
}

func pressed(t *testing.T) *asked {
	t.Helper()
	a := ask(t, nil, nil)
	if _, err := a.sim.Press(t.Context(), a.press("approve")); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOnlyThePersonSeesTheAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*pipeline.Request)
		by     string // the method that shows it
	}{
		{"by the address of the press", nil, "response_url"},
		{"by the channel when the address is old", func(r *pipeline.Request) { r.At = time.Now().Add(-26 * time.Minute) }, "chat.postEphemeral"},
		{"by the channel when there is no address", func(r *pipeline.Request) { r.ResponseURL = "" }, "chat.postEphemeral"},
		{"by the channel when the address is unknown", func(r *pipeline.Request) { r.ResponseURL += "x" }, "chat.postEphemeral"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := pressed(t)
			if err := a.answerTo(t, 1, false, "This was settled <!channel> already.", c.change); err != nil {
				t.Fatal(err)
			}
			got := a.sim.Ephemerals("U0ANNA")
			if len(got) != 1 || got[0].Text != "✋ This was settled &lt;!channel&gt; already." {
				t.Fatalf("the person sees %+v", got)
			}
			if h := a.sim.History("C0DEPLOYS", got[0].TS); len(h) != 1 || h[0].By != c.by {
				t.Errorf("shown by %+v", h)
			}
			only(t, a.sim)
		})
	}
}

func TestWhatNeedsNoAnswerGetsNone(t *testing.T) {
	a := pressed(t)
	before := len(a.sim.Calls())
	if err := a.answerTo(t, 1, true, "", nil); err != nil {
		t.Error(err)
	}
	if err := a.answerTo(t, 1, false, "no", func(r *pipeline.Request) { r.Via = pipeline.ViaComment }); err != nil {
		t.Error(err)
	}
	if n := len(a.sim.Calls()); n != before {
		t.Errorf("%d calls", n-before)
	}
	if err := a.answerTo(t, 1, true, "go-live: asking", nil); err != nil {
		t.Error(err)
	}
	if got := a.sim.Ephemerals("U0ANNA"); len(got) != 1 || !strings.HasPrefix(got[0].Text, "ℹ️ ") {
		t.Errorf("the person sees %+v", got)
	}
}

func TestAnAnswerIsNotTriedForEver(t *testing.T) {
	a := pressed(t)
	for attempt := 1; attempt <= answerTries; attempt++ {
		a.sim.Fail(slacksim.Fault{Method: "response_url", Status: 500})
		a.sim.Fail(slacksim.Fault{Method: "chat.postEphemeral", Status: 500})
		f := mustFail(t, a.answerTo(t, attempt, false, "no", nil))
		if f.Permanent != (attempt == answerTries) {
			t.Errorf("attempt %d: %+v", attempt, f)
		}
	}
	f := mustFail(t, a.answerTo(t, 1, false, "no", func(r *pipeline.Request) { r.ResponseURL, r.Channel = "", "" }))
	if !f.Permanent {
		t.Errorf("nowhere to answer: %+v", f)
	}
	f = mustFail(t, a.answerTo(t, 1, false, "no", func(r *pipeline.Request) { r.ResponseURL, r.SlackID = "", "U0NOBODY" }))
	if !f.Permanent || !strings.Contains(f.Detail, "not in the Slack channel") {
		t.Errorf("somebody who left: %+v", f)
	}
}

func TestAnswersGoToSlackOnly(t *testing.T) {
	a := pressed(t)
	called := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	defer elsewhere.Close()
	if err := a.answerTo(t, 1, false, "no", func(r *pipeline.Request) { r.ResponseURL = elsewhere.URL }); err != nil {
		t.Fatal(err)
	}
	if called {
		t.Error("another address was called")
	}
	for address, want := range map[string]bool{
		"https://hooks.slack.com/actions/T1/2/3": true, "https://hooks.slack-gov.com/actions/1": true, a.sim.URL() + "x": true,
		"http://hooks.slack.com/x": false, "https://hooks.slack.com.evil.example/": false, "https://u:p@hooks.slack.com/": false, "": false, "::": false,
	} {
		if got := a.c.isResponseURL(address); got != want {
			t.Errorf("%s: %t", address, got)
		}
	}
}

func TestOtherEffectsAreRefused(t *testing.T) {
	_, c := workspace(t, nil, nil)
	_, err := c.Execute(t.Context(), &pipeline.Task{Effect: pipeline.Effect{Do: pipeline.WriteNote{}}})
	if f := mustFail(t, err); !f.Permanent {
		t.Errorf("got %+v", f)
	}
}
