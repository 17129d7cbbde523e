// Package config reads the operator's file: one YAML document in which unknown keys
// are errors, and from which secrets are referenced rather than stored.
//
// A string may hold ${NAME}, which is replaced by that environment variable; one that
// is not set is an error. Every secret `x` may be given as `x_file` instead: the path
// of a file whose content, without the trailing line break, is the secret.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

const maxFile = 1 << 20

// Secret is a string that never prints itself.
type Secret string

// String hides the secret from every kind of printing.
func (Secret) String() string { return "[secret]" }

// GoString hides it from %#v.
func (Secret) GoString() string { return "[secret]" }

// LogValue hides it from logs.
func (Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalText hides it from JSON and YAML.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Reveal is the secret itself, for whoever has to send it.
func (s Secret) Reveal() string { return string(s) }

// Config is the operator's file.
type Config struct {
	Listen       string        `yaml:"listen"`   // address of the web server; default 127.0.0.1:8080
	URL          string        `yaml:"url"`      // how people reach it, for links
	Database     string        `yaml:"database"` // path of the database file
	Log          Log           `yaml:"log"`
	Console      Console       `yaml:"console"`
	Metrics      Metrics       `yaml:"metrics"`
	GitLab       GitLab        `yaml:"gitlab"`
	Slack        *Slack        `yaml:"slack"`
	Clusters     []Cluster     `yaml:"clusters"`
	Environments []Environment `yaml:"environments"`
	Triggers     []Trigger     `yaml:"triggers"`
	Jobs         []Jobs        `yaml:"jobs"`
	Checks       Checks        `yaml:"checks"`
	Sources      []Source      `yaml:"metrics_sources"`
	// MetricTemplates are metrics that pipeline files use by name.
	MetricTemplates map[string]MetricTemplate `yaml:"metric_templates"`
	Registries      []Registry                `yaml:"registries"`
	Keep            Keep                      `yaml:"keep"`
}

// Log says how to log.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error; default info
	Format string `yaml:"format"` // json or text; default json
}

// Console says who may read the pages. Writing needs no page: it goes by Slack and GitLab.
type Console struct {
	// Access is "open" (whoever reaches the address may read), "password", or "off"
	// (the default: there are no pages).
	Access       string `yaml:"access"`
	Username     string `yaml:"username"`
	Password     Secret `yaml:"password"`
	PasswordFile string `yaml:"password_file"`
}

// Metrics says where /metrics is answered.
type Metrics struct {
	// Listen is an address of its own for /metrics, so that it is not where hooks come in.
	// "" answers it on the main address.
	Listen string `yaml:"listen"`
}

// GitLab is the one GitLab that this server works for.
type GitLab struct {
	URL       string `yaml:"url"`
	Token     Secret `yaml:"token"`
	TokenFile string `yaml:"token_file"`
	// SigningTokens verify hooks by signature (GitLab 19.0 and later), SecretTokens by the
	// plain token. One of each may be given twice while it is being changed.
	SigningTokens     []Secret `yaml:"signing_tokens"`
	SigningTokensFile string   `yaml:"signing_tokens_file"` // one a line
	SecretTokens      []Secret `yaml:"secret_tokens"`
	SecretTokensFile  string   `yaml:"secret_tokens_file"` // one a line
	// Mention is the name that comments call the bot by; default "slipway".
	Mention string `yaml:"mention"`
	// TurnRed lets a failed delivery fail the commit's CI pipeline.
	TurnRed bool `yaml:"turn_red"`
}

// Slack is the workspace where people are asked.
type Slack struct {
	Token             Secret `yaml:"token"` // xoxb-…
	TokenFile         string `yaml:"token_file"`
	SigningSecret     Secret `yaml:"signing_secret"`
	SigningSecretFile string `yaml:"signing_secret_file"`
	// Channel is used where a pipeline file names none; "" sends nothing then.
	Channel string `yaml:"channel"`
	// Channels that pipeline files may name; without one those of merged commits may name any.
	Channels []Channels `yaml:"channels"`
	// People maps Slack user ids to GitLab usernames.
	People map[string]string `yaml:"people"`
	// MatchEmail also matches people by their e-mail address, where both sides have
	// confirmed it and exactly one GitLab user has it.
	MatchEmail bool   `yaml:"match_email"`
	APIURL     string `yaml:"api_url"` // default https://slack.com/api/
}

