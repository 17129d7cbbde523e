package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"gitlab.com/slipway-cd/slipway/pipeline"
	"gitlab.com/slipway-cd/slipway/store"
)

const cachedPlans = 512

// planCache keeps decoded plans. Plans never change, so entries are never stale.
type planCache struct {
	store store.Store
	mu    sync.Mutex
	plans map[string]*pipeline.Plan
}

// get returns the plan behind a blob reference, nil for "".
func (c *planCache) get(ctx context.Context, ref string) (*pipeline.Plan, error) {
	if ref == "" {
		return nil, nil
	}
	c.mu.Lock()
	p := c.plans[ref]
	c.mu.Unlock()
	if p != nil {
		return p, nil
	}
	data, err := c.store.GetBlob(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("read plan %s: %w", ref, err)
	}
	p = new(pipeline.Plan)
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("decode plan %s: %w", ref, err)
	}
	if p.Schema > pipeline.PlanSchema {
		return nil, fmt.Errorf("decode plan %s: schema %d is newer than %d", ref, p.Schema, pipeline.PlanSchema)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.plans) >= cachedPlans || c.plans == nil {
		c.plans = map[string]*pipeline.Plan{}
	}
	c.plans[ref] = p
	return p, nil
}

// planRef is the plan that an event brings, "" if it brings none.
func planRef(ev pipeline.Event) string {
	switch ev := ev.(type) {
	case pipeline.Planned:
		return ev.PlanRef
	case pipeline.RollbackStarted:
		return ev.PlanRef
	case pipeline.TearDownStarted:
		return ev.PlanRef
	}
	return ""
}

// ReadPlan reads the plan behind a blob reference, nil for "".
func ReadPlan(ctx context.Context, s store.Store, ref string) (*pipeline.Plan, error) {
	c := planCache{store: s}
	return c.get(ctx, ref)
}
