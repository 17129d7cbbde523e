package spec

import (
	"regexp/syntax"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// maxPattern bounds a regular expression, in parts after its repetitions are spelled
// out. CEL's cost does not count what compiling one takes.
const maxPattern = 1000

// checkPatterns holds every regular expression of x.matches(pattern) against the
// bound. For that, it has to be in the file.
func checkPatterns(text string, checked *cel.Ast) *flaw {
	tree := checked.NativeRep()
	var found *flaw
	celast.PreOrderVisit(tree.Expr(), celast.NewExprVisitor(func(x celast.Expr) {
		if x.Kind() != celast.CallKind || found != nil {
			return
		}
		call := x.AsCall()
		if call.FunctionName() != overloads.Matches || len(call.Args()) == 0 {
			return
		}
		pattern := call.Args()[len(call.Args())-1]
		at := exprOffset(text, tree, pattern.ID())
		if pattern.Kind() != celast.LiteralKind {
			found = &flaw{at, "a regular expression must be written out", `write it in quotes, as in x.matches("^release/")`}
			return
		}
		literal, _ := pattern.AsLiteral().(types.String)
		re, err := syntax.Parse(string(literal), syntax.Perl)
		switch {
		case err != nil:
			found = &flaw{at, "this is not a regular expression: " + err.Error(), ""}
		case patternSize(re) > maxPattern:
			found = &flaw{at, "the regular expression is too large", "repeat less in it"}
		}
	}))
	return found
}

func patternSize(re *syntax.Regexp) int {
	size := 1 + len(re.Rune)/2
	for _, sub := range re.Sub {
		size = min(size+patternSize(sub), maxPattern+1)
	}
	if re.Op == syntax.OpRepeat {
		size = min(size*max(re.Min, re.Max, 1), maxPattern+1)
	}
	return size
}
