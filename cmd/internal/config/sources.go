package config

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// Source is a system that keeps measurements, for checks that compare a metric and for the analysis of canaries. One of
// its kinds is set; docs/metrics.md tells of each.
type Source struct {
	Name          string         `yaml:"name"`       // what pipeline files call it
	Projects      []string       `yaml:"projects"`   // who may ask it; without one all projects
	PerSecond     float64        `yaml:"per_second"` // how often it is asked at most; default 5
	Prometheus    *Prometheus    `yaml:"prometheus"`
	Datadog       *Datadog       `yaml:"datadog"`
	NewRelic      *NewRelic      `yaml:"newrelic"`
	CloudWatch    *CloudWatch    `yaml:"cloudwatch"`
	GoogleCloud   *GoogleCloud   `yaml:"google_cloud"`
	InfluxDB      *InfluxDB      `yaml:"influxdb"`
	Graphite      *Graphite      `yaml:"graphite"`
	Elasticsearch *Elasticsearch `yaml:"elasticsearch"`
	Dynatrace     *Dynatrace     `yaml:"dynatrace"`
	Web           *Web           `yaml:"web"`
}

// Prometheus is a Prometheus, or what answers like one.
type Prometheus struct {
	URL          string            `yaml:"url"`
	Page         string            `yaml:"page"`  // where people see it, if that is not url
	Token        Secret            `yaml:"token"` // a bearer token, or
	TokenFile    string            `yaml:"token_file"`
	Username     string            `yaml:"username"` // a username with a password
	Password     Secret            `yaml:"password"`
	PasswordFile string            `yaml:"password_file"`
	Headers      map[string]Secret `yaml:"headers"` // sent with each query, such as X-Scope-OrgID
}

// Datadog is one organisation's Datadog.
type Datadog struct {
	Site       string `yaml:"site"` // such as datadoghq.eu; default datadoghq.com
	URL        string `yaml:"url"`  // instead of site: of a proxy
	API        string `yaml:"api"`  // v2 or v1; default v2
	APIKey     Secret `yaml:"api_key"`
	APIKeyFile string `yaml:"api_key_file"`
	AppKey     Secret `yaml:"app_key"`
	AppKeyFile string `yaml:"app_key_file"`
}

// NewRelic is one account of New Relic.
type NewRelic struct {
	Region  string `yaml:"region"` // us or eu; default us
	URL     string `yaml:"url"`    // instead of region: of a proxy
	Account int64  `yaml:"account"`
	Key     Secret `yaml:"key"` // of a user: NRAK-…
	KeyFile string `yaml:"key_file"`
}

// CloudWatch is one region of an account of AWS.
type CloudWatch struct {
	Region           string `yaml:"region"`
	URL              string `yaml:"url"` // where the region's own is not reached: of a VPC endpoint
	AccessKey        string `yaml:"access_key"`
	SecretKey        Secret `yaml:"secret_key"`
	SecretKeyFile    string `yaml:"secret_key_file"`
	SessionToken     Secret `yaml:"session_token"` // of temporary credentials
	SessionTokenFile string `yaml:"session_token_file"`
}

// GoogleCloud is a project whose Cloud Monitoring is asked.
type GoogleCloud struct {
	URL             string `yaml:"url"` // where the ordinary one is not reached
	Project         string `yaml:"project"`
	Credentials     Secret `yaml:"credentials"` // the JSON key of a service account
	CredentialsFile string `yaml:"credentials_file"`
}

// InfluxDB is an organisation of an InfluxDB 2.
type InfluxDB struct {
	URL       string `yaml:"url"`
	Org       string `yaml:"org"`
	Token     Secret `yaml:"token"`
	TokenFile string `yaml:"token_file"`
}

// Graphite is a Graphite, or what answers like one.
type Graphite struct {
	URL          string            `yaml:"url"`
	Token        Secret            `yaml:"token"`
	TokenFile    string            `yaml:"token_file"`
	Username     string            `yaml:"username"`
	Password     Secret            `yaml:"password"`
	PasswordFile string            `yaml:"password_file"`
	Headers      map[string]Secret `yaml:"headers"`
}

