package spec

import (
	"context"
	"encoding/json"
	"fmt"

	"gitlab.com/slipway-cd/slipway/pipeline"
)

// Blobs keeps bytes under a name that is made from them.
type Blobs interface {
	PutBlob(ctx context.Context, data []byte) (string, error)
}

// EncodePlan is the stored form of a plan.
func EncodePlan(p *pipeline.Plan) ([]byte, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return data, nil
}

// DecodePlan reads the stored form. A plan of a newer version is an error.
func DecodePlan(data []byte) (*pipeline.Plan, error) {
	var p pipeline.Plan
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("decode plan: %w", err)
	}
	if p.Schema < 1 || p.Schema > pipeline.PlanSchema {
		return nil, fmt.Errorf("decode plan: it has version %d, this Slipway knows up to %d", p.Schema, pipeline.PlanSchema)
	}
	return &p, nil
}
