package slacksim

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Message is a message as it is shown now.
type Message struct {
	Channel  string `json:"channel"`
	TS       string `json:"ts"`
	ThreadTS string `json:"thread_ts,omitempty"`
	// Broadcast says that a reply in a thread is shown in the channel too.
	Broadcast bool   `json:"broadcast,omitempty"`
	User      string `json:"user"`
	FromApp   bool   `json:"from_app,omitempty"`
	// EphemeralTo is the only user who sees the message.
	EphemeralTo string          `json:"ephemeral_to,omitempty"`
	Text        string          `json:"text"`
	Blocks      []Block         `json:"blocks,omitempty"`
	Attachments json.RawMessage `json:"attachments,omitempty"`
	Metadata    *Metadata       `json:"metadata,omitempty"`
	Reactions   []Reaction      `json:"reactions,omitempty"`
	// Version counts the renderings, from 1.
	Version int  `json:"version"`
	Deleted bool `json:"deleted,omitempty"`
}

// Metadata is what an app attached to its message for itself.
type Metadata struct {
	EventType    string          `json:"event_type"`
	EventPayload json.RawMessage `json:"event_payload"`
}

// Reaction is an emoji below a message and who gave it.
type Reaction struct {
	Name  string   `json:"name"`
	Users []string `json:"users"`
}

// Version is one rendering of a message.
type Version struct {
	At time.Time `json:"at"`
	// By is what made it: an API method, "response_url" or "person".
	By       string    `json:"by"`
	Text     string    `json:"text"`
	Blocks   []Block   `json:"blocks,omitempty"`
	Metadata *Metadata `json:"metadata,omitempty"`
	Deleted  bool      `json:"deleted,omitempty"`
}

// Buttons are the buttons of a rendering, in reading order.
func (v Version) Buttons() []Element { return buttons(v.Blocks) }

// Buttons are the buttons that the message shows, in reading order.
func (m Message) Buttons() []Element { return buttons(m.Blocks) }

type message struct {
	Message
	versions []Version
}

// record keeps the message's present state as a new version.
func (m *message) record(at time.Time, by string) {
	m.versions = append(m.versions, Version{
		At: at, By: by, Text: m.Text, Blocks: m.Blocks, Metadata: m.Metadata, Deleted: m.Deleted,
	})
	m.Version = len(m.versions)
}

// Messages returns what a channel, named by id or name, shows to everybody, threads included, oldest first.
func (s *Sim) Messages(channel string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channelNamed(channel)
	if c == nil {
		return nil
	}
	return s.shown(c.ID)
}

func (s *Sim) shown(channelID string) []Message {
	var out []Message
	for _, m := range s.messages[channelID] {
		if !m.Deleted {
			out = append(out, m.Message)
		}
	}
	return out
}

// Ephemerals returns what only this user sees, oldest first.
func (s *Sim) Ephemerals(userID string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Message
	for _, m := range s.ephemerals {
		if m.EphemeralTo == userID && !m.Deleted {
			out = append(out, m.Message)
		}
	}
	return out
}

// History returns every rendering that a message had, oldest first, also of a message that is deleted or ephemeral.
func (s *Sim) History(channel, ts string) []Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channelNamed(channel)
	if c == nil {
		return nil
	}
	if m := s.findMessage(c.ID, ts); m != nil {
		return slices.Clone(m.versions)
	}
	for _, m := range s.ephemerals {
		if m.Channel == c.ID && m.TS == ts {
			return slices.Clone(m.versions)
		}
	}
	return nil
}

// PostAs lets a person write a plain message and returns its timestamp.
func (s *Sim) PostAs(userID, channel, text string) (ts string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channelNamed(channel)
	if c == nil || s.user(userID) == nil {
		return "", fmt.Errorf("post as %s in %s: no such user or channel", userID, channel)
	}
	if c.Archived || !c.has(userID) {
		return "", fmt.Errorf("post as %s in %s: the channel is archived or they aren't in it", userID, channel)
	}
	m := &message{Message: Message{Channel: c.ID, User: userID, Text: text}}
	s.addMessage(m, "person")
	return m.TS, nil
}

// addMessage gives a message its timestamp and shows it.
func (s *Sim) addMessage(m *message, by string) {
	m.TS = s.nextTS()
	m.record(s.clock(), by)
	if m.EphemeralTo != "" {
		s.ephemerals = append(s.ephemerals, m)
	} else {
		s.messages[m.Channel] = append(s.messages[m.Channel], m)
	}
	s.changed()
}

// findMessage finds a message that was posted for everybody, deleted or not.
func (s *Sim) findMessage(channelID, ts string) *message {
	for _, m := range s.messages[channelID] {
		if m.TS == ts {
			return m
		}
	}
	return nil
}

// messageFor finds a message as one user sees it: for everybody, or ephemeral for them.
func (s *Sim) messageFor(userID, channelID, ts string) *message {
	if m := s.findMessage(channelID, ts); m != nil && !m.Deleted {
		return m
	}
	for _, m := range s.ephemerals {
		if m.Channel == channelID && m.TS == ts && m.EphemeralTo == userID && !m.Deleted {
			return m
		}
	}
	return nil
}

// wireMessage is the message object of the Web API, in the given rendering.
func (s *Sim) wireMessage(m *message, v Version, withMetadata bool) map[string]any {
	out := map[string]any{"type": "message", "user": m.User, "text": v.Text, "ts": m.TS, "team": s.team.ID}
	if m.FromApp {
		out["bot_id"], out["app_id"] = s.bot.BotID, s.bot.AppID
		out["bot_profile"] = map[string]any{
			"id": s.bot.BotID, "app_id": s.bot.AppID, "name": s.bot.Name, "team_id": s.team.ID, "deleted": false,
		}
	}
	if len(v.Blocks) > 0 {
		out["blocks"] = rawBlocks(v.Blocks)
	}
	if len(m.Attachments) > 0 {
		out["attachments"] = m.Attachments
	}
	if m.ThreadTS != "" {
		out["thread_ts"] = m.ThreadTS
	}
	if withMetadata && v.Metadata != nil {
		out["metadata"] = v.Metadata
	}
	if m.Version > 1 {
		out["edited"] = map[string]any{"user": m.User, "ts": formatTS(m.versions[m.Version-1].At.UnixMicro())}
	}
	if len(m.Reactions) > 0 {
		reactions := make([]map[string]any, len(m.Reactions))
		for i, r := range m.Reactions {
			reactions[i] = map[string]any{"name": r.Name, "users": r.Users, "count": len(r.Users)}
		}
		out["reactions"] = reactions
	}
	return out
}

func (m *message) current() Version { return m.versions[len(m.versions)-1] }
