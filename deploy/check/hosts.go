package check

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// target reads the address of a check, and refuses one that the operator has not allowed.
func (e *Executor) target(t *pipeline.Task, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, refusal(pipeline.ReasonOther, fmt.Sprintf("%s is not an http or https address", clean(raw, 100)), nil)
	case u.User != nil:
		return nil, refusal(pipeline.ReasonOther, "the address of a check must not contain a user or password", nil)
	case !e.allows(t.Plan, u):
		return nil, refusal(pipeline.ReasonNotAllowed, fmt.Sprintf(
			"checks may not ask %s: it is not among the operator's checks.hosts, and is no environment of this project", clean(u.Host, 150)), nil)
	}
	u.Fragment = ""
	return u, nil
}

// allows tells whether the operator lets checks ask the address: by the list, or because it is where an environment
// of the plan lives.
func (e *Executor) allows(plan *pipeline.Plan, u *url.URL) bool {
	if slices.ContainsFunc(e.o.Hosts, func(pattern string) bool { return fits(pattern, u) }) {
		return true
	}
	if plan == nil {
		return false
	}
	for _, rules := range plan.Environments {
		if own, err := url.Parse(rules.URL); err == nil && own.Host != "" && fits(strings.ToLower(own.Host), u) {
			return true
		}
	}
	return false
}

// fits tells whether the pattern "host", "host:port" or "*.domain" stands for the address. Without a port it stands
// for the usual ones, so that nothing else on a host is reached.
func fits(pattern string, u *url.URL) bool {
	wanted := url.URL{Host: strings.ToLower(pattern)}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if p := wanted.Port(); p != "" && p != port || p == "" && port != "80" && port != "443" {
		return false
	}
	host, domain := hostname(u), strings.TrimSuffix(wanted.Hostname(), ".")
	if below, ok := strings.CutPrefix(domain, "*."); ok {
		_, err := netip.ParseAddr(host)
		isName := err != nil
		return isName && below != "" && len(host) > len(below)+1 && strings.HasSuffix(host, "."+below)
	}
	return domain != "" && host == domain
}

func hostname(u *url.URL) string { return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".") }

// addressError is a connection that was not made.
type addressError struct{ address string }

func (e *addressError) Error() string { return "checks do not connect to " + e.address }

// guard refuses addresses when the connection is made. By then the name is resolved, so that what it resolved to
// before, when somebody looked, does not matter. This machine itself is asked only where the host is written so.
func guard(host string) func(network, address string, _ syscall.RawConn) error {
	own := host == "localhost"
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		own = true
	}
	return func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return &addressError{address}
		}
		if ip := inner(ap.Addr()); forbidden(ip) || ip.IsLoopback() && !own {
			return &addressError{ip.String()}
		}
		return nil
	}
}

// inner is the IPv4 address that an IPv6 address stands for, or the address itself.
func inner(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	if !ip.Is6() {
		return ip
	}
	b := ip.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(ip), netip.MustParsePrefix("::/96").Contains(ip) && !ip.IsLoopback() && !ip.IsUnspecified():
		return netip.AddrFrom4([4]byte(b[12:16]))
	case netip.MustParsePrefix("2002::/16").Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return ip
}

// forbidden are addresses behind which no app lives: link-local ones, where clouds answer with credentials, the same
// service of clouds that have it elsewhere, groups, and the address that stands for any.
func forbidden(ip netip.Addr) bool {
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || netip.MustParsePrefix("0.0.0.0/8").Contains(ip) {
		return true
	}
	switch ip.String() {
	case "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16": // AWS, Alibaba, Oracle, Azure
		return true
	}
	return ip == netip.IPv4Unspecified() || ip.String() == "255.255.255.255"
}

// refusedAddress finds the refusal of guard in an error.
func refusedAddress(err error) (*addressError, bool) {
	var refused *addressError
	ok := errors.As(err, &refused)
	return refused, ok
}

// dialer connects to the host's addresses, as far as they are allowed.
func (e *Executor) dialer(host string) *net.Dialer {
	return &net.Dialer{Timeout: connectTimeout, Resolver: e.o.Resolver, Control: guard(host)}
}
