package canary

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
)

// vector is one of the examples that Kayenta's own tests compute with; the file names the place and the licence.
type vector struct {
	ID, File, Kind, Measure string
	Line                    int
	Classifier              string
	Experiment, Control     []Number
	X, Y, Data              []Number
	Tolerance               *float64
	Confidence              *float64  `json:"confLevel"`
	Effect                  []float64 `json:"effectSizeThresholds_decrease_increase"`
	Critical                []float64 `json:"criticalThresholds_decrease_increase"`
	EffectMeasure           string    `json:"effectSizeMeasure"`
	Direction               Direction
	NaN                     NaN  `json:"nanStrategy"`
	IsCritical              bool `json:"isCriticalMetric"`
	P, K, Factor            float64
	Outlier                 []bool             `json:"expected_is_outlier"`
	Weights                 map[string]float64 `json:"groupWeights"`
	Summary                 float64            `json:"expected_summaryScore"`
	Metrics                 []struct {
		Name     string
		Label    Label `json:"classification"`
		Critical bool
		Groups   []string
	}
	Expected json.RawMessage
	Found    struct {
		Lower    *float64 `json:"ciLow"`
		Upper    *float64 `json:"ciHigh"`
		Estimate *float64
		Ratio    *float64 `json:"meanRatio"`
		CLES     *float64
	} `json:"recomputed_by_independent_check"`
}

func sorted(samples []Number) []float64 {
	out := present(samples, RemoveNaN)
	slices.Sort(out)
	return out
}

func (v vector) request() Request {
	m := Metric{Name: "requests", Baseline: v.Control, Canary: v.Experiment, Direction: v.Direction, NaN: v.NaN, Critical: v.IsCritical}
	m.EffectSize.Measure = v.EffectMeasure
	if v.Effect != nil {
		m.EffectSize.AllowedDecrease, m.EffectSize.AllowedIncrease = &v.Effect[0], &v.Effect[1]
	}
	if v.Critical != nil {
		m.EffectSize.CriticalDecrease, m.EffectSize.CriticalIncrease = &v.Critical[0], &v.Critical[1]
	}
	if v.Classifier != "MannWhitneyClassifier" {
		// Two examples are of a classifier that compares means, which Kayenta's judge does not use. The judge says the same
		// with the tolerance of the other examples.
		tolerance := 0.1
		v.Tolerance = &tolerance
	}
	return Request{Judge: Kayenta, Confidence: v.Confidence, Tolerance: v.Tolerance, Metrics: []Metric{m}}
}

// near compares with the numbers' own precision, or with that of Kayenta's root finder where that is coarser.
func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) && !(math.IsNaN(got) && math.IsNaN(want)) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func (v vector) want(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal(v.Expected, into); err != nil {
		t.Fatal(err)
	}
}

func TestKayentasOwnExamplesHold(t *testing.T) {
	data, err := os.ReadFile("testdata/kayenta-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	checks := map[string]func(vector, *testing.T){
		"classify": vector.classified, "score": vector.scored, "percentileR7": vector.percentile, "meanRatio": vector.ratio, "cles": vector.ratio,
		"mannWhitneyCI": vector.interval, "mannWhitneyIntermediates": vector.between, "wilcoxonDiff": vector.difference, "normalQuantile": vector.quantile,
		"summaryStats": vector.summarised, "iqrOutlier": vector.outlying, "ksigmaOutlier": vector.outlying,
	}
	seen := 0
	for _, v := range file.Vectors {
		t.Run(fmt.Sprintf("%s, line %d", v.ID, v.Line), func(t *testing.T) {
			check := checks[v.Kind]
			if check == nil {
				t.Fatalf("nothing checks %q", v.Kind)
			}
			check(v, t)
			seen++
		})
	}
	if seen != 45 {
		t.Errorf("%d examples were checked, and there are 45", seen)
	}
}

func (v vector) classified(t *testing.T) {
	var want struct {
		Label    Label `json:"classification"`
		Critical bool
		Reason   string
	}
	v.want(t, &want)
	got := Judge(v.request()).Metrics[0]
	if want.Reason != "" { // it only says that there is one
		want.Label, want.Critical = LabelNodata, true
	}
	if got.Label != want.Label || got.Critical != want.Critical || got.Reason == "" {
		t.Errorf("it is %s, critical %t (%s); want %s, %t", got.Label, got.Critical, got.Reason, want.Label, want.Critical)
	}
	if v.Found.Lower == nil {
		return
	}
	near(t, "the lower bound", float64(got.Lower), *v.Found.Lower, 1e-6)
	near(t, "the upper bound", float64(got.Upper), *v.Found.Upper, 1e-6)
	near(t, "the estimate", float64(got.Estimate), *v.Found.Estimate, 1e-6)
	ratio := v.Found.Ratio
	if v.EffectMeasure == cles {
		ratio = v.Found.CLES
	}
	if ratio == nil {
		ratio = new(float64)
		*ratio = math.NaN()
	}
	near(t, "the effect", float64(got.Ratio), *ratio, 1e-9)
}

