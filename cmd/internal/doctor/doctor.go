// Package doctor looks at everything that Slipway depends on, and says in one line each
// what is fine, what is not, and how to mend it.
package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
)

// Verdict says how one thing stands.
type Verdict int

// The verdicts.
const (
	Fine Verdict = iota
	Note         // works, or cannot be told from here
	Broken
)

// Mark is the verdict as one character.
func (v Verdict) Mark() string {
	switch v {
	case Fine:
		return "✓"
	case Note:
		return "!"
	case Broken:
		return "✗"
	}
	return "?"
}

// String is the verdict as a word.
func (v Verdict) String() string {
	switch v {
	case Fine:
		return "fine"
	case Note:
		return "note"
	case Broken:
		return "broken"
	}
	return "unknown"
}

// MarshalText is for JSON.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Finding is one line of the report, with what mends it.
type Finding struct {
	Verdict Verdict `json:"verdict"`
	Of      string  `json:"of"`   // "cluster main"
	Says    string  `json:"says"` // one line
	// Mend are commands and lines of files, and sentences that say where they go.
	Mend []string `json:"mend,omitempty"`
}

// Check looks at one thing, and finds one thing or more.
type Check struct {
	Name string
	Run  func(context.Context) []Finding
}

// Configuration tells how reading the configuration went, which comes before all else.
func Configuration(file string, cfg *config.Config, err error) Check {
	f := Finding{}
	if err != nil {
		f = broken(err.Error(), "docs/configuration.md has all keys; this says again what is wrong:  slipway config check -c "+file)
	} else {
		f = fine(fmt.Sprintf("%s: %d clusters, %d environments", file, len(cfg.Clusters), len(cfg.Environments)))
	}
	return Check{"configuration", func(context.Context) []Finding { return []Finding{f} }}
}

const (
	patience = time.Minute // with one check
	maxSays  = 600         // characters
)

// Run does the checks in their order and tells each finding when it is known. It returns
// whether anything is broken.
func Run(ctx context.Context, checks []Check, tell func(Finding)) (broken bool) {
	for _, c := range checks {
		if ctx.Err() != nil {
			return true
		}
		for _, f := range within(ctx, c) {
			if f.Of == "" {
				f.Of = c.Name
			}
			f.Of, f.Says = line(f.Of), line(f.Says)
			for i := range f.Mend {
				f.Mend[i] = line(f.Mend[i])
			}
			broken = broken || f.Verdict == Broken
			tell(f)
		}
	}
	return broken
}

func within(ctx context.Context, c Check) []Finding {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return c.Run(ctx)
}

// line makes text of others safe to print: one line of bounded length, without control characters.
func line(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > maxSays {
		return string(runes[:maxSays-1]) + "…"
	}
	return text
}

func fine(says string) Finding                 { return Finding{Verdict: Fine, Says: says} }
func note(says string, mend ...string) Finding { return Finding{Verdict: Note, Says: says, Mend: mend} }
func broken(says string, mend ...string) Finding {
	return Finding{Verdict: Broken, Says: says, Mend: mend}
}
