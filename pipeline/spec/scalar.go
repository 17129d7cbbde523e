package spec

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

func (d *decoder) text(n ast.Node, v reflect.Value, p place) {
	s, ok := textOf(n, v)
	if !ok {
		d.wrongType(n, p, wanted(v))
		return
	}
	at, most := nodePosition(n), MaxText
	if p.tag.maxLength > 0 {
		most = p.tag.maxLength
	}
	d.bytes += len(s)
	switch length := utf8.RuneCountInString(s); {
	case len(s) > MaxText || length > most:
		d.problems.add(at, fmt.Sprintf("%s is longer than %d characters", p.key, most), "")
		return
	case d.bytes > maxBytes:
		d.values = max(d.values, maxValues)
		d.tooMuch(n)
		return
	case length < p.tag.minLength:
		d.problems.add(at, p.key+" is empty", "")
		return
	case len(p.tag.enum) > 0 && !p.tag.allows(s):
		d.problems.add(at, fmt.Sprintf("%s cannot be %s", p.key, quote(s)), enumHint(p.key, s, p.tag.enum))
		return
	}
	v.SetString(s)
	sc, ok := v.Interface().(scalar)
	switch {
	case !ok:
	case sc.templated() && strings.Contains(s, opening):
		d.texts = append(d.texts, written{p.path, s, sc})
	default:
		if what, hint := sc.check(s); what != "" {
			d.problems.add(at, what, hint)
		}
	}
}

// textOf is the text that a value is written as.
func textOf(n ast.Node, v reflect.Value) (string, bool) {
	switch x := n.(type) {
	case *ast.StringNode:
		return x.Value, true
	case *ast.LiteralNode:
		return x.Value.Value, true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode:
		return x.GetToken().Value, v.Type() == reflect.TypeFor[Value]()
	}
	return plainWithColon(n)
}

// plainWithColon reads role:owner in {approvers: [role:owner]}. YAML 1.2 takes a colon
// with no space after it as part of the text; the parser makes a mapping of it when
// the list is within braces.
func plainWithColon(n ast.Node) (string, bool) {
	m, ok := n.(*ast.MappingNode)
	if ok && (m.IsFlowStyle || len(m.Values) != 1) {
		return "", false
	}
	v, single := n.(*ast.MappingValueNode)
	if ok {
		v, single = m.Values[0], true
	}
	if !single || v.Key == nil || v.Value == nil {
		return "", false
	}
	key, value := v.Key.GetToken(), v.Value.GetToken()
	_, scalar := v.Value.(ast.ScalarNode)
	adjacent := at(value) == position{at(key).line, at(key).column + utf8.RuneCountInString(key.Value) + 1}
	if !scalar || !adjacent || key.Type == token.DoubleQuoteType || key.Type == token.SingleQuoteType {
		return "", false
	}
	return key.Value + ":" + value.Value, true
}

func enumHint(key, value string, enum []string) string {
	if key == "strategy" && value == "canary" {
		return "a canary is a stage of its own before the deploy; use rolling or blue-green"
	}
	return didYouMean(value, enum)
}

func (d *decoder) number(n ast.Node, v reflect.Value, p place) {
	x, ok := n.(*ast.IntegerNode)
	if !ok {
		d.wrongType(n, p, "a whole number")
		return
	}
	i, err := strconv.ParseInt(x.GetToken().Value, 10, 32)
	low, high := p.tag.minimum, p.tag.maximum
	switch {
	case err != nil || i < low || i > high:
		what := fmt.Sprintf("%s must be between %d and %d", p.key, low, high)
		if low == high {
			what = fmt.Sprintf("%s must be %d", p.key, low)
		}
		d.problems.add(nodePosition(n), what, "")
	default:
		v.SetInt(i)
	}
}

func (d *decoder) fraction(n ast.Node, v reflect.Value, p place) {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		f, err := strconv.ParseFloat(n.GetToken().Value, 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			d.problems.add(nodePosition(n), p.key+" is not a number that can be compared", "write it in digits, as in 0.05")
			return
		}
		v.SetFloat(f)
	case *ast.InfinityNode, *ast.NanNode:
		d.problems.add(nodePosition(n), p.key+" must be finite", "remove it where there is no bound")
	default:
		d.wrongType(n, p, "a number")
	}
}

func (d *decoder) yesOrNo(n ast.Node, v reflect.Value, p place) {
	x, ok := n.(*ast.BoolNode)
	if !ok {
		d.wrongType(n, p, "true or false")
		return
	}
	v.SetBool(x.Value)
}

const (
	aText     = "a text"
	aDuration = "a duration"
)

func wanted(v reflect.Value) string {
	switch v.Type() {
	case reflect.TypeFor[Duration](), reflect.TypeFor[Delay](), reflect.TypeFor[Latency]():
		return aDuration
	}
	return aText
}

func (d *decoder) wrongType(n ast.Node, p place, want string) {
	hint, name := "", p.key
	if name == "" {
		name = "the file"
	}
	if _, scalar := n.(ast.ScalarNode); scalar {
		switch want {
		case aText:
			hint = "put it in quotes"
		case aDuration:
			_, hint = Duration("").check("")
		}
		if p.key == "then" {
			hint = "write the stage itself, as in stages"
		}
	}
	d.problems.add(nodePosition(n), fmt.Sprintf("%s must be %s, not %s", name, want, kindOf(n)), hint)
}

func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "nothing"
	}
	return "a text"
}
