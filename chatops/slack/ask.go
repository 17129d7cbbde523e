package slack

import (
	"context"
	"time"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// questionType marks the replies that call people to a question.
const questionType = "slipway_question"

const maxAsk = 500 // characters of the question

// ask calls people to a question that is open. Slack tells nobody of an edited message, so a
// reply in its thread is sent once for each asking, and shown in the channel too.
func (c *Client) ask(ctx context.Context, t *pipeline.Task, a pipeline.Ask) error {
	q, open := openQuestion(t, a)
	known := c.known.get(t.Delivery.ID)
	at := place{channel: t.Delivery.Handles.Channel, ts: t.Delivery.Handles.TS}
	if at.ts == "" {
		at = place{channel: known.channel, ts: known.ts}
	}
	switch {
	case !open, at.ts == "" && warned(t):
		return nil // it was settled meanwhile, or there is no message to reply to
	case at.ts == "":
		return &pipeline.Failure{Code: pipeline.ReasonTryingAgain, Detail: "the message that has the buttons is not sent yet", After: 2 * time.Second}
	}
	if t.Unknown {
		found, err := c.look(ctx, at.channel, &t.Delivery, questionType, q.Token)
		if err != nil || found.ts != "" {
			return err
		}
	}
	if err := wait(ctx, c.limits.postsTo(at.channel)); err != nil {
		return err
	}
	text := "🙋 Question at " + bold(escape(q.Stage, maxLabel)) + ": " + escape(q.Ask, maxAsk) + " It is answered in the message above."
	_, ts, err := c.api.PostMessageContext(ctx, at.channel,
		api.MsgOptionText(text, false), api.MsgOptionTS(at.ts), api.MsgOptionBroadcast(), api.MsgOptionParse(false),
		api.MsgOptionDisableLinkUnfurl(), api.MsgOptionDisableMediaUnfurl(),
		api.MsgOptionMetadata(api.SlackMetadata{EventType: questionType, EventPayload: map[string]any{"id": q.Token}}))
	if err == nil && ts == "" {
		err = errNoAnswer
	}
	if err != nil {
		return c.failed(ctx, call{doing: "call people to the question", channel: at.channel, makes: true}, err)
	}
	return nil
}

// openQuestion is the question that is meant, if it still waits for an answer.
func openQuestion(t *pipeline.Task, a pipeline.Ask) (pipeline.Question, bool) {
	for _, q := range pipeline.NewView(t.Plan, &t.Delivery).Questions {
		if q.Stage == a.Stage && q.Attempt == a.Attempt {
			return q, true
		}
	}
	return pipeline.Question{}, false
}
