package spec

import (
	"fmt"
	"net/url"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"
)

// Texts that Kubernetes, Helm, git or HTTP give meaning to, and keys of mappings.
type (
	// Delay is a time span that may be none: 0s.
	Delay string
	// Latency is a short time span: 500ms or 2s.
	Latency string
	// Value is any text. It may be written as a number, or as true or false.
	Value string
	// Address is an http or https address that is asked.
	Address string
	// Pattern is a regular expression (RE2).
	Pattern string
	// Reference is a full reference of a container image.
	Reference string
	// Ref is a branch or tag.
	Ref string
	// ObjectName is the name of a Kubernetes object.
	ObjectName string
	// ReleaseName is the name of a Helm release.
	ReleaseName string
	// HeaderName is the name of an HTTP header.
	HeaderName string
	// HeaderValue is the value of an HTTP header.
	HeaderValue string

	// Query is what a metrics source is asked about a track of a canary.
	Query string
	// Percent is a part of the traffic: 1% to 50%.
	Percent string
	// Moment is a time as in 2026-03-01T10:00:00Z.
	Moment string
	// Version names a release.
	Version string
	// Label is a name that people read, of a metric or a group of them.
	Label string

	// Host is a host name, of which the first part may be *.
	Host string

	// HostName is the key of a host.
	HostName string
	// ImageName is the key of an image.
	ImageName string
	// SetKey is the dotted key of a chart's value.
	SetKey string
	// Variable is the name of an environment variable.
	Variable string
)

const (
	latencyPattern     = `^(\d{1,5}ms|\d{1,2}s)$`
	refPattern         = `^[^\s~^:?*\[\\-][^\s~^:?*\[\\]{0,254}$`
	objectNamePattern  = `^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`
	releaseNamePattern = `^[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?$`
	headerNamePattern  = `^[A-Za-z0-9-]{1,100}$`
	headerValuePattern = `^[!-~]([ -~]{0,198}[!-~])?$`
	hostPattern        = `^(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`
	setKeyPattern      = `^[A-Za-z0-9_][A-Za-z0-9_./\[\]\\-]{0,254}$`
	variablePattern    = `^[A-Za-z_][A-Za-z0-9_]{0,254}$`

	percentPattern = `^([1-9]|[1-4][0-9]|50)%$`
	momentPattern  = `^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$`
	versionPattern = `^[A-Za-z0-9][A-Za-z0-9._/-]{3,254}$`
	labelPattern   = `^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]{0,78}[^\s\x00-\x1f\x7f])?$`

	maxLatency = time.Minute
	maxHost    = 253
)

func (Delay) templated() bool { return false }
func (Delay) check(s string) (string, string) {
	if span, ok := parseDuration(s); ok && span == 0 {
		return "", ""
	}
	return Duration("").check(s)
}

// Span is the duration; 0 for "".
func (d Delay) Span() time.Duration { return Duration(d).Span() }

func (Latency) templated() bool { return false }
func (Latency) check(s string) (string, string) {
	if !matches(latencyPattern, s) {
		return fmt.Sprintf("%s is not how long an answer takes", quote(s)), "write for example 500ms or 2s"
	}
	if d, err := time.ParseDuration(s); err != nil || d <= 0 || d > maxLatency {
		return "the latency must be more than zero, and 60s at most", ""
	}
	return "", ""
}

// Span is the duration; 0 for "".
func (l Latency) Span() time.Duration {
	d, err := time.ParseDuration(string(l))
	if err != nil {
		return 0
	}
	return d
}

func (Value) templated() bool { return true }
func (Value) check(s string) (string, string) {
	if strings.ContainsRune(s, 0) {
		return "the value holds a zero byte", ""
	}
	return "", ""
}

func (Address) templated() bool { return true }
func (Address) check(s string) (string, string) {
	if what, hint := URL("").check(s); what != "" {
		return what, hint
	}
	// The address is shown to people, and so is this problem: it must not repeat the password.
	if u, err := url.Parse(s); err != nil || u.User != nil {
		return "the address holds a name or password", "ask something that needs none; the address is shown to people"
	}
	return "", ""
}

func (Pattern) templated() bool { return true }
func (Pattern) check(s string) (string, string) {
	re, err := syntax.Parse(s, syntax.Perl)
	switch {
	case err != nil:
		return "this is not a regular expression: " + oneLine(err.Error()), `write it as RE2 wants it; \Q…\E takes what is between as it is`
	case patternSize(re) > maxPattern:
		return "the regular expression is too large", "repeat less in it"
	}
	return "", ""
}

