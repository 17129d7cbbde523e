package check

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

func TestOnlyTheOperatorsHostsAreAsked(t *testing.T) {
	hosts := []string{"*.example.com", "shop.internal:8080", "Status.Example.org", "127.0.0.1:9000", "[::1]:9000"}
	environments := map[string]pipeline.EnvironmentRules{"staging": {URL: "https://staging.shop.dev/app"}, "bare": {}, "local": {URL: "http://localhost:7000"}}
	tests := map[string]bool{
		"https://shop.example.com/health":            true,
		"http://a.b.example.com":                     true,
		"https://SHOP.example.com.":                  true,
		"https://example.com":                        false,
		"https://evilexample.com":                    false,
		"https://example.com.evil.net":               false,
		"https://shop.example.com:8443":              false,
		"http://shop.example.com:443":                true,
		"http://shop.internal:8080/x":                true,
		"http://shop.internal":                       false,
		"http://shop.internal:8081":                  false,
		"https://status.example.org":                 true,
		"https://staging.shop.dev/health":            true,
		"https://staging.shop.dev:9000":              false,
		"http://localhost:7000":                      true,
		"http://localhost:7001":                      false,
		"http://127.0.0.1:9000":                      true,
		"http://127.0.0.2:9000":                      false,
		"http://[::1]:9000":                          true,
		"http://169.254.169.254/latest/meta-data":    false,
		"https://shop.example.com@evil.net/":         false,
		"https://evil.net/#shop.example.com":         false,
		"https://evil.net\\@shop.example.com/health": false,
	}
	e := executor(t, Options{Hosts: hosts})
	for address, want := range tests {
		_, err := e.target(task(pipeline.Check{}, environments), address)
		if (err == nil) != want {
			t.Errorf("%s: got %v, want it allowed: %v", address, err, want)
		}
	}
	c := pipeline.HTTPCheck{URL: "https://evil.net/?q=1"}
	f := refused(t, e, task(pipeline.Check{HTTP: &c}, environments))
	if !f.Permanent || f.Code != pipeline.ReasonNotAllowed || !strings.Contains(f.Detail, "checks may not ask evil.net") || !strings.Contains(f.Detail, "checks.hosts") {
		t.Errorf("got %+v", f)
	}
}

func TestAddressesOfTheMachineAndOfItsCloudAreRefused(t *testing.T) {
	tests := []struct {
		host, address string
		want          bool
	}{
		{"shop.example.com", "10.1.2.3:80", true},
		{"shop.example.com", "192.168.1.1:443", true},
		{"shop.example.com", "[2001:db8::1]:443", true},
		{"shop.example.com", "[fd12::1]:443", true},
		{"shop.example.com", "127.0.0.1:80", false},
		{"shop.example.com", "127.8.9.10:80", false},
		{"shop.example.com", "[::1]:80", false},
		{"shop.example.com", "[::ffff:127.0.0.1]:80", false},
		{"shop.example.com", "169.254.169.254:80", false},
		{"shop.example.com", "[::ffff:169.254.169.254]:80", false},
		{"shop.example.com", "[64:ff9b::a9fe:a9fe]:80", false},
		{"shop.example.com", "[2002:a9fe:a9fe::]:80", false},
		{"shop.example.com", "[::a9fe:a9fe]:80", false},
		{"shop.example.com", "[fe80::1%eth0]:80", false},
		{"shop.example.com", "[fd00:ec2::254]:80", false},
		{"shop.example.com", "100.100.100.200:80", false},
		{"shop.example.com", "0.0.0.0:80", false},
		{"shop.example.com", "[::]:80", false},
		{"shop.example.com", "224.0.0.1:80", false},
		{"shop.example.com", "no address", false},
		{"localhost", "127.0.0.1:80", true},
		{"localhost", "[::1]:80", true},
		{"localhost", "169.254.169.254:80", false},
		{"127.0.0.1", "127.0.0.1:80", true},
		{"::1", "[::1]:80", true},
		{"169.254.169.254", "169.254.169.254:80", false},
		{"app.localhost", "127.0.0.1:80", false},
	}
	for _, tt := range tests {
		if err := guard(tt.host)("tcp", tt.address, nil); (err == nil) != tt.want {
			t.Errorf("%s at %s: got %v, want it allowed: %v", tt.host, tt.address, err, tt.want)
		}
	}
}

// names is a resolver that answers every question with the address.
func names(t *testing.T, address string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ip := netip.MustParseAddr(address).As4()
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			end := 12
			for buf[end] != 0 { // the name, label by label
				end += int(buf[end]) + 1
			}
			end += 5 // its end, type and class
			if n < end {
				continue
			}
			answer := append([]byte{buf[0], buf[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, buf[12:end]...)
			if buf[end-3] == 1 { // an IPv4 address is asked for
				answer[7] = 1
				answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				answer = append(answer, ip[:]...)
			}
			_, _ = conn.WriteTo(answer, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestANameThatLeadsToThisMachineOrToItsCloudIsRefused(t *testing.T) {
	address, _ := serve(t, func(http.ResponseWriter, *http.Request) {})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"127.0.0.1", "169.254.169.254"} {
		e := executor(t, Options{Hosts: []string{"rebound.example.com:" + u.Port()}, Resolver: names(t, to)})
		c := pipeline.HTTPCheck{URL: "http://rebound.example.com:" + u.Port(), Requests: 1, Pass: 1}
		f := refused(t, e, task(pipeline.Check{HTTP: &c}, nil))
		if !f.Permanent || f.Code != pipeline.ReasonNotAllowed || !strings.Contains(f.Detail, "rebound.example.com: it leads to "+to) {
			t.Errorf("got %+v", f)
		}
	}
}
