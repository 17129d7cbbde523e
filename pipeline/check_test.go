package pipeline

import (
	"strings"
	"testing"
)

func TestOfWhatACheckSawLittleIsKept(t *testing.T) {
	for saw, want := range map[string]string{
		"GET https://shop.example.com answered 200":    "GET https://shop.example.com answered 200",
		"Job smoke did not end well: exit code 1\nlog": "Job smoke did not end well: exit code 1",
		strings.Repeat("ä", 300):                       strings.Repeat("ä", 199) + "…",
	} {
		if got := brief(saw); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
