package spec

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// position is a place in the file: 1-based, columns in characters.
type position struct{ line, column int }

// spot is where a value of the file was read from.
type spot struct {
	at   position
	node ast.Node
}

// source is the file's text by lines, to find a place within a scalar.
type source struct{ lines [][]rune }

func newSource(data []byte) *source {
	s := &source{}
	for line := range strings.SplitSeq(string(data), "\n") {
		s.lines = append(s.lines, []rune(strings.TrimSuffix(line, "\r")))
	}
	return s
}

func (s *source) line(n int) []rune {
	if n < 1 || n > len(s.lines) {
		return nil
	}
	return s.lines[n-1]
}

// clamp moves a position into the file.
func (s *source) clamp(p position) position {
	p.line = min(max(p.line, 1), len(s.lines))
	p.column = min(max(p.column, 1), len(s.line(p.line))+1)
	return p
}

func at(tk *token.Token) position {
	if tk == nil || tk.Position == nil {
		return position{1, 1}
	}
	return position{tk.Position.Line, tk.Position.Column}
}

// nodePosition is where a value begins: a block mapping begins at its first key.
func nodePosition(n ast.Node) position {
	switch x := n.(type) {
	case *ast.MappingNode:
		if !x.IsFlowStyle && len(x.Values) > 0 {
			return at(x.Values[0].Key.GetToken())
		}
	case *ast.MappingValueNode:
		return at(x.Key.GetToken())
	}
	return at(n.GetToken())
}

// within finds the place of the n-th character of a scalar's value. It walks along
// the value and its source text together, over what YAML leaves out of the value:
// quotes, escapes, folded line ends, indentation.
func (s *source) within(sp spot, n int) position {
	w := &walker{s: s, line: sp.at.line, column: sp.at.column}
	var value []rune
	switch x := sp.node.(type) {
	case *ast.LiteralNode:
		value = []rune(x.Value.Value)
		w.block, w.line, w.column = true, w.line+1, 1
		w.folded = x.Start.Type == token.FoldedType
		w.indent = s.indentFrom(w.line)
		w.skipIndent()
	case *ast.StringNode:
		value = []rune(x.Value)
		switch x.Token.Type {
		case token.DoubleQuoteType, token.SingleQuoteType:
			w.quote, w.column = s.rune(w.line, w.column), w.column+1
		}
		w.folded = true
	default:
		return sp.at
	}
	for _, r := range value[:min(max(n, 0), len(value))] {
		if !w.step(r) {
			break
		}
	}
	return s.clamp(position{w.line, w.column})
}

func (s *source) rune(line, column int) rune {
	if l := s.line(line); column >= 1 && column <= len(l) {
		return l[column-1]
	}
	return '\n'
}

// indentFrom is the indentation of the first line from n on that is not blank.
func (s *source) indentFrom(n int) int {
	for ; n <= len(s.lines); n++ {
		l := string(s.line(n))
		if t := strings.TrimLeft(l, " "); t != "" {
			return len(l) - len(t)
		}
	}
	return 0
}

type walker struct {
	s            *source
	line, column int
	quote        rune // ' or ", 0 for plain and block scalars
	block        bool
	folded       bool // a line end in the value is an empty line in the source
	indent       int
}

func (w *walker) skipIndent() {
	limit := len(w.s.line(w.line))
	if w.block {
		limit = min(limit, w.indent)
	}
	for w.column <= limit && (w.here() == ' ' || !w.block && w.here() == '\t') {
		w.column++
	}
}

func (w *walker) here() rune { return w.s.rune(w.line, w.column) }

// step passes the source of one character of the value, and tells whether it fits.
func (w *walker) step(r rune) bool {
	here := w.here()
	switch {
	case (r == ' ' || r == '\n') && w.restIsBlank():
		w.nextLine(r)
		return true
	case w.quote == '"' && here == '\\':
		w.column += 1 + escapeLength(w.s.rune(w.line, w.column+1))
		return true
	case w.quote == '\'' && r == '\'' && here == '\'':
		w.column += 2
		return true
	case here == r:
		w.column++
		return true
	}
	return false
}

// restIsBlank tells that the line ends here, but for spaces that flow scalars drop.
func (w *walker) restIsBlank() bool {
	l := w.s.line(w.line)
	rest := string(l[min(w.column-1, len(l)):])
	if w.block {
		return rest == ""
	}
	return strings.TrimSpace(rest) == "" && w.line < len(w.s.lines)
}

func (w *walker) nextLine(r rune) {
	w.line, w.column = w.line+1, 1
	w.skipIndent()
	if r == '\n' && w.folded && strings.TrimSpace(string(w.s.line(w.line))) == "" {
		w.line, w.column = w.line+1, 1
		w.skipIndent()
	}
}

func escapeLength(r rune) int {
	switch r {
	case 'x':
		return 3
	case 'u':
		return 5
	case 'U':
		return 9
	}
	return 1
}
