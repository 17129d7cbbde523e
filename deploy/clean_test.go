package deploy

import (
	"encoding/base64"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

func secretOf(values ...string) manifest.Set {
	data := map[string]any{}
	for i, v := range values {
		data[string(rune('a'+i))] = base64.StdEncoding.EncodeToString([]byte(v))
	}
	return manifest.Set{Objects: []manifest.Object{{Unstructured: &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "s"}, "data": data,
	}}}}}
}

func TestLogsAreFitForPeople(t *testing.T) {
	many := strings.Split(strings.Repeat("line\n", 12)+"last", "\n")
	cases := []struct {
		name  string
		lines []string
		limit int
		want  string
	}{
		{"nothing", nil, 100, ""},
		{"colours and control characters go", []string{"\x1b[31mpanic:\x1b[0m \x00\x07no\u202edatabase\x1b]0;title\x07"}, 100, "panic: nodatabase"},
		{"the last ten lines", many, 1000, strings.Repeat("line\n", 9) + "last"},
		{"as many as fit", []string{"first", "second", "third"}, 12, "second\nthird"},
		{"a long line is cut", []string{strings.Repeat("x", 500)}, 1000, strings.Repeat("x", 199) + "…"},
		{"values of secrets go", []string{"key s3cr3t-key! and s3cr3t"}, 100, "key [secret] and [secret]"},
		{"passwords go", []string{`password=hunter2 "api_key": "abc", Authorization: Bearer eyJ.x postgres://shop:pw@db/shop`}, 300,
			`password=[secret] "api_key": "[secret]", Authorization: Bearer [secret] postgres://shop:[secret]@db/shop`},
		{"bytes that are no text", []string{"a\xff\xfeb"}, 100, "a�b"},
	}
	r := newRedactor(secretOf("s3cr3t", "s3cr3t-key!", "tiny"))
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.tail(tc.lines, tc.limit)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzLogTail(f *testing.F) {
	f.Add("panic: no database\n\x1b[31mred\x1b[0m", 100)
	f.Add("\x1b]0;never ended\nhunter2hunter2", 30)
	f.Add("password=hunter2hunter2\xff", 0)
	r := newRedactor(secretOf("hunter2hunter2"))
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = min(max(limit, 20), 1000)
		got := r.tail(strings.Split(text, "\n"), limit)
		if n := utf8.RuneCountInString(got); n > limit {
			t.Errorf("%d characters, at most %d are allowed: %q", n, limit, got)
		}
		if !utf8.ValidString(got) || strings.Contains(got, "hunter2hunter2") || strings.Count(got, "\n") >= logLines {
			t.Errorf("not fit for people: %q", got)
		}
		for _, c := range got {
			if c != '\n' && unicode.IsControl(c) {
				t.Errorf("control character %U in %q", c, got)
			}
		}
	})
}

func TestEnvironmentsFitIntoLabels(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"production", "review/fix-1", "review/fix-2", "review-fix-1", "", "Überraschung", "/", strings.Repeat("x", 200), strings.Repeat("x", 201), "a b"} {
		value := labelValue(name)
		if problems := validation.IsValidLabelValue(value); len(problems) > 0 || value == "" {
			t.Errorf("%q gives %q: %v", name, value, problems)
		}
		if other, ok := seen[value]; ok {
			t.Errorf("%q and %q both give %q", name, other, value)
		}
		seen[value] = name
	}
	if got := labelValue("production"); got != "production" {
		t.Errorf("production gives %q", got)
	}
}

func TestLayersAreOneTree(t *testing.T) {
	l := layers{
		fstest.MapFS{"a/one.yaml": {Data: []byte("1")}, "b/x.yaml": {Data: []byte("first")}},
		fstest.MapFS{"a/two.yaml": {Data: []byte("2")}, "b/x.yaml": {Data: []byte("second")}},
	}
	entries, err := fs.ReadDir(l, "a")
	if err != nil || len(entries) != 2 || entries[0].Name() != "one.yaml" || entries[1].Name() != "two.yaml" {
		t.Errorf("folder a has %v, error %v", entries, err)
	}
	if data, err := fs.ReadFile(l, "b/x.yaml"); err != nil || string(data) != "first" {
		t.Errorf("b/x.yaml is %q, error %v", data, err)
	}
	if _, err := fs.Stat(l, "c"); err == nil {
		t.Error("c is there")
	}
	if _, err := fs.ReadDir(l, "c"); err == nil {
		t.Error("c is listed")
	}
}
