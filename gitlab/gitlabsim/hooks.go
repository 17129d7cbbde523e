package gitlabsim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"gitlab.com/slipway-cd/slipway/gitlab/webhook"
)

// event is a kind of hook: what it is called in X-Gitlab-Event and which switch of a hook turns it on.
type event struct {
	header  string
	trigger string // as the hook's log calls it
	toggle  string // as the REST API calls the switch
}

const (
	eventMergeRequest     = "merge_requests_events"
	eventPipeline         = "pipeline_events"
	eventJob              = "job_events"
	eventNote             = "note_events"
	eventConfidentialNote = "confidential_note_events"
	eventDeployment       = "deployment_events"
	eventEmoji            = "emoji_events"
)

func eventOf(toggle string) event {
	switch toggle {
	case eventMergeRequest:
		return event{"Merge Request Hook", "merge_request_hooks", toggle}
	case eventPipeline:
		return event{"Pipeline Hook", "pipeline_hooks", toggle}
	case eventJob:
		return event{"Job Hook", "job_hooks", toggle}
	case eventNote:
		return event{"Note Hook", "note_hooks", toggle}
	case eventConfidentialNote:
		return event{"Confidential Note Hook", "confidential_note_hooks", toggle}
	case eventDeployment:
		return event{"Deployment Hook", "deployment_hooks", toggle}
	case eventEmoji:
		return event{"Emoji Hook", "emoji_hooks", toggle}
	}
	panic("gitlabsim: no such event: " + toggle)
}

// Hook is a project hook.
type Hook struct {
	ID                int64
	URL               string
	Name, Description string
	Token             string          // sent as X-Gitlab-Token
	SigningToken      string          // whsec_…, signs what is sent
	SkipVerification  bool            // the receiver's certificate isn't verified
	Events            map[string]bool // by the REST API's names: merge_requests_events, note_events, …
	Failures          int             // in a row
	DisabledUntil     time.Time
	CreatedAt         time.Time
}

// allEvents switches on every event that the simulator sends.
func allEvents() map[string]bool {
	return map[string]bool{
		eventMergeRequest: true, eventPipeline: true, eventJob: true, eventNote: true, eventConfidentialNote: true,
		eventDeployment: true, eventEmoji: true,
	}
}

// AddHook registers a project hook and returns its id. Without Events it gets all.
func (g *GitLab) AddHook(projectID int64, h Hook) (int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.projects[projectID]
	if p == nil {
		return 0, fmt.Errorf("add hook to project %d: no such project", projectID)
	}
	if h.Events == nil {
		h.Events = allEvents()
	}
	if why := checkHook(&h); why != "" {
		return 0, fmt.Errorf("add hook to project %d: %s", projectID, why)
	}
	g.addHook(p, &h)
	return h.ID, nil
}

func (g *GitLab) addHook(p *project, h *Hook) {
	h.ID, h.CreatedAt = g.next("hook"), g.now()
	p.hooks = append(p.hooks, h)
}

// AddGroupHook registers a hook of a group, which fires for all projects below it, and returns its id. Without Events
// it gets all.
func (g *GitLab) AddGroupHook(path string, h Hook) (int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gr := g.groups[path]
	if gr == nil {
		return 0, fmt.Errorf("add hook to group %s: no such group", path)
	}
	if h.Events == nil {
		h.Events = allEvents()
	}
	if why := checkHook(&h); why != "" {
		return 0, fmt.Errorf("add hook to group %s: %s", path, why)
	}
	h.ID, h.CreatedAt = g.next("hook"), g.now()
	gr.hooks = append(gr.hooks, &h)
	return h.ID, nil
}

// hooksOf are the hooks of a project and of the groups above it; the lock is held.
func (g *GitLab) hooksOf(p *project) []*Hook {
	all := slices.Clone(p.hooks)
	for path := namespace(p.Path); path != ""; path = namespace(path) {
		if gr := g.groups[path]; gr != nil {
			all = append(all, gr.hooks...)
		}
	}
	return all
}

func checkHook(h *Hook) string {
	u, err := url.Parse(h.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "Invalid url given"
	}
	if h.SigningToken != "" {
		if _, err := webhook.Sign(h.SigningToken, "check", time.Unix(0, 0), nil); err != nil {
			return "Signing token is invalid"
		}
	}
	return ""
}

// Delivery is one sending of a hook, as it is in the hook's log.
type Delivery struct {
	ID             int64
	HookID         int64
	ProjectID      int64
	Event          string // X-Gitlab-Event
	IdempotencyKey string // the same for a delivery that is sent again
	Body           []byte
	Resent         bool
	Status         int    // of the answer; zero where there was none
	Answer         string // its first 8 KiB, or what went wrong
	At             time.Time
}

type delivery struct {
	Delivery
	hook    *Hook
	trigger string
	headers map[string]string
	done    chan struct{}
	force   bool
}

// Deliveries returns every hook that was sent, in the order of their answers.
func (g *GitLab) Deliveries() []Delivery {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]Delivery, 0, len(g.sent))
	for _, d := range g.sent {
		all = append(all, d.Delivery)
	}
	return all
}

