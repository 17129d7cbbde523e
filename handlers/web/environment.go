package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	maxResources   = 1000
	maxDifferences = 200
	maxReleases    = 50
	maxHappenings  = 50
)

// environmentPage is one environment, ready to be rendered.
type environmentPage struct {
	App, Name          string
	Look               look
	Sentence           string
	Project            link
	Cluster, Namespace string
	Tier               string
	Open               string
	Current            *releaseRow
	Holder             *link
	HolderStage        string
	Queue              []link
	Trouble, Problem   string
	Unsure             string // why nobody knows what runs
	UnsureSince        time.Time
	Notes              []string
	Groups             []resourceGroup
	More               int
	Drift              driftPanel
	Events             []happeningRow
	Releases           []releaseRow
	Back               *rollbackForm // nil if there is nothing to go back to
	Links              []link
}

// resourceGroup is resources of one purpose.
type resourceGroup struct {
	Anchor, Title string
	Rows          []resourceRow
}

// resourceRow is one object, with how deep it is below what controls it.
type resourceRow struct {
	Depth      int
	Kind, Name string
	Look       look
	Words      string
	Images     []string
	Facts      []string
	Drifted    bool
	Created    time.Time
	Links      []link
	Logs       []link
}

type happeningRow struct {
	Of, Reason, Words string
	Count             int32
	At                time.Time
}

type releaseRow struct {
	ID       string
	Title    string
	Commit   link
	Delivery link
	By       string
	At       time.Time
	Look     look
	Images   []string
	Command  string // that goes back to it, "" if it cannot be gone back to
}

// rollbackForm asks for a rollback by the API, in the name of whoever has the token.
type rollbackForm struct {
	Project, Environment string
	Releases             []releaseRow // that can be gone back to
	First                string       // which one it is if none is chosen
}

type driftPanel struct {
	Mode      string
	Words     string
	Corrected time.Time
	Rows      []driftRow
	More      int
}

type driftRow struct {
	Object, Field  string
	Live, Recorded string
	By             string
	At             time.Time
	Words          string // in place of the values
	Left           string // why it is never corrected
}

func (c *Console) newEnvironmentPage(e EnvironmentView) environmentPage {
	p := environmentPage{
		App: line(e.Application, maxLabel), Name: line(e.Name, maxLabel), Look: environmentLook(e),
		Sentence: fullStop(capital(line(firstOf(e.Words, e.Problem), maxWords))),
		Project:  link{line(e.Project.Path, maxLabel), safeURL(e.Project.URL)},
		Cluster:  line(e.Cluster, maxLabel), Namespace: line(e.Namespace, maxLabel), Tier: line(e.Tier, maxLabel), Open: openURL(e),
		Holder: c.holder(e), Trouble: fullStop(capital(line(e.Trouble, maxWords))), More: e.More,
	}
	if e.Problem != "" && e.Words != "" {
		p.Problem = fullStop(capital(line(e.Problem, maxWords)))
	}
	if e.Holder != nil {
		p.HolderStage = line(e.Holder.Stage, maxLabel)
	}
	for _, q := range e.Queue[:min(len(e.Queue), maxPeople)] {
		l := link{Text: firstOf(line(q.Name, maxLabel), line(q.Delivery, maxLabel))}
		if validID(q.Delivery) {
			l.URL = c.path("/deliveries/" + q.Delivery)
		}
		p.Queue = append(p.Queue, l)
	}
	for _, n := range e.Notes[:min(len(e.Notes), maxWarnings)] {
		p.Notes = append(p.Notes, fullStop(capital(line(n, maxWords))))
	}
	for _, l := range e.Links[:min(len(e.Links), maxLinks)] {
		if u := safeURL(l.URL); u != "" {
			p.Links = append(p.Links, link{line(l.Title, maxLabel), u})
		}
	}
	c.grow(&p, e)
	p.Drift = newDriftPanel(e)
	for i := len(e.Releases) - 1; i >= 0 && len(p.Releases) < maxReleases; i-- {
		p.Releases = append(p.Releases, c.newReleaseRow(e, e.Releases[i], i == len(e.Releases)-1 && e.Unsure == nil))
	}
	p.Back = newRollbackForm(e, p.Releases)
	if e.Unsure != nil {
		p.Unsure, p.UnsureSince = fullStop(capital(line(unsure(e), maxWords))), e.Unsure.Since
	} else if len(p.Releases) > 0 {
		p.Current = &p.Releases[0]
	}
	return p
}

// grow makes rows of the tree, in groups by what the objects are for.
func (c *Console) grow(p *environmentPage, e EnvironmentView) {
	groups := []resourceGroup{
		{"traffic", "Traffic", nil}, {"workloads", "Workloads", nil}, {"rules", "Scaling and budgets", nil}, {"settings", "Configuration", nil},
	}
	left := maxResources
	base := c.environmentPath(e.Environment.Project, e.Name)
	var add func(g *resourceGroup, r Resource, depth int)
	add = func(g *resourceGroup, r Resource, depth int) {
		if left--; left < 0 {
			p.More++
			return
		}
		g.Rows = append(g.Rows, newResourceRow(r, depth, base))
		for _, ev := range r.Events {
			if len(p.Events) < maxHappenings {
				p.Events = append(p.Events, happeningRow{line(r.Kind+" "+r.Name, maxTitle), line(ev.Reason, maxLabel), line(ev.Words, maxWords), ev.Count, ev.At})
			}
		}
		for _, child := range r.Children {
			add(g, child, depth+1)
		}
	}
	for _, r := range e.Resources {
		add(&groups[groupOf(r.Kind)], r, 0)
	}
	for _, g := range groups {
		if len(g.Rows) > 0 {
			p.Groups = append(p.Groups, g)
		}
	}
}