// Keep says what is removed when.
type Keep struct {
	Days int `yaml:"days"` // finished deliveries; default 90
}

// Load reads and checks the file. Errors name the file, and line and column where known.
func Load(file string, getenv func(string) (string, bool)) (*Config, error) {
	return load(file, getenv, Parse)
}

// LoadPlaces reads of the file only what says where projects may deploy, and what their pipeline files may name. It needs no secrets but those that clusters and
// environments refer to, so whoever has no token of the server can use it.
func LoadPlaces(file string, getenv func(string) (string, bool)) (*Config, error) {
	return load(file, getenv, parsePlaces)
}

// LoadSources reads of the file only what says how metrics sources are asked, and what pipeline files may use of them by
// name. It needs no secrets but theirs, and a file that has nothing else is enough.
func LoadSources(file string, getenv func(string) (string, bool)) (*Config, error) {
	return load(file, getenv, parseSources)
}

func load(file string, getenv func(string) (string, bool), parse func([]byte, func(string) (string, bool)) (*Config, error)) (*Config, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no configuration at %s; name it with --config (docs/configuration.md has all keys)", file)
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("read configuration %s: it is larger than 1 MiB", file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c, err := parse(data, getenv)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", file, err)
	}
	return c, nil
}

func parsePlaces(data []byte, getenv func(string) (string, bool)) (*Config, error) {
	all, err := decode(data)
	if err != nil {
		return nil, err
	}
	c := Config{Clusters: all.Clusters, Environments: all.Environments, Triggers: all.Triggers, Jobs: all.Jobs}
	for _, s := range all.Sources { // pipeline files name them
		c.Sources = append(c.Sources, Source{Name: s.Name, Projects: s.Projects})
	}
	c.MetricTemplates = all.MetricTemplates
	if all.Slack != nil {
		c.Slack = &Slack{Channel: all.Slack.Channel, Channels: all.Slack.Channels}
	}
	if err := c.complete(getenv); err != nil {
		return nil, err
	}
	if err := c.checkTemplates(); err != nil {
		return nil, err
	}
	return &c, c.checkPlaces()
}

func parseSources(data []byte, getenv func(string) (string, bool)) (*Config, error) {
	all, err := decode(data)
	if err != nil {
		return nil, err
	}
	c := Config{Sources: all.Sources, MetricTemplates: all.MetricTemplates}
	if err := c.complete(getenv); err != nil {
		return nil, err
	}
	if err := c.checkSources(); err != nil {
		return nil, err
	}
	return &c, c.checkTemplates()
}

// Parse is Load for a file's content.
func Parse(data []byte, getenv func(string) (string, bool)) (*Config, error) {
	c, err := decode(data)
	if err != nil {
		return nil, err
	}
	if err := c.complete(getenv); err != nil {
		return nil, err
	}
	return c, c.check()
}

func decode(data []byte) (*Config, error) {
	var c Config
	if err := yaml.UnmarshalWithOptions(data, &c, yaml.DisallowUnknownField()); err != nil {
		return nil, fmt.Errorf("%s", yaml.FormatError(err, false, false)) // the source line would show secrets
	}
	return &c, nil
}

// complete fills in what stands elsewhere: environment variables, secrets in files, and defaults.
func (c *Config) complete(getenv func(string) (string, bool)) error {
	if err := expand(c, getenv); err != nil {
		return err
	}
	if err := c.readSecrets(); err != nil {
		return err
	}
	c.setDefaults()
	return nil
}

