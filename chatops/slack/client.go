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
	"sync/atomic"
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
	// chartless: the workspace takes no charts.
	chartless atomic.Bool

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

// Execute carries out WriteMessage, Ask and SendNotice, and Answer where the request came through Slack.
func (c *Client) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	switch a := t.Effect.Do.(type) {
	case pipeline.WriteMessage:
		return c.writeMessage(ctx, t)
	case pipeline.Ask:
		return nil, c.ask(ctx, t, a)
	case pipeline.SendNotice:
		return c.notice(ctx, t, a)
	case pipeline.Answer:
		return nil, c.answer(ctx, t, a)
	}
	return nil, &pipeline.Failure{
		Code: pipeline.ReasonOther, Permanent: true, Detail: fmt.Sprintf("Slack does not know how to %s", t.Effect.Do.ActionKind()),
	}
}

// Check asks Slack whether the token works and has the scopes that it needs. The error
// says what to do.
func (c *Client) Check(ctx context.Context) error {
	missing, err := c.MissingScopes(ctx)
	if err != nil || len(missing) == 0 {
		return err
	}
	return &pipeline.Failure{
		Code: pipeline.ReasonRefused, Permanent: true,
		Detail: "Slipway's Slack app lacks " + strings.Join(missing, ", ") + ": add these scopes to the app and install it again",
	}
}

// identity is who the token belongs to; that is asked once.
func (c *Client) identity(ctx context.Context) (identity, error) {
	if me := c.self(); me.user != "" {
		return me, nil
	}
	_, err := c.introduce(ctx)
	return c.self(), err
}

func (c *Client) self() identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.me
}

// introduce asks Slack who we are, and returns the scopes that it says we have.
func (c *Client) introduce(ctx context.Context) (granted []string, err error) {
	r, err := c.api.AuthTestContext(ctx)
	if err == nil && r.UserID == "" {
		err = errNoAnswer
	}
	if err != nil {
		return nil, c.failed(ctx, call{doing: "check the bot token"}, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.me = identity{user: r.UserID, team: r.TeamID, enterprise: r.EnterpriseID}
	return strings.FieldsFunc(r.Header.Get("X-OAuth-Scopes"), func(r rune) bool { return r == ',' || r == ' ' }), nil
}
