package spec

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// decoder fills the file's types from YAML nodes, strictly, and remembers where each
// value came from. It goes on after a problem, to find the next one.
type decoder struct {
	problems *problems
	anchors  map[string]ast.Node
	spots    map[string]spot
	merged   int // keys that were looked at for <<
	values   int // that were read; an alias can make many of one
	bytes    int // of their texts
	texts    []written
}

// written is a text with expressions in it.
type written struct {
	path, text string
	rule       scalar
}

// short is keys and values that may be written as the value of one of the keys alone.
type short interface{ shortFor() (key string) }

func (*Wait) shortFor() string   { return "for" }
func (*HTTP) shortFor() string   { return "url" }
func (*Report) shortFor() string { return "job" }

func (*Baseline) shortFor() string { return "version" }
func (*Marginal) shortFor() string { return "do" }

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
	if n == nil || d.tooMuch(n) {
		return
	}
	d.spots[p.path] = spot{nodePosition(n), n}
	if d.shortened(n, v, p) {
		return
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
	case reflect.Float64:
		d.fraction(n, v, p)
	case reflect.Bool:
		d.yesOrNo(n, v, p)
	default:
		panic("spec: no decoder for " + v.Type().String())
	}
}

// tooMuch bounds what aliases make of a file.
func (d *decoder) tooMuch(n ast.Node) bool {
	d.values++
	if d.values == maxValues+1 {
		d.problems.add(nodePosition(n), "the file holds too much", "write less, or use fewer aliases")
	}
	return d.values > maxValues
}

// shortened reads a value that is written in its short form, and tells whether it was.
func (d *decoder) shortened(n ast.Node, v reflect.Value, p place) bool {
	_, scalar := n.(ast.ScalarNode)
	switch x := v.Addr().Interface().(type) {
	case short:
		if _, text := plainWithColon(n); !scalar && !text {
			return false
		}
		fields, _ := fieldsOf(v.Type())
		f := fields[x.shortFor()]
		d.decode(n, v.FieldByIndex(f.index), place{path: join(p.path, x.shortFor()), key: p.key, tag: f.limits})
		return true
	case *Checks:
		if _, list := n.(*ast.SequenceNode); list {
			return false
		}
		*x = make(Checks, 1)
		d.decode(n, v.Index(0), place{path: p.path + "[0]", key: p.key})
		return true
	case *Statuses:
		switch x := n.(type) {
		case *ast.IntegerNode:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			d.decode(n, v.Index(0), place{path: p.path + "[0]", key: p.key, tag: p.tag})
			return true
		case *ast.StringNode:
			if x.Value != successful {
				d.problems.add(nodePosition(n), fmt.Sprintf("status cannot be %s", quote(x.Value)), `write a number, a list of numbers, or "2xx"`)
			}
			return true
		}
	case *Condition:
		if b, ok := n.(*ast.BoolNode); ok {
			*x = Condition(strconv.FormatBool(b.Value))
			return true
		}
	}
	return false
}

// successful is how people write the statuses from 200 to 299, which are meant without any.
const successful = "2xx"

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

// lastKey is the end of a path.
func lastKey(path string) string { return path[strings.LastIndex(path, ".")+1:] }

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
	if stageKeys, _ := fieldsOf(reflect.TypeFor[Stage]()); t == reflect.TypeFor[Deploy]() && stageKeys[pr.key].index != nil {
		d.problems.add(pr.at, "the key "+quote(pr.key)+" is not known here", "write it beside deploy, not in it")
		return
	}
	d.problems.add(pr.at, "the key "+quote(pr.key)+" is not known here", didYouMean(pr.key, names))
}

// later tells of keys that are planned, so that nobody looks for a typing error.
func later(t reflect.Type, key string) string {
	planned := map[reflect.Type][]string{
		reflect.TypeFor[Stage](): {"window", "webhook"},
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
		if rule, ok := reflect.Zero(v.Type().Key()).Interface().(scalar); ok {
			if what, hint := rule.check(pr.key); what != "" {
				d.problems.add(pr.at, what, hint)
			}
		}
		if d.missing(pr.value, pr.at, quote(pr.key)) {
			continue
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.decode(pr.value, value, place{path: join(p.path, pr.key), key: pr.key})
		v.SetMapIndex(reflect.ValueOf(pr.key).Convert(v.Type().Key()), value)
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
		child := place{path: fmt.Sprintf("%s[%d]", p.path, i), key: p.key, tag: p.tag.ofItems()}
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
