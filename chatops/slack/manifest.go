package slack

import (
	"encoding/json"
	"strings"
)

// Paths below Slipway's own address to which Slack sends what people do.
const (
	pathInteractions = "/slack/interactions"
	pathCommands     = "/slack/commands"
)

// scopes are what the bot token must be allowed: to write, also in public channels that
// it was not invited to; to find its own message again after a crash; to take the slash
// command; and to look up who a person is.
func scopes() []string {
	return []string{
		"chat:write", "chat:write.public", "commands",
		"channels:read", "channels:history", "groups:read", "groups:history",
		"users:read", "users:read.email",
	}
}

type manifest struct {
	Information struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Color       string `json:"background_color"`
	} `json:"display_information"`
	Features struct {
		Bot struct {
			Name   string `json:"display_name"`
			Online bool   `json:"always_online"`
		} `json:"bot_user"`
		Commands []slashCommand `json:"slash_commands"`
	} `json:"features"`
	OAuth struct {
		Scopes struct {
			Bot []string `json:"bot"`
		} `json:"scopes"`
	} `json:"oauth_config"`
	Settings struct {
		Interactivity struct {
			Enabled bool   `json:"is_enabled"`
			URL     string `json:"request_url"`
		} `json:"interactivity"`
		OrgDeploy  bool `json:"org_deploy_enabled"`
		SocketMode bool `json:"socket_mode_enabled"`
		Rotation   bool `json:"token_rotation_enabled"`
	} `json:"settings"`
}

type slashCommand struct {
	Command     string `json:"command"`
	URL         string `json:"url"`
	Description string `json:"description"`
	Hint        string `json:"usage_hint"`
	Escape      bool   `json:"should_escape"`
}

// Manifest describes the app as Slack wants it, in JSON, for Slipway at url.
// Source: https://docs.slack.dev/reference/app-manifest
func Manifest(url string) string {
	url = strings.TrimRight(url, "/")
	var m manifest
	m.Information.Name = "Slipway"
	m.Information.Description = "Delivers what was merged in GitLab, and asks before it goes live"
	m.Information.Color = "#1f3a5f"
	m.Features.Bot.Name, m.Features.Bot.Online = "slipway", true
	m.Features.Commands = []slashCommand{{
		Command: "/slipway", URL: url + pathCommands, Description: "Where deliveries are shown, and what can be asked", Hint: "status | help",
	}}
	m.OAuth.Scopes.Bot = scopes()
	m.Settings.Interactivity.Enabled, m.Settings.Interactivity.URL = true, url+pathInteractions
	out, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "" // a struct of strings and booleans is always encoded
	}
	return string(out) + "\n"
}
