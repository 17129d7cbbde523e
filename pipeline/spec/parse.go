package spec

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// FileName is where the pipeline file is in a repository.
const FileName = ".slipway.yml"

// Bounds of what is read at all. They are far above what a pipeline needs and far
// below what costs noticeable time or memory.
const (
	MaxFile   = 256 << 10 // bytes
	maxTokens = 30_000
	maxDepth  = 24
	maxAnchor = 100
	// Aliases multiply values by their number at most, because the types of the file don't
	// nest in themselves. They can multiply keys by <<.
	maxValues = 30_000
	maxBytes  = 2 * MaxFile // of the values' texts
	maxMerges = 8
	maxMerged = 2_000
	// maxExpressions bounds the expressions of one file.
	maxExpressions = 300
)

// Parse reads a pipeline file and checks everything that needs neither the operator
// nor GitLab. name is how the problems call the file. The file is nil if there are
// problems; there are at most MaxProblems, in the order of the file.
func Parse(name string, data []byte) (*File, []pipeline.Problem) {
	ps := &problems{file: name}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	root := readYAML(ps, data)
	if root == nil {
		return nil, ps.told()
	}
	f := &File{name: name, source: newSource(data)}
	d := &decoder{problems: ps, anchors: anchorsOf(root), spots: map[string]spot{}}
	d.decode(root, reflect.ValueOf(f).Elem(), place{})
	f.spots = d.spots
	c := &checker{f: f, problems: ps, texts: d.texts}
	c.check()
	if len(ps.list) > 0 {
		for i, p := range ps.list {
			at := f.source.clamp(position{p.Line, p.Column})
			ps.list[i].Line, ps.list[i].Column = at.line, at.column
		}
		return nil, ps.told()
	}
	return f, nil
}

// hasReview tells that a pipeline file has a review, or means to: one that is wrong is told
// of only then, where nobody asked for a delivery yet.
func hasReview(data []byte) bool {
	root, ok := readYAML(&problems{}, bytes.TrimPrefix(data, []byte("\ufeff"))).(ast.MapNode)
	if !ok {
		return false
	}
	for it := root.MapRange(); it.Next(); {
		if it.Key().GetToken().Value == "review" {
			return true
		}
	}
	return false
}

// readYAML gives the one document of the file, nil if there are problems.
func readYAML(ps *problems, data []byte) ast.Node {
	top := position{1, 1}
	switch {
	case len(data) > MaxFile:
		ps.add(top, fmt.Sprintf("the file is larger than %d KB", MaxFile>>10), "")
		return nil
	case !utf8.Valid(data):
		ps.add(invalidUTF8(data), "the file is not UTF-8", "save it as UTF-8")
		return nil
	case bytes.IndexByte(data, 0) >= 0:
		ps.add(positionOf(data, bytes.IndexByte(data, 0)), "the file holds a zero byte", "")
		return nil
	}
	doc, err := parseYAML(ps, data)
	if err != nil {
		addSyntax(ps, data, err)
		return nil
	}
	if len(ps.list) > 0 {
		return nil
	}
	if doc == nil {
		ps.add(top, "the file is empty", "start it with version: 1")
		return nil
	}
	return doc
}

// parseYAML refuses what is too large before the parser, which recurses, sees it. A
// panic of the parser is an error of the file: its input comes from strangers.
func parseYAML(ps *problems, data []byte) (doc ast.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			doc, err = nil, errors.New("this is not YAML")
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if at, what := tooMuch(tokens); what != "" {
		ps.add(at, what, "")
		return nil, nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, err
	}
	for _, d := range file.Docs {
		switch {
		case d.Body == nil:
		case d.Body.Type() == ast.DirectiveType:
		case doc != nil:
			ps.add(nodePosition(d.Body), "the file holds more than one document", "remove the line ---")
			return nil, nil
		default:
			doc = d.Body
		}
	}
	return doc, nil
}

func tooMuch(tokens token.Tokens) (position, string) {
	if len(tokens) > maxTokens {
		return at(tokens[maxTokens]), "the file holds too much"
	}
	flow, anchors, entries, line := 0, 0, 0, 0
	for _, tk := range tokens {
		if tk.Position.Line != line {
			line, entries = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType:
			entries++
		case token.AnchorType, token.AliasType:
			anchors++
		case token.TagType:
			return at(tk), "tags such as !!str are not possible here"
		case token.MappingKeyType:
			return at(tk), "keys with ? are not possible here"
		}
		switch {
		case flow > maxDepth || entries > maxDepth:
			return at(tk), "the file is nested too deeply"
		case anchors > maxAnchor:
			return at(tk), "the file has too many anchors and aliases"
		}
	}
	return position{}, ""
}

func addSyntax(ps *problems, data []byte, err error) {
	var syntax *yaml.SyntaxError
	at, what := position{1, 1}, "this is not YAML"
	if errors.As(err, &syntax) {
		what = "this is not YAML: " + syntax.Message
		if syntax.Token != nil && syntax.Token.Position != nil {
			at = position{syntax.Token.Position.Line, syntax.Token.Position.Column}
		}
	}
	ps.add(newSource(data).clamp(at), what, "")
}

func invalidUTF8(data []byte) position {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n <= 1 {
			return positionOf(data, i)
		}
		i += n
	}
	return position{1, 1}
}

// positionOf is the place of a byte.
func positionOf(data []byte, offset int) position {
	before := data[:offset]
	start := bytes.LastIndexByte(before, '\n') + 1
	return position{bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1}
}
