package web

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	maxStages    = 200
	maxQuestions = 10
	maxDecisions = 200
	maxProblems  = 100
	maxLinks     = 20
	maxImages    = 30
	maxWarnings  = 20
	maxPeople    = 50
	maxChecks    = 50
)

// link is words that may lead somewhere; URL is "" or safe to render.
type link struct {
	Text, URL string
}

// deliveryPage is one delivery, ready to be rendered.
type deliveryPage struct {
	ID         string
	Look       look
	Sentence   string // why, with a large first letter; "" if there is nothing to say
	Log        string
	Title      link
	Number     string // "!12"
	Rollback   *link  // the delivery that this one undoes
	Review     string // a word for it, "" for what was merged
	Project    link
	App        string
	Commit     link
	CI         link // Text is GitLab's word
	Slack      string
	Author     string
	MergedBy   string
	Branches   string
	Links      []link
	Created    time.Time
	Started    time.Time
	Ended      time.Time
	Took       string
	Stages     []stageCard
	Graph      graph
	Questions  []questionPanel
	Decisions  []decisionRow
	Problems   []problemRow
	Warnings   []string
	More       []string // what was left out, in words
	Finished   bool
	Help       []helpRow // commands that the delivery understands now
	CommentsAt string    // where they are written
}

// helpRow is a command with what it does.
type helpRow struct {
	Command, Words string
}

type stageCard struct {
	Anchor               string // id of its card
	Name                 string
	Kind, Prep           string // "Deploy", "to"
	Look                 look
	Reason, Log          string
	Progress             string
	Done, Of             int // of the progress bar; Of 0 shows none
	Environment          string
	Namespace            string
	Where                *link // the live app or the job, nil if there is nothing to look at
	Attempt              int
	Started, Ended       time.Time
	Took                 string
	Deadline             time.Time
	DeadlineWord         string
	Images               []imageRow
	MoreImages           int
	Previous, Now        string
	Compare, PreviousURL string
	NowURL               string
	Needs                []string
	Running              bool
	Back                 bool // Now is what ran before
	Checks               []checkRow
	Exit                 string // code of its Kubernetes Job
	LogURL               string // of the log that the Job left
	ReportURL            string // of the canary's report
	Aftermath            bool
}

// checkRow is one check of a stage.
type checkRow struct {
	Look look
	Name string
	Saw  string
}

type imageRow struct {
	Name, Digest string
}

type questionPanel struct {
	Anchor, Stage, Ask, Environment string
	Who                             []string
	Not                             []string
	Quorum                          int
	Approvals                       []string
	Expires                         time.Time
	Recording                       bool
	Slack                           string
	MergeRequest                    string
	Approve, Reject                 string // commands
	Back                            bool   // it is asked whether to roll back
}

type decisionRow struct {
	Look    look
	Who     string
	Name    string
	Via     string
	Stage   string
	Attempt int
	At      time.Time
	Reason  string
	Rule    string
}

type problemRow struct {
	Place link
	What  string
	Hint  string
}

func (c *Console) newDeliveryPage(v pipeline.View) deliveryPage {
	p := deliveryPage{
		ID: v.ID, Look: deliveryLook(v), Title: title(v), Number: number(v), App: line(v.Application, maxLabel),
		Project: link{line(v.Project.Path, maxLabel), safeURL(v.Project.URL)},
		Commit:  commit(v.Project, v.SHA), CI: link{line(v.CI.Status, maxLabel), safeURL(v.CI.URL)},
		Slack: safeURL(v.MessageURL), Author: line(v.MergeRequest.AuthorUsername, maxLabel),
		MergedBy: line(v.MergeRequest.MergedBy, maxLabel), Created: v.Created, Started: v.Started, Ended: v.Ended,
		Took: took(v.Started, v.Ended), Finished: v.Status.Finished(), Review: reviewWord(v),
	}
	_, p.Log = reason(v.Reason)
	words, _ := why(v, p.Look.Word)
	p.Sentence = fullStop(capital(words))
	if v.MergeRequest.SourceBranch != "" && v.MergeRequest.TargetBranch != "" {
		p.Branches = line(v.MergeRequest.SourceBranch, maxLabel) + " → " + line(v.MergeRequest.TargetBranch, maxLabel)
	}
	if v.RollbackOf != "" {
		p.Rollback = &link{Text: line(v.RollbackOf, maxLabel)}
		if validID(v.RollbackOf) {
			p.Rollback.URL = c.path("/deliveries/" + v.RollbackOf)
		}
	}
	for _, l := range v.Links[:min(len(v.Links), maxLinks)] {
		if u := safeURL(l.URL); u != "" {
			p.Links = append(p.Links, link{firstOf(line(l.Title, maxLabel), line(u, maxLabel)), u})
		}
	}
	for _, s := range v.Stages[:min(len(v.Stages), maxStages)] {
		card := newStageCard(v, s, len(p.Stages))
		if s.Ran != nil && s.Ran.Log != "" && validID(v.ID) {
			card.LogURL = c.logPath(v.ID, s.Name)
		}
		if s.Analysis != nil && s.Analysis.Report != nil && s.Analysis.Samples != "" && validID(v.ID) {
			card.ReportURL = c.canaryPath(v.ID, s.Name)
		}
		p.Stages = append(p.Stages, card)
	}
	p.Graph = newGraph(p.Stages)
	for _, q := range v.Questions[:min(len(v.Questions), maxQuestions)] {
		p.Questions = append(p.Questions, c.newQuestionPanel(v, q, len(p.Questions)))
	}
	for _, d := range v.Decisions[max(0, len(v.Decisions)-maxDecisions):] {
		p.Decisions = append(p.Decisions, newDecisionRow(d, v.DecidedBack(d)))
	}
	for _, pr := range v.Problems[:min(len(v.Problems), maxProblems)] {
		p.Problems = append(p.Problems, newProblemRow(v, pr))
	}
	for _, w := range v.Warnings[:min(len(v.Warnings), maxWarnings)] {
		p.Warnings = append(p.Warnings, capital(line(w.Words(), maxWords)))
	}
	p.More = leftOut(v)
	c.offer(&p, v)
	return p
}

// offer names the commands that make sense now. Questions name their own.
func (c *Console) offer(p *deliveryPage, v pipeline.View) {
	p.CommentsAt = safeURL(v.MergeRequest.URL)
	for _, o := range []struct {
		may         bool
		verb, words string
	}{
		{v.MayCancel, "cancel", "stops the delivery"},
		{v.MayRetry, "retry", "tries again from what failed"},
		{v.MayPromote, "promote", "ends the standby now"},
		{v.MayRollback, "rollback", "brings back what ran before"},
	} {
		if o.may {
			p.Help = append(p.Help, helpRow{c.mention + " " + o.verb, o.words})
		}
	}
}

func leftOut(v pipeline.View) []string {
	var more []string
	for _, l := range []struct {
		have, most int
		what       string
	}{
		{len(v.Stages), maxStages, "stages"}, {len(v.Questions), maxQuestions, "questions"},
		{len(v.Decisions), maxDecisions, "older decisions"}, {len(v.Problems), maxProblems, "problems"},
		{len(v.Links), maxLinks, "links"}, {len(v.Warnings), maxWarnings, "warnings"},
	} {
		if l.have > l.most {
			more = append(more, fmt.Sprintf("%d more %s are not shown.", l.have-l.most, l.what))
		}
	}
	return more
}

func title(v pipeline.View) link {
	words := line(v.MergeRequest.Title, maxTitle)
	if words == "" {
		words = "Commit " + line(pipeline.Short(v.SHA), maxLabel)
	}
	return link{words, safeURL(v.MergeRequest.URL)}
}

func number(v pipeline.View) string {
	if v.MergeRequest.IID > 0 {
		return fmt.Sprintf("!%d", v.MergeRequest.IID)
	}
	return ""
}

