package slack

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMissingScopesAreNamed(t *testing.T) {
	sim, c := workspace(t, nil, nil)
	if missing, err := c.MissingScopes(t.Context()); err != nil || len(missing) > 0 {
		t.Errorf("missing %v, %v", missing, err)
	}
	sim.SetScopes("chat:write", "commands", "channels:read", "channels:history", "groups:read")
	missing, err := c.MissingScopes(t.Context())
	if diff := cmp.Diff([]string{"chat:write.public", "groups:history"}, missing); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestMembershipOfAChannel(t *testing.T) {
	for channel, want := range map[string]string{
		"#shop-deploys": "member", "C0DEPLOYS": "member", "general": "no member",
		"#secret": "cannot use the Slack channel #secret", "#none": "cannot use the Slack channel #none",
		"C0OLD": "The Slack channel C0OLD is archived",
	} {
		_, c := workspace(t, nil, nil)
		is, err := c.IsMember(t.Context(), channel)
		got := map[bool]string{true: "member", false: "no member"}[is]
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", channel, got, want)
		}
	}
}
