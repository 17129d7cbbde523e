package pipeline

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// Measurement is what a look was made of, kept in a blob for people: the pages show it, and it can be judged again.
type Measurement struct {
	Request canary.Request `json:"request"` // with the samples
	From    time.Time      `json:"from"`
	To      time.Time      `json:"to"`
	Series  []Series       `json:"series"` // in the order of the request's metrics
}

// Series says where the samples of one metric come from.
type Series struct {
	Source   string        `json:"source"`
	Step     time.Duration `json:"step"`
	Start    time.Time     `json:"start"`    // of the canary's first sample; the baseline's is earlier by the stage's offset
	Baseline string        `json:"baseline"` // the query as it was asked
	Canary   string        `json:"canary"`
	// Of a count with a total: the queries for that.
	BaselineTotal string `json:"baseline_total,omitempty"`
	CanaryTotal   string `json:"canary_total,omitempty"`
	Link          string `json:"link,omitempty"`    // a page that shows it
	Warning       string `json:"warning,omitempty"` // what the source remarks on its answers
}

// DecodeMeasurement reads what a blob of a canary's samples holds.
func DecodeMeasurement(data []byte) (*Measurement, error) {
	var m Measurement
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("decode the samples of a canary: %w", err)
	}
	if len(m.Series) != len(m.Request.Metrics) {
		return nil, fmt.Errorf("decode the samples of a canary: %d series for %d metrics", len(m.Series), len(m.Request.Metrics))
	}
	return &m, nil
}

// Curve is one metric of a measurement as it is drawn: of a count with a total its rate. Missing samples are NaN.
type Curve struct {
	Baseline, Canary []float64
	From             time.Time
	Step             time.Duration
}

// Curve of the metric at index i.
func (m *Measurement) Curve(i int) Curve {
	of := m.Request.Metrics[i]
	return Curve{
		Baseline: rates(of.Baseline, of.BaselineTotal), Canary: rates(of.Canary, of.CanaryTotal), From: m.Series[i].Start, Step: m.Series[i].Step,
	}
}

func rates(samples, totals []canary.Number) []float64 {
	out := make([]float64, len(samples))
	for i, v := range samples {
		out[i] = float64(v)
		switch {
		case len(totals) != len(samples):
		case totals[i] > 0:
			out[i] = float64(v) / float64(totals[i])
		default:
			out[i] = math.NaN()
		}
	}
	return out
}
