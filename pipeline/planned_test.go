package pipeline_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestLooksArePlanned(t *testing.T) {
	nine := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		canary pipeline.Canary
		want   []string
	}{
		"a growing window":           {pipeline.Canary{Interval: 5 * time.Minute, Lifetime: 15 * time.Minute}, []string{"09:00 to 09:05", "09:00 to 09:10", "09:00 to 09:15"}},
		"a sliding window":           {pipeline.Canary{Interval: 5 * time.Minute, Lifetime: 15 * time.Minute, Lookback: 7 * time.Minute}, []string{"09:00 to 09:05", "09:03 to 09:10", "09:08 to 09:15"}},
		"a last look comes sooner":   {pipeline.Canary{Interval: 5 * time.Minute, Lifetime: 12 * time.Minute}, []string{"09:00 to 09:05", "09:00 to 09:10", "09:00 to 09:12"}},
		"a time that ends before it": {pipeline.Canary{Interval: 5 * time.Minute, Lifetime: 3 * time.Minute}, []string{"09:00 to 09:03"}},
		"a time that has been":       {pipeline.Canary{From: nine.Add(-time.Hour), To: nine.Add(-time.Minute)}, []string{"08:00 to 08:59"}},
	} {
		var got []string
		for i, look := range tt.canary.PlannedLooks(nine) {
			if look.Number != i+1 {
				t.Errorf("%s: look %d has the number %d", name, i+1, look.Number)
			}
			got = append(got, look.From.Format("15:04")+" to "+look.To.Format("15:04"))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