// Elasticsearch is an Elasticsearch.
type Elasticsearch struct {
	URL          string            `yaml:"url"`
	APIKey       Secret            `yaml:"api_key"` // encoded
	APIKeyFile   string            `yaml:"api_key_file"`
	Username     string            `yaml:"username"`
	Password     Secret            `yaml:"password"`
	PasswordFile string            `yaml:"password_file"`
	Headers      map[string]Secret `yaml:"headers"`
}

// Dynatrace is an environment of Dynatrace.
type Dynatrace struct {
	URL       string `yaml:"url"`
	Token     Secret `yaml:"token"`
	TokenFile string `yaml:"token_file"`
}

// Web is any service that answers with JSON.
type Web struct {
	URL          string            `yaml:"url"` // with placeholders
	Method       string            `yaml:"method"`
	Body         string            `yaml:"body"`   // with placeholders
	Values       string            `yaml:"values"` // path in the answer
	Times        string            `yaml:"times"`  // path in the answer
	Stamps       string            `yaml:"stamps"` // begin or end; default begin
	Probe        string            `yaml:"probe"`  // what `slipway doctor` puts in for $query
	Token        Secret            `yaml:"token"`
	TokenFile    string            `yaml:"token_file"`
	Username     string            `yaml:"username"`
	Password     Secret            `yaml:"password"`
	PasswordFile string            `yaml:"password_file"`
	Headers      map[string]Secret `yaml:"headers"`
}

// kind is one kind of source, as it is checked and told of.
type kind struct {
	key     string // in the file
	title   string // for people
	address string
	secrets []secret
	check   func() error // what is wrong, from the key on: ".url: …"
}

// secret is one that may be in a file.
type secret struct {
	key  string
	into *Secret
	file string
}

// kinds are those that are set.
func (s *Source) kinds() []kind {
	var all []kind
	if p := s.Prometheus; p != nil {
		all = append(all, kind{"prometheus", "Prometheus", p.URL, []secret{{"token", &p.Token, p.TokenFile}, {"password", &p.Password, p.PasswordFile}}, p.check})
	}
	if d := s.Datadog; d != nil {
		all = append(all, kind{"datadog", "Datadog", d.Address(), []secret{{"api_key", &d.APIKey, d.APIKeyFile}, {"app_key", &d.AppKey, d.AppKeyFile}}, d.check})
	}
	if n := s.NewRelic; n != nil {
		all = append(all, kind{"newrelic", "New Relic", n.Address(), []secret{{"key", &n.Key, n.KeyFile}}, n.check})
	}
	if c := s.CloudWatch; c != nil {
		all = append(all, kind{"cloudwatch", "CloudWatch", c.Region, []secret{{"secret_key", &c.SecretKey, c.SecretKeyFile}, {"session_token", &c.SessionToken, c.SessionTokenFile}}, c.check})
	}
	if g := s.GoogleCloud; g != nil {
		all = append(all, kind{"google_cloud", "Google Cloud Monitoring", g.Project, []secret{{"credentials", &g.Credentials, g.CredentialsFile}}, g.check})
	}
	if i := s.InfluxDB; i != nil {
		all = append(all, kind{"influxdb", "InfluxDB", i.URL, []secret{{"token", &i.Token, i.TokenFile}}, i.check})
	}
	if g := s.Graphite; g != nil {
		all = append(all, kind{"graphite", "Graphite", g.URL, []secret{{"token", &g.Token, g.TokenFile}, {"password", &g.Password, g.PasswordFile}}, g.check})
	}
	if e := s.Elasticsearch; e != nil {
		all = append(all, kind{"elasticsearch", "Elasticsearch", e.URL, []secret{{"api_key", &e.APIKey, e.APIKeyFile}, {"password", &e.Password, e.PasswordFile}}, e.check})
	}
	if d := s.Dynatrace; d != nil {
		all = append(all, kind{"dynatrace", "Dynatrace", d.URL, []secret{{"token", &d.Token, d.TokenFile}}, d.check})
	}
	if w := s.Web; w != nil {
		all = append(all, kind{"web", "a web source", w.host(), []secret{{"token", &w.Token, w.TokenFile}, {"password", &w.Password, w.PasswordFile}}, w.check})
	}
	return all
}