// Resend sends a delivery once more, with the same idempotency key, also where the hook is switched off.
func (g *GitLab) Resend(deliveryID int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.sent {
		if d.ID == deliveryID {
			g.resend(d)
			return nil
		}
	}
	return fmt.Errorf("resend hook %d: it was never sent", deliveryID)
}

func (g *GitLab) resend(d *delivery) *delivery {
	again := &delivery{Delivery: d.Delivery, hook: d.hook, trigger: d.trigger, done: make(chan struct{}), force: true}
	again.ID, again.Resent, again.Status, again.Answer = g.next("hook_log"), true, 0, ""
	g.push(again)
	return again
}

// emit queues an event for every hook of the project that wants it; the lock is held.
func (g *GitLab) emit(p *project, toggle string, payload obj) {
	defer g.changed()
	var body []byte
	for _, h := range g.hooksOf(p) {
		if !h.Events[toggle] || !g.executable(h) {
			continue
		}
		if body == nil {
			encoded, err := json.Marshal(payload)
			if err != nil {
				panic("gitlabsim: encode hook: " + err.Error())
			}
			body = encoded
		}
		ev := eventOf(toggle)
		id := g.next("hook_log")
		g.push(&delivery{
			Delivery: Delivery{
				ID: id, HookID: h.ID, ProjectID: p.ID, Event: ev.header, Body: body,
				IdempotencyKey: fmt.Sprintf("%08x-0000-4000-8000-%012x", h.ID, id),
			},
			hook: h, trigger: ev.trigger, done: make(chan struct{}),
		})
	}
}

func (g *GitLab) push(d *delivery) {
	g.queue = append(g.queue, d)
	g.wake.Signal()
	g.changed()
}

// executable follows app/models/concerns/web_hooks/auto_disabling.rb.
func (g *GitLab) executable(h *Hook) bool { return g.alertStatus(h) == "executable" }

func (g *GitLab) alertStatus(h *Hook) string {
	switch {
	case !g.opts.DisableFailingHooks:
		return "executable"
	case h.Failures > 39:
		return "disabled"
	case h.Failures > 3 && !h.DisabledUntil.Before(g.now()):
		return "temporarily_disabled"
	}
	return "executable"
}

func (g *GitLab) sendHooks(ctx context.Context) {
	defer g.workers.Done()
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		for len(g.queue) == 0 && !g.closed {
			g.wake.Wait()
		}
		if g.closed {
			return
		}
		d := g.queue[0]
		g.queue = g.queue[1:]
		if !d.force && !g.executable(d.hook) {
			g.changed()
			continue
		}
		g.inFlight++
		d.At = g.now()
		req, err := g.hookRequest(ctx, d)
		g.mu.Unlock()
		status, answer := 0, "internal error"
		if err == nil {
			status, answer = g.deliver(req)
		}
		g.mu.Lock()
		g.finish(d, status, answer)
	}
}

func (g *GitLab) hookRequest(ctx context.Context, d *delivery) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.hook.URL, bytes.NewReader(d.Body))
	if err != nil {
		return nil, err
	}
	d.headers = map[string]string{
		"Content-Type":          "application/json",
		"User-Agent":            "GitLab/19.4.0",
		"Idempotency-Key":       d.IdempotencyKey,
		"X-Gitlab-Event":        d.Event,
		"X-Gitlab-Webhook-UUID": fmt.Sprintf("%08x-1111-4000-8000-%012x", d.hook.ID, d.ID),
		"X-Gitlab-Event-UUID":   fmt.Sprintf("%08x-2222-4000-8000-%012x", d.hook.ID, d.ID),
		"X-Gitlab-Instance":     g.url,
		"webhook-id":            d.IdempotencyKey,
		"webhook-timestamp":     strconv.FormatInt(d.At.Unix(), 10),
	}
	if d.hook.Token != "" {
		d.headers["X-Gitlab-Token"] = d.hook.Token
	}
	if d.hook.SigningToken != "" {
		signature, err := webhook.Sign(d.hook.SigningToken, d.IdempotencyKey, d.At, d.Body)
		if err != nil {
			return nil, err
		}
		d.headers["webhook-signature"] = signature
	}
	for name, value := range d.headers {
		req.Header.Set(name, value)
	}
	return req, nil
}

// deliver sends once: GitLab repeats nothing by itself.
func (g *GitLab) deliver(req *http.Request) (int, string) {
	ctx, cancel := context.WithTimeout(req.Context(), g.opts.HookTimeout)
	defer cancel()
	resp, err := g.client.Do(req.WithContext(ctx))
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(answer)
}

func (g *GitLab) finish(d *delivery, status int, answer string) {
	g.inFlight--
	d.Status, d.Answer = status, answer
	g.sent = append(g.sent, d)
	close(d.done)
	if status >= 200 && status < 400 {
		d.hook.Failures, d.hook.DisabledUntil = 0, time.Time{}
	} else {
		if !g.closed {
			g.opts.Logger.Warn("a hook was not taken", "url", d.hook.URL, "event", d.Event, "status", status)
		}
		if g.opts.DisableFailingHooks && g.executable(d.hook) {
			if over := d.hook.Failures - 3; over >= 0 {
				pause := min(time.Minute<<min(over, 11), 24*time.Hour)
				d.hook.DisabledUntil = g.now().Add(pause)
			}
			d.hook.Failures++
		}
	}
	g.changed()
}
