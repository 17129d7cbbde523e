package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

const byteOrderMark = "\ufeff"

// plain reads the documents of one file.
func (r *reader) plain(name string) ([]Object, error) {
	content, err := r.read(name)
	if err != nil {
		return nil, err
	}
	content = bytes.TrimPrefix(content, []byte(byteOrderMark))
	var objects []Object
	add := func(value any, from Origin) error {
		more, err := expand(value, from, 0)
		objects = append(objects, more...)
		if err == nil && len(objects) > r.limits.Objects {
			err = &Error{Origin: from, What: fmt.Sprintf("is one object too many: at most %d are allowed", r.limits.Objects)}
		}
		return err
	}
	if strings.EqualFold(path.Ext(name), ".json") {
		return objects, eachJSON(name, content, add)
	}
	for _, d := range splitYAML(content) {
		from := Origin{File: name, Document: d.number, Line: d.line}
		value, err := r.parseYAML(d, from)
		if err != nil {
			return nil, err
		}
		if err := add(value, from); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

func eachJSON(name string, content []byte, add func(any, Origin) error) error {
	decoder := json.NewDecoder(bytes.NewReader(content))
	for n := 1; ; n++ {
		var raw json.RawMessage
		from := Origin{File: name, Document: n, Line: 1 + bytes.Count(content[:decoder.InputOffset()], []byte("\n"))}
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return nil
		}
		var value any
		if err == nil {
			err = utiljson.Unmarshal(raw, &value)
		}
		if err != nil {
			return &Error{Origin: from, What: "is not valid JSON"}
		}
		if err := add(value, from); err != nil {
			return err
		}
	}
}

// document is one YAML document of a file.
type document struct {
	number int  // from 1
	first  int  // line on which text begins
	line   int  // first line that isn't empty or a comment, 0 if there is none
	opened bool // by ---
	text   []byte
}

// splitYAML cuts a file where its documents begin and end. Documents without content are numbered and left out.
func splitYAML(content []byte) []document {
	var documents []document
	d := document{number: 1, first: 1}
	number := 0
	for line := range bytes.Lines(content) {
		number++
		if opens, closes, rest := boundary(line); opens || closes {
			next := document{number: d.number, first: number, opened: opens}
			if d.line > 0 || d.opened {
				next.number++
			}
			if d.line > 0 {
				documents = append(documents, d)
			}
			d, line = next, rest
		}
		trimmed := bytes.TrimSpace(line)
		if d.line == 0 && len(trimmed) > 0 && trimmed[0] == '%' {
			line = []byte("\n") // a directive, such as %YAML 1.2
		} else if d.line == 0 && len(trimmed) > 0 && trimmed[0] != '#' {
			d.line = number
		}
		d.text = append(d.text, line...)
	}
	if d.line > 0 {
		documents = append(documents, d)
	}
	return documents
}

// boundary tells whether a line begins or ends a document, and what else is on it.
func boundary(line []byte) (opens, closes bool, rest []byte) {
	for _, mark := range []string{"---", "..."} {
		rest, ok := bytes.CutPrefix(line, []byte(mark))
		if ok && (len(rest) == 0 || strings.IndexByte(" \t\r\n", rest[0]) >= 0) {
			return mark == "---", mark == "...", rest
		}
	}
	return false, false, nil
}

func (r *reader) parseYAML(d document, from Origin) (any, error) {
	data, err := r.toJSON(d.text)
	if err != nil {
		what, line := yamlProblem(err)
		if line > 0 {
			from.Line = d.first + line - 1
		}
		return nil, &Error{Origin: from, What: what}
	}
	var value any
	if err := utiljson.Unmarshal(data, &value); err != nil {
		return nil, &Error{Origin: from, What: "is not valid YAML"}
	}
	return value, nil
}

// yamlProblem says what the YAML parser found, with the line within the document, 0 if it didn't tell. The parser's
// own words may quote the text, which may be a Secret's, so only phrases that are known to quote nothing are used.
func yamlProblem(err error) (what string, line int) {
	if errors.Is(err, errUnfolds) {
		return "has aliases (*name) that make too much of it", 0
	}
	message := err.Error()
	if m := regexp.MustCompile(`line (\d+)`).FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
	}
	phrases := []string{
		"mapping values are not allowed in this context", "did not find expected key", "did not find expected '-' indicator",
		"could not find expected ':'", "found character that cannot start any token", "found a tab character that violates indentation",
		"found unexpected end of stream", "did not find expected ',' or ']'", "did not find expected ',' or '}'",
		"did not find expected node content", "block sequence entries are not allowed in this context", "found unknown escape character",
		"control characters are not allowed", "document contains excessive aliasing",
	}
	for _, phrase := range phrases {
		if strings.Contains(message, phrase) {
			return "is not valid YAML: " + phrase, line
		}
	}
	switch {
	case strings.Contains(message, "already set in map"):
		return "has a key twice", line
	case strings.Contains(message, "unknown anchor"):
		return "is not valid YAML: an alias (*name) has no anchor (&name)", line
	}
	return "is not valid YAML", line
}

// expand makes objects of a document, and of the items of a List.
func expand(value any, from Origin, depth int) ([]Object, error) {
	if value == nil {
		return nil, nil
	}
	m, ok := value.(map[string]any)
	if !ok {
		return nil, &Error{Origin: from, What: "is not a Kubernetes object", Hint: "a document has apiVersion, kind and metadata"}
	}
	kind, _ := m["kind"].(string)
	items, isList := m["items"].([]any)
	if !strings.HasSuffix(kind, "List") || !isList {
		return []Object{{Unstructured: &unstructured.Unstructured{Object: m}, From: from}}, nil
	}
	if depth > 0 {
		return nil, &Error{Origin: from, What: "has a list within a list"}
	}
	var objects []Object
	for _, item := range items {
		more, err := expand(item, from, depth+1)
		if err != nil {
			return nil, err
		}
		objects = append(objects, more...)
	}
	return objects, nil
}
