package chatops

import (
	"fmt"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// note is what a stage has to say, if anything.
func note(s pipeline.StageView) (Note, bool) {
	n := Note{Icon: s.Icon, Stage: Fragment{Text: Line(s.Name, maxLabel), URL: s.URL}}
	reason, log, _ := strings.Cut(s.Reason, "\n")
	reason = strings.TrimSuffix(Line(reason, maxWords), ":")
	progress := Line(s.Progress, maxWords)
	switch s.Status {
	case pipeline.StageRunning:
		if !n.checking(s) {
			n.Text = firstOf(progress, reason, "running")
		}
	case pipeline.StageRollingBack:
		n.Text = strings.Join(nonEmpty("rolling back", reason, progress), ": ")
	case pipeline.StageQueued:
		n.Text = firstOf(reason, "waiting for its turn")
	case pipeline.StageFailed, pipeline.StageRolledBack, pipeline.StageExpired:
		n.Text = firstOf(reason, s.Word)
		if s.ReplacedBy != "" {
			n.Text += "; replaced by " + Line(s.ReplacedBy, maxLabel)
		}
		if s.Previous != "" && s.Status == pipeline.StageRolledBack {
			n.Text += "; " + s.Previous + " runs again"
		}
		n.Log = tail(log)
	case pipeline.StageSucceeded:
		if s.Now == "" || s.Environment == "" {
			return n, false
		}
		n.Text = "runs " + s.Now
		if s.ReplacedBy != "" {
			n.Text = "ran " + s.Now + " until " + Line(s.ReplacedBy, maxLabel)
		}
		if s.Environment != s.Name {
			n.Text = Line(s.Environment, maxLabel) + " " + n.Text
		}
		if s.Previous != "" && s.Previous != s.Now {
			n.Text += " (was " + s.Previous + ")"
		}
	case pipeline.StageSkipped:
		n.Text = "skipped, because " + firstOf(reason, "it was not wanted")
	case pipeline.StageAsking:
		if n.Text = scored(s.Analysis); n.Text != "" {
			return n, true
		}
		if s.Kind != pipeline.KindDeploy || reason == "" {
			return n, false
		}
		n.Text = reason // why it is asked whether to roll back
		n.Log = tail(log)
	case pipeline.StagePending, pipeline.StageRejected, pipeline.StageCanceled, pipeline.StageSuperseded:
		return n, false
	}
	if s.Attempt > 1 {
		again := fmt.Sprintf(" (attempt %d)", s.Attempt)
		if n.More != "" {
			n.More += again
		} else {
			n.Text += again
		}
	}
	return n, true
}

// scored is how a canary that people are asked about stands, "" if there is no report. The question says why.
func scored(a *pipeline.Analysis) string {
	if a == nil || a.Report == nil {
		return ""
	}
	return fmt.Sprintf("score %.4g of 100 after %d of %d looks", float64(a.Report.Score), a.Look, a.Looks)
}

const maxChecks = 8 // of a stage that are named

// checking says how a release that has the traffic is watched: until when the one before is on standby, and the checks. It
// tells whether there is anything to say.
func (n *Note) checking(s pipeline.StageView) bool {
	var checks []string
	standby := !s.Standby.IsZero()
	open := standby
	for i, c := range s.Checks {
		open = open || c.Word != "passed"
		switch {
		case i == maxChecks:
			checks = append(checks, fmt.Sprintf("%d more", len(s.Checks)-i))
		case i < maxChecks:
			checks = append(checks, Line(c.Name, maxLabel)+" "+checked(c))
		}
	}
	var words string
	if len(checks) > 0 {
		words = Line("checks: "+strings.Join(checks, ", "), maxWords)
	}
	switch {
	case !open:
		return false
	case standby:
		n.Text, n.Until, n.More = fmt.Sprintf("the traffic has moved; %s is on standby", Line(s.Previous, maxLabel)), s.Standby, words
	default:
		n.Text = words
	}
	return true
}

// checked is how a check stands: its icon says enough unless something is wrong.
func checked(c pipeline.CheckView) string {
	if c.Saw == "" || c.Word == "passed" {
		return c.Icon
	}
	return fmt.Sprintf("%s (%s: %s)", c.Icon, c.Word, Line(c.Saw, maxLabel))
}

// tail keeps the last lines of a log, the newest ones first to be kept.
func tail(log string) []string {
	var lines []string
	for line := range strings.SplitSeq(log, "\n") {
		line = strings.TrimRight(strings.Map(printable, line), " ")
		if line != "" {
			lines = append(lines, Clip(line, maxWords))
		}
	}
	lines = lines[max(0, len(lines)-maxLogLines):]
	size := 0
	for i := len(lines) - 1; i >= 0; i-- {
		size += len([]rune(lines[i])) + 1
		if size > maxLog {
			return lines[i+1:]
		}
	}
	return lines
}

func printable(r rune) rune {
	if r == '\t' {
		return ' '
	}
	if r == ' ' {
		return r
	}
	return visible(r)
}
