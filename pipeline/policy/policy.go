// Package policy decides who may do what, from facts that were looked up before. It
// is pure: a missing fact is a refusal, never a guess.
package policy

import (
	"fmt"
	"slices"
	"strings"
)

// AccessLevel is GitLab's number for a role.
type AccessLevel int

// GitLab's roles (docs.gitlab.com/api/access_requests, "valid access levels").
const (
	NoAccess   AccessLevel = 0
	Guest      AccessLevel = 10
	Planner    AccessLevel = 15
	Reporter   AccessLevel = 20
	Developer  AccessLevel = 30
	Maintainer AccessLevel = 40
	Owner      AccessLevel = 50
)

// String is the role's name as people read it.
func (l AccessLevel) String() string {
	switch {
	case l >= Owner:
		return "Owner"
	case l >= Maintainer:
		return "Maintainer"
	case l >= Developer:
		return "Developer"
	case l >= Reporter:
		return "Reporter"
	case l >= Planner:
		return "Planner"
	case l >= Guest:
		return "Guest"
	}
	return "no role"
}

// ParseAccessLevel reads a role's name, in any case.
func ParseAccessLevel(name string) (AccessLevel, error) {
	for _, l := range []AccessLevel{Guest, Planner, Reporter, Developer, Maintainer, Owner} {
		if strings.EqualFold(name, l.String()) {
			return l, nil
		}
	}
	return NoAccess, fmt.Errorf("%q is not a GitLab role; use guest, planner, reporter, developer, maintainer or owner", name)
}

// Person is who asks, with the facts that were looked up when they asked.
type Person struct {
	ID       int64       `json:"id,omitempty"` // GitLab's user id; 0 is a stranger
	Username string      `json:"username,omitempty"`
	Name     string      `json:"name,omitempty"`
	SlackID  string      `json:"slack_id,omitempty"`
	Access   AccessLevel `json:"access,omitempty"`  // in the delivery's project
	Groups   []string    `json:"groups,omitempty"`  // of those that a rule names, full paths
	Blocked  bool        `json:"blocked,omitempty"` // in GitLab, or a bot
	// Problem says why the look-up could not tell who this is or what they may do.
	Problem string `json:"problem,omitempty"`
}

// Label is how the person is shown: "@ada", or the best that is known.
func (p Person) Label() string {
	switch {
	case p.Username != "":
		return "@" + p.Username
	case p.Name != "":
		return p.Name
	case p.SlackID != "":
		return "Slack user " + p.SlackID
	}
	return "somebody"
}

// Rule says who may answer a judgement. The zero rule lets Developers answer.
type Rule struct {
	// Approvers are "user:NAME", "group:PATH" or "role:ROLE"; one match is enough.
	Approvers []string `json:"approvers,omitempty"`
	// Not excludes "author" (of the merge request), "merger" (who merged it) and
	// "user:NAME".
	Not []string `json:"not,omitempty"`
}

// IsZero tells that nothing was ruled.
func (r Rule) IsZero() bool { return len(r.Approvers) == 0 && len(r.Not) == 0 }

// Validate names the first entry that is not understood.
func (r Rule) Validate() error {
	for _, a := range r.Approvers {
		kind, rest, ok := strings.Cut(a, ":")
		switch {
		case !ok || rest == "":
			return fmt.Errorf("approver %q: write user:NAME, group:PATH or role:ROLE", a)
		case kind == "role":
			if _, err := ParseAccessLevel(rest); err != nil {
				return fmt.Errorf("approver %q: %w", a, err)
			}
		case kind != "user" && kind != "group":
			return fmt.Errorf("approver %q: write user:NAME, group:PATH or role:ROLE", a)
		}
	}
	for _, n := range r.Not {
		if n != "author" && n != "merger" && (!strings.HasPrefix(n, "user:") || n == "user:") {
			return fmt.Errorf("not %q: write author, merger or user:NAME", n)
		}
	}
	return nil
}

// Words are an entry of Approvers or Not as people say it: what stands before the name,
// and the name. Both may be text that people wrote.
func Words(entry string) (before, name string) {
	kind, rest, found := strings.Cut(entry, ":")
	switch {
	case entry == "author" || entry == "merger":
		return "the ", entry
	case !found:
		return "", entry
	case kind == "group":
		return "members of ", rest
	case kind == "user":
		return "", "@" + rest
	case kind == "role":
		return "role ", rest
	}
	return "", entry
}

