package deploy

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

const (
	maxDetail = 500 // characters of what people are told
	logLines  = 10
	logLine   = 200 // characters
)

// clip shortens text to a number of characters.
func clip(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-1]) + "…"
}

// clean makes one line of text that came from a cluster: no control or invisible characters, bounded.
func clean(text string, limit int) string {
	if len(text) > 8*limit {
		text = text[:8*limit]
	}
	text = escapes().ReplaceAllString(strings.ToValidUTF8(text, "�"), "")
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return -1
		}
		return r
	}, text)
	return clip(strings.TrimSpace(text), limit)
}

// escapes matches what terminals take as commands, such as colours.
func escapes() *regexp.Regexp {
	return regexp.MustCompile(`\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?`)
}

// redactor replaces what looks like a secret, or is one of the release's.
type redactor struct {
	values *strings.Replacer
}

// newRedactor knows the values of the set's Secrets.
func newRedactor(set manifest.Set) redactor {
	const shortest = 5 // shorter ones are in too many words
	var values []string
	for _, o := range set.Objects {
		if o.GetKind() != "Secret" || o.GroupVersionKind().Group != "" {
			continue
		}
		data, _ := o.Object["data"].(map[string]any)
		for _, value := range data {
			encoded, _ := value.(string)
			decoded, err := base64.StdEncoding.DecodeString(encoded)
			if err != nil {
				continue
			}
			for _, text := range append(strings.Split(string(decoded), "\n"), encoded) {
				if text = strings.TrimSpace(text); len(text) >= shortest {
					values = append(values, text)
				}
			}
		}
	}
	// Longer ones first, so that no part of one is left when another is its beginning.
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(values))
	for _, value := range values {
		pairs = append(pairs, value, "[secret]")
	}
	return redactor{values: strings.NewReplacer(pairs...)}
}

// line redacts one line of a log.
func (r redactor) line(text string) string {
	text = r.values.Replace(text)
	text = regexp.MustCompile(`(://[^/\s:@]*:)[^/\s@]+@`).ReplaceAllString(text, "${1}[secret]@")
	return regexp.MustCompile(`(?i)\b((?:[\w.-]*(?:password|passwd|secret|token|api[_-]?key))["']?\s*[:=]\s*["']?|(?:bearer|basic)\s+)[^\s"',;]+`).
		ReplaceAllString(text, "${1}[secret]")
}

// tail makes the last lines of a log fit for people: cleaned, redacted, and as many of them as fit the limit, which
// counts characters.
func (r redactor) tail(lines []string, limit int) string {
	if len(lines) > logLines {
		lines = lines[len(lines)-logLines:]
	}
	var kept []string
	for _, raw := range slices.Backward(lines) {
		line := clip(r.line(clean(raw, 4*logLine)), logLine)
		size := len([]rune(line))
		if len(kept) > 0 {
			size++ // the end of the line before
		}
		switch {
		case line == "":
			continue
		case size > limit && len(kept) == 0 && limit > 1:
			return clip(line, limit)
		case size > limit:
			return strings.Join(kept, "\n")
		}
		kept, limit = append([]string{line}, kept...), limit-size
	}
	return strings.Join(kept, "\n")
}
