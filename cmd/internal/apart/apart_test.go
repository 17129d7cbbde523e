package apart_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"gitlab.com/slipway-cd/slipway/cmd/internal/apart"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// TestMain lets the test binary be the process that builds.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == apart.Command {
		if err := apart.Serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {host: shop.example.com, page: https://HOST/cart}\n"

// render renders a kustomization of one ConfigMap, and tells whether that was done apart.
func render(t *testing.T, kustomization string, more map[string]string) (set manifest.Set, apartly bool, err error) {
	t.Helper()
	files := fstest.MapFS{"deploy/kustomization.yaml": {Data: []byte("resources: [settings.yaml]\n" + kustomization)}, "deploy/settings.yaml": {Data: []byte(configMap)}}
	for name, text := range more {
		files["deploy/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	set, err = manifest.Render(files, manifest.Source{Path: "deploy"}, manifest.Limits{Apart: func(k manifest.Kustomization) ([]byte, error) {
		apartly = true
		return apart.Kustomize(k)
	}})
	return set, apartly, err
}

func TestWhatCopiesIsBuiltApart(t *testing.T) {
	for name, c := range map[string]struct {
		kustomization string
		more          map[string]string
		apart         bool
		page          string
	}{
		"replacements": {"replacements:\n" +
			"- source: {kind: ConfigMap, name: settings, fieldPath: data.host}\n" +
			"  targets: [{select: {kind: ConfigMap}, fieldPaths: [data.page], options: {delimiter: /, index: 2}}]\n", nil, true, "https://shop.example.com/cart"},
		"variables":                  {"vars:\n- {name: HOST, objref: {apiVersion: v1, kind: ConfigMap, name: settings}, fieldref: {fieldpath: data.host}}\n", nil, true, "https://HOST/cart"},
		"a copying patch":            {"patches:\n- target: {kind: ConfigMap}\n  patch: |\n    - {op: copy, from: /data/host, path: /data/page}\n", nil, true, "shop.example.com"},
		"a copying patch in a file":  {"patches:\n- {target: {kind: ConfigMap}, path: p.yaml}\n", map[string]string{"p.yaml": "- {op: copy, from: /data/host, path: /data/page}\n"}, true, "shop.example.com"},
		"the word written otherwise": {"patches:\n- {target: {kind: ConfigMap}, path: p.yaml}\n", map[string]string{"p.yaml": "- {op: \"\\x63opy\", from: /data/host, path: /data/page}\n"}, true, "shop.example.com"},
		"a key in capitals":          {"patches:\n- {target: {kind: ConfigMap}, PATH: p.yaml}\n", map[string]string{"p.yaml": "- {op: copy, from: /data/host, path: /data/page}\n"}, true, "shop.example.com"},
		"an older key":               {"patchesJson6902:\n- {target: {version: v1, kind: ConfigMap, name: settings}, path: p.yaml}\n", map[string]string{"p.yaml": "- {op: copy, from: /data/host, path: /data/page}\n"}, true, "shop.example.com"},
		"aliases":                    {"commonAnnotations: {a: &a b}\ncommonLabels: {a: *a}\n", nil, true, "https://HOST/cart"},
		"another patch":              {"patches:\n- target: {kind: ConfigMap}\n  patch: |\n    - {op: replace, path: /data/page, value: here}\n", nil, false, "here"},
		"neither":                    {"commonAnnotations: {a: b}\n", nil, false, "https://HOST/cart"},
	} {
		t.Run(name, func(t *testing.T) {
			set, apartly, err := render(t, c.kustomization, c.more)
			if err != nil {
				t.Fatal(err)
			}
			if apartly != c.apart {
				t.Errorf("built apart: %v, want %v", apartly, c.apart)
			}
			if page := set.Objects[0].Object["data"].(map[string]any)["page"]; page != c.page {
				t.Errorf("the page is %v, want %v", page, c.page)
			}
		})
	}
}

// TestWhatGrowsOutOfAllBoundsIsAMistake: each step doubles the object.
func TestWhatGrowsOutOfAllBoundsIsAMistake(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory is bounded on Linux only")
	}
	var replacements, copies, aliases strings.Builder
	for i := range 40 {
		fmt.Fprintf(&replacements, "- source: {kind: ConfigMap, name: settings, fieldPath: data}\n"+
			"  targets: [{select: {kind: ConfigMap}, fieldPaths: [data.x%d], options: {create: true}}]\n", i)
		fmt.Fprintf(&copies, "- {op: copy, from: /data, path: /data/x%d}\n", i)
	}
	aliases.WriteString("x0: &x0 [laugh, laugh]\n")
	for i := range 40 {
		fmt.Fprintf(&aliases, "x%d: &x%d [*x%d, *x%d]\n", i+1, i+1, i, i)
	}
	for name, c := range map[string]struct {
		kustomization string
		more          map[string]string
	}{
		"replacements": {"replacements:\n" + replacements.String(), nil},
		"patches":      {"patches:\n- {target: {kind: ConfigMap}, path: p.yaml}\n", map[string]string{"p.yaml": copies.String()}},
		"aliases":      {"patches:\n- {path: p.yaml}\n", map[string]string{"p.yaml": configMap + aliases.String()}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := render(t, c.kustomization, c.more)
			var mistake *manifest.Error
			if !errors.As(err, &mistake) || !strings.HasPrefix(err.Error(), "deploy: takes ") {
				t.Fatalf("%v, want a mistake", err)
			}
		})
	}
}

func TestAMistakeThatIsFoundApartIsTold(t *testing.T) {
	_, apartly, err := render(t, "replacements:\n- source: {kind: ConfigMap, name: other, fieldPath: data.host}\n  targets: [{select: {kind: ConfigMap}, fieldPaths: [data.page]}]\n", nil)
	var mistake *manifest.Error
	if !apartly || !errors.As(err, &mistake) || !strings.Contains(mistake.What, "kustomize: ") || mistake.File != "deploy" {
		t.Fatalf("%v, want kustomize's own words", err)
	}
}
