package gitlab

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// Text that people wrote is shown as they wrote it, and means nothing to GitLab: no mention,
// no reference, no link, no markup, no quick action. References are found by GitLab after the
// Markdown is rendered, so a backslash or an entity alone does not stop all of them; where it
// matters an invisible word joiner (U+2060) breaks the pattern.

const joiner = "\u2060"

// text escapes a person's text for one line, also within a table, and shortens it to n characters.
func text(s string, n int) string {
	return escape(clip(plain(s), n))
}

// plain makes one line of s, without characters that can't be seen but change what is.
func plain(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			b.WriteByte(' ')
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar:
		default:
			b.WriteRune(r)
		}
	}
	return oneLine(b.String())
}

func escape(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i, r := range runes {
		switch r {
		case '@':
			b.WriteString(`\@` + joiner)
		case '|':
			b.WriteString("&#124;")
		case ':':
			b.WriteRune(r)
			if i+1 < len(runes) && runes[i+1] == '/' {
				b.WriteString(joiner) // "https://" is no link
			}
		case '.':
			b.WriteRune(r)
			if i >= 3 && strings.EqualFold(string(runes[i-3:i]), "www") {
				b.WriteString(joiner)
			}
		case '#', '!', '~', '%', '&', '$', '^':
			b.WriteRune('\\')
			b.WriteRune(r)
			if i+1 < len(runes) && (unicode.IsLetter(runes[i+1]) || unicode.IsDigit(runes[i+1]) || runes[i+1] == '"') {
				b.WriteString(joiner) // "#12" is no reference
			}
		case '\\', '`', '*', '_', '{', '}', '[', ']', '<', '>':
			b.WriteRune('\\')
			b.WriteRune(r)
		case '-', '+', '=', '/':
			if i == 0 {
				b.WriteRune('\\') // a list, a heading's underline, a quick action
			}
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return orderedList.ReplaceAllString(b.String(), `$1\$2`)
}

// orderedList matches what would begin a numbered list.
var orderedList = regexp.MustCompile(`^(\d{1,9})([.)])`)

// code shows a name as code, in which GitLab finds nothing.
func code(s string) string {
	s = strings.NewReplacer("`", "'", "|", "¦").Replace(clip(plain(s), 200))
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// who shows a person without telling them: "@ada" as code, other names as text.
func who(label string) string {
	if strings.HasPrefix(label, "@") {
		return code(label)
	}
	return text(label, 100)
}

// link shows already escaped text with an address behind it, or the text alone where the
// address is none.
func link(shown, address string) string {
	address = safeURL(address)
	if address == "" {
		return shown
	}
	return "[" + shown + "](" + linkTarget(address) + ")"
}

// safeURL returns an absolute http or https address, "" for everything else.
func safeURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || len(s) > 2000 {
		return ""
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) {
		return ""
	}
	return s
}

// linkTarget writes an address so that it ends where the Markdown link ends.
func linkTarget(s string) string {
	return strings.NewReplacer(
		" ", "%20", "(", "%28", ")", "%29", "<", "%3C", ">", "%3E", "|", "%7C", `\`, "%5C", `"`, "%22", "`", "%60",
		"[", "%5B", "]", "%5D", "*", "%2A", "{", "%7B", "}", "%7D", "^", "%5E", "'", "%27",
	).Replace(s)
}

// fence shows the last lines of a log. GitLab looks for quick actions outside of code, and
// takes the first line of three backticks for the end of the block whatever its length, so
// neither may be left in it.
func fence(s string, lines, width int) string {
	var kept []string
	for l := range strings.Lines(s) {
		l = strings.Map(func(r rune) rune {
			if r == '\t' {
				return ' '
			}
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
				return -1
			}
			return r
		}, l)
		l = strings.TrimRight(strings.NewReplacer("```", "'''", "~~~", "---").Replace(l), " ")
		if strings.HasPrefix(l, "/") {
			l = " " + l
		}
		kept = append(kept, clip(l, width))
	}
	for len(kept) > 0 && kept[0] == "" {
		kept = kept[1:]
	}
	if len(kept) > lines {
		kept = kept[len(kept)-lines:]
	}
	if len(kept) == 0 {
		return ""
	}
	return "```text\n" + strings.Join(kept, "\n") + "\n```\n"
}

// firstLine is what a sentence with a log behind it begins with.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSuffix(strings.TrimSpace(line), ":")
}

// restLines is what comes after the first line.
func restLines(s string) string {
	_, rest, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return rest
}
