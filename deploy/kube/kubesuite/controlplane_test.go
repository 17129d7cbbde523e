package kubesuite_test

import (
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/rest"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesuite"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubetest"
)

func TestRealControlPlane(t *testing.T) {
	cluster := kubetest.Start(t)
	cluster.GatewayAPI(t)
	kubesuite.Run(t, kubesuite.Options{
		Patience: time.Minute,
		Config:   func(testing.TB) *rest.Config { return cluster.Config() },
		Limited: func(t testing.TB, namespace string) *rest.Config {
			all := []string{"*"}
			return cluster.User(t, namespace, rbacv1.PolicyRule{APIGroups: all, Resources: all, Verbs: all}).Config
		},
		Breakable: func(t testing.TB) kubesuite.Breakable {
			proxy := cluster.Proxy(t)
			return kubesuite.Breakable{
				Config: proxy.Config(), Faults: proxy, ExpireHistory: func() { proxy.ExpireHistory(t) },
				RefuseAdmission: func(namespace, message string) func() { return cluster.RefuseAdmission(t, namespace, message) },
			}
		},
	})
}
