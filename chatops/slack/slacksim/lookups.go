package slacksim

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

func (s *Sim) authTest(args) (fields, *refusal) {
	return fields{
		"url": s.publicURL + "/", "team": s.team.Name, "team_id": s.team.ID, "user": s.bot.Name,
		"user_id": s.bot.UserID, "bot_id": s.bot.BotID, "app_id": s.bot.AppID, "is_enterprise_install": false,
	}, nil
}

// scopeFor is the scope that reading a conversation needs; what is "read" or "history".
func (c *Channel) scopeFor(what string) string {
	switch {
	case c.DirectWith != "":
		return "im:" + what
	case c.Private:
		return "groups:" + what
	}
	return "channels:" + what
}

// readable finds a channel by id whose messages the app may read.
func (s *Sim) readable(a args) (*Channel, *refusal) {
	c := s.channel(a.str("channel"))
	if c == nil || (c.Private && !c.BotMember) {
		return nil, refuse("channel_not_found")
	}
	if ref := s.need(c.scopeFor("history")); ref != nil {
		return nil, ref
	}
	if !c.BotMember {
		return nil, refuse("not_in_channel")
	}
	return c, nil
}

func (s *Sim) conversationsHistory(a args) (fields, *refusal) {
	c, ref := s.readable(a)
	if ref != nil {
		return nil, ref
	}
	var found []*message
	for _, m := range slices.Backward(s.messages[c.ID]) {
		if !m.Deleted && (m.ThreadTS == "" || m.Broadcast) {
			found = append(found, m)
		}
	}
	return s.page(a, found)
}

func (s *Sim) conversationsReplies(a args) (fields, *refusal) {
	c, ref := s.readable(a)
	if ref != nil {
		return nil, ref
	}
	parent := s.findMessage(c.ID, a.str("ts"))
	if parent == nil {
		return nil, refuse("thread_not_found")
	}
	var found []*message
	for _, m := range s.messages[c.ID] {
		if !m.Deleted && (m.TS == parent.TS || m.ThreadTS == parent.TS) {
			found = append(found, m)
		}
	}
	return s.page(a, found)
}

// page cuts messages to a time range and a page.
func (s *Sim) page(a args, found []*message) (fields, *refusal) {
	oldest, latest := a.str("oldest"), a.str("latest")
	if _, ok := parseTS(oldest); !ok {
		return nil, refuse("invalid_ts_oldest")
	}
	if _, ok := parseTS(latest); !ok {
		return nil, refuse("invalid_ts_latest")
	}
	found = slices.DeleteFunc(found, func(m *message) bool {
		return !within(m.TS, oldest, latest, a.flag("inclusive"))
	})
	limit, ref := a.limit(100, 999)
	if ref != nil {
		return nil, ref
	}
	from, to, next, ref := cut(a, len(found), limit)
	if ref != nil {
		return nil, ref
	}
	messages := make([]map[string]any, 0, to-from)
	for _, m := range found[from:to] {
		messages = append(messages, s.wireMessage(m, m.current(), a.flag("include_all_metadata")))
	}
	return fields{
		"messages": messages, "has_more": next != "", "pin_count": 0, "response_metadata": fields{"next_cursor": next},
	}, nil
}

// parseTS reads a message timestamp into microseconds; empty means none.
func parseTS(ts string) (int64, bool) {
	if ts == "" {
		return 0, true
	}
	seconds, fraction, _ := strings.Cut(ts, ".")
	whole, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || whole < 0 || whole > 1<<40 || len(fraction) > 6 {
		return 0, false
	}
	micros, err := strconv.ParseInt((fraction + "000000")[:6], 10, 64)
	return whole*1e6 + micros, err == nil && micros >= 0
}

func within(ts, oldest, latest string, inclusive bool) bool {
	at, _ := parseTS(ts)
	from, _ := parseTS(oldest)
	to, _ := parseTS(latest)
	if inclusive && ((oldest != "" && at == from) || (latest != "" && at == to)) {
		return true
	}
	return (oldest == "" || at > from) && (latest == "" || at < to)
}

// cut pages through count items; a cursor says where a page begins.
func cut(a args, count, limit int) (from, to int, next string, ref *refusal) {
	if cursor := a.str("cursor"); cursor != "" {
		raw, err := base64.StdEncoding.DecodeString(cursor)
		number, ok := strings.CutPrefix(string(raw), "from:")
		if err == nil && ok {
			from, err = strconv.Atoi(number)
		}
		if err != nil || !ok || from < 0 || from > count {
			return 0, 0, "", refuse("invalid_cursor")
		}
	}
	to = min(from+limit, count)
	if to < count {
		next = base64.StdEncoding.EncodeToString([]byte("from:" + strconv.Itoa(to)))
	}
	return from, to, next, nil
}

