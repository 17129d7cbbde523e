package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"gitlab.com/slipway-cd/slipway/chatops/slack"
	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/gitlab/webhook"
	"gitlab.com/slipway-cd/slipway/handlers"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/store"
)

// intake takes GitLab's hooks in: verify, read, find the delivery, make durable.
type intake struct {
	cfg      *config.Config
	verifier *webhook.Verifier
	gitlab   *gitlab.Client
	store    store.Store
	engine   *engine.Engine
	metrics  *metrics
	log      *slog.Logger
}

func newIntake(cfg *config.Config, g *gitlab.Client, s store.Store, e *engine.Engine, m *metrics, log *slog.Logger) (*intake, error) {
	reveal := func(secrets []config.Secret) (plain []string) {
		for _, s := range secrets {
			plain = append(plain, s.Reveal())
		}
		return plain
	}
	v, err := webhook.New(webhook.Options{
		SigningTokens: reveal(cfg.GitLab.SigningTokens), SecretTokens: reveal(cfg.GitLab.SecretTokens),
	})
	if err != nil {
		return nil, fmt.Errorf("hooks: %w", err)
	}
	return &intake{cfg: cfg, verifier: v, gitlab: g, store: s, engine: e, metrics: m, log: log}, nil
}

// Receive implements handlers.Hooks.
func (i *intake) Receive(ctx context.Context, header http.Header, body []byte) (handlers.Receipt, error) {
	receipt, err := i.receive(ctx, header, body)
	result := receipt.Result
	if err != nil {
		result = "refused"
	}
	i.metrics.hook(header.Get("X-Gitlab-Event"), result)
	return receipt, err
}

func (i *intake) receive(ctx context.Context, header http.Header, body []byte) (handlers.Receipt, error) {
	if err := i.verifier.Verify(header, body); err != nil {
		return handlers.Receipt{}, handlers.Unauthorized(err.Error())
	}
	hook, err := webhook.Parse(header, body)
	if err != nil {
		return handlers.Receipt{}, handlers.BadRequest(err.Error())
	}
	routed, ignored := i.gitlab.Events(hook)
	if len(routed) == 0 {
		return handlers.Receipt{Result: "ignored", Reason: ignored}, nil
	}
	accepted, reason := 0, "nothing is delivered for it"
	duplicate := false
	for _, r := range routed {
		if p, ok := r.Event.(pipeline.Proposed); ok && !i.cfg.Reviews(p.Project.Path) {
			reason = "the project has no review environment"
			continue // most projects have none, and there is no need to read their files
		}
		if m, ok := r.Event.(pipeline.Merged); ok && !i.cfg.Knows(m.Project.Path) {
			reason = "the project may not deploy anywhere; an operator has to add it to an environment"
			i.log.Warn("hook of an unknown project", "project", m.Project.Path)
			continue
		}
		n, err := i.route(ctx, r, "hook/"+webhook.DeliveryKey(header, body))
		if err != nil {
			return handlers.Receipt{}, handlers.Unavailable("the event could not be stored; send it again", err)
		}
		duplicate = duplicate || n.duplicates > 0
		accepted += n.accepted
	}
	switch {
	case accepted > 0:
		return handlers.Receipt{Result: "accepted"}, nil
	case duplicate:
		return handlers.Receipt{Result: "duplicate"}, nil
	}
	return handlers.Receipt{Result: "ignored", Reason: reason}, nil
}

type outcome struct{ accepted, duplicates int }

// route makes the event durable for every delivery that it concerns.
func (i *intake) route(ctx context.Context, r gitlab.Routed, hookKey string) (outcome, error) {
	ids := []string{r.Delivery}
	if r.Delivery == "" {
		var err error
		if ids, err = i.find(ctx, r); err != nil {
			return outcome{}, err
		}
	}
	key := r.Key
	if key == "" {
		key = hookKey
	}
	var n outcome
	for _, id := range ids {
		ok, err := i.engine.Deliver(ctx, id, key+"/"+id, r.Event)
		switch {
		case err != nil:
			return n, err
		case ok:
			n.accepted++
		default:
			n.duplicates++
		}
	}
	return n, nil
}

