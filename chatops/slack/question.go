package slack

import (
	"strings"
	"unicode/utf8"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/chatops"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

func (m *message) question(c chatops.Card, q chatops.Question) {
	details := []string{"Who: " + escape(q.Who, maxLabel)}
	if q.Environment != "" && !q.Back {
		details = append(details, "next: "+escape(q.Environment, 100))
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
	m.blocks = append(m.blocks, buttons(c, q))
}

// buttons are the two answers to a question. They are the same answers where it is asked
// whether to roll back, with words of their own.
func buttons(c chatops.Card, q chatops.Question) *api.ActionBlock {
	yes := api.NewButtonBlockElement(actionApprove, q.Token, plain("Approve", 75)).WithStyle(api.StylePrimary)
	no := api.NewButtonBlockElement(actionReject, q.Token, plain("Reject", 75)).WithStyle(api.StyleDanger)
	block := "judgement/"
	if q.Back {
		yes = api.NewButtonBlockElement(actionApprove, q.Token, plain("Roll back", 75)).WithStyle(api.StyleDanger)
		no = api.NewButtonBlockElement(actionReject, q.Token, plain("Leave it as it is", 75))
		block = blockBack
	}
	if q.Confirm {
		yes = yes.WithConfirm(confirm(c, q))
	}
	return api.NewActionBlock(chatops.Clip(block+q.Token, 255), yes, no)
}

// confirm is what Slack asks back, because a finger slips easily.
func confirm(c chatops.Card, q chatops.Question) *api.ConfirmationBlockObject {
	if q.Back {
		return askBack("Roll "+q.Environment+" back?", q.Ask, "Roll back", api.StyleDanger)
	}
	next := "the next stage"
	if q.Environment != "" {
		next = q.Environment
	}
	return askBack("Go on to "+next+"?", c.Title.Text+" goes on to "+next+" when this is approved.", "Approve", api.StylePrimary)
}

// askBack is a dialog between a press and what it does.
func askBack(title, words, yes string, style api.Style) *api.ConfirmationBlockObject {
	return api.NewConfirmationBlockObject(plain(title, 100), plain(words, 300), plain(yes, 30), plain("Not yet", 30)).WithStyle(style)
}

// offers shows the buttons of what can be done beside answering questions.
func (m *message) offers(c chatops.Card) {
	var all []api.BlockElement
	for _, o := range c.Offers {
		id, style, yes := actionPromote, api.StylePrimary, o.Label
		if o.What == pipeline.VerbRollback {
			id, style, yes = actionRollback, api.StyleDanger, "Roll back"
		}
		if utf8.RuneCountInString(o.Token) > maxValue {
			continue // the command in a comment takes names of any length
		}
		button := api.NewButtonBlockElement(id, o.Token, plain(o.Label, 75)).WithConfirm(askBack(o.Ask, o.More, yes, style))
		if o.Danger {
			button = button.WithStyle(api.StyleDanger)
		}
		all = append(all, button)
	}
	if len(all) > 0 {
		m.blocks = append(m.blocks, api.NewActionBlock(chatops.Clip("offers/"+c.Delivery, 255), all...))
	}
}
