package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	maxDetail   = 500              // characters of a failure's words
	defaultWait = 30 * time.Second // after a 429 that does not say how long
	longestWait = 10 * time.Minute
	tokenWait   = time.Minute // until a refused token is tried again: an operator may replace it
)

// errNoAnswer is an answer that says neither yes nor no: {"ok":false} without an error.
var errNoAnswer = errors.New("slack answered without a result")

// call says what was tried, for the words of its failure.
type call struct {
	doing   string // "send the message"
	channel string // for people: "#deploys"
	makes   bool   // it makes something, so that a lost answer leaves open whether it is there
}

// failed translates an error of the client into a *pipeline.Failure, or into ctx's error
// if the effect was withdrawn.
func (c *Client) failed(ctx context.Context, k call, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	f := &pipeline.Failure{Code: pipeline.ReasonUnreachable, Err: fmt.Errorf("%s: %w", k.doing, err)}
	var (
		limited *api.RateLimitedError
		status  api.StatusCodeError
		said    api.SlackErrorResponse
	)
	switch {
	case errors.As(err, &limited):
		busy(f, limited.RetryAfter)
	case errors.As(err, &status):
		byStatus(f, k, status.Code)
	case errors.As(err, &said):
		byCode(f, k, said)
	case errors.Is(err, errNoAnswer):
		f.Detail, f.Unknown = "Slack's answer says neither yes nor no", k.makes
	default:
		f.Detail, f.Unknown = networkWords(err), k.makes && mayHaveArrived(err)
	}
	f.Detail = chatops.Line(f.Detail, maxDetail)
	return f
}

func busy(f *pipeline.Failure, after time.Duration) {
	f.Detail, f.After = "Slack is asked too often and wants a pause", min(after, longestWait)
	if after <= 0 {
		f.After = defaultWait
	}
}

func byStatus(f *pipeline.Failure, k call, status int) {
	switch {
	case status == http.StatusTooManyRequests:
		busy(f, 0)
	case status >= 500 || status == http.StatusRequestTimeout:
		f.Detail, f.Unknown = fmt.Sprintf("Slack answers %d", status), k.makes
	case status >= 300 && status < 400:
		f.Code, f.Permanent, f.Detail = pipeline.ReasonRefused, true, "Slack's address redirects elsewhere: check slack.api_url"
	default:
		f.Code, f.Permanent, f.Detail = pipeline.ReasonRefused, true, fmt.Sprintf("Slack refuses to %s with status %d", k.doing, status)
	}
}

// byCode knows the names of errors in https://docs.slack.dev/reference/methods.
func byCode(f *pipeline.Failure, k call, said api.SlackErrorResponse) {
	f.Code, f.Permanent = pipeline.ReasonRefused, true
	in := ""
	if k.channel != "" {
		in = " " + k.channel
	}
	switch said.Err {
	case "ratelimited", "rate_limited":
		f.Code, f.Permanent = pipeline.ReasonUnreachable, false
		busy(f, 0)
	case "internal_error", "fatal_error", "service_unavailable", "request_timeout":
		f.Code, f.Permanent, f.Unknown = pipeline.ReasonUnreachable, false, k.makes
		f.Detail = "Slack has trouble of its own (" + said.Err + ")"
	case "invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive", "no_permission", "not_allowed_token_type":
		// A new token takes effect without another change of the delivery.
		f.Permanent, f.After = false, tokenWait
		f.Detail = "Slack does not accept Slipway's bot token (" + said.Err + "): check slack.token, or install the app again"
	case "missing_scope":
		f.Detail = "Slipway's Slack app lacks the scope " + orWords(said.Needed, "that this takes") + ": add it to the app and install it again"
	case "channel_not_found", "not_in_channel":
		f.Detail = "Slipway cannot use the Slack channel" + in + ": check its name, and invite the app there with /invite"
	case "is_archived", "is_inactive":
		f.Detail = "The Slack channel" + in + " is archived: name another one"
	case "restricted_action", "restricted_action_read_only_channel", "restricted_action_thread_only_channel", "restricted_action_non_threadable_channel":
		f.Detail = "Slack's settings do not let Slipway post in the channel" + in
	case "message_not_found":
		f.Detail = "Somebody deleted the Slack message, and it is not sent again"
	case "cant_update_message", "edit_window_closed":
		f.Detail = "Slack does not let Slipway edit its message (" + said.Err + "), so what it shows is old"
	case "user_not_in_channel":
		f.Detail = "The person is not in the Slack channel" + in
	case "user_not_found":
		f.Detail = "Slack does not know this user"
	case "expired_trigger_id", "trigger_expired", "exchanged_trigger_id", "invalid_trigger_id":
		f.Detail = "Slack waited too long for the form: press the button again"
	default:
		f.Detail = fmt.Sprintf("Slack refuses to %s: %s", k.doing, said.Err)
		if more := said.ResponseMetadata.Messages; len(more) > 0 {
			f.Detail += " (" + strings.Join(more, "; ") + ")"
		}
	}
}

func orWords(s, words string) string {
	if s == "" {
		return words
	}
	return s
}

func networkWords(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return "Slack cannot be reached: its name is not found"
	case strings.Contains(err.Error(), "connection refused"):
		return "Slack cannot be reached: connection refused"
	case strings.Contains(err.Error(), "x509:") || strings.Contains(err.Error(), "tls:"):
		return "Slack cannot be reached: its certificate is not trusted"
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return "Slack did not answer in time"
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "Slack's answer is not understood"
	}
	return "the connection to Slack broke"
}

// mayHaveArrived tells that the request may have reached Slack.
func mayHaveArrived(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return !errors.As(err, &dns) && (!errors.As(err, &op) || op.Op != "dial")
}
