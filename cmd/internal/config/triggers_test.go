package config

import (
	"slices"
	"strings"
	"testing"
)

func TestTriggersAreForTheirProjects(t *testing.T) {
	c := Config{Triggers: []Trigger{
		{Projects: []string{"shop/**"}, Refs: []string{"docs"}}, {Projects: []string{"shop/api"}, Refs: []string{"release/*", "v*"}},
	}}
	for project, want := range map[string][]string{
		"shop/api": {"docs", "release/*", "v*"}, "shop/web": {"docs"}, "bank/vault": nil,
	} {
		if got := c.TriggerRefs(project); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", project, got, want)
		}
	}
}

func TestBadTriggersAreNamed(t *testing.T) {
	const rest = "gitlab: {url: 'https://gitlab.example.com', token: x, secret_tokens: [y]}\n"
	for text, want := range map[string]string{
		"triggers: [{refs: [main]}]":                           "triggers[0].projects: missing",
		"triggers: [{projects: [shop/api]}]":                   "triggers[0].refs: missing",
		"triggers: [{projects: [shop/api], refs: ['[']}]":      `triggers[0].refs: "[" is not a pattern`,
		"triggers: [{projects: ['shop/'], refs: [main]}]":      `triggers[0].projects: "shop/"`,
		"triggers: [{projects: [shop/api], branches: [main]}]": "unknown field",
	} {
		_, err := Parse([]byte(rest+text+"\n"), env)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
