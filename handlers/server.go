// Package handlers is the HTTP face of Slipway: gin routes for GitLab's hooks, Slack's
// interactions, health, metrics and the console. It verifies nothing and decides
// nothing itself; it bounds what comes in and maps errors to statuses in one place.
package handlers

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

const (
	maxHook  = 25 << 20 // GitLab's own limit
	maxSlack = 1 << 20

	// Who sends a body is known only when it was read. So that strangers can't fill the memory,
	// few that are larger than most are read at once.
	smallBody   = 256 << 10
	largeBodies = 8
	largeWait   = 5 * time.Second
)

// Receipt says what became of a hook.
type Receipt struct {
	Result string `json:"result"` // accepted, duplicate or ignored
	Reason string `json:"reason,omitempty"`
}

// Hooks takes in GitLab's hooks. When Receive returns without an error, what the hook
// told is durable.
type Hooks interface {
	Receive(ctx context.Context, header http.Header, body []byte) (Receipt, error)
}

// SlackAnswer is the body of the acknowledgement that Slack wants; empty is fine.
type SlackAnswer struct {
	ContentType string
	Body        []byte
}

// Slack takes in interactions: presses of buttons, modals, slash commands.
type Slack interface {
	Interact(ctx context.Context, header http.Header, body []byte) (SlackAnswer, error)
}

// Health tells whether the server works.
type Health interface {
	// Ready is nil if work goes on, else the reason in words.
	Ready(ctx context.Context) error
}

// Options for New.
type Options struct {
	Hooks   Hooks        // required
	Slack   Slack        // nil without Slack
	Health  Health       // required
	Wishes  Wishes       // nil: nobody can ask by the API
	Metrics http.Handler // nil: answered elsewhere
	Console http.Handler // nil: there are no pages
	// Environments answers the JSON API; nil without one. Guard decides who may read it, as it does for Console; nil lets
	// everybody.
	Environments Environments
	Guard        func(http.Handler) http.Handler
	Logger       *slog.Logger
}

// New builds the routes.
func New(o Options) (http.Handler, error) {
	if o.Hooks == nil || o.Health == nil {
		return nil, errors.New("new handlers: hooks and health are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.Use(recovered(o.Logger), secure)
	s := &server{o: o, large: make(chan struct{}, largeBodies)}
	r.POST("/hooks/gitlab", s.gitlab)
	if o.Slack != nil {
		r.POST("/slack/interactions", s.slack)
		r.POST("/slack/commands", s.slack)
	}
	if o.Wishes != nil {
		r.POST("/api/rollback", s.rollback)
		r.POST("/api/promote", s.promote)
	}
	looked := []string{http.MethodGet, http.MethodHead}
	r.Match(looked, "/livez", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	r.Match(looked, "/readyz", s.ready)
	if o.Metrics != nil {
		r.GET("/metrics", gin.WrapH(o.Metrics))
	}
	if o.Environments != nil {
		s.api(r)
	}
	r.NoMethod(func(c *gin.Context) {
		s.refuse(c, &Refusal{Status: http.StatusMethodNotAllowed, Reason: "this method is not for here"})
	})
	r.NoRoute(s.console)
	return r, nil
}

type server struct {
	o     Options
	large chan struct{} // holds one for each large body in memory
}

func (s *server) gitlab(c *gin.Context) {
	body, done, err := s.read(c, maxHook)
	if err != nil {
		s.refuse(c, err)
		return
	}
	defer done()
	receipt, err := s.o.Hooks.Receive(c.Request.Context(), c.Request.Header, body)
	if err != nil {
		s.refuse(c, err)
		return
	}
	c.JSON(http.StatusOK, receipt)
}

func (s *server) slack(c *gin.Context) {
	body, done, err := s.read(c, maxSlack)
	if err != nil {
		s.refuse(c, err)
		return
	}
	defer done()
	answer, err := s.o.Slack.Interact(c.Request.Context(), c.Request.Header, body)
	if err != nil {
		s.refuse(c, err)
		return
	}
	if len(answer.Body) == 0 {
		c.Status(http.StatusOK)
		return
	}
	c.Data(http.StatusOK, answer.ContentType, answer.Body)
}

// console has every path that is not one of the others.
func (s *server) console(c *gin.Context) {
	if s.o.Console == nil {
		s.refuse(c, &Refusal{Status: http.StatusNotFound, Reason: "there is nothing here"})
		return
	}
	c.Status(http.StatusOK) // gin has set 404, which a handler that only writes would send
	s.o.Console.ServeHTTP(c.Writer, c.Request)
	c.Writer.WriteHeaderNow()
}

func (s *server) ready(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), 2*time.Second)
	defer cancel()
	if err := s.o.Health.Ready(ctx); err != nil {
		c.String(http.StatusServiceUnavailable, "%s\n", err)
		return
	}
	c.String(http.StatusOK, "ok\n")
}

// read takes the body in, up to limit bytes. The function gives its memory free for others.
func (s *server) read(c *gin.Context, limit int64) (body []byte, done func(), err error) {
	done = func() {}
	if c.Request.ContentLength > limit {
		return nil, nil, TooLarge(limit)
	}
	from := http.MaxBytesReader(c.Writer, c.Request.Body, limit)
	if body, err = readAll(io.LimitReader(from, smallBody), limit); err != nil || len(body) < smallBody {
		return body, done, err
	}
	wait := time.NewTimer(largeWait)
	defer wait.Stop()
	select {
	case s.large <- struct{}{}:
		done = func() { <-s.large }
	case <-wait.C:
		return nil, nil, Unavailable("too many large bodies are being read; send it again", nil)
	case <-c.Request.Context().Done():
		return nil, nil, BadRequest("the body could not be read to its end")
	}
	rest, err := readAll(from, limit)
	if err != nil {
		done()
		return nil, nil, err
	}
	return append(body, rest...), done, nil
}

func readAll(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(r)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, TooLarge(limit)
	case err != nil:
		return nil, BadRequest("the body could not be read to its end")
	}
	return body, nil
}

// secure sets headers that every answer should have.
func secure(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	c.Next()
}

func recovered(log *slog.Logger) gin.HandlerFunc {
	return gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, err any) {
		log.Error("request panicked", "path", c.FullPath(), "panic", err)
		c.AbortWithStatusJSON(http.StatusInternalServerError, problem{Error: "internal error"})
	})
}
