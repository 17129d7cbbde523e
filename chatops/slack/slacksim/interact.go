package slacksim

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrNoButton says that the message doesn't show what should be pressed.
	ErrNoButton = errors.New("no such button")
	// ErrNoMessage says that the user sees no such message.
	ErrNoMessage = errors.New("no such message")
	// ErrNeedsConfirm says that the button asks back and that Confirm wasn't set.
	ErrNeedsConfirm = errors.New("the button asks for confirmation")
	// ErrNoAck says that the app didn't answer in time, so that the person sees a warning sign.
	ErrNoAck = errors.New("the app did not acknowledge in time")
	// ErrRefused says that the app answered with a status other than 2xx, so that the person sees a warning sign.
	ErrRefused = errors.New("the app refused")
)

// Answer is what the app answered to an interaction.
type Answer struct {
	Status int
	Body   string
	Took   time.Duration
	// Errors are what the app said about fields of a modal, by block id; the modal stays open.
	Errors map[string]string
}

// Press says who presses what.
type Press struct {
	// User is the id of the person.
	User string
	// Channel by id or name, and TS of the message.
	Channel string
	TS      string
	// Button is the action id or the label, or "block id/action id" where that isn't enough.
	Button string
	// Option is the value to choose when the element is a menu.
	Option string
	// Confirm says yes to the button's question, if it has one.
	Confirm bool
	// Version presses a button of that rendering, counted from 1, as somebody does whose screen is behind; 0 is the
	// present one.
	Version int
	// Stale presses a button that is gone, in the newest older rendering that showed it.
	Stale bool
}

// Press presses a button of a message: it sends the app a signed block_actions payload.
// The Answer is filled in whenever the app answered, also beside an error.
func (s *Sim) Press(ctx context.Context, p Press) (Answer, error) {
	target, payload, err := s.preparePress(p)
	if err != nil {
		return Answer{}, fmt.Errorf("press %q in %s: %w", p.Button, p.Channel, err)
	}
	answer, err := s.send(ctx, "block_actions", target, url.Values{"payload": {payload}})
	if err != nil {
		return answer, fmt.Errorf("press %q in %s: %w", p.Button, p.Channel, err)
	}
	return answer, nil
}

func (s *Sim) preparePress(p Press) (target, payload string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publicURL == "" {
		return "", "", errors.New("the simulator has no address for response_url: start it or set PublicURL")
	}
	u, c := s.user(p.User), s.channelNamed(p.Channel)
	if u == nil || u.Deleted || c == nil || !c.visibleTo(u.ID) {
		return "", "", fmt.Errorf("%s sees no such channel", p.User)
	}
	m := s.messageFor(u.ID, c.ID, p.TS)
	if m == nil {
		return "", "", ErrNoMessage
	}
	v, e, err := m.pressable(p)
	if err != nil {
		return "", "", err
	}
	if e.Confirm != nil && !p.Confirm {
		return "", "", fmt.Errorf("%w: %s", ErrNeedsConfirm, e.Confirm.Title.Text)
	}
	action, err := s.action(e, p.Option)
	if err != nil {
		return "", "", err
	}
	body := s.envelope("block_actions", u, s.newTrigger(u.ID, false))
	body["container"] = fields{
		"type": "message", "message_ts": m.TS, "channel_id": c.ID, "is_ephemeral": m.EphemeralTo != "",
	}
	body["channel"] = fields{"id": c.ID, "name": c.payloadName()}
	if m.EphemeralTo == "" {
		body["message"] = s.wireMessage(m, v, true)
	}
	body["state"] = fields{"values": fields{}}
	body["response_url"] = s.newResponseURL(u.ID, c.ID, m.TS)
	body["actions"] = []fields{action}
	raw, err := json.Marshal(body)
	return s.interactURL, string(raw), err
}