func groupOf(kind string) int {
	switch kind {
	case "Ingress", "HTTPRoute", "Service":
		return 0
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod", "Job", "CronJob":
		return 1
	case "HorizontalPodAutoscaler", "PodDisruptionBudget":
		return 2
	}
	return 3
}

func newResourceRow(r Resource, depth int, base string) resourceRow {
	row := resourceRow{
		Depth: min(depth, 3), Kind: line(r.Kind, maxLabel), Name: line(r.Name, maxTitle), Look: healthLook(r.Health),
		Words: line(r.Words, maxWords), Drifted: r.Drifted, Created: r.Created,
	}
	for _, i := range r.Images[:min(len(r.Images), maxImages)] {
		row.Images = append(row.Images, line(i, maxTitle))
	}
	for _, f := range []string{r.Track, r.Version} {
		if f != "" {
			row.Facts = append(row.Facts, line(f, maxLabel))
		}
	}
	if r.Restarts > 0 {
		row.Facts = append(row.Facts, fmt.Sprintf("%d restarts", r.Restarts))
	}
	if r.Restarts == 1 {
		row.Facts[len(row.Facts)-1] = "1 restart"
	}
	for _, l := range r.Links[:min(len(r.Links), maxLinks)] {
		if u := safeURL(l.URL); u != "" {
			row.Links = append(row.Links, link{line(l.Title, maxLabel), u})
		}
	}
	for _, name := range r.Containers[:min(len(r.Containers), maxImages)] {
		words := "Log"
		if len(r.Containers) > 1 {
			words = "Log of " + line(name, maxLabel)
		}
		row.Logs = append(row.Logs, link{words, logPath(base, r.Name, name)})
	}
	return row
}

func newDriftPanel(e EnvironmentView) driftPanel {
	d := e.Drift
	p := driftPanel{Mode: line(d.Mode, maxLabel), Corrected: d.Corrected}
	switch {
	case d.Mode == "ignore":
		p.Words = "The operator has switched the comparison off."
	case d.Problem != "":
		p.Words = fullStop(capital(line(d.Problem, maxWords)))
	case !d.Checked:
		p.Words = "Nothing was compared yet."
	case len(d.Differences) == 0:
		p.Words = "Everything is as the release recorded it."
	}
	for _, f := range d.Differences[:min(len(d.Differences), maxDifferences)] {
		row := driftRow{
			Object: line(f.Kind+" "+f.Name, maxTitle), Field: line(f.Field, maxTitle), Live: line(f.Live, maxTitle), Recorded: line(f.Recorded, maxTitle),
			By: line(f.By, maxLabel), At: f.At, Left: fullStop(capital(line(f.Left, maxWords))),
		}
		switch {
		case f.Missing:
			row.Words = "It is not in the cluster."
		case f.Trouble != "":
			row.Words = fullStop("It can't be compared: " + line(f.Trouble, maxWords))
		}
		p.Rows = append(p.Rows, row)
	}
	p.More = len(d.Differences) - len(p.Rows)
	return p
}

func (c *Console) newReleaseRow(e EnvironmentView, r pipeline.Release, current bool) releaseRow {
	row := releaseRow{
		ID: line(r.ID, maxTitle), Title: firstOf(line(r.Title, maxTitle), "Commit "+line(pipeline.Short(r.SHA), maxLabel)),
		Commit: commit(e.Project, r.SHA), Delivery: link{Text: line(r.Delivery, maxLabel)}, By: person(r.By), At: r.At,
		Look: look{"idle", "dot", "Before"},
	}
	if validID(r.Delivery) {
		row.Delivery.URL = c.path("/deliveries/" + r.Delivery)
	}
	for _, i := range r.Images[:min(len(r.Images), maxImages)] {
		row.Images = append(row.Images, line(i.Name, maxTitle))
	}
	switch {
	case current:
		row.Look = look{"ok", "check", "Runs now"}
	case r.Bad:
		row.Look = look{"bad", "cross", "Bad"}
	default:
		row.Command = "slipway rollback " + quoted(e.Name) + " --to " + quoted(r.ID) + " --project " + quoted(firstOf(e.Project.Path, strconv.FormatInt(e.Environment.Project, 10)))
	}
	return row
}

func newRollbackForm(e EnvironmentView, releases []releaseRow) *rollbackForm {
	f := &rollbackForm{Project: e.Project.Path, Environment: e.Name, First: "the release before"}
	if e.Unsure != nil {
		f.First = "the last good release"
	}
	seen := map[string]bool{}
	for _, r := range releases {
		if r.Command != "" && !seen[r.ID] {
			f.Releases = append(f.Releases, r)
		}
		seen[r.ID] = true
	}
	if f.Project == "" || len(f.Releases) == 0 {
		return nil
	}
	return f
}

// quoted is a word as a shell takes it for one, whatever is in it.
func quoted(s string) string {
	s = line(s, maxURL)
	plain := s != "" && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./:@", r)
	}) < 0
	if plain && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
