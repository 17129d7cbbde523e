package manifest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"text/template"

	"github.com/google/go-cmp/cmp"
)

const chartOfShop = "apiVersion: v2\nname: shop\nversion: 1.0.0\n"

func TestValuesOfChartsAreInNoErrorAndNoLog(t *testing.T) {
	const secret = "hunter2hunter2"
	var logged bytes.Buffer
	before := log.Writer()
	log.SetOutput(&logged)
	defer log.SetOutput(before)
	templates := []string{
		`{{ fail .Values.password }}`,
		`{{ fail (printf "it is %s" .Values.password) }}`,
		`{{ required .Values.password .Values.missing }}`,
		`{{ tpl .Values.broken . }}`,
		`{{ tpl .Values.calls . }}`,
		`{{ include .Values.password . }}`,
		`{{ .Values.password.more }}`,
		`{{ .Values.password | add 1 | mustToJson | mustFromJson | first }}`,
		`{{ mustToDate "2006" .Values.password }}`,
		`{{ index .Values.list .Values.password }}`,
		`{{ mustRegexFind (printf "[%s" .Values.password) "x" }}`,
		`{{ fromYaml .Values.broken }}`,
		"a: {{ .Values.password }}: b",
		"{{ .Values.password }}",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: [{{ .Values.password }}]",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: '{{ .Values.password }}-'}",
	}
	values := "password: " + secret + "\nlist: [a]\nbroken: '{{ " + secret + " '\ncalls: '{{ fail \"" + secret + "\" }}'\n"
	for _, text := range templates {
		files := fstest.MapFS{"d/Chart.yaml": {Data: []byte(chartOfShop)}, "d/values.yaml": {Data: []byte("outer: {plain: " + secret + ", table: {a: b}}\n")}, "d/templates/a.yaml": {Data: []byte(text)}, "v.yaml": {Data: []byte(values + "outer: {plain: {a: b}, table: " + secret + "}\n")}}
		_, err := Render(t.Context(), files, Source{Path: "d", Helm: &Helm{Values: []string{"v.yaml"}}}, Limits{})
		if err == nil {
			t.Errorf("rendered: %s", text)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the value: %v", text, err)
		}
	}
	for name, set := range map[string]map[string]string{"a map": {"list.a": secret}, "an index": {"list[x]": secret}} {
		files := fstest.MapFS{"d/Chart.yaml": {Data: []byte(chartOfShop)}, "d/templates/a.yaml": {Data: []byte(twoObjects)}, "v.yaml": {Data: []byte(values)}}
		if _, err := Render(t.Context(), files, Source{Path: "d", Helm: &Helm{Values: []string{"v.yaml"}, Set: set}}, Limits{}); err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the value: %v", name, err)
		}
	}
	if logged.Len() > 0 {
		t.Errorf("logged: %s", logged.String())
	}
}

