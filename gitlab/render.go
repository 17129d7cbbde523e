package gitlab

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

const (
	maxNoteChars = 100_000
	maxRows      = 60 // stages in the table
	maxStrip     = 30 // stages in the strip
	maxListed    = 20 // decisions, problems, questions
	logLines     = 20
	logWidth     = 200
)

// renderNote writes the delivery's note. The same view always gives the same text: no clock is
// asked, so that a note is edited only when something has changed.
func (c *Client) renderNote(v pipeline.View) string {
	sections := []string{
		noteMarker(v.ID) + "\n" + c.headline(v),
		strip(v),
		c.questions(v),
		stageTable(v, true),
		failures(v),
		decisions(v),
		problems(v),
		warnings(v),
		c.footer(v),
	}
	body := join(sections)
	if len([]rune(body)) <= maxNoteChars {
		return body
	}
	sections[3], sections[4] = stageTable(v, false), ""
	return clip(join(sections), maxNoteChars)
}

func join(sections []string) string {
	var kept []string
	for _, s := range sections {
		if s = strings.TrimSpace(s); s != "" {
			kept = append(kept, s)
		}
	}
	return strings.Join(kept, "\n\n") + "\n"
}

// headline says in one line what this is and where it stands, with the links below it.
func (c *Client) headline(v pipeline.View) string {
	sha := link(code(pipeline.Short(v.SHA)), commitURL(v))
	line := fmt.Sprintf("%s **%s** · %s %s", headIcon(v), title(v), text(v.Application, 100), sha)
	if why := headReason(v); why != "" {
		line += "  \n" + text(why, 400)
	}
	if links := c.links(v); links != "" {
		line += "  \n" + links
	}
	return line
}

func headIcon(v pipeline.View) string {
	if len(v.Questions) > 0 {
		return pipeline.StageAsking.Icon()
	}
	return v.Icon
}

func title(v pipeline.View) string {
	back := v.RollbackOf != ""
	switch v.Status {
	case pipeline.StatusLoading:
		return "Reading " + code(FileName)
	case pipeline.StatusWaiting:
		return "Waiting for the CI pipeline"
	case pipeline.StatusRunning:
		switch {
		case len(v.Questions) > 0:
			return "Waiting for an approval"
		case back || rollingBack(v):
			return "Rolling back"
		}
		return "Delivering"
	case pipeline.StatusSucceeded:
		if back {
			return "Rolled back"
		}
		return "Delivered"
	case pipeline.StatusFailed:
		if back {
			return "The rollback failed"
		}
		return "The delivery failed"
	case pipeline.StatusRolledBack:
		return "Rolled back"
	case pipeline.StatusRejected:
		return "Rejected"
	case pipeline.StatusCanceled:
		return "Canceled"
	case pipeline.StatusSuperseded:
		return "Superseded"
	case pipeline.StatusInvalid:
		return "Nothing was delivered"
	case pipeline.StatusNone:
		return "There is no delivery"
	}
	return text(string(v.Status), 40)
}

func rollingBack(v pipeline.View) bool {
	for _, s := range v.Stages {
		if s.Status == pipeline.StageRollingBack {
			return true
		}
	}
	return false
}

// headReason is the sentence under the title, where it says more than the title does.
func headReason(v pipeline.View) string {
	why := firstLine(v.Reason)
	switch {
	case v.Status == pipeline.StatusWaiting && why == pipeline.Reason{Code: pipeline.ReasonCIRunning}.String(),
		v.Status == pipeline.StatusRunning,
		why == string(pipeline.ReasonDone):
		return ""
	}
	return sentence(why)
}

