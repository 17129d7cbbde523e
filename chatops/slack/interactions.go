package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	maxPayload = 1 << 20
	ackTime    = 2500 * time.Millisecond // Slack wants its answer within three seconds
	tellTime   = time.Second
	maxActions = 10
)

// Inbox makes an event for a delivery durable. It reports whether the event is new: one
// with the same key that came before is not delivered again.
type Inbox interface {
	Deliver(ctx context.Context, deliveryID, key string, e pipeline.Event) (bool, error)
}

// Interactions takes in what people press, submit and type in Slack.
type Interactions struct {
	c     *Client
	inbox Inbox
}

// NewInteractions makes the receiver of the client's app.
func NewInteractions(c *Client, inbox Inbox) (*Interactions, error) {
	if c == nil || inbox == nil {
		return nil, errors.New("new slack interactions: the client and the inbox are required")
	}
	return &Interactions{c: c, inbox: inbox}, nil
}

// Kind says what an interaction was, for counting.
type Kind string

const (
	KindApprove Kind = "approve" // an approval is durable
	KindModal   Kind = "modal"   // the form for a reason is open
	KindReject  Kind = "reject"  // a rejection is durable
	KindOffer   Kind = "offer"   // a wish to roll back or to promote is durable
	KindInvalid Kind = "invalid" // the form goes back with errors
	KindCommand Kind = "command"
	KindIgnored Kind = "ignored" // nothing that Slipway knows
)

// Result is what became of an interaction, and the body that acknowledges it with 200.
type Result struct {
	Kind        Kind
	Delivery    string // "" if none is meant
	Fresh       bool   // it had not been taken in before
	ContentType string // "" if there is no body
	Body        []byte
}

// Refusal is a request that was not taken in: its HTTP status, and words that may be shown.
type Refusal struct {
	Status int
	Reason string
	Err    error // for the log
}

func (r *Refusal) Error() string {
	if r.Err != nil {
		return r.Reason + ": " + r.Err.Error()
	}
	return r.Reason
}

func (r *Refusal) Unwrap() error { return r.Err }

