package metricstest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
	"gitlab.com/slipway-cd/slipway/deploy/metrics/wire"
)

// now is half a minute into a step that is not over.
var now = time.Date(2026, 11, 26, 12, 0, 30, 0, time.UTC)

const (
	points  = 35 // of the range; the last five are not over
	over    = 30
	partial = 666 // is measured in what is not over
)

func measured(begin time.Time) float64 {
	if begin.Add(time.Minute).After(now) {
		return partial
	}
	return float64(begin.Unix()/60%1000) + 0.25
}

func world() World { return World{Now: now, Series: 1, Value: measured} }

func theRange(query string) metrics.Range {
	start := now.Truncate(time.Minute).Add(-over * time.Minute)
	return metrics.Range{Query: query, Start: start, End: start.Add(points * time.Minute), Step: time.Minute}
}

func (v *Vendor) at(t *testing.T, d *double, change ...func(*wire.Limits)) metrics.Sampler {
	t.Helper()
	l := wire.Limits{Timeout: time.Minute, Pause: time.Millisecond, PerSecond: 1e6, Now: func() time.Time { return now }}
	for _, f := range change {
		f(&l)
	}
	return v.New(t, d.server.URL, l)
}

// Run is the suite.
func Run(t *testing.T, v Vendor) {
	t.Run("samples stand for the steps that they were measured in", func(t *testing.T) { v.samples(t, measured) })
	t.Run("what was not measured is NaN", func(t *testing.T) {
		v.samples(t, func(begin time.Time) float64 {
			if begin.Minute()%3 == 0 {
				return math.NaN()
			}
			return measured(begin)
		})
	})
	t.Run("no data is no error", func(t *testing.T) {
		v.samples(t, func(time.Time) float64 { return math.NaN() })
		w := world()
		w.Series = 0
		v.samplesOf(t, w)
	})
	t.Run("what is not over is not taken", v.future)
	t.Run("several series are too many", v.several)
	t.Run("one number is the newest", v.number)
	t.Run("what passes is asked again", v.passes)
	t.Run("what does not pass fails, and may be asked later", v.staysBroken)
	t.Run("a part is asked for again, and is no answer", v.part)
	t.Run("what the system remarks is told", v.remark)
	t.Run("a refusal is final, in clean words without secrets", v.refusal)
	t.Run("what is no answer fails", v.noAnswer)
	t.Run("a redirect is not followed", v.redirect)
	t.Run("a slow system is given up", v.slow)
	t.Run("who asks can stop", v.stopped)
	t.Run("a range that is none is refused", v.noRange)
}

func (v *Vendor) samples(t *testing.T, value func(time.Time) float64) {
	t.Helper()
	w := world()
	w.Value = value
	v.samplesOf(t, w)
}

func (v *Vendor) samplesOf(t *testing.T, w World) {
	t.Helper()
	d := start(t, v, w)
	v.good(t, w, v.at(t, d))
	if d.times() == 0 {
		t.Error("nothing was asked")
	}
}

// good asks for the range and compares.
func (v *Vendor) good(t *testing.T, w World, s metrics.Sampler) {
	t.Helper()
	r := theRange(v.Query)
	got, err := s.Samples(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]float64, points)
	for i := range want {
		want[i] = math.NaN()
		if i < over && w.Series > 0 {
			want[i] = w.Value(r.Start.Add(time.Duration(i) * r.Step))
		}
	}
	if diff := cmp.Diff(want, got.Values, cmpopts.EquateNaNs()); diff != "" {
		t.Error(diff)
	}
}

func (v *Vendor) future(t *testing.T) {
	d := start(t, v, world())
	r := theRange(v.Query)
	r.Start, r.End = now.Truncate(time.Minute), now.Truncate(time.Minute).Add(3*time.Minute)
	got, err := v.at(t, d).Samples(t.Context(), r)
	if err != nil || len(got.Values) != 3 || !math.IsNaN(got.Values[0]) || !math.IsNaN(got.Values[2]) {
		t.Errorf("got %v and %v", got, err)
	}
	if d.times() != 0 {
		t.Errorf("%d questions for what nobody knows yet", d.times())
	}
}

