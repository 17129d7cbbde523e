package pipeline

import (
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

// Canary compares the commit with what runs, before it is deployed: a baseline (the release that runs, with fresh pods)
// and a canary (the commit) are created together, equal in size, and take part in the traffic while their metrics are
// judged. Both are removed at the end.
type Canary struct {
	Environment string `json:"environment"`
	// Deploy is what the canary is rendered from: the deploy stage of the same environment that follows.
	Deploy Deploy `json:"deploy"`
	// Workloads names the Deployments of the release that are paired; none: all that a Service leads to.
	Workloads []string `json:"workloads,omitempty"`
	Instances int      `json:"instances"` // pods of each track and Deployment
	// Weights of each track in per cent of the traffic, one after another in equal parts of Lifetime; with an HTTPRoute
	// only. None: as many pods as there are decide.
	Weights []int `json:"weights,omitempty"`
	// Baseline is the release to compare with: its id, or the beginning of its commit. "" is the one that runs.
	Baseline string `json:"baseline,omitempty"`

	Warmup   time.Duration `json:"warmup,omitempty"` // after both tracks are available; not judged
	Interval time.Duration `json:"interval"`         // between two looks
	Lifetime time.Duration `json:"lifetime"`         // from the end of the warm-up to the last look
	Lookback time.Duration `json:"lookback,omitempty"`
	// Offset: the baseline's samples are those of so much earlier.
	Offset time.Duration `json:"offset,omitempty"`
	// From and To, if set, are a time in the past that is judged in one look, without a pair.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`

	Judge        string             `json:"judge"`
	Confidence   *float64           `json:"confidence,omitempty"`
	Tolerance    *float64           `json:"tolerance,omitempty"`
	Score        canary.Thresholds  `json:"score"`
	GroupWeights map[string]float64 `json:"group_weights,omitempty"`
	Metrics      []CanaryMetric     `json:"metrics"`
	// Grey says what a canary is that is neither good nor bad at the last look.
	Grey     Grey       `json:"grey"`
	Question *Judgement `json:"question,omitempty"` // who is asked then
	// Misses is how many looks in a row may fail to get samples.
	Misses int `json:"misses"`
}

// Grey says what becomes of a canary whose verdict is neither pass nor fail at the end.
type Grey string

const (
	GreyAsks   Grey = "judgement" // people decide, and the pair stays until they have
	GreyPasses Grey = "pass"
	GreyFails  Grey = "fail"
)

// Looks is how many looks are planned.
func (c *Canary) Looks() int {
	if !c.From.IsZero() || c.Interval <= 0 {
		return 1
	}
	return max(1, int((c.Lifetime+c.Interval-1)/c.Interval))
}

// CanaryMetric is one metric of a canary: where its samples come from and how they are judged.
type CanaryMetric struct {
	Source string `json:"source"` // the operator's name of it
	// Query and Total, the total of a count, are templates: ${{ track }}, ${{ version }}, ${{ release }} and what the
	// pipeline file knows otherwise. They are resolved for each track when samples are asked for.
	Query string        `json:"query"`
	Total string        `json:"total,omitempty"`
	Step  time.Duration `json:"step"` // between two samples
	// Rule is how the metric is judged; it has no samples.
	Rule canary.Metric `json:"rule"`
}

// Pair is a baseline and a canary in the cluster.
type Pair struct {
	Instances int       `json:"instances"` // of each track and Deployment
	Since     time.Time `json:"since"`     // when the pods of both were available, by the cluster's watch
	Baseline  Track     `json:"baseline"`
	Canary    Track     `json:"canary"`
}

// Track is one side of a pair.
type Track struct {
	Version   string   `json:"version"` // the value of the label slipway.dev/version on its pods
	Release   string   `json:"release"` // id
	SHA       string   `json:"sha"`
	Images    []Image  `json:"images,omitempty"` // with digests, as they run
	Workloads []string `json:"workloads"`        // names of its Deployments in the cluster
}

// Analysis is how a canary stands.
type Analysis struct {
	Pair    *Pair     `json:"pair,omitempty"` // nil until both tracks are available, and for a time in the past
	Began   time.Time `json:"began,omitzero"` // the end of the warm-up: samples from here on count
	Look    int       `json:"look,omitempty"` // the newest that was begun, 1 at first
	Looks   int       `json:"looks"`          // that are planned
	Next    time.Time `json:"next,omitzero"`  // of the next look
	Looking bool      `json:"looking,omitempty"`
	Missed  int       `json:"missed,omitempty"` // looks in a row without samples, or without equal tracks
	Weight  int       `json:"weight,omitempty"` // of each track in per cent, 0 without a route
	// Weighing is the weight that was asked for and is not there yet, 0 if none.
	Weighing int `json:"weighing,omitempty"`
	// Compare is what the baseline is made of.
	Compare *Release `json:"compare,omitempty"`
	// Watching: the pods of the pair were put under watch.
	Watching bool `json:"watching,omitempty"`
	// Ends counts how often it was tried to remove the pair.
	Ends int `json:"ends,omitempty"`
	// Report of the newest look that got samples, and the blob that holds what it was made of: a Measurement in JSON.
	Report  *canary.Report `json:"report,omitempty"`
	Samples string         `json:"samples,omitempty"`
	History []Look         `json:"history,omitempty"`
	// Trend is how the metric that matters most went, for a small chart.
	Trend *Trend `json:"trend,omitempty"`
	// Chart is where GitLab shows the picture of the samples, as a comment names it; "" if it was not drawn.
	Chart string `json:"chart,omitempty"`
	// Drawing: the picture was asked for.
	Drawing bool `json:"drawing,omitempty"`
}

// Trend is one metric over time, thinned out to a few points: each is the mean of its part. NaN is a part without samples.
type Trend struct {
	Metric   string          `json:"metric"`
	Baseline []canary.Number `json:"baseline"`
	Canary   []canary.Number `json:"canary"`
}

// Look is one look at a canary, for people.
type Look struct {
	Number  int            `json:"number"`
	At      time.Time      `json:"at"`
	Verdict canary.Verdict `json:"verdict,omitempty"` // "" if there were no samples
	Score   canary.Number  `json:"score"`
	Detail  string         `json:"detail,omitempty"`
}

// Effects of a canary stage.
type (
	// StartPair creates baseline and canary, and waits until the pods of both are available. Outcome: Paired;
	// Progressed between.
	StartPair struct {
		Stage   string  `json:"stage"`
		Attempt int     `json:"attempt"`
		Stable  Release `json:"stable"`   // what runs, beside which they are put
		Compare Release `json:"baseline"` // what the baseline is made of: Stable, or an earlier release
		Weight  int     `json:"weight,omitempty"`
	}
	// WatchPair keeps the pods of the pair under watch as long as nothing is wrong with the canary's: for hours or days.
	// Outcome: PairUnwell.
	WatchPair struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		Pair    Pair   `json:"pair"`
	}
	// WeighPair sets how much of the traffic each track has. Outcome: Weighed.
	WeighPair struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		Weight  int    `json:"weight"` // per cent
	}
	// Measure asks the sources for samples, and the cluster how the pods of the pair are. Outcome: Sampled.
	Measure struct {
		Stage   string    `json:"stage"`
		Attempt int       `json:"attempt"`
		Look    int       `json:"look"`
		From    time.Time `json:"from"`
		To      time.Time `json:"to"`
	}
	// EndPair takes the traffic from the pair and removes it. Outcome: PairEnded.
	EndPair struct {
		Stage       string   `json:"stage"`
		Attempt     int      `json:"attempt"`
		Environment string   `json:"environment"`
		Stable      *Release `json:"stable,omitempty"` // what serves alone again
	}
)

