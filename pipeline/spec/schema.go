package spec

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// SchemaURL is where the committed schema is served, and its id.
const SchemaURL = "https://gitlab.com/slipway-cd/slipway/-/raw/main/pipeline/spec/slipway.schema.json"

//go:embed file.go
var fileSource string

// Schema is the JSON Schema of the pipeline file (draft 2020-12), generated from the
// types and their comments. What it refuses, Parse refuses too; Parse also refuses
// what a schema cannot say.
func Schema() ([]byte, error) {
	comments, err := commentsOf(fileSource)
	if err != nil {
		return nil, err
	}
	r := &jsonschema.Reflector{
		Anonymous:      true,
		ExpandedStruct: true,
		Mapper:         scalarSchema,
		LookupComment:  func(t reflect.Type, field string) string { return comments[commentKey(t.Name(), field)] },
	}
	s := r.Reflect(&File{})
	s.ID, s.Title = SchemaURL, "Slipway pipeline file"
	oneKind(s.Definitions["Stage"])
	s.Definitions["Wait"] = &jsonschema.Schema{
		Description: s.Definitions["Wait"].Description,
		OneOf:       []*jsonschema.Schema{scalarSchema(reflect.TypeFor[Duration]()), s.Definitions["Wait"]},
	}
	if images, ok := s.Definitions["Deploy"].Properties.Get("images"); ok {
		most := uint64(fieldLimit(reflect.TypeFor[Deploy](), "images"))
		images.MaxProperties = &most
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return append(data, '\n'), nil
}

func fieldLimit(t reflect.Type, key string) int {
	fields, _ := fieldsOf(t)
	return fields[key].limits.maxItems
}

// oneKind says that a stage does exactly one thing.
func oneKind(stage *jsonschema.Schema) {
	for _, kind := range []string{"deploy", "judgement", "wait", "job"} {
		stage.OneOf = append(stage.OneOf, &jsonschema.Schema{Required: []string{kind}})
	}
}

// scalarSchema describes the texts with rules of their own; nil for anything else.
func scalarSchema(t reflect.Type) *jsonschema.Schema {
	text := func(pattern string) *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Pattern: pattern} }
	switch t {
	case reflect.TypeFor[Name]():
		return text(namePattern)
	case reflect.TypeFor[Duration]():
		return text(durationPattern)
	case reflect.TypeFor[Approver]():
		return text(approverPattern)
	case reflect.TypeFor[Excluded]():
		return text(excludedPattern)
	case reflect.TypeFor[Condition]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, {Type: "boolean"}}}
	case reflect.TypeFor[Channel]():
		return orTemplate(channelPattern)
	case reflect.TypeFor[Environment]():
		return orTemplate(environmentPattern)
	case reflect.TypeFor[Image]():
		return orTemplate(imagePattern)
	case reflect.TypeFor[URL]():
		return orTemplate(`^https?://[^/\s]`)
	}
	return nil
}

// orTemplate lets a text hold ${{ }} instead of keeping to its pattern.
func orTemplate(pattern string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: pattern + `|\$\{\{`}
}

func commentKey(typeName, field string) string {
	if field == "" {
		return typeName
	}
	return typeName + "." + field
}

// commentsOf reads the comments of types ("Stage") and their fields ("Stage.Name").
func commentsOf(source string) (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "file.go", source, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("read the comments of the file's types: %w", err)
	}
	comments := map[string]string{}
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.TYPE {
			continue
		}
		for _, s := range decl.Specs {
			spec, ok := s.(*ast.TypeSpec)
			if !ok {
				continue
			}
			comments[spec.Name.Name] = prose(decl.Doc)
			fields, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range fields.Fields.List {
				for _, n := range f.Names {
					comments[commentKey(spec.Name.Name, n.Name)] = prose(f.Doc)
				}
			}
		}
	}
	return comments, nil
}

func prose(c *ast.CommentGroup) string {
	return strings.Join(strings.Fields(c.Text()), " ")
}
