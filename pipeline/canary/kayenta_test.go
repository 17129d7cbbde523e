package canary

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
)

func ptr(f float64) *float64 { return &f }

var missing = Number(math.NaN())

// kayentaJudges is the report on one metric.
func kayentaJudges(m Metric) (MetricReport, Report) {
	m.Name = "requests"
	report := Judge(Request{Judge: Kayenta, Metrics: []Metric{m}})
	return report.Metrics[0], report
}

func TestKayentaLabelsAMetric(t *testing.T) {
	rising := []Number{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	higher := []Number{11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	for name, c := range map[string]struct {
		metric   Metric
		label    Label
		critical bool
		verdict  Verdict
	}{
		"a higher canary is High":                     {Metric{Baseline: rising, Canary: higher}, LabelHigh, false, Fail},
		"a lower canary is Low":                       {Metric{Baseline: higher, Canary: rising}, LabelLow, false, Fail},
		"higher passes where lower is worse":          {Metric{Baseline: rising, Canary: higher, Direction: Decrease}, LabelPass, false, Pass},
		"lower passes where higher is worse":          {Metric{Baseline: higher, Canary: rising, Direction: Increase}, LabelPass, false, Pass},
		"higher by less than is allowed passes":       {Metric{Baseline: rising, Canary: higher, EffectSize: EffectSize{AllowedIncrease: ptr(2.9)}}, LabelPass, false, Pass},
		"higher by as much as is allowed is High":     {Metric{Baseline: rising, Canary: higher, EffectSize: EffectSize{AllowedIncrease: ptr(15.5 / 5.5)}}, LabelHigh, false, Fail},
		"a critical metric that is High is critical":  {Metric{Baseline: rising, Canary: higher, Critical: true}, LabelHigh, true, Fail},
		"and not below the critical increase":         {Metric{Baseline: rising, Canary: higher, Critical: true, EffectSize: EffectSize{CriticalIncrease: ptr(3)}}, LabelHigh, false, Fail},
		"a critical metric that is Low is critical":   {Metric{Baseline: higher, Canary: rising, Critical: true}, LabelLow, true, Fail},
		"and not above the critical decrease":         {Metric{Baseline: higher, Canary: rising, Critical: true, EffectSize: EffectSize{CriticalDecrease: ptr(0.3)}}, LabelLow, false, Fail},
		"by chance of being above, 1 is High":         {Metric{Baseline: rising, Canary: higher, EffectSize: EffectSize{Measure: cles, AllowedIncrease: ptr(1)}}, LabelHigh, false, Fail},
		"by chance of being above, 0 is Low":          {Metric{Baseline: higher, Canary: rising, EffectSize: EffectSize{Measure: cles}}, LabelLow, false, Fail},
		"the same samples in another order pass":      {Metric{Baseline: []Number{1, 2, 3}, Canary: []Number{3, 1, 2}}, LabelPass, false, Pass},
		"one value on both sides passes":              {Metric{Baseline: []Number{7}, Canary: []Number{7, 7, 7}}, LabelPass, false, Pass},
		"two constants that differ are High":          {Metric{Baseline: []Number{1, 1}, Canary: []Number{2, 2}}, LabelHigh, false, Fail},
		"or Low":                                      {Metric{Baseline: []Number{2}, Canary: []Number{1, 1}}, LabelLow, false, Fail},
		"or pass, by less than is allowed":            {Metric{Baseline: []Number{10, 10}, Canary: []Number{11, 11}, EffectSize: EffectSize{AllowedIncrease: ptr(1.2)}}, LabelPass, false, Pass},
		"or pass, by the direction":                   {Metric{Baseline: []Number{10, 10}, Canary: []Number{11, 11}, Direction: Decrease}, LabelPass, false, Pass},
		"from a constant 0 is High at any effect":     {Metric{Baseline: []Number{0, 0}, Canary: []Number{2, 2}, EffectSize: EffectSize{AllowedIncrease: ptr(99)}}, LabelHigh, false, Fail},
		"a canary without data is Nodata":             {Metric{Baseline: rising}, LabelNodata, false, Fail},
		"a baseline without data is Nodata":           {Metric{Canary: rising}, LabelNodata, false, Fail},
		"no data at all is Nodata":                    {Metric{}, LabelNodata, false, Fail},
		"missing samples are no data":                 {Metric{Baseline: rising, Canary: []Number{missing, missing}}, LabelNodata, false, Fail},
		"infinite samples are missing":                {Metric{Baseline: rising, Canary: []Number{Number(math.Inf(1)), Number(math.Inf(-1))}}, LabelNodata, false, Fail},
		"a critical metric without data is critical":  {Metric{Baseline: rising, Critical: true}, LabelNodata, true, Fail},
		"it must have data":                           {Metric{Baseline: rising, MustHaveData: true}, LabelNodataFailMetric, false, Fail},
		"it must have data and is critical":           {Metric{Baseline: rising, MustHaveData: true, Critical: true}, LabelNodata, true, Fail},
		"missing samples count as 0 if they should":   {Metric{Baseline: []Number{missing, missing}, Canary: []Number{5, 5}, NaN: ReplaceNaN}, LabelHigh, false, Fail},
		"without samples it passes then, yet not all": {Metric{Baseline: rising, NaN: ReplaceNaN}, LabelPass, false, Inconclusive},
		"what is too large is an error, and no pass":  {Metric{Baseline: []Number{-1e308, 1e308}, Canary: []Number{-1e308, 1.5e308}}, LabelError, false, Inconclusive},
		"what is too far apart is an error, and no pass": {
			Metric{Baseline: []Number{1e300, 1e300}, Canary: []Number{1, 2}}, LabelError, false, Inconclusive,
		},
		"an outlier counts": {Metric{Baseline: []Number{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, Canary: append([]Number{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 1000)}, LabelPass, false, Pass},
		"an outlier that is removed leaves the same": {
			Metric{Baseline: rising, Canary: append([]Number{900}, rising...), Outliers: Outliers{Strategy: removeOutliers}}, LabelPass, false, Pass,
		},
	} {
		got, report := kayentaJudges(c.metric)
		if got.Label != c.label || got.Critical != c.critical || report.Verdict != c.verdict {
			t.Errorf("%s: it is %s, critical %t, and the verdict is %s; want %s, %t, %s (%s %s)", name, got.Label, got.Critical, report.Verdict, c.label, c.critical, c.verdict, got.Reason, report.Reason)
		}
		if !strings.HasSuffix(got.Reason, ".") || !strings.HasSuffix(report.Reason, ".") {
			t.Errorf("%s: no sentence says why: %q %q", name, got.Reason, report.Reason)
		}
	}
}

func TestTheReasonHasTheNumbers(t *testing.T) {
	got, _ := kayentaJudges(Metric{Baseline: []Number{1, 2, 3, 4}, Canary: []Number{10, 20, 30, 40}})
	want := "The canary is higher: it differs by 22.5 (98 % interval 6 to 39) in 4 samples against 4, its mean 10 times the baseline's."
	if got.Reason != want {
		t.Errorf("it says %q\nwant    %q", got.Reason, want)
	}
	got, _ = kayentaJudges(Metric{Baseline: []Number{2, 2}, Canary: []Number{3, 3}, EffectSize: EffectSize{Measure: cles}})
	want = "The canary is higher: it differs by 1 (98 % interval 1 to 1) in 2 samples against 2, and a sample of it is above one of the baseline with a chance of 1."
	if got.Reason != want {
		t.Errorf("it says %q\nwant    %q", got.Reason, want)
	}
}

func TestOutliersAreOutsideThePercentilesToo(t *testing.T) {
	var samples []Number
	for i := range 101 {
		switch {
		case i < 10:
			samples = append(samples, Number(i-20))
		case i > 90:
			samples = append(samples, Number(i))
		default:
			samples = append(samples, 0) // so that the quartiles are 0, and so is the distance of the fences from them
		}
	}
	m := Metric{Outliers: Outliers{Strategy: removeOutliers}}
	got := clean(m, samples)
	if len(got) != 99 || got[0] != -19 || got[98] != 99 {
		t.Errorf("%d samples from %v to %v are kept, want 99 from -19 to 99", len(got), got[0], got[len(got)-1])
	}
	if sorted := cleanSorted(m, samples); len(sorted) != 99 || sorted[0] != -19 || sorted[98] != 99 {
		t.Errorf("sorted, %v are kept", sorted)
	}
}

// labelled are metrics with samples that Kayenta labels so, each in the groups that are named behind its label.
func labelled(t *testing.T, words ...string) Request {
	t.Helper()
	req := Request{Judge: Kayenta}
	for i, w := range words {
		label, groups, _ := strings.Cut(w, ":")
		m := Metric{Name: fmt.Sprint("m", i), Baseline: []Number{1, 1}, Canary: []Number{1, 1}}
		switch Label(label) {
		case LabelPass:
		case LabelHigh:
			m.Canary = []Number{2, 2}
		case LabelNodata:
			m.Canary = nil
		case LabelNodataFailMetric:
			m.Canary, m.MustHaveData = nil, true
		case LabelError:
			m.Baseline, m.Canary = []Number{1e300, 1e300}, []Number{1, 2}
		default:
			t.Fatalf("no samples are %s", label)
		}
		if groups != "" {
			m.Groups = strings.Split(groups, "+")
		}
		req.Metrics = append(req.Metrics, m)
	}
	return req
}

func TestKayentaScores(t *testing.T) {
	for name, c := range map[string]struct {
		labels  []string
		weights map[string]float64
		score   float64
		verdict Verdict
		groups  string
	}{
		"metrics without a group are one":               {[]string{"Pass", "High", "Pass"}, nil, 66.67, Marginal, "default 66.66666666666666 of 100"},
		"groups without a weight share what is left":    {[]string{"Pass:a", "High:b", "Pass:c"}, map[string]float64{"a": 50}, 75, Pass, "a 100 of 50, b 0 of 25, c 100 of 25"},
		"a metric counts in each of its groups":         {[]string{"High:a+b", "Pass:b"}, nil, 25, Fail, "a 0 of 50, b 50 of 50"},
		"a metric that must have data counts":           {[]string{"Pass", "NodataFailMetric"}, nil, 50, Marginal, "default 50 of 100"},
		"a metric without data does not":                {[]string{"Pass", "High", "Nodata"}, nil, 50, Marginal, "default 50 of 100"},
		"half without data fails":                       {[]string{"Pass", "Nodata"}, nil, 0, Fail, "default 100 of 100"},
		"an error is as good as a pass to the score":    {[]string{"Error:a", "High:b"}, nil, 50, Marginal, "a null of 50, b 0 of 50"},
		"only errors score 100 and do not pass":         {[]string{"Error", "Error"}, nil, 100, Inconclusive, "default null of 100"},
		"one error keeps the others from passing":       {[]string{"Pass", "Pass", "Error"}, nil, 100, Inconclusive, "default 100 of 100"},
		"a third is rounded half up":                    {[]string{"Pass:a", "High:a", "High:a"}, nil, 33.33, Fail, "a 33.33333333333333 of 100"},
		"weights that leave something leave it unearnt": {[]string{"Pass:a", "Pass:b"}, map[string]float64{"a": 30, "b": 30}, 60, Marginal, "a 100 of 30, b 100 of 30"},
	} {
		req := labelled(t, c.labels...)
		req.GroupWeights = c.weights
		got := Judge(req)
		var groups []string
		for _, g := range got.Groups {
			score, err := json.Marshal(g.Score)
			if err != nil {
				t.Fatal(err)
			}
			groups = append(groups, fmt.Sprintf("%s %s of %v", g.Name, score, g.Weight))
		}
		if said := strings.Join(groups, ", "); float64(got.Score) != c.score || got.Verdict != c.verdict || said != c.groups {
			t.Errorf("%s: score %v, %s, groups %s; want %v, %s, %s (%s)", name, got.Score, got.Verdict, said, c.score, c.verdict, c.groups, got.Reason)
		}
	}
}

func TestACriticalMetricFailsAtAnyThreshold(t *testing.T) {
	req := labelled(t, "High:a", "Pass:b", "Pass:b")
	req.Metrics[0].Critical = true
	req.Score = Thresholds{Pass: 1, Marginal: 0}
	if got := Judge(req); got.Verdict != Fail || got.Score != 0 {
		t.Errorf("the verdict is %s at score %v", got.Verdict, got.Score)
	}
}

func TestHalfUp(t *testing.T) {
	for score, want := range map[float64]float64{0: 0, 100: 100, 66.664: 66.66, 66.665: 66.67, 1.005: 1.01, 99.994999: 99.99, 99.995: 100, 50.1: 50.1, 1e-9: 0} {
		if got := halfUp(score); got != want {
			t.Errorf("%v becomes %v, want %v", score, got, want)
		}
	}
}

func TestFiguresArePlain(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 1: "1", 123456: "123500", -0.00012345: "-0.0001234", 1e-9: "1e-09", 98: "98", 2.5e12: "2.5e+12", 1.0 / 3: "0.3333"} {
		if got := figure(f); got != want {
			t.Errorf("%v is written %s, want %s", f, got, want)
		}
	}
}

func TestAnUnsoundRequestIsNoPass(t *testing.T) {
	req := labelled(t, "Pass")
	req.Metrics[0].Direction = "up"
	got := Judge(req)
	if got.Verdict != Inconclusive || len(got.Metrics) != 1 || got.Metrics[0].Label != LabelError || !strings.Contains(got.Reason, `"up" is none of`) {
		t.Errorf("it is answered %+v", got)
	}
}
