package chatops

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/policy"
)

const (
	maxTitle     = 150 // characters
	maxLabel     = 100 // of a name
	maxWords     = 300 // of a reason, a progress, a question
	maxLogLines  = 8
	maxLog       = 900 // characters
	maxSteps     = 25  // of the strip
	maxNotes     = 10  // stages that say more than their icon
	maxQuestions = 4
	maxDecisions = 5
	maxProblems  = 5
	maxLinks     = 8
)

// Card is a delivery as a chat message shows it. All texts are plain, bounded and, but
// for Note.Log, one line; whoever renders them escapes them.
type Card struct {
	Delivery  string
	Icon      string
	Title     Fragment
	Facts     []Fragment // project, commit, people
	Status    string     // a sentence without full stop
	Strip     []Step
	After     []Step   // of stages that follow how the delivery ended
	Notes     []Note   // of stages that have something to say
	Problems  []string // of the pipeline file
	Questions []Question
	Offers    []Offer
	Decisions []Decision
	Links     []Fragment
	Warnings  []string
	Summary   string // what a notification says
	Chart     *Chart // of a canary that is bad, or that people are asked about; nil without
}

// Chart is a metric of a canary and of its baseline over time: equally many points of both, in the order of time.
type Chart struct {
	Metric           string
	Baseline, Canary []float64
}

// Fragment is a piece of text that may lead somewhere.
type Fragment struct {
	Text string
	URL  string // "" leads nowhere
}

// Step is a stage in the strip.
type Step struct {
	Icon string
	Name string
}

// Note is what a stage says while it runs, or why it did not end well.
type Note struct {
	Icon  string
	Stage Fragment
	Text  string
	Until time.Time // follows the text, in the reader's own time; zero if it says all
	More  string    // follows that
	Log   []string  // the last lines of what failed, as they were written
}

// Question is a judgement that waits for people.
type Question struct {
	Token       string
	Stage       string
	Environment string // that comes next, "" if none
	Ask         string
	Who         string // may answer
	Approvals   string // "1 of 2 approvals: @ada"; "" if one is enough
	Expires     time.Time
	Confirm     bool
	Recording   bool // an answer is being looked at, so there are no buttons
	// Back: it is asked whether to roll back; an approval does, and a rejection leaves it as it is.
	Back bool
}

// Decision is what a person decided.
type Decision struct {
	Icon   string
	Text   string // "go-live approved by @ada (Slack)"
	At     time.Time
	Reason string
}

// NewCard makes the card. consoleURL is the address of the pages, "" if there are none;
// quiet is the kind of effect whose warnings are left out, because they are about the
// very message that the card is for.
func NewCard(v pipeline.View, consoleURL string, quiet string) Card {
	c := Card{Delivery: v.ID, Icon: v.Icon, Title: title(v), Facts: facts(v), Status: status(v)}
	for i, s := range v.Stages {
		if i == maxSteps {
			c.Strip = append(c.Strip, Step{Icon: "…", Name: fmt.Sprintf("%d more", len(v.Stages)-i)})
			break
		}
		step := Step{Icon: s.Icon, Name: Line(s.Name, maxLabel)}
		if s.Aftermath {
			c.After = append(c.After, step)
		} else {
			c.Strip = append(c.Strip, step)
		}
	}
	for _, s := range v.Stages {
		if s.Status == pipeline.StageSkipped && v.Status != pipeline.StatusSucceeded && v.Status != pipeline.StatusRunning {
			continue // it was skipped because of how the delivery ended, which the status says
		}
		if n, ok := note(s); ok && len(c.Notes) < maxNotes {
			if s.Ran != nil && s.Ran.Log != "" && consoleURL != "" {
				n.Stage.URL = stageURL(consoleURL, v.ID, s.Name) + "/log"
			}
			if a := s.Analysis; a != nil && a.Report != nil && a.Samples != "" && consoleURL != "" {
				n.Stage.URL = stageURL(consoleURL, v.ID, s.Name) + "/canary"
			}
			c.Notes = append(c.Notes, n)
		}
	}
	for i, p := range v.Problems {
		if i == maxProblems {
			c.Problems = append(c.Problems, fmt.Sprintf("and %d more", len(v.Problems)-i))
			break
		}
		c.Problems = append(c.Problems, Line(p.String(), maxWords))
	}
	for _, q := range v.Questions[:min(len(v.Questions), maxQuestions)] {
		c.Questions = append(c.Questions, question(q))
	}
	for _, d := range v.Decisions[max(0, len(v.Decisions)-maxDecisions):] {
		c.Decisions = append(c.Decisions, decision(d, v.DecidedBack(d)))
	}
	for _, w := range v.Warnings {
		if w.Effect != quiet {
			c.Warnings = append(c.Warnings, Line(w.Words(), maxWords))
		}
	}
	c.Chart = trend(v)
	c.Offers = offers(v)
	c.Links = links(v, consoleURL)
	c.Summary = summary(v, c)
	return c
}

