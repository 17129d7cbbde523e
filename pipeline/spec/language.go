package spec

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Bounds of one expression. The cost is CEL's own count of operations, which bounds
// the time without a clock: an evaluation of this cost takes a few milliseconds.
const (
	maxExpression = 2000 // characters
	maxExprNodes  = 2000
	maxExprNested = 30
	maxCost       = 50_000
)

// language is CEL with the variables of a pipeline file.
type language struct{ env *cel.Env }

// expression is a compiled CEL expression.
type expression struct {
	text    string
	program cel.Program
	output  *cel.Type
	// dynamic: it asks for earlier stages; uses are those that it names.
	dynamic bool
	uses    []use
	names   []string // of the variables that it asks for
	// tracks: it asks for the track of a canary; trackAt is where, in characters.
	tracks  bool
	trackAt int
	lead    int // characters of space before it
}

// shift is the place of the expression in a text whose ${{ ends at start.
func (e *expression) shift(start int) int { return start + e.lead }

// use is a stage that an expression names, with its place in the text in characters.
type use struct {
	stage  string
	offset int
}

// flaw is what is wrong in a text, with its place in characters.
type flaw struct {
	offset     int
	what, hint string
}

func newLanguage() (*language, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, fmt.Errorf("prepare CEL: %w", err)
	}
	env, err := cel.NewEnv(
		cel.CustomTypeAdapter(registry),
		cel.CustomTypeProvider(&provider{registry}),
		cel.Variable("application", cel.StringType),
		cel.Variable("commit", cel.ObjectType("Commit")),
		cel.Variable("merge_request", cel.ObjectType("MergeRequest")),
		cel.Variable("project", cel.ObjectType("Project")),
		cel.Variable("stages", cel.MapType(cel.StringType, cel.ObjectType("Stage"))),
		cel.Variable(varTrack, cel.StringType),
		cel.Variable(varVersion, cel.StringType),
		cel.Variable(varRelease, cel.StringType),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ExpressionNodeLimit(maxExprNodes),
		cel.ParserRecursionLimit(maxExprNested),
	)
	if err != nil {
		return nil, fmt.Errorf("prepare CEL: %w", err)
	}
	return &language{env}, nil
}

// compile checks an expression. A panic of CEL is a flaw of the text: it comes from
// whoever can merge, and must not end the process.
func (l *language) compile(text string) (e *expression, f *flaw) {
	defer func() {
		if r := recover(); r != nil {
			e, f = nil, &flaw{what: "the expression cannot be read"}
		}
	}()
	if len([]rune(text)) > maxExpression {
		return nil, &flaw{what: fmt.Sprintf("the expression is longer than %d characters", maxExpression)}
	}
	parsed, issues := l.env.Parse(text)
	if issues.Err() != nil {
		return nil, syntaxFlaw(text, issues)
	}
	checked, issues := l.env.Check(parsed)
	if issues.Err() != nil {
		return nil, typeFlaw(text, parsed, issues)
	}
	if f := checkPatterns(text, checked); f != nil {
		return nil, f
	}
	program, err := l.env.Program(checked, cel.CostLimit(maxCost))
	if err != nil {
		return nil, &flaw{what: "the expression cannot be used: " + oneLine(err.Error())}
	}
	e = &expression{text: text, program: program, output: checked.OutputType()}
	e.findUses(checked)
	return e, nil
}

// findUses lists the stages that the expression names, as stages.x or stages["x"].
func (e *expression) findUses(checked *cel.Ast) {
	tree := checked.NativeRep()
	celast.PreOrderVisit(tree.Expr(), celast.NewExprVisitor(func(x celast.Expr) {
		if x.Kind() == celast.IdentKind {
			e.names = append(e.names, x.AsIdent())
			e.dynamic = e.dynamic || x.AsIdent() == "stages"
		}
		if x.Kind() == celast.IdentKind && slices.Contains(trackVariables(), x.AsIdent()) && !e.tracks {
			e.tracks, e.trackAt = true, exprOffset(e.text, tree, x.ID())
		}
		if name, ok := stageOf(x); ok {
			e.uses = append(e.uses, use{name, exprOffset(e.text, tree, x.ID())})
		}
	}))
}

