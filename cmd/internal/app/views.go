package app

import (
	"context"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Deliveries are the newest deliveries as people see them, newest first, limit at most.
func (a *App) Deliveries(ctx context.Context, limit int) ([]pipeline.View, error) {
	views, _, err := (&source{store: a.store, changes: a.changes}).Deliveries(ctx, "", limit)
	return views, err
}

// Changes gets a value after deliveries have changed, several changes being one value;
// the function ends it.
func (a *App) Changes() (<-chan struct{}, func()) { return a.changes.subscribe("") }
