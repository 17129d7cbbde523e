package kube

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery/cached/memory"
)

const maxVersion = 64 << 10 // bytes of what a cluster says of its version

// Condition is how a cluster looks from here.
type Condition struct {
	Version string // "v1.37.2"
	// Skew is how far the cluster's clock is ahead of ours, by its answer's date, which has whole seconds; 0 where it
	// says none.
	Skew time.Duration
	// HTTPRoutes tells that the cluster serves the Gateway API's.
	HTTPRoutes bool
}

// Condition asks the cluster how it is.
func (c *Client) Condition(ctx context.Context) (Condition, error) {
	requestCtx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	out, err := c.versionAndTime(requestCtx)
	if err != nil {
		return Condition{}, c.failure(ctx, err, attempt{verb: "get", resource: "version"})
	}
	list, err := c.cache.ServerResourcesForGroupVersionWithContext(requestCtx, httpRoutes[0]+"/v1")
	switch {
	case apierrors.IsNotFound(err), errors.Is(err, memory.ErrCacheNotFound):
	case err != nil:
		return out, c.failure(ctx, err, attempt{verb: "get", resource: allKinds})
	default:
		for _, r := range list.APIResources {
			out.HTTPRoutes = out.HTTPRoutes || r.Name == httpRoutes[1]
		}
	}
	return out, nil
}

// versionAndTime asks past client-go's own client, which doesn't show the headers of an answer.
func (c *Client) versionAndTime(ctx context.Context) (Condition, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server.JoinPath("version").String(), http.NoBody)
	if err != nil {
		return Condition{}, err
	}
	before := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return Condition{}, err
	}
	defer resp.Body.Close()
	middle := before.Add(time.Since(before) / 2)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxVersion))
	if err != nil {
		return Condition{}, err
	}
	if resp.StatusCode != http.StatusOK {
		status := metav1.Status{}
		if json.Unmarshal(body, &status) != nil || status.Code == 0 {
			status = apierrors.NewGenericServerResponse(resp.StatusCode, "get", schema.GroupResource{Resource: "version"}, "", "", 0, true).ErrStatus
		}
		return Condition{}, &apierrors.StatusError{ErrStatus: status}
	}
	var info version.Info
	if json.Unmarshal(body, &info) != nil || info.GitVersion == "" {
		return Condition{}, errors.New("the answer is not a cluster's")
	}
	out := Condition{Version: sentence(info.GitVersion)}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		out.Skew = at.Add(time.Second / 2).Sub(middle) // the date is of the second that had begun
	}
	return out, nil
}

// Exists tells whether the namespace is there; known is false where Slipway may not see that.
func (n *Namespace) Exists(ctx context.Context) (exists, known bool, err error) {
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	_, err = n.typed.core.Namespaces().Get(requestCtx, n.namespace, metav1.GetOptions{})
	switch {
	case err == nil:
		return true, true, nil
	case apierrors.IsNotFound(err):
		return false, true, nil
	case apierrors.IsForbidden(err) && !strings.Contains(err.Error(), "impersonate"):
		return false, false, nil
	}
	return false, false, n.failure(ctx, err, attempt{verb: "get", resource: "namespaces", namespace: n.namespace})
}

// Access asks the cluster which of the needs it doesn't grant in the namespace. A need that it grants in part comes
// back with the verbs that are missing.
func (n *Namespace) Access(ctx context.Context, needs []Need) (missing []Need, err error) {
	requestCtx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	review, err := n.typed.authorization.SelfSubjectRulesReviews().Create(requestCtx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: n.namespace},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, n.failure(ctx, err, attempt{verb: "create", resource: "selfsubjectrulesreviews", namespace: n.namespace})
	}
	for _, need := range needs {
		lacking := need.lacks(review.Status.ResourceRules)
		if review.Status.Incomplete { // an authorizer can't list its rules, so it is asked for each
			if lacking, err = n.refused(requestCtx, need, lacking); err != nil {
				return nil, n.failure(ctx, err, attempt{verb: "create", resource: "selfsubjectaccessreviews", namespace: n.namespace})
			}
		}
		if len(lacking) > 0 {
			need.Verbs = lacking
			missing = append(missing, need)
		}
	}
	return missing, nil
}

// refused gives those of the verbs that the cluster doesn't let Slipway do.
func (n *Namespace) refused(ctx context.Context, need Need, verbs []string) (out []string, err error) {
	resource, sub, _ := strings.Cut(need.Resource, "/")
	for _, verb := range verbs {
		review, err := n.typed.authorization.SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: n.namespace, Verb: verb, Group: need.Group, Resource: resource, Subresource: sub,
			}},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
		if !review.Status.Allowed {
			out = append(out, verb)
		}
	}
	return out, nil
}
