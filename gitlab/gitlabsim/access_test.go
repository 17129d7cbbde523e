package gitlabsim_test

import (
	"fmt"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/gitlab/gitlabsim"
)

func TestWhoMay(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	must(t, w.g.AddToken("token-reading", w.dev, gitlabsim.PersonalToken, "read_api"))
	must(t, w.g.AddToken("token-gone", w.dev, gitlabsim.PersonalToken))
	w.g.RevokeToken("token-gone")
	blocked, err := w.g.AddUser(gitlabsim.User{Username: "blocked", State: "blocked"})
	must(t, err)
	must(t, w.g.AddToken("token-blocked", blocked.ID, gitlabsim.PersonalToken))
	must(t, w.g.AddGroupMember("shop", w.stranger, gitlabsim.Maintainer))
	outsider, err := w.g.AddUser(gitlabsim.User{Username: "outsider"})
	must(t, err)
	must(t, w.g.AddToken("token-outsider", outsider.ID, gitlabsim.PersonalToken))
	note := fmt.Sprintf("merge_requests/%d/notes", w.open("Change"))
	for _, tt := range []struct {
		name, person, method, path string
		body                       any
		status                     int
		says                       string
	}{
		{"no token", "", "GET", "", nil, 401, `{"message":"401 Unauthorized"}`},
		{"a wrong token", "nobody", "GET", "", nil, 401, `{"message":"401 Unauthorized"}`},
		{"a revoked token", "gone", "GET", "", nil, 401, "invalid_token"},
		{"a blocked user", "blocked", "GET", "", nil, 403, "blocked"},
		{"a private project isn't there for others", "outsider", "GET", "", nil, 404, `{"message":"404 Project Not Found"}`},
		{"a member of the group sees it", "stranger", "GET", "hooks", nil, 200, "[]"},
		{"a reading token reads", "reading", "GET", note, nil, 200, "[]"},
		{"a reading token doesn't write", "reading", "POST", note, m{"body": "x"}, 403, "insufficient_scope"},
		{"one's own account", "bot", "GET", "/user", nil, 200, `"username":"bot"`},
		{"a role in the project", "bot", "GET", fmt.Sprintf("members/all/%d", w.maintainer), nil, 200, `"access_level":40`},
		{"a role through the group", "bot", "GET", fmt.Sprintf("members/all/%d", w.stranger), nil, 200, `"access_level":40`},
		{"no role", "bot", "GET", fmt.Sprintf("members/all/%d", outsider.ID), nil, 404, "404 Not found"},
		{"a role in the group", "bot", "GET", fmt.Sprintf("/groups/shop/members/all/%d", w.stranger), nil, 200, `"access_level":40`},
		{"no role in the group", "bot", "GET", fmt.Sprintf("/groups/shop/members/all/%d", w.dev), nil, 404, "404 Not found"},
		{"a user by e-mail address", "bot", "GET", "/users?search=dev@example.com", nil, 200, `"username":"dev"`},
		{"a part of an address finds nobody", "bot", "GET", "/users?search=dev@example", nil, 200, `[]`},
		{"a user by name", "bot", "GET", "/users?username=dev", nil, 200, `"username":"dev"`},
		{"an operation that the simulator doesn't know", "bot", "GET", "issues", nil, 404, `{"error":"404 Not Found"}`},
		{"a method that the path doesn't have", "bot", "PATCH", note, nil, 405, `405`},
	} {
		got := w.as(tt.person, tt.method, tt.path, tt.body)
		if got.status != tt.status || !strings.Contains(string(got.raw), tt.says) {
			t.Errorf("%s: got %d %s", tt.name, got.status, got.raw)
		}
	}
	if n := len(w.g.UnknownRequests()); n != 2 {
		t.Errorf("%d unknown requests, want 2", n)
	}
}

func TestPrivateOrUnconfirmedAddressesAreFoundByAdministratorsOnly(t *testing.T) {
	w := newWorld(t, gitlabsim.Options{})
	for _, u := range []gitlabsim.User{
		{Username: "hidden", Email: "hidden@example.com", PrivateEmail: true}, {Username: "forger", Email: "forger@example.com", Unconfirmed: true},
		{Username: "root", Admin: true},
	} {
		_, err := w.g.AddUser(u)
		must(t, err)
	}
	root := w.g.Snapshot().Users[len(w.g.Snapshot().Users)-1]
	must(t, w.g.AddToken("token-root", root.ID, gitlabsim.PersonalToken))
	for _, address := range []string{"hidden@example.com", "forger@example.com"} {
		if got := w.as("bot", "GET", "/users?search="+address, nil); len(got.json.([]any)) != 0 {
			t.Errorf("%s is found: %s", address, got.raw)
		}
		if got := w.as("root", "GET", "/users?search="+address, nil); len(got.json.([]any)) != 1 {
			t.Errorf("%s is not found by an administrator: %s", address, got.raw)
		}
	}
}
