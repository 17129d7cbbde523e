package web

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestSafeURL(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"https is kept", "https://example.com/a?b=c#d", "https://example.com/a?b=c#d"},
		{"http is kept", "http://127.0.0.1:8080/", "http://127.0.0.1:8080/"},
		{"a script is dropped", "javascript:alert(1)", ""},
		{"a script in capitals is dropped", " JaVaScript:alert(1)", ""},
		{"data is dropped", "data:text/html,hello", ""},
		{"an address without a scheme is dropped", "//example.com", ""},
		{"a path is dropped", "/etc/passwd", ""},
		{"a name before the host is dropped", "https://gitlab.com@example.com/", ""},
		{"no host is dropped", "https:///path", ""},
		{"a very long address is dropped", "https://example.com/" + strings.Repeat("a", maxURL), ""},
		{"nothing stays nothing", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := safeURL(tt.in); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		400 * time.Millisecond: "0s", 45 * time.Second: "45s", 252 * time.Second: "4m 12s", 63 * time.Minute: "1h 3m", 52 * time.Hour: "2d 4h",
	} {
		if got := duration(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestProgress(t *testing.T) {
	for _, tt := range []struct {
		in       string
		done, of int
	}{
		{"2 of 3 pods ready", 2, 3}, {"web: 0 of 10 pods ready", 0, 10}, {"one of many", 0, 0}, {"5 of 3", 0, 0}, {"2 of 0", 0, 0}, {"-1 of 3", 0, 0}, {"of", 0, 0}, {"", 0, 0},
	} {
		if done, of := progressOf(tt.in); done != tt.done || of != tt.of {
			t.Errorf("%q is %d of %d, want %d of %d", tt.in, done, of, tt.done, tt.of)
		}
	}
}

func TestTheEndOfALogIsKept(t *testing.T) {
	got := tail(strings.Repeat("before\n", 100_000) + "\tat main.go\n\x1b[31mthe end\x1b[0m\n")
	if !strings.HasSuffix(got, "    at main.go\n[31mthe end[0m") {
		t.Errorf("got %q", got[max(0, len(got)-60):])
	}
	if n := strings.Count(got, "\n") + 1; n > maxLogLines {
		t.Errorf("got %d lines", n)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a line", 10)
	f.Add("\u202eevil\x00 \xff", 3)
	f.Fuzz(func(t *testing.T, s string, most int) {
		if most < 1 || most > 1000 {
			return
		}
		got := line(s, most)
		if n := utf8.RuneCountInString(got); n > most || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\t\x00\u202e") {
			t.Errorf("line(%q, %d) is %q", s, most, got)
		}
	})
}

// What Slipway took over from is named in words, which lead to no commit.
func TestOnlyCommitsLeadToCommits(t *testing.T) {
	v := onStandby(noon)
	for previous, want := range map[string]string{"9b1cd204": "https://gitlab.example.com/shop/api/-/commit/9b1cd204", "Deployment shop": "", "": ""} {
		s := v.Stages[0]
		s.Previous = previous
		c := newStageCard(v, s, 0)
		if c.PreviousURL != want || (c.Compare == "") != (want == "") {
			t.Errorf("%q leads to %q, and is compared by %q", previous, c.PreviousURL, c.Compare)
		}
	}
}
