package slack

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops"
)

// Limits of Block Kit, in characters, with some room because Slack counts an emoji as
// several. Source: https://docs.slack.dev/reference/block-kit
const (
	maxSection  = 2800   // of 3,000
	maxMessage  = 12_000 // of all texts together; Slack refuses some 13,000
	maxQuestion = 2500
	maxValue    = 2000 // of a button
	maxFallback = 1000 // of 4,000
	maxLabel    = 400  // of a piece of text within a line, after escaping
	maxLogBlock = 1500
	maxLogs     = 2
)

// What buttons are called in the payloads that come back.
const (
	actionApprove  = "approve"
	actionReject   = "reject"
	actionRollback = "rollback"
	actionPromote  = "promote"
)

// blockBack begins the ids of blocks that ask whether to roll back.
const blockBack = "back/"

// message is a rendering: what is sent to Slack.
type message struct {
	text   string
	blocks []api.Block
	left   int // characters that may still be shown
}

// sum tells renderings apart.
func (m message) sum() [sha256.Size]byte {
	raw, err := json.Marshal(m.blocks)
	if err != nil {
		raw = []byte(err.Error()) // blocks are plain structs; the send fails with the same error
	}
	return sha256.Sum256(append(raw, m.text...))
}

func (m message) options(delivery string) []api.MsgOption {
	return []api.MsgOption{
		api.MsgOptionText(m.text, false),
		api.MsgOptionBlocks(m.blocks...),
		api.MsgOptionMetadata(api.SlackMetadata{EventType: eventType, EventPayload: map[string]any{"id": delivery}}),
		api.MsgOptionParse(false),
		api.MsgOptionDisableLinkUnfurl(),
		api.MsgOptionDisableMediaUnfurl(),
	}
}

// render makes the message of a card.
func render(c chatops.Card) message {
	m := message{text: escape(c.Summary, maxFallback), left: maxMessage}
	m.section(c.Icon+" "+bold(link(c.Title, maxLabel)), escape(c.Status, maxLabel))
	var facts []string
	for _, f := range c.Facts {
		facts = append(facts, link(f, maxLabel))
	}
	m.context(" · ", facts...)
	m.stages(c)
	logs := 0
	for _, n := range c.Notes {
		if len(n.Log) > 0 && logs < maxLogs {
			m.section(code(n.Log, maxLogBlock))
			logs++
		}
	}
	m.chart(c.Chart)
	for _, q := range c.Questions {
		if m.left < maxQuestion {
			m.context("", "🙋 More questions are open than fit here.")
			break
		}
		m.question(c, q)
	}
	m.offers(c)
	var lines []string
	for _, d := range c.Decisions {
		lines = append(lines, decision(d))
	}
	m.context("\n", lines...)
	var links []string
	for _, f := range c.Links {
		if _, ok := address(f.URL); ok {
			links = append(links, link(f, maxLabel))
		}
	}
	m.context(" · ", links...)
	lines = nil
	for _, w := range c.Warnings {
		lines = append(lines, "⚠️ "+escape(w, maxLabel))
	}
	m.context("\n", lines...)
	return m
}

// stages shows the strip, and below it what stages have to say.
func (m *message) stages(c chatops.Card) {
	lines := []string{strip(c.Strip)}
	if len(c.After) > 0 {
		lines = append(lines, "afterwards: "+strip(c.After))
	}
	for _, n := range c.Notes {
		lines = append(lines, n.Icon+" "+bold(link(n.Stage, 100))+": "+said(n))
	}
	for _, p := range c.Problems {
		lines = append(lines, "• "+escape(p, maxLabel))
	}
	m.section(lines...)
}

// said is what a note says, with the time in the zone of whoever reads it.
func said(n chatops.Note) string {
	s := escape(n.Text, maxLabel)
	if !n.Until.IsZero() {
		s += " until " + date(n.Until)
	}
	if n.More != "" {
		s += "; " + escape(n.More, maxLabel)
	}
	return s
}

func strip(steps []chatops.Step) string {
	var parts []string
	for _, s := range steps {
		parts = append(parts, s.Icon+" "+escape(s.Name, 100))
	}
	return joined(parts, " → ", maxSection/2)
}

func decision(d chatops.Decision) string {
	s := d.Icon + " " + escape(d.Text, maxLabel)
	if !d.At.IsZero() {
		s += ", " + date(d.At)
	}
	if d.Reason != "" {
		s += ": “" + escape(d.Reason, maxLabel) + "”"
	}
	return strings.TrimSpace(s)
}

// plain is text that Slack shows as it is.
func plain(s string, most int) *api.TextBlockObject {
	return api.NewTextBlockObject(api.PlainTextType, chatops.Line(s, most), false, false)
}

// mrkdwn is text of ours with escaped text of others. Verbatim keeps Slack from making
// links and mentions of what looks like them.
func mrkdwn(s string) *api.TextBlockObject {
	return api.NewTextBlockObject(api.MarkdownType, s, false, true)
}

func (m *message) section(lines ...string) {
	if s := m.take("\n", lines); s != "" {
		m.blocks = append(m.blocks, api.NewSectionBlock(mrkdwn(s), nil, nil))
	}
}

func (m *message) context(between string, parts ...string) {
	if s := m.take(between, parts); s != "" {
		m.blocks = append(m.blocks, api.NewContextBlock("", mrkdwn(s)))
	}
}

// take joins what a block shows, as far as the message has room for it.
func (m *message) take(between string, parts []string) string {
	s := joined(parts, between, min(maxSection, m.left))
	m.left -= utf8.RuneCountInString(s)
	return s
}

// joined puts whole parts together up to most characters, and says how many were left out.
func joined(parts []string, between string, most int) string {
	const room = 20
	var out strings.Builder
	size := 0
	for i, p := range parts {
		if p == "" {
			continue
		}
		n := utf8.RuneCountInString(p) + utf8.RuneCountInString(between)
		if size+n > most-room {
			if most < room {
				return ""
			}
			fmt.Fprintf(&out, "%s… and %d more", between, len(parts)-i)
			break
		}
		if size > 0 {
			out.WriteString(between)
		}
		out.WriteString(p)
		size += n
	}
	return out.String()
}
