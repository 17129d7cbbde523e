package config

import (
	"slices"
	"strings"
	"testing"
)

func TestNamesAreForTheirProjects(t *testing.T) {
	c := Config{
		Jobs: []Jobs{{Projects: []string{"shop/**"}, Names: []string{"smoke"}}, {Projects: []string{"shop/api"}, Names: []string{"e2e-*"}}},
		Slack: &Slack{Channel: "#deploys", Channels: []Channels{
			{Projects: []string{"shop/**"}, Names: []string{"#shop-*"}}, {Projects: []string{"bank/*"}, Names: []string{"C0123"}},
		}},
		Sources: []Source{{Name: "everybody's"}, {Name: "the bank's", Projects: []string{"bank/*"}}},
	}
	for project, want := range map[string]struct{ jobs, channels, sources []string }{
		"shop/api":   {[]string{"smoke", "e2e-*"}, []string{"#deploys", "#shop-*"}, []string{"everybody's"}},
		"bank/vault": {nil, []string{"#deploys", "C0123"}, []string{"everybody's", "the bank's"}},
		"other/one":  {nil, []string{"#deploys"}, []string{"everybody's"}},
	} {
		channels, held := c.ChannelNames(project)
		if !held || !slices.Equal(c.JobNames(project), want.jobs) || !slices.Equal(channels, want.channels) || !slices.Equal(c.SourceNames(project), want.sources) {
			t.Errorf("%s: jobs %q, channels %q (%t), sources %q", project, c.JobNames(project), channels, held, c.SourceNames(project))
		}
	}
	c.Slack = &Slack{Channel: "#a*b"}
	if channels, held := c.ChannelNames("shop/api"); held || !slices.Equal(channels, []string{`#a\*b`}) {
		t.Errorf("without a list: %q, held %t", channels, held)
	}
	c.Slack = nil
	if channels, held := c.ChannelNames("shop/api"); held || len(channels) > 0 {
		t.Errorf("without Slack: %q, held %t", channels, held)
	}
}

func TestBadNamesAreNamed(t *testing.T) {
	const rest = "gitlab: {url: 'https://gitlab.example.com', token: x, secret_tokens: [y]}\n"
	const slack = "slack: {token: x, signing_secret: y, channels: [%s]}"
	for text, want := range map[string]string{
		"jobs: [{names: [a]}]":                                                                          "jobs[0].projects: missing",
		"jobs: [{projects: [shop/api]}]":                                                                "jobs[0].names: missing",
		"jobs: [{projects: [shop/api], names: ['[']}]":                                                  `jobs[0].names: "[" is not a pattern`,
		"jobs: [{projects: ['shop/'], names: [a]}]":                                                     `jobs[0].projects: "shop/"`,
		strings.Replace(slack, "%s", "{names: ['#a']}", 1):                                              "slack.channels[0].projects: missing",
		strings.Replace(slack, "%s", "{projects: [shop/api]}", 1):                                       "slack.channels[0].names: missing",
		"metrics_sources: [{name: a, projects: ['shop/'], prometheus: {url: 'https://p.example.com'}}]": `metrics_sources[0].projects: "shop/"`,
	} {
		_, err := Parse([]byte(rest+text+"\n"), env)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
