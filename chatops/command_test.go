package chatops

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestParseCommand(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       Command
	}{
		{"a bare word", "@slipway approve", Command{Verb: pipeline.VerbApprove}},
		{"any case and much space", "  @SlipWay \t APPROVE   ", Command{Verb: pipeline.VerbApprove}},
		{"the alias", "/slipway status", Command{Verb: pipeline.VerbStatus}},
		{"a comma behind the name", "@slipway, retry!", Command{Verb: pipeline.VerbRetry}},
		{"a line below others", "Looks good.\n\n@slipway approve\n", Command{Verb: pipeline.VerbApprove}},
		{"windows line ends", "hello\r\n@slipway approve\r\n", Command{Verb: pipeline.VerbApprove}},
		{"the first command counts", "@slipway reject\n@slipway approve", Command{Verb: pipeline.VerbReject}},
		{"approve names a stage first", "@slipway approve go-live fine for me", Command{Verb: pipeline.VerbApprove, Name: "go-live", Reason: "fine for me"}},
		{"approve with nothing but words", "@slipway approve: fine for me", Command{Verb: pipeline.VerbApprove, Reason: "fine for me"}},
		{"approve with what can be no name", "@slipway approve 👍", Command{Verb: pipeline.VerbApprove, Reason: "👍"}},
		{"reject with a reason", "@slipway reject too risky", Command{Verb: pipeline.VerbReject, Reason: "too risky"}},
		{"reject names a stage with a colon", "@slipway reject go-live: too risky", Command{Verb: pipeline.VerbReject, Name: "go-live", Reason: "too risky"}},
		{"reject with one word names a stage", "@slipway reject production", Command{Verb: pipeline.VerbReject, Name: "production"}},
		{"reject with a colon behind it", "@slipway reject: no", Command{Verb: pipeline.VerbReject, Reason: "no"}},
		{"rollback names an environment", "@slipway rollback review/eu-1 errors rise", Command{Verb: pipeline.VerbRollback, Name: "review/eu-1", Reason: "errors rise"}},
		{"rollback without anything", "@slipway rollback", Command{Verb: pipeline.VerbRollback}},
		{"rollback with a reason and no name", "@slipway rollback: errors rise", Command{Verb: pipeline.VerbRollback, Reason: "errors rise"}},
		{"rollback to a commit", "@slipway rollback to 3f2a91c0", Command{Verb: pipeline.VerbRollback, Release: "3f2a91c0"}},
		{"rollback of an environment to a commit", "@slipway rollback production to 3F2A91C0 errors rise", Command{Verb: pipeline.VerbRollback, Name: "production", Release: "3f2a91c0", Reason: "errors rise"}},
		{"rollback to a version", "@slipway rollback production to 3f2a91c-x7k2q: errors rise", Command{Verb: pipeline.VerbRollback, Name: "production", Release: "3f2a91c-x7k2q", Reason: "errors rise"}},
		{"rollback to a release's id", "@slipway rollback review/eu-1 to 42-7-3f2a91c0-r2/review/eu-1/1", Command{Verb: pipeline.VerbRollback, Name: "review/eu-1", Release: "42-7-3f2a91c0-r2/review/eu-1/1"}},
		{"rollback with --to", "@slipway rollback production --to 3f2a91c0.", Command{Verb: pipeline.VerbRollback, Name: "production", Release: "3f2a91c0"}},
		{"rollback with --to alone", "@slipway rollback --to 3f2a", Command{Verb: pipeline.VerbRollback, Release: "3f2a"}},
		{"rollback to be safe", "@slipway rollback production to be safe", Command{Verb: pipeline.VerbRollback, Name: "production", Reason: "to be safe"}},
		{"rollback to stop what goes on", "@slipway rollback production to start/stop errors", Command{Verb: pipeline.VerbRollback, Name: "production", Reason: "to start/stop errors"}},
		{"rollback to the end of the line", "@slipway rollback production to", Command{Verb: pipeline.VerbRollback, Name: "production", Reason: "to"}},
		{"a release later in the reason", "@slipway rollback production go back to 3f2a91c0", Command{Verb: pipeline.VerbRollback, Name: "production", Reason: "go back to 3f2a91c0"}},
		// The core knows no environment "to" and says so, which is better than to guess.
		{"rollback to an environment", "@slipway rollback to production", Command{Verb: pipeline.VerbRollback, Name: "to", Reason: "production"}},
		{"rollback with --to and no release", "@slipway rollback production --to", Command{}},
		{"rollback with --to and words", "@slipway rollback --to the last one", Command{}},
		{"promote", "@slipway promote", Command{Verb: pipeline.VerbPromote}},
		{"promote names an environment", "@slipway promote production looks good", Command{Verb: pipeline.VerbPromote, Name: "production", Reason: "looks good"}},
		{"cancel takes a reason", "@slipway cancel wrong branch", Command{Verb: pipeline.VerbCancel, Reason: "wrong branch"}},
		{"an unknown word", "@slipway dance", Command{}},
		{"no word at all", "@slipway", Command{}},
		{"a reason that hides text", "@slipway cancel a\u202eb\x07c", Command{Verb: pipeline.VerbCancel, Reason: "abc"}},
		{"after a code block", "```\n@slipway reject\n```\n@slipway approve", Command{Verb: pipeline.VerbApprove}},
		{"after a shorter fence inside a longer one", "````\n```\n@slipway reject\n````\n@slipway approve", Command{Verb: pipeline.VerbApprove}},
		{"after a comment over lines", "<!--\n@slipway reject\n-->\n@slipway approve", Command{Verb: pipeline.VerbApprove}},
		{"after a lone backtick", "it`s\n\n@slipway approve", Command{Verb: pipeline.VerbApprove}},
		{"after a quote", "> @slipway reject\n\n@slipway approve", Command{Verb: pipeline.VerbApprove}},
		{"after a quote block", ">>>\n@slipway reject\n>>>\n@slipway approve", Command{Verb: pipeline.VerbApprove}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := ParseCommand("slipway", c.body)
			if diff := cmp.Diff(c.want, got); !ok || diff != "" {
				t.Errorf("ok %t (-want +got):\n%s", ok, diff)
			}
		})
	}
}

