package gitlab

import (
	"fmt"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// decisions lists what people decided, oldest first.
func decisions(v pipeline.View) string {
	if len(v.Decisions) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("**Decisions**\n\n")
	list := v.Decisions
	if skip := len(list) - maxListed; skip > 0 {
		fmt.Fprintf(&b, "- … %d earlier\n", skip)
		list = list[skip:]
	}
	for _, d := range list {
		icon, past := verbIcon(d.What), verbPast(d.What)
		switch back := v.DecidedBack(d); {
		case back && d.What == pipeline.VerbApprove:
			icon, past = "↩️", "decided to roll back"
		case back:
			icon, past = "✋", "decided not to roll back"
		}
		fmt.Fprintf(&b, "- %s %s %s", icon, who(d.By.Label()), past)
		if d.Stage != "" {
			b.WriteString(" **" + text(d.Stage, 60) + "**")
		}
		b.WriteString(" " + via(d.Via) + ", " + at(d.At))
		if d.Reason != "" {
			b.WriteString(": “" + text(d.Reason, 300) + "”")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func verbIcon(v pipeline.Verb) string {
	switch v {
	case pipeline.VerbApprove:
		return "👍"
	case pipeline.VerbReject:
		return "⛔"
	case pipeline.VerbCancel:
		return "⏹️"
	case pipeline.VerbRetry:
		return "🔁"
	case pipeline.VerbRollback:
		return "↩️"
	case pipeline.VerbPromote:
		return "⏩"
	case pipeline.VerbStatus, pipeline.VerbHelp, pipeline.VerbUnknown:
		return "💬"
	}
	return "💬"
}

func verbPast(v pipeline.Verb) string {
	switch v {
	case pipeline.VerbApprove:
		return "approved"
	case pipeline.VerbReject:
		return "rejected"
	case pipeline.VerbCancel:
		return "canceled the delivery"
	case pipeline.VerbRetry:
		return "retried"
	case pipeline.VerbRollback:
		return "asked for a rollback"
	case pipeline.VerbPromote:
		return "ended the standby of"
	case pipeline.VerbStatus, pipeline.VerbHelp, pipeline.VerbUnknown:
		return "asked"
	}
	return "asked"
}

func via(v pipeline.Via) string {
	switch v {
	case pipeline.ViaSlack:
		return "in Slack"
	case pipeline.ViaComment:
		return "by comment"
	case pipeline.ViaDeployment:
		return "by GitLab's deployment approval"
	case pipeline.ViaAPI:
		return "by the command line"
	}
	return "via " + text(string(v), 40)
}
