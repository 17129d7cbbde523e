package policy_test

import (
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

var (
	ada = policy.Person{ID: 1, Username: "ada", Access: policy.Maintainer, Groups: []string{"shop/ops"}}
	bob = policy.Person{ID: 2, Username: "bob", Access: policy.Developer}
	rae = policy.Person{ID: 3, Username: "rae", Access: policy.Reporter}
	gus = policy.Person{ID: 4, Username: "gus", Access: policy.Guest}
)

func TestMayJudge(t *testing.T) {
	facts := policy.Facts{AuthorID: 1, AuthorUsername: "ada", MergedByID: 2, MergedBy: "bob"}
	approvers := func(a ...string) policy.Rule { return policy.Rule{Approvers: a} }
	not := func(n ...string) policy.Rule { return policy.Rule{Not: n} }
	for _, c := range []struct {
		name   string
		person policy.Person
		rules  []policy.Rule
		want   string // the rule that allows, or the start of the refusal after "!"
	}{
		{"a Developer may when nothing is ruled", bob, nil, "role:developer"},
		{"a Developer may under an empty rule", bob, []policy.Rule{{}}, "role:developer"},
		{"a Reporter may not when nothing is ruled", rae, nil, "!@rae is Reporter in this project"},
		{"a Reporter may not under an empty rule", rae, []policy.Rule{{}}, "!@rae is not among the approvers (role:developer)."},
		{"somebody who is named may, whatever the role", gus, []policy.Rule{approvers("user:gus")}, "user:gus"},
		{"names ignore case, as GitLab's do", gus, []policy.Rule{approvers("user:Gus")}, "user:Gus"},
		{"a member of a named group may", ada, []policy.Rule{approvers("group:shop/ops")}, "group:shop/ops"},
		{"groups ignore case", ada, []policy.Rule{approvers("group:Shop/Ops")}, "group:Shop/Ops"},
		{"a member of another group may not", bob, []policy.Rule{approvers("group:shop/ops")}, "!@bob is not among the approvers (group:shop/ops)."},
		{"a group above or below is another group", ada, []policy.Rule{approvers("group:shop")}, "!@ada is not among"},
		{"a greater role is enough", ada, []policy.Rule{approvers("role:developer")}, "role:developer"},
		{"a lesser role is not", bob, []policy.Rule{approvers("role:maintainer")}, "!@bob is not among"},
		{"one of several approvers is enough", ada, []policy.Rule{approvers("user:zoe", "group:shop/ops")}, "group:shop/ops"},
		{"all rules must agree", bob, []policy.Rule{approvers("user:bob"), approvers("group:shop/ops")}, "!@bob is not among the approvers (group:shop/ops)."},
		{"all rules must agree, in any order", bob, []policy.Rule{approvers("group:shop/ops"), approvers("user:bob")}, "!@bob is not among the approvers (group:shop/ops)."},
		{"an empty rule beside another asks for a Developer all the same", gus, []policy.Rule{{}, approvers("user:gus")}, "!@gus is not among the approvers (role:developer)."},
		{"the rule that says something is the one that is recorded", ada, []policy.Rule{approvers("group:shop/ops"), {}}, "group:shop/ops"},
		{"the author is excluded where the rule says so", ada, []policy.Rule{not("author")}, "!@ada wrote this change"},
		{"the author is excluded by any of the rules", ada, []policy.Rule{approvers("user:ada"), not("author")}, "!@ada wrote this change"},
		{"who merged is excluded where the rule says so", bob, []policy.Rule{not("merger")}, "!@bob merged this change"},
		{"who merged may approve otherwise", bob, []policy.Rule{not("author")}, "role:developer"},
		{"somebody is excluded by name", bob, []policy.Rule{not("user:bob")}, "!@bob is excluded"},
		{"excluded names ignore case", bob, []policy.Rule{not("user:BOB")}, "!@bob is excluded"},
		{"exclusion wins over being named", ada, []policy.Rule{{Approvers: []string{"user:ada"}, Not: []string{"author"}}}, "!@ada wrote this change"},
		{"a stranger may not", policy.Person{SlackID: "U1"}, []policy.Rule{approvers("role:guest")}, "!Slipway does not know"},
		{"a stranger without a name is not the user without a name", policy.Person{ID: 9}, []policy.Rule{approvers("user:")}, "!somebody is not among"},
		{"a failed look-up is a refusal", policy.Person{ID: 1, Username: "ada", Access: policy.Owner, Problem: "GitLab is down."}, nil, "!GitLab is down."},
		{"a blocked person may not", policy.Person{ID: 1, Username: "ada", Access: policy.Owner, Blocked: true}, nil, "!@ada is blocked"},
		{"an unknown kind of approver matches nobody", ada, []policy.Rule{approvers("team:ops")}, "!@ada is not among"},
		{"an unknown role matches nobody", ada, []policy.Rule{approvers("role:admin")}, "!@ada is not among"},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, policy.MayJudge(c.person, facts, c.rules...), c.want) })
	}
}

