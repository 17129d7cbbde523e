package kube

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

const maxDetail = 500 // characters

// allKinds stands for a resource where the cluster is asked what it serves.
const allKinds = "the kinds of the cluster"

// attempt is what was tried.
type attempt struct {
	verb      string // get, list, watch, apply, delete
	resource  string // "deployments.apps"
	title     string // "Deployment shop", "" for a list
	namespace string
	secret    bool // the cluster's words may show values
	from      manifest.Origin
}

func refusal(code pipeline.ReasonCode, detail string, cause error) *pipeline.Failure {
	return &pipeline.Failure{Code: code, Detail: clip(detail), Permanent: true, Err: cause}
}

// failure says what an error of the cluster means. ctx is the caller's: its end is not the cluster's fault.
func (c *Client) failure(ctx context.Context, err error, a attempt) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) || isNetwork(status.Status()) {
		return c.unreachable(err, a)
	}
	s := status.Status()
	f := c.translate(s, a)
	f.Detail = clip(f.Detail)
	if f.Err = err; a.secret {
		f.Err = hidden{fmt.Sprintf("%s %s: status %d %s", a.verb, a.resource, s.Code, s.Reason), err}
	}
	return f
}

// hidden is an error whose own text may show values of a Secret.
type hidden struct {
	text  string
	cause error
}

func (h hidden) Error() string { return h.text }
func (h hidden) Unwrap() error { return h.cause }

// isNetwork tells that a status was made up by the client.
func isNetwork(s metav1.Status) bool { return s.Code == 0 }

func (c *Client) unreachable(err error, a attempt) *pipeline.Failure {
	f := &pipeline.Failure{Code: pipeline.ReasonUnreachable, Detail: "cluster " + c.name + " doesn't answer", Unknown: a.verb == "apply" || a.verb == "delete", Err: err}
	if a.secret {
		f.Err = errors.New("no answer") // a client's error may quote what it sent
	}
	return f
}

func (c *Client) translate(s metav1.Status, a attempt) *pipeline.Failure {
	message := sentence(s.Message)
	if a.secret {
		message = "the cluster's answer is not shown because it may hold values"
	}
	switch {
	case s.Reason == metav1.StatusReasonConflict && len(conflicts(s)) > 0:
		detail := fmt.Sprintf("%s: %s", a.title, strings.Join(conflicts(s), "; "))
		return &pipeline.Failure{Code: pipeline.ReasonConflict, Permanent: true, Detail: detail}
	case s.Reason == metav1.StatusReasonConflict, s.Reason == metav1.StatusReasonAlreadyExists:
		return &pipeline.Failure{Code: pipeline.ReasonConflict, Detail: about(a.title, "changed at the same moment")}
	case s.Code == 401:
		return &pipeline.Failure{Code: pipeline.ReasonForbidden, Detail: "cluster " + c.name + " doesn't accept Slipway's credentials"}
	case strings.Contains(s.Message, "admission webhook") && strings.Contains(s.Message, "denied the request"):
		return &pipeline.Failure{Code: pipeline.ReasonRefused, Permanent: true, Detail: about(a.title, message)}
	case strings.Contains(s.Message, "ValidatingAdmissionPolicy") && strings.Contains(s.Message, "denied request"):
		return &pipeline.Failure{Code: pipeline.ReasonRefused, Permanent: true, Detail: about(a.title, message)}
	case s.Code == 403:
		return c.forbidden(s, a, message)
	case s.Code == 404 && s.Details != nil && s.Details.Kind == "namespaces":
		return &pipeline.Failure{Code: pipeline.ReasonOther, Permanent: true, Detail: fmt.Sprintf("cluster %s has no namespace %s, and Slipway makes none", c.name, a.namespace)}
	case s.Code == 404:
		return &pipeline.Failure{Code: pipeline.ReasonOther, Permanent: a.verb != "apply", Detail: about(a.title, "cluster "+c.name+" doesn't find "+a.resource)}
	case s.Reason == metav1.StatusReasonInvalid, s.Code == 422:
		return &pipeline.Failure{Code: pipeline.ReasonManifest, Permanent: true, Detail: place(a.from) + about(a.title, invalid(s, a, message))}
	case s.Code == 400, s.Code == 413, s.Code == 415:
		return &pipeline.Failure{Code: pipeline.ReasonManifest, Permanent: true, Detail: place(a.from) + about(a.title, message)}
	case s.Code == 429:
		return &pipeline.Failure{Code: pipeline.ReasonUnreachable, After: after(s), Detail: "cluster " + c.name + " asks to wait"}
	case untyped(s, a) != "":
		return &pipeline.Failure{Code: pipeline.ReasonManifest, Permanent: true, Detail: place(a.from) + about(a.title, untyped(s, a))}
	case s.Code >= 500 && absentWebhook(s) != "":
		detail := fmt.Sprintf("admission webhook %s of cluster %s can't be asked", absentWebhook(s), c.name)
		return &pipeline.Failure{Code: pipeline.ReasonUnreachable, After: after(s), Detail: about(a.title, detail)}
	case s.Code >= 500:
		return &pipeline.Failure{Code: pipeline.ReasonUnreachable, After: after(s), Unknown: true, Detail: fmt.Sprintf("cluster %s answers with status %d", c.name, s.Code)}
	}
	return &pipeline.Failure{Code: pipeline.ReasonRefused, Permanent: true, Detail: about(a.title, message)}
}

