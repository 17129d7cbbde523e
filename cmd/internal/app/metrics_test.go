package app

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestEveryMetricIsDocumentedAndNoOther(t *testing.T) {
	page, err := os.ReadFile("../../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	descs := make(chan *prometheus.Desc, 1000)
	newMetrics(nil).registry.Describe(descs)
	close(descs)
	var have []string
	named := regexp.MustCompile(`fqName: "(slipway_[a-z_]+)"`)
	for d := range descs {
		if m := named.FindStringSubmatch(d.String()); m != nil && !slices.Contains(have, m[1]) {
			have = append(have, m[1])
		}
	}
	var told []string
	for _, m := range regexp.MustCompile("`(slipway_[a-z_]+)").FindAllStringSubmatch(string(page), -1) {
		told = append(told, m[1])
		if !slices.Contains(have, m[1]) {
			t.Errorf("docs/operating.md tells of %s, which is not there", m[1])
		}
	}
	for _, name := range have {
		if !slices.Contains(told, name) {
			t.Errorf("docs/operating.md does not tell of %s", name)
		}
	}
	if len(have) < 10 {
		t.Errorf("found only %d metrics", len(have))
	}
}
