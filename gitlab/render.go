package gitlab

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	maxNoteChars = 100_000
	maxRows      = 60 // stages in the table
	maxStrip     = 30 // stages in the strip
	maxListed    = 20 // decisions, problems, questions
	maxChecks    = 8  // of a stage that are named in its row
	logLines     = 20
	logWidth     = 200
)

// renderNote writes the delivery's note. The same view always gives the same text: no clock is
// asked, so that a note is edited only when something has changed.
func (c *Client) renderNote(v pipeline.View) string {
	sections := []string{
		markers(v) + c.headline(v),
		strip(v),
		c.questions(v),
		c.stageTable(v, true),
		c.canaries(v),
		checks(v),
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
	sections[3], sections[4], sections[5], sections[6] = c.stageTable(v, false), "", "", ""
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
	if v.Review {
		return reviewTitle(v)
	}
	back := v.RollbackOf != ""
	switch v.Status {
	case pipeline.StatusLoading:
		return "Reading " + code(FileName)
	case pipeline.StatusWaiting:
		return "Waiting for the CI pipeline"
	case pipeline.StatusRunning:
		switch {
		case len(v.Questions) == 1 && v.Questions[0].Back:
			return "Roll back?"
		case len(v.Questions) > 0:
			return "Waiting for an approval"
		case followsUp(v):
			return "Following up"
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

// followsUp tells that all has ended but the stages that follow how it did.
func followsUp(v pipeline.View) bool {
	for _, s := range v.Stages {
		if s.Aftermath {
			return !v.Status.Finished()
		}
	}
	return false
}

// headReason is the sentence under the title, where it says more than the title does.
func headReason(v pipeline.View) string {
	why := firstLine(v.Reason)
	switch {
	case v.Status == pipeline.StatusWaiting && why == pipeline.Reason{Code: pipeline.ReasonCIRunning}.String(),
		v.Status == pipeline.StatusRunning && !followsUp(v),
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
	for _, s := range live(v) {
		add("**Open "+text(s.Environment, 100)+"**", s.URL)
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
	var parts, after []string
	for i, s := range v.Stages {
		if i == maxStrip {
			parts = append(parts, fmt.Sprintf("… %d more", len(v.Stages)-maxStrip))
			break
		}
		if step := s.Icon + " " + text(s.Name, 60); s.Aftermath {
			after = append(after, step)
		} else {
			parts = append(parts, step)
		}
	}
	line := strings.Join(parts, " → ")
	if len(after) > 0 {
		line += "  \nafterwards: " + strings.Join(after, " → ")
	}
	return line
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
		fmt.Fprintf(&b, "- ⚠️ %s\n", text(sentence(firstLine(w.Words())), 300))
	}
	return b.String()
}

// footer offers what can be done now.
func (c *Client) footer(v pipeline.View) string {
	cmd := func(verb string) string { return code("@" + c.o.Mention + " " + verb) }
	var offers []string
	if v.MayRetry {
		offers = append(offers, cmd("retry"))
	}
	if v.MayPromote {
		offers = append(offers, cmd("promote"))
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
