package gitlab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

const (
	maxDetail     = 500              // characters of a failure's words
	defaultWait   = 30 * time.Second // after a 429 that doesn't say how long
	longestWait   = 10 * time.Minute
	tokenWait     = time.Minute // until a refused token is tried again: an operator may have replaced it
	conflictsWait = 2 * time.Second
)

// call says what was tried, for the words of its failure.
type call struct {
	doing string // "write the merge request note"
	needs string // the role that it takes, "Developer"; "" if any
	makes bool   // it makes or starts something, so that a lost answer leaves open whether it happened
}

// failed translates an error of the API into a *pipeline.Failure, or into ctx's error if the
// effect was withdrawn.
func (c *Client) failed(ctx context.Context, k call, resp *api.Response, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	f := &pipeline.Failure{Code: pipeline.ReasonUnreachable, Err: fmt.Errorf("%s: %w", k.doing, err)}
	said := ""
	var refused *api.ErrorResponse
	status := 0
	if errors.As(err, &refused) && !errors.Is(err, api.ErrNotFound) {
		status, said = refused.StatusCode, message(refused.Body)
		if resp == nil && refused.Response != nil {
			resp = &api.Response{Response: refused.Response}
		}
	}
	if errors.Is(err, api.ErrNotFound) {
		status, said = http.StatusNotFound, notFoundWords(resp)
	}
	switch {
	case errors.Is(err, errTooLarge):
		f.Code, f.Permanent, f.Detail = pipeline.ReasonRefused, true, "GitLab's answer is larger than Slipway reads"
	case status == 0:
		f.Detail, f.Unknown = networkWords(err), k.makes && mayHaveArrived(err)
	case status == http.StatusTooManyRequests:
		f.Detail, f.After = "GitLab is asked too often and wants a pause", retryAfter(resp, c.o.Now())
	case status == http.StatusUnauthorized:
		f.Code, f.After, f.Detail = pipeline.ReasonRefused, tokenWait, "GitLab does not accept Slipway's access token: it is wrong, expired or revoked"
	case status == http.StatusConflict:
		f.Detail, f.After = "GitLab is busy with the same thing and asks to try again", conflictsWait
	case status >= 500 || status == http.StatusRequestTimeout:
		f.Detail, f.Unknown = fmt.Sprintf("GitLab answers %d", status), k.makes
	default:
		f.Code, f.Permanent = pipeline.ReasonRefused, true
		f.Detail = refusalWords(status, k, said)
	}
	f.Detail = clip(f.Detail, maxDetail)
	return f
}

func refusalWords(status int, k call, said string) string {
	role := ""
	if k.needs != "" {
		role = "; it takes the role " + k.needs + " in the project"
	}
	quoted := ""
	if said != "" {
		quoted = " (GitLab says: " + said + ")"
	}
	switch {
	case status == http.StatusForbidden:
		return "Slipway's GitLab user may not " + k.doing + role + quoted
	case status == http.StatusNotFound:
		return "GitLab does not find what is needed to " + k.doing + ", or Slipway's user may not see it" + role + quoted
	case status >= 300 && status < 400:
		return "GitLab redirects to another address: check the URL of GitLab in Slipway's configuration"
	}
	return fmt.Sprintf("GitLab refuses to %s with status %d", k.doing, status) + quoted
}

// statusOf is the HTTP status of an API error, 0 if there was no answer.
func statusOf(err error) int {
	var refused *api.ErrorResponse
	if errors.Is(err, api.ErrNotFound) {
		return http.StatusNotFound
	}
	if errors.As(err, &refused) {
		return refused.StatusCode
	}
	return 0
}

// retryAfter reads how long GitLab wants us to wait: seconds, a date, or the time of the
// limit's reset. Limits of single features (notes) say nothing.
func retryAfter(resp *api.Response, now time.Time) time.Duration {
	if resp == nil || resp.Response == nil {
		return defaultWait
	}
	wait := time.Duration(0)
	v := resp.Header.Get("Retry-After")
	if n, err := strconv.ParseInt(v, 10, 64); err == nil && n > 0 && n < 1<<31 {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		wait = at.Sub(now)
	} else if n, err := strconv.ParseInt(resp.Header.Get("RateLimit-Reset"), 10, 64); err == nil {
		wait = time.Unix(n, 0).Sub(now)
	}
	if wait <= 0 {
		return defaultWait
	}
	return min(wait, longestWait)
}

func networkWords(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return "GitLab cannot be reached: its name is not found"
	case strings.Contains(err.Error(), "connection refused"):
		return "GitLab cannot be reached: connection refused"
	case strings.Contains(err.Error(), "x509:") || strings.Contains(err.Error(), "tls:"):
		return "GitLab cannot be reached: its certificate is not trusted"
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return "GitLab did not answer in time"
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) {
		return "GitLab's answer is not understood"
	}
	return "the connection to GitLab broke"
}

// mayHaveArrived tells that the request may have reached GitLab.
func mayHaveArrived(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	if errors.As(err, &dns) || errors.As(err, &op) && op.Op == "dial" {
		return false
	}
	return true
}

// message reads GitLab's error body: {"message": …} or {"error": …}, of strings, lists and maps.
func message(body []byte) string {
	var top struct {
		Message any `json:"message"`
		Error   any `json:"error"`
	}
	if json.Unmarshal(bytes.TrimSpace(body), &top) != nil {
		return "" // a proxy's page is no help
	}
	words := flatten(top.Message)
	if words == "" {
		words = flatten(top.Error)
	}
	return clip(oneLine(words), 200)
}

func flatten(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		parts := make([]string, 0, len(v))
		for _, e := range v {
			parts = append(parts, flatten(e))
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		parts := make([]string, 0, len(v))
		for k, e := range v {
			parts = append(parts, k+" "+flatten(e))
		}
		sort.Strings(parts)
		return strings.Join(parts, "; ")
	}
	return ""
}

// notFoundWords is what GitLab said with a 404, such as "404 File Not Found".
func notFoundWords(resp *api.Response) string {
	if resp == nil || resp.Response == nil {
		return ""
	}
	body, err := url.QueryUnescape(resp.Header.Get(reasonHeader))
	if err != nil {
		return ""
	}
	return message([]byte(body))
}

// clip shortens s to n characters.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:n-1]) + "…"
}

// oneLine joins the lines and spaces of s.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
