package pipeline

import (
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// TestACanaryWithoutWhatIsCriticalWasNotMeasured: "marginal: pass" lets pass what is grey, and not what nobody has seen.
func TestACanaryWithoutWhatIsCriticalWasNotMeasured(t *testing.T) {
	c := &Canary{Metrics: []CanaryMetric{{Rule: canary.Metric{Name: "errors", Critical: true}}, {Rule: canary.Metric{Name: "latency"}}}}
	for _, tt := range []struct {
		errors, latency canary.Label
		want            bool
	}{
		{canary.LabelPass, canary.LabelPass, true},
		{canary.LabelInconclusive, canary.LabelNodata, true},
		{canary.LabelNodata, canary.LabelPass, false},
		{canary.LabelError, canary.LabelPass, false},
		{canary.LabelNodata, canary.LabelNodata, false},
	} {
		r := &canary.Report{Metrics: []canary.MetricReport{{Label: tt.errors}, {Label: tt.latency}}}
		if got := measured(c, r); got != tt.want {
			t.Errorf("errors %s and latency %s: measured is %t", tt.errors, tt.latency, got)
		}
	}
}

func TestTheTrafficIsRaisedOnlyOnWhatWasSeen(t *testing.T) {
	c := &Canary{Metrics: []CanaryMetric{{Rule: canary.Metric{Name: "errors"}}}}
	report := func(v canary.Verdict, l canary.Label) *canary.Report {
		return &canary.Report{Verdict: v, Metrics: []canary.MetricReport{{Label: l}}}
	}
	for name, tt := range map[string]struct {
		a    Analysis
		want bool
	}{
		"before the first look":     {Analysis{}, true},
		"while it is looked":        {Analysis{Looking: true}, false},
		"after a good look":         {Analysis{Report: report(canary.Pass, canary.LabelPass)}, true},
		"after one that can't tell": {Analysis{Report: report(canary.Inconclusive, canary.LabelInconclusive)}, true},
		"after one without data":    {Analysis{Report: report(canary.Inconclusive, canary.LabelNodata)}, false},
		"after a grey one":          {Analysis{Report: report(canary.Marginal, canary.LabelHigh)}, false},
		"after a miss":              {Analysis{Missed: 1, Report: report(canary.Pass, canary.LabelPass)}, false},
		"while it is being raised":  {Analysis{Weighing: 10}, false},
	} {
		st := &StageState{Status: StageRunning, Phase: PhaseAnalysing}
		if got := tt.a.raises(st, c); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