func TestAuthorsAreKnownByIDOrName(t *testing.T) {
	rule := policy.Rule{Not: []string{"author"}}
	for _, c := range []struct {
		name  string
		facts policy.Facts
		want  string
	}{
		{"by id, after the name has changed", policy.Facts{AuthorID: 1, AuthorUsername: "old-name"}, "!@ada wrote"},
		{"by name, where GitLab told no id", policy.Facts{AuthorUsername: "Ada"}, "!@ada wrote"},
		{"somebody else did", policy.Facts{AuthorID: 2, AuthorUsername: "bob"}, "role:developer"},
		{"nobody knows who, so nobody can be somebody else", policy.Facts{}, "!GitLab does not tell who wrote"},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, policy.MayJudge(ada, c.facts, rule), c.want) })
	}
	unmerged := policy.MayJudge(ada, policy.Facts{AuthorID: 2}, policy.Rule{Not: []string{"merger"}})
	check(t, unmerged, "!GitLab does not tell who merged")
}

func TestCommandsTakeARole(t *testing.T) {
	ruled := policy.Rule{Approvers: []string{"group:shop/ops"}, Not: []string{"author", "user:ada"}}
	for _, c := range []struct {
		name string
		got  policy.Answer
		want string
	}{
		{"a Developer may command", policy.MayCommand(bob), "role:developer"},
		{"a Reporter may not command", policy.MayCommand(rae), "!@rae is Reporter in this project; it takes Developer or more."},
		{"a stranger may not command", policy.MayCommand(policy.Person{}), "!Slipway does not know"},
		{"a Reporter may ask", policy.MayAsk(rae), "role:reporter"},
		{"a Guest may not ask", policy.MayAsk(gus), "!@gus is Guest in this project; it takes Reporter or more."},
		{"a stranger may not ask", policy.MayAsk(policy.Person{}), "!Slipway does not know"},
		{"a Developer may roll back what is not ruled", policy.MayRollback(bob, policy.Rule{}), "role:developer"},
		{"a Developer may not roll back what others approve", policy.MayRollback(bob, ruled), "!@bob is not among"},
		{"an approver may roll back, also an own change", policy.MayRollback(ada, ruled), "group:shop/ops"},
		{"a rule that only excludes leaves the rollback to Developers", policy.MayRollback(ada, policy.Rule{Not: []string{"user:ada"}}), "role:developer"},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, c.got, c.want) })
	}
}

// check compares with the rule that allowed, or the start of the refusal after "!".
func check(t *testing.T, got policy.Answer, want string) {
	t.Helper()
	refusal, refused := strings.CutPrefix(want, "!")
	switch {
	case refused && (got.Allowed || !strings.HasPrefix(got.Refusal, refusal)):
		t.Errorf("got %+v, want a refusal that begins with %q", got, refusal)
	case !refused && (!got.Allowed || got.Rule != want || got.Refusal != ""):
		t.Errorf("got %+v, want it allowed by %s", got, want)
	}
}

