package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var (
	errMethod  = errors.New("this method is not for pages")
	errCursor  = errors.New("the cursor was not made here")
	errStreams = errors.New("too many pages are open")
)

// fragment is the part of a page that changes while it is looked at.
type fragment struct {
	Title    string        `json:"title"`    // of the document
	Announce string        `json:"announce"` // what a screen reader says when it has changed
	Icon     string        `json:"icon"`     // of the browser's tab
	HTML     template.HTML `json:"html"`
	Version  string        `json:"version"` // equal for equal fragments
	Build    string        `json:"build"`   // of script and style
	Refresh  int           `json:"-"`       // seconds, for browsers without script; 0 for never
}

func (c *Console) listFragment(ctx context.Context, before string) (fragment, error) {
	views, next, err := c.source.Deliveries(ctx, before, pageSize)
	if err != nil {
		return fragment{}, fmt.Errorf("show the deliveries: %w", err)
	}
	return c.render("list", c.newListPage(views, before, next), fragment{Title: "Deliveries", Icon: c.asset("mark-run.svg"), Refresh: 30})
}

func (c *Console) deliveryFragment(ctx context.Context, id string) (fragment, error) {
	v, err := c.source.Delivery(ctx, id)
	if err != nil {
		return fragment{}, fmt.Errorf("show delivery %s: %w", id, err)
	}
	p := c.newDeliveryPage(v)
	words := strings.TrimSpace(p.Look.Word + ". " + p.Sentence)
	f := fragment{
		Title:    p.Look.Word + " · " + p.App + " " + firstOf(p.Number, p.Commit.Text),
		Announce: words, Icon: c.asset("mark-" + p.Look.Tone + ".svg"), Refresh: 15,
	}
	if p.Finished {
		f.Refresh = 120
	}
	return c.render("delivery", p, f)
}

func (c *Console) render(name string, page any, f fragment) (fragment, error) {
	var b bytes.Buffer
	if err := c.templates.ExecuteTemplate(&b, name, page); err != nil {
		return fragment{}, fmt.Errorf("render %s: %w", name, err)
	}
	f.HTML = template.HTML(b.String()) //nolint:gosec // the template above has escaped it
	f.Build = c.assets.build
	sum := sha256.Sum256([]byte(f.Title + "\x00" + f.Announce + "\x00" + f.Icon + "\x00" + b.String()))
	f.Version = hex.EncodeToString(sum[:8])
	return f, nil
}

// layoutPage is a whole page.
type layoutPage struct {
	fragment
	Events       string // address of the stream, "" without one
	Environments bool   // there are pages of what runs where
}

// show writes a whole page.
func (c *Console) show(w http.ResponseWriter, r *http.Request, status int, f fragment, events string) {
	var b bytes.Buffer
	if err := c.templates.ExecuteTemplate(&b, "layout", layoutPage{f, events, c.environments != nil}); err != nil {
		c.log.Error("page not rendered", "path", r.URL.Path, "error", err)
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString("internal error\n")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	} else {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
	}
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // whoever asked may be gone
}

// problemPage says why there is no other page.
type problemPage struct {
	Status     int
	Head, Text string
}

// fail is the one place where errors become pages. Nobody sees what an error says.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemPage{http.StatusInternalServerError, "Something went wrong here", "The page could not be made. The server's log says why. Deliveries go on meanwhile."}
	switch {
	case r.Context().Err() != nil:
		return // nobody is there to read it
	case errors.Is(err, ErrNotFound):
		p = problemPage{http.StatusNotFound, "There is nothing here", "The delivery may be so old that it was removed, or the address is incomplete."}
	case errors.Is(err, errMethod):
		p = problemPage{http.StatusMethodNotAllowed, "This page can only be read", "Questions are answered in Slack or in a comment on the merge request."}
	case errors.Is(err, errCursor):
		p = problemPage{http.StatusBadRequest, "This is not a page of the list", "The address is incomplete. Begin at the newest deliveries."}
	case errors.Is(err, errStreams):
		w.Header().Set("Retry-After", "30")
		p = problemPage{http.StatusServiceUnavailable, "Too many pages are open", "Reload this one in a minute."}
	}
	if p.Status >= http.StatusInternalServerError {
		c.log.Error("page failed", "path", r.URL.Path, "status", p.Status, "error", err)
	}
	f, err := c.render("problem", p, fragment{Title: p.Head, Icon: c.asset("mark-off.svg")})
	if err != nil {
		c.log.Error("page not rendered", "path", r.URL.Path, "error", err)
	}
	c.show(w, r, p.Status, f, "")
}

func (c *Console) parse() (*template.Template, error) {
	return template.New("").Funcs(template.FuncMap{
		"path":   c.path,
		"asset":  c.asset,
		"when":   when,
		"iso":    iso,
		"plus":   func(a, b int) int { return a + b },
		"linked": func(text, to string) link { return link{text, to} },
	}).ParseFS(templateFiles, "templates/*.html")
}

// when is a moment as it is shown without script.
func when(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") }

// iso is a moment for the datetime of a time element.
func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }
