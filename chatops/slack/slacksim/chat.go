package slacksim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

const (
	maxText     = 4000
	maxMetadata = 16 << 10
)

// content is what an app asked to be shown.
type content struct {
	text        string
	blocks      []Block
	hasBlocks   bool
	attachments json.RawMessage
	metadata    *Metadata
	hasMetadata bool
}

// readContent validates text, blocks, attachments and metadata of a call.
func (s *Sim) readContent(a args) (content, *refusal) {
	c := content{text: a.str("text")}
	if utf8.RuneCountInString(c.text) > maxText {
		return c, refuse("msg_too_long")
	}
	if a.has("blocks") && len(a.raw("blocks")) > 0 {
		var ref *refusal
		if c.blocks, ref = s.checkBlocks(a.raw("blocks")); ref != nil {
			return c, ref
		}
		c.hasBlocks = true
	}
	if raw := a.raw("attachments"); len(raw) > 0 {
		var list []map[string]any
		switch err := decode(raw, &list); {
		case err != nil:
			return c, refuse("invalid_attachments")
		case len(list) > 100:
			return c, refuse("too_many_attachments")
		case len(list) > 0:
			c.attachments = raw
		}
	}
	if c.text == "" && len(c.blocks) == 0 && c.attachments == nil {
		return c, refuse("no_text")
	}
	return c, s.readMetadata(a, &c)
}

func (s *Sim) checkBlocks(raw json.RawMessage) ([]Block, *refusal) {
	k := blockKit{surface: inMessage, charts: s.charts, newID: s.nextID}
	blocks, err := k.check(raw, "/blocks")
	switch {
	case errors.Is(err, errBlocksFormat):
		return nil, refuse("invalid_blocks_format")
	case err != nil:
		return nil, refuse("invalid_blocks")
	case len(k.problems) > 0:
		s.log.Debug("slack simulator refuses blocks", "problems", k.problems)
		return nil, invalid("invalid_blocks", k.problems)
	}
	return blocks, nil
}

func (s *Sim) readMetadata(a args, c *content) *refusal {
	raw := a.raw("metadata")
	if len(raw) == 0 {
		return nil
	}
	c.hasMetadata = true
	var object map[string]json.RawMessage
	if err := decode(raw, &object); err != nil || object == nil {
		return refuse("invalid_metadata_format")
	}
	if len(raw) > maxMetadata {
		return refuse("metadata_too_large")
	}
	if len(object) == 0 {
		return nil
	}
	var (
		kind    string
		payload map[string]any
	)
	if json.Unmarshal(object["event_type"], &kind) != nil || kind == "" ||
		json.Unmarshal(object["event_payload"], &payload) != nil || payload == nil {
		return refuse("invalid_metadata_schema")
	}
	c.metadata = &Metadata{EventType: kind, EventPayload: object["event_payload"]}
	return nil
}

// target finds the channel that an app wants to post in, and refuses as Slack does when it may not.
func (s *Sim) target(ref string) (*Channel, *refusal) {
	c := s.channelNamed(ref)
	if c == nil {
		if u := s.user(ref); u != nil && !u.Bot && !u.Deleted {
			return s.direct(u.ID), nil
		}
		return nil, refuse("channel_not_found")
	}
	switch {
	case c.Private && !c.BotMember:
		return nil, refuse("channel_not_found")
	case c.Archived:
		return nil, refuse("is_archived")
	case !c.BotMember && !s.scopes["chat:write.public"]:
		return nil, refuse("not_in_channel")
	}
	return c, nil
}

func (s *Sim) chatPostMessage(a args) (fields, *refusal) {
	c, ref := s.target(a.str("channel"))
	if ref != nil {
		return nil, ref
	}
	shown, ref := s.readContent(a)
	if ref != nil {
		return nil, ref
	}
	m := s.appMessage(c.ID, shown)
	if parent := a.str("thread_ts"); parent != "" {
		if above := s.findMessage(c.ID, parent); above == nil || above.Deleted {
			return nil, refuse("thread_not_found")
		}
		m.ThreadTS, m.Broadcast = parent, a.flag("reply_broadcast")
	}
	s.addMessage(m, "chat.postMessage")
	return fields{"channel": c.ID, "ts": m.TS, "message": s.wireMessage(m, m.current(), true)}, nil
}

func (s *Sim) appMessage(channelID string, shown content) *message {
	return &message{Message: Message{
		Channel: channelID, User: s.bot.UserID, FromApp: true, Text: shown.text, Blocks: shown.blocks,
		Attachments: shown.attachments, Metadata: shown.metadata,
	}}
}

