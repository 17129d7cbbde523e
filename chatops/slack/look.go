package slack

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	pageSize    = 200
	maxPages    = 25
	clockSkew   = 5 * time.Minute // between Slack's clock and ours
	maxChannels = 5000            // names that are remembered
)

var channelID = regexp.MustCompile(`^[CGD][A-Z0-9]{4,}$`)

// sentBefore finds the message if an earlier attempt may have sent it. Its zero place
// says that it may be sent now.
func (c *Client) sentBefore(ctx context.Context, t *pipeline.Task, channel string, doubt bool) (place, error) {
	// A warning may stand for an attempt that nobody knows the end of, and the record of
	// a message that was sent before this process started may be on its way still.
	maybe := t.Unknown || doubt || warned(t)
	if !maybe && t.Attempt <= 1 && !t.Delivery.Created.Before(c.started) {
		return place{}, nil
	}
	at, err := c.look(ctx, channel, &t.Delivery, eventType, t.Delivery.ID)
	if err == nil {
		return at, nil
	}
	f, ok := pipeline.AsFailure(err)
	switch {
	case !ok:
		return place{}, err
	case f.Permanent && !maybe:
		return place{}, nil // nothing says that it was sent, and looking is not possible
	case f.Permanent && (t.Unknown || doubt):
		f.Detail = "The Slack message may have been sent, but Slipway cannot look for it, so it is not sent again. " + f.Detail
	}
	f.Unknown = maybe
	return place{}, f
}

// look searches the channel for a message about the delivery by its mark. Its zero place
// says that there is none.
func (c *Client) look(ctx context.Context, channel string, d *pipeline.Delivery, kind, mark string) (place, error) {
	id, err := c.channelID(ctx, channel)
	if err != nil {
		return place{}, err
	}
	me, err := c.identity(ctx)
	if err != nil {
		return place{}, err
	}
	p := api.GetConversationHistoryParameters{
		ChannelID: id, Limit: pageSize, IncludeAllMetadata: true,
		Oldest: fmt.Sprintf("%d.000000", max(0, d.Created.Add(-clockSkew).Unix())),
	}
	for range maxPages {
		if err := wait(ctx, c.limits.lookups); err != nil {
			return place{}, err
		}
		page, err := c.api.GetConversationHistoryContext(ctx, &p)
		if err == nil && !page.Ok {
			err = errNoAnswer
		}
		if err != nil {
			return place{}, c.failed(ctx, call{doing: "read the channel", channel: channel}, err)
		}
		for _, m := range page.Messages {
			if m.User == me.user && m.Metadata.EventType == kind && m.Metadata.EventPayload["id"] == mark {
				return place{channel: id, ts: m.Timestamp}, nil
			}
		}
		p.Cursor = page.ResponseMetaData.NextCursor
		if p.Cursor == "" {
			return place{}, nil
		}
	}
	return place{}, &pipeline.Failure{
		Code: pipeline.ReasonRefused, Permanent: true, Detail: "Too much was written in the channel since the delivery started",
	}
}

// channelID finds the id of a channel that is named; the history is read by id only.
func (c *Client) channelID(ctx context.Context, channel string) (string, error) {
	name := strings.TrimPrefix(channel, "#")
	if channelID.MatchString(name) {
		return name, nil
	}
	c.mu.Lock()
	id := c.channels[name]
	c.mu.Unlock()
	if id != "" {
		return id, nil
	}
	p := api.GetConversationsParameters{Types: []string{"public_channel", "private_channel"}, ExcludeArchived: true, Limit: 1000}
	for range maxPages {
		if err := wait(ctx, c.limits.lists); err != nil {
			return "", err
		}
		page, next, err := c.api.GetConversationsContext(ctx, &p)
		if err != nil {
			return "", c.failed(ctx, call{doing: "list the channels", channel: channel}, err)
		}
		for _, ch := range page {
			if ch.Name == name {
				c.learn(name, ch.ID)
				return ch.ID, nil
			}
		}
		if p.Cursor = next; next == "" {
			break
		}
	}
	return "", c.failed(ctx, call{doing: "find the channel", channel: channel}, api.SlackErrorResponse{Err: "channel_not_found"})
}

// learn remembers the id of a channel.
func (c *Client) learn(name, id string) {
	name = strings.TrimPrefix(name, "#")
	if id == "" || name == id {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.channels) >= maxChannels {
		clear(c.channels)
	}
	c.channels[name] = id
}
