package slack

import (
	"strings"
	"testing"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
)

func TestWhoInGitLabASlackUserIs(t *testing.T) {
	match := func(o *Options) { o.MatchEmail = true }
	for _, c := range []struct {
		name, id        string
		sims            func(*slacksim.Options)
		options         func(*Options)
		username, email string
		says            string // the refusal
	}{
		{name: "the operator's map comes first", id: "U0ANNA", options: func(o *Options) { o.MatchEmail, o.People = true, map[string]string{"U0ANNA": "ada"} }, username: "ada"},
		{name: "the map also names guests", id: "U0GUEST", options: func(o *Options) { o.People = map[string]string{"U0GUEST": "gus"} }, username: "gus"},
		{name: "a confirmed address", id: "U0ANNA", options: match, email: "anna@example.com"},
		{name: "addresses count only where that is opted in", id: "U0ANNA", says: "Ask an operator to add U0ANNA"},
		{name: "an unconfirmed address", id: "U0BEN", options: match, says: "not confirmed"},
		{name: "a guest", id: "U0GUEST", options: match, says: "Guests"},
		{name: "a bot", id: "U0ROBOT", options: match, says: "Bots"},
		{name: "somebody who left", id: "U0GONE", options: match, says: "deactivated"},
		{name: "nobody", id: "U0NOBODY", options: match, says: "does not know this user"},
		{name: "no address", id: "U0NOMAIL", options: match, says: "users:read.email"},
		{name: "a token without the scope for addresses", id: "U0ANNA", options: match, says: "users:read.email", sims: func(o *slacksim.Options) { o.Scopes = []string{"users:read"} }},
		{name: "a token that may look up nobody", id: "U0ANNA", options: match, says: "the scope users:read:", sims: func(o *slacksim.Options) { o.Scopes = []string{"chat:write"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, client := workspace(t, c.sims, c.options)
			username, email, err := client.GitLabUser(t.Context(), c.id)
			if username != c.username || email != c.email {
				t.Errorf("got %q, %q", username, email)
			}
			if c.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if f := mustFail(t, err); !f.Permanent || !strings.Contains(f.Detail, c.says) || !strings.HasSuffix(f.Detail, ".") {
				t.Errorf("failure %+v", f)
			}
		})
	}
}

func TestPeopleOfOtherWorkspacesAreStrangers(t *testing.T) {
	user := func(change func(*api.User)) *api.User {
		u := &api.User{ID: "U1", TeamID: "T1", IsEmailConfirmed: true, Profile: api.UserProfile{Email: "a@example.com"}}
		change(u)
		return u
	}
	me := identity{user: "U0", team: "T1", enterprise: "E1"}
	for _, c := range []struct {
		name string
		user *api.User
		me   identity
		ok   bool
	}{
		{"a colleague", user(func(*api.User) {}), me, true},
		{"a colleague in another workspace of the organisation", user(func(u *api.User) { u.TeamID, u.Enterprise.EnterpriseID = "T2", "E1" }), me, true},
		{"another company in a shared channel", user(func(u *api.User) { u.TeamID = "T2" }), me, false},
		{"another organisation", user(func(u *api.User) { u.TeamID, u.Enterprise.EnterpriseID = "T2", "E2" }), me, false},
		{"no organisation on either side", user(func(u *api.User) { u.TeamID = "T2" }), identity{user: "U0", team: "T1"}, false},
		{"marked as a stranger", user(func(u *api.User) { u.IsStranger = true }), me, false},
		{"a guest of a single channel", user(func(u *api.User) { u.IsUltraRestricted = true }), me, false},
		{"a workflow", user(func(u *api.User) { u.IsWorkflowBot = true }), me, false},
		{"Slackbot", user(func(u *api.User) { u.ID = "USLACKBOT" }), me, false},
		{"an unknown workspace of our own", user(func(u *api.User) { u.TeamID = "" }), identity{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if why := stranger(c.user, c.user.ID, c.me); (why == "") != c.ok {
				t.Errorf("got %q", why)
			}
		})
	}
	if stranger(user(func(*api.User) {}), "U2", me) == "" {
		t.Error("the answer about somebody else is taken")
	}
}

func TestATroubledLookUpIsTriedAgain(t *testing.T) {
	sim, c := workspace(t, nil, func(o *Options) { o.MatchEmail = true })
	sim.Fail(slacksim.Fault{Method: "users.info", Status: 503})
	_, _, err := c.GitLabUser(t.Context(), "U0ANNA")
	if f := mustFail(t, err); f.Permanent {
		t.Errorf("failure %+v", f)
	}
	sim.Fail(slacksim.Fault{Method: "users.info", Body: `{"ok":false}`})
	if username, email, err := c.GitLabUser(t.Context(), "U0ANNA"); err == nil {
		t.Errorf("an answer without a result gives %q %q", username, email)
	}
}
