package canary

// Judges that a request may name.
const (
	Default = "default"
	Kayenta = "kayenta"
)

// Request is one look at the samples of a canary and of its baseline. Its JSON form is stable; docs/canary.md tells it.
type Request struct {
	Judge string `json:"judge"`

	// Confidence: for the default judge, one minus the share of identical canaries that may be refused over all looks
	// and metrics together (0.95 if nil). For Kayenta, of each metric's interval (0.98 if nil).
	Confidence *float64 `json:"confidence,omitempty"`
	// Tolerance is Kayenta's: the part of the estimated shift by which the interval must miss zero (0.25 if nil).
	Tolerance    *float64           `json:"tolerance,omitempty"`
	Score        Thresholds         `json:"score"`
	GroupWeights map[string]float64 `json:"group_weights,omitempty"` // per cent of the score, by group
	Metrics      []Metric           `json:"metrics"`

	Looks int `json:"looks,omitempty"` // how many are planned; 1 if 0
	Look  int `json:"look,omitempty"`  // which of them this is, from 1; the last if 0
}

// Thresholds are scores from 0 to 100. At or above Pass a canary passes; below Marginal it fails; between is grey.
type Thresholds struct {
	Pass     float64 `json:"pass"`
	Marginal float64 `json:"marginal"`
}

// Kind says what a metric's samples are.
type Kind string

const (
	Gauge Kind = "gauge" // each sample is a measurement, such as a latency or the memory in use
	Count Kind = "count" // each sample is how often something happened, of a total if one is given
)

// Direction says which change of a metric is for the worse.
type Direction string

const (
	Either   Direction = "either"
	Increase Direction = "increase"
	Decrease Direction = "decrease"
)

// NaN says what is done with samples that are missing.
type NaN string

const (
	RemoveNaN  NaN = "remove"
	ReplaceNaN NaN = "replace" // by 0
)

// Metric is one metric's options and samples. A sample that is missing is NaN, null in JSON. Baseline and Canary are in
// the order of time, oldest first, one a step; they need not be of one length.
type Metric struct {
	Name      string    `json:"name"`
	Groups    []string  `json:"groups,omitempty"`
	Kind      Kind      `json:"kind,omitempty"`
	Direction Direction `json:"direction,omitempty"`

	Critical     bool `json:"critical,omitempty"`       // a regression fails the canary at once
	Advisory     bool `json:"advisory,omitempty"`       // a regression is shown and scored, and stops nothing by itself
	MustHaveData bool `json:"must_have_data,omitempty"` // no data is a regression

	NaN        NaN        `json:"nan,omitempty"`
	Outliers   Outliers   `json:"outliers,omitzero"`
	EffectSize EffectSize `json:"effect_size,omitzero"`

	Baseline      []Number `json:"baseline"`
	Canary        []Number `json:"canary"`
	BaselineTotal []Number `json:"baseline_total,omitempty"` // of a count; as long as Baseline
	CanaryTotal   []Number `json:"canary_total,omitempty"`
}

// Outliers says what is done with samples far from the others: strategy "keep" (the default) or "remove". A sample is
// far if it is more than Factor (3 if nil) interquartile ranges outside the quartiles, and outside the first and last
// percentile, of its own side.
type Outliers struct {
	Strategy string   `json:"strategy,omitempty"`
	Factor   *float64 `json:"factor,omitempty"`
}

// EffectSize says how large a change must be before it counts. As "meanRatio" (the default) the limits are ratios of
// the canary's mean to the baseline's; as "cles", the chance that a sample of the canary is above one of the baseline.
// nil is no limit.
type EffectSize struct {
	Measure          string   `json:"measure,omitempty"`
	AllowedIncrease  *float64 `json:"allowed_increase,omitempty"`
	AllowedDecrease  *float64 `json:"allowed_decrease,omitempty"`
	CriticalIncrease *float64 `json:"critical_increase,omitempty"`
	CriticalDecrease *float64 `json:"critical_decrease,omitempty"`
}
