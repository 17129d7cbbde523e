package spec

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

const (
	opening = "${{"
	closing = "}}"
)

// template is a text with expressions in ${{ }}, or a condition: one expression alone.
type template struct {
	parts   []part
	dynamic bool
}

// part is literal text, or an expression that begins at a character of the whole.
type part struct {
	text   string
	expr   *expression
	offset int
}

// template compiles a text. The flaws say where in the text they are.
func (l *language) template(text string) (*template, []flaw) {
	t := &template{}
	var flaws []flaw
	runes := []rune(text)
	for i := 0; i < len(runes); {
		open := indexFrom(runes, i, opening)
		if open < 0 {
			t.parts = append(t.parts, part{text: string(runes[i:])})
			break
		}
		if open > i {
			t.parts = append(t.parts, part{text: string(runes[i:open])})
		}
		start := open + len(opening)
		end := expressionEnd(runes, start)
		if end < 0 {
			return t, append(flaws, flaw{open, "this ${{ is never closed", "close it with }}"})
		}
		e, f := l.compileIn(runes, start, end)
		if f == nil {
			f = printable(e, start)
		}
		if f != nil {
			flaws = append(flaws, *f)
		} else {
			t.parts = append(t.parts, part{expr: e, offset: e.shift(start)})
			t.dynamic = t.dynamic || e.dynamic
		}
		i = end + len(closing)
	}
	return t, flaws
}

// condition compiles an expression that gives true or false, bare or in ${{ }}.
func (l *language) condition(text string) (*template, []flaw) {
	runes := []rune(text)
	start, end := 0, len(runes)
	if open := indexFrom(runes, 0, opening); open >= 0 {
		start = open + len(opening)
		end = expressionEnd(runes, start)
		if end < 0 {
			return nil, []flaw{{open, "this ${{ is never closed", "close it with }}"}}
		}
		if rest := string(runes[:open]) + string(runes[end+len(closing):]); strings.TrimSpace(rest) != "" {
			return nil, []flaw{{open, "a condition is one expression", "write it bare, or all of it in one ${{ }}"}}
		}
	}
	e, f := l.compileIn(runes, start, end)
	if f != nil {
		return nil, []flaw{*f}
	}
	if e.output.Kind() != types.BoolKind {
		return nil, []flaw{{e.shift(start), "the condition gives " + typeWord(e.output) + ", not true or false", "compare it with something"}}
	}
	return &template{parts: []part{{expr: e, offset: e.shift(start)}}, dynamic: e.dynamic}, nil
}

// compileIn compiles a part of a text, without the space around it.
func (l *language) compileIn(runes []rune, start, end int) (*expression, *flaw) {
	text := string(runes[start:end])
	trimmed := strings.TrimSpace(text)
	lead := len([]rune(text)) - len([]rune(strings.TrimLeft(text, " \t\n")))
	if trimmed == "" {
		return nil, &flaw{start, "the expression is empty", "write for example ${{ commit.short_sha }}"}
	}
	e, f := l.compile(trimmed)
	if f != nil {
		f.offset += start + lead
		return nil, f
	}
	for i := range e.uses {
		e.uses[i].offset += start + lead
	}
	e.lead = lead
	return e, nil
}

// expressionEnd finds the }} that closes an expression, over texts and braces in it.
func expressionEnd(runes []rune, i int) int {
	depth := 0
	for ; i < len(runes); i++ {
		switch r := runes[i]; {
		case r == '"' || r == '\'':
			if i = textEnd(runes, i, r); i < 0 {
				return -1
			}
		case r == '{':
			depth++
		case r == '}' && depth > 0:
			depth--
		case r == '}' && i+1 < len(runes) && runes[i+1] == '}':
			return i
		}
	}
	return -1
}

func textEnd(runes []rune, i int, quote rune) int {
	for i++; i < len(runes); i++ {
		switch runes[i] {
		case '\\':
			i++
		case quote:
			return i
		}
	}
	return -1
}

func indexFrom(runes []rune, i int, what string) int {
	want := []rune(what)
	for ; i+len(want) <= len(runes); i++ {
		if string(runes[i:i+len(want)]) == what {
			return i
		}
	}
	return -1
}

func printable(e *expression, start int) *flaw {
	kind := e.output
	if kind.Kind() == types.ListKind && len(kind.Parameters()) == 1 {
		kind = kind.Parameters()[0]
	}
	switch kind.Kind() {
	case types.StringKind, types.IntKind, types.UintKind, types.DoubleKind, types.BoolKind, types.TimestampKind, types.DurationKind:
		return nil
	}
	return &flaw{e.shift(start), "the expression gives " + typeWord(e.output) + ", which is not a text", "name one of its fields"}
}

func typeWord(t *cel.Type) string {
	switch t.Kind() {
	case types.StructKind:
		return "the whole " + strings.ToLower(t.TypeName())
	case types.StringKind:
		return "a text"
	case types.IntKind, types.UintKind, types.DoubleKind:
		return "a number"
	case types.BoolKind:
		return "true or false"
	case types.ListKind:
		return "a list"
	case types.MapKind:
		return "a map"
	}
	return cel.FormatCELType(t)
}

// fill gives the text with its expressions evaluated. An error tells which failed.
func (t *template) fill(vars map[string]any) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.expr == nil {
			b.WriteString(p.text)
			continue
		}
		v, err := p.expr.eval(vars)
		if err != nil {
			return "", err
		}
		s, err := show(v)
		if err != nil {
			return "", fmt.Errorf("%s: %w", quote(p.expr.text), err)
		}
		b.WriteString(s)
		if b.Len() > MaxText {
			return "", fmt.Errorf("the text becomes longer than %d bytes", MaxText)
		}
	}
	return b.String(), nil
}

// test evaluates a condition.
func (t *template) test(vars map[string]any) (bool, error) {
	v, err := t.parts[0].expr.eval(vars)
	if err != nil {
		return false, err
	}
	yes, ok := v.(types.Bool)
	if !ok {
		return false, errors.New("the condition is neither true nor false")
	}
	return bool(yes), nil
}

func (e *expression) eval(vars map[string]any) (ref.Val, error) {
	v, _, err := e.program.Eval(vars)
	if err != nil {
		what := oneLine(err.Error())
		if strings.Contains(what, "cost limit") {
			what = "it takes too long"
		}
		return nil, fmt.Errorf("%s cannot be evaluated: %s", quote(e.text), what)
	}
	return v, nil
}

func show(v ref.Val) (string, error) {
	switch x := v.(type) {
	case types.String:
		return string(x), nil
	case types.Timestamp:
		return x.UTC().Format(time.RFC3339), nil
	case types.Int, types.Uint, types.Double, types.Bool, types.Duration:
		s, ok := v.ConvertToType(types.StringType).(types.String)
		if !ok {
			return "", errors.New("it is not a text")
		}
		return string(s), nil
	case traits.Lister:
		var words []string
		for it := x.Iterator(); it.HasNext() == types.True; {
			s, err := show(it.Next())
			if err != nil {
				return "", err
			}
			words = append(words, s)
		}
		return strings.Join(words, ", "), nil
	}
	return "", errors.New("it is not a text")
}
