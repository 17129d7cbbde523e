package chatops

import (
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	maxBody   = 64 << 10 // bytes of a comment that are read
	maxName   = 100
	maxReason = 500 // characters
	alias     = "/slipway"
)

// Command is what a person typed.
type Command struct {
	Verb   pipeline.Verb // VerbUnknown if the word is not a command
	Name   string        // the stage or environment that was named, "" if none
	Reason string        // the person's words: one line, bounded
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
// approve and rollback act, so their first word must be right: it names a stage or an
// environment. reject stops, so its words are the reason, unless the first one stands
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
	case pipeline.VerbApprove, pipeline.VerbRollback:
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

func verb(word string) pipeline.Verb {
	switch v := pipeline.Verb(strings.ToLower(word)); v {
	case pipeline.VerbApprove, pipeline.VerbReject, pipeline.VerbCancel, pipeline.VerbRetry,
		pipeline.VerbRollback, pipeline.VerbStatus, pipeline.VerbHelp:
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
	return pipeline.Request{What: c.Verb, Environment: c.Name, Reason: c.Reason}
}
