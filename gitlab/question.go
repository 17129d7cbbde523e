package gitlab

import (
	"fmt"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

// questions shows what is asked now, with the ways to answer.
func (c *Client) questions(v pipeline.View) string {
	var b strings.Builder
	for i, q := range v.Questions {
		if i == maxListed {
			break
		}
		if q.Back {
			fmt.Fprintf(&b, "> 🙋 **Roll back?** Stage **%s** failed, and does not go back by itself.\n>  \n> %s\n", text(q.Stage, 60), text(q.Ask, 500))
		} else {
			fmt.Fprintf(&b, "> 🙋 **%s** asks: %s\n", text(q.Stage, 60), text(q.Ask, 500))
		}
		for _, line := range questionLines(q) {
			b.WriteString(">  \n> " + line + "\n")
		}
		b.WriteString(">  \n> " + c.howToAnswer(v, q) + "\n\n")
	}
	return b.String()
}

func questionLines(q pipeline.Question) []string {
	var lines []string
	if q.Environment != "" && !q.Back {
		lines = append(lines, "Next comes "+code(q.Environment)+".")
	}
	from := "any Developer of the project"
	if len(q.Approvers) > 0 {
		from = codes(q.Approvers)
	}
	needs := "Needs an approval by " + from
	switch {
	case q.Back:
		needs = "It is decided by " + from
	case q.Quorum > 1:
		needs = fmt.Sprintf("Needs %d approvals by %s", q.Quorum, from)
	}
	if len(q.Not) > 0 {
		needs += ", but not by " + exclusions(q.Not)
	}
	needs += "."
	if n := len(q.Approvals); n > 0 {
		needs += fmt.Sprintf(" Has %d: %s.", n, approvers(q.Approvals))
	}
	lines = append(lines, needs)
	if !q.Expires.IsZero() {
		open := "Open until " + at(q.Expires) + "."
		if q.Back {
			open += " Without an answer it is left as it is."
		}
		lines = append(lines, open)
	}
	return lines
}

func (c *Client) howToAnswer(v pipeline.View, q pipeline.Question) string {
	if q.Recording {
		return "An answer is being looked at."
	}
	approve, reject := "approve", "reject because …"
	if len(v.Questions) > 1 {
		approve, reject = "approve "+q.Stage, "reject "+q.Stage+": because …"
	}
	where := "Comment "
	if v.MessageURL != "" {
		where = "Answer " + link("in Slack", v.MessageURL) + ", or comment "
	}
	yes, no := code("@"+c.o.Mention+" "+approve), code("@"+c.o.Mention+" "+reject)
	if q.Back {
		return where + yes + " to roll back, or " + no + " to leave it as it is."
	}
	return where + yes + " or " + no + "."
}

func codes(list []string) string {
	var parts []string
	for i, s := range list {
		if i == maxListed {
			parts = append(parts, "…")
			break
		}
		before, name := policy.Words(s)
		parts = append(parts, before+code(name))
	}
	return strings.Join(parts, ", ")
}

func exclusions(list []string) string {
	var parts []string
	for _, s := range list {
		switch s {
		case "author":
			parts = append(parts, "the author")
		case "merger":
			parts = append(parts, "whoever merged")
		default:
			parts = append(parts, code(s))
		}
	}
	return strings.Join(parts, ", ")
}

func approvers(list []pipeline.Decision) string {
	var parts []string
	for _, d := range list {
		parts = append(parts, who(d.By.Label()))
	}
	return strings.Join(parts, ", ")
}