// String says what kind of system it is, and where.
func (s *Source) String() string {
	for _, k := range s.kinds() {
		return k.title + " at " + k.address
	}
	return "nothing"
}

func (c *Config) checkSources() error {
	seen := map[string]bool{}
	for i := range c.Sources {
		s := &c.Sources[i]
		at, kinds := fmt.Sprintf("metrics_sources[%d]", i), s.kinds()
		switch {
		case s.Name == "":
			return fmt.Errorf("%s.name: missing", at)
		case seen[s.Name]:
			return fmt.Errorf("%s.name: %q is there twice", at, s.Name)
		case s.PerSecond < 0 || s.PerSecond > 1000:
			return fmt.Errorf("%s.per_second: %v is not between 0 and 1000", at, s.PerSecond)
		case len(kinds) == 0:
			return fmt.Errorf("%s: one of prometheus, datadog, newrelic, cloudwatch, google_cloud, influxdb, graphite, elasticsearch, dynatrace and web is required", at)
		case len(kinds) > 1:
			return fmt.Errorf("%s: %s and %s exclude each other; make two sources of them", at, kinds[0].key, kinds[1].key)
		}
		seen[s.Name] = true
		if err := checkEach(s.Projects); err != nil {
			return fmt.Errorf("%s.projects: %w", at, err)
		}
		if err := kinds[0].check(); err != nil {
			return fmt.Errorf("%s.%s%w", at, kinds[0].key, err)
		}
	}
	return nil
}

var header = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

func (p *Prometheus) check() error {
	if p.Page != "" && !isURL(p.Page) {
		return fmt.Errorf(".page: %q is not an http or https address", p.Page)
	}
	return firstOf(plainAddress(p.URL), signIn("token", p.Token, p.Username, p.Password), headers(p.Headers))
}

// Address is that of the API.
func (d *Datadog) Address() string {
	switch {
	case d.URL != "":
		return d.URL
	case d.Site != "":
		return "https://api." + d.Site
	}
	return "https://api.datadoghq.com"
}

func (d *Datadog) check() error {
	switch {
	case d.Site != "" && d.URL != "":
		return errors.New(": site and url exclude each other")
	case d.Site != "" && (!domain.MatchString(d.Site) || strings.HasPrefix(d.Site, "*")):
		return fmt.Errorf(".site: %q is not a site such as datadoghq.eu", d.Site)
	case d.API != "" && d.API != "v1" && d.API != "v2":
		return fmt.Errorf(".api: %q is not v1 or v2", d.API)
	}
	return firstOf(safeAddress(d.Address()), required("api_key", d.APIKey), required("app_key", d.AppKey))
}

// Address is that of the API.
func (n *NewRelic) Address() string {
	switch {
	case n.URL != "":
		return n.URL
	case n.Region == "eu":
		return "https://api.eu.newrelic.com"
	}
	return "https://api.newrelic.com"
}

func (n *NewRelic) check() error {
	switch {
	case n.Region != "" && n.URL != "":
		return errors.New(": region and url exclude each other")
	case n.Region != "" && n.Region != "us" && n.Region != "eu":
		return fmt.Errorf(".region: %q is not us or eu", n.Region)
	case n.Account <= 0:
		return errors.New(".account: missing; give the account's number")
	}
	return firstOf(safeAddress(n.Address()), required("key", n.Key))
}

var awsRegion = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)

