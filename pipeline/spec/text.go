package spec

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// MaxText is the longest text that a key may have, filled in or not, in bytes.
const MaxText = 4096

// A scalar is a text of the file with rules of its own.
type scalar interface {
	// check says what is wrong with the text after its templates were filled in, and
	// what to write instead; "" and "" if nothing is.
	check(text string) (what, hint string)
	// templated tells whether the text may hold ${{ … }}.
	templated() bool
}

type (
	// Name is a name that Slipway gives meaning to: at most 40 of a-z, 0-9 and "-".
	Name string
	// Duration is a time span such as 90s, 10m, 1h30m or 7d.
	Duration string
	// Condition is a CEL expression that gives true or false, bare or in ${{ }}.
	Condition string
	// Glob matches branch names; * stands for anything but a slash.
	Glob string
	// Channel is a Slack channel: "#name" or its id.
	Channel string
	// Text is read by people, or names something outside.
	Text string
	// URL is an http or https address.
	URL string
	// Environment is the name of a GitLab environment.
	Environment string
	// Path is a path in the repository.
	Path string
	// Image is a tag, a digest or a full reference of a container image.
	Image string
	// Approver says who may answer a judgement.
	Approver string
	// Excluded says who may not.
	Excluded string
)

const (
	namePattern        = `^[a-z0-9][a-z0-9-]{0,39}$`
	durationPattern    = `^(\d{1,4}d)?(\d{1,4}h)?(\d{1,5}m)?(\d{1,7}s)?$`
	channelPattern     = `^(#[^\s#,<>&]{1,80}|[CGD][A-Z0-9]{6,20})$`
	environmentPattern = `^[A-Za-z0-9]([A-Za-z0-9_./ -]{0,253}[A-Za-z0-9_.-])?$`
	imagePattern       = `^[A-Za-z0-9_][A-Za-z0-9_./:@-]{0,511}$`
	approverPattern    = `^(user:[^@\s]\S*|group:[^/@\s]\S*|role:\S+)$`
	excludedPattern    = `^(author|merger|user:[^@\s]\S*)$`

	// MaxDuration bounds every time span of the file.
	MaxDuration = 90 * 24 * time.Hour
)

func matches(pattern, text string) bool {
	ok, err := regexp.MatchString(pattern, text)
	return ok && err == nil
}

func (Name) templated() bool { return false }
func (Name) check(s string) (string, string) {
	if !matches(namePattern, s) {
		return fmt.Sprintf("%s is not a name", quote(s)), "use up to 40 of a-z, 0-9 and -, and start with a letter or digit"
	}
	return "", ""
}

func (Duration) templated() bool { return false }
func (Duration) check(s string) (string, string) {
	d, ok := parseDuration(s)
	switch {
	case !ok:
		return fmt.Sprintf("%s is not a duration", quote(s)), "write for example 90s, 10m, 1h30m or 7d"
	case d <= 0:
		return "the duration must be more than zero", ""
	case d > MaxDuration:
		return fmt.Sprintf("%s is too long", quote(s)), "90d is the most"
	}
	return "", ""
}

// Span is the duration; 0 for "".
func (d Duration) Span() time.Duration {
	span, _ := parseDuration(string(d))
	return span
}

func parseDuration(s string) (time.Duration, bool) {
	if s == "" || !matches(durationPattern, s) {
		return 0, false
	}
	var total time.Duration
	if days, rest, ok := strings.Cut(s, "d"); ok {
		d, err := time.ParseDuration(days + "h")
		if err != nil {
			return 0, false
		}
		total, s = d*24, rest
	}
	if s == "" {
		return total, true
	}
	d, err := time.ParseDuration(s)
	return total + d, err == nil
}

func (Condition) templated() bool               { return false }
func (Condition) check(string) (string, string) { return "", "" }

func (Glob) templated() bool { return false }
func (Glob) check(s string) (string, string) {
	if _, err := path.Match(s, ""); err != nil || s == "" {
		return fmt.Sprintf("%s is not a branch or glob", quote(s)), "write for example main or release/*"
	}
	return "", ""
}

func (Channel) templated() bool { return true }
func (Channel) check(s string) (string, string) {
	if !matches(channelPattern, s) {
		return fmt.Sprintf("%s is not a Slack channel", quote(s)), `write "#name" in quotes, or the channel's id`
	}
	return "", ""
}

func (Text) templated() bool { return true }
func (Text) check(s string) (string, string) {
	if strings.TrimSpace(s) == "" {
		return "the text is empty", ""
	}
	return "", ""
}

func (URL) templated() bool { return true }
func (URL) check(s string) (string, string) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Sprintf("%s is not a web address", quote(s)), "start it with https://"
	}
	return "", ""
}

func (Environment) templated() bool { return true }
func (Environment) check(s string) (string, string) {
	if !matches(environmentPattern, s) {
		return fmt.Sprintf("%s is not the name of an environment", quote(s)), "use letters, digits, spaces and - _ . /, and start with a letter or digit"
	}
	return "", ""
}

func (Path) templated() bool { return true }
func (Path) check(s string) (string, string) {
	switch {
	case s == "" || strings.ContainsAny(s, "\\\x00\n"):
		return fmt.Sprintf("%s is not a path in the repository", quote(s)), "write for example deploy/production"
	case strings.HasPrefix(s, "/"):
		return fmt.Sprintf("%s starts with a slash", quote(s)), "write the path from the root of the repository, such as deploy/production"
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == ".." {
			return fmt.Sprintf("%s leaves its folder", quote(s)), "write the path from the root of the repository, without .."
		}
	}
	return "", ""
}

func (Image) templated() bool { return true }
func (Image) check(s string) (string, string) {
	if !matches(imagePattern, s) {
		return fmt.Sprintf("%s is not a tag, digest or image", quote(s)), "write for example 1.4.2, sha256:… or registry.example.com/shop:1.4.2"
	}
	return "", ""
}

func (Approver) templated() bool { return false }
func (Approver) check(s string) (string, string) {
	if !matches(approverPattern, s) {
		return fmt.Sprintf("%s is not an approver", quote(s)), "write user:NAME, group:PATH or role:ROLE, without @"
	}
	if role, ok := strings.CutPrefix(s, "role:"); ok {
		if _, err := policy.ParseAccessLevel(role); err != nil {
			return fmt.Sprintf("%s is not a GitLab role", quote(role)), "use guest, planner, reporter, developer, maintainer or owner"
		}
	}
	return "", ""
}

func (Excluded) templated() bool { return false }
func (Excluded) check(s string) (string, string) {
	if !matches(excludedPattern, s) {
		return fmt.Sprintf("%s is not somebody to exclude", quote(s)), "write author, merger or user:NAME"
	}
	return "", ""
}

// quote shows a text of the file in a message, bounded.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