func (c *Client) forbidden(s metav1.Status, a attempt, message string) *pipeline.Failure {
	f := &pipeline.Failure{Code: pipeline.ReasonForbidden, Permanent: true, Detail: about(a.title, message)}
	// Everybody may ask for the kinds, so that only the impersonation can be what is refused then. client-go drops the
	// cluster's words.
	if c.as != (ServiceAccount{}) && (a.resource == allKinds || strings.Contains(s.Message, "cannot impersonate")) {
		f.Detail = fmt.Sprintf("Slipway may not act as service account %s in namespace %s of cluster %s; its own account needs the verb impersonate on it", c.as.Name, c.as.Namespace, c.name)
		return f
	}
	if m := regexp.MustCompile(`User "([^"]*)" cannot (\w+) resource "([^"]*)"`).FindStringSubmatch(s.Message); m != nil {
		f.Detail = fmt.Sprintf("%s may not %s %s in namespace %s of cluster %s", m[1], m[2], resourceName(m[3], a), a.namespace, c.name)
		return f
	}
	switch {
	case strings.Contains(s.Message, "exceeded quota"):
		f.Code = pipeline.ReasonQuota
	case s.Details != nil && hasCause(s, "NamespaceTerminating"):
		f.Detail = fmt.Sprintf("namespace %s of cluster %s is being deleted", a.namespace, c.name)
	}
	return f
}

// resourceName prefers the name with its group, if it is the same resource.
func resourceName(plain string, a attempt) string {
	if name, _, _ := strings.Cut(a.resource, "."); name == plain {
		return a.resource
	}
	return plain
}

func hasCause(s metav1.Status, kind metav1.CauseType) bool {
	for _, c := range s.Details.Causes {
		if c.Type == kind {
			return true
		}
	}
	return false
}

// conflicts lists who manages which field that we would change.
func conflicts(s metav1.Status) []string {
	if s.Details == nil {
		return nil
	}
	var owners []string
	fields := map[string][]string{}
	for _, c := range s.Details.Causes {
		if c.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		owner := c.Message
		if m := regexp.MustCompile(`^conflict with "([^"]*)"(?: with subresource "([^"]*)")?`).FindStringSubmatch(c.Message); m != nil {
			if owner = m[1]; m[2] != "" {
				owner += " (by " + m[2] + ")"
			}
		}
		if _, ok := fields[owner]; !ok {
			owners = append(owners, owner)
		}
		fields[owner] = append(fields[owner], sentence(c.Field))
	}
	var said []string
	for _, owner := range owners {
		list, more := fields[owner], ""
		const shown = 4
		if len(list) > shown {
			list, more = list[:shown], fmt.Sprintf(" and %d more", len(list)-shown)
		}
		said = append(said, fmt.Sprintf("%s manages %s%s", sentence(owner), strings.Join(list, ", "), more))
	}
	return said
}

// invalid lists the fields that the cluster doesn't take.
func invalid(s metav1.Status, a attempt, message string) string {
	if s.Details == nil || len(s.Details.Causes) == 0 {
		return message
	}
	if isSealed(s) {
		return "a Job that exists can't be changed (let a run stage run it, where each run gets a Job of its own)"
	}
	var said []string
	for _, c := range s.Details.Causes {
		switch {
		case a.secret:
			said = append(said, sentence(c.Field)+" is not valid")
		case c.Field == "":
			said = append(said, sentence(c.Message))
		default:
			said = append(said, sentence(c.Field)+": "+sentence(c.Message))
		}
	}
	return strings.Join(said, "; ")
}

// isSealed tells that the object is a Job, and what of it is to be changed can't be since it exists.
func isSealed(s metav1.Status) bool {
	return s.Details != nil && s.Details.Group == "batch" && s.Details.Kind == "Job" && strings.Contains(s.Message, "immutable")
}

// untyped says how an object doesn't fit its kind's schema, "" if that isn't what happened. The API server answers it
// with status 500, as if trying again could help.
func untyped(s metav1.Status, a attempt) string {
	what := ""
	for _, beginning := range []string{"failed to create typed patch object", "failed to convert new object"} {
		if _, rest, ok := strings.Cut(s.Message, beginning); ok {
			what = rest
		}
	}
	if what == "" {
		return ""
	}
	for _, preamble := range []string{"): ", "unable to convert unstructured object to "} {
		if _, rest, ok := strings.Cut(what, preamble); ok {
			what = rest
		}
	}
	unknown := regexp.MustCompile(`\.[\w./\[\]="-]+: field not declared in schema`).FindString(what)
	switch {
	case unknown != "":
		return "there is no field " + strings.TrimSuffix(unknown, ": field not declared in schema")
	case a.secret:
		return "it doesn't have the form of a Secret"
	}
	return sentence(what)
}

// absentWebhook names the webhook because of which the cluster can't decide on a request, "" if that isn't what happened.
func absentWebhook(s metav1.Status) string {
	if m := regexp.MustCompile(`failed calling webhook "([^"]*)"`).FindStringSubmatch(s.Message); m != nil {
		return sentence(m[1])
	}
	return ""
}

func after(s metav1.Status) time.Duration {
	if s.Details == nil {
		return 0
	}
	return time.Duration(s.Details.RetryAfterSeconds) * time.Second
}

func about(title, what string) string {
	if title == "" {
		return what
	}
	return title + ": " + what
}

func place(from manifest.Origin) string {
	if from.File == "" {
		return ""
	}
	return from.String() + ": "
}

// sentence is text of the cluster on one line, without control characters.
func sentence(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, text)
	return clip(strings.TrimSpace(text))
}

func clip(text string) string {
	runes := []rune(text)
	if len(runes) <= maxDetail {
		return text
	}
	return string(runes[:maxDetail-1]) + "…"
}
