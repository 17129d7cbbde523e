package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what the cases render into testdata")

// Each file of testdata is a repository. Its comment says what is rendered: "path: …", "image: NAME VALUE",
// "host: NAME VALUE", "review: SLUG", "crds: true", and for charts "values: FILE", "set: KEY VALUE" and "release: NAME" lines.
// The file "want" holds the objects in order, or the error.
func TestRepositoriesRenderAsRecorded(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	for _, name := range names {
		t.Run(strings.ReplaceAll(strings.TrimSuffix(filepath.Base(name), ".txtar"), "-", " "), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files, want := fstest.MapFS{}, -1
			for i, f := range archive.Files {
				if f.Name == "want" {
					want = i
					continue
				}
				files[f.Name] = &fstest.MapFile{Data: f.Data}
			}
			source := Source{Path: "deploy", Images: map[string]string{}, Hosts: map[string]string{}}
			helm := Helm{Set: map[string]string{}}
			for line := range strings.Lines(string(archive.Comment)) {
				fields := strings.Fields(line)
				if len(fields) < 2 || !strings.HasSuffix(fields[0], ":") {
					continue
				}
				switch fields[0] {
				case "path:":
					source.Path = fields[1]
				case "image:":
					source.Images[fields[1]] = fields[2]
				case "review:":
					source.Review = fields[1]
				case "host:":
					source.Hosts[fields[1]] = fields[2]
				case "crds:":
					source.CRDs = true
				case "values:":
					helm.Values, source.Helm = append(helm.Values, fields[1]), &helm
				case "set:":
					helm.Set[fields[1]], source.Helm = strings.Join(fields[2:], " "), &helm
				case "release:":
					helm.Release, source.Namespace, source.Helm = fields[1], "shop", &helm
				}
			}
			got := rendered(Render(t.Context(), files, source, Limits{}))
			if want < 0 {
				archive.Files = append(archive.Files, txtar.File{Name: "want"})
				want = len(archive.Files) - 1
			}
			if *update {
				archive.Files[want].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(archive.Files[want].Data), got); diff != "" {
				t.Errorf("rendered otherwise than recorded (-want +got):\n%s", diff)
			}
		})
	}
}

func rendered(set Set, err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var b strings.Builder
	for _, o := range set.Objects {
		data, err := json.MarshalIndent(o.Object, "", " ")
		if err != nil {
			return err.Error()
		}
		fmt.Fprintf(&b, "# %s from %s\n%s\n", o.Title(), o.From, data)
	}
	fmt.Fprintf(&b, "# images %v, replicas %d\n", set.Images(), set.Replicas())
	return b.String()
}

func TestSetsComeBackFromTheirStoredForm(t *testing.T) {
	set, err := Render(t.Context(), fstest.MapFS{"a.yaml": {Data: []byte(twoObjects)}}, Source{Path: "a.yaml"}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := set.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := back.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Errorf("encoded again: %s\nwant %s", second, first)
	}
	for i := range set.Objects {
		if diff := cmp.Diff(set.Objects[i].Object, back.Objects[i].Object); diff != "" {
			t.Errorf("object %d (-want +got):\n%s", i, diff)
		}
	}
	earlier, err := set.plain()
	if err != nil {
		t.Fatal(err)
	}
	if len(first) >= len(earlier) {
		t.Errorf("stored as %d bytes, plain as %d", len(first), len(earlier))
	}
	old, err := Decode(earlier)
	if err != nil {
		t.Fatalf("the form of earlier versions: %v", err)
	}
	if again, err := old.Encode(); err != nil || !bytes.Equal(first, again) {
		t.Errorf("the form of earlier versions gives other bytes, error %v", err)
	}
	if _, err := Decode(first[:len(first)-9]); err == nil {
		t.Error("half of a set was decoded")
	}
	if _, err := Decode([]byte(`[{"kind":"Secret"}]`)); err == nil {
		t.Error("an object without a name was decoded")
	}
}

