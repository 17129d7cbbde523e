package spec

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
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
	oneOf(s.Definitions["Stage"], stageKinds())
	oneOf(s.Definitions["Check"], checkKinds())
	oneOf(s.Definitions["Run"], []string{"manifests", "image"})
	oneOrMore(s.Definitions["Checks"])
	if run, ok := s.Definitions["Stage"].Properties.Get("run"); ok {
		run.Required = []string{"environment"}
	}
	for name, t := range typesOf(reflect.TypeFor[File](), map[string]reflect.Type{}) {
		if name != "File" {
			mappings(s.Definitions[name], t)
			shortForm(s, name, t)
		}
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return append(data, '\n'), nil
}

// oneOf says that exactly one of the keys is given.
func oneOf[K ~string](s *jsonschema.Schema, keys []K) {
	for _, key := range keys {
		s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{string(key)}})
	}
}

// oneOrMore lets a list of one check be written as the check.
func oneOrMore(checks *jsonschema.Schema) {
	fields, _ := fieldsOf(reflect.TypeFor[Stage]())
	least, most := uint64(fields["check"].limits.minItems), uint64(fields["check"].limits.maxItems)
	several := &jsonschema.Schema{Type: "array", Items: checks.Items, MinItems: &least, MaxItems: &most}
	*checks = jsonschema.Schema{Description: checks.Description, OneOf: []*jsonschema.Schema{checks.Items, several}}
}

// mappings says what the generator leaves out of mappings: how many entries, which keys.
func mappings(s *jsonschema.Schema, t reflect.Type) {
	fields, _ := fieldsOf(t)
	for key, f := range fields {
		typ := t.FieldByIndex(f.index).Type
		property, ok := s.Properties.Get(key)
		if !ok || typ.Kind() != reflect.Map {
			continue
		}
		most := uint64(f.limits.maxItems)
		property.MaxProperties, property.PropertyNames = &most, scalarSchema(typ.Key())
	}
}

// shortForm lets keys and values be written as the value of one of the keys alone.
func shortForm(s *jsonschema.Schema, name string, t reflect.Type) {
	x, ok := reflect.New(t).Interface().(short)
	if !ok {
		return
	}
	long := s.Definitions[name]
	value, _ := long.Properties.Get(x.shortFor())
	alone := *value
	alone.Description = ""
	s.Definitions[name] = &jsonschema.Schema{Description: long.Description, OneOf: []*jsonschema.Schema{&alone, long}}
}

// typesOf collects the structs that a type of the file is made of, by name.
func typesOf(t reflect.Type, found map[string]reflect.Type) map[string]reflect.Type {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return typesOf(t.Elem(), found)
	case reflect.Struct:
		if found[t.Name()] != nil {
			return found
		}
		found[t.Name()] = t
		fields, _ := fieldsOf(t)
		for _, f := range fields {
			typesOf(t.FieldByIndex(f.index).Type, found)
		}
	default: // is made of nothing
	}
	return found
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
	case reflect.TypeFor[Delay]():
		return text(durationPattern)
	case reflect.TypeFor[Latency]():
		return text(latencyPattern)
	case reflect.TypeFor[ObjectName]():
		return text(objectNamePattern)
	case reflect.TypeFor[ReleaseName]():
		return text(releaseNamePattern)
	case reflect.TypeFor[HeaderName]():
		return text(headerNamePattern)
	case reflect.TypeFor[HeaderValue]():
		return text(headerValuePattern)
	case reflect.TypeFor[ImageName]():
		return text(imagePattern)
	case reflect.TypeFor[Percent]():
		return text(percentPattern)
	case reflect.TypeFor[Moment]():
		return text(momentPattern)
	case reflect.TypeFor[Version]():
		return text(versionPattern)
	case reflect.TypeFor[Label]():
		return text(labelPattern)
	case reflect.TypeFor[HostName]():
		return text(hostPattern)
	case reflect.TypeFor[Host]():
		return orTemplate(hostPattern)
	case reflect.TypeFor[SetKey]():
		return text(setKeyPattern)
	case reflect.TypeFor[Variable]():
		return text(variablePattern)
	case reflect.TypeFor[Value]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}}
	case reflect.TypeFor[Statuses]():
		return statusSchema()
	case reflect.TypeFor[Ref]():
		return orTemplate(refPattern)
	case reflect.TypeFor[Channel]():
		return orTemplate(channelPattern)
	case reflect.TypeFor[Environment]():
		return orTemplate(environmentPattern)
	case reflect.TypeFor[Image](), reflect.TypeFor[Reference]():
		return orTemplate(imagePattern)
	case reflect.TypeFor[URL](), reflect.TypeFor[Address]():
		return orTemplate(`^https?://[^/\s]`)
	}
	return nil
}

func statusSchema() *jsonschema.Schema {
	fields, _ := fieldsOf(reflect.TypeFor[HTTP]())
	l := fields["status"].limits
	number := func() *jsonschema.Schema {
		return &jsonschema.Schema{Type: "integer", Minimum: json.Number(strconv.FormatInt(l.minimum, 10)), Maximum: json.Number(strconv.FormatInt(l.maximum, 10))}
	}
	least, most := uint64(l.minItems), uint64(l.maxItems)
	return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
		number(), {Const: successful}, {Type: "array", Items: number(), MinItems: &least, MaxItems: &most},
	}}
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
