// Package metrics says how numbers are asked of the systems that keep measurements. Each kind of system has a package
// of its own below this one.
package metrics

import (
	"context"
	"fmt"
	"time"
)

// Source is one system that can be asked, in its own query language.
type Source interface {
	// Number answers a query with one number, which may be NaN or infinite. The error is, or wraps, a *NotOneError or
	// a *Failure, or it is the context's.
	Number(ctx context.Context, query string) (float64, error)
}

// Sampler is a Source that also tells what was measured over a time.
type Sampler interface {
	Source
	// Samples answers a query over a range of time with the samples of one series. Errors are as Number's; no data at
	// all is not an error but samples that are all NaN.
	Samples(ctx context.Context, r Range) (Samples, error)
}

// Range is a query and the time that it is asked for: from Start, one sample each Step, as long as it is before End.
type Range struct {
	Query      string
	Start, End time.Time     // whole steps apart, in UTC
	Step       time.Duration // whole seconds
}

// Points is how many samples the range has.
func (r Range) Points() int { return int(r.End.Sub(r.Start) / r.Step) }

// Samples are what a system had measured. A sample stands for the step that begins at its time.
type Samples struct {
	Values []float64 // one for each step of the range, oldest first; NaN where nothing was measured
	Link   string    // a page of the system that shows them to people, "" if it has none
	// Warning is what the system remarks on its answer, for people: bounded, without secrets. What is only a part of what
	// was measured is no answer, but a *Failure.
	Warning string
}

// NotOneError says that the system knows not one number for the query, but none or several.
type NotOneError struct{ Got int }

func (e *NotOneError) Error() string {
	if e.Got == 0 {
		return "no data"
	}
	return fmt.Sprintf("%d numbers, and one is needed: let the query aggregate them", e.Got)
}

// Failure says why no answer came.
type Failure struct {
	Words     string // for people: bounded, without secrets
	Permanent bool   // asking again changes nothing
	Err       error  // for the log; may be nil
}

func (f *Failure) Error() string {
	if f.Err != nil {
		return f.Words + ": " + f.Err.Error()
	}
	return f.Words
}

func (f *Failure) Unwrap() error { return f.Err }