func TestChartsThatNeverEndAreStopped(t *testing.T) {
	for _, text := range []string{
		`{{ range 1000000000 }}{{ end }}`,
		`{{ range 100000 }}{{ range 100000 }}{{ $x := 1 }}{{ end }}{{ end }}`,
		`{{ define "a" }}{{ include "b" . }}{{ end }}{{ define "b" }}{{ include "a" . }}{{ end }}{{ include "a" . }}`,
		`{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}`,
		`{{ define "a" }}{{ tpl "{{ include \"a\" . }}" . }}{{ end }}{{ include "a" . }}`,
		`{{ repeat 1000000000000 "x" }}`,
		`{{ $x := "xxxxxxxx" }}{{ range 60 }}{{ $x = printf "%s%s" $x $x }}{{ end }}`,
		`{{ until 1000000000 }}`,
		`{{ seq 1 1000000000 }}`,
		`{{ tpl "{{ range 1000000000 }}x{{ end }}" . }}`,
		`{{ with "a" }}{{ range 1000000000 }}{{ continue }}{{ end }}{{ end }}`,
	} {
		files := fstest.MapFS{"d/Chart.yaml": {Data: []byte(chartOfShop)}, "d/templates/a.yaml": {Data: []byte(text)}}
		_, err := Render(t.Context(), files, Source{Path: "d"}, Limits{Bytes: 1 << 20})
		var mistake *Error
		if !errors.As(err, &mistake) || !strings.Contains(err.Error(), "has templates that ") {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

// TestGuardedTemplatesRenderTheSame: what keeps templates from running for ever must not change what they render.
func TestGuardedTemplatesRenderTheSame(t *testing.T) {
	for _, text := range []string{
		"plain", "a {{ .A }} b", "{ {{- .A }}", "{ {{- .A -}} }", "{ {{- /* c */ -}} { {{ .A }}", "{{ if .No }}x{{ else if .A }}y{{ else }}z{{ end }}",
		"{{ range $k, $v := .M }}{{ $k }}={{ $v }},{{ else }}none{{ end }}", "{{ range .L }}{{ if eq . 2 }}{{ continue }}{{ end }}{{ if eq . 4 }}{{ break }}{{ end }}[{{ . }}]{{ end }}",
		`{{ define "x" }}<{{ . }}>{{ end }}{{ template "x" .A }}{{ template "x" 3 }}`, `{{ block "y" .A }}({{ . }}){{ end }}`,
		"{{ $x := 1 }}{{ if .A }}{{ $x = 2 }}{{ end }}{{ $x }}", `{{ printf "%d %v" 3 .Missing | printf "%q" }}`, "{{ (index .L 0) }}{{ (index .N 0).a }}", "{{ with .A | len }}{{ . }}{{ end }}",
		"{{- 3 -}} x {{ -3 }} {{ 1.5 }} {{ true }} {{ 'a' }} {{ `raw\n\"` }}", "{{ not (and .A (or .No .L)) }}", "{{ .Missing }} {{ len .L }} {{ slice .A 0 1 | html }}", "x {{/* c */}} y\n{{- /* d */ -}}\nz{{ `{{` }}",
	} {
		m := newMeter(Limits{}.withDefaults())
		data := map[string]any{"A": "abc", "L": []int{1, 2, 3, 4, 5}, "M": map[string]any{"a": 1, "b": nil}, "N": []any{map[string]any{"a": 7}}}
		want := execute(t, text, m, data)
		if got := execute(t, guarded(text), m, data); got != want {
			t.Errorf("%s\nguarded: %s\nrenders %q\nwant    %q", text, guarded(text), got, want)
		}
	}
}

func execute(t *testing.T, text string, m *meter, data any) string {
	t.Helper()
	tmpl, err := template.New("t").Funcs(m.functions()).Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var b strings.Builder
	if err := tmpl.Execute(&b, data); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return b.String()
}

// archived packs files as helm dependency update does.
func archived(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	pack := tar.NewWriter(zip)
	for name, text := range files {
		if err := pack.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(pack, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(pack.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPackedDependenciesAreReadWithinTheLimits(t *testing.T) {
	files := fstest.MapFS{
		"d/Chart.yaml":             {Data: []byte(chartOfShop + "dependencies: [{name: cache, version: 1.x, repository: 'https://example.com'}]\n")},
		"d/.helmignore":            {Data: []byte("ignored.yaml\n")},
		"d/templates/ignored.yaml": {Data: []byte("{{ fail `it is ignored` }}")},
		"d/charts/cache-1.0.0.tgz": {Data: archived(t, map[string]string{
			"cache/Chart.yaml": "apiVersion: v2\nname: cache\nversion: 1.0.0\n", "cache/templates/a.yaml": twoObjects,
		})},
	}
	set, err := Render(t.Context(), files, Source{Path: "d"}, Limits{})
	if err != nil || len(set.Objects) != 2 {
		t.Fatalf("got %d objects, error %v", len(set.Objects), err)
	}
	files["d/charts/cache-1.0.0.tgz"].Data = archived(t, map[string]string{"cache/Chart.yaml": strings.Repeat("#\n", 1<<20)})
	if _, err := Render(t.Context(), files, Source{Path: "d"}, Limits{Bytes: 1 << 20}); err == nil || !strings.Contains(err.Error(), "is too big") {
		t.Errorf("an archive that unpacks to more than its limit: %v", err)
	}
	files["d/charts/cache-1.0.0.tgz"].Data = []byte("no archive")
	if _, err := Render(t.Context(), files, Source{Path: "d"}, Limits{}); err == nil || !strings.Contains(err.Error(), "is not a chart's archive") {
		t.Errorf("what is no archive: %v", err)
	}
}

func TestSchemasReadNoOtherFiles(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other.json")
	if err := os.WriteFile(other, []byte(`{"type": "object"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{
		"d/Chart.yaml": {Data: []byte(chartOfShop)}, "d/templates/a.yaml": {Data: []byte(twoObjects)},
		"d/values.schema.json": {Data: []byte(`{"$ref": "file://` + other + `"}`)},
	}
	if _, err := Render(t.Context(), files, Source{Path: "d"}, Limits{}); err == nil || !strings.Contains(err.Error(), "it may only refer to itself") {
		t.Errorf("got %v", err)
	}
	files["d/values.schema.json"].Data = []byte(`{"$ref": "#/$defs/all", "$defs": {"all": {"type": "object"}}}`)
	if _, err := Render(t.Context(), files, Source{Path: "d"}, Limits{}); err != nil {
		t.Errorf("one that refers to itself: %v", err)
	}
}

func TestMissingNamesTheValuesOfAChart(t *testing.T) {
	source := Source{Path: "d", Helm: &Helm{Values: []string{"./values/eu.yaml", "d/values.yaml"}}}
	files := fstest.MapFS{"d/Chart.yaml": {Data: []byte(chartOfShop)}, "d/values.yaml": {}}
	got, err := Missing(files, source, Limits{})
	if diff := cmp.Diff([]string{"values/eu.yaml"}, got); err != nil || diff != "" {
		t.Errorf("error %v, missing (-want +got):\n%s", err, diff)
	}
	source.Path = "d/Chart.yaml"
	got, err = Missing(files, source, Limits{})
	if diff := cmp.Diff([]string{"values/eu.yaml", "d"}, got); err != nil || diff != "" {
		t.Errorf("by its Chart.yaml: error %v, missing (-want +got):\n%s", err, diff)
	}
	source.Helm.Values = []string{"../secret"}
	if _, err := Missing(files, source, Limits{}); err == nil {
		t.Error("values outside the repository are fetched")
	}
}

func FuzzChart(f *testing.F) {
	f.Add("{{ .Values.a }}", "a: b", "apiVersion: v2\nname: x\nversion: 1.0.0\n")
	f.Add(`{{ range .Values }}{{ tpl . $ }}{{ end }}`, "a: '{{ include \"x\" . }}'", chartOfShop)
	f.Add("{{ define `x` }}{ {{- end }}{{ template `x` }}", "{", chartOfShop+"dependencies: [null]\n")
	f.Fuzz(func(t *testing.T, text, values, meta string) {
		files := fstest.MapFS{"d/Chart.yaml": {Data: []byte(meta)}, "d/values.yaml": {Data: []byte(values)}, "d/templates/a.yaml": {Data: []byte(text)}}
		_, err := Render(t.Context(), files, Source{Path: "d"}, Limits{Bytes: 1 << 16, Objects: 20})
		var mistake *Error
		if err != nil && !errors.As(err, &mistake) {
			t.Errorf("error is not a mistake of the repository: %v", err)
		}
	})
}

func TestTheExampleChartRenders(t *testing.T) {
	files := os.DirFS("../../examples/helm")
	for environment, want := range map[string]string{
		"staging":    "ConfigMap web, Service web, Deployment web, 1 pods of registry.example.com/shop:2a2a2a2a",
		"production": "ConfigMap web, Service web, Deployment web, Ingress web, 3 pods of registry.example.com/shop:2a2a2a2a",
	} {
		set, err := Render(t.Context(), files, Source{
			Path: "chart", Helm: &Helm{Values: []string{"values/" + environment + ".yaml"}, Set: map[string]string{"image.tag": "2a2a2a2a"}, Release: "web"},
		}, Limits{})
		if err != nil {
			t.Error(err)
			continue
		}
		var titles []string
		for _, o := range set.Objects {
			titles = append(titles, o.Title())
		}
		got := fmt.Sprintf("%s, %d pods of %s", strings.Join(titles, ", "), set.Replicas(), strings.Join(set.Images(), ", "))
		if got != want {
			t.Errorf("%s renders %s\nwant %s", environment, got, want)
		}
	}
}
