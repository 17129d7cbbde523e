package slack

import (
	"context"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// eventType marks our messages, so that one is found whose sending nobody recorded.
const eventType = "slipway_delivery"

// writeMessage makes the delivery's message true: it is sent once, and edited then.
func (c *Client) writeMessage(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	channel := c.o.DefaultChannel
	if t.Plan != nil && t.Plan.Channel != "" {
		channel = t.Plan.Channel
	}
	own := pipeline.WriteMessage{}.ActionKind()
	m := render(chatops.NewCard(pipeline.NewView(t.Plan, &t.Delivery), c.o.ConsoleURL, own))
	known := c.known.get(t.Delivery.ID)
	at := place{channel: t.Delivery.Handles.Channel, ts: t.Delivery.Handles.TS, url: t.Delivery.Handles.MessageURL}
	if at.ts == "" { // sent, perhaps, and the record of it is on its way
		at = place{channel: known.channel, ts: known.ts, url: known.url}
	}
	switch {
	case at.ts != "":
		return c.edit(ctx, t, at, m)
	case channel == "":
		return nil, nil
	}
	found, err := c.sentBefore(ctx, t, channel, known.doubt)
	if err != nil {
		return nil, err
	}
	if found.ts != "" {
		return c.edit(ctx, t, found, m)
	}
	return c.send(ctx, t, channel, m)
}

// place is where a message is.
type place struct{ channel, ts, url string }

func (p place) event() pipeline.Event {
	return pipeline.MessageSent{Channel: p.channel, TS: p.ts, URL: p.url}
}

// warned tells that the delivery carries a warning that its message is not as it should be.
func warned(t *pipeline.Task) bool {
	for _, w := range t.Delivery.Warnings {
		if w.Effect == (pipeline.WriteMessage{}).ActionKind() {
			return true
		}
	}
	return false
}

func (c *Client) send(ctx context.Context, t *pipeline.Task, channel string, m message) (pipeline.Event, error) {
	if err := wait(ctx, c.limits.postsTo(channel)); err != nil {
		return nil, err
	}
	id := t.Delivery.ID
	c.known.change(id, func(s *sent) { s.doubt = true })
	var to, ts string
	err := c.charted(m, func(m message) (err error) {
		to, ts, err = c.api.PostMessageContext(ctx, channel, m.options(id)...)
		return err
	})
	if err == nil && (ts == "" || to == "") {
		err = errNoAnswer
	}
	if err != nil {
		err = c.failed(ctx, call{doing: "send the message", channel: channel, makes: true}, err)
		if f, ok := pipeline.AsFailure(err); ok && !f.Unknown {
			c.known.change(id, func(s *sent) { s.doubt = false })
		}
		return nil, err
	}
	c.learn(channel, to)
	at := place{channel: to, ts: ts}
	c.known.change(id, func(s *sent) { *s = sent{channel: to, ts: ts, shown: m.sum()} })
	at.url = c.permalink(ctx, at)
	c.known.change(id, func(s *sent) { s.url = at.url })
	return at.event(), nil
}

func (c *Client) edit(ctx context.Context, t *pipeline.Task, at place, m message) (pipeline.Event, error) {
	id := t.Delivery.ID
	known := c.known.get(id)
	if known.ts != at.ts || known.shown != m.sum() {
		if err := wait(ctx, c.limits.updates); err != nil {
			return nil, err
		}
		c.known.change(id, func(s *sent) { *s = sent{channel: at.channel, ts: at.ts, url: at.url} })
		var ts string
		err := c.charted(m, func(m message) (err error) {
			_, ts, _, err = c.api.UpdateMessageContext(ctx, at.channel, at.ts, m.options(id)...)
			return err
		})
		if err == nil && ts == "" {
			err = errNoAnswer
		}
		if err != nil {
			return nil, c.failed(ctx, call{doing: "edit the message", channel: at.channel}, err)
		}
		c.known.change(id, func(s *sent) { s.shown = m.sum() })
	}
	if t.Delivery.Handles.TS == at.ts && !warned(t) {
		return nil, nil
	}
	if at.url == "" {
		at.url = c.permalink(ctx, at)
	}
	return at.event(), nil
}

// permalink is the address of a message; without it, the message is there all the same.
func (c *Client) permalink(ctx context.Context, at place) string {
	link, err := c.api.GetPermalinkContext(ctx, &api.PermalinkParameters{Channel: at.channel, Ts: at.ts})
	if err != nil {
		c.log.WarnContext(ctx, "the link of a Slack message could not be asked for", "channel", at.channel, "error", err)
		return ""
	}
	return link
}
