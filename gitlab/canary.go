package gitlab

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/canary"
)

const (
	maxReports = 4  // canaries of one delivery that are shown
	maxMetrics = 30 // of a canary
	maxLooks   = 30
)

// uploaded is the form of an uploaded file's address, which is written into the note as it is.
var uploaded = regexp.MustCompile(`^/uploads/[0-9a-zA-Z]{1,64}/[0-9A-Za-z._-]{1,64}$`)

// canaries shows the report of each canary that has one: verdict and score, a row for each metric, the picture.
func (c *Client) canaries(v pipeline.View) string {
	var parts []string
	for _, s := range v.Stages {
		if s.Analysis == nil || s.Analysis.Report == nil {
			continue
		}
		if len(parts) == maxReports {
			break
		}
		parts = append(parts, c.canaryReport(v, s))
	}
	return strings.Join(parts, "\n\n")
}

func (c *Client) canaryReport(v pipeline.View, s pipeline.StageView) string {
	a := s.Analysis
	head := fmt.Sprintf("🐤 **%s: %s**, score %s of 100", text(s.Name, 60), verdictWords(a.Report.Verdict), number(a.Report.Score))
	if n := len(a.History); n > 0 && a.Looks > 1 {
		head += fmt.Sprintf(", at look %d of %d", a.History[n-1].Number, a.Looks)
	}
	if page := c.page(v.ID); page != "" {
		head += " · " + link("Report", reportPage(page, s.Name))
	}
	sections := []string{head, strings.TrimSpace(metricTable(a.Report))}
	if uploaded.MatchString(a.Chart) {
		sections = append(sections, fmt.Sprintf("![Samples of the canary and its baseline](%s)", a.Chart))
	}
	return strings.Join(append(sections, behind(a)), "\n\n")
}

func reportPage(page, stage string) string {
	return page + "/stages/" + url.PathEscape(stage) + "/canary"
}

func verdictWords(v canary.Verdict) string {
	switch v {
	case canary.Pass:
		return "✅ good"
	case canary.Marginal:
		return "🟡 neither good nor bad"
	case canary.Fail:
		return "❌ bad"
	case canary.Inconclusive:
		return "❔ too little to say"
	}
	return text(string(v), 40)
}

func metricTable(r *canary.Report) string {
	var b strings.Builder
	b.WriteString("| | Metric | Change | What was found |\n|---|---|---|---|\n")
	for i, m := range r.Metrics {
		if i == maxMetrics {
			fmt.Fprintf(&b, "| | … %d more | | |\n", len(r.Metrics)-maxMetrics)
			break
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", labelIcon(m), text(m.Name, 80), strings.ReplaceAll(m.Change(), " ", "&nbsp;"), text(m.Reason, 300))
	}
	return b.String()
}

func labelIcon(m canary.MetricReport) string {
	switch {
	case m.Critical:
		return "❌"
	case m.Label.Worse():
		return "🔴"
	case m.Label == canary.LabelPass:
		return "✅"
	}
	return "❔"
}

// behind is what few people want to see at once: the looks so far, the groups, and what was compared.
func behind(a *pipeline.Analysis) string {
	var b strings.Builder
	b.WriteString("<details><summary>Looks and what was compared</summary>\n\n")
	if p := a.Pair; p != nil {
		fmt.Fprintf(&b, "%d pods of %s (canary) beside %d of %s (baseline), since %s.\n\n",
			p.Instances, code(pipeline.Short(p.Canary.SHA)), p.Instances, code(pipeline.Short(p.Baseline.SHA)), at(p.Since))
	}
	for i, g := range a.Report.Groups {
		if i == maxMetrics {
			break
		}
		fmt.Fprintf(&b, "- group %s: score %s, %s %% of the whole\n", text(g.Name, 60), number(g.Score), number(g.Weight))
	}
	b.WriteString("\n| Look | When | Verdict | Score | |\n|---|---|---|---|---|\n")
	for _, l := range a.History[max(0, len(a.History)-maxLooks):] {
		verdict, score := "nothing to judge", ""
		if l.Verdict != "" {
			verdict, score = string(l.Verdict), number(l.Score)
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s |\n", l.Number, at(l.At), text(verdict, 40), score, text(l.Detail, 200))
	}
	b.WriteString("\n</details>")
	return b.String()
}

// number writes a score.
func number(n canary.Number) string { return n.Text("–") }
