package slacksim

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Call is one request of the app to the Web API or to a response address, as it was answered.
type Call struct {
	// Seq orders calls and interactions by when they were answered, from 1.
	Seq int
	At  time.Time
	// Method such as "chat.update", or "response_url".
	Method string
	// HTTP is the verb.
	HTTP string
	// Body is the form or JSON that was sent, without the token, cut to 32 KB.
	Body string
	// Status and Answer are what went back; Error is the answer's "error".
	Status int
	Answer string
	Error  string
	// Faulty says that a Fault had its hand in the answer, Dropped that none was sent.
	Faulty  bool
	Dropped bool
}

// Interaction is one request to the app.
type Interaction struct {
	// Seq orders calls and interactions by when they were answered, from 1.
	Seq int
	At  time.Time
	// Kind is the payload's type ("block_actions", "view_submission", "view_closed") or "command".
	Kind   string
	URL    string
	Header http.Header
	Body   string
	Answer Answer
	// Err says why there is no usable answer.
	Err error
}

// Snapshot is the whole workspace at one moment.
type Snapshot struct {
	// Revision grows with every change.
	Revision uint64            `json:"revision"`
	Team     Team              `json:"team"`
	Bot      Bot               `json:"bot"`
	Users    []User            `json:"users"`
	Channels []ChannelSnapshot `json:"channels"`
	// Ephemerals of all users, oldest first.
	Ephemerals []Message `json:"ephemerals"`
	// Views are the open modals of all users, by user id; a user's last one is in front.
	Views []View `json:"views"`
}

// ChannelSnapshot is a channel with what it shows, oldest first.
type ChannelSnapshot struct {
	Channel
	Messages []Message `json:"messages"`
}

// Snapshot returns a copy of everything that people see.
func (s *Sim) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Snapshot{Revision: s.revision, Team: s.team, Bot: s.bot, Users: s.copyUsers()}
	for _, c := range s.channels {
		out.Channels = append(out.Channels, ChannelSnapshot{Channel: copyChannel(c), Messages: s.shown(c.ID)})
	}
	for _, m := range s.ephemerals {
		if !m.Deleted {
			out.Ephemerals = append(out.Ephemerals, m.Message)
		}
	}
	for _, u := range s.users {
		out.Views = append(out.Views, s.openViews(u.ID)...)
	}
	return out
}

// Calls returns the latest calls of the app, 5,000 at most, oldest first.
func (s *Sim) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// CallsOf returns the recorded calls of one method.
func (s *Sim) CallsOf(method string) []Call {
	return slices.DeleteFunc(s.Calls(), func(c Call) bool { return c.Method != method })
}

// Interactions returns the latest requests to the app, 5,000 at most, oldest first.
func (s *Sim) Interactions() []Interaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.interactions)
}

func (s *Sim) recordCall(name, verb, body string, status int, text string, answer fields, fault *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callSerial++
	code, _ := answer["error"].(string)
	call := Call{
		Seq: s.callSerial, At: s.clock(), Method: name, HTTP: verb, Body: clip(strings.ReplaceAll(body, s.token, "[token]")), Status: status, Answer: clip(text),
		Error: code, Faulty: fault.fails(), Dropped: fault.drops(),
	}
	if code != "" {
		s.log.Debug("slack simulator refused a call", "method", name, "error", code, "fault", call.Faulty)
	}
	s.calls = append(trim(s.calls), call)
	s.changed()
}

// trim drops the oldest tenth of a full record.
func trim[T any](records []T) []T {
	if len(records) < maxRecords {
		return records
	}
	return slices.Clone(records[maxRecords/10:])
}

func clip(text string) string {
	if len(text) > maxRecorded {
		return text[:maxRecorded] + "…"
	}
	return text
}
