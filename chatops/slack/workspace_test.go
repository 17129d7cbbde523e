package slack

import (
	"errors"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
)

const (
	botToken      = "xoxb-test-token"
	signingSecret = "signing-secret"
)

func errorsAs(err error, target any) bool { return err != nil && errors.As(err, target) }

// workspace starts a Slack with people and channels, and a client of it.
func workspace(t *testing.T, sims func(*slacksim.Options), options func(*Options)) (*slacksim.Sim, *Client) {
	t.Helper()
	so := slacksim.Options{Token: botToken, SigningSecret: signingSecret}
	if sims != nil {
		sims(&so)
	}
	sim, err := slacksim.New(so)
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, u := range []slacksim.User{
		{ID: "U0ANNA", Name: "anna", RealName: "Anna Berg", Email: "anna@example.com", EmailConfirmed: true},
		{ID: "U0BEN", Name: "ben", RealName: "Ben Ode", Email: "ben@example.com"},
		{ID: "U0GUEST", Name: "gus", RealName: "Gus T", Email: "gus@example.com", EmailConfirmed: true, Guest: true},
		{ID: "U0GONE", Name: "gone", RealName: "Gone By", Email: "gone@example.com", Deleted: true},
		{ID: "U0ROBOT", Name: "robot", RealName: "Robot", Email: "robot@example.com", EmailConfirmed: true, Bot: true},
		{ID: "U0NOMAIL", Name: "nomail", RealName: "No Mail", EmailConfirmed: true},
	} {
		if _, err := sim.AddUser(u); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []slacksim.Channel{
		{ID: "C0DEPLOYS", Name: "shop-deploys", BotMember: true},
		{ID: "C0PUBLIC", Name: "general"},
		{ID: "C0SECRET", Name: "secret", Private: true},
		{ID: "C0OLD", Name: "old", Archived: true, BotMember: true},
	} {
		if _, err := sim.AddChannel(c); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Token: botToken, SigningSecret: signingSecret, APIURL: sim.URL(), ConsoleURL: "https://slipway.example.com", Timeout: 5 * time.Second}
	// The scene's delivery is made after this process has started.
	o.Now = func() time.Time { return noon.Add(-time.Hour) }
	if options != nil {
		options(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []interface{ SetBurst(int) }{c.limits.updates, c.limits.lookups, c.limits.lists, c.limits.ephemerals} {
		l.SetBurst(10000) // tests send more than Slack takes
	}
	c.limits.postsTo("C0DEPLOYS").SetBurst(10000)
	c.limits.postsTo("#shop-deploys").SetBurst(10000)
	return sim, c
}
