package slack

import (
	"context"
	"slices"
	"strings"

	api "github.com/slack-go/slack"
)

// MissingScopes asks Slack which scopes the token lacks. Slack does not always tell: then
// none is missing.
func (c *Client) MissingScopes(ctx context.Context) ([]string, error) {
	granted, err := c.introduce(ctx)
	if err != nil || len(granted) == 0 {
		return nil, err
	}
	var missing []string
	for _, scope := range scopes() {
		if !slices.Contains(granted, scope) && (c.o.MatchEmail || !strings.HasPrefix(scope, "users:")) {
			missing = append(missing, scope)
		}
	}
	return missing, nil
}

// IsMember tells whether the app is in a channel, which is named as a pipeline file does.
// A private channel that it is not in cannot be found.
func (c *Client) IsMember(ctx context.Context, channel string) (bool, error) {
	id, err := c.channelID(ctx, channel)
	if err != nil {
		return false, err
	}
	if err := wait(ctx, c.limits.lookups); err != nil {
		return false, err
	}
	info, err := c.api.GetConversationInfoContext(ctx, &api.GetConversationInfoInput{ChannelID: id})
	if err != nil {
		return false, c.failed(ctx, call{doing: "look at the channel", channel: channel}, err)
	}
	if info.IsArchived {
		return false, c.failed(ctx, call{doing: "look at the channel", channel: channel}, api.SlackErrorResponse{Err: "is_archived"})
	}
	return info.IsMember, nil
}