func (Reference) templated() bool { return true }
func (Reference) check(s string) (string, string) {
	if !matches(imagePattern, s) || strings.HasPrefix(s, "sha256:") {
		return fmt.Sprintf("%s is not a full reference of an image", quote(s)), "write for example registry.example.com/shop:1.4.2"
	}
	return "", ""
}

func (Ref) templated() bool { return true }
func (Ref) check(s string) (string, string) {
	if !matches(refPattern, s) || strings.Contains(s, "..") || strings.HasSuffix(s, "/") || strings.HasSuffix(s, ".lock") {
		return fmt.Sprintf("%s is not a branch or tag", quote(s)), "write for example main or v1.4.2"
	}
	return "", ""
}

func (ObjectName) templated() bool { return false }
func (ObjectName) check(s string) (string, string) {
	if !matches(objectNamePattern, s) {
		return fmt.Sprintf("%s is not the name of a Kubernetes object", quote(s)), "use small letters, digits, - and ."
	}
	return "", ""
}

func (ReleaseName) templated() bool { return false }
func (ReleaseName) check(s string) (string, string) {
	if !matches(releaseNamePattern, s) {
		return fmt.Sprintf("%s is not the name of a Helm release", quote(s)), "use up to 53 small letters, digits and -"
	}
	return "", ""
}

func (HeaderName) templated() bool { return false }
func (HeaderName) check(s string) (string, string) {
	if !matches(headerNamePattern, s) {
		return fmt.Sprintf("%s is not the name of a header", quote(s)), "use letters, digits and -, as in x-canary"
	}
	return "", ""
}

func (HeaderValue) templated() bool { return false }
func (HeaderValue) check(s string) (string, string) {
	if !matches(headerValuePattern, s) {
		return fmt.Sprintf("%s is not the value of a header", quote(s)), "use up to 200 letters, digits and signs of ASCII"
	}
	return "", ""
}

func (Host) templated() bool { return true }
func (Host) check(s string) (string, string) {
	if !matches(hostPattern, s) || len(s) > maxHost {
		return fmt.Sprintf("%s is not a host name", quote(s)), "use small letters, digits, - and ., as in shop.example.com"
	}
	return "", ""
}

func (HostName) templated() bool                 { return false }
func (HostName) check(s string) (string, string) { return Host("").check(s) }

func (ImageName) templated() bool                 { return false }
func (ImageName) check(s string) (string, string) { return Image("").check(s) }

func (SetKey) templated() bool { return false }
func (SetKey) check(s string) (string, string) {
	if !matches(setKeyPattern, s) {
		return fmt.Sprintf("%s is not the key of a value", quote(s)), "write for example image.tag; an expression can only be in the value"
	}
	return "", ""
}

func (Variable) templated() bool { return false }
func (Variable) check(s string) (string, string) {
	if !matches(variablePattern, s) {
		return fmt.Sprintf("%s is not the name of a variable", quote(s)), "use letters, digits and _, and do not start with a digit"
	}
	return "", ""
}

func (Query) templated() bool { return true }
func (Query) check(s string) (string, string) {
	return Text("").check(s)
}

func (Percent) templated() bool { return false }
func (Percent) check(s string) (string, string) {
	if !matches(percentPattern, s) {
		return fmt.Sprintf("%s is not a part of the traffic that two tracks can have", quote(s)), "write 1% to 50%; the baseline has the same as the canary"
	}
	return "", ""
}

// Number is the part in per cent; 0 for "".
func (p Percent) Number() int {
	n, err := strconv.Atoi(strings.TrimSuffix(string(p), "%"))
	if err != nil {
		return 0
	}
	return n
}

func (Moment) templated() bool { return false }
func (Moment) check(s string) (string, string) {
	if _, err := time.Parse(time.RFC3339, s); err != nil {
		return fmt.Sprintf("%s is not a time", quote(s)), "write for example 2026-03-01T10:00:00Z"
	}
	return "", ""
}

// Time is the time; zero for "".
func (m Moment) Time() time.Time {
	t, err := time.Parse(time.RFC3339, string(m))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

func (Version) templated() bool { return false }
func (Version) check(s string) (string, string) {
	if !matches(versionPattern, s) {
		return fmt.Sprintf("%s does not name a release", quote(s)), "write at least 4 digits of its commit, or its id"
	}
	return "", ""
}

func (Label) templated() bool { return false }
func (Label) check(s string) (string, string) {
	if !matches(labelPattern, s) {
		return fmt.Sprintf("%s is not a name that people can read", quote(s)), "write up to 80 characters on one line"
	}
	return "", ""
}
