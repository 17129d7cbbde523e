package kube_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gitlab.com/slipway-cd/slipway/deploy"
	"gitlab.com/slipway-cd/slipway/deploy/kube/kubetest"
	"gitlab.com/slipway-cd/slipway/pipeline"
)

// persist does what the engine does: it tries again what may be tried again.
func (w *world) persist(ctx context.Context, sha string, do pipeline.Action) (pipeline.Event, error) {
	e := w.executor()
	for try := 1; ; try++ {
		task := w.task(sha, do)
		task.Attempt, task.Unknown = try, try > 1
		event, err := e.Execute(ctx, task)
		if f, ok := pipeline.AsFailure(err); err == nil || ok && f.Permanent || ctx.Err() != nil {
			return event, err
		}
		timer := time.NewTimer(200 * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
}

// slowly is deployment with pods that take that long to be ready.
func slowly(image string, replicas int, ready time.Duration) string {
	return strings.Replace(deployment(image, replicas, ""), "metadata: {labels: {app: shop}}",
		fmt.Sprintf("metadata: {labels: {app: shop}, annotations: {%s: %q}}", kubetest.ReadyAfter, ready), 1)
}

// TestTheAPIServerStopsForHalfAMinute in the middle of everything that Slipway does to a cluster. When it goes on, so does all
// of it, by itself. It isn't parallel to other tests, because these would stop, too.
func TestTheAPIServerStopsForHalfAMinute(t *testing.T) {
	cluster := kubetest.Start(t)
	patience := deploy.Patience{Refused: 200 * time.Millisecond}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	one := func(strategy pipeline.Strategy, more string) (*world, *traffic, pipeline.Release) {
		w := realOne(t)
		w.patience, w.deploy.Strategy = patience, strategy
		w.commit("aaaa1111", service+deployment("shop:1", 2, ""))
		w.commit("bbbb2222", service+more)
		clients := w.clients()
		return w, clients, w.deliver("aaaa1111", nil)
	}
	var all sync.WaitGroup
	later := func(w *world, what string, do pipeline.Action) {
		all.Go(func() {
			if _, err := w.persist(ctx, "bbbb2222", do); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}

	rolling, rollingClients, _ := one(pipeline.StrategyRolling, slowly("shop:2", 2, 2*time.Second))
	later(rolling, "a rolling rollout", pipeline.Observe{Stage: stageName, Release: rolling.mustApply("bbbb2222")})
	coming, comingClients, comingOne := one(pipeline.StrategyBlueGreen, slowly("shop:2", 2, 2*time.Second))
	comingTwo := coming.mustApply("bbbb2222")
	later(coming, "a blue-green rollout", pipeline.Observe{Stage: stageName, Release: comingTwo})
	moving, movingClients, movingOne := one(pipeline.StrategyBlueGreen, deployment("shop:2", 2, ""))
	movingTwo := moving.release("bbbb2222")
	returning, returningClients, returningOne := one(pipeline.StrategyBlueGreen, deployment("shop:2", 2, ""))
	returningTwo := returning.release("bbbb2222")
	returning.switchTo(returningTwo, &returningOne)
	job := realOne(t)
	job.run = &pipeline.Run{Environment: "production", Image: "tool:1"}
	rolling.awaitProgress("0 of 2 pods ready")
	coming.awaitProgress("0 of 2 pods ready")
	returningClients.went(t, versionedDeployment(returningOne), versionedDeployment(returningTwo))

	cluster.Pause(t)
	later(moving, "a move of the traffic", pipeline.Switch{Stage: stageName, Environment: "production", To: movingTwo, From: &movingOne})
	later(returning, "a rollback", pipeline.Restore{Stage: stageName, Environment: "production", To: &returningOne, From: &returningTwo})
	later(job, "a job", pipeline.RunJob{Stage: stageName, Attempt: 1})
	const stop = 30 * time.Second
	timer := time.NewTimer(stop)
	<-timer.C
	cluster.Resume(t)
	began := time.Now()
	all.Wait()
	t.Logf("everything has gone on %s after the API server", time.Since(began))

	rollingClients.went(t, "shop")
	comingClients.went(t, versionedDeployment(comingOne))
	coming.switchTo(comingTwo, &comingOne)
	comingClients.went(t, versionedDeployment(comingOne), versionedDeployment(comingTwo))
	movingClients.went(t, versionedDeployment(movingOne), versionedDeployment(movingTwo))
	returningClients.went(t, versionedDeployment(returningOne), versionedDeployment(returningTwo), versionedDeployment(returningOne))
	returning.retire(returningOne, &returningTwo)
	returning.wantDeployments(versionedDeployment(returningOne))
	if names := job.jobs(); len(names) != 1 {
		t.Errorf("the jobs are %q", names)
	}
}
