package spec

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// limits are the constraints of a field, from the tag that the JSON Schema is
// generated from too.
type limits struct {
	enum                 []string
	minimum, maximum     int64
	minLength, maxLength int
	minItems, maxItems   int
}

func (l limits) allows(s string) bool { return slices.Contains(l.enum, s) }

// ofItems are the constraints that a list's tag gives to its entries.
func (l limits) ofItems() limits {
	l.minItems, l.maxItems = 0, 0
	return l
}

type field struct {
	index    []int
	required bool
	limits   limits
}

// fieldsOf lists the keys of a struct of the file, by name and in order.
func fieldsOf(t reflect.Type) (map[string]field, []string) {
	fields := map[string]field{}
	var names []string
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "" {
			continue
		}
		fields[name] = field{f.Index, options == "", limitsOf(f.Tag.Get("jsonschema"))}
		names = append(names, name)
	}
	return fields, names
}

func limitsOf(tag string) limits {
	var l limits
	for part := range strings.SplitSeq(tag, ",") {
		key, value, _ := strings.Cut(part, "=")
		n, _ := strconv.Atoi(value)
		switch key {
		case "enum":
			l.enum = append(l.enum, value)
		case "minimum":
			l.minimum = int64(n)
		case "maximum":
			l.maximum = int64(n)
		case "minLength":
			l.minLength = n
		case "maxLength":
			l.maxLength = n
		case "minItems":
			l.minItems = n
		case "maxItems", "maxProperties":
			l.maxItems = n
		}
	}
	return l
}