// GroupPaths lists the groups whose members the rule asks about.
func (r Rule) GroupPaths() []string {
	var paths []string
	for _, a := range r.Approvers {
		if path, ok := strings.CutPrefix(a, "group:"); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

// Facts are the people that a rule may exclude by their part in the change.
type Facts struct {
	AuthorID       int64
	AuthorUsername string
	MergedByID     int64
	MergedBy       string
}

// Answer is a decision about a person, with the rule that made it.
type Answer struct {
	Allowed bool
	Rule    string // what matched: "group:shop/maintainers", "role:developer"
	Refusal string // why not, as a sentence that may be shown to the person
}

// MayJudge decides whether the person may answer a judgement. All rules must agree:
// the file's and the operator's.
func MayJudge(p Person, f Facts, rules ...Rule) Answer {
	if a := known(p); !a.Allowed {
		return a
	}
	matched := ""
	for _, r := range rules {
		if why := excluded(r, p, f); why != "" {
			return Answer{Refusal: why}
		}
		m, ok := matches(r, p)
		if !ok {
			return Answer{Refusal: fmt.Sprintf("%s is not among the approvers (%s).", p.Label(), approvers(r))}
		}
		if matched == "" || !r.IsZero() {
			matched = m
		}
	}
	if matched == "" {
		return MayCommand(p)
	}
	return Answer{Allowed: true, Rule: matched}
}

// MayCommand decides whether the person may cancel, retry or roll back: Developers may.
func MayCommand(p Person) Answer {
	if a := known(p); !a.Allowed {
		return a
	}
	if p.Access < Developer {
		return Answer{Refusal: fmt.Sprintf("%s is %s in this project; it takes Developer or more.", p.Label(), p.Access)}
	}
	return Answer{Allowed: true, Rule: "role:developer"}
}

// MayRollback decides whether the person may bring back an environment's earlier
// release: whoever its rule lets approve, also the author, and else Developers.
func MayRollback(p Person, rule Rule) Answer {
	if len(rule.Approvers) == 0 {
		return MayCommand(p)
	}
	return MayJudge(p, Facts{}, Rule{Approvers: rule.Approvers})
}

// MayAsk decides whether the person may read a delivery's status: Reporters may.
func MayAsk(p Person) Answer {
	if a := known(p); !a.Allowed {
		return a
	}
	if p.Access < Reporter {
		return Answer{Refusal: fmt.Sprintf("%s is %s in this project; it takes Reporter or more.", p.Label(), p.Access)}
	}
	return Answer{Allowed: true, Rule: "role:reporter"}
}

func known(p Person) Answer {
	switch {
	case p.Problem != "":
		return Answer{Refusal: p.Problem}
	case p.ID == 0:
		return Answer{Refusal: "Slipway does not know which GitLab user you are."}
	case p.Blocked:
		return Answer{Refusal: fmt.Sprintf("%s is blocked in GitLab or a bot.", p.Label())}
	}
	return Answer{Allowed: true}
}

func excluded(r Rule, p Person, f Facts) string {
	for _, n := range r.Not {
		switch {
		case n == "author" && f.AuthorID == 0 && f.AuthorUsername == "":
			return "GitLab does not tell who wrote this change, so nobody can be told apart from its author."
		case n == "merger" && f.MergedByID == 0 && f.MergedBy == "":
			return "GitLab does not tell who merged this change, so nobody can be told apart from who did."
		case n == "author" && (same(p, f.AuthorID, f.AuthorUsername)):
			return fmt.Sprintf("%s wrote this change, and somebody else has to approve it.", p.Label())
		case n == "merger" && (same(p, f.MergedByID, f.MergedBy)):
			return fmt.Sprintf("%s merged this change, and somebody else has to approve it.", p.Label())
		case isUser(n, p):
			return fmt.Sprintf("%s is excluded from this approval.", p.Label())
		}
	}
	return ""
}

func same(p Person, id int64, username string) bool {
	return id != 0 && p.ID == id || username != "" && strings.EqualFold(p.Username, username)
}

// isUser tells that an entry "user:NAME" means the person. GitLab's names ignore case.
func isUser(entry string, p Person) bool {
	name, ok := strings.CutPrefix(entry, "user:")
	return ok && p.Username != "" && strings.EqualFold(name, p.Username)
}

func matches(r Rule, p Person) (string, bool) {
	if len(r.Approvers) == 0 {
		return "role:developer", p.Access >= Developer
	}
	for _, a := range r.Approvers {
		kind, rest, _ := strings.Cut(a, ":")
		switch kind {
		case "user":
			if isUser(a, p) {
				return a, true
			}
		case "group":
			if slices.ContainsFunc(p.Groups, func(g string) bool { return strings.EqualFold(g, rest) }) {
				return a, true
			}
		case "role":
			if l, err := ParseAccessLevel(rest); err == nil && p.Access >= l {
				return a, true
			}
		}
	}
	return "", false
}

func approvers(r Rule) string {
	if len(r.Approvers) == 0 {
		return "role:developer"
	}
	return strings.Join(r.Approvers, ", ")
}
