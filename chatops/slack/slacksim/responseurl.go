package slacksim

import (
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// responseURL is an address that an interaction gave to the app: five uses within thirty minutes.
type responseURL struct {
	user    string
	channel string
	ts      string // of the message that was pressed; empty after a command
	made    time.Time
	uses    int
}

func (s *Sim) newResponseURL(userID, channelID, ts string) string {
	id := s.nextID("R0")
	s.responseURLs[id] = &responseURL{user: userID, channel: channelID, ts: ts, made: s.clock()}
	return s.publicURL + "/actions/" + id
}

func (s *Sim) serveResponseURL(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	s.serve(w, r, "response_url", string(body), func() (int, http.Header, fields) {
		status, answer := s.respond(r.PathValue("id"), body)
		return status, nil, answer
	})
}

// respond does what an app posted to a response address.
func (s *Sim) respond(id string, body []byte) (int, fields) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.responseURLs[id]
	switch {
	case u == nil:
		return http.StatusNotFound, fields{"ok": false, "error": "invalid_url"}
	case s.clock().Sub(u.made) > responseURLLife:
		return http.StatusNotFound, fields{"ok": false, "error": "expired_url"}
	case u.uses >= responseURLUses:
		return http.StatusNotFound, fields{"ok": false, "error": "used_url"}
	}
	if ref := s.reply(u, body, "response_url"); ref != nil {
		out := fields{"ok": false, "error": ref.code}
		for key, value := range ref.extra {
			out[key] = value
		}
		return http.StatusBadRequest, out
	}
	u.uses++
	return http.StatusOK, fields{"ok": true}
}

// reply shows a message that was sent to a response address or as the answer to a command.
func (s *Sim) reply(u *responseURL, body []byte, by string) *refusal {
	var (
		a      args
		intent struct {
			ResponseType    string `json:"response_type"`
			ReplaceOriginal bool   `json:"replace_original"`
			DeleteOriginal  bool   `json:"delete_original"`
		}
	)
	if decode(body, &a.json) != nil || a.json == nil || json.Unmarshal(body, &intent) != nil {
		return refuse("invalid_payload")
	}
	// Clients write an empty metadata object into every such message; here Slack doesn't look at it.
	delete(a.json, "metadata")
	original := s.messageFor(u.user, u.channel, u.ts)
	if intent.DeleteOriginal {
		if original == nil {
			return refuse("message_not_found")
		}
		s.remove(original, by)
		return nil
	}
	shown, ref := s.readContent(a)
	if ref != nil {
		return ref
	}
	if intent.ReplaceOriginal {
		if original == nil {
			return refuse("message_not_found")
		}
		// A replacement is whole: it keeps none of the blocks of the original.
		shown.hasBlocks = true
		s.change(original, shown, by)
		return nil
	}
	m := s.appMessage(u.channel, shown)
	if intent.ResponseType != "in_channel" {
		m.EphemeralTo = u.user
	}
	s.addMessage(m, by)
	return nil
}
