package slacksim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Options says how the workspace and its one installed app look.
type Options struct {
	// Token is the app's bot token, "xoxb-…". Required.
	Token string
	// SigningSecret signs every request to the app. Required.
	SigningSecret string
	// InteractivityURL receives presses and modals; [Sim.SetInteractivityURL] sets it later.
	InteractivityURL string
	// CommandURL receives slash commands; empty means InteractivityURL.
	CommandURL string
	// PublicURL is where [Sim.Handler] is reachable, without a trailing slash. [Sim.Start] fills it in when empty.
	PublicURL string
	// Scopes of the token; nil means [DefaultScopes].
	Scopes []string
	// Team is the workspace; empty fields are filled in.
	Team Team
	// Bot is the app's bot user; empty fields are filled in.
	Bot Bot
	// RateLimits enforces Slack's published limits per method; without it only faults answer 429.
	RateLimits bool
	// DataVisualization accepts data_visualization blocks, which Slack offers only to some workspaces.
	DataVisualization bool
	// AckTimeout is how long the app may take to acknowledge; 0 means Slack's three seconds.
	AckTimeout time.Duration
	// Clock gives the time that message timestamps, triggers and signatures use; nil means time.Now.
	Clock func() time.Time
	// Logger hears about refused calls; nil means silence.
	Logger *slog.Logger
}

// Team is a workspace.
type Team struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Domain string `json:"domain"`
}

// Bot names the app's own identities.
type Bot struct {
	UserID string `json:"user_id"`
	BotID  string `json:"bot_id"`
	AppID  string `json:"app_id"`
	Name   string `json:"name"`
}

// DefaultScopes are the scopes of a token when Options names none.
func DefaultScopes() []string {
	return []string{
		"chat:write", "chat:write.public", "commands", "users:read", "users:read.email", "reactions:write",
		"channels:read", "channels:history", "groups:read", "groups:history", "im:write",
	}
}

const (
	triggerLife     = 3 * time.Second
	ackTimeout      = 3 * time.Second
	responseURLLife = 30 * time.Minute
	responseURLUses = 5
	maxBody         = 1 << 20
	maxRecorded     = 32 << 10
	maxRecords      = 5000
)

// Sim is one workspace. All methods may be called from several goroutines.
type Sim struct {
	token     string
	secret    string
	team      Team
	bot       Bot
	clock     func() time.Time
	log       *slog.Logger
	ackWithin time.Duration
	limits    bool
	charts    bool
	methods   map[string]method
	client    *http.Client

	mu           sync.Mutex
	interactURL  string
	commandURL   string
	publicURL    string
	scopes       map[string]bool
	users        []*User
	channels     []*Channel
	messages     map[string][]*message // by channel id, oldest first
	ephemerals   []*message
	views        map[string][]*view // open modals by user id, the one in front last
	triggers     map[string]*trigger
	responseURLs map[string]*responseURL
	faults       []*Fault
	calls        []Call
	interactions []Interaction
	windows      map[string][]time.Time
	lastTS       int64 // microseconds
	serial       int
	callSerial   int
	revision     uint64
	subscribers  map[chan struct{}]struct{}

	server *http.Server
	served chan struct{}
}

// New makes a workspace with the app's bot in it and nobody else.
func New(o Options) (*Sim, error) {
	if !strings.HasPrefix(o.Token, "xoxb-") {
		return nil, errors.New("new slack simulator: the token must start with xoxb-")
	}
	if o.SigningSecret == "" {
		return nil, errors.New("new slack simulator: the signing secret is empty")
	}
	for _, raw := range []string{o.InteractivityURL, o.CommandURL, o.PublicURL} {
		if err := checkURL(raw); err != nil {
			return nil, fmt.Errorf("new slack simulator: %w", err)
		}
	}
	s := &Sim{
		token: o.Token, secret: o.SigningSecret,
		team: fillTeam(o.Team), bot: fillBot(o.Bot),
		clock: o.Clock, log: o.Logger, ackWithin: o.AckTimeout, limits: o.RateLimits, charts: o.DataVisualization,
		interactURL: o.InteractivityURL, commandURL: o.CommandURL, publicURL: strings.TrimSuffix(o.PublicURL, "/"),
		scopes: map[string]bool{}, messages: map[string][]*message{}, views: map[string][]*view{},
		triggers: map[string]*trigger{}, responseURLs: map[string]*responseURL{}, windows: map[string][]time.Time{},
		subscribers: map[chan struct{}]struct{}{},
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.ackWithin == 0 {
		s.ackWithin = ackTimeout
	}
	s.client = &http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if o.Scopes == nil {
		o.Scopes = DefaultScopes()
	}
	for _, scope := range o.Scopes {
		s.scopes[scope] = true
	}
	s.methods = s.methodTable()
	s.users = append(s.users, &User{ID: s.bot.UserID, Name: s.bot.Name, RealName: s.bot.Name, Bot: true})
	return s, nil
}

func fillTeam(t Team) Team {
	if t.ID == "" {
		t.ID = "T0SLACKSIM"
	}
	if t.Name == "" {
		t.Name = "Slack simulator"
	}
	if t.Domain == "" {
		t.Domain = "slacksim"
	}
	return t
}

func fillBot(b Bot) Bot {
	if b.UserID == "" {
		b.UserID = "U0BOTUSER"
	}
	if b.BotID == "" {
		b.BotID = "B0BOT"
	}
	if b.AppID == "" {
		b.AppID = "A0APP"
	}
	if b.Name == "" {
		b.Name = "slipway"
	}
	return b
}

func checkURL(raw string) error {
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("%q is not an absolute http address", raw)
	}
	return nil
}

