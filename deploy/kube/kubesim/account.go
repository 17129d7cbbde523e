package kubesim

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// account is who a token stands for; namespaces is nil for the administrator.
type account struct {
	user       string
	namespaces map[string]bool
	rules      []rbacv1.PolicyRule // nil: everything in the namespaces
	unlisted   bool
}

// Account is a service account of the cluster.
type Account struct {
	Namespace, Name string
	Token           string // "" for one that is only impersonated
	// Namespaces are where it may do what the Rules say, and everything without Rules. It may do nothing elsewhere.
	Namespaces []string
	Rules      []rbacv1.PolicyRule
	// Unlisted keeps the rules out of a SelfSubjectRulesReview, which then says that it is incomplete, as it does where
	// an authorizer decides that can't list what it allows.
	Unlisted bool
}

// AddToken lets a bearer token act in the namespaces, and nowhere else: that is answered 403. Its user is the default
// service account of the first namespace.
func (s *Sim) AddToken(token string, namespaces []string) {
	a := account{user: "system:anonymous", namespaces: set(namespaces)}
	if len(namespaces) > 0 {
		a.user = serviceAccount(namespaces[0], "default")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[token] = a
}

// AddAccount adds a service account, or replaces it.
func (s *Sim) AddAccount(a Account) {
	known := account{user: serviceAccount(a.Namespace, a.Name), namespaces: set(a.Namespaces), rules: a.Rules, unlisted: a.Unlisted}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[known.user] = known
	if a.Token != "" {
		s.accounts[a.Token] = known
	}
}

func set(names []string) map[string]bool {
	out := map[string]bool{}
	for _, n := range names {
		out[n] = true
	}
	return out
}

func serviceAccount(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

// impersonated is whom a request is to be treated as. Who may impersonate a service account need not be allowed its
// groups, which follow from it; groups that are named are refused to all but the administrator.
func (s *Sim) impersonated(who account, r *http.Request) (account, error) {
	user := r.Header.Get(authenticationv1.ImpersonateUserHeader)
	groups := r.Header.Values(authenticationv1.ImpersonateGroupHeader)
	if user == "" && len(groups) == 0 {
		return who, nil
	}
	namespace, name, ok := strings.Cut(strings.TrimPrefix(user, "system:serviceaccount:"), ":")
	refused := schema.GroupResource{Resource: "serviceaccounts"}
	switch {
	case !ok || !strings.HasPrefix(user, "system:serviceaccount:"):
		refused.Resource, name = "users", user
	case len(groups) > 0:
		refused.Resource, name, namespace = "groups", groups[0], ""
	}
	if who.namespaces != nil && (refused.Resource != "serviceaccounts" || !who.allows(namespace, "impersonate", "", refused.Resource, name)) {
		return who, apierrors.NewForbidden(refused, name, fmt.Errorf("User %q cannot impersonate resource %q in API group %q %s", //nolint:staticcheck // the API server's wording
			who.user, refused.Resource, "", scope(namespace)))
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if as, known := s.users[user]; known {
		return as, nil
	}
	return account{user: user, namespaces: map[string]bool{}}, nil
}

// scope is where something was tried, in the API server's words.
func scope(namespace string) string {
	if namespace == "" {
		return "at the cluster scope"
	}
	return fmt.Sprintf("in the namespace %q", namespace)
}

// allows tells whether the account may do this. resource has its subresource: "pods/log".
func (a account) allows(namespace, verb, group, resource, name string) bool {
	switch {
	case a.namespaces == nil:
		return true
	case !a.namespaces[namespace]:
		return false
	}
	has := func(list []string, one string) bool { return slices.Contains(list, "*") || slices.Contains(list, one) }
	_, sub, isSub := strings.Cut(resource, "/")
	return a.rules == nil || slices.ContainsFunc(a.rules, func(r rbacv1.PolicyRule) bool {
		return has(r.Verbs, verb) && has(r.APIGroups, group) && (len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, name)) &&
			(has(r.Resources, resource) || isSub && slices.Contains(r.Resources, "*/"+sub))
	})
}

// in lists what the account may do in a namespace.
func (a account) in(namespace string) []authorizationv1.ResourceRule {
	rules := a.rules
	switch {
	case a.namespaces != nil && !a.namespaces[namespace]:
		rules = nil
	case a.namespaces == nil || a.rules == nil:
		rules = []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}
	}
	out := make([]authorizationv1.ResourceRule, 0, len(rules))
	for _, r := range rules {
		out = append(out, authorizationv1.ResourceRule{Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames})
	}
	return out
}

const (
	accessReviews = "selfsubjectaccessreviews"
	rulesReviews  = "selfsubjectrulesreviews"
)

// serveReview answers whether the asking account may do something, or what it may do.
func (s *Sim) serveReview(w http.ResponseWriter, r *request) {
	if r.resource != accessReviews && r.resource != rulesReviews || r.verb != "create" {
		notThere(w)
		return
	}
	body, err := readBody(r)
	if err != nil {
		writeError(w, err)
		return
	}
	if r.resource == rulesReviews {
		s.rulesReview(w, r, body)
		return
	}
	review := &authorizationv1.SelfSubjectAccessReview{}
	if err := s.reg.DecodeInto(body, mediaType(r), review); err != nil {
		writeError(w, err)
		return
	}
	review.TypeMeta = metav1.TypeMeta{APIVersion: authorizationGroup + "/v1", Kind: "SelfSubjectAccessReview"}
	if a := review.Spec.ResourceAttributes; a != nil {
		resource := a.Resource
		if a.Subresource != "" {
			resource += "/" + a.Subresource
		}
		review.Status.Allowed = r.account.allows(a.Namespace, a.Verb, a.Group, resource, a.Name)
	}
	writeJSON(w, http.StatusCreated, review)
}

func (s *Sim) rulesReview(w http.ResponseWriter, r *request, body []byte) {
	review := &authorizationv1.SelfSubjectRulesReview{}
	if err := s.reg.DecodeInto(body, mediaType(r), review); err != nil {
		writeError(w, err)
		return
	}
	if review.Spec.Namespace == "" {
		writeError(w, apierrors.NewBadRequest("no namespace on request"))
		return
	}
	review.TypeMeta = metav1.TypeMeta{APIVersion: authorizationGroup + "/v1", Kind: "SelfSubjectRulesReview"}
	review.Status = authorizationv1.SubjectRulesReviewStatus{
		ResourceRules: r.account.in(review.Spec.Namespace), NonResourceRules: []authorizationv1.NonResourceRule{},
	}
	if r.account.unlisted {
		review.Status.ResourceRules, review.Status.Incomplete = []authorizationv1.ResourceRule{}, true
	}
	writeJSON(w, http.StatusCreated, review)
}
