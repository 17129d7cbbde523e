package manifest

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/Masterminds/sprig/v3"
)

// estimate is how many bytes a function would make of its arguments, at most.
type estimate func(m *meter, args []reflect.Value) int

// bounded are the functions that multiply what they are given, or take it apart. They are asked what that costs before they
// do it: once they have begun nothing stops them, and a process without memory ends.
func (m *meter) bounded() template.FuncMap {
	library := sprig.TxtFuncMap()
	for name, f := range map[string]any{
		"print": fmt.Sprint, "println": fmt.Sprintln, "printf": fmt.Sprintf,
		"html": template.HTMLEscaper, "js": template.JSEscaper, "urlquery": template.URLQueryEscaper,
	} {
		library[name] = f
	}
	all := template.FuncMap{}
	for cost, names := range estimates() {
		for _, name := range names {
			if f, ok := library[name]; ok {
				all[name] = m.before(f, *cost)
			}
		}
	}
	return all
}

// estimates are by the functions that they are for.
func estimates() map[*estimate][]string {
	together := estimate(func(m *meter, args []reflect.Value) int { return m.sum(args) })
	escaped := estimate(func(m *meter, args []reflect.Value) int { return 6 * m.sum(args) })
	formatted := estimate(func(m *meter, args []reflect.Value) int { return m.formatted(args[0].String(), args[1]) })
	joined := estimate(func(m *meter, args []reflect.Value) int { return m.size(args[1]) + length(args[1])*args[0].Len() })
	replaced := estimate(func(_ *meter, args []reflect.Value) int {
		old, with, in := args[0].String(), args[1].Len(), args[2].String()
		return len(in) + times(strings.Count(in, old), with)
	})
	expanded := estimate(func(_ *meter, args []reflect.Value) int { return times(args[1].Len()+1, args[2].Len()+1) })
	indented := estimate(func(_ *meter, args []reflect.Value) int {
		text := args[1].String()
		return len(text) + times(strings.Count(text, "\n")+2, int(args[0].Int()))
	})
	wrapped := estimate(func(_ *meter, args []reflect.Value) int { return times(args[2].Len()+1, args[1].Len()+1) })
	counted := estimate(func(_ *meter, args []reflect.Value) int { return int(min(args[0].Int(), 1<<40)) })
	const piece = 64 // bytes for each, in a list or a map
	split := estimate(func(_ *meter, args []reflect.Value) int {
		return times(strings.Count(args[len(args)-1].String(), args[0].String())+1, piece)
	})
	found := estimate(func(_ *meter, args []reflect.Value) int { return times(args[1].Len()+1, piece) })
	compared := estimate(func(m *meter, args []reflect.Value) int {
		m.steps -= times(length(args[0]), length(args[0])) / 1000
		return 0
	})
	return map[*estimate][]string{
		&together: {"print", "println", "cat", "quote", "squote"}, &escaped: {"html", "js", "urlquery"}, &formatted: {"printf"},
		&joined: {"join"}, &replaced: {"replace"}, &indented: {"indent", "nindent"}, &wrapped: {"wrapWith"},
		&expanded: {"regexReplaceAll", "mustRegexReplaceAll", "regexReplaceAllLiteral", "mustRegexReplaceAllLiteral"},
		&counted:  {"randAlphaNum", "randAlpha", "randAscii", "randNumeric", "randBytes"},
		&split:    {"split", "splitList", "splitn"}, &found: {"regexFindAll", "mustRegexFindAll", "regexSplit", "mustRegexSplit"},
		&compared: {"uniq", "mustUniq"},
	}
}

// times multiplies without going around.
func times(a, b int) int {
	const most = 1 << 40
	if a <= 0 || b <= 0 {
		return 0
	}
	if a > most/b {
		return most
	}
	return a * b
}

// before is the function, which first asks for what it is going to make.
func (m *meter) before(f any, cost estimate) any {
	own := reflect.ValueOf(f)
	of := own.Type()
	var in, out []reflect.Type
	for i := range of.NumIn() {
		in = append(in, of.In(i))
	}
	fails := of.NumOut() > 1
	for i := range of.NumOut() {
		out = append(out, of.Out(i))
	}
	if !fails {
		out = append(out, reflect.TypeFor[error]())
	}
	return reflect.MakeFunc(reflect.FuncOf(in, out, of.IsVariadic()), func(args []reflect.Value) []reflect.Value {
		if err := m.spend(cost(m, args)); err != nil {
			return []reflect.Value{reflect.Zero(out[0]), reflect.ValueOf(err)}
		}
		var results []reflect.Value
		if of.IsVariadic() {
			results = own.CallSlice(args)
		} else {
			results = own.Call(args)
		}
		if !fails {
			results = append(results, reflect.Zero(out[1]))
		}
		return results
	}).Interface()
}

// formatted bounds what printf makes: each verb may show the largest argument, at the greatest width that is named.
func (m *meter) formatted(format string, args reflect.Value) int {
	const widest = 1_000_000 // that Go takes
	largest := 0
	for i := range args.Len() {
		largest = max(largest, m.size(args.Index(i)))
	}
	width := 0
	if strings.Contains(format, "*") {
		width = widest
	}
	for _, digits := range regexp.MustCompile(`\d{2,7}`).FindAllString(format, -1) {
		n, err := strconv.Atoi(digits)
		if err == nil {
			width = max(width, min(n, widest))
		}
	}
	return len(format) + times(strings.Count(format, "%"), largest+width)
}

func (m *meter) sum(args []reflect.Value) int {
	sum := 0
	for _, a := range args {
		sum += m.size(a)
	}
	return sum
}

// length is how many items a list has.
func length(v reflect.Value) int {
	for v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if k := v.Kind(); k == reflect.Slice || k == reflect.Array || k == reflect.Map {
		return v.Len()
	}
	return 1
}

// size is about how many bytes a value takes as text, with all that is within it, each time that it is: one that holds
// itself holds it once. It ends soon after what is too much.
func (m *meter) size(v reflect.Value) int {
	w := weighing{most: 4 * m.most, until: m.until, within: map[uintptr]bool{}}
	if w.add(v, 0) != nil {
		return 4 * m.most
	}
	return w.bytes
}

type weighing struct {
	bytes, most, values int
	until               time.Time
	within              map[uintptr]bool // the lists and maps that the value is in
}

func (w *weighing) add(v reflect.Value, depth int) error {
	const each, deepest = 8, 1000
	if w.values++; w.bytes > w.most || depth > deepest || w.values%4096 == 0 && time.Now().After(w.until) {
		return errors.New("too much")
	}
	w.bytes += each
	switch v.Kind() {
	case reflect.String:
		w.bytes += v.Len()
	case reflect.Interface:
		if !v.IsNil() {
			return w.add(v.Elem(), depth+1)
		}
	case reflect.Slice, reflect.Map:
		if v.Len() == 0 || w.within[v.Pointer()] {
			return nil
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			w.bytes += v.Len()
			return nil
		}
		w.within[v.Pointer()] = true
		defer delete(w.within, v.Pointer())
		return w.items(v, depth)
	default: // a number, or what templates cannot make
	}
	return nil
}

func (w *weighing) items(v reflect.Value, depth int) error {
	if v.Kind() == reflect.Map {
		for it := v.MapRange(); it.Next(); {
			if err := w.add(it.Key(), depth+1); err != nil {
				return err
			}
			if err := w.add(it.Value(), depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range v.Len() {
		if err := w.add(v.Index(i), depth+1); err != nil {
			return err
		}
	}
	return nil
}
