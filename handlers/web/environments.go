package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Environments is where the pages of what runs where get it from.
type Environments interface {
	// List is all environments that are known, without their trees.
	List(ctx context.Context) ([]EnvironmentView, error)
	// Environment is one with everything, or ErrNotFound.
	Environment(ctx context.Context, project int64, name string) (EnvironmentView, error)
	// Log is the end of a container's log as people may see it, and which container it is: the first one if none is
	// named. ErrNotFound if there is no such pod in the environment.
	Log(ctx context.Context, project int64, name, pod, container string) (of string, lines []string, err error)
	// EnvironmentChanges signals as Source.Changes does; project 0 means all environments.
	EnvironmentChanges(ctx context.Context, project int64, name string) (changed <-chan struct{}, stop func())
}

// EnvironmentView is one environment as people see it.
type EnvironmentView struct {
	Project     pipeline.Project
	Application string
	pipeline.Environment
	Cluster, Namespace, Tier string
	URL                      string // of the live app, by the operator
	Health                   string // deploy's word; "" where nobody has looked
	Words                    string
	Links                    []pipeline.Link
	Resources                []Resource
	More                     int // resources that were left out
	Notes                    []string
	Trouble                  string // why what is shown may be old
	Problem                  string // why the cluster could not be asked
	Drift                    DriftView
}

// Resource is one object of the cluster.
type Resource struct {
	Kind, Name, Health, Words       string
	Images, Containers              []string
	Version, Track, Release, Commit string
	Restarts                        int32
	Created                         time.Time
	Events                          []ResourceEvent
	Links                           []pipeline.Link
	Drifted                         bool
	Children                        []Resource
}

// ResourceEvent is a warning of the cluster.
type ResourceEvent struct {
	Reason, Words string
	Count         int32
	At            time.Time
}

// DriftView is how the cluster differs from the recorded release.
type DriftView struct {
	Mode        string // show, correct or ignore
	Checked     bool
	Corrected   time.Time
	Problem     string
	Differences []DifferenceView
}

// DifferenceView is one field, or an object that is missing.
type DifferenceView struct {
	Kind, Name, Field, Live, Recorded, By, Trouble, Left string
	Missing                                              bool
	At                                                   time.Time
}

const maxEnvironments = 500

// environmentsPage is the matrix: one row for an application, one column for an environment.
type environmentsPage struct {
	Columns []string
	Rows    []matrixRow
	More    int
}

type matrixRow struct {
	App     string
	Project link
	Cells   []matrixCell // as many as there are columns
}

type matrixCell struct {
	There    bool
	URL      string // of its page
	Column   string
	Look     look
	Words    string
	Version  string
	Commit   link
	Since    time.Time
	By       string
	Open     string // the live app
	Delivery *link  // that has it now
	Waiting  int
}

func (c *Console) newEnvironmentsPage(all []EnvironmentView) environmentsPage {
	var p environmentsPage
	if len(all) > maxEnvironments {
		p.More, all = len(all)-maxEnvironments, all[:maxEnvironments]
	}
	tiers := map[string]int{}
	for _, e := range all {
		name := line(e.Name, maxLabel)
		rank := tierRank(e.Tier)
		if have, ok := tiers[name]; !ok || rank > have {
			tiers[name] = rank
		}
	}
	for name := range tiers {
		p.Columns = append(p.Columns, name)
	}
	slices.SortFunc(p.Columns, func(a, b string) int {
		if tiers[a] != tiers[b] {
			return tiers[a] - tiers[b]
		}
		return strings.Compare(a, b)
	})
	rows := map[int64]*matrixRow{}
	var order []int64
	for _, e := range all {
		r := rows[e.Environment.Project]
		if r == nil {
			r = &matrixRow{Cells: make([]matrixCell, len(p.Columns))}
			for i := range r.Cells {
				r.Cells[i].Column = p.Columns[i]
			}
			rows[e.Environment.Project], order = r, append(order, e.Environment.Project)
		}
		r.App = firstOf(r.App, line(e.Application, maxLabel))
		r.Project = link{line(e.Project.Path, maxLabel), safeURL(e.Project.URL)}
		r.Cells[slices.Index(p.Columns, line(e.Name, maxLabel))] = c.newMatrixCell(e)
	}
	for _, id := range order {
		p.Rows = append(p.Rows, *rows[id])
	}
	slices.SortStableFunc(p.Rows, func(a, b matrixRow) int {
		return strings.Compare(a.App+"\x00"+a.Project.Text, b.App+"\x00"+b.Project.Text)
	})
	return p
}

