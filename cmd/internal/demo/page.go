package demo

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim"
)

//go:embed page
var assets embed.FS

// page shows the four side by side, and lets people press what they see.
type page struct {
	stage    *stage
	markdown goldmark.Markdown
	clean    *bluemonday.Policy
}

func newPage(s *stage) (http.Handler, error) {
	p := &page{
		stage:    s,
		markdown: goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(html.WithUnsafe())),
		clean:    bluemonday.UGCPolicy().AllowElements("details", "summary").AddTargetBlankToFullyQualifiedLinks(true),
	}
	files, err := fs.Sub(assets, "page")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /api/state", p.state)
	mux.HandleFunc("GET /api/events", p.events)
	mux.HandleFunc("POST /api/merge", act(p.merge))
	mux.HandleFunc("POST /api/comment", act(p.comment))
	mux.HandleFunc("POST /api/press", act(p.press))
	mux.HandleFunc("POST /api/submit", act(p.submit))
	mux.HandleFunc("POST /api/close", act(p.close))
	return http.NewCrossOriginProtection().Handler(mux), nil
}

// State is everything that the page shows.
type State struct {
	Ready         bool           `json:"ready"` // the first release is delivered
	Slipway       string         `json:"slipway"`
	Good          int64          `json:"good"` // merge requests to play with
	Bad           int64          `json:"bad"`
	MergeRequests []MergeRequest `json:"merge_requests"` // newest first
	Slack         SlackState     `json:"slack"`
	Namespaces    []Namespace    `json:"namespaces"`
}

// MergeRequest is one of GitLab's, with what Slipway wrote to it.
type MergeRequest struct {
	IID         int64        `json:"iid"`
	Title       string       `json:"title"`
	State       string       `json:"state"` // opened, merged
	Author      string       `json:"author"`
	SHA         string       `json:"sha"`
	Notes       []Note       `json:"notes"`
	Statuses    []Status     `json:"statuses"` // of the merge commit: CI jobs, then Slipway's stages
	Deployments []Deployment `json:"deployments"`
	Delivery    string       `json:"delivery"` // URL of its page, "" before the merge
}

// Note is a comment, rendered.
type Note struct {
	Author string    `json:"author"`
	HTML   string    `json:"html"`
	Emoji  []string  `json:"emoji"`
	Reply  bool      `json:"reply"`
	At     time.Time `json:"at"`
}

// Status is one commit status or CI job.
type Status struct {
	Name        string `json:"name"`
	Status      string `json:"status"`
	Description string `json:"description,omitempty"`
	External    bool   `json:"external"`
}

// Deployment is one of GitLab's deployments.
type Deployment struct {
	Environment string `json:"environment"`
	Status      string `json:"status"`
	SHA         string `json:"sha"`
}

// SlackState is the channel as one person sees it.
type SlackState struct {
	Channel    string             `json:"channel"`
	Users      []slacksim.User    `json:"users"`
	Messages   []slacksim.Message `json:"messages"` // oldest first
	Ephemerals []slacksim.Message `json:"ephemerals"`
	Views      []slacksim.View    `json:"views"`
}

// Namespace is one place in the cluster.
type Namespace struct {
	Name        string                 `json:"name"`
	Environment string                 `json:"environment"`
	Workloads   []kubesim.WorkloadView `json:"workloads"`
}

func (p *page) state(w http.ResponseWriter, _ *http.Request) {
	s := State{Slipway: "http://" + p.stage.app.Addr(), Good: p.stage.good, Bad: p.stage.bad, Slack: p.slack()}
	select {
	case <-p.stage.ready:
		s.Ready = true
	default:
	}
	s.MergeRequests = p.mergeRequests()
	places := map[string]string{"shop-staging": "staging", "shop": "production"}
	for _, ns := range p.stage.world.Cluster.Snapshot().Namespaces {
		if environment, ok := places[ns.Name]; ok {
			s.Namespaces = append(s.Namespaces, Namespace{Name: ns.Name, Environment: environment, Workloads: ns.Workloads})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s) // the reader may have gone
}

func (p *page) slack() SlackState {
	snapshot := p.stage.world.Slack.Snapshot()
	s := SlackState{Channel: world.Channel, Users: snapshot.Users, Ephemerals: snapshot.Ephemerals, Views: snapshot.Views}
	for _, c := range snapshot.Channels {
		if c.ID == p.stage.world.ChannelID {
			s.Messages = c.Messages
		}
	}
	return s
}

func (p *page) mergeRequests() []MergeRequest {
	names := map[int64]string{}
	for _, u := range p.stage.world.GitLab.Snapshot().Users {
		names[u.ID] = u.Username
	}
	project := p.stage.world.ProjectNow()
	var all []MergeRequest
	for _, mr := range project.MergeRequests {
		m := MergeRequest{IID: mr.IID, Title: mr.Title, State: mr.State, Author: names[mr.AuthorID], SHA: mr.MergedSHA}
		for _, n := range mr.Notes {
			if n.System {
				continue
			}
			note := Note{Author: names[n.AuthorID], HTML: p.render(n.Body), Reply: n.Reply, At: n.CreatedAt}
			for _, e := range n.Emoji {
				note.Emoji = append(note.Emoji, e.Name)
			}
			m.Notes = append(m.Notes, note)
		}
		if mr.MergedSHA != "" {
			m.Delivery = fmt.Sprintf("http://%s/deliveries/%d-%d-%.8s", p.stage.app.Addr(), project.ID, mr.IID, mr.MergedSHA)
			for _, ci := range project.Pipelines {
				if ci.SHA != mr.MergedSHA {
					continue
				}
				for _, j := range ci.Jobs {
					if !j.Retried {
						m.Statuses = append(m.Statuses, Status{Name: j.Name, Status: j.Status})
					}
				}
			}
			for _, st := range project.Statuses {
				if st.SHA == mr.MergedSHA && !st.Retried {
					m.Statuses = append(m.Statuses, Status{Name: st.Name, Status: st.Status, Description: st.Description, External: true})
				}
			}
			for _, d := range project.Deployments {
				if d.SHA == mr.MergedSHA {
					m.Deployments = append(m.Deployments, Deployment{Environment: d.Environment, Status: d.Status, SHA: d.SHA})
				}
			}
		}
		all = append([]MergeRequest{m}, all...)
	}
	return all
}

// render shows a comment's Markdown as GitLab would, without what could do harm.
func (p *page) render(body string) string {
	var out bytes.Buffer
	if err := p.markdown.Convert([]byte(body), &out); err != nil {
		return ""
	}
	return p.clean.Sanitize(out.String())
}

// events tells the page that something has changed, at most ten times a second.
func (p *page) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	rc := http.NewResponseController(w)
	gitlab, stopGitLab := p.stage.world.GitLab.Subscribe()
	defer stopGitLab()
	slack, stopSlack := p.stage.world.Slack.Subscribe()
	defer stopSlack()
	cluster, stopCluster := p.stage.world.Cluster.Subscribe()
	defer stopCluster()
	for {
		if _, err := fmt.Fprint(w, "data: changed\n\n"); err != nil || rc.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
		select {
		case <-r.Context().Done():
			return
		case <-gitlab:
		case <-slack:
		case <-cluster:
		case <-p.stage.ready:
			select { // once it is ready it stays so: only changes matter
			case <-r.Context().Done():
				return
			case <-gitlab:
			case <-slack:
			case <-cluster:
			case <-time.After(15 * time.Second):
			}
		}
	}
}

// action is what a person did on the page.
type action struct {
	IID     int64             `json:"iid"`
	User    string            `json:"user"` // "ada", "ben" or "mallory"
	Body    string            `json:"body"`
	TS      string            `json:"ts"`
	Button  string            `json:"button"`
	Confirm bool              `json:"confirm"`
	View    string            `json:"view"`
	Values  map[string]string `json:"values"`
}

func act(do func(context.Context, action) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var a action
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&a); err != nil {
			http.Error(w, "the request is not understood", http.StatusBadRequest)
			return
		}
		answer, err := do(r.Context(), a)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the reader may have gone
	}
}

func (p *page) gitlabUser(name string) (int64, error) {
	id, ok := map[string]int64{"ada": p.stage.world.Ada, "ben": p.stage.world.Ben, "mallory": p.stage.world.Mallory}[name]
	if !ok {
		return 0, fmt.Errorf("nobody here is called %q", name)
	}
	return id, nil
}

func slackUser(name string) (string, error) {
	id, ok := map[string]string{"ada": world.SlackAda, "ben": world.SlackBen, "mallory": world.SlackMallory}[name]
	if !ok {
		return "", fmt.Errorf("nobody here is called %q", name)
	}
	return id, nil
}

func (p *page) merge(_ context.Context, a action) (any, error) {
	select {
	case <-p.stage.ready:
	default:
		return nil, errors.New("the first release is still being delivered; one moment")
	}
	return p.stage.merge(a.IID)
}

func (p *page) comment(_ context.Context, a action) (any, error) {
	user, err := p.gitlabUser(a.User)
	if err != nil {
		return nil, err
	}
	n, err := p.stage.world.GitLab.Comment(p.stage.world.Project, a.IID, user, a.Body)
	return n.ID, err
}

func (p *page) press(ctx context.Context, a action) (any, error) {
	user, err := slackUser(a.User)
	if err != nil {
		return nil, err
	}
	return p.stage.world.Slack.Press(ctx, slacksim.Press{
		User: user, Channel: p.stage.world.ChannelID, TS: a.TS, Button: a.Button, Confirm: a.Confirm,
	})
}

func (p *page) submit(ctx context.Context, a action) (any, error) {
	user, err := slackUser(a.User)
	if err != nil {
		return nil, err
	}
	return p.stage.world.Slack.SubmitModal(ctx, user, a.View, a.Values)
}

func (p *page) close(ctx context.Context, a action) (any, error) {
	user, err := slackUser(a.User)
	if err != nil {
		return nil, err
	}
	return p.stage.world.Slack.CloseModal(ctx, user, a.View)
}