func (v *Vendor) several(t *testing.T) {
	if v.OneSeries {
		t.Skip("this system answers with one series only")
	}
	w := world()
	w.Series = 2
	s := v.at(t, start(t, v, w))
	_, err := s.Samples(t.Context(), theRange(v.Query))
	_, also := s.Number(t.Context(), v.Query)
	for _, err := range []error{err, also} {
		var not *metrics.NotOneError
		if !errors.As(err, &not) || not.Got != 2 {
			t.Errorf("got %v, want 2 numbers", err)
		}
	}
}

func (v *Vendor) number(t *testing.T) {
	w := world()
	got, err := v.at(t, start(t, v, w)).Number(t.Context(), v.Query)
	if want := measured(now.Truncate(time.Minute).Add(-time.Minute)); err != nil || got != want {
		t.Errorf("got %v and %v, want %v", got, err, want)
	}
	w.Series = 0
	_, err = v.at(t, start(t, v, w)).Number(t.Context(), v.Query)
	var not *metrics.NotOneError
	if !errors.As(err, &not) || not.Got != 0 {
		t.Errorf("got %v, want no data", err)
	}
}

func (v *Vendor) passes(t *testing.T) {
	for name, f := range map[string]fault{
		"a server error": status(500), "a gateway without a server": status(502), "a request that took too long": status(408), "too many questions": status(429, "Retry-After", "0"),
		"a wait that is wanted": status(429, "Retry-After", "1"), "an answer that breaks off": brokenOff,
		"a connection that breaks": func(http.ResponseWriter, *http.Request, *Vendor, Reply) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t, v, world(), f, none)
			v.good(t, world(), v.at(t, d))
			if d.times() < 2 {
				t.Errorf("asked %d times", d.times())
			}
		})
	}
}

func (v *Vendor) staysBroken(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault fault
		tries int
	}{
		{"a server that has no answer", status(503), 3},
		{"a wait of an hour, which nobody has", status(429, "Retry-After", "3600"), 1},
		{"credentials that are wrong", status(401), 0},
		{"credentials that may not", status(403), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, v, world(), tt.fault)
			_, err := v.at(t, d, func(l *wire.Limits) { l.Tries = 3 }).Samples(t.Context(), theRange(v.Query))
			var f *metrics.Failure
			if !errors.As(err, &f) || f.Permanent || f.Words == "" {
				t.Errorf("got %v", err)
			}
			if tt.tries > 0 && d.times() != tt.tries {
				t.Errorf("asked %d times, want %d", d.times(), tt.tries)
			}
		})
	}
}

func (v *Vendor) part(t *testing.T) {
	for _, part := range v.Parts {
		d := start(t, v, world(), said(part), none)
		v.good(t, world(), v.at(t, d))
		if d.times() != 2 {
			t.Errorf("asked %d times, want once again", d.times())
		}
		s := v.at(t, start(t, v, world(), said(part)), func(l *wire.Limits) { l.Tries = 2 })
		_, err := s.Samples(t.Context(), theRange(v.Query))
		_, also := s.Number(t.Context(), v.Query)
		for _, err := range []error{err, also} {
			var f *metrics.Failure
			if !errors.As(err, &f) || f.Permanent || !strings.Contains(f.Words, "part") {
				t.Errorf("got %v", err)
			}
		}
	}
}

func (v *Vendor) remark(t *testing.T) {
	for _, remark := range v.Remarks {
		s := v.at(t, start(t, v, world(), said(remark)))
		v.good(t, world(), s)
		if got, err := s.Samples(t.Context(), theRange(v.Query)); err != nil || !strings.Contains(got.Warning, "remark") {
			t.Errorf("got the warning %q and %v", got.Warning, err)
		}
		if _, err := s.Number(t.Context(), v.Query); err != nil {
			t.Error(err)
		}
	}
}

