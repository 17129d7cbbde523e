package wire

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
)

func client(t *testing.T, o Options) *Client {
	t.Helper()
	o.System = "Sys"
	if o.URL == "" {
		o.URL = "https://sys.example.com"
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"https://a": "", "http://127.0.0.1:1": "", "http://[::1]:1": "", "http://localhost": "", "https://a/b/": "",
		"http://a": "https", "http://localhost.evil.example.com": "https", "ftp://a": "not an http", "a": "not an http", "https://": "not an http",
		"https://ada:pw@a": "user or password", "https://a?x=pw": "before ?", "https://a#x": "before ?",
	} {
		err := Secure("Sys", address)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", address, err, want)
		}
	}
	if _, err := New(Options{System: "Sys", URL: "http://a"}); err != nil {
		t.Errorf("a system of one's own: %v", err)
	}
	if _, err := New(Options{System: "Sys", URL: "http://a", Header: map[string]string{"A": "b\r\nC: d"}}); err == nil {
		t.Error("a header of two lines is taken")
	}
}

func TestWordsOfOthersAreCleaned(t *testing.T) {
	c := client(t, Options{Secrets: []string{"s3cret", ""}})
	for text, want := range map[string]string{
		"a \x1b[31m\n b\t\u202e c": "a [31m b c", "key s3cret is wrong": "key [secret] is wrong", "Authorization: Bearer ya29.abc; x": "Authorization: Bearer [secret]; x",
		"basic YWRhOnB3,": "basic [secret],", strings.Repeat("é", 300): strings.Repeat("é", 199) + "…", "x" + strings.Repeat(" s3cret", 100): "x" + strings.Repeat(" [secret]", 22) + "…",
	} {
		if got := c.Clean(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	nested := client(t, Options{Secrets: []string{"s3cret", "s3cret-and-more", "1"}})
	if got := nested.Clean("401: s3cret-and-more of tenant 1"); got != "401: [secret] of tenant 1" {
		t.Errorf("got %q", got)
	}
	if f := c.Refused(502, []byte("<html>a page</html>")); f.Words != "Sys has trouble of its own (502)" {
		t.Errorf("got %q", f.Words)
	}
}

func TestARefusalSaysWhatFollows(t *testing.T) {
	c := client(t, Options{Busy: func(status int, _ []byte) bool { return status == 420 }})
	for status, want := range map[int]struct {
		says      string
		permanent bool
	}{
		400: {"does not take the query (400): why", true}, 422: {"does not take the query (422)", true}, 401: {"refuses to answer (401)", false}, 403: {"their rights", false},
		404: {"does not know what it is asked for", true}, 408: {"asked too much", false}, 429: {"asked too much", false}, 420: {"asked too much", false},
		500: {"trouble of its own", false}, 503: {"trouble of its own", false}, 302: {"redirect (302), which is not followed", true}, 100: {"not understood (status 100)", true},
	} {
		if f := c.Refused(status, []byte("why")); !strings.Contains(f.Words, want.says) || f.Permanent != want.permanent {
			t.Errorf("%d: got %+v", status, f)
		}
	}
}

func TestHowLongASystemWantsToBeLeftAlone(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name, value string
		want        time.Duration
	}{
		{"Retry-After", "7", 7 * time.Second}, {"Retry-After", "Thu, 26 Nov 2026 12:01:00 GMT", time.Minute}, {"Retry-After", "Thu, 26 Nov 2026 11:00:00 GMT", 0},
		{"X-RateLimit-Reset", "3", 3 * time.Second}, {"Retry-After", "soon", 0}, {"Retry-After", "-1", 0}, {"Retry-After", "99999999999999999999", 0}, {"X-Other", "1", 0},
	} {
		h := http.Header{}
		h.Set(tt.name, tt.value)
		if got := pauseWanted(h, now); got != tt.want {
			t.Errorf("%s %s: got %s", tt.name, tt.value, got)
		}
	}
}

func TestAGridTakesOneValueForAStep(t *testing.T) {
	start := time.Unix(1_800_000_017, 0) // steps need not begin with minutes
	g := NewGrid(metrics.Range{Start: start, End: start.Add(3 * time.Minute), Step: time.Minute})
	for _, at := range []int{-60, -1, 180, 1000} {
		if !g.Put(start.Add(time.Duration(at)*time.Second), 99) {
			t.Errorf("%d is not left out", at)
		}
	}
	if !g.Put(start, 1) || !g.Put(start.Add(179*time.Second), 3) || g.Put(start.Add(59*time.Second), 2) {
		t.Error("steps are mistaken")
	}
	if diff := cmp.Diff([]float64{1, math.NaN(), 3}, g.Values(), cmpopts.EquateNaNs()); diff != "" {
		t.Error(diff)
	}
}

func TestNumbers(t *testing.T) {
	var got []Number
	if err := json.Unmarshal([]byte(`[1.5, null, "NaN", "2", "Infinity", "-Inf", ""]`), &got); err != nil {
		t.Fatal(err)
	}
	var plain []float64
	for _, n := range got {
		plain = append(plain, float64(n))
	}
	nan := math.NaN()
	if diff := cmp.Diff([]float64{1.5, nan, nan, 2, math.Inf(1), math.Inf(-1), nan}, plain, cmpopts.EquateNaNs()); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{`["one"]`, `[{}]`, `[true]`} {
		if json.Unmarshal([]byte(bad), &got) == nil {
			t.Errorf("%s is a number", bad)
		}
	}
}

func TestPlaceholdersAreFilledIn(t *testing.T) {
	values := map[string]string{"$step": "60", "$start_ms": "1$end", "$end": "2"}
	for text, want := range map[string]string{
		"a[$step] $start_ms": "a[60] 1$end", "$stepper $step_x $start": "$stepper $step_x $start", "($step)$end": "(60)2", "$1 $$": "$1 $$",
	} {
		if got := Fill(text, values); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestADeadlineThatHasNoRoomForAPauseIsNotWaitedOut(t *testing.T) {
	c := client(t, Options{URL: "http://127.0.0.1:1", Limits: Limits{Pause: time.Hour}}) // nobody listens there
	_, err := c.Ask(t.Context(), Question{Method: http.MethodGet, Path: "/"})
	var f *metrics.Failure
	if !errors.As(err, &f) || f.Permanent || !strings.Contains(f.Words, "connection refused") || strings.Contains(err.Error(), "127.0.0.1:1/") {
		t.Errorf("got %v", err)
	}
}
