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
	maxSection  = 2800 // of 3,000
	maxValue    = 2000 // of a button
	maxFallback = 1000 // of 4,000
	maxLabel    = 400  // of a piece of text within a line, after escaping
	maxLogBlock = 1500
)

// What buttons are called in the payloads that come back.
const (
	actionApprove = "approve"
	actionReject  = "reject"
)

// message is a rendering: what is sent to Slack.
type message struct {
	text   string
	blocks []api.Block
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
	m := message{text: escape(c.Summary, maxFallback)}
	m.section(c.Icon+" "+bold(link(c.Title, maxLabel)), escape(c.Status, maxLabel))
	m.context(" · ", links(c.Facts)...)
	m.stages(c)
	for _, n := range c.Notes {
		if len(n.Log) > 0 && len(m.blocks) < 12 {
			m.section(code(n.Log, maxLogBlock))
		}
	}
	for _, q := range c.Questions {
		m.question(c, q)
	}
	var lines []string
	for _, d := range c.Decisions {
		lines = append(lines, decision(d))
	}
	m.context("\n", lines...)
	m.context(" · ", links(c.Links)...)
	lines = nil
	for _, w := range c.Warnings {
		lines = append(lines, "⚠️ "+escape(w, maxLabel))
	}
	m.context("\n", lines...)
	return m
}

func links(fs []chatops.Fragment) []string {
	var out []string
	for _, f := range fs {
		if s := link(f, maxLabel); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// stages shows the strip, and below it what stages have to say.
func (m *message) stages(c chatops.Card) {
	var strip []string
	for _, s := range c.Strip {
		strip = append(strip, s.Icon+" "+escape(s.Name, 100))
	}
	lines := []string{joined(strip, " → ", maxSection/2)}
	for _, n := range c.Notes {
		lines = append(lines, n.Icon+" "+bold(link(n.Stage, 100))+" "+escape(n.Text, maxLabel))
	}
	for _, p := range c.Problems {
		lines = append(lines, "• "+escape(p, maxLabel))
	}
	m.section(lines...)
}

func (m *message) question(c chatops.Card, q chatops.Question) {
	details := []string{"Answered by " + escape(q.Who, maxLabel)}
	if q.Environment != "" {
		details = append(details, escape(q.Environment, 100)+" comes next")
	}
	if q.Approvals != "" {
		details = append(details, escape(q.Approvals, maxLabel))
	}
	if !q.Expires.IsZero() {
		details = append(details, "until "+date(q.Expires))
	}
	m.blocks = append(m.blocks, api.NewDividerBlock())
	m.section("🙋 "+bold(escape(q.Ask, 2*maxLabel)), strings.Join(details, " · "))
	switch {
	case q.Recording:
		m.context("", "⏳ Recording the answer …")
		return
	case q.Token == "" || utf8.RuneCountInString(q.Token) > maxValue:
		m.context("", "Answer this by a comment on the merge request.")
		return
	}
	approve := api.NewButtonBlockElement(actionApprove, q.Token, plain("Approve", 75)).WithStyle(api.StylePrimary)
	if q.Confirm {
		approve = approve.WithConfirm(confirm(c, q))
	}
	reject := api.NewButtonBlockElement(actionReject, q.Token, plain("Reject", 75)).WithStyle(api.StyleDanger)
	m.blocks = append(m.blocks, api.NewActionBlock(chatops.Clip("judgement/"+q.Token, 255), approve, reject))
}

// confirm is what Slack asks back, because a finger slips easily.
func confirm(c chatops.Card, q chatops.Question) *api.ConfirmationBlockObject {
	next := "the next stage"
	if q.Environment != "" {
		next = q.Environment
	}
	return api.NewConfirmationBlockObject(
		plain("Go on to "+next+"?", 100), plain(c.Title.Text+" goes on to "+next+" when this is approved.", 300),
		plain("Approve", 30), plain("Not yet", 30),
	).WithStyle(api.StylePrimary)
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
	if s := joined(lines, "\n", maxSection); s != "" {
		m.blocks = append(m.blocks, api.NewSectionBlock(mrkdwn(s), nil, nil))
	}
}

func (m *message) context(between string, parts ...string) {
	if s := joined(parts, between, maxSection); s != "" {
		m.blocks = append(m.blocks, api.NewContextBlock("", mrkdwn(s)))
	}
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
