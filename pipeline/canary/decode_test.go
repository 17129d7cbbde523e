package canary

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// with is a request with one metric that has more keys, and more keys beside the metrics.
func with(metric, request string) string {
	return `{"metrics": [{"name": "errors", "baseline": [1, null], "canary": [2]` + metric + `}]` + request + `}`
}

func TestDecodeFillsIn(t *testing.T) {
	got, err := Decode([]byte(with("", "")))
	if err != nil {
		t.Fatal(err)
	}
	want := Request{
		Judge: Default, Score: Thresholds{Pass: 75, Marginal: 50}, Looks: 1, Look: 1,
		Metrics: []Metric{{
			Name: "errors", Kind: Gauge, Direction: Either, NaN: RemoveNaN, Outliers: Outliers{Strategy: "keep", Factor: ptr(3)}, EffectSize: EffectSize{Measure: "meanRatio"},
			Baseline: []Number{1, missing}, Canary: []Number{2},
		}},
	}
	nan := cmp.Comparer(func(a, b Number) bool { return a == b || math.IsNaN(float64(a)) && math.IsNaN(float64(b)) })
	if diff := cmp.Diff(want, got, nan); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeReadsEveryKey(t *testing.T) {
	const all = `{"judge": "kayenta", "confidence": 0.9, "tolerance": 0.1, "score": {"pass": 95, "marginal": 70}, "group_weights": {"a": 60, "b \u00fc": 40},
"looks": 12, "look": 3, "metrics": [{"name": "err\u006frs", "groups": ["a", "b ü"], "kind": "count", "direction": "increase", "critical": true, "advisory": false,
"must_have_data": true, "nan": "replace", "outliers": {"strategy": "remove", "factor": 2.5},
"effect_size": {"measure": "cles", "allowed_increase": 0.6, "allowed_decrease": 0.4, "critical_increase": 0.8, "critical_decrease": 0.2},
"baseline": [0, 1.5e1, null], "canary": [], "baseline_total": [100, 100, null], "canary_total": []}]}`
	got, err := Decode([]byte(all))
	if err != nil {
		t.Fatal(err)
	}
	want := Request{
		Judge: Kayenta, Confidence: ptr(0.9), Tolerance: ptr(0.1), Score: Thresholds{Pass: 95, Marginal: 70}, GroupWeights: map[string]float64{"a": 60, "b ü": 40}, Looks: 12, Look: 3,
		Metrics: []Metric{{
			Name: "errors", Groups: []string{"a", "b ü"}, Kind: Count, Direction: Increase, Critical: true, MustHaveData: true, NaN: ReplaceNaN,
			Outliers:   Outliers{Strategy: "remove", Factor: ptr(2.5)},
			EffectSize: EffectSize{Measure: "cles", AllowedIncrease: ptr(0.6), AllowedDecrease: ptr(0.4), CriticalIncrease: ptr(0.8), CriticalDecrease: ptr(0.2)},
			Baseline:   []Number{0, 15, missing}, Canary: []Number{}, BaselineTotal: []Number{100, 100, missing}, CanaryTotal: []Number{},
		}},
	}
	nan := cmp.Comparer(func(a, b Number) bool { return a == b || math.IsNaN(float64(a)) && math.IsNaN(float64(b)) })
	if diff := cmp.Diff(want, got, nan); diff != "" {
		t.Error(diff)
	}
}

// TestDecodeTakesData has requests as metrics stores and other programs may give cause for.
func TestDecodeTakesData(t *testing.T) {
	for name, text := range map[string]string{
		"keys that are null":            with(`, "groups": null, "kind": null, "critical": null, "outliers": null, "effect_size": {"allowed_increase": null}, "baseline_total": null`, `, "judge": null, "score": null, "looks": null, "group_weights": null`),
		"lists that are null":           `{"metrics": [{"name": "a", "baseline": null, "canary": null}]}`,
		"lists that are empty":          `{"metrics": [{"name": "a", "baseline": [], "canary": []}]}`,
		"one name twice":                `{"metrics": [{"name": "a", "baseline": [1], "canary": [1]}, {"name": "a", "baseline": [1], "canary": [1]}]}`,
		"huge and tiny numbers":         `{"metrics": [{"name": "a", "baseline": [1e308, -1e308, 1e-400, -0], "canary": [4.9e-324]}]}`,
		"a count above its total":       with(`, "kind": "count", "baseline_total": [0, 0], "canary_total": [1]`, ""),
		"a count that is no whole one":  strings.Replace(with(`, "kind": "count"`, ""), "[2]", "[2.5]", 1),
		"a gauge below 0":               strings.Replace(with("", ""), "[2]", "[-2]", 1),
		"looks as a number with a part": with("", `, "looks": 6.0, "look": 2`),
		"looks of 0":                    with("", `, "looks": 0, "look": 0`),
		"space around everything":       " \t\r\n" + strings.ReplaceAll(with("", ""), ":", " :\n") + "\n\n",
	} {
		req, err := Decode([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(again); err != nil {
			t.Errorf("%s: what was decoded is refused: %v\n%s", name, err, again)
		}
	}
}

func TestTextIsNoStructure(t *testing.T) {
	const name = `a "b\", "canary": [1]}, ]{ \`
	quoted, err := json.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	req, err := Decode([]byte(`{"metrics": [{"groups": [` + string(quoted) + `, "]"], "name": ` + string(quoted) + `, "baseline": [1], "canary": [2]}], "looks": 3}`))
	if err != nil || req.Metrics[0].Name != name || req.Metrics[0].Groups[0] != name || req.Looks != 3 {
		t.Errorf("it is read as %+v, %v", req, err)
	}
}

func TestOneThresholdFitsTheOther(t *testing.T) {
	for score, want := range map[string]Thresholds{
		`{}`: {75, 50}, `{"pass": 90}`: {90, 50}, `{"pass": 40}`: {40, 40}, `{"marginal": 80}`: {80, 80}, `{"marginal": 0}`: {75, 0}, `{"pass": 100, "marginal": 100}`: {100, 100},
	} {
		req, err := Decode([]byte(with("", `, "score": `+score)))
		if err != nil || req.Score != want {
			t.Errorf("%s gives %v, %v; want %v", score, req.Score, err, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	const at = `metrics[0] "errors": `
	samples := func(text string) string { return strings.Replace(with("", ""), "[2]", text, 1) }
	for text, want := range map[string]string{
		"":                     "there is nothing to read",
		" \n":                  "there is nothing to read",
		"{":                    "this is no JSON: line 1, column 1: unexpected end of JSON input",
		"{\n  \"judge\": nope": "this is no JSON: line 2, column 13: invalid character 'o' in literal null (expecting 'u')",
		with("", "") + "{}":    "this is no JSON: line 1, column 72: invalid character '{' after top-level value",
		samples("[NaN]"):       "this is no JSON: line 1, column 67: invalid character 'N' looking for beginning of value; NaN and Infinity are no JSON, write null for a sample that is missing",
		samples("[-Infinity]"): "this is no JSON: line 1, column 68: invalid character 'I' in numeric literal; NaN and Infinity are no JSON, write null for a sample that is missing",
		samples("[01]"):        "this is no JSON: line 1, column 68: invalid character '1' after array element",
		"[]":                   "here is an object expected, and it is a list",
		"null":                 "here is an object expected, and it is null",
		"{}":                   "there are no metrics",
		`{"metrics": []}`:      "metrics: there are none, and so nothing to judge",
		`{"metrics": null}`:    "metrics: there are none, and so nothing to judge",
		`{"metrics": {}}`:      "metrics: here is a list expected, and it is an object",
		`{"metrics": [1]}`:     "metrics[0]: here is an object expected, and it is the number 1",
		`{"metrics": [{}]}`:    "metrics[0]: there is no name",

		`{"metrics": [{"name": "", "baseline": [], "canary": []}]}`: `metrics[0] "": name: it is empty`,
		`{"metrics": [{"name": "errors", "baseline": []}]}`:         at + "there is no canary",
		`{"metrics": [{"name": 5, "baseline": [], "canary": []}]}`:  "metrics[0]: name: here is a text expected, and it is the number 5",
		`{"metrics": [{"critcal": true, "name": "errors"}]}`: at + `unknown key "critcal"; the keys are name, groups, kind, direction, critical, advisory, must_have_data, nan, outliers, effect_size, ` +
			"baseline, canary, baseline_total, canary_total",

		with(`, "name": "b"`, ""):                                                     at + `the key "name" stands there twice`,
		with(`, "Critical": true`, ""):                                                "",
		with(`, "critical": "yes"`, ""):                                               at + "critical: here is true or false expected, and it is a text",
		with(`, "critical": true, "advisory": true`, ""):                              at + "advisory: a metric can't be critical and advisory",
		with(`, "direction": "up"`, ""):                                               at + `direction: "up" is none of either, increase, decrease`,
		with(`, "direction": 1`, ""):                                                  at + "direction: here is a text expected, and it is the number 1",
		with(`, "kind": "rate"`, ""):                                                  at + `kind: "rate" is none of gauge, count`,
		with(`, "nan": "drop"`, ""):                                                   at + `nan: "drop" is none of remove, replace`,
		with(`, "groups": "a"`, ""):                                                   at + "groups: here is a list expected, and it is a text",
		with(`, "groups": [1]`, ""):                                                   at + "groups[0]: here is a text expected, and it is the number 1",
		with(`, "groups": [""]`, ""):                                                  at + "groups[0]: the name is empty",
		with(`, "groups": ["a", "b", "a"]`, ""):                                       at + `groups[2]: "a" stands there twice`,
		with(`, "outliers": {"strategy": "clip"}`, ""):                                at + `outliers: strategy: "clip" is none of keep, remove`,
		with(`, "outliers": {"factor": 0}`, ""):                                       at + "outliers: factor: 0 is not above 0",
		with(`, "outliers": {"factr": 2}`, ""):                                        at + `outliers: unknown key "factr"; the keys are strategy, factor`,
		with(`, "effect_size": {"measure": "mean"}`, ""):                              at + `effect_size: measure: "mean" is none of meanRatio, cles`,
		with(`, "effect_size": {"allowed_increase": -1}`, ""):                         at + "effect_size: allowed_increase: -1 is not 0 or above",
		with(`, "effect_size": {"critical_decrease": "1"}`, ""):                       at + "effect_size: critical_decrease: here is a number expected, and it is a text",
		with(`, "effect_size": {"measure": "cles", "critical_increase": 1.2}`, ""):    at + "effect_size: critical_increase: 1.2 is not from 0 to 1, as a chance is",
		with(`, "baseline_total": [1, 2]`, ""):                                        at + "baseline_total: only a metric of kind count has a total",
		with(`, "kind": "count", "baseline_total": [1, 2]`, ""):                       at + "canary_total: there is none, and the other side has one",
		with(`, "kind": "count", "canary_total": [1]`, ""):                            at + "baseline_total: there is none, and the other side has one",
		with(`, "kind": "count", "baseline_total": [1], "canary_total": [1]`, ""):     at + "baseline_total: there are 1, and 2 samples",
		with(`, "kind": "count", "baseline_total": [1, 2], "canary_total": []`, ""):   at + "canary_total: there are 0, and 1 samples",
		with(`, "kind": "count", "baseline_total": [1, -2], "canary_total": [1]`, ""): at + "baseline_total[1]: a count can't be -2",
		strings.Replace(with(`, "kind": "count"`, ""), "[2]", "[2, -3]", 1):           at + "canary[1]: a count can't be -3",

		samples(`[1, "2"]`):      at + "canary[1]: here is a number expected, and it is a text",
		samples(`[1, 2, true]`):  at + "canary[2]: here is a number expected, and it is true",
		samples(`[[1]]`):         at + "canary[0]: here is a number expected, and it is a list",
		samples(`[{"v": 1}]`):    at + "canary[0]: here is a number expected, and it is an object",
		samples(`[1e999]`):       at + "canary[0]: 1e999 is too large for a number",
		samples(`[3, -1e309]`):   at + "canary[1]: -1e309 is too large for a number",
		samples(`"1, 2"`):        at + "canary: here is a list expected, and it is a text",
		samples(`{"values": 1}`): at + "canary: here is a list expected, and it is an object",

		with("", `, "jugde": "default"`):                                        `unknown key "jugde"; the keys are judge, confidence, tolerance, score, group_weights, metrics, looks, look`,
		with("", `, "judge": "dredd"`):                                          `judge: "dredd" is none of default and kayenta`,
		with("", `, "judge": ["default"]`):                                      "judge: here is a text expected, and it is a list",
		with("", `, "confidence": 1`):                                           "confidence: 1 is not between 0 and 1",
		with("", `, "confidence": 95`):                                          "confidence: 95 is not between 0 and 1",
		with("", `, "confidence": "0.98"`):                                      "confidence: here is a number expected, and it is a text",
		with("", `, "tolerance": -0.1`):                                         "tolerance: -0.1 is not from 0 to 1",
		with("", `, "score": 75`):                                               "score: here is an object expected, and it is the number 75",
		with("", `, "score": {"pass": 101}`):                                    "score: pass: 101 is not from 0 to 100",
		with("", `, "score": {"pass": 0}`):                                      "score: pass: at 0 or below every canary would pass",
		with("", `, "score": {"marginal": -1}`):                                 "score: marginal: -1 is not from 0 to 100",
		with("", `, "score": {"pass": 1e999}`):                                  "score: pass: 1e999 is too large for a number",
		with("", `, "score": {"fail": 1}`):                                      `score: unknown key "fail"; the keys are pass, marginal`,
		with("", `, "looks": 2.5`):                                              "looks: here is a whole number expected, and it is the number 2.5",
		with("", `, "looks": -1`):                                               "looks: -1 is not from 1 to 100000",
		with("", `, "looks": 1e15`):                                             "looks: here is a whole number expected, and it is the number 1e15",
		with("", `, "looks": 3, "look": 4`):                                     "look: 4 is not from 1 to looks, which is 3",
		with("", `, "look": 2`):                                                 "look: 2 is not from 1 to looks, which is 1",
		with("", `, "group_weights": [1]`):                                      "group_weights: here is an object expected, and it is a list",
		with("", `, "group_weights": {"a": 50}`):                                `group_weights: no metric is in the group "a"`,
		with("", `, "group_weights": {"a": "50"}`):                              "group_weights: a: here is a number expected, and it is a text",
		with("", `, "group_weights": {"a": null}`):                              "group_weights: a: here is a number expected, and it is null",
		with("", `, "score": {"pass": 60, "marginal": 70}`):                     "score: marginal: 70 is above pass, which is 60",
		with(`, "groups": ["a"]`, `, "group_weights": {"a": -5}`):               `group_weights: "a": -5 is not from 0 to 100`,
		with(`, "groups": ["a", "b"]`, `, "group_weights": {"a": 70, "b": 40}`): "group_weights: they add up to 110, and 100 is the whole",
		with(`, "groups": ["a"]`, `, "group_weights": {"a": 70, "a": 40}`):      `group_weights: the key "a" stands there twice`,
		with(`, "groups": ["a"]`, `, "group_weights": {"a": 101}`):              `group_weights: "a": 101 is not from 0 to 100`,
		`{"metrics": [{"name": "` + strings.Repeat("n", MaxName+1) + `", "baseline": [], "canary": []}]}`:     `metrics[0] "` + strings.Repeat("n", 60) + `…": name: it is longer than 256 bytes`,
		with(`, "groups": ["`+strings.Repeat("n", MaxName+1)+`"]`, ""):                                        at + "groups[0]: the name is longer than 256 bytes",
		with(`, "groups": [`+strings.Repeat(`"a",`, MaxGroups)+`"a"]`, ""):                                    at + "groups: there are more than 32",
		`{"metrics": [` + strings.Repeat(`{"name": "a", "baseline": [], "canary": []},`, MaxMetrics) + `{}]}`: "metrics: there are more than 1000",
		samples(`[` + strings.Repeat(`0,`, MaxSamples) + `0]`):                                                at + "canary: there are more than 1000000",
		strings.Repeat(" ", MaxRequest+1):                                                                     "the request is larger than 64 MiB",
		strings.Repeat("[", 20_000):                                                                           "this is no JSON: line 1, column 10001: invalid character '[' exceeded max depth",
	} {
		req, err := Decode([]byte(text))
		switch {
		case err == nil:
			t.Errorf("%s is taken", shorten(text, 300))
		case want != "" && err.Error() != want:
			t.Errorf("%s gives\n%v\nwant\n%s", shorten(text, 300), err, want)
		}
		if diff := cmp.Diff(Request{}, req); diff != "" {
			t.Errorf("%s gives an error and a request", shorten(text, 300))
		}
	}
}

// FuzzDecode holds the decoder against encoding/json, and the judges against what they are given.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(with("", "")))
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := Decode(data)
		if err != nil {
			if err.Error() == "" || !cmp.Equal(req, Request{}) {
				t.Fatalf("an error without words, or with a request: %q", err)
			}
			return
		}
		again, err := json.Marshal(req)
		if err != nil {
			t.Fatalf("what was decoded can't be written: %v", err)
		}
		decoded, err := Decode(again)
		if err != nil {
			t.Fatalf("what was decoded is refused: %v\n%s", err, again)
		}
		if twice, err := json.Marshal(decoded); err != nil || string(twice) != string(again) {
			t.Fatalf("what was decoded is another the second time: %v\n%s\n%s", err, again, twice)
		}
		var lenient Request
		if json.Unmarshal(data, &lenient) == nil {
			lenient.Score, lenient.Looks, lenient.Look = req.Score, req.Looks, req.Look
			whole, err := lenient.complete()
			if text, _ := json.Marshal(whole); err != nil || string(text) != string(again) {
				t.Fatalf("encoding/json reads another request: %v\n%s\n%s", err, again, text)
			}
		}
		for _, judge := range []string{Default, Kayenta} {
			req.Judge = judge
			checkReport(t, req, Judge(req))
		}
	})
}

// checkReport holds what is true of every report.
func checkReport(t *testing.T, req Request, got Report) {
	t.Helper()
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatalf("the report can't be written: %v", err)
	}
	if again, _ := json.Marshal(Judge(req)); string(again) != string(text) {
		t.Fatalf("the second time it is another:\n%s\n%s", text, again)
	}
	if s := float64(got.Score); s < 0 || s > 100 || got.Reason == "" {
		t.Fatalf("the score is %v, and the reason %q", s, got.Reason)
	}
	if got.Verdict != Pass {
		return
	}
	labels := map[Label]int{}
	for _, m := range got.Metrics {
		labels[m.Label]++
	}
	if labels[LabelPass] == 0 || labels[LabelError] > 0 {
		t.Fatalf("it passes with %s", fmt.Sprint(labels))
	}
}
