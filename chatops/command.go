package chatops

import (
	"regexp"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	maxBody    = 64 << 10 // bytes of a comment that are read
	maxName    = 100
	maxRelease = 300
	maxReason  = 500 // characters
	alias      = "/slipway"
)

// Command is what a person typed.
type Command struct {
	Verb    pipeline.Verb // VerbUnknown if the word is not a command
	Name    string        // the stage or environment that was named, "" if none
	Release string        // that a rollback shall bring back, "" if none was named
	Reason  string        // the person's words: one line, bounded
}

func mentionOr(mention string) string {
	if mention == "" {
		return "slipway"
	}
	return strings.TrimPrefix(mention, "@")
}

// ParseCommand finds the first command in a comment written in Markdown, false if there
// is none. A command stands at the start of a line: the mention with "@" (or "/slipway"),
// a word, and what belongs to it. Code, quotes and HTML comments hold no commands.
//
// approve, rollback and promote act, so their first word must be right: it names a stage or
// an environment. What follows rollback's "to" is a release if it looks like one, and else
// part of the reason; what follows "--to" has to be one. reject stops, so its words are the reason, unless the first one stands
// alone or ends with a colon: "reject go-live: too risky". A colon behind the command
// itself ("approve: well done") makes everything after it the reason.
func ParseCommand(mention, body string) (Command, bool) {
	if len(body) > maxBody {
		body = body[:maxBody]
	}
	mention = mentionOr(mention)
	for _, line := range prose(body) {
		if rest, ok := addressed(mention, line); ok {
			return parseWords(rest), true
		}
	}
	return Command{}, false
}

// addressed cuts the mention from the start of a line.
func addressed(mention, line string) (rest string, ok bool) {
	for _, m := range []string{"@" + mention, "/" + mention, alias} {
		if len(line) < len(m) || !strings.EqualFold(line[:len(m)], m) {
			continue
		}
		rest = line[len(m):]
		if rest == "" || strings.ContainsAny(rest[:1], " \t:,") {
			return strings.TrimLeft(rest, " \t:,"), true
		}
	}
	return "", false
}

func parseWords(rest string) Command {
	word, rest := cutWord(rest)
	colon := strings.HasSuffix(word, ":")
	c := Command{Verb: verb(strings.TrimRight(word, ":,.!?"))}
	switch c.Verb {
	case pipeline.VerbRollback:
		if !colon {
			return parseRollback(rest)
		}
	case pipeline.VerbApprove, pipeline.VerbPromote:
		if !colon {
			c.Name, rest = cutName(rest)
		}
	case pipeline.VerbReject:
		first, after := cutWord(rest)
		if !colon && (after == "" || strings.HasSuffix(first, ":")) {
			c.Name, rest = cutName(rest)
		}
	case pipeline.VerbCancel:
	case pipeline.VerbRetry, pipeline.VerbStatus, pipeline.VerbHelp, pipeline.VerbUnknown:
		rest = ""
	}
	c.Reason = Line(rest, maxReason)
	return c
}

// parseRollback reads "[environment] [to RELEASE] [reason]".
func parseRollback(rest string) Command {
	c := Command{Verb: pipeline.VerbRollback}
	release, after, ok := cutRelease(rest)
	if !ok {
		return Command{}
	}
	if release == "" {
		c.Name, rest = cutName(rest)
		if release, after, ok = cutRelease(rest); !ok {
			return Command{}
		}
	}
	c.Release, c.Reason = release, Line(after, maxReason)
	return c
}

var (
	// shaForm is the beginning of a commit, and a blue-green release's version: "3f2a91c-7be02".
	shaForm = regexp.MustCompile(`^[0-9a-f]{4,64}(-[0-9a-z]{3,10})?$`)
	// releaseForm is a release's id: "42-7-3f2a91c0/production/1".
	releaseForm = regexp.MustCompile(`^[0-9]+-[0-9]+-[0-9a-f]{4,64}[0-9A-Za-z-]*/[0-9A-Za-z._/-]+/[0-9]+$`)
)

// cutRelease takes "to RELEASE" from the start, if it is there; rest is what follows. It is
// not ok if "--to" is followed by what can be no release: then nobody knows what is meant.
func cutRelease(s string) (release, rest string, ok bool) {
	word, after := cutWord(s)
	flag := strings.EqualFold(word, "--to")
	if !flag && !strings.EqualFold(word, "to") {
		return "", s, true
	}
	name, after := cutWord(after)
	name = strings.TrimRight(name, ":,.;!")
	if sha := strings.ToLower(name); shaForm.MatchString(sha) {
		return sha, after, true
	}
	if len(name) <= maxRelease && releaseForm.MatchString(name) {
		return name, after, true
	}
	return "", s, !flag
}

func verb(word string) pipeline.Verb {
	switch v := pipeline.Verb(strings.ToLower(word)); v {
	case pipeline.VerbApprove, pipeline.VerbReject, pipeline.VerbCancel, pipeline.VerbRetry,
		pipeline.VerbRollback, pipeline.VerbPromote, pipeline.VerbStatus, pipeline.VerbHelp:
		return v
	default:
		return pipeline.VerbUnknown
	}
}

func cutWord(s string) (word, rest string) {
	s = strings.TrimSpace(s)
	i := strings.IndexFunc(s, func(r rune) bool { return r == ' ' || r == '\t' })
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// cutName takes the first word if it can be a name.
func cutName(s string) (name, rest string) {
	first, rest := cutWord(s)
	name = strings.TrimRight(first, ":,")
	if name == "" || len(name) > maxName {
		return "", s
	}
	for _, r := range name {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("-_./", r):
		default:
			return "", s
		}
	}
	return name, rest
}

// Request is the wish that the command stands for; who asks and where an answer goes is
// the caller's to fill in.
func (c Command) Request() pipeline.Request {
	return pipeline.Request{What: c.Verb, Environment: c.Name, Release: c.Release, Reason: c.Reason}
}
