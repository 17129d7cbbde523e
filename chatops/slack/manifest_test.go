package slack

import (
	"encoding/json"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestTheManifestLeadsBackToSlipway(t *testing.T) {
	var m manifest
	if err := json.Unmarshal([]byte(Manifest("https://slipway.example.com/")), &m); err != nil {
		t.Fatal(err)
	}
	if m.Settings.Interactivity.URL != "https://slipway.example.com/slack/interactions" || !m.Settings.Interactivity.Enabled ||
		m.Features.Commands[0].URL != "https://slipway.example.com/slack/commands" || m.Features.Commands[0].Command != "/slipway" {
		t.Errorf("manifest %+v", m)
	}
	if len(m.Information.Name) > 35 || len(m.Information.Description) > 140 || len(m.Features.Commands[0].Description) > 2000 {
		t.Error("a text is longer than Slack takes")
	}
	if !strings.HasPrefix(m.Information.Color, "#") || len(m.Information.Color) != 7 {
		t.Errorf("color %q", m.Information.Color)
	}
}

func TestTheManifestsScopesAreEnough(t *testing.T) {
	a := ask(t, func(o *slacksim.Options) { o.Scopes = scopes() }, func(o *Options) { o.MatchEmail = true })
	if _, err := a.sim.Press(t.Context(), a.press("approve")); err != nil {
		t.Error(err)
	}
	if err := a.answerTo(t, 1, false, "no", func(r *pipeline.Request) { r.ResponseURL = "" }); err != nil {
		t.Error(err)
	}
	a.openForm(t)
	if _, _, err := a.c.GitLabUser(t.Context(), "U0ANNA"); err != nil {
		t.Error(err)
	}
	public := newWrite(func(p *pipeline.Plan, _ *pipeline.Delivery) { p.Channel = "#general" })
	public.d.ID = "other"
	public.must(t, a.c)
	a.w.d.Handles, a.w.task = pipeline.Handles{}, pipeline.Task{Attempt: 2, Unknown: true}
	second, err := New(Options{Token: botToken, SigningSecret: signingSecret, APIURL: a.sim.URL()})
	if err != nil {
		t.Fatal(err)
	}
	a.w.d.Created = noon
	a.w.must(t, second)
	only(t, a.sim)
}