// Outcomes of a canary stage's effects.
type (
	// Paired: the pods of both tracks are available and have traffic.
	Paired struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		Pair    Pair   `json:"pair"`
	}
	// PairUnwell: the canary's pods crash, don't start or aren't ready any more, and the baseline's are fine.
	PairUnwell struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		Words   string `json:"words"` // what is wrong, as in Sampled: bounded, no secrets
	}
	// Weighed: the route has the weights.
	Weighed struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		Weight  int    `json:"weight"`
	}
	// Sampled is what a look got: the metrics of the stage, in its order, with all samples from From on.
	Sampled struct {
		Stage   string          `json:"stage"`
		Attempt int             `json:"attempt"`
		Look    int             `json:"look"`
		Metrics []canary.Metric `json:"metrics"`
		Samples string          `json:"samples"` // the blob of the Measurement
		// Unwell says in words what is wrong with the canary's pods, and not with the baseline's; "" if nothing.
		Unwell string `json:"unwell,omitempty"`
		// Unequal says why the two tracks can't be compared, such as a baseline that lacks pods; "" if they can.
		Unequal string `json:"unequal,omitempty"`
	}
	// ChartDrawn: GitLab has the picture.
	ChartDrawn struct {
		Stage   string `json:"stage"`
		Attempt int    `json:"attempt"`
		Chart   string `json:"chart"` // as a comment names it: "/uploads/…/canary.png"
	}
	// PairEnded: nothing of the pair is left.
	PairEnded struct {
		Stage   string   `json:"stage"`
		Attempt int      `json:"attempt"`
		Removed []string `json:"removed,omitempty"`
	}
)