// sentence begins with a capital letter, if it begins with a word, and ends with a full stop.
func sentence(s string) string {
	first, _, _ := strings.Cut(s, " ")
	if plainWord.MatchString(first) {
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	if s == "" || strings.HasSuffix(s, ".") || strings.HasSuffix(s, "?") || strings.HasSuffix(s, "!") || strings.HasSuffix(s, "…") {
		return s
	}
	return s + "."
}

var plainWord = regexp.MustCompile(`^[a-z]+$`)

func (c *Client) links(v pipeline.View) string {
	var parts []string
	add := func(shown, address string) {
		if safeURL(address) != "" {
			parts = append(parts, link(shown, address))
		}
	}
	add("Details", c.page(v.ID))
	add("Slack", v.MessageURL)
	ci := "CI pipeline"
	switch v.CI.Status {
	case "":
	case "success":
		ci += ": passed"
	default:
		ci += ": " + text(strings.ReplaceAll(v.CI.Status, "_", " "), 40)
	}
	add(ci, v.CI.URL)
	for i, l := range v.Links {
		if i < 10 {
			add(text(l.Title, 60), l.URL)
		}
	}
	return strings.Join(parts, " · ")
}

// strip shows all stages in one line: "✅ staging → 🙋 go-live → ⚪ production".
func strip(v pipeline.View) string {
	if len(v.Stages) < 2 {
		return ""
	}
	var parts []string
	for i, s := range v.Stages {
		if i == maxStrip {
			parts = append(parts, fmt.Sprintf("… %d more", len(v.Stages)-maxStrip))
			break
		}
		parts = append(parts, s.Icon+" "+text(s.Name, 60))
	}
	return strings.Join(parts, " → ")
}

// questions shows what is asked now, with the ways to answer.
func (c *Client) questions(v pipeline.View) string {
	var b strings.Builder
	for i, q := range v.Questions {
		if i == maxListed {
			break
		}
		fmt.Fprintf(&b, "> 🙋 **%s** asks: %s\n", text(q.Stage, 60), text(q.Ask, 500))
		for _, line := range questionLines(q) {
			b.WriteString(">  \n> " + line + "\n")
		}
		b.WriteString(">  \n> " + c.howToAnswer(v, q) + "\n\n")
	}
	return b.String()
}

func questionLines(q pipeline.Question) []string {
	var lines []string
	if q.Environment != "" {
		lines = append(lines, "Next comes "+code(q.Environment)+".")
	}
	from := "any Developer of the project"
	if len(q.Approvers) > 0 {
		from = codes(q.Approvers)
	}
	needs := "Needs an approval by " + from
	if q.Quorum > 1 {
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
		lines = append(lines, "Open until "+at(q.Expires)+".")
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
	return where + code("@"+c.o.Mention+" "+approve) + " or " + code("@"+c.o.Mention+" "+reject) + "."
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
		fmt.Fprintf(&b, "- %s %s %s", verbIcon(d.What), who(d.By.Label()), verbPast(d.What))
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
	}
	return "via " + text(string(v), 40)
}

// problems lists what is wrong in the pipeline file, each with a link to its line.
func problems(v pipeline.View) string {
	if len(v.Problems) == 0 {
		return ""
	}
	var b strings.Builder
	for i, p := range v.Problems {
		if i == maxListed {
			fmt.Fprintf(&b, "- … and %d more\n", len(v.Problems)-maxListed)
			break
		}
		place := p.File
		if p.Line > 0 {
			place += fmt.Sprintf(":%d:%d", p.Line, p.Column)
		}
		fmt.Fprintf(&b, "- %s: %s", link(code(place), fileURL(v, p)), text(p.What, 300))
		if p.Hint != "" {
			b.WriteString(" — " + text(p.Hint, 300))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func warnings(v pipeline.View) string {
	var b strings.Builder
	for i, w := range v.Warnings {
		if i == maxListed {
			break
		}
		fmt.Fprintf(&b, "- ⚠️ %s could not be written: %s\n", reportName(w.Effect), text(sentence(firstLine(w.Detail)), 300))
	}
	return b.String()
}

func reportName(effect string) string {
	switch effect {
	case pipeline.WriteMessage{}.ActionKind():
		return "The Slack message"
	case pipeline.WriteStatus{}.ActionKind():
		return "A commit status"
	case pipeline.WriteDeployment{}.ActionKind():
		return "A GitLab deployment"
	case pipeline.WriteNote{}.ActionKind():
		return "This note"
	}
	return text(effect, 60)
}

// footer offers what can be done now.
func (c *Client) footer(v pipeline.View) string {
	cmd := func(verb string) string { return code("@" + c.o.Mention + " " + verb) }
	var offers []string
	if v.MayRetry {
		offers = append(offers, cmd("retry"))
	}
	if v.MayRollback {
		offers = append(offers, cmd("rollback"))
	}
	if v.MayCancel {
		offers = append(offers, cmd("cancel"))
	}
	offers = append(offers, cmd("help"))
	return "<sub>Commands, as a comment: " + strings.Join(offers, " ") + "</sub>"
}

func commitURL(v pipeline.View) string {
	if safeURL(v.Project.URL) == "" {
		return ""
	}
	return strings.TrimRight(v.Project.URL, "/") + "/-/commit/" + v.SHA
}

func fileURL(v pipeline.View, p pipeline.Problem) string {
	if safeURL(v.Project.URL) == "" || p.File == "" {
		return ""
	}
	address := strings.TrimRight(v.Project.URL, "/") + "/-/blob/" + v.SHA + "/" + strings.TrimLeft(p.File, "/")
	if p.Line > 0 {
		address += fmt.Sprintf("#L%d", p.Line)
	}
	return address
}

// at is a moment as people read it, always in UTC.
func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2 Jan 15:04 UTC")
}

// took is a length of time in its two largest units.
func took(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Second:
		return "< 1 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}
