package demo

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"gitlab.com/slipway-cd/slipway/chatops/slack/slacksim"
	"gitlab.com/slipway-cd/slipway/cmd/internal/world"
)

//go:embed page
var assets embed.FS

const (
	atMostEvery = 100 * time.Millisecond // an update of a page
	heartbeat   = 15 * time.Second
	maxAction   = 64 << 10
	maxComment  = 2000
)

// policy lets the page load what is its own, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page shows the four side by side, and lets people press what they see.
type page struct {
	stage *stage
}

func newPage(s *stage) (http.Handler, error) {
	p := &page{stage: s}
	files, err := fs.Sub(assets, "page")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /uploads/{secret}/{name}", p.upload)
	mux.HandleFunc("GET /api/state", p.state)
	mux.HandleFunc("GET /api/events", p.events)
	for path, do := range map[string]func(context.Context, action) (any, error){
		"merge": p.merge, "comment": p.comment, "open": p.open, "press": p.press, "submit": p.submit, "close": p.close,
	} {
		mux.HandleFunc("POST /api/"+path, act(do))
	}
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		guarded.ServeHTTP(w, r)
	}), nil
}

// upload serves a picture that Slipway has uploaded to GitLab for its note, as GitLab would.
func (p *page) upload(w http.ResponseWriter, r *http.Request) {
	for _, up := range p.stage.world.ProjectNow().Uploads {
		if up.Secret == r.PathValue("secret") && up.Filename == r.PathValue("name") && strings.HasSuffix(up.Filename, ".png") {
			w.Header().Set("Content-Type", "image/png")
			_, _ = w.Write(up.Data) // the reader may have gone
			return
		}
	}
	http.NotFound(w, r)
}

func (p *page) state(w http.ResponseWriter, r *http.Request) {
	s, err := p.stage.state(r.Context())
	if err != nil {
		http.Error(w, "the state cannot be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s) // the reader may have gone
}

// events tells the page that something has changed.
func (p *page) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	gitlab, stopGitLab := p.stage.world.GitLab.Subscribe()
	defer stopGitLab()
	slack, stopSlack := p.stage.world.Slack.Subscribe()
	defer stopSlack()
	cluster, stopCluster := p.stage.world.Cluster.Subscribe()
	defer stopCluster()
	deliveries, stopDeliveries := p.stage.app.Changes()
	defer stopDeliveries()
	ready, message := p.stage.ready, "data: changed\n\n"
	for {
		if _, err := fmt.Fprint(w, message); err != nil || rc.Flush() != nil {
			return
		}
		message = "data: changed\n\n"
		select {
		case <-r.Context().Done():
			return
		case <-time.After(atMostEvery):
		}
		select {
		case <-r.Context().Done():
			return
		case <-gitlab:
		case <-slack:
		case <-cluster:
		case <-deliveries:
		case <-ready:
			ready = nil // it stays ready: that is told once
		case <-time.After(heartbeat):
			message = ": nothing new\n\n"
		}
	}
}

// action is what a person did on the page.
type action struct {
	IID    int64             `json:"iid"`
	User   string            `json:"user"` // "ada", "ben" or "mallory"
	Kind   kind              `json:"kind"`
	Body   string            `json:"body"`
	TS     string            `json:"ts"`
	Button string            `json:"button"` // "block id/action id"
	View   string            `json:"view"`
	Values map[string]string `json:"values"`
}

func act(do func(context.Context, action) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var a action
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAction)).Decode(&a); err != nil {
			http.Error(w, "the request is not understood", http.StatusBadRequest)
			return
		}
		answer, err := do(r.Context(), a)
		if err != nil {
			http.Error(w, inWords(err), http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the reader may have gone
	}
}

// inWords says what went wrong as Slack's own warning sign doesn't.
func inWords(err error) string {
	for _, e := range []struct {
		is    error
		words string
	}{
		{slacksim.ErrNoButton, "the button is gone: somebody was faster"},
		{slacksim.ErrNoMessage, "the message is gone"},
		{slacksim.ErrNoView, "the window is closed already"},
		{slacksim.ErrNoAck, "Slipway did not answer in time"},
		{slacksim.ErrRefused, "Slipway refused the request"},
	} {
		if errors.Is(err, e.is) {
			return e.words
		}
	}
	return err.Error()
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

func (p *page) started() error {
	select {
	case <-p.stage.ready:
		return nil
	default:
		return errors.New("the first release is still being delivered; one moment")
	}
}

func (p *page) merge(_ context.Context, a action) (any, error) {
	user, err := p.gitlabUser(a.User)
	if err != nil {
		return nil, err
	}
	if err := p.started(); err != nil {
		return nil, err
	}
	if user == p.stage.world.Mallory {
		return nil, errors.New("GitLab says no: Mallory may only read this project, not merge")
	}
	return p.stage.merge(a.IID, user)
}

func (p *page) open(_ context.Context, a action) (any, error) {
	if err := p.started(); err != nil {
		return nil, err
	}
	return p.stage.further(a.Kind)
}

func (p *page) comment(_ context.Context, a action) (any, error) {
	user, err := p.gitlabUser(a.User)
	if err != nil {
		return nil, err
	}
	body := strings.TrimSpace(a.Body)
	if body == "" || len(body) > maxComment {
		return nil, fmt.Errorf("a comment has 1 to %d characters", maxComment)
	}
	n, err := p.stage.world.GitLab.Comment(p.stage.world.Project, a.IID, user, body)
	return n.ID, err
}

func (p *page) press(ctx context.Context, a action) (any, error) {
	user, err := slackUser(a.User)
	if err != nil {
		return nil, err
	}
	return p.stage.world.Slack.Press(ctx, slacksim.Press{
		User: user, Channel: p.stage.world.ChannelID, TS: a.TS, Button: a.Button,
		Confirm: true, // the page has asked back
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