func (s *Sim) conversationsInfo(a args) (fields, *refusal) {
	c := s.channel(a.str("channel"))
	if c == nil || (c.Private && !c.BotMember) {
		return nil, refuse("channel_not_found")
	}
	if ref := s.need(c.scopeFor("read")); ref != nil {
		return nil, ref
	}
	return fields{"channel": s.wireChannel(c)}, nil
}

func (s *Sim) conversationsList(a args) (fields, *refusal) {
	kinds := strings.Split(a.str("types"), ",")
	if kinds[0] == "" {
		kinds = []string{"public_channel"}
	}
	for i, kind := range kinds {
		kinds[i] = strings.TrimSpace(kind)
		scope := map[string]string{
			"public_channel": "channels:read", "private_channel": "groups:read", "im": "im:read", "mpim": "mpim:read",
		}[kinds[i]]
		if scope == "" {
			return nil, refuse("invalid_types")
		}
		if ref := s.need(scope); ref != nil {
			return nil, ref
		}
	}
	var found []*Channel
	for _, c := range s.channels {
		if (c.Private && !c.BotMember) || (c.Archived && a.flag("exclude_archived")) {
			continue
		}
		if slices.Contains(kinds, c.kind()) {
			found = append(found, c)
		}
	}
	limit, ref := a.limit(100, 1000)
	if ref != nil {
		return nil, ref
	}
	from, to, next, ref := cut(a, len(found), limit)
	if ref != nil {
		return nil, ref
	}
	channels := make([]fields, 0, to-from)
	for _, c := range found[from:to] {
		channels = append(channels, s.wireChannel(c))
	}
	return fields{"channels": channels, "response_metadata": fields{"next_cursor": next}}, nil
}

func (s *Sim) conversationsOpen(a args) (fields, *refusal) {
	u := s.user(a.str("users"))
	if u == nil || u.Deleted {
		return nil, refuse("user_not_found")
	}
	return fields{"channel": fields{"id": s.direct(u.ID).ID}}, nil
}

func (c *Channel) kind() string {
	switch {
	case c.DirectWith != "":
		return "im"
	case c.Private:
		return "private_channel"
	}
	return "public_channel"
}

func (s *Sim) wireChannel(c *Channel) fields {
	out := fields{
		"id": c.ID, "is_archived": c.Archived, "is_im": c.DirectWith != "", "is_private": c.Private,
		"is_channel": !c.Private, "is_group": false, "is_mpim": false, "context_team_id": s.team.ID,
	}
	if c.DirectWith != "" {
		out["user"] = c.DirectWith
		return out
	}
	out["name"], out["name_normalized"], out["is_member"] = c.Name, c.Name, c.BotMember
	return out
}

func (s *Sim) usersInfo(a args) (fields, *refusal) {
	u := s.user(a.str("user"))
	if u == nil {
		return nil, refuse("user_not_found")
	}
	return fields{"user": s.wireUser(u)}, nil
}

func (s *Sim) usersLookupByEmail(a args) (fields, *refusal) {
	email := a.str("email")
	for _, u := range s.users {
		if email != "" && strings.EqualFold(u.Email, email) && !u.Deleted && !u.Bot {
			return fields{"user": s.wireUser(u)}, nil
		}
	}
	return nil, refuse("users_not_found")
}

func (s *Sim) usersList(a args) (fields, *refusal) {
	limit, ref := a.limit(1000, 1000)
	if ref != nil {
		return nil, ref
	}
	from, to, next, ref := cut(a, len(s.users), limit)
	if ref != nil {
		return nil, ref
	}
	members := make([]fields, 0, to-from)
	for _, u := range s.users[from:to] {
		members = append(members, s.wireUser(u))
	}
	return fields{
		"members": members, "cache_ts": s.clock().Unix(), "response_metadata": fields{"next_cursor": next},
	}, nil
}

// wireUser is the user object. Slack leaves most flags out for deleted users, and e-mails without the scope.
func (s *Sim) wireUser(u *User) fields {
	profile := fields{"real_name": u.RealName, "display_name": u.Name, "team": s.team.ID}
	if s.scopes["users:read.email"] && u.Email != "" {
		profile["email"] = u.Email
	}
	out := fields{
		"id": u.ID, "team_id": s.team.ID, "name": u.Name, "deleted": u.Deleted, "profile": profile,
		"is_bot": u.Bot, "is_app_user": false, "updated": s.clock().Unix(),
	}
	if !u.Deleted {
		out["real_name"] = u.RealName
		out["is_restricted"], out["is_ultra_restricted"] = u.Guest, false
		out["is_admin"], out["is_owner"], out["is_primary_owner"] = false, false, false
		out["is_email_confirmed"] = u.EmailConfirmed
		out["tz"], out["tz_label"], out["tz_offset"] = "Etc/UTC", "UTC", 0
	}
	return out
}