func (c *CloudWatch) check() error {
	switch {
	case !awsRegion.MatchString(c.Region):
		return fmt.Errorf(".region: %q is not a region such as eu-central-1", c.Region)
	case c.AccessKey == "":
		return errors.New(".access_key: missing")
	case c.URL != "":
		return firstOf(safeAddress(c.URL), required("secret_key", c.SecretKey))
	}
	return required("secret_key", c.SecretKey)
}

var googleProject = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]*$`)

func (g *GoogleCloud) check() error {
	if !googleProject.MatchString(g.Project) {
		return fmt.Errorf(".project: %q is not the id of a project", g.Project)
	}
	if g.URL != "" {
		return firstOf(safeAddress(g.URL), required("credentials", g.Credentials))
	}
	return required("credentials", g.Credentials)
}

func (i *InfluxDB) check() error {
	if i.Org == "" {
		return errors.New(".org: missing; give the organisation's name")
	}
	return firstOf(plainAddress(i.URL), required("token", i.Token))
}

func (g *Graphite) check() error {
	return firstOf(plainAddress(g.URL), signIn("token", g.Token, g.Username, g.Password), headers(g.Headers))
}

func (e *Elasticsearch) check() error {
	return firstOf(plainAddress(e.URL), signIn("api_key", e.APIKey, e.Username, e.Password), headers(e.Headers))
}

func (d *Dynatrace) check() error {
	return firstOf(safeAddress(d.URL), required("token", d.Token))
}

func (w *Web) check() error {
	switch {
	case w.Method != "" && w.Method != http.MethodGet && w.Method != http.MethodPost:
		return fmt.Errorf(".method: %q is not GET or POST", w.Method)
	case w.Method == http.MethodGet && w.Body != "":
		return errors.New(".body: a GET has none")
	case !strings.HasPrefix(w.Values, "/"):
		return fmt.Errorf(".values: %q is not a path such as /data/*/value", w.Values)
	case w.Times != "" && !strings.HasPrefix(w.Times, "/"):
		return fmt.Errorf(".times: %q is not a path such as /data/*/time", w.Times)
	case w.Stamps != "" && w.Stamps != "begin" && w.Stamps != "end":
		return fmt.Errorf(".stamps: %q is not begin or end", w.Stamps)
	case strings.Contains(w.host(), "$"):
		return errors.New(".url: the host must not have a placeholder")
	}
	return firstOf(plainAddress(w.URL), signIn("token", w.Token, w.Username, w.Password), headers(w.Headers))
}

// host is where the source is, without what the address may say besides.
func (w *Web) host() string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func required(key string, s Secret) error {
	if s == "" {
		return fmt.Errorf(".%s: missing; give it, or %s_file", key, key)
	}
	return nil
}

// plainAddress is any web address without a password.
func plainAddress(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || !isURL(address):
		return fmt.Errorf(".url: %q is not an http or https address", address)
	case u.User != nil:
		return errors.New(".url: give the user and the password as username and password_file")
	}
	return nil
}

// safeAddress is one that credentials may be sent to over the Internet.
func safeAddress(address string) error {
	if err := plainAddress(address); err != nil {
		return err
	}
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf(".url: %q is not an address", address)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Scheme == "https" || u.Hostname() == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf(".url: %q must begin with https, because credentials are sent there", address)
}

func signIn(key string, token Secret, username string, password Secret) error {
	switch {
	case token != "" && (username != "" || password != ""):
		return fmt.Errorf(": %s and username exclude each other", key)
	case (username == "") != (password == ""):
		return errors.New(": username and password belong together")
	}
	return nil
}

func headers(all map[string]Secret) error {
	for name, value := range all {
		if !header.MatchString(name) {
			return fmt.Errorf(".headers: %q is not the name of a header", name)
		}
		if strings.ContainsAny(value.Reveal(), "\r\n\x00") {
			return fmt.Errorf(".headers: %s has more than one line", name)
		}
	}
	return nil
}
