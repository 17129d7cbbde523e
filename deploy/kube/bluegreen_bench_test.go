package kube_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/kube"
	"gitlab.com/slipway-cd/slipway/deploy/manifest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// stopwatch notes when a Service has been written.
type stopwatch struct {
	deploy.Cluster
	at *time.Time
}

func (s stopwatch) Apply(ctx context.Context, objects []manifest.Object, force bool) (int, error) {
	n, err := s.Cluster.Apply(ctx, objects, force)
	if len(objects) == 1 && objects[0].GetKind() == "Service" && s.at.IsZero() {
		*s.at = time.Now()
	}
	return n, err
}

// BenchmarkTraffic compares how long it is until the traffic has moved between two releases, and until it is taken back to
// the one on standby, with the one patch of a selector that there is no way around. A client of the cluster is kept, as a
// running Slipway keeps it.
func BenchmarkTraffic(b *testing.B) {
	w := realOne(b)
	w.options.QPS, w.options.Burst = 10000, 10000
	client, err := kube.New(w.options)
	if err != nil {
		b.Fatal(err)
	}
	var at time.Time
	w.mortal = func(deploy.Cluster) deploy.Cluster { return stopwatch{client.Namespace(w.namespace), &at} }
	w.deploy.Strategy = pipeline.StrategyBlueGreen
	w.commit("aaaa1111", service+deployment("shop:1", 2, ""))
	w.commit("bbbb2222", service+deployment("shop:2", 2, ""))
	one := w.deliver("aaaa1111", nil)
	two := w.release("bbbb2222")
	releases := []*pipeline.Release{&one, &two}
	b.Run("patch", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			patch := []byte(fmt.Sprintf(`{"spec":{"selector":{%q:%q}}}`, deploy.LabelVersion, releases[i%2].Version))
			if _, err := w.admin.CoreV1().Services(w.namespace).Patch(b.Context(), "shop", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "slipway"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	until := func(name string, action func(to, from *pipeline.Release) pipeline.Action) {
		b.Run(name, func(b *testing.B) {
			e := w.executor()
			var sum time.Duration
			n := 0
			for ; b.Loop(); n++ {
				to, from := releases[n%2], releases[(n+1)%2]
				at = time.Time{}
				began := time.Now()
				if _, err := e.Execute(context.Background(), w.task(to.SHA, action(to, from))); err != nil {
					b.Fatal(err)
				}
				sum += at.Sub(began)
			}
			b.ReportMetric(float64(sum.Microseconds())/float64(n)/1000, "ms-until-moved")
		})
	}
	until("switch", func(to, from *pipeline.Release) pipeline.Action {
		return pipeline.Switch{Stage: stageName, Attempt: 1, Environment: "production", To: *to, From: from}
	})
	until("restore", func(to, from *pipeline.Release) pipeline.Action {
		return pipeline.Restore{Stage: stageName, Attempt: 1, Environment: "production", To: to, From: from}
	})
}
