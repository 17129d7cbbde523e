package manifest

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

// laughter is YAML that takes a few kilobytes, and more than a megabyte with its aliases written out.
func laughter(key string) string {
	return key + ":\n  a: &a " + strings.Repeat("a", 4000) + "\n  b: [" + strings.Repeat("*a, ", 300) + "]\n"
}

func TestAliasesThatMakeTooMuchAreAMistake(t *testing.T) {
	const chart = "apiVersion: v2\nname: c\nversion: 1.0.0\n"
	object := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	lists := "x0: &x0 [a, a]\n" // with other lists within them, of short texts
	for i := range 20 {
		lists += fmt.Sprintf("x%d: &x%d [*x%d, *x%d]\n", i+1, i+1, i, i)
	}
	half := object + "data:\n  a: &a " + strings.Repeat("a", 4000) + "\n  b: [" + strings.Repeat("*a, ", 150) + "]\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"a manifest":                {map[string]string{"a.yaml": object + laughter("data")}, "d/a.yaml:1: has aliases"},
		"one in UTF-16":             {map[string]string{"a.yaml": utf16(object + laughter("data"))}, "d/a.yaml:1: has aliases"},
		"many nodes":                {map[string]string{"a.yaml": object + lists}, "d/a.yaml:1: has aliases"},
		"one that holds itself":     {map[string]string{"a.yaml": object + "data: &a [*a]\n"}, "d/a.yaml:1: has aliases"},
		"several documents":         {map[string]string{"a.yaml": half, "b.yaml": half}, "d/b.yaml:1: has aliases"},
		"a kustomization":           {map[string]string{"kustomization.yaml": "resources: []\n" + laughter("metadata")}, "d/kustomization.yaml: has aliases"},
		"values":                    {map[string]string{"Chart.yaml": chart, "values.yaml": laughter("x")}, "d/values.yaml: has aliases"},
		"a second document":         {map[string]string{"Chart.yaml": chart, "values.yaml": "a: 1\n---\n" + laughter("x")}, "d/values.yaml: has aliases"},
		"values of the stage":       {map[string]string{"Chart.yaml": chart, "v.yaml": laughter("x")}, "d/v.yaml: has aliases"},
		"a chart":                   {map[string]string{"Chart.yaml": chart + laughter("annotations")}, "d/Chart.yaml: has aliases"},
		"a chart within":            {map[string]string{"Chart.yaml": chart, "charts/c/Chart.yaml": chart, "charts/c/values.yaml": laughter("x")}, "d/charts/c/values.yaml: has aliases"},
		"an archive":                {map[string]string{"Chart.yaml": chart, "charts/c.tgz": string(archived(t, map[string]string{"c/values.yaml": laughter("x")}))}, "d/charts/c.tgz: has a values.yaml that has aliases"},
		"an archive in an archive":  {map[string]string{"Chart.yaml": chart, "charts/c.tgz": string(archived(t, map[string]string{"c/charts/b.tgz": string(archived(t, map[string]string{"b/values.yaml": laughter("x")}))}))}, "d/charts/c.tgz: has a values.yaml that has aliases"},
		"what a chart renders":      {map[string]string{"Chart.yaml": chart, "templates/a.yaml": object + laughter("data")}, "d/templates/a.yaml: renders an object that has aliases"},
		"what a template reads":     {map[string]string{"Chart.yaml": chart, "text": strings.ReplaceAll(laughter("x"), "*a, ", "*a, *a, "), "templates/a.yaml": object + "data: {n: {{ .Files.Get \"text\" | fromYaml | len | quote }}}\n"}, "d: has templates that make a text or a list that is too large"},
		"a list that one reads":     {map[string]string{"Chart.yaml": chart, "text": "- " + strings.ReplaceAll(laughter("x"), "*a, ", "*a, *a, "), "templates/a.yaml": object + "data: {n: {{ .Files.Get \"text\" | fromYamlArray | len | quote }}}\n"}, "d: has templates that make a text or a list that is too large"},
		"few":                       {map[string]string{"a.yaml": object + "data: {a: &a b, c: *a}\n"}, ""},
		"few that a template reads": {map[string]string{"Chart.yaml": chart, "templates/a.yaml": object + "data: {n: {{ (\"a: &a [b]\\nc: *a\" | fromYaml).c | first }}{{ \"[&a c, *a]\" | fromYamlArray | last }}}\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			files, source := fstest.MapFS{}, Source{Path: "d"}
			for name, text := range c.files {
				files["d/"+name] = &fstest.MapFile{Data: []byte(text)}
			}
			if c.files["v.yaml"] != "" {
				source.Helm = &Helm{Values: []string{"d/v.yaml"}}
			}
			_, err := Render(t.Context(), files, source, Limits{Bytes: 1 << 20})
			if got := fmt.Sprint(err); c.want == "" && err != nil || !strings.HasPrefix(got, c.want) {
				t.Errorf("%s, want %s", got, c.want)
			}
			if c.files["kustomization.yaml"] == "" {
				return
			}
			if _, err := Missing(files, source, Limits{Bytes: 1 << 20}); err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("Missing: %v, want %s", err, c.want)
			}
		})
	}
}

// utf16 writes ASCII so.
func utf16(text string) string {
	var b strings.Builder
	b.WriteString("\xff\xfe")
	for i := range len(text) {
		b.Write([]byte{text[i], 0})
	}
	return b.String()
}
