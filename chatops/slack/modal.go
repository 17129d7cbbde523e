package slack

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	callbackReject = "reject"
	blockReason    = "reason"
	inputReason    = "text"
	maxReason      = 500  // characters
	maxMetadata    = 3000 // of a view's private metadata
)

// origin is what the form carries until it comes back: where the button was.
type origin struct {
	Token       string `json:"token"`
	Channel     string `json:"channel,omitempty"`
	ResponseURL string `json:"response_url,omitempty"`
}

// openReject asks for the reason. Nothing is recorded before it is given.
func (i *Interactions) openReject(ctx context.Context, p payload, a action, delivery, stage string) (Result, error) {
	meta, err := json.Marshal(origin{Token: a.Value, Channel: p.Channel.ID, ResponseURL: i.trusted(p.ResponseURL)})
	if err != nil {
		return Result{}, fmt.Errorf("encode the form's origin: %w", err)
	}
	if len(meta) > maxMetadata {
		i.tell(ctx, p, "This question's name is too long for a form. Please reject it by a comment on the merge request.")
		return Result{Kind: KindIgnored}, nil
	}
	r, err := i.c.api.OpenViewContext(ctx, p.TriggerID, formFor(a, stage, string(meta)))
	if err == nil && !r.Ok {
		err = errNoAnswer
	}
	if err == nil {
		return Result{Kind: KindModal, Delivery: delivery, Fresh: true}, nil
	}
	err = i.c.failed(ctx, call{doing: "open the form for the reason"}, err)
	words := "the form for the reason did not open"
	if f, ok := pipeline.AsFailure(err); ok {
		words = f.Detail
	}
	if i.tell(ctx, p, "Nothing was rejected: "+words+".") {
		i.c.log.WarnContext(ctx, "the form for a rejection could not be opened", "delivery", delivery, "error", err)
		return Result{Kind: KindIgnored, Delivery: delivery}, nil
	}
	return Result{}, fmt.Errorf("open the form for a rejection of %s: %w", delivery, err)
}

// formFor words the form by the button that was pressed. The block's id only chooses words:
// what is rejected is in the token.
func formFor(a action, stage, meta string) api.ModalViewRequest {
	name := chatops.Clip(stage, 100)
	if strings.HasPrefix(a.BlockID, blockBack) {
		return form(meta, "Leave it as it is", "Leave it", "Why is there no rollback?",
			"What stage "+name+" has brought stays, and the delivery ends. Everybody sees who decided that and why.")
	}
	return form(meta, "Reject "+stage, "Reject", "What has to change before this may go on?",
		"The delivery ends at stage "+name+". Everybody sees who rejected it and why.")
}

func form(meta, title, submit, hint, words string) api.ModalViewRequest {
	input := api.NewPlainTextInputBlockElement(plain(hint, 150), inputReason)
	input.Multiline, input.MaxLength = true, maxReason
	return api.ModalViewRequest{
		Type: api.VTModal, CallbackID: callbackReject, PrivateMetadata: meta,
		Title: plain(title, 24), Submit: plain(submit, 24), Close: plain("Back", 24),
		Blocks: api.Blocks{BlockSet: []api.Block{
			api.NewSectionBlock(plain(words, 1000), nil, nil),
			api.NewInputBlock(blockReason, plain("Reason", 100), nil, input),
		}},
	}
}

// submitted takes in a reason.
func (i *Interactions) submitted(ctx context.Context, p payload) (Result, error) {
	var from origin
	if err := json.Unmarshal([]byte(p.View.PrivateMetadata), &from); err != nil || p.User.ID == "" {
		return invalid("Slipway does not understand this form any more. Please reject by a comment on the merge request.")
	}
	delivery, stage, attempt, err := pipeline.ParseToken(from.Token)
	if err != nil {
		return invalid("Slipway does not understand this form any more. Please reject by a comment on the merge request.")
	}
	reason := strings.TrimSpace(p.View.State.Values[blockReason][inputReason].Value)
	switch {
	case chatops.Line(reason, maxReason) == "":
		return invalid("Say in a few words why.")
	case utf8.RuneCountInString(reason) > maxReason:
		return invalid(fmt.Sprintf("Use at most %d characters.", maxReason))
	}
	r := pipeline.Request{
		What: pipeline.VerbReject, Via: pipeline.ViaSlack, Stage: stage, Attempt: attempt, Reason: chatops.Line(reason, maxReason),
		SlackID: p.User.ID, Channel: clipped(from.Channel), ResponseURL: i.trusted(from.ResponseURL), At: i.c.o.Now().UTC(),
	}
	r.Key = fmt.Sprintf("slack/%s/%s/%s/%s", p.Team.ID, p.User.ID, clipped(p.View.ID), from.Token)
	fresh, err := i.inbox.Deliver(ctx, delivery, r.Key, pipeline.Requested{Request: r})
	if err != nil {
		return Result{}, fmt.Errorf("record a rejection of %s: %w", delivery, err)
	}
	return jsonResult(Result{Kind: KindReject, Delivery: delivery, Fresh: fresh}, api.NewClearViewSubmissionResponse())
}

// invalid sends the form back with what is wrong, beside the field.
func invalid(words string) (Result, error) {
	return jsonResult(Result{Kind: KindInvalid}, api.NewErrorsViewSubmissionResponse(map[string]string{blockReason: words}))
}
