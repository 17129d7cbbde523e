package gitlab

import (
	"fmt"
	"net/url"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// stageTable is one row per stage. Without details it holds the names and statuses only.
func (c *Client) stageTable(v pipeline.View, details bool) string {
	if len(v.Stages) == 0 || untouched(v) {
		return ""
	}
	var b strings.Builder
	b.WriteString("| Stage | Status | Where | What | Took |\n|---|---|---|---|---|\n")
	for i, s := range v.Stages {
		if i == maxRows {
			fmt.Fprintf(&b, "| … %d more | | | | |\n", len(v.Stages)-maxRows)
			break
		}
		where, what := "", ""
		if details {
			where, what = place(s), c.whatHappened(v, s)
		}
		fmt.Fprintf(&b, "| %s | %s %s | %s | %s | %s |\n", text(s.Name, 60), s.Icon, text(word(s), 40), where, what, duration(s))
	}
	return b.String()
}

// untouched tells that no stage has done anything: the strip says enough.
func untouched(v pipeline.View) bool {
	for _, s := range v.Stages {
		if s.Status != pipeline.StagePending && (s.Status != pipeline.StageSkipped || s.Reason != "") {
			return false
		}
	}
	return len(v.Stages) > 1
}

func word(s pipeline.StageView) string {
	w := s.Word
	if s.Attempt > 1 {
		w += fmt.Sprintf(" (attempt %d)", s.Attempt)
	}
	return w
}

// place is where a stage works: the environment with its live app, or what it made in GitLab
// or Slack.
func place(s pipeline.StageView) string {
	switch {
	case s.Environment != "":
		return link(text(s.Environment, 60), s.URL)
	case s.URL == "":
	case s.Kind == pipeline.KindJob:
		return link("job", s.URL)
	case s.Kind == pipeline.KindTrigger:
		return link("CI pipeline", s.URL)
	case s.Kind == pipeline.KindNotify:
		return link("message", s.URL)
	}
	return ""
}

// whatHappened is the sentence for the stage's row: what changed, how far it is, or why it is so.
func (c *Client) whatHappened(v pipeline.View, s pipeline.StageView) string {
	var parts []string
	if moved := change(v, s); moved != "" {
		parts = append(parts, moved)
	}
	watch := watched(s)
	switch {
	case watch != "" && s.Status == pipeline.StageRunning:
	case !s.Status.Finished() && s.Progress != "":
		parts = append(parts, text(firstLine(s.Progress), 200))
	case s.Kind == pipeline.KindRollback && s.Status == pipeline.StageSucceeded && len(parts) > 0:
		// The reason says the same once more.
	case s.Reason != "" && (s.Status != pipeline.StageAsking || s.Kind == pipeline.KindDeploy):
		parts = append(parts, text(firstLine(s.Reason), 300))
	}
	if s.ReplacedBy != "" {
		parts = append(parts, "replaced by "+text(s.ReplacedBy, 60))
	}
	if s.Ran != nil && s.Ran.ExitCode != 0 && !strings.Contains(s.Reason, "exit code") {
		parts = append(parts, fmt.Sprintf("exit code %d", s.Ran.ExitCode))
	}
	if log := c.logPage(v, s); log != "" {
		parts = append(parts, link("log", log))
	}
	words := strings.Join(parts, ", ")
	if words != "" && watch != "" {
		words += "; "
	}
	return words + watch
}

// logPage is the address of the log that the stage's Kubernetes Job left, "" if there is none.
func (c *Client) logPage(v pipeline.View, s pipeline.StageView) string {
	page := c.page(v.ID)
	if s.Ran == nil || s.Ran.Log == "" || page == "" {
		return ""
	}
	return page + "/stages/" + url.PathEscape(s.Name) + "/log"
}

// watched is how the stage's checks stand, and until when what it replaced is on standby.
func watched(s pipeline.StageView) string {
	var list []string
	passed := 0
	for i, c := range s.Checks {
		if c.Word == "passed" {
			passed++
		}
		switch {
		case i == maxChecks:
			list = append(list, fmt.Sprintf("%d more", len(s.Checks)-maxChecks))
		case i < maxChecks:
			list = append(list, text(c.Name, 60)+" "+checkIcon(c))
		}
	}
	running := s.Status == pipeline.StageRunning
	switch {
	case running && !s.Standby.IsZero():
		words := fmt.Sprintf("the traffic has moved; %s is on standby until %s", code(s.Previous), s.Standby.UTC().Format("15:04 UTC"))
		if len(list) > 0 {
			words += "; checks: " + strings.Join(list, ", ")
		}
		return words
	case len(list) == 0, running && passed == len(s.Checks):
		return ""
	case passed == 1 && len(s.Checks) == 1:
		return "1 check passed"
	case passed == len(s.Checks):
		return fmt.Sprintf("%d checks passed", passed)
	}
	return "checks: " + strings.Join(list, ", ")
}

// checkIcon says in words what the icon alone does not: that a run has failed.
func checkIcon(c pipeline.CheckView) string {
	if !strings.HasPrefix(c.Word, "running,") {
		return c.Icon
	}
	return c.Icon + " (" + text(c.Word, 40) + ")"
}

// checks says what was seen by checks that have failed while their stage still runs. At its
// end its reason says that.
func checks(v pipeline.View) string {
	var b strings.Builder
	for _, s := range v.Stages {
		for i, c := range s.Checks {
			if i == maxListed || s.Status != pipeline.StageRunning || c.Saw == "" || c.Word == "passed" {
				continue
			}
			fmt.Fprintf(&b, "- %s **%s**, check %s (%s): %s\n", c.Icon, text(s.Name, 60), text(c.Name, 60), text(c.Word, 40), text(sentence(firstLine(c.Saw)), 300))
		}
	}
	return b.String()
}

// change is "`old` → `new`" where the stage changed what runs.
func change(v pipeline.View, s pipeline.StageView) string {
	from, to := "", ""
	switch {
	case s.Kind == pipeline.KindRollback:
		from, to = s.Previous, s.Now
	case s.Status == pipeline.StageRolledBack || s.Status == pipeline.StageRollingBack:
		// The commit of this delivery goes back to what ran before it.
		from, to = pipeline.Short(v.SHA), s.Previous
	case s.Status == pipeline.StageSucceeded:
		from, to = s.Previous, s.Now
	}
	switch {
	case to == "" || from == to:
		if s.Status == pipeline.StageSucceeded && to != "" {
			return code(to)
		}
		return ""
	case from == "":
		return code(to)
	}
	return code(from) + " → " + code(to)
}

func duration(s pipeline.StageView) string {
	switch {
	case s.Started.IsZero() || s.Status == pipeline.StageSkipped:
		return ""
	case !s.Ended.IsZero():
		return took(s.Ended.Sub(s.Started))
	case s.Status.Finished():
		return ""
	}
	return "since " + s.Started.UTC().Format("15:04 UTC")
}

// failures shows the log lines behind what went wrong. The sentence itself is in the table.
func failures(v pipeline.View) string {
	var b strings.Builder
	shown := 0
	for _, s := range v.Stages {
		switch s.Status {
		case pipeline.StageFailed, pipeline.StageRolledBack, pipeline.StageRollingBack, pipeline.StageAsking:
		default:
			continue
		}
		block := fence(restLines(s.Reason), logLines, logWidth)
		if block == "" || shown == 5 {
			continue
		}
		shown++
		fmt.Fprintf(&b, "What **%s** said last:\n\n%s\n", text(s.Name, 60), block)
	}
	return b.String()
}