// Handle takes in one request of Slack. When it returns without an error, what the person
// decided is durable. A *Refusal has the status to answer with; any other error means 500,
// so that the person sees in Slack that nothing was recorded.
func (i *Interactions) Handle(ctx context.Context, header http.Header, body []byte) (Result, error) {
	if len(body) > maxPayload {
		return Result{}, &Refusal{Status: http.StatusRequestEntityTooLarge, Reason: "the body is larger than 1 MiB"}
	}
	if err := i.c.verify(header, body); err != nil {
		return Result{}, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return Result{}, &Refusal{Status: http.StatusBadRequest, Reason: "the body is not a form", Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, ackTime)
	defer cancel()
	if form.Get("command") != "" {
		return i.command()
	}
	if form.Get("payload") == "" {
		return Result{Kind: KindIgnored}, nil // Slack's check of the address
	}
	p, err := parsePayload([]byte(form.Get("payload")))
	if err != nil {
		return Result{}, &Refusal{Status: http.StatusBadRequest, Reason: "the payload is not understood", Err: err}
	}
	switch p.Type {
	case "block_actions":
		return i.pressed(ctx, p)
	case "view_submission":
		if p.View.CallbackID == callbackReject {
			return i.submitted(ctx, p)
		}
	}
	i.c.log.InfoContext(ctx, "ignored a Slack interaction", "type", clipped(p.Type))
	return Result{Kind: KindIgnored}, nil
}

// verify checks that Slack sent the body, and not long ago.
func (c *Client) verify(header http.Header, body []byte) error {
	refuse := func(reason string, err error) error {
		return &Refusal{Status: http.StatusUnauthorized, Reason: reason, Err: err}
	}
	v, err := api.NewSecretsVerifier(header, c.o.SigningSecret)
	switch {
	case errors.Is(err, api.ErrMissingHeaders):
		return refuse("the headers X-Slack-Signature and X-Slack-Request-Timestamp are missing", nil)
	case errors.Is(err, api.ErrExpiredTimestamp):
		return refuse("the request's time is more than five minutes away from this server's", nil)
	case err != nil:
		return refuse("the signature or its time is malformed", err)
	}
	if _, err := v.Write(body); err != nil {
		return refuse("the signature cannot be computed", err)
	}
	if v.Ensure() != nil {
		return refuse("the signature does not match: check slack.signing_secret", nil)
	}
	return nil
}

// payload is the part of Slack's interaction payloads that matters here.
// Source: https://docs.slack.dev/reference/interaction-payloads
type payload struct {
	Type        string              `json:"type"`
	TriggerID   string              `json:"trigger_id"`
	ResponseURL string              `json:"response_url"`
	Team        struct{ ID string } `json:"team"`
	User        struct{ ID string } `json:"user"`
	Channel     struct{ ID string } `json:"channel"`
	Container   struct {
		ChannelID string `json:"channel_id"`
	} `json:"container"`
	Actions []action `json:"actions"`
	View    struct {
		ID              string `json:"id"`
		CallbackID      string `json:"callback_id"`
		PrivateMetadata string `json:"private_metadata"`
		State           struct {
			Values map[string]map[string]struct{ Value string } `json:"values"`
		} `json:"state"`
	} `json:"view"`
}

type action struct {
	ActionID string `json:"action_id"`
	BlockID  string `json:"block_id"`
	ActionTS string `json:"action_ts"`
	Value    string `json:"value"`
}

func parsePayload(raw []byte) (payload, error) {
	var p payload
	if err := json.Unmarshal(raw, &p); err != nil {
		return payload{}, fmt.Errorf("parse payload: %w", err)
	}
	switch {
	case p.Type == "":
		return payload{}, errors.New("parse payload: it has no type")
	case len(p.Actions) > maxActions:
		return payload{}, errors.New("parse payload: too many actions")
	case len(p.User.ID) > 50 || len(p.Team.ID) > 50 || len(p.Channel.ID) > 50:
		return payload{}, errors.New("parse payload: an id is too long")
	}
	if p.Channel.ID == "" {
		p.Channel.ID = p.Container.ChannelID
	}
	return p, nil
}

// pressed takes in a press of a button.
func (i *Interactions) pressed(ctx context.Context, p payload) (Result, error) {
	for _, a := range p.Actions {
		switch a.ActionID {
		case actionApprove, actionReject:
			return i.judged(ctx, p, a)
		case actionRollback, actionPromote:
			return i.wished(ctx, p, a)
		}
	}
	return Result{Kind: KindIgnored}, nil
}

// judged takes in an answer to a question.
func (i *Interactions) judged(ctx context.Context, p payload, a action) (Result, error) {
	delivery, stage, attempt, err := pipeline.ParseToken(a.Value)
	if err != nil || len(a.Value) > maxValue || p.User.ID == "" {
		return i.garbled(ctx, p)
	}
	if a.ActionID == actionReject {
		return i.openReject(ctx, p, a, delivery, stage)
	}
	r := i.request(p, a)
	r.What, r.Stage, r.Attempt = pipeline.VerbApprove, stage, attempt
	fresh, err := i.inbox.Deliver(ctx, delivery, r.Key, pipeline.Requested{Request: r})
	if err != nil {
		return Result{}, fmt.Errorf("record an approval of %s: %w", delivery, err)
	}
	return Result{Kind: KindApprove, Delivery: delivery, Fresh: fresh}, nil
}

// wished takes in a press of a button that rolls back or promotes. The core refuses it where
// something else runs by now.
func (i *Interactions) wished(ctx context.Context, p payload, a action) (Result, error) {
	delivery, wish, err := chatops.ParseOffer(a.Value)
	if err != nil || string(wish.What) != a.ActionID || len(a.Value) > maxValue || p.User.ID == "" {
		return i.garbled(ctx, p)
	}
	r := i.request(p, a)
	r.What, r.Environment, r.Release = wish.What, wish.Environment, wish.Release
	fresh, err := i.inbox.Deliver(ctx, delivery, r.Key, pipeline.Requested{Request: r})
	if err != nil {
		return Result{}, fmt.Errorf("record a wish about %s: %w", delivery, err)
	}
	return Result{Kind: KindOffer, Delivery: delivery, Fresh: fresh}, nil
}

// request is a wish as far as the press tells, with the key by which it counts once.
func (i *Interactions) request(p payload, a action) pipeline.Request {
	return pipeline.Request{
		Key: fmt.Sprintf("slack/%s/%s/%s/%s", p.Team.ID, p.User.ID, clipped(a.ActionTS), a.Value), Via: pipeline.ViaSlack,
		SlackID: p.User.ID, Channel: p.Channel.ID, ResponseURL: i.trusted(p.ResponseURL), At: i.c.o.Now().UTC(),
	}
}

func (i *Interactions) garbled(ctx context.Context, p payload) (Result, error) {
	i.tell(ctx, p, "Slipway does not understand this button any more. Please use a comment on the merge request.")
	return Result{Kind: KindIgnored}, nil
}

// trusted keeps an address for answers only if it is Slack's.
func (i *Interactions) trusted(address string) string {
	if i.c.isResponseURL(address) {
		return address
	}
	return ""
}

// tell answers whoever pressed, and reports whether that worked.
func (i *Interactions) tell(ctx context.Context, p payload, words string) bool {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	if err := i.c.respond(ctx, p.ResponseURL, time.Time{}, "✋ "+escape(words, maxSection)); err != nil {
		i.c.log.WarnContext(ctx, "a person in Slack could not be answered", "error", err)
		return false
	}
	return true
}

// command answers /slipway: where to look. It changes nothing.
func (i *Interactions) command() (Result, error) {
	text := "Slipway shows each delivery in a message of its own and asks there. Commands are typed as comments on the merge request: " +
		"`@slipway help` lists them."
	if i.c.o.ConsoleURL != "" {
		if address, ok := address(i.c.o.ConsoleURL); ok {
			text = "All deliveries: <" + address + "|" + address + ">\n" + text
		}
	}
	return jsonResult(Result{Kind: KindCommand, Fresh: true}, map[string]string{"response_type": api.ResponseTypeEphemeral, "text": text})
}

func jsonResult(r Result, body any) (Result, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return Result{}, fmt.Errorf("encode an answer for slack: %w", err)
	}
	r.ContentType, r.Body = "application/json", raw
	return r, nil
}

// clipped bounds a word of a payload that is kept or logged.
func clipped(s string) string { return s[:min(len(s), 50)] }
