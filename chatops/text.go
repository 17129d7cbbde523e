package chatops

import (
	"strings"
	"unicode"
)

// Line makes text that people wrote fit to stand in a line of ours: one line, without
// characters that cannot be seen or that change the direction of what follows, at most
// most characters.
func Line(s string, most int) string {
	return Clip(strings.Join(strings.Fields(strings.Map(visible, s)), " "), most)
}

// Clip shortens s to at most most characters, the last one being "…" then.
func Clip(s string, most int) string {
	n := 0
	cut := len(s) // where the kept part ends if there is more
	for i := range s {
		n++
		if n == most {
			cut = i
		}
		if n > most {
			return strings.TrimRightFunc(s[:cut], unicode.IsSpace) + "…"
		}
	}
	return s
}

// visible drops characters that hide or turn text. Joiners stay: emoji are made with them.
func visible(r rune) rune {
	switch {
	case unicode.IsSpace(r):
		return ' '
	case unicode.IsControl(r), r == unicode.ReplacementChar, unicode.Is(unicode.Bidi_Control, r):
		return -1
	case r == '\u200b' || r == '\u2060' || r == '\ufeff':
		return -1
	}
	return r
}