// tierRank puts production last, as it is in a pipeline.
func tierRank(tier string) int {
	return slices.Index([]string{"development", "testing", "other", "staging", "production"}, tier)
}

func (c *Console) newMatrixCell(e EnvironmentView) matrixCell {
	m := matrixCell{
		There: true, URL: c.environmentPath(e.Environment.Project, e.Name), Column: line(e.Name, maxLabel), Look: environmentLook(e),
		Words: line(e.Words, maxWords), Open: openURL(e), Waiting: len(e.Queue),
	}
	if m.Look.Word == "Healthy" {
		m.Words = line(e.Words, maxLabel)
	}
	if r := e.Current(); r != nil && e.Unsure == nil {
		m.Version, m.Commit = line(r.Title, maxTitle), commit(e.Project, r.SHA)
		m.Since, m.By = r.At, person(r.By)
	}
	m.Words = firstOf(line(unsure(e), maxWords), m.Words)
	m.Delivery = c.holder(e)
	return m
}

func person(by string) string { return line(by, maxLabel) }

// holder is the delivery that has the environment now, nil if none has.
func (c *Console) holder(e EnvironmentView) *link {
	if e.Holder == nil {
		return nil
	}
	l := link{Text: firstOf(line(e.Holder.Name, maxLabel), line(e.Holder.Delivery, maxLabel))}
	if validID(e.Holder.Delivery) {
		l.URL = c.path("/deliveries/" + e.Holder.Delivery)
	}
	return &l
}

// openURL is where the live app is: where the operator says, or where its routes lead.
func openURL(e EnvironmentView) string {
	if u := safeURL(e.URL); u != "" {
		return u
	}
	for _, l := range e.Links {
		if u := safeURL(l.URL); u != "" {
			return u
		}
	}
	return ""
}

// environmentPath is the address of an environment's page.
func (c *Console) environmentPath(project int64, name string) string {
	return c.path("/environments/" + strconv.FormatInt(project, 10) + "/" + url.PathEscape(name))
}

func environmentLook(e EnvironmentView) look {
	switch {
	case e.Holder != nil && e.Health != "Degraded":
		return look{"run", "run", "Being delivered"}
	case e.Unsure != nil:
		return look{"bad", "cross", "Unsure"}
	case e.Problem != "" && e.Health == "":
		return look{"off", "minus", "Not known"}
	case e.Current() == nil && (e.Health == "" || e.Health == "Unknown"):
		return look{"off", "minus", "Empty"}
	case e.Health == "":
		return look{"off", "minus", "Not looked at"}
	}
	return healthLook(e.Health)
}

// unsure says since whose rollback nobody knows what runs, "" if it is known.
func unsure(e EnvironmentView) string {
	if e.Unsure == nil {
		return ""
	}
	words := "nobody knows what runs here, because a rollback failed half-way (" + e.Unsure.By + ")"
	if r := e.LastGood(); r != nil {
		words += "; the last good release is " + pipeline.Short(r.SHA)
	}
	return words
}

func healthLook(health string) look {
	switch health {
	case "Healthy":
		return look{"ok", "check", "Healthy"}
	case "Progressing":
		return look{"run", "run", "Progressing"}
	case "Degraded":
		return look{"bad", "cross", "Degraded"}
	case "Suspended":
		return look{"wait", "stop", "Suspended"}
	case "Missing":
		return look{"bad", "ban", "Missing"}
	}
	return look{"off", "minus", "Unknown"}
}

// spot is what an address below /environments/ names.
type spot struct {
	project int64
	name    string
	pod     string // of a log
	events  bool
}

// spotAt reads {project}/{name}, …/events and …/pods/{pod}/log. A name may hold slashes, as they are or as %2F.
func spotAt(escaped string) (spot, bool) {
	rest, ok := strings.CutPrefix(escaped, "/environments/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) < 2 {
		return spot{}, false
	}
	for i, p := range parts {
		var err error
		if parts[i], err = url.PathUnescape(p); err != nil || p == "" || len(p) > 1024 {
			return spot{}, false
		}
	}
	project, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil || project <= 0 {
		return spot{}, false
	}
	p, n := spot{project: project}, len(parts)
	switch {
	case n >= 5 && parts[n-3] == "pods" && parts[n-1] == "log":
		p.pod, parts = parts[n-2], parts[:n-3]
	case n >= 3 && parts[n-1] == "events":
		p.events, parts = true, parts[:n-1]
	}
	p.name = strings.Join(parts[1:], "/")
	return p, true
}

