package spec

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// What only the queries of a canary know, when they are asked.
const (
	varTrack   = "track"   // baseline or canary
	varVersion = "version" // the label of the track's pods
	varRelease = "release" // its id
)

func trackVariables() []string { return []string{varTrack, varVersion, varRelease} }

// safeValue is what an expression of a query may become. The rest of a query is written by whoever writes the pipeline
// file, and is reviewed with it; what is filled in is not, such as the name of a branch, and must not change what is asked.
const safeValue = `^[A-Za-z0-9._/:+-]{0,255}$`

// Track is one side of a canary, as its queries know it.
type Track struct{ Name, Version, Release string }

// query fills in what is known of a query when the delivery starts. What asks for a track stays as it is written.
func (c *compiler) query(path, raw string, t *template) string {
	out, f := t.fillQuery(c.vars, true)
	switch {
	case f == nil:
		return out
	case !c.skipped:
		c.problems.add(c.f.source.within(c.f.spots[path], f.offset), f.what, f.hint)
	}
	return raw
}

// fillQuery fills in a query. later leaves what asks for a track.
func (t *template) fillQuery(vars map[string]any, later bool) (string, *flaw) {
	var b strings.Builder
	for _, p := range t.parts {
		switch {
		case p.expr == nil:
			b.WriteString(p.text)
		case p.expr.unknown(vars) != "":
			return "", &flaw{p.offset, fmt.Sprintf("%s asks for %s, which is not known here", quote(p.expr.text), p.expr.unknown(vars)), ""}
		case p.expr.tracks && later:
			b.WriteString(opening + " " + p.expr.text + " " + closing)
		default:
			s, err := (&template{parts: []part{p}}).fill(vars)
			if err != nil {
				return "", &flaw{offset: p.offset, what: err.Error()}
			}
			if !matches(safeValue, s) {
				return "", &flaw{p.offset, fmt.Sprintf("%s is %s, which could change the query", quote(p.expr.text), quote(s)),
					"use what is made of letters, digits and . _ - / : +"}
			}
			b.WriteString(s)
		}
	}
	if b.Len() > MaxText {
		return "", &flaw{what: fmt.Sprintf("the query becomes longer than %d bytes", MaxText)}
	}
	return b.String(), nil
}

// unknown is one of the variables that the expression asks for and that nobody has told, "" if there is none. A delivery
// knows all; tools that work without one do not.
func (e *expression) unknown(vars map[string]any) string {
	for _, name := range e.names {
		if _, told := vars[name]; !told && slices.Contains([]string{"commit", "merge_request", "project"}, name) {
			return name
		}
	}
	return ""
}

// asks tells that the text asks for a variable.
func (t *template) asks(name string) bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.expr != nil && slices.Contains(p.expr.names, name) })
}

// What a query asks for of a track, and is not known.
var (
	ErrNoVersion = errors.New("is not known")
	ErrNoRelease = errors.New("is not known")
)

// Queries fills in the queries of canaries, when they are asked.
type Queries struct{ lang *language }

// NewQueries prepares the expressions.
func NewQueries() (*Queries, error) {
	lang, err := newLanguage()
	if err != nil {
		return nil, err
	}
	return &Queries{lang}, nil
}

// Fill gives a query of a plan for each of the tracks. The error is in words for people, and filling it in again would
// not change it.
func (q *Queries) Fill(plan *pipeline.Plan, query string, tracks ...Track) ([]string, error) {
	t, flaws := q.lang.template(query)
	if len(flaws) > 0 {
		return nil, errors.New(flaws[0].what)
	}
	if t.dynamic {
		return nil, errors.New("a query cannot ask for stages")
	}
	vars := variables(Input{Project: plan.Project, Commit: plan.Commit, MergeRequest: plan.MergeRequest}, plan.Application, nil)
	var all []string
	for _, track := range tracks {
		for _, of := range []struct {
			name, value string
			missing     error
		}{{varVersion, track.Version, ErrNoVersion}, {varRelease, track.Release, ErrNoRelease}} {
			if of.value == "" && t.asks(of.name) {
				return nil, fmt.Errorf("the %s of the %s %w", of.name, track.Name, of.missing)
			}
		}
		vars[varTrack], vars[varVersion], vars[varRelease] = track.Name, track.Version, track.Release
		filled, f := t.fillQuery(vars, false)
		if f != nil {
			return nil, errors.New(f.what)
		}
		all = append(all, filled)
	}
	return all, nil
}

// knowsTracks tells that a query says which track it is about.
func knowsTracks(t *template) bool {
	return t != nil && slices.ContainsFunc(t.parts, func(p part) bool { return p.expr != nil && p.expr.tracks })
}
