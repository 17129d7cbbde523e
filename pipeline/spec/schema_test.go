package spec_test

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/tools/txtar"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/spec"
)

var update = flag.Bool("update", false, "write what the tests find into the golden files")

func TestCommittedSchemaIsUpToDate(t *testing.T) {
	got, err := spec.Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("slipway.schema.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("slipway.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("run go test ./pipeline/spec -update (-committed +generated):\n%s", diff)
	}
}

func TestEveryKeyHasADescription(t *testing.T) {
	data, err := spec.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Properties map[string]map[string]any `json:"properties"`
		Defs       map[string]struct {
			Properties map[string]map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	if err := yaml.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]map[string]any{"File": s.Properties}
	for name, d := range s.Defs {
		all[name] = d.Properties
	}
	count := 0
	for name, properties := range all {
		for key, p := range properties {
			count++
			if text, _ := p["description"].(string); text == "" {
				t.Errorf("%s.%s has no description", name, key)
			}
		}
	}
	if count < 25 {
		t.Errorf("found only %d keys", count)
	}
}

func TestExamplesFollowTheSchemaAndParse(t *testing.T) {
	schema := compileSchema(t)
	var files []string
	err := filepath.WalkDir("../../examples", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Base(path) == spec.FileName {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 3 {
		t.Fatalf("found %d examples: %v", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(data, []byte("# yaml-language-server: $schema="+spec.SchemaURL+"\n")) {
				t.Error("the first line does not name the schema")
			}
			if err := schema.Validate(generic(t, data)); err != nil {
				t.Error(err)
			}
			file, problems := spec.Parse(path, data)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if _, problems := spec.Compile(file, input(), permissive{}); len(problems) > 0 {
				t.Error(problems)
			}
			stages := file.Stages
			if file.Review != nil {
				if _, problems := spec.CompileReview(file, input(), permissive{}); len(problems) > 0 {
					t.Error(problems)
				}
				stages = append(stages, file.Review.Stages...)
			}
			for _, s := range stages {
				for _, named := range filesOf(s) {
					if _, err := os.Stat(filepath.Join(filepath.Dir(path), string(named))); err != nil {
						t.Errorf("stage %s: %v", s.Name, err)
					}
				}
			}
		})
	}
}

// filesOf are the files and folders that a stage names.
func filesOf(s spec.Stage) []spec.Path {
	var files []spec.Path
	var helm *spec.Helm
	switch {
	case s.Deploy != nil:
		files, helm = append(files, s.Deploy.Manifests), s.Deploy.Helm
	case s.Run != nil && s.Run.Manifests != "":
		files, helm = append(files, s.Run.Manifests), s.Run.Helm
	}
	if helm != nil {
		files = append(files, helm.Values...)
	}
	return files
}

// permissive lets every project deploy everywhere.
type permissive struct{}

func (permissive) Environment(_, name string) (pipeline.EnvironmentRules, error) {
	return pipeline.EnvironmentRules{Cluster: "main", Namespace: name, Review: strings.HasPrefix(name, "review/")}, nil
}

func (permissive) Knows(string) bool { return true }

func (permissive) Defaults(string) spec.Defaults {
	return spec.Defaults{TriggerRefs: []string{"*", "*/*"}, Sources: []string{"prometheus"}}
}

// What an editor marks red must not pass in Slipway, and what Slipway takes must not
// be red in an editor.
func TestParserRefusesWhatTheSchemaRefuses(t *testing.T) {
	schema := compileSchema(t)
	refused := 0
	for _, path := range goldenFiles(t, "bad") {
		for _, f := range readArchive(t, path).Files {
			if filepath.Ext(f.Name) != ".yml" {
				continue
			}
			var value any
			if err := yaml.Unmarshal(f.Data, &value); err != nil {
				continue // not YAML: an editor needs no schema for that
			}
			if schema.Validate(generic(t, f.Data)) == nil {
				continue
			}
			refused++
			if _, problems := spec.Parse(f.Name, f.Data); len(problems) == 0 {
				t.Errorf("%s: the schema refuses what the parser takes", path)
			}
		}
	}
	if refused < 20 {
		t.Errorf("the schema refuses only %d of the bad files", refused)
	}
	for _, path := range goldenFiles(t, "good") {
		for _, f := range readArchive(t, path).Files {
			if filepath.Ext(f.Name) != ".yml" {
				continue
			}
			if err := schema.Validate(generic(t, f.Data)); err != nil {
				t.Errorf("%s: the schema refuses what the parser takes: %v", path, err)
			}
		}
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := spec.Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(spec.SchemaURL, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(spec.SchemaURL)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func generic(t *testing.T, data []byte) any {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func goldenFiles(t testing.TB, kind string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", kind, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files in %s: %v", kind, err)
	}
	return paths
}

func readArchive(t testing.TB, path string) *txtar.Archive {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func caseName(path string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".txtar"), "-", " ")
}
