package kayenta

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// A bag is a JSON object from which keys are taken; rest tells of those that were not.
type bag struct {
	t     *translation
	where string
	keys  map[string]any
}

func (b *bag) at(key string) string {
	if b.where == "" {
		return key
	}
	return b.where + ": " + key
}

// take takes a key; nil if it is not there, or null.
func (b *bag) take(key string) any {
	value := b.keys[key]
	delete(b.keys, key)
	return value
}

func (b *bag) skip(key string) { delete(b.keys, key) }

// names are the keys that are left, in order.
func (b *bag) names() []string {
	out := make([]string, 0, len(b.keys))
	for key := range b.keys {
		out = append(out, key)
	}
	slices.Sort(out)
	return out
}

// rest notes what was not taken.
func (b *bag) rest() {
	for _, key := range b.names() {
		if b.keys[key] != nil {
			b.t.note(b.where, "%q has no counterpart and is left out: %s", shorten(key, 60), shorten(fmt.Sprint(b.keys[key]), 200))
		}
	}
}

// text is a string. A number is taken as its text, as Kayenta does.
func (b *bag) text(key string) string {
	switch value := b.take(key).(type) {
	case nil:
		return ""
	case string:
		return value
	case float64:
		return decimal(value)
	default:
		b.t.fail("%s: here is a text expected", b.at(key))
		return ""
	}
}

func (b *bag) number(key string) (float64, bool) {
	switch value := b.take(key).(type) {
	case nil:
		return 0, false
	case float64:
		return value, true
	default:
		b.t.fail("%s: here is a number expected", b.at(key))
		return 0, false
	}
}

func (b *bag) flag(key string) bool {
	switch value := b.take(key).(type) {
	case nil:
		return false
	case bool:
		return value
	default:
		b.t.fail("%s: here is true or false expected", b.at(key))
		return false
	}
}

func (b *bag) list(key string) []any {
	switch value := b.take(key).(type) {
	case nil:
		return nil
	case []any:
		return value
	default:
		b.t.fail("%s: here is a list expected", b.at(key))
		return nil
	}
}

func (b *bag) texts(key string) []string {
	var out []string
	for i, value := range b.list(key) {
		text, ok := value.(string)
		if !ok {
			b.t.fail("%s[%d]: here is a text expected", b.at(key), i)
		}
		out = append(out, text)
	}
	return out
}

// bag is an object in this one; nil if it is not there.
func (b *bag) bag(key string) *bag {
	switch value := b.take(key).(type) {
	case nil:
		return nil
	case map[string]any:
		return &bag{t: b.t, where: b.at(key), keys: value}
	default:
		b.t.fail("%s: here is an object expected", b.at(key))
		return nil
	}
}

// each is the texts of an object by their keys.
func (b *bag) each(key string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		in := b.bag(key)
		if in == nil {
			return
		}
		for _, name := range in.names() {
			if !yield(name, in.text(name)) {
				return
			}
		}
	}
}

// shorten keeps what is shown of a configuration short.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
