package slacksim

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// User is a person or a bot of the workspace.
type User struct {
	// ID such as "U0ANNA"; made up when empty.
	ID       string `json:"id"`
	Name     string `json:"name"`
	RealName string `json:"real_name"`
	// Email is shown to apps with the users:read.email scope.
	Email          string `json:"email,omitempty"`
	EmailConfirmed bool   `json:"email_confirmed,omitempty"`
	Guest          bool   `json:"guest,omitempty"`
	Bot            bool   `json:"bot,omitempty"`
	Deleted        bool   `json:"deleted,omitempty"`
}

// Channel is a conversation.
type Channel struct {
	// ID such as "C0DEPLOYS"; made up when empty.
	ID string `json:"id"`
	// Name without the hash.
	Name      string `json:"name"`
	Private   bool   `json:"private,omitempty"`
	Archived  bool   `json:"archived,omitempty"`
	BotMember bool   `json:"bot_member,omitempty"`
	// Members are the user ids in the channel; nil means everybody.
	Members []string `json:"members,omitempty"`
	// DirectWith is the user id of a direct conversation with the bot.
	DirectWith string `json:"direct_with,omitempty"`
}

// AddUser adds somebody and returns them with the id filled in.
func (s *Sim) AddUser(u User) (User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.ID == "" {
		u.ID = s.nextID("U0")
	}
	if !regexp.MustCompile(`^[UW][A-Z0-9]+$`).MatchString(u.ID) {
		return User{}, fmt.Errorf("add user: %q is not a user id", u.ID)
	}
	if u.Name == "" {
		return User{}, fmt.Errorf("add user %s: the name is empty", u.ID)
	}
	for _, other := range s.users {
		if other.ID == u.ID || other.Name == u.Name || (u.Email != "" && strings.EqualFold(other.Email, u.Email)) {
			return User{}, fmt.Errorf("add user %s: %s has the same id, name or e-mail", u.ID, other.ID)
		}
	}
	s.users = append(s.users, &u)
	s.changed()
	return u, nil
}

// ChangeUser lets change edit a user, for instance to delete them; the id stays.
func (s *Sim) ChangeUser(id string, change func(*User)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.user(id)
	if u == nil {
		return fmt.Errorf("change user %s: no such user", id)
	}
	change(u)
	u.ID = id
	s.changed()
	return nil
}

// AddChannel adds a conversation and returns it with the id filled in.
func (s *Sim) AddChannel(c Channel) (Channel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Name = strings.TrimPrefix(c.Name, "#")
	if c.ID == "" {
		c.ID = s.nextID("C0")
	}
	if !regexp.MustCompile(`^[CG][A-Z0-9]+$`).MatchString(c.ID) {
		return Channel{}, fmt.Errorf("add channel: %q is not a channel id", c.ID)
	}
	if c.Name == "" || len(c.Name) > 80 || strings.ToLower(c.Name) != c.Name || strings.ContainsAny(c.Name, " .#") {
		return Channel{}, fmt.Errorf("add channel %s: %q is not a channel name", c.ID, c.Name)
	}
	for _, other := range s.channels {
		if other.ID == c.ID || other.Name == c.Name {
			return Channel{}, fmt.Errorf("add channel %s: %s has the same id or name", c.ID, other.ID)
		}
	}
	c.Members = slices.Clone(c.Members)
	s.channels = append(s.channels, &c)
	s.changed()
	return c, nil
}

// ChangeChannel lets change edit a channel, for instance to archive it or to invite the bot; the id stays.
func (s *Sim) ChangeChannel(id string, change func(*Channel)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channel(id)
	if c == nil {
		return fmt.Errorf("change channel %s: no such channel", id)
	}
	change(c)
	c.ID = id
	s.changed()
	return nil
}

// Users returns everybody, the app's bot first.
func (s *Sim) Users() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copyUsers()
}

func (s *Sim) copyUsers() []User {
	out := make([]User, len(s.users))
	for i, u := range s.users {
		out[i] = *u
	}
	return out
}

// Channels returns all conversations in the order in which they were made.
func (s *Sim) Channels() []Channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Channel, len(s.channels))
	for i, c := range s.channels {
		out[i] = copyChannel(c)
	}
	return out
}

func copyChannel(c *Channel) Channel {
	out := *c
	out.Members = slices.Clone(c.Members)
	return out
}

func (s *Sim) user(id string) *User {
	for _, u := range s.users {
		if u.ID == id {
			return u
		}
	}
	return nil
}

func (s *Sim) channel(id string) *Channel {
	for _, c := range s.channels {
		if c.ID == id {
			return c
		}
	}
	return nil
}

// channelNamed finds a channel by id or by name, with or without the hash.
func (s *Sim) channelNamed(ref string) *Channel {
	if c := s.channel(ref); c != nil {
		return c
	}
	name := strings.TrimPrefix(ref, "#")
	for _, c := range s.channels {
		if c.DirectWith == "" && c.Name == name {
			return c
		}
	}
	return nil
}

// direct finds or opens the bot's conversation with a user.
func (s *Sim) direct(userID string) *Channel {
	for _, c := range s.channels {
		if c.DirectWith == userID {
			return c
		}
	}
	c := &Channel{ID: s.nextID("D0"), Private: true, BotMember: true, Members: []string{userID}, DirectWith: userID}
	s.channels = append(s.channels, c)
	return c
}

func (c *Channel) has(userID string) bool {
	return c.Members == nil || slices.Contains(c.Members, userID)
}

// visibleTo says whether somebody can see what is posted in the channel.
func (c *Channel) visibleTo(userID string) bool {
	return !c.Private || c.has(userID)
}

// payloadName is the name that interaction payloads show: Slack doesn't give away names of private conversations.
func (c *Channel) payloadName() string {
	switch {
	case c.DirectWith != "":
		return "directmessage"
	case c.Private:
		return "privategroup"
	}
	return c.Name
}