func (s *Sim) chatPostEphemeral(a args) (fields, *refusal) {
	c, ref := s.target(a.str("channel"))
	if ref != nil {
		return nil, ref
	}
	if u := s.user(a.str("user")); u == nil || u.Deleted || !c.has(u.ID) {
		return nil, refuse("user_not_in_channel")
	}
	shown, ref := s.readContent(a)
	if ref != nil {
		return nil, ref
	}
	m := s.appMessage(c.ID, shown)
	m.EphemeralTo, m.ThreadTS, m.Metadata = a.str("user"), a.str("thread_ts"), nil
	s.addMessage(m, "chat.postEphemeral")
	return fields{"message_ts": m.TS}, nil
}

// own finds a message of the app that it wants to change; unlike for posting, the channel must be given by id.
func (s *Sim) own(a args, foreign string) (*message, *refusal) {
	c := s.channel(a.str("channel"))
	if c == nil || (c.Private && !c.BotMember) {
		return nil, refuse("channel_not_found")
	}
	if c.Archived {
		return nil, refuse("is_inactive")
	}
	m := s.findMessage(c.ID, a.str("ts"))
	switch {
	case m == nil || m.Deleted:
		return nil, refuse("message_not_found")
	case !m.FromApp:
		return nil, refuse(foreign)
	}
	return m, nil
}

func (s *Sim) chatUpdate(a args) (fields, *refusal) {
	m, ref := s.own(a, "cant_update_message")
	if ref != nil {
		return nil, ref
	}
	shown, ref := s.readContent(a)
	if ref != nil {
		return nil, ref
	}
	s.change(m, shown, "chat.update")
	return fields{
		"channel": m.Channel, "ts": m.TS, "text": m.Text, "message": s.wireMessage(m, m.current(), true),
	}, nil
}

// change shows new content. What wasn't sent stays as it was: an app that wants its buttons gone must send blocks.
func (s *Sim) change(m *message, shown content, by string) {
	m.Text = shown.text
	if shown.hasBlocks {
		m.Blocks = shown.blocks
	}
	if shown.attachments != nil {
		m.Attachments = shown.attachments
	}
	if shown.hasMetadata {
		m.Metadata = shown.metadata
	}
	m.record(s.clock(), by)
	s.changed()
}

func (s *Sim) chatDelete(a args) (fields, *refusal) {
	m, ref := s.own(a, "cant_delete_message")
	if ref != nil {
		return nil, ref
	}
	s.remove(m, "chat.delete")
	return fields{"channel": m.Channel, "ts": m.TS}, nil
}

func (s *Sim) remove(m *message, by string) {
	m.Deleted = true
	m.record(s.clock(), by)
	s.changed()
}

func (s *Sim) chatGetPermalink(a args) (fields, *refusal) {
	c := s.channel(a.str("channel"))
	if c == nil || (c.Private && !c.BotMember) {
		return nil, refuse("channel_not_found")
	}
	m := s.findMessage(c.ID, a.str("message_ts"))
	if m == nil || m.Deleted {
		return nil, refuse("message_not_found")
	}
	compact := slices.DeleteFunc([]byte(m.TS), func(b byte) bool { return b == '.' })
	return fields{"channel": c.ID, "permalink": fmt.Sprintf("%s/archives/%s/p%s", s.publicURL, c.ID, compact)}, nil
}

func (s *Sim) reactionsAdd(a args) (fields, *refusal) {
	c := s.channel(a.str("channel"))
	if c == nil || (c.Private && !c.BotMember) {
		return nil, refuse("channel_not_found")
	}
	if c.Archived {
		return nil, refuse("is_archived")
	}
	m := s.findMessage(c.ID, a.str("timestamp"))
	if m == nil || m.Deleted {
		return nil, refuse("message_not_found")
	}
	name := a.str("name")
	if name == "" {
		return nil, refuse("no_reaction")
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '+' {
			return nil, refuse("invalid_name")
		}
	}
	// Copies of the message share the slice, so that it is replaced and never written to.
	reactions := make([]Reaction, 0, len(m.Reactions)+1)
	found := false
	for _, r := range m.Reactions {
		if r.Name == name {
			if slices.Contains(r.Users, s.bot.UserID) {
				return nil, refuse("already_reacted")
			}
			r.Users, found = append(slices.Clone(r.Users), s.bot.UserID), true
		}
		reactions = append(reactions, r)
	}
	if !found {
		reactions = append(reactions, Reaction{Name: name, Users: []string{s.bot.UserID}})
	}
	m.Reactions = reactions
	s.changed()
	return fields{}, nil
}
