package manifest_test

import (
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
			_, err := manifest.Render(files, manifest.Source{Path: "k"}, manifest.Limits{})
			if err == nil || !strings.Contains(err.Error(), "no key of a kustomization") {
				t.Errorf("got %v", err)
			}
		})
	}
}
