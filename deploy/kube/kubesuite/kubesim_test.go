package kubesuite_test

import (
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesim"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubesuite"
)

func TestSimulatedCluster(t *testing.T) {
	sim := start(t)
	kubesuite.Run(t, kubesuite.Options{
		Config: func(testing.TB) *rest.Config { return config(sim, "administrator") },
		Limited: func(_ testing.TB, namespace string) *rest.Config {
			sim.AddToken("token-"+namespace, []string{namespace})
			return config(sim, "token-"+namespace)
		},
		Breakable: func(t testing.TB) kubesuite.Breakable {
			own := start(t)
			return kubesuite.Breakable{
				Config: config(own, "administrator"), Faults: own.Faults, ExpireHistory: own.ExpireHistory,
				RefuseAdmission: func(namespace, message string) func() {
					own.Faults.RefuseAdmission(namespace, message)
					return func() { own.Faults.RefuseAdmission(namespace, "") }
				},
			}
		},
	})
}

func start(t testing.TB) *kubesim.Sim {
	t.Helper()
	sim, err := kubesim.New(kubesim.Options{PodStartTime: 200 * time.Millisecond, PodStopTime: 50 * time.Millisecond, Token: "administrator"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return sim
}

func config(sim *kubesim.Sim, token string) *rest.Config {
	return &rest.Config{Host: sim.URL(), BearerToken: token, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: sim.CA()}}
}
