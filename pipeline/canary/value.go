package canary

import (
	"encoding/json"
	"errors"
	"fmt"
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
		return value{text: []byte(strings.Trim(string(data), space))}, nil
	}
	var anything json.RawMessage
	err := json.Unmarshal(data, &anything)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return value{}, fmt.Errorf("this is no JSON: %w", err)
	}
	if strings.Trim(string(data), space) == "" {
		return value{}, errors.New("there is nothing to read")
	}
	before := data[:min(max(int(syntax.Offset)-1, 0), len(data))]
	line := 1 + strings.Count(string(before), "\n")
	column := 1 + utf8.RuneCount(before[strings.LastIndexByte(string(before), '\n')+1:])
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
	depth := 0
	for ; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth > 0 || !last(text, i) {
				continue
			}
		}
		if depth == 0 {
			return i + 1
		}
	}
	return i
}

// last is whether a number, true, false or null ends with the byte at i.
func last(text []byte, i int) bool {
	return i+1 == len(text) || strings.IndexByte(",]}:"+space, text[i+1]) >= 0
}

// next is the first byte from i on that is no space, comma or colon.
func next(text []byte, i int) int {
	for i < len(text) && strings.IndexByte(",:"+space, text[i]) >= 0 {
		i++
	}
	return i
}

// object is the values of an object by key. A key that is not known or that stands there twice is an error.
func (v value) object(known []string) (map[string]value, error) {
	return v.members(func(key string) error {
		for _, k := range known {
			if k == key {
				return nil
			}
		}
		return v.errorf("unknown key %q; the keys are %s", shorten(key, 60), strings.Join(known, ", "))
	})
}

func (v value) members(allowed func(key string) error) (map[string]value, error) {
	if v.text[0] != '{' {
		return nil, v.errorf("here is an object expected, and it is %s", v.is())
	}
	out := map[string]value{}
	for i := next(v.text, 1); v.text[i] != '}'; i = next(v.text, i) {
		stop := end(v.text, i)
		key, err := unquote(v.text[i:stop])
		if err != nil {
			return nil, v.errorf("%v", err)
		}
		if err := allowed(key); err != nil {
			return nil, err
		}
		if _, twice := out[key]; twice {
			return nil, v.errorf("the key %q stands there twice", shorten(key, 60))
		}
		i = next(v.text, stop)
		stop = end(v.text, i)
		out[key] = value{at: v.under(key), text: v.text[i:stop]}
		i = stop
	}
	return out, nil
}

func (v value) under(key string) string {
	if v.at == "" {
		return key
	}
	return v.at + ": " + key
}

func unquote(text []byte) (string, error) {
	if inner := text[1 : len(text)-1]; strings.IndexByte(string(inner), '\\') < 0 && utf8.Valid(inner) {
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
