package canary

import "fmt"

// Verdict is what is said of a canary after a look.
type Verdict string

const (
	Pass         Verdict = "pass"
	Marginal     Verdict = "marginal"     // grey: neither good enough nor bad enough
	Fail         Verdict = "fail"         // stop it now
	Inconclusive Verdict = "inconclusive" // too little data to say
)

// Label is what is said of one metric.
type Label string

const (
	LabelPass             Label = "Pass"
	LabelHigh             Label = "High" // the canary is above the baseline, and that is for the worse
	LabelLow              Label = "Low"  // below
	LabelNodata           Label = "Nodata"
	LabelNodataFailMetric Label = "NodataFailMetric"
	LabelError            Label = "Error"
	LabelInconclusive     Label = "Inconclusive"
)

// Worse tells that the label is of a metric that got worse, or lacks the data that it must have.
func (l Label) Worse() bool { return l == LabelHigh || l == LabelLow || l == LabelNodataFailMetric }

// Report is the answer to a request. Its JSON form is stable; docs/canary.md tells it.
type Report struct {
	Verdict Verdict        `json:"verdict"`
	Score   Number         `json:"score"` // 0 to 100
	Reason  string         `json:"reason"`
	Groups  []GroupScore   `json:"groups"`
	Metrics []MetricReport `json:"metrics"`
}

// GroupScore is the score of the metrics of one group, and its part of the whole in per cent.
type GroupScore struct {
	Name   string `json:"name"`
	Score  Number `json:"score"`
	Weight Number `json:"weight"`
}

// MetricReport is what was found about one metric. What could not be said is NaN, null in JSON.
type MetricReport struct {
	Name     string `json:"name"`
	Label    Label  `json:"label"`
	Critical bool   `json:"critical"`          // this label fails the canary
	Ratio    Number `json:"ratio"`             // the effect size: canary's mean to baseline's, or the chance of being above
	Measure  string `json:"measure,omitempty"` // "cles" if Ratio is that chance
	Estimate Number `json:"estimate"`          // of the shift, canary minus baseline, in the metric's own unit
	Lower    Number `json:"lower"`             // of the shift's confidence interval
	Upper    Number `json:"upper"`
	Reason   string `json:"reason"` // one sentence, for people
}

// Change words the effect for people: "+12 %", "28 times"; "" where the effect is no ratio of means, or not known.
func (m MetricReport) Change() string {
	ratio := float64(m.Ratio)
	switch {
	case m.Measure == cles || !m.Ratio.Known() || ratio <= 0 || ratio > 1e6:
		return ""
	case ratio >= 10:
		return fmt.Sprintf("%.0f times", ratio)
	}
	return fmt.Sprintf("%+.3g %%", (ratio-1)*100)
}
