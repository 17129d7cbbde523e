package kayenta

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what is translated to testdata")

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s:\n%s", name, diff)
	}
}

func TestTranslate(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/shop.json")
	if err != nil {
		t.Fatal(err)
	}
	stage, err := Translate(data, Options{Environment: "production"})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/shop.yml", stage.YAML)
	golden(t, "testdata/shop.notes", strings.Join(stage.Notes, "\n")+"\n")
	want := []string{"pods", "influx by hand", "from the cloud", "the same on both sides", "only looked at"}
	if diff := cmp.Diff(want, stage.LeftOut); diff != "" {
		t.Errorf("left out: %s", diff)
	}
	metrics := check(t, data, stage)
	if query := metrics[0]["query"]; query != `sum(rate(errors{version="${{ track }}"}[1m]))` {
		t.Errorf("YAML reads the query as %s", query)
	}
}

func TestVariablesAreFilledIn(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/shop.json")
	if err != nil {
		t.Fatal(err)
	}
	stage, err := Translate(data, Options{Environment: "eu/live: 1", Scope: "shop-${{ track }}-v1", Variables: map[string]string{"location": "eu-west", "bucket": "shop"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"environment: 'eu/live: 1'", "query: shop.eu-west.shop-${{ track }}-v1.errors", `version="shop-${{ track }}-v1",region="eu-west"`, `from(bucket: "shop")`} {
		if !strings.Contains(strings.ReplaceAll(stage.YAML, "'shop.eu-west.shop-${{ track }}-v1.errors'", "shop.eu-west.shop-${{ track }}-v1.errors"), words) {
			t.Errorf("it does not have %s:\n%s", words, stage.YAML)
		}
	}
	if notes := strings.Join(stage.Notes, "\n"); strings.Contains(notes, "${location}") || strings.Contains(notes, "bucket") {
		t.Errorf("it notes what was given:\n%s", notes)
	}
}

// check holds what is true of every translation, and returns the metrics as YAML has them.
func check(t *testing.T, data []byte, stage Stage) []map[string]any {
	t.Helper()
	var in struct{ Metrics []any }
	if err := json.Unmarshal(data, &in); err != nil {
		t.Fatal(err)
	}
	var out []struct {
		Name   string
		Canary struct {
			Environment, Judge string
			Metrics            []map[string]any
		}
	}
	if err := yaml.Unmarshal([]byte(stage.YAML), &out); err != nil {
		t.Fatalf("it is no YAML: %v\n%s", err, stage.YAML)
	}
	if len(out) != 1 || out[0].Name != "canary" || out[0].Canary.Judge != "kayenta" {
		t.Fatalf("it is no stage: %+v\n%s", out, stage.YAML)
	}
	if got := len(out[0].Canary.Metrics) + len(stage.LeftOut); got != len(in.Metrics) {
		t.Fatalf("%d metrics are in the stage or told as left out, and there are %d:\n%s", got, len(in.Metrics), stage.YAML)
	}
	for _, m := range out[0].Canary.Metrics {
		for _, key := range []string{"name", "source", "query"} {
			if text, ok := m[key].(string); !ok || text == "" {
				t.Fatalf("%s is %v:\n%s", key, m[key], stage.YAML)
			}
		}
	}
	for _, note := range stage.Notes {
		if strings.ContainsAny(note, "\n\r\x1b") || len(note) > 1100 {
			t.Fatalf("the note is no line: %q", note)
		}
	}
	return out[0].Canary.Metrics
}

func TestAMetricWhoseNameIsTakenGetsANumber(t *testing.T) {
	t.Parallel()
	const one = `{"name": "errors", "query": {"type": "graphite", "metricName": "$scope"}}`
	data := []byte(`{"metrics": [` + one + "," + one + "," + one + "]}")
	stage, err := Translate(data, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var names []any
	for _, m := range check(t, data, stage) {
		names = append(names, m["name"])
	}
	if diff := cmp.Diff([]any{"errors", "errors (2)", "errors (3)"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestTranslateRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                             "it is no JSON: unexpected end of JSON input",
		"[]":                           "it is no JSON object",
		"{}":                           "metrics: there are none",
		`{"metrics": {}}`:              "metrics: here is a list expected",
		`{"metrics": [1]}`:             "metrics[0]: here is an object expected",
		`{"metrics": [{}]}`:            "metrics[0]: it has no name",
		`{"metrics": [{"name": "a"}]}`: `metrics[0] "a": it has no query`,
		`{"metrics": [{"name": "a", "query": {}}]}`:                                                                                           `metrics[0] "a": query: it has no type`,
		`{"metrics": [{"name": "a", "query": {"type": "x"}, "groups": "g"}]}`:                                                                 `metrics[0] "a": groups: here is a list expected`,
		`{"metrics": [{"name": "a", "query": {"type": "x"}, "analysisConfigurations": {"canary": {"critical": "yes"}}}]}`:                     `metrics[0] "a": analysisConfigurations: canary: critical: here is true or false expected`,
		`{"metrics": [{"name": "a", "query": {"type": "x"}, "analysisConfigurations": {"canary": {"effectSize": {"allowedIncrease": []}}}}]}`: `metrics[0] "a": analysisConfigurations: canary: effectSize: allowedIncrease: here is a number expected`,
		`{"metrics": [{"name": "a", "query": {"type": "x"}}], "classifier": {"groupWeights": {"g": "60"}}}`:                                   "classifier: groupWeights: g: here is a number expected",
		strings.Repeat(" ", MaxConfig+1): "it is larger than 1024 KiB",
	} {
		stage, err := Translate([]byte(text), Options{Environment: "production"})
		if err == nil || err.Error() != want || stage.YAML != "" {
			t.Errorf("%s gives %v, want %s\n%s", shorten(text, 200), err, want, stage.YAML)
		}
	}
}

func FuzzTranslate(f *testing.F) {
	data, err := os.ReadFile("testdata/shop.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"metrics": [{"name": "a\u2028\n# b: ${{ x }}", "groups": ["yes", "- x", "#"], "query": {"type": "graphite\n", "metricName": "${$scope}'\"\\"}}]}`))
	f.Add([]byte(`{"metrics": [{"name": "null", "query": {"type": "prometheus", "metricName": "~", "customFilterTemplate": "t"}}], "templates": {"t": "\u0000${scope}"}, "name": "\r\n- x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		stage, err := Translate(data, Options{Environment: "production"})
		if err == nil {
			check(t, data, stage)
		}
	})
}
