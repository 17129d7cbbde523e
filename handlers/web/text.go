package web

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	maxTitle    = 200 // characters
	maxLabel    = 100 // of a name
	maxWords    = 500 // of a reason, a progress, a question
	maxURL      = 2048
	maxLogLines = 40
	maxLogLine  = 400 // characters
)

// line makes text that people wrote one line of at most most characters, without those
// that cannot be seen or that turn the direction of what follows.
func line(s string, most int) string {
	// A character takes four bytes at most, so what is far behind the end need not be looked at.
	if far := 16 * most; len(s) > far {
		s = s[:far]
	}
	return clip(strings.Join(strings.Fields(strings.Map(visible, s)), " "), most)
}

// clip shortens s to at most most characters, the last one being "…" then.
func clip(s string, most int) string {
	n, cut := 0, len(s)
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

// reason splits what a stage says into a sentence and the log that follows it.
func reason(s string) (sentence, log string) {
	first, rest, _ := strings.Cut(s, "\n")
	return strings.TrimSuffix(line(first, maxWords), ":"), tail(rest)
}

// tail keeps the last lines of a log as they were written, without control characters.
func tail(log string) string {
	if far := maxLogLines * maxLogLine * 4; len(log) > far {
		log = log[len(log)-far:]
	}
	var lines []string
	for l := range strings.SplitSeq(log, "\n") {
		l = strings.TrimRight(strings.Map(visible, strings.ReplaceAll(l, "\t", "    ")), " ")
		lines = append(lines, clip(l, maxLogLine))
	}
	lines = lines[max(0, len(lines)-maxLogLines):]
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}

// safeURL is u if it is a plain http or https address, "" otherwise: a page of ours
// never leads anywhere else, and shows no address that pretends to be another's.
func safeURL(u string) string {
	if len(u) > maxURL {
		return ""
	}
	p, err := url.Parse(u)
	if err != nil || p.Host == "" || p.User != nil || (p.Scheme != "http" && p.Scheme != "https") {
		return ""
	}
	return p.String()
}

// below is an address under a GitLab project, "" if the project has no address.
func below(p pipeline.Project, path ...string) string {
	base := safeURL(p.URL)
	if base == "" {
		return ""
	}
	for i, s := range path {
		parts := strings.Split(s, "/")
		for j := range parts {
			parts[j] = url.PathEscape(parts[j])
		}
		path[i] = strings.Join(parts, "/")
	}
	return strings.TrimRight(base, "/") + "/-/" + strings.Join(path, "/")
}

// capital makes the first letter of a sentence large.
func capital(s string) string {
	for i, r := range s {
		if i == 0 {
			return string(unicode.ToUpper(r)) + s[len(string(r)):]
		}
	}
	return s
}

// fullStop ends a sentence unless it has an end.
func fullStop(s string) string {
	if s == "" || strings.HasSuffix(s, "…") || strings.ContainsAny(s[len(s)-1:], ".!?") {
		return s
	}
	return s + "."
}

// duration is a time as people say it: "45s", "4m 12s", "1h 3m", "2d 4h".
func duration(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd %dh", int(d.Hours())/24, int(d.Hours())%24)
}

// took is the time between two moments, "" unless both are known.
func took(from, to time.Time) string {
	if from.IsZero() || to.IsZero() || to.Before(from) {
		return ""
	}
	return duration(to.Sub(from))
}