// find looks up the deliveries that an event concerns. A command on a merge request
// always has one: if nothing was delivered yet, a name of its own that answers so.
func (i *intake) find(ctx context.Context, r gitlab.Routed) ([]string, error) {
	f := r.Find
	if f.SHA == "" && f.ShortSHA != "" {
		sha, err := i.gitlab.CommitSHA(ctx, f.Project, f.ShortSHA)
		if failure, ok := pipeline.AsFailure(err); ok && failure.Permanent {
			return nil, nil // a project that Slipway can't see must not make GitLab switch the group's hook off
		}
		if err != nil {
			return nil, fmt.Errorf("look up commit %s: %w", f.ShortSHA, err)
		}
		f.SHA = sha
	}
	if f.Reviews {
		return i.reviews(ctx, f)
	}
	page, err := i.store.List(ctx, store.Query{
		Kind: engine.KindDelivery, Project: f.Project, MergeRequest: f.MergeRequest, SHA: f.SHA, Limit: 50,
	})
	if err != nil {
		return nil, fmt.Errorf("look up deliveries: %w", err)
	}
	if f.MergeRequest != 0 {
		return []string{meant(page.Documents, f)}, nil
	}
	var ids []string
	for _, d := range page.Documents {
		if !d.Finished {
			ids = append(ids, deliveryID(d.ID))
		}
	}
	return ids, nil
}

// reviews finds all review deliveries of a merge request, the newest first.
func (i *intake) reviews(ctx context.Context, f gitlab.Find) (ids []string, err error) {
	q := store.Query{Kind: engine.KindDelivery, Project: f.Project, MergeRequest: f.MergeRequest, Limit: 50}
	for {
		page, err := i.store.List(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("look up reviews: %w", err)
		}
		for _, d := range page.Documents {
			if id := deliveryID(d.ID); pipeline.IsReview(id) {
				ids = append(ids, id)
			}
		}
		if q.Before = page.Next; q.Before == "" {
			return ids, nil
		}
	}
}

// meant picks the delivery that a comment on a merge request speaks of: the newest live one,
// else the newest that is not itself a rollback. What was merged goes before its reviews.
func meant(docs []store.Document, f gitlab.Find) string {
	for _, review := range []bool{false, true} {
		for _, d := range docs {
			if id := deliveryID(d.ID); !d.Finished && pipeline.IsReview(id) == review {
				return id
			}
		}
	}
	review := ""
	for _, d := range docs {
		switch id := deliveryID(d.ID); {
		case strings.Count(id, "-") == 2:
			return id
		case review == "" && pipeline.IsReview(id):
			review = id
		}
	}
	if review != "" {
		return review
	}
	return pipeline.DeliveryID(f.Project, f.MergeRequest, "none")
}

func deliveryID(id store.ID) string {
	return strings.TrimPrefix(string(id), engine.KindDelivery+"/")
}

// interactions is Slack as the routes want it.
type interactions struct {
	slack   *slack.Interactions
	metrics *metrics
}

// Interact implements handlers.Slack.
func (i *interactions) Interact(ctx context.Context, header http.Header, body []byte) (handlers.SlackAnswer, error) {
	r, err := i.slack.Handle(ctx, header, body)
	var refusal *slack.Refusal
	switch {
	case errors.As(err, &refusal):
		i.metrics.interaction("refused")
		return handlers.SlackAnswer{}, &handlers.Refusal{Status: refusal.Status, Reason: refusal.Reason, Err: err}
	case err != nil:
		i.metrics.interaction("failed")
		return handlers.SlackAnswer{}, handlers.Unavailable("the answer could not be stored; try again", err)
	}
	i.metrics.interaction(string(r.Kind))
	return handlers.SlackAnswer{ContentType: r.ContentType, Body: r.Body}, nil
}