// pressable finds the rendering and the element that a press means.
func (m *message) pressable(p Press) (Version, Element, error) {
	candidates := []Version{m.current()}
	switch {
	case p.Version < 0 || p.Version > len(m.versions):
		return Version{}, Element{}, fmt.Errorf("the message has no rendering %d", p.Version)
	case p.Version > 0:
		candidates = []Version{m.versions[p.Version-1]}
	case p.Stale:
		candidates = slices.Clone(m.versions[:len(m.versions)-1])
		slices.Reverse(candidates)
	}
	for _, v := range candidates {
		var found []Element
		for _, e := range interactive(v.Blocks) {
			if e.named(p.Button) && e.seenBy(p.User) {
				found = append(found, e)
			}
		}
		if len(found) > 1 {
			return v, Element{}, fmt.Errorf("%d elements match; use \"block id/action id\"", len(found))
		}
		if len(found) == 1 {
			return v, found[0], nil
		}
	}
	var shown []string
	for _, e := range interactive(m.Blocks) {
		shown = append(shown, e.ActionID)
	}
	return Version{}, Element{}, fmt.Errorf("%w; the message shows %q", ErrNoButton, shown)
}

func (e Element) named(name string) bool {
	return name != "" && (e.ActionID == name || e.Text.Text == name || e.BlockID+"/"+e.ActionID == name)
}

func (e Element) seenBy(userID string) bool {
	return len(e.VisibleTo) == 0 || slices.Contains(e.VisibleTo, userID)
}

// action is the member of a payload's "actions" for an element.
func (s *Sim) action(e Element, option string) (fields, error) {
	out := fields{
		"type": e.Type, "action_id": e.ActionID, "block_id": e.BlockID, "action_ts": formatTS(s.clock().UnixMicro()),
	}
	if e.Confirm != nil {
		out["confirm"] = e.Confirm
	}
	if e.Type != "button" {
		chosen, err := chosen(e, option)
		for key, value := range chosen {
			out[key] = value
		}
		return out, err
	}
	out["text"] = e.Text
	for name, value := range map[string]string{"value": e.Value, "style": e.Style, "url": e.URL} {
		if value != "" {
			out[name] = value
		}
	}
	return out, nil
}

// envelope has what all payloads share.
func (s *Sim) envelope(kind string, u *User, triggerID string) fields {
	return fields{
		"type": kind, "token": "", "api_app_id": s.bot.AppID, "trigger_id": triggerID,
		"team":       fields{"id": s.team.ID, "domain": s.team.Domain},
		"user":       fields{"id": u.ID, "username": u.Name, "name": u.Name, "team_id": s.team.ID},
		"enterprise": nil, "is_enterprise_install": false,
	}
}

// SlashCommand says who types what where.
type SlashCommand struct {
	User    string
	Channel string
	// Command with its slash, such as "/slipway".
	Command string
	Text    string
}

// SlashCommand types a command: it sends the app a signed form, and shows what the app answered in the channel.
func (s *Sim) SlashCommand(ctx context.Context, cmd SlashCommand) (Answer, error) {
	s.mu.Lock()
	u, c := s.user(cmd.User), s.channelNamed(cmd.Channel)
	if u == nil || u.Deleted || c == nil || !c.has(u.ID) || !strings.HasPrefix(cmd.Command, "/") {
		s.mu.Unlock()
		return Answer{}, fmt.Errorf("type %q in %s: no such user, channel or command", cmd.Command, cmd.Channel)
	}
	target := s.commandURL
	if target == "" {
		target = s.interactURL
	}
	from := &responseURL{user: u.ID, channel: c.ID}
	form := url.Values{
		"token": {""}, "team_id": {s.team.ID}, "team_domain": {s.team.Domain}, "channel_id": {c.ID},
		"channel_name": {c.payloadName()}, "user_id": {u.ID}, "user_name": {u.Name}, "command": {cmd.Command},
		"text": {cmd.Text}, "api_app_id": {s.bot.AppID}, "is_enterprise_install": {"false"},
		"response_url": {s.newResponseURL(u.ID, c.ID, "")}, "trigger_id": {s.newTrigger(u.ID, false)},
	}
	s.mu.Unlock()
	answer, err := s.send(ctx, "command", target, form)
	if err != nil {
		return answer, fmt.Errorf("type %q in %s: %w", cmd.Command, cmd.Channel, err)
	}
	return answer, s.showAnswer(from, answer.Body)
}

