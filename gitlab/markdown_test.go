package gitlab

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestPeoplesTextIsShownAsWritten(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"plain words stay", "Add carts, again: 50 (of 100)", "Add carts, again: 50 (of 100)"},
		{"no mention", "@all and a@b.c", `\@` + joiner + `all and a\@` + joiner + "b.c"},
		{"no link", "[x](https://e.com)", `\[x\](https:` + joiner + "//e.com)"},
		{"no HTML", "<b>&amp;", `\<b\>\&` + joiner + "amp;"},
		{"no table break", "a|b", "a&#124;b"},
		{"no reference", "#12 !3 ~bug %1.0", `\#` + joiner + `12 \!` + joiner + `3 \~` + joiner + `bug \%` + joiner + "1.0"},
		{"no markup", "a `b` *c* _d_", "a \\`b\\` \\*c\\* \\_d\\_"},
		{"no quick action", "/close", `\/close`},
		{"one line", "a\n\n/close", "a /close"},
		{"no list", "- a", `\- a`},
		{"no numbered list", "1. a", `1\. a`},
		{"nothing invisible", "a\u202eb\u200bc\x00", "abc"},
		{"a backslash can't undo an escape", `\@all`, `\\\@` + joiner + "all"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := text(tt.in, 100); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOnlyHonestAddressesBecomeLinks(t *testing.T) {
	for in, want := range map[string]string{
		"https://e.com/a?b=c#d":  "[x](https://e.com/a?b=c#d)",
		"https://e.com/a) [y](z": "[x](https://e.com/a%29%20%5By%5D%28z)",
		"javascript:alert(1)":    "x",
		"//e.com":                "x",
		"https://user@e.com":     "x",
		"https://e.com/\nx":      "x",
		"":                       "x",
		"https://e.com/a|b":      "[x](https://e.com/a%7Cb)",
		"data:text/html,<b>":     "x",
		"https://e.com/<script>": "[x](https://e.com/%3Cscript%3E)",
		"https://e.com/" + strings.Repeat("x", 3000): "x",
	} {
		if got := link("x", in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

var (
	bare      = regexp.MustCompile("(?:^|[^\\\\])(?:\\\\\\\\)*[<>\\[\\]`*_{}]")
	bareStart = regexp.MustCompile(`^[/+\-=#>]|^\d{1,9}[.)]`)
)

func FuzzTextMeansNothingToGitLab(f *testing.F) {
	for _, s := range []string{attack, `\`, `\\@all`, "a\\|b", "@@all", "http://x", "1)", "\r\n/merge", "`", "```\n/close\n```", "\u2028/close", "www.www.a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := text(s, 300)
		if strings.ContainsAny(got, "\n\r|\u2028\u2029") || bare.MatchString(got) || bareStart.MatchString(got) || strings.Contains(got, "://") {
			t.Errorf("%q became %q", s, got)
		}
		if strings.Count(got, "@") != strings.Count(got, `\@`+joiner) {
			t.Errorf("%q became %q, with a mention", s, got)
		}
		if c := code(s); c != "" && (strings.ContainsAny(c[1:len(c)-1], "`|\n\r") || c[0] != '`' || c[len(c)-1] != '`') {
			t.Errorf("%q became the code %q", s, c)
		}
		block := fence(s, 20, 200)
		if block == "" {
			return
		}
		inner := strings.TrimSuffix(strings.TrimPrefix(block, "```text\n"), "\n```\n")
		for line := range strings.SplitSeq(inner, "\n") {
			if strings.HasPrefix(line, "/") || strings.Contains(line, "```") || strings.ContainsAny(line, "\r\u2028") {
				t.Errorf("%q became the line %q", s, line)
			}
		}
	})
}

func TestALongDeliveryHasANoteThatFits(t *testing.T) {
	plan, d := shop()
	d.Stages, plan.Stages = nil, nil
	for range 500 {
		plan.Stages = append(plan.Stages, pipeline.Stage{Name: attack, Kind: pipeline.KindJob, Job: &pipeline.Job{Name: attack}})
		d.Stages = append(d.Stages, pipeline.StageState{
			Name: attack, Status: pipeline.StageFailed, Started: noon, Ended: noon.Add(time.Hour),
			Reason: pipeline.Reason{Code: pipeline.ReasonOther, Detail: strings.Repeat("@|", 5000) + "\n" + strings.Repeat("log\n", 5000)},
		})
		d.Decisions = append(d.Decisions, decision(attack, pipeline.VerbReject, pipeline.ViaSlack, strings.Repeat("@|", 5000)))
		d.Problems = append(d.Problems, pipeline.Problem{File: attack, What: strings.Repeat("@|", 5000)})
		d.Warnings = append(d.Warnings, pipeline.Warning{Detail: strings.Repeat("@|", 5000)})
	}
	got := testClient(t).renderNote(pipeline.NewView(plan, d))
	if n := len([]rune(got)); n > maxNoteChars {
		t.Errorf("%d characters, want at most %d", n, maxNoteChars)
	}
	if !strings.Contains(got, "440 more") || !strings.Contains(got, "slipway help") {
		t.Error("what is left out isn't said, or the end of the note is gone")
	}
}

func TestDurationsAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "< 1 s", 43 * time.Second: "43 s", 61 * time.Second: "1 min 1 s", 90 * time.Minute: "1 h 30 min", 72 * time.Hour: "3 days",
	} {
		if got := took(d); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
}
