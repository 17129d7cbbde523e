package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"gitlab.com/slipway-cd/slipway/chatops"
	"gitlab.com/slipway-cd/slipway/cmd/internal/config"
	"gitlab.com/slipway-cd/slipway/gitlab"
	"gitlab.com/slipway-cd/slipway/handlers"
	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/pipeline/engine"
	"gitlab.com/slipway-cd/slipway/store"
)

// answerPatience is how long a caller waits to hear what was decided.
const answerPatience = 20 * time.Second

// wishes takes in what people ask for by the API. Who they are is GitLab's word; what they
// may do is decided by the core, as for a comment or a button.
type wishes struct {
	cfg    *config.Config
	gitlab *gitlab.Client
	store  store.Store
	inbox  *engine.Engine
	calls  *calls
	crowd  *crowd // tokens make Slipway ask GitLab
	log    *slog.Logger
}

// Wish implements handlers.Wishes.
func (x *wishes) Wish(ctx context.Context, token string, w handlers.Wish) (handlers.Granted, error) {
	if !x.crowd.allows(token, w.From) {
		return handlers.Granted{}, &handlers.Refusal{Status: http.StatusTooManyRequests, Reason: "too many wishes at once; try again in a moment"}
	}
	who, project, err := x.gitlab.Caller(ctx, token, w.Project)
	switch {
	case errors.Is(err, gitlab.ErrNotAccepted):
		return handlers.Granted{}, handlers.Unauthorized("GitLab does not accept this token; it takes one with the scope api")
	case errors.Is(err, gitlab.ErrReadsOnly):
		return handlers.Granted{}, &handlers.Refusal{Status: http.StatusForbidden, Reason: "this token may only read in GitLab; it takes one with the scope api"}
	case errors.Is(err, gitlab.ErrNoProject):
		return handlers.Granted{}, &handlers.Refusal{Status: http.StatusNotFound, Reason: gitlab.ErrNoProject.Error()}
	case err != nil:
		return handlers.Granted{}, handlers.Unavailable("GitLab could not be asked who you are; try again", err)
	}
	x.crowd.accepted(token)
	delivery, err := x.concerned(ctx, project, w.Environment)
	if err != nil {
		return handlers.Granted{}, err
	}
	key := fmt.Sprintf("api/%d/%s", who.ID, w.Key)
	answer, done := x.calls.wait(key)
	defer done()
	request := pipeline.Request{
		What: pipeline.Verb(w.What), Via: pipeline.ViaAPI, GitLabID: who.ID, Username: who.Username, Environment: w.Environment,
		Release: w.Release, Reason: chatops.Line(w.Reason, maxWish), Channel: key, At: time.Now().UTC(),
	}
	fresh, err := x.inbox.Deliver(ctx, delivery, key, pipeline.Requested{Request: request})
	if err != nil {
		return handlers.Granted{}, handlers.Unavailable("the wish could not be stored; send it again", err)
	}
	x.log.InfoContext(ctx, "a wish came in", "what", w.What, "delivery", delivery, "environment", w.Environment, "user", who.Username)
	granted := handlers.Granted{Delivery: delivery, URL: deliveryURL(x.cfg, delivery)}
	if !fresh {
		granted.Taken, granted.Answer = true, "this was asked before; the delivery's page says what became of it"
		return granted, nil
	}
	select {
	case a := <-answer:
		granted.Taken, granted.Answer = a.Taken, a.Text
	case <-time.After(answerPatience):
		granted.Taken, granted.Answer = true, "it is still being looked at; the delivery's page says what becomes of it"
	case <-ctx.Done():
		return granted, ctx.Err()
	}
	return granted, nil
}

const maxWish = 500 // characters of a reason

// concerned is the delivery that a wish about an environment is for: the one that is
// deploying there, or the one whose release runs there.
func (x *wishes) concerned(ctx context.Context, project int64, environment string) (string, error) {
	nothing := &handlers.Refusal{Status: http.StatusNotFound, Reason: "Slipway has delivered nothing to this environment of this project"}
	doc, err := x.store.Get(ctx, engine.Environment(pipeline.EnvironmentID(project, environment)))
	if errors.Is(err, store.ErrNotFound) {
		return "", nothing
	}
	if err != nil {
		return "", handlers.Unavailable("the environment could not be read", err)
	}
	env, err := pipeline.DecodeEnvironment(doc.Data)
	if err != nil {
		return "", err
	}
	delivery := ""
	if current := env.Current(); current != nil {
		delivery = current.Delivery
	}
	if env.Unsure != nil { // what its rollback left is to be taken away
		delivery = env.Unsure.Of
	}
	if h := env.Holder; h != nil && !h.Back {
		delivery = h.Delivery
	}
	if delivery == "" {
		return "", nothing
	}
	if _, err := x.store.Get(ctx, engine.Delivery(delivery)); errors.Is(err, store.ErrNotFound) {
		return "", &handlers.Refusal{Status: http.StatusConflict, Reason: "the delivery that brought what runs there is forgotten by now; deliver a commit again"}
	}
	return delivery, nil
}

func deliveryURL(cfg *config.Config, delivery string) string {
	if base := consoleURL(cfg); base != "" {
		return base + "/" + delivery
	}
	return ""
}

// calls are the callers of the API that wait for an answer, by the key of their wish.
type calls struct {
	mu      sync.Mutex
	waiting map[string]chan pipeline.Answer
}

func newCalls() *calls { return &calls{waiting: map[string]chan pipeline.Answer{}} }

func (c *calls) wait(key string) (<-chan pipeline.Answer, func()) {
	answer := make(chan pipeline.Answer, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[key] = answer
	return answer, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.waiting[key] == answer {
			delete(c.waiting, key)
		}
	}
}

// tell hands an answer to whoever waits for it. If nobody does any more, the delivery's page
// has it.
func (c *calls) tell(a pipeline.Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.waiting[a.Request.Channel] <- a:
	default:
	}
}