func TestRulesAreValidated(t *testing.T) {
	for _, c := range []struct {
		name string
		rule policy.Rule
		want string // of the error, "" if there is none
	}{
		{"nothing is a rule", policy.Rule{}, ""},
		{"users, groups and roles", policy.Rule{Approvers: []string{"user:ada", "group:shop/ops", "role:Owner"}}, ""},
		{"author, merger and users are excluded", policy.Rule{Not: []string{"author", "merger", "user:ada"}}, ""},
		{"a name alone", policy.Rule{Approvers: []string{"ada"}}, `approver "ada": write user:NAME, group:PATH or role:ROLE`},
		{"an empty name", policy.Rule{Approvers: []string{"user:"}}, `approver "user:": write user:NAME`},
		{"another kind", policy.Rule{Approvers: []string{"team:ops"}}, `approver "team:ops": write user:NAME`},
		{"another role", policy.Rule{Approvers: []string{"role:admin"}}, `approver "role:admin": "admin" is not a GitLab role; use guest`},
		{"a group is not excluded", policy.Rule{Not: []string{"group:ops"}}, `not "group:ops": write author, merger or user:NAME`},
		{"nobody is excluded", policy.Rule{Not: []string{"user:"}}, `not "user:": write author, merger or user:NAME`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.rule.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestRolesAreReadAndWritten(t *testing.T) {
	for _, l := range []policy.AccessLevel{policy.Guest, policy.Planner, policy.Reporter, policy.Developer, policy.Maintainer, policy.Owner} {
		if got, err := policy.ParseAccessLevel(strings.ToLower(l.String())); err != nil || got != l {
			t.Errorf("%s was read as %s, %v", l, got, err)
		}
	}
	for level, want := range map[policy.AccessLevel]string{0: "no role", 5: "no role", 35: "Developer", 60: "Owner"} {
		if level.String() != want {
			t.Errorf("%d is %q, want %q", level, level, want)
		}
	}
	if _, err := policy.ParseAccessLevel("no role"); err == nil {
		t.Error("no role was read as a role")
	}
}

func TestPeopleHaveALabel(t *testing.T) {
	for want, p := range map[string]policy.Person{
		"@ada": {Username: "ada", Name: "Ada"}, "Ada": {Name: "Ada", SlackID: "U1"}, "Slack user U1": {SlackID: "U1"}, "somebody": {ID: 7},
	} {
		if got := p.Label(); got != want {
			t.Errorf("%+v is shown as %q, want %q", p, got, want)
		}
	}
}

func TestGroupsOfARule(t *testing.T) {
	r := policy.Rule{Approvers: []string{"user:ada", "group:shop/ops", "role:owner", "group:shop/dev"}}
	if got := strings.Join(r.GroupPaths(), " "); got != "shop/ops shop/dev" {
		t.Errorf("got %q", got)
	}
}

// FuzzRules: what Validate accepts decides without a panic, and lets in nobody who
// matches no entry.
func FuzzRules(f *testing.F) {
	f.Add("user:ada", "author", "ada")
	f.Add("group:shop/ops", "user:Bob", "bob")
	f.Add("role:maintainer", "merger", "")
	f.Add("user:", "user:", "")
	f.Add("team:x", "group:y", "z")
	f.Fuzz(func(t *testing.T, approver, not, username string) {
		r := policy.Rule{Approvers: []string{approver}, Not: []string{not}}
		valid := r.Validate() == nil
		nobody := policy.Person{ID: 77, Username: username}
		a := policy.MayJudge(nobody, policy.Facts{AuthorID: 5, MergedByID: 6}, r)
		if a.Allowed == (a.Refusal != "") {
			t.Fatalf("%+v is neither a yes nor a no", a)
		}
		named := username != "" && strings.EqualFold(approver, "user:"+username)
		if a.Allowed && !named {
			t.Fatalf("%q was let in by %q", username, approver)
		}
		if named && valid && !a.Allowed && !strings.EqualFold(not, "user:"+username) {
			t.Fatalf("%q was refused by %q: %s", username, approver, a.Refusal)
		}
		stranger := policy.MayJudge(policy.Person{Username: username}, policy.Facts{AuthorID: 5, MergedByID: 6}, r)
		if stranger.Allowed {
			t.Fatalf("a stranger was let in by %q", approver)
		}
	})
}
