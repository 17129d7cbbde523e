package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	chart "helm.sh/helm/v4/pkg/chart/v2"
)

// fits holds the values against the chart's values.schema.json, and those of its dependencies. Helm's own check would
// load what a schema refers to from the network and from this machine, and its words show values.
func (h *rendering) fits(c *chart.Chart, values map[string]any) error {
	if len(c.Schema) > 0 {
		file := path.Join(h.inRepository(c.ChartFullPath()), "values.schema.json")
		if err := h.fitsSchema(file, c.Schema, values); err != nil {
			return err
		}
	}
	for _, below := range c.Dependencies() {
		if its, ok := values[below.Name()].(map[string]any); ok {
			if err := h.fits(below, its); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *rendering) fitsSchema(file string, text []byte, values map[string]any) (err error) {
	defer func() { // the schema is text that anybody may have written
		if p := recover(); p != nil {
			err = h.mistake(file, "is not a schema that can be used", "")
		}
	}()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return h.mistake(file, "is not valid JSON", "")
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noLoader{})
	const name = "chart:///values.schema.json"
	if err := compiler.AddResource(name, document); err != nil {
		return h.mistake(file, "is not a schema that can be used", "")
	}
	schema, err := compiler.Compile(name)
	if err != nil {
		return h.mistake(file, "is not a schema that can be used", "it may only refer to itself: nothing is downloaded")
	}
	var invalid *jsonschema.ValidationError
	if err := schema.Validate(plainValues(values)); errors.As(err, &invalid) {
		where, rule := deepest(invalid)
		return h.mistake(file, fmt.Sprintf("doesn't allow the values: %s, by its rule %q", where, rule), "")
	} else if err != nil {
		return h.mistake(file, "can't be held against the values", "")
	}
	return nil
}

type noLoader struct{}

func (noLoader) Load(string) (any, error) { return nil, errors.New("nothing is downloaded") }

// deepest is the place of the first value that doesn't fit, and the schema's word for why. The library's own sentence may
// show the value.
func deepest(e *jsonschema.ValidationError) (where, rule string) {
	for len(e.Causes) > 0 {
		e = e.Causes[0]
	}
	where = "the values themselves"
	if len(e.InstanceLocation) > 0 {
		where = clip(strings.Join(e.InstanceLocation, "."))
	}
	if keywords := e.ErrorKind.KeywordPath(); len(keywords) > 0 {
		rule = keywords[0]
	}
	return where, rule
}

// plainValues copies values into the types that the schema library knows.
func plainValues(value any) any {
	switch v := value.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, item := range v {
			m[key] = plainValues(item)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = plainValues(item)
		}
		return list
	}
	return value
}
