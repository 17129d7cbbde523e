package config

import (
	"strings"
	"testing"
)

func TestRegistriesAreHostsWithWholeCredentials(t *testing.T) {
	const rest = "gitlab: {url: 'https://gitlab.example.com', token: x, secret_tokens: [y]}\nregistries: "
	for text, want := range map[string]string{
		"[{host: registry.example.com:5000, username: u, password: p}, {host: ghcr.io}]": "",
		"[{host: 'https://registry.example.com/x'}]":                                     "registries[0].host: ",
		"[{host: a.example.com}, {host: a.example.com}]":                                 "registries[1].host: \"a.example.com\" is there twice",
		"[{host: a.example.com, username: u}]":                                           "belong together",
		"[{host: a.example.com, username: u, password_file: /does/not/exist}]":           "registries[0].password_file: ",
	} {
		c, err := Parse([]byte(rest+text+"\n"), func(string) (string, bool) { return "", false })
		switch {
		case want == "" && (err != nil || len(c.Registries) != 2 || c.Registries[0].Password.Reveal() != "p"):
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
