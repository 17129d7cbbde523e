package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"gitlab.com/slipway-cd/slipway/deploy/metrics"
)

const maxSaid = 200 // characters of a system's own words

// Failed is why no answer came: the context's error, or a *metrics.Failure.
func (c *Client) Failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err // without the address, which may contain what nobody should read
	}
	large, unsigned := errors.Is(err, errTooLarge), errors.Is(err, errUnsigned)
	return &metrics.Failure{Permanent: large, Words: c.networkWords(err, large, unsigned), Err: errors.New(c.Clean(err.Error()))}
}

func (c *Client) networkWords(err error, large, unsigned bool) string {
	var dns *net.DNSError
	var timeout net.Error
	text, name := err.Error(), c.o.System
	switch {
	case large:
		return name + "'s answer is larger than Slipway reads"
	case unsigned:
		return name + " cannot be asked, because Slipway cannot sign in: check the credentials in Slipway's configuration"
	case errors.As(err, &dns):
		return name + " cannot be reached: its name is not found"
	case strings.Contains(text, "connection refused"):
		return name + " cannot be reached: connection refused"
	case strings.Contains(text, "x509:") || strings.Contains(text, "tls:"):
		return name + " cannot be reached: its certificate is not trusted"
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return name + " did not answer in time"
	}
	return "the connection to " + name + " broke, or its answer is not understood"
}

// Refused is the failure of a status that is not good, with what the system says.
func (c *Client) Refused(status int, body []byte) *metrics.Failure {
	name, said := c.o.System, c.said(body)
	f := &metrics.Failure{}
	switch {
	case status < 300 || status > 599:
		return c.Strange(fmt.Errorf("status %d", status))
	case status < 400:
		f.Permanent, f.Words = true, fmt.Sprintf("%s answers with a redirect (%d), which is not followed: check its address in Slipway's configuration", name, status)
	case status == http.StatusUnauthorized, status == http.StatusForbidden: // somebody may mend that while a delivery waits
		f.Words = fmt.Sprintf("%s refuses to answer (%d): check the credentials and their rights in Slipway's configuration", name, status)
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status < 500 && c.o.Busy != nil && c.o.Busy(status, body):
		f.Words = fmt.Sprintf("%s is asked too much (%d)", name, status)
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		f.Permanent, f.Words = true, fmt.Sprintf("%s does not know what it is asked for (%d): check its address in Slipway's configuration", name, status)
	case status < 500:
		f.Permanent, f.Words = true, fmt.Sprintf("%s does not take the query (%d)", name, status)
	default:
		f.Words = fmt.Sprintf("%s has trouble of its own (%d)", name, status)
	}
	if said != "" {
		f.Words += ": " + said
	}
	return f
}

// said are the system's own words about a refusal, "" if it sent a page.
func (c *Client) said(body []byte) string {
	text := c.Clean(c.o.Said(body))
	if strings.HasPrefix(text, "<") {
		return ""
	}
	return text
}

// Query is the failure of a query that the system will never answer, with why.
func (c *Client) Query(why string) *metrics.Failure {
	return &metrics.Failure{Permanent: true, Words: c.o.System + " does not take the query: " + c.Clean(why)}
}

// Trouble is the failure of a question that the system may answer next time, with what it says.
func (c *Client) Trouble(said string) *metrics.Failure {
	return &metrics.Failure{Words: c.o.System + " has trouble of its own: " + c.Clean(said)}
}

// Strange is the failure of an answer that is not as the system's documentation says.
func (c *Client) Strange(err error) *metrics.Failure {
	why := c.Clean(err.Error())
	return &metrics.Failure{
		Permanent: true, Words: fmt.Sprintf("%s's answer is not understood (%s): check its address in Slipway's configuration", c.o.System, why),
	}
}

// signedIn matches what signs in by a header, which may be a token that is known for an hour only.
var signedIn = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[^\s;,"']+`)

// Clean makes text of others one bounded line without secrets.
func (c *Client) Clean(s string) string {
	for _, secret := range c.o.Secrets {
		s = strings.ReplaceAll(s, secret, "[secret]")
	}
	s = signedIn.ReplaceAllString(s, "$1 [secret]")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if utf8.RuneCountInString(s) > maxSaid {
		return string([]rune(s)[:maxSaid-1]) + "…"
	}
	return s
}
