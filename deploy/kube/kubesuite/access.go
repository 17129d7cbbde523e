package kubesuite

import (
	"encoding/json"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func accessTests() []test {
	return []test{
		{"who has no token is unauthorized", noToken},
		{"who may not is told who they are, what they tried and where", forbiddenWords},
		{"who asks is told what they may do", selfReview},
		{"who asks is told all that they may do", rulesReview},
		{"the server tells its version", serverVersion},
	}
}

func noToken(e *env) {
	config := rest.AnonymousClientConfig(e.config)
	config.BearerToken = "made-up"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		e.Fatal(err)
	}
	if _, err := client.AppsV1().Deployments(e.ns).List(e.ctx, metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		e.Errorf("got %v, want unauthorized", err)
	}
}

func (e *env) limited() kubernetes.Interface {
	e.Helper()
	if e.opts.Limited == nil {
		e.Skip("this cluster can't make limited accounts")
	}
	client, err := kubernetes.NewForConfig(e.opts.Limited(e.T, e.ns))
	if err != nil {
		e.Fatal(err)
	}
	return client
}

func forbiddenWords(e *env) {
	client := e.limited()
	if _, err := client.AppsV1().Deployments(e.ns).Apply(e.ctx, e.app("shop:1", 1), applyAs(manager)); err != nil {
		e.Errorf("apply in its own namespace: %v", err)
	}
	_, getting := client.AppsV1().Deployments("default").Get(e.ctx, "app", metav1.GetOptions{})
	_, listing := client.AppsV1().Deployments("default").List(e.ctx, metav1.ListOptions{})
	_, everywhere := client.CoreV1().Pods("").List(e.ctx, metav1.ListOptions{})
	body, err := json.Marshal(e.app("shop:1", 1).WithNamespace("default"))
	if err != nil {
		e.Fatal(err)
	}
	patching := client.AppsV1().RESTClient().Patch("application/apply-patch+yaml").Namespace("default").Resource("deployments").
		Name("app").Param("fieldManager", manager).Body(body).Do(e.ctx).Error()
	_, scaling := client.AppsV1().Deployments("default").GetScale(e.ctx, "app", metav1.GetOptions{})
	cases := []struct {
		err  error
		want string
	}{
		{getting, `cannot get resource "deployments" in API group "apps" in the namespace "default"`},
		{listing, `cannot list resource "deployments" in API group "apps" in the namespace "default"`},
		{everywhere, `cannot list resource "pods" in API group "" at the cluster scope`},
		{patching, `cannot patch resource "deployments" in API group "apps" in the namespace "default"`},
		{scaling, `cannot get resource "deployments/scale" in API group "apps" in the namespace "default"`},
	}
	for _, tc := range cases {
		if !apierrors.IsForbidden(tc.err) {
			e.Errorf("got %v, want forbidden: %s", tc.err, tc.want)
			continue
		}
		e.wantContains("the refusal", tc.err.Error(), `is forbidden: User "system:serviceaccount:`+e.ns+`:`, tc.want)
	}
	e.wantContains("the refusal of a named object", getting.Error(), `deployments.apps "app" is forbidden`)
}

func selfReview(e *env) {
	client := e.limited()
	for namespace, want := range map[string]bool{e.ns: true, "default": false} {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "patch", Group: "apps", Resource: "deployments"},
		}}
		got, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(e.ctx, review, metav1.CreateOptions{})
		if err != nil || got.Status.Allowed != want {
			e.Errorf("may patch deployments in %s: %v, %v; want %v", namespace, got, err, want)
		}
	}
}

func rulesReview(e *env) {
	client := e.limited()
	for namespace, want := range map[string]bool{e.ns: true, "default": false} {
		review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
		got, err := client.AuthorizationV1().SelfSubjectRulesReviews().Create(e.ctx, review, metav1.CreateOptions{})
		if err != nil {
			e.Error(err)
			continue
		}
		may := slices.ContainsFunc(got.Status.ResourceRules, func(r authorizationv1.ResourceRule) bool {
			has := func(list []string, one string) bool { return slices.Contains(list, one) || slices.Contains(list, "*") }
			return has(r.Verbs, "patch") && has(r.APIGroups, "apps") && has(r.Resources, "deployments")
		})
		if may != want || got.Status.Incomplete {
			e.Errorf("rules in %s: %+v; want patch deployments %v", namespace, got.Status, want)
		}
	}
}

func serverVersion(e *env) {
	v, err := e.client.Discovery().ServerVersion()
	if err != nil || v.Major == "" || v.GitVersion == "" {
		e.Errorf("version is %+v, %v", v, err)
	}
}
