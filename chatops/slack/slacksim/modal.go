package slacksim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// ErrNoView says that the user has no such modal open.
var ErrNoView = errors.New("no such modal")

// SubmitModal fills in a modal and submits it: it sends the app a signed view_submission and does what the answer says.
// values are keyed by "block id.action id"; menus take the value of the option, checkboxes several joined by commas.
// An input that isn't named keeps its initial value. When the app finds fault with fields, the error is nil,
// Answer.Errors has them and the modal stays open.
func (s *Sim) SubmitModal(ctx context.Context, userID, viewID string, values map[string]string) (Answer, error) {
	target, payload, err := s.prepareSubmit(userID, viewID, values)
	if err != nil {
		return Answer{}, fmt.Errorf("submit modal %s: %w", viewID, err)
	}
	answer, err := s.send(ctx, "view_submission", target, url.Values{"payload": {payload}})
	if err == nil {
		err = s.afterSubmit(userID, viewID, &answer)
	}
	if err != nil {
		return answer, fmt.Errorf("submit modal %s: %w", viewID, err)
	}
	return answer, nil
}

func (s *Sim) prepareSubmit(userID, viewID string, values map[string]string) (target, payload string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.user(userID)
	at := slices.IndexFunc(s.views[userID], func(v *view) bool { return v.ID == viewID })
	if u == nil || at < 0 {
		return "", "", ErrNoView
	}
	v := s.views[userID][at]
	if at != len(s.views[userID])-1 {
		return "", "", errors.New("another modal is in front of it")
	}
	if v.Submit == "" {
		return "", "", errors.New("it has no submit button")
	}
	state, err := v.fill(values)
	if err != nil {
		return "", "", err
	}
	body := s.envelope("view_submission", u, s.newTrigger(userID, true))
	body["view"], body["response_urls"] = s.wireView(v, state), []any{}
	raw, err := json.Marshal(body)
	return s.interactURL, string(raw), err
}

