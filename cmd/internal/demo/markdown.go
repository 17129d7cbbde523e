package demo

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"
)

// markdown shows comments as GitLab would, without what could do harm.
type markdown struct {
	gitlab goldmark.Markdown // keeps HTML, because what comes out is cleaned
	safe   *bluemonday.Policy
}

func newMarkdown() markdown {
	p := bluemonday.UGCPolicy().AllowElements("details", "summary").AddTargetBlankToFullyQualifiedLinks(true)
	p.AllowAttrs("open").OnElements("details")
	return markdown{
		gitlab: goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(html.WithUnsafe())),
		safe:   p,
	}
}

// render returns HTML, "" for what can't be rendered.
func (m markdown) render(body string) string {
	var out bytes.Buffer
	if err := m.gitlab.Convert([]byte(body), &out); err != nil {
		return ""
	}
	clean := m.safe.Sanitize(out.String())
	return alert.ReplaceAllStringFunc(shortcodes(clean), func(s string) string {
		word := strings.ToLower(alert.FindStringSubmatch(s)[1])
		return `<blockquote class="alert ` + word + `"><p><strong>` + strings.ToUpper(word[:1]) + word[1:] + `</strong><br>`
	})
}

// alert is how GitLab's "> [!note]" begins when it is rendered as a quotation.
var alert = regexp.MustCompile(`(?i)<blockquote>\s*<p>\[!(note|tip|important|caution|warning)\](?:<br\s*/?>)?`)

// piece is a tag, or a name between colons.
var piece = regexp.MustCompile(`<[^>]*>|:[a-z0-9_+-]+:`)

// shortcodes turns :tada: into the emoji, outside of code.
func shortcodes(s string) string {
	code := 0
	return piece.ReplaceAllStringFunc(s, func(p string) string {
		switch {
		case p == "<code>" || p == "<pre>" || strings.HasPrefix(p, "<code ") || strings.HasPrefix(p, "<pre "):
			code++
		case p == "</code>" || p == "</pre>":
			code--
		case p[0] == ':' && code == 0:
			return emoji(strings.Trim(p, ":"))
		}
		return p
	})
}

// emoji is the sign of a name, or the name itself.
func emoji(name string) string {
	if sign, ok := map[string]string{
		"white_check_mark": "✅", "no_entry_sign": "🚫", "speech_balloon": "💬", "thumbsup": "👍", "thumbsdown": "👎",
		"rocket": "🚀", "warning": "⚠️", "x": "❌", "tada": "🎉", "eyes": "👀", "ship": "🚢", "leftwards_arrow_with_hook": "↩️",
	}[name]; ok {
		return sign
	}
	return ":" + name + ":"
}
