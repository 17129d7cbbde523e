package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// MaxProblems is how many problems are told at once.
const MaxProblems = 20

// problems collects what is wrong with one file.
type problems struct {
	file string
	list []pipeline.Problem
}

func (p *problems) add(at position, what, hint string) {
	p.list = append(p.list, pipeline.Problem{
		File: p.file, Line: max(at.line, 1), Column: max(at.column, 1), What: bound(what), Hint: bound(hint),
	})
}

// told returns the problems in the order of the file, each once, and not too many.
func (p *problems) told() []pipeline.Problem {
	list := slices.Clone(p.list)
	slices.SortStableFunc(list, func(a, b pipeline.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	list = slices.Compact(list)
	if len(list) > MaxProblems {
		rest := len(list) - MaxProblems + 1
		list = list[:MaxProblems]
		last := &list[MaxProblems-1]
		last.What, last.Hint = fmt.Sprintf("%d more problems from here on", rest), ""
	}
	return list
}

func bound(s string) string {
	if r := []rune(s); len(r) > 400 {
		return string(r[:400]) + "…"
	}
	return s
}

// didYouMean suggests the candidate that is most like what was written, or lists
// the candidates if there are few.
func didYouMean(written string, candidates []string) string {
	best, distance := "", len(written)/3+2
	for _, c := range candidates {
		if d := editDistance(written, c); d < distance {
			best, distance = c, d
		}
	}
	switch {
	case best != "":
		return "did you mean " + best + "?"
	case len(candidates) == 1:
		return "use " + candidates[0]
	case len(candidates) > 0 && len(candidates) <= 20:
		return "use one of " + listed(candidates)
	}
	return ""
}

func listed(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// editDistance is Levenshtein's, of the first 64 runes.
func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	x, y = x[:min(len(x), 64)], y[:min(len(y), 64)]
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		left := row[0]
		row[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, left+cost)
			left, row[j+1] = row[j+1], next
		}
	}
	return row[len(y)]
}