func title(v pipeline.View) Fragment {
	f := Fragment{Text: Line(v.MergeRequest.Title, maxTitle), URL: v.MergeRequest.URL}
	if v.MergeRequest.IID > 0 {
		f.Text = strings.TrimSpace(fmt.Sprintf("!%d %s", v.MergeRequest.IID, f.Text))
	}
	if f.Text == "" {
		f.Text = pipeline.Short(v.SHA)
	}
	if v.RollbackOf != "" {
		f.Text = "Rollback of " + f.Text
	}
	return f
}

func facts(v pipeline.View) []Fragment {
	app := Line(v.Application, maxLabel)
	facts := []Fragment{{Text: app, URL: v.Project.URL}}
	if path := Line(v.Project.Path, maxLabel); path != app && path != "" {
		facts[0].Text = app + " (" + path + ")"
	}
	if v.SHA != "" {
		f := Fragment{Text: pipeline.Short(v.SHA)}
		if v.Project.URL != "" {
			f.URL = v.Project.URL + "/-/commit/" + v.SHA
		}
		facts = append(facts, f)
	}
	mr := v.MergeRequest
	if mr.AuthorUsername != "" {
		facts = append(facts, Fragment{Text: "by @" + Line(mr.AuthorUsername, maxLabel)})
	}
	if mr.MergedBy != "" && mr.MergedBy != mr.AuthorUsername {
		facts = append(facts, Fragment{Text: "merged by @" + Line(mr.MergedBy, maxLabel)})
	}
	return facts
}

func status(v pipeline.View) string {
	words := ""
	switch v.Status {
	case pipeline.StatusLoading:
		words = "Reading the pipeline file"
	case pipeline.StatusWaiting:
		words = "Waiting"
	case pipeline.StatusRunning:
		words = "Under way"
		if len(v.Questions) > 0 {
			words = "Waiting for people"
		}
		if len(v.Questions) == 1 && v.Questions[0].Back {
			words = "Roll back?"
		}
	case pipeline.StatusSucceeded:
		if v.RollbackOf != "" {
			return "Rolled back" + took(v, "in")
		}
		return "Delivered" + took(v, "in")
	case pipeline.StatusFailed:
		words = "Failed" + took(v, "after")
	case pipeline.StatusRolledBack:
		words = "Rolled back" + took(v, "after")
	case pipeline.StatusRejected:
		words = "Rejected"
	case pipeline.StatusCanceled:
		words = "Canceled"
	case pipeline.StatusSuperseded:
		words = "Superseded"
	case pipeline.StatusInvalid:
		words = "Not started"
	case pipeline.StatusNone:
		words = "No delivery"
	}
	// Only the first line: the log of a stage is shown with the stage.
	reason, _, _ := strings.Cut(v.Reason, "\n")
	reason = Line(reason, maxWords)
	if v.Status == pipeline.StatusFailed || v.Status == pipeline.StatusRolledBack {
		reason = withoutWhy(reason)
	}
	switch {
	case reason == "" || strings.EqualFold(reason, words):
		return words
	case strings.HasPrefix(reason, strings.ToLower(words)+" "):
		return strings.ToUpper(reason[:1]) + reason[1:] // "Canceled by @ada" needs no "Canceled: "
	}
	return words + ": " + reason
}

// withoutWhy leaves out of "stage staging failed: why; staging is back at 1b2c3d4e" what
// the stage itself says below.
func withoutWhy(reason string) string {
	head, rest, found := strings.Cut(reason, ": ")
	if !found || !strings.HasPrefix(head, "stage ") {
		return reason
	}
	if i := strings.LastIndex(rest, "; "); i >= 0 {
		return head + rest[i:]
	}
	return head
}

func took(v pipeline.View, word string) string {
	if v.Ended.IsZero() || v.Started.IsZero() || v.Ended.Before(v.Started) {
		return ""
	}
	return " " + word + " " + duration(v.Ended.Sub(v.Started))
}