const twoObjects = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 3
  template:
    spec:
      containers: [{name: app, image: shop:1, resources: {limits: {cpu: 0.5}}}]
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{port: 80}]}
`

func TestLimitsHold(t *testing.T) {
	many := strings.Repeat("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: N}\n", 20)
	for i := range 20 {
		many = strings.Replace(many, "name: N}", fmt.Sprintf("name: n%d}", i), 1)
	}
	files := fstest.MapFS{
		"d/a.yaml": {Data: []byte(many)}, "d/b.yaml": {Data: []byte(twoObjects)},
		"k/kustomization.yaml": {Data: []byte("resources: [a.yaml]\n")}, "k/a.yaml": {Data: []byte(many)},
	}
	cases := []struct {
		name, path string
		limits     Limits
		want       string
	}{
		{"too many objects in a file", "d", Limits{Objects: 19}, "at most 19"},
		{"too many objects in a kustomization", "k", Limits{Objects: 19}, "at most 19"},
		{"too many files", "d", Limits{Files: 1}, "at most 1 are read"},
		{"too many bytes", "d", Limits{Bytes: 500}, "500 bytes"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Render(t.Context(), files, Source{Path: tc.path}, tc.limits)
			var mistake *Error
			if !errors.As(err, &mistake) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one that says %q", err, tc.want)
			}
		})
	}
	for _, path := range []string{"d", "k"} {
		if _, err := Render(t.Context(), files, Source{Path: path}, Limits{Objects: 22}); err != nil {
			t.Errorf("within its limits: %v", err)
		}
	}
}

func TestValuesOfSecretsAreInNoError(t *testing.T) {
	const secret = "hunter2hunter2"
	head := "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
	for _, text := range []string{
		head + "stringData: {password: *" + secret + "}\n",
		head + "stringData:\n  password: " + secret + ": x\n",
		head + "stringData: [" + secret + "]\n",
		head + "stringData: " + secret + "\n",
		head + "stringData: {password: " + secret + "\n",
		head + "stringData: {a: " + secret + ", a: " + secret + "}\n",
		head + "stringData: {a: [" + secret + "]}\n",
		head + "stringData: {? [" + secret + "] : x}\n",
		head + "stringData: {a: !!int " + secret + "}\n",
		head + "stringData: {a: !!binary " + secret + "-}\n",
		head + "stringData: {a: @" + secret + "}\n",
		head + "---\n" + secret + "\n",
	} {
		for name, files := range map[string]fstest.MapFS{
			"plain":         {"d/a.yaml": {Data: []byte(text)}},
			"kustomization": {"d/a.yaml": {Data: []byte(text)}, "d/kustomization.yaml": {Data: []byte("resources: [a.yaml]\nnamePrefix: x-\n")}},
			"patch": {
				"d/a.yaml": {Data: []byte(twoObjects)}, "d/p.yaml": {Data: []byte(text)},
				"d/kustomization.yaml": {Data: []byte("resources: [a.yaml]\npatches: [{path: p.yaml}]\n")},
			},
		} {
			_, err := Render(t.Context(), files, Source{Path: "d"}, Limits{})
			if err == nil {
				if name == "plain" {
					t.Errorf("%s was rendered:\n%s", name, text)
				}
				continue
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error shows the value: %v", name, err)
			}
		}
	}
}

func TestMissingNamesTheFoldersThatAKustomizationNeeds(t *testing.T) {
	overlay := fstest.MapFS{"apps/shop/overlays/eu/kustomization.yaml": {Data: []byte("resources: [../../base, ../../../common]\n")}}
	got, err := Missing(overlay, Source{Path: "apps/shop/overlays/eu"}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"apps/common", "apps/shop/base"}, got); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if _, err := Render(t.Context(), overlay, Source{Path: "apps/shop/overlays/eu"}, Limits{}); err == nil || !strings.Contains(err.Error(), "refers to apps/") {
		t.Errorf("rendered without its bases: %v", err)
	}
	overlay["apps/shop/base/kustomization.yaml"] = &fstest.MapFile{Data: []byte("resources: [a.yaml]\n")}
	overlay["apps/shop/base/a.yaml"] = &fstest.MapFile{Data: []byte(twoObjects)}
	overlay["apps/common/kustomization.yaml"] = &fstest.MapFile{Data: []byte("configMapGenerator: [{name: c, literals: [a=b]}]\n")}
	if got, err := Missing(overlay, Source{Path: "apps/shop/overlays/eu"}, Limits{}); err != nil || len(got) > 0 {
		t.Errorf("with all folders, missing are %v, error %v", got, err)
	}
	if _, err := Render(t.Context(), overlay, Source{Path: "apps/shop/overlays/eu"}, Limits{}); err != nil {
		t.Error(err)
	}
	if got, err := Missing(fstest.MapFS{"a.yaml": {Data: []byte(twoObjects)}}, Source{Path: "a.yaml"}, Limits{}); err != nil || len(got) > 0 {
		t.Errorf("for a plain file, missing are %v, error %v", got, err)
	}
}

func TestNothingIsDownloaded(t *testing.T) {
	for _, line := range []string{
		"resources: [https://example.com/a.yaml]",
		"Resources: [https://example.com/a.yaml]",
		"resources: [github.com/example/base]",
		"resources: [git@example.com:example/base]",
		"resources: ['git::https://example.com/base']",
		"resources: ['https://example.com/base?ref=v1']",
		`resources: ["github.com/example/base\n"]`,
		"components: [github.com/example/base]",
		"bases: [github.com/example/base]",
		"patches: [{path: 'https://example.com/p.yaml'}]",
		"patchesStrategicMerge: ['https://example.com/p.yaml']",
		"configMapGenerator: [{name: c, files: ['k=https://example.com/v']}]",
		"secretGenerator: [{name: c, envs: ['https://example.com/v']}]",
		"openapi: {path: 'https://example.com/v'}",
		"replacements: [{path: 'HTTPS://example.com/v'}]",
		"generators: [g.yaml]",
		"transformers: ['{}']",
		"helmCharts: [{name: x, repo: 'https://example.com'}]",
	} {
		t.Run(line, func(t *testing.T) {
			files := fstest.MapFS{
				"d/kustomization.yaml": {Data: []byte(line + "\n")}, "d/g.yaml": {Data: []byte(twoObjects)},
				"d/github.com/example/base/kustomization.yaml": {Data: []byte("resources: []\n")},
			}
			_, err := Render(t.Context(), files, Source{Path: "d"}, Limits{})
			var mistake *Error
			if !errors.As(err, &mistake) || mistake.File != "d/kustomization.yaml" {
				t.Errorf("got error %v, want a refusal that names d/kustomization.yaml", err)
			}
		})
	}
}

func TestImagesAreNamedWithoutTagAndDigest(t *testing.T) {
	for image, want := range map[string]string{
		"shop": "shop", "shop:1": "shop", "registry:5000/shop": "registry:5000/shop", "registry:5000/shop:1": "registry:5000/shop",
		"a/b@sha256:abc": "a/b", "a/b:1@sha256:abc": "a/b", "": "",
	} {
		if got := ImageName(image); got != want {
			t.Errorf("name of %q is %q, want %q", image, got, want)
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add([]byte(twoObjects), []byte("resources: [a.yaml]\n"))
	f.Add([]byte("a: &a [*a]\n"), []byte("resources: [.]\n"))
	f.Add([]byte("{\"kind\":\"List\",\"items\":[null]}"), []byte("namePrefix: x\nresources: [a.yaml]\n"))
	f.Add([]byte("---\n---\n%YAML 1.2\n--- {apiVersion: v1}\n...\n"), []byte("patches: [{patch: x}]\n"))
	f.Fuzz(func(t *testing.T, plain, kustomization []byte) {
		files := fstest.MapFS{
			"p/a.yaml": {Data: plain}, "p/b.json": {Data: plain},
			"k/a.yaml": {Data: plain}, "k/kustomization.yaml": {Data: kustomization},
		}
		for _, path := range []string{"p/a.yaml", "p/b.json", "k"} {
			set, err := Render(t.Context(), files, Source{Path: path}, Limits{Bytes: 1 << 16, Objects: 20})
			if err != nil {
				var mistake *Error
				if !errors.As(err, &mistake) || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: error is not a mistake of the repository: %v", path, err)
				}
				continue
			}
			data, err := set.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Decode(data); err != nil {
				t.Errorf("%s: rendered set is not decoded: %v", path, err)
			}
		}
	})
}
