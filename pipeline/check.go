package pipeline

import "time"

// Check is something that has to hold after a stage has done its work. Exactly one of
// HTTP, Report, Metric and Job is set.
//
// It runs at once and then Every so often, for the time For. More than Failures failed
// runs fail it. It has passed when For is over, and its last run passed.
type Check struct {
	Name     string        `json:"name"` // unique within the stage
	Every    time.Duration `json:"every"`
	For      time.Duration `json:"for,omitempty"` // 0: until a run passes, or Failures are used up
	Failures int           `json:"failures,omitempty"`

	HTTP   *HTTPCheck   `json:"http,omitempty"`
	Report *ReportCheck `json:"report,omitempty"`
	Metric *MetricCheck `json:"metric,omitempty"`
	Job    *Run         `json:"job,omitempty"` // a Kubernetes Job that has to end well
}

// HTTPCheck asks an address. Of Requests at least Pass have to be answered as wanted.
type HTTPCheck struct {
	URL      string        `json:"url"`
	Method   string        `json:"method,omitempty"` // "" is GET
	Status   []int         `json:"status,omitempty"` // none: 200 to 299
	Body     string        `json:"body,omitempty"`   // an RE2 expression that the body has to match
	Latency  time.Duration `json:"latency,omitempty"`
	Requests int           `json:"requests"`
	Pass     int           `json:"pass"`
}

// ReportCheck reads the test report of the commit's CI pipeline.
type ReportCheck struct {
	Job      string `json:"job,omitempty"` // "" is all jobs
	Failed   int    `json:"failed,omitempty"`
	MinTests int    `json:"min_tests"`
}

// MetricCheck compares one number with bounds.
type MetricCheck struct {
	Source string   `json:"source"` // the operator's name of it
	Query  string   `json:"query"`
	Max    *float64 `json:"max,omitempty"`
	Min    *float64 `json:"min,omitempty"`
}

// CheckState is how a check stands within one attempt of its stage.
type CheckState struct {
	Name    string    `json:"name"`
	Runs    int       `json:"runs,omitempty"`
	Failed  int       `json:"failed,omitempty"` // of the runs
	Running bool      `json:"running,omitempty"`
	OK      bool      `json:"ok,omitempty"`     // the last run passed
	Saw     string    `json:"saw,omitempty"`    // what the last run saw
	Next    time.Time `json:"next,omitzero"`    // when it runs again
	Until   time.Time `json:"until,omitzero"`   // when For is over
	Passed  bool      `json:"passed,omitempty"` // for good
}
