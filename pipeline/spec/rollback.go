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

// Rollbacks executes StartRollback and StartTearDown.
type Rollbacks struct{ o RollbacksOptions }

// NewRollbacks checks the options.
func NewRollbacks(o RollbacksOptions) (*Rollbacks, error) {
	if o.Blobs == nil || o.Inbox == nil {
		return nil, errors.New("new rollbacks: Blobs and Inbox are needed")
	}
	return &Rollbacks{o}, nil
}

// Execute stores a plan of one stage and starts its delivery. Trying again
// changes nothing: the plan is stored under its content, the event under its key.
func (r *Rollbacks) Execute(ctx context.Context, t *pipeline.Task) (pipeline.Event, error) {
	if do, ok := t.Effect.Do.(pipeline.StartTearDown); ok {
		return nil, r.tearDown(ctx, t, do)
	}
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

func (r *Rollbacks) tearDown(ctx context.Context, t *pipeline.Task, do pipeline.StartTearDown) error {
	if t.Plan == nil {
		return &pipeline.Failure{Code: pipeline.ReasonOther, Permanent: true, Detail: "the delivery has no plan, so there is nothing to remove"}
	}
	plan, err := TearDownPlan(t.Plan, do)
	if err != nil {
		return &pipeline.Failure{Code: pipeline.ReasonNotAllowed, Permanent: true, Detail: err.Error()}
	}
	ref, err := putPlan(ctx, r.o.Blobs, plan)
	if err != nil {
		return err
	}
	started := pipeline.TearDownStarted{Of: t.Delivery.ID, PlanRef: ref, Closed: do.Closed, Had: do.Had}
	if err := r.o.Inbox.Deliver(ctx, do.NewID, t.Delivery.ID+"/"+t.Effect.Key, started); err != nil {
		return fmt.Errorf("start the removal %s: %w", do.NewID, err)
	}
	return nil
}

// TearDownPlan is the plan that removes an environment of a review: one stage, under the
// rules that held for the review. It takes its turn, whoever waits.
func TearDownPlan(of *pipeline.Plan, do pipeline.StartTearDown) (*pipeline.Plan, error) {
	rules, ok := of.Environments[do.Environment]
	if !ok {
		return nil, fmt.Errorf("this delivery has no environment %s", quote(do.Environment))
	}
	return &pipeline.Plan{
		Schema: pipeline.PlanSchema, Application: of.Application, Project: of.Project, Commit: of.Commit, MergeRequest: of.MergeRequest,
		After: pipeline.AfterPush, Concurrency: pipeline.Queue, Links: of.Links, TurnRed: of.TurnRed,
		Environments: map[string]pipeline.EnvironmentRules{do.Environment: rules},
		Stages: []pipeline.Stage{{
			Name: "remove", Kind: pipeline.KindTearDown, Timeout: deployTimeout, OnFailure: pipeline.FailStop,
			TearDown: &pipeline.Removal{Environment: do.Environment},
		}},
	}, nil
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
