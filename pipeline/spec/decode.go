package spec

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// decoder fills the file's types from YAML nodes, strictly, and remembers where each
// value came from. It goes on after a problem, to find the next one.
type decoder struct {
	problems *problems
	anchors  map[string]ast.Node
	spots    map[string]spot
	merged   int // keys that were looked at for <<
}

// place is where the decoder is: the path of the value, such as
// "stages[0].deploy.environment", what people call it, and the constraints of its field.
type place struct {
	path   string
	key    string // as people call it: "environment"
	tag    limits
	merges int // how deep in mappings that << brings in
}

func (d *decoder) decode(n ast.Node, v reflect.Value, p place) {
	n = d.resolve(n)
	if n == nil {
		return
	}
	d.spots[p.path] = spot{nodePosition(n), n}
	switch x := v.Addr().Interface().(type) {
	case *Wait:
		if _, ok := n.(ast.ScalarNode); ok {
			d.decode(n, reflect.ValueOf(&x.For).Elem(), place{path: p.path + ".for", key: p.key})
			return
		}
	case *Condition:
		if b, ok := n.(*ast.BoolNode); ok {
			*x = Condition(strconv.FormatBool(b.Value))
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, v.Elem(), p)
	case reflect.Struct:
		d.object(n, v, p)
	case reflect.Map:
		d.dictionary(n, v, p)
	case reflect.Slice:
		d.list(n, v, p)
	case reflect.String:
		d.text(n, v, p)
	case reflect.Int:
		d.number(n, v, p)
	default:
		panic("spec: no decoder for " + v.Type().String())
	}
}

// resolve follows aliases and looks through anchors.
func (d *decoder) resolve(n ast.Node) ast.Node {
	for range maxDepth {
		switch x := n.(type) {
		case *ast.AnchorNode:
			n = x.Value
		case *ast.AliasNode:
			target, ok := d.anchors[aliasName(x)]
			if !ok {
				d.problems.add(at(x.Start), "there is no anchor of this name", "write &"+aliasName(x)+" before the value that is meant")
				return nil
			}
			n = target
		case nil:
			return nil
		default:
			return n
		}
	}
	d.problems.add(at(n.GetToken()), "this alias leads to itself", "")
	return nil
}

func aliasName(x *ast.AliasNode) string {
	if x.Value == nil || x.Value.GetToken() == nil {
		return ""
	}
	return x.Value.GetToken().Value
}

// pair is one key of a mapping with its value.
type pair struct {
	key   string
	at    position
	value ast.Node
}

// pairs lists the keys of a mapping, with those that << brings in last; own keys win.
func (d *decoder) pairs(n ast.Node, p place) ([]pair, bool) {
	m, ok := n.(ast.MapNode)
	if !ok {
		d.wrongType(n, p, "keys and values")
		return nil, false
	}
	var own, merged []pair
	seen := map[string]bool{}
	for it := m.MapRange(); it.Next(); {
		tk := it.Key().GetToken()
		d.merged += min(p.merges, 1)
		switch {
		case it.Key().IsMergeKey():
			if p.merges >= maxMerges || d.merged > maxMerged {
				d.problems.add(at(tk), "<< brings in too much", "write it out")
				return nil, false
			}
			if from := d.resolve(it.Value()); from != nil {
				inner := p
				inner.merges++
				more, ok := d.pairs(from, inner)
				if !ok {
					return nil, false
				}
				merged = append(merged, more...)
			}
			continue
		case seen[tk.Value]:
			d.problems.add(at(tk), fmt.Sprintf("%s is given twice", quote(tk.Value)), "remove one of them")
			continue
		}
		seen[tk.Value] = true
		own = append(own, pair{tk.Value, at(tk), it.Value()})
	}
	for _, m := range merged {
		if !seen[m.key] {
			seen[m.key] = true
			own = append(own, m)
		}
	}
	return own, true
}

func (d *decoder) object(n ast.Node, v reflect.Value, p place) {
	pairs, ok := d.pairs(n, p)
	if !ok {
		return
	}
	fields, names := fieldsOf(v.Type())
	given := map[string]bool{}
	for _, pr := range pairs {
		d.spots[join(p.path, pr.key)] = spot{at: pr.at}
		f, ok := fields[pr.key]
		if !ok {
			d.unknown(pr, v.Type(), names)
			continue
		}
		given[pr.key] = true
		child := place{path: join(p.path, pr.key), key: pr.key, tag: f.limits}
		if d.missing(pr.value, pr.at, pr.key) {
			continue
		}
		d.decode(pr.value, v.FieldByIndex(f.index), child)
	}
	for _, name := range names {
		if fields[name].required && !given[name] {
			d.problems.add(nodePosition(n), subject(p)+" has no "+name, missingHint(name))
		}
	}
}

// subject names the mapping that is read, for messages.
func subject(p place) string {
	if p.key == "" {
		return "the file"
	}
	return "this " + strings.TrimSuffix(p.key, "s")
}

func missingHint(name string) string {
	switch name {
	case "version":
		return "start the file with version: 1"
	case "stages":
		return "add a list of stages"
	}
	return "add " + name + ":"
}

