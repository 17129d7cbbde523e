package slack

import (
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func replies(sim *slacksim.Sim) []slacksim.Message {
	var found []slacksim.Message
	for _, m := range sim.Messages("C0DEPLOYS") {
		if m.ThreadTS != "" && m.ThreadTS != m.TS {
			found = append(found, m)
		}
	}
	return found
}

// askOf is the effect that calls people to the scene's question.
func askOf(t *testing.T, w *write, attempt int, unknown bool) *pipeline.Task {
	t.Helper()
	v := pipeline.NewView(w.plan, &w.d)
	if len(v.Questions) != 1 {
		t.Fatalf("the scene asks %d questions", len(v.Questions))
	}
	q := v.Questions[0]
	return &pipeline.Task{Plan: w.plan, Delivery: w.d, Attempt: attempt, Unknown: unknown, Effect: pipeline.Effect{
		Key: "ask", Slot: "message", Do: pipeline.Ask{Stage: q.Stage, Attempt: q.Attempt},
	}}
}

func TestAQuestionCallsPeopleOnce(t *testing.T) {
	sim, c := workspace(t, nil, nil)
	w := newWrite(asking)
	w.must(t, c)
	if _, err := c.Execute(t.Context(), askOf(t, w, 1, false)); err != nil {
		t.Fatal(err)
	}
	// The outcome was lost, and the next process tries again.
	if _, err := c.Execute(t.Context(), askOf(t, w, 2, true)); err != nil {
		t.Fatal(err)
	}
	got := replies(sim)
	if len(got) != 1 || !got[0].Broadcast || got[0].ThreadTS != w.d.Handles.TS {
		t.Fatalf("replies: %+v", got)
	}
	if !strings.Contains(got[0].Text, "Question at") {
		t.Errorf("the reply says %q", got[0].Text)
	}
}

func TestAQuestionThatWasSettledCallsNobody(t *testing.T) {
	sim, c := workspace(t, nil, nil)
	w := newWrite(asking)
	w.must(t, c)
	task := askOf(t, w, 1, false)
	w.becomes(func(*pipeline.Plan, *pipeline.Delivery) {})
	task.Delivery = w.d
	if _, err := c.Execute(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	if got := replies(sim); len(got) != 0 {
		t.Errorf("replies: %+v", got)
	}
}

func TestAQuestionWaitsForItsMessage(t *testing.T) {
	_, c := workspace(t, nil, nil)
	w := newWrite(asking)
	_, err := c.Execute(t.Context(), askOf(t, w, 1, false))
	if f, ok := pipeline.AsFailure(err); !ok || f.Permanent || f.After == 0 {
		t.Errorf("got %v, want to try again later", err)
	}
}