func (v vector) scored(t *testing.T) {
	req := Request{GroupWeights: v.Weights}
	var labels []MetricReport
	for _, m := range v.Metrics {
		req.Metrics = append(req.Metrics, Metric{Name: m.Name, Groups: m.Groups, Critical: m.Critical})
		labels = append(labels, MetricReport{Name: m.Name, Label: m.Label, Critical: m.Critical && m.Label != LabelPass})
	}
	req.Score = defaultThresholds
	near(t, "the score", float64(kayentaVerdict(req, labels, nil).Score), v.Summary, 0)
}

func (v vector) percentile(t *testing.T) {
	var want float64
	v.want(t, &want)
	near(t, "the percentile", percentile(sorted(v.Data), v.P), want, 1e-4)
}

func (v vector) ratio(t *testing.T) {
	want := math.NaN()
	if string(v.Expected) != `"NaN"` {
		v.want(t, &want)
	}
	m := Metric{EffectSize: EffectSize{Measure: v.Kind}}
	tolerance := 1e-12
	if want == 0.771 { // to as many digits as are published
		tolerance = 1e-3
	}
	near(t, v.Kind, newSides(sorted(v.Experiment), sorted(v.Control)).effect(m), want, tolerance)
}

func (v vector) interval(t *testing.T) {
	var want struct{ CILow, CIHigh, Estimate float64 }
	v.want(t, &want)
	estimate, lower, upper, ok := newSides(sorted(v.Experiment), sorted(v.Control)).shift(*v.Confidence)
	if !ok {
		t.Error("it has none")
	}
	near(t, "the estimate", estimate, want.Estimate, 1e-4)
	near(t, "the lower bound", lower, want.CILow, 1e-6)
	near(t, "the upper bound", upper, want.CIHigh, 1e-6)
}

func (v vector) between(t *testing.T) {
	var want map[string]float64
	v.want(t, &want)
	s := newSides(sorted(v.X), sorted(v.Y))
	low, high := s.x[0]-s.y[len(s.y)-1], s.x[len(s.x)-1]-s.y[0]
	q := normalQuantile((1 - *v.Confidence) / 2)
	estimate, lower, upper, _ := s.shift(*v.Confidence)
	for name, got := range map[string]float64{
		"muMin": low, "muMax": high, "zqLower": -q, "zqUpper": q, "fLower1": s.statistic(low) + q, "fUpper1": s.statistic(high) + q,
		"fLower2": s.statistic(low) - q, "fUpper2": s.statistic(high) - q, "ciLower": lower, "ciUpper": upper, "estimate": estimate,
	} {
		near(t, name, got, want[name], 1e-6)
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("not compared: %v", want)
	}
}

func (v vector) difference(t *testing.T) {
	var want []struct{ Mu, Quantile, Z float64 }
	v.want(t, &want)
	for _, w := range want {
		near(t, "the statistic", newSides(sorted(v.X), sorted(v.Y)).statistic(w.Mu)-w.Quantile, w.Z, 1e-5)
	}
}

func (v vector) quantile(t *testing.T) {
	var want float64
	v.want(t, &want)
	near(t, "the quantile", normalQuantile(v.P), want, 1e-6)
}

// summarised leaves the standard deviation out, for which neither judge has a use.
func (v vector) summarised(t *testing.T) {
	var want struct{ Min, Max, Mean, Count float64 }
	v.want(t, &want)
	data := sorted(v.Data)
	near(t, "the count", float64(len(data)), want.Count, 0)
	near(t, "the mean", mean(data), want.Mean, 1e-12)
	if len(data) > 0 {
		near(t, "the minimum", percentile(data, 0), want.Min, 0)
		near(t, "the maximum", percentile(data, 100), want.Max, 0)
	}
}

// outlying holds the judge's way to find outliers against both of Kayenta's detectors: the one by k standard deviations,
// which its judge does not use, and the one by quartiles without the percentiles, find the same in their examples.
func (v vector) outlying(t *testing.T) {
	factor := max(v.Factor, v.K)
	var want []float64
	for i, out := range v.Outlier {
		if !out {
			want = append(want, float64(v.Data[i]))
		}
	}
	m := Metric{Outliers: Outliers{Strategy: removeOutliers, Factor: &factor}}
	if got := clean(m, v.Data); !slices.Equal(got, want) {
		t.Errorf("it keeps %v, want %v", got, want)
	}
	slices.Sort(want)
	if got := cleanSorted(m, v.Data); !slices.Equal(got, want) {
		t.Errorf("sorted it keeps %v, want %v", got, want)
	}
}
