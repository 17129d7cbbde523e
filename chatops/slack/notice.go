package slack

import (
	"context"
	"strings"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// noticeType marks the messages of notify stages, so that one is found whose sending nobody recorded.
const noticeType = "slipway_notice"

const (
	maxNotice      = 2800 // characters of the text after escaping; Slack takes 4,000 with the link
	maxNoticeLines = 40
)

// notice sends a stage's message to the channel that it names, once. It is a message of its own, beside the one that
// is kept true about the delivery.
func (c *Client) notice(ctx context.Context, t *pipeline.Task, do pipeline.SendNotice) (pipeline.Event, error) {
	def, ok := t.Delivery.Definition(t.Plan, do.Stage)
	if !ok || def.Notify == nil || def.Notify.Channel == "" {
		return nil, &pipeline.Failure{Code: pipeline.ReasonOther, Permanent: true, Detail: "stage " + do.Stage + " names no channel to tell"}
	}
	channel, mark := def.Notify.Channel, t.Delivery.ID+"/"+t.Effect.Key
	if t.Unknown {
		at, err := c.look(ctx, channel, &t.Delivery, noticeType, mark)
		if err != nil {
			return nil, notSentTwice(err)
		}
		if at.ts != "" {
			return c.noticed(ctx, do, at), nil
		}
	}
	if err := wait(ctx, c.limits.postsTo(channel)); err != nil {
		return nil, err
	}
	to, ts, err := c.api.PostMessageContext(ctx, channel,
		api.MsgOptionText(c.noticeText(t, def.Notify.Text), false), api.MsgOptionParse(false),
		api.MsgOptionDisableLinkUnfurl(), api.MsgOptionDisableMediaUnfurl(),
		api.MsgOptionMetadata(api.SlackMetadata{EventType: noticeType, EventPayload: map[string]any{"id": mark}}))
	if err == nil && (ts == "" || to == "") {
		err = errNoAnswer
	}
	if err != nil {
		return nil, c.failed(ctx, call{doing: "send the stage's message", channel: channel, makes: true}, err)
	}
	c.learn(channel, to)
	return c.noticed(ctx, do, place{channel: to, ts: ts}), nil
}

func (c *Client) noticed(ctx context.Context, do pipeline.SendNotice, at place) pipeline.Event {
	return pipeline.NoticeSent{Stage: do.Stage, Attempt: do.Attempt, URL: c.permalink(ctx, at)}
}

// notSentTwice says what follows when an earlier try may have sent the message, and nobody can look.
func notSentTwice(err error) error {
	f, ok := pipeline.AsFailure(err)
	if !ok {
		return err
	}
	f.Unknown = true
	if f.Permanent {
		f.Detail = chatops.Line("The stage's message may have been sent, but Slipway cannot look for it, so it is not sent again. "+f.Detail, maxDetail)
	}
	return f
}

// noticeText is the stage's text, line by line, with a link to the delivery below it.
func (c *Client) noticeText(t *pipeline.Task, text string) string {
	var lines []string
	left := maxNotice
	for line := range strings.Lines(text) {
		if line = escape(line, left); line == "" {
			continue
		}
		if lines, left = append(lines, line), left-len([]rune(line))-1; left <= 0 || len(lines) == maxNoticeLines {
			break
		}
	}
	card := chatops.NewCard(pipeline.NewView(t.Plan, &t.Delivery), c.o.ConsoleURL, "")
	about := link(card.Title, maxLabel)
	if c.o.ConsoleURL != "" {
		about = link(chatops.Fragment{Text: card.Title.Text, URL: strings.TrimRight(c.o.ConsoleURL, "/") + "/deliveries/" + t.Delivery.ID}, maxLabel)
	}
	return strings.Join(append(lines, about), "\n")
}
