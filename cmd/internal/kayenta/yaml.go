package kayenta

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// writer writes YAML by lines.
type writer struct{ strings.Builder }

func (w *writer) lines(indent int, lines ...string) {
	for _, line := range lines {
		w.WriteString(strings.Repeat(" ", indent) + line + "\n")
	}
}

func (w *writer) comment(indent int, text string) { w.lines(indent, "# "+oneLine(text)) }

// oneLine makes one short line of a text that people wrote, so that it can't get out of its comment.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
	return shorten(strings.Join(strings.Fields(text), " "), 1000)
}

var (
	plain    = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9 _./-]*[A-Za-z0-9_./-])?$`)
	reserved = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|null|y|n|inf|nan)$`)
)

// scalar is a text as YAML has it, in any place.
func scalar(text string) string {
	switch {
	case plain.MatchString(text) && !reserved.MatchString(text):
		return text
	case strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0:
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	default:
		return strconv.Quote(text) // its escapes are among YAML's
	}
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
