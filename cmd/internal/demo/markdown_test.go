package demo

import (
	"strings"
	"testing"
)

func TestCommentsLookAsInGitLab(t *testing.T) {
	m := newMarkdown()
	for name, c := range map[string]struct{ in, want, never string }{
		"a table":                       {"| a | b |\n|---|---|\n| 1 | 2 |", "<td>1</td>", "|"},
		"a fold":                        {"<details><summary>More</summary>\n\nHere\n\n</details>", "<details><summary>More</summary>", "&lt;details"},
		"an emoji by its name":          {"done :white_check_mark:", "✅", ":white"},
		"an emoji's name in code":       {"`:white_check_mark:`", "<code>:white_check_mark:</code>", "✅"},
		"what looks like an emoji":      {"at 10:30:20", "10:30:20", "::"},
		"an alert":                      {"> [!note]\n> Look here", `<blockquote class="alert note"><p><strong>Note</strong>`, "[!note]"},
		"an alert in capitals":          {"> [!WARNING]\n> Look here", `<blockquote class="alert warning"><p><strong>Warning</strong>`, "[!"},
		"a quotation":                   {"> said", "<blockquote>", "alert"},
		"a marker that nobody sees":     {"<!-- slipway:delivery 1 -->\nHello", "Hello", "slipway:"},
		"a script":                      {"<script>alert(1)</script>Hello", "Hello", "alert"},
		"an image with a handler":       {"<img src=x onerror=alert(1)>Hello", "Hello", "onerror"},
		"a link that runs":              {"[Hello](javascript:alert(1))", "Hello", "javascript"},
		"a class of somebody's choice":  {`<blockquote class="alert note">Hello</blockquote>`, "Hello", "class"},
		"an alert that is a tag itself": {"> [!<b>note</b>]\n> Hello", "Hello", "alert"},
	} {
		t.Run(name, func(t *testing.T) {
			got := m.render(c.in)
			if !strings.Contains(got, c.want) || strings.Contains(got, c.never) {
				t.Errorf("got %q, want %q in it, and never %q", got, c.want, c.never)
			}
		})
	}
}