func commit(p pipeline.Project, sha string) link {
	l := link{Text: line(pipeline.Short(sha), maxLabel)}
	if sha != "" {
		l.URL = below(p, "commit", sha)
	}
	return l
}

func newStageCard(v pipeline.View, s pipeline.StageView, i int) stageCard {
	c := stageCard{
		Anchor: fmt.Sprintf("stage-%d", i+1), Name: line(s.Name, maxLabel), Kind: kindWord(s.Kind), Look: stageLook(s),
		Environment: line(s.Environment, maxLabel), Namespace: line(s.Namespace, maxLabel), Attempt: s.Attempt,
		Started: s.Started, Ended: s.Ended, Took: took(s.Started, s.Ended),
		Previous: line(s.Previous, maxLabel), Now: line(s.Now, maxLabel), Aftermath: s.Aftermath,
	}
	c.Prep = "to"
	if s.Kind == pipeline.KindRun || s.Kind == pipeline.KindCanary {
		c.Prep, c.Previous = "in", "" // it replaces nothing
	}
	c.Reason, c.Log = reason(s.Reason)
	c.Reason = capital(c.Reason)
	for _, n := range s.Needs {
		c.Needs = append(c.Needs, line(n, maxLabel))
	}
	if !s.Status.Finished() && s.Status != pipeline.StagePending {
		c.Running = s.Status != pipeline.StageQueued
		c.Progress = capital(line(s.Progress, maxWords))
		c.Done, c.Of = progressOf(s.Progress)
		c.Deadline, c.DeadlineWord = s.Deadline, deadlineWord(s)
	}
	c.Back = s.Status == pipeline.StageRolledBack
	if words, u := whereWords(s), safeURL(s.URL); u != "" || c.Environment != "" {
		c.Where = &link{words, u}
	}
	c.Images, c.MoreImages = images(s.Images)
	c.watch(s)
	c.PreviousURL, c.NowURL = commitURL(v.Project, c.Previous), commitURL(v.Project, c.Now)
	if c.PreviousURL != "" && c.NowURL != "" && c.Previous != c.Now {
		c.Compare = below(v.Project, "compare", c.Previous+"..."+c.Now)
	}
	return c
}

var commitForm = regexp.MustCompile(`^[0-9a-f]{4,64}$`)

// commitURL leads to a commit, "" if it is none: what Slipway took over from was no release.
func commitURL(p pipeline.Project, sha string) string {
	if !commitForm.MatchString(sha) {
		return ""
	}
	return below(p, "commit", sha)
}

// watch shows the stage's checks, the standby, and how its Kubernetes Job ended.
func (c *stageCard) watch(s pipeline.StageView) {
	for _, check := range s.Checks[:min(len(s.Checks), maxChecks)] {
		c.Checks = append(c.Checks, checkRow{checkLook(check), line(check.Name, maxLabel), capital(line(check.Saw, maxWords))})
	}
	switch {
	case !c.Running:
	case !s.Standby.IsZero():
		c.Progress = "The traffic has moved, and " + c.Previous + " is on standby."
	case unchecked(s):
		c.Progress = "" // the list of checks says it
	}
	if s.Ran != nil {
		c.Exit = strconv.Itoa(int(s.Ran.ExitCode))
	}
}

// unchecked tells that the stage's checks run.
func unchecked(s pipeline.StageView) bool {
	return s.Status == pipeline.StageRunning && slices.ContainsFunc(s.Checks, func(c pipeline.CheckView) bool { return c.Word != "passed" })
}

func deadlineWord(s pipeline.StageView) string {
	switch {
	case s.Status == pipeline.StageAsking:
		return "Expires"
	case s.Kind == pipeline.KindWait:
		return "Goes on"
	case !s.Standby.IsZero():
		return "Standby ends"
	}
	return "Given up"
}