// duration is a time as people say it: "45s", "4m 12s", "1h 3m".
func duration(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

func nonEmpty(words ...string) []string {
	var out []string
	for _, w := range words {
		if w != "" {
			out = append(out, w)
		}
	}
	return out
}

// stageURL is the address below which the console has what belongs to a stage.
func stageURL(consoleURL, delivery, stage string) string {
	return strings.TrimRight(consoleURL, "/") + "/deliveries/" + delivery + "/stages/" + url.PathEscape(stage)
}

// trend is the chart of the newest canary about which people want to know more than its verdict.
func trend(v pipeline.View) *Chart {
	for _, s := range slices.Backward(v.Stages) {
		if s.Analysis == nil || s.Analysis.Trend == nil || s.Status != pipeline.StageAsking && s.Status != pipeline.StageFailed {
			continue
		}
		t := s.Analysis.Trend
		c := Chart{Metric: Line(t.Metric, maxLabel)}
		for i := range min(len(t.Baseline), len(t.Canary)) {
			if b, k := t.Baseline[i], t.Canary[i]; b.Known() && k.Known() {
				c.Baseline, c.Canary = append(c.Baseline, float64(b)), append(c.Canary, float64(k))
			}
		}
		if len(c.Baseline) > 1 {
			return &c
		}
	}
	return nil
}

func question(q pipeline.Question) Question {
	out := Question{
		Token: q.Token, Stage: Line(q.Stage, maxLabel), Environment: Line(q.Environment, maxLabel),
		Ask: firstOf(Line(q.Ask, maxWords), "Go on?"), Who: who(q), Expires: q.Expires, Confirm: q.Confirm, Recording: q.Recording,
		Back: q.Back,
	}
	if q.Quorum > 1 {
		out.Approvals = fmt.Sprintf("%d of %d approvals", len(q.Approvals), q.Quorum)
		var names []string
		for _, d := range q.Approvals {
			names = append(names, Line(d.By.Label(), maxLabel))
		}
		if len(names) > 0 {
			out.Approvals += ": " + Clip(strings.Join(names, ", "), maxWords)
		}
	}
	return out
}

func who(q pipeline.Question) string {
	words := "Developers of the project"
	if len(q.Approvers) > 0 {
		words = spoken(q.Approvers)
	}
	if len(q.Not) > 0 {
		words += ", but not " + spoken(q.Not)
	}
	return Line(words, maxWords)
}

func spoken(entries []string) string {
	words := make([]string, 0, len(entries))
	for _, e := range entries {
		before, name := policy.Words(e)
		words = append(words, before+name)
	}
	return strings.Join(words, ", ")
}

// decision words what a person decided; back tells that it was about a rollback.
func decision(d pipeline.Decision, back bool) Decision {
	icon, verb := "", string(d.What)
	switch d.What {
	case pipeline.VerbApprove:
		icon, verb = "👍", "approved"
	case pipeline.VerbReject:
		icon, verb = "⛔", "rejected"
	case pipeline.VerbCancel:
		icon, verb = "⏹️", "canceled"
	case pipeline.VerbRetry:
		icon, verb = "🔁", "retried"
	case pipeline.VerbRollback:
		icon, verb = "↩️", "rolled back"
	case pipeline.VerbPromote:
		icon, verb = "⏩", "promoted"
	case pipeline.VerbStatus, pipeline.VerbHelp, pipeline.VerbUnknown:
	}
	switch {
	case back && d.What == pipeline.VerbApprove:
		icon, verb = "↩️", "rolled back"
	case back:
		icon, verb = "✋", "left as it is"
	}
	words := fmt.Sprintf("%s by %s (%s)", verb, Line(d.By.Label(), maxLabel), d.Via)
	if d.Stage != "" {
		words = Line(d.Stage, maxLabel) + " " + words
	}
	return Decision{Icon: icon, Text: words, At: d.At, Reason: Line(d.Reason, maxWords)}
}

func links(v pipeline.View, consoleURL string) []Fragment {
	var all []Fragment
	add := func(text, url string) {
		for _, f := range all {
			if f.URL == url {
				return
			}
		}
		if url != "" && len(all) < maxLinks {
			all = append(all, Fragment{Text: Line(text, maxLabel), URL: url})
		}
	}
	add("Merge request", v.MergeRequest.URL)
	if consoleURL != "" {
		add("Delivery", strings.TrimRight(consoleURL, "/")+"/deliveries/"+v.ID)
	}
	add("CI pipeline", v.CI.URL)
	for _, s := range v.Stages {
		if s.Environment != "" && s.Kind != pipeline.KindRun && s.Kind != pipeline.KindCanary && s.Status == pipeline.StageSucceeded {
			add("Open "+s.Environment, s.URL)
		}
	}
	for _, l := range v.Links {
		add(firstOf(l.Title, l.URL), l.URL)
	}
	return all
}

func summary(v pipeline.View, c Card) string {
	words := c.Status
	if len(c.Questions) > 0 {
		words = c.Questions[0].Ask
	}
	return Clip(strings.Join(nonEmpty(c.Icon+" "+Line(v.Application, maxLabel), c.Title.Text, words), " · "), 2*maxWords)
}