// stageOf is the stage that an expression of the form stages.x or stages["x"] names.
func stageOf(x celast.Expr) (string, bool) {
	isStages := func(x celast.Expr) bool { return x.Kind() == celast.IdentKind && x.AsIdent() == "stages" }
	switch x.Kind() {
	case celast.SelectKind:
		if isStages(x.AsSelect().Operand()) {
			return x.AsSelect().FieldName(), true
		}
	case celast.CallKind:
		call := x.AsCall()
		if args := call.Args(); call.FunctionName() == operators.Index && len(args) == 2 && isStages(args[0]) &&
			args[1].Kind() == celast.LiteralKind {
			if name, ok := args[1].AsLiteral().(types.String); ok {
				return string(name), true
			}
		}
	}
	return "", false
}

func exprOffset(text string, tree *celast.AST, id int64) int {
	loc := tree.SourceInfo().GetStartLocation(id)
	return offsetOf(text, loc.Line(), loc.Column())
}

// offsetOf turns CEL's line (from 1) and column (from 0) into characters, and passes
// the dot or bracket that CEL points at.
func offsetOf(text string, line, column int) int {
	lines := strings.Split(text, "\n")
	offset := 0
	for i := 0; i < line-1 && i < len(lines); i++ {
		offset += len([]rune(lines[i])) + 1
	}
	runes := []rune(text)
	offset = min(max(offset+column, 0), len(runes))
	if offset < len(runes) && strings.ContainsRune(".[", runes[offset]) && offset+1 < len(runes) {
		offset++
	}
	return offset
}

func syntaxFlaw(text string, issues *cel.Issues) *flaw {
	first := issues.Errors()[0]
	what := strings.TrimPrefix(oneLine(first.Message), "Syntax error: ")
	what, _, _ = strings.Cut(what, " expecting ")
	if strings.Contains(what, "<EOF>") {
		what = "it ends too early"
	}
	return &flaw{offsetOf(text, first.Location.Line(), first.Location.Column()), "this is not a CEL expression: " + what, ""}
}

func typeFlaw(text string, parsed *cel.Ast, issues *cel.Issues) *flaw {
	first := slices.MinFunc(issues.Errors(), func(a, b *cel.Error) int {
		return offsetOf(text, a.Location.Line(), a.Location.Column()) - offsetOf(text, b.Location.Line(), b.Location.Column())
	})
	f := &flaw{offset: offsetOf(text, first.Location.Line(), first.Location.Column())}
	message := oneLine(first.Message)
	if name := between(message, `^undeclared reference to '([^']*)'`); name != "" {
		f.what = quote(name) + " is not known in expressions"
		f.hint = didYouMean(name, []string{"application", "commit", "merge_request", "project", "stages"})
		if near := didYouMean(name, trackVariables()); strings.HasPrefix(near, "did you mean") {
			f.hint = near
		}
		return f
	}
	if name := between(message, `^undefined field '([^']*)'`); name != "" {
		f.what = "there is no field " + quote(name)
		if object := objectAt(parsed, first.ExprID); object != "" {
			f.what = object + " has no field " + quote(name)
			f.hint = didYouMean(name, fieldNames(object))
		}
		return f
	}
	if between(message, `(found no matching overload)`) != "" {
		f.hint = "compare and join values of one type; string(x) turns a number into a text"
	}
	f.what = "the types do not fit: " + message
	return f
}

// objectAt tells what kind of object the select with this id looks into.
func objectAt(parsed *cel.Ast, id int64) string {
	object := ""
	celast.PreOrderVisit(parsed.NativeRep().Expr(), celast.NewExprVisitor(func(x celast.Expr) {
		if x.ID() != id || x.Kind() != celast.SelectKind {
			return
		}
		operand := x.AsSelect().Operand()
		if _, ok := stageOf(operand); ok {
			object = "a stage"
		} else if operand.Kind() == celast.IdentKind {
			object = operand.AsIdent()
		}
	}))
	return object
}

func fieldNames(object string) []string {
	typeName := map[string]string{"commit": "Commit", "merge_request": "MergeRequest", "project": "Project", "a stage": "Stage"}[object]
	var names []string
	for _, f := range objectFields(typeName) {
		names = append(names, f.name)
	}
	return names
}

func between(s, pattern string) string {
	if m := regexp.MustCompile(pattern).FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return ""
}

func oneLine(s string) string {
	return strings.Join(strings.Fields(s), " ")
}
