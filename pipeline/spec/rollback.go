package spec

import (
	"context"
	"errors"
	"fmt"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Inbox hands events to other deliveries. The same key is delivered once.
type Inbox interface {
	Deliver(ctx context.Context, deliveryID string, key string, e pipeline.Event) error
}

// RollbacksOptions are what Rollbacks needs; all of it.
type RollbacksOptions struct {
	Blobs Blobs
	Inbox Inbox
}

// Rollbacks executes StartRollback.
type Rollbacks struct{ o RollbacksOptions }

// NewRollbacks checks the options.
func NewRollbacks(o RollbacksOptions) (*Rollbacks, error) {
	if o.Blobs == nil || o.Inbox == nil {
		return nil, errors.New("new rollbacks: Blobs and Inbox are needed")
	}
	return &Rollbacks{o}, nil
}

// Execute stores a plan of one rollback stage and starts its delivery. Trying again
// changes nothing: the plan is stored under its content, the event under its key.
func (r *Rollbacks) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	do, ok := t.Effect.Do.(pipeline.StartRollback)
	if !ok {
		return nil, wrongAction("rollbacks", t)
	}
	if t.Plan == nil {
		return nil, &pipeline.Failure{Code: pipeline.ReasonOther, Permanent: true, Detail: "the delivery has no plan, so there is nothing to roll back"}
	}
	plan, err := RollbackPlan(t.Plan, do)
	if err != nil {
		return nil, &pipeline.Failure{Code: pipeline.ReasonNotAllowed, Permanent: true, Detail: err.Error()}
	}
	ref, err := putPlan(ctx, r.o.Blobs, plan)
	if err != nil {
		return nil, err
	}
	started := pipeline.RollbackStarted{
		Of: t.Delivery.ID, PlanRef: ref, Decision: do.Decision,
	}
	if err := r.o.Inbox.Deliver(ctx, do.NewID, t.Delivery.ID+"/"+t.Effect.Key, started); err != nil {
		return nil, fmt.Errorf("start rollback delivery %s: %w", do.NewID, err)
	}
	return nil, nil
}

// RollbackPlan is the plan of a rollback: one stage, in an environment that the
// delivery's own plan names, under the rules that held for it.
func RollbackPlan(of *pipeline.Plan, do pipeline.StartRollback) (*pipeline.Plan, error) {
	rules, ok := of.Environments[do.Environment]
	if !ok {
		return nil, fmt.Errorf("this delivery has no environment %s", quote(do.Environment))
	}
	return &pipeline.Plan{
		Schema: pipeline.PlanSchema, Application: of.Application,
		Project: of.Project, Commit: of.Commit, MergeRequest: of.MergeRequest,
		After: pipeline.AfterMerge, Concurrency: pipeline.Queue, Channel: of.Channel, Links: of.Links, TurnRed: of.TurnRed,
		Environments: map[string]pipeline.EnvironmentRules{do.Environment: rules},
		Stages: []pipeline.Stage{{
			Name: "rollback", Kind: pipeline.KindRollback, Timeout: deployTimeout, OnFailure: pipeline.FailStop,
			Rollback: &pipeline.Rollback{Environment: do.Environment, To: do.To},
		}},
	}, nil
}
