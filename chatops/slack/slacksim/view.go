package slacksim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// View is an open modal.
type View struct {
	ID              string  `json:"id"`
	User            string  `json:"user"`
	Title           string  `json:"title"`
	Submit          string  `json:"submit,omitempty"`
	Close           string  `json:"close,omitempty"`
	CallbackID      string  `json:"callback_id,omitempty"`
	PrivateMetadata string  `json:"private_metadata,omitempty"`
	ExternalID      string  `json:"external_id,omitempty"`
	NotifyOnClose   bool    `json:"notify_on_close,omitempty"`
	Blocks          []Block `json:"blocks"`
	// Errors are what the app said about the last submission, by block id.
	Errors map[string]string `json:"errors,omitempty"`
}

type view struct {
	View
	hash   string
	rootID string
	prevID string
	raw    map[string]any
}

type trigger struct {
	user   string
	at     time.Time
	used   bool
	inView bool
}

// OpenViews returns a user's open modals, the one in front last.
func (s *Sim) OpenViews(userID string) []View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.openViews(userID)
}

func (s *Sim) openViews(userID string) []View {
	var out []View
	for _, v := range s.views[userID] {
		out = append(out, v.View)
	}
	return out
}

// newTrigger makes a trigger id, which lives three seconds and opens one modal.
func (s *Sim) newTrigger(userID string, inView bool) string {
	id := fmt.Sprintf("%d.%d.%s", s.clock().UnixMilli(), s.serial, s.nextID("trigger"))
	s.triggers[id] = &trigger{user: userID, at: s.clock(), inView: inView}
	return id
}

func (s *Sim) useTrigger(id string) (*trigger, *refusal) {
	t := s.triggers[id]
	switch {
	case t == nil:
		return nil, refuse("invalid_trigger_id")
	case s.clock().Sub(t.at) > triggerLife:
		return nil, refuse("expired_trigger_id")
	case t.used:
		return nil, refuse("exchanged_trigger_id")
	}
	return t, nil
}

// readView validates a view as an app sent it; Slack answers invalid_arguments to an invalid one.
func (s *Sim) readView(raw json.RawMessage) (*view, *refusal) {
	if len(raw) > 250<<10 {
		return nil, refuse("view_too_large")
	}
	var o map[string]any
	if err := decode(raw, &o); err != nil || o == nil {
		return nil, invalid("invalid_arguments", []string{"must provide an object [json-pointer:/view]"})
	}
	k := &blockKit{surface: inModal, newID: s.nextID}
	if o["type"] != "modal" {
		k.fail("/view/type", "unsupported type: %v", o["type"])
	}
	k.object(o, "/view", []string{"type", "title", "blocks"}, []string{
		"close", "submit", "private_metadata", "callback_id", "clear_on_close", "notify_on_close", "external_id",
		"submit_disabled",
	})
	for _, name := range []string{"title", "submit", "close"} {
		k.text(o, name, "/view", 24, true)
	}
	k.str(o, "private_metadata", "/view", 3000)
	k.str(o, "callback_id", "/view", 255)
	k.str(o, "external_id", "/view", 255)
	k.flag(o, "clear_on_close", "/view")
	k.flag(o, "notify_on_close", "/view")
	blocks, err := s.viewBlocks(k, raw)
	if err != nil {
		k.fail("/view/blocks", "must be an array of blocks")
	}
	if o["submit"] == nil && slices.ContainsFunc(blocks, func(b Block) bool { return b.Type == "input" }) {
		k.fail("/view", "missing required field: submit")
	}
	if len(k.problems) > 0 {
		s.log.Debug("slack simulator refuses a view", "problems", k.problems)
		return nil, invalid("invalid_arguments", k.problems)
	}
	return s.newView(raw, o, blocks)
}

func (s *Sim) viewBlocks(k *blockKit, raw json.RawMessage) ([]Block, error) {
	var body struct {
		Blocks json.RawMessage `json:"blocks"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return nil, err
	}
	if body.Blocks == nil {
		return nil, errors.New("no blocks")
	}
	return k.check(body.Blocks, "/view/blocks")
}

func (s *Sim) newView(raw json.RawMessage, o map[string]any, blocks []Block) (*view, *refusal) {
	var body struct {
		Title, Submit, Close Text
		CallbackID           string `json:"callback_id"`
		PrivateMetadata      string `json:"private_metadata"`
		ExternalID           string `json:"external_id"`
		NotifyOnClose        bool   `json:"notify_on_close"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return nil, refuse("invalid_arguments")
	}
	v := &view{raw: o, hash: s.nextID("hash"), View: View{
		ID: s.nextID("V0"), Title: body.Title.Text, Submit: body.Submit.Text, Close: body.Close.Text,
		CallbackID: body.CallbackID, PrivateMetadata: body.PrivateMetadata, ExternalID: body.ExternalID,
		NotifyOnClose: body.NotifyOnClose, Blocks: blocks,
	}}
	v.rootID = v.ID
	return v, nil
}