// routeEnvironments finds the page of an address, nil if there is none.
func (c *Console) routeEnvironments(r *http.Request) http.HandlerFunc {
	if c.environments == nil {
		return nil
	}
	switch r.URL.Path {
	case "/environments":
		return c.environmentList
	case "/environments/events":
		return c.environmentListEvents
	}
	at, ok := spotAt(r.URL.EscapedPath())
	switch {
	case !ok:
		return nil
	case at.pod != "":
		return func(w http.ResponseWriter, r *http.Request) { c.podLog(w, r, at) }
	case at.events:
		return func(w http.ResponseWriter, r *http.Request) { c.environmentEvents(w, r, at) }
	}
	return func(w http.ResponseWriter, r *http.Request) { c.environment(w, r, at) }
}

func (c *Console) environmentList(w http.ResponseWriter, r *http.Request) {
	f, err := c.environmentsFragment(r.Context())
	if err != nil {
		c.fail(w, r, err)
		return
	}
	c.show(w, r, http.StatusOK, f, c.path("/environments/events"))
}

func (c *Console) environmentListEvents(w http.ResponseWriter, r *http.Request) {
	c.stream(w, r, c.environmentChanges(r.Context(), 0, ""), listPace, c.environmentsFragment)
}

func (c *Console) environment(w http.ResponseWriter, r *http.Request, at spot) {
	f, err := c.environmentFragment(r.Context(), at)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	c.show(w, r, http.StatusOK, f, c.environmentPath(at.project, at.name)+"/events")
}

func (c *Console) environmentEvents(w http.ResponseWriter, r *http.Request, at spot) {
	c.stream(w, r, c.environmentChanges(r.Context(), at.project, at.name), listPace, func(ctx context.Context) (fragment, error) {
		return c.environmentFragment(ctx, at)
	})
}

func (c *Console) environmentChanges(ctx context.Context, project int64, name string) listening {
	return func() (<-chan struct{}, func()) { return c.environments.EnvironmentChanges(ctx, project, name) }
}

func (c *Console) environmentsFragment(ctx context.Context) (fragment, error) {
	all, err := c.environments.List(ctx)
	if err != nil {
		return fragment{}, fmt.Errorf("show the environments: %w", err)
	}
	return c.render("environments", c.newEnvironmentsPage(all), fragment{Title: "Environments", Icon: c.asset("mark-run.svg"), Refresh: 30})
}

func (c *Console) environmentFragment(ctx context.Context, at spot) (fragment, error) {
	e, err := c.environments.Environment(ctx, at.project, at.name)
	if err != nil {
		return fragment{}, fmt.Errorf("show environment %s: %w", at.name, err)
	}
	p := c.newEnvironmentPage(e)
	return c.render("environment", p, fragment{
		Title: p.Look.Word + " · " + p.App + " " + p.Name, Announce: strings.TrimSpace(p.Look.Word + ". " + p.Sentence),
		Icon: c.asset("mark-" + p.Look.Tone + ".svg"), Refresh: 15,
	})
}

// logPage is the end of a container's log.
type logPage struct {
	App, Name, Pod, Container string
	Back, Again               string
	Lines                     string
}

func (c *Console) podLog(w http.ResponseWriter, r *http.Request, at spot) {
	container := r.URL.Query().Get("container")
	of, lines, err := c.environments.Log(r.Context(), at.project, at.name, at.pod, container)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	back := c.environmentPath(at.project, at.name)
	p := logPage{
		Name: line(at.name, maxLabel), Pod: line(at.pod, maxLabel), Container: line(of, maxLabel), Back: back,
		Again: logPath(back, at.pod, of), Lines: shownLines(lines),
	}
	f, err := c.render("podlog", p, fragment{Title: "Log of " + p.Pod, Icon: c.asset("mark-off.svg")})
	if err != nil {
		c.fail(w, r, err)
		return
	}
	c.show(w, r, http.StatusOK, f, "")
}

// shownLines are the last lines of a log, bounded and without control characters.
func shownLines(lines []string) string {
	const most = 500
	var kept []string
	for _, l := range lines[max(0, len(lines)-most):] {
		kept = append(kept, clip(strings.Map(visible, l), maxLogLine))
	}
	return strings.Join(kept, "\n")
}

func logPath(environment, pod, container string) string {
	return environment + "/pods/" + url.PathEscape(pod) + "/log?container=" + url.QueryEscape(container)
}