func whereWords(s pipeline.StageView) string {
	switch s.Kind {
	case pipeline.KindJob:
		return "the job in GitLab"
	case pipeline.KindTrigger:
		return "the CI pipeline in GitLab"
	case pipeline.KindNotify:
		return "the message"
	case pipeline.KindDeploy, pipeline.KindRun, pipeline.KindRollback, pipeline.KindTearDown,
		pipeline.KindJudgement, pipeline.KindWait, pipeline.KindValidate, pipeline.KindCanary:
	}
	return firstOf(line(s.Environment, maxLabel), "open")
}

// progressOf finds "2 of 3" in a progress, 0 of 0 if there is none.
func progressOf(s string) (done, of int) {
	words := strings.Fields(line(s, maxWords))
	for i := 1; i+1 < len(words); i++ {
		if words[i] != "of" {
			continue
		}
		var d, o int
		if _, err := fmt.Sscanf(words[i-1]+" "+words[i+1], "%d %d", &d, &o); err == nil && d >= 0 && o > 0 && d <= o && o < 1e6 {
			return d, o
		}
	}
	return 0, 0
}

func images(all []pipeline.Image) (rows []imageRow, more int) {
	for _, img := range all[:min(len(all), maxImages)] {
		rows = append(rows, imageRow{line(img.Name, maxTitle), line(img.Digest, maxLabel)})
	}
	return rows, len(all) - len(rows)
}

func (c *Console) newQuestionPanel(v pipeline.View, q pipeline.Question, i int) questionPanel {
	p := questionPanel{
		Anchor: fmt.Sprintf("question-%d", i+1), Stage: line(q.Stage, maxLabel), Ask: firstOf(line(q.Ask, maxWords), "Go on?"),
		Environment: line(q.Environment, maxLabel), Quorum: q.Quorum, Expires: q.Expires, Recording: q.Recording,
		Slack: safeURL(v.MessageURL), MergeRequest: safeURL(v.MergeRequest.URL),
		Approve: c.mention + " approve", Reject: c.mention + " reject: the reason",
	}
	if len(v.Questions) > 1 {
		p.Approve += " " + p.Stage
		p.Reject = c.mention + " reject " + p.Stage + ": the reason"
	}
	p.Back = q.Back
	p.Who = people(q.Approvers)
	p.Not = people(q.Not)
	for _, d := range q.Approvals[:min(len(q.Approvals), maxPeople)] {
		p.Approvals = append(p.Approvals, line(d.By.Label(), maxLabel))
	}
	return p
}

// people words the names that a rule lists.
func people(rules []string) []string {
	var out []string
	for _, r := range rules {
		words := line(r, maxLabel)
		switch {
		case r == "author" || r == "merger":
			words = "the " + r
		case strings.HasPrefix(r, "group:"):
			words = "members of " + strings.TrimPrefix(words, "group:")
		}
		if len(out) < maxPeople && !slices.Contains(out, words) {
			out = append(out, words)
		}
	}
	return out
}

func newDecisionRow(d pipeline.Decision, back bool) decisionRow {
	r := decisionRow{
		Look: decisionLook(d.What, back), Who: line(d.By.Label(), maxLabel), Name: line(d.By.Name, maxLabel), Via: line(string(d.Via), maxLabel),
		Stage: line(d.Stage, maxLabel), At: d.At, Reason: line(d.Reason, maxWords), Rule: line(d.Rule, maxWords),
	}
	if d.Attempt > 1 {
		r.Attempt = d.Attempt
	}
	if r.Name == r.Who {
		r.Name = ""
	}
	return r
}

// newProblemRow links the place in the pipeline file at the very commit.
func newProblemRow(v pipeline.View, p pipeline.Problem) problemRow {
	r := problemRow{What: capital(line(p.What, maxWords)), Hint: line(p.Hint, maxWords)}
	r.Place.Text = line(p.File, maxLabel)
	if p.File != "" && v.SHA != "" {
		r.Place.URL = below(v.Project, "blob", v.SHA, p.File)
	}
	if p.Line > 0 {
		r.Place.Text += fmt.Sprintf(":%d:%d", p.Line, p.Column)
		if r.Place.URL != "" {
			r.Place.URL += fmt.Sprintf("#L%d", p.Line)
		}
	}
	return r
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}