// show puts a new view in front of a user's others, or instead of them.
func (s *Sim) show(userID string, v *view, onTop bool) {
	v.User = userID
	if stack := s.views[userID]; onTop && len(stack) > 0 {
		v.rootID, v.prevID = stack[0].ID, stack[len(stack)-1].ID
		s.views[userID] = append(stack, v)
	} else {
		s.views[userID] = []*view{v}
	}
	s.changed()
}

func (s *Sim) findView(match func(*view) bool) (stack []*view, at int) {
	for _, stack := range s.views {
		if i := slices.IndexFunc(stack, match); i >= 0 {
			return stack, i
		}
	}
	return nil, -1
}

func (s *Sim) externalIDTaken(id, exceptView string) bool {
	_, at := s.findView(func(v *view) bool { return id != "" && v.ExternalID == id && v.ID != exceptView })
	return at >= 0
}

func (s *Sim) viewsOpen(a args) (fields, *refusal) { return s.openView(a, false) }

func (s *Sim) viewsPush(a args) (fields, *refusal) { return s.openView(a, true) }

func (s *Sim) openView(a args, onTop bool) (fields, *refusal) {
	t, ref := s.useTrigger(a.str("trigger_id"))
	if ref != nil {
		return nil, ref
	}
	v, ref := s.readView(a.raw("view"))
	if ref != nil {
		return nil, ref
	}
	if s.externalIDTaken(v.ExternalID, "") {
		return nil, refuse("duplicate_external_id")
	}
	if onTop {
		switch depth := len(s.views[t.user]); {
		case !t.inView || depth == 0:
			return nil, refuse("not_found")
		case depth >= 3:
			return nil, refuse("push_limit_reached")
		}
	}
	t.used = true
	s.show(t.user, v, onTop)
	return fields{"view": s.wireView(v, nil)}, nil
}

func (s *Sim) viewsUpdate(a args) (fields, *refusal) {
	id, external := a.str("view_id"), a.str("external_id")
	stack, at := s.findView(func(v *view) bool {
		return v.ID == id || (id == "" && external != "" && v.ExternalID == external)
	})
	if at < 0 {
		return nil, refuse("not_found")
	}
	old := stack[at]
	if hash := a.str("hash"); hash != "" && hash != old.hash {
		return nil, refuse("hash_conflict")
	}
	v, ref := s.readView(a.raw("view"))
	if ref != nil {
		return nil, ref
	}
	if s.externalIDTaken(v.ExternalID, old.ID) {
		return nil, refuse("duplicate_external_id")
	}
	s.replaceView(stack, at, v)
	return fields{"view": s.wireView(v, nil)}, nil
}

// replaceView shows v in place of an open view, whose id it keeps.
func (s *Sim) replaceView(stack []*view, at int, v *view) {
	old := stack[at]
	v.ID, v.User, v.rootID, v.prevID = old.ID, old.User, old.rootID, old.prevID
	stack[at] = v
	s.changed()
}

// wireView is the view object of the Web API and of payloads; state holds what people filled in.
func (s *Sim) wireView(v *view, state map[string]map[string]fields) fields {
	out := fields{
		"id": v.ID, "team_id": s.team.ID, "type": "modal", "blocks": rawBlocks(v.Blocks), "hash": v.hash,
		"private_metadata": v.PrivateMetadata, "callback_id": v.CallbackID, "external_id": v.ExternalID,
		"state": fields{"values": fields{}}, "title": v.raw["title"], "close": v.raw["close"], "submit": v.raw["submit"],
		"clear_on_close": v.raw["clear_on_close"] == true, "notify_on_close": v.NotifyOnClose, "root_view_id": v.rootID,
		"previous_view_id": nil, "app_id": s.bot.AppID, "bot_id": s.bot.BotID, "app_installed_team_id": s.team.ID,
	}
	if v.prevID != "" {
		out["previous_view_id"] = v.prevID
	}
	if len(state) > 0 {
		out["state"] = fields{"values": state}
	}
	return out
}