func TestParseCommandFindsNone(t *testing.T) {
	for _, c := range []struct{ name, body string }{
		{"nothing", ""},
		{"in the middle of a line", "I asked @slipway approve"},
		{"another bot", "@slipway-eu approve"},
		{"an address", "@slipway.example.com approve"},
		{"inline code", "`@slipway approve`"},
		{"inline code over lines", "see `foo\n@slipway approve\nbar`"},
		{"behind inline code", "`x` @slipway approve"},
		{"a fence that never ends", "~~~sh\n@slipway approve\n"},
		{"an indented block", "    @slipway approve"},
		{"a tab", "\t@slipway approve"},
		{"a quote", "> @slipway approve\n >@slipway approve"},
		{"a comment", "<!-- x\n@slipway approve -->"},
		{"right behind a comment", "<!-- x -->@slipway approve"},
		{"behind the end of a comment", "<!-- x\n-->@slipway approve"},
		{"preformatted HTML", "<PRE>\n@slipway approve\n</PRE>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := ParseCommand("slipway", c.body); ok {
				t.Errorf("found %+v", got)
			}
		})
	}
}

func TestParseCommandKnowsItsOwnName(t *testing.T) {
	if _, ok := ParseCommand("@Deploys", "@deploys approve"); !ok {
		t.Error("the configured name is not heard")
	}
	if _, ok := ParseCommand("deploys", "@slipway approve"); ok {
		t.Error("another name is heard")
	}
	if got, ok := ParseCommand("", "@slipway help"); !ok || got.Verb != pipeline.VerbHelp {
		t.Errorf("without a name: %+v, %t", got, ok)
	}
}

func TestACommandBecomesARequest(t *testing.T) {
	got := Command{Verb: pipeline.VerbRollback, Name: "production", Release: "3f2a91c0", Reason: "too risky"}.Request()
	want := pipeline.Request{What: pipeline.VerbRollback, Environment: "production", Release: "3f2a91c0", Reason: "too risky"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, seed := range []string{
		"@slipway approve go-live: yes", "```\n@slipway approve\n```", "`a\n@slipway reject\n`", "<!--\n-->@slipway x",
		">>>\n/slipway cancel\n>>>\n/slipway retry", "@slipway reject \xff\u202e" + strings.Repeat("x", 600), "<pre>`<!--",
		"@slipway rollback production to 3f2a91c0 now", "@slipway rollback --to 42-7-3f2a91c0/review/eu-1/1", "@slipway promote production",
	} {
		f.Add("slipway", seed)
	}
	f.Fuzz(func(t *testing.T, mention, body string) {
		c, ok := ParseCommand(mention, body)
		if !ok && c != (Command{}) {
			t.Errorf("a command without being one: %+v", c)
		}
		if n := utf8.RuneCountInString(c.Reason); n > maxReason || strings.ContainsAny(c.Reason, "\n\r\x00") || !utf8.ValidString(c.Reason) {
			t.Errorf("the reason is not one bounded line: %q", c.Reason)
		}
		if len(c.Release) > maxRelease || strings.ContainsAny(c.Release, " <>&\n") || c.Release != "" && c.Verb != pipeline.VerbRollback {
			t.Errorf("the release is %q of %q", c.Release, c.Verb)
		}
		if len(c.Name) > maxName || strings.ContainsAny(c.Name, " <>&\n") {
			t.Errorf("the name is %q", c.Name)
		}
		// Nothing that stands in a quote is heard.
		quoted := "> " + strings.ReplaceAll(strings.NewReplacer("\r", "", "\n", "\n> ").Replace(body), "\x00", "")
		if _, ok := ParseCommand(mention, quoted); ok && !strings.Contains(body, "\r") {
			t.Errorf("a quote is heard: %q", quoted)
		}
	})
}

func TestClip(t *testing.T) {
	for _, c := range []struct {
		name, in string
		most     int
		want     string
	}{
		{"short enough", "abc", 3, "abc"},
		{"too long", "abcd", 3, "ab…"},
		{"whole characters", "äöüß", 3, "äö…"},
		{"no space before the dots", "ab cdef", 4, "ab…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Clip(c.in, c.most); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
