package canary

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Limits of a request. What is beyond them is refused.
const (
	MaxRequest = 64 << 20  // bytes of JSON
	MaxMetrics = 1000      // in a request
	MaxSamples = 1_000_000 // of one side of a metric
	MaxGroups  = 32        // that a metric is in
	MaxName    = 256       // bytes of the name of a metric or a group
	MaxLooks   = 100_000
)

var (
	requestKeys = []string{"judge", "confidence", "tolerance", "score", "group_weights", "metrics", "looks", "look"}
	scoreKeys   = []string{"pass", "marginal"}
	metricKeys  = []string{
		"name", "groups", "kind", "direction", "critical", "advisory", "must_have_data", "nan", "outliers", "effect_size",
		"baseline", "canary", "baseline_total", "canary_total",
	}
	outlierKeys = []string{"strategy", "factor"}
	effectKeys  = []string{"measure", "allowed_increase", "allowed_decrease", "critical_increase", "critical_decrease"}
)

// Decode takes a request from its JSON, checks it, and fills in what it does not say. The error is for people; it names
// the metric and the key. A key whose value is null is as good as absent.
//
// What is refused is what no sensible sender sends: keys that are not known, values of another type, numbers beyond
// float64, options out of their range, negative counts, a metric without its two lists of samples. What a metrics store
// may answer is data and is judged: lists that are empty, of different lengths, full of null, constant, or huge.
func Decode(data []byte) (Request, error) {
	if len(data) > MaxRequest {
		return Request{}, fmt.Errorf("the request is larger than %d MiB", MaxRequest>>20)
	}
	v, err := parse(data)
	if err != nil {
		return Request{}, err
	}
	req, err := decodeRequest(v)
	if err != nil {
		return Request{}, err
	}
	return req.complete()
}

func decodeRequest(v value) (Request, error) {
	var req Request
	in, err := v.object(requestKeys)
	if err != nil {
		return req, err
	}
	if _, there := in["metrics"]; !there {
		return req, v.errorf("there are no metrics")
	}
	return req, cmp.Or(
		take(in, "judge", &req.Judge, value.string),
		take(in, "confidence", &req.Confidence, value.pointer),
		take(in, "tolerance", &req.Tolerance, value.pointer),
		take(in, "score", &req.Score, decodeScore),
		take(in, "group_weights", &req.GroupWeights, decodeWeights),
		take(in, "metrics", &req.Metrics, decodeMetrics),
		take(in, "looks", &req.Looks, value.integer),
		take(in, "look", &req.Look, value.integer),
	)
}

// decodeScore fills in the threshold that is not given so that it fits the other. Only here is it known that one is 0
// on purpose.
func decodeScore(v value) (Thresholds, error) {
	in, err := v.object(scoreKeys)
	if err != nil {
		return Thresholds{}, err
	}
	var pass, marginal *float64
	if err := cmp.Or(take(in, "pass", &pass, value.pointer), take(in, "marginal", &marginal, value.pointer)); err != nil {
		return Thresholds{}, err
	}
	switch {
	case pass != nil && *pass <= 0:
		return Thresholds{}, in["pass"].errorf("at 0 or below every canary would pass")
	case pass == nil && marginal == nil:
		return Thresholds{}, nil
	case pass == nil:
		return Thresholds{Pass: max(defaultThresholds.Pass, *marginal), Marginal: *marginal}, nil
	case marginal == nil:
		return Thresholds{Pass: *pass, Marginal: min(defaultThresholds.Marginal, *pass)}, nil
	}
	return Thresholds{Pass: *pass, Marginal: *marginal}, nil
}

func decodeWeights(v value) (map[string]float64, error) {
	in, err := v.object(nil)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for _, name := range sortedKeys(in) {
		if out[name], err = in[name].number(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func sortedKeys[T any](m map[string]T) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func decodeMetrics(v value) ([]Metric, error) {
	var out []Metric
	err := v.each(MaxMetrics, func(v value) error {
		m, err := decodeMetric(v)
		out = append(out, m)
		return err
	})
	return out, err
}

func decodeMetric(v value) (Metric, error) {
	var m Metric
	members, err := v.members()
	if err != nil {
		return m, err
	}
	// Errors name the metric, wherever in it its name stands.
	for _, member := range members {
		if member.key == "name" && member.text[0] == '"' {
			name, _ := unquote(member.text)
			v.at += " " + strconv.Quote(shorten(name, 60))
			break
		}
	}
	in, err := v.byKey(members, metricKeys)
	if err != nil {
		return m, err
	}
	for _, key := range []string{"name", "baseline", "canary"} {
		if _, there := in[key]; !there {
			return m, v.errorf("there is no %s", key)
		}
	}
	return m, cmp.Or(
		take(in, "name", &m.Name, value.string),
		take(in, "groups", &m.Groups, decodeGroups),
		take(in, "kind", (*string)(&m.Kind), value.string),
		take(in, "direction", (*string)(&m.Direction), value.string),
		take(in, "critical", &m.Critical, value.bool),
		take(in, "advisory", &m.Advisory, value.bool),
		take(in, "must_have_data", &m.MustHaveData, value.bool),
		take(in, "nan", (*string)(&m.NaN), value.string),
		take(in, "outliers", &m.Outliers, decodeOutliers),
		take(in, "effect_size", &m.EffectSize, decodeEffect),
		take(in, "baseline", &m.Baseline, decodeSamples),
		take(in, "canary", &m.Canary, decodeSamples),
		take(in, "baseline_total", &m.BaselineTotal, decodeSamples),
		take(in, "canary_total", &m.CanaryTotal, decodeSamples),
	)
}

func decodeGroups(v value) ([]string, error) {
	var out []string
	err := v.each(MaxGroups, func(v value) error {
		name, err := v.string()
		out = append(out, name)
		return err
	})
	return out, err
}

func decodeOutliers(v value) (Outliers, error) {
	var o Outliers
	in, err := v.object(outlierKeys)
	if err != nil {
		return o, err
	}
	return o, cmp.Or(take(in, "strategy", &o.Strategy, value.string), take(in, "factor", &o.Factor, value.pointer))
}

func decodeEffect(v value) (EffectSize, error) {
	var e EffectSize
	in, err := v.object(effectKeys)
	if err != nil {
		return e, err
	}
	return e, cmp.Or(
		take(in, "measure", &e.Measure, value.string),
		take(in, "allowed_increase", &e.AllowedIncrease, value.pointer),
		take(in, "allowed_decrease", &e.AllowedDecrease, value.pointer),
		take(in, "critical_increase", &e.CriticalIncrease, value.pointer),
		take(in, "critical_decrease", &e.CriticalDecrease, value.pointer),
	)
}

func decodeSamples(v value) ([]Number, error) {
	if v.text[0] != '[' {
		return nil, v.errorf("here is a list expected, and it is %s", v.is())
	}
	out := make([]Number, 0, min(bytes.Count(v.text, []byte(","))+1, MaxSamples))
	for i := next(v.text, 1); v.text[i] != ']'; i = next(v.text, i) {
		if len(out) == MaxSamples {
			return nil, v.errorf("there are more than %d", MaxSamples)
		}
		stop := end(v.text, i)
		sample := value{text: v.text[i:stop]}
		f, err := math.NaN(), error(nil)
		if !sample.null() {
			f, err = sample.number()
		}
		if err != nil {
			sample.at = fmt.Sprintf("%s[%d]", v.at, len(out))
			_, err = sample.number()
			return nil, err
		}
		out = append(out, Number(f))
		i = stop
	}
	return out, nil
}
