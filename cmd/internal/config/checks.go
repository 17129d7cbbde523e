package config

import (
	"fmt"
	"net/netip"
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

func (c *Config) checkChecks() error {
	for i, host := range c.Checks.Hosts {
		if !isHost(host) {
			return fmt.Errorf("checks.hosts[%d]: %q is not a host such as shop.internal, shop.internal:8080 or *.example.com", i, host)
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
