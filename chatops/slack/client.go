package slack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	api "github.com/slack-go/slack"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	defaultTimeout = 10 * time.Second
	remembered     = 2000 // deliveries
)

// Options for New.
type Options struct {
	Token         string // of the bot, "xoxb-…"; required
	SigningSecret string // required
	// APIURL ends in a slash; "" is Slack's own.
	APIURL string
	// DefaultChannel is used where a plan names none; "" sends nothing then.
	DefaultChannel string
	// ConsoleURL is the address of Slipway's pages; "" links none.
	ConsoleURL string
	// Timeout of one call; 0 means ten seconds.
	Timeout time.Duration
	// People maps Slack user ids to GitLab usernames.
	People map[string]string
	// MatchEmail also finds people by the e-mail address that Slack has confirmed.
	MatchEmail bool
	Logger     *slog.Logger     // nil: silence
	Now        func() time.Time // nil: time.Now
}

// Client is the app in one workspace. All methods may be called from several goroutines.
type Client struct {
	o       Options
	api     *api.Client
	log     *slog.Logger
	limits  limits
	known   *memory
	started time.Time

	mu       sync.Mutex
	me       identity
	channels map[string]string // ids by name
}

// identity is who the token belongs to.
type identity struct {
	user, team, enterprise string
}

// New makes a client. It calls nobody.
func New(o Options) (*Client, error) {
	if o.APIURL == "" {
		o.APIURL = api.APIURL
	}
	u, err := url.Parse(o.APIURL)
	switch {
	case o.Token == "":
		return nil, errors.New("new slack client: the bot token is missing")
	case o.SigningSecret == "":
		return nil, errors.New("new slack client: the signing secret is missing")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || !strings.HasSuffix(o.APIURL, "/"):
		return nil, errors.New("new slack client: the API address must be an http address that ends in a slash")
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.People = maps.Clone(o.People)
	o.ConsoleURL = strings.TrimRight(o.ConsoleURL, "/")
	hc := &http.Client{
		Timeout: o.Timeout,
		// A redirect would carry the token to another address.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Client{
		o: o, log: o.Logger, limits: newLimits(), known: newMemory(remembered), started: o.Now(), channels: map[string]string{},
		api: api.New(o.Token, api.OptionAPIURL(o.APIURL), api.OptionHTTPClient(hc)),
	}, nil
}

// Execute carries out WriteMessage, and Answer where the request came through Slack.
func (c *Client) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	switch a := t.Effect.Do.(type) {
	case pipeline.WriteMessage:
		return c.writeMessage(ctx, t)
	case pipeline.Answer:
		return nil, c.answer(ctx, t, a)
	}
	return nil, &pipeline.Failure{
		Code: pipeline.ReasonOther, Permanent: true, Detail: fmt.Sprintf("Slack does not know how to %s", t.Effect.Do.ActionKind()),
	}
}

// Check asks Slack whether the token works. The error says what to do.
func (c *Client) Check(ctx context.Context) error {
	_, err := c.identity(ctx)
	return err
}

// identity asks once who the token belongs to.
func (c *Client) identity(ctx context.Context) (identity, error) {
	c.mu.Lock()
	me := c.me
	c.mu.Unlock()
	if me.user != "" {
		return me, nil
	}
	r, err := c.api.AuthTestContext(ctx)
	if err == nil && r.UserID == "" {
		err = errNoAnswer
	}
	if err != nil {
		return identity{}, c.failed(ctx, call{doing: "check the bot token"}, err)
	}
	me = identity{user: r.UserID, team: r.TeamID, enterprise: r.EnterpriseID}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.me = me
	return me, nil
}
