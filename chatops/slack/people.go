package slack

import (
	"context"
	"fmt"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// GitLabUser tells who in GitLab a Slack user is: a username from the operator's map or,
// where that was opted in, the e-mail address that Slack has confirmed. One of the two is
// set. A permanent *pipeline.Failure refuses the person, with a sentence for them.
func (c *Client) GitLabUser(ctx context.Context, slackID string) (username, email string, err error) {
	if name := c.o.People[slackID]; name != "" {
		return name, "", nil
	}
	if !c.o.MatchEmail {
		return "", "", refused("Slipway does not know which GitLab user you are. Ask an operator to add %s under slack.people.", chatops.Line(slackID, 30))
	}
	me, err := c.identity(ctx)
	if err != nil {
		return "", "", sentence(err)
	}
	if err := wait(ctx, c.limits.lookups); err != nil {
		return "", "", err
	}
	u, err := c.api.GetUserInfoContext(ctx, slackID)
	if err == nil && u.ID == "" {
		err = errNoAnswer
	}
	if err != nil {
		return "", "", sentence(c.failed(ctx, call{doing: "look up a Slack user"}, err))
	}
	if why := stranger(u, slackID, me); why != "" {
		return "", "", refused("%s", why)
	}
	return "", u.Profile.Email, nil
}

// stranger says why a Slack user is not taken for who they say they are, "" if nothing speaks against it.
func stranger(u *api.User, slackID string, me identity) string {
	const ask = " Ask an operator to add you under slack.people."
	sameOrg := me.enterprise != "" && u.Enterprise.EnterpriseID == me.enterprise
	switch {
	case u.ID != slackID:
		return "Slack told of somebody else. Please try again."
	case u.Deleted:
		return "Your Slack account is deactivated."
	case u.IsBot || u.IsAppUser || u.IsWorkflowBot || u.IsConnectorBot || u.ID == "USLACKBOT":
		return "Bots cannot decide here."
	case u.IsRestricted || u.IsUltraRestricted:
		return "Guests of the Slack workspace cannot decide by their e-mail address." + ask
	case u.IsStranger || me.team == "" || u.TeamID != me.team && !sameOrg:
		return "You belong to another Slack workspace, whose e-mail addresses are not trusted here." + ask
	case u.Profile.Email == "":
		return "Slack does not show your e-mail address to Slipway; its app needs the scope users:read.email." + ask
	case !u.IsEmailConfirmed:
		return "Slack has not confirmed your e-mail address." + ask
	}
	return ""
}

func refused(format string, args ...any) error {
	return &pipeline.Failure{Code: pipeline.ReasonRefused, Permanent: true, Detail: fmt.Sprintf(format, args...)}
}

// sentence ends a permanent failure's words as a sentence: the person reads them as they are.
func sentence(err error) error {
	if f, ok := pipeline.AsFailure(err); ok && f.Permanent {
		f.Detail = "Slipway could not look up who you are: " + f.Detail + "."
	}
	return err
}
