package manifest_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
)

// TestAKeyThatKustomizeReadsOtherwiseIsRefused: kustomize matches keys by Unicode's simple folding, so these would
// have made it clone a repository or load a plugin.
func TestAKeyThatKustomizeReadsOtherwiseIsRefused(t *testing.T) {
	for _, key := range []string{"reſources", "baſes", "componentſ", "generatorſ", "tranſformers", "RESOURCEſ"} {
		t.Run(key, func(t *testing.T) {
			files := fstest.MapFS{"k/kustomization.yaml": {Data: []byte(key + ":\n- github.invalid/x/y?ref=main\n")}}
			_, err := manifest.Render(t.Context(), files, manifest.Source{Path: "k"}, manifest.Limits{})
			if err == nil || !strings.Contains(err.Error(), "no key of a kustomization") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestFoldersThatReferToEachOtherManyTimesAreStopped: four levels of six folders, each of which refers to the next level, are
// loaded more than a thousand times, and ten would be loaded until the memory is full.
func TestFoldersThatReferToEachOtherManyTimesAreStopped(t *testing.T) {
	files := fstest.MapFS{"level4/all.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")}}
	put := func(dir, text string) { files[dir+"/kustomization.yaml"] = &fstest.MapFile{Data: []byte(text)} }
	for level := range 4 {
		var list []string
		for _, way := range []string{"a", "b", "c", "d", "e", "f"} {
			dir := fmt.Sprintf("level%d-%s", level, way)
			put(dir, fmt.Sprintf("namePrefix: %s-\nresources: [../level%d]\n", way, level+1))
			list = append(list, "../"+dir)
		}
		put(fmt.Sprintf("level%d", level), "resources: ["+strings.Join(list, ", ")+"]\n")
	}
	put("level4", "resources: [all.yaml]\n")
	_, err := manifest.Render(t.Context(), files, manifest.Source{Path: "level0"}, manifest.Limits{Bytes: 64 << 10, Objects: 10000})
	if err == nil || !strings.Contains(err.Error(), "level0: loads the same files again and again") {
		t.Errorf("got %v", err)
	}
	if _, err := manifest.Render(t.Context(), files, manifest.Source{Path: "level3"}, manifest.Limits{Bytes: 64 << 10}); err != nil {
		t.Errorf("a base that a few folders share: %v", err)
	}
}

func TestAKustomizationMakesNoMoreThanTheLimit(t *testing.T) {
	var objects strings.Builder
	for i := range 100 {
		fmt.Fprintf(&objects, "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a%d}}\n", i)
	}
	k := manifest.Kustomization{Dir: "k", Limits: manifest.Limits{Bytes: 200_000}, Files: map[string][]byte{
		"k/kustomization.yaml": []byte("resources: [a.yaml]\ncommonAnnotations: {a: " + strings.Repeat("a", 3000) + "}\n"), "k/a.yaml": []byte(objects.String()),
	}}
	if _, err := k.Build(); err == nil || !strings.Contains(err.Error(), "k: renders to more than 200000 bytes") {
		t.Errorf("got %v", err)
	}
}
