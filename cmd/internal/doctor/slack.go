package doctor

import (
	"context"
	"strings"
)

func (s *Sources) slack(ctx context.Context) []Finding {
	if s.Slack == nil {
		return []Finding{fine("not configured: people answer by comments in GitLab")}
	}
	absent, err := s.Slack.MissingScopes(ctx)
	if err != nil {
		return []Finding{broken(words(err), "slipway slack manifest --url "+s.Config.URL+"  describes the app; its bot token goes into slack.token (docs/slack.md)")}
	}
	var out []Finding
	if len(absent) > 0 {
		out = append(out, broken("the app lacks the scopes "+strings.Join(absent, ", "),
			"add them at https://api.slack.com/apps under OAuth & Permissions, and install the app again"))
	} else {
		out = append(out, fine("the bot token works and has all scopes; whether the signing secret is right shows only when somebody presses a button"))
	}
	if channel := s.Config.Slack.Channel; channel != "" {
		f := s.channel(ctx, channel)
		f.Of = "slack " + channel
		out = append(out, f)
	}
	return out
}

func (s *Sources) channel(ctx context.Context, channel string) Finding {
	switch is, err := s.Slack.IsMember(ctx, channel); {
	case err != nil:
		return broken(words(err), "in the channel:  /invite @slipway", "or name another in the configuration:  slack: {channel: …}")
	case !is:
		return note("the app is not in the channel, so that it could not find its own message again after a crash", "in the channel:  /invite @slipway")
	}
	return fine("the app is in the channel")
}