// showAnswer shows the body of the answer to a command: JSON, or bare text for the typist alone.
func (s *Sim) showAnswer(from *responseURL, body string) error {
	if strings.TrimSpace(body) == "" {
		return nil
	}
	raw := []byte(body)
	if !strings.HasPrefix(strings.TrimSpace(body), "{") {
		var err error
		if raw, err = json.Marshal(map[string]string{"text": body}); err != nil {
			return fmt.Errorf("show the answer to a command: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ref := s.reply(from, raw, "command"); ref != nil {
		return fmt.Errorf("show the answer to a command: %s", ref.code)
	}
	return nil
}

// Replay sends the last interaction once more: the same bytes under the same signature and time.
func (s *Sim) Replay(ctx context.Context) (Answer, error) {
	s.mu.Lock()
	if len(s.interactions) == 0 {
		s.mu.Unlock()
		return Answer{}, errors.New("replay: nothing was sent yet")
	}
	last := s.interactions[len(s.interactions)-1]
	s.mu.Unlock()
	return s.deliver(ctx, Interaction{Kind: last.Kind, URL: last.URL, Header: last.Header.Clone(), Body: last.Body})
}

// send signs a form and delivers it.
func (s *Sim) send(ctx context.Context, kind, target string, form url.Values) (Answer, error) {
	if target == "" {
		return Answer{}, errors.New("the app has no address for this interaction")
	}
	body, now := form.Encode(), strconv.FormatInt(s.clock().Unix(), 10)
	return s.deliver(ctx, Interaction{Kind: kind, URL: target, Body: body, Header: http.Header{
		"Content-Type":              {"application/x-www-form-urlencoded"},
		"User-Agent":                {"Slackbot 1.0 (+https://api.slack.com/robots)"},
		"X-Slack-Request-Timestamp": {now},
		"X-Slack-Signature":         {Sign(s.secret, now, []byte(body))},
	}})
}

// Sign is the X-Slack-Signature of a body: HMAC-SHA256 over "v0:timestamp:body", timestamp in Unix seconds.
// Source: https://docs.slack.dev/authentication/verifying-requests-from-slack
func Sign(secret, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("v0:" + timestamp + ":"))
	mac.Write(body)
	return "v0=" + hex.EncodeToString(mac.Sum(nil))
}

// deliver posts an interaction, waits for the acknowledgement and records both.
func (s *Sim) deliver(ctx context.Context, i Interaction) (Answer, error) {
	started := time.Now()
	ackCtx, cancel := context.WithTimeout(ctx, s.ackWithin)
	defer cancel()
	i.Answer, i.Err = s.post(ackCtx, i)
	i.Answer.Took = time.Since(started)
	switch {
	case i.Err != nil && ctx.Err() == nil && errors.Is(ackCtx.Err(), context.DeadlineExceeded):
		i.Err = fmt.Errorf("%w (%s)", ErrNoAck, s.ackWithin)
	case i.Err == nil && (i.Answer.Status < 200 || i.Answer.Status > 299):
		i.Err = fmt.Errorf("%w: %d %s", ErrRefused, i.Answer.Status, strings.TrimSpace(i.Answer.Body))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i.At = s.clock()
	s.callSerial++
	i.Seq = s.callSerial
	s.interactions = append(trim(s.interactions), i)
	s.changed()
	return i.Answer, i.Err
}

func (s *Sim) post(ctx context.Context, i Interaction) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, i.URL, bytes.NewBufferString(i.Body))
	if err != nil {
		return Answer{}, err
	}
	request.Header = i.Header.Clone()
	response, err := s.client.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return Answer{}, err
	}
	return Answer{Status: response.StatusCode, Body: string(body)}, nil
}
