package slack

import (
	"context"
	"net/url"
	"strings"
	"time"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	responseLife = 25 * time.Minute // of a response address; Slack says thirty
	answerTries  = 3
)

// answer tells one person what became of their request, where nobody else sees it.
func (c *Client) answer(ctx context.Context, t *pipeline.Task, a pipeline.Answer) error {
	r := a.Request
	if r.Via != pipeline.ViaSlack || a.Text == "" {
		return nil // the message itself shows what became of it
	}
	text := "✋ " + escape(a.Text, maxSection)
	if a.Taken {
		text = "ℹ️ " + escape(a.Text, maxSection)
	}
	err := c.respond(ctx, r.ResponseURL, r.At, text)
	if err != nil && r.Channel != "" && r.SlackID != "" && ctx.Err() == nil {
		err = c.whisper(ctx, r.Channel, r.SlackID, text)
	}
	if f, ok := pipeline.AsFailure(err); ok && t.Attempt >= answerTries {
		f.Permanent = true // a late answer helps nobody
	}
	return err
}

// respond answers by the address that came with a press, if it is one and young enough.
func (c *Client) respond(ctx context.Context, address string, at time.Time, text string) error {
	k := call{doing: "answer the person"}
	if !c.isResponseURL(address) || !at.IsZero() && c.o.Now().Sub(at) > responseLife {
		return &pipeline.Failure{Code: pipeline.ReasonRefused, Permanent: true, Detail: "Slack gave no address for an answer, or it is too old"}
	}
	_, _, _, err := c.api.SendMessageContext(ctx, "", api.MsgOptionText(text, false), api.MsgOptionResponseURL(address, api.ResponseTypeEphemeral))
	if err != nil {
		return c.failed(ctx, k, err)
	}
	return nil
}

func (c *Client) whisper(ctx context.Context, channel, user, text string) error {
	if err := wait(ctx, c.limits.ephemerals); err != nil {
		return err
	}
	ts, err := c.api.PostEphemeralContext(ctx, channel, user, api.MsgOptionText(text, false), api.MsgOptionParse(false))
	if err == nil && ts == "" {
		err = errNoAnswer
	}
	if err != nil {
		return c.failed(ctx, call{doing: "answer the person", channel: channel}, err)
	}
	return nil
}

// isResponseURL tells that the address is Slack's, or on the host of the API that was configured.
func (c *Client) isResponseURL(address string) bool {
	u, err := url.Parse(address)
	if err != nil || len(address) > maxURL || u.User != nil {
		return false
	}
	if configured, err := url.Parse(c.o.APIURL); err == nil && u.Scheme == configured.Scheme && strings.EqualFold(u.Host, configured.Host) {
		return true
	}
	host := strings.ToLower(u.Host)
	return u.Scheme == "https" && (host == "hooks.slack.com" || host == "hooks.slack-gov.com")
}
