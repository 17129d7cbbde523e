package gitlab

import (
	"fmt"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// stageTable is one row per stage. Without details it holds the names and statuses only.
func stageTable(v pipeline.View, details bool) string {
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
			where, what = place(s), whatHappened(v, s)
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

// place is where a stage works: the environment with its live app, or the job.
func place(s pipeline.StageView) string {
	switch {
	case s.Environment != "":
		return link(text(s.Environment, 60), s.URL)
	case s.Kind == pipeline.KindJob && s.URL != "":
		return link("job", s.URL)
	}
	return ""
}

// whatHappened is the sentence for the stage's row: what changed, how far it is, or why it is so.
func whatHappened(v pipeline.View, s pipeline.StageView) string {
	var parts []string
	if c := change(v, s); c != "" {
		parts = append(parts, c)
	}
	switch {
	case !s.Status.Finished() && s.Progress != "":
		parts = append(parts, text(firstLine(s.Progress), 200))
	case s.Kind == pipeline.KindRollback && s.Status == pipeline.StageSucceeded && len(parts) > 0:
		// The reason says the same once more.
	case s.Reason != "" && s.Status != pipeline.StageAsking:
		parts = append(parts, text(firstLine(s.Reason), 300))
	}
	return strings.Join(parts, ", ")
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
		case pipeline.StageFailed, pipeline.StageRolledBack, pipeline.StageRollingBack:
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