func (c *Config) setDefaults() {
	fill := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	fill(&c.Listen, "127.0.0.1:8080")
	fill(&c.URL, "http://"+c.Listen)
	fill(&c.Database, "slipway.db")
	fill(&c.Log.Level, "info")
	fill(&c.Log.Format, "json")
	fill(&c.Console.Access, "off")
	fill(&c.GitLab.Mention, "slipway")
	if c.Slack != nil {
		fill(&c.Slack.APIURL, "https://slack.com/api/")
	}
	if c.Keep.Days == 0 {
		c.Keep.Days = 90
	}
	c.setTemplateDefaults()
	c.URL = strings.TrimRight(c.URL, "/")
	c.GitLab.URL = strings.TrimRight(c.GitLab.URL, "/")
	for _, cl := range c.Clusters {
		if cl.Agent != nil {
			cl.Agent.KAS = strings.TrimRight(cl.Agent.KAS, "/")
		}
	}
	for i := range c.Environments {
		fill(&c.Environments[i].Tier, "other")
		fill(&c.Environments[i].Drift, DriftShow)
	}
}

// check finds the first thing that cannot work.
func (c *Config) check() error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("listen: %q is not an address such as 127.0.0.1:8080", c.Listen)
	}
	if !isURL(c.URL) {
		return fmt.Errorf("url: %q is not an http or https address", c.URL)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		return fmt.Errorf("log.level: %q is not debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "json" && c.Log.Format != "text" {
		return fmt.Errorf("log.format: %q is not json or text", c.Log.Format)
	}
	if err := c.Console.check(); err != nil {
		return err
	}
	if err := c.GitLab.check(); err != nil {
		return err
	}
	if c.Slack != nil {
		if err := c.Slack.check(); err != nil {
			return err
		}
	}
	if err := c.checkChecks(); err != nil {
		return err
	}
	if err := c.checkSources(); err != nil {
		return err
	}
	if err := c.checkTemplates(); err != nil {
		return err
	}
	if err := c.checkRegistries(); err != nil {
		return err
	}
	if c.Keep.Days < 1 {
		return fmt.Errorf("keep.days: %d is less than 1", c.Keep.Days)
	}
	if err := c.checkTriggers(); err != nil {
		return err
	}
	if err := c.checkNames(); err != nil {
		return err
	}
	return c.checkPlaces()
}

func (c *Console) check() error {
	switch c.Access {
	case "off", "open":
	case "password":
		if c.Username == "" || c.Password == "" {
			return errors.New("console: access password needs username and password (or password_file)")
		}
	default:
		return fmt.Errorf("console.access: %q is not open, password or off", c.Access)
	}
	return nil
}

func (g *GitLab) check() error {
	switch {
	case g.URL == "":
		return errors.New("gitlab.url: missing; give the address of your GitLab")
	case !isURL(g.URL):
		return fmt.Errorf("gitlab.url: %q is not an http or https address", g.URL)
	case g.Token == "":
		return errors.New("gitlab.token: missing; give an access token with the scope api, or token_file")
	case len(g.SigningTokens) == 0 && len(g.SecretTokens) == 0:
		return errors.New("gitlab: signing_tokens or secret_tokens is required, so that nobody can forge a hook")
	}
	for i, t := range g.SigningTokens {
		if !strings.HasPrefix(t.Reveal(), "whsec_") {
			return fmt.Errorf("gitlab.signing_tokens[%d]: GitLab's signing tokens begin with whsec_", i)
		}
	}
	return nil
}

func (s *Slack) check() error {
	switch {
	case s.Token == "":
		return errors.New("slack.token: missing; give the bot token (xoxb-…), or token_file")
	case s.SigningSecret == "":
		return errors.New("slack.signing_secret: missing; without it anybody could press buttons")
	case !isURL(s.APIURL) || !strings.HasSuffix(s.APIURL, "/"):
		return fmt.Errorf("slack.api_url: %q is not an address that ends in a slash", s.APIURL)
	}
	return nil
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