// Start listens on addr, usually "127.0.0.1:0", and serves until [Sim.Close].
func (s *Sim) Start(addr string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		return errors.New("start slack simulator: it runs already")
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("start slack simulator: %w", err)
	}
	if s.publicURL == "" {
		s.publicURL = "http://" + listener.Addr().String()
	}
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.server, s.served = server, make(chan struct{})
	go func() {
		defer close(s.served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("slack simulator stopped serving", "error", err)
		}
	}()
	return nil
}

// Close stops the server that [Sim.Start] started and drops its connections. What happened stays readable.
func (s *Sim) Close() error {
	s.client.CloseIdleConnections()
	s.mu.Lock()
	server, served := s.server, s.served
	s.server = nil
	s.mu.Unlock()
	if server == nil {
		return nil
	}
	err := server.Close()
	<-served
	return err
}

// URL is the address of the Web API with the trailing slash that clients want, such as "http://127.0.0.1:4000/api/".
// It is empty until the simulator was started or given a public address.
func (s *Sim) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publicURL == "" {
		return ""
	}
	return s.publicURL + "/api/"
}

// SetInteractivityURL sets where presses and modals go.
func (s *Sim) SetInteractivityURL(raw string) error {
	if err := checkURL(raw); err != nil {
		return fmt.Errorf("set interactivity address: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interactURL = raw
	return nil
}

// SetCommandURL sets where slash commands go.
func (s *Sim) SetCommandURL(raw string) error {
	if err := checkURL(raw); err != nil {
		return fmt.Errorf("set command address: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commandURL = raw
	return nil
}

// SetScopes replaces the scopes of the token.
func (s *Sim) SetScopes(scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scopes = map[string]bool{}
	for _, scope := range scopes {
		s.scopes[scope] = true
	}
}

// Handler serves the Web API under /api/ and response addresses under /actions/.
func (s *Sim) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/{method}", s.serveMethod)
	mux.HandleFunc("POST /actions/{id}", s.serveResponseURL)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "no such page in the Slack simulator\n")
	})
	return mux
}

// Subscribe returns a channel that gets a value after every change, several changes being one value, and a function
// that ends the subscription.
func (s *Sim) Subscribe() (changes <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers[c] = struct{}{}
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subscribers, c)
	}
}

// Await returns once holds is true of the workspace, looking again after every change, or the context's error.
func (s *Sim) Await(ctx context.Context, holds func(Snapshot) bool) error {
	changes, stop := s.Subscribe()
	defer stop()
	for {
		if holds(s.Snapshot()) {
			return nil
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return fmt.Errorf("await a change in slack: %w", ctx.Err())
		}
	}
}

// changed tells the subscribers; the caller holds the lock.
func (s *Sim) changed() {
	s.revision++
	for c := range s.subscribers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// nextID gives ids that are never given again; the caller holds the lock.
func (s *Sim) nextID(prefix string) string {
	s.serial++
	return fmt.Sprintf("%s%05d", prefix, s.serial)
}

// nextTS gives the next message timestamp, later than every other; the caller holds the lock.
func (s *Sim) nextTS() string {
	s.lastTS = max(s.clock().UnixMicro(), s.lastTS+1)
	return formatTS(s.lastTS)
}

func formatTS(micros int64) string {
	return fmt.Sprintf("%d.%06d", micros/1e6, micros%1e6)
}
