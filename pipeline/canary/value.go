package canary

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A value is one JSON value of a request, and where it stands there. Its text is known to be valid JSON without space
// around it, so that its first byte tells what it is.
type value struct {
	at   string // such as metrics[2] "latency": direction
	text []byte
}

// parse takes the whole of a request. Errors say the line and column.
func parse(data []byte) (value, error) {
	if json.Valid(data) {
		return value{text: bytes.Trim(data, space)}, nil
	}
	var anything json.RawMessage
	err := json.Unmarshal(data, &anything)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return value{}, fmt.Errorf("this is no JSON: %w", err)
	}
	if len(bytes.Trim(data, space)) == 0 {
		return value{}, errors.New("there is nothing to read")
	}
	before := data[:min(max(int(syntax.Offset)-1, 0), len(data))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	hint := ""
	if rest := string(data[len(before):]); strings.HasPrefix(rest, "NaN") || strings.HasPrefix(rest, "Infinity") {
		hint = "; NaN and Infinity are no JSON, write null for a sample that is missing"
	}
	return value{}, fmt.Errorf("this is no JSON: line %d, column %d: %w%s", line, column, syntax, hint)
}

const space = " \t\r\n"

func (v value) errorf(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if v.at == "" {
		return errors.New(text)
	}
	return fmt.Errorf("%s: %s", v.at, text)
}

func (v value) null() bool { return v.text[0] == 'n' }

// is says what a value is, for people, without showing much of it.
func (v value) is() string {
	switch v.text[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case 't', 'f':
		return string(v.text)
	case 'n':
		return "null"
	default:
		return "the number " + shorten(string(v.text), 40)
	}
}

// shorten keeps what is shown of other people's text short.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// end is where the value that begins at i ends.
func end(text []byte, i int) int {
	switch text[i] {
	case '"':
		return endOfString(text, i)
	case '{', '[':
		return endOfNested(text, i)
	}
	for i < len(text) && !separates[text[i]] {
		i++
	}
	return i
}

func endOfString(text []byte, i int) int {
	for i++; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func endOfNested(text []byte, i int) int {
	depth := 0
	for {
		switch nests[text[i]] {
		case opens:
			depth++
		case closes:
			if depth--; depth == 0 {
				return i + 1
			}
		case quotes:
			i = endOfString(text, i)
			continue
		}
		i++
	}
}

// Tables, as most of a request's bytes are looked at here several times.
const (
	opens = 1 + iota
	closes
	quotes
)

var (
	nests     = [256]byte{'{': opens, '[': opens, '}': closes, ']': closes, '"': quotes}
	separates = [256]bool{',': true, ':': true, ']': true, '}': true, ' ': true, '\t': true, '\r': true, '\n': true}
	between   = [256]bool{',': true, ':': true, ' ': true, '\t': true, '\r': true, '\n': true}
)

// next is the first byte from i on that is no space, comma or colon.
func next(text []byte, i int) int {
	for i < len(text) && between[text[i]] {
		i++
	}
	return i
}

// A member is a key of an object and its value's text.
type member struct {
	key  string
	text []byte
}

// members are those of an object, in their order.
func (v value) members() ([]member, error) {
	if v.text[0] != '{' {
		return nil, v.errorf("here is an object expected, and it is %s", v.is())
	}
	var out []member
	for i := next(v.text, 1); v.text[i] != '}'; i = next(v.text, i) {
		stop := end(v.text, i)
		key, err := unquote(v.text[i:stop])
		if err != nil {
			return nil, v.errorf("%v", err)
		}
		i = next(v.text, stop)
		stop = end(v.text, i)
		out = append(out, member{key, v.text[i:stop]})
		i = stop
	}
	return out, nil
}

// byKey is the values of an object. A key that stands there twice is an error, and one that is not known, if some are.
func (v value) byKey(members []member, known []string) (map[string]value, error) {
	out := make(map[string]value, len(members))
	for _, m := range members {
		if known != nil && !slices.Contains(known, m.key) {
			return nil, v.errorf("unknown key %q; the keys are %s", shorten(m.key, 60), strings.Join(known, ", "))
		}
		if _, twice := out[m.key]; twice {
			return nil, v.errorf("the key %q stands there twice", shorten(m.key, 60))
		}
		out[m.key] = value{at: v.under(m.key), text: m.text}
	}
	return out, nil
}

// object is the values of an object by its keys, of which no others are known, or any if known is nil.
func (v value) object(known []string) (map[string]value, error) {
	members, err := v.members()
	if err != nil {
		return nil, err
	}
	return v.byKey(members, known)
}

func (v value) under(key string) string {
	if v.at == "" {
		return shorten(key, 60)
	}
	return v.at + ": " + shorten(key, 60)
}

func unquote(text []byte) (string, error) {
	if inner := text[1 : len(text)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner), nil
	}
	var s string
	err := json.Unmarshal(text, &s)
	return s, err
}

// take reads the value of a key, if it is there and not null.
func take[T any](from map[string]value, key string, into *T, read func(value) (T, error)) error {
	v, there := from[key]
	if !there || v.null() {
		return nil
	}
	got, err := read(v)
	if err == nil {
		*into = got
	}
	return err
}

func (v value) string() (string, error) {
	if v.text[0] != '"' {
		return "", v.errorf("here is a text expected, and it is %s", v.is())
	}
	s, err := unquote(v.text)
	if err != nil {
		return "", v.errorf("%v", err)
	}
	return s, nil
}

func (v value) bool() (bool, error) {
	if v.text[0] != 't' && v.text[0] != 'f' {
		return false, v.errorf("here is true or false expected, and it is %s", v.is())
	}
	return v.text[0] == 't', nil
}

func (v value) number() (float64, error) {
	if c := v.text[0]; c != '-' && (c < '0' || c > '9') {
		return 0, v.errorf("here is a number expected, and it is %s", v.is())
	}
	f, err := strconv.ParseFloat(string(v.text), 64)
	if err != nil {
		return 0, v.errorf("%s is too large for a number", shorten(string(v.text), 40))
	}
	return f, nil
}

func (v value) pointer() (*float64, error) {
	f, err := v.number()
	return &f, err
}

func (v value) integer() (int, error) {
	f, err := v.number()
	if err != nil {
		return 0, err
	}
	if f != float64(int32(f)) {
		return 0, v.errorf("here is a whole number expected, and it is %s", v.is())
	}
	return int(f), nil
}

// each reads the values of a list, at most as many as are allowed.
func (v value) each(most int, read func(value) error) error {
	if v.text[0] != '[' {
		return v.errorf("here is a list expected, and it is %s", v.is())
	}
	n := 0
	for i := next(v.text, 1); v.text[i] != ']'; i = next(v.text, i) {
		if n == most {
			return v.errorf("there are more than %d", most)
		}
		stop := end(v.text, i)
		if err := read(value{at: fmt.Sprintf("%s[%d]", v.at, n), text: v.text[i:stop]}); err != nil {
			return err
		}
		i = stop
		n++
	}
	return nil
}
