package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Checks says what the checks of pipeline files may do.
type Checks struct {
	// Hosts that checks may ask: "shop.internal:8080", "*.example.com". The hosts of the
	// environments' own addresses may be asked without.
	Hosts []string `yaml:"hosts"`
}

// Source is a system that keeps measurements, for the checks that compare a metric. One of
// its kinds is set.
type Source struct {
	Name       string      `yaml:"name"`     // what pipeline files call it
	Projects   []string    `yaml:"projects"` // whose checks may ask it; without one all projects'
	Prometheus *Prometheus `yaml:"prometheus"`
}

// Prometheus is a Prometheus, or what answers like one.
type Prometheus struct {
	URL          string            `yaml:"url"`
	Token        Secret            `yaml:"token"` // a bearer token, or
	TokenFile    string            `yaml:"token_file"`
	Username     string            `yaml:"username"` // a username with a password
	Password     Secret            `yaml:"password"`
	PasswordFile string            `yaml:"password_file"`
	Headers      map[string]Secret `yaml:"headers"` // sent with each query, such as X-Scope-OrgID
}

func (c *Config) checkChecks() error {
	for i, host := range c.Checks.Hosts {
		if !isHost(host) {
			return fmt.Errorf("checks.hosts[%d]: %q is not a host such as shop.internal, shop.internal:8080 or *.example.com", i, host)
		}
	}
	seen := map[string]bool{}
	for i, s := range c.Sources {
		switch {
		case s.Name == "":
			return fmt.Errorf("metrics_sources[%d].name: missing", i)
		case seen[s.Name]:
			return fmt.Errorf("metrics_sources[%d].name: %q is there twice", i, s.Name)
		case s.Prometheus == nil:
			return fmt.Errorf("metrics_sources[%d]: prometheus is required; other kinds are not known", i)
		}
		seen[s.Name] = true
		if err := checkEach(s.Projects); err != nil {
			return fmt.Errorf("metrics_sources[%d].projects: %w", i, err)
		}
		if err := s.Prometheus.check(); err != nil {
			return fmt.Errorf("metrics_sources[%d].prometheus%w", i, err)
		}
	}
	return nil
}

var header = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

func (p *Prometheus) check() error {
	u, err := url.Parse(p.URL)
	switch {
	case err != nil || !isURL(p.URL):
		return fmt.Errorf(".url: %q is not an http or https address", p.URL)
	case u.User != nil:
		return errors.New(".url: give the user and the password as username and password_file")
	case p.Token != "" && (p.Username != "" || p.Password != ""):
		return errors.New(": token and username exclude each other")
	case (p.Username == "") != (p.Password == ""):
		return errors.New(": username and password belong together")
	}
	for name := range p.Headers {
		if !header.MatchString(name) {
			return fmt.Errorf(".headers: %q is not the name of a header", name)
		}
	}
	return nil
}

var domain = regexp.MustCompile(`^(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

// isHost accepts a name, a name below which all are meant, or an IP address, each with a port or without.
func isHost(s string) bool {
	host := strings.ToLower(s)
	if at := strings.LastIndexByte(host, ':'); at >= 0 && !strings.HasSuffix(host, "]") {
		if port, err := strconv.Atoi(host[at+1:]); err != nil || port < 1 || port > 65535 {
			return false
		}
		host = host[:at]
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		ip, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && strings.HasSuffix(host, "]") && ip.Zone() == ""
	}
	return domain.MatchString(host)
}
