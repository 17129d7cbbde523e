package check

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// clip shortens text to a number of characters.
func clip(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-1]) + "…"
}

// secrets matches what looks like one within a text, with the name before it.
var secrets = regexp.MustCompile(`(?i)((?:[\w.-]*(?:password|passwd|secret|token|api[_-]?key))["']?\s*[:=]\s*["']?|\b(?:bearer|basic)\s+)[^\s"',;&<]+`)

// clean makes text of others one bounded line without control and invisible characters and without what looks like a
// secret.
func clean(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
	text = strings.Join(strings.Fields(text), " ")
	return clip(secrets.ReplaceAllString(text, "${1}[secret]"), limit)
}

// short is a duration as people say it: "12 ms", "1.2 s".
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d%time.Second == 0 || d >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// listed joins the first names, and says how many there are more.
func listed(names []string, all int) string {
	const most = 5
	if len(names) > most {
		names = names[:most]
	}
	text := strings.Join(names, ", ")
	if more := all - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