func (d *decoder) unknown(pr pair, t reflect.Type, names []string) {
	if what := later(t, pr.key); what != "" {
		d.problems.add(pr.at, what, "remove it for now")
		return
	}
	d.problems.add(pr.at, "the key "+quote(pr.key)+" is not known here", didYouMean(pr.key, names))
}

// later tells of keys that are planned, so that nobody looks for a typing error.
func later(t reflect.Type, key string) string {
	planned := map[reflect.Type][]string{
		reflect.TypeFor[File]():   {"rollback"},
		reflect.TypeFor[Stage]():  {"canary", "window", "validate", "trigger", "webhook", "run", "rollback"},
		reflect.TypeFor[Deploy](): {"check", "standby", "traffic"},
	}
	for _, k := range planned[t] {
		if k == key {
			return key + " is not there yet in this version of Slipway"
		}
	}
	return ""
}

func (d *decoder) dictionary(n ast.Node, v reflect.Value, p place) {
	pairs, ok := d.pairs(n, p)
	if !ok {
		return
	}
	if p.tag.maxItems > 0 && len(pairs) > p.tag.maxItems {
		d.problems.add(nodePosition(n), fmt.Sprintf("%s has more than %d entries", p.key, p.tag.maxItems), "")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, pr := range pairs {
		d.spots[join(p.path, pr.key)+"#key"] = spot{at: pr.at}
		if d.missing(pr.value, pr.at, quote(pr.key)) {
			continue
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.decode(pr.value, value, place{path: join(p.path, pr.key), key: pr.key})
		v.SetMapIndex(reflect.ValueOf(pr.key), value)
	}
}

func (d *decoder) list(n ast.Node, v reflect.Value, p place) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.wrongType(n, p, "a list")
		return
	}
	switch {
	case p.tag.maxItems > 0 && len(seq.Values) > p.tag.maxItems:
		d.problems.add(nodePosition(n), fmt.Sprintf("%s has more than %d entries", p.key, p.tag.maxItems), "")
		return
	case len(seq.Values) < p.tag.minItems:
		d.problems.add(nodePosition(n), p.key+" is empty", "")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, item := range seq.Values {
		child := place{path: fmt.Sprintf("%s[%d]", p.path, i), key: p.key}
		at := nodePosition(n)
		if item != nil {
			at = nodePosition(item)
		}
		if d.missing(item, at, "an entry of "+p.key) {
			continue
		}
		d.decode(item, v.Index(i), child)
	}
}

func (d *decoder) text(n ast.Node, v reflect.Value, p place) {
	var s string
	switch x := n.(type) {
	case *ast.StringNode:
		s = x.Value
	case *ast.LiteralNode:
		s = x.Value.Value
	default:
		joined, ok := plainWithColon(n)
		if !ok {
			d.wrongType(n, p, wanted(v))
			return
		}
		s = joined
	}
	at := nodePosition(n)
	switch length := utf8.RuneCountInString(s); {
	case len(s) > MaxText || p.tag.maxLength > 0 && length > p.tag.maxLength:
		most := MaxText
		if p.tag.maxLength > 0 {
			most = p.tag.maxLength
		}
		d.problems.add(at, fmt.Sprintf("%s is longer than %d characters", p.key, most), "")
		return
	case length < p.tag.minLength:
		d.problems.add(at, p.key+" is empty", "")
		return
	case len(p.tag.enum) > 0 && !p.tag.allows(s):
		d.problems.add(at, fmt.Sprintf("%s cannot be %s", p.key, quote(s)), enumHint(p.key, s, p.tag.enum))
		return
	}
	v.SetString(s)
	if sc, ok := v.Interface().(scalar); ok && (!sc.templated() || !strings.Contains(s, opening)) {
		if what, hint := sc.check(s); what != "" {
			d.problems.add(at, what, hint)
		}
	}
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
	if key == "strategy" && (value == "blue-green" || value == "canary") {
		return value + " is not there yet in this version of Slipway; use rolling"
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

const (
	aText     = "a text"
	aDuration = "a duration"
)

func wanted(v reflect.Value) string {
	if v.Type() == reflect.TypeFor[Duration]() {
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

// missing tells that there is nothing to read, and has said so.
func (d *decoder) missing(n ast.Node, at position, what string) bool {
	r := d.resolve(n)
	if _, null := r.(*ast.NullNode); null || n == nil {
		d.problems.add(at, what+" has no value", "give it one or remove it")
		return true
	}
	return r == nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// anchorsOf finds the named values of the document.
func anchorsOf(root ast.Node) map[string]ast.Node {
	found := map[string]ast.Node{}
	ast.Walk(anchorVisitor(found), root)
	return found
}

type anchorVisitor map[string]ast.Node

func (a anchorVisitor) Visit(n ast.Node) ast.Visitor {
	if x, ok := n.(*ast.AnchorNode); ok && x.Name != nil && x.Name.GetToken() != nil {
		a[x.Name.GetToken().Value] = x.Value
	}
	return a
}