func (v *Vendor) refusal(t *testing.T) {
	d := start(t, v, world(), echo)
	s := v.at(t, d)
	_, err := s.Samples(t.Context(), theRange(v.Query))
	_, also := s.Number(t.Context(), v.Query)
	if d.times() != 2 {
		t.Errorf("asked %d times, want once each", d.times())
	}
	for _, err := range []error{err, also} {
		var f *metrics.Failure
		if !errors.As(err, &f) || !f.Permanent || !strings.Contains(f.Words, "bad query") {
			t.Fatalf("got %v", err)
		}
		if strings.ContainsFunc(f.Words, func(r rune) bool { return r < ' ' }) || utf8.RuneCountInString(f.Words) > 350 {
			t.Errorf("the words are not clean or long: %q", f.Words)
		}
		for _, secret := range v.Secrets {
			if strings.Contains(fmt.Sprintf("%v %+v %#v %v", err, f, f, f.Err), secret) {
				t.Errorf("the secret %s is told: %v", secret, err)
			}
		}
	}
}

func (v *Vendor) noAnswer(t *testing.T) {
	tests := map[string]fault{
		"an answer without end": endless,
		"a login page": func(w http.ResponseWriter, _ *http.Request, _ *Vendor, _ Reply) {
			send(w, Reply{Type: "text/html", Body: "<html>Sign in</html>"})
		},
		"JSON of something else": func(w http.ResponseWriter, _ *http.Request, _ *Vendor, _ Reply) {
			send(w, Reply{Body: `"hello"`})
		},
		"an address that is not there": status(404),
	}
	if !v.Uncut {
		tests["an answer that was cut"] = cut
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := v.at(t, start(t, v, world(), f)).Samples(t.Context(), theRange(v.Query))
			var failed *metrics.Failure
			if !errors.As(err, &failed) || !failed.Permanent {
				t.Errorf("got %v", err)
			}
		})
	}
}

func (v *Vendor) redirect(t *testing.T) {
	var followed atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	t.Cleanup(elsewhere.Close)
	for _, code := range []int{302, 307} {
		d := start(t, v, world(), status(code, "Location", elsewhere.URL))
		_, err := v.at(t, d).Samples(t.Context(), theRange(v.Query))
		var f *metrics.Failure
		if !errors.As(err, &f) || !f.Permanent {
			t.Errorf("%d: got %v", code, err)
		}
	}
	if followed.Load() != 0 {
		t.Error("the credentials went elsewhere")
	}
}

func (v *Vendor) slow(t *testing.T) {
	d := start(t, v, world(), silent)
	_, err := v.at(t, d, func(l *wire.Limits) { l.Timeout, l.Tries = 50*time.Millisecond, 2 }).Samples(t.Context(), theRange(v.Query))
	var f *metrics.Failure
	if !errors.As(err, &f) || f.Permanent || !strings.Contains(f.Words, "in time") {
		t.Errorf("got %v", err)
	}
}

func (v *Vendor) stopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := start(t, v, world(), func(_ http.ResponseWriter, r *http.Request, _ *Vendor, _ Reply) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := v.at(t, d).Samples(ctx, theRange(v.Query)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func (v *Vendor) noRange(t *testing.T) {
	d := start(t, v, world())
	r := theRange(v.Query)
	none, wide, fine := r, r, r
	none.End = none.Start
	wide.Start = wide.Start.AddDate(-1, 0, 0)
	fine.Step = time.Second / 2
	for _, r := range []metrics.Range{none, wide, fine} {
		var f *metrics.Failure
		if _, err := v.at(t, d).Samples(t.Context(), r); !errors.As(err, &f) || !f.Permanent {
			t.Errorf("got %v", err)
		}
	}
	if d.times() != 0 {
		t.Errorf("%d questions", d.times())
	}
}
