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
