package kubetest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// User is a service account that may do no more than the rules of its Role, in one namespace.
type User struct {
	// Name is what the API server calls it: system:serviceaccount:NAMESPACE:NAME.
	Name string
	// Config is a client configuration with the account's token, without client-side throttling.
	Config *rest.Config
	// Kubeconfig is the same as a kubeconfig, with the namespace as the context's default.
	Kubeconfig []byte
	// KubeconfigPath is a file that holds Kubeconfig and is gone after the test.
	KubeconfigPath string
}

// User makes a service account in the namespace with a Role of these rules and a token. Without rules it may do
// nothing that not everybody may.
func (c *Cluster) User(t testing.TB, namespace string, rules ...rbacv1.PolicyRule) *User {
	t.Helper()
	account, err := c.client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "user-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("make a service account in %s: %v", namespace, err)
	}
	meta := metav1.ObjectMeta{Name: account.Name}
	_, err = c.client.RbacV1().Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("make role %s: %v", account.Name, err)
	}
	_, err = c.client.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account.Name, Namespace: namespace}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("bind role %s: %v", account.Name, err)
	}
	token, err := c.client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("make a token for %s: %v", account.Name, err)
	}

	config := rest.AnonymousClientConfig(c.config)
	config.BearerToken = token.Status.Token
	waitAllowed(t, config, namespace, rules)
	user := &User{
		Name:           "system:serviceaccount:" + namespace + ":" + account.Name,
		Config:         config,
		KubeconfigPath: filepath.Join(t.TempDir(), account.Name+".kubeconfig"),
	}
	if user.Kubeconfig, err = kubeconfigOf(config, namespace); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(user.KubeconfigPath, user.Kubeconfig, 0o600); err != nil {
		t.Fatalf("write the kubeconfig of %s: %v", user.Name, err)
	}
	return user
}

// waitAllowed returns when the API server knows the account and its Role: it learns of both by watches of its own, a
// moment after they were written. One rule stands for all, because they come in one object.
func waitAllowed(t testing.TB, config *rest.Config, namespace string, rules []rbacv1.PolicyRule) {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatalf("make a client for a user: %v", err)
	}
	attributes := &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "get", Resource: "pods"}
	if len(rules) > 0 { // the API server has made sure that groups, resources and verbs aren't empty
		attributes.Group, attributes.Verb = rules[0].APIGroups[0], rules[0].Verbs[0]
		attributes.Resource, attributes.Subresource, _ = strings.Cut(rules[0].Resources[0], "/")
		if len(rules[0].ResourceNames) > 0 {
			attributes.Name = rules[0].ResourceNames[0]
		}
	}
	review := &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: attributes},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = poll(ctx, nil, "the API server knows the new user", func() bool {
		answer, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		return err == nil && (answer.Status.Allowed || len(rules) == 0)
	})
	if err != nil {
		t.Fatal(err)
	}
}
