package web

import (
	"errors"
	"strconv"
	"strings"
)

// path leads to values in a JSON document as a JSON Pointer does (https://www.rfc-editor.org/rfc/rfc6901), with one more
// word: * stands for all elements of a list. Where the path ends at a list, its elements are the values.
type path []string

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

func parsePath(text string) (path, error) {
	if text == "" {
		return nil, nil
	}
	if text[0] != '/' {
		return nil, errors.New("no slash")
	}
	if text == "/" {
		return path{}, nil // the document itself
	}
	parts := strings.Split(text[1:], "/")
	for i, part := range parts {
		parts[i] = unescape.Replace(part)
	}
	return parts, nil
}

// all are the values that the path leads to, and whether it leads anywhere.
func (p path) all(document any) ([]any, bool) {
	at := []any{document}
	for _, part := range p {
		var next []any
		for _, v := range at {
			found, ok := step(v, part)
			if !ok {
				return nil, false
			}
			next = append(next, found...)
		}
		at = next
	}
	if len(at) == 1 && (len(p) == 0 || p[len(p)-1] != "*") {
		if list, ok := at[0].([]any); ok {
			return list, true
		}
	}
	return at, true
}

func step(v any, part string) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		if part == "*" {
			return v, true
		}
		i, err := strconv.Atoi(part)
		if err != nil || i < 0 || i >= len(v) {
			return nil, false
		}
		return v[i : i+1], true
	case map[string]any:
		found, ok := v[part]
		return []any{found}, ok
	}
	return nil, false
}
