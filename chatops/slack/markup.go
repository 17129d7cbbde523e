package slack

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gitlab.com/slipway-cd/slipway/chatops"
)

// escape makes plain text safe within mrkdwn, in one line of at most most characters
// after escaping.
//
// Slack knows three entities and no backslash: asterisks, tildes, backticks and the
// underscores at a word's edge are replaced by letters that look like them, because
// nothing else keeps them from formatting. "@channel" gets an invisible joiner.
// Source: https://docs.slack.dev/messaging/formatting-message-text
func escape(s string, most int) string {
	return fit(tokens([]rune(chatops.Line(s, most)), false), most)
}

// code makes lines of a log safe within a block between triple backticks.
func code(lines []string, most int) string {
	const fence = "```"
	return fence + fit(tokens([]rune(strings.Join(lines, "\n")), true), most-2*len(fence)) + fence
}

// tokens are the characters as they are written in mrkdwn, each of which stands or falls as a whole.
func tokens(rs []rune, verbatim bool) []string {
	out := make([]string, len(rs))
	for i, r := range rs {
		switch {
		case r == '&':
			out[i] = "&amp;"
		case r == '<':
			out[i] = "&lt;"
		case r == '>':
			out[i] = "&gt;"
		case r == '`':
			out[i] = "ˋ"
		case verbatim:
			out[i] = string(r)
		case r == '*':
			out[i] = "∗"
		case r == '~':
			out[i] = "∼"
		case r == '_' && (i == 0 || i+1 == len(rs) || !inWord(rs[i-1]) || !inWord(rs[i+1])):
			out[i] = "ˍ"
		case r == '@' && broadcast(rs[i+1:]):
			out[i] = "@\u2060"
		default:
			out[i] = string(r)
		}
	}
	return out
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

func broadcast(after []rune) bool {
	for _, name := range []string{"channel", "here", "everyone", "group"} {
		if len(after) >= len(name) && strings.EqualFold(string(after[:len(name)]), name) {
			return true
		}
	}
	return false
}

// fit joins tokens until most characters are reached.
func fit(tokens []string, most int) string {
	var out strings.Builder
	left := most
	for i, t := range tokens {
		n := utf8.RuneCountInString(t)
		if n > left || n == left && i < len(tokens)-1 {
			if left > 0 {
				out.WriteString("…")
			}
			break
		}
		out.WriteString(t)
		left -= n
	}
	return out.String()
}

const maxURL = 1000

// link is a piece of text that leads somewhere, or the text alone if the address is not one.
func link(f chatops.Fragment, most int) string {
	label := escape(f.Text, most)
	address, ok := address(f.URL)
	if !ok {
		return label
	}
	if label == "" {
		label = "link"
	}
	return "<" + address + "|" + label + ">"
}

func address(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return "", false
	}
	s := strings.NewReplacer("&", "&amp;", "<", "%3C", ">", "%3E", "|", "%7C", " ", "%20", "`", "%60").Replace(u.String())
	if len(s) > maxURL || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return "", false
	}
	return s, true
}

// date shows a time in the zone of whoever reads it.
func date(t time.Time) string {
	return fmt.Sprintf("<!date^%d^{date_short_pretty} {time}|%s>", t.Unix(), t.UTC().Format("2006-01-02 15:04 UTC"))
}

// bold needs text without spaces at its ends, which escape and link give.
func bold(s string) string {
	if s == "" {
		return ""
	}
	return "*" + s + "*"
}
