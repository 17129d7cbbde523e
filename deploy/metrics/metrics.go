// Package metrics says how numbers are asked of the systems that keep measurements. Each kind of system has a package
// of its own below this one.
package metrics

import (
	"context"
	"fmt"
)

// Source is one system that can be asked, in its own query language.
type Source interface {
	// Number answers a query with one number, which may be NaN or infinite. The error is, or wraps, a *NotOneError or
	// a *Failure, or it is the context's.
	Number(ctx context.Context, query string) (float64, error)
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