// fill makes the state of a view from what a person typed, and refuses what Slack's own form would refuse.
func (v *view) fill(values map[string]string) (map[string]map[string]fields, error) {
	state := map[string]map[string]fields{}
	left := maps.Clone(values)
	for _, b := range v.Blocks {
		if b.Type != "input" || b.Element == nil {
			continue
		}
		key := b.ID + "." + b.Element.ActionID
		value, given := values[key]
		delete(left, key)
		if !given {
			value = b.Element.initial()
		}
		if value == "" && !b.Optional {
			return nil, fmt.Errorf("%s (%q) must be filled in", key, b.Label.Text)
		}
		entry, err := chosen(*b.Element, value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		entry["type"] = b.Element.Type
		state[b.ID] = map[string]fields{b.Element.ActionID: entry}
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("the modal has no input %q", slices.Sorted(maps.Keys(left)))
	}
	return state, nil
}

func (e Element) initial() string {
	if e.InitialOption != nil {
		return e.InitialOption.Value
	}
	var several []string
	for _, o := range e.InitialOptions {
		several = append(several, o.Value)
	}
	if len(several) > 0 {
		return strings.Join(several, ",")
	}
	return e.InitialValue
}

// chosen is how a payload tells what was chosen or typed in an element.
func chosen(e Element, value string) (fields, error) {
	switch e.Type {
	case "static_select", "radio_buttons", "overflow":
		if value == "" {
			return fields{"selected_option": nil}, nil
		}
		at := slices.IndexFunc(e.Options, func(o Option) bool { return o.Value == value })
		if at < 0 {
			return nil, fmt.Errorf("there is no option %q", value)
		}
		return fields{"selected_option": e.Options[at]}, nil
	case "checkboxes", "multi_static_select":
		picked := []Option{}
		for _, o := range e.Options {
			if slices.Contains(strings.Split(value, ","), o.Value) {
				picked = append(picked, o)
			}
		}
		if value != "" && len(picked) != strings.Count(value, ",")+1 {
			return nil, fmt.Errorf("there are no options %q", value)
		}
		return fields{"selected_options": picked}, nil
	case "users_select":
		return fields{"selected_user": optional(value)}, nil
	case "channels_select":
		return fields{"selected_channel": optional(value)}, nil
	case "conversations_select":
		return fields{"selected_conversation": optional(value)}, nil
	case "datepicker":
		return fields{"selected_date": optional(value)}, nil
	case "timepicker":
		return fields{"selected_time": optional(value)}, nil
	case "plain_text_input", "email_text_input", "url_text_input", "number_input":
		length := utf8.RuneCountInString(value)
		if value != "" && (length < e.MinLength || length > 3000 || (e.MaxLength > 0 && length > e.MaxLength)) {
			return nil, fmt.Errorf("%d characters are too few or too many", length)
		}
		return fields{"value": optional(value)}, nil
	}
	return nil, fmt.Errorf("the simulator can't fill in %s", e.Type)
}

// optional is null for what was left empty.
func optional(value string) any {
	if value == "" {
		return nil
	}
	return value
}

// afterSubmit does what the app's answer says: close, keep open with errors, replace, or put another in front.
func (s *Sim) afterSubmit(userID, viewID string, answer *Answer) error {
	var said struct {
		Action string            `json:"response_action"`
		Errors map[string]string `json:"errors"`
		View   json.RawMessage   `json:"view"`
	}
	if body := strings.TrimSpace(answer.Body); body != "" {
		if err := json.Unmarshal([]byte(body), &said); err != nil {
			return fmt.Errorf("the app's answer is neither empty nor JSON: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stack := s.views[userID]
	at := slices.IndexFunc(stack, func(v *view) bool { return v.ID == viewID })
	if at < 0 {
		return nil // the app opened another modal meanwhile
	}
	defer s.changed()
	switch said.Action {
	case "":
		s.views[userID] = stack[:at:at]
	case "clear":
		delete(s.views, userID)
	case "errors":
		return s.showErrors(stack[at], said.Errors, answer)
	case "update", "push":
		v, ref := s.readView(said.View)
		if ref != nil {
			return fmt.Errorf("the app's answer has an invalid view: %s %v", ref.code, ref.extra["errors"])
		}
		if said.Action == "update" {
			s.replaceView(stack, at, v)
			return nil
		}
		if len(stack) >= 3 {
			return errors.New("the app's answer pushes a fourth view")
		}
		s.show(userID, v, true)
	default:
		return fmt.Errorf("the app's answer has the unknown response_action %q", said.Action)
	}
	return nil
}

func (s *Sim) showErrors(v *view, found map[string]string, answer *Answer) error {
	if len(found) == 0 {
		return errors.New("the app's answer has response_action errors and no errors")
	}
	for id := range found {
		known := slices.ContainsFunc(v.Blocks, func(b Block) bool { return b.ID == id && b.Type == "input" })
		if !known {
			return fmt.Errorf("the app's answer has an error for %q, which is no input block", id)
		}
	}
	v.Errors, answer.Errors = found, found
	return nil
}

// CloseModal closes a user's modal without submitting it; the app hears of it only if the view asked for that.
func (s *Sim) CloseModal(ctx context.Context, userID, viewID string) (Answer, error) {
	s.mu.Lock()
	u, stack := s.user(userID), s.views[userID]
	at := slices.IndexFunc(stack, func(v *view) bool { return v.ID == viewID })
	if u == nil || at < 0 {
		s.mu.Unlock()
		return Answer{}, fmt.Errorf("close modal %s: %w", viewID, ErrNoView)
	}
	v := stack[at]
	s.views[userID] = stack[:at:at]
	s.changed()
	body := s.envelope("view_closed", u, "")
	delete(body, "trigger_id")
	body["view"], body["is_cleared"] = s.wireView(v, nil), false
	target := s.interactURL
	raw, err := json.Marshal(body)
	s.mu.Unlock()
	if err != nil || !v.NotifyOnClose {
		return Answer{}, err
	}
	answer, err := s.send(ctx, "view_closed", target, url.Values{"payload": {string(raw)}})
	if err != nil {
		return answer, fmt.Errorf("close modal %s: %w", viewID, err)
	}
	return answer, nil
}
